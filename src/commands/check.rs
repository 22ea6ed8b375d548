//! `check`: is everything in place? One line per finding: ok, warn or fail, and what to do.
//!
//! A person waits for it, so it takes seconds whatever is wrong: Planhat and the database are checked in parallel, and so are the
//! objects; nothing is requested twice, and every timeout is short.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use planhat_api::{ApiError as PlanhatError, Client};
use planhat_model::catalog::Object;
use planhat_model::error::{Chain, ErrorKind, exit_code as exit};
use planhat_model::flatten::Columns;
use planhat_model::record::Origin;
use planhat_store::{self as store, ConnectionSecurity, DatabaseRequirements, Store};
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
    let (planhat, mut database) = tokio::join!(check_planhat(workspace), check_database(workspace));
    // Why nothing could be asked of Planhat has been said then.
    if !planhat.iter().any(|finding| finding.verdict == CheckLevel::Ok) {
        database.retain(|finding| finding.subject != WORKSPACE);
    }
    findings.extend(planhat);
    findings.extend(database);
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
            print::to_stdout(&format!("{verdict:<5} {subject:<14} {text}"));
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
    let mut readable = 0;
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
            Err(error) if readable == 0 && error.kind() == ErrorKind::NotConnected => {
                return vec![Finding::fail("Planhat", with_hint(&error), exit::FAILED)];
            }
            Err(error @ PlanhatError::AccessDenied { .. }) => Finding::warn(object.name, with_hint(&error)),
            Err(error) => Finding::fail(object.name, with_hint(&error), exit::FAILED),
        };
        findings.push(finding);
    }
    if readable == 0 {
        findings.push(Finding::fail("token", "the token may not read any of the objects", exit::FAILED));
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

async fn check_database(workspace: &Workspace) -> Vec<Finding> {
    if let Some(text) = workspace.no_database_yet() {
        return vec![Finding::warn("database", text)];
    }
    let time_limit = if workspace.settings.database.url.is_some() { CONNECT_TIMEOUT } else { START_TIMEOUT };
    let store = match timeout(time_limit, workspace.open_store()).await {
        Ok(Ok(store)) => store,
        Ok(Err(failure)) => return vec![Finding::fail("database", failure.on_one_line(), failure.code)],
        Err(_) => return vec![unresponsive(time_limit)],
    };
    let findings = timeout(ANSWER_TIMEOUT, check_store(&store, workspace)).await;
    let _ = timeout(CLOSE_TIMEOUT, store.close()).await;
    match findings {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => {
            let failure = CommandError::from(error);
            vec![Finding::fail("database", failure.on_one_line(), failure.code)]
        }
        Err(_) => vec![unresponsive(ANSWER_TIMEOUT)],
    }
}

fn unresponsive(time_limit: Duration) -> Finding {
    let seconds = time_limit.as_secs();
    let text = format!(
        "did not answer within {seconds} s; check the host and port in DATABASE_URL, that no firewall blocks it, and that the server is not overloaded"
    );
    Finding::fail("database", text, exit::DATABASE)
}

async fn check_store(store: &Store, workspace: &Workspace) -> Result<Vec<Finding>, store::StoreError> {
    let (schema, settings) = (&store.schema, &workspace.settings);
    let health = store
        .read_only(async |db| store::check_requirements(db, schema, &settings.planhat.objects, settings.actions.enabled).await)
        .await?;
    let place = match settings.database.url {
        Some(_) => store.database_location(),
        None => format!("embedded, in {}", settings.database.data_dir.display()),
    };
    let mut findings = vec![if health.version_is_supported {
        Finding::ok("database", format!("PostgreSQL {}, {place}", health.version))
    } else {
        let text = format!("PostgreSQL {}, {place}, is too old; version 15 or newer is required", health.version);
        Finding::fail("database", text, exit::DATABASE)
    }];
    findings.push(check_connection(store).await);
    findings.extend(faults_of(&health));
    let is_set_up = store.is_set_up().await;
    let misspelt = misspelt(store, settings, matches!(is_set_up, Ok(true))).await.unwrap_or_default();
    let from_before_rules = match &is_set_up {
        Ok(true) => unmasked(store, settings).await.unwrap_or_default(),
        Ok(false) | Err(_) => Vec::new(),
    };
    let from_before_rules = from_before_rules.iter().map(|left| Finding::warn("privacy", unmasked_line(left)));
    let workspace = match &is_set_up {
        Ok(is_set_up) => check_workspace(workspace, store, *is_set_up).await,
        Err(_) => None,
    };
    findings.push(tables(store, is_set_up).await);
    findings.extend(workspace);
    for taken in health.names_taken {
        let failure = CommandError::from(taken);
        findings.push(Finding::fail("tables", failure.on_one_line(), failure.code));
    }
    if health.missing_grants.is_empty() {
        findings.push(Finding::ok("privileges", format!("can write schemas {schema} and planhat_sync")));
    }
    findings.extend(misspelt);
    findings.extend(from_before_rules);
    for grant in &health.missing_grants {
        findings.push(Finding::fail("privileges", format!("missing; ask an administrator to run: {grant};"), exit::DATABASE));
    }
    Ok(findings)
}

fn faults_of(health: &DatabaseRequirements) -> Vec<Finding> {
    let mut findings = Vec::new();
    if health.encoding != "UTF8" {
        let text = format!("the database is encoded in {}; create one with encoding 'UTF8'", health.encoding);
        findings.push(Finding::fail("database", text, exit::DATABASE));
    }
    if health.is_read_only {
        findings.push(Finding::fail("database", "is read-only; name the primary in DATABASE_URL", exit::DATABASE));
    }
    findings
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
        (0, _) => Finding::ok("tables", format!("none yet in schema {schema}; the first sync makes them")),
        (count, 0) => Finding::ok("tables", format!("{count}, created by this version")),
        (count, lost) => {
            let text = format!(
                "{lost} of {count} synced tables were dropped ({}); the next sync creates them again and loads them from the beginning",
                gone.join(", ")
            );
            Finding::warn("tables", text)
        }
    }
}

