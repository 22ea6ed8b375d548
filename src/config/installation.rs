//! The installation: the settings that all workspaces share, and the workspaces with the settings of each.
//!
//! Without `[workspaces]` and without `workspaces_dir` there is one workspace, whose settings are the shared ones. What is wrong with
//! one workspace among several is the error of that one alone. Only what concerns the whole process keeps it from starting.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use secrecy::ExposeSecret;

use super::file_stamps::FileStamps;
use super::sources::{Sections, SharedSources, sections_in};
use super::values::nearest;
use super::workspace_settings::{OwnSettings, SettingsLoader, check_name, is_of_process};
use super::{Settings, SettingsError};

/// The settings, and the workspaces that they name.
#[derive(Debug)]
pub struct Installation {
    /// What concerns the whole process, and what workspaces have in common. Of the only workspace it is all there is.
    pub shared: Settings,
    /// By name.
    pub workspaces: Vec<NamedWorkspace>,
    /// Whether there is one workspace, which is not named: an installation as it was before there could be several.
    pub is_single: bool,
    /// What all of this was read from.
    stamps: FileStamps,
}

/// A workspace, with its settings or what is wrong with them.
#[derive(Debug)]
pub struct NamedWorkspace {
    pub name: String,
    pub settings: Result<Settings, SettingsError>,
}

impl NamedWorkspace {
    /// As it is sent; blanks around it are taken off then.
    fn token(&self) -> Option<&str> {
        Some(self.settings.as_ref().ok()?.planhat.token.as_ref()?.expose_secret().trim())
    }
}

/// What a workspace says itself, before it is known whether that makes sense.
struct FoundWorkspace {
    name: String,
    place: String,
    own: Result<OwnSettings, SettingsError>,
}

/// How many workspaces a doubt names.
const NAMED_IN_DOUBTS: usize = 5;

impl Installation {
    /// Whether a file that the settings were read from is another one now, or a file came to the folder of the workspaces. It reads no
    /// file, so that a thousand of them take a few milliseconds.
    pub fn files_changed(&self) -> bool {
        self.stamps.have_changed()
    }

    /// The installation with the workspaces of these names alone, or with all of them if no name is given.
    pub fn select(mut self, names: &[String]) -> Result<Installation, SettingsError> {
        if let Some(unknown) = names.iter().find(|name| self.named(name).is_none()) {
            return Err(self.unknown(unknown));
        }
        self.workspaces.retain(|workspace| names.is_empty() || names.contains(&workspace.name));
        Ok(self)
    }

    /// The error for a name that no workspace has, with the one that was meant.
    pub fn unknown(&self, name: &str) -> SettingsError {
        let known = || self.workspaces.iter().map(|workspace| workspace.name.as_str());
        let nearest = nearest(name, known()).map(str::to_owned);
        let known = some_of(&known().map(str::to_owned).collect::<Vec<_>>());
        SettingsError::UnknownWorkspace { name: name.to_owned(), nearest, known }
    }

    /// The other workspaces that have the token of this one.
    pub fn with_token_of(&self, workspace: &NamedWorkspace) -> Vec<&str> {
        let Some(token) = workspace.token() else { return Vec::new() };
        let others = self.workspaces.iter().filter(|other| other.name != workspace.name && other.token() == Some(token));
        others.map(|other| other.name.as_str()).collect()
    }

    /// The workspace of this name.
    pub fn named(&self, name: &str) -> Option<&NamedWorkspace> {
        let found = self.workspaces.binary_search_by(|workspace| workspace.name.as_str().cmp(name));
        found.ok().map(|index| &self.workspaces[index])
    }

