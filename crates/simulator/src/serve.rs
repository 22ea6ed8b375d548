//! The HTTP side of the simulator: which requests are accepted, which page they get, and a log of all requests.
//!
//! ```text
//! check_request (log, token, method, quota, scripted answers, permissions) -> list | one -> records
//! ```
//!
//! `check_request` runs before every path, known or not, because the real API checks the token before anything else. Error
//! bodies are plain sentences, never JSON, as clients of the real API report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request as HttpRequest, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chrono::{DateTime, Utc};

use super::endpoint::{Endpoint, Hides};
use super::tenant::{EndpointRecords, Filter, ListQuery};
use super::{Gate, Options, Quota, Request, RequestHook, ScriptedAnswer, Source};

/// What the server and the [`Simulator`](super::Simulator) that holds it share.
pub(super) struct SharedServer {
    options: Options,
    state: Mutex<ServerState>,
    /// Bytes of bodies that are not whole.
    streamed: Arc<AtomicU64>,
    gate: Gate,
}

/// Everything that changes while the server runs.
pub(super) struct ServerState {
    pub(super) endpoints: BTreeMap<&'static str, EndpointRecords>,
    pub(super) forbidden: BTreeSet<String>,
    /// The token that is valid in place of the one from the start.
    pub(super) rotated: Option<String>,
    /// Scripted answers by path without its leading slash, first come, first served.
    pub(super) answers: BTreeMap<String, VecDeque<ScriptedAnswer>>,
    pub(super) requests: Vec<Request>,
    /// When the calls came that count towards the quota, oldest first.
    pub(super) counted_calls: VecDeque<Instant>,
    /// What the server thinks the time is, if not what this machine thinks.
    pub(super) clock: Option<DateTime<Utc>>,
    pub(super) max_limit: Option<usize>,
    pub(super) on_request: Option<RequestHook>,
}

impl ServerState {
    pub(super) fn source(&mut self) -> Source<'_> {
        Source { endpoints: &mut self.endpoints }
    }

    fn run_hook(&mut self, path: &str) {
        if let Some(happens) = &mut self.on_request {
            happens(&mut Source { endpoints: &mut self.endpoints }, path);
        }
    }
}

type QueryMap = BTreeMap<String, String>;

impl SharedServer {
    pub(super) fn new(options: Options, endpoints: BTreeMap<&'static str, EndpointRecords>) -> Self {
        let forbidden = options.forbidden.clone();
        let now = ServerState {
            endpoints,
            forbidden,
            rotated: None,
            answers: BTreeMap::new(),
            requests: Vec::new(),
            counted_calls: VecDeque::new(),
            clock: None,
            max_limit: options.max_limit,
            on_request: None,
        };
        Self { options, state: Mutex::new(now), streamed: Arc::default(), gate: Gate::new() }
    }

