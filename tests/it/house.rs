//! The arrows of the house point one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with the modules it may know. What stands in `src/<name>.rs` or below `src/<name>/`
/// belongs to `<name>`.
const ARROWS: &[(&str, &[&str])] = &[
    ("object", &[]),
    ("json", &[]),
    ("instant", &["json"]),
    ("record", &["json", "instant"]),
    ("error", &[]),
    ("catalog", &["object"]),
    ("window", &["object", "record"]),
    ("sweep", &["record"]),
    ("fields", &["record"]),
    ("privacy", &["fields", "json", "record"]),
    ("flatten", &["object", "json", "instant", "record", "fields", "privacy"]),
    ("planhat", &["error", "object", "json", "record"]),
    ("store", &["error", "object", "json", "record", "flatten", "privacy"]),
    ("progress", &[]),
    (
        "pull",
        &["error", "object", "json", "record", "window", "sweep", "fields", "privacy", "flatten", "planhat", "progress", "store"],
    ),
    ("run", &["error", "object", "catalog", "flatten", "planhat", "progress", "store", "pull"]),
    ("schedule", &[]),
    ("notify", &["error", "store", "run"]),
    ("freshness", &["store"]),
    ("status", &["freshness", "store"]),
    ("http", &["error", "freshness", "progress", "status", "store"]),
    ("simulator", &[]),
    ("signals", &[]),
    ("config", &["object", "catalog", "fields", "privacy", "schedule", "store", "notify"]),
    ("telemetry", &["config"]),
    ("cli", &["object"]),
    (
        "commands",
        &[
            "error", "object", "catalog", "record", "privacy", "flatten", "planhat", "progress", "store", "pull", "run",
            "schedule", "notify", "freshness", "status", "http", "config", "cli", "signals", "simulator", "telemetry",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli", "commands", "config", "signals", "telemetry"]),
];

#[test]
fn every_module_knows_only_what_lies_below_it() {
    let arrows: BTreeMap<_, BTreeSet<_>> = ARROWS.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    for (file, text) in sources() {
        let module = module_of(&file);
        let allowed = arrows.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no place in the house yet"));
        for known in modules_used_by(&text) {
            assert!(
                known == module || allowed.contains(known.as_str()) || !arrows.contains_key(known.as_str()),
                "{} uses {known}: an arrow from {module} to {known} is not in the plan",
                file.display()
            );
        }
    }
}

#[test]
fn only_the_demo_knows_the_simulator() {
    for (file, text) in sources() {
        let may = file.ends_with("commands/demo.rs") || file.starts_with("src/simulator");
        assert!(may || !modules_used_by(&text).contains("simulator"), "{}", file.display());
    }
}

#[test]
fn only_one_module_makes_statements_and_vouches_for_their_safety() {
    for (file, text) in sources() {
        for only_there in ["AssertSqlSafe", "sqlx::query(", "sqlx::query_"] {
            assert!(file.ends_with("store/sql.rs") || !text.contains(only_there), "{}: {only_there}", file.display());
        }
    }
}

#[test]
fn the_client_knows_no_method_but_get() {
    for (file, text) in sources().into_iter().filter(|(file, _)| file.starts_with("src/planhat")) {
        for method in [".post(", ".put(", ".patch(", ".delete(", ".request(", "Method::"] {
            assert!(!text.contains(method), "{} uses {method}", file.display());
        }
    }
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "{}", file.display());
    }
}

/// All source files with what they are made of outside their tests.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                sources.push((path.strip_prefix(root).unwrap().to_owned(), code));
            }
        }
    }
    assert!(sources.len() > 30, "the sources are not where they used to be");
    sources
}

fn module_of(file: &Path) -> String {
    let first = file.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The names behind `crate::` and `planhat_sync::`, alone or in braces.
fn modules_used_by(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for root in ["crate::", "planhat_sync::"] {
        for (start, _) in text.match_indices(root) {
            let path = &text[start + root.len()..];
            let names = path.strip_prefix('{').and_then(|list| list.split('}').next()).unwrap_or(path);
            let until = if path.starts_with('{') {
                names.len()
            } else {
                names.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0)
            };
            used.extend(names[..until].split(',').map(|name| name.trim().split("::").next().unwrap_or_default().to_owned()));
        }
    }
    used
}
