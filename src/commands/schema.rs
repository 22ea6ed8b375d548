//! `schema`: which Planhat field is behind each column.

use std::process::ExitCode;

use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_model::flatten::Column;
use planhat_model::record::Origin;
use planhat_model::rules::Rule;
use planhat_store::{self as store, JoinColumn, Store};
use serde::Serialize;

use super::with_store_read_only;
use crate::cli::OutputArgs;
use crate::command_error::CommandError;
use crate::config;
use crate::print;
use crate::workspace::Workspace;

#[derive(Debug, Serialize)]
pub(super) struct TableInfo {
    table: String,
    object: &'static str,
    rows: i64,
    columns: Vec<ColumnInfo>,
    /// Columns of planhat-sync that have references in one spelling.
    join_columns: Vec<JoinColumnInfo>,
    /// The statements that make it.
    #[serde(skip)]
    sql: String,
}

#[derive(Debug, Serialize)]
struct ColumnInfo {
    column: String,
    r#type: &'static str,
    planhat_name: String,
    origin: &'static str,
    /// What the settings do to its values, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct JoinColumnInfo {
    column: &'static str,
    r#type: &'static str,
    /// The properties that it is made from.
    made_from: String,
    refers_to: &'static str,
}

/// Shows these objects' tables, or all there are.
pub(super) async fn schema(
    workspace: &Workspace,
    names: &[String],
    output: OutputArgs,
    sql: bool,
) -> Result<ExitCode, CommandError> {
    let named = &config::objects_named(names).map_err(|unknown| {
        let hint = "`planhat-sync schema OBJECT` shows all columns of an object; a column cannot be named";
        CommandError { hint: Some(hint.to_owned()), ..CommandError::from(unknown) }
    })?;
    let tables = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(Vec::new());
        }
        tables(store, named).await
    })
    .await?;
    let tables = under_rules(tables, workspace);
    if output.json {
        print::json(&tables)?;
    } else if sql {
        tables.iter().for_each(|table| print::to_stdout(&table.sql));
        if named.is_empty() && !tables.is_empty() {
            rest_of_sql(workspace, &tables).iter().for_each(|statement| print::to_stdout(&format!("{statement};\n")));
        }
    } else if named.is_empty() || tables.is_empty() {
        print::to_stdout(&overview(&tables));
    } else {
        tables.iter().for_each(|table| print::to_stdout(&detail(table)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The statements for what is there besides the tables of the objects: actions, keys, and who may read all of it.
fn rest_of_sql(workspace: &Workspace, tables: &[TableInfo]) -> Vec<String> {
    let database = &workspace.settings.database;
    let mut readable: Vec<&str> = tables.iter().map(|table| table.object).collect();
    let mut statements = Vec::new();
    if workspace.settings.actions.enabled {
        statements.push(store::actions_sql(&database.schema));
        readable.push("actions");
    }
    statements.push(store::keys_sql(&database.schema));
    readable.push("keys");
    statements.extend(store::grants_sql(&database.schema, &readable, &database.grant_select_to));
    statements
}

/// The tables of these objects, or all there are.
pub(super) async fn tables(store: &Store, named: &[&'static Object]) -> Result<Vec<TableInfo>, CommandError> {
    let all: Vec<_> = catalog::OBJECTS.iter().collect();
    let tables = store.read_only(async |db| {
        let mut tables = Vec::new();
        for object in if named.is_empty() { &all } else { named } {
            if store::table_exists(&mut *db, &store.schema, object).await? {
                let columns = store::load_columns(&mut *db, &store.schema, object).await?;
                let rows = store::row_count(&mut *db, &store.schema, object).await?;
                let (join_columns, _) = store::join_columns_there(&mut *db, &store.schema, object, &columns).await?;
                tables.push(TableInfo {
                    table: format!("{}.{}", store.schema, object.name),
                    object: object.name,
                    rows,
                    columns: columns.iter().map(ColumnInfo::of).collect(),
                    join_columns: join_columns.iter().map(JoinColumnInfo::of).collect(),
                    sql: format!("{};\n", store::table_sql(&store.schema, object, &columns)),
                });
            }
        }
        Ok(tables)
    });
    Ok(tables.await?)
}

fn under_rules(mut tables: Vec<TableInfo>, workspace: &Workspace) -> Vec<TableInfo> {
    for table in &mut tables {
        let Some(rules) = workspace.settings.rules.get(table.object) else { continue };
        for field in &mut table.columns {
            let origin = Origin::parse(field.origin).unwrap_or(Origin::Property);
            field.rule = match rules.of(origin, &field.planhat_name) {
                Rule::Include => None,
                Rule::Exclude => Some("not stored"),
                Rule::Hash => Some("hashed"),
                Rule::Redact => Some("redacted"),
            };
        }
    }
    tables
}

impl ColumnInfo {
    fn of(column: &Column) -> ColumnInfo {
        ColumnInfo {
            column: column.name.clone(),
            r#type: column.kind.sql(),
            planhat_name: column.planhat_name.clone(),
            origin: column.origin.as_str(),
            rule: None,
        }
    }
}

impl JoinColumnInfo {
    fn of(column: &JoinColumn) -> JoinColumnInfo {
        let JoinColumn { name, kind, to, .. } = column;
        JoinColumnInfo { column: name, r#type: kind, made_from: column.properties(), refers_to: to }
    }
}

/// One line per table.
pub(super) fn overview(tables: &[TableInfo]) -> String {
    if tables.is_empty() {
        return "no tables yet; `planhat-sync sync` creates them".to_owned();
    }
    let custom = |table: &TableInfo| table.columns.iter().filter(|field| field.origin == "custom").count();
    let rows = tables.iter().map(|table| {
        let counts = [table.rows.to_string(), table.columns.len().to_string(), custom(table).to_string()];
        [table.table.clone()].into_iter().chain(counts)
    });
    print::table(&["table", "rows", "columns", "of them custom"], 1, rows)
}

fn detail(table: &TableInfo) -> String {
    let has_rules = table.columns.iter().any(|field| field.rule.is_some());
    let header = ["column", "type", "Planhat name", "origin", "rule"];
    let rows = table.columns.iter().map(|field| {
        let known = [field.column.clone(), field.r#type.to_owned(), field.planhat_name.clone(), field.origin.to_owned()];
        known.into_iter().chain(has_rules.then(|| field.rule.unwrap_or_default().to_owned()))
    });
    let for_joins = table.join_columns.iter().map(|column| {
        let known = [column.column, column.r#type, &column.made_from, "for joins"].map(str::to_owned);
        known.into_iter().chain(has_rules.then(String::new))
    });
    let rows: Vec<Vec<String>> = rows.map(|row| row.collect()).chain(for_joins.map(|row| row.collect())).collect();
    let columns = if has_rules { 5 } else { 4 };
    format!("{}: {} rows\n{}", table.table, table.rows, print::table(&header[..columns], columns, rows))
}
