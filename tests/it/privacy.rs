//! Privacy rules: masked values are stored and printed nowhere. And ignored properties: their changes alone update no row.

use std::collections::HashMap;

use planhat_model::catalog;
use planhat_model::rules::FieldMap;
use planhat_model::rules::{Rule, Rules};
use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use planhat_store::ObjectStatus;
use planhat_sync::pull::Mode;
use planhat_sync::run;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sqlx::{ConnectOptions as _, PgPool};

use crate::actions::{assert_actions_tell_the_versions, keep_versions};
use crate::cli::Tool;
use crate::harness::{StoredTable, TestSync, day, written};
use crate::waiting::{ended, eventually};
use crate::workspaces::awkward_names;

const KEY: &str = "a key of these tests alone";
/// Of which every value is made that nobody may see.
const MARKER: &str = "nobody-may-see-this";

fn rules(said: &[(&str, Rule)]) -> Rules {
    let mut fields = FieldMap::default();
    for (name, rule) in said {
        fields.insert(name, *rule);
    }
    Rules::new(fields, Some(&KEY.into()))
}

fn ignore_changes(names: &[&str]) -> FieldMap<()> {
    let mut fields = FieldMap::default();
    for name in names {
        fields.insert(name, ());
    }
    fields
}

/// Where a text stands in what the tool keeps: in a row of any table or view of its two schemas, or in the name of
/// anything.
pub(crate) async fn places_of(pool: &PgPool, text: &str) -> Vec<String> {
    let relations = "select format('%I.%I', nspname, relname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname in ('planhat', 'planhat_sync') and relkind in ('r', 'v')";
    let relations: Vec<String> = sqlx::query_scalar(relations).fetch_all(pool).await.unwrap();
    assert!(relations.len() > 10 && relations.contains(&"planhat.timeline".to_owned()), "{relations:?}");
    let mut places = Vec::new();
    for relation in relations {
        let rows = sqlx::AssertSqlSafe(format!("select to_json(t)::text from {relation} t where strpos(t::text, $1) > 0"));
        let rows: Vec<String> = sqlx::query_scalar(rows).bind(text).fetch_all(pool).await.unwrap();
        places.extend(rows.into_iter().map(|row| format!("{relation}: {row}")));
    }
    places
}

async fn assert_nobody_sees(sync: &TestSync) {
    assert_eq!(places_of(sync.store.pool(), MARKER).await, Vec::<String>::new());
}

/// A marked value of each shape.
fn marked(shape: usize) -> Value {
    match shape % 5 {
        0 => json!(MARKER),
        1 => json!([MARKER, {"deep": MARKER}]),
        2 => json!({MARKER: MARKER}),
        3 => json!(format!("{MARKER}\0 \u{1f389}")),
        _ => json!(format!("2026-11-01T00:00:00.000Z {MARKER}")),
    }
}

#[tokio::test]
async fn excluded_properties_get_no_column_and_masked_ones_a_text_column() {
    let contact = |id: &str, phone: Value, email: Value| {
        json!({"_id": id, "phone": phone, "email": email, "nps": 9, "npsDate": written(day(-2)), "name": "Kim",
            "custom": {"Age": 40, "Born": "1980-01-01T00:00:00.000Z", "Tier": "A"}, "updatedAt": written(day(-1))})
    };
    let contacts = vec![
        contact("a", json!("1"), json!("kim@acme.example")),
        contact("b", json!(2), json!("")),
        contact("c", json!([3]), json!(null)),
    ];
    let fields = vec![json!({"_id": "f", "parent": "EndUser", "name": "Age", "type": "number"})];
    let mut sync = TestSync::new(Workspace::empty().with("endusers", contacts).with("customfields", fields)).await;
    sync.limits.rules.insert(
        "endusers",
        rules(&[
            ("phone", Rule::Exclude),
            ("custom.Born", Rule::Exclude),
            ("email", Rule::Hash),
            ("nps", Rule::Hash),
            ("custom.Age", Rule::Redact),
            ("npsDate", Rule::Redact),
        ]),
    );

    let summary = sync.sync_one("endusers").await;

    assert_eq!((summary.run.status, summary.run.figures.misfits), (ObjectStatus::Succeeded, 0));
    let columns = "select string_agg(planhat_name || ' ' || type, ', ' order by column_name) from planhat_sync.columns
        where object = 'endusers' and planhat_name in ('_id', 'phone', 'email', 'nps', 'npsDate', 'name', 'Age', 'Born', 'Tier', 'updatedAt')";
    insta::assert_snapshot!(sync.one(columns).await, @"Age text, email text, _id text, name text, nps text, npsDate text, Tier text, updatedAt timestamptz");
    let rows = "select string_agg(to_jsonb(r)::text, E'\n' order by planhat__id) from (select planhat__id, planhat__nps, planhat__name,
        planhat__email, planhat__nps_date, planhat__updated_at, planhat__age__custom, planhat__tier__custom from planhat.endusers) r";
    let elsewhere = "select count(*)::text from planhat.endusers where coalesce(_misfits, _overflow) is not null";
    assert_eq!(sync.one(elsewhere).await, "0");
    insta::assert_snapshot!(sync.one(rows).await, @r#"
    {"planhat__id": "a", "planhat__nps": "a21f5b2ce57f4323153c83a97e73fd37463da0d402d1553eecc5a176e05787f5", "planhat__name": "Kim", "planhat__email": "53ef6801ac703b8abe921af74702a5ea2136ca780461cb2773e51357635e3b04", "planhat__nps_date": "[redacted]", "planhat__updated_at": "2026-11-20T12:00:00+00:00", "planhat__age__custom": "[redacted]", "planhat__tier__custom": "A"}
    {"planhat__id": "b", "planhat__nps": "a21f5b2ce57f4323153c83a97e73fd37463da0d402d1553eecc5a176e05787f5", "planhat__name": "Kim", "planhat__email": "", "planhat__nps_date": "[redacted]", "planhat__updated_at": "2026-11-20T12:00:00+00:00", "planhat__age__custom": "[redacted]", "planhat__tier__custom": "A"}
    {"planhat__id": "c", "planhat__nps": "a21f5b2ce57f4323153c83a97e73fd37463da0d402d1553eecc5a176e05787f5", "planhat__name": "Kim", "planhat__email": null, "planhat__nps_date": "[redacted]", "planhat__updated_at": "2026-11-20T12:00:00+00:00", "planhat__age__custom": "[redacted]", "planhat__tier__custom": "A"}
    "#);
}