    pub(super) fn token(&self) -> &str {
        &self.options.token
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    pub(super) fn streamed_bytes(&self) -> u64 {
        self.streamed.load(Ordering::Relaxed)
    }

    /// A test that panics in the middle of an edit should fail by that panic and no other.
    pub(super) fn now(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn router(server: &Arc<SharedServer>) -> Router {
    Router::new()
        .route("/{object}", any(list))
        .route("/{object}/{id}", any(one))
        .fallback(async || not_found())
        .layer(middleware::from_fn_with_state(Arc::clone(server), check_request))
        .with_state(Arc::clone(server))
}

/// Records the request before the latency begins, so that requests of clients that give up are recorded too.
async fn check_request(State(server): State<Arc<SharedServer>>, request: HttpRequest, next: Next) -> Response {
    let at = Instant::now();
    let path = request.uri().path().to_owned();
    let query = Query::<QueryMap>::try_from_uri(request.uri()).map(|Query(query)| query).unwrap_or_default();

    server.now().run_hook(path.trim_start_matches('/'));
    let mut response = match server.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };

    let status = response.status().as_u16();
    if let Some(date) = server.note(Request { path, query, status, at }) {
        response.headers_mut().insert(header::DATE, date);
    }
    server.gate.passes().await;
    if !server.options.latency.is_zero() {
        tokio::time::sleep(server.options.latency).await;
    }
    response
}

async fn list(State(server): State<Arc<SharedServer>>, Path(object): Path<String>, Query(query): Query<QueryMap>) -> Response {
    let mut now = server.now();
    let max_limit = now.max_limit;
    let Some(records) = now.endpoints.get_mut(object.as_str()) else { return not_found() };
    let wanted = server.list_query(records.endpoint, &query, max_limit);
    json(records.page(&wanted))
}

async fn one(State(server): State<Arc<SharedServer>>, Path((object, id)): Path<(String, String)>) -> Response {
    let now = server.now();
    let found = now.endpoints.get(object.as_str()).and_then(|records| records.find(&id));
    found.map_or_else(not_found, |record| json(record.to_owned()))
}

impl SharedServer {
    /// Records a request, and returns the simulated time of the answer, if the clock is set.
    fn note(&self, request: Request) -> Option<HeaderValue> {
        let mut now = self.now();
        now.requests.push(request);
        HeaderValue::from_str(&httpdate::fmt_http_date(now.clock?.into())).ok()
    }

    /// The answer to those who do not come through the door.
    fn refusal(&self, request: &HttpRequest) -> Option<Response> {
        let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = authorization.and_then(|value| value.strip_prefix("Bearer "));
        if given != Some(self.now().rotated.as_deref().unwrap_or(self.token())) {
            return Some(sentence(StatusCode::UNAUTHORIZED, "The access token is not valid."));
        }
        if request.method() != Method::GET {
            return Some(sentence(StatusCode::METHOD_NOT_ALLOWED, "This simulated Planhat is for reading."));
        }

        let path = request.uri().path().trim_start_matches('/');
        let object = path.split('/').next().unwrap_or_default();
        let mut now = self.now();
        if let Some(refusal) = self.options.quota.and_then(|quota| quota_refusal(quota, &mut now.counted_calls)) {
            return Some(refusal);
        }
        if let Some(answer) = now.answers.get_mut(path).and_then(VecDeque::pop_front) {
            return Some(self.scripted(answer));
        }
        if now.forbidden.contains(object) {
            return Some(sentence(StatusCode::FORBIDDEN, "This app has no permission to view this model."));
        }
        self.options.missing.contains(object).then(not_found)
    }

    fn scripted(&self, answer: ScriptedAnswer) -> Response {
        let bare = Response::builder().status(answer.status);
        let response = answer.headers.into_iter().fold(bare, |response, (name, value)| response.header(name, value));
        response
            .body(answer.content.body(Arc::clone(&self.streamed)))
            .unwrap_or_else(|_| sentence(StatusCode::INTERNAL_SERVER_ERROR, "The scripted answer is not valid HTTP."))
    }

    fn list_query(&self, endpoint: &Endpoint, query: &QueryMap, max_limit: Option<usize>) -> ListQuery {
        let number = |name: &str| query.get(name).and_then(|value| value.parse::<usize>().ok());
        let limit = number("limit").filter(|&limit| limit > 0).unwrap_or(endpoint.default_limit);
        let most = max_limit.unwrap_or(usize::MAX).min(endpoint.max_limit);
        ListQuery {
            sort: query.get("sort").filter(|_| self.options.honours_sort).cloned(),
            hidden: match endpoint.hides {
                Hides::Nothing => false,
                Hides::UntilIncluded(name) | Hides::UntilAskedFor(name) => query.get(name).is_some_and(|value| value == "true"),
            },
            filters: filters(endpoint, query),
            select: query.get("select").map(|names| comma_list(names)).unwrap_or_default(),
            offset: number("offset").filter(|_| self.options.honours_offset).unwrap_or(0),
            limit: limit.min(most),
        }
    }
}

/// A 429 if this call is one too many; else it is noted as one that is answered.
fn quota_refusal(quota: Quota, counted_calls: &mut VecDeque<Instant>) -> Option<Response> {
    let now = Instant::now();
    while counted_calls.front().is_some_and(|oldest| now - *oldest >= quota.within) {
        counted_calls.pop_front();
    }
    if counted_calls.len() < quota.calls {
        counted_calls.push_back(now);
        return None;
    }
    let mut response = sentence(StatusCode::TOO_MANY_REQUESTS, "You have made too many requests.");
    if let Some(oldest) = counted_calls.front().filter(|_| quota.sends_retry_after) {
        let seconds = (quota.within - (now - *oldest)).as_secs_f64().ceil() as u64;
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Some(response)
}

fn filters(endpoint: &Endpoint, query: &QueryMap) -> Vec<Filter> {
    let filter: (&str, &'static [&'static str]) = match endpoint.path {
        "companies" => ("companyId", &["_id"]),
        "customfields" => ("parent", &["parent"]),
        _ => ("companyId", &["companyId", "cId"]),
    };
    let (parameter, properties) = filter;
    let values = query.get(parameter).map(|values| Filter { properties, values: comma_list(values) });
    values.into_iter().collect()
}

fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.into()).into_response()
}

fn not_found() -> Response {
    sentence(StatusCode::NOT_FOUND, "There is nothing here.")
}

fn sentence(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}
