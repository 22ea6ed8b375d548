//! The timeline as it is read: a view for people, the same for the command line, and who has read how far.
//!
//! The view names no column of a table but its key: it takes each row as a whole, so that it is in nobody's way who
//! retypes, adds or drops a column, and its own columns stay the same whatever the tables hold.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::postgres::PgListener;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_64;

use crate::Store;
use crate::connection::pool;
use crate::sql::{Sql, query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_log::{self as actions, CHANNEL, TABLE};

pub(crate) const VIEW: &str = "timeline";
/// By which a view is known to be ours.
const ABOUT: &str = "What happened, for people, kept by planhat-sync: each action with the names of company and end user, what \
     changed in words, and the record as it is now.";

/// Makes the view, or makes it anew where there are tables that it does not know of.
pub async fn create_timeline_view(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    query("select set_config('lock_timeout', '5s', true), pg_advisory_xact_lock(hashtextextended($1 || '.timeline', 0))")
        .bind(schema)
        .execute(&mut *db)
        .await
        .map_err(could_not("wait for another change of the timeline"))?;
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
    let view =
        select(view.text(" as "), schema, &tables).text(";\ncomment on view ").table(schema, VIEW).text(" is ").literal(&about);
    sqlx::raw_sql(view.safe()).execute(db).await.map_err(could_not("make the timeline"))?;
    Ok(())
}

/// What has the view's name.
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
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = $1 and (relname = any($2) or relname = $3)",
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

/// The objects whose tables are there.
async fn tables(db: &mut PgConnection, schema: &str) -> Result<Vec<String>, StoreError> {
    query_scalar(
        "select distinct object from planhat_sync.columns
             join pg_class on relname = object and relkind in ('r', 'p')
             join pg_namespace on pg_namespace.oid = relnamespace and nspname = workspace
         where workspace = $1 order by object",
    )
    .bind(schema)
    .fetch_all(db)
    .await
    .map_err(could_not("look for tables"))
}

/// A join on a key, or a look-up, costs nothing where nobody asks for what it brings.
fn select(sql: Sql, schema: &str, tables: &[String]) -> Sql {
    let there = |table: &str| tables.iter().any(|known| known == table);
    let sql = sql.text("select action.happened_at, action.seen_at, action.action, action.kind, ");
    let sql = match there("companies") {
        true => sql.text("to_jsonb(company.*) ->> 'planhat__name'"),
        false => sql.text("null::text"),
    };
    let sql = sql.text(" as company, ");
    let sql = match there("endusers") {
        true => {
            sql.text("coalesce(nullif(to_jsonb(end_user.*) ->> 'planhat__name', ''), to_jsonb(end_user.*) ->> 'planhat__email')")
        }
        false => sql.text("null::text"),
    };
    let sql = sql.text(" as end_user, ").text(IN_WORDS).text(
        " as changed, action.object, action.record_id, action.company_id, action.end_user_id, action.id, action.run_id,
             action.changes, case action.object",
    );
    let sql = tables.iter().fold(sql, |sql, table| {
        sql.text("\n when ")
            .literal(table)
            .text(" then (select to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[] from ")
            .table(schema, table)
            .text(" as record where record.planhat__id = action.record_id)")
    });
    let sql = if tables.is_empty() { sql.text(" when '' then null::jsonb") } else { sql };
    let sql = sql.text(" end as record from ").table(schema, TABLE).text(" as action");
    let joined = [
        ("companies", " as company on company.planhat__id = action.company_id"),
        ("endusers", " as end_user on end_user.planhat__id = action.end_user_id"),
    ];
    joined
        .into_iter()
        .filter(|(table, _)| there(table))
        .fold(sql, |sql, (table, on)| sql.text(" left join ").table(schema, table).text(on))
}

/// `phase: Onboarding → Live, mrr: 100 → 120`. What moves with every edit comes last, and long values are cut short.
const IN_WORDS: &str = "(select string_agg(line, ', ' order by rank) filter (where rank <= 12)
         || case when max(rank) > 12 then ', and ' || max(rank) - 12 || ' more' else '' end
     from (select name || ': ' || case when length(old) > 60 then left(old, 59) || '…' else old end
               || ' → ' || case when length(new) > 60 then left(new, 59) || '…' else new end as line,
               row_number() over (order by name in ('updated_at', 'last_updated', 'update_date', 'v'), name) as rank
           from (select regexp_replace(key, '^planhat__|__custom$', '', 'g') as name, coalesce(value ->> 'old', '–') as old,
                     coalesce(value ->> 'new', '–') as new
                 from jsonb_each(action.changes)) as change) as line)";

/// An action as it is read.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct PastAction {
    pub id: i64,
    pub happened_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
    pub action: String,
    pub kind: String,
    pub object: String,
    pub record_id: String,
    pub company_id: Option<String>,
    /// Its name as of now.
    pub company: Option<String>,
    pub end_user_id: Option<String>,
    pub end_user: Option<String>,
    pub run_id: i64,
    /// As PostgreSQL writes it, to the last digit.
    pub changes: Option<Json<Box<RawValue>>>,
    /// In words.
    pub changed: Option<String>,
}

/// Which actions are wanted.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// All where none is named.
    pub objects: Vec<String>,
    pub kinds: Vec<String>,
    /// An id.
    pub company: Option<String>,
}

