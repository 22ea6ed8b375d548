//! `status`: is my data fresh?

use std::process::ExitCode;

use serde::Serialize;

use super::{Failure, print, with_store};
use crate::cli::Output;
use crate::config::Settings;
use crate::store::{self, LatestRun, ObjectState};

#[derive(Debug, Default, Serialize)]
struct Status {
    latest_run: Option<LatestRun>,
    objects: Vec<ObjectState>,
    /// Records in quarantine, by object.
    quarantine: std::collections::BTreeMap<String, i64>,
}

pub(super) async fn status(settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let status = with_store(settings, async |store| {
        if !store.is_set_up().await? {
            return Ok(Status::default());
        }
        let mut tx = store.begin().await?;
        let status = Status {
            latest_run: store::latest_run(&mut tx, &store.schema).await?,
            objects: store::object_states(&mut tx, &store.schema).await?,
            quarantine: store::quarantined(&mut tx, &store.schema).await?.into_iter().collect(),
        };
        store::commit(tx).await?;
        Ok(status)
    })
    .await?;
    if output.json {
        print::json(&status)?;
    } else {
        print::to_stdout(&text_of(&status));
    }
    Ok(ExitCode::SUCCESS)
}

fn text_of(status: &Status) -> String {
    let Some(run) = &status.latest_run else {
        return "nothing was synced yet; `planhat-sync sync` begins".to_owned();
    };
    let ended = run.finished_at.map_or_else(|| "still at work".to_owned(), print::instant);
    let mut text = format!("last run: {} {} ({}), {}, {ended}", run.command, run.id, run.status, print::instant(run.started_at));
    if let Some(error) = &run.error {
        text.push_str(&format!("\n  {error}"));
    }
    let header = [
        "object", "result", "last success", "watermark", "all compared", "fetched", "inserted", "updated", "deleted",
        "unchanged", "time",
    ];
    let rows = status.objects.iter().map(|state| {
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
    for state in &status.objects {
        if let Some(reason) = &state.reason {
            text.push_str(&format!("\n{} {}: {reason}", state.object, state.status));
        }
    }
    for (object, count) in &status.quarantine {
        text.push_str(&format!("\n{count} records of {object} are in planhat_sync.quarantine"));
    }
    text
}
