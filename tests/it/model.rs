//! A workspace with random edits before, between and during runs, which are killed at random: which records may be
//! missing when, and which never are.
//!
//! A seed determines every history. `PLANHAT_SYNC_SEED=42` replays one, `PLANHAT_SYNC_SEEDS=1000` tries more; `make soak` runs
//! them for half an hour, with faults of all kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_model::rules::FieldMap;
use planhat_model::rules::{Rule, Rules};
use planhat_model::scan::SortedObjects;
use planhat_simulator::{HiddenListing, Options, ScriptedAnswer, Sorts, Source, Workspace};
use planhat_store::ObjectStatus;
use planhat_sync::pull::{BackfillRange, HistoryFrom, Mode};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Notify;

use crate::actions::{assert_actions_tell_the_versions, keep_versions};
use crate::harness::{StoredTable, TestSync, day, written};
use crate::waiting::{eventually, limit_this_test, this_test_may_take};

/// Sorted by two times, the same with hidden records, filtered with hidden records, and without any time.
const OBJECTS: [&str; 4] = ["companies", "endusers", "tasks", "licenses"];
const HISTORIES: u64 = 40;

/// What goes wrong besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    /// Planhat is away for a moment.
    Few,
    OfAllKinds,
}

impl Faults {
    fn one(self, rng: &mut Rng) -> ScriptedAnswer {
        let html = "<html><body><h1>Bad Gateway</h1></body></html>";
        match self {
            Faults::Few => ScriptedAnswer::status(503),
            Faults::OfAllKinds => match rng.u8(0..10) {
                0 => ScriptedAnswer::status(429).with_header("retry-after", "0"),
                1 => ScriptedAnswer::text(502, "text/html", html),
                2 => ScriptedAnswer::text(200, "text/html", html),
                3 => ScriptedAnswer::json(200, json!({"message": "try later"})),
                4 => ScriptedAnswer::json(200, json!("try later")),
                5 => ScriptedAnswer::text(200, "application/json", ""),
                6 => ScriptedAnswer::text(200, "application/json", "[{\"_id\": \"1\"}, {\"_id"),
                7 => ScriptedAnswer::status(400),
                8 => ScriptedAnswer::status(408),
                _ => ScriptedAnswer::status(500),
            },
        }
    }
}

/// Whether Planhat answers as it always did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planhat {
    StaysTheSame,
    /// What was learned of it may become wrong, in the middle of a run too.
    Changes,
}

