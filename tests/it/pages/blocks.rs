//! Blocks of pages that are marked as tested: what a reader may type works, and prints what the page says.
//!
//! | behind the fence | |
//! |---|---|
//! | `sh tested` | runs in `bash -eu`, and ends with 0. All blocks of a page are typed into one shell, in a fresh folder, which is `HOME` too, with a simulated Planhat and a fresh database in the environment |
//! | `sh tested synced` | the same, for readers who have data: a `sync` that nobody sees comes before it |
//! | `sh tested demo` | needs the demo or the embedded database, and is left out in a build without them |
//! | `text output` | the next block after one of these: what it prints, see `output.rs` |
//! | `sql tested` | runs in a database that was synced twice from the fixtures; what the blocks of a page change is rolled back |
//! | `sql tested rows` | the same, and each of its statements returns rows |
//! | `toml tested` | is a settings file that the program takes |

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use chrono::Utc;
use futures_util::TryStreamExt as _;
use planhat_model::catalog::{self, Object};
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_sync::config::{self, SettingsError};
use planhat_sync::pull::Mode;
use serde_json::json;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use sqlx::{ConnectOptions as _, Connection as _, Either, PgConnection};

use super::markdown::{Block, Page};
use super::output::difference;
use super::{folder_with, pages_in, project};
use crate::harness::{TODAY, TestSync, at, day, fresh_database};
use crate::waiting::{end, ended_in_time, in_time, this_test_may_take};

/// For all blocks of a page together. Nothing waits for it to pass.
const PAGE_DEADLINE: Duration = Duration::from_secs(300);
const ALL_PAGES_DEADLINE: Duration = Duration::from_secs(1200);

const HAS_DEMO: bool = cfg!(feature = "demo");

/// As long as the history is by default, in days.
const FOUR_YEARS: i64 = 4 * 365 + 1;

/// Fewer blocks than this are not all of them.
const LEAST: Counted = Counted { shell: 20, output: 16, sql: 15, toml: 4 };

enum Kind {
    Shell(Needs),
    Sql { has_rows: bool },
    Toml,
}

/// What has to be there before a command is typed.
#[derive(PartialEq)]
enum Needs {
    Nothing,
    Demo,
    Rows,
}

struct TestedBlock<'a> {
    block: &'a Block,
    kind: Kind,
    /// What a page says that it prints.
    output: Option<&'a Block>,
}

#[derive(Debug, Default, PartialEq)]
struct Counted {
    shell: usize,
    output: usize,
    sql: usize,
    toml: usize,
}

/// The blocks of a page that are to be tested, or what is wrong with their markings.
fn tested_blocks(page: &Page) -> Result<Vec<TestedBlock<'_>>, String> {
    let mut tested: Vec<TestedBlock<'_>> = Vec::new();
    let mut may_have_output = false;
    for block in &page.blocks {
        let words: Vec<&str> = block.info.split_whitespace().collect();
        let kind = match words[..] {
            [] | [_] => None,
            ["sh", "tested"] => Some(Kind::Shell(Needs::Nothing)),
            ["sh", "tested", "demo"] => Some(Kind::Shell(Needs::Demo)),
            ["sh", "tested", "synced"] => Some(Kind::Shell(Needs::Rows)),
            ["sql", "tested"] => Some(Kind::Sql { has_rows: false }),
            ["sql", "tested", "rows"] => Some(Kind::Sql { has_rows: true }),
            ["toml", "tested"] => Some(Kind::Toml),
            ["text", "output"] => match tested.last_mut().filter(|_| may_have_output) {
                Some(before) => {
                    before.output = Some(block);
                    None
                }
                None => return Err(format!("{}: no `sh tested` block is before this output", page.at(block.line))),
            },
            _ => return Err(format!("{}: unknown marking {:?}", page.at(block.line), block.info)),
        };
        may_have_output = matches!(kind, Some(Kind::Shell(_)));
        tested.extend(kind.map(|kind| TestedBlock { block, kind, output: None }));
    }
    Ok(tested)
}

