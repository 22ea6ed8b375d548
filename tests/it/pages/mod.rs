//! The pages for people: links that lead somewhere, and blocks that work when they are typed.
//!
//! ```text
//! markdown (what a page consists of) <- links, blocks (what is tested of it) <- output (what a command should print)
//! ```
//!
//! Each check takes a folder, so that it is tried on pages that are wrong too, in a folder of its own.

mod blocks;
mod links;
mod markdown;
mod output;

use std::fs;
use std::path::{Path, PathBuf};

use markdown::Page;

/// Pages beside the code. Those that do not exist are left out.
const SINGLE_PAGES: [&str; 4] = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
/// Folders of which every page counts.
const FOLDERS: [&str; 3] = ["docs", "deploy", "migrations"];

/// The folder of the project: where cargo says that it is now, since a built test may have been moved.
pub(crate) fn project() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// All pages in this folder, by their paths from there.
fn pages_in(root: &Path) -> Vec<Page> {
    let mut paths: Vec<PathBuf> = SINGLE_PAGES.map(|name| root.join(name)).into_iter().filter(|path| path.is_file()).collect();
    let mut folders: Vec<PathBuf> = FOLDERS.map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "md") => paths.push(path),
                false => {}
            }
        }
    }
    paths.sort();
    let page = |path: &PathBuf| Page::parse(path.strip_prefix(root).unwrap(), &fs::read_to_string(path).unwrap());
    paths.iter().map(page).collect()
}

/// A folder with these files, to try a check on.
fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}
