//! Faults between the API and planhat-sync, which are retried or reported: one test per fault.
//!
//! Each test ends after the fault is over, with every record in its row.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use planhat_api::{Budget, Client, ClientConfig, RetryPolicy};
use planhat_model::catalog;
use planhat_simulator::{Content, Options, Quota, Request, ScriptedAnswer, Simulator, Workspace};
use planhat_store::{ObjectStatus, RunStatus};
use planhat_sync::pull::Mode;
use planhat_sync::run::{ObjectSummary, Summary};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;

use crate::harness::{TestSync, client_with, connection_to};
use crate::waiting::eventually;

const RECORDS: usize = 250;
/// One attempt and its repetitions.
const ATTEMPTS: usize = 4;
const MAX_PAGE_BYTES: u64 = 1 << 20;

fn records() -> Vec<Value> {
    (0..RECORDS).map(|number| json!({"_id": format!("{number:05}"), "name": format!("Project {number}")})).collect()
}

/// Three pages of projects.
async fn projects() -> TestSync {
    TestSync::new(Workspace::empty().with("projects", records())).await
}

fn first_page() -> ScriptedAnswer {
    ScriptedAnswer::json(200, Value::Array(records()[..100].to_vec()))
}

/// Short delays between attempts, and little room for a page.
fn strict(sync: &TestSync) -> Client {
    let connection = ClientConfig {
        request_timeout: Duration::from_secs(1),
        retry: RetryPolicy { times: ATTEMPTS - 1, first_delay: Duration::ZERO },
        max_page_bytes: MAX_PAGE_BYTES,
        ..connection_to(&sync.simulator.url(), sync.simulator.token())
    };
    Client::new(connection, Budget::per_minute(0)).unwrap()
}

async fn sync_projects(sync: &TestSync, client: &Client) -> ObjectSummary {
    sync.run_with(client, Mode::Incremental, &[catalog::object("projects").unwrap()]).await.objects.remove(0)
}

async fn assert_whole(sync: &TestSync) {
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

/// A fault that passes is not noticed.
async fn is_sat_out(faults: Vec<ScriptedAnswer>) {
    let (sync, count) = (projects().await, faults.len());
    sync.simulator.answer_next("projects", [vec![first_page()], faults].concat());
    let client = Client::new(connection_to(&sync.simulator.url(), sync.simulator.token()), Budget::per_minute(0)).unwrap();

    let run = sync_projects(&sync, &client).await.run;

    assert_eq!((run.status, run.reason), (ObjectStatus::Succeeded, None));
    assert_whole(&sync).await;
    // Each of them was met, and requested again.
    let pages: Vec<_> = sync.simulator.requests().into_iter().filter(|request| request.path == "/projects").collect();
    let again = pages.len() - pages.iter().map(|page| &page.query).collect::<BTreeSet<_>>().len();
    assert_eq!(again, count, "{pages:?}");
}

/// A fault that stays for longer than all attempts take fails its object and says how. The page before it is kept, the
/// watermark does not move, and once it is gone the next run goes on behind that page.
async fn is_said(fault: ScriptedAnswer, said: &str) {
    let sync = projects().await;
    sync.simulator.answer_next("projects", [vec![first_page()], vec![fault; 40]].concat());

    let failed = sync_projects(&sync, &strict(&sync)).await.run;

    assert_eq!(failed.status, ObjectStatus::Failed);
    let reason = failed.reason.unwrap();
    assert!(reason.contains(said), "{reason}");
    assert!(reason.contains("could not read projects from offset 99"), "{reason}");
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "100");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors").await, "0");

    sync.simulator.clear_faults();
    sync.simulator.forget_requests();
    assert_eq!(sync_projects(&sync, &sync.client()).await.run.status, ObjectStatus::Succeeded);
    let next = sync.simulator.requests().into_iter().find(|request| request.path == "/projects").unwrap();
    assert_eq!(next.query["offset"], "99");
    assert_whole(&sync).await;
}

async fn is_sat_out_or_said(fault: ScriptedAnswer, said: &str) {
    is_sat_out(vec![fault.clone(), fault.clone()]).await;
    is_said(fault, said).await;
}

fn html(status: u16) -> ScriptedAnswer {
    ScriptedAnswer::text(status, "text/html", "<html>\n<body>\n<h1>oops</h1></body></html>")
}

fn body(bytes: impl Into<Vec<u8>>) -> ScriptedAnswer {
    ScriptedAnswer::text(200, "application/json", bytes)
}

// ---- Statuses ----

