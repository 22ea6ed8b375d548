//! The call budget as the server sees it: never more calls than configured, and nearly all of them while there is work.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use planhat_api::{Budget, Client, RowsPerPage};
use planhat_model::catalog;
use planhat_simulator::{Options, Quota, Workspace};
use planhat_store::RunStatus;
use planhat_sync::pull::Mode;
use planhat_sync::run;
use serde_json::json;

use crate::harness::{TestSync, connection_to};
use crate::waiting::{this_test_may_take, within};

const CALLS: u32 = 200;
const OBJECTS: [&str; 4] = ["projects", "objectives", "invoices", "sales"];

/// A server that enforces the quota, and a client that may use it up.
async fn limited(period: Duration, records: usize) -> (TestSync, Client) {
    let quota = Quota { calls: CALLS as usize, within: period, sends_retry_after: false };
    let numbered = || (0..records).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let workspace = OBJECTS.iter().fold(Workspace::empty(), |workspace, object| workspace.with(object, numbered()));
    let sync = TestSync::with(workspace, Options { quota: Some(quota), ..Options::default() }).await;
    let connection = connection_to(&sync.simulator.url(), sync.simulator.token());
    let client = Client::new(connection, Budget::per_period(CALLS, period)).unwrap();
    (sync, client)
}

fn assert_used_but_not_exceeded(sync: &TestSync, period: Duration) {
    assert!(sync.simulator.requests().iter().all(|request| request.status == 200), "the server refused a call");
    let busiest = sync.simulator.busiest(period);
    assert!(busiest <= CALLS as usize && busiest >= CALLS as usize * 95 / 100, "{busiest} calls of {CALLS}");
}

/// A minute of five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_used_to_95_percent_and_never_exceeded() {
    let period = Duration::from_secs(5);
    let (sync, client) = limited(period, 1).await;
    let end = Instant::now() + period.mul_f64(1.3);
    let reader = |object| {
        let client = client.for_object(catalog::object(object).unwrap());
        async move {
            while Instant::now() < end {
                client.list(&[]).await.unwrap();
            }
        }
    };

    join_all(OBJECTS.map(reader)).await;

    assert_used_but_not_exceeded(&sync, period);
}

/// Each process begins with a budget of its own, and is killed after a few calls.
#[tokio::test(flavor = "multi_thread")]
async fn short_runs_in_a_row_stay_within_the_quota() {
    let period = Duration::from_secs(2);
    let (sync, _) = limited(period, 1).await;
    let end = Instant::now() + period.mul_f64(1.3);
    while Instant::now() < end {
        let connection = connection_to(&sync.simulator.url(), sync.simulator.token());
        let client = Client::new(connection, Budget::per_period(CALLS, period)).unwrap();
        join_all(OBJECTS.map(async |object| client.for_object(catalog::object(object).unwrap()).list(&[]).await.unwrap())).await;
    }

    assert!(sync.simulator.requests().iter().all(|request| request.status == 200), "the server refused a call");
    assert!(sync.simulator.busiest(period) <= CALLS as usize, "{}", sync.simulator.busiest(period));
}

/// The real thing; it takes three minutes: `scripts/with-postgres cargo test --locked --test it -- --ignored two_hundred`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes"]
async fn two_hundred_calls_a_minute_are_used_to_95_percent_and_never_exceeded() {
    this_test_may_take(Duration::from_secs(600));
    let period = Duration::from_secs(60);
    let (mut sync, client) = limited(period, 140).await;
    // A page brings one new record: 140 calls an object.
    sync.limits.pages.size = RowsPerPage::Fixed(2);
    let objects = OBJECTS.map(|object| catalog::object(object).unwrap());
    let begun = Instant::now();

    let request = sync.request(Mode::Incremental, &objects);
    let load = run::run(&client, &sync.store, &request, &sync.stop);
    let summary = within(Duration::from_secs(500), "a load of three minutes", load).await.unwrap();

    assert_eq!(summary.status, RunStatus::Succeeded);
    assert_used_but_not_exceeded(&sync, period);
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let calls = sync.simulator.requests().len();
    assert!(calls as f64 >= 0.95 * f64::from(CALLS) * minutes, "{calls} calls in {minutes} minutes");
    sync.assert_equals_workspace(&objects).await;
}
