//! Runs: one at a time, resumable, on record.

use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::scan::{ReconcileEvery, SortedObjects};
use planhat_simulator::{ScriptedAnswer, Workspace};
use planhat_store::{self as store, ObjectStatus, RunStatus};
use planhat_sync::pull::{BackfillRange, HistoryFrom, Mode};
use planhat_sync::run::{self, ObjectSummary, RunRequest};
use serde_json::{Value, json};

use crate::harness::{TestSync, at, checkpoint_of, day, lease_for, written};
use crate::waiting::eventually;

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"_id": format!("{number:05}")})).collect()
}

/// A process on another machine.
fn elsewhere() -> store::ProcessIdentity {
    store::ProcessIdentity { name: "process 1 on elsewhere".into(), process: "another-boot pid:[1] 1 1".into() }
}

#[tokio::test]
async fn an_interrupted_load_resumes_where_it_stopped() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(1000))).await;
    let whole = ScriptedAnswer::json(200, Value::Array(numbered(100)));
    sync.simulator.answer_next("projects", [vec![whole], vec![ScriptedAnswer::status(500); 4]].concat());

    let first = sync.sync_one("projects").await;
    sync.simulator.forget_requests();
    let second = sync.sync_one("projects").await;

    assert_eq!((first.run.status, first.run.figures.inserted), (ObjectStatus::Failed, 100));
    assert_eq!((second.run.status, second.run.figures.inserted), (ObjectStatus::Succeeded, 900));
    let resumed = sync.simulator.requests().into_iter().find(|request| request.path == "/projects").unwrap();
    assert_eq!(resumed.query["offset"], "99");
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
}

#[tokio::test]
async fn the_next_run_completes_the_load_of_an_interrupted_run() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.stop.cancel();
    let stopped = sync.sync().await;
    assert_eq!(stopped.status, RunStatus::Interrupted);
    assert_eq!(sync.one("select status from planhat_sync.runs").await, "interrupted");

    let again = TestSync { stop: tokio_util::sync::CancellationToken::new(), ..sync };
    assert_eq!(again.sync().await.status, RunStatus::Succeeded);
    again.assert_equals_workspace(&catalog::default_objects()).await;
}

/// A backfill, and a sync that preempts it at its third page.
async fn both_succeed(sync: &TestSync, backfill: RunRequest<'_>, daily: RunRequest<'_>) {
    let held = sync.hold_at_page(3, backfill.objects[0].name);
    let client = sync.client();
    let (backfill, daily, ()) = tokio::join!(
        sync.run_of(&client, &backfill),
        async {
            held.reached().await;
            sync.run_of(&client, &daily).await
        },
        held.until_preempted(sync),
    );
    assert_eq!((daily.unwrap().status, backfill.unwrap().status), (RunStatus::Succeeded, RunStatus::Succeeded));
}

#[tokio::test]
async fn a_backfill_pauses_for_a_sync_and_then_continues() {
    let workspace = Workspace::empty().with("projects", numbered(600)).with("companies", numbered(5));
    let mut sync = TestSync::new(workspace).await;
    sync.limits.pages.size = RowsPerPage::Fixed(2);
    let (projects, companies) = ([catalog::object("projects").unwrap()], [catalog::object("companies").unwrap()]);
    let everything = Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: None });
    let backfill = RunRequest { command: "backfill", ..sync.request(everything, &projects) };
    let daily = RunRequest { command: "sync", ..sync.request(Mode::Incremental, &companies) };

    both_succeed(&sync, backfill, daily).await;

    let request = "select string_agg(command || ' ' || status, ', ' order by finished_at) from planhat_sync.runs";
    assert_eq!(sync.one(request).await, "sync succeeded, backfill succeeded");
    assert_eq!(sync.one("select inserted::text from planhat_sync.object_runs where object = 'projects'").await, "600");
    // But for pages that were on their way, when it made way and at the end.
    assert!(sync.calls_of("projects") <= 620, "it went on where it was");
    sync.assert_equals_workspace(&[projects[0], companies[0]]).await;
}

