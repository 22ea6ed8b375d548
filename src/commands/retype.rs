//! `retype`: changes the type of one column.

use std::process::ExitCode;

use anyhow::anyhow;
use planhat_model::catalog::{ColumnType, Object};
use planhat_model::error::exit_code as exit;
use planhat_model::flatten::{Column, Columns};
use planhat_store::{self as store, RunStatus, Store};

use super::{in_a_run_of_its_own, with_store};
use crate::command_error::CommandError;
use crate::config::{self, nearest};
use crate::print;
use crate::workspace::Workspace;

/// What its run is called.
const RETYPE: &str = "retype";

pub(super) async fn retype(
    workspace: &Workspace,
    object: &str,
    column: &str,
    kind: ColumnType,
) -> Result<ExitCode, CommandError> {
    let object = config::objects_named(&[object])?.remove(0);
    let text = with_store(workspace, async |store| {
        find_column(store, object, column).await?;
        store.migrate().await?;
        // As a run of its own, so that no sync works with the old type meanwhile.
        let change = async |run_id| Ok((change(store, run_id, object, column, kind).await?, RunStatus::Succeeded));
        in_a_run_of_its_own(store, RETYPE, change).await
    })
    .await?;
    print::to_stdout(&text);
    Ok(ExitCode::SUCCESS)
}

/// Says what would become of the values, and changes nothing.
pub(super) async fn preview(
    workspace: &Workspace,
    object: &str,
    column: &str,
    kind: ColumnType,
) -> Result<ExitCode, CommandError> {
    let object = config::objects_named(&[object])?.remove(0);
    let text = with_store(workspace, async |store| {
        let column = &find_column(store, object, column).await?;
        let place = format!("{}.{}.{}", store.schema, object.name, column.name);
        if column.kind == kind {
            return Ok(format!("{place} is {} already", kind.sql()));
        }
        let rules = workspace.settings.rules.get(object.name);
        let query = store::RetypeQuery { schema: &store.schema, object, column, kind, rules };
        let preview = store.read_only(async |db| store::preview_retype(db, query).await).await?;
        Ok(text_of(&preview, &format!("{place} is {}. As {}", column.kind.sql(), kind.sql())))
    })
    .await?;
    print::to_stdout(&text);
    Ok(ExitCode::SUCCESS)
}

fn text_of(preview: &store::RetypePreview, what: &str) -> String {
    /// Characters of a value.
    const LONGEST_SAMPLE: usize = 60;
    let store::RetypePreview { rows, stay, leave, join, stay_out, samples } = preview;
    let mut text = format!("{what}: {} in the column would stay there, {leave} would move to _misfits", values(*stay));
    text.push_str(&format!("\n{} would move from _misfits into the column, {stay_out} would stay in _misfits", values(*join)));
    if !samples.is_empty() {
        let samples: Vec<String> = samples.iter().map(|sample| print::shortened(sample, LONGEST_SAMPLE)).collect();
        text.push_str(&format!("\nexamples of values that do not fit: {}", samples.join(", ")));
    }
    let rows = if *rows == 1 { "its 1 row".to_owned() } else { format!("all {rows} rows") };
    text.push_str(&format!("\nwhile retype runs, nobody can read or write the table; it rewrites {rows}"));
    text.push_str("\nnothing was changed: this is what retype would do without --dry-run");
    text
}

/// `1 value`, `2 values`
fn values(count: u64) -> String {
    if count == 1 { "1 value".to_owned() } else { format!("{count} values") }
}

async fn change(
    store: &Store,
    run_id: i64,
    object: &'static Object,
    column: &str,
    kind: ColumnType,
) -> Result<String, CommandError> {
    let column = &find_column(store, object, column).await?;
    let place = format!("{}.{}.{}", store.schema, object.name, column.name);
    if column.kind == kind {
        return Ok(format!("{place} is {} already", kind.sql()));
    }
    let retyped = store.transaction(async |db| {
        let retyped = store::retype(&mut *db, &store.schema, object, column, kind).await?;
        store::end_scans(&mut *db, &store.schema, object).await?;
        store::fence(db, &store.schema, run_id).await?;
        Ok(retyped)
    });
    let retyped = retyped.await?;
    let fitting = format!("{} {}", values(retyped.fitting), if retyped.fitting == 1 { "fits" } else { "fit" });
    let misfits = match retyped.misfits {
        0 => "no value is left in _misfits".to_owned(),
        1 => "1 value does not fit and is kept in _misfits".to_owned(),
        count => format!("{count} values do not fit and are kept in _misfits"),
    };
    Ok(format!(
        "{place} is {} now: {fitting}, {misfits}\n`planhat-sync backfill {}` writes the values again as Planhat has them",
        kind.sql(),
        object.name
    ))
}

/// Finds the column, before anything is begun and again when nobody else can change it.
async fn find_column(store: &Store, object: &Object, column: &str) -> Result<Column, CommandError> {
    if !store.is_set_up().await? {
        let missing = anyhow!("{} has no table yet", object.name);
        return Err(CommandError::new(exit::CONFIGURATION, missing, Some("`planhat-sync sync` creates it")));
    }
    let columns = store.transaction(async |db| store::load_columns(db, &store.schema, object).await).await?;
    find(&columns, object, column).cloned()
}

fn find<'a>(columns: &'a Columns, object: &Object, name: &str) -> Result<&'a Column, CommandError> {
    let wrong = |text: String| {
        CommandError::new(exit::CONFIGURATION, anyhow!(text), Some("`planhat-sync schema OBJECT` shows the columns"))
    };
    match columns.named(name) {
        Some(column) if column.planhat_name == "_id" => {
            Err(wrong("planhat__id is the primary key of its table and must stay text".to_owned()))
        }
        Some(column) => Ok(column),
        None => {
            let names = columns.iter().map(|column| column.name.as_str());
            let meant = nearest(name, names).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
            Err(wrong(format!("{} has no column {name:?}{meant}", object.name)))
        }
    }
}
