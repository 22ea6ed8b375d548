//! The processor time of PostgreSQL itself: of its server with all processes, also those that have ended.
//!
//! Linux counts the time of each process, and that of a process which has ended with its parent: the postmaster is the parent of all. So the
//! sum of what the postmaster has used, what has been counted with it, and what its living children have used is exact, to a hundredth of a
//! second a process. It includes what is done beside a run, as by autovacuum. Where there is no `/proc`, there is no figure.

use std::path::Path;

use anyhow::Result;

/// Linux counts in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server whose processor time can be read, on this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerCpu {
    postmaster: Option<u32>,
}

/// What a process has used, in ticks.
struct Used {
    parent: u32,
    own: u64,
    /// What its children had used that have ended.
    ended_children: u64,
}

impl ServerCpu {
    /// That of the server with its data in this folder.
    pub(crate) fn of(data_directory: &Path) -> ServerCpu {
        let lock_file = std::fs::read_to_string(data_directory.join("postmaster.pid")).ok();
        let postmaster = lock_file.and_then(|text| text.lines().next()?.trim().parse().ok());
        ServerCpu { postmaster: postmaster.filter(|postmaster| used(*postmaster).is_some()) }
    }

    /// Does some work. Returns how many seconds the server has used meanwhile.
    pub(crate) fn during<T>(self, work: impl FnOnce() -> Result<T>) -> Result<(T, Option<f64>)> {
        let before = self.seconds();
        let done = work()?;
        Ok((done, self.seconds().zip(before).map(|(after, before)| after - before)))
    }

    pub(crate) fn seconds(self) -> Option<f64> {
        let postmaster = self.postmaster?;
        loop {
            let before = used(postmaster)?;
            let children: u64 = processes().filter(|process| process.parent == postmaster).map(Used::total).sum();
            // A child that has ended between the two may have been counted twice or not at all.
            if used(postmaster)?.ended_children == before.ended_children {
                return Some((before.total() + children) as f64 / TICKS_PER_SECOND);
            }
        }
    }
}

/// How many seconds a process has used that is there, without its children.
pub(crate) fn seconds_of_process(process: u32) -> Option<f64> {
    Some(used(process)?.own as f64 / TICKS_PER_SECOND)
}

impl Used {
    fn total(self) -> u64 {
        self.own + self.ended_children
    }
}

fn processes() -> impl Iterator<Item = Used> {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| used(folder.file_name().to_str()?.parse().ok()?))
}

fn used(process: u32) -> Option<Used> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it is in brackets, and may have any character.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let parent = fields.get(1)?.parse().ok()?;
    Some(Used { parent, own: number(11)? + number(12)?, ended_children: number(13)? + number(14)? })
}