#[tokio::test]
async fn a_paused_backfill_that_a_sync_completed_is_not_repeated() {
    let mut sync = TestSync::new(Workspace::empty().with("projects", numbered(600))).await;
    sync.limits.pages.size = RowsPerPage::Fixed(2);
    let projects = [catalog::object("projects").unwrap()];
    let backfill = RunRequest {
        command: "backfill",
        ..sync.request(Mode::Backfill(BackfillRange { from: HistoryFrom::Default, until: None }), &projects)
    };
    let daily = sync.request(Mode::Incremental, &projects);

    both_succeed(&sync, backfill, daily).await;

    assert_eq!(sync.one("select sum(inserted)::text from planhat_sync.object_runs").await, "600");
    sync.assert_equals_workspace(&projects).await;
}

#[tokio::test]
async fn a_partial_backfill_is_completed_whatever_a_sync_loads_during_its_pause() {
    let mut records = dated(&[1, 2, 3]);
    records.extend((0..400).map(|number| json!({"_id": format!("old-{number:05}"), "updatedAt": written(day(-2000))})));
    let mut sync = TestSync::new(Workspace::empty().with("tasks", records)).await;
    sync.limits.pages.size = RowsPerPage::Fixed(3);
    let tasks = [catalog::object("tasks").unwrap()];
    let part = Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: Some(day(-1500)) });
    let backfill = RunRequest { command: "backfill", ..sync.request(part, &tasks) };
    let daily = sync.request(Mode::Incremental, &tasks);

    both_succeed(&sync, backfill, daily).await;

    assert_eq!(sync.one("select count(*)::text from planhat.tasks").await, "403");
    assert_eq!(sync.one("select string_agg(status, ' ') from planhat_sync.runs").await, "succeeded succeeded");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
}

#[tokio::test]
async fn a_load_resumes_even_if_its_overlap_record_was_deleted() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(2000))).await;
    // So few that they are asked for one after the other.
    let pages = (0..3).map(|page| ScriptedAnswer::json(200, Value::Array(numbered(2000)[page * 99..page * 99 + 100].to_vec())));
    sync.simulator.answer_next("projects", pages.chain(vec![ScriptedAnswer::status(500); 4]).collect());
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Failed);
    let overlap_id = sync.one("select overlap_id from planhat_sync.scans").await;
    assert!(sync.simulator.delete("projects", &overlap_id));
    sync.simulator.forget_requests();

    sync.sync_one("projects").await;

    let first = sync.simulator.requests().into_iter().find(|request| request.path == "/projects").unwrap();
    assert_eq!(first.query["offset"], "297");
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "2000");
}

#[tokio::test]
async fn a_dropped_column_is_recreated_and_filled_when_its_records_are_read() {
    let records =
        (0..5).map(|number| json!({"_id": format!("{number}"), "name": "Ann", "updatedAt": written(day(-100))})).collect();
    let sync = TestSync::new(Workspace::empty().with("projects", records)).await;
    sync.sync_one("projects").await;
    sqlx::raw_sql("alter table planhat.projects drop column planhat__name").execute(sync.store.pool()).await.unwrap();

    sync.sync_one("projects").await;

    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    assert_eq!(sync.one("select count(planhat__name)::text from planhat.projects").await, "5");
}

#[tokio::test]
async fn a_second_run_is_refused_with_the_holder_of_the_lease() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let mut tx = sync.store.pool().begin().await.unwrap();
    let taken = store::acquire_lease(&mut tx, lease_for(&elsewhere(), store::Takeover::IfStale)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(taken.is_ok());

    let objects = catalog::default_objects();
    let request = sync.request(Mode::Incremental, &objects);
    let refused = sync.run_of(&sync.client(), &request).await.unwrap_err();

    assert!(
        refused.to_string().starts_with("another run is in progress on this workspace: run 1 of process 1 on elsewhere"),
        "{refused}"
    );
    assert!(sync.simulator.requests().is_empty());
    assert_eq!(sync.one("select count(*)::text from planhat_sync.runs").await, "1");
}

