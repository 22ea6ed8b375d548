//! `sync` and `backfill`: one run, its summary, its exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use planhat_api::Client;
use planhat_model::error::exit_code as exit;
use planhat_model::error::{Chain, ErrorKind};
use planhat_model::scan::ScanKind;
use planhat_store::{Figures, ObjectStatus, RunStatus, Store};
use serde_json::Value;
use tracing::warn;

use super::not_stored::{left_out_line, missing_lines};
use super::{named_or_configured, progress_bar as progress};
use crate::cli::{OutputArgs, SyncArgs};
use crate::command_error::CommandError;
use crate::events::Notifier;
use crate::print;
use crate::pull::{Misfits, Mode, Preview};
use crate::run::{self, ObjectSummary, RunRequest, Summary, records};
use crate::signals::{self, Stop};
use crate::workspace::Workspace;

pub(super) async fn sync(workspace: &Workspace, asked: &SyncArgs) -> Result<ExitCode, CommandError> {
    let objects = named_or_configured(&asked.objects.objects, workspace)?;
    let mode = if asked.full { Mode::Full } else { Mode::Incremental };
    let mut request = workspace.run_request("sync", mode, &objects);
    request.limits.deletion_guard.enabled = !asked.allow_deletes;
    if asked.dry_run {
        return preview(workspace, &request, asked.diff, asked.output).await;
    }
    run_and_show(workspace, &request, asked.output).await
}

/// One run, and what it came to.
pub(super) async fn run_and_show(
    workspace: &Workspace,
    request: &RunRequest<'_>,
    output: OutputArgs,
) -> Result<ExitCode, CommandError> {
    workspace.log_destination();
    // A mistake in the token shows before the database is touched.
    let client = workspace.client()?;
    // A one-off load is not what somebody watches for every day.
    let is_watched = !matches!(request.mode, Mode::Backfill(_) | Mode::Referenced);
    let notifier = is_watched.then(|| workspace.notifier()).transpose()?.map(Notifier::for_one_run);

    let opened = workspace.open_store().await;
    let store = match opened {
        Ok(store) => store,
        Err(failure) => {
            notify_of_failure(notifier.as_ref(), None, request, &failure).await;
            return Err(failure);
        }
    };
    let ran = run_once(&client, &store, request, notifier.as_ref()).await;
    if let Err(failure) = &ran {
        notify_of_failure(notifier.as_ref(), Some(&store), request, failure).await;
    }
    store.close().await;
    let (summary, stop) = ran?;
    match summary {
        Some(summary) => show(&summary, &stop, output),
        None => Ok(ExitCode::from(stop.exit_code())),
    }
}

/// Runs once and sends events; no summary if the run was stopped before it began.
async fn run_once(
    client: &Client,
    store: &Store,
    request: &RunRequest<'_>,
    notifier: Option<&Notifier>,
) -> Result<(Option<Summary>, Stop), CommandError> {
    store.migrate().await?;
    let stop = signals::listen_for(store)?;
    let begins = async {
        if let Some(notifier) = notifier {
            notifier.run_began().await;
        }
    };
    let run = run::run_with_notice(client, store, request, &stop.token, begins);
    let summary = match progress::show_progress_of(&request.progress, client, run).await {
        Err(run::RunError::Stopped) => return Ok((None, stop)),
        // Who has asked for the end need not be told that the database hangs: what is committed is kept all the same.
        Err(error) if stop.token.is_cancelled() && *error.kind().root() == ErrorKind::DatabaseUnresponsive => {
            warn!(error = %Chain(&error), "stopped; the database does not respond; the next run will mark this one as interrupted");
            return Ok((None, stop));
        }
        ended => ended?,
    };
    if let Some(notifier) = notifier {
        notifier.run_ended(store, request.command, &summary).await;
    }
    Ok((Some(summary), stop))
}

async fn notify_of_failure(notifier: Option<&Notifier>, store: Option<&Store>, request: &RunRequest<'_>, failure: &CommandError) {
    if let (Some(notifier), Some(why)) = (notifier, failure.as_start_failure()) {
        notifier.run_could_not_begin(store, request.command, &why).await;
    }
}

/// A dry run.
async fn preview(
    workspace: &Workspace,
    request: &RunRequest<'_>,
    diff: bool,
    output: OutputArgs,
) -> Result<ExitCode, CommandError> {
    let client = workspace.client()?;
    let store = workspace.open_store_to_preview().await?;
    let stop = signals::listen_for(&store);
    let summary = match &stop {
        Ok(stop) => {
            progress::show_progress_of(&request.progress, &client, run::preview(&client, &store, request, diff, &stop.token))
                .await
        }
        Err(_) => Err(run::RunError::Stopped),
    };
    store.close().await;
    let stop = stop?;
    match summary {
        Ok(summary) => show(&summary, &stop, output),
        Err(run::RunError::Stopped) => Ok(ExitCode::from(stop.exit_code())),
        Err(error) => Err(error.into()),
    }
}

