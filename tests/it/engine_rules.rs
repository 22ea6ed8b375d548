//! Rules for all SQL of the store, by which the data can be spread over several servers (Citus: a schema of a workspace is on one of
//! them), and by which locks work behind any pooler. `docs/architecture.md` has them under "The engine".
//!
//! SQL is made in the store alone, and there of texts in its source, so this test reads these texts. That a call is a single statement
//! PostgreSQL checks itself, since it prepares each: here is checked that nothing goes around that.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What may answer differently from one call to the next.
const NOT_IMMUTABLE: [&str; 11] = [
    "now()", "statement_timestamp", "clock_timestamp", "current_timestamp", "current_date", "localtimestamp", "timeofday",
    "random", "gen_random", "nextval", "current_setting",
];

/// What makes JSON. It depends on settings of the session, so it counts as what may answer differently too.
const MAKES_JSON: [&str; 6] = ["to_jsonb", "to_json(", "row_to_json", "jsonb_agg", "jsonb_build_", "jsonb_object_agg"];

/// A text in the source, and the code in front of it.
struct Text {
    text: String,
    before: String,
}

/// What breaks a rule in a file of the store, without its tests.
fn broken_rules(file: &str, source: &str) -> Vec<String> {
    let texts = texts_of(source);
    let mut broken = Vec::new();
    let mut breaks =
        |rule: &str, text: &str| broken.push(format!("{file}: {rule}: {}", text.trim().lines().next().unwrap_or_default()));
    for Text { text, .. } in &texts {
        let lower = text.to_lowercase();
        if lower.contains("pg_advisory") || lower.contains("pg_try_advisory") {
            breaks("an advisory lock", text);
        }
        if lower.contains("foreign key")
            || lower.split_whitespace().any(|word| word == "references") && lower.contains("create table")
        {
            breaks("a foreign key", text);
        }
    }
    let is_of_upsert = |text: &str| ["on conflict", "excluded."].iter().any(|part| text.contains(part));
    let upserts_data = texts.iter().any(|Text { text, .. }| is_of_upsert(text) && !text.contains("planhat_sync."));
    if upserts_data {
        for Text { text, .. } in &texts {
            if let Some(function) = NOT_IMMUTABLE.iter().chain(&MAKES_JSON).find(|function| text.contains(**function)) {
                breaks(&format!("{function} in a file that updates rows of the data on conflict"), text);
            }
        }
    }
    for function in source.split("fn ") {
        let texts = texts_of(function);
        let updates = |Text { text, .. }: &&Text| text.starts_with("update ") || text.contains(" update ");
        let of_update =
            texts.iter().skip_while(|text| !updates(text)).filter(|Text { text, .. }| !text.contains("planhat_sync."));
        for Text { text, .. } in of_update {
            let behind = text.split_once("update ").map_or(&**text, |(_, behind)| behind);
            if let Some(makes) = MAKES_JSON.iter().find(|makes| behind.contains(**makes)) {
                breaks(&format!("{makes} in an update of rows of the data"), text);
            }
        }
    }
    for (ways_around, files) in [
        ("raw_sql(", &["sql.rs"][..]),
        (".execute_in_one_message(", &["connection.rs", "connection_pool.rs", "engine.rs"]),
        ("begin_with(", &["connection.rs"]),
        (".safe()", &["sql.rs", "connection.rs"]),
    ] {
        if source.contains(ways_around) && !files.iter().any(|name| file.ends_with(&format!("/{name}"))) {
            breaks("goes around the preparation of statements", ways_around);
        }
    }
    for function in source.split("fn ") {
        let schemas: BTreeSet<&str> =
            function.split(".table(").skip(1).filter_map(|call| call.split([',', ')']).next()).map(str::trim).collect();
        if schemas.len() > 1 {
            breaks("a statement that may name two schemas", &format!("{schemas:?}"));
        }
    }
    broken
}

/// The texts that name a table of planhat_sync and are a part of a statement, which may be one about the data: the table, and whether it
/// is read before the data, which Citus needs where that is on another server.
fn joins_with_own_tables(file: &str, source: &str) -> Vec<String> {
    let is_part = |Text { text, before }: &Text| {
        let is_built = ["Sql::new(", ".text("].iter().any(|call| before.trim_end().ends_with(call));
        let begins =
            ["select ", "insert ", "update ", "delete ", "with ", "lock "].iter().any(|word| text.trim_start().starts_with(word));
        let reads = ["from planhat_sync.", "join planhat_sync."].iter().any(|read| text.contains(read));
        text.contains("planhat_sync.") && (is_built || reads && !begins)
    };
    let joins = texts_of(source).into_iter().filter(is_part);
    let first_table = |text: &str| {
        let name = &text[text.find("planhat_sync.").unwrap()..];
        name[..name.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(name.len())].to_owned()
    };
    let how = |text: &str| match ["as materialized (", "(select distinct "].iter().any(|way| text.contains(way)) {
        true => "read first",
        false => "joined",
    };
    joins.map(|Text { text, .. }| format!("{file}: {} {}", first_table(&text), how(&text))).collect()
}

