//! The timeline: one action for each change that is stored, with what changed.

use std::collections::BTreeMap;
use std::time::Duration;

use planhat_model::catalog;
use planhat_model::catalog::{ColumnType, Object};
use planhat_model::flatten::{Columns, Declared, IgnoredFields, flatten};
use planhat_model::record::Record;
use planhat_model::scan::History;
use planhat_simulator::Workspace;
use planhat_store::{self as store, ActionPolicy, ObjectStatus, Target, TimelineOptions};
use planhat_sync::pull::{HistoryFrom, Mode};
use serde_json::{Map, Value, json};
use sqlx::postgres::PgListener;
use sqlx::{Connection as _, PgConnection};

use crate::cli::Tool;
use crate::harness::{TestSync, day, written};
use crate::waiting::{eventually, in_time};

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
async fn timeline(sync: &TestSync) -> String {
    sync.one(
        "select string_agg(format('%s | %s | %s %s of %s, %s | %s | %s', action, kind, object, record_id, coalesce(company_id, '-'),
             coalesce(end_user_id, '-'), case when happened_at = seen_at then 'seen' else to_char(happened_at, 'MM-DD HH24:MI') end,
             changes), E'\n' order by id) from planhat.actions",
    )
    .await
}

async fn forget(sync: &TestSync) {
    sqlx::raw_sql("delete from planhat.actions").execute(sync.store.pool()).await.unwrap();
}

async fn count(sync: &TestSync) -> String {
    sync.one("select count(*)::text from planhat.actions").await
}

#[tokio::test]
async fn a_first_load_records_each_record_as_created_at_its_creation_time_at_planhat() {
    let sync = TestSync::new(small()).await;

    for object in ["companies", "endusers", "licenses", "nps"] {
        sync.sync_one(object).await;
    }

    insta::assert_snapshot!(timeline(&sync).await, @"
    Company Created | created | companies c of c, - | 10-22 12:00 | 
    Contact Created | created | endusers e of c, e | 11-13 12:00 | 
    License Created | created | licenses 64b000000000000000000001 of c, - | 07-13 13:45 | 
    NPS Response | created | nps n of c, e | 11-17 12:00 |
    ");
}

#[tokio::test]
async fn an_action_records_the_old_and_new_value_of_each_changed_column() {
    let sync = TestSync::new(small()).await;
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
async fn no_run_records_an_action_for_an_unchanged_row() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync().await;
    let before = count(&sync).await;

    sync.sync().await;
    sync.run(Mode::Full, &catalog::default_objects()).await;
    for object in catalog::default_objects() {
        sync.backfill_one(object.name, HistoryFrom::Default).await;
    }

    assert_eq!(count(&sync).await, before);
    let rows = "select (select count(*) from planhat.companies)::text || ' ' || count(*)
        || ' ' || count(distinct record_id) from planhat.actions where object = 'companies'";
    let [companies, actions, distinct] =
        sync.one(rows).await.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&companies, &companies), (&actions, &distinct));
}

#[tokio::test]
async fn another_json_spelling_of_the_same_values_gives_no_action() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    forget(&sync).await;
    sync.simulator.edit_source(|source| {
        source.change("companies", "c", |company| {
            company.insert("mrr".into(), json!("100.00"));
            company.insert("lastTouch".into(), json!(""));
        });
    });

    let summary = sync.full_sync_one("companies").await;

    assert_eq!((summary.run.figures.updated, count(&sync).await.as_str()), (1, "0"));
}

