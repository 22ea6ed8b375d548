//! The timeline: one action for each change that is stored, with what changed.

use std::time::Duration;

use planhat_sync::catalog;
use planhat_sync::pull::{Ask, Begin};
use planhat_sync::run;
use planhat_sync::simulator::Workspace;
use planhat_sync::store::{ObjectStatus, Timeline};
use serde_json::{Value, json};

use crate::harness::{Sync, day, written};

/// A company, a contact of it, a license and an answer.
fn small() -> Workspace {
    Workspace::empty()
        .with(
            "companies",
            vec![json!({"_id": "c", "name": "Acme", "phase": "Onboarding", "mrr": 100, "createdAt": written(day(-30)),
                "updatedAt": written(day(-9)), "custom": {"Tier": "A", "Go live": "2026-11-01T00:00:00.000Z"}})],
        )
        .with("endusers", vec![json!({"_id": "e", "companyId": "c", "email": "kim@acme.example", "updatedAt": written(day(-8))})])
        .with("licenses", vec![json!({"_id": "64b000000000000000000001", "companyId": "c", "mrr": 10.10})])
        .with("nps", vec![json!({"_id": "n", "cId": "c", "euId": "e", "score": 9, "dateSent": written(day(-5)), "dateAnswered": written(day(-4))})])
}

/// Everything about the actions but their ids and when they were seen.
async fn timeline(sync: &Sync) -> String {
    sync.one(
        "select string_agg(format('%s | %s | %s %s of %s, %s | %s | %s', action, kind, object, record_id, coalesce(company_id, '-'),
             coalesce(end_user_id, '-'), case when happened_at = seen_at then 'seen' else to_char(happened_at, 'MM-DD HH24:MI') end,
             changes), E'\n' order by id) from planhat.actions",
    )
    .await
}

async fn forget(sync: &Sync) {
    sqlx::raw_sql("delete from planhat.actions").execute(sync.store.pool()).await.unwrap();
}

async fn count(sync: &Sync) -> String {
    sync.one("select count(*)::text from planhat.actions").await
}

#[tokio::test]
async fn a_first_load_notes_each_record_as_created_when_it_was_at_planhat() {
    let sync = Sync::new(small()).await;

    for object in ["companies", "endusers", "licenses", "nps"] {
        sync.sync_one(object).await;
    }

    insta::assert_snapshot!(timeline(&sync).await, @"
    Company Updated | created | companies c of c, - | 10-22 12:00 | 
    Contact Updated | created | endusers e of c, e | 11-13 12:00 | 
    License Updated | created | licenses 64b000000000000000000001 of c, - | 07-13 13:45 | 
    NPS Response | created | nps n of c, e | 11-17 12:00 |
    ");
}

#[tokio::test]
async fn a_change_is_noted_with_the_old_and_the_new_value_of_each_column() {
    let sync = Sync::new(small()).await;
    sync.sync_one("companies").await;
    forget(&sync).await;
    sync.simulator.edit("companies", "c", day(0), |company| {
        company.insert("phase".into(), json!("Live"));
        company.insert("mrr".into(), json!("a lot"));
        company.insert("tags".into(), json!(["new", {"deep": 1.50}]));
        company.insert("custom".into(), json!({"Tier": null, "Seats": 12.50, "Go live": "2026-11-02T01:00:00.000+01:00"}));
    });

    sync.sync_one("companies").await;

    insta::assert_snapshot!(timeline(&sync).await, @r#"Company Updated | updated | companies c of c, - | 11-21 12:00 | {"_misfits": {"new": {"planhat__mrr": "a lot"}, "old": null}, "planhat__mrr": {"new": null, "old": 100}, "planhat__tags": {"new": ["new", {"deep": 1.5}], "old": null}, "planhat__phase": {"new": "Live", "old": "Onboarding"}, "planhat__updated_at": {"new": "2026-11-21T12:00:00+00:00", "old": "2026-11-12T12:00:00+00:00"}, "planhat__tier__custom": {"new": null, "old": "A"}, "planhat__seats__custom": {"new": 12.5, "old": null}, "planhat__go_live__custom": {"new": "2026-11-02T00:00:00+00:00", "old": "2026-11-01T00:00:00+00:00"}}"#);
}

#[tokio::test]
async fn an_unchanged_row_is_no_action_whatever_is_run() {
    let sync = Sync::new(Workspace::from_fixtures()).await;
    sync.sync().await;
    let before = count(&sync).await;

    sync.sync().await;
    sync.run(Ask::Full, &catalog::default_objects()).await;
    for object in catalog::default_objects() {
        sync.backfill_one(object.name, Begin::Usual).await;
    }

    assert_eq!(count(&sync).await, before);
    let rows = "select (select count(*) from planhat.companies)::text || ' ' || count(*)
        || ' ' || count(distinct record_id) from planhat.actions where object = 'companies'";
    let [companies, actions, distinct] =
        sync.one(rows).await.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&companies, &companies), (&actions, &distinct));
}