/// The texts of a source; comments and characters are none.
fn texts_of(source: &str) -> Vec<Text> {
    let (mut texts, mut place) = (Vec::new(), 0);
    while let Some(next) = source[place..].chars().next() {
        let rest = &source[place..];
        let raw = rest.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
        let opens_raw = raw.is_some_and(|marks| rest[1 + marks..].starts_with('"'))
            && !source[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if rest.starts_with("//") {
            place += rest.find('\n').unwrap_or(rest.len());
        } else if opens_raw {
            let marks = raw.unwrap();
            let (start, end) = (place + marks + 2, format!("\"{}", "#".repeat(marks)));
            let length = source[start..].find(&end).unwrap();
            texts.push(Text { text: source[start..start + length].to_owned(), before: source[..place].to_owned() });
            place = start + length + end.len();
        } else if next == '"' {
            let (mut length, mut is_escaped) = (0, false);
            for c in rest[1..].chars() {
                if c == '"' && !is_escaped {
                    break;
                }
                is_escaped = c == '\\' && !is_escaped;
                length += c.len_utf8();
            }
            texts.push(Text { text: rest[1..=length].to_owned(), before: source[..place].to_owned() });
            place += length + 2;
        } else if ["'\"'", "'\\''", "'\\\"'"].iter().any(|character| rest.starts_with(character)) {
            place += if rest.starts_with("'\"'") { 3 } else { 4 };
        } else {
            place += next.len_utf8();
        }
    }
    texts
}

/// The files of the store without their tests, by their paths below it.
fn store() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/store/src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                files.push((format!("/{name}"), text.split("#[cfg(test)]").next().unwrap().to_owned()));
            }
        }
    }
    files.sort();
    assert!(files.len() > 40, "the store is not where it used to be");
    files
}

#[test]
fn the_sql_of_the_store_keeps_the_rules_of_the_engine() {
    let broken: Vec<String> = store().iter().flat_map(|(file, source)| broken_rules(file, source)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let texts: usize = store().iter().map(|(_, source)| texts_of(source).len()).sum();
    assert!(texts > 800, "the texts are not found any more: {texts}");
}

#[test]
fn the_statements_that_join_the_data_with_our_own_tables_are_few_and_known() {
    let joins: Vec<String> = store().iter().flat_map(|(file, source)| joins_with_own_tables(file, source)).collect();
    // The last two make a table of our own, and name what is no table.
    insta::assert_snapshot!(joins.join("\n"), @"
    /data/deletions.rs: planhat_sync.listed_ids read first
    /data/missing_records.rs: planhat_sync.forgotten read first
    /data/missing_records.rs: planhat_sync.absent_records read first
    /migrate.rs: planhat_sync.migrations joined
    /timeline/action_table.rs: planhat_sync.is_newer_than_this_program joined
    ");
}

#[test]
fn no_migration_takes_an_advisory_lock_or_refers_to_the_data() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for file in
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "sql"))
    {
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        let code: String =
            text.lines().filter(|line| !line.starts_with("--") && !line.starts_with("comment on")).collect::<Vec<_>>().join("\n");
        assert!(!code.contains("pg_advisory"), "{}", file.display());
        let words: Vec<&str> = code.split_whitespace().collect();
        for reference in words.windows(2).filter(|words| words[0] == "references") {
            assert!(reference[1].starts_with("planhat_sync."), "{}: {reference:?}", file.display());
        }
    }
}

#[test]
fn each_rule_is_broken_by_what_it_forbids() {
    let check = |source: &str, rule: &str| {
        let broken = broken_rules("/data/x.rs", source);
        assert!(broken.len() == 1 && broken[0].contains(rule), "{source}: {broken:?}");
    };
    check(r#"query("select PG_ADVISORY_xact_lock(1)")"#, "an advisory lock");
    check(r##"query(r#"select pg_try_advisory_lock(1) "a""#)"##, "an advisory lock");
    check(r#"Sql::new("create table ").text(" (a text, foreign key (a) ")"#, "a foreign key");
    check(r#"sql.text(" on conflict (a) do update set b = now()")"#, "now()");
    check(r#"sql.text(" on conflict (a) do update set "); const SET: &str = "b = random(), ";"#, "random");
    check(r#"sql.text(" on conflict (a) do update set b = "); fn c() { "to_jsonb(excluded.b)" }"#, "to_jsonb");
    check(r#"sql.text("(select jsonb_agg(item) from jsonb_array_elements(excluded.a) as items (item))")"#, "jsonb_agg");
    check(r#"Sql::new("update ").table(schema, "a").text(" set b = jsonb_build_object(")"#, "jsonb_build_");
    check(r#"Sql::new("update ").table(schema, "a").text(" set b = 1 returning ").text("to_jsonb(a)")"#, "to_jsonb");
    check(r#"sqlx::raw_sql("select 1")"#, "goes around");
    check(r#"Sql::new("a; b").execute_in_one_message(db)"#, "goes around");
    check(r#"connection.begin_with("begin; select 1")"#, "goes around");
    check(r#"fn a() { sql.table(one, "a").text(" join ").table(other, "a") }"#, "two schemas");
    for kept in [
        r#"Sql::new("with b as (select to_jsonb(a) as a from ").table(schema, "a").text(") update ").table(schema, "a").text(" set a = b.a")"#,
        r#"query("insert into planhat_sync.runs values (1) on conflict do update set a = now()")"#,
        r#"// pg_advisory_lock
           let c = '"'; sql.text("now()").table(schema, "a").text(" join ").table(schema, "b")"#,
    ] {
        assert_eq!(broken_rules("/data/x.rs", kept), [""; 0], "{kept}");
    }
    assert_eq!(
        joins_with_own_tables("x", r#"query("select from planhat_sync.runs"); const A: &str = "join planhat_sync.scans as a";"#),
        ["x: planhat_sync.scans joined"]
    );
}
