//! Mails as they were made, for whoever looks at a decision (SPEC §8). In: messages on their way to an ESP. Out: one compressed file each in
//! `state/mails`, the newest of them, until their customer is erased. Writing never keeps the sender waiting: where the disk does not
//! come along, or has no room, a mail is not kept, and that is counted.
//!
//! Kept is what was made last for a decision: the delivery's state says whether that was sent.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::decision::{DecisionId, Message};

/// How many mails may wait for the disk.
const WAITING_MAX: usize = 512;

/// How hard they are compressed: HTML of one template comes down to a sixth, in some tenths of a millisecond.
const LEVEL: i32 = 3;

/// The largest mail that is read again, in bytes: far more than any that an ESP takes.
const MAIL_BYTES_MAX: usize = 64 << 20;

/// A mail as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// When, epoch ms.
    pub made_ms: u64,
    /// Whom it is from.
    pub from: String,
    /// Whom it is to.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// The plain part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

impl Mail {
    /// This message.
    pub fn of(message: &Message, made_ms: u64) -> Mail {
        Mail {
            made_ms,
            from: message.from.to_string(),
            to: message.to.to_string(),
            subject: message.subject.clone(),
            text: message.text.clone(),
            html: message.html.clone(),
        }
    }
}

enum Command {
    Keep(DecisionId, Box<Mail>),
    Forget(Vec<DecisionId>, Sender<()>),
}

/// Where mails are kept. Shared by reference or `Arc`.
pub struct Mails {
    folder: PathBuf,
    commands: Sender<Command>,
}

impl Mails {
    /// Keeps the newest `count` mails in the folder `state/mails`, those that are there among them. Fails when the folder cannot be had.
    pub fn open(state: &Path, count: usize) -> io::Result<Arc<Mails>> {
        let folder = state.join("mails");
        fs::create_dir_all(&folder)?;
        let mut shelf = Shelf { folder: folder.clone(), count, kept: known(&folder)?, there: HashSet::new() };
        shelf.there.extend(shelf.kept.iter().copied());
        shelf.make_room();
        let (commands, waiting) = crossbeam_channel::bounded(WAITING_MAX);
        std::thread::Builder::new().name("mails".into()).spawn(move || shelf.run(&waiting))?;
        Ok(Arc::new(Mails { folder, commands }))
    }

    /// Keeps a mail, unless too many wait for that.
    pub fn keep(&self, id: DecisionId, mail: Mail) {
        if self.commands.try_send(Command::Keep(id, Box::new(mail))).is_err() {
            lost("busy");
        }
    }

    /// Forgets the mails of these decisions, and returns when they are gone.
    pub fn forget(&self, ids: Vec<DecisionId>) {
        let (gone, done) = crossbeam_channel::bounded(1);
        if self.commands.send(Command::Forget(ids, gone)).is_ok() {
            let _ = done.recv();
        }
    }

    /// The mail of this decision, if it is kept.
    pub fn read(&self, id: DecisionId) -> io::Result<Option<Mail>> {
        let bytes = match fs::read(path(&self.folder, id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => zstd::bulk::decompress(&bytes?, MAIL_BYTES_MAX)?,
        };
        Ok(Some(serde_json::from_slice(&bytes)?))
    }
}

/// The folder, as its one writer has it.
struct Shelf {
    folder: PathBuf,
    count: usize,
    /// The oldest first.
    kept: VecDeque<DecisionId>,
    there: HashSet<DecisionId>,
}

impl Shelf {
    fn run(mut self, waiting: &Receiver<Command>) {
        for command in waiting {
            match command {
                Command::Keep(id, mail) => {
                    if let Err(error) = self.keep(id, &mail) {
                        lost("unwritten");
                        tracing::warn!(%error, folder = %self.folder.display(), "a mail is not kept");
                    }
                }
                Command::Forget(ids, gone) => {
                    for id in ids {
                        if self.there.contains(&id) {
                            self.remove(id);
                        }
                    }
                    self.kept.retain(|id| self.there.contains(id));
                    let _ = gone.send(());
                }
            }
        }
    }

