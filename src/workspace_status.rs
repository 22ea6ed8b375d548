//! The status of a workspace, as `status --json` and the daemon's `/api/status` show it, and its headline.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::scan::{ReconcileEvery, days};
use planhat_store::{MisfitColumn, MissingReferences, ObjectState, PastRun, WorkspaceOverview};
use serde::Serialize;

use crate::freshness::{Freshness, FreshnessState};

/// What is shown; the keys of its JSON stay.
#[derive(Debug, Serialize)]
pub struct Status {
    pub fresh: bool,
    pub headline: String,
    pub latest_run: Option<PastRun>,
    /// The objects of the settings.
    pub objects: Vec<ObjectLine>,
    /// Records in quarantine, by object.
    pub quarantine: BTreeMap<String, i64>,
    /// Columns with values of another type.
    pub misfits: Vec<MisfitColumn>,
    /// Rows that refer to records that are not stored, by property, as they were counted last.
    pub missing_references: Vec<ReferenceLine>,
    /// How often all records are compared, where that follows from the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// What was stored before its privacy rules; only where somebody has looked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmasked: Vec<Unmasked>,
}

/// How often all records are compared (full scans), and what that costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub every_days: u32,
    /// Calls of the last one, as far as they were counted.
    pub calls: u64,
}

impl Comparison {
    /// None where a setting says how often.
    pub fn of(every: ReconcileEvery, calls_per_minute: u32, objects: &[ObjectLine]) -> Option<Comparison> {
        let calls = objects.iter().filter_map(|line| line.known.as_ref()?.full_scan_calls).sum::<i64>().cast_unsigned();
        match every {
            ReconcileEvery::Fixed(_) => None,
            ReconcileEvery::AsTheQuotaAllows => Some(Comparison { every_days: days(calls, calls_per_minute), calls }),
        }
    }

    /// As a sentence.
    pub fn line(self, calls_per_minute: u32) -> String {
        let every = if self.every_days == 1 { "every day".to_owned() } else { format!("every {} days", self.every_days) };
        let cost = match (self.calls, calls_per_minute) {
            (0, _) => "what it costs is not known yet".to_owned(),
            (calls, 0) => format!("{calls} calls"),
            (calls, quota) => {
                let minutes = (calls as f64 / f64::from(quota) * 10.0).ceil() / 10.0;
                format!("{calls} calls, {minutes} minutes of the quota")
            }
        };
        format!("all records are compared {every} (sync.reconcile_every = \"auto\"): {cost}")
    }
}

/// One property that refers to records of another object.
#[derive(Debug, Serialize)]
pub struct ReferenceLine {
    #[serde(flatten)]
    pub counted: MissingReferences,
    /// Whether the other object is synced; otherwise none of its records can be expected.
    pub refers_to_synced: bool,
}

/// What of an object is stored from before its privacy rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmasked {
    pub object: &'static str,
    pub rows: u64,
    pub actions: u64,
    pub quarantined: u64,
    /// There may be more: it was not counted to the end.
    pub is_lower_bound: bool,
}

/// One object.
#[derive(Debug, Serialize)]
pub struct ObjectLine {
    pub object: &'static str,
    #[serde(flatten)]
    pub state: FreshnessState,
    /// What is on record of it, if anything is.
    #[serde(flatten)]
    pub known: Option<ObjectState>,
}

impl Status {
    pub fn of(objects: &[&'static str], overview: WorkspaceOverview, now: DateTime<Utc>, stale_after: Duration) -> Status {
        let WorkspaceOverview { latest_run, objects: mut states, mut quarantine, mut misfits, missing_references } = overview;
        let freshness = Freshness::of(objects.iter().copied(), &states, now, stale_after);
        let lines: Vec<ObjectLine> = freshness
            .objects()
            .map(|(object, state)| {
                let known = states.iter().position(|known| known.object == object).map(|index| states.swap_remove(index));
                ObjectLine { object, state, known }
            })
            .collect();
        quarantine.retain(|object, _| objects.contains(&object.as_str()));
        misfits.retain(|misfit| objects.contains(&misfit.object.as_str()));
        let is_synced = |object: &str| {
            let line = lines.iter().find(|line| line.object == object);
            line.is_some_and(|line| !matches!(line.state, FreshnessState::Skipped | FreshnessState::NeverSynced))
        };
        let of_objects = missing_references.into_iter().filter(|missing| objects.contains(&missing.object.as_str()));
        let missing_references =
            of_objects.map(|counted| ReferenceLine { refers_to_synced: is_synced(&counted.refers_to), counted }).collect();
        let headline = headline(latest_run.is_some(), &lines, stale_after);
        Status {
            fresh: freshness.is_fresh(),
            headline,
            latest_run,
            objects: lines,
            quarantine,
            misfits,
            missing_references,
            comparison: None,
            unmasked: Vec::new(),
        }
    }

    /// Whether a person should look, though the data may be fresh.
    pub fn needs_attention(&self) -> bool {
        !self.fresh || !self.failing().is_empty()
    }

    fn failing(&self) -> Vec<&'static str> {
        failing(&self.objects)
    }
}

