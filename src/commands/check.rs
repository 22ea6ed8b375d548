//! `check`: is everything in place? One line per finding: ok, warn or fail, and what to do.
//!
//! A person waits for it, so it takes seconds whatever is wrong: Planhat and the database are checked in parallel, and so are the
//! objects; nothing is requested twice, and every timeout is short.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use planhat_api::{ApiError as PlanhatError, Client};
use planhat_model::catalog::{self, ByObject, Object};
use planhat_model::error::{Chain, ErrorKind, exit_code as exit};
use planhat_model::flatten::{Columns, Declared};
use planhat_model::record::Origin;
use planhat_model::rules::{NamedField, folded, named};
use planhat_store::{self as store, ConnectionSecurity, DatabaseRequirements, MissingGrant, Privileges, Store, Writable};
use serde::Serialize;
use tokio::time::timeout;

use super::masked_tables::{unmasked, unmasked_line};
use crate::cli::OutputArgs;
use crate::command_error::CommandError;
use crate::config::{Settings, nearest};
use crate::print;
use crate::run::{self, Recognized};
use crate::workspace::Workspace;

/// For a connection, to Planhat or to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For what is asked then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// An embedded database starts in this process, which takes a slow machine its time.
const START_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A server that does not answer is not waited for to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const SIDE_BY_SIDE: usize = 8;
/// What is found of whose schema it is.
const WORKSPACE: &str = "workspace";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckLevel {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: CheckLevel,
    subject: String,
    text: String,
    /// What to exit with, unless something failed before.
    #[serde(skip)]
    code: exit::ExitCode,
}

impl Finding {
    fn ok(subject: &str, text: impl Into<String>) -> Finding {
        Finding { verdict: CheckLevel::Ok, subject: subject.to_owned(), text: text.into(), code: exit::SUCCESS }
    }

    fn warn(subject: &str, text: impl Into<String>) -> Finding {
        Finding { verdict: CheckLevel::Warn, subject: subject.to_owned(), text: text.into(), code: exit::SUCCESS }
    }

    fn fail(subject: &str, text: impl Into<String>, code: exit::ExitCode) -> Finding {
        Finding { verdict: CheckLevel::Fail, subject: subject.to_owned(), text: text.into(), code }
    }
}

pub(super) async fn check(workspace: &Workspace, output: OutputArgs) -> Result<ExitCode, CommandError> {
    let mut findings = vec![Finding::ok("planhat-sync", concat!("version ", env!("CARGO_PKG_VERSION")))];
    let (planhat, (mut database, columns), declared) =
        tokio::join!(check_planhat(workspace), check_database(workspace), declared_fields(workspace));
    // Why nothing could be asked of Planhat has been said then.
    if !planhat.iter().any(|finding| finding.verdict == CheckLevel::Ok) {
        database.retain(|finding| finding.subject != WORKSPACE);
    }
    findings.extend(planhat);
    findings.extend(database);
    findings.extend(check_names_in_rules(&workspace.settings, &declared, &columns));
    findings.extend(check_settings(&workspace.settings));
    if output.json {
        print::json(&findings)?;
    } else {
        for Finding { verdict, subject, text, .. } in &findings {
            let verdict = match verdict {
                CheckLevel::Ok => "ok",
                CheckLevel::Warn => "warn",
                CheckLevel::Fail => "fail",
            };
            print::to_stdout(&format!("{verdict:<5} {subject:<14} {}", print::on_one_line(text)));
        }
    }
    Ok(ExitCode::from(findings.iter().map(|finding| finding.code).find(|code| *code != exit::SUCCESS).unwrap_or(exit::SUCCESS)))
}

