//! A simulated Planhat: a small HTTP server that answers as the real API does. The demo, the tests
//! and the benchmark run against it; nothing else knows it.
//!
//! ```text
//! Workspace (fixtures, generated, or a test's own) -> Simulator::start -> http://127.0.0.1:PORT
//!                                                          ^ edit, touch, add, delete, forbid, …
//! ```
//!
//! It does what the API is known to do: bare arrays, limits that differ by endpoint and are
//! clamped, archived records left out until asked for, dates that sort with missing ones at the
//! end, refusals in plain sentences. It also does, on request, what the API may do to a client:
//! ignore the sort or the offset, forbid an object, fail for a while. It never repeats a record by
//! itself and knows no rate limit; a test that wants either scripts it with
//! [`answer_next`](Simulator::answer_next).

mod endpoint;
mod generate;
mod serve;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use serve::Site;
pub use workspace::Workspace;

/// How the server behaves. The default is a well-behaved Planhat.
#[derive(Debug, Clone)]
pub struct Options {
    pub token: String,
    /// Objects answered with 403, as for an app without the permission.
    pub forbidden: BTreeSet<String>,
    /// Objects answered with 404, as for a tenant without the model.
    pub missing: BTreeSet<String>,
    /// Clamps every limit, on top of the documented maxima.
    pub max_limit: Option<usize>,
    /// When false, `sort` is ignored and records come in the order they were made.
    pub honours_sort: bool,
    /// When false, every page is the first one.
    pub honours_offset: bool,
    /// How long every answer takes.
    pub latency: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: "simulated-token".to_owned(),
            forbidden: BTreeSet::new(),
            missing: BTreeSet::new(),
            max_limit: None,
            honours_sort: true,
            honours_offset: true,
            latency: Duration::ZERO,
        }
    }
}

/// A running server. It stops when this is dropped.
pub struct Simulator {
    address: SocketAddr,
    site: Arc<Site>,
    _running: DropGuard,
}

/// A request as the server saw it, refused ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// With its leading slash, as in `/companies`.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// What the server answered.
    pub status: u16,
}

/// A scripted answer, for the moments when the API does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Simulator {
    /// Serves the workspace on a free port of the loopback interface, on a task of its own.
    ///
    /// # Errors
    /// When the loopback interface has no free port.
    pub async fn start(workspace: Workspace, options: Options) -> std::io::Result<Simulator> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let site = Arc::new(Site::new(options, workspace.into_shelves()));

        let stop = CancellationToken::new();
        let server = axum::serve(listener, serve::router(&site)).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(server.into_future());
        Ok(Simulator { address, site, _running: stop.drop_guard() })
    }

    /// The base URL, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn token(&self) -> &str {
        self.site.token()
    }

    /// All requests so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.site.now().requests.clone()
    }

    /// Begins the list of [`requests`](Self::requests) anew.
    pub fn forget_requests(&self) {
        self.site.now().requests.clear();
    }

    /// The records of an object as they are now, archived ones included.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<Value> {
        self.site.now().shelves.get(object).map(workspace::Shelf::records).unwrap_or_default()
    }

    /// Answers 403 for this object from now on.
    pub fn forbid(&self, object: &str) {
        self.site.now().forbidden.insert(object.to_owned());
    }

    /// Takes back [`forbid`](Self::forbid) and [`Options::forbidden`].
    pub fn allow(&self, object: &str) {
        self.site.now().forbidden.remove(object);
    }

    /// The next requests to `/{object}` get these answers, one each, then all is normal again.
    /// `companies/<id>` scripts the answers for a single record. Requests refused for their token
    /// or method use up no answer.
    pub fn answer_next(&self, object: &str, answers: Vec<Answer>) {
        self.site.now().answers.entry(object.to_owned()).or_default().extend(answers);
    }

    /// A change by a user: moves the object's modification date to `at` where it has one. Returns
    /// whether the record exists. `change` must not call the simulator.
    pub fn edit(
        &self,
        object: &str,
        id: &str,
        at: DateTime<Utc>,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> bool {
        let modified = endpoint::endpoint(object).and_then(|endpoint| endpoint.modified);
        self.change(object, id, |record| {
            change(record);
            if let Some(modified) = modified {
                record.insert(modified.to_owned(), date(at));
            }
        })
    }

    /// A contact with a customer: moves `lastTouch` of a company or an end user to `at`, and
    /// nothing else. Returns whether the record exists.
    pub fn touch(&self, object: &str, id: &str, at: DateTime<Utc>) -> bool {
        self.change(object, id, |record| {
            if ["companies", "endusers"].contains(&object) {
                record.insert("lastTouch".to_owned(), date(at));
            }
        })
    }

    /// A new record, last in the order of creation.
    ///
    /// # Panics
    /// When Planhat has no such endpoint.
    pub fn add(&self, object: &str, record: Value) {
        let mut now = self.site.now();
        let shelf = now.shelves.get_mut(object).unwrap_or_else(|| panic!("Planhat has no /{object}"));
        shelf.add(&record);
    }

    /// Returns whether the record existed. It is no longer listed, without a trace.
    pub fn delete(&self, object: &str, id: &str) -> bool {
        self.site.now().shelves.get_mut(object).is_some_and(|shelf| shelf.delete(id))
    }

    fn change(&self, object: &str, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        self.site.now().shelves.get_mut(object).is_some_and(|shelf| shelf.change(id, change))
    }
}

impl Answer {
    /// A status with a sentence of plain text.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::text(status, "text/plain; charset=utf-8", "The simulated Planhat was told to answer this.")
    }

    /// A JSON body of any shape.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", &body.to_string())
    }

    /// Any body, sent under any content type; broken ones too.
    #[must_use]
    pub fn text(status: u16, content_type: &str, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.as_bytes().to_vec() }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Dates go out as the API writes them: UTC, milliseconds, `Z`.
fn date(at: DateTime<Utc>) -> Value {
    Value::from(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

