//! `quarantine`: which records could not be stored and why, their texts, and what to do about them.
//!
//! Listing and showing read the database only: no token, no lease, no change. Texts from Planhat and PostgreSQL are printed
//! without control characters, so that they can neither move the cursor nor start a line.

use std::process::ExitCode;

use anyhow::anyhow;
use planhat_model::catalog::Object;
use planhat_model::error::exit_code as exit;
use planhat_store::{self as store, QuarantineEntry, QuarantineGroup, RunStatus, Store};
use serde::Serialize;

use super::{in_a_run_of_its_own, with_store_read_only};
use crate::cli::{OutputArgs, QuarantineListArgs};
use crate::command_error::CommandError;
use crate::config;
use crate::print;
use crate::pull::{self, Limits, RetryCounts};
use crate::workspace::Workspace;

/// What the run of a retry is called.
const RETRY: &str = "quarantine retry";
/// As much of a reason as a line of a table takes.
const REASON_CHARS: usize = 100;

#[derive(Debug, Default, Serialize)]
struct QuarantineOverview {
    /// By object and reason.
    waiting: Vec<QuarantineGroup>,
    /// The latest ones.
    entries: Vec<QuarantineEntry>,
}

/// An entry with its text.
#[derive(Debug, Serialize)]
struct EntryDetails {
    #[serde(flatten)]
    entry: QuarantineEntry,
    raw: String,
}

pub(super) async fn list(workspace: &Workspace, which: &QuarantineListArgs) -> Result<ExitCode, CommandError> {
    let named: Vec<&str> = config::objects_named(&which.objects)?.iter().map(|object| object.name).collect();
    let overview = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(QuarantineOverview::default());
        }
        let looked = store.read_only(async |db| {
            let waiting = store::quarantine_groups(&mut *db, &store.schema, &named).await?;
            let entries =
                store::latest_in_quarantine(db, &store.schema, &workspace.settings.rules, &named, which.limit.into()).await?;
            Ok(QuarantineOverview { waiting, entries })
        });
        Ok(looked.await?)
    })
    .await?;
    if which.output.json {
        print::json(&overview)?;
    } else {
        print::to_stdout(&text_of(&overview));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn show(workspace: &Workspace, id: i64, output: OutputArgs) -> Result<ExitCode, CommandError> {
    let whole = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(None);
        }
        Ok(store.read_only(async |db| store::quarantine_entry(db, &store.schema, &workspace.settings.rules, id).await).await?)
    })
    .await?;
    let Some((entry, raw)) = whole else { return Err(no_entry(&[id])) };
    if output.json {
        print::json(&EntryDetails { entry, raw })?;
    } else {
        let record = entry.record_id.as_deref().map_or("without an id".to_owned(), print::on_one_line);
        let run = entry.run_id.map_or_else(String::new, |run_id| format!(", last seen by run {run_id}"));
        print::to_stdout(&format!(
            "{id}: {} {record}, since {}{run}\n{}\n{}",
            entry.object,
            print::instant(entry.since),
            full_reason(&entry),
            print::on_one_line(&raw)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries to store what is kept once more, as a run of its own, so that no sync stores the same records meanwhile.
pub(super) async fn retry(workspace: &Workspace, objects: &[String]) -> Result<ExitCode, CommandError> {
    let objects = config::objects_named(objects)?;
    let limits = workspace.limits();
    let tried = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(Vec::new());
        }
        store.migrate().await?;
        let retry = async |run_id| {
            let tried = retry_each(store, &limits, &objects, run_id).await?;
            let status = if all_stored(&tried) { RunStatus::Succeeded } else { RunStatus::Partial };
            Ok((tried, status))
        };
        in_a_run_of_its_own(store, RETRY, retry).await
    })
    .await?;
    let lines: Vec<String> = tried.iter().map(ObjectRetry::on_one_line).collect();
    print::to_stdout(&if lines.is_empty() { "nothing is in quarantine".to_owned() } else { lines.join("\n") });
    Ok(if all_stored(&tried) { ExitCode::SUCCESS } else { ExitCode::from(exit::PARTIAL) })
}

fn all_stored(tried: &[ObjectRetry]) -> bool {
    tried.iter().all(|tried| tried.left == 0)
}

/// Forgets entries on the user's word.
pub(super) async fn drop(workspace: &Workspace, ids: &[i64]) -> Result<ExitCode, CommandError> {
    let dropped = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(Vec::new());
        }
        Ok(store.transaction(async |db| store::delete_quarantine_entries(db, &store.schema, ids).await).await?)
    })
    .await?;
    if !dropped.is_empty() {
        print::to_stdout(&format!(
            "deleted {}; a record that Planhat lists again and that still cannot be stored comes back",
            records(dropped.len() as u64)
        ));
    }
    let missing: Vec<i64> = ids.iter().copied().filter(|id| !dropped.contains(id)).collect();
    if missing.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(no_entry(&missing)) }
}

