//! What is documented or declared has its column, its name and its type before any value arrives, and whatever arrives first.

use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::rules::{FieldMap, Rule, Rules};
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_store::ObjectStatus;
use planhat_sync::pull::Mode;
use serde_json::{Map, Value, json};
use sqlx::Connection as _;

use crate::cli::Tool;
use crate::harness::{TestSync, day, written};

fn field(parent: &str, name: &str, kind: &str) -> Value {
    json!({"_id": format!("{parent} {name}"), "parent": parent, "name": name, "type": kind})
}

/// Companies with a name alone, and fields that nobody has filled in.
fn companies_with_declared_fields() -> Workspace {
    let fields = vec![
        field("Company", "Seats", "number"),
        field("company", "Modules", "multipicklist"),
        field("Company", "Sponsor", "team member"),
        field("EndUser", "Tier", "list"),
    ];
    Workspace::empty().with("companies", vec![json!({"_id": "c", "name": "Acme"})]).with("customfields", fields)
}

/// Excludes these properties of an object.
fn exclude(sync: &mut TestSync, object: &'static str, names: &[&str]) {
    let mut fields = FieldMap::default();
    names.iter().for_each(|name| _ = fields.insert(name, Rule::Exclude));
    sync.limits.rules.insert(object, Rules::new(fields, None));
}

const COLUMNS_OF_COMPANIES: &str = "select string_agg(attname, ' ' order by attname) from pg_attribute
    where attrelid = 'planhat.companies'::regclass and attname in ('planhat__mrr', 'planhat__seats__custom') and not attisdropped";

#[tokio::test]
async fn documented_properties_and_declared_fields_without_values_are_columns_of_nulls() {
    let sync = TestSync::new(companies_with_declared_fields()).await;

    sync.sync_one("companies").await;

    let row = "select to_jsonb(r)::text from (select planhat__name, planhat__mrr, planhat__owner, planhat__seats__custom,
        planhat__modules__custom, planhat__sponsor__custom from planhat.companies) r";
    assert_eq!(
        sync.one(row).await,
        r#"{"planhat__mrr": null, "planhat__name": "Acme", "planhat__owner": null, "planhat__seats__custom": null, "planhat__modules__custom": null, "planhat__sponsor__custom": null}"#
    );
    let types = "select string_agg(column_name || ' ' || type, ', ' order by column_name) from planhat_sync.columns where origin = 'custom'";
    assert_eq!(
        sync.one(types).await,
        "planhat__modules__custom jsonb, planhat__seats__custom numeric, planhat__sponsor__custom jsonb",
        "the fields of other objects are theirs"
    );
    let count = "select count(*)::text from planhat_sync.columns where object = 'companies' and origin = 'property'";
    assert_eq!(sync.one(count).await, catalog::object("companies").unwrap().documented().count().to_string());
}

#[tokio::test]
async fn a_table_gets_missing_columns_with_the_next_sync_and_no_row_is_written_again() {
    let fields = vec![field("Asset", "Seats", "number")];
    let workspace = Workspace::empty().with("assets", vec![json!({"_id": "a", "name": "Pump"})]).with("customfields", fields);
    let mut sync = TestSync::new(workspace).await;
    exclude(&mut sync, "assets", &["value", "custom"]);
    sync.sync_one("assets").await;
    let columns = "select string_agg(attname, ' ' order by attnum) from pg_attribute where attrelid = 'planhat.assets'::regclass
        and attname in ('planhat__value', 'planhat__seats__custom')";
    assert_eq!(sync.one(columns).await, "");
    let version = "select concat_ws(' ', xmin, _row_hash, _synced_at) from planhat.assets";
    let before = sync.one(version).await;
    sync.limits.rules.clear();

    let second = sync.sync_one("assets").await;

    assert_eq!(second.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one(columns).await, "planhat__value planhat__seats__custom");
    assert_eq!(sync.one(version).await, before);
    let gaps =
        "select count(*)::text from (select position - row_number() over (order by position) as gap from planhat_sync.columns
        where object = 'assets') g where gap <> -1";
    assert_eq!(sync.one(gaps).await, "0");
}