#[tokio::test]
async fn a_lease_that_was_not_renewed_is_taken_over_and_its_run_marked_as_interrupted() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let mut tx = sync.store.pool().begin().await.unwrap();
    store::acquire_lease(&mut tx, lease_for(&elsewhere(), store::Takeover::IfStale)).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    sqlx::raw_sql("update planhat_sync.leases set renewed_at = now() - interval '10 minutes'")
        .execute(sync.store.pool())
        .await
        .unwrap();

    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);

    let statuses = "select string_agg(status, ', ' order by id) from planhat_sync.runs";
    assert_eq!(sync.one(statuses).await, "interrupted, succeeded");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.leases").await, "0");
}

#[tokio::test]
async fn the_counts_of_a_run_are_stored() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(150))).await;
    sync.sync_one("projects").await;
    let figures = "select concat_ws(' ', scan, status, fetched, inserted, updated, unchanged, outside_history, pages, calls) from planhat_sync.object_runs";
    assert_eq!(sync.one(figures).await, "history succeeded 150 150 0 0 0 2 3");
}

fn dated(ages: &[i64]) -> Vec<Value> {
    ages.iter().map(|age| json!({"_id": format!("{age:05}"), "updatedAt": written(day(-age))})).collect()
}

#[tokio::test]
async fn the_first_load_takes_four_years_and_records_without_dates() {
    let mut tasks = dated(&[1, 1000, 2000]);
    tasks.push(json!({"_id": "timeless"}));
    let sync = TestSync::new(Workspace::empty().with("tasks", tasks)).await;

    let summary = sync.sync_one("tasks").await;

    assert_eq!((summary.run.figures.inserted, summary.run.figures.outside_history), (3, 1));
    sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
}

#[tokio::test]
async fn a_backfill_adds_older_records_and_clears_no_value() {
    let sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1, 1000, 2000, 3000]))).await;
    sync.sync_one("tasks").await;
    let first_seen = sync.one("select min(_first_seen_at)::text from planhat.tasks").await;

    let since = sync.backfill_one("tasks", HistoryFrom::Since(day(-2500))).await;
    let all = sync.backfill_one("tasks", HistoryFrom::Earliest).await;

    assert_eq!((since.run.figures.inserted, since.run.figures.unchanged), (1, 2));
    assert_eq!((all.run.figures.inserted, all.run.figures.unchanged), (1, 3));
    assert_eq!(sync.one("select min(_first_seen_at)::text from planhat.tasks").await, first_seen);
}

#[tokio::test]
async fn old_runs_are_deleted_except_the_last_successful_one_of_each_object() {
    let mut sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1])).with("projects", numbered(2))).await;
    sync.sync_one("projects").await;
    for _ in 0..3 {
        sync.sync_one("tasks").await;
    }
    let aged = "update planhat_sync.runs set finished_at = finished_at - interval '200 days'";
    sqlx::raw_sql(aged).execute(sync.store.pool()).await.unwrap();
    sync.now = chrono::Utc::now();

    sync.sync_one("tasks").await;

    assert_eq!(sync.one("select string_agg(id::text, ' ' order by id) from planhat_sync.runs").await, "1 5");
    assert_eq!(sync.one("select count(*)::text from planhat.tasks").await, "1");
}

