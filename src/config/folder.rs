//! The service folder, /etc/planhat-sync: settings and secrets that both the service and a person at the command line use.
//!
//! A systemd unit passes secrets to its service as credentials, and the lines of `environment` as variables. A person at the
//! command line has neither, so the same files are read from here, with lower precedence than explicit settings. A file that this user
//! may not read is skipped, and named when its value turns out to be missing.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where it is, unless a test has one of its own.
pub const DEFAULT_FOLDER: &str = "/etc/planhat-sync";
/// Lines of KEY=value, as `EnvironmentFile=` of systemd has them.
const ENVIRONMENT: &str = "environment";

/// The files that secrets come from.
#[derive(Debug, Clone, Default)]
pub struct SecretFiles {
    /// Those that one was taken from.
    pub used: Vec<PathBuf>,
    /// Those in the usual folder that are there and that this user may not read.
    pub unreadable: Vec<PathBuf>,
    /// What is probably not meant, in them or in the names of variables, each as a sentence.
    pub doubts: Vec<String>,
}

impl SecretFiles {
    /// A hint for a missing secret, if a file of this name, or the environment file, exists but may not be read by this
    /// user.
    pub fn unreadable_hint(&self, name: &str) -> Option<String> {
        let may_hold_it = |path: &&PathBuf| path.ends_with(name) || path.ends_with(ENVIRONMENT);
        let path = self.unreadable.iter().find(may_hold_it)?;
        Some(format!("{} cannot be read by this user; use sudo", path.display()))
    }

    /// Those of the used files that other users of this machine can read.
    pub fn open_to_others(&self) -> impl Iterator<Item = &Path> {
        self.used.iter().map(PathBuf::as_path).filter(|path| is_open_to_others(path))
    }

    /// The file of a secret in the folder, if it is there and readable.
    pub(super) fn secret_in(&mut self, folder: &Path, name: &str) -> Option<PathBuf> {
        let path = folder.join(name);
        self.text_of(&path).map(|_| path)
    }

    /// The file with the variables in the folder.
    pub(super) fn environment_file(folder: &Path) -> PathBuf {
        folder.join(ENVIRONMENT)
    }

    /// The variables in the folder, as far as they are ours.
    pub(super) fn environment_in(&mut self, folder: &Path) -> HashMap<String, String> {
        let text = self.text_of(&Self::environment_file(folder)).unwrap_or_default();
        let is_ours = |name: &str| name.starts_with("PLANHAT_") || name.starts_with("DATABASE_") || name.starts_with("PG");
        variables_in(&text).filter(|(name, value)| is_ours(name) && !value.trim().is_empty()).collect()
    }

    pub(super) fn environment_was_used(&mut self, folder: &Path) {
        self.used.push(Self::environment_file(folder));
    }

    fn text_of(&mut self, path: &Path) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => {
                if error.kind() == ErrorKind::PermissionDenied {
                    self.unreadable.push(path.to_owned());
                }
                None
            }
        }
    }
}

/// Comments and blank lines are passed over, quotes around a value taken off, as systemd does.
fn variables_in(text: &str) -> impl Iterator<Item = (String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| {
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        (name.trim().to_owned(), quoted.unwrap_or(value).to_owned())
    })
}

/// Whether users other than the owner can read or change a file: by its mode, and by those of the folders on the way to
/// it. A group may read what root owns, which is how root hands something to a service; what a container's engine
/// puts into /run/secrets is read by nobody but the container.
#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(path) = path.canonicalize() else { return false };
    let Ok(file) = path.metadata() else { return false };
    let permitted = if file.uid() == 0 { 0o640 } else { 0o600 };
    let entered = |folder: &Path| folder.metadata().is_ok_and(|folder| folder.mode() & 0o011 != 0);
    file.mode() & 0o666 & !permitted != 0 && !path.starts_with("/run/secrets") && path.ancestors().skip(1).all(entered)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_file_is_read_as_systemd_reads_it() {
        let text =
            "# a comment\n; another\n\nDATABASE_URL=postgres://a@b/c?x=y\n PLANHAT_API_URL = \"https://x\"\nODD\nA='b c'\n";
        let found: Vec<_> = variables_in(text).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found, [pair("DATABASE_URL", "postgres://a@b/c?x=y"), pair("PLANHAT_API_URL", "https://x"), pair("A", "b c")]);
    }

    #[cfg(unix)]
    #[test]
    fn whether_others_can_read_a_file_depends_on_its_mode_and_the_modes_of_its_folders() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "x").unwrap();
        mode(folder.path(), 0o755);
        let is_root = file.metadata().unwrap().uid() == 0;
        for (bits, open) in [(0o600, false), (0o400, false), (0o644, true), (0o604, true), (0o620, true), (0o640, !is_root)] {
            mode(&file, bits);
            assert_eq!(is_open_to_others(&file), open, "{bits:o}");
        }
        mode(&file, 0o644);
        mode(folder.path(), 0o700);
        assert!(!is_open_to_others(&file));
        assert!(!is_open_to_others(Path::new("/nowhere/token")));
    }
}
