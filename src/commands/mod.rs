//! The commands: one file each, with what it prints and its exit code.
//!
//! Results go to stdout, narration to stderr. What ends a command early is a [`CommandError`]: an error with
//! its causes, a hint, and the exit code that scripts rely on.

mod actions;
mod adopt;
mod backfill;
mod check;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod every_workspace;
mod finding;
mod fleet_status;
mod forget;
mod health;
mod man;
mod masked_tables;
mod named_record;
mod names_in_rules;
mod no_actions;
mod not_stored;
mod notify;
mod privacy_apply;
mod probe;
mod progress_bar;
mod quarantine;
mod report_file;
mod retype;
mod runs;
mod schema;
mod status;
mod sync;
mod workspace_list;

use std::process::ExitCode;

use planhat_model::catalog::Object;
use planhat_model::error::exit_code as exit;
use planhat_store::{Explanation, RunStatus, Store};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span, error_span, instrument};

use crate::cli::{Once, PrivacyCommand, QuarantineCommand, RunsCommand};
use crate::command_error::CommandError;
use crate::config::{self, Installation, NamedWorkspace, Settings};
use crate::pull::PauseGate;
use crate::workspace::Workspace;
use crate::{print, run};

/// Executes a command for the workspaces of these names, or for all of them, and says with which code to exit.
pub async fn execute(command: Once, installation: Installation, names: &[String]) -> Result<ExitCode, CommandError> {
    match command {
        // Nothing of a workspace is needed for these.
        #[cfg(feature = "demo")]
        Once::Demo => return demo::demo().await,
        #[cfg(not(feature = "demo"))]
        Once::Demo => return Err(no_demo()),
        Once::Health => return health::health(&installation.shared).await,
        Once::Completions { shell } => return Ok(completions::completions(shell)),
        Once::Man => return man::man(),
        _ => {}
    }
    // One that is named is shown as the only one of an installation is.
    let is_one = installation.is_single || names.len() == 1;
    let mut installation = installation.select(names)?;
    match command {
        Once::Workspaces { what, output } => {
            workspace_list::workspaces(what.as_ref(), &installation, !names.is_empty(), output).await
        }
        Once::Status(asked) if !is_one => fleet_status::status(&installation, &asked).await,
        command if is_one || (installation.workspaces.len() == 1 && every_workspace::is_only_for_one(&command)) => {
            let Some(NamedWorkspace { name, settings }) = installation.workspaces.pop() else {
                return Err(every_workspace::no_workspace(&installation.shared));
            };
            let name = (!installation.is_single).then_some(name);
            // Its error too is about this workspace, so it is shown here.
            let done = async { Ok(execute_for(&command, settings?).await.unwrap_or_else(|failure| failure.show())) };
            print::naming_in_commands(name, done).await
        }
        command => every_workspace::execute_for_each(&command, installation).await,
    }
}

/// Executes a command for the workspace of these settings.
async fn execute_for(command: &Once, settings: Settings) -> Result<ExitCode, CommandError> {
    // At the highest level, as all spans: where a line is logged at all, it says where it comes from.
    let span = error_span!("workspace", workspace = %settings.database.schema);
    // Boxed, since the future of all commands is large.
    Box::pin(execute_for_one(command, &Workspace::new(settings))).instrument(span).await
}

