//! The commands: one file each, with what it prints and its exit code.
//!
//! Results go to stdout, narration to stderr. What ends a command early is a [`Failure`]: an error with
//! its causes, a hint, and the exit code that scripts rely on.

mod actions;
mod adopt;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod health;
mod notify;
mod progress_bar;
mod quarantine;
mod retype;
mod runs;
mod schema;
mod status;
mod sync;

use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, Months, Utc};
use clap::CommandFactory;
use planhat_api as api;
use planhat_model::catalog::Object;
use planhat_model::error::Chain;
use planhat_model::error::exit_code as exit;
use planhat_store::{Explanation, RunStatus, Store};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, HistoryRangeArgs, Once, QuarantineCommand, RunsCommand};
use crate::command_error::CommandError;
use crate::config::{self, Settings};
use crate::pull::{BackfillRange, HistoryFrom, Mode, PauseGate};
use crate::workspace::{no_database_yet, open_store, run_request};
use crate::{print, run};

/// Executes a command and says with which code to exit.
pub async fn execute(command: Once, settings: &Settings) -> Result<ExitCode, CommandError> {
    match command {
        #[cfg(feature = "demo")]
        Once::Demo => demo::demo().await,
        #[cfg(not(feature = "demo"))]
        Once::Demo => {
            let missing = anyhow::anyhow!("the demo needs the embedded PostgreSQL, which this build does not have");
            Err(CommandError::new(
                exit::CONFIGURATION,
                missing,
                Some("build with default features: cargo run --release --locked -- demo"),
            ))
        }
        Once::Health => health::health(settings).await,
        Once::Notify => notify::notify(settings).await,
        Once::Check(output) => check::check(settings, output).await,
        Once::Sync { objects, full, allow_deletes, dry_run, diff, output } => {
            let objects = named_or_configured(&objects.objects, settings)?;
            let mut request = run_request("sync", if full { Mode::Full } else { Mode::Incremental }, &objects, settings);
            request.limits.deletion_guard.enabled = !allow_deletes;
            if dry_run {
                return sync::preview(&request, diff, settings, output).await;
            }
            sync::sync(&request, settings, output).await
        }
        Once::Backfill { objects, range, until, output } => {
            let objects = named_or_configured(&objects.objects, settings)?;
            let range = range_of(&range, until, settings)?;
            sync::sync(&run_request("backfill", Mode::Backfill(range), &objects, settings), settings, output).await
        }
        Once::Status(output) => status::status(settings, output).await,
        Once::Runs { one: Some(RunsCommand::Show { id, output }), .. } => runs::show(settings, id, output).await,
        Once::Runs { one: None, count, output } => runs::list(settings, count, output).await,
        Once::Quarantine { what: None, which } => quarantine::list(settings, &which).await,
        Once::Quarantine { what: Some(what), .. } => match what {
            QuarantineCommand::List(which) => quarantine::list(settings, &which).await,
            QuarantineCommand::Show { id, output } => quarantine::show(settings, id, output).await,
            QuarantineCommand::Retry { objects } => quarantine::retry(settings, &objects.objects).await,
            QuarantineCommand::Drop { ids } => quarantine::drop(settings, &ids).await,
        },
        Once::Actions(asked) => actions::actions(settings, asked).await,
        Once::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "planhat-sync", &mut script);
            print::to_stdout(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Once::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).context("could not make the page")?;
            print::to_stdout(String::from_utf8_lossy(&page).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Once::Schema { objects, output, sql } => {
            let objects = config::objects_named(&objects.objects)?;
            schema::schema(settings, &objects, output, sql).await
        }
        Once::Adopt => adopt::adopt(settings).await,
        Once::Retype { object, column, kind } => {
            let object = config::objects_named(&[object])?.remove(0);
            retype::retype(settings, object, &column, kind).await
        }
    }
}

fn named_or_configured(names: &[String], settings: &Settings) -> Result<Vec<&'static Object>, CommandError> {
    if names.is_empty() {
        return Ok(settings.planhat.objects.clone());
    }
    Ok(config::objects_named(names)?)
}

fn range_of(range: &HistoryRangeArgs, until: Option<DateTime<Utc>>, settings: &Settings) -> Result<BackfillRange, CommandError> {
    let years_ago = |years: u32| Utc::now().checked_sub_months(Months::new(12 * years));
    let from = match (range.all, range.since, range.years.and_then(years_ago)) {
        (true, ..) => HistoryFrom::Earliest,
        (_, Some(since), _) | (_, _, Some(since)) => HistoryFrom::Since(since),
        _ => HistoryFrom::Default,
    };
    let since = match from {
        HistoryFrom::Since(since) => Some(since),
        HistoryFrom::Default => Some(Utc::now() - settings.sync.history),
        HistoryFrom::Earliest => None,
    };
    if let (Some(since), Some(until)) = (since, until)
        && until <= since
    {
        let empty = anyhow::anyhow!("nothing lies between {} and {}", since.date_naive(), until.date_naive());
        let hint = "--until has to be later than where the history begins: say --since or --all";
        return Err(CommandError::new(exit::CONFIGURATION, empty, Some(hint)));
    }
    Ok(BackfillRange { from, until })
}

/// Opens the store, does the work, and closes it whatever came of the work. Only a sync makes an embedded database.
async fn with_store<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Store) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    if let Some(text) = no_database_yet(settings) {
        return Err(CommandError::new(exit::CONFIGURATION, anyhow::anyhow!(text), None));
    }
    let store = open_store(settings).await?;
    let result = work(&store).await;
    store.close().await;
    result
}

/// The same for a command that only looks: it makes no embedded database to find nothing in. Where there is none yet, the
/// person hears of that, and there is nothing to show.
async fn with_store_read_only<T: Default>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Store) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    match no_database_yet(settings) {
        Some(text) => {
            print::to_stderr(&text);
            Ok(T::default())
        }
        None => with_store(settings, work).await,
    }
}

/// Does something as a run of its own, so that no other one is at work meanwhile, and notes what it came to.
async fn in_a_run_of_its_own<T>(
    store: &Store,
    command: &str,
    work: impl AsyncFnOnce(i64) -> Result<(T, RunStatus), CommandError>,
) -> Result<T, CommandError> {
    let run_stop = CancellationToken::new();
    let run_id = run::begin(store, command, &run_stop).await?;
    let pause_gate = PauseGate::default();
    let lease = run::RunLease { store, run_id, command, pause_gate: &pause_gate, run_stop: &run_stop };
    let result = lease.renew_while(work(run_id)).await;
    let status = result.as_ref().map_or(RunStatus::Failed, |(_, status)| *status);
    let why = Explanation { reason: result.as_ref().err().map(CommandError::on_one_line), hint: None };
    let ended = run::end(store, run_id, status, &why).await;
    let (done, _) = result?;
    ended?;
    Ok(done)
}

fn with_hint(error: &api::ApiError) -> String {
    let text = Chain(error).to_string();
    error.kind().hint().map_or(text.clone(), |hint| format!("{text}; {hint}"))
}
