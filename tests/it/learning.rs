//! What a scan learns of a workspace, how many calls that saves, and that nothing is missed when it is no longer true.

use planhat_model::capability::HiddenListing;
use planhat_model::catalog;
use planhat_model::scan::SortedObjects;
use planhat_simulator::{ScriptedAnswer, Sorts, Workspace};
use planhat_store::ObjectStatus;
use serde_json::{Value, json};

use crate::harness::{TestSync, day, written};

/// Records that were edited one a day, so that no order of ids is an order of edits.
fn edited_at_some_time(count: i64) -> Vec<Value> {
    let age = |number: i64| (number * 7919) % count;
    (0..count).map(|number| json!({"_id": format!("{number:05}"), "updatedAt": written(day(-1 - age(number)))})).collect()
}

async fn with_auto(workspace: Workspace) -> TestSync {
    let mut sync = TestSync::new(workspace).await;
    sync.limits.sorted = SortedObjects::Auto;
    sync
}

/// What is known of an object: capability, value, and whether it was disproved.
async fn known(sync: &TestSync) -> String {
    let known = "select string_agg(concat_ws(' ', object, capability, value,
        case when disproof is not null then '(' || disproof || ')' end), ', ' order by object, capability)
        from planhat_sync.capabilities";
    sync.one(known).await
}

#[tokio::test]
async fn after_a_scan_of_everything_an_object_is_swept_and_nothing_is_missed() {
    let mut sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(800))).await;
    sync.sync_one("opportunities").await;
    assert_eq!(known(&sync).await, "opportunities sort updatedAt");
    sync.simulator.edit("opportunities", "00700", day(1), |record| _ = record.insert("name".into(), json!("edited")));
    (sync.now, _) = (day(2), sync.simulator.forget_requests());

    let swept = sync.sync_one("opportunities").await;

    assert_eq!((swept.run.figures.updated, swept.warnings.len()), (1, 0));
    assert!(sync.calls_of("opportunities") <= 3, "it was read to its end");
    sync.assert_equals_workspace(&[catalog::object("opportunities").unwrap()]).await;
    let honoured = "select concat_ws(' ', detail ->> 'is_honoured', detail ->> 'newest', proof) from planhat_sync.capabilities";
    assert_eq!(
        sync.one(honoured).await,
        "true 2026-11-22T12:00:00Z sorted by -updatedAt, the listing began with the newest record"
    );
    sync.now = day(3);
    sync.sync_one("opportunities").await;
    assert!(sync.calls_of("opportunities") <= 3);
}

#[tokio::test]
async fn an_object_with_a_record_that_lacks_the_time_is_read_to_its_end() {
    let mut records = edited_at_some_time(800);
    records[3].as_object_mut().unwrap().remove("updatedAt");
    let mut sync = with_auto(Workspace::empty().with("opportunities", records)).await;
    sync.sync_one("opportunities").await;
    assert_eq!(known(&sync).await, "");
    sync.simulator.edit_source(|source| {
        assert!(source.change("opportunities", "00003", |record| _ = record.insert("name".into(), json!("changed"))));
    });
    (sync.now, _) = (day(1), sync.simulator.forget_requests());

    assert_eq!(sync.sync_one("opportunities").await.run.figures.updated, 1);

    assert!(sync.calls_of("opportunities") > 8);
}

#[tokio::test]
async fn a_server_that_ignores_the_sort_is_read_to_its_end_however_its_listing_looks() {
    // In the order of ids the newest is first, or all are of one time, or it is plainly in no order.
    let by_id = |time: fn(i64) -> i64| {
        (0..800).map(|number| json!({"_id": format!("{number:05}"), "updatedAt": written(day(-10 - time(number)))})).collect()
    };
    for records in [by_id(|number| number), by_id(|_| 1), edited_at_some_time(800)] {
        let mut sync = with_auto(Workspace::empty().with("opportunities", records)).await;
        sync.simulator.set_options(|options| options.honours_sort = false);
        sync.sync_one("opportunities").await;
        for edited in [1, 3, 5] {
            // The last one in the order of ids, which a sweep that stops early would miss.
            sync.simulator.edit("opportunities", "00799", day(edited), |record| _ = record.insert("name".into(), json!(edited)));
            sync.now = day(edited + 1);
            let summary = sync.sync_one("opportunities").await;
            assert_eq!((summary.run.status, summary.run.figures.updated), (ObjectStatus::Succeeded, 1), "{summary:?}");
            assert_eq!(summary.warnings, Vec::<String>::new(), "it never was honoured");
        }
        sync.assert_equals_workspace(&[catalog::object("opportunities").unwrap()]).await;
    }
}

