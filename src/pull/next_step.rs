//! What follows when a scan has ended: another scan, or the end of the pull.
//!
//! A pull may take several scans: one that was begun in an earlier run is followed by one of the changes since then, one
//! that another run preempted is resumed, and a comparison of everything that fails is followed by the changes of the day.
//! This is a state and its transitions, as values; the scans are made around them.

use chrono::{DateTime, Utc};
use planhat_model::error::{Fails, Retry};
use planhat_model::scan::{Mode, ScanKind};

use super::PullError;
use super::decide::{Ask, DueFullScan, Plan, ScanLimits};
use super::request::PullEnd;

/// How many lost checkpoints (crashes of the database) a pull tolerates.
const MAX_CHECKPOINTS_LOST: u32 = 5;

/// What is known between two scans of a pull.
#[derive(Debug)]
pub(super) struct State {
    mode: Mode,
    /// The last scan was preempted by another run, behind a checkpoint.
    was_preempted: bool,
    /// How often the database crashed and lost commits that were not on its disk yet.
    checkpoints_lost: u32,
    /// The current scan was begun in an earlier run.
    begun_in_earlier_run: bool,
    /// Why a full scan that was due could not be made.
    full_scan_failure: Option<PullError>,
}

/// How a scan ended, this time.
#[derive(Debug)]
pub(super) enum Ended {
    /// Everything was read; what that proves may have moved the watermark.
    Complete {
        has_watermark: bool,
    },
    Stopped,
    /// By another run, which is through before this one resumes.
    Preempted {
        is_saved: bool,
    },
    Failed(PullError),
}

impl Ended {
    /// The message of the failure, if the database has lost committed pages.
    pub(super) fn lost_checkpoint(&self) -> Option<String> {
        match self {
            Ended::Failed(failure) if failure.kind().retry() == Retry::FromCheckpoint => Some(failure.to_string()),
            _ => None,
        }
    }
}

/// What follows.
#[derive(Debug)]
pub(super) enum Step {
    Scan(State),
    Done(Result<PullEnd, PullError>),
}

impl State {
    pub(super) fn of(mode: Mode) -> State {
        State { mode, was_preempted: false, checkpoints_lost: 0, begun_in_earlier_run: false, full_scan_failure: None }
    }

    pub(super) fn ask(&self) -> Ask {
        let due_full_scan = if self.full_scan_failure.is_some() { DueFullScan::HasFailed } else { DueFullScan::Allowed };
        Ask { mode: self.mode, due_full_scan }
    }

    /// Whether the run that preempted this one has read the rest: then no scan is made.
    pub(super) fn was_finished_meanwhile(&self, plan: &Plan, now: DateTime<Utc>, limits: &ScanLimits) -> bool {
        self.was_preempted && !plan.is_resumed() && plan.a_sync_may_finish_it(now, limits)
    }

    /// A plan that resumes a scan which this pull has not begun itself resumes one of an earlier run.
    pub(super) fn begin(self, plan: &Plan) -> State {
        let is_first = !self.was_preempted && self.checkpoints_lost == 0;
        State { begun_in_earlier_run: plan.is_resumed() && (self.begun_in_earlier_run || is_first), ..self }
    }

    /// Whether a scan is a comparison of everything that nobody asked for, but that was due.
    pub(super) fn is_due_full_scan(&self, kind: ScanKind) -> bool {
        kind == ScanKind::Full && self.mode == Mode::Incremental
    }
}

/// The transitions.
pub(super) fn next_step(state: State, kind: ScanKind, ended: Ended) -> Step {
    let is_due_full_scan = state.is_due_full_scan(kind);
    match ended {
        Ended::Stopped => Step::Done(Ok(PullEnd::Stopped)),
        Ended::Preempted { is_saved } => Step::Scan(State { was_preempted: is_saved, ..state }),
        // A scan that was begun in an earlier run says nothing about later changes.
        Ended::Complete { has_watermark: true } if state.begun_in_earlier_run && !matches!(state.mode, Mode::Backfill(_)) => {
            Step::Scan(State { mode: Mode::Incremental, ..state })
        }
        Ended::Complete { .. } => Step::Done(state.full_scan_failure.map_or(Ok(PullEnd::Complete), Err)),
        Ended::Failed(failure)
            if failure.kind().retry() == Retry::FromCheckpoint && state.checkpoints_lost < MAX_CHECKPOINTS_LOST =>
        {
            Step::Scan(State { checkpoints_lost: state.checkpoints_lost + 1, was_preempted: false, ..state })
        }
        // A page at which a full scan fails must not prevent the incremental scan.
        Ended::Failed(failure) if is_due_full_scan && failure.kind().fails() == Fails::Listing => {
            Step::Scan(State { full_scan_failure: Some(failure), ..state })
        }
        Ended::Failed(failure) => Step::Done(Err(state.full_scan_failure.unwrap_or(failure))),
    }
}