#[tokio::test]
async fn a_reader_in_the_way_of_columns_without_values_delays_them_and_nothing_else() {
    let mut sync = TestSync::new(companies_with_declared_fields()).await;
    exclude(&mut sync, "companies", &["mrr"]);
    sync.sync_one("companies").await;
    sync.limits.rules.clear();
    let mut reader = sync.store.pool().begin().await.unwrap();
    sqlx::query("select count(*) from planhat.companies").execute(&mut *reader).await.unwrap();
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("name".into(), json!("Acme Ltd")));

    let delayed = sync.sync_one("companies").await;

    assert_eq!((delayed.run.status, delayed.run.figures.updated), (ObjectStatus::Succeeded, 1), "{delayed:?}");
    assert_eq!(sync.one(COLUMNS_OF_COMPANIES).await, "planhat__seats__custom");
    reader.rollback().await.unwrap();
    sync.sync_one("companies").await;
    assert_eq!(sync.one(COLUMNS_OF_COMPANIES).await, "planhat__mrr planhat__seats__custom");
}

#[tokio::test]
async fn a_database_that_refuses_new_columns_is_synced_without_those_that_have_no_values() {
    let mut sync = TestSync::new(companies_with_declared_fields()).await;
    exclude(&mut sync, "companies", &["mrr"]);
    sync.sync_one("companies").await;
    sync.limits.rules.clear();
    let refuse = "create function public.refuse() returns event_trigger language plpgsql as
            $$ begin raise exception 'ask the database team'; end $$;
        create event trigger refuse on ddl_command_start when tag in ('ALTER TABLE') execute function public.refuse()";
    sqlx::raw_sql(refuse).execute(sync.store.pool()).await.unwrap();
    sync.simulator.edit("companies", "c", day(0), |company| _ = company.insert("name".into(), json!("Acme Ltd")));

    let refused = sync.sync_one("companies").await;

    assert_eq!((refused.run.status, refused.run.figures.updated), (ObjectStatus::Succeeded, 1), "{refused:?}");
    assert_eq!(sync.one(COLUMNS_OF_COMPANIES).await, "planhat__seats__custom");
}

#[tokio::test]
async fn a_dropped_column_without_values_is_recreated() {
    let sync = TestSync::new(companies_with_declared_fields()).await;
    sync.sync_one("companies").await;
    sqlx::raw_sql("alter table planhat.companies drop planhat__mrr").execute(sync.store.pool()).await.unwrap();

    sync.sync_one("companies").await;

    assert_eq!(sync.one(COLUMNS_OF_COMPANIES).await, "planhat__mrr planhat__seats__custom");
}

#[tokio::test]
async fn thousands_of_declared_fields_leave_their_columns_to_those_that_have_values() {
    let declared = (0..3000).map(|number| field("Company", &format!("F{number:04}"), "number")).collect();
    let filled: Map<String, Value> = (2000..3000).map(|number| (format!("F{number:04}"), json!(number))).collect();
    let company = json!({"_id": "c", "name": "Acme", "custom": filled});
    let sync = TestSync::new(Workspace::empty().with("companies", vec![company]).with("customfields", declared)).await;

    let first = sync.sync_one("companies").await;
    let second = sync.sync_one("companies").await;

    assert_eq!((first.run.figures.inserted, second.run.figures.updated), (1, 0));
    let custom =
        "select concat_ws(' ', count(*), min(planhat_name), max(planhat_name)) from planhat_sync.columns where origin = 'custom'";
    assert_eq!(sync.one(custom).await, "1000 F2000 F2999");
    sync.assert_equals_workspace(&[catalog::object("companies").unwrap()]).await;
}

