//! Whether the files that settings were read from have changed since: by a look at each file that reads none of them.
//!
//! A stamp is taken before its file is read. So a change that comes meanwhile is seen the next time, at worst for nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files and folders as they were.
#[derive(Debug, Clone, Default)]
pub(super) struct FileStamps {
    files: Vec<(PathBuf, Option<Stamp>)>,
    folders: Vec<(PathBuf, Option<BTreeSet<OsString>>)>,
}

/// Of what a path leads to, through links: Kubernetes swaps a link to change the files of a ConfigMap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    length: u64,
    inode: u64,
}

impl FileStamps {
    /// Remembers a file as it is now, also if there is none.
    pub(super) fn watch(&mut self, path: &Path) {
        self.files.push((path.to_owned(), stamp_of(path)));
    }

    /// Remembers the names of the files in a folder as they are now, and returns them.
    pub(super) fn watch_folder(&mut self, path: &Path) -> io::Result<BTreeSet<OsString>> {
        let names = names_in(path);
        self.folders.push((path.to_owned(), names.as_ref().ok().cloned()));
        names
    }

    /// Whether anything is different now.
    pub(super) fn have_changed(&self) -> bool {
        self.folders.iter().any(|(path, names)| names_in(path).ok() != *names)
            || self.files.iter().any(|(path, stamp)| stamp_of(path) != *stamp)
    }

    pub(super) fn shrink(&mut self) {
        self.files.shrink_to_fit();
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp { modified: (found.mtime(), found.mtime_nsec()), length: found.len(), inode: found.ino() })
}

fn names_in(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_removed_or_made_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let stamps = || {
            let mut stamps = FileStamps::default();
            stamps.watch(&path);
            stamps
        };
        let missing = stamps();
        assert!(!missing.have_changed());
        fs::write(&path, "one").unwrap();
        assert!(missing.have_changed());
        let written = stamps();
        assert!(!written.have_changed());
        fs::write(&path, "three").unwrap();
        assert!(written.have_changed());
        // Another file of the same length and time.
        let before = stamps();
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(folder.path().join("b"), "seven").unwrap();
        fs::File::options().write(true).open(folder.path().join("b")).unwrap().set_modified(times).unwrap();
        fs::rename(folder.path().join("b"), &path).unwrap();
        assert!(before.have_changed());
        let there = stamps();
        fs::remove_file(&path).unwrap();
        assert!(there.have_changed());
    }

    #[test]
    fn a_file_that_comes_to_a_folder_or_goes_is_a_change_and_so_is_a_link_that_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut stamps = FileStamps::default();
        assert!(stamps.watch_folder(folder.path()).unwrap().is_empty());
        fs::create_dir(at("..1")).unwrap();
        assert!(stamps.have_changed());

        // As Kubernetes has it: files are links through `..data`.
        fs::create_dir(at("..2")).unwrap();
        fs::write(at("..1/a.toml"), "a").unwrap();
        fs::write(at("..2/a.toml"), "b").unwrap();
        std::os::unix::fs::symlink("..1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.toml", at("a.toml")).unwrap();
        let mut stamps = FileStamps::default();
        assert!(stamps.watch_folder(folder.path()).unwrap().contains(&OsString::from("a.toml")));
        stamps.watch(&at("a.toml"));
        assert!(!stamps.have_changed());
        std::os::unix::fs::symlink("..2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert!(stamps.have_changed());

        let mut missing = FileStamps::default();
        assert!(missing.watch_folder(&at("none")).is_err());
        assert!(!missing.have_changed());
        fs::create_dir(at("none")).unwrap();
        assert!(missing.have_changed());
    }
}
