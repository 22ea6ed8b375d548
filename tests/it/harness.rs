//! The test harness: a database, a simulated Planhat and the tool between them, and the comparison of the two ends.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_api::{Budget, Client, ClientConfig, PageSettings, RetryPolicy, RowsPerPage, Token};
use planhat_model::catalog;
use planhat_model::catalog::{ByObject, Object};
use planhat_model::record::{Origin, Record};
use planhat_model::scan::{History, ReconcileEvery, ScanKind, SortedObjects};
use planhat_simulator::{Gate, Options, Simulator, Workspace};
use planhat_store::{Durability, LeaseRequest, ProcessIdentity, ScanCheckpoint, Store, Takeover, TimelineOptions};
use planhat_sync::pull::{BackfillRange, DeletionGuard, HistoryFrom, Limits, Mode, RejectionGuard};
use planhat_sync::run::{self, ObjectSummary, RunError, RunRequest, Summary};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::waiting::{eventually, in_time, limit_this_test};

/// The day on which the fixtures are as fresh as they say.
pub(crate) const TODAY: &str = "2026-11-21T12:00:00Z";

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn day(days: i64) -> DateTime<Utc> {
    at(TODAY) + chrono::TimeDelta::days(days)
}

/// As the API writes an instant.
pub(crate) fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The address of a database that nobody else uses.
pub(crate) async fn fresh_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    limit_this_test();
    let server = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL is not set: run the tests with `make test`");
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    in_time("a fresh database", async {
        let mut admin = PgConnection::connect(&server).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(create).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    })
    .await;
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// What a test says that this machine cannot make. The output of a test that passes is not shown, so it writes past what is kept back.
/// Where `CI` is `true` nothing may be left out that a package would bring.
pub(crate) fn not_tested(why: &str, package: Option<&str>) {
    let thread = std::thread::current();
    let said = format!("NOT TESTED: {}: {why}\n", thread.name().unwrap_or_default());
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci || package.is_none(), "{said}Debian's package {} has it", package.unwrap_or_default());
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

/// Answers that are held back, so that something happens while a scan is under way, however fast or slow the machine is.
pub(crate) struct HeldAnswers {
    reached: Arc<Notify>,
    gate: Gate,
}

impl HeldAnswers {
    /// Returns when the request has come.
    pub(crate) async fn reached(&self) {
        in_time("the request whose answer is held back", self.reached.notified()).await;
    }

    /// Lets the answers go.
    pub(crate) fn open(&self) {
        self.gate.open();
    }

    /// Lets the answers go when a second run has the lease.
    pub(crate) async fn until_preempted(&self, sync: &TestSync) {
        let runs = "select count(*)::text from planhat_sync.runs";
        eventually("the run that preempts the first", async || sync.one(runs).await == "2").await;
        self.gate.open();
    }

    /// Lets the answers go when a second run waits for the lease.
    pub(crate) async fn until_requested(&self, sync: &TestSync) {
        let requests = "select count(requested_at)::text from planhat_sync.leases";
        eventually("the request of the lease", async || sync.one(requests).await == "1").await;
        self.gate.open();
    }
}

/// A sync that wants the lease of the usual schema.
pub(crate) fn lease_for(holder: &ProcessIdentity, takeover: Takeover) -> LeaseRequest<'_> {
    LeaseRequest { workspace: "planhat", command: "sync", holder, takeover, token_hash: None }
}

pub(crate) struct TestSync {
    pub(crate) simulator: Simulator,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) now: DateTime<Utc>,
    pub(crate) stop: CancellationToken,
}

impl TestSync {
    pub(crate) async fn new(workspace: Workspace) -> TestSync {
        TestSync::with(workspace, Options::default()).await
    }

    pub(crate) async fn with(workspace: Workspace, options: Options) -> TestSync {
        let store = Store::connect(&fresh_database().await.into(), "planhat", 4).await.unwrap();
        TestSync::into(store, workspace, options).await
    }

