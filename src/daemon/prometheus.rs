//! The text of `/metrics`: counters of this process, and gauges that are made anew for each scrape.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use metrics::{counter, describe_counter, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use planhat_store::{MissingReferences, RunStatus};

use super::health_state::DaemonState;
use crate::fleet_state::{FleetLine, FleetState};
use crate::workspace_status::Status;

/// Seconds, up to a load of hours, and up to the longest wait that a server may ask for.
const RUN_BUCKETS: [f64; 11] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 86_400.0];
const WAIT_BUCKETS: [f64; 9] = [0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0];

/// Begins to collect the counters of this process.
pub(super) fn collect() -> Result<PrometheusHandle, BuildError> {
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("planhat_sync_run_duration_seconds".to_owned()), &RUN_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full("planhat_sync_throttled_seconds".to_owned()), &WAIT_BUCKETS)?
        .install_recorder()?;
    describe();
    // An alert on the increase of a counter needs the 0 before it.
    for status in RunStatus::ALL {
        counter!("planhat_sync_runs_total", "status" => status.as_str()).increment(0);
    }
    Ok(metrics)
}

/// The gauges, computed for each scrape: objects that were removed from the settings, and values from a database that does
/// not respond, are left out.
pub(super) fn gauges(status: Option<&Status>, database_is_up: Option<bool>, is_running: bool) -> String {
    let mut text = String::new();
    let mut family =
        |name: &str, help: &str, samples: &mut dyn Iterator<Item = (String, f64)>| write_family(&mut text, name, help, samples);
    // Names of objects and documented properties: there is nothing in them to escape.
    let of = |object: &str| format!("{{object=\"{object}\"}}");
    let flag = |is_so: bool| f64::from(u8::from(is_so));
    let mut one = |name: &str, help: &str, is_so: bool| family(name, help, &mut std::iter::once((String::new(), flag(is_so))));
    one("run_in_progress", "Whether a run is at work.", is_running);
    if let Some(is_up) = database_is_up {
        one("database_up", "Whether the database answered this time.", is_up);
    }
    let Some(status) = status else { return text };
    one("fresh", "Whether every object was synced within notify.stale_after.", status.fresh);

    let known = || status.objects.iter().filter_map(|line| Some((line.object, line.known.as_ref()?)));
    let instant = |instant: DateTime<Utc>| seconds(instant.timestamp_millis());
    family(
        "last_success_timestamp_seconds",
        "When an object was last synced.",
        &mut known().filter_map(|(object, known)| Some((of(object), instant(known.last_success_at?)))),
    );
    family(
        "watermark_timestamp_seconds",
        "The instant before which every change of an object is stored.",
        &mut known().filter_map(|(object, known)| Some((of(object), instant(known.watermark?)))),
    );
    family(
        "skipped",
        "1 for an object that the token may not read.",
        &mut known().map(|(object, known)| (of(object), flag(known.status == "skipped"))),
    );
    let waiting = |object: &str| status.quarantine.get(object).copied().unwrap_or_default();
    family(
        "quarantine_records",
        "Records that wait in quarantine.",
        &mut known().map(|(object, _)| (of(object), count(waiting(object)))),
    );
    family(
        "left_out_records",
        "Records that Planhat lists and that are not stored because they are older than the history.",
        &mut known().filter_map(|(object, known)| Some((of(object), count(known.left_out?)))),
    );
    let references = || status.missing_references.iter().filter(|line| line.refers_to_synced).map(|line| &line.counted);
    let by = |MissingReferences { object, property, refers_to, .. }: &MissingReferences| {
        format!("{{object=\"{object}\",property=\"{property}\",refers_to=\"{refers_to}\"}}")
    };
    family(
        "missing_reference_rows",
        "Rows that refer to a record that is not stored.",
        &mut references().map(|missing| (by(missing), count(missing.rows))),
    );
    family(
        "absent_reference_rows",
        "Rows that refer to a record that Planhat does not have, or that the token may not read.",
        &mut references().map(|missing| (by(missing), count(missing.absent_rows))),
    );
    text
}

/// The most workspaces that have series of their own: each costs the monitoring some.
const MOST_LABELLED: usize = 200;

