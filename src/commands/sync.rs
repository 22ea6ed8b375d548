//! `sync` and `backfill`: one run, its summary, its exit code.

use std::process::ExitCode;

use chrono::Utc;

use super::{Failure, client, exit, listen_for_signals, print, with_store};
use crate::cli::Output;
use crate::config::Settings;
use crate::object::Object;
use crate::pull::{Ask, Failure as PullFailure, Limits};
use crate::run::{self, ObjectSummary, Order, Summary};
use crate::signals::Stop;
use crate::store::{ObjectStatus, RunStatus};

pub(super) async fn sync(
    command: &str,
    ask: Ask,
    objects: &[&'static Object],
    settings: &Settings,
    output: Output,
) -> Result<ExitCode, Failure> {
    // A mistake in the token shows before the database is touched.
    let client = client(settings)?;
    let order =
        Order { command, objects, ask, limits: limits(settings), now: Utc::now(), concurrency: settings.sync.concurrency };
    let (summary, stop) = with_store(settings, async |store| {
        store.migrate().await?;
        let stop = listen_for_signals()?;
        Ok((run::run(&client, store, &order, &stop.token).await?, stop))
    })
    .await?;
    if output.json {
        print::json(&summary)?;
    } else {
        print::to_stdout(&text_of(&summary));
    }
    Ok(ExitCode::from(exit_code(&summary, &stop)))
}

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        page_size: settings.planhat.page_size,
        overlap: settings.pages.overlap > 0,
        lookback: settings.sync.lookback,
        history: settings.sync.history,
    }
}

pub(super) fn exit_code(summary: &Summary, stop: &Stop) -> u8 {
    let failures = || summary.objects.iter().filter_map(|object| object.failure.as_ref());
    match summary.status {
        RunStatus::Succeeded => 0,
        RunStatus::Interrupted => stop.exit_code(),
        RunStatus::Partial => exit::PARTIAL,
        RunStatus::Failed if failures().any(PullFailure::is_token_refused) => exit::TOKEN_REFUSED,
        RunStatus::Failed if failures().any(|failure| matches!(failure, PullFailure::Store { .. })) => exit::DATABASE,
        RunStatus::Failed => exit::FAILED,
    }
}

/// One line per object, then what a person should know of.
pub(super) fn text_of(summary: &Summary) -> String {
    let header =
        ["object", "result", "fetched", "inserted", "updated", "unchanged", "too old", "misfits", "pages", "calls", "time"];
    let rows = summary.objects.iter().map(|ObjectSummary { run, .. }| {
        let figures = run.figures;
        let counts = [
            figures.fetched, figures.inserted, figures.updated, figures.unchanged, figures.too_old, figures.misfits,
            figures.pages, figures.calls,
        ];
        let time = (run.finished_at - run.started_at).as_seconds_f64();
        let start = [run.object.to_owned(), run.status.as_str().to_owned()];
        start.into_iter().chain(counts.map(|count| count.to_string())).chain([print::seconds(time)])
    });
    let mut text = print::table(&header, 2, rows);
    for note in summary.objects.iter().flat_map(notes) {
        text.push_str(&format!("\n{note}"));
    }
    let untried = summary.objects.iter().filter(|object| object.run.scan.is_none() && object.failure.is_none()).count();
    if untried > 0 {
        text.push_str(&format!("\nthe run ended before {untried} of the objects were tried"));
    }
    text.push_str(&format!("\nrun {} {} in {}", summary.run_id, summary.status.as_str(), print::seconds(summary.seconds)));
    text
}

/// So many names of properties fit a terminal; `--json` has them all.
const NAMED_OVERFLOWING: usize = 20;

fn notes(summary: &ObjectSummary) -> Vec<String> {
    let ObjectSummary { run, misfit_columns, overflowing, warnings, failure } = summary;
    let object = run.object;
    let mut notes = Vec::new();
    let reason = run.reason.as_deref().unwrap_or_default();
    match (run.status, failure) {
        (ObjectStatus::Skipped, _) => notes.push(format!("skipped {object}: {reason}")),
        (_, Some(_)) => notes.push(format!("failed {object}: {reason}")),
        (ObjectStatus::Interrupted, None) if run.scan.is_some() => {
            notes.push(format!("stopped {object}: the next run goes on from there"))
        }
        _ => {}
    }
    notes.extend(failure.as_ref().and_then(PullFailure::hint).map(|hint| format!("  hint: {hint}")));
    notes.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    if run.figures.quarantined > 0 {
        let count = run.figures.quarantined;
        notes.push(format!("warning: {count} records of {object} could not be stored and are kept in planhat_sync.quarantine"));
    }
    if !misfit_columns.is_empty() {
        let columns: Vec<_> = misfit_columns.iter().map(|(column, count)| format!("{column} ({count})")).collect();
        let mends = format!("`planhat-sync retype {object} COLUMN TYPE` gives a column another type");
        notes.push(format!("misfits in {object}, kept in _misfits: {}\n  {mends}", columns.join(", ")));
    }
    if !overflowing.is_empty() {
        let named: Vec<_> = overflowing.iter().take(NAMED_OVERFLOWING).map(|name| format!("{name:?}")).collect();
        let more = overflowing.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes
            .push(format!("warning: {object} has no room for all its properties; kept in _overflow: {}{more}", named.join(", ")));
    }
    notes
}
