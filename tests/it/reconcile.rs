//! Full scans: every record compared, deleted records marked, restored records unmarked.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use planhat_model::catalog;
use planhat_model::scan::ReconcileEvery;
use planhat_simulator::{ScriptedAnswer, Workspace};
use planhat_store::ObjectStatus;
use planhat_sync::pull::{HistoryFrom, Mode};
use planhat_sync::run::Summary;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{TestSync, day, written};
use crate::waiting::{in_time, within};

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"_id": format!("{number:05}")})).collect()
}

async fn loaded(object: &str, records: Vec<Value>) -> TestSync {
    let sync = TestSync::new(Workspace::empty().with(object, records)).await;
    sync.sync_one(object).await;
    sync.simulator.forget_requests();
    sync
}

const DELETED: &str =
    "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.projects where _deleted_at is not null";

/// Ids that were asked for one by one.
fn asked_for(sync: &TestSync, object: &str) -> Vec<String> {
    let prefix = format!("/{object}/");
    sync.simulator.requests().iter().filter_map(|request| Some(request.path.strip_prefix(&prefix)?.to_owned())).collect()
}

#[tokio::test]
async fn a_record_deleted_at_planhat_is_marked_and_its_row_kept() {
    let sync = loaded("projects", numbered(250)).await;
    assert!(sync.simulator.delete("projects", "00007") && sync.simulator.delete("projects", "00249"));

    let daily = sync.sync_one("projects").await;
    assert_eq!((daily.run.figures.deleted, sync.one(DELETED).await.as_str()), (0, ""));
    let full = sync.full_sync_one("projects").await;

    assert_eq!((full.run.figures.deleted, full.run.figures.unchanged), (2, 248));
    assert_eq!(sync.one(DELETED).await, "00007 00249");
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "250");
    assert_eq!(sync.one("select deleted::text from planhat_sync.object_runs order by run_id desc limit 1").await, "2");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.listed_ids").await, "0");
}

#[tokio::test]
async fn a_row_marked_as_deleted_stays_marked_and_is_not_requested_again() {
    let sync = loaded("projects", numbered(20)).await;
    sync.simulator.delete("projects", "00007");
    sync.full_sync_one("projects").await;
    let marked = "select _deleted_at::text from planhat.projects where planhat__id = '00007'";
    let before = sync.one(marked).await;
    sync.simulator.forget_requests();

    assert_eq!(sync.full_sync_one("projects").await.run.figures.deleted, 0);
    assert_eq!(sync.one(marked).await, before);
    assert!(asked_for(&sync, "projects").is_empty());
}

#[tokio::test]
async fn a_record_restored_from_the_trash_is_restored_however_old_it_is() {
    for object in ["tasks", "projects", "companies"] {
        let old = json!({"_id": "old", "updatedAt": written(day(-900)), "lastTouch": written(day(-900))});
        let new = json!({"_id": "new", "updatedAt": written(day(-1)), "lastTouch": written(day(-1))});
        let sync = loaded(object, vec![old.clone(), new]).await;
        sync.simulator.delete(object, "old");
        assert_eq!(sync.full_sync_one(object).await.run.figures.deleted, 1);
        sync.simulator.add(object, old);

        let back = sync.sync_one(object).await;

        assert_eq!((back.run.figures.restored, back.run.figures.updated), (1, 0), "{object}");
        sync.assert_equals_workspace(&[catalog::object(object).unwrap()]).await;
    }
}

#[tokio::test]
async fn a_record_missing_from_the_listing_but_found_by_id_is_not_marked_as_deleted() {
    let sync = loaded("projects", numbered(5)).await;
    let listed = ScriptedAnswer::json(200, json!([{"_id": "00000"}, {"_id": "00001"}, {"_id": "00002"}]));
    sync.simulator.answer_next("projects", vec![listed, ScriptedAnswer::json(200, json!([{"_id": "00002"}]))]);

    let full = sync.full_sync_one("projects").await;

    assert_eq!((full.run.figures.fetched, full.run.figures.deleted), (3, 0));
    assert_eq!(asked_for(&sync, "projects")[3..], ["00003", "00004"]);
}

#[tokio::test]
async fn an_archived_end_user_is_not_marked_as_deleted() {
    let contacts = (0..30).map(|number| json!({"_id": format!("{number:05}"), "archived": number % 3 == 0})).collect();
    let sync = loaded("endusers", contacts).await;
    sync.simulator.delete("endusers", "00003");

    assert_eq!(sync.full_sync_one("endusers").await.run.figures.deleted, 1);
    sync.assert_equals_workspace(&[catalog::object("endusers").unwrap()]).await;
}