/// Those that could not be synced the last time, though what is stored is not too old yet.
fn failing(lines: &[ObjectLine]) -> Vec<&'static str> {
    let failed = |line: &&ObjectLine| line.known.as_ref().is_some_and(|known| known.status == "failed");
    lines.iter().filter(|line| line.state == FreshnessState::Fresh).filter(failed).map(|line| line.object).collect()
}

/// The answer to "is my data fresh?" in one line.
fn headline(anything_ran: bool, lines: &[ObjectLine], stale_after: Duration) -> String {
    let in_state = |wanted: fn(&FreshnessState) -> bool| -> Vec<&'static str> {
        lines.iter().filter(|line| wanted(&line.state)).map(|line| line.object).collect()
    };
    let fresh = in_state(|state| *state == FreshnessState::Fresh);
    let stale = in_state(|state| matches!(state, FreshnessState::Stale { .. }));
    let never = in_state(|state| *state == FreshnessState::NeverSynced);
    let gone = in_state(|state| *state == FreshnessState::TableGone);
    let skipped = in_state(|state| *state == FreshnessState::Skipped);
    if !anything_ran && never.len() == lines.len() {
        return "nothing has been synced yet; run `planhat-sync sync`".to_owned();
    }
    let (within, failing) = (duration(stale_after), failing(lines));
    let (all, good) = (lines.len() - skipped.len(), fresh.len() - failing.len());

    let mut parts = Vec::new();
    if !stale.is_empty() {
        parts.push(format!("not synced within the last {within}: {}", names(&stale)));
    }
    if !gone.is_empty() {
        parts.push(format!("{}: {}", if gone.len() == 1 { "table dropped" } else { "tables dropped" }, names(&gone)));
    }
    if let Some(first) = parts.first_mut() {
        first.insert_str(0, "STALE: ");
    }
    if !never.is_empty() {
        parts.push(format!("never synced: {}", names(&never)));
    }
    if parts.is_empty() && failing.is_empty() {
        if fresh.is_empty() {
            parts.push("the token may not read any object".to_owned());
        } else {
            parts.push(format!("fresh: {good} of {} synced within the last {within}", objects(all)));
        }
    } else {
        parts.push(format!("{good} of {} {} fresh", objects(all), if good == 1 || all == 1 { "is" } else { "are" }));
    }
    if !failing.is_empty() {
        parts.push(format!("{} failed, but still fresh enough", names(&failing)));
    }
    if !skipped.is_empty() {
        parts.push(format!("{} skipped: the token may not read {}", skipped.len(), names(&skipped)));
    }
    parts.join("; ")
}

