//! Pulls one object from Planhat into its table.
//!
//! ```text
//! decide -> pager -> window -> rules -> flatten -> one transaction: rows, actions, quarantine, checkpoint -> …
//!        -> deletions -> watermark -> next step
//! ```
//!
//! A page is committed together with the checkpoint behind it, so a scan resumes after a crash
//! where it was. The watermark moves only at the end of a scan: only then is it known that nothing
//! older is missing. From top to bottom:
//!
//! - `request`: what a pull is given. `decide`: what it reads. `next_step`: what follows when that has ended.
//! - `listings`: the listings of a scan. `learned`: how Planhat answers, as far as that is known; `prove_listings` proves it again.
//! - `object_scan`: a scan, its listings one after the other, page by page, and its end.
//! - `page`: what becomes of a page's records. `table_writer` stores them, `preview` only says what it would store.
//! - `detect_deletions`, `deletion_guard`: which rows have lost their records. `referenced`: records that rows refer to, by id.
//! - `rejected`: when too many records cannot be stored. `declarations`: what is known of custom fields.
//! - `report`, `repeats`: what was done, each record counted once. `pull_error`: what ends a pull early.
//! - `pause_gate`: a long load pauses for another run. `retry_quarantined`: quarantine, tried again.

mod decide;
mod declarations;
mod deletion_guard;
mod detect_deletions;
mod learned;
mod listings;
mod next_step;
mod object_scan;
mod page;
mod pause_gate;
mod preview;
mod prove_listings;
mod pull_error;
mod referenced;
mod rejected;
mod repeats;
mod report;
mod request;
mod retry_quarantined;
mod table_writer;

use planhat_api::ObjectClient;
use planhat_model::catalog::Object;
use tracing::{info, warn};

use decide::{Plan, ScanLimits, decide, stored_progress};
pub use declarations::Declarations;
pub use deletion_guard::{DeletionGuard, DeletionReservations};
use next_step::{Ended, State, Step, next_step};
use object_scan::ObjectScan;
pub use pause_gate::{PauseGate, PauseGuard};
use planhat_model::scan::ScanKind;
pub use planhat_model::scan::{BackfillRange, HistoryFrom, Mode};
pub use pull_error::PullError;
pub use rejected::RejectionGuard;
pub use report::{Misfits, Preview, Report};
pub use request::{Context, Limits, PullEnd, Purpose};
pub use retry_quarantined::{RetryCounts, retry_quarantined};

/// Pulls `object`, and reports what was done even if it fails half-way.
pub async fn pull(ctx: &Context<'_>, object: &'static Object, mode: Mode, report: &mut Report) -> Result<PullEnd, PullError> {
    let client = ctx.client.for_object(object);
    let pulled = pull_by(&client, ctx, mode, report).await;
    report.figures.calls = client.calls().cast_signed();
    pulled
}

/// One scan after the other, until no other follows.
async fn pull_by(client: &ObjectClient, ctx: &Context<'_>, mode: Mode, report: &mut Report) -> Result<PullEnd, PullError> {
    let object = client.object();
    let limits = ScanLimits::of(object, ctx.limits, ctx.full_scan_calls);
    let mut state = State::of(mode);
    loop {
        // A run that preempts this one waits until every scan has left the pause gate.
        let _no_pause = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return Ok(PullEnd::Stopped),
            entered = ctx.pause_gate.enter() => entered,
        };
        let stored = stored_progress(ctx, object).await;
        let stored = stored.map_err(|source| PullError::Store { object: object.name, source })?;
        let plan = decide(ctx.now, &limits, state.ask(), stored);
        if state.was_finished_meanwhile(&plan, ctx.now, &limits) {
            return Ok(PullEnd::Complete);
        }
        state = state.begin(&plan);
        if state.is_due_full_scan(plan.kind) {
            // If it fails, the following incremental scan lists the same records again.
            report.repeats.enable();
        }
        let kind = plan.kind;
        let ended = scan(client, ctx, plan, report).await;
        let lost = ended.lost_checkpoint();
        state = match next_step(state, kind, ended) {
            Step::Done(result) => return result,
            Step::Scan(next) => next,
        };
        if let Some(lost) = lost {
            warn!("{lost}: resuming from the last checkpoint that the database kept");
        }
    }
}

/// One scan, and how it ended.
async fn scan(client: &ObjectClient, ctx: &Context<'_>, plan: Plan, report: &mut Report) -> Ended {
    if plan.is_resumed() {
        info!(offset = plan.progress.offset, "resuming the scan begun at {}", plan.progress.started_at);
    }
    report.scan = Some(plan.kind);
    let kind = plan.kind;
    let scan = ObjectScan::new(client, ctx, plan, report);
    let ended = match kind {
        ScanKind::Referenced => scan.load_referenced().await,
        ScanKind::History | ScanKind::Backfill | ScanKind::Incremental | ScanKind::Full => scan.read_everything().await,
    };
    ended.unwrap_or_else(Ended::Failed)
}
