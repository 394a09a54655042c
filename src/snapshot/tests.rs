//! The store as a crash, a bad disk and another program leave it: what is not whole and not one's own is never used.

use std::mem;

use super::*;

fn identity() -> Identity {
    let build = Build { version: "1.2.3".into(), program: 0xabc };
    Identity { build, configuration: 7, workers: Workers::all(2) }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, identity()).unwrap()
}

/// Writes a small snapshot whose parts tell its tick.
fn write(store: &Store, tick: Tick) -> PathBuf {
    let mut draft = store.begin(tick).unwrap();
    draft.add("carts", format!("carts of {tick}").as_bytes()).unwrap();
    draft.add("owners", b"").unwrap();
    draft.add("carts", b"more").unwrap();
    draft.commit().unwrap().path
}

fn parts(snapshot: &Snapshot, section: &str) -> Vec<String> {
    snapshot.parts(section).map(|part| String::from_utf8(part.unwrap()).unwrap()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The tick of the snapshot that is used, and why others are not.
fn newest(store: &Store) -> (Option<Tick>, Vec<Reason>) {
    let (snapshot, refused) = store.newest();
    if let Some(snapshot) = &snapshot {
        assert_eq!(parts(snapshot, "carts"), [format!("carts of {}", snapshot.tick()), "more".into()]);
    }
    (snapshot.map(|snapshot| snapshot.tick()), refused.into_iter().map(|refusal| refusal.reason).collect())
}

#[test]
fn what_was_added_comes_back_by_section_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("made/for/it"));
    assert!(matches!(newest(&store), (None, refused) if refused.is_empty()));
    let path = write(&store, 60_000);
    for store in [store, open(path.parent().unwrap())] {
        let (snapshot, refused) = store.newest();
        let snapshot = snapshot.unwrap();
        assert!(refused.is_empty());
        assert_eq!((snapshot.tick(), snapshot.workers(), snapshot.path()), (60_000, Workers::all(2), &*path));
        assert_eq!(snapshot.bytes(), fs::metadata(&path).unwrap().len());
        assert_eq!(parts(&snapshot, "carts"), ["carts of 60000", "more"]);
        assert_eq!(parts(&snapshot, "owners"), [""]);
        assert_eq!(snapshot.parts("orders").count(), 0);
    }
}

#[test]
fn a_snapshot_without_parts_is_one_and_a_part_beyond_the_bounds_is_the_callers_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.begin(1).unwrap().commit().unwrap();
    assert_eq!(store.newest().0.unwrap().tick(), 1);
    let mut draft = store.begin(2).unwrap();
    assert!(matches!(draft.add(&"n".repeat(256), b""), Err(StoreError::Part { bytes: 0, .. })));
    assert!(matches!(draft.add("carts", &vec![0; format::PART_BYTES_MAX + 1]), Err(StoreError::Part { .. })));
    draft.add(&"n".repeat(255), b"x").unwrap();
    draft.commit().unwrap();
    assert_eq!(parts(&store.newest().0.unwrap(), &"n".repeat(255)), ["x"]);
}

