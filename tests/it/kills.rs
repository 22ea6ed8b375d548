//! The binary, killed at random moments of a load.
//!
//! `PLANHAT_SYNC_KILLS=50 PLANHAT_SYNC_RECORDS=50000` makes it a longer one.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use planhat_simulator::{Options, Simulator, Workspace};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Notify;

use crate::cli::Tool;
use crate::waiting::{ended, in_time};

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// The page that is not answered any more, counted from the one at which the process is killed.
const ANSWERED_AFTER: isize = -3;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_repeatedly_ends_with_every_record_once() {
    let (kills, records) = (number("PLANHAT_SYNC_KILLS", 6), number("PLANHAT_SYNC_RECORDS", 6000));
    let numbered = (0..records).map(|number| json!({"_id": format!("{number:06}"), "number": number})).collect();
    let simulator = Simulator::start(Workspace::empty().with("projects", numbered), Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);

    // How many pages the process may still ask for, and who is told when it has. It is not answered for much longer: on a busy
    // machine it would end before it is killed.
    let (left, dead) = (Arc::new(Mutex::new(isize::MAX)), Arc::new(Notify::new()));
    let (hook, reached, gate) = (Arc::clone(&left), Arc::clone(&dead), simulator.gate());
    simulator.on_request(move |_, path| {
        let mut left = hook.lock().unwrap();
        if path == "projects" {
            *left -= 1;
            match *left {
                0 => reached.notify_one(),
                ANSWERED_AFTER => gate.close(),
                _ => {}
            }
        }
    });
    let mut killed = 0;
    for _ in 0..kills {
        let most = (records / 100 / kills).cast_signed() + ANSWERED_AFTER;
        *left.lock().unwrap() = rng.isize(1..most.max(2));
        simulator.gate().open();
        let mut command = tool.command(&["backfill", "projects", "--all"]);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        in_time("the page at which it is killed", dead.notified()).await;
        // Anywhere between this page's question and a later page's commit.
        let moment = Duration::from_micros(rng.u64(0..15_000));
        tokio::time::sleep(moment).await; // No wait of a test: any moment will do.
        process.kill().unwrap();
        killed += usize::from(ended(&mut process).await.is_none());
    }
    assert_eq!(killed, kills, "some ended before their time");
    *left.lock().unwrap() = isize::MAX;
    simulator.gate().open();
    let last = tool.run(&["backfill", "projects", "--all"]);
    assert_eq!(last.code, 0, "{}", last.all());

    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let counts = "select count(*), count(distinct planhat__number), min(planhat__number)::bigint, max(planhat__number)::bigint from planhat.projects";
    let (rows, distinct, min, max): (i64, i64, i64, i64) = sqlx::query_as(counts).fetch_one(&mut database).await.unwrap();
    let expected = i64::try_from(records).unwrap();
    assert_eq!((rows, distinct, min, max), (expected, expected, 0, expected - 1));

    let actions = "select count(*), count(distinct record_id), count(*) filter (where kind = 'created') from planhat.actions";
    let (all, of, created): (i64, i64, i64) = sqlx::query_as(actions).fetch_one(&mut database).await.unwrap();
    assert_eq!((all, of, created), (expected, expected, expected));

    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for request in simulator.requests().into_iter().filter(|request| request.path == "/projects") {
        *asked.entry(request.query["offset"].clone()).or_default() += 1;
    }
    let pages = asked.len();
    let calls: usize = asked.values().sum();
    // What is in hand, and what is on its way: eight pages at most.
    assert!(calls <= pages + 9 * kills, "{calls} calls for {pages} pages with {kills} kills");
}
