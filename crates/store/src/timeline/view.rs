//! The view that people read the timeline by: actions with names, in words, and with the record as it is now.
//!
//! It names no column of a table but its key: it takes each row as a whole, so that it is in nobody's way who
//! retypes, adds or drops a column, and its own columns stay the same whatever the tables hold.

use sqlx::{FromRow, PgConnection};
use xxhash_rust::xxh3::xxh3_64;

use super::action_table::TABLE;
use crate::data::tables::lock_all_columns;
use crate::sql::{Definition, Sql, query_as, query_scalar};
use crate::store_error::{StoreError, could_not, could_not_define};

pub(crate) const VIEW: &str = "timeline";
/// The beginning of the view's comment, by which a view of planhat-sync is recognised.
const ABOUT: &str = "What happened, for people, kept by planhat-sync: each action with the names of company and end user, what \
     changed in words, and the record as it is now.";

/// Creates the view, or recreates it if there are new tables.
pub async fn create_timeline_view(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    lock_all_columns(&mut *db, schema).await?;
    let tables = tables(&mut *db, schema).await?;
    let definition = select(Sql::default(), schema, &tables).to_string();
    let about =
        format!("{ABOUT} Definition {:016x}.", xxh3_64((definition + &oids(&mut *db, schema, &tables).await?).as_bytes()));
    let options = match found(&mut *db, schema).await? {
        Some(ExistingRelation { is_view: true, comment: Some(comment), .. }) if comment == about => return Ok(()),
        Some(ExistingRelation { is_view: true, comment: Some(comment), options }) if comment.starts_with(ABOUT) => options,
        Some(_) => return Err(StoreError::NameTaken { relation: format!("{schema}.{VIEW}") }),
        None => Vec::new(),
    };
    let view = Sql::new("create or replace view ").table(schema, VIEW);
    let view =
        if options.is_empty() { view } else { view.text(" with (").list(options.iter().map(String::as_str), option).text(")") };
    let comment = Sql::new("comment on view ").table(schema, VIEW).text(" is ").literal(&about);
    let view = Definition::default().statement(select(view.text(" as "), schema, &tables)).comment(comment);
    view.execute(db).await.map_err(could_not_define("make the timeline"))
}

/// The relation that has the view's name.
#[derive(FromRow)]
struct ExistingRelation {
    is_view: bool,
    comment: Option<String>,
    /// What a user has set: they would not outlive the view's being made anew.
    options: Vec<String>,
}

/// An option as the catalogue has it, `security_invoker=true`.
fn option(sql: Sql, option: &str) -> Sql {
    let (name, value) = option.split_once('=').unwrap_or((option, "true"));
    sql.name(name).text(" = ").literal(value)
}

/// A view goes on to read a table that was renamed, not the one that has its name now.
async fn oids(db: &mut PgConnection, schema: &str, tables: &[String]) -> Result<String, StoreError> {
    query_scalar(
        "select coalesce(string_agg(pg_class.oid::text, ' ' order by relname), '')
         from pg_class
         where relnamespace = (select oid from pg_namespace where nspname = $1) and relname = any(array_append($2, $3))",
    )
    .bind(schema)
    .bind(tables)
    .bind(TABLE)
    .fetch_one(db)
    .await
    .map_err(could_not("look for tables"))
}

async fn found(db: &mut PgConnection, schema: &str) -> Result<Option<ExistingRelation>, StoreError> {
    query_as(
        "select relkind = 'v' as is_view, obj_description(pg_class.oid, 'pg_class') as comment,
             coalesce(reloptions, '{}') as options
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = $1 and relname = $2",
    )
    .bind(schema)
    .bind(VIEW)
    .fetch_optional(db)
    .await
    .map_err(could_not("look for a view"))
}