#[test]
fn a_file_cut_off_at_any_byte_is_torn_and_the_one_before_it_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1_000);
    let path = write(&store, 2_000);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (tick, refused) = newest(&store);
        assert_eq!(tick, Some(1_000), "cut off after {length} bytes");
        assert!(matches!(refused[..], [Reason::Torn { bytes }] if bytes == length as u64), "{refused:?}");
    }
    // What a file system may leave of a file whose length was known before its bytes.
    for length in 0..whole.len() {
        let zeroed = [&whole[..length], &vec![0; whole.len() - length][..]].concat();
        fs::write(&path, &zeroed).unwrap();
        assert_eq!(newest(&store).0, Some(if zeroed == whole { 2_000 } else { 1_000 }), "zeros from {length} on");
    }
    fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
    assert!(matches!(newest(&store), (Some(1_000), refused) if matches!(refused[..], [Reason::Damaged { .. }])));
    fs::write(&path, whole).unwrap();
    assert_eq!(newest(&store).0, Some(2_000));
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1_000);
    let path = write(&store, 2_000);
    let mut bytes = fs::read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let (tick, refused) = newest(&store);
        assert_eq!((tick, refused.len()), (Some(1_000), 1), "bit {bit} of {}", bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_length_that_no_file_has_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let path = write(&store, 1_000);
    let whole = fs::read(&path).unwrap();
    let first_part = memchr::memmem::find(&whole, b"carts").unwrap() - 4;
    for (at, length) in [(12, u32::MAX), (first_part, u32::MAX), (first_part, format::PART_BYTES_MAX as u32)] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let (tick, refused) = newest(&store);
        assert!(tick.is_none());
        assert!(matches!(refused[..], [Reason::Damaged { .. } | Reason::Torn { .. }]), "{refused:?}");
    }
}

#[test]
fn two_are_kept_and_what_was_refused_goes_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for tick in [1_000, 2_000, 3_000] {
        write(&store, tick);
    }
    assert_eq!(names(dir.path()), ["2000.snapshot", "3000.snapshot"]);
    fs::write(dir.path().join("9000.snapshot"), "of the future, and nothing").unwrap();
    fs::write(dir.path().join("notes.txt"), "somebody's").unwrap();
    let store = open(dir.path());
    assert_eq!(newest(&store).0, Some(3_000));
    write(&store, 4_000);
    assert_eq!(names(dir.path()), ["3000.snapshot", "4000.snapshot", "notes.txt"]);

    // Whoever found none good, and reads the log, may be further back than what lies there.
    let store = Store::open(dir.path(), Identity { configuration: 8, ..identity() }).unwrap();
    assert!(store.newest().0.is_none());
    write(&store, 500);
    assert_eq!(names(dir.path()), ["500.snapshot", "notes.txt"]);
    write(&store, 600);
    assert_eq!(names(dir.path()), ["500.snapshot", "600.snapshot", "notes.txt"]);
    // The same tick again takes the place of the file.
    write(&store, 600);
    assert_eq!(newest(&store).0, Some(600));
}

#[test]
fn an_older_one_can_be_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1_000);
    write(&store, 2_000);
    let ticks = |store: &Store| store.all().0.iter().map(Snapshot::tick).collect::<Vec<_>>();
    let store = open(dir.path());
    assert_eq!(ticks(&store), [2_000, 1_000]);
    // Others could not go on from the newer one, so this is the one to keep.
    store.use_from(1_000);
    write(&store, 3_000);
    assert_eq!(ticks(&store), [3_000, 1_000]);
    store.discard(3_000).unwrap();
    assert_eq!(ticks(&store), [1_000]);
}

#[test]
fn what_is_anothers_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    write(&open(dir.path()), 1_000);
    let refused = |identity: Identity| {
        let (snapshot, mut refused) = Store::open(dir.path(), identity).unwrap().newest();
        assert!(snapshot.is_none());
        refused.remove(0)
    };
    let said = |refusal: Refusal| refusal.to_string().replace(&dir.path().display().to_string(), "snapshots");

    let build = Build { version: "1.2.4".into(), ..identity().build };
    let refusal = refused(Identity { build, ..identity() });
    assert!(matches!(refusal.reason, Reason::Build { .. }));
    assert_eq!(
        said(refusal),
        "snapshots/1000.snapshot was written by version 1.2.3 (program 0000000000000abc), and this is version 1.2.4 (program \
         0000000000000abc): only the same program reads it; the next snapshot replaces it"
    );
    let build = Build { program: 0xabd, ..identity().build };
    assert!(matches!(refused(Identity { build, ..identity() }).reason, Reason::Build { .. }));

    let refusal = refused(Identity { configuration: 8, ..identity() });
    assert!(matches!(refusal.reason, Reason::Configuration { found: 7, here: 8 }));

    for workers in [Workers::all(3), Workers { total: 2, first: 0, own: 1 }] {
        let refusal = refused(Identity { workers, ..identity() });
        let Reason::Workers { found, here, snapshot } = refusal.reason else { panic!("{refusal}") };
        assert_eq!((found, here), (Workers::all(2), workers));
        assert_eq!(parts(&snapshot, "carts"), ["carts of 1000", "more"], "it is whole, and may be used");
    }
    let refusal = refused(Identity { workers: Workers { total: 4, first: 2, own: 2 }, ..identity() });
    let said = said(refusal);
    assert!(said.contains("has the state of 2 workers, and here run workers 2 to 3 of 4"), "{said}");

    let path = dir.path().join("1000.snapshot");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(refused(identity()).reason, Reason::Format { found: 9, here: format::FORMAT }));
    bytes[0] = b'B';
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(refused(identity()).reason, Reason::Damaged { .. }));
}

