//! Identifies the process that holds a lease, and tells whether it has exited: after a crash the next run on the same
//! machine need not wait until the lease is stale.
//!
//! Whether a process has exited can be seen only on its own machine, by the boot id, the pid namespace, the pid and the start time. If any of these differs, or `/proc` does not exist (macOS) or hides other
//! processes, the state is unknown, and the age of the last renewal decides.

use std::fs;

use planhat_store::ProcessIdentity;

/// This process, as others find it.
pub fn this_process() -> ProcessIdentity {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this host".to_owned());
    let id = std::process::id();
    let process = pid_namespace().and_then(|pid_namespace| Some(format!("{pid_namespace} {id} {}", start_ticks(id)?)));
    let name = format!("process {id} on {}", host.trim());
    ProcessIdentity { name, process: process.unwrap_or_default() }
}

/// Whether it is certain that this process has ended.
pub fn has_exited(process: &str) -> bool {
    is_running(process) == Some(false)
}

/// Nothing if that cannot be seen from here.
fn is_running(process: &str) -> Option<bool> {
    let (world_and_id, beginning) = process.rsplit_once(' ')?;
    let (its_world, id) = world_and_id.rsplit_once(' ')?;
    let id = id.parse().ok()?;
    // If the first process is hidden, so may be the others. (If we are the first process, all others are our children.)
    let sees_others = start_ticks(1).is_some() && pid_namespace()? == its_world;
    sees_others.then(|| start_ticks(id).is_some_and(|start_ticks| start_ticks == beginning))
}

/// The boot, and the namespace in which process ids mean something.
fn pid_namespace() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process began, in ticks since the boot.
fn start_ticks(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in brackets may hold anything; the beginning is the 20th field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_as_exited_only_when_that_is_certain() {
        let us = this_process().process;
        assert_eq!(is_running(&us), Some(true));
        let (rest, beginning) = us.rsplit_once(' ').unwrap();
        assert!(has_exited(&format!("{rest} 1{beginning}")), "its id belongs to another one now");
        let (pid_namespace, _) = rest.rsplit_once(' ').unwrap();
        assert!(has_exited(&format!("{pid_namespace} 4294967295 {beginning}")));
        assert!(!has_exited(&format!("another-{pid_namespace} 4294967295 {beginning}")));
        assert_eq!((is_running(""), is_running("odd")), (None, None));
    }
}