    pub(crate) async fn into(store: Store, workspace: Workspace, options: Options) -> TestSync {
        store.migrate().await.unwrap();
        TestSync::around(store, Simulator::start(workspace, options).await.unwrap())
    }

    pub(crate) fn around(store: Store, simulator: Simulator) -> TestSync {
        let limits = Limits {
            pages: PageSettings { size: RowsPerPage::Fixed(100), overlap: true },
            lookback: Duration::from_secs(72 * 3600),
            history: History::Within(Duration::from_secs(4 * 365 * 86_400)),
            histories: ByObject::new(),
            sorted: SortedObjects::Named(vec!["companies", "endusers"]),
            reconcile_every: ReconcileEvery::Fixed(Duration::from_secs(7 * 86_400)),
            calls_per_minute: 0,
            keep_runs: Duration::from_secs(180 * 86_400),
            timeline: TimelineOptions::default(),
            rules: ByObject::new(),
            ignore_changes: ByObject::new(),
            deletion_guard: DeletionGuard { enabled: true, max_percent: 20, max_rows: 100 },
            rejections: RejectionGuard { percent: 20, rows: 100 },
            quarantine_rows: 1000,
        };
        TestSync { simulator, store, limits, now: at(TODAY), stop: CancellationToken::new() }
    }

    pub(crate) fn client(&self) -> Client {
        client_of(&self.simulator, self.simulator.token())
    }

    /// One run of `sync` over the 13 usual objects.
    pub(crate) async fn sync(&self) -> Summary {
        self.run(Mode::Incremental, &catalog::default_objects()).await
    }

    /// One run of `sync` over one object.
    pub(crate) async fn sync_one(&self, object: &str) -> ObjectSummary {
        self.run(Mode::Incremental, &[catalog::object(object).unwrap()]).await.objects.remove(0)
    }

    pub(crate) async fn backfill_one(&self, object: &str, from: HistoryFrom) -> ObjectSummary {
        self.backfill_until(object, from, None).await
    }

    pub(crate) async fn backfill_until(&self, object: &str, from: HistoryFrom, until: Option<DateTime<Utc>>) -> ObjectSummary {
        self.run(Mode::Backfill(BackfillRange { from, until }), &[catalog::object(object).unwrap()]).await.objects.remove(0)
    }

    /// One run of `sync --full` over one object.
    pub(crate) async fn full_sync_one(&self, object: &str) -> ObjectSummary {
        self.run(Mode::Full, &[catalog::object(object).unwrap()]).await.objects.remove(0)
    }

