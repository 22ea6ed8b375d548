//! Secrets stay secret: in all output at the most verbose log level, and in every error.

use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use sqlx::{Connection as _, PgConnection};

use crate::cli::Tool;
use crate::daemon::DaemonProcess;

const TOKEN: &str = "token-nobody-may-see";
const WEBHOOK: &str = "webhook-secret-nobody-may-see";
const HASH_KEY: &str = "hash-key-nobody-may-see";
const PATH: &str = "ping-path-nobody-may-see";

/// What must be found nowhere.
struct Secrets(Vec<String>);

impl Secrets {
    fn assert_not_in(&self, what: &str, text: &str) {
        assert!(!text.is_empty(), "{what} says nothing");
        for secret in &self.0 {
            assert!(!text.contains(secret), "{what} tells {secret}: {}", around(text, secret));
        }
    }
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    let at = text.find(secret).unwrap();
    let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
    text[from..].lines().next().unwrap()
}

async fn talkative() -> (Simulator, Tool, Secrets) {
    let options = Options { token: TOKEN.to_owned(), ..Options::default() };
    let simulator = Simulator::start(Workspace::from_fixtures(), options).await.unwrap();
    let tool = Tool::for_workspace(&simulator)
        .await
        .set("RUST_LOG", "trace,sqlx=trace,hyper=trace,reqwest=trace,rustls=trace")
        .set("RUST_BACKTRACE", "full")
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &format!("http://127.0.0.1:1/{PATH}"))
        .set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("http://127.0.0.1:1/{PATH}"))
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_SECRET", WEBHOOK)
        .set("PLANHAT_SYNC__PRIVACY__HASH_KEY", HASH_KEY)
        .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__HASH", "email");
    let password = tool.database().parse::<url::Url>().unwrap().password().unwrap().to_owned();
    (simulator, tool, Secrets([TOKEN, WEBHOOK, &HASH_KEY[..15], PATH].map(str::to_owned).into_iter().chain([password]).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_a_secret_at_trace_level() {
    let (simulator, mut tool, secrets) = talkative().await;
    let sends_it_back = |status| ScriptedAnswer::text(status, "text/plain", format!("no access with {TOKEN}"));
    simulator.answer_next("companies", vec![sends_it_back(503), sends_it_back(400)]);
    simulator.answer_next("tasks", vec![sends_it_back(200); 9]);
    let commands = [
        &["check"][..],
        &["sync"],
        &["sync", "--full", "--dry-run", "--diff"],
        &["backfill", "companies", "--json"],
        &["status", "--json"],
        &["actions", "--json"],
        &["runs", "--json"],
        &["runs", "show", "1"],
        &["schema", "--sql"],
        &["retype", "companies", "planhat__name", "jsonb"],
        &["health"],
        &["notify"],
    ];
    for command in commands {
        secrets.assert_not_in(&command.join(" "), &tool.run(command).all());
    }
    simulator.answer_next("companies", vec![sends_it_back(401)]);
    secrets.assert_not_in("a refused token", &tool.run(&["sync", "companies"]).all());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_message_contains_a_secret() {
    let (_simulator, tool, secrets) = talkative().await;
    let url = tool.database();
    let mut wrong = tool;
    for (what, name, value) in [
        ("a database that is not there", "DATABASE_URL", format!("{url}_and_more")),
        ("a server that is not there", "DATABASE_URL", url.replace("127.0.0.1", "127.0.0.2")),
        ("a broken URL", "DATABASE_URL", url.replace("127.0.0.1", "[")),
        ("a URL of another kind", "DATABASE_URL", url.replace("postgres://", "mysql://")),
        ("a misspelt parameter", "DATABASE_URL", format!("{url}?sslmod=require")),
        ("a token with a line end", "PLANHAT_API_TOKEN", format!("{TOKEN}\n{TOKEN}")),
        ("an unknown setting", "PLANHAT_SYNC__PLANHAT__TOKENS", TOKEN.to_owned()),
        ("a key that is too short", "PLANHAT_SYNC__PRIVACY__HASH_KEY", HASH_KEY[..15].to_owned()),
        ("a ping that is no address", "PLANHAT_SYNC__NOTIFY__PING_URL", PATH.to_owned()),
    ] {
        let before = wrong.get(name);
        wrong = wrong.set(name, &value);
        secrets.assert_not_in(what, &wrong.run(&["sync"]).all());
        wrong = match before {
            Some(before) => wrong.set(name, &before),
            None => wrong.unset(name),
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_table_metric_or_http_answer_contains_a_secret() {
    let (simulator, tool, secrets) = talkative().await;
    simulator.answer_next("companies", vec![ScriptedAnswer::text(400, "text/plain", format!("no access with {TOKEN}"))]);
    let tool = tool
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", "0 0 1 1 *");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("run 1 partial");
    for path in ["/metrics", "/api/status", "/api/runs", "/readyz"] {
        secrets.assert_not_in(path, &daemon.get(path).await.1);
    }
    daemon.signal("KILL");
    secrets.assert_not_in("the log of the daemon", &daemon.end().1);

    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname like 'planhat%'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut database).await.unwrap();
    assert!(tables.len() > 15);
    for table in tables {
        let rows = sqlx::AssertSqlSafe(format!("select coalesce(string_agg(to_json(t)::text, ' '), 'none') from {table} t"));
        let rows: String = sqlx::query_scalar(rows).fetch_one(&mut database).await.unwrap();
        secrets.assert_not_in(&table, &rows);
    }
}
