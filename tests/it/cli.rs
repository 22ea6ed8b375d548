//! The binary, as a person or a script meets it: what it prints, and its exit code.

use std::collections::BTreeMap;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use planhat_model::catalog;
use planhat_simulator::{Options, Simulator, Workspace};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::harness::{fresh_database, written};
use crate::waiting::{DEADLINE, Wait, limit_this_test};

/// The tool with nothing in its environment but what a test sets.
pub(crate) struct Tool {
    variables: BTreeMap<String, String>,
    /// So that the embedded database of a test is its own.
    pub(crate) home: tempfile::TempDir,
}

pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Tool {
    pub(crate) fn new() -> Tool {
        limit_this_test();
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_str().unwrap().to_owned();
        let tool = Tool { variables: BTreeMap::new(), home };
        tool.set("HOME", &folder).set("RUST_LOG", "error").set("PLANHAT_SYNC__PLANHAT__RETRY_DELAY", "0s")
    }

    pub(crate) async fn for_workspace(simulator: &Simulator) -> Tool {
        Tool::new()
            .set("PLANHAT_API_URL", &simulator.url())
            .set("PLANHAT_API_TOKEN", simulator.token())
            .set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
            .set("DATABASE_URL", &fresh_database().await)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Tool {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    pub(crate) fn unset(mut self, name: &str) -> Tool {
        self.variables.remove(name);
        self
    }

    /// Sets a variable, or removes it.
    pub(crate) fn put(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => _ = self.variables.insert(name.to_owned(), value.to_owned()),
            None => _ = self.variables.remove(name),
        }
    }

    pub(crate) fn set_log(&mut self, level: &str) -> &mut Tool {
        self.variables.insert("RUST_LOG".to_owned(), level.to_owned());
        self
    }

    /// The address of its database.
    pub(crate) fn database(&self) -> String {
        self.get("DATABASE_URL").unwrap()
    }

    /// To start it by hand: [`output_of`](crate::waiting::output_of) and [`ended`](crate::waiting::ended) wait for its end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("planhat-sync"));
        command.env_clear().envs(&self.variables).args(arguments).current_dir(self.home.path());
        command
    }

    /// Runs it to its end; one that hangs fails the test.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> CommandOutput {
        let _wait = Wait::new(&format!("planhat-sync {}", arguments.join(" ")));
        let output = assert_cmd::Command::from_std(self.command(arguments)).timeout(DEADLINE).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let code = output.status.code().unwrap_or_else(|| {
            panic!("planhat-sync {arguments:?} was killed, or did not end within {DEADLINE:?}:\n{stdout}{stderr}")
        });
        CommandOutput { code, stdout, stderr }
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success());
}

impl CommandOutput {
    /// What a person sees, results before narration.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n{}{}", self.code, self.stdout, self.stderr)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }
}

pub(crate) async fn simulator() -> Simulator {
    // Without dates, so that nothing is too old whenever this runs.
    let companies = (0..3)
        .map(|number| json!({"_id": format!("c{number}"), "name": format!("Company {number}"), "custom": {"Tier": "A"}}))
        .collect();
    let users = vec![json!({"_id": "u0", "email": "ann@example.org"})];
    Simulator::start(Workspace::empty().with("companies", companies).with("users", users), Options::default()).await.unwrap()
}

