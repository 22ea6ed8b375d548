//! `demo`: the main job, shown on a simulated workspace. Needs no token, no database, no network.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use planhat_api::Client;
use planhat_model::catalog;
use planhat_simulator::{self as simulator, Simulator};
use planhat_store::{self as store, RunStatus, SampleQuery, Store};
use serde_json::json;

use super::{schema, sync};
use crate::command_error::CommandError;
use crate::config::{self, Settings};
use crate::print;
use crate::pull::Mode;
use crate::run::{self, RunRequest, Summary};
use crate::signals::{self, Stop};
use crate::workspace::Workspace;

/// Enough for several pages.
const GENERATED_RECORDS: usize = 1500;
const SEED: u64 = 7;
const FOUR_OF_THEM: &str = " where planhat__name in ('Åkerö & Söner', 'Nordlicht Energie GmbH', 'Café Corrientes S.A.',
     '北海テクノロジー株式会社')";
/// The day on which the simulated workspace is as fresh as its records say, so that the demo shows
/// the same in years to come.
const TODAY: &str = "2026-11-21T12:00:00Z";

pub(super) async fn demo() -> Result<ExitCode, CommandError> {
    print::to_stdout("A simulated Planhat workspace on a loopback port, and an empty embedded PostgreSQL 17 …\n");
    let simulator =
        Simulator::start(records(), simulator::Options::default()).await.context("could not start the simulated Planhat")?;
    let workspace = Workspace::new(settings_for(&simulator)?);
    // From here on there is something to clean up.
    let stop = signals::listen()?;
    let store = workspace.open_temporary_store().await?;
    store.stop_on(stop.token.clone());
    let result = show(&simulator, &workspace, &store, &stop).await;
    store.close().await;
    result
}

/// The fixtures, which have every awkward shape there is, and some bulk.
fn records() -> simulator::Workspace {
    let fixtures = simulator::Workspace::from_fixtures();
    let bulk = simulator::Workspace::generated(SEED, GENERATED_RECORDS);
    catalog::default_objects().into_iter().fold(simulator::Workspace::empty(), |records, object| {
        records.with(object.name, [fixtures.records(object.name), bulk.records(object.name)].concat())
    })
}

fn settings_for(simulator: &Simulator) -> Result<Settings, CommandError> {
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = HashMap::from([
        set("PLANHAT_API_URL", &simulator.url()),
        set("PLANHAT_API_TOKEN", simulator.token()),
        set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0"),
    ]);
    Ok(config::load_without_file(environment)?)
}

async fn show(simulator: &Simulator, workspace: &Workspace, store: &Store, stop: &Stop) -> Result<ExitCode, CommandError> {
    let client = workspace.client()?;
    store.migrate().await?;

    print::to_stdout("$ planhat-sync sync        # the first run of an object is its historical load");
    let first = sync_once(&client, workspace, store, stop).await?;
    print::to_stdout(&sync::text_of(&first));
    if first.status != RunStatus::Succeeded {
        return Ok(ExitCode::from(sync::exit_code(&first, stop)));
    }

    print::to_stdout("\n$ planhat-sync schema      # what was loaded");
    print::to_stdout(&schema::overview(&schema::tables(store, &[]).await?));

    print::to_stdout("\n$ psql -c 'select … from planhat.companies'      # properties and custom fields are columns");
    print::to_stdout(&companies(workspace, store, FOUR_OF_THEM).await?);

    edit_some(simulator);
    print::to_stdout(
        "\nNow somebody works in Planhat: renames a company and changes a custom field, talks to another one,\n\
         corrects a contact's position, and opens a new opportunity. Then:\n\n\
         $ planhat-sync sync        # only what changed is written",
    );
    let second = sync_once(&client, workspace, store, stop).await?;
    print::to_stdout(&sync::text_of(&second));
    if second.status != RunStatus::Succeeded {
        return Ok(ExitCode::from(sync::exit_code(&second, stop)));
    }

    print::to_stdout(
        "\n$ psql -c 'select … from planhat.companies where _run_id = 2'      # just these two companies were written",
    );
    print::to_stdout(&companies(workspace, store, " where _run_id = 2").await?);
    print::to_stdout(
        "\nThe demo is over; its data has been deleted. For your own workspace:\n\n  \
         export PLANHAT_API_TOKEN=…        # of a private app in Planhat, with read access\n  \
         export DATABASE_URL=postgres://user:password@host:5432/database    # or leave it out for the embedded one\n  \
         planhat-sync check                # prints what is missing\n  \
         planhat-sync sync                 # the first time the history (4 years unless set otherwise), then what changed",
    );
    Ok(ExitCode::SUCCESS)
}

async fn sync_once(client: &Client, workspace: &Workspace, store: &Store, stop: &Stop) -> Result<Summary, CommandError> {
    let objects = &workspace.settings.planhat.objects;
    let request = RunRequest { now: today(), ..workspace.run_request("demo", Mode::Incremental, objects) };
    Ok(run::run(client, store, &request, &stop.token).await?)
}

/// Some companies as they stand in the table.
async fn companies(workspace: &Workspace, store: &Store, condition: &'static str) -> Result<String, CommandError> {
    let columns = [
        "planhat__name",
        "planhat__status",
        "planhat__mrr",
        "planhat__seats__custom",
        "planhat__rocket_go_live_eu__custom",
        "planhat__modules__custom",
    ];
    let Some(object) = catalog::object("companies") else { return Ok(String::new()) };
    let wanted = SampleQuery {
        schema: &store.schema,
        object,
        rules: workspace.settings.rules.get(object.name),
        columns: &columns,
        condition,
    };
    let rows = store.read_only(async |db| store::sample(db, wanted, 4).await).await?;
    Ok(print::table(&columns, columns.len(), rows))
}

fn today() -> DateTime<Utc> {
    TODAY.parse().unwrap_or_else(|_| Utc::now())
}

fn edit_some(simulator: &Simulator) {
    let id_of = |object: &str, index: usize| {
        simulator.records(object).get(index).and_then(|record| Some(record["_id"].as_str()?.to_owned())).unwrap_or_default()
    };
    let now = today() + TimeDelta::hours(1);
    simulator.edit("companies", &id_of("companies", 0), now, |company| {
        company.insert("name".into(), json!("Åkerö & Söner International"));
        if let Some(custom) = company.get_mut("custom").and_then(serde_json::Value::as_object_mut) {
            custom.insert("# Seats".into(), json!(25));
        }
    });
    simulator.touch("companies", &id_of("companies", 1), now);
    simulator.edit("endusers", &id_of("endusers", 0), now, |contact| {
        contact.insert("position".into(), json!("Head of Operations"));
    });
    let written = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    simulator.add(
        "opportunities",
        json!({"_id": "70000000000000000000abcd", "title": "Upsell Q1", "status": "active", "mrr": 1200.50,
               "companyId": id_of("companies", 0), "createdAt": written, "updatedAt": written}),
    );
}
