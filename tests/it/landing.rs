//! What is stored in PostgreSQL, compared with the records of the workspace.

use planhat_model::catalog;
use planhat_simulator::{ScriptedAnswer, Workspace};
use planhat_store::{ObjectStatus, RunStatus};
use planhat_sync::pull::Mode;
use serde_json::{Value, json};

use crate::harness::{TestSync, day, written};
use crate::waiting::eventually;

#[tokio::test]
async fn every_value_of_every_record_of_every_object_is_stored() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let all: Vec<_> = catalog::OBJECTS.iter().collect();

    let summary = sync.run(Mode::Incremental, &all).await;

    assert_eq!(summary.status, RunStatus::Succeeded);
    sync.assert_equals_workspace(&all).await;
}

#[tokio::test]
async fn every_value_of_a_generated_workspace_is_stored() {
    let sync = TestSync::new(Workspace::generated(11, 3000)).await;

    sync.sync().await;

    sync.assert_equals_workspace(&catalog::default_objects()).await;
}

#[tokio::test]
async fn a_second_sync_writes_nothing() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync().await;
    let before = versions(&sync).await;

    let second = sync.sync().await;

    assert!(second.objects.iter().all(|object| object.run.figures.inserted + object.run.figures.updated == 0), "{second:?}");
    assert_eq!(versions(&sync).await, before);
}

#[tokio::test]
async fn rows_whose_hash_another_release_has_made_in_another_way_are_written_once_more_and_are_no_actions() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync_one("licenses").await;
    let actions = "select count(*)::text from planhat.actions";
    let (rows, noted) = (sync.one("select count(*)::text from planhat.licenses").await, sync.one(actions).await);
    let version = "select string_agg(distinct (_row_hash >> 56)::text, ' ') from planhat.licenses";
    assert_eq!(sync.one(version).await, "2");
    let remade = "update planhat.licenses set _row_hash = _row_hash - (2::bigint << 56) + (99::bigint << 56)";
    sqlx::raw_sql(remade).execute(sync.store.pool()).await.unwrap();

    let first = sync.full_sync_one("licenses").await;
    let second = sync.full_sync_one("licenses").await;

    assert_eq!((first.run.figures.updated.to_string(), second.run.figures.updated), (rows, 0));
    assert_eq!((sync.one(version).await, sync.one(actions).await), ("2".to_owned(), noted));
}

/// The transaction that wrote each row.
async fn versions(sync: &TestSync) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for object in catalog::default_objects() {
        let select = sqlx::AssertSqlSafe(format!("select planhat__id, xmin::text from planhat.{} order by 1", object.name));
        versions.extend(sqlx::query_as::<_, (String, String)>(select).fetch_all(sync.store.pool()).await.unwrap());
    }
    versions
}

#[tokio::test]
async fn only_edited_records_are_written_again() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync().await;
    let companies = sync.simulator.records("companies");
    let id = |index: usize| companies[index]["_id"].as_str().unwrap().to_owned();
    sync.simulator.edit("companies", &id(0), day(0), |company| {
        company.insert("custom".into(), json!({"Brand new field": "x"}));
        company.remove("description");
    });
    sync.simulator.touch("companies", &id(1), day(0));
    sync.simulator.add("licenses", json!({"_id": "new", "companyId": id(0), "mrr": 10.10}));

    let summary = sync.sync().await;

    let figures = |object: &str| {
        let found = summary.objects.iter().find(|summary| summary.run.object == object).unwrap();
        (found.run.figures.inserted, found.run.figures.updated)
    };
    assert_eq!((figures("companies"), figures("licenses"), figures("endusers")), ((0, 2), (1, 0), (0, 0)));
    sync.assert_equals_workspace(&catalog::default_objects()).await;
}