#[tokio::test]
async fn a_429_with_retry_after_in_seconds_is_waited_for() {
    let begun = Instant::now();
    is_sat_out(vec![ScriptedAnswer::status(429).with_header("retry-after", "1")]).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_429_with_retry_after_as_a_date_is_waited_for() {
    let until = Utc::now() + TimeDelta::seconds(2);
    is_sat_out(vec![ScriptedAnswer::status(429).with_header("retry-after", &httpdate::fmt_http_date(until.into()))]).await;
    // The header has whole seconds.
    assert!(Utc::now() >= DateTime::from_timestamp(until.timestamp(), 0).unwrap());
}

#[tokio::test]
async fn a_429_without_retry_after_is_retried() {
    is_sat_out_or_said(ScriptedAnswer::status(429), "/projects answered 429 Too Many Requests").await;
}

#[tokio::test]
async fn a_429_that_asks_for_a_day_is_retried_after_two_minutes() {
    let mut sync = projects().await;
    let fault = ScriptedAnswer::status(429).with_header("retry-after", "86400");
    sync.simulator.answer_next("projects", vec![first_page(), fault]);
    let client = sync.client();
    let look = async {
        let mut wait = None;
        let is_throttled = async || {
            wait = client.throttled_for();
            wait.is_some()
        };
        eventually("the wait of the client", is_throttled).await;
        sync.stop.cancel();
        wait.unwrap()
    };

    let (summary, wait) = tokio::join!(sync_projects(&sync, &client), look);

    assert!(wait > Duration::from_secs(110) && wait <= Duration::from_secs(120), "{wait:?}");
    assert_eq!(summary.run.status, ObjectStatus::Interrupted);
    sync.stop = CancellationToken::new();
    // The next run would wait for the rest.
    sync.do_at_once(&["update planhat_sync.workspaces set throttled_until = null where throttled_until > now()"]).await;
    sync_projects(&sync, &sync.client()).await;
    assert_whole(&sync).await;
}

/// No more is answered than the quota allows, and a request that was refused does not come again before the server wants it to.
#[tokio::test]
async fn the_quota_of_the_server_is_respected() {
    // It always asks for a second.
    let quota = Quota { calls: 2, within: Duration::from_millis(900), sends_retry_after: true };
    let workspace = Workspace::empty().with("projects", records());
    let sync = TestSync::with(workspace, Options { quota: Some(quota), ..Options::default() }).await;

    let run = sync.sync_one("projects").await.run;

    assert_eq!(run.status, ObjectStatus::Succeeded);
    assert_whole(&sync).await;
    let mut requests = sync.simulator.requests();
    requests.sort_by_key(|request| request.at);
    let (answered, refused): (Vec<&Request>, Vec<&Request>) = requests.iter().partition(|request| request.status == 200);
    assert!(!refused.is_empty() && refused.iter().all(|request| request.status == 429), "{refused:?}");
    // The server counts by its own clock, a moment after a request has come.
    let in_the_same_stretch = answered
        .windows(quota.calls + 1)
        .filter(|calls| calls[quota.calls].at - calls[0].at < quota.within - Duration::from_millis(200));
    assert_eq!(in_the_same_stretch.count(), 0, "more calls were answered than the quota allows: {answered:?}");
    for refusal in &refused {
        let is_same =
            |request: &&Request| request.at > refusal.at && (&request.path, &request.query) == (&refusal.path, &refusal.query);
        let again = requests.iter().find(is_same).unwrap_or_else(|| panic!("never requested again: {refusal:?}"));
        assert!(again.at - refusal.at >= Duration::from_secs(1), "{refusal:?} came again after {:?}", again.at - refusal.at);
    }
    // A quota costs no more than a refusal for each stretch of it: who was refused does not knock again and again.
    assert!(refused.len() <= answered.len(), "{} refusals of {} calls", refused.len(), requests.len());
}

#[tokio::test]
async fn a_burst_of_408_is_retried_until_it_is_over() {
    is_sat_out(vec![ScriptedAnswer::status(408); ATTEMPTS - 1]).await;
}

#[tokio::test]
async fn a_burst_of_500_with_html_is_retried_until_it_is_over() {
    is_sat_out(vec![html(500); ATTEMPTS - 1]).await;
}

#[tokio::test]
async fn a_burst_of_502_with_html_is_retried_until_it_is_over() {
    is_sat_out(vec![html(502); ATTEMPTS - 1]).await;
}

#[tokio::test]
async fn a_burst_of_503_with_retry_after_is_retried_until_it_is_over() {
    is_sat_out(vec![html(503).with_header("retry-after", "Wed, 01 Jan 2020 00:00:00 GMT"); ATTEMPTS - 1]).await;
}

#[tokio::test]
async fn a_burst_of_504_is_retried_until_it_is_over() {
    is_sat_out(vec![ScriptedAnswer::status(504); ATTEMPTS - 1]).await;
}

#[tokio::test]
async fn different_faults_in_a_row_are_retried_until_they_are_over() {
    is_sat_out(vec![ScriptedAnswer::status(503), ScriptedAnswer::of(Content::CutOff(b"[".to_vec())), body("")]).await;
}

#[tokio::test]
async fn an_html_error_page_is_reported_on_one_line() {
    is_said(html(503), "/projects answered 503 Service Unavailable: <html> <body> <h1>oops</h1></body></html>").await;
}

#[tokio::test]
async fn any_other_status_fails_its_object_at_once() {
    is_said(ScriptedAnswer::status(400), "/projects answered 400 Bad Request").await;
}

// ---- Bodies ----

#[tokio::test]
async fn a_truncated_body_is_requested_again() {
    is_sat_out_or_said(
        ScriptedAnswer::of(Content::CutOff(b"[{\"_id\": \"00100\"},".to_vec())),
        "/projects ended its answer early",
    )
    .await;
}

#[tokio::test]
async fn truncated_json_is_requested_again() {
    is_sat_out_or_said(body("[{\"_id\": \"00100\"},{\"_i"), "a list that is not whole").await;
}

#[tokio::test]
async fn invalid_utf8_is_requested_again() {
    is_sat_out_or_said(body(*b"[{\"_id\": \"00100\", \"name\": \"\xff\xfe\"}]"), "not answer with a list of records").await;
}

#[tokio::test]
async fn an_object_in_place_of_a_list_is_requested_again() {
    is_sat_out_or_said(
        ScriptedAnswer::json(200, json!({"data": [], "total": 1})),
        "not answer with a list of records but with: an object with data, total",
    )
    .await;
}

#[tokio::test]
async fn an_error_object_in_place_of_a_list_is_requested_again() {
    is_sat_out_or_said(ScriptedAnswer::json(200, json!({"message": "odd"})), "not answer with a list of records but with: odd")
        .await;
}

#[tokio::test]
async fn a_string_in_place_of_a_list_is_requested_again() {
    is_sat_out_or_said(
        ScriptedAnswer::json(200, json!("Private Person")),
        "not answer with a list of records but with: a string",
    )
    .await;
}

#[tokio::test]
async fn null_in_place_of_a_list_is_requested_again() {
    is_sat_out_or_said(ScriptedAnswer::json(200, Value::Null), "not answer with a list of records but with: null").await;
}

#[tokio::test]
async fn html_in_place_of_a_list_is_requested_again() {
    is_sat_out_or_said(html(200), "not answer with a list of records but with: <html> <body>").await;
}

#[tokio::test]
async fn an_empty_body_is_requested_again() {
    is_sat_out_or_said(body(""), "not answer with a list of records but with: (empty)").await;
}

#[tokio::test]
async fn invalid_gzip_is_requested_again() {
    let lie = body("[{\"_id\": \"00100\"}]").with_header("content-encoding", "gzip");
    is_sat_out_or_said(lie, "/projects ended its answer early").await;
}

/// A few bytes of gzip for so many: a letter, and again and again the letter before it 258 times.
fn gzip_bomb(bytes: usize) -> Vec<u8> {
    let (letter, again) = ("10101000", "1100010100000");
    let bits: Vec<u8> = ["110", letter].into_iter().chain(vec![again; bytes / 258]).flat_map(str::bytes).collect();
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    header.into_iter().chain(bits.chunks(8).map(byte)).collect()
}

#[tokio::test]
async fn a_gzip_bomb_is_unpacked_only_up_to_max_page_bytes() {
    let sync = projects().await;
    let bomb = gzip_bomb(100 << 20);
    assert!((bomb.len() as u64) < MAX_PAGE_BYTES);
    sync.simulator.answer_next("projects", vec![body(bomb).with_header("content-encoding", "gzip")]);

    let run = sync_projects(&sync, &client_with(&sync.simulator, sync.simulator.token(), MAX_PAGE_BYTES)).await.run;

    assert_eq!(run.status, ObjectStatus::Succeeded);
    let limits: Vec<_> = sync.simulator.requests().iter().filter_map(|request| request.query.get("limit").cloned()).collect();
    assert!(limits.contains(&"25".to_owned()), "asked for the same again: {limits:?}");
    assert_whole(&sync).await;
}

#[tokio::test]
async fn a_slow_body_runs_into_the_request_timeout() {
    let begun = Instant::now();
    is_said(ScriptedAnswer::of(Content::Trickling), "/projects ended its answer early").await;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_endless_body_is_read_only_up_to_max_page_bytes() {
    is_said(ScriptedAnswer::of(Content::Endless), "more than planhat.max_page_bytes (1048576) at limit=1").await;
}

#[tokio::test]
async fn an_error_with_a_slow_body_is_reported_by_its_status() {
    is_said(
        ScriptedAnswer { status: 503, ..ScriptedAnswer::of(Content::Trickling) },
        "/projects answered 503 Service Unavailable: [",
    )
    .await;
}

#[tokio::test]
async fn an_error_with_an_endless_body_is_reported_by_its_status() {
    let fault = ScriptedAnswer { status: 500, ..ScriptedAnswer::of(Content::Endless) };
    is_said(fault, "/projects answered 500 Internal Server Error: [").await;
}

#[tokio::test]
async fn a_body_of_500_megabytes_is_read_only_up_to_max_page_bytes() {
    let sync = projects().await;
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::of(Content::Megabytes(500))]);

    let run = sync_projects(&sync, &client_with(&sync.simulator, sync.simulator.token(), MAX_PAGE_BYTES)).await.run;

    assert_eq!(run.status, ObjectStatus::Succeeded);
    // What is on its way is in buffers of the two sockets.
    assert!(sync.simulator.streamed_bytes() < 50 << 20, "{} bytes", sync.simulator.streamed_bytes());
    assert_whole(&sync).await;
}