    pub(crate) async fn run(&self, mode: Mode, objects: &[&'static Object]) -> Summary {
        self.run_with(&self.client(), mode, objects).await
    }

    pub(crate) async fn run_with(&self, client: &Client, mode: Mode, objects: &[&'static Object]) -> Summary {
        self.simulator.set_clock(self.now);
        self.run_of(client, &self.request(mode, objects)).await.unwrap()
    }

    /// A run that may be refused.
    pub(crate) async fn run_of(&self, client: &Client, request: &RunRequest<'_>) -> Result<Summary, RunError> {
        in_time(&format!("a run of {}", request.command), run::run(client, &self.store, request, &self.stop)).await
    }

    pub(crate) fn request<'a>(&self, mode: Mode, objects: &'a [&'static Object]) -> RunRequest<'a> {
        RunRequest {
            command: "test",
            objects,
            mode,
            limits: self.limits.clone(),
            now: self.now,
            concurrency: 4,
            progress: Arc::default(),
        }
    }

    /// Holds back the answers of Planhat from this request of a listing on.
    pub(crate) fn hold_at_page(&self, number: u32, listing: &'static str) -> HeldAnswers {
        let held = HeldAnswers { reached: Arc::default(), gate: self.simulator.gate() };
        let (reached, gate, mut calls) = (Arc::clone(&held.reached), held.gate.clone(), 0);
        self.simulator.on_request(move |_, path| {
            calls += u32::from(path == listing);
            if calls == number && path == listing {
                gate.close();
                reached.notify_one();
            }
        });
        held
    }

    /// Closes all connections and opens others.
    pub(crate) async fn reconnect(&mut self) {
        let url = self.store.pool().connect_options().to_url_lossy().to_string();
        let again = Store::connect(&url.into(), "planhat", 4).await.unwrap();
        std::mem::replace(&mut self.store, again).close().await;
    }

    /// How often a listing was asked for since the last time this was called.
    pub(crate) fn calls_of(&self, object: &str) -> usize {
        let path = format!("/{object}");
        let calls = self.simulator.requests().iter().filter(|request| request.path == path).count();
        self.simulator.forget_requests();
        calls
    }

    pub(crate) async fn one(&self, sql: &'static str) -> String {
        let look = async |db: &mut PgConnection| sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(db).await.unwrap();
        in_time(sql, look_into(&self.store, look)).await.unwrap_or_default()
    }

    /// Changes something in the database in one transaction.
    pub(crate) async fn do_at_once(&self, statements: &[&'static str]) {
        in_time(&statements.join("; "), async {
            let mut tx = self.store.pool().begin().await.unwrap();
            for statement in statements {
                sqlx::raw_sql(*statement).execute(&mut *tx).await.unwrap();
            }
            tx.commit().await.unwrap();
        })
        .await;
    }

    /// Compares every record of these objects with its row: nothing is missing, nothing is invented,
    /// every value is in its column, in `_misfits` or in `_overflow`.
    pub(crate) async fn assert_equals_workspace(&self, objects: &[&'static Object]) {
        for object in objects {
            let table = StoredTable::read(&self.store, object.name).await;
            let expected: BTreeMap<String, Value> = self
                .simulator
                .records(object.name)
                .into_iter()
                .filter(|record| self.is_in_history(object, record))
                .map(|record| (record["_id"].as_str().unwrap().to_owned(), record))
                .collect();
            let ids = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
            assert_eq!(ids(table.rows.keys().collect()), ids(expected.keys().collect()), "ids of {}", object.name);
            for (id, record) in &expected {
                table.assert_holds(id, &self.masked_record(object.name, record));
            }
        }
    }

    /// What the rules leave of a record; what they should leave is for their own tests.
    pub(crate) fn masked_record(&self, object: &str, record: &Value) -> Value {
        let Some(rules) = self.limits.rules.get(object) else { return record.clone() };
        let record = Record::parse(serde_json::value::to_raw_value(record).unwrap()).unwrap();
        let mut kept = json!({});
        for (origin, name, value) in rules.apply(&record).unwrap().values() {
            match origin {
                Origin::Property => kept[name] = value.tree(),
                Origin::Custom => kept["custom"][name] = value.tree(),
            }
        }
        kept
    }

    /// Told from the record alone, not with the tool's own window.
    fn is_in_history(&self, object: &Object, record: &Value) -> bool {
        let Some(begin) = self.limits.history_of(object).begin(self.now) else { return true };
        let time = |field: &&str| record.get(*field)?.as_str()?.parse::<DateTime<Utc>>().ok();
        let is_recent = object.modified.iter().chain(object.dated).filter_map(time).any(|time| time >= begin);
        // A creation alone makes nothing old that may be in use.
        let is_event = ["nps", "conversations", "timeentries"].contains(&object.name);
        let creation = ["createdAt", "createDate", "createAt"];
        let ages = |field: &&&str| is_event || !creation.contains(*field);
        is_recent || object.modified.iter().chain(object.dated).filter(ages).filter_map(time).next().is_none()
    }
}

pub(crate) fn client_of(simulator: &Simulator, token: &str) -> Client {
    client_with(simulator, token, 64 << 20)
}

pub(crate) fn client_with(simulator: &Simulator, token: &str, max_page_bytes: u64) -> Client {
    let connection = connection_to(&simulator.url(), token);
    Client::new(ClientConfig { max_page_bytes, ..connection }, Budget::per_minute(0)).unwrap()
}

pub(crate) fn connection_to(url: &str, token: &str) -> ClientConfig {
    ClientConfig {
        base_url: url.parse().unwrap(),
        token: Token::new(&token.into()).unwrap(),
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        retry: RetryPolicy { times: 3, first_delay: Duration::ZERO },
        max_page_bytes: 64 << 20,
    }
}

/// A table as it stands: rows as JSON, and the map of its columns.
pub(crate) struct StoredTable {
    name: String,
    /// By id, own columns included.
    pub(crate) rows: BTreeMap<String, serde_json::Map<String, Value>>,
    /// (origin, Planhat name) to (column, type).
    columns: BTreeMap<(String, String), (String, String)>,
}

/// Looks into the database beside the store; the embedded one has a single connection, which is the store's.
pub(crate) async fn look_into<T>(store: &Store, look: impl AsyncFn(&mut PgConnection) -> T) -> T {
    match store.is_embedded() {
        true => store.read_only(async |db| Ok(look(db).await)).await.unwrap(),
        false => look(&mut store.pool().acquire().await.unwrap()).await,
    }
}

impl StoredTable {
    pub(crate) async fn read(store: &Store, name: &str) -> StoredTable {
        type Rows = Vec<(String, String)>;
        type Columns = Vec<(String, String, String, String)>;
        let (rows, columns): (Rows, Columns) = look_into(store, async |db: &mut PgConnection| {
            let select = format!("select planhat__id, to_json(t)::text from planhat.{name} t where _deleted_at is null");
            let rows = sqlx::query_as(sqlx::AssertSqlSafe(select)).fetch_all(&mut *db).await.unwrap();
            let columns = "select origin, planhat_name, column_name, type from planhat_sync.columns where object = $1";
            (rows, sqlx::query_as(columns).bind(name).fetch_all(db).await.unwrap())
        })
        .await;
        StoredTable {
            name: name.to_owned(),
            rows: rows.into_iter().map(|(id, row)| (id, serde_json::from_str(&row).unwrap())).collect(),
            columns: columns.into_iter().map(|(origin, name, column, kind)| ((origin, name), (column, kind))).collect(),
        }
    }

    pub(crate) fn assert_holds(&self, id: &str, record: &Value) {
        let row = &self.rows[id];
        let mut used = 0;
        for (origin, name, value) in values_of(record) {
            let place = format!("{}.{id}: {origin} {name:?} = {value}", self.name);
            let name = name.replace('\0', "\u{2400}");
            let overflow = if origin == "custom" { &row["_overflow"]["custom"][&name] } else { &row["_overflow"][&name] };
            let Some((column, kind)) = self.columns.get(&(origin.to_owned(), name)) else {
                assert!(value.is_null() || alike(value, overflow), "{place} has no column and is not in _overflow");
                continue;
            };
            let cell = &row[column];
            if !overflow.is_null() {
                assert!(cell.is_null() && same(kind, value, overflow), "{place} overflowed as {overflow}");
                continue;
            }
            if cell.is_null() {
                let kept = row["_misfits"].get(column);
                let nothing = value.is_null()
                    || (kind != "text"
                        && matches!(value.as_str().map(|text| text.replace('\0', "")).as_deref(), Some("" | "undefined")));
                assert!(nothing || kept.is_some_and(|kept| alike(value, kept)), "{place} is lost: {kept:?}");
            } else {
                used += 1;
                assert!(same(kind, value, cell), "{place} landed as {cell} in {column} {kind}");
            }
        }
        for (column, value) in row["_misfits"].as_object().into_iter().flatten() {
            let (place, _) = self.columns.iter().find(|(_, (name, _))| name == column).unwrap();
            let source = values_of(record)
                .into_iter()
                .find(|(origin, name, _)| *origin == place.0 && name.replace('\0', "\u{2400}") == place.1);
            assert!(
                row[column].is_null() && source.is_some_and(|(.., source)| alike(source, value)),
                "{}.{id} has a misfit {column} of its own",
                self.name
            );
        }
        let filled = self.columns.values().filter(|(column, _)| !row[column].is_null()).count();
        assert_eq!(filled, used, "{}.{id} has values that its record lacks", self.name);
    }
}

fn values_of(record: &Value) -> Vec<(&str, &str, &Value)> {
    let mut values = Vec::new();
    for (name, value) in record.as_object().unwrap() {
        match (name.as_str(), value) {
            ("custom", Value::Object(fields)) => {
                values.extend(fields.iter().map(|(name, value)| ("custom", name.as_str(), value)))
            }
            _ => values.push(("property", name.as_str(), value)),
        }
    }
    values
}

/// Whether a cell means what the record said, judged without the tool's own code.
fn same(kind: &str, value: &Value, cell: &Value) -> bool {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| text.replace('\0', ""));
    match kind {
        "text" | "boolean" => plain(value) == plain(cell),
        "numeric" => decimal(&plain(value)) == decimal(&plain(cell)),
        "timestamptz" => instant(value) == instant(cell),
        _ => alike(value, cell),
    }
}

/// Equal as JSON, except that PostgreSQL takes no NUL and spells numbers its own way.
fn alike(value: &Value, stored: &Value) -> bool {
    match (value, stored) {
        (Value::Number(number), Value::Number(stored)) => decimal(number.as_str()) == decimal(stored.as_str()),
        // A number beyond `numeric` stays as text.
        (Value::Number(number), Value::String(stored)) => number.as_str() == stored && number.as_str().contains('e'),
        (Value::String(text), Value::String(stored)) => text.replace('\0', "") == *stored,
        (Value::Array(items), Value::Array(stored)) => {
            items.len() == stored.len() && items.iter().zip(stored).all(|(item, stored)| alike(item, stored))
        }
        (Value::Object(fields), Value::Object(stored)) => {
            let field = |(name, value): (&String, &Value)| {
                stored.get(&name.replace('\0', "\u{2400}")).is_some_and(|stored| alike(value, stored))
            };
            fields.len() == stored.len() && fields.iter().all(field)
        }
        _ => value == stored,
    }
}

/// Sign, digits that count, and the power of ten of the last one.
fn decimal(number: &str) -> (bool, String, i64) {
    let (sign, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let counting = digits.trim_start_matches('0').trim_end_matches('0');
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let exponent = exponent.parse::<i64>().unwrap() - fraction.len() as i64 + zeros as i64;
    if counting.is_empty() { (false, String::new(), 0) } else { (sign, counting.to_owned(), exponent) }
}

fn instant(value: &Value) -> DateTime<Utc> {
    match value {
        Value::String(text) if text.len() == 10 => format!("{text}T00:00:00Z").parse().unwrap(),
        Value::String(text) => text.parse().or_else(|_| text.replace("+0000", "Z").parse()).unwrap(),
        number => match number.as_i64().unwrap() {
            days @ ..1_000_000 => DateTime::from_timestamp(days * 86_400, 0).unwrap(),
            milliseconds => DateTime::from_timestamp_millis(milliseconds).unwrap(),
        },
    }
}

/// The checkpoint of a scan of changes, of which nothing is saved, as a run has it.
pub(crate) fn checkpoint_of<'a>(sync: &'a TestSync, object: &'static Object, run_id: i64) -> ScanCheckpoint<'a> {
    ScanCheckpoint::of_new_scan(&sync.store, object, ScanKind::Incremental, run_id, Durability::Waits)
}