#[tokio::test]
async fn deletions_and_restorations_are_recorded_with_their_company() {
    let mut sync = TestSync::new(small().with(
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
    Task Deleted | deleted | tasks t of c, e | seen | 
    Task Restored | restored | tasks t of c, e | seen | 
    Task Deleted | deleted | tasks t of c, e | seen | 
    Task Restored | restored | tasks t of c, e | seen | {"planhat__name": {"new": "mail", "old": "call"}}
    "#);
}

#[tokio::test]
async fn an_update_happened_at_the_records_modification_time_or_else_when_it_was_seen() {
    let sync = TestSync::new(small()).await;
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
        .edit_source(|source| _ = source.change("companies", "c", |company| _ = company.insert("mrr".into(), json!(120))));
    sync.full_sync_one("companies").await;
    sync.simulator
        .edit_source(|source| _ = source.change("nps", "n", |answer| _ = answer.insert("comment".into(), json!("good"))));
    sync.sync_one("nps").await;
    sync.simulator.edit_source(|source| {
        source.change("licenses", "64b000000000000000000001", |license| _ = license.insert("mrr".into(), json!(11)));
    });
    sync.sync_one("licenses").await;

    insta::assert_snapshot!(timeline(&sync).await, @r#"
    Company Updated | updated | companies c of c, - | 11-20 12:00 | {"planhat__phase": {"new": "Live", "old": "Onboarding"}, "planhat__updated_at": {"new": "2026-11-20T12:00:00+00:00", "old": "2026-11-12T12:00:00+00:00"}}
    Company Updated | updated | companies c of c, - | 11-21 12:00 | {"planhat__last_touch": {"new": "2026-11-21T12:00:00+00:00", "old": null}}
    Company Updated | updated | companies c of c, - | seen | {"planhat__mrr": {"new": 120, "old": 100}}
    NPS Updated | updated | nps n of c, e | 11-17 12:00 | {"planhat__comment": {"new": "good", "old": null}}
    License Updated | updated | licenses 64b000000000000000000001 of c, - | seen | {"planhat__mrr": {"new": 11, "old": 10.1}}
    "#);
}

#[tokio::test]
async fn with_initial_off_actions_begin_after_the_first_load() {
    for full in [false, true] {
        let mut sync = TestSync::new(small()).await;
        sync.limits.timeline.initial = false;
        if full {
            sync.full_sync_one("companies").await
        } else {
            sync.sync_one("companies").await
        };
        sync.backfill_one("companies", HistoryFrom::Earliest).await;
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
    let mut sync = TestSync::new(small()).await;
    sync.limits.timeline.enabled = false;
    sync.sync_one("companies").await;
    assert_eq!(sync.one("select to_regclass('planhat.actions')::text").await, "");

    sync.limits.timeline.enabled = true;
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));
    sync.sync_one("companies").await;

    assert_eq!(sync.one("select string_agg(record_id || ' ' || kind, ', ') from planhat.actions").await, "c updated");
}

#[tokio::test]
async fn a_quarantined_record_gives_no_action_and_the_other_records_of_its_page_do() {
    let mut random = fastrand::Rng::with_seed(1);
    let too_long: String = std::iter::repeat_with(|| random.alphanumeric()).take(5000).collect();
    // This one fits its table, and not the index of the actions.
    let nearly: String = std::iter::repeat_with(|| random.alphanumeric()).take(2680).collect();
    let records: Vec<Value> =
        [too_long.as_str(), nearly.as_str(), "a", "b", "c", "d"].iter().map(|id| json!({"_id": id})).collect();
    let sync = TestSync::new(Workspace::empty().with("licenses", records)).await;

    let summary = sync.sync_one("licenses").await;

    assert_eq!(summary.run.status, ObjectStatus::Partial);
    assert_eq!((summary.run.figures.inserted, summary.run.figures.quarantined), (4, 2));
    assert_eq!(sync.one("select string_agg(record_id, '' order by record_id) from planhat.actions").await, "abcd");
    assert_eq!(sync.one("select string_agg(planhat__id, '' order by planhat__id) from planhat.licenses").await, "abcd");
    sync.sync_one("licenses").await;
    assert_eq!(count(&sync).await, "4");
}

#[tokio::test]
async fn changes_of_a_row_too_wide_for_postgresql_are_recorded_too() {
    let custom: Map<String, Value> = (0..1150).map(|number| (format!("F{number:04}"), json!(1e20))).collect();
    let sync =
        TestSync::new(Workspace::empty().with("licenses", vec![json!({"_id": "a", "custom": custom}), json!({"_id": "b"})]))
            .await;
    sync.sync_one("licenses").await;
    sync.simulator.edit_source(|source| {
        source.change("licenses", "a", |license| _ = license["custom"].as_object_mut().unwrap().insert("F1149".into(), json!(2)));
    });

    sync.sync_one("licenses").await;

    assert_eq!(
        sync.one("select string_agg(record_id || kind, ' ' order by id) from planhat.actions").await,
        "acreated bcreated aupdated"
    );
}

#[tokio::test]
async fn a_users_own_table_called_actions_is_reported_and_left_alone() {
    let mut sync = TestSync::new(small()).await;
    sqlx::raw_sql("create table planhat.actions (id bigint, mine text)").execute(sync.store.pool()).await.unwrap();
    let client = sync.client();
    let objects = [catalog::object("companies").unwrap()];

    let refused = sync.run_of(&client, &sync.request(Mode::Incremental, &objects)).await.unwrap_err();
    sync.limits.timeline.enabled = false;

    assert_eq!(refused.to_string(), "planhat.actions already exists and was not created by planhat-sync");
    assert_eq!(sync.sync_one("companies").await.run.status, ObjectStatus::Succeeded);
    assert_eq!(count(&sync).await, "0");
}

#[tokio::test]
async fn a_dropped_actions_table_is_recreated_and_continues_its_ids() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let drop = "insert into planhat_sync.consumers (workspace, name, last_action_id) values ('planhat', 'crm', 41); drop table planhat.actions cascade";
    sqlx::raw_sql(drop).execute(sync.store.pool()).await.unwrap();
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));

    sync.sync_one("companies").await;

    assert_eq!(sync.one("select string_agg(id || kind, ' ') from planhat.actions").await, "42updated");
}