#[tokio::test]
async fn recorded_responses_load_without_a_misfit_or_a_quarantined_record() {
    let recorded = [
        ("companies", include_str!("../../fixtures/recorded/companies.json")),
        ("endusers", include_str!("../../fixtures/recorded/endusers.json")),
        ("licenses", include_str!("../../fixtures/recorded/licenses.json")),
        ("users", include_str!("../../fixtures/recorded/users.json")),
    ];
    let workspace = recorded
        .iter()
        .fold(Workspace::empty(), |workspace, (object, text)| workspace.with(object, serde_json::from_str(text).unwrap()));
    let mut sync = TestSync::new(workspace).await;
    sync.now = "2021-01-01T00:00:00Z".parse().unwrap();

    let summary = sync.sync().await;

    assert_eq!(summary.status, RunStatus::Succeeded);
    for (object, _) in recorded {
        let figures = summary.objects.iter().find(|summary| summary.run.object == object).unwrap().run.figures;
        assert_eq!((figures.misfits, figures.quarantined, figures.overflowed), (0, 0, 0), "{object}");
    }
    sync.assert_equals_workspace(&catalog::default_objects()).await;
    assert_eq!(sync.one("select planhat__next_touch::text from planhat.companies").await, "2020-01-28 16:46:01.944+00");
}