#[tokio::test]
async fn backfills_with_until_load_history_in_parts() {
    let sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1, 1000, 2000, 3000]))).await;

    let middle = sync.backfill_until("tasks", HistoryFrom::Since(day(-2500)), Some(day(-500))).await;
    let stored = "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.tasks";
    assert_eq!((sync.one(stored).await.as_str(), middle.run.watermark), ("01000 02000", None));
    let oldest = "select to_char(oldest at time zone 'utc', 'YYYY-MM-DD') from planhat_sync.object_runs";
    assert_eq!(sync.one(oldest).await, day(-2000).format("%Y-%m-%d").to_string());
    let early = sync.backfill_until("tasks", HistoryFrom::Earliest, Some(day(-2500))).await;
    assert_eq!((sync.one(stored).await.as_str(), early.run.watermark), ("01000 02000 03000", None));
    sync.sync_one("tasks").await;

    assert_eq!(sync.one(stored).await, "00001 01000 02000 03000");
}

#[tokio::test]
async fn a_partial_backfill_does_not_move_the_watermark_past_what_it_left_out() {
    let mut sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1, 40]))).await;
    sync.sync_one("tasks").await;
    // Nobody ran it for a month.
    sync.simulator.edit("tasks", "00040", day(5), |task| _ = task.insert("action".into(), json!("edited")));
    sync.simulator.edit("tasks", "00001", day(29), |task| _ = task.insert("action".into(), json!("edited")));
    sync.now = day(30);
    sync.limits.reconcile_every = ReconcileEvery::Fixed(std::time::Duration::ZERO);

    let part = sync.backfill_one("tasks", HistoryFrom::Since(day(20))).await;
    let until = sync.backfill_until("tasks", HistoryFrom::Default, Some(day(3))).await;
    let daily = sync.sync_one("tasks").await;

    assert_eq!((part.run.figures.updated, part.run.watermark, until.run.watermark), (1, None, None));
    assert_eq!(daily.run.figures.updated, 1);
    sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
}

#[tokio::test]
async fn a_local_clock_that_is_ahead_loses_no_change() {
    let meeting = json!({"_id": "a", "updatedAt": written(day(-9)), "lastTouch": written(day(20))});
    let sync = TestSync::new(Workspace::empty().with("companies", vec![meeting])).await;
    sync.simulator.set_clock(day(0));
    let companies = [catalog::object("companies").unwrap()];
    let ahead = RunRequest { now: day(30), ..sync.request(Mode::Incremental, &companies) };
    sync.run_of(&sync.client(), &ahead).await.unwrap();
    assert_eq!(
        sync.one("select to_char(watermark at time zone 'utc', 'YYYY-MM-DD') from planhat_sync.cursors").await,
        "2026-11-21"
    );
}

#[tokio::test]
async fn an_unexpectedly_empty_listing_does_not_move_the_watermark() {
    let mut sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1, 2]))).await;
    sync.sync_one("tasks").await;
    let before = sync.one("select watermark::text from planhat_sync.cursors").await;
    let nothing = || ScriptedAnswer::json(200, json!([]));
    sync.simulator.answer_next("tasks", vec![nothing(), nothing()]);
    sync.now = day(1);

    let empty = sync.sync_one("tasks").await;

    assert_eq!(empty.run.status, ObjectStatus::Failed);
    assert!(empty.run.reason.unwrap().contains("Planhat lists no tasks, but the table has rows from earlier runs"));
    assert_eq!(sync.one("select watermark::text from planhat_sync.cursors").await, before);
    // Nor is its success: it gets as old as it is.
    assert_eq!(sync.one("select concat_ws(' ', run_id, last_success_run_id) from planhat_sync.object_states").await, "2 1");
}

#[tokio::test]
async fn a_record_listed_twice_is_counted_once() {
    let enduser = |number: i64| {
        let age = if number < 28 { 2000 } else { 1 + number % 300 };
        json!({"_id": format!("{number:05}"), "updatedAt": written(day(-age))})
    };
    let mut sync = TestSync::new(Workspace::empty().with("endusers", (0..3000).map(enduser).collect())).await;
    // Pages that are not full look like a short listing, so that it is not found out that the second listing has all of the first.
    sync.simulator.clamp_limits(Some(99));
    let counts = |of: &ObjectSummary| {
        let of = of.run.figures;
        (of.fetched, of.inserted, of.unchanged, of.outside_history, of.listed_again)
    };

    let first = sync.sync_one("endusers").await;
    let again = sync.full_sync_one("endusers").await;
    sync.now = day(1);
    sync.limits.sorted = SortedObjects::Named(Vec::new());
    let daily = sync.sync_one("endusers").await;

    assert_eq!(counts(&first), (3000, 2972, 0, 28, 3000));
    assert_eq!(counts(&again), (3000, 0, 2972, 28, 3000));
    // What its times show to be unchanged is not outside of anything.
    assert_eq!(counts(&daily), (3000, 0, 2972, 28, 3000));
}

