//! Connections that are lost with one message to the server, or with the answer to it, and that neither a record nor a figure is
//! lost with them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_store::{ObjectStatus, RunStatus, Store};
use planhat_sync::pull::Mode;
use planhat_sync::run;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::daemon::{DaemonProcess, tool};
use crate::harness::{TestSync, fresh_database};
use crate::waiting::in_time;

/// Which messages to the server are meant.
#[derive(Debug, Clone, Copy)]
enum Message {
    Any,
    Commit,
    /// Of a transaction that has a statement with this text.
    CommitBehind(&'static str),
}

/// What befalls a message, and with it its connection.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// It never arrives.
    OfTheMessage,
    /// The server does what it says, and nobody hears of it.
    OfItsAnswer,
    /// The same, but the server is at work on it until a few more messages have come to it, as a commit is that waits for a standby.
    BeforeItsEnd,
}

/// How many more messages those are: enough to look whether the commit was made, before it is.
const FURTHER_MESSAGES: usize = 3;

/// Before the messages are counted.
const NOT_YET: usize = usize::MAX / 2;

/// A way to the server on which these messages, by their numbers, meet with a loss. They are counted over all connections.
struct LossyWay {
    url: String,
    /// Of those that are meant.
    count: Arc<AtomicUsize>,
}

/// One connection on that way.
#[derive(Clone)]
struct LossyConnection {
    which: Message,
    loss: Loss,
    lost: RangeInclusive<usize>,
    count: Arc<AtomicUsize>,
    /// How many there were of all kinds.
    all: watch::Sender<usize>,
    /// Whether the text that is looked for was sent in this transaction.
    text_was_sent: bool,
}

impl LossyWay {
    async fn to(url: &str, which: Message, loss: Loss, lost: RangeInclusive<usize>) -> LossyWay {
        let mut url: url::Url = url.parse().unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let count = Arc::new(AtomicUsize::new(NOT_YET));
        let connection =
            LossyConnection { which, loss, lost, count: Arc::clone(&count), all: watch::Sender::new(0), text_was_sent: false };
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(connection.clone().pass_on(client, server));
            }
        });
        LossyWay { url: url.to_string(), count }
    }

    /// Messages are counted from here on: what is wrong from the start is an error at once, and not what this is about.
    fn count(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    async fn connect(&self) -> Store {
        let store = Store::connect(&self.url.clone().into(), "planhat", 3).await.unwrap();
        self.count();
        store
    }
}

impl LossyConnection {
    async fn pass_on(mut self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let (mut sent, mut answered) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        loop {
            tokio::select! {
                count = client.read(&mut sent) => match (&sent[..count?], self.loss) {
                    ([], _) => return Ok(()),
                    (message, Loss::OfTheMessage) if self.loses(message) => return Ok(()),
                    (message, Loss::OfItsAnswer | Loss::BeforeItsEnd) if self.loses(message) => {
                        if let Loss::BeforeItsEnd = self.loss {
                            drop(client);
                            let end = *self.all.borrow() + FURTHER_MESSAGES;
                            in_time("further messages", self.all.subscribe().wait_for(|all| *all >= end)).await.unwrap();
                        }
                        server.write_all(message).await?;
                        server.shutdown().await?;
                        // What has been committed when the server hangs up.
                        tokio::io::copy(&mut server, &mut tokio::io::sink()).await?;
                        return Ok(());
                    }
                    (message, _) => server.write_all(message).await?,
                },
                count = server.read(&mut answered) => match count? {
                    0 => return Ok(()),
                    count => client.write_all(&answered[..count]).await?,
                }
            }
        }
    }

    fn loses(&mut self, message: &[u8]) -> bool {
        self.all.send_modify(|all| *all += 1);
        let has = |text: &[u8]| message.windows(text.len()).any(|part| part == text);
        let is_commit = has(b"COMMIT\0");
        let is_meant = match self.which {
            Message::Any => true,
            Message::Commit => is_commit,
            Message::CommitBehind(text) => {
                self.text_was_sent |= has(text.as_bytes());
                is_commit && std::mem::take(&mut self.text_was_sent)
            }
        };
        is_meant && self.lost.contains(&(self.count.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"_id": format!("{number:05}"), "number": number})).collect()
}

fn projects() -> [&'static Object; 1] {
    [catalog::object("projects").unwrap()]
}

const SAVES_A_POSITION: Message = Message::CommitBehind("update planhat_sync.scans set started_at");

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_applied_once_and_fails_no_load() {
    let way = LossyWay::to(&fresh_database().await, SAVES_A_POSITION, Loss::OfItsAnswer, 1..=12).await;
    let store = way.connect().await;
    let mut sync = TestSync::into(store, Workspace::empty().with("projects", numbered(1000)), Options::default()).await;
    sync.limits.pages.size = RowsPerPage::Fixed(10);

    let summary = sync.sync_one("projects").await;

    assert_eq!((summary.run.status, summary.run.figures.inserted), (ObjectStatus::Succeeded, 1000));
    assert!(way.count.load(Ordering::Relaxed) > 12);
    sync.assert_equals_workspace(&projects()).await;
    assert_eq!(sync.one("select count(*)::text from planhat.actions").await, "1000");
}