#[cfg(test)]
mod tests {
    use planhat_api::ApiError;
    use std::time::Duration;

    use planhat_model::scan::{BackfillRange, History, HistoryFrom};
    use planhat_store::{ScanProgress, StoreError, UnfinishedScan};

    use super::super::decide::{StoredProgress, decide};

    use super::*;

    fn not_a_list() -> PullError {
        let source = ApiError::NotAList { path: "/tasks".to_owned(), found: "null".to_owned() };
        PullError::Fetch { object: "tasks", offset: 0, source }
    }

    fn token_refused() -> PullError {
        PullError::Fetch { object: "tasks", offset: 0, source: ApiError::Unauthorized { path: "/tasks".to_owned() } }
    }

    fn checkpoint_lost() -> PullError {
        PullError::Store { object: "tasks", source: StoreError::CheckpointLost { object: "tasks" } }
    }

    /// What follows, in short.
    fn after(state: State, kind: ScanKind, ended: Ended) -> String {
        match next_step(state, kind, ended) {
            Step::Done(Ok(end)) => format!("{end:?}"),
            Step::Done(Err(error)) => format!("failed: {}", error.kind().text()),
            Step::Scan(state) => format!("scan {:?}, {:?}", state.mode, state.ask().due_full_scan),
        }
    }

    #[test]
    fn each_end_of_a_scan_has_its_next_step() {
        use ScanKind::{Full, History, Incremental};
        let sync = || State::of(Mode::Incremental);
        let resumed = |mode| State { begun_in_earlier_run: true, ..State::of(mode) };
        let backfill = Mode::Backfill(BackfillRange { from: HistoryFrom::Default, until: None });
        let without_full = || State { full_scan_failure: Some(not_a_list()), ..sync() };
        let complete = || Ended::Complete { has_watermark: true };
        let lost_often = || State { checkpoints_lost: MAX_CHECKPOINTS_LOST, ..sync() };
        for (case, state, kind, ended, expected) in [
            ("all was read", sync(), Incremental, complete(), "Complete"),
            ("a load of an earlier run is through", resumed(Mode::Incremental), History, complete(), "scan Incremental, Allowed"),
            ("it proved nothing", resumed(Mode::Incremental), History, Ended::Complete { has_watermark: false }, "Complete"),
            ("a resumed backfill is through", resumed(backfill), History, complete(), "Complete"),
            ("a full scan of an earlier run is through", resumed(Mode::Full), Full, complete(), "scan Incremental, Allowed"),
            ("a signal", sync(), Incremental, Ended::Stopped, "Stopped"),
            (
                "another run wants the workspace",
                resumed(backfill),
                History,
                Ended::Preempted { is_saved: true },
                "scan Backfill(BackfillRange { from: Default, until: None }), Allowed",
            ),
            ("the database forgot pages", sync(), History, Ended::Failed(checkpoint_lost()), "scan Incremental, Allowed"),
            ("it forgets them again and again", lost_often(), History, Ended::Failed(checkpoint_lost()), "failed: database"),
            ("a due full scan fails at a page", sync(), Full, Ended::Failed(not_a_list()), "scan Incremental, HasFailed"),
            ("the changes after that are stored", without_full(), Incremental, complete(), "failed: not a list"),
            (
                "the changes after that fail too",
                without_full(),
                Incremental,
                Ended::Failed(token_refused()),
                "failed: not a list",
            ),
            ("a due full scan is refused", sync(), Full, Ended::Failed(token_refused()), "failed: token refused"),
            (
                "a full scan that was asked for fails",
                State::of(Mode::Full),
                Full,
                Ended::Failed(not_a_list()),
                "failed: not a list",
            ),
            ("changes fail", sync(), Incremental, Ended::Failed(not_a_list()), "failed: not a list"),
        ] {
            assert_eq!(after(state, kind, ended), expected, "{case}");
        }
    }

