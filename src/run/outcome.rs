//! Decides the result of an object and of a run, with the reason and a hint. Pure: from facts alone.
//!
//! An object that the token may not read and never could is skipped: nobody expects it. An object that could be read before has
//! failed: somebody relies on it, and would not learn otherwise that it is getting old.

use chrono::{DateTime, Utc};
use planhat_model::error::{Chain, ErrorKind, Severity};
use planhat_store::{Explanation, ObjectStatus, RunStatus};

use super::ObjectSummary;
use crate::pull::{PullEnd, PullError};

/// Whether an object that may not be read could be read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    Never,
    Until(DateTime<Utc>),
    /// Earlier in this run.
    JustNow,
}

/// The facts of a pull from which its result is decided.
#[derive(Debug)]
pub(super) struct PullFacts<'a> {
    pub(super) object: &'static str,
    pub(super) ended: Result<PullEnd, &'a PullError>,
    /// Where Planhat refused to let the object be read: whether it had let it before.
    pub(super) readable: Readable,
    pub(super) quarantined: i64,
    /// Why, and which.
    pub(super) rejection_summary: Option<&'a str>,
    pub(super) warning: Option<&'a str>,
    /// Nothing was written.
    pub(super) is_preview: bool,
}

/// Decides the result of an object.
pub(super) fn object_outcome(facts: &PullFacts<'_>) -> (ObjectStatus, Explanation) {
    let object = facts.object;
    let with_warning = Explanation { reason: facts.warning.map(str::to_owned), hint: None };
    match facts.ended {
        Ok(PullEnd::Stopped) => (ObjectStatus::Interrupted, with_warning),
        Ok(PullEnd::Complete) if facts.quarantined > 0 => (ObjectStatus::Partial, why_quarantined(facts)),
        Ok(PullEnd::Complete) => (ObjectStatus::Succeeded, with_warning),
        Err(failure) if failure.kind().severity() == Severity::Skip => {
            let refused = Chain(failure).to_string();
            let until = match facts.readable {
                Readable::Never => {
                    return (ObjectStatus::Skipped, Explanation { reason: Some(refused), hint: failure.kind().hint() });
                }
                Readable::Until(instant) => format!("it could be read until {}", instant.format("%Y-%m-%d %H:%M UTC")),
                Readable::JustNow => "its first pages could be read in this run".to_owned(),
            };
            let hint = ErrorKind::AccessWithdrawn { object }.hint();
            (ObjectStatus::Failed, Explanation { reason: Some(format!("{refused}; {until}")), hint })
        }
        Err(failure) => {
            (ObjectStatus::Failed, Explanation { reason: Some(Chain(failure).to_string()), hint: failure.kind().hint() })
        }
    }
}

fn why_quarantined(facts: &PullFacts<'_>) -> Explanation {
    let PullFacts { object, quarantined, rejection_summary, is_preview, .. } = *facts;
    let which = rejection_summary.map(|which| format!(": {which}")).unwrap_or_default();
    let kept = match (is_preview, quarantined) {
        (true, _) => "would be put in quarantine",
        (false, 1) => "is in quarantine",
        (false, _) => "are in quarantine",
    };
    let hint = if is_preview { None } else { Some("`planhat-sync quarantine` shows why".to_owned()) };
    Explanation { reason: Some(format!("{} of {object} could not be stored and {kept}{which}", records(quarantined))), hint }
}