#[tokio::test]
async fn deletions_beyond_the_guard_are_held_back_until_allow_deletes() {
    let mut sync = loaded("projects", numbered(400)).await;
    (0..150).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));

    let held = sync.full_sync_one("projects").await;
    assert_eq!((held.run.status, held.run.figures.deleted), (ObjectStatus::Succeeded, 0));
    assert!(held.warnings[0].contains("150 of 400 rows were not listed") && held.warnings[0].contains("--allow-deletes"));
    assert!(asked_for(&sync, "projects").is_empty());

    sync.limits.deletion_guard.enabled = false;
    assert_eq!(sync.full_sync_one("projects").await.run.figures.deleted, 150);
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

#[tokio::test]
async fn more_rows_than_the_limit_are_marked_if_they_are_a_small_share_of_their_table() {
    let sync = loaded("projects", numbered(1000)).await;
    (0..120).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));
    assert_eq!(sync.full_sync_one("projects").await.run.figures.deleted, 120);
}

#[tokio::test]
async fn the_deletion_guard_holds_back_half_of_a_small_table() {
    let mut sync = loaded("projects", numbered(10)).await;
    (0..5).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));

    let held = sync.full_sync_one("projects").await;

    assert_eq!(held.run.figures.deleted, 0);
    assert!(held.warnings[0].contains("5 of 10 rows were not listed, half of the table or more"), "{:?}", held.warnings);
    sync.limits.deletion_guard.enabled = false;
    assert_eq!(sync.full_sync_one("projects").await.run.figures.deleted, 5);
}

#[tokio::test]
async fn a_run_over_any_number_of_tables_marks_no_more_rows_than_the_settings_allow() {
    let names = ["companies", "endusers", "projects", "licenses", "churn", "issues"];
    let workspace = names.iter().fold(Workspace::empty(), |workspace, object| workspace.with(object, numbered(60)));
    let mut sync = TestSync::new(workspace).await;
    let objects = names.map(|name| catalog::object(name).unwrap());
    sync.run(Mode::Incremental, &objects).await;
    for object in names {
        (0..25).for_each(|number| assert!(sync.simulator.delete(object, &format!("{number:05}"))));
    }

    let held = sync.run(Mode::Full, &objects).await;

    let deleted = |summary: &Summary| summary.objects.iter().map(|object| object.run.figures.deleted).sum::<i64>();
    assert_eq!(deleted(&held), 100, "of 150");
    let warnings: Vec<_> = held.objects.iter().flat_map(|object| &object.warnings).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let why =
        "25 of 60 rows were not listed, which makes 125 of 360 in all tables of this run, more than deletions.max_rows (100)";
    assert!(warnings.iter().all(|warning| warning.contains(why)), "{warnings:?}");

    sync.limits.deletion_guard.enabled = false;
    assert_eq!(deleted(&sync.run(Mode::Full, &objects).await), 50);
    sync.assert_equals_workspace(&objects).await;
}

#[tokio::test]
async fn a_server_that_answers_404_to_every_id_deletes_nothing() {
    let sync = loaded("projects", numbered(50)).await;
    sync.simulator.delete("projects", "00007");
    for listed in ["projects/00049", "projects/00048", "projects/00000", "projects/00001", "projects/00002"] {
        sync.simulator.answer_next(listed, vec![ScriptedAnswer::status(404); 9]);
    }

    let full = sync.full_sync_one("projects").await;

    assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Succeeded, 0));
    assert!(full.warnings[0].contains("Planhat answers 404 by id even for records that it lists"), "{:?}", full.warnings);
}

#[tokio::test]
async fn a_row_whose_id_gets_no_answer_is_not_marked_as_deleted() {
    for status in [500, 403, 400] {
        let sync = loaded("projects", numbered(50)).await;
        (7..10).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));
        sync.simulator.answer_next("projects/00007", vec![ScriptedAnswer::status(status); 4]);

        let full = sync.full_sync_one("projects").await;

        assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Succeeded, 2), "{status}");
        assert!(full.warnings[0].contains("1 requests by id got no answer"), "{:?}", full.warnings);
        assert!(full.run.watermark.is_some());
    }
}

#[tokio::test]
async fn a_token_that_is_refused_while_records_are_requested_by_id_fails_the_object() {
    let sync = loaded("projects", numbered(50)).await;
    sync.simulator.delete("projects", "00007");
    sync.simulator.answer_next("projects/00007", vec![ScriptedAnswer::status(401)]);

    let full = sync.full_sync_one("projects").await;

    assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Failed, 0), "{:?}", full.warnings);
}