    #[test]
    fn a_pull_survives_five_crashes_of_the_database_and_no_more() {
        let mut state = State::of(Mode::Incremental);
        for crash in 1..=MAX_CHECKPOINTS_LOST {
            state = match next_step(state, ScanKind::History, Ended::Failed(checkpoint_lost())) {
                Step::Scan(next) => next,
                Step::Done(result) => panic!("it ends with {result:?} after crash {crash}"),
            };
        }
        assert_eq!(after(state, ScanKind::History, Ended::Failed(checkpoint_lost())), "failed: database");
    }

    #[test]
    fn only_the_loss_of_a_checkpoint_is_reported_as_such() {
        let expected = checkpoint_lost().to_string();
        assert_eq!(Ended::Failed(checkpoint_lost()).lost_checkpoint(), Some(expected));
        for other in [Ended::Failed(not_a_list()), Ended::Stopped, Ended::Complete { has_watermark: true }] {
            assert_eq!(other.lost_checkpoint(), None);
        }
    }

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn limits() -> ScanLimits {
        let day = Duration::from_secs(24 * 3600);
        ScanLimits { lookback: day, history: History::Within(day * 100), reconcile_every: day * 7, rules_fingerprint: None }
    }

    /// A first load, begun anew or resumed.
    fn load(is_resumed: bool) -> Plan {
        let now = NOW.parse().unwrap();
        let progress = ScanProgress::starting(now, limits().history.begin(now), None);
        let unfinished = UnfinishedScan { kind: ScanKind::History, progress, number: 1 };
        let stored = StoredProgress { unfinished: is_resumed.then_some(unfinished).into_iter().collect(), ..Default::default() };
        decide(now, &limits(), State::of(Mode::Incremental).ask(), stored)
    }

    #[test]
    fn a_load_that_was_preempted_is_finished_if_a_sync_meanwhile_has_left_nothing_to_resume() {
        let now = NOW.parse().unwrap();
        let preempted = |is_saved| match next_step(State::of(Mode::Incremental), ScanKind::History, Ended::Preempted { is_saved })
        {
            Step::Scan(state) => state,
            Step::Done(result) => panic!("it ends with {result:?}"),
        };
        assert!(preempted(true).was_finished_meanwhile(&load(false), now, &limits()));
        assert!(!preempted(true).was_finished_meanwhile(&load(true), now, &limits()), "the rest is still to be read");
        assert!(!preempted(false).was_finished_meanwhile(&load(false), now, &limits()), "it had not begun");
        assert!(!State::of(Mode::Incremental).was_finished_meanwhile(&load(false), now, &limits()));
        let Step::Scan(crashed) = next_step(preempted(true), ScanKind::History, Ended::Failed(checkpoint_lost())) else {
            panic!("a crash of the database ends the pull");
        };
        assert!(!crashed.was_finished_meanwhile(&load(false), now, &limits()), "the database forgot that it had begun");
        let everything = Plan { progress: ScanProgress { since: None, ..load(false).progress }, ..load(false) };
        assert!(!preempted(true).was_finished_meanwhile(&everything, now, &limits()), "a sync does not read as far back");
    }

    #[test]
    fn a_scan_that_this_pull_resumes_first_was_begun_in_an_earlier_run() {
        let new = || State::of(Mode::Incremental);
        for (case, state, is_resumed, expected) in [
            ("a new scan", new(), false, false),
            ("an unfinished one", new(), true, true),
            ("its own one, that was preempted", State { was_preempted: true, ..new() }, true, false),
            ("its own one, after a crash of the database", State { checkpoints_lost: 1, ..new() }, true, false),
            ("one of an earlier run, preempted", State { was_preempted: true, begun_in_earlier_run: true, ..new() }, true, true),
            (
                "one of an earlier run, after a crash",
                State { checkpoints_lost: 1, begun_in_earlier_run: true, ..new() },
                true,
                true,
            ),
            ("a new one behind one of an earlier run", State { begun_in_earlier_run: true, ..new() }, false, false),
        ] {
            assert_eq!(state.begin(&load(is_resumed)).begun_in_earlier_run, expected, "{case}");
        }
        // Behind the rest of a scan, an unfinished scan of changes is not of this pull, a new one is.
        for is_resumed in [true, false] {
            let resumed_twice = State { was_preempted: true, begun_in_earlier_run: true, ..new() };
            let Step::Scan(next) = next_step(resumed_twice, ScanKind::History, Ended::Complete { has_watermark: true }) else {
                panic!("the changes since then are not read");
            };
            assert_eq!(next.begin(&load(is_resumed)).begun_in_earlier_run, is_resumed);
        }
    }
}
