//! `check`: is everything in place? One line each: ok, warn or fail, and what to do.

use std::process::ExitCode;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use super::{Failure, client, exit, hinted, open_store, print};
use crate::cli::Output;
use crate::config::{Settings, nearest};
use crate::flatten::Columns;
use crate::object::Object;
use crate::planhat::{Client, Error as PlanhatError};
use crate::record::Origin;
use crate::run::{self, Recognized};
use crate::store::{self, Health, PgConnection, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    subject: String,
    text: String,
    /// What to exit with, unless something failed before.
    #[serde(skip)]
    code: u8,
}

impl Finding {
    fn ok(subject: &str, text: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, subject: subject.to_owned(), text: text.into(), code: 0 }
    }

    fn warn(subject: &str, text: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warn, subject: subject.to_owned(), text: text.into(), code: 0 }
    }

    fn fail(subject: &str, text: impl Into<String>, code: u8) -> Finding {
        Finding { verdict: Verdict::Fail, subject: subject.to_owned(), text: text.into(), code }
    }
}

pub(super) async fn check(settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let mut findings = vec![Finding::ok("planhat-sync", concat!("version ", env!("CARGO_PKG_VERSION")))];
    let planhat = check_planhat(settings).await;
    let answers = planhat.iter().any(|finding| finding.verdict == Verdict::Ok);
    findings.extend(planhat);
    findings.extend(check_database(settings, answers).await);
    if output.json {
        print::json(&findings)?;
    } else {
        for Finding { verdict, subject, text, .. } in &findings {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
            };
            print::to_stdout(&format!("{verdict:<5} {subject:<14} {text}"));
        }
    }
    Ok(ExitCode::from(findings.iter().map(|finding| finding.code).find(|code| *code > 0).unwrap_or(0)))
}

async fn check_planhat(settings: &Settings) -> Vec<Finding> {
    let client = match client(settings) {
        Ok(client) => client,
        Err(failure) => return vec![Finding::fail("token", failure.on_one_line(), failure.code)],
    };
    let mut findings = Vec::new();
    let mut readable = 0;
    for object in &settings.planhat.objects {
        let finding = match read_one(&client, object).await {
            Ok(()) => {
                readable += 1;
                Finding::ok(object.name, "readable")
            }
            Err(error @ PlanhatError::Unauthorized { .. }) => {
                return vec![Finding::fail("token", hinted(&error), exit::TOKEN_REFUSED)];
            }
            // What fails to connect once would for every object.
            Err(error @ PlanhatError::Unreachable { .. }) => {
                return vec![Finding::fail("Planhat", hinted(&error), exit::FAILED)];
            }
            Err(error @ PlanhatError::Forbidden { .. }) => Finding::warn(object.name, hinted(&error)),
            Err(error) => Finding::fail(object.name, hinted(&error), exit::FAILED),
        };
        findings.push(finding);
    }
    if readable == 0 {
        findings.push(Finding::fail("token", "may not read any of the objects", exit::FAILED));
    } else {
        findings.insert(0, Finding::ok("token", format!("accepted by {}", settings.planhat.base_url)));
    }
    findings
}

async fn read_one(client: &Client, object: &Object) -> Result<(), PlanhatError> {
    client.list(object.name, &[("limit", "1".to_owned())], &AtomicU64::new(0)).await.map(|_| ())
}

/// `answers` says whether Planhat can be asked for anything.
async fn check_database(settings: &Settings, answers: bool) -> Vec<Finding> {
    let store = match open_store(settings).await {
        Ok(store) => store,
        Err(failure) => return vec![Finding::fail("database", failure.on_one_line(), failure.code)],
    };
    let (health, tables) = (health_of(&store, settings).await, store.is_set_up().await);
    let workspace = if answers && matches!(tables, Ok(true)) { check_workspace(settings, &store).await } else { None };
    let misspelt = misspelt(&store, settings, matches!(tables, Ok(true))).await.unwrap_or_default();
    store.close().await;
    let health = match health {
        Ok(health) => health,
        Err(error) => {
            let failure = Failure::from(error);
            return vec![Finding::fail("database", failure.on_one_line(), failure.code)];
        }
    };
    let mut findings = vec![if health.version_is_supported {
        Finding::ok("database", format!("PostgreSQL {}", health.version))
    } else {
        Finding::fail("database", format!("PostgreSQL {} is too old; 15 or newer is needed", health.version), exit::DATABASE)
    }];
    if health.encoding != "UTF8" {
        let text = format!("the database is encoded in {}; create one with encoding 'UTF8'", health.encoding);
        findings.push(Finding::fail("database", text, exit::DATABASE));
    }
    if health.is_read_only {
        findings.push(Finding::fail("database", "is read-only; name the primary in DATABASE_URL", exit::DATABASE));
    }
    findings.push(match tables {
        Ok(true) => Finding::ok("tables", "made by this version"),
        Ok(false) => Finding::ok("tables", "none yet; the first sync makes them"),
        Err(error) => {
            let failure = Failure::from(error);
            Finding::fail("tables", failure.on_one_line(), failure.code)
        }
    });
    findings.extend(workspace);
    for taken in health.taken {
        let failure = Failure::from(taken);
        findings.push(Finding::fail("tables", failure.on_one_line(), failure.code));
    }
    if health.missing_grants.is_empty() {
        findings.push(Finding::ok("privileges", format!("can write schemas {} and planhat_sync", settings.database.schema)));
    }
    findings.extend(misspelt);
    for grant in &health.missing_grants {
        findings.push(Finding::fail("privileges", format!("missing; have an administrator run: {grant};"), exit::DATABASE));
    }
    findings
}

/// Whether the schema is filled by the workspace whose token is set.
async fn check_workspace(settings: &Settings, store: &Store) -> Option<Finding> {
    let client = client(settings).ok()?;
    let schema = &store.schema;
    Some(match run::recognize(&client, store).await {
        Ok(Recognized::Bound(binding)) => {
            let since = binding.bound_at.format("%Y-%m-%d %H:%M:%S UTC");
            Finding::ok("workspace", format!("schema {schema} is filled by this token from {} since {since}", binding.host))
        }
        Ok(Recognized::New { .. }) => {
            Finding::ok("workspace", format!("nothing is stored in schema {schema}; the next sync binds it"))
        }
        Ok(Recognized::Proven { compared, .. }) => {
            Finding::ok("workspace", format!("schema {schema} belongs to this workspace, which the next sync notes: {compared}"))
        }
        Err(error) => {
            let failure = Failure::from(error);
            Finding::fail("workspace", failure.on_one_line(), failure.code)
        }
    })
}

/// Names in the rules for objects that nothing is known by, where something similar is: a rule for a misspelt name is none.
async fn misspelt(store: &Store, settings: &Settings, has_tables: bool) -> Result<Vec<Finding>, store::Error> {
    let mut findings = Vec::new();
    for (setting, object, name) in settings.names_of_properties() {
        let (origin, bare) = name.strip_prefix("custom.").map_or((Origin::Property, name), |field| (Origin::Custom, field));
        if name == "custom" || name == "custom.*" {
            continue;
        }
        let columns = if has_tables {
            store.look(async |db| store::load_columns(db, &store.schema, object).await).await?
        } else {
            Columns::default()
        };
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

async fn health_of(store: &Store, settings: &Settings) -> Result<Health, store::Error> {
    // Not one that reads only: whether the server would let us write is one of the questions.
    let health =
        async |db: &mut PgConnection| store::health(db, &store.schema, &settings.planhat.objects, settings.actions.enabled).await;
    store.attempt(health).await
}