/// The objects whose tables are there. Each is looked up by its name: with many workspaces there are a hundred thousand relations.
pub(crate) async fn tables(db: &mut PgConnection, schema: &str) -> Result<Vec<String>, StoreError> {
    query_scalar(
        "select object from (select distinct object from planhat_sync.columns where workspace = $1) as synced
         where (select relkind in ('r', 'p') from pg_class
             where relname = object and relnamespace = (select oid from pg_namespace where nspname = $1))
         order by object",
    )
    .bind(schema)
    .fetch_all(db)
    .await
    .map_err(could_not("look for tables"))
}

/// A join on a key, or a look-up, costs nothing where nobody asks for what it brings.
fn select(sql: Sql, schema: &str, tables: &[String]) -> Sql {
    let sql = sql.text("select action.happened_at, action.seen_at, action.action, action.kind, ");
    let sql = name_of(sql, tables, COMPANY, "planhat__name").text(" as company, coalesce(nullif(");
    let sql = name_of(sql, tables, END_USER, "planhat__name").text(", ''), ");
    let sql = name_of(sql, tables, END_USER, "planhat__email").text(") as end_user, ").text(IN_WORDS).text(
        " as changed, action.object, action.record_id, action.company_id, action.end_user_id, action.id, action.run_id,
             action.changes, case action.object",
    );
    let sql = tables.iter().fold(sql, |sql, table| {
        sql.text("\n when ")
            .literal(table)
            .text(
                " then (select to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id,company_id,company_ids,owner_id,\
                  owner_ids,end_user_id,end_user_ids}'::text[] from ",
            )
            .table(schema, table)
            .text(" as record where record.planhat__id = action.record_id)")
    });
    let sql = if tables.is_empty() { sql.text(" when '' then null::jsonb") } else { sql };
    // Behind all others: a view that is there takes new columns at its end only.
    from_named(sql.text(" end as record, action.first_seen"), schema, tables)
}

/// A table that actions take names from.
#[derive(Clone, Copy)]
pub(super) struct NamedBy {
    table: &'static str,
    alias: &'static str,
    on: &'static str,
}

pub(super) const COMPANY: NamedBy =
    NamedBy { table: "companies", alias: "company", on: " as company on company.planhat__id = action.company_id" };
pub(super) const END_USER: NamedBy =
    NamedBy { table: "endusers", alias: "end_user", on: " as end_user on end_user.planhat__id = action.end_user_id" };

impl NamedBy {
    fn is_in(self, tables: &[String]) -> bool {
        tables.iter().any(|table| table == self.table)
    }
}

/// A name as the table has it now.
pub(super) fn name_of(sql: Sql, tables: &[String], by: NamedBy, column: &'static str) -> Sql {
    match by.is_in(tables) {
        true => sql.text("to_jsonb(").text(by.alias).text(".*) ->> '").text(column).text("'"),
        false => sql.text("null::text"),
    }
}

/// `from` the actions, with the tables that they take names from.
pub(super) fn from_named(sql: Sql, schema: &str, tables: &[String]) -> Sql {
    let sql = sql.text(" from ").table(schema, TABLE).text(" as action");
    let named = [COMPANY, END_USER].into_iter().filter(|by| by.is_in(tables));
    named.fold(sql, |sql, by| sql.text(" left join ").table(schema, by.table).text(by.on))
}

/// `phase: Onboarding → Live, mrr: 100 → 120`. What moves with every edit comes last, and long values are cut short.
pub(super) const IN_WORDS: &str = "(select string_agg(line, ', ' order by rank) filter (where rank <= 12)
         || case when max(rank) > 12 then ', and ' || max(rank) - 12 || ' more' else '' end
     from (select name || ': ' || case when length(old) > 60 then left(old, 59) || '…' else old end
               || ' → ' || case when length(new) > 60 then left(new, 59) || '…' else new end as line,
               row_number() over (order by name in ('updated_at', 'last_updated', 'update_date', 'v'), name) as rank
           from (select regexp_replace(key, '^planhat__|__custom$', '', 'g') as name, coalesce(value ->> 'old', '–') as old,
                     coalesce(value ->> 'new', '–') as new
                 from jsonb_each(action.changes)) as change) as line)";
