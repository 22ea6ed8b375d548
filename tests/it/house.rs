//! Rules about the source that the compiler cannot check: each file opens by saying what it is for, each wait of a test has a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the program, from the top down: each may know those in a later row.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["commands", "daemon"],
    &["workspace"],
    &["command_error"],
    &["print"],
    &["cli", "telemetry"],
    &["config", "fleet_state"],
    &["events", "workspace_status"],
    &["freshness", "run"],
    &["pull"],
    &["log_lines", "progress", "schedule", "signals", "when"],
];

#[test]
fn a_module_of_the_program_knows_only_what_lies_below_it() {
    let floors: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor))).collect();
    for (file, text) in sources_in("src").into_iter().filter(|(file, _)| !file.ends_with("lib.rs")) {
        let module = module_of(&file);
        let own = floors.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no floor in the house yet"));
        for known in modules_used_by(&text) {
            let is_below = floors.get(known.as_str()).is_none_or(|floor| floor > own);
            assert!(known == module || is_below, "{} uses {known}, which does not lie below {module}", file.display());
        }
    }
}

#[test]
fn only_the_sql_module_builds_statements() {
    for (file, text) in sources() {
        for only_there in ["AssertSqlSafe", "sqlx::query(", "sqlx::query_"] {
            assert!(file.ends_with("store/src/sql.rs") || !text.contains(only_there), "{}: {only_there}", file.display());
        }
    }
}

/// The types let a statement about the data return only what is `Guarded`. This test checks what they cannot: that no further
/// type is declared `Guarded`, and that no value is taken out of a row without a type.
#[test]
fn a_stored_value_comes_out_of_a_statement_guarded() {
    let mut seen = BTreeSet::new();
    for (file, text) in sources_in("crates/store") {
        let is = |name: &str| file.ends_with(name);
        let only_in = |what: &str, named: &[&str]| {
            assert!(!text.contains(what) || named.iter().any(|name| is(name)), "{} has {what}", file.display());
        };
        for by_hand in ["PgRow", "try_get", "Row as _", "sqlx::raw_sql"] {
            only_in(by_hand, &["sql.rs"]);
        }
        // The beginning of a transaction answers nothing.
        only_in(".safe()", &["sql.rs", "connection.rs"]);
        only_in("Guarded for ", &["stored_value.rs", "read_actions.rs"]);
        only_in("planhat_sync.quarantine", &["quarantined.rs"]);
        seen.extend(["stored_value.rs", "read_actions.rs", "quarantined.rs"].into_iter().filter(|name| is(name)));
        if is("stored_value.rs") {
            for open in ["String", "Value", "RawValue", "Json"] {
                assert!(!text.contains(&format!("Guarded for {open}")), "a {open} may hold a stored value");
            }
        }
        if is("read_actions.rs") {
            let (_, row) = text.split_once("struct ActionRow {").unwrap();
            let (row, _) = row.split_once('}').unwrap();
            let open: Vec<&str> = row.lines().filter(|line| line.contains(": String")).map(str::trim).collect();
            assert_eq!(open, ["action: String,", "kind: String,", "object: String,"], "our own words alone lie open");
        }
        if is("quarantined.rs") {
            assert!(
                text.contains("raw: Stored<String>") && text.contains("reason: Stored<String>") && !text.contains("raw: String")
            );
        }
    }
    assert_eq!(seen.len(), 3, "a file has another name now, and is not looked at: {seen:?}");
}

#[test]
fn only_the_workspace_makes_a_client_a_store_or_a_notifier() {
    for (file, text) in sources_in("src").into_iter().filter(|(file, _)| !file.ends_with("workspace.rs")) {
        for made in ["Client::new(", "Store::connect", "Store::embedded(", "Notifier::new("] {
            assert!(!text.contains(made), "{}: {made}", file.display());
        }
    }
}