#[tokio::test]
async fn a_row_that_postgresql_refuses_to_mark_is_left_as_it_is_and_no_id_is_requested_twice() {
    let sync = loaded("projects", numbered(50)).await;
    let refusal = "create function public.refuse() returns trigger language plpgsql as
            $$ begin if new._deleted_at is not null and new.planhat__id = '00008' then raise exception 'no'; end if; return new; end $$;
        create trigger refuse before update on planhat.projects for each row execute function public.refuse()";
    sqlx::raw_sql(refusal).execute(sync.store.pool()).await.unwrap();
    (7..12).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));

    let full = sync.full_sync_one("projects").await;

    assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Succeeded, 4));
    assert!(full.warnings[0].contains("1 requests by id got no answer"), "{:?}", full.warnings);
    assert_eq!(sync.one(DELETED).await, "00007 00009 00010 00011");
    let mut asked = asked_for(&sync, "projects");
    asked.sort();
    let times = asked.len();
    asked.dedup();
    assert_eq!(asked.len(), times, "an id was requested twice");
}

#[tokio::test]
async fn few_requests_by_id_are_sent_if_most_unlisted_records_still_exist() {
    let mut sync = loaded("projects", numbered(3000)).await;
    sync.limits.deletion_guard.enabled = false;
    let shown = ScriptedAnswer::json(200, Value::Array(numbered(60)));
    sync.simulator.answer_next("projects", vec![shown, ScriptedAnswer::json(200, json!([{"_id": "00059"}]))]);

    let full = sync.full_sync_one("projects").await;

    assert_eq!(full.run.figures.deleted, 0);
    assert!(full.warnings[0].contains("200 of 200 records that were not listed still exist at Planhat"), "{:?}", full.warnings);
    assert_eq!(asked_for(&sync, "projects").len(), 203);
}

#[tokio::test]
async fn a_full_scan_that_fails_at_a_page_is_followed_by_an_incremental_scan() {
    let old = written(day(-100));
    let companies = (0..300).map(|number| json!({"_id": format!("{number:05}"), "updatedAt": old, "lastTouch": old})).collect();
    let sync = loaded("companies", companies).await;
    let later = TestSync { now: day(8), ..sync };
    later.simulator.edit("companies", "00299", day(7), |company| _ = company.insert("name".into(), json!("edited")));
    later.simulator.answer_next("companies", vec![ScriptedAnswer::status(500); 4]);

    let run = later.sync_one("companies").await;

    assert_eq!((run.run.status, run.run.figures.updated), (ObjectStatus::Failed, 1));
    assert!(run.run.watermark.is_some());
    later.assert_equals_workspace(&[catalog::object("companies").unwrap()]).await;
}

#[tokio::test]
async fn a_record_read_by_a_failed_full_scan_and_the_following_incremental_scan_is_counted_once() {
    let old = written(day(-100));
    let companies: Vec<_> =
        (0..300).map(|number| json!({"_id": format!("{number:05}"), "updatedAt": old, "lastTouch": old})).collect();
    let sync = loaded("companies", companies.clone()).await;
    let later = TestSync { now: day(8), ..sync };
    let first = ScriptedAnswer::json(200, Value::Array(companies[..100].to_vec()));
    later.simulator.answer_next("companies", [vec![first], vec![ScriptedAnswer::status(500); 4]].concat());

    let run = later.sync_one("companies").await;

    let figures = run.run.figures;
    assert_eq!((run.run.status, figures.fetched, figures.listed_again), (ObjectStatus::Failed, 300, 100));
}

#[tokio::test]
async fn a_full_scan_ends_an_unfinished_history_scan_that_it_covers() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(300))).await;
    let whole = ScriptedAnswer::json(200, Value::Array(numbered(100)));
    sync.simulator.answer_next("projects", [vec![whole], vec![ScriptedAnswer::status(500); 4]].concat());
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Failed);
    let later = TestSync { now: day(3), ..sync };

    assert_eq!(later.full_sync_one("projects").await.run.status, ObjectStatus::Succeeded);

    assert_eq!(later.one("select count(*)::text from planhat_sync.scans").await, "0");
}

#[tokio::test]
async fn a_token_that_may_not_request_by_id_detects_no_deletions_and_warns() {
    let sync = loaded("projects", numbered(50)).await;
    sync.simulator.delete("projects", "00007");
    for listed in 0..50 {
        sync.simulator.answer_next(&format!("projects/{listed:05}"), vec![ScriptedAnswer::status(403); 9]);
    }

    let full = sync.full_sync_one("projects").await;

    assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Succeeded, 0));
    assert!(full.warnings[0].contains("Planhat answers 404 by id even for records that it lists"), "{:?}", full.warnings);
    assert!(full.run.watermark.is_some());
}

