//! The HTTP side of the simulator: which requests are accepted, which page they get, and a log of all requests.
//!
//! ```text
//! check_request (workspace, log, token, method, quota, scripted answers, permissions) -> list | one -> records
//! ```
//!
//! `check_request` runs before every path, known or not, because the real API checks the token before anything else. Error
//! bodies are plain sentences, never JSON, as clients of the real API report.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Query, Request as HttpRequest, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use chrono::{DateTime, Utc};

use super::by_token::Tenants;
use super::endpoint::{Endpoint, Hides};
use super::tenant::{EndpointRecords, Filter, ListQuery, Marked};
use super::{DimensionData, Gate, HiddenListing, Options, Quota, Request, RequestHook, ScriptedAnswer, Source};

/// One workspace: what the server and the [`Simulator`](super::Simulator) that holds it share.
pub(super) struct SharedServer {
    /// The token of the start.
    token: String,
    state: Mutex<ServerState>,
    /// Bytes of bodies that are not whole.
    streamed: Arc<AtomicU64>,
    gate: Gate,
}

/// Everything that changes while the server runs.
pub(super) struct ServerState {
    pub(super) endpoints: BTreeMap<&'static str, EndpointRecords>,
    pub(super) options: Options,
    /// Scripted answers by path without its leading slash, first come, first served.
    pub(super) answers: BTreeMap<String, VecDeque<ScriptedAnswer>>,
    pub(super) requests: Vec<Request>,
    /// When the calls came that count towards the quota, oldest first.
    pub(super) counted_calls: VecDeque<Instant>,
    /// What the server thinks the time is, if not what this machine thinks.
    pub(super) clock: Option<DateTime<Utc>>,
    pub(super) on_request: Option<RequestHook>,
}

impl ServerState {
    pub(super) fn source(&mut self) -> Source<'_> {
        Source { endpoints: &mut self.endpoints, options: &mut self.options }
    }

    fn run_hook(&mut self, path: &str) {
        if let Some(happens) = &mut self.on_request {
            happens(&mut Source { endpoints: &mut self.endpoints, options: &mut self.options }, path);
        }
    }
}

type QueryMap = BTreeMap<String, String>;
/// The parts of a path by their names in the routes.
type PathParts = BTreeMap<String, String>;