#[tokio::test]
async fn a_sort_that_is_no_longer_honoured_is_noticed_in_any_scan_and_taken_back_with_a_warning() {
    let mut sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(800))).await;
    sync.sync_one("opportunities").await;
    (sync.now, _) = (day(1), sync.sync_one("opportunities").await);
    sync.simulator.set_options(|options| options.honours_sort = false);
    sync.simulator.edit("opportunities", "00799", day(2), |record| _ = record.insert("name".into(), json!("edited")));
    sync.now = day(3);

    let summary = sync.sync_one("opportunities").await;

    assert_eq!(summary.run.figures.updated, 1);
    insta::assert_debug_snapshot!(summary.warnings, @r#"
    [
        "/opportunities is no longer read newest first (sorted by -updatedAt: a newer record follows an older one): reading all of it",
    ]
    "#);
    let disproved = "opportunities sort updatedAt (sorted by -updatedAt: a newer record follows an older one)";
    assert_eq!(known(&sync).await, disproved);
    sync.assert_equals_workspace(&[catalog::object("opportunities").unwrap()]).await;
}

#[tokio::test]
async fn a_sort_that_is_no_longer_honoured_from_the_second_page_on_hides_nothing() {
    let mut sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(800))).await;
    sync.sync_one("opportunities").await;
    (sync.now, _) = (day(1), sync.sync_one("opportunities").await);
    sync.simulator.edit_source(|source| {
        for number in 0..300 {
            source.edit("opportunities", &format!("{:05}", number * 2), day(2), |record| {
                _ = record.insert("name".into(), json!("new"))
            });
        }
    });
    let mut calls = 0;
    sync.simulator.on_request(move |source, path| {
        calls += u32::from(path == "opportunities");
        if calls == 2 {
            source.set_options(|options| options.honours_sort = false);
        }
    });
    sync.now = day(3);

    let summary = sync.sync_one("opportunities").await;

    assert_eq!((summary.run.status, summary.run.figures.updated), (ObjectStatus::Succeeded, 300), "{summary:?}");
    sync.assert_equals_workspace(&[catalog::object("opportunities").unwrap()]).await;
}

#[tokio::test]
async fn a_comparison_that_finds_an_edit_which_no_sweep_has_shown_takes_the_sweeps_back() {
    let mut sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(800))).await;
    sync.sync_one("opportunities").await;
    for days in 1..7 {
        sync.simulator.edit("opportunities", "00001", day(days), |record| _ = record.insert("name".into(), json!(days)));
        sync.now = day(days) + chrono::TimeDelta::hours(1);
        sync.sync_one("opportunities").await;
    }
    // As if an edit of the first day had been listed without its time until now.
    sync.simulator.edit("opportunities", "00500", day(1), |record| _ = record.insert("name".into(), json!("late")));
    sync.now = day(7);

    let full = sync.full_sync_one("opportunities").await;

    assert_eq!((full.run.status, full.run.figures.updated), (ObjectStatus::Succeeded, 1));
    insta::assert_debug_snapshot!(full.warnings, @r#"
    [
        "/opportunities is no longer read newest first (a comparison of everything has found an edit that no sweep had shown): it is read to its end",
    ]
    "#);
    sync.simulator.forget_requests();
    sync.now = day(8);
    sync.sync_one("opportunities").await;
    assert!(sync.calls_of("opportunities") > 8, "it is read to its end");
    // The next comparison finds nothing that was missed.
    for (days, is_swept) in [(9, false), (10, true)] {
        sync.now = day(days);
        if days == 9 {
            sync.full_sync_one("opportunities").await
        } else {
            sync.sync_one("opportunities").await
        };
        assert_eq!(sync.calls_of("opportunities") <= 3, is_swept, "on day {days}");
    }
}