fn show(summary: &Summary, stop: &Stop, output: OutputArgs) -> Result<ExitCode, CommandError> {
    if output.json {
        print::json(summary)?;
    } else {
        print::to_stdout(&text_of(summary));
    }
    Ok(ExitCode::from(exit_code(summary, stop)))
}

pub(super) fn exit_code(summary: &Summary, stop: &Stop) -> exit::ExitCode {
    let failures = summary.objects.iter().filter_map(|object| object.failure.as_ref());
    match summary.status {
        RunStatus::Succeeded => exit::SUCCESS,
        RunStatus::Interrupted => stop.exit_code(),
        RunStatus::Partial => exit::PARTIAL,
        RunStatus::Failed => exit::ExitCode::of_failures(failures.map(|failure| failure.kind().consequence().exit_code)),
    }
}

/// One line per object, then what a person should know of.
pub(super) fn text_of(summary: &Summary) -> String {
    let mut text = table_of(summary);
    let is_preview = summary.run_id.is_none();
    for note in summary.objects.iter().flat_map(|of| summary_lines(of, is_preview)) {
        text.push_str(&format!("\n{note}"));
    }
    // What has not changed since the last run is in `status`.
    let news = summary.missing_references.iter().filter(|count| count.refers_to_table && count.is_news());
    for note in missing_lines(news.map(|count| &count.missing)) {
        text.push_str(&format!("\n{note}"));
    }
    let untried = summary.objects.iter().filter(|object| object.run.scan.is_none() && object.failure.is_none()).count();
    if untried > 0 {
        let objects = if untried == 1 { "1 object was" } else { &format!("{untried} of the objects were") };
        text.push_str(&format!("\nthe run ended before {objects} synced"));
    }
    let (status, time) = (summary.status.as_str(), print::seconds(summary.seconds));
    text.push_str(&match summary.run_id {
        Some(run_id) => format!("\nrun {run_id} {status} in {time}"),
        None => format!("\ndry run {status} in {time}: nothing was written"),
    });
    text
}

/// A column of figures, by its name.
type FigureColumn = (&'static str, fn(&Figures) -> i64);

/// What was fetched is the sum of the columns behind it, up to those that say more of the same records. What is rare has a
/// column only where there is some.
fn table_of(summary: &Summary) -> String {
    let [inserted, updated] = if summary.run_id.is_some() { ["inserted", "updated"] } else { ["to insert", "to update"] };
    let columns: [FigureColumn; 12] = [
        ("listed again", |of| of.listed_again),
        ("fetched", |of| of.fetched),
        (inserted, |of| of.inserted),
        (updated, |of| of.updated),
        ("restored", |of| of.restored),
        ("unchanged", |of| of.unchanged),
        ("outside history", |of| of.outside_history),
        ("quarantined", |of| of.quarantined),
        ("forgotten", |of| of.forgotten),
        ("misfits", |of| of.misfits),
        ("pages", |of| of.pages),
        ("calls", |of| of.calls),
    ];
    let is_rare = |name| matches!(name, "listed again" | "restored" | "outside history" | "quarantined" | "forgotten");
    let is_shown = |(name, count): &FigureColumn| !is_rare(*name) || summary.objects.iter().any(|of| count(&of.run.figures) > 0);
    let columns: Vec<FigureColumn> = columns.into_iter().filter(is_shown).collect();
    let header: Vec<&str> =
        ["object", "result"].into_iter().chain(columns.iter().map(|(name, _)| *name)).chain(["time"]).collect();
    let rows = summary.objects.iter().map(|ObjectSummary { run, .. }| {
        let time = (run.finished_at - run.started_at).as_seconds_f64();
        let start = [run.object.to_owned(), run.status.as_str().to_owned()];
        let counts = columns.iter().map(|(_, count)| count(&run.figures).to_string());
        start.into_iter().chain(counts).chain([print::seconds(time)])
    });
    print::table(&header, 2, rows)
}

/// The most property names that are printed; `--json` has them all.
const NAMED_OVERFLOWING: usize = 20;

fn summary_lines(summary: &ObjectSummary, is_preview: bool) -> Vec<String> {
    let ObjectSummary { run, new_misfits, overflowing, warnings, preview, failure, .. } = summary;
    let object = run.object;
    let mut notes = Vec::new();
    let reason = print::on_one_line(run.reason.as_deref().unwrap_or_default());
    let hint = print::hint(run.hint.as_deref());
    match (run.status, failure) {
        (ObjectStatus::Skipped, _) => notes.push(format!("skipped {object}: {reason}{hint}")),
        (_, Some(_)) => notes.push(format!("failed {object}: {reason}{hint}")),
        (ObjectStatus::Partial, None) => notes.push(format!("warning: {reason}{hint}")),
        (ObjectStatus::Interrupted, None) if run.scan.is_some() && run.figures.pages == 0 => {
            notes.push(format!("stopped {object} before a page of it was stored: the next run begins where this one did"))
        }
        (ObjectStatus::Interrupted, None) if run.scan.is_some() => {
            notes.push(format!("stopped {object}: the next run resumes at this point"))
        }
        _ => {}
    }
    notes.extend(warnings.iter().map(|warning| format!("warning: {}", print::on_one_line(warning))));
    if run.figures.quarantined > 0 && run.status != ObjectStatus::Partial {
        let (count, kept) = (records(run.figures.quarantined), if is_preview { "would be put" } else { "were put" });
        notes.push(format!("warning: {count} of {object} could not be stored and {kept} in quarantine"));
    }
    for (count, what) in [
        (run.figures.deleted, "marked as deleted"),
        (run.figures.restored, "found again at Planhat and no longer marked as deleted"),
    ] {
        if count > 0 {
            let rows = if count == 1 { "row" } else { "rows" };
            notes.push(format!("{object}: {count} {rows} {what}"));
        }
    }
    // A daily run leaves out the same records every day; then they are in `status`.
    if let (Some(ScanKind::History | ScanKind::Full), Some(left_out)) = (run.scan, run.left_out) {
        notes.extend(left_out_line(object, left_out.records, left_out.before));
    }
    notes.extend(preview.iter().flat_map(|preview| preview_lines(object, preview)));
    notes.extend(
        new_misfits.iter().map(|(column, misfits)| misfit_line(object, column, misfits, std::io::stdout().is_terminal())),
    );
    if !overflowing.is_empty() {
        let named: Vec<_> = overflowing.iter().take(NAMED_OVERFLOWING).map(|name| format!("{name:?}")).collect();
        let more = overflowing.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!(
            "warning: {object} has more properties than its table has columns for; their values are kept in _overflow: {}{more}",
            named.join(", ")
        ));
    }
    notes
}

