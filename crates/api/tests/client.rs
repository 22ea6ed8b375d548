//! The client as a server sees it: what is sent, what is sent again, and what never is.
//!
//! The servers here answer what a test says; none of them knows how Planhat behaves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use planhat_api::{
    ApiError, Budget, Client, ClientConfig, Listing, ObjectClient, PageSettings, Pager, Position, RetryPolicy, RowsPerPage,
    Token, probe_workspace,
};
use planhat_model::catalog;
use planhat_model::error::ErrorKind;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use waiting::{eventually, in_time};

/// The waits of all tests of the project.
#[allow(dead_code, reason = "the client needs few of them")]
#[path = "../../../tests/it/waiting.rs"]
mod waiting;

const TOKEN: &str = "a-token-nobody-may-see";
/// Attempts after the first.
const RETRIES: usize = 3;
const MAX_PAGE_BYTES: u64 = 10_000;
/// How long an answer may take, on a slow machine that does other work too.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Answers one after the other; the last one from then on.
struct Answers {
    answers: Vec<ResponseTemplate>,
    next: AtomicUsize,
}

impl Respond for Answers {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.answers[number.min(self.answers.len() - 1)].clone()
    }
}

async fn server(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(Answers { answers, next: AtomicUsize::new(0) }).mount(&server).await;
    server
}

fn status(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status)
}

fn text(body: &str) -> ResponseTemplate {
    status(200).set_body_raw(body, "application/json")
}

fn records(ids: &[&str]) -> ResponseTemplate {
    status(200).set_body_json(ids.iter().map(|id| json!({"_id": id})).collect::<Vec<_>>())
}

fn config(url: &str) -> ClientConfig {
    ClientConfig {
        base_url: url.parse().unwrap(),
        token: Token::new(&TOKEN.into()).unwrap(),
        connect_timeout: CLIENT_TIMEOUT,
        request_timeout: CLIENT_TIMEOUT,
        retry: RetryPolicy { times: RETRIES, first_delay: Duration::ZERO },
        max_page_bytes: MAX_PAGE_BYTES,
    }
}

fn client(url: &str) -> Client {
    Client::new(config(url), Budget::per_minute(0)).unwrap()
}

/// A client that waits for this long for an answer, once.
fn impatient(url: &str) -> Client {
    let retry = RetryPolicy { times: 1, first_delay: Duration::ZERO };
    Client::new(ClientConfig { request_timeout: Duration::from_millis(500), retry, ..config(url) }, Budget::per_minute(0))
        .unwrap()
}

fn tasks(client: &Client) -> ObjectClient {
    client.for_object(catalog::object("tasks").unwrap())
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

/// Reads one page; the ids, or what went wrong, and the calls that it took.
async fn list(server: &MockServer) -> (Result<usize, ApiError>, u64) {
    let tasks = tasks(&client(&server.uri()));
    let answer = in_time("a page", tasks.list(&[("limit", "1".to_owned())])).await;
    (answer.map(|page| page.records.len()), tasks.calls())
}

/// A server that writes these bytes to each connection and hangs up.
fn hanging_up_after(answer: &'static str) -> String {
    raw_server(answer, drop)
}

/// A server that writes these bytes to each connection and nothing more until the client hangs up.
fn silent_after(answer: &'static str) -> String {
    raw_server(answer, |mut connection| _ = connection.read_to_end(&mut Vec::new()))
}

fn raw_server(answer: &'static str, then: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, mut request, mut byte) = (connection.unwrap(), Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            _ = connection.write_all(answer.as_bytes());
            then(connection);
        }
    });
    url
}

// ---- What is sent ----

#[tokio::test]
async fn the_token_is_sent_in_one_header_and_nowhere_else() {
    let server = server(vec![records(&["a"])]).await;

    list(&server).await.0.unwrap();

    let request = requests(&server).await.remove(0);
    let authorization: Vec<_> = request.headers.get_all("authorization").iter().collect();
    assert_eq!(authorization, [&format!("Bearer {TOKEN}")]);
    let others = request.headers.iter().filter(|(name, _)| *name != "authorization");
    assert!(others.into_iter().all(|(_, value)| !value.to_str().unwrap().contains(TOKEN)));
    assert!(!request.url.as_str().contains(TOKEN) && request.body.is_empty());
}