#[tokio::test]
async fn a_quarantined_record_is_reported_even_if_the_answer_to_its_commit_was_lost() {
    let way = LossyWay::to(&fresh_database().await, SAVES_A_POSITION, Loss::OfItsAnswer, 1..=1).await;
    let store = way.connect().await;
    let mut records = numbered(300);
    records[150] = json!({"_id": "00150\u{0}", "name": "odd"});
    let sync = TestSync::into(store, Workspace::empty().with("projects", records), Options::default()).await;

    let summary = sync.sync_one("projects").await;

    assert_eq!((summary.run.status, summary.run.figures.quarantined), (ObjectStatus::Partial, 1));
    assert!(way.count.load(Ordering::Relaxed) >= 1);
}

/// Syncs twice over a connection that is lost at a message, with a record added, one changed and one deleted in between. Returns how
/// many such messages there were.
async fn sync_twice_with(which: Message, loss: Loss, at: usize) -> usize {
    let direct = fresh_database().await;
    Store::connect(&direct.clone().into(), "planhat", 1).await.unwrap().migrate().await.unwrap();
    let way = LossyWay::to(&direct, which, loss, at..=at).await;
    let store = way.connect().await;
    let simulator = Simulator::start(Workspace::empty().with("projects", numbered(150)), Options::default()).await.unwrap();
    let mut sync = TestSync::around(store, simulator);
    let figures = |summary: &run::Summary| {
        let [projects] = &summary.objects[..] else { panic!("{summary:?}") };
        let figures = &projects.run.figures;
        (summary.status, figures.inserted, figures.updated, figures.deleted, figures.unchanged, figures.calls)
    };

    let first = sync.run(Mode::Full, &projects()).await;
    sync.now += chrono::TimeDelta::days(1);
    sync.simulator.add("projects", json!({"_id": "new"}));
    sync.simulator.delete("projects", "00001");
    sync.simulator.edit("projects", "00140", sync.now, |project| drop(project.insert("name".to_owned(), json!("changed"))));
    let second = sync.run(Mode::Full, &projects()).await;
    let count = way.count.swap(NOT_YET, Ordering::Relaxed);

    let expected = [(RunStatus::Succeeded, 150, 0, 0, 0, 3), (RunStatus::Succeeded, 1, 1, 1, 148, 7)];
    assert_eq!([figures(&first), figures(&second)], expected, "{loss:?} {at}");
    let actions = "select string_agg(kind || ' ' || count, ', ' order by kind) from
                       (select kind, count(*)::text from planhat.actions group by kind) a";
    assert_eq!(sync.one(actions).await, "created 151, deleted 1, updated 1", "{loss:?} {at}");
    let runs = "select string_agg(status, ', ') from planhat_sync.runs";
    assert_eq!(sync.one(runs).await, "succeeded, succeeded", "{loss:?} {at}");
    count
}

/// Runs with a loss at each of these messages, some side by side.
async fn sync_twice_with_each(which: Message, loss: Loss, each: impl Iterator<Item = usize>) {
    let run = async |at| {
        sync_twice_with(which, loss, at).await;
    };
    futures_util::stream::iter(each).for_each_concurrent(8, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_any_commit_of_a_run_may_be_lost() {
    let commits = sync_twice_with(Message::Commit, Loss::OfItsAnswer, usize::MAX).await;
    assert!(commits > 10, "{commits}");

    sync_twice_with_each(Message::Commit, Loss::OfItsAnswer, 1..=commits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_commit_of_a_run_may_still_be_under_way_when_its_connection_is_lost() {
    let commits = sync_twice_with(Message::Commit, Loss::BeforeItsEnd, usize::MAX).await;

    sync_twice_with_each(Message::Commit, Loss::BeforeItsEnd, 1..=commits).await;
}

/// At some of them, as there are hundreds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_be_lost_at_any_message_of_a_run() {
    let messages = sync_twice_with(Message::Any, Loss::OfTheMessage, usize::MAX).await;
    assert!(messages > 100, "{messages}");

    sync_twice_with_each(Message::Any, Loss::OfTheMessage, (1..=messages).step_by(17)).await;
}

/// Otherwise nobody would be at work on the workspace until the lease is stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_goes_on_with_a_claim_whose_answer_was_lost() {
    let simulator = Simulator::start(Workspace::empty().with("projects", numbered(3)), Options::default()).await.unwrap();
    let claim = Message::CommitBehind("insert into planhat_sync.leases");
    let direct = fresh_database().await;
    let way = LossyWay::to(&direct, claim, Loss::OfItsAnswer, 1..=1).await;
    way.count();
    let tool = tool(&simulator, "0 0 1 1 *").await.set("DATABASE_URL", &way.url);
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);

    daemon.until("could not look at the calendar");
    daemon.until("run 1 succeeded");

    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(0));
    let runs = "select string_agg(status, ', ') from planhat_sync.runs";
    let sync = TestSync::around(Store::connect(&direct.into(), "planhat", 1).await.unwrap(), simulator);
    assert_eq!(sync.one(runs).await, "succeeded");
}