#[test]
fn without_a_token_sync_says_which_variable_to_set() {
    insta::assert_snapshot!(Tool::new().run(&["sync"]).all(), @"
    exit 2
    error: no Planhat token
    hint: set PLANHAT_API_TOKEN, or PLANHAT_API_TOKEN_FILE, to the token of a Planhat private app; `planhat-sync demo` needs none
    ");
}

#[test]
fn an_empty_token_is_no_token() {
    insta::assert_snapshot!(Tool::new().set("PLANHAT_API_TOKEN", " \n").run(&["sync"]).all(), @"
    exit 2
    error: no Planhat token
    hint: set PLANHAT_API_TOKEN, or PLANHAT_API_TOKEN_FILE, to the token of a Planhat private app; `planhat-sync demo` needs none
    ");
}

#[test]
fn a_token_with_invalid_characters_is_refused_before_it_is_sent_and_not_shown() {
    let ran = Tool::new().set("PLANHAT_API_TOKEN", "secret\u{201d}token").run(&["sync"]);
    insta::assert_snapshot!(ran.all(), @"
    exit 2
    error: the Planhat token has an invalid character at position 7
    hint: copy the token of the private app again, whole and without line breaks
    ");
}

#[test]
fn an_unknown_object_is_reported_with_the_most_similar_name() {
    insta::assert_snapshot!(Tool::new().set("PLANHAT_API_TOKEN", "x").run(&["sync", "companys"]).all(), @r#"
    exit 2
    error: unknown object "companys"; did you mean "companies"? (the objects are companies, endusers, licenses, opportunities, projects, tasks, tickets, nps, conversations, assets, churn, issues, users, invoices, campaigns, objectives, sales, workflows, workspaces, timeentries, timesheets, deals, lineitems, products, customfields)
    "#);
    let ran = Tool::new().run(&["schema", "companies", "planhat__name"]);
    let hint = "hint: `planhat-sync schema OBJECT` shows all columns of an object; a column cannot be named";
    assert!(
        ran.stderr.starts_with("error: unknown object \"planhat__name\"") && ran.stderr.trim_end().ends_with(hint),
        "{}",
        ran.all()
    );
}

#[test]
fn an_unknown_setting_is_reported_with_the_most_similar_key() {
    insta::assert_snapshot!(Tool::new().set("PLANHAT_SYNC__PLANHAT__PAGE_SIZ", "9").run(&["status"]).all(), @r#"
    exit 2
    error: unknown setting "planhat.page_siz" in the environment; did you mean "planhat.page_size"?
    hint: the page docs/configure.md lists every setting; `planhat-sync --help` says where settings come from
    "#);
}

#[test]
fn a_missing_settings_file_is_an_error() {
    let ran = Tool::new().run(&["--config", "/nowhere/config.toml", "status"]);
    insta::assert_snapshot!(ran.all(), @"
    exit 2
    error: could not read /nowhere/config.toml
      Caused by: No such file or directory (os error 2)
    hint: check the path, and whether this user may read the file
    ");
}

#[test]
fn a_file_of_a_setting_that_cannot_be_read_has_a_hint_of_its_own_and_so_has_none_that_holds_no_secret() {
    let of_file = |path: &str| {
        let tool = Tool::new().set("PLANHAT_API_TOKEN", "x").set("PLANHAT_SYNC__PRIVACY__HASH_KEY_FILE", path);
        tool.set("DATABASE_PASSWORD_FILE", "/nowhere/password").run(&["status"]).all()
    };
    insta::assert_snapshot!(of_file("/nowhere/key"), @"
    exit 2
    error: could not read the hash key from /nowhere/key
      Caused by: No such file or directory (os error 2)
    hint: check the path, and whether this user may read the file
    ");
    insta::assert_snapshot!(of_file("/dev/null"), @"
    exit 2
    error: the hash key cannot be taken from /dev/null
      Caused by: it is empty
    ");
}

#[test]
fn bad_usage_exits_with_2() {
    for arguments in [&["sink"][..], &["backfill", "--years", "4", "--all"], &["backfill", "--since", "soon"], &[]] {
        assert_eq!(Tool::new().run(arguments).code, 2, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_is_reported_as_unreachable() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__RETRIES", "1");
    drop(simulator);
    let ran = tool.set_and_run("PLANHAT_API_URL", "http://127.0.0.1:9", &["sync", "companies"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stdout.contains("could not read companies from offset 0: /companies is unreachable"), "{}", ran.stdout);
    assert!(ran.stdout.contains("hint: check planhat.base_url, and that this machine can reach it"), "{}", ran.stdout);
}

impl Tool {
    fn set_and_run(&mut self, name: &str, value: &str, arguments: &[&str]) -> CommandOutput {
        self.variables.insert(name.to_owned(), value.to_owned());
        self.run(arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_is_not_tried_again_for_every_object() {
    let simulator = simulator().await;
    let tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__RETRIES", "0");
    drop(simulator);
    let ran = tool.set("PLANHAT_SYNC__SYNC__CONCURRENCY", "1").set_and_run("PLANHAT_API_URL", "http://127.0.0.1:9", &["sync"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stdout.contains("the run ended before 12 of the objects were synced"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_exits_with_4() {
    let simulator = simulator().await;
    let ran = Tool::for_workspace(&simulator).await.set("PLANHAT_API_TOKEN", "another").run(&["sync"]);
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(ran.stdout.contains("answered 401"), "{}", ran.stdout);
    assert!(ran.stdout.contains("hint: check PLANHAT_API_TOKEN"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("resumes at this point"), "nothing has begun: {}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_password_exits_with_5_and_is_not_shown() {
    let simulator = simulator().await;
    let url = fresh_database().await;
    let (user, rest) = url.split_once("tester:").unwrap();
    let wrong = format!("{user}tester:hunter2@{}", rest.split_once('@').unwrap().1);
    let ran = Tool::for_workspace(&simulator).await.set("DATABASE_URL", &wrong).run(&["sync"]);
    assert!(!ran.all().contains("hunter2"), "{}", ran.all());
    insta::with_settings!({filters => vec![(r"127.0.0.1:\d+", "127.0.0.1:PORT")]}, {
        insta::assert_snapshot!(ran.all(), @r#"
        exit 5
        error: could not connect to PostgreSQL at 127.0.0.1:PORT
          Caused by: password authentication failed for user "tester"
        hint: check user and password: those of DATABASE_URL, or the file with the password
        "#);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_once_and_in_postgresqls_words_why_it_cannot_connect() {
    let url = fresh_database().await;
    let (server, _) = url.rsplit_once('/').unwrap();
    let mut tool = Tool::new().set("PLANHAT_API_TOKEN", "x").set("DATABASE_URL", &format!("{server}/nosuch"));
    let checked = tool.run(&["check"]).stdout;
    let line = checked.lines().find(|line| line.contains("database")).unwrap();
    insta::with_settings!({filters => vec![(r"127.0.0.1:\d+", "127.0.0.1:PORT")]}, {
        insta::assert_snapshot!(line, @r#"fail  database       could not connect to PostgreSQL at 127.0.0.1:PORT: database "nosuch" does not exist; create the database first, or correct its name in DATABASE_URL"#);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_exits_with_5() {
    let simulator = simulator().await;
    let ran = Tool::for_workspace(&simulator).await.set("DATABASE_URL", "postgres://u:p@127.0.0.1:9/d").run(&["sync"]);
    insta::assert_snapshot!(ran.all(), @"
    exit 5
    error: could not connect to PostgreSQL at 127.0.0.1:9
      Caused by: error communicating with database: Connection refused (os error 111)
    hint: check that PostgreSQL is running there, and the host and port in DATABASE_URL
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_database_url_exits_with_2() {
    let simulator = simulator().await;
    let ran = Tool::for_workspace(&simulator).await.set("DATABASE_URL", "my-database").run(&["sync"]);
    insta::assert_snapshot!(ran.all(), @"
    exit 2
    error: the database URL cannot be used
      Caused by: it does not begin with postgres://
    hint: write it as postgres://user:password@host:5432/database
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_prints_one_line_per_object_and_exits_with_0() {
    let simulator = simulator().await;
    simulator.forbid("nps");
    let mut tool = Tool::for_workspace(&simulator).await;
    let ran = tool.run(&["sync", "companies", "users", "nps"]);
    insta::with_settings!({filters => vec![(r"\d+\.\d s", "0.0 s")]}, {
        insta::assert_snapshot!(ran.all(), @"
        exit 0
        ┌───────────┬───────────┬─────────┬──────────┬─────────┬───────────┬─────────┬───────┬───────┬───────┐
        │ object    ┆ result    ┆ fetched ┆ inserted ┆ updated ┆ unchanged ┆ misfits ┆ pages ┆ calls ┆ time  │
        ╞═══════════╪═══════════╪═════════╪══════════╪═════════╪═══════════╪═════════╪═══════╪═══════╪═══════╡
        │ companies ┆ succeeded ┆       3 ┆        3 ┆       0 ┆         0 ┆       0 ┆     1 ┆     2 ┆ 0.0 s │
        │ users     ┆ succeeded ┆       1 ┆        1 ┆       0 ┆         0 ┆       0 ┆     1 ┆     3 ┆ 0.0 s │
        │ nps       ┆ skipped   ┆       0 ┆        0 ┆       0 ┆         0 ┆       0 ┆     0 ┆     1 ┆ 0.0 s │
        └───────────┴───────────┴─────────┴──────────┴─────────┴───────────┴─────────┴───────┴───────┴───────┘
        skipped nps: could not read nps from offset 0: /nps answered 403 Forbidden
          hint: give the private app read access to this object in Planhat, or leave it out of planhat.objects
        run 1 succeeded in 0.0 s
        ");
    });
    let again = tool.run(&["sync", "--json", "companies"]).json();
    assert_eq!(
        (&again["status"], &again["objects"][0]["updated"], &again["objects"][0]["inserted"]),
        (&json!("succeeded"), &json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_schema_show_what_was_loaded() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    assert!(tool.run(&["status"]).stdout.starts_with("nothing has been synced yet; run `planhat-sync sync`\n"));
    assert_eq!(tool.run(&["schema"]).stdout, "no tables yet; `planhat-sync sync` creates them\n");
    tool.run(&["sync", "companies"]);

    let status = tool.run(&["status", "--json"]).json();
    assert_eq!((&status["objects"][0]["object"], &status["objects"][0]["inserted"]), (&json!("companies"), &json!(3)));
    assert!(tool.run(&["status"]).stdout.contains("companies"));
    let schema = tool.run(&["schema", "companies"]).stdout;
    let hidden =
        |line: &&str| line.contains("property") && !["planhat__id ", "planhat__name "].iter().any(|name| line.contains(name));
    assert_eq!(schema.lines().filter(hidden).count(), catalog::object("companies").unwrap().documented().count() - 2);
    let shown: Vec<String> = schema.lines().filter(|line| !hidden(line)).map(|line| line.replace("  ", "")).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    planhat.companies: 3 rows
    ┌──────────────────────────────────┬─────────────┬───────────────────────┬───────────┐
    │ column ┆ type┆ Planhat name┆ origin│
    ╞══════════════════════════════════╪═════════════╪═══════════════════════╪═══════════╡
    │ planhat__id┆ text┆ _id ┆ property│
    │ planhat__name┆ text┆ name┆ property│
    │ planhat__tier__custom┆ text┆ Tier┆ custom│
    │ owner_id ┆ text┆ owner ┆ for joins │
    └──────────────────────────────────┴─────────────┴───────────────────────┴───────────┘
    ");
    assert_eq!(tool.run(&["schema", "--json"]).json()[0]["columns"][0]["planhat_name"], "_id");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_how_fresh_each_object_is_and_exits_with_0_or_1() {
    let simulator = simulator().await;
    simulator.forbid("nps");
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users,nps");
    let headline = |ran: &CommandOutput| (ran.code, ran.stdout.lines().next().unwrap().to_owned());

    tool.run(&["sync", "companies"]);
    assert_eq!(headline(&tool.run(&["status"])), (1, "never synced: users and nps; 1 of 3 objects is fresh".to_owned()));

    tool.run(&["sync"]);
    let fresh = "fresh: 2 of 2 objects synced within the last 26h; 1 skipped: the token may not read nps";
    assert_eq!(headline(&tool.run(&["status"])), (0, fresh.to_owned()));

    simulator.forbid("users");
    assert_eq!(tool.run(&["sync"]).code, 3);
    let filters = vec![
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[instant]"),
        (r"until \d{4}-\d\d-\d\d \d\d:\d\d UTC", "until [instant]"),
        (r"\d+\.\d s", "[time]"),
        (r"database test_\d+_\d+ at 127.0.0.1:\d+", "[database]"),
    ];
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!(tool.run(&["status"]).all(), @"
    exit 0
    1 of 2 objects is fresh; users failed, but still fresh enough; 1 skipped: the token may not read nps
    last run: sync, run 3, partial; began [instant], ended [instant]
    ┌───────────┬─────────────┬─────────────┬─────────────────────────┬─────────────────────────┬─────────────────────────┬─────────┬──────────┬─────────┬─────────┬───────────┬───────┐
    │ object    ┆ state       ┆ last result ┆ last success            ┆ watermark               ┆ all compared            ┆ fetched ┆ inserted ┆ updated ┆ deleted ┆ unchanged ┆ time  │
    ╞═══════════╪═════════════╪═════════════╪═════════════════════════╪═════════════════════════╪═════════════════════════╪═════════╪══════════╪═════════╪═════════╪═══════════╪═══════╡
    │ companies ┆ fresh       ┆ succeeded   ┆ [instant] ┆ [instant] ┆ [instant] ┆       3 ┆        0 ┆       0 ┆       0 ┆         3 ┆ [time] │
    │ users     ┆ still fresh ┆ failed      ┆ [instant] ┆ [instant] ┆ [instant] ┆       0 ┆        0 ┆       0 ┆       0 ┆         0 ┆ [time] │
    │ nps       ┆ skipped     ┆ skipped     ┆ never                   ┆ never                   ┆ never                   ┆       0 ┆        0 ┆       0 ┆       0 ┆         0 ┆ [time] │
    └───────────┴─────────────┴─────────────┴─────────────────────────┴─────────────────────────┴─────────────────────────┴─────────┴──────────┴─────────┴─────────┴───────────┴───────┘
    users failed: could not read users from offset 0: /users answered 403 Forbidden; it could be read until [instant]
      hint: give the private app back its read access to users in Planhat, or leave it out of planhat.objects
    nps skipped: could not read nps from offset 0: /nps answered 403 Forbidden
      hint: give the private app read access to this object in Planhat, or leave it out of planhat.objects

    the data is in schema planhat of [database]
    ") });

    // Nobody has to look at it any more.
    let left = tool.set_and_run("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies", &["status"]);
    assert_eq!(headline(&left), (0, "fresh: 1 of 1 object synced within the last 26h".to_owned()));
    assert!(!left.stdout.contains("users failed"), "{}", left.stdout);
    tool.run(&["sync", "companies"]);

    let stale = tool.set_and_run("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "1ms", &["status", "--json"]);
    let status = stale.json();
    assert_eq!((stale.code, &status["fresh"], &status["objects"][0]["state"]), (1, &json!(false), &json!("stale")));
    assert_eq!(status["headline"], "STALE: not synced within the last 1ms: companies; 0 of 1 object is fresh");

    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    sqlx::raw_sql("drop schema planhat cascade").execute(&mut database).await.unwrap();
    let gone = tool.set_and_run("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "26h", &["status"]);
    assert_eq!(headline(&gone), (1, "STALE: table dropped: companies; 0 of 1 object is fresh".to_owned()));
    assert!(gone.stdout.contains("table planhat.companies was dropped; the next sync loads it again"), "{}", gone.stdout);
    tool.run(&["sync"]);
    assert_eq!(tool.run(&["status"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_status_show_later_why_a_run_did_not_succeed_and_what_to_do() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users");
    tool.run(&["sync"]);
    simulator.forbid("users");
    simulator.add("companies", json!({"name": "without an id"}));
    assert_eq!(tool.run(&["sync"]).code, 3);

    let back = "give the private app back its read access to users in Planhat, or leave it out of planhat.objects";
    let quarantined = "1 record of companies could not be stored and is in quarantine: no _id";
    let look = "`planhat-sync quarantine` shows why";
    let shown = tool.run(&["runs", "show", "2"]).stdout;
    for text in [&format!("\n  hint: {back}"), quarantined, &format!("\n  hint: {look}"), "users failed: could not read users"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let json = tool.run(&["runs", "show", "2", "--json"]).json();
    assert_eq!(
        (&json["hint"], &json["objects"][0]["hint"], &json["objects"][1]["hint"]),
        (&json!(back), &json!(look), &json!(back))
    );
    let status = tool.run(&["status"]).stdout;
    for text in
        [&format!("\n  hint: {back}"), quarantined, "1 record of companies is in quarantine; `planhat-sync quarantine` shows why"]
    {
        assert!(status.contains(text), "{text}: {status}");
    }
    assert!(tool.run(&["runs"]).stdout.contains("it could be read until"));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_type_mismatches_are_printed_once_by_sync_and_then_shown_by_status() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "users");
    simulator.add("users", json!({"_id": "u1", "custom": {"Seats": 4}}));
    tool.run(&["sync"]);
    simulator.add("users", json!({"_id": "u2", "custom": {"Seats": "of ann@example.org"}}));

    let said = tool.run(&["sync"]).stdout;
    let hint = "`planhat-sync retype users planhat__seats__custom text` would give the column a type that holds all values";
    assert!(
        said.contains(
            "users.planhat__seats__custom: 1 value is not of the column's type, so it is kept in _misfits (type mismatch). Nothing"
        ),
        "{said}"
    );
    assert!(said.contains(hint) && !said.contains("ann@example.org"), "{said}");
    assert!(!tool.run(&["sync"]).stdout.contains("type mismatch"));
    let status = tool.run(&["status"]).stdout;
    assert!(status.contains(hint) && !status.contains("ann@example.org"), "{status}");

    tool.run(&["retype", "users", "planhat__seats__custom", "text"]);
    assert!(!tool.run(&["status"]).stdout.contains("type mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_shows_each_record_once() {
    let people =
        (0..3).map(|number| json!({"_id": format!("e{number}"), "name": "Ann"})).chain([json!({"name": "Ben"})]).collect();
    let simulator = Simulator::start(Workspace::empty().with("endusers", people), Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await;

    let dry = tool.run(&["sync", "--dry-run", "--diff", "endusers"]);

    insta::with_settings!({filters => times()}, { insta::assert_snapshot!(dry.all(), @"
    exit 3
    ┌──────────┬─────────┬──────────────┬─────────┬───────────┬───────────┬───────────┬─────────────┬─────────┬───────┬───────┬───────┐
    │ object   ┆ result  ┆ listed again ┆ fetched ┆ to insert ┆ to update ┆ unchanged ┆ quarantined ┆ misfits ┆ pages ┆ calls ┆ time  │
    ╞══════════╪═════════╪══════════════╪═════════╪═══════════╪═══════════╪═══════════╪═════════════╪═════════╪═══════╪═══════╪═══════╡
    │ endusers ┆ partial ┆            4 ┆       4 ┆         3 ┆         0 ┆         0 ┆           1 ┆       0 ┆     2 ┆     4 ┆ [time] │
    └──────────┴─────────┴──────────────┴─────────┴───────────┴───────────┴───────────┴─────────────┴─────────┴───────┴───────┴───────┘
    warning: 1 record of endusers could not be stored and would be put in quarantine: no _id
    endusers: would create the table with 45 columns: planhat__id text, planhat__external_id text, planhat__source_id text, planhat__email text, planhat__email_md5 text, planhat__first_name text, planhat__last_name text, planhat__name text, planhat__position text, planhat__phone text and 35 more (--json shows all)
    + endusers e0
    + endusers e1
    + endusers e2
    dry run partial in [time]: nothing was written
    ") });
}

/// Each of them, on a schema with a run, an entry in quarantine and an action or more.
const READING: &[&[&str]] = &[
    &["check"],
    &["check", "--json"],
    &["status"],
    &["status", "--json"],
    &["runs"],
    &["runs", "show", "1"],
    &["quarantine"],
    &["quarantine", "show", "1"],
    &["actions"],
    &["actions", "--json", "--company", "c1"],
    &["schema"],
    &["schema", "--sql"],
    &["sync", "--dry-run"],
    &["sync", "--full", "--dry-run", "--diff"],
    &["retype", "users", "planhat__first_name", "jsonb", "--dry-run"],
    &["forget", "users", "u0", "--references"],
    &["forget", "--list", "users", "u0"],
    &["privacy", "apply"],
    &["health"],
    &["completions", "bash"],
    &["man"],
];

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_only_read_change_nothing() {
    let simulator = simulator().await;
    simulator.add("users", json!({"name": "has no id"}));
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users");
    // Before the first run.
    let empty = everything_in(&tool.database()).await;
    for reading in READING {
        let ran = tool.run(reading);
        assert_nothing_changed(&empty, &everything_in(&tool.database()).await, &format!("{reading:?}: {}", ran.all()));
    }
    let ran = tool.run(&["check", "--probe"]);
    assert_nothing_changed(
        &empty,
        &everything_in(&tool.database()).await,
        &format!("a probe before the first run: {}", ran.all()),
    );

    assert_eq!(tool.run(&["sync"]).code, 3);
    // There is a change to come.
    simulator.edit("companies", "c1", chrono::Utc::now(), |company| _ = company.insert("brandNew".into(), json!("x")));
    let synced = everything_in(&tool.database()).await;
    assert!(synced.len() > empty.len() + 500, "{} lines, and {} when there was nothing", synced.len(), empty.len());
    for reading in READING {
        let ran = tool.run(reading);
        assert!(!ran.stderr.starts_with("error: unrecognized"), "{}", ran.all());
        assert_nothing_changed(&synced, &everything_in(&tool.database()).await, &format!("{reading:?}: {}", ran.all()));
        // Nor do they make a schema that somebody has mistyped.
        let ran = tool.set_and_run("PLANHAT_SYNC__DATABASE__SCHEMA", "mistyped", reading);
        assert_nothing_changed(&synced, &everything_in(&tool.database()).await, &format!("mistyped: {reading:?}: {}", ran.all()));
        tool.put("PLANHAT_SYNC__DATABASE__SCHEMA", None);
    }
    let ran = tool.set_and_run("PLANHAT_SYNC__DATABASE__SCHEMA", "mistyped", &["schema"]);
    assert_eq!(ran.stdout, "no tables yet; `planhat-sync sync` creates them\n");

    // A probe notes what it has proven, in one table.
    tool.put("PLANHAT_SYNC__DATABASE__SCHEMA", None);
    let ran = tool.run(&["check", "--probe"]);
    let (learned, others): (Vec<String>, Vec<String>) =
        everything_in(&tool.database()).await.into_iter().partition(|line| line.starts_with("row of planhat_sync.capabilities "));
    assert_ne!(learned, Vec::<String>::new(), "{}", ran.all());
    let synced: Vec<String> = synced.into_iter().filter(|line| !line.starts_with("row of planhat_sync.capabilities ")).collect();
    assert_nothing_changed(&synced, &others, &format!("a probe: {}", ran.all()));
}

fn assert_nothing_changed(before: &[String], after: &[String], what: &str) {
    let only_in = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).take(5).cloned().collect()
    };
    let (gone, new) = (only_in(before, after), only_in(after, before));
    assert!(before == after, "{what}\nnew: {new:#?}\ngone: {gone:#?}");
}

/// All that a database holds, a line each: what is in its catalogue, and each row of each table with the transaction that wrote it.
async fn everything_in(url: &str) -> Vec<String> {
    let mut database = PgConnection::connect(url).await.unwrap();
    let ours = "nspname not like 'pg\\_%' and nspname <> 'information_schema'";
    let tables = format!(
        "select format('%I.%I', nspname, relname) from pg_class join pg_namespace n on n.oid = relnamespace
         where {ours} and relkind in ('r', 'm') order by 1"
    );
    let mut queries = vec![
        format!("select concat('schema ', nspname, ' ', nspowner, ' ', nspacl) from pg_namespace where {ours}"),
        format!(
            "select concat('relation ', c.oid, ' ', c.oid::regclass, ' ', relkind, ' ', relfilenode, ' ', relacl, ' ', reloptions, ' ', c.xmin,
                 case when relkind = 'i' then pg_get_indexdef(c.oid) when relkind in ('v', 'm') then pg_get_viewdef(c.oid) end)
             from pg_class c join pg_namespace n on n.oid = relnamespace where {ours}"
        ),
        format!(
            "select concat('column ', attrelid::regclass, ' ', attnum, ' ', attname, ' ', atttypid::regtype, ' ', attnotnull, ' ', attacl, ' ', a.xmin)
             from pg_attribute a join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace where {ours} and attnum > 0"
        ),
        format!(
            "select concat('constraint ', conrelid::regclass, ' ', conname, ' ', pg_get_constraintdef(o.oid))
             from pg_constraint o join pg_namespace n on n.oid = connamespace where {ours}"
        ),
        format!("select concat('function ', p.oid::regprocedure, ' ', prosrc) from pg_proc p join pg_namespace n on n.oid = pronamespace where {ours}"),
        "select concat('trigger ', tgrelid::regclass, ' ', tgname) from pg_trigger".to_owned(),
        "select concat('policy ', polrelid::regclass, ' ', polname) from pg_policy".to_owned(),
        "select concat('comment ', classoid::regclass, ' ', objoid, ' ', objsubid, ' ', description) from pg_description where objoid >= 16384".to_owned(),
        "select concat('setting ', setrole, ' ', setconfig) from pg_db_role_setting".to_owned(),
        "select concat('sequence ', schemaname, '.', sequencename, ' ', last_value) from pg_sequences".to_owned(),
        "select concat('publication ', pubname) from pg_publication".to_owned(),
        "select concat('privileges by default ', defaclrole, ' ', defaclacl) from pg_default_acl".to_owned(),
        "select concat('large object ', oid) from pg_largeobject_metadata".to_owned(),
    ];
    let select = async |query: String, database: &mut PgConnection| -> Vec<String> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(database).await.unwrap()
    };
    for table in select(tables, &mut database).await {
        queries.push(format!("select concat('row of {table} ', t.xmin, ' ', to_jsonb(t)) from {table} t"));
    }
    let mut all = Vec::new();
    for query in queries {
        all.extend(select(query, &mut database).await);
    }
    database.close().await.unwrap();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_named_twice_is_pulled_once() {
    let simulator = simulator().await;
    let ran = Tool::for_workspace(&simulator).await.run(&["sync", "--json", "users", "users"]);
    assert_eq!(ran.json()["objects"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_loads_the_records_of_its_range_and_no_others() {
    let years_ago = |years: u32, days: i64| {
        let then = chrono::Utc::now().checked_sub_months(chrono::Months::new(12 * years)).unwrap();
        written(then + chrono::TimeDelta::days(days))
    };
    let records = [
        ("before 2020-01-31", "2020-01-30T23:59:59.999Z".to_owned()),
        ("from 2020-01-31 on", "2020-01-31T00:00:00.000Z".to_owned()),
        ("before 2021-06-01", "2021-05-31T23:59:59.999Z".to_owned()),
        ("from 2021-06-01 on", "2021-06-01T00:00:00.000Z".to_owned()),
        ("before 4 years", years_ago(4, -2)),
        ("within 4 years", years_ago(4, 2)),
        ("before 2 years", years_ago(2, -2)),
        ("within 2 years", years_ago(2, 2)),
    ];
    let companies = records.iter().map(|(id, updated)| json!({"_id": id, "updatedAt": updated})).collect();
    let simulator = Simulator::start(Workspace::empty().with("companies", companies), Options::default()).await.unwrap();
    // The records from one to another, both of them in it.
    let from = |first: &str, last: &str| -> Vec<&str> {
        let place = |wanted: &str| records.iter().position(|(id, _)| *id == wanted).unwrap();
        records[place(first)..=place(last)].iter().map(|(id, _)| *id).collect()
    };

    for (range, expected) in [
        (&["--years", "2"][..], from("within 2 years", "within 2 years")),
        (&[], from("within 4 years", "within 2 years")),
        (&["--since", "2020-01-31"], from("from 2020-01-31 on", "within 2 years")),
        (&["--since", "2020-01-31", "--until", "2021-06-01"], from("from 2020-01-31 on", "before 2021-06-01")),
        (&["--all", "--until", "2020-01-31"], from("before 2020-01-31", "before 2020-01-31")),
        (&["--all"], from("before 2020-01-31", "within 2 years")),
    ] {
        let mut tool = Tool::for_workspace(&simulator).await;
        let ran = tool.run(&[&["backfill", "companies"], range].concat());
        assert_eq!(ran.code, 0, "{range:?} {}", ran.all());
        let mut database = PgConnection::connect(&tool.database()).await.unwrap();
        let loaded = "select planhat__id from planhat.companies order by planhat__updated_at";
        let loaded: Vec<String> = sqlx::query_scalar(loaded).fetch_all(&mut database).await.unwrap();
        assert_eq!(loaded, expected, "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_ok_warn_or_fail_for_each_finding() {
    let simulator = simulator().await;
    simulator.forbid("nps");
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,nps");
    let filters = vec![
        (r"127.0.0.1:\d+", "127.0.0.1:PORT"),
        (r"PostgreSQL \d+.*, database test_\w+ ", "PostgreSQL VERSION, database NAME "),
    ];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(tool.run(&["check"]).all(), @"
        exit 0
        ok    planhat-sync   version 0.1.0
        ok    token          accepted by http://127.0.0.1:PORT/
        ok    companies      readable
        warn  nps            /nps answered 403 Forbidden; give the private app read access to this object in Planhat, or leave it out of planhat.objects
        ok    database       PostgreSQL VERSION, database NAME at 127.0.0.1:PORT
        ok    connection     on this machine
        ok    tables         none yet; the first sync creates them
        ok    privileges     can write schemas planhat and planhat_sync
        ");
    });
    assert_eq!(tool.set_and_run("PLANHAT_API_TOKEN", "another", &["check"]).code, 4);
    assert_eq!(tool.set_and_run("PLANHAT_API_TOKEN", "simulated-token", &["check"]).code, 0);
    assert_eq!(tool.set_and_run("DATABASE_URL", "postgres://u:p@127.0.0.1:9/d", &["check"]).code, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_what_would_change_and_changes_nothing() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;

    let before = tool.run(&["sync", "--dry-run", "companies"]);
    insta::with_settings!({filters => times()}, { insta::assert_snapshot!(before.all(), @"
    exit 0
    ┌───────────┬───────────┬─────────┬───────────┬───────────┬───────────┬─────────┬───────┬───────┬───────┐
    │ object    ┆ result    ┆ fetched ┆ to insert ┆ to update ┆ unchanged ┆ misfits ┆ pages ┆ calls ┆ time  │
    ╞═══════════╪═══════════╪═════════╪═══════════╪═══════════╪═══════════╪═════════╪═══════╪═══════╪═══════╡
    │ companies ┆ succeeded ┆       3 ┆         3 ┆         0 ┆         0 ┆       0 ┆     1 ┆     2 ┆ [time] │
    └───────────┴───────────┴─────────┴───────────┴───────────┴───────────┴─────────┴───────┴───────┴───────┘
    companies: would create the table with 88 columns: planhat__id text, planhat__external_id text, planhat__source_id text, planhat__name text, planhat__slug text, planhat__phase text, planhat__status text, planhat__health_profile text, planhat__description text, planhat__address text and 78 more (--json shows all)
    dry run succeeded in [time]: nothing was written
    ") });
    assert!(tool.run(&["status"]).stdout.starts_with("nothing has been synced yet; run `planhat-sync sync`\n"));

    tool.run(&["sync"]);
    let now = chrono::Utc::now();
    simulator.edit("companies", "c1", now, |company| {
        company.insert("name".into(), json!("Renamed"));
        company.insert("custom".into(), json!({"Seats": 12}));
    });
    simulator.add("companies", json!({"_id": "c9", "name": "New", "updatedAt": written(now)}));
    let changed = tool.run(&["sync", "--dry-run", "--diff", "companies"]);
    insta::with_settings!({filters => times()}, { insta::assert_snapshot!(changed.all(), @r#"
    exit 0
    ┌───────────┬───────────┬─────────┬───────────┬───────────┬───────────┬─────────┬───────┬───────┬───────┐
    │ object    ┆ result    ┆ fetched ┆ to insert ┆ to update ┆ unchanged ┆ misfits ┆ pages ┆ calls ┆ time  │
    ╞═══════════╪═══════════╪═════════╪═══════════╪═══════════╪═══════════╪═════════╪═══════╪═══════╪═══════╡
    │ companies ┆ succeeded ┆       4 ┆         1 ┆         1 ┆         2 ┆       0 ┆     1 ┆     2 ┆ [time] │
    └───────────┴───────────┴─────────┴───────────┴───────────┴───────────┴─────────┴───────┴───────┴───────┘
    companies: would add 1 column: planhat__seats__custom numeric
    ~ companies c1
        planhat__name: "Company 1" -> "Renamed"
        planhat__seats__custom: null -> 12
        planhat__tier__custom: "A" -> null
        planhat__updated_at: null -> "[instant]"
    + companies c9
    dry run succeeded in [time]: nothing was written
    "#) });
    let json = tool.run(&["sync", "--dry-run", "--diff", "--json", "companies"]).json();
    assert_eq!(json["objects"][0]["preview"]["records"][0]["changes"][0]["new"], json!("Renamed"));
    assert_eq!(json["run_id"], Value::Null);

    let synced = tool.run(&["sync", "--json", "companies"]).json();
    let figures = |of: &Value| (of["inserted"].clone(), of["updated"].clone());
    assert_eq!(figures(&json["objects"][0]), figures(&synced["objects"][0]));
    assert_eq!(synced["run_id"], 2);
}

/// What differs from run to run.
fn times() -> Vec<(&'static str, &'static str)> {
    vec![(r"\d+\.\d s", "[time]"), (r"\d{4}-\d\d-\d\dT[0-9:.]+\+00:00", "[instant]")]
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_beyond_the_guard_are_reported_with_the_command_that_marks_them() {
    let records = (0..300).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let simulator = Simulator::start(Workspace::empty().with("projects", records), Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await;
    tool.run(&["sync", "projects"]);
    (0..200).for_each(|number| assert!(simulator.delete("projects", &format!("{number:05}"))));

    let held = tool.run(&["sync", "--full", "projects"]);
    insta::with_settings!({filters => times()}, { insta::assert_snapshot!(held.all(), @"
    exit 0
    ┌──────────┬───────────┬─────────┬──────────┬─────────┬───────────┬─────────┬───────┬───────┬───────┐
    │ object   ┆ result    ┆ fetched ┆ inserted ┆ updated ┆ unchanged ┆ misfits ┆ pages ┆ calls ┆ time  │
    ╞══════════╪═══════════╪═════════╪══════════╪═════════╪═══════════╪═════════╪═══════╪═══════╪═══════╡
    │ projects ┆ succeeded ┆     100 ┆        0 ┆       0 ┆       100 ┆       0 ┆     1 ┆     4 ┆ [time] │
    └──────────┴───────────┴─────────┴──────────┴─────────┴───────────┴─────────┴───────┴───────┴───────┘
    warning: projects: 200 of 300 rows were not listed, more than deletions.max_rows (100) and deletions.max_percent (20 %) allow; the deletion guard marked none of them as deleted. If these records were really deleted, `planhat-sync sync --full --allow-deletes projects` marks them
    run 2 succeeded in [time]
    ") });
    let said = tool.run(&["sync", "--full", "--allow-deletes", "projects"]);
    insta::with_settings!({filters => times()}, { insta::assert_snapshot!(said.all(), @"
    exit 0
    ┌──────────┬───────────┬─────────┬──────────┬─────────┬───────────┬─────────┬───────┬───────┬───────┐
    │ object   ┆ result    ┆ fetched ┆ inserted ┆ updated ┆ unchanged ┆ misfits ┆ pages ┆ calls ┆ time  │
    ╞══════════╪═══════════╪═════════╪══════════╪═════════╪═══════════╪═════════╪═══════╪═══════╪═══════╡
    │ projects ┆ succeeded ┆     100 ┆        0 ┆       0 ┆       100 ┆       0 ┆     1 ┆   207 ┆ [time] │
    └──────────┴───────────┴─────────┴──────────┴─────────┴───────────┴─────────┴───────┴───────┴───────┘
    projects: 200 rows marked as deleted
    run 3 succeeded in [time]
    ") });
}

#[test]
fn a_backfill_range_that_ends_before_it_begins_is_refused() {
    let ran = Tool::new().set("PLANHAT_API_TOKEN", "x").run(&["backfill", "--since", "2024-01-01", "--until", "2023-01-01"]);
    insta::assert_snapshot!(ran.all(), @"
    exit 2
    error: there are no days between 2024-01-01 and 2023-01-01
    hint: --until must be later than the start of the history: use --since or --all
    ");
}

#[test]
fn a_backfill_that_ends_before_the_default_history_begins_is_refused() {
    let ran = Tool::new().set("PLANHAT_API_TOKEN", "x").run(&["backfill", "--until", "2001-01-01"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("2001-01-01\nhint: --until must be later than the start of the history"), "{}", ran.stderr);
}

#[test]
fn newest_first_refuses_an_object_without_a_modification_time() {
    let ran = Tool::new().set("PLANHAT_SYNC__SYNC__SORTED", "companies,licenses").run(&["status"]);
    insta::assert_snapshot!(ran.all(), @r#"
    exit 2
    error: setting "sync.sorted" names licenses, whose records have no modification time to sort by
    "#);
}