/// A column that has values of another type for the first time. The values may be personal: they are for a person at a terminal, and
/// in no file that a terminal's output is sent to.
fn misfit_line(object: &str, column: &str, misfits: &Misfits, with_values: bool) -> String {
    let Misfits { count, would_fit, samples } = misfits;
    let samples = if with_values { format!(", such as {}", samples.join(", ")) } else { String::new() };
    let kept = match count {
        1 => format!("1 value is not of the column's type{samples}, so it is kept in _misfits (type mismatch)"),
        _ => format!("{count} values are not of the column's type{samples}, so they are kept in _misfits (type mismatches)"),
    };
    format!(
        "{object}.{column}: {kept}. Nothing needs to be done\n  \
         hint: `planhat-sync retype {object} {column} {}` would give the column a type that holds all values",
        would_fit.sql()
    )
}

/// Columns that a dry run names for each object.
const SHOWN_COLUMNS: usize = 10;

/// What a dry run found, in lines.
fn preview_lines(object: &str, preview: &Preview) -> Vec<String> {
    let mut lines = Vec::new();
    if !preview.columns.is_empty() {
        let table = if preview.creates_table { "create the table with" } else { "add" };
        let count = preview.columns.len();
        let shown = preview.columns.iter().take(SHOWN_COLUMNS).map(|column| format!("{} {}", column.column, column.r#type));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = match count.saturating_sub(SHOWN_COLUMNS) {
            0 => String::new(),
            more => format!(" and {more} more (--json shows all)"),
        };
        let columns = if count == 1 { "column" } else { "columns" };
        lines.push(format!("{object}: would {table} {count} {columns}: {shown}{more}"));
    }
    for record in &preview.records {
        lines.push(format!("{} {object} {}", if record.inserted { "+" } else { "~" }, print::on_one_line(&record.id)));
        let value = |value: &Option<Value>| value.as_ref().map_or("null".to_owned(), Value::to_string);
        lines.extend(
            record
                .changes
                .iter()
                .map(|change| format!("    {}: {} -> {}", change.column, value(&change.old), value(&change.new))),
        );
    }
    if preview.is_lower_bound {
        lines.push(format!("{object}: there are more changes; the counts are a lower bound"));
    }
    if preview.not_shown > 0 {
        let more = if preview.not_shown == 1 { "record" } else { "records" };
        lines.push(format!("{object}: and {} more {more}", preview.not_shown));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog::ColumnType;

    #[test]
    fn sample_values_of_type_mismatches_are_shown_only_on_a_terminal() {
        let misfits = Misfits { count: 61, would_fit: ColumnType::Text, samples: vec!["\"n/a\"".to_owned()] };
        assert_eq!(
            misfit_line("companies", "planhat__seats__custom", &misfits, true),
            "companies.planhat__seats__custom: 61 values are not of the column's type, such as \"n/a\", so they are kept in _misfits (type \
             mismatches). Nothing needs to be done\n  \
             hint: `planhat-sync retype companies planhat__seats__custom text` would give the column a type that holds all values"
        );
        assert!(!misfit_line("companies", "planhat__seats__custom", &misfits, false).contains("n/a"));
    }
}