#[tokio::test]
async fn columns_are_typed_named_and_described() {
    let company = json!({"_id": "a", "h": 7, "mrr": 1e2, "lastTouch": written(day(-1)), "autoRenews": true, "tags": ["x"],
        "custom": {"# Seats": 10, "# seats": "ten", "🚀 Go–live [EU]": "2023-09-01T00:00:00.000Z", "it's; \"quoted\\": null, "Tier": "A"}});
    let sync = TestSync::new(Workspace::empty().with("companies", vec![company])).await;

    sync.sync_one("companies").await;

    let described = "select string_agg(format('%s %s -- %s', attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)), E'\n' order by attname)
        from pg_attribute where attrelid = 'planhat.companies'::regclass and attnum > 0 and (attname ~ '^_|__custom$' or attname in
            ('planhat__auto_renews', 'planhat__health', 'planhat__id', 'planhat__last_touch', 'planhat__mrr', 'planhat__tags'))";
    insta::assert_snapshot!(sync.one(described).await, @"
    _deleted_at timestamp with time zone -- when the record was found deleted at Planhat; null while it exists there
    _first_seen_at timestamp with time zone -- when the record was first stored
    _misfits jsonb -- type mismatches: values that do not fit the type of their column, by column name; the column itself is null
    _overflow jsonb -- values that have no column, or no room in the row, by their Planhat names
    _row_hash bigint -- hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again
    _run_id bigint -- the run that wrote this version, see planhat_sync.runs
    _synced_at timestamp with time zone -- when this version was written
    planhat__auto_renews boolean -- autoRenews (property, boolean)
    planhat__health numeric -- h (property, numeric)
    planhat__id text -- _id (property, text)
    planhat__last_touch timestamp with time zone -- lastTouch (property, timestamptz)
    planhat__mrr numeric -- mrr (property, numeric)
    planhat__rocket_go_live_eu__custom timestamp with time zone -- 🚀 Go–live [EU] (custom field, timestamptz)
    planhat__seats__custom numeric -- # Seats (custom field, numeric)
    planhat__seats_c69fdec5__custom text -- # seats (custom field, text)
    planhat__tags jsonb -- tags (property, jsonb)
    planhat__tier__custom text -- Tier (custom field, text)
    ");
}

#[tokio::test]
async fn a_cleared_property_is_null_and_the_rest_stays() {
    let sync = TestSync::new(
        Workspace::empty().with("tasks", vec![json!({"_id": "a", "type": "call", "status": "done", "custom": {"x": 1}})]),
    )
    .await;
    sync.sync_one("tasks").await;
    sync.simulator.edit("tasks", "a", day(0), |task| {
        task.remove("status");
        task.insert("custom".into(), json!({}));
    });

    sync.sync_one("tasks").await;

    assert_eq!(
        sync.one("select concat_ws('|', planhat__type, planhat__status, planhat__x__custom) from planhat.tasks").await,
        "call"
    );
}

#[tokio::test]
async fn a_misfit_is_kept_counted_and_named() {
    let records = vec![json!({"_id": "a", "value": 1}), json!({"_id": "b", "value": "plenty"}), json!({"_id": "c", "value": ""})];
    let sync = TestSync::new(Workspace::empty().with("assets", records)).await;

    let summary = sync.sync_one("assets").await;

    assert_eq!(summary.run.figures.misfits, 1);
    assert_eq!(summary.misfit_columns["planhat__value"], 1);
    let stored =
        "select string_agg(concat_ws(' ', planhat__id, planhat__value, _misfits), ', ' order by planhat__id) from planhat.assets";
    assert_eq!(sync.one(stored).await, r#"a 1, b {"planhat__value": "plenty"}, c"#);
}

#[tokio::test]
async fn a_record_without_an_id_is_quarantined_and_the_other_records_of_its_page_are_stored() {
    let records = vec![json!({"_id": "a"}), json!({"name": "nobody"}), json!("odd"), json!({"_id": "b"})];
    let sync = TestSync::new(Workspace::empty().with("projects", records)).await;

    let first = sync.run(Mode::Incremental, &[catalog::object("projects").unwrap()]).await;
    sync.sync_one("projects").await;

    assert_eq!(first.status, RunStatus::Partial);
    assert_eq!(first.objects[0].run.figures.quarantined, 2);
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "2");
    let kept = "select string_agg(reason || ': ' || raw, E'\n' order by reason) from planhat_sync.quarantine";
    assert_eq!(sync.one(kept).await, "no _id: {\"name\":\"nobody\"}\nnot an object but a string: \"odd\"");
}

#[tokio::test]
async fn numbers_keep_their_digits() {
    let record: Value = serde_json::from_str(
        r#"{"_id": "a", "value": 123456789012345678901234567890.123456789012345678901234567890, "custom": {"ratio": 0.1}}"#,
    )
    .unwrap();
    let sync = TestSync::new(Workspace::empty().with("assets", vec![record])).await;

    sync.sync_one("assets").await;

    let stored = sync.one("select planhat__value::text || ' ' || planhat__ratio__custom from planhat.assets").await;
    assert_eq!(stored, "123456789012345678901234567890.123456789012345678901234567890 0.1");
}

#[tokio::test]
async fn numbers_and_times_are_stored_as_postgresql_reads_their_texts() {
    let numbers = "0 -0 -0.00 7 -7 9999 10000 10001 12345.60 0.5 0.00015 -100000000.50 0.0000000001 99999999999999999999.99990";
    let times = "2023-07-11T08:00:00.123Z 0001-01-01T00:00:00.000Z 1969-12-31T23:59:59.999Z 2024-02-29T12:00:00.000Z 9999-12-31T23:59:59.999Z";
    let numbered =
        numbers.split(' ').enumerate().map(|(index, number)| format!(r#"{{"_id": "n{index:02}", "value": {number}}}"#));
    let timed = times.split(' ').enumerate().map(|(index, time)| format!(r#"{{"_id": "t{index:02}", "createdAt": "{time}"}}"#));
    let with_exponent = r#"{"_id": "a", "quantity": 1.50e2}"#.to_owned();
    let records = numbered.chain(timed).chain([with_exponent]).map(|text| serde_json::from_str(&text).unwrap()).collect();
    let sync = TestSync::new(Workspace::empty().with("assets", records)).await;

    sync.sync_one("assets").await;

    let stored = "select string_agg(planhat__value::text, ' ' order by planhat__id) from planhat.assets";
    assert_eq!(sync.one(stored).await, numbers.replace("-0 ", "0 ").replace("-0.00 ", "0.00 "));
    let stored = "select string_agg(to_char(planhat__created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), ' '
            order by planhat__id) from planhat.assets";
    assert_eq!(sync.one(stored).await, times);
    assert_eq!(sync.one("select max(planhat__quantity)::text from planhat.assets").await, "150");
}

#[tokio::test]
async fn a_row_that_a_user_inserts_during_the_first_load_is_written_over_by_its_record() {
    let records = (0..300).map(|n| json!({"_id": format!("p{n:03}"), "name": "from Planhat"})).collect();
    let sync = TestSync::new(Workspace::empty().with("projects", records)).await;
    let held = sync.hold_at_page(2, "projects");
    let insert = "insert into planhat.projects (planhat__id, planhat__name, _row_hash, _run_id) values ('p299', 'mine', 1, 1)";

    let (summary, ()) = tokio::join!(sync.sync_one("projects"), async {
        held.reached().await;
        eventually("a first page", async || sync.one("select (count(*) > 0)::text from planhat.projects").await == "true").await;
        sync.do_at_once(&[insert]).await;
        held.open();
    });

    assert_eq!(
        (summary.run.status, summary.run.figures.inserted, summary.run.figures.updated),
        (ObjectStatus::Succeeded, 299, 1)
    );
    let stored = "select count(*) || ' ' || count(*) filter (where planhat__name = 'from Planhat') from planhat.projects";
    assert_eq!(sync.one(stored).await, "300 300");
}

#[tokio::test]
async fn a_users_view_survives_new_columns() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync_one("companies").await;
    sqlx::raw_sql("create view public.v as select planhat__name from planhat.companies")
        .execute(sync.store.pool())
        .await
        .unwrap();
    let id = sync.simulator.records("companies")[0]["_id"].as_str().unwrap().to_owned();
    sync.simulator.edit("companies", &id, day(0), |company| _ = company.insert("somethingNew".into(), json!(1)));

    sync.sync_one("companies").await;

    assert_eq!(
        sync.one("select planhat__something_new::text from planhat.companies where planhat__something_new is not null").await,
        "1"
    );
    assert_ne!(sync.one("select count(*)::text from public.v").await, "0");
}

#[tokio::test]
async fn a_table_that_was_dropped_is_loaded_again_from_the_beginning() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync_one("companies").await;
    sqlx::raw_sql("drop table planhat.companies cascade").execute(sync.store.pool()).await.unwrap();

    sync.sync_one("companies").await;

    sync.assert_equals_workspace(&[catalog::object("companies").unwrap()]).await;
}

#[tokio::test]
async fn a_change_is_detected_at_any_depth_and_too_deep_a_record_is_quarantined() {
    let sync = TestSync::new(Workspace::empty()).await;
    let nested = |levels: usize, inside: &str| format!("{}{inside}{}", "[".repeat(levels), "]".repeat(levels));
    for (levels, kept) in [(120, "2 in 1, 0"), (150, "2 in 1, 1")] {
        for inside in ["1", "2"] {
            let list = format!(r#"[{{"_id":"{levels}","x":{}}}]"#, nested(levels, inside));
            sync.simulator.answer_next("projects", vec![ScriptedAnswer::text(200, "application/json", list)]);
            sync.sync_one("projects").await;
        }
        let told = "select concat(max(replace(replace(planhat__x::text, '[', ''), ']', '')), ' in ', count(*), ', ',
            (select count(*) from planhat_sync.quarantine)) from planhat.projects";
        assert_eq!(sync.one(told).await, kept, "{levels} levels");
    }
}

#[tokio::test]
async fn ids_that_differ_by_half_a_surrogate_pair_stay_different() {
    let sync = TestSync::new(Workspace::empty()).await;
    let list = r#"[{"_id":"b\ud83d"},{"_id":"b\ud83e"},{"_id":"b","name":"\ud83d"}]"#;
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::text(200, "application/json", list)]);

    let summary = sync.sync_one("projects").await;

    assert_eq!((summary.run.figures.inserted, summary.run.figures.quarantined), (1, 2));
}

#[tokio::test]
async fn recorded_answers_have_no_type_mismatch_in_a_documented_property() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recorded");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut answers: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    answers.sort();
    assert_eq!(answers.len(), 15);
    for path in answers {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let object = catalog::object(name.split('.').next().unwrap()).unwrap();
        let records: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut sync = TestSync::new(Workspace::empty().with(object.name, records.clone())).await;
        // They are of years ago.
        sync.limits.history = planhat_model::scan::History::Within(std::time::Duration::from_secs(20 * 365 * 86_400));

        let summary = sync.run(Mode::Incremental, &[object]).await.objects.remove(0);

        assert_eq!((summary.run.figures.misfits, summary.misfit_columns.len()), (0, 0), "{name}: {:?}", summary.misfit_columns);
        sync.assert_equals_workspace(&[object]).await;
    }
}