async fn check_planhat(workspace: &Workspace) -> Vec<Finding> {
    let client = match workspace.client_without_retries() {
        Ok(client) => client,
        Err(failure) => return vec![Finding::fail("token", failure.on_one_line(), failure.code)],
    };
    let mut findings = Vec::new();
    let (mut readable, mut not_found) = (0, 0);
    let objects = futures_util::stream::iter(&workspace.settings.planhat.objects);
    let mut answers = objects.map(async |object| (object, read_one(&client, object).await)).buffered(SIDE_BY_SIDE);
    while let Some((object, answer)) = answers.next().await {
        let finding = match answer {
            Ok(()) => {
                readable += 1;
                Finding::ok(object.name, "readable")
            }
            Err(error @ PlanhatError::Unauthorized { .. }) => {
                return vec![Finding::fail("token", with_hint(&error), exit::TOKEN_REFUSED)];
            }
            // What fails to connect once would for every object.
            Err(error) if readable == 0 && error.kind().is_no_way_to_planhat() => {
                return vec![Finding::fail("Planhat", with_hint(&error), exit::FAILED)];
            }
            Err(error @ PlanhatError::AccessDenied { status, .. }) => {
                not_found += usize::from(status == reqwest::StatusCode::NOT_FOUND);
                Finding::warn(object.name, with_hint(&error))
            }
            Err(error) => Finding::fail(object.name, with_hint(&error), exit::FAILED),
        };
        findings.push(finding);
    }
    if readable == 0 {
        let text = if not_found == findings.len() {
            // So does a server that is not Planhat's, and a path that is not the API's.
            format!(
                "the token may not read any of the objects, or planhat.base_url is wrong: {} answered 404 Not Found for each of them",
                workspace.settings.planhat.base_url
            )
        } else {
            "the token may not read any of the objects".to_owned()
        };
        findings.push(Finding::fail("token", text, exit::FAILED));
    } else {
        findings.insert(0, Finding::ok("token", format!("accepted by {}", workspace.settings.planhat.base_url)));
    }
    findings
}

fn with_hint(error: &PlanhatError) -> String {
    let text = Chain(error).to_string();
    error.kind().hint().map_or(text.clone(), |hint| format!("{text}; {hint}"))
}

async fn read_one(client: &Client, object: &'static Object) -> Result<(), PlanhatError> {
    client.for_object(object).list(&[("limit", "1".to_owned())]).await.map(|_| ())
}

/// What is found of the database, and the columns of the objects that the settings have rules for.
async fn check_database(workspace: &Workspace) -> (Vec<Finding>, ByObject<Columns>) {
    let without_columns = |finding| (vec![finding], ByObject::new());
    if let Some(text) = workspace.no_database_yet() {
        return without_columns(Finding::warn("database", text));
    }
    let time_limit = if workspace.settings.database.is_embedded() { START_TIMEOUT } else { CONNECT_TIMEOUT };
    let store = match timeout(time_limit, workspace.open_store()).await {
        Ok(Ok(store)) => store,
        Ok(Err(failure)) => return without_columns(Finding::fail("database", failure.on_one_line(), failure.code)),
        Err(_) => return without_columns(unresponsive(time_limit)),
    };
    let findings = timeout(ANSWER_TIMEOUT, check_store(&store, workspace)).await;
    let _ = timeout(CLOSE_TIMEOUT, store.close()).await;
    match findings {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => {
            let failure = CommandError::from(error);
            without_columns(Finding::fail("database", failure.on_one_line(), failure.code))
        }
        Err(_) => without_columns(unresponsive(ANSWER_TIMEOUT)),
    }
}

fn unresponsive(time_limit: Duration) -> Finding {
    let seconds = time_limit.as_secs();
    let text = format!(
        "did not answer within {seconds} s; check the host and port in DATABASE_URL, that no firewall blocks it, and that the server is not overloaded"
    );
    Finding::fail("database", text, exit::DATABASE)
}

async fn check_store(store: &Store, workspace: &Workspace) -> Result<(Vec<Finding>, ByObject<Columns>), store::StoreError> {
    let (schema, settings) = (&store.schema, &workspace.settings);
    let health = store
        .read_only(async |db| store::check_requirements(db, schema, &settings.planhat.objects, settings.actions.enabled).await)
        .await?;
    let place = if settings.database.is_embedded() { settings.database.location() } else { store.database_location() };
    let mut findings = vec![if health.version_is_supported {
        Finding::ok("database", format!("PostgreSQL {}, {place}", health.version))
    } else {
        let text = format!("PostgreSQL {}, {place}, is too old; version 15 or newer is required", health.version);
        Finding::fail("database", text, exit::DATABASE)
    }];
    findings.push(check_connection(store).await);
    findings.extend(faults_of(&health));
    let is_set_up = store.is_set_up().await;
    let has_tables = matches!(is_set_up, Ok(true));
    let columns = match is_set_up {
        Ok(true) => columns_with_rules(store, settings).await.unwrap_or_default(),
        _ => ByObject::new(),
    };
    let from_before_rules = match &is_set_up {
        Ok(true) => unmasked(store, settings).await.unwrap_or_default(),
        Ok(false) | Err(_) => Vec::new(),
    };
    let from_before_rules = from_before_rules.iter().map(|left| Finding::warn("privacy", unmasked_line(left)));
    let workspace = match &is_set_up {
        Ok(is_set_up) => check_workspace(workspace, store, *is_set_up).await,
        Err(_) => None,
    };
    // Tables that may not be read are named with the privileges.
    if !matches!(&is_set_up, Err(error) if error.kind() == ErrorKind::PrivilegeMissing) {
        findings.push(tables(store, is_set_up).await);
    }
    findings.extend(workspace);
    for taken in health.names_taken {
        let failure = CommandError::from(taken);
        findings.push(Finding::fail("tables", failure.on_one_line(), failure.code));
    }
    findings.extend(names_taken_from_joins(store, has_tables).await.unwrap_or_default());
    findings.extend(from_before_rules);
    findings.extend(privileges(&health.privileges, schema));
    findings.extend(check_readers(store).await?);
    Ok((findings, columns))
}