impl SharedServer {
    pub(super) fn new(options: Options, endpoints: BTreeMap<&'static str, EndpointRecords>) -> Self {
        let token = options.token.clone();
        let now = ServerState {
            endpoints,
            options,
            answers: BTreeMap::new(),
            requests: Vec::new(),
            counted_calls: VecDeque::new(),
            clock: None,
            on_request: None,
        };
        Self { token, state: Mutex::new(now), streamed: Arc::default(), gate: Gate::new() }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether it is the valid one now.
    pub(super) fn takes(&self, token: &str) -> bool {
        self.now().options.token == token
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

pub(super) fn router(tenants: &Arc<Tenants>) -> Router {
    let endpoints = Router::new()
        .route("/{object}", any(list))
        .route("/{object}/{id}", any(one))
        .fallback(async || not_found())
        .layer(middleware::from_fn_with_state(Arc::clone(tenants), check_request));
    endpoints.clone().nest("/as/{caller}", endpoints)
}

fn token_of(request: &HttpRequest) -> Option<&str> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Records the request before the latency begins, so that requests of clients that give up are recorded too.
async fn check_request(
    State(tenants): State<Arc<Tenants>>,
    parts: Option<Path<PathParts>>,
    mut request: HttpRequest,
    next: Next,
) -> Response {
    let at = Instant::now();
    let server = tenants.of(token_of(&request));
    request.extensions_mut().insert(Arc::clone(&server));
    let path = request.uri().path().to_owned();
    let query = Query::<QueryMap>::try_from_uri(request.uri()).map(|Query(query)| query).unwrap_or_default();

    let caller = parts.and_then(|Path(mut parts)| parts.remove("caller")).unwrap_or_default();

    server.now().run_hook(path.trim_start_matches('/'));
    let mut response = match server.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };

    let status = response.status().as_u16();
    if let Some(date) = server.note(Request { path, query, caller, status, at }) {
        response.headers_mut().insert(header::DATE, date);
    }
    server.gate.passes().await;
    let latency = server.now().options.latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    response
}

async fn list(
    Extension(server): Extension<Arc<SharedServer>>,
    Path(parts): Path<PathParts>,
    Query(query): Query<QueryMap>,
) -> Response {
    let object = &parts["object"];
    let mut now = server.now();
    let ServerState { endpoints, options, .. } = &mut *now;
    if object == "dimensiondata" {
        return dimension_data(options.dimension_data, &query);
    }
    let Some(records) = endpoints.get_mut(object.as_str()) else { return not_found() };
    match list_query(options, records.endpoint, &query) {
        Ok(wanted) => json(records.page(&wanted)),
        Err(status) => sentence(status, "The limit is too large."),
    }
}

async fn one(Extension(server): Extension<Arc<SharedServer>>, Path(parts): Path<PathParts>) -> Response {
    let (object, id) = (&parts["object"], &parts["id"]);
    let now = server.now();
    let found = now.endpoints.get(object.as_str()).and_then(|records| records.find(id));
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
        if !token_of(request).is_some_and(|given| self.takes(given)) {
            return Some(sentence(StatusCode::UNAUTHORIZED, "The access token is not valid."));
        }
        if request.method() != Method::GET {
            return Some(sentence(StatusCode::METHOD_NOT_ALLOWED, "This simulated Planhat is for reading."));
        }

        let path = request.uri().path().trim_start_matches('/');
        let object = path.split('/').next().unwrap_or_default();
        let mut now = self.now();
        if let Some(refusal) = now.options.quota.and_then(|quota| quota_refusal(quota, &mut now.counted_calls)) {
            return Some(refusal);
        }
        if let Some(answer) = now.answers.get_mut(path).and_then(VecDeque::pop_front) {
            return Some(self.scripted(answer));
        }
        if now.options.forbidden.contains(object) {
            return Some(sentence(StatusCode::FORBIDDEN, "This app has no permission to view this model."));
        }
        now.options.missing.contains(object).then(not_found)
    }

    fn scripted(&self, answer: ScriptedAnswer) -> Response {
        let bare = Response::builder().status(answer.status);
        let response = answer.headers.into_iter().fold(bare, |response, (name, value)| response.header(name, value));
        response
            .body(answer.content.body(Arc::clone(&self.streamed)))
            .unwrap_or_else(|_| sentence(StatusCode::INTERNAL_SERVER_ERROR, "The scripted answer is not valid HTTP."))
    }
}

/// What a request asks for, or the status that refuses its limit.
fn list_query(options: &Options, endpoint: &Endpoint, query: &QueryMap) -> Result<ListQuery, StatusCode> {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<usize>().ok());
    let wanted = number("limit").filter(|&limit| limit > 0).unwrap_or(endpoint.default_limit);
    let limit = options.page_limit(endpoint.path, endpoint.max_limit, wanted);
    Ok(ListQuery {
        sort: query.get("sort").filter(|sort| options.honours(endpoint.path, sort)).cloned(),
        marked: match endpoint.hides {
            None => Marked::Either,
            Some(Hides { mark, .. }) if query.get(mark).is_none_or(|value| value != "true") => Marked::No,
            Some(Hides { asked_for, .. }) => {
                match options.objects.get(endpoint.path).and_then(|object| object.hidden).unwrap_or(asked_for) {
                    HiddenListing::Adds => Marked::Either,
                    HiddenListing::Replaces => Marked::Yes,
                }
            }
        },
        filters: filters(endpoint, query),
        select: query.get("select").map(|names| comma_list(names)).unwrap_or_default(),
        offset: number("offset").filter(|_| options.honours_offset).unwrap_or(0),
        limit: limit.map_err(|status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST))?,
    })
}

fn dimension_data(answers: DimensionData, query: &QueryMap) -> Response {
    let status = if query.contains_key("cId") { answers.one_company } else { answers.whole_workspace };
    match StatusCode::from_u16(status) {
        Ok(StatusCode::OK) => json("[]"),
        Ok(StatusCode::NOT_FOUND) | Err(_) => not_found(),
        Ok(status) => sentence(status, "There is no usage data for this."),
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
