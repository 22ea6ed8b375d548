//! The embedded PostgreSQL: the same rows by the same code, and a demo that needs nothing else.
#![cfg(feature = "embedded")]

use std::collections::BTreeMap;

use planhat_model::catalog;
use planhat_simulator::{Options, Workspace};
use planhat_store::{EmbeddedLocation, Store};
use serde_json::Value;

use crate::cli::Tool;
use crate::daemon::DaemonProcess;
use crate::harness::{StoredTable, TestSync};
use crate::many_workspaces::Fleet;
use crate::waiting::eventually;
use crate::workspaces::trap_workspace;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_holds_the_same_rows_as_a_server() {
    let server = TestSync::new(Workspace::from_fixtures()).await;
    let store = Store::embedded(EmbeddedLocation::Temporary, "planhat").await.unwrap();
    let embedded = TestSync::into(store, Workspace::from_fixtures(), Options::default()).await;

    server.sync().await;
    embedded.sync().await;
    let second = embedded.sync().await;

    for object in catalog::default_objects() {
        let (on_server, in_embedded) =
            (StoredTable::read(&server.store, object.name).await, StoredTable::read(&embedded.store, object.name).await);
        assert_eq!(data_of(&on_server), data_of(&in_embedded), "{}", object.name);
    }
    assert!(second.objects.iter().all(|object| object.run.figures.inserted + object.run.figures.updated == 0));
    embedded.assert_equals_workspace(&catalog::default_objects()).await;
    embedded.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_keeps_its_data_between_runs() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("DATABASE_URL", "");

    let first = tool.run(&["sync", "companies", "users"]);
    let second = tool.run(&["sync", "--json", "companies", "users"]);

    assert_eq!(first.code, 0, "{}", first.all());
    assert_eq!(second.json()["objects"][0]["inserted"], 0);
    assert_ne!(second.json()["objects"][0]["unchanged"], 0);
    assert!(tool.home.path().join(".local/share/planhat-sync").is_dir());
    assert!(tool.run(&["status"]).stdout.contains("succeeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_workspaces_share_the_embedded_database_and_its_one_connection() {
    let mut fleet = Fleet::of(&["acme", "bolt", "coda"]).await;
    for (name, value) in [
        ("DATABASE_URL", ""),
        ("RUST_LOG", "info"),
        ("PLANHAT_SYNC__LOG__FORMAT", "json"),
        ("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0"),
        ("PLANHAT_SYNC__DAEMON__JITTER", "0s"),
    ] {
        fleet.tool.put(name, Some(value));
    }
    let synced = fleet.run(&["sync"]);
    assert_eq!(synced.code, 0, "{}", synced.all());

    let daemon = DaemonProcess::start(&fleet.tool, &["--config", "config.toml", "daemon"]);
    let all_ran = async || daemon.get("/metrics").await.1.contains("planhat_sync_runs_total{status=\"succeeded\"} 3");
    eventually("a run of each workspace", all_ran).await;
    daemon.signal("TERM");
    let (code, log) = daemon.end();
    assert_eq!(code, Some(0), "{log}");

    let status = fleet.run(&["status"]);
    assert_eq!(status.code, 0, "{}", status.all());
    let runs = fleet.run(&["runs"]).stdout;
    assert_eq!(runs.matches("daemon").count(), 3, "{runs}");
}

#[test]
fn the_demo_loads_shows_edits_and_syncs_again() {
    let ran = Tool::new().run(&["demo"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(ran.stderr, "");
    for shown in [
        "run 1 succeeded",
        "planhat.companies",
        "planhat__seats__custom",
        "run 2 succeeded",
        "Åkerö & Söner International",
        "PLANHAT_API_TOKEN",
    ] {
        assert!(ran.stdout.contains(shown), "{shown}: {}", ran.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_workspace_fits_the_embedded_database() {
    let wide: serde_json::Map<String, Value> = (0..1500).map(|number| (format!("Field {number}"), number.into())).collect();
    let workspace = trap_workspace().with("projects", vec![serde_json::json!({"_id": "a", "custom": wide})]);
    let store = Store::embedded(EmbeddedLocation::Temporary, "planhat").await.unwrap();
    let sync = TestSync::into(store, workspace, Options::default()).await;

    sync.sync().await;
    sync.assert_equals_workspace(&catalog::default_objects()).await;

    let mut random = fastrand::Rng::with_seed(1);
    let too_long: String = std::iter::repeat_with(|| random.alphanumeric()).take(5000).collect();
    for bad in [serde_json::json!({"name": "nobody"}), serde_json::json!({"_id": too_long}), serde_json::json!({"_id": "good"})] {
        sync.simulator.add("licenses", bad);
    }
    let figures = sync.sync_one("licenses").await.run.figures;
    assert_eq!((figures.inserted, figures.quarantined), (1, 2));
    sync.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_while_the_embedded_database_is_in_use() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("DATABASE_URL", "");
    let folder = tool.home.path().join(".local/share/planhat-sync");
    let busy = Store::embedded(EmbeddedLocation::Folder(folder), "planhat").await.unwrap();

    let ran = tool.run(&["status"]);
    busy.close().await;

    assert_eq!(ran.code, 75, "{}", ran.all());
    assert!(ran.stderr.starts_with("error: another planhat-sync is using the embedded PostgreSQL"), "{}", ran.stderr);
    let free = tool.run(&["status"]);
    assert_eq!(free.code, 1, "{}", free.all());
    assert!(free.stdout.starts_with("nothing has been synced yet; run `planhat-sync sync`\n"), "{}", free.stdout);
    assert!(free.stdout.contains("the data is in schema planhat of embedded, in /"), "{}", free.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_only_read_create_no_embedded_database() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("DATABASE_URL", "");
    let folder = tool.home.path().join(".local/share/planhat-sync");
    let none = format!(
        "there is no database yet in {}; set DATABASE_URL, or run `planhat-sync sync` to create an embedded one",
        folder.display()
    );
    for command in [&["status"][..], &["runs"], &["actions"], &["schema"], &["runs", "show", "1"]] {
        let looked = tool.run(command);
        assert!(looked.stderr.starts_with(&none), "{command:?}: {}", looked.all());
        assert!(!looked.stdout.contains("the data is in"), "{command:?}: {}", looked.all());
    }
    for command in ["runs", "schema"] {
        assert_eq!(tool.run(&[command, "--json"]).json(), serde_json::json!([]), "{command}");
    }
    let status = tool.run(&["status", "--json"]);
    assert_eq!(
        (status.code, &status.json()["fresh"], &status.json()["objects"][0]["state"]),
        (1, &false.into(), &"never_synced".into())
    );
    assert_eq!(tool.run(&["actions", "--json"]).stdout, "");
    let checked = tool.run(&["check"]);
    assert!(checked.stdout.contains(&format!("warn  database       {none}")) && checked.code == 0, "{}", checked.all());
    assert!(tool.run(&["quarantine"]).stderr.starts_with(&none));
    for command in [&["retype", "companies", "planhat__name", "text"][..], &["adopt"], &["actions", "--follow"]] {
        let refused = tool.run(command);
        assert!(refused.code == 2 && refused.stderr.starts_with(&format!("error: {none}")), "{command:?}: {}", refused.all());
    }
    let dry = tool.run(&["sync", "--dry-run", "companies"]);
    assert!(dry.code == 0 && dry.stdout.contains("would create the table"), "{}", dry.all());
    assert!(!folder.exists());

    assert_eq!(tool.run(&["sync", "companies"]).code, 0);
    let checked = tool.run(&["check"]);
    assert!(checked.stdout.contains(&format!(", embedded, in {}", folder.display())), "{}", checked.all());
    assert!(tool.run(&["runs"]).stdout.contains("succeeded"));
}

/// The columns that hold data.
fn data_of(table: &StoredTable) -> BTreeMap<&str, BTreeMap<&str, &Value>> {
    let own = ["_first_seen_at", "_synced_at", "_run_id"];
    table
        .rows
        .iter()
        .map(|(id, row)| {
            let cells = row.iter().map(|(column, value)| (column.as_str(), value));
            (id.as_str(), cells.filter(|(column, _)| !own.contains(column)).collect())
        })
        .collect()
}