fn objects(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

/// `a`, `a and b`, `a, b and c`
fn names(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// As a person says it: `26h`, `3min 30s`, `7 days`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours >= 48 && seconds.is_multiple_of(86_400) {
        return format!("{} days", seconds / 86_400);
    }
    let parts: Vec<_> = [(hours, "h"), (minutes, "min"), (rest, "s")].into_iter().filter(|(count, _)| *count > 0).collect();
    let said: Vec<_> = parts.iter().map(|(count, unit)| format!("{count}{unit}")).collect();
    if said.is_empty() { format!("{}ms", duration.as_millis()) } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::tests::{known, now};

    const OBJECTS: [&str; 3] = ["companies", "tasks", "nps"];

    fn run() -> PastRun {
        PastRun {
            id: 1,
            workspace: "planhat".to_owned(),
            command: "sync".to_owned(),
            status: "partial".to_owned(),
            started_at: now(),
            finished_at: Some(now()),
            reason: None,
            hint: None,
            calls: None,
        }
    }

    /// What a person has to do about it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Shown {
        /// Nothing.
        Fresh,
        /// To look, before it gets stale.
        FreshButFailing,
        Stale,
    }

    fn check(states: Vec<ObjectState>, shown: Shown, headline: &str) {
        let overview =
            WorkspaceOverview { latest_run: (!states.is_empty()).then(run), objects: states, ..WorkspaceOverview::default() };
        let status = Status::of(&OBJECTS, overview, now(), Duration::from_secs(26 * 3600));
        let is = match (status.fresh, status.needs_attention()) {
            (true, false) => Shown::Fresh,
            (true, true) => Shown::FreshButFailing,
            (false, _) => Shown::Stale,
        };
        assert_eq!((status.headline.as_str(), is), (headline, shown));
        assert!(status.fresh || status.needs_attention());
    }

    #[test]
    fn the_headline_names_fresh_and_stale_objects() {
        let good = |object| known(object, "succeeded", Some(1));
        let gone = |object| ObjectState { has_table: false, ..good(object) };
        check(vec![], Shown::Stale, "nothing has been synced yet; run `planhat-sync sync`");
        check(
            vec![good("companies"), good("tasks"), good("nps")],
            Shown::Fresh,
            "fresh: 3 of 3 objects synced within the last 26h",
        );
        check(
            vec![good("companies"), good("tasks"), known("nps", "skipped", None)],
            Shown::Fresh,
            "fresh: 2 of 2 objects synced within the last 26h; 1 skipped: the token may not read nps",
        );
        check(
            vec![good("companies"), known("tasks", "failed", Some(20)), known("nps", "failed", Some(20))],
            Shown::FreshButFailing,
            "1 of 3 objects is fresh; tasks and nps failed, but still fresh enough",
        );
        check(
            vec![good("companies"), known("tasks", "failed", Some(40)), known("nps", "failed", Some(20))],
            Shown::Stale,
            "STALE: not synced within the last 26h: tasks; 1 of 3 objects is fresh; nps failed, but still fresh enough",
        );
        check(vec![good("companies"), good("tasks")], Shown::Stale, "never synced: nps; 2 of 3 objects are fresh");
        check(
            vec![gone("companies"), gone("tasks"), good("nps")],
            Shown::Stale,
            "STALE: tables dropped: companies and tasks; 1 of 3 objects is fresh",
        );
        check(
            vec![gone("companies"), known("tasks", "succeeded", Some(40)), good("nps")],
            Shown::Stale,
            "STALE: not synced within the last 26h: tasks; table dropped: companies; 1 of 3 objects is fresh",
        );
        let skipped = |object| known(object, "skipped", None);
        check(
            vec![skipped("companies"), skipped("tasks"), skipped("nps")],
            Shown::Stale,
            "the token may not read any object; 3 skipped: the token may not read companies, tasks and nps",
        );
    }

    #[test]
    fn objects_removed_from_the_settings_are_not_shown() {
        let objects = vec![known("companies", "succeeded", Some(1)), known("nps", "failed", Some(900))];
        let quarantine = [("nps".to_owned(), 3), ("companies".to_owned(), 2)].into();
        let overview = WorkspaceOverview { latest_run: Some(run()), objects, quarantine, ..WorkspaceOverview::default() };

        let status = Status::of(&["companies"], overview, now(), Duration::from_secs(26 * 3600));

        assert!(status.fresh);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["objects"].as_array().unwrap().len(), 1);
        assert_eq!((&json["objects"][0]["object"], &json["objects"][0]["state"]), (&"companies".into(), &"fresh".into()));
        assert_eq!(json["quarantine"], serde_json::json!({"companies": 2}));
    }

    #[test]
    fn how_often_all_records_are_compared_is_said_with_what_it_costs() {
        let objects = |calls: &[Option<i64>]| -> Vec<ObjectLine> {
            let line = |calls: &Option<i64>| ObjectLine {
                object: "companies",
                state: FreshnessState::Fresh,
                known: Some(ObjectState { full_scan_calls: *calls, ..known("companies", "succeeded", Some(1)) }),
            };
            calls.iter().map(line).collect()
        };
        let said = |calls: &[Option<i64>], quota| {
            Comparison::of(ReconcileEvery::AsTheQuotaAllows, quota, &objects(calls)).map(|comparison| comparison.line(quota))
        };
        let auto = "(sync.reconcile_every = \"auto\")";
        for (calls, quota, expected) in [
            (
                &[Some(80), Some(5), None][..],
                200,
                format!("all records are compared every day {auto}: 85 calls, 0.5 minutes of the quota"),
            ),
            (
                &[Some(10_810)],
                200,
                format!("all records are compared every 6 days {auto}: 10810 calls, 54.1 minutes of the quota"),
            ),
            (&[Some(10_810)], 0, format!("all records are compared every day {auto}: 10810 calls")),
            (&[None], 200, format!("all records are compared every day {auto}: what it costs is not known yet")),
        ] {
            assert_eq!(said(calls, quota), Some(expected));
        }
        assert_eq!(Comparison::of(ReconcileEvery::Fixed(Duration::ZERO), 200, &objects(&[Some(1)])), None);
    }

    #[test]
    fn durations_are_written_as_people_say_them() {
        let check = |seconds, expected: &str| assert_eq!(duration(Duration::from_secs(seconds)), expected);
        check(26 * 3600, "26h");
        check(90 * 60, "1h 30min");
        check(210, "3min 30s");
        check(24 * 3600, "24h");
        check(7 * 86_400, "7 days");
        assert_eq!(duration(Duration::from_millis(500)), "500ms");
    }
}