/// What people do in Planhat.
struct World {
    rng: Rng,
    clock: DateTime<Utc>,
    /// Ids of the records there are.
    there: BTreeMap<&'static str, Vec<String>>,
    /// What can be restored.
    trash: Vec<(&'static str, Value)>,
    made: u32,
    /// What was worked on since this was emptied.
    changed: BTreeSet<(&'static str, String)>,
    /// How many requests the run has left to live.
    lives: Option<u32>,
    /// How many requests it takes until Planhat answers in another way.
    behaves_until: Option<u32>,
    dead: Arc<Notify>,
}

impl World {
    fn new(seed: u64, dead: Arc<Notify>) -> World {
        let there = OBJECTS.map(|object| (object, Vec::new())).into();
        let rng = Rng::with_seed(seed);
        World {
            rng,
            clock: day(0),
            there,
            trash: Vec::new(),
            made: 0,
            changed: BTreeSet::new(),
            lives: None,
            behaves_until: None,
            dead,
        }
    }

    /// A moment later.
    fn tick(&mut self) -> DateTime<Utc> {
        self.clock += TimeDelta::milliseconds(self.rng.i64(0..5000));
        self.clock
    }

    /// What happens at the moment of a request.
    fn meanwhile(&mut self, source: &mut Source<'_>) {
        if self.rng.u8(0..4) == 0 {
            (0..self.rng.u8(1..4)).for_each(|_| self.work(source));
        }
        if let Some(requests) = &mut self.behaves_until {
            *requests = requests.saturating_sub(1);
            if *requests == 0 {
                self.behaves_until = None;
                source.set_options(|options| self.behave_otherwise(options));
            }
        }
        if let Some(lives) = &mut self.lives {
            *lives = lives.saturating_sub(1);
            if *lives == 0 {
                self.dead.notify_one();
            }
        }
    }

    /// Something changes of what was learned, or could be.
    fn behave_otherwise(&mut self, options: &mut Options) {
        match self.rng.u8(0..4) {
            // The sweeps of companies and end users rely on their order as ever, and a listing by id on that of ids.
            0 | 1 => {
                let tasks = options.object("tasks");
                let ignored = Sorts::IgnoredBy(["updatedAt".to_owned()].into());
                tasks.sorts = if tasks.sorts == Sorts::Honoured { ignored } else { Sorts::Honoured };
            }
            2 => {
                let object = options.object(["endusers", "tasks"][self.rng.usize(0..2)]);
                let adds = object.hidden == Some(HiddenListing::Adds);
                object.hidden = Some(if adds { HiddenListing::Replaces } else { HiddenListing::Adds });
            }
            _ => options.max_limit = Some(self.rng.usize(3..60)),
        }
    }

    fn work(&mut self, source: &mut Source<'_>) {
        let object = OBJECTS[self.rng.usize(0..OBJECTS.len())];
        let at = self.tick();
        match self.rng.u8(0..23) {
            0..5 => self.add(source, object, at),
            5..7 => self.delete(source, object),
            7..9 => self.restore(source),
            9..12 => self.some(object, |id| source.touch(object, id, at)),
            12..16 => self
                .some(object, |id| source.edit(object, id, at, |record| _ = record.insert("name".into(), json!(at.to_string())))),
            16..18 => {
                let mark = if object == "tasks" { "isArchived" } else { "archived" };
                self.some(object, |id| {
                    source.edit(object, id, at, |record| {
                        let was = record.get(mark) == Some(&json!(true));
                        record.insert(mark.into(), json!(!was));
                    })
                });
            }
            18 => self.some(object, |id| {
                source.change(object, id, |record| _ = record.insert("computed".into(), json!(at.to_string())))
            }),
            19..22 => {
                let (field, value) = (format!("Field {}", self.rng.u8(0..6)), self.value());
                self.some(object, |id| source.edit(object, id, at, |record| set(record, field, value)));
            }
            // A bulk edit: many records with the very same time.
            _ => (0..30).for_each(|_| {
                self.some(object, |id| {
                    source.edit(object, id, at, |record| _ = record.insert("bulk".into(), json!(at.to_string())))
                });
            }),
        }
    }

    /// For a field whose type is what comes first, so that others do not fit; none takes the field away.
    fn value(&mut self) -> Option<Value> {
        let number = self.rng.i32(0..5);
        Some(match self.rng.u8(0..9) {
            0 => return None,
            1 => Value::Null,
            2 => json!(""),
            3 => json!(number),
            4 => json!(f64::from(number) + 0.25),
            5 => json!(number == 0),
            6 => json!(written(day(number.into()))),
            7 => json!([{"number": number}, null]),
            _ => json!(format!("text {number}")),
        })
    }

    fn add(&mut self, source: &mut Source<'_>, object: &'static str, at: DateTime<Utc>) {
        self.made += 1;
        let id = format!("{:08}", self.made);
        let mut record = json!({"_id": id, "name": at.to_string()});
        // What has no time is only promised to objects that are read to the end.
        if object != "licenses" && (object == "tasks" || self.rng.u8(0..8) > 0) {
            record["updatedAt"] = json!(written(at));
        }
        source.add(object, &record);
        self.note(object, &id);
        self.there.get_mut(object).unwrap().push(id);
    }

    fn delete(&mut self, source: &mut Source<'_>, object: &'static str) {
        let Some(ids) = self.there.get_mut(object).filter(|ids| !ids.is_empty()) else { return };
        let id = ids.swap_remove(self.rng.usize(0..ids.len()));
        self.note(object, &id);
        self.trash.push((object, source.delete(object, &id).unwrap()));
    }

    fn restore(&mut self, source: &mut Source<'_>) {
        if self.trash.is_empty() {
            return;
        }
        let (object, record) = self.trash.swap_remove(self.rng.usize(0..self.trash.len()));
        let id = record["_id"].as_str().unwrap().to_owned();
        source.add(object, &record);
        self.note(object, &id);
        self.there.get_mut(object).unwrap().push(id);
    }

    fn some(&mut self, object: &'static str, does: impl FnOnce(&str) -> bool) {
        let Some(id) = self.rng.choice(&self.there[object]).cloned() else { return };
        assert!(does(&id));
        self.note(object, &id);
    }

    fn note(&mut self, object: &'static str, id: &str) {
        self.changed.insert((object, id.to_owned()));
    }
}

fn set(record: &mut serde_json::Map<String, Value>, field: String, value: Option<Value>) {
    let Some(custom) = record.entry("custom").or_insert(json!({})).as_object_mut() else { return };
    match value {
        Some(value) => drop(custom.insert(field, value)),
        None => drop(custom.remove(&field)),
    }
}

/// What of these records may be kept: some fields not, or not as they are.
fn some_rules(rng: &mut Rng) -> Rules {
    let mut said = FieldMap::default();
    for name in ["name", "bulk", "computed", "updatedAt", "custom.Field 0", "custom.Field 1", "custom.Field 2", "custom"] {
        if rng.u8(0..3) == 0 {
            said.insert(name, [Rule::Exclude, Rule::Hash, Rule::Redact, Rule::Include][rng.usize(0..4)]);
        }
    }
    Rules::new(said, Some(&"a key of these tests alone".into()))
}

fn objects() -> Vec<&'static Object> {
    OBJECTS.map(|name| catalog::object(name).unwrap()).to_vec()
}

/// Years of one workspace and the runs over it.
async fn live_through(seed: u64, faults: Faults, planhat: Planhat) {
    let dead = Arc::new(Notify::new());
    let world = Arc::new(Mutex::new(World::new(seed, Arc::clone(&dead))));
    let mut rng = Rng::with_seed(seed ^ 0x5eed);
    let mut sync = TestSync::new(Workspace::empty()).await;
    keep_versions(&sync, &objects()).await;
    if planhat == Planhat::Changes {
        sync.limits.sorted = SortedObjects::Auto;
    }
    for object in OBJECTS {
        if rng.u8(0..4) == 0 {
            sync.limits.rules.insert(object, some_rules(&mut rng));
        }
    }
    let begun = rng.usize(0..500);
    sync.simulator.edit_source(|source| (0..begun).for_each(|_| world.lock().unwrap().work(source)));
    let hook = Arc::clone(&world);
    sync.simulator.on_request(move |source, _| hook.lock().unwrap().meanwhile(source));

    for _ in 0..rng.usize(3..10) {
        let pause = TimeDelta::minutes(rng.i64(0..3 * 24 * 60));
        sync.simulator.edit_source(|source| {
            let mut world = world.lock().unwrap();
            world.clock += pause;
            let work = world.rng.usize(0..60);
            (0..work).for_each(|_| world.work(source));
            world.changed.clear();
            world.lives = (rng.u8(0..3) == 0).then(|| rng.u32(1..60));
            world.behaves_until = (planhat == Planhat::Changes && rng.bool()).then(|| rng.u32(1..60));
            sync.now = world.tick();
        });
        sync.limits.pages.size = RowsPerPage::Fixed(rng.u32(2..60));
        let faulty = if faults == Faults::OfAllKinds { 3 } else { u8::from(rng.u8(0..4) == 0) };
        for _ in 0..faulty {
            let answers = (0..rng.usize(1..6)).map(|_| faults.one(&mut rng)).collect();
            sync.simulator.answer_next(OBJECTS[rng.usize(0..OBJECTS.len())], answers);
        }
        if faults == Faults::OfAllKinds {
            let object = OBJECTS[rng.usize(0..OBJECTS.len())];
            if rng.bool() { sync.simulator.forbid(object) } else { sync.simulator.allow(object) }
        }
        let mode = match rng.u8(0..8) {
            0 => Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: None }),
            1 => Mode::Full,
            _ => Mode::Incremental,
        };
        let kills_connections = faults == Faults::OfAllKinds && rng.bool();
        run_or_die(&mut sync, mode, &world, &dead, kills_connections).await;
    }

    sync.simulator.clear_faults();
    OBJECTS.iter().for_each(|object| sync.simulator.allow(object));
    // Longer than a full scan that was killed is gone on with.
    sync.now = world.lock().unwrap().clock + TimeDelta::days(2);
    sync.limits.deletion_guard.enabled = false;
    let last = sync.run(Mode::Full, &objects()).await;
    assert!(last.objects.iter().all(|summary| summary.run.status == ObjectStatus::Succeeded), "{last:?}");
    sync.assert_equals_workspace(&objects()).await;
    assert_actions_tell_the_versions(&sync).await;
}

