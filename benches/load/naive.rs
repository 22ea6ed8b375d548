//! The naive script: what one would write in an hour, as a yardstick for the reader.
//!
//! It reads one page after the other, as the other baselines do but one object at a time, and stores each record whole in a `jsonb` column,
//! by `insert … on conflict do update`, row by row, with a commit for each page. It has no columns, no position, no timeline, and no second
//! attempt.

use anyhow::{Context, Result};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::baseline::{BaselineReader, OVERLAP, listings};

pub(crate) async fn load(url: &str, token: &str, database: &str) -> Result<()> {
    let reader = BaselineReader::new(url, token);
    let mut db = PgConnection::connect(database).await?;
    sqlx::raw_sql("create schema planhat").execute(&mut db).await?;
    for object in listings() {
        let table = format!("planhat.{}", object.first().context("an object has no listing")?.object.name);
        let create = format!("create table {table} (id text primary key, record jsonb not null)");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut db).await?;
        let upsert = format!("insert into {table} values ($1, $2) on conflict (id) do update set record = excluded.record");
        for listing in object {
            for number in 0.. {
                let page = reader.page(&listing, number).await?;
                let records: Vec<&RawValue> = serde_json::from_slice(&page)?;
                let mut tx = db.begin().await?;
                for record in &records {
                    let id =
                        serde_json::from_str::<Value>(record.get())?["_id"].as_str().context("a record has no id")?.to_owned();
                    sqlx::query(AssertSqlSafe(upsert.as_str())).bind(id).bind(record).execute(&mut *tx).await?;
                }
                tx.commit().await?;
                if records.len() <= OVERLAP {
                    break;
                }
            }
        }
    }
    db.close().await?;
    Ok(())
}