#[tokio::test]
async fn the_counts_of_a_run_add_up() {
    let mut sync = TestSync::new(Workspace::generated(5, 600)).await;
    let objects = catalog::default_objects();
    for (days, mode) in [(0, Mode::Incremental), (1, Mode::Incremental), (2, Mode::Full), (9, Mode::Incremental)] {
        sync.now = day(days);
        for summary in sync.run(mode, &objects).await.objects {
            let of = summary.run.figures;
            let sum = of.inserted + of.updated + of.restored + of.unchanged + of.outside_history + of.quarantined;
            assert_eq!(of.fetched, sum, "{} {of:?}", summary.run.object);
            let there = sync.simulator.records(summary.run.object).len();
            assert!(of.fetched as usize <= there, "{}: {of:?} of {there}", summary.run.object);
        }
    }
}

#[tokio::test]
async fn a_rejected_record_is_counted_once_and_reported_with_its_reason() {
    let mut endusers: Vec<Value> = (0..5).map(|number| json!({"_id": format!("{number}")})).collect();
    endusers.extend([json!({"_id": 7, "name": "Ann"}), json!({"_id": [8], "name": "Ben"})]);
    let sync = TestSync::new(Workspace::empty().with("endusers", endusers)).await;
    let objects = [catalog::object("endusers").unwrap()];

    let summary = sync.run(Mode::Incremental, &objects).await;

    let of = &summary.objects[0].run;
    assert_eq!((summary.status, of.status), (RunStatus::Partial, ObjectStatus::Partial));
    assert_eq!((of.figures.fetched, of.figures.inserted, of.figures.quarantined, of.figures.listed_again), (7, 5, 2, 7));
    assert_eq!(sync.one("select count(*)::text from planhat_sync.quarantine").await, "2");
    let reason = summary.why.reason.unwrap();
    assert!(
        reason.starts_with("2 records of endusers could not be stored and are in quarantine: 1 × _id is not a string but a"),
        "{reason}"
    );
    assert_eq!(sync.one("select reason from planhat_sync.runs").await, reason);
    assert_eq!(sync.one("select reason from planhat_sync.object_states").await, reason);
    assert_eq!(sync.one("select hint from planhat_sync.runs").await, "`planhat-sync quarantine` shows why");
    // It is as good as any other run: nothing is missing for long.
    assert_eq!(sync.one("select (last_success_at is not null)::text from planhat_sync.object_states").await, "true");
}

#[tokio::test]
async fn a_run_whose_result_cannot_be_recorded_is_reported_as_such() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(3))).await;
    let refuse = "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
                  create trigger refuse before update on planhat_sync.runs for each row when (new.status <> 'running')
                  execute function refuse()";
    sqlx::raw_sql(refuse).execute(sync.store.pool()).await.unwrap();
    let objects = [catalog::object("projects").unwrap()];

    let error = sync.run_of(&sync.client(), &sync.request(Mode::Incremental, &objects)).await.unwrap_err();

    assert_eq!(error.to_string(), "run 1 is done (succeeded), but its result could not be recorded");
    assert_eq!(error.headline(), "the run is done, but its result could not be recorded");
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "3");
}