#[tokio::test]
async fn actions_are_kept_for_the_configured_time() {
    let mut sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let old = "insert into planhat.actions (id, action, kind, object, record_id, happened_at, seen_at, run_id)
        select 100 + n, 'x', 'updated', 'companies', 'x', now(), now() - interval '100 days', 1 from generate_series(1, 25000) n";
    sqlx::raw_sql(old).execute(sync.store.pool()).await.unwrap();

    sync.sync_one("companies").await;
    assert_eq!(count(&sync).await, "25001");
    sync.limits.timeline = TimelineOptions { keep: Duration::from_secs(99 * 86_400), ..TimelineOptions::default() };
    sync.sync_one("companies").await;

    assert_eq!(count(&sync).await, "1");
}

/// Keeps every version of a row from now on, so that what the actions tell can be told otherwise.
pub(crate) async fn keep_versions(sync: &TestSync, objects: &[&'static Object]) {
    let mut tx = sync.store.pool().begin().await.unwrap();
    let table = "create table public.versions (n bigint generated always as identity, object text, id text, row jsonb);
        create function public.keep_version() returns trigger language plpgsql as
            $$ begin insert into public.versions (object, id, row) values (tg_table_name, new.planhat__id, to_jsonb(new)); return null; end $$";
    sqlx::raw_sql(table).execute(&mut *tx).await.unwrap();
    for object in objects {
        store::create_table(&mut tx, "planhat", object).await.unwrap();
        let trigger = format!(
            "create trigger keep_version after insert or update on planhat.{} for each row execute function public.keep_version()",
            object.name
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// What a person sees of a row: its columns but our own, and whether it is marked as deleted.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    cells: Map<String, Value>,
    is_deleted: bool,
}

impl Version {
    fn of(row: &str) -> Version {
        let row: Map<String, Value> = serde_json::from_str(row).unwrap();
        let is_deleted = !row["_deleted_at"].is_null();
        let own = [
            &["_row_hash", "_first_seen_at", "_synced_at", "_deleted_at", "_run_id"][..],
            // These follow from the others.
            &["company_id", "company_ids", "owner_id", "end_user_id", "end_user_ids"],
        ]
        .concat();
        let cells = row.into_iter().filter(|(column, value)| !value.is_null() && !own.contains(&column.as_str()));
        Version { cells: cells.collect(), is_deleted }
    }

    fn after(mut self, kind: &str, changes: Option<String>) -> Version {
        self.is_deleted = match kind {
            "updated" => self.is_deleted,
            kind => kind == "deleted",
        };
        let changes: Map<String, Value> = changes.map(|changes| serde_json::from_str(&changes).unwrap()).unwrap_or_default();
        for (column, change) in changes {
            assert_eq!(self.cells.get(&column).unwrap_or(&Value::Null), &change["old"], "the old value of {column}");
            match &change["new"] {
                Value::Null => drop(self.cells.remove(&column)),
                new => drop(self.cells.insert(column, new.clone())),
            }
        }
        self
    }
}

/// Folds the actions of each record over its first version: step by step they give every version that there was, and
/// in the end the row as it is.
pub(crate) async fn assert_actions_tell_the_versions(sync: &TestSync) {
    let all = "select object, id, row::text from public.versions order by n";
    let all: Vec<(String, String, String)> = sqlx::query_as(all).fetch_all(sync.store.pool()).await.unwrap();
    let mut versions: BTreeMap<(String, String), Vec<Version>> = BTreeMap::new();
    for (object, id, row) in all {
        let version = Version::of(&row);
        let of_record = versions.entry((object, id)).or_default();
        if of_record.last() != Some(&version) {
            of_record.push(version);
        }
    }
    // An old record that is seen for the first time when it has changed begins with the version that was found.
    let all = "select object, record_id, case when kind = 'updated' and first_seen then 'created' else kind end, changes::text
        from planhat.actions order by id";
    let all: Vec<(String, String, String, Option<String>)> = sqlx::query_as(all).fetch_all(sync.store.pool()).await.unwrap();
    let mut actions = BTreeMap::<_, Vec<_>>::new();
    for (object, id, kind, changes) in all {
        actions.entry((object, id)).or_default().push((kind, changes));
    }
    assert_eq!(versions.keys().collect::<Vec<_>>(), actions.keys().collect::<Vec<_>>());
    for (record, versions) in versions {
        let mut told = actions.remove(&record).unwrap().into_iter();
        assert_eq!(told.next(), Some(("created".to_owned(), None)), "{record:?}");
        let mut folded = vec![versions[0].clone()];
        for (kind, changes) in told {
            folded.push(folded.last().unwrap().clone().after(&kind, changes));
        }
        assert_eq!(folded, versions, "{record:?}");
    }
}

#[tokio::test]
async fn a_listener_is_notified_at_commit_of_the_last_action_id() {
    let sync = TestSync::new(small()).await;
    let mut listener = PgListener::connect_with(sync.store.pool()).await.unwrap();
    listener.listen("planhat_actions").await.unwrap();

    sync.sync_one("companies").await;

    let told = in_time("a notification", listener.recv()).await.unwrap();
    let told: Value = serde_json::from_str(told.payload()).unwrap();
    assert_eq!(told, json!({"schema": "planhat", "object": "companies", "count": 1, "last_id": 1}));
}

/// A project, and the columns it needs.
fn project(id: &str) -> (Columns, Record) {
    let object = catalog::object("projects").unwrap();
    let record = Record::parse(serde_json::value::to_raw_value(&json!({"_id": id})).unwrap()).unwrap();
    let mut columns = Columns::default();
    columns.grow(object, std::slice::from_ref(&record), &Declared::default());
    (columns, record)
}

#[tokio::test]
async fn action_ids_grow_in_the_order_of_commits() {
    let sync = TestSync::new(Workspace::empty()).await;
    let (projects, issues) = (catalog::object("projects").unwrap(), catalog::object("issues").unwrap());
    sync.sync_one("projects").await;
    sync.sync_one("issues").await;
    let (columns, record) = project("a");
    let rows = flatten(&columns, &IgnoredFields::default(), std::slice::from_ref(&record));
    let ignored = IgnoredFields::default();
    let target = |object| Target {
        schema: "planhat",
        object,
        columns: &columns,
        run_id: 1,
        action_policy: ActionPolicy::All,
        created_since: None,
        rules: None,
        ignore_changes: &ignored,
        stored: None,
    };
    let write = async |db: &mut store::PgConnection, object| {
        let (_, actions) = store::upsert(&mut *db, target(object), &rows).await.unwrap();
        store::write_actions(db, target(object), &actions).await.unwrap();
    };
    let mut slow = sync.store.pool().begin().await.unwrap();
    write(&mut slow, projects).await;

    let quick = async {
        let mut quick = sync.store.pool().begin().await.unwrap();
        write(&mut quick, issues).await;
        quick.commit().await.unwrap();
    };
    let commit = async {
        let waits =
            "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'";
        eventually("the lock", async || sync.one(waits).await != "0").await;
        assert_eq!(count(&sync).await, "0");
        slow.commit().await.unwrap();
    };
    in_time("both transactions", async { tokio::join!(quick, commit) }).await;

    assert_eq!(sync.one("select string_agg(object, ' ' order by id) from planhat.actions").await, "projects issues");
}

#[tokio::test]
async fn the_actions_of_a_page_have_ids_that_follow_each_other_in_their_order_and_a_refused_page_gives_its_ids_back() {
    let records = ["a", "b", "c", "d"].map(|id| json!({"_id": id, "updatedAt": crate::harness::written(day(-1))}));
    let sync = TestSync::new(Workspace::empty().with("projects", records.into())).await;
    sync.sync_one("projects").await;
    let ids = "select string_agg(id || record_id, ' ' order by id) from planhat.actions";
    assert_eq!(sync.one(ids).await, "1a 2b 3c 4d");

    // A page of which one row is refused is written in parts.
    sync.do_at_once(&["alter table planhat.projects add check (planhat__id <> 'f')"]).await;
    for id in ["e", "f", "g"] {
        sync.simulator.add("projects", json!({"_id": id, "updatedAt": crate::harness::written(day(0))}));
    }
    sync.sync_one("projects").await;

    assert_eq!(sync.one(ids).await, "1a 2b 3c 4d 5e 6g");
    assert_eq!(sync.one("select last_action_id::text from planhat_sync.counters").await, "6");
}

#[tokio::test]
async fn a_run_makes_the_indexes_of_the_actions_at_its_end_and_leaves_alone_what_a_user_has_dropped_of_them() {
    let sync = TestSync::new(small()).await;
    let indexes = "select string_agg(indexname::text, ' ' order by indexname) from pg_indexes where schemaname = 'planhat' and tablename = 'actions'";
    // As `forget` does, before the first run.
    let make = sync.store.transaction(async |db| store::create_actions_table(db, "planhat").await);
    make.await.unwrap();
    assert_eq!(sync.one(indexes).await, "actions_object_record_id_id_idx actions_pkey");

    sync.sync_one("companies").await;

    let all = "actions_company_id_happened_at_id_idx actions_happened_at_id_idx actions_object_record_id_id_idx actions_pkey actions_seen_at_id_idx";
    assert_eq!(sync.one(indexes).await, all);
    sync.do_at_once(&["drop index planhat.actions_happened_at_id_idx"]).await;
    sync.sync_one("companies").await;
    assert_eq!(sync.one(indexes).await, all.replace("actions_happened_at_id_idx ", ""));
}

#[tokio::test]
async fn common_queries_on_actions_use_indexes() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let many = "insert into planhat.actions (id, action, kind, object, record_id, company_id, happened_at, seen_at, run_id)
            select 100 + n, 'Company Updated', 'updated', 'companies', 'r' || n % 40000, 'c' || n % 40, now() - n * interval '1 minute',
                now() - (200000 - n) * interval '1 minute', 1 from generate_series(1, 200000) n;
        analyze planhat.actions";
    sqlx::raw_sql(many).execute(sync.store.pool()).await.unwrap();
    for (question, index) in [
        ("select * from planhat.actions where company_id = 'c7' order by happened_at desc, id desc limit 50", "company_id"),
        ("select * from planhat.actions where company_id = 'c7' order by happened_at desc, id desc", "company_id"),
        ("select * from planhat.actions where seen_at >= now() - interval '1 day'", "seen_at"),
        ("select * from planhat.actions where seen_at >= now() - interval '1 day' order by seen_at, id", "seen_at"),
        ("select * from planhat.actions where happened_at >= now() - interval '1 day'", "happened_at_id"),
        ("select * from planhat.actions order by happened_at desc, id desc limit 50", "happened_at_id"),
        ("select happened_at, company, changed from planhat.timeline order by happened_at desc limit 50", "happened_at_id"),
        ("select * from planhat.actions where object = 'companies' and record_id = 'r7' order by id", "record_id"),
        ("select * from planhat.actions where id > 190000 order by id limit 500", "pkey"),
        (
            "select happened_at, kind, company, changed from planhat.timeline where company_id = 'c7' order by happened_at desc, id desc limit 50",
            "company_id",
        ),
    ] {
        let explain = sqlx::AssertSqlSafe(format!("explain {question}"));
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(sync.store.pool()).await.unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan") && plan.contains(index), "{question}\n{plan}");
        assert!(!plan.contains("Seq Scan on actions"), "{question}\n{plan}");
        assert!(
            !question.contains("limit") || !plan.contains("Sort Key: happened_at") && !plan.contains("Sort Key: action"),
            "{question}\n{plan}"
        );
    }
    let plan: Vec<String> = sqlx::query_scalar("explain select id, happened_at from planhat.timeline where company_id = 'c7'")
        .fetch_all(sync.store.pool())
        .await
        .unwrap();
    assert!(!plan.join("\n").contains("companies"), "{plan:?}");
}

#[tokio::test]
async fn the_timeline_view_shows_each_action_with_the_current_record() {
    let sync = TestSync::new(small()).await;
    for object in ["companies", "endusers", "nps"] {
        sync.sync_one(object).await;
    }
    sync.simulator.edit("companies", "c", day(0), |company| {
        company.insert("phase".into(), json!("Live"));
        company.insert("mrr".into(), json!(120));
        company.insert("description".into(), json!("long ".repeat(100)));
        company.insert("custom".into(), json!({"Tier": "A"}));
    });
    sync.sync_one("companies").await;

    let view = "select string_agg(concat_ws(' | ', action, kind, company, end_user, changed, record ->> 'planhat__phase', record ->> 'planhat__score'), E'\n' order by id) from planhat.timeline";
    insta::assert_snapshot!(sync.one(view).await, @"
    Company Created | created | Acme | Live
    Contact Created | created | Acme | kim@acme.example
    NPS Response | created | Acme | kim@acme.example | 9
    Company Updated | updated | Acme | description: – → long long long long long long long long long long long long…, go_live: 2026-11-01T00:00:00+00:00 → –, mrr: 100 → 120, phase: Onboarding → Live, updated_at: 2026-11-12T12:00:00+00:00 → 2026-11-21T12:00:00+00:00 | Live
    ");
    let columns = "select string_agg(attname || ' ' || format_type(atttypid, null), ', ' order by attnum) from pg_attribute where attrelid = 'planhat.timeline'::regclass";
    insta::assert_snapshot!(sync.one(columns).await, @"happened_at timestamp with time zone, seen_at timestamp with time zone, action text, kind text, company text, end_user text, changed text, object text, record_id text, company_id text, end_user_id text, id bigint, run_id bigint, changes jsonb, record jsonb, first_seen boolean");
    assert_eq!(sync.one("select string_agg(key, ' ' order by key) from planhat.timeline, jsonb_object_keys(record) as key where id = 1 and key like '\\_%'").await, "_deleted_at _misfits _overflow");
}

#[tokio::test]
async fn the_timeline_view_does_not_block_changes_of_tables() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let by_hand =
        "alter table planhat.companies drop column planhat__tier__custom; alter table planhat.companies add column mine text;
        create view public.mine as select id, company, record from planhat.timeline";
    sqlx::raw_sql(by_hand).execute(sync.store.pool()).await.unwrap();
    let companies = catalog::object("companies").unwrap();
    let mut tx = sync.store.pool().begin().await.unwrap();
    let columns = store::load_columns(&mut tx, "planhat", companies).await.unwrap();
    store::retype(&mut tx, "planhat", companies, columns.named("planhat__mrr").unwrap(), ColumnType::Text).await.unwrap();
    tx.commit().await.unwrap();

    // A new table, and with it a new view.
    sync.sync_one("licenses").await;

    assert_eq!(sync.one("select record ->> 'planhat__mrr' from public.mine where id = 1").await, "100");
    assert_eq!(sync.one("select record ->> 'planhat__mrr' from public.mine where id = 2").await, "10.1");
}

#[tokio::test]
async fn a_dropped_timeline_view_is_recreated_and_a_users_own_view_is_left_alone() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    sqlx::raw_sql("drop table planhat.companies cascade").execute(sync.store.pool()).await.unwrap();
    assert_eq!(sync.one("select to_regclass('planhat.timeline')::text").await, "");
    sync.sync_one("companies").await;
    assert_eq!(sync.one("select record ->> 'planhat__name' from planhat.timeline where id = 1").await, "Acme");

    let mine = "drop view planhat.timeline; create view planhat.timeline as select 'mine' as whose";
    sqlx::raw_sql(mine).execute(sync.store.pool()).await.unwrap();
    assert_eq!(sync.sync_one("companies").await.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one("select whose from planhat.timeline").await, "mine");
}

#[cfg(feature = "embedded")]
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_keeps_a_timeline_too() {
    let store = store::Store::embedded(store::EmbeddedLocation::Temporary, "planhat").await.unwrap();
    let sync = TestSync::into(store, small(), planhat_simulator::Options::default()).await;
    sync.sync().await;
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));

    sync.sync().await;

    let told = sync.one("select string_agg(concat_ws(' ', action, kind, company, end_user, changed), '; ' order by id) filter (where object = 'companies') from planhat.timeline").await;
    assert_eq!(
        told,
        "Company Created created Acme; Company Updated updated Acme phase: Onboarding → Live, updated_at: 2026-11-12T12:00:00+00:00 → 2026-11-21T12:00:00+00:00"
    );
    sync.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_a_users_own_table_with_the_name_of_the_actions_table() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    sqlx::raw_sql("create schema planhat; create view planhat.actions as select 1 as one").execute(&mut database).await.unwrap();

    let checked = tool.run(&["check"]);
    assert_eq!(checked.code, 5);
    let said = "planhat.actions already exists and was not created by planhat-sync; rename it, or give planhat-sync a schema of its own (database.schema); the table actions and the view timeline can be turned off (actions.enabled)";
    assert!(checked.stdout.contains(said), "{}", checked.stdout);
    assert_eq!(tool.run(&["sync", "users"]).code, 5);

    let mut tool = tool.set("PLANHAT_SYNC__ACTIONS__ENABLED", "false");
    assert_eq!((tool.run(&["check"]).code, tool.run(&["sync", "users"]).code), (0, 0));
}