#[tokio::test]
async fn a_record_larger_than_max_page_bytes_is_quarantined_until_it_is_smaller() {
    let sync = projects().await;
    let describe =
        |text: String| move |record: &mut serde_json::Map<String, Value>| _ = record.insert("description".into(), json!(text));
    sync.simulator.edit("projects", "00120", sync.now, describe("x".repeat(2 << 20)));

    let run = sync_projects(&sync, &strict(&sync)).await.run;

    assert_eq!((run.status, run.figures.inserted, run.figures.quarantined), (ObjectStatus::Partial, 249, 1));
    let reason = sync.one("select reason from planhat_sync.quarantine").await;
    assert_eq!(reason, "larger than planhat.max_page_bytes (1048576), at offset 120 of /projects by _id");

    sync.simulator.edit("projects", "00120", sync.now, describe("short".to_owned()));
    assert_eq!(sync_projects(&sync, &strict(&sync)).await.run.status, ObjectStatus::Succeeded);
    sync.full_sync_one("projects").await;
    assert_eq!(sync.one("select count(*)::text from planhat_sync.quarantine").await, "0");
    assert_whole(&sync).await;
}

#[tokio::test]
async fn a_row_whose_record_grew_beyond_max_page_bytes_is_not_marked_as_deleted() {
    let sync = projects().await;
    sync.sync_one("projects").await;
    let grow = |record: &mut serde_json::Map<String, Value>| _ = record.insert("name".into(), json!("x".repeat(2 << 20)));
    sync.simulator.edit("projects", "00120", sync.now, grow);

    let summary = sync.run_with(&strict(&sync), Mode::Full, &[catalog::object("projects").unwrap()]).await;

    assert_eq!(summary.objects[0].run.figures.quarantined, 1);
    assert_eq!(sync.one("select count(*)::text from planhat.projects where _deleted_at is not null").await, "0");
    sync.full_sync_one("projects").await;
    assert_whole(&sync).await;
}

