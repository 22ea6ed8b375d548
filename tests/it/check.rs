//! `check`: fast whatever is wrong, and complete.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use planhat_simulator::ScriptedAnswer;
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;

use crate::cli::{Tool, simulator};

/// Its lines about these subjects.
fn lines(checked: &str, subjects: &[&str]) -> String {
    let about = |line: &&str| subjects.contains(&line[6..].split_whitespace().next().unwrap());
    checked.lines().filter(about).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_requests_each_object_once_and_reports_them_in_order() {
    let simulator = simulator().await;
    simulator.answer_next("companies", vec![ScriptedAnswer::status(503)]);
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(500)]);
    let tool = Tool::for_workspace(&simulator).await;
    let checked = tool.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "users,companies,tasks,nps").run(&["check"]);
    assert_eq!(checked.code, 1, "{}", checked.all());
    insta::assert_snapshot!(lines(&checked.stdout, &["users", "companies", "tasks", "nps"]), @r"
    ok    users          readable
    fail  companies      /companies answered 503 Service Unavailable: The simulated Planhat was told to answer this.
    fail  tasks          /tasks answered 500 Internal Server Error: The simulated Planhat was told to answer this.
    ok    nps            readable
    ");
    assert_eq!(simulator.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_the_address_may_be_wrong_if_every_object_is_answered_with_404() {
    let simulator = simulator().await;
    let address = simulator.url();
    let wrong = format!("{}/nowhere", address.trim_end_matches('/'));
    let mut tool =
        Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "users,nps").set("PLANHAT_API_URL", &wrong);
    let checked = tool.run(&["check"]);
    assert_eq!(checked.code, 1, "{}", checked.all());
    insta::assert_snapshot!(lines(&checked.stdout, &["users", "nps", "token"]).replace(&wrong, "ADDRESS"), @"
    warn  users          /users answered 404 Not Found; give the private app read access to this object in Planhat, or leave it out of planhat.objects
    warn  nps            /nps answered 404 Not Found; give the private app read access to this object in Planhat, or leave it out of planhat.objects
    fail  token          the token may not read any of the objects, or planhat.base_url is wrong: ADDRESS answered 404 Not Found for each of them
    ");

    simulator.forbid("users");
    simulator.forbid("nps");
    let checked = tool.set("PLANHAT_API_URL", &address).run(&["check"]);
    assert_eq!(lines(&checked.stdout, &["token"]), "fail  token          the token may not read any of the objects");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_takes_seconds_even_with_an_unresponsive_database_and_an_unknown_host() {
    // Connections are taken, as the kernel does for a server that is frozen, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = format!("postgres://u:p@{}/d", silent.local_addr().unwrap());
    let mut tool = Tool::new()
        .set("PLANHAT_API_TOKEN", "x")
        .set("PLANHAT_API_URL", "http://127.0.0.1:9")
        .set("PLANHAT_SYNC__PLANHAT__RETRY_DELAY", "1min")
        .set("DATABASE_URL", &database);
    let begun = Instant::now();
    let checked = tool.run(&["check"]);
    // Less than the minute that lies between two attempts.
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert_eq!(checked.code, 1, "{}", checked.all());
    assert!(lines(&checked.stdout, &["Planhat"]).starts_with("fail  Planhat        /"), "{}", checked.stdout);
    assert!(lines(&checked.stdout, &["database"]).contains("did not answer within 10 s"), "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_the_database_and_which_tables_were_dropped() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let url: url::Url = tool.database().parse().unwrap();
    let place = format!("database {} at 127.0.0.1:{}", &url.path()[1..], url.port().unwrap());
    let mut tables = Vec::new();
    let mut look = |tool: &mut Tool| {
        let checked = tool.run(&["check"]);
        assert!(lines(&checked.stdout, &["database"]).contains(&place), "{}", checked.stdout);
        tables.push(lines(&checked.stdout, &["tables"]));
    };
    look(&mut tool);
    assert_eq!(tool.run(&["sync", "companies", "users"]).code, 0);
    look(&mut tool);
    let mut database = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::raw_sql("drop table planhat.users cascade").execute(&mut database).await.unwrap();
    look(&mut tool);
    sqlx::raw_sql("drop schema planhat cascade").execute(&mut database).await.unwrap();
    look(&mut tool);
    let mut tool = tool.set("PLANHAT_SYNC__DATABASE__SCHEMA", "another");
    look(&mut tool);
    insta::assert_snapshot!(tables.join("\n"), @r"
    ok    tables         none yet; the first sync creates them
    ok    tables         2 tables, which this version can use
    warn  tables         1 of 2 synced tables was dropped (planhat.users); the next sync creates it again and loads it from the beginning
    warn  tables         2 of 2 synced tables were dropped (planhat.companies, planhat.users); the next sync creates them again and loads them from the beginning
    ok    tables         none yet in schema another; the first sync creates them
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_readable_secrets_and_suspicious_settings() {
    let simulator = simulator().await;
    let tool = Tool::for_workspace(&simulator).await;
    let folder = tool.home.path().to_owned();
    let mode = |name: &str, mode| std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::write(folder.join("token"), simulator.token()).unwrap();
    std::fs::write(folder.join("config.toml"), "[notify]\nstale_after = '1h'\nwebhook_secret = 'x'\n").unwrap();
    mode("", 0o755);
    let token = folder.join("token");
    let mut tool = tool.unset("PLANHAT_API_TOKEN").set("PLANHAT_API_TOKEN_FILE", token.to_str().unwrap());
    let mut warnings = |bits| {
        ["token", "config.toml"].iter().for_each(|name| mode(name, bits));
        let checked = tool.run(&["--config", folder.join("config.toml").to_str().unwrap(), "check"]);
        assert_eq!(checked.code, 0, "{}", checked.all());
        lines(&checked.stdout, &["secrets", "settings"]).replace(folder.to_str().unwrap(), "FOLDER")
    };
    insta::assert_snapshot!(warnings(0o644), @r#"
    warn  settings       notify.stale_after is "1h", shorter than the time between two runs of the daemon (1day by daemon.schedule "0 3 * * *", and 10m of daemon.jitter), so that good data counts as stale before the next run; "1day 1h 10m" works
    warn  secrets        FOLDER/config.toml can be read by other users of this machine; run `chmod 600 FOLDER/config.toml`
    warn  secrets        FOLDER/token can be read by other users of this machine; run `chmod 600 FOLDER/token`
    "#);
    assert_eq!(warnings(0o600).lines().count(), 1);
}