#[tokio::test]
async fn a_users_own_columns_do_not_affect_actions_whatever_their_names() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let by_hand = "alter table planhat.companies add column old boolean, add column company text, add column end_user text, add column record text;
        alter table planhat.actions add column company text; delete from planhat.actions";
    sqlx::raw_sql(by_hand).execute(sync.store.pool()).await.unwrap();
    sync.simulator.edit("companies", "c", day(-12), |company| _ = company.insert("phase".into(), json!("Live")));
    sync.full_sync_one("companies").await;
    // A table more, so that the view is made anew.
    sync.sync_one("endusers").await;

    let changes = "select changes - 'planhat__updated_at' from planhat.actions where kind = 'updated'";
    assert_eq!(
        sync.one(Box::leak(format!("select ({changes})::text").into_boxed_str())).await,
        r#"{"planhat__phase": {"new": "Live", "old": "Onboarding"}}"#
    );
    let told = "select string_agg(concat_ws(' ', kind, company, record ->> 'planhat__name'), ', ' order by id) from planhat.timeline where object = 'companies'";
    assert_eq!(sync.one(told).await, "updated Acme Acme");
}

#[tokio::test]
async fn the_timeline_view_follows_renamed_tables_and_keeps_its_options() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let by_hand =
        "alter table planhat.actions rename to actions_of_last_year; alter view planhat.timeline set (security_invoker = true)";
    sqlx::raw_sql(by_hand).execute(sync.store.pool()).await.unwrap();
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));

    sync.sync_one("companies").await;

    assert_eq!(sync.one("select string_agg(kind, ' ') from planhat.timeline").await, "updated");
    let options = "select array_to_string(reloptions, ',') from pg_class where oid = 'planhat.timeline'::regclass";
    assert_eq!(sync.one(options).await, "security_invoker=true");
}