#[tokio::test]
async fn equal_values_have_equal_hashes_across_tables() {
    let mut sync = TestSync::new(
        Workspace::empty()
            .with("endusers", vec![json!({"_id": "e", "email": "kim@acme.example", "otherEmails": ["kim@acme.example"]})])
            .with("nps", vec![json!({"_id": "n", "email": "kim@acme.example", "euId": "e"})]),
    )
    .await;
    sync.limits.rules.insert("endusers", rules(&[("email", Rule::Hash)]));
    sync.limits.rules.insert("nps", rules(&[("email", Rule::Hash)]));

    sync.sync_one("endusers").await;
    sync.sync_one("nps").await;

    let joined =
        "select n.planhat__id from planhat.endusers join planhat.nps n using (planhat__email) where length(planhat__email) = 64";
    assert_eq!(sync.one(joined).await, "n");
}

#[tokio::test]
async fn with_an_include_list_no_other_property_is_stored() {
    let contact = json!({"_id": "e", "companyId": "c", "name": "Kim", "email": "kim@acme.example", "createdAt": written(day(-9)),
        "updatedAt": written(day(-1)), "custom": {"Tier": "A", "Age": 40}, "somethingNew": 1});
    let mut sync = TestSync::new(Workspace::empty().with("endusers", vec![contact])).await;
    sync.limits.rules.insert("endusers", rules(&[("name", Rule::Include), ("custom.Tier", Rule::Include)]));

    sync.sync_one("endusers").await;

    let columns = "select string_agg(planhat_name, ' ' order by column_name) from planhat_sync.columns where object = 'endusers'";
    assert_eq!(sync.one(columns).await, "_id name Tier");
    // What the tool goes by is taken from the record before, what it tells of it is not.
    assert_eq!(sync.one("select watermark::date::text from planhat_sync.cursors where object = 'endusers'").await, "2026-11-20");
    let actions = "select concat_ws(' ', kind, record_id, company_id, end_user_id, happened_at = seen_at) from planhat.actions";
    assert_eq!(sync.one(actions).await, "created e e t");
}

#[tokio::test]
async fn a_rule_covers_every_field_that_looks_like_its_name() {
    let names =
        ["Gro\u{308}sse", "Gr\u{f6}sse ", "Notes", "Notes ", "\u{a0}Notes\u{200b}", "R\u{e9}sum\u{e9}", "Days\u{a0} left"];
    let contact = |id: &str| {
        let mut contact = json!({"_id": id, "custom": {"notes": "seen"}});
        names.iter().for_each(|name| contact["custom"][*name] = json!(MARKER));
        contact
    };
    let field = |name: &str| json!({"_id": name, "parent": "EndUser", "name": name, "type": "text"});
    let fields = names.iter().map(|name| field(name)).collect();
    let contacts = vec![contact("a"), contact("b")];
    let mut sync = TestSync::new(Workspace::empty().with("endusers", contacts).with("customfields", fields)).await;
    sync.limits.rules.insert(
        "endusers",
        rules(&[
            ("custom.Gr\u{f6}sse", Rule::Exclude),
            ("custom. Notes ", Rule::Exclude),
            ("custom.Re\u{301}sume\u{301}", Rule::Redact),
            ("custom.Days left", Rule::Hash),
        ]),
    );

    sync.sync_one("endusers").await;

    assert_nobody_sees(&sync).await;
    let columns = "select string_agg(column_name, ' ' order by column_name) from planhat_sync.columns where origin = 'custom'";
    assert_eq!(sync.one(columns).await, "planhat__days_left__custom planhat__notes__custom planhat__resume__custom");
    assert_eq!(sync.one("select planhat__notes__custom from planhat.endusers limit 1").await, "seen", "case can be seen");
}

#[tokio::test]
async fn values_with_a_privacy_rule_are_stored_nowhere_whatever_happens_to_their_record() {
    let ruled = [
        ("phone", Rule::Exclude),
        ("email", Rule::Hash),
        ("nps", Rule::Redact),
        ("companyId", Rule::Hash),
        ("somethingNew", Rule::Exclude),
        ("custom.Notes", Rule::Redact),
        ("custom.Age", Rule::Hash),
        ("custom.Gone", Rule::Exclude),
    ];
    let fields = |shape: usize| {
        let mut record = json!({"featured": shape.is_multiple_of(2), "updatedAt": written(day(-1)), "custom": {"Tier": "A"}});
        for (index, (name, _)) in ruled.iter().enumerate() {
            match name.strip_prefix("custom.") {
                Some(name) => record["custom"][name] = marked(index + shape),
                None => record[*name] = marked(index + shape),
            }
        }
        record
    };
    let contact = |id: &str, shape: usize| {
        let mut contact = fields(shape);
        contact["_id"] = json!(id);
        contact
    };
    let ids = ["a", "b", "c", "d", "refused", "deleted"];
    let contacts = ids.iter().enumerate().map(|(shape, id)| contact(id, shape));
    let odd = [fields(1), json!(MARKER), json!([MARKER]), json!({"_id": {"email": MARKER}, "phone": MARKER})];
    let mut sync = TestSync::new(Workspace::empty().with("endusers", contacts.chain(odd).collect())).await;
    sync.limits.rules.insert("endusers", rules(&ruled));
    let objects = [catalog::object("endusers").unwrap()];
    keep_versions(&sync, &objects).await;
    let rule = "create function public.refuse() returns trigger language plpgsql as
            $$ begin if new.planhat__id = 'refused' then raise exception 'no %', to_json(new); end if; return new; end $$;
        create trigger refuse before insert or update on planhat.endusers for each row execute function public.refuse()";
    sqlx::raw_sql(rule).execute(sync.store.pool()).await.unwrap();

    let loaded = sync.sync_one("endusers").await;
    // Contacts are listed twice, the second time with archived ones, and count once.
    assert_eq!((loaded.run.figures.inserted, loaded.run.figures.quarantined), (5, 5));
    assert_nobody_sees(&sync).await;

    for (shape, id) in ids.iter().enumerate() {
        sync.simulator.edit("endusers", id, day(0), |record| {
            for (name, value) in contact(id, shape + 1).as_object().unwrap().iter().filter(|(name, _)| *name != "updatedAt") {
                record.insert(name.clone(), value.clone());
            }
        });
    }
    let client = sync.client();
    let preview = run::preview(&client, &sync.store, &sync.request(Mode::Full, &objects), true, &sync.stop).await.unwrap();
    let preview = serde_json::to_string(&preview).unwrap();
    assert!(preview.contains("planhat__email") && !preview.contains(MARKER), "{preview}");
    sync.sync_one("endusers").await;
    assert_nobody_sees(&sync).await;

    let deleted = sync.simulator.records("endusers").into_iter().find(|contact| contact["_id"] == "deleted").unwrap();
    sync.simulator.delete("endusers", "deleted");
    sync.full_sync_one("endusers").await;
    assert_nobody_sees(&sync).await;
    sync.simulator.add("endusers", deleted);
    sync.full_sync_one("endusers").await;
    assert_nobody_sees(&sync).await;

    assert_eq!(
        sync.one("select string_agg(n || ' ' || kind, ', ' order by kind) from (select kind, count(*) n from planhat.actions group by kind) k").await,
        "5 created, 1 deleted, 1 restored, 5 updated"
    );
    assert_actions_tell_the_versions(&sync).await;
    let kept =
        "select string_agg(regexp_replace(raw, '[0-9a-f]{64}', 'HASH', 'g'), E'\n' order by raw) from planhat_sync.quarantine";
    insta::assert_snapshot!(sync.one(kept).await, @r#"
    (withheld: 21 bytes; the values that the privacy rules mask could not be located in them)
    (withheld: 23 bytes; the values that the privacy rules mask could not be located in them)
    {"_id":"[redacted]"}
    {"_id":"refused","companyId":"HASH","email":"HASH","featured":false,"nps":"[redacted]","updatedAt":"2026-11-21T12:00:00.000Z","custom":{"Age":"HASH","Notes":"[redacted]","Tier":"A"}}
    {"companyId":"HASH","email":"HASH","featured":false,"nps":"[redacted]","updatedAt":"2026-11-20T12:00:00.000Z","custom":{"Age":"HASH","Notes":"[redacted]","Tier":"A"}}
    "#);
}

#[tokio::test]
async fn masked_values_can_be_misfits_and_overflow_like_other_values() {
    let custom: Map<String, Value> = (0..1300).map(|number| (format!("F{number:04}"), marked(number))).collect();
    let record = |id: &str| json!({"_id": id, "value": MARKER, "mrr": 10, "custom": custom});
    let mut sync = TestSync::new(Workspace::empty().with("licenses", vec![json!({"_id": "0", "value": 10})])).await;
    sync.sync_one("licenses").await;
    for id in ["1", "2"] {
        sync.simulator.add("licenses", record(id));
    }
    let excluded = (0..1300).step_by(26).map(|number| (format!("custom.F{number:04}"), Rule::Exclude)).collect::<Vec<_>>();
    let mut said: Vec<_> = excluded.iter().map(|(name, rule)| (name.as_str(), *rule)).collect();
    said.extend([("custom", Rule::Redact), ("value", Rule::Hash)]);
    sync.limits.rules.insert("licenses", rules(&said));

    let summary = sync.sync_one("licenses").await;

    assert_eq!((summary.run.figures.inserted, summary.run.figures.overflowed, summary.run.figures.updated), (2, 2, 1));
    assert_nobody_sees(&sync).await;
    // The column was made a number before there was a rule: the hash is a misfit, and what was there is gone.
    let kept = "select string_agg(format('%s %s %s %s', planhat__id, planhat__value, length(_misfits ->> 'planhat__value'),
        (select count(*) from jsonb_each_text(_overflow -> 'custom') where value = '[redacted]')), ', ' order by planhat__id) from planhat.licenses";
    assert_eq!(sync.one(kept).await, "0  64 0, 1  64 542, 2  64 542");
    let told = "select concat_ws(' ', changes -> 'planhat__value', changes -> '_misfits' -> 'old') from planhat.actions where kind = 'updated'";
    assert_eq!(sync.one(told).await, r#"{"new": null, "old": "[redacted]"} null"#);
}