#[test]
fn one_under_anothers_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let path = write(&store, 1_000);
    fs::copy(path, dir.path().join("3000.snapshot")).unwrap();
    let (tick, refused) = newest(&store);
    assert_eq!(tick, Some(1_000));
    assert!(matches!(&refused[..], [Reason::Damaged { what }] if what == "it is that of tick 1000"), "{refused:?}");
}

#[test]
fn what_was_not_committed_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1_000);
    let mut draft = store.begin(2_000).unwrap();
    draft.add("carts", &[1; 5_000_000]).unwrap();
    assert_eq!(newest(&store).0, Some(1_000), "until it is committed it is not there");
    drop(draft);
    assert_eq!(names(dir.path()), ["1000.snapshot"]);

    let mut crashed = store.begin(2_000).unwrap();
    crashed.add("carts", &[1; 5_000_000]).unwrap();
    mem::forget(crashed);
    assert_eq!(names(dir.path()), ["1000.snapshot", "2000.draft"]);
    assert_eq!(newest(&open(dir.path())).0, Some(1_000));
    assert_eq!(names(dir.path()), ["1000.snapshot"]);
}

#[test]
fn a_file_that_changes_after_it_was_verified_is_not_believed_and_one_that_is_removed_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let path = write(&store, 1_000);
    let snapshot = store.newest().0.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, b"carts of").unwrap();
    bytes[at] = b'k';
    fs::write(&path, &bytes).unwrap();
    let read: Vec<_> = snapshot.parts("carts").collect();
    assert!(matches!(&read[..], [Err(StoreError::Changed { .. }), Ok(more)] if more == b"more"), "{read:?}");
    fs::write(&path, &bytes[..at]).unwrap();
    assert!(snapshot.parts("carts").all(|part| matches!(part, Err(StoreError::Changed { .. }))));

    write(&store, 2_000);
    let snapshot = store.newest().0.unwrap();
    fs::remove_file(snapshot.path()).unwrap();
    assert_eq!(parts(&snapshot, "carts"), ["carts of 2000", "more"]);
}

#[test]
fn a_folder_that_cannot_be_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file, identity()).err().unwrap().to_string();
    assert!(error.contains("cannot keep snapshots in") && error.contains("file"), "{error}");
    let store = open(&dir.path().join("snapshots"));
    fs::remove_dir(dir.path().join("snapshots")).unwrap();
    assert!(matches!(&store.newest().1[..], [Refusal { reason: Reason::Unreadable(_), .. }]));
    assert!(matches!(store.begin(1), Err(StoreError::Disk { .. })));
}

#[test]
fn the_running_program_is_known_by_its_bytes() {
    let build = Build::running().unwrap();
    assert_eq!(build, Build::running().unwrap());
    assert_ne!(build.program, 0);
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(build.program, xxhash_rust::xxh3::xxh3_64(&program));
}