#[tokio::test]
async fn a_request_says_who_asks_and_takes_json_compressed_or_not() {
    let server = server(vec![records(&["a"])]).await;

    list(&server).await.0.unwrap();

    let request = requests(&server).await.remove(0);
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("accept"), "application/json");
    assert_eq!(header("user-agent"), format!("planhat-sync/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("accept-encoding"), "gzip");
}

#[tokio::test]
async fn what_a_server_sets_as_a_cookie_is_not_sent_back() {
    let server = server(vec![status(503).insert_header("set-cookie", "session=1"), records(&["a"])]).await;
    list(&server).await.0.unwrap();
    assert!(requests(&server).await.iter().all(|request| !request.headers.contains_key("cookie")));
}

/// Reads a listing of tasks to its end; what was requested, as it was sent.
async fn requested(listing: Listing, pages: Vec<ResponseTemplate>) -> Vec<String> {
    let server = server(pages).await;
    let settings = PageSettings { size: RowsPerPage::Fixed(3), overlap: true };
    let mut pager = Pager::new(&tasks(&client(&server.uri())), listing, settings, Position::default());
    let mut read = 0;
    while in_time("a page", pager.next()).await.unwrap().is_some() {
        read += 1;
        assert!(read < 100, "the listing has no end");
    }
    let text = |request: &Request| format!("{}?{}", request.url.path(), request.url.query().unwrap());
    requests(&server).await.iter().map(text).collect()
}

#[tokio::test]
async fn a_listing_is_requested_by_limit_offset_and_sort() {
    let pages = vec![records(&["a", "b", "c"]), records(&["c", "d"]), records(&["d"])];
    let expected = ["limit=3&offset=0&sort=_id", "limit=3&offset=2&sort=_id", "limit=3&offset=3&sort=_id"];
    assert_eq!(
        requested(Listing { sort: "_id".into(), hidden: false }, pages).await,
        expected.map(|query| format!("/tasks?{query}"))
    );
}

#[tokio::test]
async fn hidden_records_are_requested_by_the_parameter_of_their_object() {
    let listing = Listing { sort: "-updatedAt".into(), hidden: true };
    // A listing that shows nothing is requested once more.
    let expected = "/tasks?limit=3&offset=0&sort=-updatedAt&isArchived=true";
    assert_eq!(requested(listing, vec![records(&[])]).await, [expected; 2]);

    let server = server(vec![records(&[])]).await;
    let endusers = client(&server.uri()).for_object(catalog::object("endusers").unwrap());
    let settings = PageSettings { size: RowsPerPage::Fixed(3), overlap: true };
    let mut pager = Pager::new(&endusers, Listing { sort: "_id".into(), hidden: true }, settings, Position::default());
    in_time("a page", pager.next()).await.unwrap();
    assert_eq!(requests(&server).await[0].url.query(), Some("limit=3&offset=0&sort=_id&archived=true"));
}

#[tokio::test]
async fn a_base_url_with_a_path_keeps_it() {
    for slash in ["", "/"] {
        let server = server(vec![records(&["a"])]).await;
        let tasks = tasks(&client(&format!("{}/behind/a proxy{slash}", server.uri())));
        tasks.list(&[]).await.unwrap();
        tasks.record_exists("a").await.unwrap();
        let paths: Vec<_> = requests(&server).await.iter().map(|request| request.url.path().to_owned()).collect();
        assert_eq!(paths, ["/behind/a%20proxy/tasks", "/behind/a%20proxy/tasks/a"]);
    }
}

#[tokio::test]
async fn only_get_is_ever_sent() {
    let server = server(vec![status(503), records(&["a", "b"]), status(500), records(&["b"]), status(404)]).await;
    let tasks = tasks(&client(&server.uri()));
    let settings = PageSettings { size: RowsPerPage::Fixed(2), overlap: true };
    let mut pager = Pager::new(&tasks, Listing { sort: "_id".into(), hidden: false }, settings, Position::default());
    in_time("a page", pager.next()).await.unwrap();
    pager.prefetch();
    _ = in_time("a page", pager.next()).await;
    _ = in_time("a record", tasks.record_exists("a")).await;
    _ = in_time("a page", tasks.list(&[])).await;

    let requests = requests(&server).await;
    assert!(requests.len() >= 6, "{}", requests.len());
    assert!(requests.iter().all(|request| request.method.as_str() == "GET" && request.body.is_empty()));
}

// ---- What is sent again ----

#[tokio::test]
async fn what_may_pass_is_requested_again_as_often_as_configured() {
    for code in [408, 429, 500, 502, 503, 504, 599] {
        let server = server(vec![status(code)]).await;
        let (answer, calls) = list(&server).await;
        let error = answer.unwrap_err();
        assert!(matches!(&error, ApiError::Status { status, .. } if status.as_u16() == code), "{error}");
        assert_eq!((calls, requests(&server).await.len()), (1 + RETRIES as u64, 1 + RETRIES), "{code}");
    }
}

#[tokio::test]
async fn what_will_not_pass_is_requested_once() {
    for code in [204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 422] {
        let server = server(vec![status(code)]).await;
        let (answer, calls) = list(&server).await;
        let error = answer.unwrap_err();
        let is_expected = match &error {
            ApiError::Unauthorized { .. } => code == 401,
            ApiError::AccessDenied { status, .. } => matches!(code, 403 | 404) && status.as_u16() == code,
            ApiError::Status { status, .. } => status.as_u16() == code,
            _ => false,
        };
        assert!(is_expected, "{code}: {error}");
        assert_eq!((calls, requests(&server).await.len()), (1, 1), "{code}");
    }
}

#[tokio::test]
async fn a_fault_that_passes_costs_a_call_and_nothing_else() {
    let server = server(vec![status(500), status(429), text("<html>"), records(&["a", "b"])]).await;
    let (answer, calls) = list(&server).await;
    assert_eq!((answer.unwrap(), calls), (2, 4));
}

#[tokio::test]
async fn what_is_no_list_of_records_is_requested_again() {
    for (body, expected) in [
        ("", "(empty)"),
        ("<html>\n<h1>Maintenance</h1>\n</html>", "<html> <h1>Maintenance</h1> </html>"),
        ("[{\"_id\": \"a\"}, {\"_i", "a list that is not whole"),
        ("{\"_id\": \"a", "an object that is not whole"),
        ("{\"data\": [], \"total\": 1}", "an object with data, total"),
        ("{\"message\": \"try later\"}", "try later"),
        ("{\"_id\": \"a\", \"message\": \"Private Person\"}", "an object with _id, message"),
        ("\"Private Person\"", "a string"),
        ("null", "null"),
    ] {
        let server = server(vec![text(body)]).await;
        let (answer, calls) = list(&server).await;
        let error = answer.unwrap_err();
        assert!(matches!(&error, ApiError::NotAList { found, .. } if found.starts_with(expected)), "{body}: {error}");
        assert!(!error.to_string().contains("Private Person"));
        assert_eq!(calls, 1 + RETRIES as u64, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_requested_again() {
    let tasks = tasks(&client(&hanging_up_after("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{\"_id\"")));
    let error = in_time("a page", tasks.list(&[])).await.unwrap_err();
    assert!(matches!(error, ApiError::TruncatedBody { .. }), "{error}");
    assert_eq!(tasks.calls(), 1 + RETRIES as u64);
}

#[tokio::test]
async fn a_server_that_hangs_up_or_is_not_there_is_tried_again() {
    for (url, is_connect_failure) in [(hanging_up_after(""), false), ("http://127.0.0.1:1".to_owned(), true)] {
        let tasks = tasks(&client(&url));
        let error = in_time("a page", tasks.list(&[])).await.unwrap_err();
        assert!(matches!(error, ApiError::Unreachable { .. }), "{error}");
        assert_eq!((error.kind() == ErrorKind::NotConnected, tasks.calls()), (is_connect_failure, 1 + RETRIES as u64));
    }
}

#[tokio::test]
async fn handles_count_their_own_calls_and_their_clones_count_with_them() {
    let server = server(vec![status(500), records(&["a"])]).await;
    let client = client(&server.uri());
    let (tasks, users) = (tasks(&client), client.for_object(catalog::object("users").unwrap()));
    tasks.list(&[]).await.unwrap();
    tasks.clone().list(&[]).await.unwrap();
    users.list(&[]).await.unwrap();
    assert_eq!((tasks.calls(), users.calls()), (3, 1));
}

// ---- How long is waited ----

/// How long this client waits, as soon as it does.
async fn throttled(client: &Client) -> Duration {
    let mut wait = None;
    let is_throttled = async || {
        wait = client.throttled_for();
        wait.is_some()
    };
    eventually("the wait of the client", is_throttled).await;
    wait.unwrap()
}

/// How long a client waits after an answer with this `Retry-After`; none if it does not wait.
async fn wait_after(retry_after: &str) -> Option<Duration> {
    let server = server(vec![status(429).insert_header("retry-after", retry_after), records(&["a"])]).await;
    let client = client(&server.uri());
    let tasks = tasks(&client);
    let wait = throttled(&client);
    in_time("the page", async {
        tokio::select! {
            biased;
            answer = tasks.list(&[]) => answer.map(|_| None).unwrap(),
            wait = wait => Some(wait),
        }
    })
    .await
}

fn assert_about(wait: Option<Duration>, seconds: u64) {
    let range = Duration::from_secs(seconds.saturating_sub(3))..=Duration::from_secs(seconds);
    assert!(wait.is_some_and(|wait| range.contains(&wait)), "{wait:?} is not about {seconds} s");
}

#[tokio::test]
async fn a_429_in_answer_to_a_probe_ends_all_questions_at_once_and_holds_back_all_other_calls() {
    let refusal = status(429).insert_header("retry-after", "30");
    let server = server(vec![refusal.clone(), refusal.clone(), refusal.clone(), refusal]).await;
    let client = client(&server.uri());
    let until = Instant::now() + Duration::from_secs(3600);
    let objects = catalog::default_objects();
    let report = in_time("the end of the questions", probe_workspace(&client, &objects, until)).await;

    assert!(report.throttling.is_some());
    assert_about(client.pause_left(), 30);
}

#[tokio::test]
async fn retry_after_is_waited_for_whether_it_is_seconds_or_a_date() {
    assert_about(wait_after("30").await, 30);
    let until: DateTime<Utc> = Utc::now() + chrono::TimeDelta::seconds(30);
    assert_about(wait_after(&httpdate::fmt_http_date(until.into())).await, 30);
}

#[tokio::test]
async fn retry_after_is_waited_for_up_to_two_minutes() {
    assert_about(wait_after("86400").await, 120);
    assert_about(wait_after("Fri, 31 Dec 9999 23:59:59 GMT").await, 120);
}

#[tokio::test]
async fn a_retry_after_that_is_over_or_unreadable_is_not_waited_for() {
    for value in ["0", "Wed, 01 Jan 2020 00:00:00 GMT", "soon", "-1", ""] {
        assert_eq!(wait_after(value).await, None, "{value}");
    }
}

#[tokio::test]
async fn retry_after_is_a_floor_under_the_own_delay() {
    let server = server(vec![status(503).insert_header("retry-after", "1")]).await;
    let retry = RetryPolicy { times: RETRIES, first_delay: Duration::from_secs(60) };
    let client = Client::new(ClientConfig { retry, ..config(&server.uri()) }, Budget::per_minute(0)).unwrap();
    let tasks = tasks(&client);
    let throttled = throttled(&client);
    let wait = in_time("the page", async {
        tokio::select! {
            biased;
            answer = tasks.list(&[]) => panic!("it did not wait: {answer:?}"),
            wait = throttled => wait,
        }
    })
    .await;
    assert!(wait > Duration::from_secs(50), "{wait:?}");
}

#[tokio::test]
async fn only_the_call_that_got_a_503_with_retry_after_waits() {
    let server = server(vec![status(503).insert_header("retry-after", "100"), records(&["a"])]).await;
    let client = client(&server.uri());
    let (tasks, users) = (tasks(&client), client.for_object(catalog::object("users").unwrap()));
    let throttled = async {
        assert_about(Some(throttled(&client).await), 100);
        users.list(&[]).await
    };
    let other = in_time("a page of another object", async {
        tokio::select! {
            biased;
            answer = tasks.list(&[]) => panic!("it did not wait: {answer:?}"),
            other = throttled => other,
        }
    });
    assert_eq!((other.await.unwrap().records.len(), client.pause_left()), (1, None));
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_given_up_and_requested_again() {
    let server = server(vec![records(&["a"]).set_delay(CLIENT_TIMEOUT)]).await;
    let tasks = tasks(&impatient(&server.uri()));
    let error = in_time("a page", tasks.list(&[])).await.unwrap_err();
    assert!(matches!(&error, ApiError::Unreachable { source, .. } if source.is_timeout()), "{error}");
    assert_eq!((tasks.calls(), requests(&server).await.len()), (2, 2));
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_given_up_and_requested_again() {
    let tasks = tasks(&impatient(&silent_after("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[")));
    let error = in_time("a page", tasks.list(&[])).await.unwrap_err();
    assert!(matches!(&error, ApiError::TruncatedBody { source, .. } if source.is_timeout()), "{error}");
    assert_eq!(tasks.calls(), 2);
}

// ---- What is received ----

#[tokio::test]
async fn redirects_are_not_followed_and_the_token_does_not_leave() {
    let elsewhere = server(vec![records(&["a"])]).await;
    for code in [301, 302, 303, 307, 308] {
        for host in ["127.0.0.1", "localhost"] {
            let location = format!("{}/tasks", elsewhere.uri().replace("127.0.0.1", host));
            let server = server(vec![status(code).insert_header("location", location.as_str())]).await;
            let (answer, calls) = list(&server).await;
            let error = answer.unwrap_err();
            assert!(error.kind().hint().is_some_and(|hint| hint.contains("redirects are not followed")), "{error}");
            assert_eq!(calls, 1);
        }
    }
    assert!(requests(&elsewhere).await.is_empty(), "the token went elsewhere");
}

#[tokio::test]
async fn a_page_is_read_up_to_the_bound_and_not_requested_again_as_it_is() {
    let body = |bytes: u64| format!("[{}]", " ".repeat(usize::try_from(bytes).unwrap() - 2));
    let fits = server(vec![text(&body(MAX_PAGE_BYTES))]).await;
    assert_eq!(list(&fits).await.0.unwrap(), 0);

    let too_large = server(vec![text(&body(MAX_PAGE_BYTES + 1))]).await;
    let (answer, calls) = list(&too_large).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, ApiError::PageTooLarge { limit: 1, limit_bytes: MAX_PAGE_BYTES, .. }), "{error}");
    assert_eq!(calls, 1);
}

/// `[{"_id":"a"}]` and `["xxx…"]` with 20,000 letters, as `gzip` writes them.
const GZIPPED_PAGE: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x8b, 0xae, 0x56, 0x8a, 0xcf, 0x4c, 0x51, 0xb2, 0x52, 0x4a, 0x54,
    0xaa, 0x8d, 0x05, 0x00, 0xc7, 0xc1, 0xbb, 0xf7, 0x0d, 0x00, 0x00, 0x00,
];
const GZIPPED_LARGE_PAGE: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed, 0xc1, 0x41, 0x11, 0x00, 0x00, 0x08, 0x03, 0xa0, 0x2e, 0xab,
    0xe5, 0xd9, 0x63, 0xf1, 0xad, 0xe1, 0x03, 0x98, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x17, 0xb2, 0x07, 0x93, 0x8d, 0xc4, 0x50, 0x24, 0x4e, 0x00, 0x00,
];

fn gzipped(body: &[u8]) -> ResponseTemplate {
    status(200).insert_header("content-encoding", "gzip").set_body_raw(body, "application/json")
}

#[tokio::test]
async fn a_compressed_page_is_unpacked() {
    let server = server(vec![gzipped(GZIPPED_PAGE)]).await;
    let page = tasks(&client(&server.uri())).list(&[]).await.unwrap();
    assert_eq!((page.records[0].get(), page.bytes), (r#"{"_id":"a"}"#, 13));
}

#[tokio::test]
async fn a_compressed_page_is_unpacked_no_further_than_the_bound() {
    let server = server(vec![gzipped(GZIPPED_LARGE_PAGE)]).await;
    let error = list(&server).await.0.unwrap_err();
    assert!(matches!(error, ApiError::PageTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_only_claims_to_be_compressed_is_requested_again() {
    let server = server(vec![gzipped(br#"[{"_id":"a"}]"#), gzipped(GZIPPED_PAGE)]).await;
    let (answer, calls) = list(&server).await;
    assert_eq!((answer.unwrap(), calls), (1, 2));
}

#[tokio::test]
async fn a_page_says_when_it_was_served() {
    let date = "Wed, 01 Jan 2025 00:00:07 GMT";
    let server = server(vec![records(&[]).insert_header("date", date), records(&[]).insert_header("date", "today")]).await;
    let tasks = tasks(&client(&server.uri()));
    assert_eq!(tasks.list(&[]).await.unwrap().served_at, Some("2025-01-01T00:00:07Z".parse().unwrap()));
    assert_eq!(tasks.list(&[]).await.unwrap().served_at, None);
}

#[tokio::test]
async fn a_token_that_a_server_sends_back_is_masked_in_the_error() {
    let text = format!("no access\nwith {TOKEN}, try\tagain");
    for code in [200, 400, 500] {
        let server = server(vec![status(code).set_body_string(text.clone())]).await;
        let error = list(&server).await.0.unwrap_err().to_string();
        assert!(error.contains("no access with [token], try again"), "{error}");
    }
    let server = server(vec![status(200).set_body_json(json!({"error": text}))]).await;
    let error = list(&server).await.0.unwrap_err().to_string();
    assert!(error.ends_with("no access with [token], try again"), "{error}");
}

#[tokio::test]
async fn an_error_shows_the_beginning_of_its_answer_on_one_line() {
    let server = server(vec![status(400).set_body_string("long\n".repeat(10_000)), status(400)]).await;
    let error = list(&server).await.0.unwrap_err().to_string();
    assert_eq!(error, format!("/tasks answered 400 Bad Request: {}", "long ".repeat(40)));
    assert_eq!(list(&server).await.0.unwrap_err().to_string(), "/tasks answered 400 Bad Request: (empty)");
}

// ---- One record ----

#[tokio::test]
async fn only_a_404_says_that_a_record_is_not_there() {
    for (code, expected) in
        [(200, Some(true)), (404, Some(false)), (403, None), (401, None), (400, None), (500, None), (301, None)]
    {
        // What it holds does not matter.
        let server = server(vec![status(code).set_body_string("<html>")]).await;
        let answer = in_time("a record", tasks(&client(&server.uri())).record_exists("a")).await;
        assert_eq!(answer.ok(), expected, "{code}");
    }
}

#[tokio::test]
async fn a_record_whose_answer_fails_is_requested_again() {
    let server = server(vec![status(500), status(429), status(404)]).await;
    let tasks = tasks(&client(&server.uri()));
    assert!(!in_time("a record", tasks.record_exists("a")).await.unwrap());
    assert_eq!(tasks.calls(), 3);
}

#[tokio::test]
async fn an_id_with_odd_characters_arrives_as_it_is() {
    for (id, path) in [
        ("5f1b2c", "/tasks/5f1b2c"),
        ("a b", "/tasks/a%20b"),
        ("a/b", "/tasks/a%2Fb"),
        ("../users", "/tasks/..%2Fusers"),
        ("a%2Fb", "/tasks/a%252Fb"),
        ("a?b=c&d", "/tasks/a%3Fb=c&d"),
        ("a#b", "/tasks/a%23b"),
        ("a\\b", "/tasks/a%5Cb"),
        ("Ä", "/tasks/%C3%84"),
        ("...", "/tasks/..."),
    ] {
        let server = server(vec![status(200)]).await;
        assert!(tasks(&client(&server.uri())).record_exists(id).await.unwrap());
        let request = requests(&server).await.remove(0);
        assert_eq!((request.url.path(), request.url.query()), (path, None), "{id}");
    }
}

#[tokio::test]
async fn an_id_that_would_not_arrive_as_it_is_is_not_sent() {
    for id in [".", "..", "a\nb", "a\tb", "\u{7f}", "a\0"] {
        let server = server(vec![status(200)]).await;
        let error = tasks(&client(&server.uri())).record_exists(id).await.unwrap_err();
        assert!(matches!(error, ApiError::UnusableId { .. }), "{id:?}: {error}");
        assert!(requests(&server).await.is_empty(), "{id:?}");
    }
}

#[tokio::test]
async fn an_error_about_a_record_does_not_name_it() {
    let server = server(vec![status(400)]).await;
    let error = tasks(&client(&server.uri())).record_exists("private-id").await.unwrap_err();
    assert_eq!(error.to_string(), "/tasks/… answered 400 Bad Request: (empty)");
}

// ---- Listings ----

/// A server whose listing has these rows at its first request, and of which the first is deleted just before another one.
async fn listing_server(rows: Vec<Value>, first_row_is_deleted_before: Option<usize>) -> MockServer {
    let server = MockServer::start().await;
    let requests = AtomicUsize::new(0);
    let page = move |request: &Request| {
        let query: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
        let number = |name: &str| query[name].parse::<usize>().unwrap();
        let is_deleted = first_row_is_deleted_before.is_some_and(|when| requests.fetch_add(1, Ordering::Relaxed) >= when);
        let rows: Vec<_> = rows.iter().skip(usize::from(is_deleted) + number("offset")).take(number("limit")).collect();
        status(200).set_body_json(rows)
    };
    Mock::given(any()).respond_with(page).mount(&server).await;
    server
}

/// Records with these ids, each with so much text.
fn rows(texts: impl IntoIterator<Item = usize>) -> Vec<Value> {
    let row = |(number, text): (usize, usize)| json!({"_id": format!("{number:03}"), "text": "x".repeat(text)});
    texts.into_iter().enumerate().map(row).collect()
}

fn pager_of(server: &MockServer, size: u32) -> Pager {
    let listing = Listing { sort: "_id".into(), hidden: false };
    Pager::new(
        &tasks(&client(&server.uri())),
        listing,
        PageSettings { size: RowsPerPage::Fixed(size), overlap: true },
        Position::default(),
    )
}

/// The records of each page up to the end of the listing, and why others were rejected.
async fn read(pager: &mut Pager) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut pages, mut reasons) = (Vec::new(), Vec::new());
    while let Some(page) = in_time("a page", pager.next()).await.unwrap() {
        pages.push(page.records.into_iter().map(|record| record.id).collect());
        reasons.extend(page.rejected.into_iter().map(|rejected| rejected.reason));
        pager.prefetch();
    }
    (pages, reasons)
}

/// The limit and the offset of each request.
async fn windows(server: &MockServer) -> Vec<(u64, u64)> {
    let number =
        |request: &Request, name: &str| request.url.query_pairs().find(|(other, _)| other == name).unwrap().1.parse().unwrap();
    requests(server).await.iter().map(|request| (number(request, "limit"), number(request, "offset"))).collect()
}

#[tokio::test]
async fn a_page_without_a_new_record_is_not_handed_out() {
    let server = server(vec![records(&["a", "b"]), records(&["b", "a"]), records(&["a", "c"]), records(&[])]).await;
    let mut pager = pager_of(&server, 2);
    let first = in_time("a page", pager.next()).await.unwrap().unwrap();
    let second = in_time("a page", pager.next()).await.unwrap().unwrap();
    assert_eq!((first.records.len(), second.records.len(), &*second.records[0].id), (2, 1, "c"));
}

#[tokio::test]
async fn a_page_is_requested_ahead_while_the_one_before_is_used() {
    let server = listing_server(rows([1; 20]), None).await;
    let mut pager = pager_of(&server, 5);
    in_time("a page", pager.next()).await.unwrap().unwrap();
    pager.prefetch();
    let mut ready = None;
    let is_ready = async || {
        ready = pager.next_if_ready();
        ready.is_some()
    };
    eventually("a page that is ready", is_ready).await;
    assert_eq!(ready.unwrap().records.len(), 4);
    assert_eq!(windows(&server).await, [(5, 0), (5, 4)]);
}

#[tokio::test]
async fn pages_that_are_requested_ahead_begin_where_the_page_before_ends() {
    let server = listing_server(rows([1; 200]), None).await;
    let (pages, _) = read(&mut pager_of(&server, 5)).await;
    assert_eq!(pages.concat().len(), 200);
    let mut windows = windows(&server).await;
    windows.sort_by_key(|(_, offset)| *offset);
    let within: Vec<_> = windows.into_iter().filter(|(_, offset)| *offset < 196).collect();
    assert_eq!(within, (0..49).map(|page| (5, 4 * page)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_no_page_has_room_for_is_skipped_and_reported_with_its_place() {
    let large = usize::try_from(MAX_PAGE_BYTES).unwrap();
    for (texts, left_out) in [(vec![1, 1, large], 2), (vec![1, large, 1], 1), (vec![large], 0), (vec![1, 1, 1, 1, large], 4)] {
        let server = listing_server(rows(texts.clone()), None).await;
        let (pages, reasons) = read(&mut pager_of(&server, 2)).await;
        assert_eq!(pages.concat().len(), texts.len() - 1, "{left_out}");
        let reason = format!("larger than planhat.max_page_bytes (10000), at offset {left_out} of /tasks by _id");
        assert_eq!(reasons, [reason]);
    }
}

#[tokio::test]
async fn the_limit_grows_again_behind_a_large_page() {
    let texts = (0..60).map(|number| if (8..10).contains(&number) { 6000 } else { 1 });
    let server = listing_server(rows(texts), None).await;
    let (pages, _) = read(&mut pager_of(&server, 8)).await;
    assert_eq!(pages.concat().len(), 60);
    let windows = windows(&server).await;
    assert!(windows.contains(&(2, 7)), "the limit never fell: {windows:?}");
    assert_eq!(windows.last().map(|(limit, _)| *limit), Some(8), "{windows:?}");
}

#[tokio::test]
async fn whenever_a_row_is_deleted_no_row_behind_it_is_missed() {
    // Of the large ones a page holds one.
    for (text, requests) in [(1, 4), (6000, 16)] {
        for when in 1..requests {
            let server = listing_server(rows([text; 7]), Some(when)).await;
            let (pages, reasons) = read(&mut pager_of(&server, 3)).await;
            let read = pages.concat();
            let missed: Vec<_> = (1..7).map(|number| format!("{number:03}")).filter(|id| !read.contains(id)).collect();
            assert_eq!((missed, reasons.len()), (vec![], 0), "deleted before request {when}");
        }
    }
}
