//! `sync` and `backfill`: one run, its summary, its exit code.

use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use serde_json::Value;
use sqlx::types::Json;

use super::{Failure, client, exit, listen_for_signals, notifier, open_store, print, progress, with_store};
use crate::cli::Output;
use crate::config::Settings;
use crate::notify::Notifier;
use crate::object::Object;
use crate::planhat::Client;
use crate::pull::{Ask, Brake, Failure as PullFailure, Limits, Preview, RejectionGuard};
use crate::run::{self, ObjectSummary, Order, Summary};
use crate::signals::Stop;
use crate::store::{ObjectStatus, RunStatus, Store, Timeline};

/// What is to be done, as far as the settings say.
pub(super) fn order<'a>(command: &'a str, ask: Ask, objects: &'a [&'static Object], settings: &Settings) -> Order<'a> {
    Order {
        command,
        objects,
        ask,
        limits: limits(settings),
        now: Utc::now(),
        concurrency: settings.sync.concurrency,
        board: Arc::default(),
    }
}

pub(super) async fn sync(order: &Order<'_>, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    // A mistake in the token shows before the database is touched.
    let client = client(settings)?;
    // A one-off load is not what somebody watches for every day.
    let is_watched = !matches!(order.ask, Ask::History(_));
    let notifier = is_watched.then(|| notifier(settings)).transpose()?.map(Notifier::for_one_run);

    let opened = open_store(settings).await;
    let store = match opened {
        Ok(store) => store,
        Err(failure) => {
            say_that_it_failed(notifier.as_ref(), None, order, &failure).await;
            return Err(failure);
        }
    };
    let ran = one_run(&client, &store, order, notifier.as_ref()).await;
    if let Err(failure) = &ran {
        say_that_it_failed(notifier.as_ref(), Some(&store), order, failure).await;
    }
    store.close().await;
    let (summary, stop) = ran?;
    match summary {
        Some(summary) => show(&summary, &stop, output),
        None => Ok(ExitCode::from(stop.exit_code())),
    }
}

/// The run and what is said of it; no summary if it was stopped before it began.
async fn one_run(
    client: &Client,
    store: &Store,
    order: &Order<'_>,
    notifier: Option<&Notifier>,
) -> Result<(Option<Summary>, Stop), Failure> {
    store.migrate().await?;
    let stop = listen_for_signals(store)?;
    let begins = async {
        if let Some(notifier) = notifier {
            notifier.began().await;
        }
    };
    let run = run::run_and_say(client, store, order, &stop.token, begins);
    let summary = match progress::beside(&order.board, client, run).await {
        Err(run::Error::Stopped) => return Ok((None, stop)),
        ended => ended?,
    };
    if let Some(notifier) = notifier {
        notifier.ended(store, order.command, &summary).await;
    }
    Ok((Some(summary), stop))
}

async fn say_that_it_failed(notifier: Option<&Notifier>, store: Option<&Store>, order: &Order<'_>, failure: &Failure) {
    if let (Some(notifier), Some(why)) = (notifier, failure.as_no_run()) {
        notifier.failed(store, order.command, &why).await;
    }
}

/// A dry run.
pub(super) async fn preview(order: &Order<'_>, diff: bool, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let client = client(settings)?;
    let (summary, stop) = with_store(settings, async |store| {
        let stop = listen_for_signals(store)?;
        let preview = run::preview(&client, store, order, diff, &stop.token);
        Ok((progress::beside(&order.board, &client, preview).await, stop))
    })
    .await?;
    match summary {
        Ok(summary) => show(&summary, &stop, output),
        Err(run::Error::Stopped) => Ok(ExitCode::from(stop.exit_code())),
        Err(error) => Err(error.into()),
    }
}

fn show(summary: &Summary, stop: &Stop, output: Output) -> Result<ExitCode, Failure> {
    if output.json {
        print::json(summary)?;
    } else {
        print::to_stdout(&text_of(summary));
    }
    Ok(ExitCode::from(exit_code(summary, stop)))
}

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        page_size: settings.planhat.page_size,
        overlap: settings.pages.overlap > 0,
        lookback: settings.sync.lookback,
        history: settings.sync.history,
        sorted: settings.sync.sorted.iter().map(|object| object.name).collect(),
        reconcile_every: settings.sync.reconcile_every,
        keep_runs: settings.sync.keep_runs,
        timeline: Timeline { on: settings.actions.enabled, initial: settings.actions.initial, keep: settings.actions.keep },
        rules: settings.rules.clone(),
        volatile: settings.volatile.clone(),
        brake: Brake { on: true, percent: settings.sync.brake_percent, rows: settings.sync.brake_rows },
        rejections: RejectionGuard { percent: settings.sync.reject_percent, rows: settings.sync.reject_rows },
        quarantine_rows: settings.sync.quarantine_rows,
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
    let [inserted, updated] = if summary.run_id.is_some() { ["inserted", "updated"] } else { ["to insert", "to update"] };
    let header = ["object", "result", "fetched", inserted, updated, "unchanged", "too old", "misfits", "pages", "calls", "time"];
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
    let (status, time) = (summary.status.as_str(), print::seconds(summary.seconds));
    text.push_str(&match summary.run_id {
        Some(run_id) => format!("\nrun {run_id} {status} in {time}"),
        None => format!("\ndry run {status} in {time}: nothing was written"),
    });
    text
}

/// So many names of properties fit a terminal; `--json` has them all.
const NAMED_OVERFLOWING: usize = 20;

fn notes(summary: &ObjectSummary) -> Vec<String> {
    let ObjectSummary { run, misfit_columns, overflowing, warnings, preview, failure } = summary;
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
        let (count, is_run) = (run.figures.quarantined, preview.is_none());
        let records = if count == 1 { "record" } else { "records" };
        notes.push(if is_run {
            format!(
                "warning: {count} {records} of {object} could not be stored; `planhat-sync quarantine list {object}` shows them"
            )
        } else {
            format!("warning: {count} {records} of {object} cannot be stored; a sync would put them in quarantine")
        });
    }
    for (count, what) in
        [(run.figures.deleted, "marked as deleted"), (run.figures.restored, "back, and no longer marked as deleted")]
    {
        if count > 0 {
            notes.push(format!("{object}: {count} rows {what}"));
        }
    }
    notes.extend(preview.iter().flat_map(|preview| would_do(object, preview)));
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

/// What a dry run found, in lines.
fn would_do(object: &str, preview: &Preview) -> Vec<String> {
    let mut lines = Vec::new();
    if !preview.columns.is_empty() {
        let table = if preview.makes_the_table { "make the table, with" } else { "add" };
        let names: Vec<_> = preview.columns.iter().map(|column| format!("{} {}", column.column, column.r#type)).collect();
        lines.push(format!("{object}: would {table} {} columns: {}", names.len(), names.join(", ")));
    }
    for record in &preview.records {
        lines.push(format!("{} {object} {}", if record.inserted { "+" } else { "~" }, record.id));
        let value = |value: &Option<Json<Value>>| value.as_ref().map_or("null".to_owned(), |Json(value)| value.to_string());
        lines.extend(
            record
                .changes
                .iter()
                .map(|change| format!("    {}: {} -> {}", change.column, value(&change.old), value(&change.new))),
        );
    }
    if preview.at_least {
        lines.push(format!("{object}: there are more changes than are counted here"));
    }
    if preview.not_shown > 0 {
        lines.push(format!("{object}: and {} more records", preview.not_shown));
    }
    lines
}