/// The gauges of a daemon of several workspaces: `lines` say how they are, unless the database does not answer.
pub(super) fn fleet_gauges(state: &DaemonState, lines: Option<&Vec<FleetLine>>, database_is_up: Option<bool>) -> String {
    let mut text = String::new();
    let mut family =
        |name: &str, help: &str, samples: &mut dyn Iterator<Item = (String, f64)>| write_family(&mut text, name, help, samples);
    let number = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let mut one = |name: &str, help: &str, value: f64| family(name, help, &mut std::iter::once((String::new(), value)));
    one("slots", "How many workspaces this daemon syncs at the same time.", number(state.slots));
    one("runs_in_progress", "Runs that this daemon is at work on.", number(state.runs.len()));
    one("workspaces", "Workspaces of the settings that can be run.", number(state.workspaces.len()));
    one("refused_settings", "Workspaces whose settings cannot be used.", number(state.refused.len()));
    if let Some(is_up) = database_is_up {
        one("database_up", "Whether the database answered this time.", f64::from(u8::from(is_up)));
    }
    // Names of workspaces are lower-case letters, digits, `-` and `_`: there is nothing in them to escape.
    let of = |name: &str| format!("{{workspace=\"{name}\"}}");
    let running = state.workspaces.iter().filter(|workspace| state.runs.contains_key(&workspace.schema));
    family(
        "workspace_run_in_progress",
        "1 for a workspace that this daemon is at work on.",
        &mut running.map(|workspace| (of(&workspace.name), 1.0)),
    );
    let Some(lines) = lines else { return text };
    let known: Vec<&FleetLine> = lines.iter().filter(|line| line.state != FleetState::UnusableSettings).collect();
    let of_state = |state: FleetState| number(known.iter().filter(|line| line.state == state).count());
    let mut one = |name: &str, help: &str, value: f64| family(name, help, &mut std::iter::once((String::new(), value)));
    let fresh = known.iter().filter(|line| line.fresh).count();
    one("workspaces_fresh", "Workspaces of which every object was synced within notify.stale_after.", number(fresh));
    one("workspaces_stale", "Workspaces with an object that was not.", of_state(FleetState::Stale));
    one("workspaces_never_synced", "Workspaces with an object that was never synced.", of_state(FleetState::NeverSynced));
    let failing = known.iter().filter(|line| line.failures > 0).count();
    one("workspaces_failing", "Workspaces whose last run by a daemon did not succeed.", number(failing));
    let paused = known.iter().filter(|line| line.paused_at.is_some()).count();
    one("workspaces_paused", "Workspaces that no daemon runs until they are resumed.", number(paused));
    let instant = |instant: DateTime<Utc>| seconds(instant.timestamp_millis());
    if let Some(oldest) = known.iter().filter_map(|line| line.oldest_success_at).min() {
        let help = "When the object was last synced that has waited longest, of all workspaces.";
        one("oldest_success_timestamp_seconds", help, instant(oldest));
    }
    if known.len() <= MOST_LABELLED {
        family(
            "workspace_failures",
            "Runs of daemons in a row that did not succeed.",
            &mut known.iter().map(|line| (of(&line.name), f64::from(line.failures))),
        );
        family(
            "workspace_oldest_success_timestamp_seconds",
            "When the object of the workspace was last synced that has waited longest.",
            &mut known.iter().filter_map(|line| Some((of(&line.name), instant(line.oldest_success_at?)))),
        );
    }
    text
}

fn write_family(text: &mut String, name: &str, help: &str, samples: &mut dyn Iterator<Item = (String, f64)>) {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "# HELP planhat_sync_{name} {help}\n# TYPE planhat_sync_{name} gauge");
    for (labels, value) in samples {
        let _ = writeln!(text, "planhat_sync_{name}{labels} {value}");
    }
}

fn count(count: i64) -> f64 {
    f64::from(i32::try_from(count).unwrap_or(i32::MAX))
}

/// A double holds the milliseconds of any year exactly.
#[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are 285,000 years")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn describe() {
    describe_counter!("planhat_sync_rows_total", "Rows that were committed, by what became of them.");
    describe_counter!("planhat_sync_pages_total", "Pages that were committed.");
    describe_counter!("planhat_sync_misfits_total", "Values that did not fit their column.");
    describe_counter!("planhat_sync_quarantined_total", "Records that could not be stored.");
    describe_counter!("planhat_sync_api_calls_total", "Requests to Planhat by status; none for no answer.");
    describe_counter!("planhat_sync_runs_total", "Runs that ended, by status.");
    describe_histogram!("planhat_sync_throttled_seconds", "Waits for the call budget and between attempts.");
    describe_histogram!("planhat_sync_run_duration_seconds", "How long runs took.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use planhat_store::WorkspaceOverview;

    use crate::freshness::tests::{known, now};

    #[test]
    fn gauges_show_only_current_values_of_configured_objects() {
        let down = gauges(None, Some(false), true);
        assert_eq!(
            down.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
            ["planhat_sync_run_in_progress 1", "planhat_sync_database_up 0"]
        );

        let states = vec![known("companies", "succeeded", Some(1)), known("churn", "succeeded", Some(1))];
        let overview = WorkspaceOverview { objects: states, ..WorkspaceOverview::default() };
        let status = Status::of(&["companies", "nps"], overview, now(), Duration::from_secs(26 * 3600));
        let up = gauges(Some(&status), Some(true), false);
        assert!(up.contains("planhat_sync_last_success_timestamp_seconds{object=\"companies\"} 1795258800\n"), "{up}");
        assert!(up.contains("planhat_sync_fresh 0\n") && up.contains("planhat_sync_database_up 1\n"), "{up}");
        assert!(!up.contains("churn") && !up.contains("watermark") && !up.contains("nps"), "{up}");
    }
}
