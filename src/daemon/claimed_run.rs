//! One run of a daemon, from the claim of its workspace to the note in the calendar.
//!
//! It has its lease from the start. Whatever becomes of it is noted where people look for it: in the history of runs, in the calendar,
//! in the log and in the messages of its workspace. The calendar takes no note of a run that another one has followed: it may have lost
//! its lease long ago, and learn that last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use planhat_api::Client;
use planhat_model::catalog::{self, Object};
use planhat_model::error::{Chain, ErrorKind, Retry};
use planhat_store::{self as store, Ending, Explanation, ObjectStatus, RunStatus, Store, StoreError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::back_off::wait_after;
use super::health_state::HealthState;
use super::run_loop::LOCKED_FOR;
use super::runtime_config::RuntimeConfig;
use crate::command_error::CommandError;
use crate::pull::Mode;
use crate::run::{self, BegunRun, KeptLease, Parties, RunError, Summary};

/// The connections of a run with a store of its own: one for its transactions, one for what goes on beside them.
const CONNECTIONS_OF_A_RUN: u32 = 2;
/// For how long it is tried to note how a run came out, while somebody has locked its workspace or the database is away.
const NOTED_WITHIN: Duration = Duration::from_secs(5 * 60);
const NOTED_AT_A_STOP_WITHIN: Duration = Duration::from_secs(3);
const NOTED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A workspace that this daemon has claimed, and with what it is run.
pub(super) struct ClaimedRun {
    pub(super) config: Arc<RuntimeConfig>,
    pub(super) run: BegunRun,
    pub(super) lease: KeptLease,
    pub(super) command: &'static str,
    pub(super) objects: Vec<&'static Object>,
    /// Runs in a row that have failed before this one.
    pub(super) failures: i32,
    /// The connection of the daemon, which looks after the calendar.
    pub(super) control: Arc<Store>,
    /// Whether the run uses the connections of the daemon.
    pub(super) shares_connections: bool,
    pub(super) health: Arc<HealthState>,
    pub(super) stop: CancellationToken,
}

impl ClaimedRun {
    /// Runs the workspace, notes what came of it, and tells whoever wants to know. The note comes first: the lease is free by then, and
    /// messages take their time.
    pub(super) async fn execute(self) {
        match self.open().await {
            Ok((client, store)) => {
                if !self.shares_connections {
                    store.stop_on(self.stop.clone());
                }
                self.run_in(&client, &store).await;
                store.close().await;
            }
            Err(failure) => {
                let why = Explanation { reason: Some(failure.on_one_line()), hint: failure.hint.clone() };
                match self.end_without_a_store(&why).await {
                    Ok(()) => self.could_not_begin(&failure, None).await,
                    Err(lost) => warn!(error = %Chain(&lost), "another daemon has taken over the run"),
                }
            }
        }
    }

    async fn open(&self) -> Result<(Client, Store), CommandError> {
        let client = self.config.workspace.client()?;
        self.lease.admit(&client);
        Ok((client, self.open_store().await?))
    }

    async fn open_store(&self) -> Result<Store, CommandError> {
        if self.shares_connections {
            let database = &self.config.settings().database;
            return Ok(self.control.lend_to(&database.schema, &database.grant_select_to));
        }
        self.config.workspace.open_store_with(CONNECTIONS_OF_A_RUN).await
    }

    async fn run_in(&self, client: &Client, store: &Store) {
        let request = self.config.workspace.run_request(self.command, Mode::Incremental, &self.objects);
        self.health.run_begins(self.config.schema(), Arc::clone(&request.progress));
        let parties = Parties { client, store, request: &request, stop: &self.stop };
        let ran = match store.migrate().await {
            Ok(()) => run::run_claimed(parties, &self.run, &self.lease, self.config.notifier.run_began()).await,
            Err(error) => {
                let why = Explanation { reason: Some(Chain(&error).to_string()), hint: error.kind().hint() };
                self.end_without_a_store(&why).await.and(Err(error)).map_err(RunError::Store)
            }
        };
        self.health.run_ends(self.config.schema());
        match ran {
            Ok(summary) => self.ended(store, &summary).await,
            Err(error) => self.could_not_end(store, error).await,
        }
    }

    async fn ended(&self, store: &Store, summary: &Summary) {
        counter!("planhat_sync_runs_total", "status" => summary.status.as_str()).increment(1);
        histogram!("planhat_sync_run_duration_seconds").record(summary.seconds);
        self.note(&self.ending_of(summary), None).await;
        self.unless_stopped(self.config.notifier.run_ended(store, self.command, summary)).await;
    }

    fn ending_of(&self, summary: &Summary) -> Ending {
        if self.stop.is_cancelled() && summary.status == RunStatus::Interrupted {
            return Ending::HandedBack;
        }
        let is_failed = |status| matches!(status, ObjectStatus::Failed | ObjectStatus::Interrupted);
        let failed = summary.objects.iter().filter(|of| is_failed(of.run.status));
        let objects: Vec<_> = failed.filter_map(|of| catalog::object(of.run.object)).collect();
        match summary.status {
            RunStatus::Succeeded => Ending::Succeeded,
            // Records in quarantine are no reason to run again.
            RunStatus::Partial if objects.is_empty() => Ending::Succeeded,
            RunStatus::Partial | RunStatus::Failed | RunStatus::Interrupted => {
                let why = summary.why.reason.clone().unwrap_or_else(|| "no reason is known".to_owned());
                self.failed(why, &objects)
            }
        }
    }

    /// The run could not begin, or what came of it could not be noted.
    async fn could_not_end(&self, store: &Store, error: RunError) {
        match error {
            RunError::Stopped => self.note(&Ending::HandedBack, None).await,
            RunError::Store(lost @ StoreError::LeaseLost { .. }) => {
                warn!(error = %Chain(&lost), "another daemon has taken over the run");
            }
            error if self.stop.is_cancelled() && *error.kind().root() == ErrorKind::DatabaseUnresponsive => {
                warn!(error = %Chain(&error), "the database does not respond; the next run will mark this one as interrupted");
            }
            error => {
                error!(error = %Chain(&error), "{}", error.headline());
                let failure = CommandError::from(error);
                self.could_not_begin(&failure, Some(store)).await;
            }
        }
    }

    async fn could_not_begin(&self, failure: &CommandError, store: Option<&Store>) {
        if store.is_none() {
            error!(error = failure.on_one_line(), "the run could not begin");
        }
        counter!("planhat_sync_runs_total", "status" => "failed").increment(1);
        // The database may have been away just when it was to be ended.
        let why = Explanation { reason: Some(failure.on_one_line()), hint: failure.hint.clone() };
        self.note(&self.failed(failure.on_one_line(), &self.objects), Some(&why)).await;
        if let Some(why) = failure.as_start_failure() {
            self.unless_stopped(self.config.notifier.run_could_not_begin(store, self.command, &why)).await;
        }
    }

    /// Without connections of its own, the daemon ends the run, so that its lease is free. Fails if another run has it by now.
    async fn end_without_a_store(&self, why: &Explanation) -> Result<(), StoreError> {
        let ended =
            self.control.transaction_once(async |db| store::finish_run(db, self.run.run_id, RunStatus::Failed, why).await).await;
        match ended {
            Err(lost @ StoreError::LeaseLost { .. }) => return Err(lost),
            Err(error) => warn!(error = %Chain(&error), "could not note that a run failed; it is marked as interrupted later"),
            Ok(()) => {}
        }
        Ok(())
    }

    /// What failed is tried again, if anything is.
    fn failed(&self, why: String, objects: &[&'static Object]) -> Ending {
        let wait = wait_after(self.config.settings().daemon.retry_after, self.failures).filter(|_| !objects.is_empty());
        Ending::Failed { why, objects: objects.iter().map(|object| object.name).collect(), wait }
    }

    /// Notes it in the calendar. A run that may not have ended yet is ended as failed: else its lease would be free only when it is stale.
    async fn note(&self, ending: &Ending, unless_ended: Option<&Explanation>) {
        let schema = self.config.schema();
        let begun = Instant::now();
        loop {
            // The connection is given back between two attempts: the daemon looks at the calendar with it.
            let noting = self.control.transaction_once(async |db| {
                store::limit_lock_waits(&mut *db, LOCKED_FOR).await?;
                if let Some(why) = unless_ended {
                    store::end_run_unless_ended(&mut *db, self.run.run_id, RunStatus::Failed, why).await?;
                }
                store::note_ending(db, schema, self.run.run_id, ending).await
            });
            let Err(error) = noting.await else { return };
            let longest = if self.stop.is_cancelled() { NOTED_AT_A_STOP_WITHIN } else { NOTED_WITHIN };
            if error.kind().retry() == Retry::Never || begun.elapsed() > longest {
                return warn!(error = %Chain(&error), "could not note in the calendar how the run came out");
            }
            sleep(NOTED_AGAIN_AFTER).await;
        }
    }

    /// A stop does not wait for a message to be sent; the next run announces the state.
    async fn unless_stopped(&self, telling: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = telling => {}
            () = self.stop.cancelled() => {}
        }
    }
}