fn faults_of(health: &DatabaseRequirements) -> Vec<Finding> {
    let mut findings = Vec::new();
    if health.encoding != "UTF8" {
        let text = format!("the database is encoded in {}; create one with encoding 'UTF8'", health.encoding);
        findings.push(Finding::fail("database", text, exit::DATABASE));
    }
    let read_only = match health.writable {
        Writable::Yes => return findings,
        Writable::Replica => {
            "is a read-only replica: status, runs, actions, schema and quarantine list work here; for everything else, name the \
             primary in DATABASE_URL"
        }
        Writable::ByDefaultNot => {
            "is read-only, since default_transaction_read_only is on (some providers turn it on when the disk is full); have it \
             turned off, or name another server in DATABASE_URL"
        }
    };
    findings.push(Finding::fail("database", read_only, exit::DATABASE));
    findings
}

/// What the role in DATABASE_URL may do. One that only reads cannot sync, so that a check of it fails; it is no list of what a
/// sync lacks.
fn privileges(privileges: &Privileges, schema: &str) -> Vec<Finding> {
    let missing =
        |grant: &String| Finding::fail("privileges", format!("missing; ask an administrator to run: {grant};"), exit::DATABASE);
    match privileges {
        Privileges::Complete => vec![Finding::ok("privileges", format!("can write schemas {schema} and planhat_sync"))],
        Privileges::Missing(grants) => grants.iter().map(missing).collect(),
        Privileges::ReadOnly { role, owner, membership, for_commands } => {
            let or_join = membership.as_ref().map(|grant| format!(", or a member of it: {grant};")).unwrap_or_default();
            let commands = "status, runs, actions, schema, quarantine list and sync --dry-run";
            let reads = match for_commands {
                None => format!("role {role} can read: {commands} work"),
                Some(grants) => format!("role {role} can read some of the tables; {commands} work after: {grants};"),
            };
            let text =
                format!("{reads}; everything else needs {owner}, the role that owns the tables{or_join}").replace(";;", ";");
            vec![Finding::fail("privileges", text, exit::DATABASE)]
        }
    }
}

/// Whether somebody between here and the server could read, or pose as it.
async fn check_connection(store: &Store) -> Finding {
    const VERIFY: &str = "put sslmode=verify-full into DATABASE_URL, and sslrootcert=/path/ca.pem where a private authority vouches for the server";
    match store.connection_security().await {
        ConnectionSecurity::Local => Finding::ok("connection", "on this machine"),
        ConnectionSecurity::Verified => Finding::ok("connection", "encrypted, and the server's certificate is verified"),
        ConnectionSecurity::AuthorityVerified => Finding::ok(
            "connection",
            "encrypted, and the server's certificate is verified except for its host name; sslmode=verify-full verifies that too",
        ),
        ConnectionSecurity::Encrypted => Finding::warn(
            "connection",
            format!(
                "encrypted, but the server's certificate is not verified: someone on the network path could impersonate it; {VERIFY}"
            ),
        ),
        ConnectionSecurity::Unencrypted => {
            Finding::warn("connection", format!("not encrypted: someone on the network path can read the data; {VERIFY}"))
        }
    }
}

/// Whether the tables are there: our own, and those of what has been synced.
async fn tables(store: &Store, is_set_up: Result<bool, store::StoreError>) -> Finding {
    let schema = &store.schema;
    let synced = match is_set_up {
        Ok(true) => store.read_only(async |db| store::synced_tables(db, schema).await).await,
        Ok(false) => return Finding::ok("tables", "none yet; the first sync creates them"),
        Err(error) => Err(error),
    };
    let synced = match synced {
        Ok(synced) => synced,
        Err(error) => {
            let failure = CommandError::from(error);
            return Finding::fail("tables", failure.on_one_line(), failure.code);
        }
    };
    let gone: Vec<String> =
        synced.iter().filter(|(_, is_there)| !is_there).map(|(object, _)| format!("{schema}.{object}")).collect();
    match (synced.len(), gone.len()) {
        (0, _) => Finding::ok("tables", format!("none yet in schema {schema}; the first sync creates them")),
        (1, 0) => Finding::ok("tables", "1 table, which this version can use"),
        (count, 0) => Finding::ok("tables", format!("{count} tables, which this version can use")),
        (count, lost) => {
            let tables = if count == 1 { "table" } else { "tables" };
            let (were, them) = if lost == 1 { ("was", "it") } else { ("were", "them") };
            let text = format!(
                "{lost} of {count} synced {tables} {were} dropped ({}); the next sync creates {them} again and loads {them} from the \
                 beginning",
                gone.join(", ")
            );
            Finding::warn("tables", text)
        }
    }
}

