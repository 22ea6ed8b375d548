//! `backfill`: history, as far back as somebody says, or just the records that others refer to; a run like that of `sync`.

use std::process::ExitCode;

use chrono::{DateTime, Months, Utc};
use planhat_model::catalog::{OBJECTS, Object};
use planhat_model::error::exit_code as exit;

use super::{named_or_configured, sync};
use crate::cli::{BackfillArgs, HistoryRangeArgs, OutputArgs};
use crate::command_error::CommandError;
use crate::pull::{BackfillRange, HistoryFrom, Mode};
use crate::run::RunRequest;
use crate::workspace::Workspace;

pub(super) async fn backfill(workspace: &Workspace, asked: &BackfillArgs) -> Result<ExitCode, CommandError> {
    let objects = named_or_configured(&asked.objects.objects, workspace)?;
    if asked.referenced {
        return load_referenced(workspace, objects, asked.output).await;
    }
    let range = range_of(&asked.range, asked.until, workspace, &objects)?;
    let request = workspace.run_request("backfill", Mode::Backfill(range), &objects);
    sync::run_and_show(workspace, &request, asked.output).await
}

/// The records that others refer to, one object after the other: a company that is loaded may name an owner who is missing too.
async fn load_referenced(
    workspace: &Workspace,
    objects: Vec<&'static Object>,
    output: OutputArgs,
) -> Result<ExitCode, CommandError> {
    let objects = referring_first(objects);
    let request = RunRequest { concurrency: 1, ..workspace.run_request("backfill", Mode::Referenced, &objects) };
    sync::run_and_show(workspace, &request, output).await
}

/// The objects that anything refers to: first the one that the fewest of the others refer to, so that an object comes before
/// those that it refers to itself.
fn referring_first(mut objects: Vec<&'static Object>) -> Vec<&'static Object> {
    // By what is documented of it; hardly any object has all properties that any may have.
    let refers_to = |object: &Object, to: &Object| {
        object.references.iter().any(|reference| reference.to == to.name && object.kind_of(reference.property).is_some())
    };
    objects.retain(|to| OBJECTS.iter().any(|object| refers_to(object, to)));
    let mut ordered = Vec::new();
    while !objects.is_empty() {
        let referring = |to: &Object| objects.iter().filter(|other| other.name != to.name && refers_to(other, to)).count();
        let first = (0..objects.len()).min_by_key(|index| referring(objects[*index])).unwrap_or_default();
        ordered.push(objects.remove(first));
    }
    ordered
}

fn range_of(
    range: &HistoryRangeArgs,
    until: Option<DateTime<Utc>>,
    workspace: &Workspace,
    objects: &[&'static Object],
) -> Result<BackfillRange, CommandError> {
    let years_ago = |years: u32| Utc::now().checked_sub_months(Months::new(12 * years));
    let from = match (range.all, range.since, range.years.and_then(years_ago)) {
        (true, ..) => HistoryFrom::Earliest,
        (_, Some(since), _) | (_, _, Some(since)) => HistoryFrom::Since(since),
        _ => HistoryFrom::Default,
    };
    let since = match from {
        HistoryFrom::Since(since) => Some(since),
        HistoryFrom::Default => earliest_begin(workspace, objects),
        HistoryFrom::Earliest => None,
    };
    if let (Some(since), Some(until)) = (since, until)
        && until <= since
    {
        let empty = anyhow::anyhow!("there are no days between {} and {}", since.date_naive(), until.date_naive());
        let hint = "--until must be later than the start of the history: use --since or --all";
        return Err(CommandError::new(exit::CONFIGURATION, empty, Some(hint)));
    }
    Ok(BackfillRange { from, until })
}

/// Where the longest history of these objects begins, apart from those that have no limit.
fn earliest_begin(workspace: &Workspace, objects: &[&'static Object]) -> Option<DateTime<Utc>> {
    let (limits, now) = (workspace.limits(), Utc::now());
    objects.iter().filter_map(|object| limits.history_of(object).begin(now)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_loaded_before_those_that_its_records_may_name() {
        let objects = ["users", "companies", "churn", "endusers", "tasks", "conversations"];
        let objects = objects.map(|name| planhat_model::catalog::object(name).unwrap()).to_vec();
        let ordered: Vec<_> = referring_first(objects).into_iter().map(|object| object.name).collect();
        let place = |name| ordered.iter().position(|object| *object == name).unwrap();
        assert!(place("endusers") < place("companies") && place("companies") < place("users"), "{ordered:?}");
        assert!(place("conversations") < place("endusers"), "{ordered:?}");
        assert_eq!(ordered.len(), 5, "nothing refers to churn: {ordered:?}");
    }
}
