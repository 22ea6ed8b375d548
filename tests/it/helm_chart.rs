//! The Helm chart: that it is of this version, and that the settings and variables which it names are those of the program.
//!
//! Helm itself is not needed here: `make check-helm` renders the chart. A setting that is not in the chart's schema could not be used
//! with the chart, so `make reference` writes that part of the schema from `config/default.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Map, Value, json};

use crate::pages::project;

const CHART: &str = "deploy/helm/planhat-sync";
/// What the chart sets itself, and what its image has no use for: the embedded PostgreSQL's folder.
const OF_CHART: [&str; 3] = ["workspaces_dir", "daemon.listen", "database.data_dir"];
/// What concerns the whole process, and so no workspace of several.
const OF_PROCESS: [&str; 4] = ["daemon.listen", "daemon.slots", "daemon.poll_every", "daemon.stuck_after"];
const OF_EACH_DATABASE: [&str; 3] = ["database.schema", "database.statement_timeout", "database.grant_select_to"];

#[test]
fn the_chart_is_of_this_version_of_the_program() {
    let chart = text_of("Chart.yaml");
    let version = chart.lines().find_map(|line| line.strip_prefix("appVersion: ")).unwrap();
    assert_eq!(version.trim_matches('"'), env!("CARGO_PKG_VERSION"), "appVersion in {CHART}/Chart.yaml");
}

#[test]
fn the_values_of_the_chart_may_name_each_setting_that_a_user_sets_and_no_other() {
    let settings = settings();
    let is_secret = |setting: &str| setting != "database.url" && settings.contains(&format!("{setting}_file"));
    let of_user = |setting: &&String| !OF_CHART.contains(&setting.as_str()) && !is_secret(setting);
    let of_workspace = |setting: &&String| {
        let of_database = !setting.starts_with("database.") || OF_EACH_DATABASE.contains(&setting.as_str());
        of_database && !setting.starts_with("log.") && !OF_PROCESS.contains(&setting.as_str())
    };
    let expected = [
        ("settings", sections(settings.iter().filter(of_user))),
        ("workspaceSettings", sections(settings.iter().filter(of_user).filter(of_workspace))),
    ];
    let mut schema: Value = serde_json::from_str(&text_of("values.schema.json")).unwrap();
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        expected.into_iter().for_each(|(name, sections)| schema["definitions"][name] = sections);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        return fs::write(project().join(CHART).join("values.schema.json"), text).unwrap();
    }
    for (name, sections) in expected {
        assert_eq!(schema["definitions"][name], sections, "{name} in values.schema.json is old: run `make reference`");
    }
}

#[test]
fn each_setting_and_variable_that_the_templates_name_is_one_of_the_program() {
    let settings = settings();
    let variables: BTreeSet<String> =
        settings.iter().map(|setting| format!("PLANHAT_SYNC__{}", setting.replace('.', "__")).to_uppercase()).collect();
    let helpers = text_of("templates/_helpers.tpl");
    let (_, files) = helpers.split_once("define \"planhat-sync.fileSettings\" -}}\n").unwrap();
    let (files, _) = files.split_once("{{- end").unwrap();
    let files: BTreeMap<&str, &str> = files.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(files.len(), 7, "the secrets are not where they used to be: {files:?}");
    for setting in files.values() {
        assert!(settings.contains(*setting) && setting.ends_with("_file"), "{setting} is no setting that names a file");
    }
    let mut named = 0;
    for template in ["_helpers.tpl", "_pod.tpl", "cronjob.yaml", "deployment.yaml", "settings.yaml", "tests/check.yaml"] {
        let text = text_of(&format!("templates/{template}"));
        for (at, _) in text.match_indices("PLANHAT_SYNC__") {
            let name: String = text[at..].chars().take_while(|char| char.is_ascii_uppercase() || *char == '_').collect();
            // The rest of it is the name of a setting in the list above.
            let is_composed = name == "PLANHAT_SYNC__" && text[at + name.len()..].starts_with("{{ $setting");
            assert!(is_composed || variables.contains(&name), "{template}: {name} is no variable of the program");
            named += 1;
        }
    }
    assert!(named >= 2, "the variables are not where they used to be");
    assert!(settings.contains("workspaces_dir") || !helpers.contains("workspaces_dir"), "workspaces_dir is no setting");
}

/// The settings as `section.key`, and as `objects.*.key` those that each object has.
fn settings() -> BTreeSet<String> {
    let text = fs::read_to_string(project().join("config/default.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut settings = BTreeSet::new();
    for (section, value) in &table {
        match value.as_table() {
            Some(keys) => settings.extend(keys.keys().map(|key| format!("{section}.{key}"))),
            None => _ = settings.insert(section.clone()),
        }
    }
    // The section of an object is there as a comment, with examples.
    let (_, example) = text.split_once("\n# [objects.").unwrap();
    let example = example.split_once("\n\n").unwrap().0.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
    settings.extend(example.map(|(key, _)| format!("objects.*.{key}")));
    assert!(settings.len() > 50, "{} settings are too few to be all", settings.len());
    settings
}

/// The sections as the schema of the values has them, with what each may contain.
fn sections<'a>(settings: impl Iterator<Item = &'a String>) -> Value {
    let mut sections = Map::new();
    let mut of_objects = Map::new();
    for setting in settings {
        let kind = if setting == "database.url" { "databaseUrl" } else { "setting" };
        let kind = json!({ "$ref": format!("#/definitions/{kind}") });
        if let Some(key) = setting.strip_prefix("objects.*.") {
            of_objects.insert(key.to_owned(), kind);
        } else if let Some((section, key)) = setting.split_once('.') {
            sections.entry(section).or_insert_with(|| closed(Map::new()))["properties"][key] = kind;
        }
    }
    sections.insert("objects".to_owned(), json!({ "type": "object", "additionalProperties": closed(of_objects) }));
    closed(sections)
}

/// An object with these properties and no others.
fn closed(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn text_of(file: &str) -> String {
    fs::read_to_string(project().join(CHART).join(file)).unwrap()
}
