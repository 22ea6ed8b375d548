//! What the token may not read.

use planhat_model::catalog;
use planhat_simulator::{Options, ScriptedAnswer, Workspace};
use planhat_store::{ObjectStatus, RunStatus};
use planhat_sync::pull::Mode;
use planhat_sync::run::{self, RunRequest};
use serde_json::json;

use crate::harness::{TestSync, client_of, day};

#[tokio::test]
async fn objects_that_the_token_may_not_read_are_skipped_and_the_others_are_loaded() {
    let forbidden = ["tickets".to_owned(), "nps".to_owned()].into();
    let sync = TestSync::with(Workspace::from_fixtures(), Options { forbidden, ..Options::default() }).await;

    let summary = sync.sync().await;

    assert_eq!(summary.status, RunStatus::Succeeded);
    let skipped: Vec<_> = summary.objects.iter().filter(|object| object.run.status == ObjectStatus::Skipped).collect();
    let said: Vec<_> = skipped.iter().map(|object| object.run.reason.clone().unwrap_or_default()).collect();
    assert_eq!(
        said,
        [
            "could not read tickets from offset 0: /tickets answered 403 Forbidden",
            "could not read nps from offset 0: /nps answered 403 Forbidden",
        ]
    );
    let rest: Vec<_> =
        catalog::default_objects().into_iter().filter(|object| !["tickets", "nps"].contains(&object.name)).collect();
    sync.assert_equals_workspace(&rest).await;
    assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors where object in ('tickets', 'nps')").await, "0");
}

#[tokio::test]
async fn an_object_that_the_workspace_does_not_have_is_skipped_too() {
    let sync =
        TestSync::with(Workspace::from_fixtures(), Options { missing: ["churn".to_owned()].into(), ..Options::default() }).await;
    let summary = sync.sync_one("churn").await;
    assert_eq!(summary.run.status, ObjectStatus::Skipped);
}

#[tokio::test]
async fn an_object_whose_permission_is_granted_later_gets_its_first_load() {
    let sync =
        TestSync::with(Workspace::from_fixtures(), Options { forbidden: ["nps".to_owned()].into(), ..Options::default() }).await;
    sync.sync().await;
    sync.simulator.allow("nps");

    sync.sync().await;

    sync.assert_equals_workspace(&catalog::default_objects()).await;
}

#[tokio::test]
async fn a_revoked_permission_keeps_rows_and_watermark() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync_one("nps").await;
    let before = sync.one("select watermark::text from planhat_sync.cursors where object = 'nps'").await;
    sync.simulator.forbid("nps");

    let summary = sync.run(Mode::Incremental, &["nps", "companies"].map(|name| catalog::object(name).unwrap())).await;

    assert_eq!((summary.status, summary.objects[0].run.status), (RunStatus::Partial, ObjectStatus::Failed));
    assert_eq!(sync.one("select watermark::text from planhat_sync.cursors where object = 'nps'").await, before);
    let reason = "could not read nps from offset 0: /nps answered 403 Forbidden; it could be read until ";
    assert!(summary.why.reason.unwrap().starts_with(reason));
    // It is on record, with what to do: of the run, of the object in it, and of the object as it stands.
    let noted = "select concat_ws(' | ', runs.status, runs.hint = objects.hint, objects.status, states.status, states.hint,
                     states.last_success_run_id, states.reason = objects.reason and runs.reason = objects.reason)
                 from planhat_sync.runs join planhat_sync.object_runs as objects on objects.run_id = runs.id
                     join planhat_sync.object_states as states on states.run_id = runs.id and states.object = objects.object
                 where runs.id = 2 and objects.object = 'nps'";
    assert_eq!(
        sync.one(noted).await,
        "partial | t | failed | failed | give the private app back its read access to nps in Planhat, or leave it out of \
         planhat.objects | 1 | t"
    );
    sync.assert_equals_workspace(&[catalog::object("nps").unwrap()]).await;
}

#[tokio::test]
async fn a_dry_run_reports_a_revoked_permission_as_a_run_does() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync_one("nps").await;
    sync.simulator.forbid("nps");
    let nps = [catalog::object("nps").unwrap()];

    let order = sync.request(Mode::Incremental, &nps);
    let summary = run::preview(&sync.client(), &sync.store, &order, false, &sync.stop).await.unwrap();

    assert_eq!((summary.status, summary.objects[0].run.status), (RunStatus::Failed, ObjectStatus::Failed));
}

#[tokio::test]
async fn a_run_that_may_not_read_any_object_fails() {
    let forbidden = catalog::OBJECTS.iter().map(|object| object.name.to_owned()).collect();
    let sync = TestSync::with(Workspace::from_fixtures(), Options { forbidden, ..Options::default() }).await;
    assert_eq!(sync.sync().await.status, RunStatus::Failed);
}

#[tokio::test]
async fn a_refused_token_ends_the_run_and_moves_nothing() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let client = client_of(&sync.simulator, "wrong");
    let objects = catalog::default_objects();
    let order = RunRequest { concurrency: 2, ..sync.request(Mode::Incremental, &objects) };

    let summary = sync.run_of(&client, &order).await.unwrap();

    assert_eq!(summary.status, RunStatus::Failed);
    assert!(sync.simulator.requests().len() <= 3, "the other objects were asked for too");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors").await, "0");
    assert_eq!(sync.one("select status from planhat_sync.runs").await, "failed");
}

#[tokio::test]
async fn a_token_revoked_between_two_pages_keeps_committed_rows() {
    let records = (0..250).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let sync = TestSync::new(Workspace::empty().with("projects", records)).await;
    let revoked = ScriptedAnswer::status(401);
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::json(200, json!([{"_id": "00000"}, {"_id": "00001"}])), revoked]);

    let summary = sync.run(Mode::Incremental, &[catalog::object("projects").unwrap()]).await;

    assert_eq!(summary.status, RunStatus::Failed);
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "2");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors").await, "0");

    sync.sync_one("projects").await;
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

#[tokio::test]
async fn a_permission_revoked_between_two_pages_keeps_committed_rows_and_the_watermark() {
    let records = (0..250).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let mut sync = TestSync::new(Workspace::empty().with("projects", records)).await;
    sync.sync_one("projects").await;
    let before = sync.one("select watermark::text from planhat_sync.cursors").await;
    sync.now = day(1);
    let edit = |id: &str| {
        sync.simulator.edit("projects", id, day(1), |record| _ = record.insert("name".into(), json!("edited")));
    };
    ["00050", "00150", "00249"].into_iter().for_each(edit);
    let first_page = serde_json::Value::Array(sync.simulator.records("projects")[..100].to_vec());
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::json(200, first_page), ScriptedAnswer::status(403)]);

    let summary = sync.sync_one("projects").await;

    assert_eq!((summary.run.status, summary.run.figures.updated), (ObjectStatus::Failed, 1));
    let reason =
        "could not read projects from offset 99: /projects answered 403 Forbidden; its first pages could be read in this run";
    assert_eq!(summary.run.reason.unwrap(), reason);
    assert_eq!(sync.one("select watermark::text from planhat_sync.cursors").await, before);

    sync.simulator.forget_requests();
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
    let next = sync.simulator.requests().into_iter().find(|request| request.path == "/projects").unwrap();
    assert_eq!(next.query["offset"], "99");
    assert_ne!(sync.one("select watermark::text from planhat_sync.cursors").await, before);
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}