#[tokio::test]
async fn a_column_with_type_mismatches_is_reported_as_new_once() {
    let company = |number: usize, seats: Value| json!({"_id": format!("{number:03}"), "custom": {"Seats": seats}});
    let records = (0..150).map(|number| company(number, json!(number))).collect();
    let mut sync = TestSync::new(Workspace::empty().with("companies", records)).await;
    let news = |summary: ObjectSummary| summary.new_misfits.into_keys().collect::<Vec<_>>();
    let noted =
        "select string_agg(column_name || ' ' || misfits_type, ', ') from planhat_sync.columns where misfits_since is not null";
    assert!(news(sync.full_sync_one("companies").await).is_empty());

    let seats = |value: Value| {
        move |company: &mut serde_json::Map<String, Value>| _ = company.insert("custom".into(), json!({"Seats": value}))
    };
    sync.simulator.edit("companies", "149", day(0), seats(json!("n/a")));
    assert_eq!(news(sync.full_sync_one("companies").await), ["planhat__seats__custom"]);
    assert_eq!(sync.one(noted).await, "planhat__seats__custom text");
    assert!(news(sync.full_sync_one("companies").await).is_empty());

    // A day on which it is not read says nothing of it; a comparison of everything does.
    sync.now = day(2);
    sync.simulator.edit("companies", "149", day(2), seats(json!(3)));
    sync.sync_one("companies").await;
    assert_eq!(sync.one(noted).await, "planhat__seats__custom text");
    sync.full_sync_one("companies").await;
    assert_eq!(sync.one(noted).await, "");
}

#[tokio::test]
async fn a_sync_without_changes_writes_only_run_history_and_cursors() {
    let mut sync = TestSync::new(Workspace::generated(11, 2000)).await;
    sync.sync().await;
    let written = "select sum(n_tup_ins + n_tup_upd + n_tup_del)::text from pg_stat_user_tables
                   where schemaname = 'planhat' or relname in ('scans', 'seen', 'columns', 'quarantine')";
    // What a connection has counted is shown to others when it closes, at the latest.
    sync.reconnect().await;
    let before = sync.one(written).await;
    sync.now = day(1);
    sync.simulator.forget_requests();

    let idle = sync.sync().await;

    sync.reconnect().await;
    assert_eq!(sync.one(written).await, before);
    for object in &idle.objects {
        let sweeps = sync.simulator.requests().into_iter().filter(|request| {
            request.path == format!("/{}", object.run.object)
                && request.query["sort"].starts_with('-')
                && request.query["offset"] != "0"
        });
        assert!(sweeps.count() <= 4, "a second page for each of two sweeps over two listings: {}", object.run.object);
    }
}

#[tokio::test]
async fn an_incremental_scan_filters_locally_and_includes_the_lookback() {
    let mut sync = TestSync::new(Workspace::empty().with("tasks", dated(&[0, 2, 5, 9]))).await;
    sync.sync_one("tasks").await;
    sync.now = day(1);

    let summary = sync.sync_one("tasks").await;

    assert_eq!((summary.run.figures.unchanged, summary.run.figures.outside_history), (4, 0));
}

#[tokio::test]
async fn the_watermark_is_the_newest_change_and_never_after_the_start_of_the_run() {
    let watermark = "select to_char(watermark at time zone 'utc', 'YYYY-MM-DD HH24:MI') from planhat_sync.cursors";
    let mut sync = TestSync::new(Workspace::empty().with("tasks", dated(&[3]))).await;
    sync.sync_one("tasks").await;
    assert_eq!(sync.one(watermark).await, "2026-11-18 12:00");

    // A clock at Planhat that is ahead of ours.
    sync.simulator.add("tasks", json!({"_id": "ahead", "updatedAt": written(day(5))}));
    sync.sync_one("tasks").await;
    assert_eq!(sync.one(watermark).await, "2026-11-21 12:00");

    // It does not move back.
    sync.now = at("2026-01-01T00:00:00Z");
    sync.sync_one("tasks").await;
    assert_eq!(sync.one(watermark).await, "2026-11-21 12:00");
}