#[tokio::test]
async fn old_actions_are_deleted_even_if_the_timeline_is_turned_off() {
    let mut sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let long_ago = "update planhat.actions set seen_at = now() - interval '100 days'";
    sqlx::raw_sql(long_ago).execute(sync.store.pool()).await.unwrap();
    sync.limits.timeline =
        TimelineOptions { enabled: false, keep: Duration::from_secs(99 * 86_400), ..TimelineOptions::default() };

    sync.sync_one("companies").await;

    assert_eq!(sync.one("select count(*)::text from planhat.actions").await, "0");
}

/// What each action is called, and whether its record was there before.
const NAMES: &str = "select string_agg(concat_ws(' ', action || ':', kind, case when first_seen then '(first seen)' end), ', ' order by id) from planhat.actions";

#[tokio::test]
async fn each_action_is_called_by_what_happened_to_its_record() {
    let mut sync = TestSync::new(Workspace::empty().with("tickets", vec![json!({"_id": "s"})])).await;
    sync.sync_one("tickets").await;
    forget(&sync).await;
    let ticket = json!({"_id": "t", "subject": "Help", "createDate": written(day(0)), "updateDate": written(day(0))});

    sync.simulator.add("tickets", ticket.clone());
    sync.sync_one("tickets").await;
    sync.simulator.edit_source(|source| {
        source.change("tickets", "t", |ticket| _ = ticket.insert("updateDate".into(), json!(written(day(1)))));
    });
    sync.sync_one("tickets").await;
    sync.simulator.delete("tickets", "t");
    sync.full_sync_one("tickets").await;
    sync.simulator.add("tickets", ticket);
    sync.now += chrono::TimeDelta::days(1);
    sync.full_sync_one("tickets").await;

    assert_eq!(
        sync.one(NAMES).await,
        "Ticket Created: created, Ticket Updated: updated, Ticket Deleted: deleted, Ticket Restored: restored"
    );
}