#[tokio::test]
async fn a_fault_in_the_answer_of_one_object_leaves_the_others_alone() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.simulator.answer_next("companies", vec![ScriptedAnswer::status(500); ATTEMPTS]);

    let first = sync.sync().await;
    let second = sync.sync().await;

    assert_eq!(first.status, RunStatus::Partial);
    assert_eq!(second.status, RunStatus::Succeeded);
    sync.assert_equals_workspace(&catalog::default_objects()).await;
}

#[tokio::test]
async fn customer_data_in_an_invalid_answer_is_not_logged() {
    let sync = projects().await;
    sync.simulator.answer_next("projects", vec![body("[{\"_id\": \"a\", \"name\": \"Private Person\""); ATTEMPTS]);
    let reason = sync.sync_one("projects").await.run.reason.unwrap();
    assert!(!reason.contains("Private Person"), "{reason}");
}

#[tokio::test]
async fn a_token_echoed_by_the_server_is_masked() {
    let sync = projects().await;
    sync.simulator.answer_next("projects", vec![ScriptedAnswer::text(500, "text/plain", "bad token simulated-token!"); ATTEMPTS]);
    let reason = sync.sync_one("projects").await.run.reason.unwrap();
    assert!(reason.contains("bad token [token]!"), "{reason}");
}

