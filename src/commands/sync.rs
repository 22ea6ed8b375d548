//! `sync` and `backfill`: one run, its summary, its exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use planhat_api::Client;
use planhat_model::error::Chain;
use planhat_model::error::exit_code as exit;
use planhat_store::{Figures, ObjectStatus, RunStatus, Store};
use serde_json::Value;
use tracing::warn;

use super::progress_bar as progress;
use crate::cli::Output;
use crate::config::Settings;
use crate::events::Notifier;
use crate::failure::Failure;
use crate::print;
use crate::pull::{Ask, Failure as PullFailure, Misfits, Preview};
use crate::run::{self, ObjectSummary, Order, Summary, records};
use crate::signals::Stop;
use crate::workspace::{client, listen_for_signals, notifier, open_store, open_store_to_preview};

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
        // Who has asked for the end need not be told that the database hangs: what is committed is kept all the same.
        Err(error) if stop.token.is_cancelled() && error.is_silence() => {
            warn!(error = %Chain(&error), "stopped; the database does not answer, so the next run notes that this one was interrupted");
            return Ok((None, stop));
        }
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
    let store = open_store_to_preview(settings).await?;
    let stop = listen_for_signals(&store);
    let summary = match &stop {
        Ok(stop) => progress::beside(&order.board, &client, run::preview(&client, &store, order, diff, &stop.token)).await,
        Err(_) => Err(run::Error::Stopped),
    };
    store.close().await;
    let stop = stop?;
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
    let mut text = table_of(summary);
    let is_preview = summary.run_id.is_none();
    for note in summary.objects.iter().flat_map(|of| notes(of, is_preview)) {
        text.push_str(&format!("\n{note}"));
    }
    let untried = summary.objects.iter().filter(|object| object.run.scan.is_none() && object.failure.is_none()).count();
    if untried > 0 {
        let objects = if untried == 1 { "1 object was" } else { &format!("{untried} of the objects were") };
        text.push_str(&format!("\nthe run ended before {objects} tried"));
    }
    let (status, time) = (summary.status.as_str(), print::seconds(summary.seconds));
    text.push_str(&match summary.run_id {
        Some(run_id) => format!("\nrun {run_id} {status} in {time}"),
        None => format!("\ndry run {status} in {time}: nothing was written"),
    });
    text
}