async fn execute_for_one(command: &Once, workspace: &Workspace) -> Result<ExitCode, CommandError> {
    match command {
        Once::Demo | Once::Health | Once::Completions { .. } | Once::Man | Once::Workspaces { .. } => {
            Err(CommandError::new(exit::FAILED, anyhow::anyhow!("this command is not one of a workspace"), None))
        }
        Once::Notify => notify::notify(workspace).await,
        Once::Check(asked) => check::check(workspace, asked).await,
        Once::Sync(asked) => sync::sync(workspace, asked).await,
        Once::Backfill(asked) => backfill::backfill(workspace, asked).await,
        Once::Status(asked) => status::status(workspace, asked.output).await,
        Once::Runs { one: Some(RunsCommand::Show { id, output }), .. } => runs::show(workspace, *id, *output).await,
        Once::Runs { one: None, count, output } => runs::list(workspace, *count, *output).await,
        Once::Quarantine { what: None, which } => quarantine::list(workspace, which).await,
        Once::Quarantine { what: Some(what), .. } => match what {
            QuarantineCommand::List(which) => quarantine::list(workspace, which).await,
            QuarantineCommand::Show { id, output } => quarantine::show(workspace, *id, *output).await,
            QuarantineCommand::Retry { objects } => quarantine::retry(workspace, &objects.objects).await,
            QuarantineCommand::Drop { ids } => quarantine::drop(workspace, ids).await,
        },
        Once::Actions(asked) => actions::actions(workspace, asked).await,
        Once::Schema { objects, output, sql } => schema::schema(workspace, &objects.objects, *output, *sql).await,
        Once::Forget(asked) => forget::forget(workspace, asked).await,
        Once::Privacy { what: PrivacyCommand::Apply(asked) } => privacy_apply::apply(workspace, asked).await,
        Once::Adopt => adopt::adopt(workspace).await,
        Once::Retype { object, column, kind, dry_run: true } => retype::preview(workspace, object, column, *kind).await,
        Once::Retype { object, column, kind, dry_run: false } => retype::retype(workspace, object, column, *kind).await,
    }
}

#[cfg(not(feature = "demo"))]
fn no_demo() -> CommandError {
    let missing = anyhow::anyhow!("the demo needs the embedded PostgreSQL, which this build does not have");
    let hint = "build with default features: cargo run --release --locked -- demo";
    CommandError::new(exit::CONFIGURATION, missing, Some(hint))
}

/// The objects that somebody names, or those of the settings.
fn named_or_configured(names: &[String], workspace: &Workspace) -> Result<Vec<&'static Object>, CommandError> {
    if names.is_empty() {
        return Ok(workspace.settings.planhat.objects.clone());
    }
    Ok(config::objects_named(names)?)
}

/// Opens the store, does the work, and closes it whatever came of the work. Only a sync makes an embedded database.
async fn with_store<T>(
    workspace: &Workspace,
    work: impl AsyncFnOnce(&Store) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    if let Some(text) = workspace.no_database_yet() {
        return Err(CommandError::new(exit::CONFIGURATION, anyhow::anyhow!(text), None));
    }
    let store = workspace.open_store().await?;
    let result = work(&store).await;
    store.close().await;
    result
}

/// The same for a command that only looks: it makes no embedded database to find nothing in. Where there is none yet, the
/// person hears of that, and there is nothing to show.
async fn with_store_read_only<T: Default>(
    workspace: &Workspace,
    work: impl AsyncFnOnce(&Store) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    match workspace.no_database_yet() {
        Some(text) => {
            print::to_stderr(&text);
            Ok(T::default())
        }
        None => with_store(workspace, work).await,
    }
}

/// Does something as a run of its own, so that no other one is at work meanwhile, and notes what it came to.
#[instrument(name = "run", level = "error", skip_all, fields(run_id = Empty, command = %command))]
async fn in_a_run_of_its_own<T>(
    store: &Store,
    command: &str,
    work: impl AsyncFnOnce(i64) -> Result<(T, RunStatus), CommandError>,
) -> Result<T, CommandError> {
    let run_stop = CancellationToken::new();
    let run = run::begin(store, command, None, &run_stop).await?;
    let run_id = run.run_id;
    Span::current().record("run_id", run_id);
    let pause_gate = PauseGate::default();
    let renewal = run::Renewal::Own;
    let lease = run::RunLease { store, client: None, run: &run, command, renewal, pause_gate: &pause_gate, run_stop: &run_stop };
    let result = lease.renew_while(work(run_id)).await;
    let status = result.as_ref().map_or(RunStatus::Failed, |(_, status)| *status);
    let why = Explanation { reason: result.as_ref().err().map(CommandError::on_one_line), hint: None };
    let ended = run::end(store, run_id, status, &why).await;
    let (done, _) = result?;
    ended?;
    Ok(done)
}
