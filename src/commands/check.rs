//! `check`: is everything in place? One line per finding: ok, warn or fail, and what to do.
//!
//! A person waits for it, so it takes seconds whatever is wrong: Planhat and the database are checked in parallel, and so are the
//! objects; nothing is requested twice, and every timeout is short. With `--probe` it takes longer: see `probe.rs`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use planhat_api::{ApiError as PlanhatError, Client};
use planhat_model::catalog::{self, ByObject, Object};
use planhat_model::error::{Chain, ErrorKind, exit_code as exit};
use planhat_model::flatten::Columns;
use planhat_model::workspace_report::WorkspaceReport;
use planhat_store::{
    self as store, ConnectionSecurity, DatabaseRequirements, LockProof, MissingGrant, Privileges, Store, Writable,
};
use tokio::time::timeout;

use super::finding::{CheckLevel, Finding};
use super::masked_tables::{unmasked, unmasked_line};
use super::names_in_rules::{check_names_in_rules, columns_with_rules, declared_fields};
use super::probe::{self, KeptCapabilities};
use super::report_file::ReportDestination;
use crate::cli::CheckArgs;
use crate::command_error::CommandError;
use crate::config::{NamedWorkspace, Settings};
use crate::print;
use crate::run::{self, Recognized};
use crate::workspace::Workspace;

/// For a connection, to Planhat or to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For what is asked then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// For Planhat's part of what is asked of the database: whose schema it is.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// An embedded database starts in this process, which takes a slow machine its time.
const START_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A server that does not answer is not waited for to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const SIDE_BY_SIDE: usize = 8;
/// What is found of whose schema it is.
const WORKSPACE: &str = "workspace";

pub(super) async fn check(workspace: &Workspace, asked: &CheckArgs) -> Result<ExitCode, CommandError> {
    check_but(workspace, asked, &[]).await
}

/// The same for one of several workspaces, without what was said of all of them.
pub(super) async fn check_but(workspace: &Workspace, asked: &CheckArgs, said: &[Finding]) -> Result<ExitCode, CommandError> {
    let destination = asked.report.as_deref().map(|path| ReportDestination::of(path, asked.output)).transpose()?;
    let client = workspace.client_without_retries();
    let usable = client.as_ref().ok();
    let mut findings = vec![Finding::ok("planhat-sync", concat!("version ", env!("CARGO_PKG_VERSION")))];
    let ((planhat, report, database), declared) = tokio::join!(
        async {
            if !asked.probe {
                let (planhat, database) =
                    tokio::join!(check_planhat(workspace, &client), check_database(workspace, usable, None));
                return (planhat, None, database);
            }
            // What is found is stored, so that the database comes after it.
            let planhat = check_planhat(workspace, &client).await;
            let is_readable = planhat.iter().any(|finding| finding.verdict == CheckLevel::Ok);
            let report = match usable.filter(|_| is_readable) {
                Some(client) => Some(probe::ask(client, &workspace.settings.planhat.objects).await),
                None => None,
            };
            let database = check_database(workspace, usable, report.as_ref()).await;
            (planhat, report, database)
        },
        declared_fields(workspace, usable, ANSWER_TIMEOUT)
    );
    let DatabaseCheck { findings: mut database, columns, kept } = database;
    // Why nothing could be asked of Planhat has been said then.
    if !planhat.iter().any(|finding| finding.verdict == CheckLevel::Ok) {
        database.retain(|finding| finding.subject != WORKSPACE);
    }
    findings.extend(planhat);
    findings.extend(database);
    findings.extend(check_names_in_rules(&workspace.settings, &declared, &columns));
    findings.extend(
        check_settings(&workspace.settings).into_iter().filter(|finding| !said.iter().any(|said| said.line() == finding.line())),
    );
    findings.extend(probe::findings(report.as_ref(), &kept));
    if let Some(destination) = &destination {
        findings.push(destination.write(report, &kept));
    }
    if destination.is_some_and(|destination| destination.is_stdout()) {
        findings.iter().for_each(|finding| print::to_stderr(&finding.line()));
    } else {
        show(&findings, asked.output.json)?;
    }
    Ok(ExitCode::from(findings.iter().map(|finding| finding.code).find(|code| *code != exit::SUCCESS).unwrap_or(exit::SUCCESS)))
}