#[tokio::test]
async fn a_listing_that_has_all_records_is_read_alone() {
    let mut records = edited_at_some_time(1000);
    for record in records.iter_mut().step_by(7) {
        record["isArchived"] = json!(true);
    }
    for hidden in [HiddenListing::Adds, HiddenListing::Replaces] {
        let sync = with_auto(Workspace::empty().with("tasks", records.clone())).await;
        sync.simulator.set_options(|options| options.object("tasks").hidden = Some(hidden));

        let first = sync.sync_one("tasks").await;
        let plain = sync.simulator.requests().into_iter().filter(|request| request.path == "/tasks");
        let plain = plain.filter(|request| !request.query.contains_key("isArchived")).count();
        let full = sync.full_sync_one("tasks").await;

        assert_eq!((first.run.figures.inserted, full.run.figures.unchanged), (1000, 1000), "{hidden:?}");
        assert_eq!(known(&sync).await, format!("tasks hidden {}, tasks sort updatedAt", hidden.as_str()));
        assert!(first.warnings.is_empty() && full.warnings.is_empty());
        sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
        // A page, a page that was requested ahead, and a look at the end; or all nine pages and the end.
        assert_eq!(plain <= 3, hidden == HiddenListing::Adds, "{plain} calls of the plain listing");
    }
}

#[tokio::test]
async fn a_listing_that_ceases_to_have_all_records_while_it_is_read_alone_hides_none() {
    for at_call in 1..16 {
        let mut records = edited_at_some_time(1000);
        for record in records.iter_mut().step_by(3) {
            record["isArchived"] = json!(true);
        }
        let mut sync = with_auto(Workspace::empty().with("tasks", records)).await;
        sync.simulator.set_options(|options| options.object("tasks").hidden = Some(HiddenListing::Adds));
        let mut calls = 0;
        sync.simulator.on_request(move |source, path| {
            calls += u32::from(path == "tasks");
            if calls == at_call {
                source.set_options(|options| options.object("tasks").hidden = Some(HiddenListing::Replaces));
            }
        });

        let first = sync.sync_one("tasks").await;

        assert_eq!(
            (first.run.status, first.run.figures.inserted),
            (ObjectStatus::Succeeded, 1000),
            "at call {at_call}: {first:?}"
        );
        sync.now = day(1);
        let second = sync.full_sync_one("tasks").await;
        assert_eq!((second.run.figures.unchanged, second.run.figures.deleted), (1000, 0), "at call {at_call}");
        assert_eq!(known(&sync).await, "tasks hidden replaces, tasks sort updatedAt", "at call {at_call}");
    }
}

#[tokio::test]
async fn a_load_of_one_listing_for_all_that_was_stopped_goes_on_in_it() {
    let mut sync = with_auto(Workspace::empty().with("tasks", edited_at_some_time(2000))).await;
    sync.simulator.set_options(|options| options.object("tasks").hidden = Some(HiddenListing::Adds));
    let (stop, mut calls) = (sync.stop.clone(), 0);
    sync.simulator.on_request(move |_, path| {
        calls += u32::from(path == "tasks");
        if calls == 8 {
            stop.cancel();
        }
    });
    assert_eq!(sync.sync_one("tasks").await.run.status, ObjectStatus::Interrupted);
    sync.simulator.clear_faults();
    sync.stop = tokio_util::sync::CancellationToken::new();
    assert_eq!(sync.one("select listing from planhat_sync.scans").await, "_id, with hidden ones, for all");
    sync.simulator.forget_requests();

    let resumed = sync.sync_one("tasks").await;

    assert_eq!(resumed.run.status, ObjectStatus::Succeeded);
    let plain = sync.simulator.requests().into_iter().filter(|request| request.path == "/tasks");
    let plain = plain.filter(|request| !request.query.contains_key("isArchived")).count();
    // One look at its end; and at both of its ends by the scan of the changes since then.
    assert!(plain <= 3, "the plain listing was read too: {plain} calls");
    sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
}

#[tokio::test]
async fn what_was_learned_is_forgotten_with_the_token_of_another_host() {
    let sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(800))).await;
    sync.sync_one("opportunities").await;
    assert_eq!(known(&sync).await, "opportunities sort updatedAt");
    sync.simulator.rotate_token("rotated");
    let client = crate::harness::client_of(&sync.simulator, "rotated");

    sync.run_with(&client, planhat_sync::pull::Mode::Incremental, &[catalog::object("users").unwrap()]).await;

    assert_eq!(known(&sync).await, "");
}

