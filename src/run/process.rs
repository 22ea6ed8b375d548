//! Which process holds a lease, and whether it is dead: after a crash the next run on the same machine need
//! not wait until the heartbeat counts as stopped.
//!
//! A process is told by the boot of its machine, its namespace of process ids, its id and when it began. Where
//! any of this differs, or `/proc` is not there or does not show the processes of others, nothing is known, and
//! the heartbeat decides.

use std::fs;

use crate::store::Holder;

/// This process, as others find it.
pub fn this_process() -> Holder {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this host".to_owned());
    let id = std::process::id();
    let process = world().and_then(|world| Some(format!("{world} {id} {}", began(id)?)));
    Holder { name: format!("process {id} on {}", host.trim()), process: process.unwrap_or_default() }
}

/// Whether it is certain that this process has ended.
pub fn is_dead(process: &str) -> bool {
    let Some((world_and_id, beginning)) = process.rsplit_once(' ') else { return false };
    let Some((its_world, id)) = world_and_id.rsplit_once(' ') else { return false };
    let Ok(id) = id.parse() else { return false };
    // The first process is somebody else's, unless we are it and all others are our children.
    let sees_others = began(1).is_some();
    sees_others && world().is_some_and(|world| world == its_world) && began(id).is_none_or(|began| began != beginning)
}

/// The boot, and the namespace in which process ids mean something.
fn world() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process began, in ticks since the boot.
fn began(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in brackets may hold anything; the beginning is the 20th field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_only_when_that_is_certain() {
        let us = this_process().process;
        assert!(!is_dead(&us));
        let (rest, beginning) = us.rsplit_once(' ').unwrap();
        assert!(is_dead(&format!("{rest} 1{beginning}")), "its id belongs to another one now");
        let (world, _) = rest.rsplit_once(' ').unwrap();
        assert!(is_dead(&format!("{world} 4294967295 {beginning}")));
        assert!(!is_dead(&format!("another-{world} 4294967295 {beginning}")));
        assert!(!is_dead("") && !is_dead("odd"));
    }
}
