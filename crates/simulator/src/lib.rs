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
//! ignore the sort or the offset, forbid an object, enforce a quota, fail for a while. It never repeats
//! a record by itself; a test that wants that, or an answer that is broken, scripts it with
//! [`answer_next`](Simulator::answer_next).
//!
//! One address can serve many workspaces, each with a token of its own: [`tenant`](Simulator::tenant).

mod by_token;
mod content;
mod endpoint;
mod from_report;
mod gate;
mod generate;
mod options;
mod serve;
mod tenant;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use by_token::Tenants;
pub use content::Content;
pub use gate::Gate;
pub use options::{DimensionData, ObjectOptions, Options, OverLimit, Quota, Sorts};
pub use planhat_model::capability::HiddenListing;
pub use planhat_model::workspace_report::WorkspaceReport;
use serve::SharedServer;
pub use tenant::Workspace;

/// What happens at the source at the moment of a request, before it is answered.
type RequestHook = Box<dyn FnMut(&mut Source<'_>, &str) + Send>;

/// The records of all objects and the behaviour of the server, to be worked on by [`Simulator::on_request`].
pub struct Source<'a> {
    endpoints: &'a mut BTreeMap<&'static str, tenant::EndpointRecords>,
    options: &'a mut Options,
}

/// A workspace of a running server. The server stops when this is dropped, and so is every other workspace of it.
pub struct Simulator {
    address: SocketAddr,
    server: Arc<SharedServer>,
    tenants: Arc<Tenants>,
    running: Arc<DropGuard>,
}

/// A request as the server saw it, refused ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// With its leading slash, as in `/companies`.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Who sent it, if it came to a [URL of its own](Simulator::url_of); else empty.
    pub caller: String,
    /// What the server answered.
    pub status: u16,
    /// When it came.
    pub at: Instant,
}

/// A scripted answer, for the moments when the API does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub content: Content,
}

impl Simulator {
    /// Serves the workspace on a free port of the loopback interface, on a task of its own.
    ///
    /// # Errors
    /// When the loopback interface has no free port.
    pub async fn start(workspace: Workspace, options: Options) -> std::io::Result<Simulator> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = Arc::new(SharedServer::new(options, workspace.into_shelves()));
        let tenants = Arc::new(Tenants::new(Arc::clone(&server)));

