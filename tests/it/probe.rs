//! `check --probe`: what is learned of how Planhat answers, where it is kept, and what a report of it says and does not say.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use planhat_simulator::{
    DimensionData, HiddenListing, Options, OverLimit, Quota, ScriptedAnswer, Simulator, Sorts, Workspace, WorkspaceReport,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::cli::Tool;

async fn start(workspace: Workspace) -> Simulator {
    Simulator::start(workspace, Options::default()).await.unwrap()
}

/// What `check` says of capabilities, without the time of the proof and the address.
fn capabilities(checked: &str) -> String {
    let lines = checked.lines().filter(|line| line[6..].starts_with("capability"));
    let text = lines.map(|line| line.replacen("capability     ", "", 1)).collect::<Vec<_>>().join("\n");
    // `2026-11-27 08:00 UTC`
    let mut parts = text.split(" UTC").map(str::to_owned).collect::<Vec<_>>();
    let last = parts.len() - 1;
    parts[..last].iter_mut().for_each(|part| part.replace_range(part.len() - 16.., "TIME"));
    parts.join("")
}

/// A fresh report of a workspace.
async fn report_of(simulator: &Simulator) -> String {
    let mut tool = Tool::for_workspace(simulator).await;
    let checked = tool.run(&["check", "--probe", "--report", "-"]);
    assert!(checked.stderr.contains("written to stdout"), "{}", checked.all());
    checked.stdout
}