#[tokio::test]
async fn another_spelling_of_the_same_values_is_no_action() {
    let sync = Sync::new(small()).await;
    sync.sync_one("companies").await;
    forget(&sync).await;
    sync.simulator.at_the_source(|source| {
        source.change("companies", "c", |company| {
            company.insert("mrr".into(), json!("100.00"));
            company.insert("lastTouch".into(), json!(""));
        });
    });

    let summary = sync.full_sync_one("companies").await;

    assert_eq!((summary.run.figures.updated, count(&sync).await.as_str()), (1, "0"));
}

#[tokio::test]
async fn what_is_deleted_and_restored_is_noted_with_its_company() {
    let mut sync = Sync::new(small().with(
        "tasks",
        vec![json!({"_id": "t", "companyId": "c", "endusers": [{"id": "e"}], "name": "call"}), json!({"_id": "u"})],
    ))
    .await;
    sync.sync_one("tasks").await;
    forget(&sync).await;
    let task = sync.simulator.records("tasks").remove(0);
    sync.simulator.delete("tasks", "t");
    sync.full_sync_one("tasks").await;
    let mut changed = task.clone();
    changed["name"] = json!("mail");

    sync.simulator.add("tasks", task);
    sync.now += chrono::TimeDelta::days(1);
    sync.sync_one("tasks").await;
    sync.simulator.delete("tasks", "t");
    sync.full_sync_one("tasks").await;
    sync.simulator.add("tasks", changed);
    sync.full_sync_one("tasks").await;

    insta::assert_snapshot!(timeline(&sync).await, @r#"
    Task Updated | deleted | tasks t of c, e | seen | 
    Task Updated | restored | tasks t of c, e | seen | 
    Task Updated | deleted | tasks t of c, e | seen | 
    Task Updated | restored | tasks t of c, e | seen | {"planhat__name": {"new": "mail", "old": "call"}}
    "#);
}

#[tokio::test]
async fn an_update_happened_when_the_record_says_so_and_else_when_it_was_seen() {
    let sync = Sync::new(small()).await;
    for object in ["companies", "nps", "licenses"] {
        sync.sync_one(object).await;
    }
    forget(&sync).await;

    // An edit, a contact, something computed, an answer that is completed, and a record without any time.
    sync.simulator.edit("companies", "c", day(-1), |company| _ = company.insert("phase".into(), json!("Live")));
    sync.full_sync_one("companies").await;
    sync.simulator.touch("companies", "c", day(0));
    sync.full_sync_one("companies").await;
    sync.simulator
        .at_the_source(|source| _ = source.change("companies", "c", |company| _ = company.insert("mrr".into(), json!(120))));
    sync.full_sync_one("companies").await;
    sync.simulator
        .at_the_source(|source| _ = source.change("nps", "n", |answer| _ = answer.insert("comment".into(), json!("good"))));
    sync.sync_one("nps").await;
    sync.simulator.at_the_source(|source| {
        source.change("licenses", "64b000000000000000000001", |license| _ = license.insert("mrr".into(), json!(11)));
    });
    sync.sync_one("licenses").await;

    insta::assert_snapshot!(timeline(&sync).await, @r#"
    Company Updated | updated | companies c of c, - | 11-20 12:00 | {"planhat__phase": {"new": "Live", "old": "Onboarding"}, "planhat__updated_at": {"new": "2026-11-20T12:00:00+00:00", "old": "2026-11-12T12:00:00+00:00"}}
    Company Updated | updated | companies c of c, - | 11-21 12:00 | {"planhat__last_touch": {"new": "2026-11-21T12:00:00+00:00", "old": null}}
    Company Updated | updated | companies c of c, - | seen | {"planhat__mrr": {"new": 120, "old": 100}}
    NPS Response | updated | nps n of c, e | 11-17 12:00 | {"planhat__comment": {"new": "good", "old": null}}
    License Updated | updated | licenses 64b000000000000000000001 of c, - | seen | {"planhat__mrr": {"new": 11, "old": 10.1}}
    "#);
}

#[tokio::test]
async fn who_wants_no_history_has_actions_from_the_first_load_on() {
    for full in [false, true] {
        let mut sync = Sync::new(small()).await;
        sync.limits.timeline.initial = false;
        if full {
            sync.full_sync_one("companies").await
        } else {
            sync.sync_one("companies").await
        };
        sync.backfill_one("companies", Begin::TheBeginning).await;
        assert_eq!(count(&sync).await, "0");

        sync.simulator.add("companies", json!({"_id": "d", "updatedAt": written(day(0))}));
        sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));
        sync.sync_one("companies").await;

        assert_eq!(
            sync.one("select string_agg(record_id || ' ' || kind, ', ' order by record_id) from planhat.actions").await,
            "c updated, d created"
        );
    }
}