#[tokio::test]
async fn an_answer_is_an_nps_response_whether_it_comes_with_its_record_or_later() {
    let mut sync = TestSync::new(Workspace::empty()).await;
    sync.sync_one("nps").await;
    let sent = |id: &str| json!({"_id": id, "cId": "c", "score": 0, "comment": "", "dateSent": written(day(0))});
    let mut answered = sent("a");
    answered["score"] = json!(9);
    answered["dateAnswered"] = json!(written(day(0)));

    // Answered when it is first seen; only sent; then answered, commented on, and with a time that came later than the answer.
    sync.simulator.add("nps", answered);
    sync.sync_one("nps").await;
    sync.simulator.add("nps", sent("b"));
    sync.sync_one("nps").await;
    let change = |change: &'static [(&'static str, &'static str)]| {
        sync.simulator.edit_source(|source| {
            let all = change.iter().map(|(name, value)| ((*name).to_owned(), serde_json::from_str(value).unwrap()));
            source.change("nps", "b", |answer| answer.extend(all));
        });
    };
    change(&[("score", "10")]);
    sync.sync_one("nps").await;
    change(&[("dateAnswered", "\"2026-11-21T13:00:00.000Z\"")]);
    sync.sync_one("nps").await;
    change(&[("comment", "\"good\"")]);
    sync.sync_one("nps").await;
    sync.simulator.delete("nps", "b");
    sync.now += chrono::TimeDelta::days(1);
    sync.full_sync_one("nps").await;

    assert_eq!(
        sync.one(NAMES).await,
        "NPS Response: created, NPS Created: created, NPS Response: updated, NPS Updated: updated, NPS Updated: updated, \
         NPS Deleted: deleted"
    );
}