/// Prints what was found.
pub(super) fn show(findings: &[Finding], json: bool) -> Result<(), CommandError> {
    if json {
        print::json(&findings)?;
    } else {
        findings.iter().for_each(|finding| print::to_stdout(&finding.line()));
    }
    Ok(())
}

/// What is found in the settings that several workspaces share; no doubt that none of them has.
pub(super) fn findings_of_all(shared: &Settings, workspaces: &[NamedWorkspace]) -> Vec<Finding> {
    let now = Utc::now();
    let has = |key: &str, doubt: &str| {
        let of_each = workspaces.iter().filter_map(|workspace| workspace.settings.as_ref().ok());
        of_each.into_iter().any(|settings| settings.warnings(now).iter().any(|(known, said)| *known == key && *said == doubt))
    };
    let warnings = shared.warnings(now).into_iter().filter(|(key, doubt)| has(key, doubt));
    warnings.map(doubtful_setting).chain(check_files(shared)).collect()
}

async fn check_planhat(workspace: &Workspace, client: &Result<Client, CommandError>) -> Vec<Finding> {
    let client = match client {
        Ok(client) => client,
        Err(failure) => return vec![Finding::fail("token", failure.on_one_line(), failure.code)],
    };
    let mut findings = Vec::new();
    let (mut readable, mut not_found) = (0, 0);
    let objects = futures_util::stream::iter(&workspace.settings.planhat.objects);
    let mut answers = objects.map(async |object| (object, read_one(client, object).await)).buffered(SIDE_BY_SIDE);
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

/// What is found of the database.
struct DatabaseCheck {
    findings: Vec<Finding>,
    /// Of the objects that the settings have rules for.
    columns: ByObject<Columns>,
    kept: KeptCapabilities,
}

impl DatabaseCheck {
    /// There is no database to look at.
    fn none(finding: Finding) -> DatabaseCheck {
        let kept = KeptCapabilities::none("the database cannot be used");
        DatabaseCheck { findings: vec![finding], columns: ByObject::new(), kept }
    }
}

/// Looks at the database, and stores what a probe has found.
async fn check_database(workspace: &Workspace, client: Option<&Client>, report: Option<&WorkspaceReport>) -> DatabaseCheck {
    if let Some(text) = workspace.no_database_yet() {
        return DatabaseCheck::none(Finding::warn("database", text));
    }
    let time_limit = if workspace.settings.database.is_embedded() { START_TIMEOUT } else { CONNECT_TIMEOUT };
    let store = match timeout(time_limit, workspace.open_store()).await {
        Ok(Ok(store)) => store,
        Ok(Err(failure)) => return DatabaseCheck::none(Finding::fail("database", failure.on_one_line(), failure.code)),
        Err(_) => return DatabaseCheck::none(unresponsive(time_limit)),
    };
    let checked = timeout(ANSWER_TIMEOUT, check_store(&store, workspace, client, report)).await;
    let _ = timeout(CLOSE_TIMEOUT, store.close()).await;
    match checked {
        Ok(Ok(checked)) => checked,
        Ok(Err(error)) => {
            let failure = CommandError::from(error);
            DatabaseCheck::none(Finding::fail("database", failure.on_one_line(), failure.code))
        }
        Err(_) => DatabaseCheck::none(unresponsive(ANSWER_TIMEOUT)),
    }
}

fn unresponsive(time_limit: Duration) -> Finding {
    let seconds = time_limit.as_secs();
    let text = format!(
        "did not answer within {seconds} s; check the host and port in DATABASE_URL, that no firewall blocks it, and that the server is not overloaded"
    );
    Finding::fail("database", text, exit::DATABASE)
}

async fn check_store(
    store: &Store,
    workspace: &Workspace,
    client: Option<&Client>,
    report: Option<&WorkspaceReport>,
) -> Result<DatabaseCheck, store::StoreError> {
    let (schema, settings) = (&store.schema, &workspace.settings);
    let health = store
        .read_only(async |db| {
            store::check_requirements(db, &store.place(), schema, &settings.planhat.objects, settings.actions.enabled).await
        })
        .await?;
    let place = if settings.database.is_embedded() { settings.database.location() } else { store.database_location() };
    let mut findings = vec![if health.version_is_supported {
        Finding::ok("database", format!("{}, {place}", health.engine))
    } else {
        let text = format!("{}, {place}, is too old; version 15 or newer is required", health.engine);
        Finding::fail("database", text, exit::DATABASE)
    }];
    findings.push(check_connection(store).await);
    findings.extend(faults_of(&health));
    let is_set_up = store.is_set_up().await;
    let has_tables = matches!(is_set_up, Ok(true));
    if has_tables && health.writable == Writable::Yes && health.privileges == Privileges::Complete {
        findings.extend(check_locks(store).await?);
    }
    let columns = match is_set_up {
        Ok(true) => columns_with_rules(store, settings).await.unwrap_or_default(),
        _ => ByObject::new(),
    };
    let from_before_rules = match &is_set_up {
        Ok(true) => unmasked(store, settings).await.unwrap_or_default(),
        Ok(false) | Err(_) => Vec::new(),
    };
    let from_before_rules = from_before_rules.iter().map(|left| Finding::warn("privacy", unmasked_line(left)));
    let verified = match (&is_set_up, client) {
        // Planhat may have asked for a pause.
        (Ok(is_set_up), Some(client)) => timeout(VERIFY_TIMEOUT, check_workspace(client, store, *is_set_up)).await.ok(),
        _ => Some((None, false)),
    };
    let (workspace, kept) = match verified {
        Some((finding, true)) => (finding, probe::keep(store, report).await),
        Some((finding, false)) => (finding, KeptCapabilities::of_another(schema)),
        None => {
            let text = format!("Planhat did not answer in time whether schema {schema} belongs to this workspace");
            (Some(Finding::warn(WORKSPACE, text)), KeptCapabilities::none("whose schema it is could not be verified"))
        }
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
    Ok(DatabaseCheck { findings, columns, kept })
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

/// Whether the locks hold by which several processes work on one database. There is nothing to lock before the first sync.
async fn check_locks(store: &Store) -> Result<Option<Finding>, store::StoreError> {
    const BROKEN: &str = "a row that one connection had locked was given to another one, so that two runs could write at the same time: let \
         DATABASE_URL name PostgreSQL itself, without a proxy that sends statements to several servers";
    Ok(match store.prove_locks().await? {
        LockProof::NoRow => None,
        LockProof::Proven => Some(Finding::ok("locks", "a row that one connection has locked is refused to another one")),
        LockProof::SingleConnection => Some(Finding::ok("locks", "not tried, since that takes two connections and there is one")),
        LockProof::Broken => Some(Finding::fail("locks", BROKEN, exit::DATABASE)),
    })
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
    settings.warnings(Utc::now()).into_iter().map(doubtful_setting).chain(check_files(settings)).collect()
}

fn doubtful_setting((key, doubt): (&str, String)) -> Finding {
    Finding::warn("settings", format!("{key} {doubt}"))
}

/// What is doubtful in the files that the settings were read from.
fn check_files(settings: &Settings) -> impl Iterator<Item = Finding> {
    let files = &settings.secret_files;
    let doubts = files.doubts.iter().map(|doubt| Finding::warn("settings", doubt.as_str()));
    doubts.chain(files.open_to_others().map(|path| {
        let path = path.display();
        Finding::warn("secrets", format!("{path} can be read by other users of this machine; run `chmod 600 {path}`"))
    }))
}

/// Whether the schema is filled by the workspace whose token is set, and whether that is recorded.
async fn check_workspace(client: &Client, store: &Store, is_set_up: bool) -> (Option<Finding>, bool) {
    let schema = &store.schema;
    let finding = match run::recognize(client, store).await {
        Ok(Recognized::Bound(binding)) => {
            let since = binding.bound_at.format("%Y-%m-%d %H:%M:%S UTC");
            let text = format!("schema {schema} belongs to the workspace of this token on {} since {since}", binding.host);
            return (Some(Finding::ok(WORKSPACE, text)), true);
        }
        // There is nothing yet, as is said of the tables.
        Ok(Recognized::New { .. }) if !is_set_up => return (None, false),
        // Tables that may not be read are named with the privileges.
        Err(run::RunError::Store(_)) if !is_set_up => return (None, false),
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
    };
    (Some(finding), false)
}