#[test]
fn every_marking_of_a_block_is_known_and_there_are_blocks_of_each_kind() {
    let mut counted = Counted::default();
    for page in pages_in(&project()) {
        for tested in tested_blocks(&page).unwrap_or_else(|wrong| panic!("{wrong}")) {
            match tested.kind {
                Kind::Shell(needs) => {
                    counted.shell += 1;
                    if needs == Needs::Demo && !HAS_DEMO {
                        println!("{}: not run, since this build has no demo", page.at(tested.block.line));
                    }
                }
                Kind::Sql { .. } => counted.sql += 1,
                Kind::Toml => counted.toml += 1,
            }
            counted.output += usize::from(tested.output.is_some());
        }
    }
    println!("{counted:?}");
    let is_enough = counted.shell >= LEAST.shell && counted.output >= LEAST.output;
    assert!(is_enough && counted.sql >= LEAST.sql && counted.toml >= LEAST.toml, "{counted:?} is less than {LEAST:?}");
}

#[test]
fn an_unknown_marking_is_refused() {
    for (text, expected) in [
        ("```sh testd\n```\n", "a.md:1: unknown marking \"sh testd\""),
        ("```sh tested rows\n```\n", "a.md:1: unknown marking \"sh tested rows\""),
        ("\n```json tested\n```\n", "a.md:2: unknown marking \"json tested\""),
        ("```text output\n```\n", "a.md:1: no `sh tested` block is before this output"),
        ("```sh tested\n```\n```sh\n```\n```text output\n```\n", "a.md:5: no `sh tested` block is before this output"),
    ] {
        let page = Page::parse(Path::new("a.md"), text);
        assert_eq!(tested_blocks(&page).err().as_deref(), Some(expected));
    }
}

// Commands