        let stop = CancellationToken::new();
        let serving = axum::serve(listener, serve::router(&tenants)).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(serving.into_future());
        Ok(Simulator { address, server, tenants, running: Arc::new(stop.drop_guard()) })
    }

    /// Another workspace at the same address, with records, options, a quota and a list of requests of its own. The token of its
    /// options has to be another one; who comes with it is answered from this workspace.
    #[must_use]
    pub fn tenant(&self, workspace: Workspace, options: Options) -> Simulator {
        let server = Arc::new(SharedServer::new(options, workspace.into_shelves()));
        self.tenants.add(Arc::clone(&server));
        let (tenants, running) = (Arc::clone(&self.tenants), Arc::clone(&self.running));
        Simulator { address: self.address, server, tenants, running }
    }

    /// The base URL, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A base URL below which the same is served, so that requests say who sent them.
    #[must_use]
    pub fn url_of(&self, caller: &str) -> String {
        format!("{}/as/{caller}", self.url())
    }

    #[must_use]
    pub fn token(&self) -> &str {
        self.server.token()
    }

    /// All requests so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.server.now().requests.clone()
    }

    /// Begins the list of [`requests`](Self::requests) anew.
    pub fn forget_requests(&self) {
        self.server.now().requests.clear();
    }

    /// How many requests came in the busiest stretch of time of this length.
    #[must_use]
    pub fn busiest(&self, within: Duration) -> usize {
        let mut came: Vec<Instant> = self.server.now().requests.iter().map(|request| request.at).collect();
        came.sort_unstable();
        let stretch = |(index, begin): (usize, &Instant)| came[index..].partition_point(|at| *at - *begin < within);
        came.iter().enumerate().map(stretch).max().unwrap_or(0)
    }

    /// How much of bodies that never end, or are huge, the server got rid of so far.
    #[must_use]
    pub fn streamed_bytes(&self) -> u64 {
        self.server.streamed_bytes()
    }

    /// The records of an object as they are now, archived ones included.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<Value> {
        self.server.now().endpoints.get(object).map(tenant::EndpointRecords::records).unwrap_or_default()
    }

    /// The ids of an object's records, which are less to hold than the records.
    #[must_use]
    pub fn ids(&self, object: &str) -> Vec<String> {
        self.server.now().endpoints.get(object).map(tenant::EndpointRecords::ids).unwrap_or_default()
    }

    /// Sorts a listing before somebody asks for it: among many records that takes a moment.
    pub fn sort(&self, object: &str, sort: &str) {
        if let Some(records) = self.server.now().endpoints.get_mut(object) {
            records.sort(sort);
        }
    }

    /// Answers 403 for this object from now on.
    pub fn forbid(&self, object: &str) {
        self.server.now().options.forbidden.insert(object.to_owned());
    }

    /// Takes back [`forbid`](Self::forbid) and [`Options::forbidden`].
    pub fn allow(&self, object: &str) {
        self.server.now().options.forbidden.remove(object);
    }

    /// The next requests to `/{object}` get these answers, one each, then all is normal again.
    /// `companies/<id>` scripts the answers for a single record. Requests refused for their token
    /// or method use up no answer.
    pub fn answer_next(&self, object: &str, answers: Vec<ScriptedAnswer>) {
        self.server.now().answers.entry(object.to_owned()).or_default().extend(answers);
    }

    /// With it a test holds back the answers, from a moment of its choice to another one.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.server.gate()
    }

    /// From now on only this token is valid; [`token`](Self::token) stays what it was at the start.
    pub fn rotate_token(&self, token: &str) {
        self.server.now().options.token = token.to_owned();
    }

    /// Sets the clock of the server, which every answer shows. Without it, it is that of this machine.
    pub fn set_clock(&self, at: DateTime<Utc>) {
        self.server.now().clock = Some(at);
    }

    /// From now on the server clamps every limit to this; none for the documented maxima.
    pub fn clamp_limits(&self, most: Option<usize>) {
        self.server.now().options.max_limit = most;
    }

    /// Has the server behave in another way from now on.
    pub fn set_options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.server.now().options);
    }

    /// What happens at the source at every request from now on, before it is answered: it gets the path
    /// without its leading slash.
    pub fn on_request(&self, happens: impl FnMut(&mut Source<'_>, &str) + Send + 'static) {
        self.server.now().on_request = Some(Box::new(happens));
    }

    /// Several changes at once, with nothing served in between.
    pub fn edit_source(&self, work: impl FnOnce(&mut Source<'_>)) {
        work(&mut self.server.now().source());
    }

    /// From now on nothing happens meanwhile, and no answer is scripted.
    pub fn clear_faults(&self) {
        let mut now = self.server.now();
        now.on_request = None;
        now.answers.clear();
    }

    /// A change by a user: moves the object's modification date to `at` where it has one. Returns
    /// whether the record exists. `change` must not call the simulator.
    pub fn edit(&self, object: &str, id: &str, at: DateTime<Utc>, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        self.server.now().source().edit(object, id, at, change)
    }

    /// A contact with a customer: moves `lastTouch` of a company or an end user to `at`, and
    /// nothing else. Returns whether the record exists.
    pub fn touch(&self, object: &str, id: &str, at: DateTime<Utc>) -> bool {
        self.server.now().source().touch(object, id, at)
    }

    /// A new record, last in the order of creation.
    ///
    /// # Panics
    /// When Planhat has no such endpoint.
    pub fn add(&self, object: &str, record: Value) {
        self.server.now().source().add(object, &record);
    }

    /// Returns whether the record existed. It is no longer listed, without a trace.
    pub fn delete(&self, object: &str, id: &str) -> bool {
        self.server.now().source().delete(object, id).is_some()
    }
}

impl Source<'_> {
    /// See [`Simulator::edit`].
    pub fn edit(&mut self, object: &str, id: &str, at: DateTime<Utc>, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let modified = endpoint::endpoint(object).and_then(|endpoint| endpoint.modified);
        self.change(object, id, |record| {
            change(record);
            if let Some(modified) = modified {
                record.insert(modified.to_owned(), date(at));
            }
        })
    }

    /// See [`Simulator::touch`].
    pub fn touch(&mut self, object: &str, id: &str, at: DateTime<Utc>) -> bool {
        self.change(object, id, |record| {
            if ["companies", "endusers"].contains(&object) {
                record.insert("lastTouch".to_owned(), date(at));
            }
        })
    }

    /// See [`Simulator::add`].
    ///
    /// # Panics
    /// When Planhat has no such endpoint.
    pub fn add(&mut self, object: &str, record: &Value) {
        let records = self.endpoints.get_mut(object).unwrap_or_else(|| panic!("Planhat has no /{object}"));
        records.add(record);
    }

    /// The record that is no longer listed, as it may come back from the trash.
    pub fn delete(&mut self, object: &str, id: &str) -> Option<Value> {
        self.endpoints.get_mut(object)?.delete(id)
    }

    /// See [`Simulator::set_options`]. The request at hand is answered in the new way already.
    pub fn set_options(&mut self, change: impl FnOnce(&mut Options)) {
        change(self.options);
    }

    /// A change that moves no time, as Planhat makes when it computes a value anew.
    pub fn change(&mut self, object: &str, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        self.endpoints.get_mut(object).is_some_and(|records| records.change(id, change))
    }
}