#[tokio::test]
async fn an_old_record_that_is_seen_for_the_first_time_is_told_from_a_new_one() {
    let old = |id: &str| json!({"_id": id, "name": "Old", "createdAt": written(day(-3000)), "updatedAt": written(day(-2900))});
    let mut sync = TestSync::new(small().with("companies", vec![old("old"), old("older")])).await;
    sync.sync_one("companies").await;
    assert_eq!(sync.one(NAMES).await, "", "both are outside the history");

    sync.now = day(1);
    sync.simulator.edit("companies", "old", day(1), |company| _ = company.insert("phase".into(), json!("Live")));
    sync.simulator.add("companies", json!({"_id": "new", "createdAt": written(day(1)), "updatedAt": written(day(1))}));
    // Its creation time is that of another system; by its id it is new.
    let imported = format!("{:08x}0000000000000001", day(1).timestamp());
    sync.simulator.add("companies", json!({"_id": imported, "createdAt": written(day(-3000)), "updatedAt": written(day(1))}));
    sync.sync_one("companies").await;
    let later = day(1) + chrono::TimeDelta::hours(1);
    sync.simulator.edit("companies", "old", later, |company| _ = company.insert("phase".into(), json!("Lost")));
    sync.sync_one("companies").await;
    sync.backfill_one("companies", HistoryFrom::Earliest).await;

    let told = "select string_agg(format('%s %s %s %s', record_id, kind, first_seen, to_char(happened_at, 'YYYY-MM-DD HH24')), E'\n' order by record_id, id) from planhat.actions";
    let told = sync.one(told).await.replace(&imported, "imported");
    insta::assert_snapshot!(told, @"
    imported created f 2026-11-22 12
    new created f 2026-11-22 12
    old updated t 2026-11-22 12
    old updated f 2026-11-22 13
    older created t 2018-09-04 12
    ");
    let new = "select string_agg(record_id, ' ' order by record_id) from planhat.actions
        where kind = 'created' and not first_seen and seen_at >= now() - interval '1 day'";
    assert_eq!(sync.one(new).await.replace(&imported, "imported"), "imported new");
    assert_eq!(
        sync.one("select string_agg(distinct first_seen::text, ' ') from planhat.timeline where record_id = 'new'").await,
        "false"
    );
}

#[tokio::test]
async fn a_record_that_is_stored_late_without_a_change_is_first_seen_and_dated_to_its_creation() {
    let mut sync = TestSync::new(Workspace::empty()).await;
    sync.limits.history = History::Within(Duration::from_secs(30 * 86_400));
    sync.simulator.add("tasks", json!({"_id": "t", "createdAt": written(day(-100)), "updatedAt": written(day(-90))}));
    sync.sync_one("tasks").await;
    assert_eq!(sync.one(NAMES).await, "");

    // More history is asked for later.
    sync.limits.history = History::Within(Duration::from_secs(365 * 86_400));
    sync.full_sync_one("tasks").await;

    assert_eq!(sync.one(NAMES).await, "Task Created: created (first seen)");
    assert_eq!(sync.one("select to_char(happened_at, 'MM-DD') from planhat.actions").await, "08-13");
}

#[tokio::test]
async fn a_table_of_actions_of_an_earlier_release_is_read_before_it_is_upgraded_and_upgraded_by_the_next_run() {
    let sync = TestSync::new(small()).await;
    sync.sync_one("companies").await;
    let earlier = "drop view planhat.timeline; alter table planhat.actions drop column first_seen";
    sqlx::raw_sql(earlier).execute(sync.store.pool()).await.unwrap();
    let filter = store::ActionFilter::default();
    let query = store::ActionQuery { schema: "planhat", filter: &filter, rules: &sync.limits.rules };
    let mut db = sync.store.pool().acquire().await.unwrap();
    let read = store::newest_actions(&mut db, query, None, 9).await.unwrap();
    assert_eq!(read.iter().map(|action| action.first_seen).collect::<Vec<_>>(), [None]);

    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("phase".into(), json!("Live")));
    sync.sync_one("companies").await;

    let read = store::newest_actions(&mut db, query, None, 9).await.unwrap();
    assert_eq!(read.iter().map(|action| action.first_seen).collect::<Vec<_>>(), [Some(false), None]);
    let comment = "select col_description('planhat.actions'::regclass, attnum) from pg_attribute where attrelid = 'planhat.actions'::regclass and attname = 'first_seen'";
    assert!(sync.one(comment).await.contains("not first_seen"));
}