#[tokio::test(flavor = "multi_thread")]
async fn every_tested_command_of_a_page_works_and_prints_what_the_page_says() {
    this_test_may_take(ALL_PAGES_DEADLINE);
    let mut problems = Vec::new();
    for page in pages_in(&project()) {
        problems.extend(problems_of_commands(&page, PAGE_DEADLINE).await);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tested_command_that_fails_or_prints_something_else_is_reported() {
    let problems = async |text: &str| {
        let folder = folder_with(&[("docs/a.md", text)]);
        problems_of_commands(&pages_in(folder.path())[0], PAGE_DEADLINE).await
    };
    let works = "```sh tested\nexport A=1; cd /; echo $A; echo 2 >&2\n```\nprints\n```text output\n1\n2\n```\n\
                 ```sh tested\necho $A $PWD\n```\n```text output\n1 /\n```\n\
                 ```sh tested\ncd; pwd | grep -qx \"$HOME\"; planhat-sync sync companies; psql \"$DATABASE_URL\" -tAc 'select planhat__name from planhat.companies order by 1 limit 1'\n```\n```text output\n…\n…\n```\n\
                 ```sh tested synced\nplanhat-sync schema | grep -o planhat.users\n```\n```text output\nplanhat.users\n```\n";
    assert_eq!(problems(works).await, [""; 0]);

    let other = problems("```sh tested\necho a; echo b\n```\n```text output\na\nc\n```\n").await;
    assert_eq!(other, ["docs/a.md:4: it prints something else\n- what the page says, + what was printed:\n  a\n- c\n+ b"]);
    let fails =
        problems("```sh tested\ntrue\n```\n```sh tested\necho so far\nfalse\necho not reached\n```\n```sh tested\n```\n").await;
    assert_eq!(fails, ["docs/a.md:4: it failed (exit status: 1), having printed:\nso far\n"]);
    let unset = problems("```sh tested\necho $NOTHING\n```\n").await;
    assert!(
        unset[0].starts_with("docs/a.md:1: it failed (exit status: 1)") && unset[0].contains("unbound variable"),
        "{unset:?}"
    );
    let ends_early = problems("```sh tested\nexit 0\n```\n```sh tested\ntrue\n```\n").await;
    assert_eq!(ends_early, ["docs/a.md:1: it ended the shell (exit status: 0), having printed:\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tested_command_that_does_not_end_is_stopped() {
    let folder = folder_with(&[("README.md", "```sh tested\necho begun; sleep 1000 & wait\n```\n")]);
    let problems = problems_of_commands(&pages_in(folder.path())[0], Duration::from_secs(2)).await;
    assert_eq!(problems, ["README.md:1: it did not end within 2s, having printed:\nbegun\n"]);
}

/// What a page shows of the demo is what the demo prints.
#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_of_the_demo_is_compared_with_the_demo() {
    let page = |end: &str| {
        format!(
            "```sh tested demo\nplanhat-sync demo\n```\n\n```text output\nA simulated Planhat workspace …\n…\nrun 1 succeeded …\n\
             …\nNow somebody works in Planhat: …\n…\n{end}\n```\n"
        )
    };
    let right = page("  planhat-sync sync                 # the first time …");
    let problems = async |text: &str| problems_of_commands(&Page::parse(Path::new("a.md"), text), PAGE_DEADLINE).await;
    assert_eq!(problems(&right).await, [""; 0]);
    let wrong = problems(&page("  planhat-sync synk …")).await;
    assert!(wrong[0].contains("\n-   planhat-sync synk …"), "{wrong:?}");
}

/// Types all tested commands of a page into one shell.
async fn problems_of_commands(page: &Page, limit: Duration) -> Vec<String> {
    let tested = tested_blocks(page).unwrap_or_else(|wrong| panic!("{wrong}"));
    let runs = |tested: &TestedBlock<'_>| matches!(&tested.kind, Kind::Shell(needs) if HAS_DEMO || !matches!(needs, Needs::Demo));
    let commands: Vec<_> = tested.into_iter().filter(runs).collect();
    if commands.is_empty() {
        return Vec::new();
    }

    let notes = tempfile::tempdir().unwrap();
    let output_of = |number: usize| notes.path().join(format!("{number}.output"));
    let before = notes.path().join("before");
    let mut script = "set -eu\n".to_owned();
    for (number, command) in commands.iter().enumerate() {
        let file = notes.path().join(format!("{number}.sh"));
        fs::write(&file, &command.block.text).unwrap();
        if matches!(command.kind, Kind::Shell(Needs::Rows)) {
            script += &format!("planhat-sync sync > '{0}' 2>&1 || {{ cat '{0}'; exit 1; }}\n", before.display());
        }
        script += &format!("exec > '{}' 2>&1\n. '{}'\n", output_of(number).display(), file.display());
    }
    let all_ran = notes.path().join("all-ran");
    script += &format!("> '{}'\n", all_ran.display());
    let ended = run_in_a_fresh_folder(&script, limit).await;

    let mut problems = Vec::new();
    for (number, command) in commands.iter().enumerate() {
        let Ok(printed) = fs::read(output_of(number)) else { break };
        let printed = String::from_utf8_lossy(&printed);
        let is_last = !output_of(number + 1).exists();
        if is_last && !all_ran.exists() {
            let how = match ended {
                None => format!("it did not end within {limit:?}"),
                Some(status) if status.success() => format!("it ended the shell ({status})"),
                Some(status) => format!("it failed ({status})"),
            };
            problems.push(format!("{}: {how}, having printed:\n{printed}", page.at(command.block.line)));
        } else if let Some(output) = command.output
            && let Some(difference) = difference(&output.text, &printed)
        {
            problems.push(format!("{}: it prints something else\n{difference}", page.at(output.line)));
        }
    }
    problems
}

/// Runs a script as a reader would who has set everything up; whatever it leaves running is stopped.
async fn run_in_a_fresh_folder(script: &str, limit: Duration) -> Option<ExitStatus> {
    let home = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let binary = cargo_bin!("planhat-sync").parent().unwrap().display().to_string();
    let path: Vec<String> =
        [Some(binary), std::env::var("PG_BINDIR").ok(), std::env::var("PATH").ok()].into_iter().flatten().collect();
    let mut shell = Command::new("bash")
        .args(["-c", script])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", path.join(":"))
        .env("LANG", "C.UTF-8")
        .env("DATABASE_URL", fresh_database().await)
        .env("PLANHAT_API_URL", simulator.url())
        .env("PLANHAT_API_TOKEN", simulator.token())
        // The simulated Planhat has no quota. Its records do not get older, so neither does the history.
        .env("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
        .env("PLANHAT_SYNC__SYNC__HISTORY", format!("{}days", (Utc::now() - at(TODAY)).num_days() + FOUR_YEARS))
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let ended = ended_in_time(limit, &mut shell).await;
    let stop = Command::new("kill").args(["-KILL", "--", &format!("-{}", shell.id())]).stderr(Stdio::null()).status();
    stop.unwrap();
    end(&mut shell);
    ended
}

/// The fixtures, with a product that cannot be stored.
fn workspace() -> Workspace {
    let fixtures = Workspace::from_fixtures();
    let mut products = fixtures.records("products");
    products.push(json!({"name": "A product without an id", "price": 7}));
    fixtures.with("products", products)
}

// SQL

#[tokio::test(flavor = "multi_thread")]
async fn every_tested_statement_of_a_page_works() {
    let sync = synced_twice().await;
    let mut problems = Vec::new();
    for page in pages_in(&project()) {
        problems.extend(problems_of_statements(&page, &sync).await);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tested_statement_that_fails_or_finds_nothing_is_reported() {
    let sync = synced_twice().await;
    let problems = async |text: &str| problems_of_statements(&Page::parse(Path::new("a.md"), text), &sync).await;
    let works = "```sql tested\ncreate role a_reader_of_pages; select 1 where false;\ngrant usage on schema planhat to a_reader_of_pages\n```\n\
                 ```sql tested rows\nselect 1 from pg_roles where rolname = 'a_reader_of_pages'; select distinct kind from planhat.actions;\n```\n";
    assert_eq!(problems(works).await, [""; 0]);
    // What a page changes is gone.
    let gone = "```sql tested rows\nselect 1; select 1 from pg_roles where rolname = 'a_reader_of_pages'\n```\n";
    assert_eq!(problems(gone).await, ["a.md:1: statement 2 returns no rows"]);
    let wrong = "# A\n```sql tested\nselect 1;\nselect nam\n  from planhat.companies;\n```\n";
    assert_eq!(problems(wrong).await, ["a.md:4: column \"nam\" does not exist"]);
    let kinds = ["created", "updated", "deleted"].map(|kind| format!("select 1 from planhat.actions where kind = '{kind}';"));
    assert_eq!(problems(&format!("```sql tested rows\n{}\n```\n", kinds.join("\n"))).await, [""; 0]);
}

/// Every object of the fixtures, as it was a day ago and as it is, so that there are actions of each kind.
async fn synced_twice() -> TestSync {
    let objects: Vec<&'static Object> = catalog::OBJECTS.iter().collect();
    let now = workspace();
    let (mut companies, mut licenses) = (now.records("companies"), now.records("licenses"));
    companies[0]["phase"] = json!("a phase that has passed");
    licenses.push(json!({"_id": "64b0000000000000000000ff", "companyId": companies[0]["_id"], "mrr": 12.50}));
    let (company, present) = (companies[0]["_id"].as_str().unwrap().to_owned(), now.records("companies").remove(0));

    let mut sync = TestSync::new(now.with("companies", companies).with("licenses", licenses)).await;
    sync.now = day(-1);
    sync.run(Mode::Incremental, &objects).await;
    sync.now = day(0);
    sync.simulator.edit("companies", &company, day(0), |company| company.clone_from(present.as_object().unwrap()));
    sync.simulator.delete("licenses", "64b0000000000000000000ff");
    sync.run(Mode::Full, &objects).await;
    sync
}

/// Runs all tested statements of a page, and takes back what they have changed.
async fn problems_of_statements(page: &Page, sync: &TestSync) -> Vec<String> {
    let url = sync.store.pool().connect_options().to_url_lossy().to_string();
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut all = database.begin().await.unwrap();
    let mut problems = Vec::new();
    for tested in tested_blocks(page).unwrap_or_else(|wrong| panic!("{wrong}")) {
        let Kind::Sql { has_rows } = tested.kind else { continue };
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(tested.block.text.clone())).fetch_many(&mut *all);
        match in_time(&page.at(tested.block.line), statements.try_collect::<Vec<_>>()).await {
            Ok(answers) if has_rows => {
                let rows = answers.split(Either::is_left).map(<[_]>::len);
                let statements = answers.iter().filter(|answer| answer.is_left()).count();
                let without_rows = rows.take(statements).enumerate().filter(|(_, rows)| *rows == 0);
                let place = page.at(tested.block.line);
                problems.extend(without_rows.map(|(number, _)| format!("{place}: statement {} returns no rows", number + 1)));
            }
            Ok(_) => {}
            Err(error) => {
                problems.push(failure(page, tested.block, &error));
                // The transaction does nothing more.
                break;
            }
        }
    }
    problems
}

/// What PostgreSQL says, with the line of the page that it means.
fn failure(page: &Page, block: &Block, error: &sqlx::Error) -> String {
    let Some(error) = error.as_database_error().map(|error| error.downcast_ref::<PgDatabaseError>()) else {
        return format!("{}: {error}", page.at(block.line));
    };
    let line = match error.position() {
        Some(PgErrorPosition::Original(position)) => {
            1 + block.text.chars().take(position.saturating_sub(1)).filter(|char| *char == '\n').count()
        }
        _ => 0,
    };
    format!("{}: {}", page.at(block.line + line), error.message())
}

// Settings

#[test]
fn every_tested_settings_file_of_a_page_is_taken() {
    let problems: Vec<String> = pages_in(&project()).iter().flat_map(problems_of_settings).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn a_tested_settings_file_that_is_not_taken_is_reported() {
    let problems = |text: &str| problems_of_settings(&Page::parse(Path::new("a.md"), text));
    let works = "```toml tested\n[planhat]\ntoken_file = \"/nowhere\"\n[objects.endusers]\nhash = [\"email\"]\n```\n";
    assert_eq!(problems(works), [""; 0]);
    let unknown = problems("\n```toml tested\n[planhat]\npage_siz = 1\n```\n");
    assert!(unknown[0].starts_with("a.md:2: unknown setting \"planhat.page_siz\""), "{unknown:?}");
    let invalid = problems("```toml tested\n[sync]\nlookback = \"0s\"\n```\n");
    assert!(invalid[0].contains("sync.lookback"), "{invalid:?}");
}

fn problems_of_settings(page: &Page) -> Vec<String> {
    let tested = tested_blocks(page).unwrap_or_else(|wrong| panic!("{wrong}"));
    let files = tested.into_iter().filter(|tested| matches!(tested.kind, Kind::Toml));
    let problem = |tested: TestedBlock<'_>| {
        let folder = folder_with(&[("config.toml", &tested.block.text)]);
        let loaded = config::load(Some(&folder.path().join("config.toml")), secrets_of(&tested.block.text));
        let error = match loaded {
            // The files with the tokens of workspaces are not there, which is no mistake of the page.
            Ok(installation) => {
                let errors = installation.workspaces.into_iter().filter_map(|workspace| workspace.settings.err());
                errors.into_iter().find(|error| !matches!(error.root(), SettingsError::SecretFile { .. }))?
            }
            Err(error) => error,
        };
        Some(format!("{}: {:#}", page.at(tested.block.line), anyhow::Error::new(error)))
    };
    files.filter_map(problem).collect()
}

/// The secrets that a settings file takes from files, which are not there, as variables: these take precedence.
fn secrets_of(settings: &str) -> HashMap<String, String> {
    let mut variables = HashMap::from([
        ("HOME".to_owned(), "/home/ann".to_owned()),
        // A file with rules needs a key, and may leave that to the environment.
        ("PLANHAT_SYNC__PRIVACY__HASH_KEY".to_owned(), "sixteen or more characters".to_owned()),
    ]);
    for (section, settings) in toml::from_str::<toml::Table>(settings).into_iter().flatten() {
        for key in settings.as_table().into_iter().flat_map(toml::Table::keys) {
            let Some(secret) = key.strip_suffix("_file").filter(|secret| *secret != "password") else { continue };
            let value = if section == "database" { "postgres://user@host/database" } else { "https://example.org/0123456789" };
            let variable = format!("PLANHAT_SYNC__{}__{}", section.to_uppercase(), secret.to_uppercase());
            variables.insert(variable, value.to_owned());
        }
    }
    variables
}