#[tokio::test]
async fn a_first_load_that_listed_nothing_is_repeated() {
    let sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1, 300]))).await;
    sync.simulator.answer_next("tasks", vec![ScriptedAnswer::json(200, json!([])), ScriptedAnswer::json(200, json!([]))]);

    assert_eq!(sync.sync_one("tasks").await.run.watermark, None);
    sync.sync_one("tasks").await;

    sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
}

#[tokio::test]
async fn the_next_sync_loads_the_history_that_a_short_backfill_left_out() {
    let sync = TestSync::new(Workspace::empty().with("tasks", dated(&[1, 300, 900]))).await;

    let short = sync.backfill_one("tasks", HistoryFrom::Since(day(-30))).await;
    let rest = sync.sync_one("tasks").await;

    assert_eq!((short.run.figures.inserted, short.run.watermark), (1, None));
    assert!(short.warnings[0].contains("the next sync loads the rest"), "{:?}", short.warnings);
    assert_eq!(rest.run.figures.inserted, 2);
}

#[tokio::test]
async fn a_run_that_completes_an_earlier_scan_also_reads_the_changes_since() {
    let mut sync = TestSync::new(Workspace::empty().with("projects", numbered(300))).await;
    sync.sync_one("projects").await;
    let whole = ScriptedAnswer::json(200, Value::Array(numbered(100)));
    sync.simulator.answer_next("projects", [vec![whole], vec![ScriptedAnswer::status(500); 4]].concat());
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Failed);
    sync.simulator.edit("projects", "00005", day(1), |project| _ = project.insert("name".into(), json!("edited")));
    sync.now = day(1);

    assert_eq!(sync.sync_one("projects").await.run.figures.updated, 1);
}

#[tokio::test]
async fn a_run_that_lost_its_lease_saves_no_checkpoint() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let (tasks, scan) = (catalog::object("tasks").unwrap(), store::ScanProgress::starting(day(0), None, None));
    let mut tx = sync.store.pool().begin().await.unwrap();
    let run_id = store::acquire_lease(&mut tx, lease_for(&elsewhere(), store::Takeover::IfStale)).await.unwrap().unwrap();

    assert!(checkpoint_of(&sync, tasks, run_id).save_in(&mut tx, &scan, &[]).await.is_ok());
    let refused = checkpoint_of(&sync, tasks, run_id + 1).save_in(&mut tx, &scan, &[]).await.unwrap_err();

    assert!(matches!(refused, store::StoreError::LeaseLost { .. }), "{refused}");
}

#[tokio::test]
async fn several_processes_that_migrate_an_empty_database_at_once_all_succeed() {
    let url = crate::harness::fresh_database().await;
    let start = async |schema: &str| store::Store::connect(&url.as_str().into(), schema, 2).await.unwrap().migrate().await;
    let done = tokio::join!(start("planhat"), start("planhat"), start("planhat_other"), start("planhat"), start("planhat_other"));
    for one in [done.0, done.1, done.2, done.3, done.4] {
        one.unwrap();
    }
}

#[tokio::test]
async fn everything_works_with_a_single_connection_and_another_schema() {
    let store = store::Store::connect(&crate::harness::fresh_database().await.into(), "Customer data", 1).await.unwrap();
    let sync = TestSync::into(store, Workspace::from_fixtures(), planhat_simulator::Options::default()).await;
    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);
    assert_ne!(sync.one("select count(*)::text from \"Customer data\".companies").await, "0");
}