#[tokio::test]
async fn documented_properties_have_the_same_columns_whichever_arrives_first() {
    let deal = |id: &str, property: &str| json!({"_id": id, property: "USD"});
    let mut found = Vec::new();
    for order in [["currency", "_currency"], ["_currency", "currency"]] {
        let deals = order.iter().enumerate().map(|(index, property)| deal(&format!("{index}"), property)).collect();
        let mut sync = TestSync::new(Workspace::empty().with("opportunities", deals)).await;
        sync.limits.pages.size = RowsPerPage::Fixed(2);
        sync.sync_one("opportunities").await;
        let columns = "select string_agg(planhat_name || ' ' || column_name || ' ' || type, ', ' order by planhat_name)
            from planhat_sync.columns where planhat_name in ('currency', '_currency')";
        found.push(sync.one(columns).await);
        sync.assert_equals_workspace(&[catalog::object("opportunities").unwrap()]).await;
    }
    assert_eq!(found[0], "_currency planhat__currency_code text, currency planhat__currency text");
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn one_property_is_compared_across_tables_without_knowing_what_each_endpoint_sends() {
    let currency = json!({"_id": "64b0000000000000000000d1", "symbol": "USD", "rate": 1});
    let owner = json!({"_id": "64b0000000000000000000a1", "nickName": "Sam"});
    let workspace = Workspace::empty()
        .with("licenses", vec![json!({"_id": "l", "_currency": "USD"}), json!({"_id": "m", "_currency": currency})])
        .with("opportunities", vec![json!({"_id": "o", "_currency": "USD"})])
        .with("companies", vec![json!({"_id": "c", "owner": owner}), json!({"_id": "d", "owner": "64b0000000000000000000a1"})])
        .with("conversations", vec![json!({"_id": "v", "owner": "64b0000000000000000000a1"})]);
    let sync = TestSync::new(workspace).await;

    let summary = sync.sync().await;

    let joined = "select string_agg(l.planhat__id || o.planhat__id, ' ') from planhat.licenses l
        join planhat.opportunities o using (planhat__currency_code)";
    assert_eq!(sync.one(joined).await, "lo");
    let misfit = "select _misfits ->> 'planhat__currency_code' from planhat.licenses where planhat__id = 'm'";
    assert_eq!(serde_json::from_str::<Value>(&sync.one(misfit).await).unwrap(), currency);
    let owners = "select string_agg(distinct type, ' ') from planhat_sync.columns where planhat_name = 'owner'";
    assert_eq!(sync.one(owners).await, "jsonb");
    let joined = "select count(*)::text from planhat.companies c join planhat.conversations v using (planhat__owner)";
    assert_eq!(sync.one(joined).await, "1");
    assert_eq!(summary.objects.iter().map(|object| object.run.figures.misfits).sum::<i64>(), 1);
}

#[tokio::test]
async fn a_number_that_only_identifies_something_is_stored_as_it_is_written() {
    let invoices = vec![
        json!({"_id": "i", "invoiceNo": "INV-2026-17", "amountTotal": 990}),
        json!({"_id": "j", "invoiceNo": 17}),
        json!({"_id": "k", "invoiceNo": "0017"}),
    ];
    let sync = TestSync::new(Workspace::empty().with("invoices", invoices)).await;

    let summary = sync.run(Mode::Incremental, &[catalog::object("invoices").unwrap()]).await.objects.remove(0);

    assert_eq!(summary.run.figures.misfits, 0);
    let numbers = "select string_agg(planhat__invoice_no, ' ' order by planhat__id) from planhat.invoices";
    assert_eq!(sync.one(numbers).await, "INV-2026-17 17 0017");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_the_columns_that_a_sync_makes_and_schema_shows_them() {
    let simulator = Simulator::start(companies_with_declared_fields(), Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator)
        .await
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies")
        .set("PLANHAT_SYNC__OBJECTS__COMPANIES__EXCLUDE", "mrr,custom.Modules")
        .set("PLANHAT_SYNC__OBJECTS__COMPANIES__REDACT", "arr");
    let announced = tool.run(&["sync", "--dry-run", "--json"]).json();
    let announced: Vec<(Value, Value)> = announced["objects"][0]["preview"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["column"].clone(), column["type"].clone()))
        .collect();
    let told = tool.run(&["sync", "--dry-run"]).all();
    assert!(told.contains("more (--json shows all)"), "{told}");

    assert_eq!(tool.run(&["sync"]).code, 0);

    let shown = tool.run(&["schema", "companies", "--json"]).json();
    let mut shown: Vec<(Value, Value)> =
        shown[0]["columns"].as_array().unwrap().iter().map(|column| (column["column"].clone(), column["type"].clone())).collect();
    let names =
        |columns: &[(Value, Value)]| columns.iter().map(|(name, _)| name.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(!names(&shown).iter().any(|name| ["planhat__mrr", "planhat__modules__custom"].contains(&name.as_str())));
    assert!(shown.contains(&(json!("planhat__arr"), json!("text"))), "what is masked is a text: {shown:?}");
    let mut announced_with_id = announced;
    if !names(&announced_with_id).contains(&"planhat__id".to_owned()) {
        announced_with_id.push((json!("planhat__id"), json!("text")));
    }
    announced_with_id.sort_by_key(|(name, _)| name.to_string());
    shown.sort_by_key(|(name, _)| name.to_string());
    assert_eq!(announced_with_id, shown);

    let sql = tool.run(&["schema", "companies", "--sql"]).stdout;
    let mut other = sqlx::PgConnection::connect(&crate::harness::fresh_database().await).await.unwrap();
    sqlx::raw_sql("create schema planhat").execute(&mut other).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut other).await.unwrap();
    sqlx::raw_sql("select planhat__arr, planhat__seats__custom from planhat.companies").execute(&mut other).await.unwrap();
    let again = tool.run(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(again["objects"][0]["preview"]["columns"], json!([]), "a second dry run finds nothing to add");
}

/// Companies with sets and lists, an end user, and what is declared of their fields.
async fn with_sets() -> TestSync {
    let company = json!({"_id": "c", "name": "Acme", "tags": ["b", "a"], "followers": ["u2", "u1"], "csmScoreLog": [1, 2],
        "updatedAt": written(day(-3)), "custom": {"Modules": ["B", "A"], "Steps": ["2", "1"]}});
    let fields = vec![field("Company", "Modules", "multipicklist"), field("Company", "Seats", "number")];
    let sync = TestSync::new(Workspace::empty().with("companies", vec![company]).with("customfields", fields)).await;
    sync.sync_one("companies").await;
    sqlx::raw_sql("delete from planhat.actions").execute(sync.store.pool()).await.unwrap();
    sync
}

const ACTIONS: &str = "select string_agg(kind || ' ' || changes::text, E'\n' order by id) from planhat.actions";
const SETS: &str =
    "select concat_ws(' ', planhat__name, planhat__tags, planhat__followers, planhat__modules__custom) from planhat.companies";

/// Gives the company these values, at no time of its own.
fn change(sync: &TestSync, values: Value) {
    sync.simulator.edit_source(|source| _ = source.change("companies", "c", |company| fill_in(company, &values)));
}

fn fill_in(company: &mut Map<String, Value>, values: &Value) {
    for (name, value) in values.as_object().unwrap() {
        match name.strip_prefix("custom.") {
            Some(field) => company["custom"][field] = value.clone(),
            None => _ = company.insert(name.clone(), value.clone()),
        }
    }
}

#[tokio::test]
async fn a_set_in_another_order_is_no_change_and_a_list_in_another_order_is_one() {
    let sync = with_sets().await;
    let reordered = json!({"tags": ["a", "b"], "followers": ["u1", "u2"], "custom.Modules": ["A", "B"]});

    sync.simulator.edit("companies", "c", day(-2), |company| fill_in(company, &reordered));
    let edited = sync.sync_one("companies").await;
    assert_eq!(edited.run.figures.updated, 1, "the row has the new time");
    assert_eq!(sync.one("select planhat__updated_at::date::text from planhat.companies").await, "2026-11-19");
    assert_eq!(sync.one(ACTIONS).await, "");
    assert_eq!(sync.one(SETS).await, r#"Acme ["b", "a"] ["u2", "u1"] ["B", "A"]"#, "as first seen");

    change(&sync, json!({"tags": ["b", "a"]}));
    assert_eq!(sync.full_sync_one("companies").await.run.figures.updated, 0, "without a new time nothing is written");
    for (changed, expected) in [
        (json!({"name": "Acme Ltd", "tags": ["a", "b"]}), r#"updated {"planhat__name": {"new": "Acme Ltd", "old": "Acme"}}"#),
        (json!({"tags": ["a", "a", "b"]}), r#"updated {"planhat__tags": {"new": ["a", "a", "b"], "old": ["b", "a"]}}"#),
        (json!({"csmScoreLog": [2, 1]}), r#"updated {"planhat__csm_score_log": {"new": [2, 1], "old": [1, 2]}}"#),
        (json!({"custom.Steps": ["1", "2"]}), r#"updated {"planhat__steps__custom": {"new": ["1", "2"], "old": ["2", "1"]}}"#),
        (
            json!({"custom.Modules": ["C", "A", "B"]}),
            r#"updated {"planhat__modules__custom": {"new": ["C", "A", "B"], "old": ["B", "A"]}}"#,
        ),
    ] {
        change(&sync, changed.clone());
        sync.full_sync_one("companies").await;
        assert_eq!(sync.one(ACTIONS).await, expected, "{changed}");
        sqlx::raw_sql("delete from planhat.actions").execute(sync.store.pool()).await.unwrap();
    }
    assert_eq!(sync.one(SETS).await, r#"Acme Ltd ["a", "a", "b"] ["u2", "u1"] ["C", "A", "B"]"#);
}

#[tokio::test]
async fn a_set_that_became_null_or_another_shape_is_a_change() {
    let sync = with_sets().await;
    for (value, expected) in [
        (json!(null), r#"updated {"planhat__tags": {"new": null, "old": ["b", "a"]}}"#),
        (json!([]), r#"updated {"planhat__tags": {"new": [], "old": null}}"#),
        (json!({"a": 1}), r#"updated {"planhat__tags": {"new": {"a": 1}, "old": []}}"#),
        (json!([{"id": 1}, {"id": 2}]), r#"updated {"planhat__tags": {"new": [{"id": 1}, {"id": 2}], "old": {"a": 1}}}"#),
    ] {
        change(&sync, json!({"tags": value}));
        sync.full_sync_one("companies").await;
        assert_eq!(sync.one(ACTIONS).await, expected);
        sqlx::raw_sql("delete from planhat.actions").execute(sync.store.pool()).await.unwrap();
    }
    change(&sync, json!({"tags": [{"id": 2}, {"id": 1}]}));
    assert_eq!(sync.full_sync_one("companies").await.run.figures.updated, 0);
}

#[tokio::test]
async fn declarations_that_cannot_be_read_for_a_moment_have_no_row_written_again() {
    let sync = with_sets().await;
    change(&sync, json!({"custom": {"Modules": ["B", "A"]}}));
    sync.full_sync_one("companies").await;
    sync.simulator.forbid("customfields");

    assert_eq!(sync.full_sync_one("companies").await.run.figures.updated, 0);
    sync.simulator.allow("customfields");
    assert_eq!(sync.full_sync_one("companies").await.run.figures.updated, 0);
}
