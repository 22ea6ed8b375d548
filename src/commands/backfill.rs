//! `backfill`: history, as far back as somebody says; a run like that of `sync`.

use std::process::ExitCode;

use chrono::{DateTime, Months, Utc};
use planhat_model::error::exit_code as exit;

use super::{named_or_configured, sync};
use crate::cli::{BackfillArgs, HistoryRangeArgs};
use crate::command_error::CommandError;
use crate::pull::{BackfillRange, HistoryFrom, Mode};
use crate::workspace::Workspace;

pub(super) async fn backfill(workspace: &Workspace, asked: BackfillArgs) -> Result<ExitCode, CommandError> {
    let objects = named_or_configured(&asked.objects.objects, workspace)?;
    let range = range_of(&asked.range, asked.until, workspace)?;
    let request = workspace.run_request("backfill", Mode::Backfill(range), &objects);
    sync::run_and_show(workspace, &request, asked.output).await
}

fn range_of(
    range: &HistoryRangeArgs,
    until: Option<DateTime<Utc>>,
    workspace: &Workspace,
) -> Result<BackfillRange, CommandError> {
    let years_ago = |years: u32| Utc::now().checked_sub_months(Months::new(12 * years));
    let from = match (range.all, range.since, range.years.and_then(years_ago)) {
        (true, ..) => HistoryFrom::Earliest,
        (_, Some(since), _) | (_, _, Some(since)) => HistoryFrom::Since(since),
        _ => HistoryFrom::Default,
    };
    let since = match from {
        HistoryFrom::Since(since) => Some(since),
        HistoryFrom::Default => Some(Utc::now() - workspace.settings.sync.history),
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