/// A run that may be killed, and what has to be true when it was not.
async fn run_or_die(sync: &mut TestSync, mode: Mode, world: &Mutex<World>, dead: &Notify, kills_connections: bool) {
    sync.simulator.set_clock(sync.now);
    let (client, objects) = (sync.client(), objects());
    let request = sync.request(mode, &objects);
    let killer = async {
        match kills_connections {
            true => kill_connections(sync).await,
            false => std::future::pending().await,
        }
    };
    let summary = tokio::select! {
        biased;
        () = dead.notified() => None,
        summary = sync.run_of(&client, &request) => Some(summary.unwrap()),
        () = killer => unreachable!(),
    };
    let Some(summary) = summary else {
        // Its connections are gone, and its heart does not beat: the next run need not wait to see that.
        sync.reconnect().await;
        let stopped = "update planhat_sync.leases set renewed_at = now() - interval '1 hour'";
        sqlx::raw_sql(stopped).execute(sync.store.pool()).await.unwrap();
        return;
    };
    if mode == Mode::Incremental {
        for of in summary.objects.iter().filter(|of| of.run.status == ObjectStatus::Succeeded) {
            assert_shows_what_could_be_seen(sync, of.run.object, world).await;
        }
    }
}

/// Ends the run's connections to the database again and again.
async fn kill_connections(sync: &TestSync) {
    let mut admin = PgConnection::connect(&std::env::var("TEST_DATABASE_URL").unwrap()).await.unwrap();
    let name = sync.store.pool().connect_options().get_database().unwrap().to_owned();
    let all = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1";
    loop {
        let asked = sync.simulator.requests().len();
        eventually("ten more requests", async || sync.simulator.requests().len() >= asked + 10).await;
        sqlx::query_scalar::<_, i64>(all).bind(&name).fetch_one(&mut admin).await.unwrap();
    }
}