/// The newest actions first, those of one company by when they happened.
pub async fn newest_actions(
    db: &mut PgConnection,
    schema: &str,
    filter: &ActionFilter,
    since: Option<DateTime<Utc>>,
    count: i64,
) -> Result<Vec<PastAction>, StoreError> {
    if !actions::actions_table_exists(&mut *db, schema).await? {
        return Ok(Vec::new());
    }
    let tables = tables(&mut *db, schema).await?;
    let sql = filtered_sql(schema, &tables).text(" and ($4::timestamptz is null or seen_at >= $4) order by ");
    let sql = if filter.company.is_some() { sql.text("happened_at desc, ") } else { sql };
    query_as(sql.text("id desc limit $5").safe())
        .bind(&filter.objects)
        .bind(&filter.kinds)
        .bind(&filter.company)
        .bind(since)
        .bind(count)
        .fetch_all(db)
        .await
        .map_err(could_not("read the timeline"))
}

/// The next actions behind an id, in the order in which they were committed.
pub async fn next_actions(
    db: &mut PgConnection,
    schema: &str,
    filter: &ActionFilter,
    after: i64,
    upto: i64,
    count: i64,
) -> Result<Vec<PastAction>, StoreError> {
    let tables = tables(&mut *db, schema).await?;
    let sql = filtered_sql(schema, &tables).text(" and id > $4 and id <= $5 order by id limit $6");
    query_as(sql.safe())
        .bind(&filter.objects)
        .bind(&filter.kinds)
        .bind(&filter.company)
        .bind(after)
        .bind(upto)
        .bind(count)
        .fetch_all(db)
        .await
        .map_err(could_not("read the timeline"))
}

fn filtered_sql(schema: &str, tables: &[String]) -> Sql {
    let sql = Sql::new(
        "select id, happened_at, seen_at, action, kind, object, record_id, company_id, company, end_user_id, end_user, run_id,
             changes, changed
         from (",
    );
    select(sql, schema, tables).text(
        ") as timeline where ($1::text[] = '{}' or object = any($1)) and ($2::text[] = '{}' or kind = any($2))
             and ($3::text is null or company_id = $3)",
    )
}

/// The id of the last action that was committed; 0 where there is none, none where there is no table for them.
pub async fn latest_action(db: &mut PgConnection, schema: &str) -> Result<Option<i64>, StoreError> {
    if !actions::actions_table_exists(&mut *db, schema).await? {
        return Ok(None);
    }
    let sql = Sql::new("select coalesce(max(id), 0) from ").table(schema, TABLE);
    query_scalar(sql.safe()).fetch_one(db).await.map(Some).map_err(could_not("read the timeline"))
}

/// The id of the last action that was seen before an instant.
pub async fn last_action_before(db: &mut PgConnection, schema: &str, since: DateTime<Utc>) -> Result<i64, StoreError> {
    // What was seen later has a larger id.
    let sql = Sql::new("select coalesce((select id from ")
        .table(schema, TABLE)
        .text(" where seen_at < $1 order by seen_at desc, id desc limit 1), 0)");
    query_scalar(sql.safe()).bind(since).fetch_one(db).await.map_err(could_not("read the timeline"))
}

/// How far a consumer has read, if it has begun.
pub async fn consumer_position(db: &mut PgConnection, workspace: &str, consumer: &str) -> Result<Option<i64>, StoreError> {
    query_scalar("select last_action_id from planhat_sync.consumers where workspace = $1 and name = $2")
        .bind(workspace)
        .bind(consumer)
        .fetch_optional(db)
        .await
        .map_err(could_not("read the position of a consumer"))
}

/// Notes how far a consumer has read, never less far than before.
pub async fn save_consumer_position(
    db: &mut PgConnection,
    workspace: &str,
    consumer: &str,
    last_id: i64,
) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.consumers as old (workspace, name, last_action_id) values ($1, $2, $3)
         on conflict (workspace, name) do update set last_action_id = excluded.last_action_id, updated_at = now()
         where old.last_action_id < excluded.last_action_id",
    )
    .bind(workspace)
    .bind(consumer)
    .bind(last_id)
    .execute(db)
    .await
    .map_err(could_not("save the position of a consumer"))?;
    Ok(())
}

/// For the connection that listens: how long it may take to be made, after how much silence it is asked whether anybody
/// is there, and how long the answer may take.
const LISTENER_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const PING_AFTER: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Rings when actions have been committed, as far as that can be heard: not through a pooler, nor where the one
/// connection there is has other work. Who waits for it looks for himself now and then.
#[derive(Debug)]
pub struct ActionListener {
    notify: Arc<Notify>,
    listening: Option<JoinHandle<()>>,
}

impl ActionListener {
    pub fn of(store: &Store) -> ActionListener {
        let notify = Arc::new(Notify::new());
        // On a connection of its own, since it is for nothing else.
        let own = (!store.is_embedded()).then(|| pool((*store.pool().connect_options()).clone(), 1, LISTENER_CONNECT_TIMEOUT));
        let shared = Arc::clone(&notify);
        let listening = own.map(|own| {
            tokio::spawn(async move {
                loop {
                    let Err(error) = listen(&own, &shared).await;
                    tracing::debug!(error = %Chain(&error), "cannot hear of new actions: looking for them now and then");
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            })
        });
        ActionListener { notify, listening }
    }

    pub async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for ActionListener {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

async fn listen(pool: &sqlx::PgPool, notify: &Notify) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    in_time(listener.listen(CHANNEL)).await?;
    loop {
        match timeout(PING_AFTER, listener.recv()).await {
            Ok(heard) => _ = heard?,
            // A connection that has gone silent has no more to tell: whoever is there answers.
            Err(_) => _ = in_time(query("select 1").execute(&mut listener)).await?,
        }
        notify.notify_one();
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PING_TIMEOUT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