#[tokio::test]
async fn the_timeline_can_be_turned_off_and_on_again() {
    let mut sync = Sync::new(small()).await;
    sync.limits.timeline.on = false;
    sync.sync_one("companies").await;
    assert_eq!(sync.one("select to_regclass('planhat.actions')::text").await, "");

    sync.limits.timeline.on = true;
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));
    sync.sync_one("companies").await;

    assert_eq!(sync.one("select string_agg(record_id || ' ' || kind, ', ') from planhat.actions").await, "c updated");
}

#[tokio::test]
async fn a_record_in_quarantine_is_no_action_and_the_rest_of_its_page_is_one_each() {
    let mut random = fastrand::Rng::with_seed(1);
    let too_long: String = std::iter::repeat_with(|| random.alphanumeric()).take(5000).collect();
    // This one fits its table, and not the index of the actions.
    let nearly: String = std::iter::repeat_with(|| random.alphanumeric()).take(2680).collect();
    let records: Vec<Value> =
        [too_long.as_str(), nearly.as_str(), "a", "b", "c", "d"].iter().map(|id| json!({"_id": id})).collect();
    let sync = Sync::new(Workspace::empty().with("licenses", records)).await;

    let summary = sync.sync_one("licenses").await;

    assert_eq!(summary.run.status, ObjectStatus::Partial);
    assert_eq!((summary.run.figures.inserted, summary.run.figures.quarantined), (4, 2));
    assert_eq!(sync.one("select string_agg(record_id, '' order by record_id) from planhat.actions").await, "abcd");
    assert_eq!(sync.one("select string_agg(planhat__id, '' order by planhat__id) from planhat.licenses").await, "abcd");
    sync.sync_one("licenses").await;
    assert_eq!(count(&sync).await, "4");
}

#[tokio::test]
async fn a_row_too_wide_for_the_database_changes_like_any_other() {
    let custom: serde_json::Map<String, Value> = (0..1150).map(|number| (format!("F{number:04}"), json!(1e20))).collect();
    let sync =
        Sync::new(Workspace::empty().with("licenses", vec![json!({"_id": "a", "custom": custom}), json!({"_id": "b"})])).await;
    sync.sync_one("licenses").await;
    sync.simulator.at_the_source(|source| {
        source.change("licenses", "a", |license| _ = license["custom"].as_object_mut().unwrap().insert("F1149".into(), json!(2)));
    });

    sync.sync_one("licenses").await;

    assert_eq!(
        sync.one("select string_agg(record_id || kind, ' ' order by id) from planhat.actions").await,
        "acreated bcreated aupdated"
    );
}

#[tokio::test]
async fn a_table_of_the_users_own_is_named_and_left_alone() {
    let mut sync = Sync::new(small()).await;
    sqlx::raw_sql("create table planhat.actions (id bigint, mine text)").execute(sync.store.pool()).await.unwrap();
    let client = sync.client();
    let objects = [catalog::object("companies").unwrap()];

    let refused = run::run(&client, &sync.store, &sync.order(Ask::Changes, &objects), &sync.stop).await.unwrap_err();
    sync.limits.timeline.on = false;

    assert_eq!(refused.to_string(), "planhat.actions is not the table of actions: somebody else has made it");
    assert_eq!(sync.sync_one("companies").await.run.status, ObjectStatus::Succeeded);
    assert_eq!(count(&sync).await, "0");
}

#[tokio::test]
async fn a_dropped_table_of_actions_is_made_again_and_goes_on_with_its_ids() {
    let sync = Sync::new(small()).await;
    sync.sync_one("companies").await;
    let drop = "insert into planhat_sync.consumers (workspace, name, last_id) values ('planhat', 'crm', 41); drop table planhat.actions cascade";
    sqlx::raw_sql(drop).execute(sync.store.pool()).await.unwrap();
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));

    sync.sync_one("companies").await;

    assert_eq!(sync.one("select string_agg(id || kind, ' ') from planhat.actions").await, "42updated");
}

#[tokio::test]
async fn actions_are_kept_as_long_as_the_settings_say() {
    let mut sync = Sync::new(small()).await;
    sync.sync_one("companies").await;
    let old = "insert into planhat.actions (action, kind, object, record_id, happened_at, seen_at, run_id)
        select 'x', 'updated', 'companies', 'x', now(), now() - interval '100 days', 1 from generate_series(1, 25000)";
    sqlx::raw_sql(old).execute(sync.store.pool()).await.unwrap();

    sync.sync_one("companies").await;
    assert_eq!(count(&sync).await, "25001");
    sync.limits.timeline = Timeline { keep: Duration::from_secs(99 * 86_400), ..Timeline::default() };
    sync.sync_one("companies").await;

    assert_eq!(count(&sync).await, "1");
}