/// What the user has given the name of what joins need: columns, and the table of keys.
async fn names_taken_from_joins(store: &Store, has_tables: bool) -> Result<Vec<Finding>, store::StoreError> {
    let mut findings = Vec::new();
    if let Err(taken @ store::StoreError::NameTaken { .. }) =
        store.read_only(async |db| store::keys_table_exists(db, &store.schema).await).await
    {
        let text = format!("{taken}. planhat-sync does not touch it. Rename it, and the next sync creates its own");
        findings.push(Finding::warn("tables", text));
    }
    for object in catalog::OBJECTS.iter().filter(|_| has_tables) {
        let taken = store.read_only(async |db| {
            let columns = store::load_columns(&mut *db, &store.schema, object).await?;
            if columns.is_empty() {
                return Ok(Vec::new());
            }
            store::join_columns_there(db, &store.schema, object, &columns).await.map(|(_, taken)| taken)
        });
        findings.extend(taken.await?.into_iter().map(|name| {
            let text = format!(
                "{}.{} has a column {name} that planhat-sync did not create and does not touch. Rename it, and the next sync creates \
                 its own, which joins need",
                store.schema, object.name
            );
            Finding::warn("tables", text)
        }));
    }
    Ok(findings)
}

/// Whether the roles that should read may do so.
async fn check_readers(store: &Store) -> Result<Vec<Finding>, store::StoreError> {
    let missing = store.read_only(async |db| store::missing_grants(db, &store.schema, &store.readers).await).await?;
    let finding = |MissingGrant { statement, obstacle }: MissingGrant| match obstacle {
        Some(obstacle) => {
            Finding::warn("readers", format!("{obstacle}; create it, or take it out of database.grant_select_to: {statement}"))
        }
        None => Finding::warn("readers", format!("missing, and granted by the next sync if it may: {statement}")),
    };
    Ok(match missing.is_empty() {
        true if store.readers.is_empty() => Vec::new(),
        true => vec![Finding::ok("readers", format!("{} can read the data", store.readers.join(", ")))],
        false => missing.into_iter().map(finding).collect(),
    })
}

/// What works and should not be so.
fn check_settings(settings: &Settings) -> Vec<Finding> {
    let warnings = settings.warnings(Utc::now()).into_iter();
    let mut findings: Vec<_> = warnings.map(|(key, doubt)| Finding::warn("settings", format!("{key} {doubt}"))).collect();
    findings.extend(settings.secret_files.doubts.iter().map(|doubt| Finding::warn("settings", doubt.as_str())));
    findings.extend(settings.secret_files.open_to_others().map(|path| {
        let path = path.display();
        Finding::warn("secrets", format!("{path} can be read by other users of this machine; run `chmod 600 {path}`"))
    }));
    findings
}

/// Whether the schema is filled by the workspace whose token is set.
async fn check_workspace(workspace: &Workspace, store: &Store, is_set_up: bool) -> Option<Finding> {
    let client = workspace.client_without_retries().ok()?;
    let schema = &store.schema;
    Some(match run::recognize(&client, store).await {
        Ok(Recognized::Bound(binding)) => {
            let since = binding.bound_at.format("%Y-%m-%d %H:%M:%S UTC");
            Finding::ok(
                WORKSPACE,
                format!("schema {schema} belongs to the workspace of this token on {} since {since}", binding.host),
            )
        }
        // There is nothing yet, as is said of the tables.
        Ok(Recognized::New { .. }) if !is_set_up => return None,
        // Tables that may not be read are named with the privileges.
        Err(run::RunError::Store(_)) if !is_set_up => return None,
        Ok(Recognized::New { .. }) => {
            Finding::ok(WORKSPACE, format!("schema {schema} is empty; the next sync binds it to this workspace"))
        }
        Ok(Recognized::Proven { evidence, .. }) => {
            Finding::ok(WORKSPACE, format!("schema {schema} belongs to this workspace, which the next sync records: {evidence}"))
        }
        Err(error) => {
            let failure = CommandError::from(error);
            Finding::fail(WORKSPACE, failure.on_one_line(), failure.code)
        }
    })
}

