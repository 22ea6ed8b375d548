//! What goes wrong on the way, and that it is mended or said.

use planhat_sync::catalog;
use planhat_sync::simulator::{Answer, Options, Simulator, Workspace};
use planhat_sync::store::ObjectStatus;
use serde_json::json;

use crate::harness::Sync;

async fn after(answers: Vec<Answer>) -> (Sync, planhat_sync::run::ObjectSummary) {
    let sync = Sync::new(Workspace::from_fixtures()).await;
    sync.simulator.answer_next("tasks", answers);
    let summary = sync.sync_one("tasks").await;
    (sync, summary)
}

#[tokio::test]
async fn what_is_transient_is_asked_again() {
    for answer in [
        Answer::status(429).with_header("retry-after", "0"),
        Answer::status(408),
        Answer::text(500, "text/html", "<html>oops</html>"),
        Answer::status(502),
        Answer::status(503).with_header("retry-after", "Wed, 01 Jan 2020 00:00:00 GMT"),
        Answer::status(504),
        Answer::json(200, json!({"message": "try later"})),
        Answer::text(200, "application/json", "[{\"_id\": \"a\""),
        Answer::text(200, "application/json", ""),
    ] {
        let (sync, summary) = after(vec![answer.clone(), answer]).await;
        assert_eq!(summary.run.status, ObjectStatus::Succeeded);
        sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
    }
}

#[tokio::test]
async fn what_stays_broken_fails_its_object_and_says_how() {
    for (answer, said) in [
        (
            Answer::text(503, "text/html", "<h1>down for\n maintenance</h1>"),
            "/tasks answered 503 Service Unavailable: <h1>down for maintenance</h1>",
        ),
        (Answer::json(200, json!({"message": "odd"})), "something that is not a list of records: odd"),
        (Answer::json(200, json!({"data": [{"name": "Private Person"}], "total": 1})), "an object with data, total"),
        (Answer::status(301).with_header("location", "http://elsewhere.example"), "/tasks answered 301 Moved Permanently"),
        (Answer::status(400), "/tasks answered 400 Bad Request"),
    ] {
        let (sync, summary) = after(vec![answer; 8]).await;
        assert_eq!(summary.run.status, ObjectStatus::Failed);
        let reason = summary.run.reason.unwrap();
        assert!(reason.contains(said), "{reason}");
        assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors").await, "0");
    }
}

#[tokio::test]
async fn customer_data_of_a_broken_list_stays_out_of_the_message() {
    let (_, summary) =
        after(vec![Answer::text(200, "application/json", "[{\"_id\": \"a\", \"name\": \"Private Person\""); 8]).await;
    let reason = summary.run.reason.unwrap();
    assert!(!reason.contains("Private Person"), "{reason}");
}

#[tokio::test]
async fn a_token_that_the_server_sends_back_is_masked() {
    let echo = Answer::text(500, "text/plain", "bad token simulated-token!");
    let (_, summary) = after(vec![echo; 8]).await;
    let reason = summary.run.reason.unwrap();
    assert!(reason.contains("bad token [token]!"), "{reason}");
}

#[tokio::test]
async fn one_object_that_fails_leaves_the_others_alone_and_goes_on_next_time() {
    let sync = Sync::new(Workspace::from_fixtures()).await;
    sync.simulator.answer_next("companies", vec![Answer::status(500); 4]);

    let first = sync.sync().await;
    let second = sync.sync().await;

    assert_eq!(first.status, planhat_sync::store::RunStatus::Partial);
    assert_eq!(second.status, planhat_sync::store::RunStatus::Succeeded);
    sync.assert_equals_workspace(&catalog::default_objects()).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Simulator::start(Workspace::from_fixtures(), Options::default()).await.unwrap();
    let redirect = Answer::status(302).with_header("location", &format!("{}/tasks", elsewhere.url()));
    let (_, summary) = after(vec![redirect]).await;
    assert_eq!(summary.run.status, ObjectStatus::Failed);
    assert!(elsewhere.requests().is_empty(), "the token went elsewhere");
}
