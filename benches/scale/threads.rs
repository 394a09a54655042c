//! What each part of the engine costs, by its threads. Out: CPU time so far, s. Fails where there is no `/proc`.

use std::ops::AddAssign;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cost::cpu_s;

/// CPU time, s.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Spent {
    /// The graph.
    pub working_s: f64,
    /// Records decoded and handed over.
    pub decoding_s: f64,
    /// Closed ticks taken up and decided.
    pub deciding_s: f64,
    /// All of this process.
    pub total_s: f64,
}

impl Spent {
    /// This process's, so far. The calling thread is the one that decodes.
    pub fn so_far() -> anyhow::Result<Spent> {
        let (own, mut spent) = (std::process::id().to_string(), Spent::default());
        for task in std::fs::read_dir("/proc/self/task")? {
            let folder = task?.path();
            let name = std::fs::read_to_string(folder.join("comm"))?;
            let of_thread = sum(cpu_s(&folder)?);
            match name.trim() {
                name if name.starts_with("timely") => spent.working_s += of_thread,
                "decide" => spent.deciding_s += of_thread,
                _ if folder.ends_with(&own) => spent.decoding_s += of_thread,
                _ => {}
            }
        }
        spent.total_s = sum(cpu_s(Path::new("/proc/self"))?);
        Ok(spent)
    }

    /// What was spent since.
    pub fn since(self, before: Spent) -> Spent {
        Spent {
            working_s: self.working_s - before.working_s,
            decoding_s: self.decoding_s - before.decoding_s,
            deciding_s: self.deciding_s - before.deciding_s,
            total_s: self.total_s - before.total_s,
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        self.working_s += other.working_s;
        self.decoding_s += other.decoding_s;
        self.deciding_s += other.deciding_s;
        self.total_s += other.total_s;
    }
}

fn sum((user_s, system_s): (f64, f64)) -> f64 {
    user_s + system_s
}