impl ScriptedAnswer {
    /// A status with a sentence of plain text.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::text(status, "text/plain; charset=utf-8", "The simulated Planhat was told to answer this.")
    }

    /// A JSON body of any shape.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    /// Any body, sent under any content type; broken ones too.
    #[must_use]
    pub fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, content: Content::Whole(body.into()) }
    }

    /// A 200 with a body that is no whole one.
    #[must_use]
    pub fn of(content: Content) -> Self {
        Self { content, ..Self::text(200, "application/json; charset=utf-8", "") }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use serde_json::json;

    use super::*;

    /// Longer than any answer takes, on a slow machine that does other work too.
    const DEADLINE: Duration = Duration::from_secs(60);

    async fn simulated() -> Simulator {
        start(Options::default()).await
    }

    async fn start(options: Options) -> Simulator {
        Simulator::start(Workspace::from_fixtures(), options).await.unwrap()
    }

    /// Status and body of one request, over a connection of its own.
    fn ask(simulator: &Simulator, method: &str, path: &str, token: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(simulator.address).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: planhat\r\nauthorization: Bearer {token}\r\n");
        connection.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn get(simulator: &Simulator, path: &str) -> (u16, String) {
        ask(simulator, "GET", path, simulator.token())
    }

    fn list(simulator: &Simulator, path: &str) -> Vec<Value> {
        let (status, body) = get(simulator, path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn ids(records: &[Value]) -> Vec<String> {
        records.iter().map(|record| record["_id"].to_string()).collect()
    }

    fn names(records: &[Value]) -> Vec<&str> {
        records.iter().filter_map(|record| record["name"].as_str()).collect()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_endpoint_lists_fixtures_with_an_id_each() {
        let simulator = simulated().await;
        for endpoint in &endpoint::ENDPOINTS {
            let records = list(&simulator, &format!("/{}", endpoint.path));
            assert!(records.len() >= 3, "{}", endpoint.path);
            assert!(records.iter().all(|record| record["_id"].as_str().unwrap().len() == 24));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_token_has_a_workspace_of_its_own_at_the_same_address() {
        let options = |token: &str, calls| Options {
            token: token.to_owned(),
            quota: Some(Quota { calls, within: DEADLINE, sends_retry_after: false }),
            ..Options::default()
        };
        let first = start(options("first", 9)).await;
        let acme = first.tenant(Workspace::empty().with("companies", vec![json!({"_id": "a"})]), options("acme", 2));
        let bolt = first.tenant(Workspace::empty(), options("bolt", 9));
        assert_eq!(acme.url(), first.url());

        assert_eq!(list(&acme, "/companies"), [json!({"_id": "a"})]);
        assert!(list(&bolt, "/companies").is_empty());
        assert_eq!(list(&first, "/companies").len(), first.records("companies").len());
        // A quota and a list of requests for each.
        assert_eq!(get(&acme, "/companies/a").0, 200);
        assert_eq!((get(&acme, "/companies/a").0, get(&bolt, "/companies/a").0), (429, 404));
        let requests = [&first, &acme, &bolt].map(|tenant| tenant.requests().len());
        assert_eq!(requests, [1, 3, 2]);

        bolt.rotate_token("bolt 2");
        assert_eq!((get(&bolt, "/companies").0, ask(&bolt, "GET", "/companies", "bolt 2").0), (401, 200));
        assert_eq!(ask(&bolt, "GET", "/companies", "bolt 2").0, 200);
        assert_eq!(ask(&first, "GET", "/companies", "nobody's").0, 401);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_says_which_caller_has_sent_it() {
        let simulator = simulated().await;
        let company = simulator.records("companies")[0]["_id"].as_str().unwrap().to_owned();
        let paths = ["/companies", &format!("/companies/{company}"), "/nobody", "/dimensiondata/1/2"];
        for prefix in ["", simulator.url_of("ann").trim_start_matches(&simulator.url())] {
            let statuses = paths.map(|path| get(&simulator, &format!("{prefix}{path}")).0);
            assert_eq!(statuses, [200, 200, 404, 404], "{prefix}");
        }
        let requests = simulator.requests();
        let seen: Vec<(&str, &str)> = requests.iter().map(|request| (request.caller.as_str(), request.path.as_str())).collect();
        let expected: Vec<(&str, &str)> = ["", "ann"].into_iter().flat_map(|caller| paths.map(|path| (caller, path))).collect();
        assert_eq!(seen, expected);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn archived_end_users_are_added_on_request_and_archived_tasks_come_alone() {
        let simulator = simulated().await;
        assert_eq!(list(&simulator, "/endusers").len(), 6);
        assert_eq!(list(&simulator, "/endusers?archived=true").len(), 8);
        assert_eq!(list(&simulator, "/tasks").len(), 4);
        assert_eq!(list(&simulator, "/tasks?isArchived=true").len(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pages_of_a_sorted_listing_make_up_the_whole_with_missing_dates_at_the_end() {
        let simulator = simulated().await;
        let whole = list(&simulator, "/companies?sort=-lastTouch");
        let pages: Vec<Value> = (0..4)
            .flat_map(|page| list(&simulator, &format!("/companies?sort=-lastTouch&limit=2&offset={}", 2 * page)))
            .collect();
        assert_eq!(pages, whole);
        assert_eq!(names(&whole)[0], "Åkerö & Söner");
        assert_eq!(names(&whole)[6..], ["Test Company", "Bright & Early Ltd"]);
        assert_eq!(names(&list(&simulator, "/companies?sort=lastTouch"))[..2], names(&whole)[6..]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dates_sort_as_instants_however_they_are_written() {
        let written = ["2025-01-01T00:00:00Z", "2025-01-01T00:00:00.500Z", "2025-01-01T02:00:00+02:00"];
        let records = written.iter().map(|date| json!({"_id": date, "updatedAt": date})).collect();
        let workspace = Workspace::empty().with("companies", records);
        let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
        let sorted = list(&simulator, "/companies?sort=-updatedAt");
        let expected = [written[1], written[0], written[2]].map(|id| json!(id).to_string());
        assert_eq!(ids(&sorted), expected);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn limits_are_clamped_and_parameters_that_nobody_knows_ignored() {
        let options = Options { max_limit: Some(3), honours_offset: false, honours_sort: false, ..Options::default() };
        let simulator = start(options).await;
        let page = list(&simulator, "/companies?limit=99999&offset=5&sort=-name&name=nobody");
        assert_eq!(names(&page), ["Åkerö & Söner", "Nordlicht Energie GmbH", "Café Corrientes S.A."]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_object_may_behave_in_its_own_way_and_change_while_it_is_read() {
        let simulator = simulated().await;
        let lengths = |paths: [&str; 2]| paths.map(|path| list(&simulator, path).len());
        simulator.set_options(|options| {
            options.object("endusers").hidden = Some(HiddenListing::Replaces);
            options.object("tasks").hidden = Some(HiddenListing::Adds);
            options.object("companies").sorts = Sorts::IgnoredBy(BTreeSet::from(["lastTouch".to_owned()]));
            options.object("nps").max_limit = Some(2);
            options.object("users").sorts = Sorts::Ignored;
        });
        assert_eq!(lengths(["/endusers", "/endusers?archived=true"]), [6, 2]);
        assert_eq!(lengths(["/tasks", "/tasks?isArchived=true"]), [4, 6]);
        assert_eq!(list(&simulator, "/companies?sort=-lastTouch"), simulator.records("companies"));
        assert_ne!(list(&simulator, "/companies?sort=-updatedAt"), simulator.records("companies"));
        assert_eq!(list(&simulator, "/users?sort=-updatedAt"), simulator.records("users"));
        assert_eq!(list(&simulator, "/nps?limit=3").len(), 2);

        simulator.on_request(|source, path| {
            if path == "nps" {
                source.set_options(|options| options.object("nps").over_limit = OverLimit::Refused(400));
            }
        });
        assert_eq!(get(&simulator, "/nps?limit=3").0, 400);
        assert_eq!(list(&simulator, "/nps?limit=2").len(), 2);
        simulator.clear_faults();
        simulator.set_options(|options| options.object("nps").over_limit = OverLimit::Answered);
        assert_eq!(list(&simulator, "/nps?limit=3").len(), 3);
        simulator.set_options(|options| options.objects.clear());
        assert_eq!(lengths(["/endusers?archived=true", "/tasks?isArchived=true"]), [8, 2]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dimension_data_answer_as_they_are_told_to() {
        let simulator = simulated().await;
        let statuses = || ["/dimensiondata", "/dimensiondata?cId=1"].map(|path| get(&simulator, path).0);
        assert_eq!(statuses(), [404, 404]);
        simulator.set_options(|options| options.dimension_data = DimensionData { whole_workspace: 400, one_company: 200 });
        assert_eq!(statuses(), [400, 200]);
        assert_eq!(list(&simulator, "/dimensiondata?cId=1"), Vec::<Value>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn listings_are_filtered_and_cut_to_selected_properties() {
        let simulator = simulated().await;
        let company = simulator.records("companies")[0]["_id"].as_str().unwrap().to_owned();
        assert_eq!(list(&simulator, &format!("/licenses?companyId={company},other")).len(), 2);
        assert_eq!(list(&simulator, &format!("/invoices?companyId={company}")).len(), 1);
        assert_eq!(names(&list(&simulator, "/customfields?parent=EndUser")), ["Trained on"]);
        let selected = list(&simulator, "/companies?limit=1&select=name,nothing");
        assert_eq!(selected, [json!({"_id": company, "name": "Åkerö & Söner"})]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_is_found_by_any_of_its_ids_and_numbers_keep_their_text() {
        let simulator = simulated().await;
        let company = simulator.records("companies")[0]["_id"].as_str().unwrap().to_owned();
        let (status, body) = get(&simulator, &format!("/companies/{company}"));
        assert_eq!(status, 200);
        assert!(body.contains("29.285714285714285") && body.contains("\"sentimentScore\":0.1,"));
        assert_eq!(get(&simulator, "/companies/srcid-001-AKERO"), (200, body));
        assert_eq!(get(&simulator, "/companies/extid-crm%2D1002").0, 200);
        assert_eq!(get(&simulator, "/companies/extid-nobody").0, 404);
        assert_eq!(get(&simulator, "/companies/0123").0, 404);
        assert_eq!(get(&simulator, "/notes").0, 404);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refusals_come_in_the_order_token_method_script_permission() {
        let forbidden = BTreeSet::from(["nps".to_owned()]);
        let missing = BTreeSet::from(["churn".to_owned()]);
        let simulator = start(Options { forbidden, missing, ..Options::default() }).await;
        simulator.answer_next("nps", vec![ScriptedAnswer::status(503), ScriptedAnswer::json(200, json!("odd"))]);

        assert_eq!(ask(&simulator, "GET", "/nps", "wrong").0, 401);
        assert_eq!(ask(&simulator, "DELETE", "/nps", simulator.token()).0, 405);
        assert_eq!(get(&simulator, "/nps").0, 503);
        assert_eq!(get(&simulator, "/nps?limit=1"), (200, "\"odd\"".to_owned()));
        assert_eq!(get(&simulator, "/nps").0, 403);
        assert_eq!(get(&simulator, "/churn").0, 404);
        simulator.allow("nps");
        assert_eq!(get(&simulator, "/nps").0, 200);

        let statuses: Vec<u16> = simulator.requests().iter().map(|request| request.status).collect();
        assert_eq!(statuses, [401, 405, 503, 200, 403, 404, 200]);
        assert_eq!(simulator.busiest(Duration::from_secs(3600)), 7);
        assert_eq!(simulator.busiest(Duration::ZERO), 0);
        assert_eq!(simulator.requests()[3].query, BTreeMap::from([("limit".to_owned(), "1".to_owned())]));
        simulator.forget_requests();
        assert_eq!(simulator.requests(), []);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_beyond_the_quota_are_refused_until_the_oldest_is_old_enough() {
        let quota = Quota { calls: 2, within: Duration::from_secs(2), sends_retry_after: true };
        let simulator = start(Options { quota: Some(quota), ..Options::default() }).await;
        let statuses: Vec<u16> = (0..3).map(|_| get(&simulator, "/nps").0).collect();
        assert_eq!(statuses, [200, 200, 429]);
        let deadline = Instant::now() + DEADLINE;
        while get(&simulator, "/nps").0 != 200 {
            assert!(Instant::now() < deadline, "refused for ever");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_the_gate_is_closed_nothing_is_answered() {
        let simulator = simulated().await;
        simulator.gate().close();
        let mut connection = TcpStream::connect(simulator.address).unwrap();
        connection.write_all(b"GET /nps HTTP/1.1\r\nhost: planhat\r\nconnection: close\r\n\r\n").unwrap();
        let deadline = Instant::now() + DEADLINE;
        while simulator.requests().is_empty() {
            assert!(Instant::now() < deadline, "the request does not arrive");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(connection.read(&mut [0]).is_err(), "it was answered");
        simulator.gate().open();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(connection.read(&mut [0]).unwrap(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_truncated_body_is_sent_up_to_where_it_is_cut() {
        let simulator = simulated().await;
        simulator.answer_next("nps", vec![ScriptedAnswer::of(Content::CutOff(b"[{\"_id\"".to_vec()))]);
        let (status, body) = get(&simulator, "/nps");
        assert!(status == 200 && body.contains("[{\"_id\"") && !body.ends_with("0\r\n\r\n"), "{body:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edit_moves_a_record_to_its_new_place_in_a_sorted_listing() {
        let simulator = simulated().await;
        let newest = |simulator: &Simulator, sort: &str| {
            list(simulator, &format!("/companies?limit=1&sort={sort}"))[0]["name"].as_str().unwrap().to_owned()
        };
        let id = list(&simulator, "/companies?sort=-updatedAt")[7]["_id"].as_str().unwrap().to_owned();

        let rename = |company: &mut Map<String, Value>| _ = company.insert("name".into(), "Renamed".into());
        assert!(simulator.edit("companies", &id, at("2026-11-21T10:00:00Z"), rename));
        assert_eq!(newest(&simulator, "-updatedAt"), "Renamed");
        assert_ne!(newest(&simulator, "-lastTouch"), "Renamed");
        assert!(simulator.touch("companies", &id, at("2026-11-21T11:00:00Z")));
        assert_eq!(newest(&simulator, "-lastTouch"), "Renamed");

        assert!(simulator.delete("companies", &id));
        assert!(!simulator.delete("companies", &id));
        assert!(!simulator.touch("companies", &id, at("2026-11-21T11:00:00Z")));
        simulator.add("companies", json!({"_id": id, "name": "Back", "updatedAt": "2026-11-21T12:00:00.000Z"}));
        assert_eq!(newest(&simulator, "-updatedAt"), "Back");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_simulator_answers_no_more() {
        let simulator = simulated().await;
        let address = simulator.address;
        drop(simulator);
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < deadline, "the server still accepts connections");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn a_seed_gives_the_same_workspace_again() {
        let texts = |seed| {
            let workspace = Workspace::generated(seed, 400);
            endpoint::ENDPOINTS.iter().map(|endpoint| format!("{:?}", workspace.records(endpoint.path))).collect::<Vec<_>>()
        };
        assert_eq!(texts(7), texts(7));
        assert_ne!(texts(7), texts(8));
    }

    #[test]
    fn a_generated_workspace_has_companies_as_wide_as_any() {
        let companies = Workspace::generated(7, 1000).records("companies");
        let is_wide =
            |company: &Value| company.as_object().unwrap().len() > 60 && company["custom"].as_object().unwrap().len() > 25;
        assert!(companies.iter().any(is_wide));
    }
}
