//! `status`: is the data fresh? For people, and by its exit code for monitors.

use std::process::ExitCode;

use chrono::Utc;
use planhat_model::error::{Chain, exit_code as exit};
use planhat_store::{self as store, PastRun, WorkspaceOverview};
use serde::Serialize;

use super::masked_tables::{unmasked, unmasked_line};
use super::not_stored::{left_out_line, missing_lines, not_synced_line};
use super::with_store_read_only;
use crate::cli::OutputArgs;
use crate::command_error::CommandError;
use crate::freshness::FreshnessState;
use crate::print;
use crate::run::records;
use crate::workspace::Workspace;
use crate::workspace_status::{Comparison, ObjectLine, ReferenceLine, Status};

pub(super) async fn status(workspace: &Workspace, output: OutputArgs) -> Result<ExitCode, CommandError> {
    let (overview, unmasked) = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok((WorkspaceOverview::default(), Vec::new()));
        }
        let overview = store.read_only(async |db| store::overview(db, &store.schema).await).await?;
        // Whether the data is fresh does not depend on it.
        let unmasked = unmasked(store, &workspace.settings).await.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "could not count what is stored from before the privacy rules");
            Vec::new()
        });
        Ok((overview, unmasked))
    })
    .await?;
    let mut status = Status::of(&workspace.object_names(), overview, Utc::now(), workspace.settings.notify.stale_after);
    status.unmasked = unmasked;
    let (every, quota) = (workspace.settings.sync.reconcile_every, workspace.settings.planhat.calls_per_minute);
    status.comparison = Comparison::of(every, quota, &status.objects);
    let settings = &workspace.settings.database;
    if output.json {
        print::json(&StatusOfDatabase { database: settings.location(), status: &status })?;
    } else {
        match status.needs_attention() {
            true => print::in_red_to_stdout(&status.headline),
            false => print::to_stdout(&status.headline),
        }
        if let Some(run) = &status.latest_run {
            print::to_stdout(&details(&status, run, &settings.schema));
            if let Some(comparison) = status.comparison {
                print::to_stdout(&comparison.line(quota));
            }
        }
        if workspace.no_database_yet().is_none() {
            print::to_stdout(&format!("\nthe data is in schema {} of {}", settings.schema, settings.location()));
        }
    }
    Ok(if status.fresh { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// The status, and where the data is.
#[derive(Debug, Serialize)]
struct StatusOfDatabase<'a> {
    database: String,
    #[serde(flatten)]
    status: &'a Status,
}

/// What is beneath the headline.
fn details(status: &Status, run: &PastRun, schema: &str) -> String {
    let header = [
        "object", "state", "last result", "last success", "watermark", "all compared", "fetched", "inserted", "updated",
        "deleted", "unchanged", "time",
    ];
    let table = print::table(&header, 6, status.objects.iter().map(row_of));
    format!("{}\n{table}{}", last_run(run, &status.objects), notes(status, schema))
}

/// The last run, whoever made it, and why it was not good.
fn last_run(run: &PastRun, objects: &[ObjectLine]) -> String {
    let unfinished = if run.reason.is_none() { "not ended yet" } else { "did not end" };
    let ended = run.finished_at.map_or_else(|| unfinished.to_owned(), |ended| format!("ended {}", print::instant(ended)));
    let began = print::instant(run.started_at);
    let mut text = format!("last run: {}, run {}, {}; began {began}, {ended}", run.command, run.id, run.status);
    // What the objects below say is not said twice.
    let of_objects = objects.iter().filter_map(|line| line.known.as_ref()?.reason.as_deref());
    if !print::repeats_object_reason(run.reason.as_deref(), of_objects) {
        text.push_str(&print::why(run.reason.as_deref(), run.hint.as_deref()));
    }
    text
}

/// What somebody should know of the objects, and what to do: reasons, records in quarantine, values of another type.
fn notes(status: &Status, schema: &str) -> String {
    let mut text = String::new();
    for line in &status.objects {
        if line.state == FreshnessState::TableGone {
            let load = "the next sync loads it again";
            text.push_str(&format!("\ntable {schema}.{} was dropped; {load}", line.object));
        }
        if let Some(known) = &line.known
            && let Some(reason) = &known.reason
        {
            text.push_str(&format!("\n{} {}: {}", line.object, known.status, print::on_one_line(reason)));
            text.push_str(&print::hint(known.hint.as_deref()));
        }
    }
    for line in &status.objects {
        if let Some(known) = &line.known
            && let Some(left_out) = known.left_out
        {
            text.extend(left_out_line(line.object, left_out, known.left_out_before).map(|line| format!("\n{line}")));
        }
    }
    let (synced, others): (Vec<&ReferenceLine>, Vec<_>) =
        status.missing_references.iter().partition(|line| line.refers_to_synced);
    let missing = missing_lines(synced.into_iter().map(|line| &line.counted));
    for note in missing.into_iter().chain(not_synced_line(others.into_iter().map(|line| &line.counted))) {
        text.push_str(&format!("\n{note}"));
    }
    for (object, count) in &status.quarantine {
        let are = if *count == 1 { "is" } else { "are" };
        text.push_str(&format!("\n{} of {object} {are} in quarantine; `planhat-sync quarantine` shows why", records(*count)));
    }
    for unmasked in &status.unmasked {
        text.push_str(&format!("\n{}", unmasked_line(unmasked)));
    }
    for misfit in &status.misfits {
        let store::MisfitColumn { object, column, r#type, would_fit, .. } = misfit;
        text.push_str(&format!(
            "\n{object}.{column}: some values are not of type {type}, so they are kept in _misfits (type mismatches). Nothing needs \
             to be done; `planhat-sync retype {object} {column} {would_fit}` would give the column a type that holds all values"
        ));
    }
    text
}

fn row_of(line: &ObjectLine) -> Vec<String> {
    let or_never = |instant: Option<_>| instant.map_or_else(|| "never".to_owned(), print::instant);
    let has_failed = line.known.as_ref().is_some_and(|known| known.status == "failed");
    let state = match line.state {
        FreshnessState::Fresh if has_failed => "still fresh",
        FreshnessState::Fresh => "fresh",
        FreshnessState::Stale { .. } => "STALE",
        FreshnessState::NeverSynced => "never synced",
        FreshnessState::Skipped => "skipped",
        FreshnessState::TableGone => "table dropped",
    };
    let start = [line.object.to_owned(), state.to_owned()];
    let Some(known) = &line.known else {
        return start.into_iter().chain(["".to_owned(), or_never(None)]).chain(std::iter::repeat_n(String::new(), 8)).collect();
    };
    let result = if known.load_unfinished { format!("{}, load unfinished", known.status) } else { known.status.clone() };
    let figures = known.figures;
    let counts = [figures.fetched, figures.inserted, figures.updated, figures.deleted, figures.unchanged];
    let times = [known.last_success_at, known.watermark, known.reconciled_at];
    start
        .into_iter()
        .chain([result])
        .chain(times.map(or_never))
        .chain(counts.map(|count| count.to_string()))
        .chain([print::seconds(known.seconds)])
        .collect()
}