#[test]
fn the_api_client_sends_get_only() {
    for (file, text) in sources_in("crates/api") {
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

#[test]
fn no_two_modules_have_one_name() {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (file, _) in sources().into_iter().filter(|(file, _)| !file.ends_with("lib.rs") && !file.ends_with("main.rs")) {
        let name = if file.ends_with("mod.rs") { file.parent().unwrap().file_name() } else { file.file_stem() };
        let name = name.unwrap().to_str().unwrap().to_owned();
        if let Some(other) = files.insert(name, file.clone()) {
            panic!("{} and {} have one name", other.display(), file.display());
        }
    }
}

/// A wait without an end hangs all tests, and nobody knows which one it is of.
#[test]
fn a_test_waits_by_the_helpers_that_have_a_deadline() {
    const OF_ANY_TEST: &[&str] = &["yield_now", ".wait()", ".recv()", ".join()", ".read_line("];
    // Unit tests do not reach `waiting.rs`, and say themselves how long they wait.
    const OF_OTHERS: &[&str] = &[
        ".wait_with_output(", ".notified().await", ".changed().await", ".cancelled().await", "recv_timeout(", "time::timeout(",
        "sleep(", "sleep_until(", "park()", "spawn_blocking(",
    ];
    for (file, text, is_unit_test) in tests() {
        let others = if is_unit_test { &[] } else { OF_OTHERS };
        for line in text.lines().filter(|line| !line.contains("// No wait of a test:")) {
            let code = without_texts(line);
            let is_busy = code.contains("while ") && (code.trim_end().ends_with("{}") || code.contains("{} }"));
            assert!(!is_busy, "{}: nothing ends this loop, nor does it pause: {line}", file.display());
            let has_deadline = code.contains("in_time(") || code.contains("within(");
            let wait = OF_ANY_TEST.iter().chain(others).find(|wait| code.contains(**wait) && !has_deadline);
            assert_eq!(wait, None, "{}: tests/it/waiting.rs has it with a deadline: {line}", file.display());
        }
    }
}

/// A line of code without comments and without what stands in quotation marks.
#[test]
fn every_recipe_that_the_makefile_names_is_there_with_what_it_is_for() {
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let named = makefile.lines().find_map(|line| line.strip_prefix(".PHONY: ")).unwrap();
    for recipe in named.split_whitespace() {
        assert!(makefile.lines().any(|line| line.starts_with(&format!("{recipe}: ## "))), "there is no recipe {recipe}");
    }
}

fn without_texts(line: &str) -> String {
    let code = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    code.split("//").next().unwrap_or_default().to_owned()
}

/// All tests, and whether they are unit tests. The helpers themselves are none.
fn tests() -> Vec<(PathBuf, String, bool)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_folder = |folder: &str| files_in(&root.join(folder));
    let mut tests: Vec<_> = in_folder("tests/it").into_iter().map(|(file, text)| (file, text, false)).collect();
    for (file, text) in in_folder("crates").into_iter().chain(in_folder("src")) {
        if file.parent().is_some_and(|folder| folder.ends_with("tests")) {
            tests.push((file, text, false));
        } else if let Some((_, test)) = text.split_once("#[cfg(test)]") {
            tests.push((file, test.to_owned(), true));
        }
    }
    tests.retain(|(file, ..)| !file.ends_with("waiting.rs"));
    let counts = [false, true].map(|unit| tests.iter().filter(|(.., is_unit_test)| *is_unit_test == unit).count());
    assert!(counts.iter().all(|count| *count > 30), "the tests are not where they used to be: {counts:?}");
    tests
}

/// All source files with what they are made of outside their tests.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap().map(|each| each.unwrap().path().join("src"));
    let files = std::iter::once(root.join("src")).chain(crates).flat_map(|folder| files_in(&folder));
    let outside_tests = |text: String| text.split("#[cfg(test)]").next().unwrap().to_owned();
    let sources: Vec<_> = files.map(|(file, text)| (file, outside_tests(text))).collect();
    assert!(sources.len() > 30, "the sources are not where they used to be");
    sources
}

/// Those in a folder of the repository, of which there are some.
fn sources_in(folder: &str) -> Vec<(PathBuf, String)> {
    let sources: Vec<_> = sources().into_iter().filter(|(file, _)| file.starts_with(folder)).collect();
    assert!(sources.len() > 5, "the sources of {folder} are not where they used to be");
    sources
}

/// The files with code in a folder and all below it, with their texts.
fn files_in(folder: &Path) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    files
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