/// A column of figures, by its name.
type Column = (&'static str, fn(&Figures) -> i64);

/// What was fetched is the sum of the columns behind it, up to those that say more of the same records. What is rare has a
/// column only where there is some.
fn table_of(summary: &Summary) -> String {
    let [inserted, updated] = if summary.run_id.is_some() { ["inserted", "updated"] } else { ["to insert", "to update"] };
    let columns: [Column; 11] = [
        ("listed again", |of| of.listed_again),
        ("fetched", |of| of.fetched),
        (inserted, |of| of.inserted),
        (updated, |of| of.updated),
        ("restored", |of| of.restored),
        ("unchanged", |of| of.unchanged),
        ("outside history", |of| of.too_old),
        ("quarantined", |of| of.quarantined),
        ("misfits", |of| of.misfits),
        ("pages", |of| of.pages),
        ("calls", |of| of.calls),
    ];
    let is_rare = |name| matches!(name, "listed again" | "restored" | "outside history" | "quarantined");
    let is_shown = |(name, count): &Column| !is_rare(*name) || summary.objects.iter().any(|of| count(&of.run.figures) > 0);
    let columns: Vec<Column> = columns.into_iter().filter(is_shown).collect();
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

/// So many names of properties fit a terminal; `--json` has them all.
const NAMED_OVERFLOWING: usize = 20;

fn notes(summary: &ObjectSummary, is_preview: bool) -> Vec<String> {
    let ObjectSummary { run, new_misfits, overflowing, warnings, preview, failure, .. } = summary;
    let object = run.object;
    let mut notes = Vec::new();
    let reason = run.reason.as_deref().unwrap_or_default();
    let hint = print::hint(run.hint.as_deref());
    match (run.status, failure) {
        (ObjectStatus::Skipped, _) => notes.push(format!("skipped {object}: {reason}{hint}")),
        (_, Some(_)) => notes.push(format!("failed {object}: {reason}{hint}")),
        (ObjectStatus::Partial, None) => notes.push(format!("warning: {reason}{hint}")),
        (ObjectStatus::Interrupted, None) if run.scan.is_some() => {
            notes.push(format!("stopped {object}: the next run goes on from there"))
        }
        _ => {}
    }
    notes.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    if run.figures.quarantined > 0 && run.status != ObjectStatus::Partial {
        let (count, kept) = (records(run.figures.quarantined), if is_preview { "would be put" } else { "were put" });
        notes.push(format!("warning: {count} of {object} could not be stored and {kept} in quarantine"));
    }
    for (count, what) in
        [(run.figures.deleted, "marked as deleted"), (run.figures.restored, "back, and no longer marked as deleted")]
    {
        if count > 0 {
            let rows = if count == 1 { "row" } else { "rows" };
            notes.push(format!("{object}: {count} {rows} {what}"));
        }
    }
    notes.extend(preview.iter().flat_map(|preview| would_do(object, preview)));
    notes.extend(new_misfits.iter().map(|(column, misfits)| about(object, column, misfits, std::io::stdout().is_terminal())));
    if !overflowing.is_empty() {
        let named: Vec<_> = overflowing.iter().take(NAMED_OVERFLOWING).map(|name| format!("{name:?}")).collect();
        let more = overflowing.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes
            .push(format!("warning: {object} has no room for all its properties; kept in _overflow: {}{more}", named.join(", ")));
    }
    notes
}

/// A column that has values of another type for the first time. The values may be personal: they are for a person at a terminal, and
/// in no file that a terminal's output is sent to.
fn about(object: &str, column: &str, misfits: &Misfits, with_values: bool) -> String {
    let Misfits { count, would_fit, samples } = misfits;
    let values = if *count == 1 { "1 value" } else { &format!("{count} values") };
    let samples = if with_values { format!(", such as {}", samples.join(", ")) } else { String::new() };
    format!(
        "{object}.{column} has {values} of another type{samples}, kept in _misfits; they may stay there\n  \
         hint: `planhat-sync retype {object} {column} {}` makes room for all of them",
        would_fit.sql()
    )
}

/// What a dry run found, in lines.
fn would_do(object: &str, preview: &Preview) -> Vec<String> {
    let mut lines = Vec::new();
    if !preview.columns.is_empty() {
        let table = if preview.makes_the_table { "make the table, with" } else { "add" };
        let names: Vec<_> = preview.columns.iter().map(|column| format!("{} {}", column.column, column.r#type)).collect();
        let columns = if names.len() == 1 { "column" } else { "columns" };
        lines.push(format!("{object}: would {table} {} {columns}: {}", names.len(), names.join(", ")));
    }
    for record in &preview.records {
        lines.push(format!("{} {object} {}", if record.inserted { "+" } else { "~" }, record.id));
        let value = |value: &Option<Value>| value.as_ref().map_or("null".to_owned(), Value::to_string);
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
        let more = if preview.not_shown == 1 { "record" } else { "records" };
        lines.push(format!("{object}: and {} more {more}", preview.not_shown));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog::Kind;

    #[test]
    fn values_of_another_type_are_shown_to_a_person_alone() {
        let misfits = Misfits { count: 61, would_fit: Kind::Text, samples: vec!["\"n/a\"".to_owned()] };
        assert_eq!(
            about("companies", "planhat__seats__custom", &misfits, true),
            "companies.planhat__seats__custom has 61 values of another type, such as \"n/a\", kept in _misfits; they may stay there\n  \
             hint: `planhat-sync retype companies planhat__seats__custom text` makes room for all of them"
        );
        assert!(!about("companies", "planhat__seats__custom", &misfits, false).contains("n/a"));
    }
}