#[tokio::test]
async fn new_privacy_rules_apply_to_stored_rows_with_the_next_full_scan() {
    let custom: Map<String, Value> = (0..1250).map(|number| (format!("F{number:04}"), marked(number))).collect();
    let contact = |id: &str| {
        json!({"_id": id, "companyId": MARKER, "phone": MARKER, "email": MARKER, "nps": [MARKER], "name": "Kim", "custom": custom,
            "updatedAt": written(day(-30))})
    };
    let contacts = ["a", "b", "deleted"].map(contact).into_iter().chain([json!({"phone": MARKER, "x": 1})]).collect();
    let mut sync = TestSync::new(Workspace::empty().with("endusers", contacts)).await;
    sync.sync_one("endusers").await;
    assert!(places_of(sync.store.pool(), MARKER).await.len() >= 7);
    sync.limits.rules.insert(
        "endusers",
        rules(&[
            ("phone", Rule::Exclude),
            ("email", Rule::Hash),
            ("nps", Rule::Redact),
            ("companyId", Rule::Exclude),
            ("custom", Rule::Exclude),
        ]),
    );
    sync.simulator.delete("endusers", "deleted");
    let client = sync.client();
    let objects = [catalog::object("endusers").unwrap()];

    let preview = run::preview(&client, &sync.store, &sync.request(Mode::Full, &objects), true, &sync.stop).await.unwrap();
    let preview = serde_json::to_string(&preview).unwrap();
    assert!(preview.contains("planhat__phone") && !preview.contains(MARKER), "{preview}");
    let full = sync.full_sync_one("endusers").await;

    assert_eq!((full.run.figures.updated, full.run.figures.deleted), (2, 1));
    let row = "select concat_ws(' ', planhat__phone, length(planhat__email), planhat__nps, _misfits, _overflow, planhat__company_id, planhat__f0000__custom, planhat__name) from planhat.endusers where planhat__id = 'a'";
    assert_eq!(sync.one(row).await, r#"64 {"planhat__nps": "[redacted]"} Kim"#);
    // What was noted before stays until somebody says so, and what is deleted at Planhat is not compared.
    let by_hand = "delete from planhat.actions where object = 'endusers' and run_id < 2;
        delete from planhat.endusers where _deleted_at is not null";
    sqlx::raw_sql(by_hand).execute(sync.store.pool()).await.unwrap();
    assert_nobody_sees(&sync).await;
    let told = "select string_agg(kind || ' ' || record_id || ' ' || coalesce(company_id, '-') || coalesce(changes ->> 'planhat__phone', ''), ', ' order by id) from planhat.actions";
    assert_eq!(
        sync.one(told).await,
        r#"updated a -{"new": null, "old": "[redacted]"}, updated b -{"new": null, "old": "[redacted]"}, deleted deleted -"#
    );
    assert_eq!(sync.one("select string_agg(raw, '') from planhat_sync.quarantine").await, r#"{"x":1}"#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever a record holds and whatever it is called, nothing with a rule gets anywhere.
    #[test]
    fn values_with_a_privacy_rule_reach_no_table_log_or_output(
        names in proptest::collection::hash_map(prop::sample::select(awkward_names()), (0..3_usize, any::<bool>()), 1..12),
        shapes in proptest::collection::vec((0..5_usize, 0..5_usize), 1..12),
    ) {
        let rule = |index: usize| [Rule::Exclude, Rule::Hash, Rule::Redact][index];
        // A NUL in a name becomes visible before anything else, and its two spellings are one field here.
        let spelt = |name: &str| name.replace('\0', "\u{2400}");
        let names: HashMap<String, _> = names.into_iter().filter(|(name, (_, custom))| *custom || (name != "_id" && name != "custom")).collect();
        let said: Vec<(String, Rule)> = names.iter().map(|(name, (index, custom))| {
            (if *custom { format!("custom.{}", spelt(name)) } else { spelt(name) }, rule(*index))
        }).collect();
        let said: Vec<(&str, Rule)> = said.iter().map(|(name, rule)| (name.as_str(), *rule)).collect();
        let record = |number: usize, shape: usize| {
            let (mut fields, mut custom) = (Map::new(), Map::new());
            for (index, (name, (_, is_custom))) in names.iter().enumerate() {
                if *is_custom { &mut custom } else { &mut fields }.insert(name.clone(), marked(index + shape));
            }
            custom.insert("free".into(), json!(shape));
            fields.insert("custom".into(), custom.into());
            if number % 4 != 3 {
                fields.insert("_id".into(), json!(format!("{number:02}")));
            }
            Value::Object(fields)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let records = shapes.iter().enumerate().map(|(number, (shape, _))| record(number, *shape)).collect();
            let mut sync = TestSync::new(Workspace::empty().with("projects", records)).await;
            sync.limits.rules.insert("projects", rules(&said));
            sync.sync_one("projects").await;
            let check = "alter table planhat.projects add constraint ours check (planhat__free__custom <> 4) not valid";
            let _ = sqlx::raw_sql(check).execute(sync.store.pool()).await;
            for (number, (_, shape)) in shapes.iter().enumerate().filter(|(number, _)| number % 4 != 3) {
                let id = format!("{number:02}");
                sync.simulator.delete("projects", &id);
                sync.simulator.add("projects", record(number, *shape));
            }
            sync.full_sync_one("projects").await;
            assert_nobody_sees(&sync).await;
        });
    }
}

/// A workspace and a tool with a rule of each kind.
async fn tool_with_rules() -> (Simulator, Tool) {
    let contact = |id: usize| {
        json!({"_id": format!("e{id}"), "phone": marked(id), "email": MARKER, "name": "Kim", "nps": MARKER,
            "custom": {"Notes, more": MARKER, "Age": id}})
    };
    let contacts = (0..5).map(contact).chain([json!({"phone": MARKER}), json!(MARKER)]).collect();
    let simulator = Simulator::start(Workspace::empty().with("endusers", contacts), Options::default()).await.unwrap();
    let tool = Tool::for_workspace(&simulator)
        .await
        .set("RUST_LOG", "trace,sqlx=debug,hyper=trace,reqwest=trace")
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "endusers")
        .set("PLANHAT_SYNC__PRIVACY__HASH_KEY", KEY);
    let file = "[objects.endusers]\nexclude = ['phone']\nhash = ['email']\nredact = ['custom.Notes, more', 'nps']\nignore_changes = ['custom.Age']\n";
    let path = tool.home.path().join("settings.toml");
    std::fs::write(&path, file).unwrap();
    (simulator, tool)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_or_log_contains_values_with_privacy_rules() {
    let (simulator, mut tool) = tool_with_rules().await;
    let path = tool.home.path().join("settings.toml").to_str().unwrap().to_owned();
    let mut run = |arguments: &[&str]| {
        let ran = tool.run(&[&["--config", &path], arguments].concat());
        assert!(!ran.all().contains(MARKER) && !ran.all().contains(KEY), "{arguments:?}: {}", ran.all());
        ran
    };
    assert_eq!(run(&["sync", "--dry-run", "--diff"]).code, 3);
    assert_eq!(run(&["sync"]).code, 3);
    simulator.edit_source(|source| {
        source.change("endusers", "e1", |contact| _ = contact.insert("email".into(), json!(format!("{MARKER} 2"))));
        source.delete("endusers", "e2");
    });
    simulator.answer_next(
        "endusers",
        vec![ScriptedAnswer::json(200, json!({"_id": "e1", "email": MARKER})), ScriptedAnswer::json(500, json!({"email": "x"}))],
    );
    for arguments in [
        &["sync", "--full", "--dry-run", "--diff", "--json"][..],
        &["sync", "--full"],
        &["actions", "--json"],
        &["actions"],
        &["schema", "endusers"],
        &["status", "--json"],
        &["runs", "show", "1"],
        &["check"],
        &["retype", "endusers", "planhat__email", "jsonb"],
        &["retype", "endusers", "planhat__nps", "numeric"],
        &["sync", "--full"],
    ] {
        run(arguments);
    }
    let pool = PgPool::connect(&tool.database()).await.unwrap();
    assert_eq!(places_of(&pool, MARKER).await, Vec::<String>::new());
    assert_eq!(places_of(&pool, KEY).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_without_a_key_ends_before_anything_is_read() {
    let (simulator, tool) = tool_with_rules().await;
    let path = tool.home.path().join("settings.toml").to_str().unwrap().to_owned();
    let ran = tool.unset("PLANHAT_SYNC__PRIVACY__HASH_KEY").run(&["--config", &path, "sync"]);
    insta::assert_snapshot!(ran.all(), @r#"
    exit 2
    error: setting "objects.endusers.hash" needs a key: set privacy.hash_key or privacy.hash_key_file (`openssl rand -hex 32` makes one)
    "#);
    assert!(simulator.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_shows_the_effect_of_privacy_rules_and_check_reports_misspelt_names() {
    let (_simulator, mut tool) = tool_with_rules().await;
    tool.run(&["sync"]);
    let mut tool = tool
        .set("RUST_LOG", "off")
        .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__EXCLUDE", "Phone, custom.age, custom.Secret, custom")
        .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__HASH", "email")
        .set("PLANHAT_SYNC__OBJECTS__COMPANIES__IGNORE_CHANGES", "health");

    let checked = tool.run(&["check"]);
    let said: Vec<_> = checked.stdout.lines().filter(|line| line.contains("settings")).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    warn  settings       objects.companies.ignore_changes names "health", but no property has this name; did you mean "h"?
    warn  settings       objects.endusers.exclude names "Phone", but no property has this name; did you mean "phone"?
    warn  settings       objects.endusers.exclude names "custom.age", but no custom field has this name; did you mean "custom.Age"?
    warn  settings       objects.endusers.exclude names "custom.Secret", but no custom field has this name so far; if one appears, the setting applies to it
    "#);
    assert_eq!(checked.code, 0);
    let schema = tool.run(&["schema", "endusers"]).stdout;
    let ruled = |line: &&str| line.contains("hashed") || line.contains("not stored") || line.contains("custom");
    let shown: Vec<String> = schema.lines().filter(ruled).map(|line| line.replace("  ", "")).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    │ planhat__email┆ text┆ email┆ property┆ hashed │
    │ planhat__age__custom┆ numeric ┆ Age┆ custom┆ not stored │
    │ planhat__notes_more__custom ┆ text┆ Notes, more┆ custom┆ not stored │
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_compares_names_in_rules_with_what_the_workspace_declares() {
    let fields = ["Gro\u{308}sse", "Notes ", "Tier", "tier", "Odd"]
        .map(|name| json!({"_id": name, "parent": "EndUser", "name": name, "type": "text"}));
    let simulator = Simulator::start(Workspace::empty().with("customfields", fields.into()), Options::default()).await.unwrap();
    let said_of = async |names: &str| {
        let mut tool = Tool::for_workspace(&simulator)
            .await
            .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "endusers")
            .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__EXCLUDE", names);
        let checked = tool.run(&["check"]);
        assert_eq!(checked.code, 0, "{}", checked.all());
        checked.stdout.lines().filter(|line| line.contains("exclude")).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(said_of("custom.Gr\u{f6}sse,custom.Notes,custom.Tier,custom.tier,phone,custom").await, "");
    insta::assert_snapshot!(said_of("custom.Tier,custom.Nots,custom.Unheard of,custom.odd,Phone").await, @r#"
    warn  settings       objects.endusers.exclude names "custom.Tier", but not "custom.tier", which differs in upper and lower case only
    warn  settings       objects.endusers.exclude names "custom.Nots", but no custom field has this name; did you mean "custom.Notes "?
    warn  settings       objects.endusers.exclude names "custom.Unheard of", but no custom field has this name so far; if one appears, the setting applies to it
    warn  settings       objects.endusers.exclude names "custom.odd", but no custom field has this name; did you mean "custom.Odd"?
    warn  settings       objects.endusers.exclude names "Phone", but no property has this name; did you mean "phone"?
    "#);
    simulator.forbid("customfields");
    assert_eq!(said_of("custom.Unheard of").await, "", "nothing is known to compare it with");
}

/// Companies with a value that moves with the calendar, one of the user's own, and one of neither kind.
async fn with_ignored_values() -> TestSync {
    let company = json!({"_id": "c", "name": "Acme", "renewalDaysFromNow": 30, "daysInPhase": 4, "phase": "Live", "custom": {"Days left": 9},
        "updatedAt": written(day(-9))});
    let mut sync = TestSync::new(Workspace::empty().with("companies", vec![company])).await;
    sync.limits.ignore_changes.insert("companies", ignore_changes(&["custom.Days left"]));
    sync.sync_one("companies").await;
    sqlx::raw_sql("delete from planhat.actions").execute(sync.store.pool()).await.unwrap();
    sync
}

fn a_day_passes(sync: &TestSync, phase: &str) {
    sync.simulator.edit_source(|source| {
        source.change("companies", "c", |company| {
            company.insert("renewalDaysFromNow".into(), json!(29));
            company.insert("daysInPhase".into(), json!(5));
            company.insert("phase".into(), json!(phase));
            company.insert("nrr30".into(), json!(1));
            company["custom"]["Days left"] = json!(8);
        });
    });
}

#[tokio::test]
async fn a_change_of_an_ignored_property_alone_does_not_update_a_row() {
    let sync = with_ignored_values().await;
    a_day_passes(&sync, "Live");

    let full = sync.full_sync_one("companies").await;

    assert_eq!((full.run.figures.updated, full.run.figures.unchanged), (0, 1));
    assert_eq!(sync.one("select count(*)::text from planhat.actions").await, "0");
    assert_eq!(sync.one("select planhat__renewal_days_from_now::text from planhat.companies").await, "30");
}

#[tokio::test]
async fn ignored_properties_are_written_and_recorded_together_with_other_changes() {
    let sync = with_ignored_values().await;
    a_day_passes(&sync, "Renewal");

    let full = sync.full_sync_one("companies").await;

    assert_eq!(full.run.figures.updated, 1);
    insta::assert_snapshot!(sync.one("select changes::text from planhat.actions").await, @r#"{"planhat__nrr30": {"new": 1, "old": null}, "planhat__phase": {"new": "Renewal", "old": "Live"}, "planhat__days_in_phase": {"new": 5, "old": 4}, "planhat__days_left__custom": {"new": 8, "old": 9}, "planhat__renewal_days_from_now": {"new": 29, "old": 30}}"#);
    assert_eq!(
        sync.one("select concat_ws(' ', planhat__renewal_days_from_now, planhat__days_in_phase, planhat__days_left__custom) from planhat.companies").await,
        "29 5 8"
    );
}

#[tokio::test]
async fn a_dry_run_counts_changes_of_ignored_properties_as_unchanged() {
    let sync = with_ignored_values().await;
    a_day_passes(&sync, "Live");
    let client = sync.client();

    let objects = [catalog::object("companies").unwrap()];
    let preview = run::preview(&client, &sync.store, &sync.request(Mode::Full, &objects), true, &sync.stop).await.unwrap();

    assert_eq!(preview.objects[0].preview.as_ref().map(|preview| preview.records.len()), Some(0));
}

#[tokio::test]
async fn a_new_rule_or_key_for_an_ignored_property_updates_stored_rows() {
    let contact = json!({"_id": "e", "convs14": 777, "custom": {"Age": 40, "Mood": MARKER}, "updatedAt": written(day(-30))});
    let mut sync = TestSync::new(Workspace::empty().with("endusers", vec![contact])).await;
    sync.limits.ignore_changes.insert("endusers", ignore_changes(&["custom.Age", "custom.Mood"]));
    sync.sync_one("endusers").await;
    let ruled = [("convs14", Rule::Exclude), ("custom.Age", Rule::Exclude), ("custom.Mood", Rule::Hash)];
    sync.limits.rules.insert("endusers", rules(&ruled));

    sync.full_sync_one("endusers").await;

    let row = "select concat_ws(' ', planhat__convs14, planhat__age__custom, planhat__mood__custom) from planhat.endusers";
    let hashed = sync.one(row).await;
    assert_eq!(hashed.len(), 64, "{hashed}");
    assert_nobody_sees(&sync).await;
    let mut fields = FieldMap::default();
    ruled.iter().for_each(|(name, rule)| _ = fields.insert(name, *rule));
    sync.limits.rules.insert("endusers", Rules::new(fields, Some(&"another key of these tests".into())));
    sync.full_sync_one("endusers").await;
    assert_ne!(sync.one(row).await, hashed);
}

#[tokio::test]
async fn a_full_scan_starts_again_if_the_privacy_rules_changed() {
    let company = |number: i32| json!({"_id": format!("{number:04}"), "phone": MARKER, "updatedAt": written(day(-30))});
    let recent = json!({"_id": "recent", "updatedAt": written(day(0))});
    let mut sync = TestSync::new(Workspace::empty().with("companies", (0..500).map(company).chain([recent]).collect())).await;
    sync.sync_one("companies").await;
    let (stop, mut calls) = (sync.stop.clone(), 0);
    sync.simulator.on_request(move |_, path| {
        calls += u32::from(path == "companies");
        if calls == 4 {
            stop.cancel();
        }
    });
    assert_eq!(sync.full_sync_one("companies").await.run.status, ObjectStatus::Interrupted);
    sync.simulator.clear_faults();
    sync.stop = tokio_util::sync::CancellationToken::new();
    sync.limits.rules.insert("companies", rules(&[("phone", Rule::Exclude)]));

    assert_eq!(sync.full_sync_one("companies").await.run.status, ObjectStatus::Succeeded);

    assert_nobody_sees(&sync).await;
}

#[tokio::test]
async fn old_values_stay_masked_in_actions_next_to_deeply_nested_values() {
    let nested = |inside: &str| (0..120).fold(json!(inside), |value, _| json!([value]));
    let company = json!({"_id": "c", "tree": nested("one"), "phone": MARKER, "updatedAt": written(day(-30))});
    let mut sync = TestSync::new(Workspace::empty().with("companies", vec![company])).await;
    sync.sync_one("companies").await;
    sync.limits.rules.insert("companies", rules(&[("phone", Rule::Exclude)]));
    sync.simulator.edit("companies", "c", day(-20), |company| _ = company.insert("tree".into(), nested("two")));

    sync.full_sync_one("companies").await;

    assert_nobody_sees(&sync).await;
    assert!(sync.one("select changes::text from planhat.actions where kind = 'updated'").await.contains("planhat__tree"));
}

#[tokio::test]
async fn an_error_text_of_postgresql_for_a_deleted_row_is_not_logged() {
    let contacts = ["a", "b", "c"].map(|id| json!({"_id": id, "phone": MARKER, "updatedAt": written(day(-30))})).to_vec();
    let mut sync = TestSync::new(Workspace::empty().with("endusers", contacts)).await;
    sync.sync_one("endusers").await;
    sync.limits.rules.insert("endusers", rules(&[("phone", Rule::Exclude)]));
    let rule = "create function public.refuse() returns trigger language plpgsql as
            $$ begin if new._deleted_at is not null and new.planhat__id = 'b' then raise exception 'no %', to_json(new); end if; return new; end $$;
        create trigger refuse before update on planhat.endusers for each row execute function public.refuse()";
    sqlx::raw_sql(rule).execute(sync.store.pool()).await.unwrap();
    sync.simulator.delete("endusers", "b");
    sync.simulator.delete("endusers", "c");

    let full = sync.full_sync_one("endusers").await;

    assert_eq!((full.run.status, full.run.figures.deleted), (ObjectStatus::Succeeded, 1));
    let told = format!(
        "{:?} {:?} {}",
        full.run.reason,
        full.warnings,
        sync.one("select string_agg(reason, ' ') from planhat_sync.object_runs").await
    );
    assert!(told.contains("1 requests by id got no answer") && !told.contains(MARKER), "{told}");
}

#[tokio::test]
async fn the_content_of_a_record_in_place_of_a_list_is_not_shown() {
    let sync = TestSync::new(Workspace::empty().with("endusers", vec![json!({"_id": "a"})])).await;
    sync.simulator.answer_next("endusers", vec![ScriptedAnswer::json(200, json!({"_id": "a", "message": MARKER})); 8]);

    let reason = format!("{:?}", sync.sync_one("endusers").await.run.reason);

    assert!(reason.contains("an object with _id, message") && !reason.contains(MARKER), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_there_was_a_rule_is_printed_by_no_command() {
    let contact = |id: &str, email: &str| json!({"_id": id, "companyId": MARKER, "name": "Kim", "email": email, "nps": [MARKER]});
    let contacts = vec![
        contact("a", MARKER),
        json!({"_id": "nameless", "companyId": "c", "email": MARKER}),
        contact("refused", MARKER),
        json!({"email": MARKER, "name": "without an id"}),
    ];
    let workspace = Workspace::empty()
        .with("endusers", contacts)
        .with("companies", vec![json!({"_id": "c", "name": MARKER})])
        .with("licenses", vec![json!({"_id": "l", "companyId": "c", "value": 1})]);
    let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await;
    assert_eq!(tool.run(&["sync", "endusers", "companies", "licenses"]).code, 3);
    let pool = PgPool::connect(&tool.database()).await.unwrap();
    let rule = "create function public.refuse() returns trigger language plpgsql as
            $$ begin if new.planhat__id = 'refused' then raise exception 'no %', to_json(new); end if; return new; end $$;
        create trigger refuse before insert or update on planhat.endusers for each row execute function public.refuse()";
    sqlx::raw_sql(rule).execute(&pool).await.unwrap();
    for (id, record) in [("a", contact("a", &format!("{MARKER} 2"))), ("refused", contact("refused", &format!("{MARKER} 3")))] {
        simulator.edit("endusers", id, day(0), |contact| *contact = record.as_object().unwrap().clone());
    }
    assert_eq!(tool.run(&["sync", "--full", "endusers"]).code, 3);
    assert!(places_of(&pool, MARKER).await.len() > 10);
    let shown_before = tool.run(&["actions", "--json"]).stdout + &tool.run(&["quarantine", "--json"]).stdout;
    assert!(shown_before.contains(MARKER), "{shown_before}");

    let mut tool = tool
        .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__REDACT", "email,nps")
        .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__EXCLUDE", "companyId")
        .set("PLANHAT_SYNC__OBJECTS__COMPANIES__EXCLUDE", "name");
    let entries = tool.run(&["quarantine", "--json"]).json();
    let entries: Vec<String> = entries["entries"].as_array().unwrap().iter().map(|entry| entry["id"].to_string()).collect();
    assert_eq!(entries.len(), 2);
    let mut printed = String::new();
    for arguments in [
        &["actions"][..],
        &["actions", "--json"],
        &["quarantine"],
        &["quarantine", "--json"],
        &["quarantine", "show", &entries[0]],
        &["quarantine", "show", "--json", &entries[0]],
        &["quarantine", "show", &entries[1]],
        &["quarantine", "show", "--json", &entries[1]],
        &["sync", "--full", "--dry-run", "--diff", "--json", "endusers"],
        &["sync", "--full", "--dry-run", "--diff", "endusers"],
        &["status"],
        &["status", "--json"],
        &["runs"],
        &["runs", "--json"],
        &["runs", "2"],
        &["schema"],
        &["schema", "endusers"],
        &["check"],
    ] {
        let ran = tool.run(arguments).all();
        assert!(!ran.contains("panicked") && !ran.contains("unexpected argument"), "{arguments:?}: {ran}");
        assert!(!ran.contains(MARKER), "{arguments:?}: {ran}");
        printed += &ran;
    }
    for expected in ["email: [redacted] → [redacted]", r#""old":"[redacted]""#, "refused by PostgreSQL (P0001)", "Kim"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert!(places_of(&pool, MARKER).await.len() > 10, "in the database it is as it was");
}

/// Contacts with values of every shape in every place, an action of each kind, a deleted one and one in quarantine.
async fn stored_before_rules() -> TestSync {
    let custom: Map<String, Value> = (0..1250).map(|number| (format!("F{number:04}"), marked(number))).collect();
    let contact = |id: &str, shape: usize| {
        json!({"_id": id, "companyId": MARKER, "phone": marked(shape), "email": MARKER, "nps": 7 + shape, "npsDate": "2026-11-01T10:00:00.000Z",
            "otherEmails": [MARKER], "name": "Kim", "custom": custom, "convs14": shape, "primary": true, "beats": 1.50,
            "updatedAt": written(day(-30))})
    };
    let contacts = ["a", "b", "deleted"].map(|id| contact(id, id.len())).into_iter();
    let contacts = contacts.chain([json!({"phone": MARKER, "x": 1}), json!({"_id": "plain", "name": "Lee", "otherEmails": ""})]);
    let sync = TestSync::new(Workspace::empty().with("endusers", contacts.collect())).await;
    sync.sync_one("endusers").await;
    sync.simulator.edit("endusers", "a", day(-29), |contact| {
        contact.insert("email".into(), json!(format!("{MARKER} 2")));
        contact.insert("nps".into(), json!(MARKER));
        contact.insert("name".into(), json!("Kimberley"));
    });
    sync.simulator.add("endusers", contact("refused", 3));
    // One whose only change is to a value that will be excluded.
    sync.simulator.edit("endusers", "b", day(-30), |contact| _ = contact.insert("phone".into(), json!(format!("{MARKER} 3"))));
    let rule = "create function public.refuse() returns trigger language plpgsql as
            $$ begin if new.planhat__id = 'refused' then raise exception 'no %', to_json(new); end if; return new; end $$;
        create trigger refuse before insert or update on planhat.endusers for each row execute function public.refuse()";
    sqlx::raw_sql(rule).execute(sync.store.pool()).await.unwrap();
    sync.simulator.delete("endusers", "deleted");
    sync.full_sync_one("endusers").await;
    assert!(places_of(sync.store.pool(), MARKER).await.len() > 10);
    sync
}

const RULES: [(&str, &str); 3] =
    [("EXCLUDE", "phone,companyId,otherEmails,custom.F0000,custom.F0001"), ("HASH", "email,nps,npsDate"), ("REDACT", "custom")];

/// The tool with these rules, on the database of a test.
fn tool_under_rules(sync: &TestSync) -> Tool {
    let url = sync.store.pool().connect_options().to_url_lossy().to_string();
    let tool = Tool::new()
        .set("DATABASE_URL", &url)
        .set("PLANHAT_API_URL", &sync.simulator.url())
        .set("PLANHAT_API_TOKEN", sync.simulator.token())
        .set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "endusers")
        .set("PLANHAT_SYNC__PRIVACY__HASH_KEY", KEY);
    RULES.iter().fold(tool, |tool, (list, names)| tool.set(&format!("PLANHAT_SYNC__OBJECTS__ENDUSERS__{list}"), names))
}

/// Rows without what says when and by which run they were written.
const ROWS: &str = "select string_agg((to_jsonb(t) - array['_row_hash', '_synced_at', '_first_seen_at', '_run_id', '_deleted_at'])::text, E'\\n' order by planhat__id) from planhat.endusers t";

#[tokio::test(flavor = "multi_thread")]
async fn privacy_apply_masks_what_was_stored_before_a_rule_and_nothing_else() {
    let sync = stored_before_rules().await;
    let mut tool = tool_under_rules(&sync);
    let (before, rows) = (places_of(sync.store.pool(), "").await, sync.one(ROWS).await);
    let actions = sync.one("select count(*)::text from planhat.actions").await;

    let dry = tool.run(&["privacy", "apply"]);
    insta::assert_snapshot!(dry.all(), @"
    exit 0
    endusers: 3 rows, 6 actions and 2 texts in quarantine to mask
    nothing was changed; `planhat-sync privacy apply --yes` masks these values for good
    ");
    assert_eq!(places_of(sync.store.pool(), "").await, before);
    let status = tool.run(&["status"]).stdout;
    assert!(
        status.contains(
            "were stored before its privacy rules and are not masked; `planhat-sync privacy apply endusers --yes` masks them"
        ),
        "{status}"
    );
    let checked = tool.run(&["check"]).stdout;
    assert!(checked.lines().any(|line| line.starts_with("warn  privacy")), "{checked}");

    let applied = tool.run(&["privacy", "apply", "--yes"]);
    insta::assert_snapshot!(applied.all(), @"
    exit 0
    endusers: 3 rows, 6 actions and 2 texts in quarantine masked
    old versions stay in the files of the database until `vacuum`, and in replicas, backups and exports: see docs/privacy.md
    ");
    assert_nobody_sees(&sync).await;
    let left = "select string_agg(concat_ws(' ', record_id, kind, (select string_agg(key, ' ' order by key) from jsonb_object_keys(changes) as key)), ', ' order by id) from planhat.actions";
    insta::assert_snapshot!(sync.one(left).await, @"a created, b created, deleted created, plain created, a updated _misfits planhat__email planhat__name planhat__nps planhat__updated_at, b updated _overflow planhat__f0368__custom, deleted deleted");
    assert_ne!((sync.one(ROWS).await, sync.one("select count(*)::text from planhat.actions").await), (rows, actions));
    assert_eq!(sync.one("select concat_ws(' ', planhat__name, planhat__beats, planhat__primary, planhat__updated_at::date) from planhat.endusers where planhat__id = 'b'").await, "Kim 1.5 t 2026-10-22");

    // The next full scan finds nothing: no update, no action.
    let (rows, actions) =
        (sync.one(ROWS).await, sync.one("select string_agg(t::text, ' ' order by id) from planhat.actions t").await);
    for _ in 0..2 {
        let full = tool.run(&["sync", "--full", "--json"]).json();
        let of = &full["objects"][0];
        assert_eq!((&of["updated"], &of["inserted"], &of["deleted"]), (&json!(0), &json!(0), &json!(0)), "{full}");
        assert_eq!(sync.one(ROWS).await, rows);
        assert_eq!(sync.one("select string_agg(t::text, ' ' order by id) from planhat.actions t").await, actions);
    }
    assert_nobody_sees(&sync).await;
    assert!(!tool.run(&["status"]).stdout.contains("privacy rules"));
    assert!(!tool.run(&["check"]).stdout.contains("warn  privacy"));
    let again = tool.run(&["privacy", "apply", "--yes"]);
    assert_eq!(again.stdout, "endusers: nothing masked\neverything that is stored is under the privacy rules\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_rows_are_those_that_a_first_sync_under_the_rules_makes() {
    let sync = stored_before_rules().await;
    let mut tool = tool_under_rules(&sync);
    assert_eq!(tool.run(&["privacy", "apply", "endusers", "--yes"]).code, 0);
    let masked = StoredTable::read(&sync.store, "endusers").await;
    let columns = "select string_agg(column_name, ' ' order by position) from planhat_sync.columns where object = 'endusers'";
    assert!(!sync.one(columns).await.is_empty());

    // As if the rules had been there from the start, in the same columns.
    let clear = "delete from planhat.endusers; delete from planhat.actions; delete from planhat_sync.cursors; delete from planhat_sync.quarantine";
    sqlx::raw_sql(clear).execute(sync.store.pool()).await.unwrap();
    assert_eq!(tool.run(&["sync", "--full"]).code, 3);
    let fresh = StoredTable::read(&sync.store, "endusers").await;

    assert_eq!(masked.rows.keys().collect::<Vec<_>>(), ["a", "b", "plain"]);
    for (id, row) in &masked.rows {
        for (column, value) in
            row.iter().filter(|(column, _)| column.starts_with("planhat__") || *column == "_misfits" || *column == "_overflow")
        {
            assert_eq!(value, &fresh.rows[id][column], "{id}.{column}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privacy_apply_that_is_killed_half_way_goes_on_when_it_is_started_again() {
    let contact = |number: usize| json!({"_id": format!("{number:04}"), "phone": MARKER, "name": "Kim"});
    let sync = TestSync::new(Workspace::empty().with("endusers", (0..1200).map(contact).collect())).await;
    sync.sync_one("endusers").await;
    let mut tool = tool_under_rules(&sync);
    // It waits for a row of the second batch.
    let mut lock = sync.store.pool().begin().await.unwrap();
    sqlx::raw_sql("select * from planhat.endusers where planhat__id = '0700' for update").execute(&mut *lock).await.unwrap();
    let mut command = tool.command(&["privacy", "apply", "--yes"]);
    let mut process = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let waits = "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("the lock", async || sync.one(waits).await != "0").await;
    process.kill().unwrap();
    assert_eq!(ended(&mut process).await, None);
    lock.rollback().await.unwrap();
    let left = "select count(*)::text from planhat.endusers where planhat__phone is not null";
    assert_eq!(sync.one(left).await, "700");
    assert!(tool.run(&["status"]).stdout.contains("endusers: 700 rows were stored before its privacy rules"));

    assert_eq!(tool.run(&["privacy", "apply", "--yes"]).code, 0);

    assert_nobody_sees(&sync).await;
    let full = tool.run(&["sync", "--full", "--json"]).json();
    assert_eq!(full["objects"][0]["updated"], 0, "{full}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgresql_will_not_take_masked_is_reported_and_the_others_are_masked() {
    let contact = |number: usize| json!({"_id": format!("{number}"), "phone": MARKER, "name": "Kim"});
    let sync = TestSync::new(Workspace::empty().with("endusers", (0..3).map(contact).collect())).await;
    sync.sync_one("endusers").await;
    let mut tool = tool_under_rules(&sync);
    let check = "alter table planhat.endusers add constraint ours check (planhat__id <> '1' or planhat__phone is not null)";
    sqlx::raw_sql(check).execute(sync.store.pool()).await.unwrap();

    let applied = tool.run(&["privacy", "apply", "--yes"]);

    assert_eq!(applied.code, 3);
    assert!(
        applied.stdout.contains("endusers: PostgreSQL refused to mask 1 row") && !applied.all().contains(MARKER),
        "{}",
        applied.all()
    );
    assert_eq!(sync.one("select string_agg(planhat__id, ' ') from planhat.endusers where planhat__phone is not null").await, "1");
    assert!(tool.run(&["status"]).stdout.contains(
        "1 row was stored before its privacy rules and is not masked; `planhat-sync privacy apply endusers --yes` masks it"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_rules_were_there_from_the_start_nothing_is_counted_and_a_rule_that_is_taken_back_is_not_forgotten() {
    let sync = TestSync::new(
        Workspace::empty().with("endusers", vec![json!({"_id": "a", "phone": MARKER, "updatedAt": written(day(-1))})]),
    )
    .await;
    let mut tool = tool_under_rules(&sync);
    assert_eq!(tool.run(&["sync"]).code, 0);
    assert_eq!(sync.one("select object from planhat_sync.applied_rules").await, "endusers");
    assert!(!tool.run(&["status"]).stdout.contains("privacy rules"));

    let mut without = RULES.iter().fold(tool, |tool, (list, _)| tool.unset(&format!("PLANHAT_SYNC__OBJECTS__ENDUSERS__{list}")));
    assert_eq!(without.run(&["sync", "--full"]).code, 0);
    assert_eq!(sync.one("select planhat__phone from planhat.endusers").await, MARKER);
    let mut tool = tool_under_rules(&sync);
    assert!(tool.run(&["status"]).stdout.contains("stored before its privacy rules"));
    let refused = without.run(&["privacy", "apply", "endusers"]);
    assert_eq!((refused.code, refused.stderr.lines().next()), (2, Some("error: endusers has no privacy rules")));
    assert_eq!(without.run(&["privacy", "apply"]).stdout, "the settings have no privacy rules: there is nothing to apply\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_action_of_nothing_but_values_that_would_not_be_stored_is_removed() {
    let contact = |id: &str| json!({"_id": id, "phone": MARKER, "name": "Kim", "email": MARKER, "updatedAt": written(day(-30))});
    let sync = TestSync::new(Workspace::empty().with("endusers", ["a", "b", "c"].map(contact).to_vec())).await;
    sync.sync_one("endusers").await;
    let change = |id: &str, name: &str, to: &str| {
        sync.simulator
            .edit_source(|source| _ = source.change("endusers", id, |contact| _ = contact.insert(name.into(), json!(to))));
    };
    change("a", "phone", &format!("{MARKER} 2"));
    change("b", "phone", &format!("{MARKER} 2"));
    change("b", "name", "Kimberley");
    change("c", "email", &format!("{MARKER} 2"));
    sync.full_sync_one("endusers").await;
    let actions = "select string_agg(concat_ws(' ', id, record_id, kind), ', ' order by id) from planhat.actions";
    assert_eq!(sync.one(actions).await, "1 a created, 2 b created, 3 c created, 4 a updated, 5 b updated, 6 c updated");

    assert_eq!(tool_under_rules(&sync).run(&["privacy", "apply", "--yes"]).code, 0);

    assert_eq!(sync.one(actions).await, "1 a created, 2 b created, 3 c created, 5 b updated, 6 c updated");
    assert_eq!(
        sync.one("select changes::text from planhat.actions where id = 5").await,
        r#"{"planhat__name": {"new": "Kimberley", "old": "Kim"}}"#
    );
    let hashes = "select (changes -> 'planhat__email' ->> 'new' = (select planhat__email from planhat.endusers where planhat__id = 'c'))::text from planhat.actions where id = 6";
    assert_eq!(sync.one(hashes).await, "true");
    assert_nobody_sees(&sync).await;
}