#[tokio::test]
async fn an_empty_listing_deletes_nothing_and_does_not_move_the_watermark() {
    let sync = loaded("projects", numbered(30)).await;
    let before = sync.one("select watermark::text from planhat_sync.cursors").await;
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::json(200, json!([])); 2]);
    let later = TestSync { now: day(1), ..sync };

    let full = later.full_sync_one("projects").await;

    assert_eq!(full.run.figures.deleted, 0);
    assert_eq!(full.run.status, ObjectStatus::Failed);
    assert!(full.run.reason.unwrap().contains("Planhat lists no projects"));
    assert!(full.run.hint.unwrap().contains("`planhat-sync sync --full --allow-deletes projects` marks them"));
    assert_eq!(later.one("select watermark::text from planhat_sync.cursors").await, before);
}

#[tokio::test]
async fn a_resumed_full_scan_that_listed_nothing_does_not_move_the_watermark() {
    let sync = loaded("projects", numbered(30)).await;
    let before = sync.one("select cursors::text from planhat_sync.cursors").await;
    // As it is left where the process is killed while it counts what was not listed.
    let left =
        "insert into planhat_sync.scans (workspace, object, scan, started_at, since, listing, \"offset\", checkpoint_number)
        values ('planhat', 'projects', 'full', $1, '2000-01-01', 'deletions', 0, 1)";
    sqlx::query(left).bind(day(1)).execute(sync.store.pool()).await.unwrap();
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::json(200, json!([]))]);
    let later = TestSync { now: day(1), ..sync };

    let full = later.full_sync_one("projects").await;

    assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Failed, 0));
    assert_eq!(later.one("select cursors::text from planhat_sync.cursors").await, before);
}

#[tokio::test]
async fn an_emptied_object_is_marked_as_deleted_only_with_allow_deletes() {
    let mut sync = loaded("projects", numbered(3)).await;
    (0..3).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));

    let held = sync.full_sync_one("projects").await;
    assert_eq!((held.run.status, held.run.figures.deleted), (ObjectStatus::Failed, 0));
    assert!(held.warnings[0].contains("no record is listed to test requests by id with"), "{:?}", held.warnings);

    sync.limits.deletion_guard.enabled = false;
    let marked = sync.full_sync_one("projects").await;
    assert_eq!((marked.run.status, marked.run.figures.deleted), (ObjectStatus::Succeeded, 3));
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
}

#[tokio::test]
async fn a_full_scan_refreshes_values_computed_by_planhat() {
    let old = written(day(-100));
    let mut records: Vec<_> =
        (0..300).map(|number| json!({"_id": format!("{number:05}"), "updatedAt": old, "lastTouch": old})).collect();
    records.push(json!({"_id": "new", "updatedAt": written(day(-1)), "lastTouch": written(day(-1))}));
    let sync = loaded("companies", records).await;
    sync.simulator.on_request(|source, _| {
        source.change("companies", "00003", |company| _ = company.insert("h".into(), json!(7)));
    });

    assert_eq!(sync.sync_one("companies").await.run.figures.updated, 0);
    assert_eq!(sync.full_sync_one("companies").await.run.figures.updated, 1);
    sync.assert_equals_workspace(&[catalog::object("companies").unwrap()]).await;
}

#[tokio::test]
async fn a_full_scan_updates_stored_rows_older_than_the_history() {
    let records = (0..300).map(|number| json!({"_id": format!("{number:05}"), "updatedAt": written(day(-3000))})).collect();
    let sync = loaded("tasks", records).await;
    assert_eq!(sync.one("select count(*)::text from planhat.tasks").await, "0");
    sync.backfill_one("tasks", HistoryFrom::Earliest).await;
    sync.simulator
        .on_request(|source, _| _ = source.change("tasks", "00003", |task| _ = task.insert("action".into(), json!("x"))));

    let full = sync.full_sync_one("tasks").await;

    assert_eq!((full.run.figures.updated, full.run.figures.unchanged, full.run.figures.outside_history), (1, 299, 0));
}

#[tokio::test]
async fn a_sync_becomes_a_full_scan_only_after_reconcile_every() {
    let scans = "select string_agg(scan, ' ' order by run_id) from planhat_sync.object_runs";
    let mut sync = loaded("tasks", vec![json!({"_id": "a", "updatedAt": written(day(-9))})]).await;
    for days in [1, 6, 7, 8, 14] {
        sync.now = day(days);
        sync.sync_one("tasks").await;
    }
    assert_eq!(sync.one(scans).await, "history incremental incremental full incremental full");

    sync.limits.reconcile_every = ReconcileEvery::Fixed(std::time::Duration::ZERO);
    sync.now = day(100);
    sync.sync_one("tasks").await;
    assert_eq!(sync.one(scans).await, "history incremental incremental full incremental full incremental");
}