// ---- Connections ----

/// A run against another address, one attempt to a call.
async fn sync_at(sync: &TestSync, url: &str) -> Summary {
    let connection = ClientConfig {
        retry: RetryPolicy { times: 0, first_delay: Duration::ZERO },
        ..connection_to(url, sync.simulator.token())
    };
    let client = Client::new(connection, Budget::per_minute(0)).unwrap();
    sync.run_with(&client, Mode::Incremental, &catalog::default_objects()).await
}

/// The run ended early and said why; with the server back, the next one brings everything.
async fn assert_out_of_reach(sync: &TestSync, summary: Summary, said: &str) {
    assert_eq!(summary.status, RunStatus::Failed);
    let reasons: Vec<String> = summary.objects.iter().filter_map(|object| object.run.reason.clone()).collect();
    assert!(reasons.iter().all(|reason| reason.contains("is unreachable") && reason.contains(said)), "{reasons:?}");
    assert!((1..=4).contains(&reasons.len()), "objects that were tried: {}", reasons.len());

    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);
    sync.assert_equals_workspace(&catalog::default_objects()).await;
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn an_unreachable_server_ends_the_run() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    // Nobody listens there; a port that was free a moment ago may be another test's by now.
    let summary = sync_at(&sync, "http://127.0.0.1:1").await;
    assert_out_of_reach(&sync, summary, "").await;
}

#[tokio::test]
async fn a_server_that_hangs_up_without_an_answer_ends_the_run() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let summary = sync_at(&sync, &format!("http://{address}")).await;
    server.abort();
    assert_out_of_reach(&sync, summary, "").await;
}

#[tokio::test]
async fn https_to_a_server_that_speaks_http_ends_the_run() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let summary = sync_at(&sync, &sync.simulator.url().replace("http:", "https:")).await;
    assert_eq!(sync.simulator.requests(), []);
    assert_out_of_reach(&sync, summary, "received corrupt message").await;
}

#[tokio::test]
async fn an_untrusted_certificate_ends_the_run_before_the_token_is_sent() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let (listener, address) = listen().await;
    // For localhost and 127.0.0.1, made with openssl; it guards nothing.
    let certificate = include_bytes!("self-signed.cert.der").to_vec().into();
    let key = PrivateKeyDer::try_from(include_bytes!("self-signed.key.der").to_vec()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            if let Ok(mut connection) = acceptor.accept(connection).await {
                _ = connection.read_to_end(&mut received).await;
                _ = connection.shutdown().await;
            }
            assert_eq!(received, b"");
        }
    });

    let summary = sync_at(&sync, &format!("https://{address}")).await;

    assert!(!server.is_finished(), "something was sent to a server that nobody vouches for");
    server.abort();
    assert_out_of_reach(&sync, summary, "invalid peer certificate").await;
}

#[tokio::test]
async fn redirects_are_not_followed_and_the_token_does_not_leave() {
    let elsewhere = Simulator::start(Workspace::empty().with("projects", records()), Options::default()).await.unwrap();
    for (status, said) in [
        (301, "/projects answered 301 Moved Permanently"),
        (302, "/projects answered 302 Found"),
        (303, "/projects answered 303 See Other"),
        (307, "/projects answered 307 Temporary Redirect"),
        (308, "/projects answered 308 Permanent Redirect"),
    ] {
        for host in ["127.0.0.1", "localhost"] {
            let location = format!("{}/projects", elsewhere.url().replace("127.0.0.1", host));
            is_said(ScriptedAnswer::status(status).with_header("location", &location), said).await;
        }
    }
    assert_eq!(elsewhere.requests(), [], "the token went elsewhere");
}

#[tokio::test]
async fn a_redirect_comes_with_a_hint() {
    let sync = projects().await;
    sync.simulator
        .answer_next("projects", vec![ScriptedAnswer::status(308).with_header("location", "https://elsewhere.example")]);
    let hint = sync.sync_one("projects").await.failure.as_ref().and_then(|failure| failure.kind().hint());
    assert!(hint.as_ref().is_some_and(|hint| hint.contains("set planhat.base_url to the API host itself")), "{hint:?}");
}