    fn keep(&mut self, id: DecisionId, mail: &Mail) -> io::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let bytes = zstd::bulk::compress(&serde_json::to_vec(mail)?, LEVEL)?;
        let path = path(&self.folder, id);
        // Whoever reads it meanwhile has the one before, whole.
        let beside = path.with_extension("new");
        fs::write(&beside, bytes)?;
        fs::rename(beside, path)?;
        if self.there.insert(id) {
            self.kept.push_back(id);
        }
        self.make_room();
        Ok(())
    }

    fn make_room(&mut self) {
        while self.kept.len() > self.count {
            if let Some(oldest) = self.kept.pop_front() {
                self.remove(oldest);
            }
        }
    }

    fn remove(&mut self, id: DecisionId) {
        self.there.remove(&id);
        if let Err(error) = fs::remove_file(path(&self.folder, id)) {
            tracing::warn!(%error, %id, "a mail that was kept is not removed");
        }
    }
}

fn path(folder: &Path, id: DecisionId) -> PathBuf {
    folder.join(format!("{id}.zst"))
}

/// What is in the folder, the oldest first. What a crash left unfinished is removed.
fn known(folder: &Path) -> io::Result<VecDeque<DecisionId>> {
    let mut known: Vec<(SystemTime, DecisionId)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(path)?;
            continue;
        }
        let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        known.extend(id.map(|id| Ok::<_, io::Error>((entry.metadata()?.modified()?, id))).transpose()?);
    }
    known.sort_unstable();
    Ok(known.into_iter().map(|(_, id)| id).collect())
}

fn lost(cause: &'static str) {
    metrics::counter!("beckon_mails_not_kept_total", "cause" => cause).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: &str) -> Mail {
        Mail {
            made_ms: 1,
            from: "Shop <shop@example.com>".into(),
            to: "a@example.com".into(),
            subject: subject.into(),
            text: "Hello".into(),
            html: "<p>Hello</p>".into(),
        }
    }

    fn subjects(mails: &Mails) -> Vec<Option<String>> {
        // Whoever forgets waits until all before it is done.
        mails.forget(Vec::new());
        (0..6).map(|id| mails.read(DecisionId(id)).unwrap().map(|mail| mail.subject)).collect()
    }

    #[test]
    fn the_newest_are_kept_over_a_restart_each_as_it_was_made_last() {
        let state = tempfile::tempdir().unwrap();
        {
            let mails = Mails::open(state.path(), 3).unwrap();
            for (id, subject) in [(0, "a"), (1, "b"), (2, "c"), (0, "a again"), (3, "d")] {
                mails.keep(DecisionId(id), mail(subject));
            }
            assert_eq!(subjects(&mails), [None, Some("b".into()), Some("c".into()), Some("d".into()), None, None]);
        }
        std::fs::write(state.path().join("mails/x.new"), "cut off").unwrap();
        let mails = Mails::open(state.path(), 2).unwrap();
        assert_eq!(subjects(&mails), [None, None, Some("c".into()), Some("d".into()), None, None]);
        mails.keep(DecisionId(4), mail("e"));
        mails.forget(vec![DecisionId(3), DecisionId(9)]);
        assert_eq!(subjects(&mails), [None, None, None, None, Some("e".into()), None]);
        assert_eq!(std::fs::read_dir(state.path().join("mails")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_mail_is_no_reason_to_fall_over() {
        let state = tempfile::tempdir().unwrap();
        let mails = Mails::open(state.path(), 3).unwrap();
        std::fs::write(state.path().join("mails").join(format!("{}.zst", DecisionId(1))), "not zstd").unwrap();
        assert!(mails.read(DecisionId(1)).is_err());
    }
}