#[tokio::test]
async fn an_interrupted_full_scan_resumes_with_the_ids_it_has_listed() {
    let sync = loaded("projects", numbered(5000)).await;
    sync.simulator.delete("projects", "00100");
    sync.simulator.delete("projects", "04999");
    let whole =
        |from: usize| ScriptedAnswer::json(200, Value::Array(sync.simulator.records("projects")[from..from + 100].to_vec()));
    // So few that they are asked for one after the other.
    let pages: Vec<_> = (0..3).map(|page| whole(page * 99)).collect();
    sync.simulator.answer_next("projects", [pages, vec![ScriptedAnswer::status(500); 4]].concat());

    assert_eq!(sync.full_sync_one("projects").await.run.status, ObjectStatus::Failed);
    sync.simulator.forget_requests();
    let resumed = sync.sync_one("projects").await;

    assert_eq!((resumed.run.status, resumed.run.figures.deleted), (ObjectStatus::Succeeded, 2));
    let first = sync.simulator.requests().into_iter().find(|request| request.path == "/projects").unwrap();
    assert_eq!(first.query["offset"], "297");
    assert_eq!(asked_for(&sync, "projects").len(), 2 + 3, "the two that are gone, and three to try");
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

#[tokio::test]
async fn an_unfinished_full_scan_that_is_days_old_starts_again() {
    let sync = loaded("projects", numbered(300)).await;
    let whole = ScriptedAnswer::json(200, Value::Array(numbered(100)));
    sync.simulator.answer_next("projects", [vec![whole], vec![ScriptedAnswer::status(500); 4]].concat());
    assert_eq!(sync.full_sync_one("projects").await.run.status, ObjectStatus::Failed);
    sync.simulator.forget_requests();
    let later = TestSync { now: day(2), ..sync };

    later.full_sync_one("projects").await;

    assert_eq!(later.simulator.requests().iter().find(|request| request.path == "/projects").unwrap().query["offset"], "0");
}

#[tokio::test]
async fn a_run_can_be_stopped_while_it_probes_requests_by_id() {
    let sync = loaded("projects", numbered(30)).await;
    sync.simulator.delete("projects", "00003");
    for id in sync.simulator.ids("projects") {
        let busy = ScriptedAnswer::status(429).with_header("retry-after", "60");
        sync.simulator.answer_next(&format!("projects/{id}"), vec![busy; 9]);
    }
    let asked = Arc::new(Notify::new());
    let hook = Arc::clone(&asked);
    sync.simulator.on_request(move |_, path| {
        if path.starts_with("projects/") {
            hook.notify_one();
        }
    });
    let stop = async {
        in_time("the first request by id", asked.notified()).await;
        sync.stop.cancel();
    };

    let both = async { tokio::join!(sync.full_sync_one("projects"), stop) };
    // Less than the minute that the server asks for.
    let (full, ()) = within(Duration::from_secs(45), "the end of the run", both).await;

    assert_eq!(full.run.status, ObjectStatus::Interrupted);
}

#[tokio::test]
async fn a_run_that_requests_many_ids_is_not_stuck() {
    let mut sync = loaded("projects", numbered(900)).await;
    sync.limits.deletion_guard.max_rows = 1000;
    (0..400).for_each(|number| assert!(sync.simulator.delete("projects", &format!("{number:05}"))));
    let moved = Arc::new(Mutex::new((Instant::now(), 0)));
    let projects = [catalog::object("projects").unwrap()];
    let request = sync.request(Mode::Full, &projects);
    let (progress, hook) = (Arc::clone(&request.progress), Arc::clone(&moved));
    sync.simulator.on_request(move |_, path| {
        let (last, times) = &mut *hook.lock().unwrap();
        // When something moved last, as the watchdog sees it.
        let moved_at = Instant::now() - progress.idle_for();
        if path.starts_with("projects/") && moved_at > *last + Duration::from_micros(100) {
            (*last, *times) = (moved_at, *times + 1);
        }
    });

    let summary = sync.run_of(&sync.client(), &request).await.unwrap();

    assert_eq!(summary.objects[0].run.figures.deleted, 400);
    let (_, times) = *moved.lock().unwrap();
    assert!(times >= 9, "it moved {times} times while ids were asked for");
}