#[tokio::test]
async fn a_resumed_scan_that_lost_its_checkpoint_is_still_followed_by_an_incremental_scan() {
    let task = |number: i32| json!({"_id": format!("{number:05}"), "updatedAt": written(day(-1)), "name": "old"});
    let mut sync = TestSync::new(Workspace::empty().with("tasks", (0..1500).map(task).collect())).await;
    let (stop, mut calls) = (sync.stop.clone(), 0);
    sync.simulator.on_request(move |_, path| {
        calls += u32::from(path == "tasks");
        if calls == 4 {
            stop.cancel();
        }
    });
    assert_eq!(sync.sync_one("tasks").await.run.status, ObjectStatus::Interrupted);
    sync.simulator.clear_faults();
    (sync.stop, sync.now) = (tokio_util::sync::CancellationToken::new(), day(3));
    sync.simulator.edit("tasks", "00000", day(2), |task| _ = task.insert("name".into(), json!("new")));
    let (gate, hook) = (sync.simulator.gate(), sync.simulator.gate());
    sync.simulator.on_request(move |_, path| {
        calls += u32::from(path == "tasks");
        if calls == 8 {
            hook.close();
        }
    });
    let forget = async {
        let position = "select max(\"offset\")::text from planhat_sync.scans";
        eventually("the 7th page", async || sync.one(position).await.parse().unwrap_or(0) >= 600).await;
        sync.do_at_once(&[
            "update planhat_sync.scans set \"offset\" = 198, overlap_id = '00198', checkpoint_number = 0",
            "delete from planhat.tasks where planhat__id > '00250'",
        ])
        .await;
        gate.open();
    };

    let (summary, ()) = tokio::join!(sync.sync_one("tasks"), forget);

    assert_eq!(summary.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one("select planhat__name from planhat.tasks where planhat__id = '00000'").await, "new");
    assert_eq!(sync.one("select count(*)::text from planhat.tasks").await, "1500");
}

#[tokio::test]
async fn a_run_whose_process_has_exited_is_not_shown_as_running() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let begin =
        async |db: &mut store::PgConnection| store::acquire_lease(db, lease_for(&elsewhere(), store::Takeover::IfStale)).await;
    let run_id = sync.store.transaction_once(begin).await.unwrap().unwrap();
    let said =
        async || sync.store.read_only(async |db| store::run_of(db, "planhat", run_id).await).await.unwrap().unwrap().reason;
    assert_eq!(said().await, None);

    sync.do_at_once(&["update planhat_sync.leases set renewed_at = now() - interval '2 minutes'"]).await;

    assert!(said().await.unwrap().starts_with("it has not renewed its lease"));
}

/// The sort orders and offsets in which an object was listed.
fn listed(sync: &TestSync, object: &str) -> Vec<(String, String)> {
    let path = format!("/{object}");
    let requests = sync.simulator.requests();
    let of_object = requests.iter().filter(|request| request.path == path);
    of_object.map(|request| (request.query["sort"].clone(), request.query["offset"].clone())).collect()
}

async fn listed_by_a_dry_run(sync: &TestSync, object: &str) -> Vec<(String, String)> {
    sync.simulator.forget_requests();
    let objects = [catalog::object(object).unwrap()];
    run::preview(&sync.client(), &sync.store, &sync.request(Mode::Incremental, &objects), false, &sync.stop).await.unwrap();
    listed(sync, object)
}

#[tokio::test]
async fn a_dry_run_reads_what_the_sync_after_it_reads() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let mut readings = Vec::new();
    for _ in ["a load", "changes"] {
        let dry = listed_by_a_dry_run(&sync, "companies").await;
        sync.simulator.forget_requests();
        sync.sync_one("companies").await;
        assert_eq!(dry, listed(&sync, "companies"));
        readings.push(dry);
    }
    assert_ne!(readings[0], readings[1]);
}

#[tokio::test]
async fn a_dry_run_reads_from_the_beginning_where_a_scan_is_unfinished() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(200))).await;
    let whole = ScriptedAnswer::json(200, Value::Array(numbered(100)));
    sync.simulator.answer_next("projects", [vec![whole], vec![ScriptedAnswer::status(500); 4]].concat());
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Failed);

    assert_eq!(listed_by_a_dry_run(&sync, "projects").await[0].1, "0");
    sync.simulator.forget_requests();
    sync.sync_one("projects").await;
    assert_eq!(listed(&sync, "projects")[0].1, "99");
}