/// The report without what differs each time: how long answers took and how long they were.
fn comparable(report: &str) -> Value {
    let mut report: Value = serde_json::from_str(report).unwrap();
    fn forget(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("milliseconds");
                members.remove("bytes");
                members.values_mut().for_each(forget);
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    forget(&mut report);
    report
}

/// The fixtures, with more churn than one page is documented to have.
fn with_much_churn() -> Workspace {
    let one = Workspace::from_fixtures().records("churn").remove(0);
    let numbered = (0..1100).map(|number| {
        let mut churn = one.clone();
        churn["_id"] = json!(format!("{number:024x}"));
        churn
    });
    Workspace::from_fixtures().with("churn", numbered.collect())
}

fn oddly(options: &mut Options) {
    options.forbidden.insert("nps".to_owned());
    options.missing.insert("assets".to_owned());
    options.object("endusers").hidden = Some(HiddenListing::Replaces);
    options.object("tasks").hidden = Some(HiddenListing::Adds);
    options.object("companies").sorts = Sorts::IgnoredBy(BTreeSet::from(["lastTouch".to_owned()]));
    options.object("tickets").sorts = Sorts::Ignored;
    options.object("churn").max_limit = Some(700);
    options.dimension_data = DimensionData { whole_workspace: 400, one_company: 200 };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_shows_what_it_proves_and_keeps_it_for_later_checks() {
    let simulator = start(with_much_churn()).await;
    let mut tool =
        Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,endusers,tasks,churn,licenses");
    assert_eq!(tool.run(&["sync"]).code, 0);
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    sqlx::query("delete from planhat_sync.capabilities").execute(&mut database).await.unwrap();
    let probed = tool.run(&["check", "--probe"]);
    assert_eq!(probed.code, 0, "{}", probed.all());
    insta::assert_snapshot!(capabilities(&probed.stdout), @"
    ok    /dimensiondata answers 404 (proven on TIME: 404 without cId; with the cId of a company: 404)
    ok    churn: one call brings up to 1000 records, and not 1001 (proven on TIME: limit=1001 brought 1000 records, and there are more)
    ok    companies: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    endusers: archived=true lists archived records and all others (proven on TIME: of the 6 records on the first page by _id, all that may be there are on the first page with archived=true (8 records))
    ok    endusers: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    tasks: isArchived=true lists archived records alone (proven on TIME: of the 4 records on the first page by _id, none is on the first page with isArchived=true (2 records))
    ok    tasks: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    companies: sort=-lastTouch comes newest first
    ok    endusers: sort=-lastTouch comes newest first
    ok    churn: whether sort=-updatedAt is honoured is not known: no two records with different times were seen
    ok    what a 429 carries is not known: none was seen
    ok    what was proven is stored in planhat_sync.capabilities
    ");

    let checked = tool.run(&["check"]);
    let kept = capabilities(&checked.stdout);
    insta::assert_snapshot!(kept, @"
    ok    /dimensiondata answers 404 (proven on TIME: 404 without cId; with the cId of a company: 404)
    ok    churn: one call brings up to 1000 records, and not 1001 (proven on TIME: limit=1001 brought 1000 records, and there are more)
    ok    companies: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    endusers: archived=true lists archived records and all others (proven on TIME: of the 6 records on the first page by _id, all that may be there are on the first page with archived=true (8 records))
    ok    endusers: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    tasks: isArchived=true lists archived records alone (proven on TIME: of the 4 records on the first page by _id, none is on the first page with isArchived=true (2 records))
    ok    tasks: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ");
    let findings = tool.run(&["check", "--json"]).json();
    let of_tasks = findings.as_array().unwrap().iter().find(|finding| finding["object"] == "tasks").unwrap();
    assert_eq!((&of_tasks["capability"], &of_tasks["value"]), (&json!("hidden"), &json!("replaces")));
    assert!(of_tasks["proven_at"].is_string() && of_tasks["disproof"].is_null(), "{of_tasks}");

    // The workspace answers in another way from now on.
    simulator.set_options(|options| {
        options.object("tasks").hidden = Some(HiddenListing::Adds);
        options.object("companies").sorts = Sorts::Ignored;
        options.object("churn").over_limit = OverLimit::Refused(400);
        options.dimension_data.whole_workspace = 200;
    });
    let probed = tool.run(&["check", "--probe"]);
    assert_eq!(probed.code, 0, "{}", probed.all());
    insta::assert_snapshot!(capabilities(&probed.stdout), @"
    warn  /dimensiondata answers (proven on TIME: 200 without cId; with the cId of a company: 404); on TIME it was otherwise: /dimensiondata answers 404
    ok    churn: one call brings up to 1000 records, and not 1001 (proven on TIME: limit=1001 was refused with 400)
    warn  companies: sort=-updatedAt comes newest first: this was proven on TIME, and disproved on TIME: sort=-updatedAt and sort=updatedAt did not both come in order
    ok    endusers: archived=true lists archived records and all others (proven on TIME: of the 6 records on the first page by _id, all that may be there are on the first page with archived=true (8 records))
    ok    endusers: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    warn  tasks: isArchived=true lists archived records and all others (proven on TIME: of the 4 records on the first page by _id, all that may be there are on the first page with isArchived=true (6 records)); on TIME it was otherwise: tasks: isArchived=true lists archived records alone
    ok    tasks: sort=-updatedAt comes newest first (proven on TIME: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    companies: sort=-lastTouch is ignored: the pages did not come in order
    ok    endusers: sort=-lastTouch comes newest first
    ok    churn: whether sort=-updatedAt is honoured is not known: no two records with different times were seen
    ok    what a 429 carries is not known: none was seen
    ok    what was proven is stored in planhat_sync.capabilities
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_probe_finds_is_only_shown_where_no_schema_is_bound_to_the_workspace() {
    let simulator = start(Workspace::from_fixtures()).await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "tasks");
    let probed = tool.run(&["check", "--probe"]);
    insta::assert_snapshot!(capabilities(&probed.stdout), @"
    ok    tasks: isArchived=true lists archived records alone (proven now: of the 4 records on the first page by _id, none is on the first page with isArchived=true (2 records))
    ok    tasks: sort=-updatedAt comes newest first (proven now: sort=-updatedAt began with a newer record than sort=updatedAt, each page in order)
    ok    tasks: limit=10001 is not refused; the listing is too short to see whether it is clamped
    ok    what a 429 carries is not known: none was seen
    ok    /dimensiondata answers 404 (proven now: 404 without cId)
    warn  what was proven is not stored: schema planhat is not bound to this workspace; a sync binds it
    ");
    tool.put("DATABASE_URL", Some("postgres://u:p@127.0.0.1:1/d"));
    let probed = tool.run(&["check", "--probe"]);
    assert!(probed.stdout.contains("not stored: the database cannot be used"), "{}", probed.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_429_a_probe_asks_nothing_more_and_says_what_it_carried() {
    let simulator = start(Workspace::from_fixtures()).await;
    // `check` itself asks once for each object.
    let calls = 2;
    let quota = Quota { calls, within: std::time::Duration::from_secs(3600), sends_retry_after: true };
    simulator.set_options(|options| options.quota = Some(quota));
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "tasks");
    let probed = tool.run(&["check", "--probe"]);
    assert_eq!(simulator.requests().len(), calls + 1, "{}", probed.all());
    insta::assert_snapshot!(capabilities(&probed.stdout), @"
    ok    tasks: what isArchived=true does is not known: there was no answer
    ok    tasks: whether sort=-updatedAt is honoured is not known: there was no answer
    ok    what a limit over the documented maximum does is not known: no object has a record, or there was no answer
    ok    a 429 carries Retry-After (proven now: a 429 in answer to a probe)
    ok    whether /dimensiondata answers is not known: there was no answer
    warn  what was proven is not stored: schema planhat is not bound to this workspace; a sync binds it
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_a_probe_has_brought_about_is_not_taken_for_a_database_without_an_answer() {
    let simulator = start(Workspace::from_fixtures()).await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "tasks");
    assert_eq!(tool.run(&["sync"]).code, 0);
    simulator.rotate_token("rotated");
    tool.put("PLANHAT_API_TOKEN", Some("rotated"));
    let quota = Quota { calls: 2, within: std::time::Duration::from_secs(3600), sends_retry_after: true };
    simulator.set_options(|options| options.quota = Some(quota));
    let probed = tool.run(&["check", "--probe"]);
    assert!(
        probed.stdout.contains("Planhat did not answer in time whether schema planhat belongs to this workspace"),
        "{}",
        probed.all()
    );
    assert!(!probed.stdout.contains("fail  database"), "{}", probed.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_planhat_behaves_as_a_report_of_another_one_says() {
    let odd = start(with_much_churn()).await;
    odd.set_options(oddly);
    let report = report_of(&odd).await;
    let read: WorkspaceReport = serde_json::from_str(&report).unwrap();
    assert_eq!(read.objects["churn"].over_limit.unwrap().asked, 1001);

    let simulated = Simulator::start(Workspace::of_report(&read), Options::of_report(&read)).await.unwrap();
    let again = report_of(&simulated).await;
    let (first, second) = (comparable(&report), comparable(&again));
    for (object, found) in first["objects"].as_object().unwrap() {
        assert_eq!(found, &second["objects"][object], "{object}");
    }
    assert_eq!(first, second);
    assert_eq!(second["objects"]["churn"]["over_limit"], json!({"asked": 1001, "answer": {"clamped_to": 700}}));
    assert_eq!(second["objects"]["companies"]["sorts"], json!({"lastTouch": "ignored", "updatedAt": "honoured"}));
    assert_eq!(second["objects"]["endusers"]["hidden"], "replaces");
    assert_eq!(second["objects"]["nps"]["status"], 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_a_new_file_that_nobody_else_may_read() {
    let simulator = start(Workspace::from_fixtures()).await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "tasks");
    let file = tool.home.path().join("report.json");
    let path = file.to_str().unwrap().to_owned();
    let written = tool.run(&["check", "--probe", "--report", &path]);
    assert_eq!(written.code, 0, "{}", written.all());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let report: WorkspaceReport = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(report.objects["tasks"].records.count, 6);

    simulator.forget_requests();
    let refused = tool.run(&["check", "--probe", "--report", &path]);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.stderr.contains("report.json exists"), "{}", refused.stderr);
    assert_eq!(simulator.requests(), [], "nothing is asked for nothing");
    assert_eq!(tool.run(&["check", "--probe", "--json", "--report", "-"]).code, 2);
    assert_eq!(tool.run(&["check", "--report", &path]).code, 2, "without a probe there is nothing to report");
}

/// Everything in a workspace that must not be in a report of it.
#[derive(Default)]
struct Marked {
    texts: Vec<String>,
}

impl Marked {
    /// Puts a mark into each value. Ids and times stay, since a report may tell them by their shape; they are looked for too.
    fn mark(&mut self, value: &mut Value) {
        let number = self.texts.len();
        match value {
            Value::String(text) if text.len() == 24 => self.texts.push(text.clone()),
            Value::String(text) => {
                *text = format!("mk{number}{text}");
                self.texts.push(text.clone());
            }
            Value::Number(_) => {
                *value = json!(700_000_000 + number);
                self.texts.push(value.to_string());
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mark(item)),
            Value::Object(members) => {
                members.values_mut().for_each(|member| self.mark(member));
                members.insert(format!("mkName{number}"), json!({"mkNested": [{"mkDeeper": "mkInside"}]}));
                self.texts.push(format!("mkName{number}"));
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_no_value_no_id_and_no_name_of_the_workspace() {
    let mut marked = Marked::default();
    let fixtures = Workspace::from_fixtures();
    let objects = ["companies", "endusers", "licenses", "tasks", "tickets", "conversations", "users", "issues"];
    let workspace = objects.iter().fold(Workspace::empty(), |workspace, object| {
        let mut records = fixtures.records(object);
        records.iter_mut().for_each(|record| marked.mark(record));
        for record in &mut records {
            record["custom"] = json!({"mkCustomField": "mkCustomValue", "mk Deal (EUR)": 4_815_162_342_u64});
        }
        workspace.with(object, records)
    });
    assert!(marked.texts.len() > 1000, "{}", marked.texts.len());
    let token = "mk-token-of-the-workspace";
    let simulator = Simulator::start(workspace, Options { token: token.to_owned(), ..Options::default() }).await.unwrap();
    let ordinary = ScriptedAnswer::json(200, json!([]));
    let answers = [
        ScriptedAnswer::text(503, "text/plain; mk=mkParameter", "mkErrorBody of nobody"),
        ScriptedAnswer::json(200, json!([{"_id": "mkOddId", "mkOdd": {"mkOddNested": 1}}]))
            .with_header("x-request-id", "mkRequest")
            .with_header("set-cookie", "mkCookie=mkSession")
            .with_header("retry-after", "mkSoon")
            .with_header("x-ratelimit-remaining", "mkLeft")
            .with_header("x-mk4711", "1"),
    ];
    // The first request is of `check` itself.
    for (object, answer) in ["nps", "opportunities"].into_iter().zip(answers) {
        simulator.answer_next(object, vec![ordinary.clone(), answer]);
    }

    let report = report_of(&simulator).await;
    let address = simulator.url().replace("http://", "");
    let others = ["mk", "4815162342", &address, "127.0.0.1"];
    let (in_lower_case, texts) = (report.to_lowercase(), marked.texts.iter().map(String::as_str));
    for text in texts.chain(others) {
        assert!(!in_lower_case.contains(&text.to_lowercase()), "{text} is in the report: {report}");
    }
    // It is no empty report that has none of them.
    let read: WorkspaceReport = serde_json::from_str(&report).unwrap();
    assert_eq!(read.objects["companies"].records.members["custom"].other_members.names, 2);
    let of_opportunities = &read.objects["opportunities"];
    assert_eq!((of_opportunities.records.count, read.objects["nps"].status), (1, Some(503)));
    assert!(of_opportunities.answers[0].headers.contains_key("set-cookie"));
    assert!(read.objects["endusers"].records.members["email"].count > 3);
}