    pub(super) fn of(sources: SharedSources) -> Result<Installation, SettingsError> {
        let SharedSources { settings, written, known, workspaces, file, secrets_folder, mut stamps } = sources;
        if workspaces.is_none() && settings.workspaces_dir.as_os_str().is_empty() {
            let shared = settings.checked()?;
            let only = NamedWorkspace { name: shared.workspace_name.clone(), settings: Ok(shared.clone()) };
            return Ok(Installation { shared, workspaces: vec![only], is_single: true, stamps });
        }
        let mut shared = settings.checked_as_shared()?;
        let of_file = file.iter().flat_map(|file| found_in_file(file, workspaces.as_ref()));
        let found: Vec<FoundWorkspace> = of_file.chain(found_in_folder(&shared.workspaces_dir, &mut stamps)?).collect();
        let secret_names = secrets_folder.as_deref().and_then(|folder| stamps.watch_folder(folder).ok());
        let mut loader = SettingsLoader {
            shared: &shared,
            written: &written,
            known: &known,
            known_of_workspaces: known.iter().filter(|key| !is_of_process(key)).cloned().collect(),
            secrets_folder: secrets_folder.as_deref().zip(secret_names.as_ref()),
            good_schedules: HashSet::new(),
        };
        let workspaces = loaded(found, &mut loader, &mut stamps);
        stamps.shrink();
        let doubts = doubts(&workspaces, &written, &shared);
        shared.secret_files.doubts.extend(doubts);
        Ok(Installation { shared, workspaces, is_single: false, stamps })
    }
}

/// The workspaces in the settings file, by name.
fn found_in_file(file: &Path, workspaces: Option<&Sections>) -> Vec<FoundWorkspace> {
    let by_name: BTreeMap<_, _> = workspaces.into_iter().flatten().collect();
    let found = |(name, value): (&String, &config::Value)| {
        let place = format!("[workspaces.{name}] of {}", file.display());
        let own = match value.clone().into_table() {
            Ok(written) => Ok(OwnSettings { name: name.clone(), place: place.clone(), file: file.to_owned(), written }),
            Err(_) => {
                let problem = format!("is no section: write [workspaces.{name}.planhat], for example");
                Err(SettingsError::Bad { key: format!("workspaces.{name}"), problem })
            }
        };
        FoundWorkspace { name: name.clone(), place, own }
    };
    by_name.into_iter().map(found).collect()
}