/// After a sync no change of the last days is missing, unless it was made meanwhile.
async fn assert_shows_what_could_be_seen(sync: &TestSync, object: &'static str, world: &Mutex<World>) {
    let table = StoredTable::read(&sync.store, object).await;
    let changed = world.lock().unwrap().changed.clone();
    let lately = sync.now - sync.limits.lookback;
    let happened = |record: &Value, field: &str| record[field].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    for record in sync.simulator.records(object) {
        let id = record["_id"].as_str().unwrap().to_owned();
        let shows = match object {
            "licenses" => true,
            "tasks" => happened(&record, "updatedAt").is_none_or(|at| at >= lately),
            _ => ["updatedAt", "lastTouch"].iter().any(|field| happened(&record, field).is_some_and(|at| at >= lately)),
        };
        if shows && !changed.contains(&(object, id.clone())) {
            assert!(table.rows.contains_key(&id), "{object} {id} is missing: {record}");
            table.assert_holds(&id, &sync.masked_record(object, &record));
        }
    }
}

#[test]
fn no_visible_change_is_missed_whatever_happens_during_a_sync() {
    live_through_all(Planhat::StaysTheSame);
}

#[test]
fn no_visible_change_is_missed_whatever_was_learned_and_is_no_longer_true() {
    live_through_all(Planhat::Changes);
}

fn live_through_all(planhat: Planhat) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let mut seeds = match number("PLANHAT_SYNC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PLANHAT_SYNC_SEEDS").unwrap_or(HISTORIES),
    };
    let mut failed = Vec::new();
    while !seeds.is_empty() {
        failed.extend(live_side_by_side(&seeds.by_ref().take(6).collect::<Vec<_>>(), Faults::Few, planhat));
    }
    assert!(failed.is_empty(), "replay with PLANHAT_SYNC_SEED= one of {failed:?}");
}

/// Lives through these and says which came to a bad end.
fn live_side_by_side(seeds: &[u64], faults: Faults, planhat: Planhat) -> Vec<u64> {
    let live = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live_through(seed, faults, planhat));
    };
    limit_this_test();
    std::thread::scope(|scope| {
        let lives: Vec<_> = seeds.iter().map(|seed| (*seed, scope.spawn(move || live(*seed)))).collect();
        let ends = lives.into_iter().map(|(seed, life)| (seed, life.join())); // No wait of a test: each life has deadlines of its own.
        ends.filter_map(|(seed, end)| end.err().map(|_| seed)).collect()
    })
}

/// `make soak`: PLANHAT_SYNC_SOAK_SECONDS of histories with faults of all kinds, connections killed on the way.
#[test]
#[ignore = "takes half an hour"]
fn soak() {
    let seconds = std::env::var("PLANHAT_SYNC_SOAK_SECONDS").map_or(1800, |text| text.parse().unwrap());
    this_test_may_take(Duration::from_secs(seconds + 600));
    let begun = Instant::now();
    let mut seed = fastrand::u64(0..1 << 40);
    let (mut histories, mut at_first) = (0, 0);
    println!("from seed {seed} on");
    while begun.elapsed().as_secs() < seconds {
        let seeds: Vec<u64> = (seed..seed + 4).collect();
        let planhat = if seed % 8 < 4 { Planhat::StaysTheSame } else { Planhat::Changes };
        let failed = live_side_by_side(&seeds, Faults::OfAllKinds, planhat);
        assert!(failed.is_empty(), "came to a bad end: {failed:?}");
        (seed, histories) = (seed + 4, histories + 4);
        // The first ones fill caches and pools.
        if histories <= 40 {
            at_first = memory();
        }
        if histories % 40 == 0 {
            println!("{histories} histories, {} kB, after {} s", memory(), begun.elapsed().as_secs());
        }
    }
    let now = memory();
    println!("{histories} histories; {at_first} kB after the first 40, {now} kB at the end");
    assert!(now < at_first + at_first / 2, "memory grows: {at_first} kB, then {now} kB");
}

/// What this process holds of memory, in kB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