/// What came of one object.
#[derive(Debug)]
struct ObjectRetry {
    object: &'static Object,
    /// None where the user's rules leave no text that could be stored.
    retried: Option<RetryCounts>,
    /// Records that are still there.
    left: u64,
}

impl ObjectRetry {
    fn on_one_line(&self) -> String {
        let (name, left) = (self.object.name, records(self.left));
        match self.retried {
            None => {
                let wait = if self.left == 1 { "waits" } else { "wait" };
                format!(
                    "{name}: {left} {wait} for the next sync: the kept texts are masked by the privacy rules and cannot be stored"
                )
            }
            Some(RetryCounts { stored, refused }) if self.left == 0 && refused == 0 => {
                format!("{name}: stored {}", records(stored))
            }
            Some(RetryCounts { stored, refused }) => {
                let are = if self.left == 1 { "is" } else { "are" };
                let again = if refused > 0 { format!("; PostgreSQL refused {refused} again") } else { String::new() };
                let untried = if refused < self.left {
                    ". A record without an id or a complete text cannot be tried without Planhat; the next sync tries it"
                } else {
                    ""
                };
                format!("{name}: stored {}{again}; {left} {are} left in quarantine{untried}", records(stored))
            }
        }
    }
}

async fn retry_each(
    store: &Store,
    limits: &Limits,
    objects: &[&'static Object],
    run_id: i64,
) -> Result<Vec<ObjectRetry>, CommandError> {
    if limits.timeline.enabled {
        store.transaction(async |db| store::create_actions_table(db, &store.schema).await).await?;
    }
    let mut tried = Vec::new();
    for object in waiting_objects(store, objects).await? {
        let has_rules = limits.rules.contains_key(object.name);
        let retried = if has_rules { None } else { Some(pull::retry_quarantined(store, limits, object, run_id).await?) };
        let left = store.read_only(async |db| store::quarantine_groups(db, &store.schema, &[object.name]).await).await?;
        let left = left.iter().map(|waiting| waiting.records.cast_unsigned()).sum();
        tried.push(ObjectRetry { object, retried, left });
    }
    Ok(tried)
}

/// The objects of which anything is in quarantine, of those that are named or of all.
async fn waiting_objects(store: &Store, named: &[&'static Object]) -> Result<Vec<&'static Object>, CommandError> {
    let names: Vec<&str> = named.iter().map(|object| object.name).collect();
    let mut waiting: Vec<String> = store
        .read_only(async |db| store::quarantine_groups(db, &store.schema, &names).await)
        .await?
        .into_iter()
        .map(|waiting| waiting.object)
        .collect();
    waiting.dedup();
    Ok(config::objects_named(&waiting)?)
}

fn text_of(overview: &QuarantineOverview) -> String {
    if overview.waiting.is_empty() {
        return "nothing is in quarantine".to_owned();
    }
    let rows = overview.waiting.iter().map(|waiting| {
        let times = [waiting.oldest, waiting.newest].map(print::instant);
        [waiting.object.clone(), print::on_one_line(&waiting.reason)]
            .into_iter()
            .chain(times)
            .chain([waiting.records.to_string()])
    });
    let mut text = print::table(&["object", "reason", "oldest", "newest", "records"], 4, rows);
    let rows = overview.entries.iter().map(|entry| {
        let record = entry.record_id.as_deref().map_or_else(String::new, shortened);
        [entry.id.to_string(), entry.object.clone(), record, shortened(&full_reason(entry)), print::instant(entry.since)]
    });
    text.push_str(&format!("\n{}", print::table(&["id", "object", "record", "reason", "since"], 5, rows)));
    let all: i64 = overview.waiting.iter().map(|waiting| waiting.records).sum();
    let more = all - overview.entries.len() as i64;
    if more > 0 {
        text.push_str(&format!("\nand {more} more; --limit lists more of them"));
    }
    text.push_str(
        "\na sync tries to store a record again whenever Planhat lists it. `planhat-sync quarantine show ID` prints the text of a \
         record; `planhat-sync quarantine retry` tries the kept texts again now, without Planhat",
    );
    text
}

fn full_reason(entry: &QuarantineEntry) -> String {
    let sqlstate = entry.sqlstate.as_ref().map_or_else(String::new, |sqlstate| format!(" ({sqlstate})"));
    print::on_one_line(&format!("{}{sqlstate}", entry.reason))
}

/// As much as a line of a table takes.
fn shortened(text: &str) -> String {
    print::shortened(text, REASON_CHARS)
}

fn records(count: u64) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}

fn no_entry(ids: &[i64]) -> CommandError {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    let missing = anyhow!("the quarantine has no entry {}", ids.join(", "));
    CommandError::new(
        exit::CONFIGURATION,
        missing,
        Some("`planhat-sync quarantine` lists the entries; an entry is removed once its record is stored"),
    )
}