/// `1 record`, `2 records`
pub fn records(count: i64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

/// What the run came to. `signalled`: somebody has asked it to stop.
pub(super) fn run_status(objects: &[ObjectSummary], signalled: bool) -> RunStatus {
    let any = |status| objects.iter().any(|summary| summary.run.status == status);
    let token_refused =
        objects.iter().filter_map(|summary| summary.failure.as_ref()).any(|failure| failure.kind() == ErrorKind::TokenRefused);
    let something_landed = any(ObjectStatus::Succeeded) || any(ObjectStatus::Partial);
    if token_refused {
        RunStatus::Failed
    } else if signalled && any(ObjectStatus::Interrupted) {
        RunStatus::Interrupted
    } else if !something_landed {
        RunStatus::Failed
    } else if any(ObjectStatus::Failed) || any(ObjectStatus::Partial) || any(ObjectStatus::Interrupted) {
        RunStatus::Partial
    } else {
        RunStatus::Succeeded
    }
}

/// Why a run is not good, whatever the kind: the first thing that failed, or else was quarantined, not read to the end, or
/// skipped, and how many more there are.
pub(super) fn run_explanation(status: RunStatus, objects: &[ObjectSummary]) -> Explanation {
    match status {
        RunStatus::Succeeded => Explanation::default(),
        RunStatus::Interrupted => Explanation {
            reason: Some("stopped by a signal".to_owned()),
            hint: Some("everything committed is kept; the next run resumes at this point".to_owned()),
        },
        RunStatus::Partial | RunStatus::Failed => first_of(objects, ObjectStatus::Failed, "failed")
            .or_else(|| first_of(objects, ObjectStatus::Partial, "have records in quarantine"))
            .or_else(|| stopped(objects))
            .or_else(|| first_of(objects, ObjectStatus::Skipped, "may not be read"))
            .unwrap_or_default(),
    }
}

fn first_of(objects: &[ObjectSummary], status: ObjectStatus, what: &str) -> Option<Explanation> {
    let mut found = objects.iter().filter(|summary| summary.run.status == status);
    let first = found.next()?;
    let reason = first.run.reason.clone().unwrap_or_else(|| format!("{} {what}", first.run.object));
    let more: Vec<_> = found.map(|summary| summary.run.object).collect();
    let more = if more.is_empty() { String::new() } else { format!(" ({what} too: {})", more.join(", ")) };
    Some(Explanation { reason: Some(reason + &more), hint: first.run.hint.clone() })
}

/// Without a signal: the run has lost its lease.
fn stopped(objects: &[ObjectSummary]) -> Option<Explanation> {
    let stopped: Vec<_> = objects
        .iter()
        .filter(|summary| summary.run.status == ObjectStatus::Interrupted)
        .map(|summary| summary.run.object)
        .collect();
    let reason = format!("the run ended before these objects were read to the end: {}", stopped.join(", "));
    (!stopped.is_empty()).then(|| Explanation {
        reason: Some(reason),
        hint: Some("everything committed is kept; the next run resumes at this point".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_api as api;

    fn forbidden() -> PullError {
        let source = api::ApiError::AccessDenied { path: "/nps".to_owned(), status: reqwest::StatusCode::FORBIDDEN };
        PullError::Fetch { object: "nps", offset: 0, source }
    }

    fn facts(ended: Result<PullEnd, &PullError>) -> PullFacts<'_> {
        PullFacts {
            object: "nps",
            ended,
            readable: Readable::Never,
            quarantined: 0,
            rejection_summary: None,
            warning: None,
            is_preview: false,
        }
    }

    fn check(facts: &PullFacts<'_>, expected: ObjectStatus, reason: &str, hint: &str) {
        let (status, why) = object_outcome(facts);
        assert_eq!(
            (status, why.reason.as_deref().unwrap_or_default(), why.hint.as_deref().unwrap_or_default()),
            (expected, reason, hint)
        );
    }

    #[test]
    fn an_object_that_may_not_be_read_is_skipped_or_failed_if_it_could_be_read_before() {
        let failure = forbidden();
        let (refused, give) =
            ("could not read nps from offset 0: /nps answered 403 Forbidden", "or leave it out of planhat.objects");
        check(
            &facts(Err(&failure)),
            ObjectStatus::Skipped,
            refused,
            &format!("give the private app read access to this object in Planhat, {give}"),
        );
        let back = format!("give the private app back its read access to nps in Planhat, {give}");
        let until = Readable::Until("2026-11-20T03:00:00Z".parse().unwrap());
        check(
            &PullFacts { readable: until, ..facts(Err(&failure)) },
            ObjectStatus::Failed,
            &format!("{refused}; it could be read until 2026-11-20 03:00 UTC"),
            &back,
        );
        check(
            &PullFacts { readable: Readable::JustNow, ..facts(Err(&failure)) },
            ObjectStatus::Failed,
            &format!("{refused}; its first pages could be read in this run"),
            &back,
        );
    }

    #[test]
    fn an_empty_listing_of_an_object_with_rows_is_a_failure() {
        check(
            &facts(Err(&PullError::NothingListed { object: "nps" })),
            ObjectStatus::Failed,
            "Planhat lists no nps, but the table has rows from earlier runs: no row was marked as deleted",
            "check the token's permissions and nps in Planhat; if all of them were really deleted, \
             `planhat-sync sync --full --allow-deletes nps` marks them as deleted",
        );
    }

    #[test]
    fn a_complete_pull_succeeds_or_is_partial_if_records_were_quarantined() {
        check(&facts(Ok(PullEnd::Complete)), ObjectStatus::Succeeded, "", "");
        check(
            &PullFacts { warning: Some("the order does not hold"), ..facts(Ok(PullEnd::Complete)) },
            ObjectStatus::Succeeded,
            "the order does not hold",
            "",
        );
        check(&facts(Ok(PullEnd::Stopped)), ObjectStatus::Interrupted, "", "");
        let rejected = PullFacts { quarantined: 13, rejection_summary: Some("no _id"), ..facts(Ok(PullEnd::Complete)) };
        check(
            &rejected,
            ObjectStatus::Partial,
            "13 records of nps could not be stored and are in quarantine: no _id",
            "`planhat-sync quarantine` shows why",
        );
        check(
            &PullFacts { quarantined: 1, is_preview: true, ..rejected },
            ObjectStatus::Partial,
            "1 record of nps could not be stored and would be put in quarantine: no _id",
            "",
        );
    }
}