/// The workspaces with a file of their own, by name. Other files may lie there too: hidden ones, as editors and Kubernetes make them, and
/// those of another kind.
fn found_in_folder(folder: &Path, stamps: &mut FileStamps) -> Result<Vec<FoundWorkspace>, SettingsError> {
    if folder.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let failed = |source| SettingsError::WorkspacesDir { path: folder.to_owned(), source };
    let names: BTreeSet<_> = stamps.watch_folder(folder).map_err(failed)?;
    let mut found = Vec::new();
    for file_name in names.iter().filter(|name| is_settings_file(name)) {
        let path = folder.join(file_name);
        stamps.watch(&path);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place = path.display().to_string();
        let own = match sections_in(&path, false) {
            Ok(Some(written)) => Ok(OwnSettings { name: name.clone(), place: place.clone(), file: path, written }),
            // Removed a moment ago; a link to nowhere is a mistake.
            Ok(None) if path.symlink_metadata().is_err() => continue,
            Ok(None) => Err(SettingsError::File { path, source: std::io::ErrorKind::NotFound.into() }),
            Err(error) => Err(error),
        };
        found.push(FoundWorkspace { name, place, own });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn is_settings_file(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.ends_with(b".toml") && !bytes.starts_with(b".")
}

/// Loads each workspace. A name that is there twice, and a schema that another workspace has, is the mistake of the workspace itself, or
/// of the later of the two.
fn loaded(found: Vec<FoundWorkspace>, loader: &mut SettingsLoader<'_>, stamps: &mut FileStamps) -> Vec<NamedWorkspace> {
    let mut by_name: BTreeMap<String, NamedWorkspace> = BTreeMap::new();
    let mut places: HashMap<String, String> = HashMap::new();
    let mut schemas: HashMap<String, String> = HashMap::new();
    for FoundWorkspace { name, place, own } in found {
        let settings = match (places.get(&name), check_name(&name).and(own)) {
            (Some(first), _) => Err(SettingsError::WorkspaceTwice { first: first.clone(), second: place.clone() }),
            (None, Err(error)) => Err(error),
            (None, Ok(own)) => {
                // Also one that is of no use keeps its schema: nobody else is to have it until it is mended.
                let schema = own.schema();
                match schemas.get(&schema) {
                    Some(first) => Err(SettingsError::SchemaTaken { schema, first: first.clone() }),
                    None => {
                        let settings = loader.load(&own, stamps);
                        schemas.insert(schema, name.clone());
                        settings
                    }
                }
            }
        };
        let settings = settings.map_err(|error| {
            let (name, place) = (name.clone(), place.clone());
            SettingsError::Workspace { name, place, source: Box::new(error) }
        });
        places.entry(name.clone()).or_insert(place);
        by_name.insert(name.clone(), NamedWorkspace { name, settings });
    }
    by_name.into_values().collect()
}

/// What is probably not meant, each as a sentence.
fn doubts(workspaces: &[NamedWorkspace], written: &Sections, shared: &Settings) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut by_token: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for workspace in workspaces {
        if let Some(token) = workspace.token() {
            by_token.entry(token).or_default().push(workspace.name.clone());
        }
    }
    let mut shared_tokens: Vec<Vec<String>> = by_token.into_values().filter(|names| names.len() > 1).collect();
    shared_tokens.sort();
    for names in shared_tokens {
        doubts.push(format!(
            "workspaces {} have the same token, so they copy the same Planhat workspace and share its quota",
            some_of(&names)
        ));
    }
    let schema =
        written.get("database").and_then(|database| database.clone().into_table().ok()?.remove("schema")?.into_string().ok());
    if schema.is_some_and(|schema| schema != "planhat") {
        doubts.push(format!(
            "database.schema = {:?} has no effect, since there are several workspaces: each has a schema of its own",
            shared.database.schema
        ));
    }
    doubts
}

/// `a, b and 3 more`
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_IN_DOUBTS).map(String::as_str).collect::<Vec<_>>();
    match names.len().saturating_sub(NAMED_IN_DOUBTS) {
        0 => match shown.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            all => all.join(", "),
        },
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::secrets::exposed;
    use super::super::sources::load_in;
    use super::super::tests::with;
    use super::*;
    use std::time::Duration;

    /// A folder with files: the settings file is `config.toml`.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn load_with(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Result<Installation, SettingsError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        super::super::load(Some(&folder.path().join("config.toml")), variables)
    }

    fn load(folder: &tempfile::TempDir) -> Installation {
        load_with(folder, &[]).unwrap()
    }

    fn settings<'a>(installation: &'a Installation, name: &str) -> &'a Settings {
        installation.named(name).unwrap().settings.as_ref().unwrap()
    }

    fn token<'a>(installation: &'a Installation, name: &str) -> Option<&'a str> {
        exposed(&settings(installation, name).planhat.token)
    }

    /// Each workspace with what is wrong with it, as a person reads it.
    fn shown(folder: &tempfile::TempDir, installation: &Installation) -> String {
        let line = |NamedWorkspace { name, settings }: &NamedWorkspace| match settings {
            Ok(settings) => format!("{name}: schema {}\n", settings.database.schema),
            Err(error) => format!("{name}: {}\n", planhat_model::error::Chain(error)),
        };
        let lines: String = installation.workspaces.iter().map(line).collect();
        lines.replace(&folder.path().display().to_string(), "FOLDER")
    }

    #[test]
    fn without_workspaces_in_the_settings_there_is_one_which_is_named_after_its_schema() {
        let folder = folder(&[("config.toml", "[database]\nschema = 'crm'\n[planhat]\ntoken = 'x'\n")]);
        let installation = load(&folder);
        assert!(installation.is_single);
        assert_eq!(shown(&folder, &installation), "crm: schema crm\n");
        assert_eq!((token(&installation, "crm"), settings(&installation, "crm").workspace_name.as_str()), (Some("x"), "crm"));
        assert_eq!(with(&[]).unwrap().workspace_name, "planhat");
    }

    #[test]
    fn workspaces_come_from_the_settings_file_and_from_a_folder_beside_it() {
        let folder = folder(&[
            (
                "config.toml",
                "workspaces_dir = 'workspaces.d'\n[sync]\nlookback = '24h'\n[planhat]\ntoken = 'shared'\ncalls_per_minute = 90\n\
                 [workspaces.acme.planhat]\ncalls_per_minute = 50\n[workspaces.old.database]\nschema = 'planhat'\n",
            ),
            ("workspaces.d/bolt-eu.toml", "[sync]\nhistory = 'all'\n[planhat]\ntoken = 'of bolt'\n"),
            ("workspaces.d/README.md", "not TOML"),
            ("workspaces.d/.acme.toml.swp", "not TOML"),
            ("workspaces.d/.#bolt-eu.toml", "not TOML"),
            ("workspaces.d/bolt-eu.toml~", "not TOML"),
            ("workspaces.d/..data/bolt-eu.toml", "not TOML"),
        ]);
        let installation = load_with(&folder, &[("PLANHAT_SYNC__SYNC__LOOKBACK", "48h")]).unwrap();
        assert!(!installation.is_single);
        assert_eq!(
            shown(&folder, &installation),
            "acme: schema planhat_acme\nbolt-eu: schema planhat_bolt_eu\nold: schema planhat\n"
        );
        let [acme, bolt] = ["acme", "bolt-eu"].map(|name| settings(&installation, name));
        assert_eq!((acme.planhat.calls_per_minute, bolt.planhat.calls_per_minute), (50, 90));
        assert_eq!((token(&installation, "acme"), token(&installation, "bolt-eu")), (Some("shared"), Some("of bolt")));
        // Both have what the environment says of all.
        assert_eq!([acme, bolt].map(|settings| settings.sync.lookback), [Duration::from_secs(48 * 3600); 2]);
        assert_eq!(bolt.sync.history, planhat_model::scan::History::All);
        assert_eq!(bolt.workspace_name, "bolt-eu");
    }

    #[test]
    fn the_folder_of_the_workspaces_can_be_named_by_a_variable_and_has_to_be_there() {
        let folder = folder(&[("config.toml", ""), ("elsewhere/acme.toml", "")]);
        let variable = |path: &str| ("PLANHAT_SYNC__WORKSPACES_DIR".to_owned(), path.to_owned());
        let path = folder.path().join("elsewhere").display().to_string();
        let load = |path: &str| load_in(folder.path(), None, [variable(path)].into());
        assert_eq!(shown(&folder, &load(&path).unwrap()), "acme: schema planhat_acme\n");
        assert_eq!(shown(&folder, &load("elsewhere").unwrap()), "acme: schema planhat_acme\n");
        let error = load("missing").unwrap_err().to_string().replace(&folder.path().display().to_string(), "FOLDER");
        assert_eq!(error, "could not list the settings of workspaces in FOLDER/missing (workspaces_dir)");
    }

    #[test]
    fn what_is_wrong_with_one_workspace_is_its_own_error_and_harms_no_other() {
        let folder = folder(&[
            (
                "config.toml",
                "workspaces_dir = 'w'\n[planhat]\ntoken = 'shared'\n[workspaces.good.sync]\nlookback = '24h'\n\
                 [workspaces.twice.planhat]\ntoken = 'x'\n[workspaces.misspelt.planhat]\ntoken_fil = 'x'\n[workspaces]\nflat = 5\n\
                 [workspaces.Upper.planhat]\ntoken = 'x'\n[workspaces.unset.sync]\nlookback = '0s'\n\
                 [workspaces.both.planhat]\ntoken = 'x'\ntoken_file = 'y'\n[workspaces.often.daemon]\nschedule = '* * * * *'\n\
                 [workspaces.nested.workspaces.a]\nx = 1\n",
            ),
            ("w/twice.toml", ""),
            ("w/9lives.toml", ""),
            ("w/broken.toml", "[planhat]\n\ntoken = hunter2\n"),
            ("w/kind.toml", "[planhat]\nretries = 'many'\n"),
            ("w/listens.toml", "[daemon]\nlisten = '0.0.0.0:9437'\n"),
            ("w/logs.toml", "[log]\nlevel = 'debug'\n"),
            ("w/moves.toml", "[database]\nurl = 'postgres://elsewhere/d'\n"),
            ("w/no-token.toml", "[planhat]\ntoken_file = '/nowhere/token'\n"),
            ("w/a_b.toml", ""),
            ("w/a-b.toml", ""),
            ("w/is_good.toml", "[database]\nschema = 'planhat_good'\n"),
            ("w/own.toml", "[database]\nschema = 'planhat_sync'\n"),
            ("w/rules.toml", "[objects.endusers]\nhash = ['email']\n"),
        ]);
        insta::assert_snapshot!(shown(&folder, &load(&folder)));
    }

    #[test]
    fn a_mistake_in_what_all_share_is_the_error_of_the_whole_process() {
        let refused = |text: &str| {
            let folder = folder(&[("config.toml", text)]);
            let error = load_with(&folder, &[]).unwrap_err();
            planhat_model::error::Chain(&error).to_string().replace(&folder.path().display().to_string(), "FOLDER")
        };
        let acme = "[workspaces.acme.planhat]\ntoken = 'x'\n";
        insta::assert_snapshot!(
            [
                refused(&format!("[sync]\nlookback = '0s'\n{acme}")),
                refused(&format!("[daemon]\nschedule = 'often'\n{acme}")),
                refused(&format!("[objects.enduser]\nhash = ['email']\n{acme}")),
                refused(&format!("[workspace.acme.planhat]\ntoken = 'x'\n{acme}")),
                refused("workspaces = 'w'\n"),
            ]
            .join("\n")
        );
        let by_variable = folder(&[("config.toml", "")]);
        let error = load_with(&by_variable, &[("PLANHAT_SYNC__WORKSPACES__ACME__PLANHAT__TOKEN", "x")]).unwrap_err();
        assert!(error.to_string().starts_with("unknown setting \"workspaces.acme.planhat.token\" in the environment"), "{error}");
    }

    #[test]
    fn each_workspace_may_have_its_own_hash_key_for_rules_that_all_share() {
        let folder = folder(&[(
            "config.toml",
            "[objects.endusers]\nhash = ['email']\n[workspaces.acme.privacy]\nhash_key = 'sixteen or more characters'\n\
             [workspaces.bolt.objects.endusers]\nhash = []\nexclude = ['email']\n[workspaces.none.planhat]\ntoken = 'x'\n",
        )]);
        let installation = load(&folder);
        assert!(settings(&installation, "acme").rules.contains_key("endusers"));
        assert!(settings(&installation, "bolt").rules.contains_key("endusers"));
        let refused = installation.named("none").unwrap().settings.as_ref().unwrap_err();
        assert!(planhat_model::error::Chain(refused).to_string().contains("\"objects.endusers.hash\" needs a key"));
    }

    #[test]
    fn a_token_is_the_workspaces_own_or_a_credential_with_its_name_or_the_shared_one() {
        let folder = folder(&[
            (
                "config.toml",
                "[workspaces.own.planhat]\ntoken_file = 'TOKENS/own'\n[workspaces.text.planhat]\ntoken = 'in the settings'\n\
                 [workspaces.credential]\n[workspaces.shared]\n",
            ),
            ("TOKENS/own", "of its own\n"),
            ("credentials/planhat_api_token", "shared\n"),
            ("credentials/planhat_api_token_credential", "by its name\n"),
            ("credentials/planhat_api_token_own", "not this one\n"),
            ("credentials/notify_webhook_url_credential", "https://example.org/hook\n"),
        ]);
        let file = folder.path().join("config.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("TOKENS", &folder.path().join("TOKENS").display().to_string())).unwrap();
        let installation = load_with(&folder, &[("CREDENTIALS_DIRECTORY", folder.path().join("credentials").to_str().unwrap())]);
        let installation = installation.unwrap();
        assert_eq!(token(&installation, "own"), Some("of its own"));
        assert_eq!(token(&installation, "text"), Some("in the settings"));
        assert_eq!(token(&installation, "credential"), Some("by its name"));
        assert_eq!(token(&installation, "shared"), Some("shared"));
        assert_eq!(exposed(&settings(&installation, "credential").notify.webhook_url), Some("https://example.org/hook"));
        assert_eq!(exposed(&settings(&installation, "shared").notify.webhook_url), None);
        // Each answers for its own files.
        let used = |name| settings(&installation, name).secret_files.used.len();
        assert_eq!((used("own"), used("text"), used("credential"), used("shared")), (1, 1, 2, 0));

        // By hand, from the service folder.
        std::fs::rename(
            folder.path().join("credentials/planhat_api_token_credential"),
            folder.path().join("planhat_api_token_shared"),
        )
        .unwrap();
        let by_hand = load_in(folder.path(), None, HashMap::new()).unwrap();
        assert_eq!((token(&by_hand, "shared"), token(&by_hand, "credential")), (Some("by its name"), None));
    }

    #[test]
    fn workspaces_with_one_token_are_doubted_and_so_is_a_schema_that_nobody_has() {
        let folder = folder(&[(
            "config.toml",
            "[planhat]\ntoken = 'shared'\n[database]\nschema = 'crm'\n[workspaces.a]\n[workspaces.b]\n[workspaces.c.planhat]\n\
             token = 'own'\n[workspaces.d.planhat]\ntoken = ' own '\n[workspaces.e]\n[workspaces.f.planhat]\ntoken = 'single'\n\
             [workspaces.g]\n[workspaces.h]\n[workspaces.i]\n[workspaces.j]\n",
        )]);
        insta::assert_snapshot!(load(&folder).shared.secret_files.doubts.join("\n"), @r#"
        workspaces a, b, e, g, h and 2 more have the same token, so they copy the same Planhat workspace and share its quota
        workspaces c and d have the same token, so they copy the same Planhat workspace and share its quota
        database.schema = "crm" has no effect, since there are several workspaces: each has a schema of its own
        "#);
    }

    #[test]
    fn a_workspace_that_cannot_be_used_keeps_its_schema() {
        let folder = folder(&[(
            "config.toml",
            "[workspaces.a.database]\nschema = 'crm'\n[workspaces.a.sync]\nlookback = 'long'\n[workspaces.b.database]\nschema = 'crm'\n",
        )]);
        let installation = load(&folder);
        let refused = installation.named("b").unwrap().settings.as_ref().unwrap_err();
        assert!(matches!(refused.root(), SettingsError::SchemaTaken { first, .. } if first == "a"), "{refused}");
    }

    #[test]
    fn a_file_that_comes_changes_or_goes_shows_and_so_does_a_token_in_a_file() {
        let folder = folder(&[("config.toml", "workspaces_dir = 'w'\n"), ("w/a.toml", ""), ("w/b.toml", ""), ("token", "x")]);
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("w/b.toml"), format!("[planhat]\ntoken_file = '{}'\n", at("token").display())).unwrap();
        for change in [
            &|| std::fs::write(at("w/c.toml"), "").unwrap(),
            &|| std::fs::write(at("w/a.toml"), "[sync]\n").unwrap(),
            &|| std::fs::write(at("token"), "another").unwrap(),
            &|| std::fs::remove_file(at("token")).unwrap(),
            // One that could not be read is waited for.
            &|| std::fs::write(at("token"), "again").unwrap(),
            &|| std::fs::write(at("w/broken.toml"), "[").unwrap(),
            &|| std::fs::write(at("w/broken.toml"), "[sync]").unwrap(),
            &|| std::fs::remove_file(at("w/c.toml")).unwrap(),
            &|| std::fs::write(at("config.toml"), "workspaces_dir = 'w' # changed\n").unwrap(),
        ] as [&dyn Fn(); 9]
        {
            let before = load(&folder);
            assert!(!before.files_changed());
            change();
            assert!(before.files_changed());
        }
        std::fs::write(at("w/notes.md"), "").unwrap();
        assert_eq!(shown(&folder, &load(&folder)), "a: schema planhat_a\nb: schema planhat_b\nbroken: schema planhat_broken\n");
    }

    #[test]
    fn a_thousand_workspaces_are_loaded_and_looked_at() {
        let folder = folder(&[("config.toml", "workspaces_dir = 'w'\n[daemon]\nschedule = '0 * * * *'\n"), ("w/x.md", "")]);
        for number in 0..1000 {
            let token = folder.path().join(format!("token{number}"));
            std::fs::write(&token, format!("token {number}\n")).unwrap();
            let text = format!("[planhat]\ntoken_file = '{}'\n[daemon]\njitter = '5min'\n", token.display());
            std::fs::write(folder.path().join(format!("w/w{number}.toml")), text).unwrap();
        }
        let installation = load(&folder);
        assert!(!installation.files_changed());
        assert_eq!(installation.workspaces.iter().filter(|workspace| workspace.settings.is_ok()).count(), 1000);
        assert_eq!(token(&installation, "w700"), Some("token 700"));
        // What a workspace does not say itself is small, so that a thousand of them are.
        assert!(size_of::<Settings>() < 4096, "{} bytes", size_of::<Settings>());
    }
}