/// The columns of the objects whose properties the settings name.
async fn columns_with_rules(store: &Store, settings: &Settings) -> Result<ByObject<Columns>, store::StoreError> {
    let mut columns = ByObject::new();
    for (_, object, _) in settings.names_of_properties() {
        if !columns.contains_key(object.name) {
            let of_object = store.read_only(async |db| store::load_columns(db, &store.schema, object).await).await?;
            columns.insert(object.name, of_object);
        }
    }
    Ok(columns)
}

/// The declarations of custom fields, if the settings name properties and the token may read them.
async fn declared_fields(workspace: &Workspace) -> Option<Declared> {
    workspace.settings.names_of_properties().next()?;
    let client = workspace.client_without_retries().ok()?.for_object(catalog::object("customfields")?);
    let read = run::read_declarations(&client, workspace.limits().pages);
    match timeout(ANSWER_TIMEOUT, read).await {
        Ok((records, None)) => Some(Declared::from_records(&records)),
        _ => None,
    }
}

/// Names in the rules for objects that mean nothing in this workspace, or not all that they seem to: a rule for a misspelt
/// name is none.
fn check_names_in_rules(settings: &Settings, declared: &Option<Declared>, columns: &ByObject<Columns>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (setting, object, name) in settings.names_of_properties() {
        let (origin, bare) = match named(name) {
            NamedField::AllCustom => continue,
            NamedField::Custom(field) => (Origin::Custom, field),
            NamedField::Property(property) => (Origin::Property, property),
        };
        let known = names_known(object, origin, declared.as_ref(), columns.get(object.name));
        if let Some(doubt) = doubt_of(&bare, origin, &known) {
            findings.push(Finding::warn("settings", format!("{setting} names {name:?}, {doubt}")));
            continue;
        }
        let all_named: Vec<NamedField> =
            settings.names_of_properties().filter(|(_, of, _)| of.name == object.name).map(|(.., name)| named(name)).collect();
        let is_named =
            |field: &str| all_named.contains(&NamedField::AllCustom) || all_named.contains(&named(&full(origin, field)));
        let twin = known.iter().find(|field| is_case_twin(field, &bare) && !is_named(field));
        if let Some(twin) = twin {
            let text =
                format!("{setting} names {name:?}, but not {:?}, which differs in upper and lower case only", full(origin, twin));
            findings.push(Finding::warn("settings", text));
        }
    }
    findings
}

/// The names of the properties or custom fields of an object as far as they are documented, declared or stored.
fn names_known<'a>(
    object: &'static Object,
    origin: Origin,
    declared: Option<&'a Declared>,
    columns: Option<&'a Columns>,
) -> Vec<&'a str> {
    let mut known: Vec<&str> = match origin {
        Origin::Property => object.documented().map(|(property, _)| property).collect(),
        Origin::Custom => declared.into_iter().flat_map(|declared| declared.custom_fields_of(object)).collect(),
    };
    let stored = columns.into_iter().flat_map(Columns::iter).filter(|column| column.origin == origin);
    known.extend(stored.map(|column| column.planhat_name.as_str()));
    known
}

/// Why a name may be a mistake, if none of those that are known looks like it.
fn doubt_of(bare: &str, origin: Origin, known: &[&str]) -> Option<String> {
    // Of custom fields nothing may be known yet.
    if known.is_empty() || known.iter().any(|known| folded(known) == bare) {
        return None;
    }
    let renamed = catalog::renamed_to(bare).filter(|property| origin == Origin::Property && known.contains(property));
    let in_other_case = known.iter().find(|known| is_case_twin(known, bare)).copied();
    let meant = renamed.or(in_other_case).or_else(|| nearest(bare, known.iter().copied()));
    let what = if origin == Origin::Custom { "custom field" } else { "property" };
    Some(match meant {
        Some(meant) => format!("but no {what} has this name; did you mean {:?}?", full(origin, meant)),
        None => format!("but no {what} has this name so far; if one appears, the setting applies to it"),
    })
}

fn is_case_twin(name: &str, other: &str) -> bool {
    let name = folded(name);
    name != other && name.to_lowercase() == other.to_lowercase()
}

/// As the settings name it.
fn full(origin: Origin, name: &str) -> String {
    format!("{}{name}", if origin == Origin::Custom { "custom." } else { "" })
}
