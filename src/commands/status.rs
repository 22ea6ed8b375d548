//! `status`: is my data fresh?

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Failure, print, with_store_to_look};
use crate::cli::Output;
use crate::config::Settings;
use crate::store::{self, ObjectState, Overview};

pub(super) async fn status(settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let overview = with_store_to_look(settings, async |store| {
        if !store.is_set_up().await? {
            return Ok(Overview::default());
        }
        Ok(store.look(async |db| store::overview(db, &store.schema).await).await?)
    })
    .await?;
    if output.json {
        print::json(&overview)?;
    } else {
        print::to_stdout(&text_of(&overview, Utc::now(), settings.notify.stale_after));
    }
    Ok(ExitCode::SUCCESS)
}

fn text_of(overview: &Overview, now: DateTime<Utc>, stale_after: Duration) -> String {
    let Some(run) = &overview.latest_run else {
        return "nothing was synced yet; `planhat-sync sync` begins".to_owned();
    };
    let stale: Vec<&ObjectState> = overview.objects.iter().filter(|state| is_stale(state, now, stale_after)).collect();
    let hours = humantime::format_duration(stale_after);
    let mut text = if stale.is_empty() {
        format!("fresh: synced within the last {hours}")
    } else {
        let names: Vec<_> = stale.iter().map(|state| state.object.as_str()).collect();
        print::red(&format!("STALE: not synced within the last {hours}: {}", names.join(", ")))
    };
    let ended = run.finished_at.map_or_else(|| "still at work".to_owned(), print::instant);
    text.push_str(&format!(
        "\nlast run: {} {} ({}), {}, {ended}",
        run.command,
        run.id,
        run.status,
        print::instant(run.started_at)
    ));
    if let Some(error) = &run.error {
        text.push_str(&format!("\n  {error}"));
    }
    let header = [
        "object", "result", "last success", "watermark", "all compared", "fetched", "inserted", "updated", "deleted",
        "unchanged", "time",
    ];
    let rows = overview.objects.iter().map(|state| {
        let or_never = |instant: Option<_>| instant.map_or_else(|| "never".to_owned(), print::instant);
        let result = if state.load_unfinished { format!("{}, load unfinished", state.status) } else { state.status.clone() };
        let figures = state.figures;
        let counts = [figures.fetched, figures.inserted, figures.updated, figures.deleted, figures.unchanged];
        let times = [state.last_success_at, state.watermark, state.reconciled_at];
        [state.object.clone(), result]
            .into_iter()
            .chain(times.map(or_never))
            .chain(counts.map(|count| count.to_string()))
            .chain([print::seconds(state.seconds)])
    });
    text.push_str(&format!("\n{}", print::table(&header, 5, rows)));
    for state in &overview.objects {
        if let Some(reason) = &state.reason {
            text.push_str(&format!("\n{} {}: {reason}", state.object, state.status));
        }
    }
    for (object, count) in &overview.quarantine {
        text.push_str(&format!(
            "\n{count} records of {object} are in quarantine; `planhat-sync quarantine list {object}` shows them"
        ));
    }
    text
}

/// What may not be read is no staleness.
fn is_stale(state: &ObjectState, now: DateTime<Utc>, stale_after: Duration) -> bool {
    state.status != "skipped" && state.last_success_at.is_none_or(|last| last + stale_after < now)
}
