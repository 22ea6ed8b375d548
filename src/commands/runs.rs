//! `runs`: the history of runs, and what each run did.

use std::process::ExitCode;

use anyhow::anyhow;
use planhat_model::error::exit_code as exit;
use planhat_store::{self as store, PastObjectRun, PastRun};
use serde::Serialize;

use super::with_store_read_only;
use crate::cli::OutputArgs;
use crate::command_error::CommandError;
use crate::print;
use crate::workspace::Workspace;

/// One run with its objects.
#[derive(Debug, Serialize)]
struct RunDetails {
    #[serde(flatten)]
    run: PastRun,
    objects: Vec<PastObjectRun>,
}

/// The latest runs, one line each.
pub(super) async fn list(workspace: &Workspace, count: u32, output: OutputArgs) -> Result<ExitCode, CommandError> {
    let runs = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(Vec::new());
        }
        Ok(store.read_only(async |db| store::recent_runs(db, &store.schema, count.into()).await).await?)
    })
    .await?;
    if output.json {
        print::json(&runs)?;
    } else if runs.is_empty() {
        print::to_stdout("no run yet; start one with `planhat-sync sync`");
    } else {
        let rows = runs.iter().map(line_of);
        print::to_stdout(&print::table(&["run", "command", "status", "began", "time", "why"], 6, rows));
    }
    Ok(ExitCode::SUCCESS)
}

/// One run, object by object.
pub(super) async fn show(workspace: &Workspace, run_id: i64, output: OutputArgs) -> Result<ExitCode, CommandError> {
    let whole = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(None);
        }
        let looked = store.read_only(async |db| {
            let run = store::run_of(&mut *db, &store.schema, run_id).await?;
            let objects = store::objects_of_run(db, run_id).await?;
            Ok(run.map(|run| RunDetails { run, objects }))
        });
        Ok(looked.await?)
    })
    .await?;
    let Some(whole) = whole else {
        return Err(CommandError::new(
            exit::CONFIGURATION,
            anyhow!("there is no run {run_id}"),
            Some("`planhat-sync runs` lists them"),
        ));
    };
    if output.json {
        print::json(&whole)?;
    } else {
        print::to_stdout(&text_of(&whole));
    }
    Ok(ExitCode::SUCCESS)
}

fn line_of(run: &PastRun) -> [String; 6] {
    [
        run.id.to_string(),
        run.command.clone(),
        run.status.clone(),
        print::instant(run.started_at),
        run.finished_at.map_or_else(String::new, |end| print::seconds((end - run.started_at).as_seconds_f64())),
        run.reason.clone().unwrap_or_default(),
    ]
}

fn text_of(RunDetails { run, objects }: &RunDetails) -> String {
    let [id, command, status, began, time, why] = line_of(run);
    let calls = run.calls.map_or_else(String::new, |calls| format!(", {calls} calls"));
    let mut text = format!("run {id}: {command}, {status}, {began}, {time}{calls}");
    let why = Some(why.as_str()).filter(|why| !why.is_empty());
    // What the objects below say is not said twice.
    if !print::repeats_object_reason(why, objects.iter().filter_map(|of| of.reason.as_deref())) {
        text.push_str(&print::why(why, run.hint.as_deref()));
    }
    let mut header = vec![
        "object", "scan", "result", "listed again", "fetched", "inserted", "updated", "restored", "unchanged", "outside history",
        "quarantined",
    ];
    // Few have ever forgotten anybody.
    let has_forgotten = objects.iter().any(|of| of.figures.forgotten > 0);
    header.extend(has_forgotten.then_some("forgotten"));
    header.extend(["deleted", "misfits", "pages", "calls", "time"]);
    let rows = objects.iter().map(|of| {
        let figures = of.figures;
        let before = [
            figures.listed_again, figures.fetched, figures.inserted, figures.updated, figures.restored, figures.unchanged,
            figures.outside_history, figures.quarantined,
        ];
        let behind = [figures.deleted, figures.misfits, figures.pages, figures.calls];
        let counts = before.into_iter().chain(has_forgotten.then_some(figures.forgotten)).chain(behind);
        let time = (of.finished_at - of.started_at).as_seconds_f64();
        [of.object.clone(), of.scan.clone().unwrap_or_default(), of.status.clone()]
            .into_iter()
            .chain(counts.map(|count| count.to_string()))
            .chain([print::seconds(time)])
    });
    text.push_str(&format!("\n{}", print::table(&header, 3, rows)));
    for of in objects {
        if let Some(reason) = &of.reason {
            text.push_str(&format!("\n{} {}: {}", of.object, of.status, print::on_one_line(reason)));
            text.push_str(&print::hint(of.hint.as_deref()));
        }
    }
    text
}
