//! Processes that others have started, as Linux lists them: found, and killed all at once.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// How often a tree is looked at while it grows.
const LOOKS: usize = 20;

/// One process; its id may be another's later, its start time may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: i32,
    started: u64,
}

/// A process and all that it and its children have started.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeSet<Process>);

impl Tree {
    /// Those that there are now.
    #[must_use]
    pub fn below(pid: u32) -> Self {
        let mut tree = Self::default();
        tree.grow(pid);
        tree
    }

    /// Takes in what was started since; whether there was any.
    fn grow(&mut self, root: u32) -> bool {
        let all = all();
        let before = self.0.len();
        let is_root = |process: &Process| u32::try_from(process.pid) == Ok(root);
        self.0.extend(all.iter().map(|one| one.0).filter(is_root));
        loop {
            let known = self.0.len();
            let pids: BTreeSet<_> = self.0.iter().map(|process| process.pid).collect();
            let children = all.iter().filter(|(_, parent)| pids.contains(parent));
            self.0.extend(children.map(|(process, _)| *process));
            if self.0.len() == known {
                return known > before;
            }
        }
    }

    /// Stops all below a process, so that none starts another meanwhile, and then kills all.
    pub fn kill_all(root: u32) {
        let mut tree = Self::default();
        for _ in 0..LOOKS {
            if !tree.grow(root) {
                break;
            }
            tree.send(Signal::STOP);
        }
        tree.kill();
    }

    /// Kills those of them that are left.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        for process in &self.0 {
            let is_same = read(process.pid).is_some_and(|(now, _)| now == *process);
            if is_same && let Some(pid) = Pid::from_raw(process.pid) {
                // It may have ended in this moment.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// All processes, with their parents' ids.
fn all() -> Vec<(Process, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| read(name.parse().ok()?)).collect()
}

/// A process, and its parent's id; nothing when it is gone.
fn read(pid: i32) -> Option<(Process, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have blanks and brackets. See `man 5 proc_pid_stat`.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let started = fields.get(19)?.parse().ok()?;
    Some((Process { pid, started }, fields.get(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_tree_is_killed_with_what_its_processes_have_started() {
        let mut shell = Command::new("sh");
        let mut shell = shell
            .args(["-c", "sleep 600 & sleep 601; true"])
            .spawn()
            .unwrap();
        while Tree::below(shell.id()).0.len() < 3 {
            std::thread::yield_now();
        }
        let tree = Tree::below(shell.id());
        Tree::kill_all(shell.id());
        shell.wait().unwrap();
        for process in tree.0 {
            // Nobody may have waited yet for what has ended.
            let lives = || {
                let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid));
                stat.is_ok_and(|stat| !stat.contains(") Z "))
            };
            while lives() {
                std::thread::yield_now();
            }
        }
    }
}