/// What works and should not be so.
fn check_settings(settings: &Settings) -> Vec<Finding> {
    let warnings = settings.warnings(Utc::now()).into_iter();
    let mut findings: Vec<_> = warnings.map(|(key, doubt)| Finding::warn("settings", format!("{key} {doubt}"))).collect();
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

/// Names in the rules for objects that nothing is known by, where something similar is: a rule for a misspelt name is none.
async fn misspelt(store: &Store, settings: &Settings, has_tables: bool) -> Result<Vec<Finding>, store::StoreError> {
    let columns_of = async |object: &Object| match has_tables {
        true => store.read_only(async |db| store::load_columns(db, &store.schema, object).await).await,
        false => Ok(Columns::default()),
    };
    let mut findings = Vec::new();
    for (setting, object, name) in settings.names_of_properties() {
        let (origin, bare) = name.strip_prefix("custom.").map_or((Origin::Property, name), |field| (Origin::Custom, field));
        if name == "custom" || name == "custom.*" {
            continue;
        }
        let columns = columns_of(object).await?;
        let stored = columns.iter().filter(|column| column.origin == origin).map(|column| column.planhat_name.as_str());
        let documented = object.documented().filter(|_| origin == Origin::Property);
        let mut known: Vec<&str> = documented.collect();
        known.extend(stored);
        let renamed = object.renamed.iter().find(|(_, clearer)| *clearer == bare).map(|(planhat, _)| *planhat);
        let in_other_case = known.iter().find(|known| known.to_lowercase() == bare.to_lowercase()).copied();
        let meant = renamed.or(in_other_case).or_else(|| nearest(bare, known.iter().copied()));
        if let Some(meant) = meant.filter(|_| !known.contains(&bare)) {
            let meant = format!("{}{meant}", if origin == Origin::Custom { "custom." } else { "" });
            let text = format!("{setting} names {name:?}, which is neither documented nor stored; did you mean {meant:?}?");
            findings.push(Finding::warn("settings", text));
        }
    }
    Ok(findings)
}