#[tokio::test]
async fn an_object_whose_sort_planhat_refuses_is_read_by_id_and_the_sort_is_not_asked_for_every_day() {
    // It is asked twice, where it shows nothing.
    for answers in [vec![ScriptedAnswer::status(400)], vec![ScriptedAnswer::json(200, json!([])); 2]] {
        let mut sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(300))).await;
        sync.sync_one("opportunities").await;
        sync.simulator.edit("opportunities", "00299", day(1), |record| _ = record.insert("name".into(), json!("edited")));
        sync.simulator.answer_next("opportunities", answers);
        sync.now = day(2);

        let summary = sync.sync_one("opportunities").await;

        assert_eq!((summary.run.status, summary.run.figures.updated), (ObjectStatus::Succeeded, 1), "{summary:?}");
        assert_eq!(summary.warnings, Vec::<String>::new());
        sync.assert_equals_workspace(&[catalog::object("opportunities").unwrap()]).await;
    }
}

#[tokio::test]
async fn a_ticket_is_seen_whichever_of_its_times_an_edit_moves() {
    let tickets = (0..300).map(|number| {
        json!({"_id": format!("{number:05}"), "updateDate": written(day(-1 - number)), "updatedAt": written(day(-1 - number))})
    });
    let mut sync = with_auto(Workspace::empty().with("tickets", tickets.collect())).await;
    sync.sync_one("tickets").await;
    sync.simulator.edit_source(|source| {
        source.change("tickets", "00200", |ticket| _ = ticket.insert("updatedAt".into(), json!(written(day(1)))));
    });
    sync.now = day(2);

    assert_eq!(sync.sync_one("tickets").await.run.figures.updated, 1);
}

#[tokio::test]
async fn a_sort_that_is_honoured_for_some_objects_alone_is_learned_for_each() {
    let workspace = Workspace::empty().with("opportunities", edited_at_some_time(500)).with("assets", edited_at_some_time(500));
    let mut sync = with_auto(workspace).await;
    sync.simulator.set_options(|options| options.object("assets").sorts = Sorts::Ignored);
    let objects = ["opportunities", "assets"].map(|name| catalog::object(name).unwrap());
    for days in 0..3 {
        sync.now = day(days);
        sync.run(planhat_sync::pull::Mode::Incremental, &objects).await;
    }
    sync.simulator.forget_requests();
    sync.now = day(3);

    sync.run(planhat_sync::pull::Mode::Incremental, &objects).await;

    let calls = |object: &str| sync.simulator.requests().iter().filter(|request| request.path == format!("/{object}")).count();
    assert!(calls("opportunities") <= 3);
    assert!(calls("assets") > 5);
}

#[tokio::test]
async fn what_a_429_carries_is_learned_from_the_first_one() {
    for (answer, expected) in [
        (ScriptedAnswer::status(429).with_header("retry-after", "0"), " throttling Retry-After"),
        (ScriptedAnswer::status(429), " throttling nothing"),
    ] {
        let sync = with_auto(Workspace::empty().with("licenses", vec![json!({"_id": "a"})])).await;
        assert_eq!(sync.sync_one("licenses").await.run.status, ObjectStatus::Succeeded);
        assert_eq!(known(&sync).await, "");
        sync.simulator.answer_next("licenses", vec![answer]);

        assert_eq!(sync.sync_one("licenses").await.run.status, ObjectStatus::Succeeded);

        assert_eq!(known(&sync).await, expected);
    }
}

#[tokio::test]
async fn everything_is_compared_as_often_as_the_quota_allows() {
    let mut sync = with_auto(Workspace::empty().with("opportunities", edited_at_some_time(1000))).await;
    sync.limits.reconcile_every = planhat_model::scan::ReconcileEvery::AsTheQuotaAllows;
    sync.limits.calls_per_minute = 200;
    sync.sync_one("opportunities").await;
    let calls: i64 = sync.one("select full_scan_calls::text from planhat_sync.cursors").await.parse().unwrap();
    // Some of them were requested ahead in vain.
    assert!((12..=20).contains(&calls), "{calls}");
    let scan = "select scan from planhat_sync.object_runs order by run_id desc limit 1";
    let mut scans = Vec::new();
    for (days, per_minute) in [(0, 200), (1, 200), (2, 1), (3, 1), (4, 0)] {
        (sync.now, sync.limits.calls_per_minute) = (day(days) + chrono::TimeDelta::minutes(1), per_minute);
        sync.sync_one("opportunities").await;
        scans.push(sync.one(scan).await);
    }
    // At one call a minute, ten minutes a day are enough every two days.
    assert_eq!(scans, ["incremental", "full", "incremental", "full", "full"]);
}
