//! Records that stored rows refer to and that are not stored themselves: how many there are, and which.
//!
//! A reference is looked at as it is stored, whatever its shape: an id, an object with an id, or a list of these. A row that
//! is marked as deleted refers to nothing any more; a record that is marked as deleted is stored. A property that a privacy
//! rule masks holds no id, so nothing is counted or requested by it.
//!
//! Each count reads one column of a table and the ids of another one: a hash join, which for 100,000 rows takes some tenths of
//! a second. It is not worth waiting for: a count that takes longer than [`COUNT_TIMEOUT`] is an error, and the caller keeps the
//! last one.

use std::collections::BTreeMap;

use planhat_model::catalog::{self, ByObject, ColumnType, Object, Reference, ReferenceShape};
use planhat_model::record::Origin;
use planhat_model::rules::{Rule, Rules};
use sqlx::{FromRow, PgConnection};

use super::stored_value::RecordId;
use crate::sql::{Sql, query, query_as};
use crate::state::bindings::tables;
use crate::store_error::{StoreError, could_not};

/// How long a count may take, as PostgreSQL writes it.
const COUNT_TIMEOUT: &str = "20 seconds";
/// What is written where there is no id: by Planhat, and by a privacy rule or `forget` in place of one.
const NO_ID: &str = " not in ('', 'undefined', 'null', '[redacted]', '[forgotten]')";

/// A column whose values name records.
#[derive(Debug, Clone)]
pub struct ReferenceColumn {
    pub object: &'static Object,
    pub reference: &'static Reference,
    column: String,
    kind: ColumnType,
}

/// The columns that name records of one object.
#[derive(Debug, Clone)]
pub struct ReferringColumns {
    pub object: &'static Object,
    pub columns: Vec<ReferenceColumn>,
}

/// The columns of a schema that name records.
#[derive(Debug, Default)]
pub struct ReferenceColumns {
    /// Those that hold ids.
    pub open: Vec<ReferenceColumn>,
    /// Those whose values a privacy rule masks.
    pub masked: Vec<ReferenceColumn>,
    /// The objects that have a table.
    pub tables: Vec<&'static Object>,
}

/// What one column names and the schema does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MissingRecords {
    /// Rows that refer to a record that is not stored and that may exist at Planhat.
    pub rows: i64,
    /// Those records, each once.
    pub records: i64,
    /// Further rows that refer to a record that Planhat would not give.
    pub absent_rows: i64,
    /// Whether records of the other object were forgotten, so that some of these may be.
    pub some_forgotten: bool,
}

impl ReferenceColumns {
    /// The columns that name records of an object.
    pub fn naming(&self, object: &'static Object) -> ReferringColumns {
        let columns = self.open.iter().filter(|column| column.reference.to == object.name).cloned().collect();
        ReferringColumns { object, columns }
    }

    pub fn has_table(&self, object: &str) -> bool {
        self.tables.iter().any(|table| table.name == object)
    }
}

/// The columns that name records, in all tables there are.
pub async fn reference_columns(
    db: &mut PgConnection,
    schema: &str,
    rules: &ByObject<Rules>,
) -> Result<ReferenceColumns, StoreError> {
    #[derive(FromRow)]
    struct Known {
        object: String,
        planhat_name: String,
        column_name: String,
        r#type: String,
    }
    let tables: Vec<&'static Object> =
        tables(&mut *db, schema).await?.iter().filter_map(|table| catalog::object(table)).collect();
    // A user may have dropped a column that the map knows.
    let known: Vec<Known> = query_as(
        "select object, planhat_name, column_name, type from planhat_sync.columns
         where workspace = $1 and origin = $2 and (select not attisdropped from pg_attribute
             where attname = column_name and attrelid = (select oid from pg_class
                 where relname = object and relnamespace = (select oid from pg_namespace where nspname = $1)))",
    )
    .bind(schema)
    .bind(Origin::Property.as_str())
    .fetch_all(db)
    .await
    .map_err(could_not("read which columns name records"))?;
    let known: BTreeMap<(String, String), (String, String)> = known
        .into_iter()
        .map(|Known { object, planhat_name, column_name, r#type }| ((object, planhat_name), (column_name, r#type)))
        .collect();
    let mut columns = ReferenceColumns::default();
    for object in &tables {
        for reference in object.references {
            let Some((column, kind)) = known.get(&(object.name.to_owned(), reference.property.to_owned())) else { continue };
            let Some(kind) = ColumnType::from_sql(kind) else { continue };
            let is_masked = |rules: &Rules| rules.of(Origin::Property, reference.property) != Rule::Include;
            let of_kind = match rules.get(object.name).is_some_and(is_masked) {
                true => &mut columns.masked,
                false => &mut columns.open,
            };
            of_kind.push(ReferenceColumn { object, reference, column: column.clone(), kind });
        }
    }
    columns.tables = tables;
    Ok(columns)
}

/// What a column names that is not stored. If the other object has no table, that is all that it names.
pub async fn count_missing(
    db: &mut PgConnection,
    schema: &str,
    column: &ReferenceColumn,
    has_table: bool,
) -> Result<MissingRecords, StoreError> {
    limit_time(&mut *db).await?;
    if column.kind != ColumnType::Json {
        prefer_hash_join(&mut *db, schema, column.object).await?;
    }
    let sql = with_absent().text(
        ", forgotten as materialized (
             select exists (select 1 from planhat_sync.forgotten where workspace = $1 and object = $2) as is_some
         )
         select count(distinct named.record) filter (where absent.record_id is null),
             count(distinct named.id) filter (where absent.record_id is null),
             count(distinct named.record) filter (where absent.record_id is not null),
             (select is_some from forgotten)
         from (",
    );
    let sql = joined_with_absent(named_by(sql, schema, column)).text(" where named.id").text(NO_ID);
    let sql = if has_table { not_stored(sql, schema, column.reference.to) } else { sql };
    let (rows, records, absent_rows, some_forgotten) = sql
        .query_as()
        .bind(schema)
        .bind(column.reference.to)
        .fetch_one(db)
        .await
        .map_err(could_not("count the records that rows refer to"))?;
    Ok(MissingRecords { rows, records, absent_rows, some_forgotten })
}

/// Some ids behind `after`, in order, that these columns name and that have no row. Those that Planhat would not give lately are
/// left out.
pub async fn missing_ids(
    db: &mut PgConnection,
    schema: &str,
    ReferringColumns { object, columns }: &ReferringColumns,
    after: &str,
    count: i64,
) -> Result<Vec<String>, StoreError> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = with_absent().text(" select distinct named.id collate \"C\" as id from (");
    for (index, column) in columns.iter().enumerate() {
        sql = if index > 0 { sql.text(" union all ") } else { sql };
        sql = named_by(sql, schema, column);
    }
    let sql = joined_with_absent(sql).text(" where absent.record_id is null and named.id").text(NO_ID);
    let sql = not_stored(sql, schema, object.name).text(" and named.id collate \"C\" > $3 order by id limit $4");
    let ids: Vec<RecordId> = sql
        .query_scalar()
        .bind(schema)
        .bind(object.name)
        .bind(after)
        .bind(count)
        .fetch_all(db)
        .await
        .map_err(could_not("look for records that rows refer to"))?;
    Ok(ids.into_iter().map(|RecordId(id)| id).collect())
}

/// A condition: the record has no row.
fn not_stored(sql: Sql, schema: &str, object: &str) -> Sql {
    sql.text(" and not exists (select from ").table(schema, object).text(" as stored where stored.planhat__id = named.id)")
}

/// Begins with the records that Planhat would not give lately. They are read first: Citus does not join tables of `planhat_sync` with
/// those of a schema that is on another server.
fn with_absent() -> Sql {
    Sql::new(
        "with absent as materialized (
             select record_id from planhat_sync.absent_records
             where workspace = $1 and object = $2 and answered_at > now() - interval '30 days'
         )",
    )
}

/// Ends a list of named records, each with whether Planhat would not give it lately.
fn joined_with_absent(sql: Sql) -> Sql {
    sql.text(") as named left join absent on absent.record_id = named.id")
}

/// The ids that a column names, each with the row that names it.
fn named_by(sql: Sql, schema: &str, column: &ReferenceColumn) -> Sql {
    let ReferenceColumn { object, reference, column, kind } = column;
    let sql = sql.text("select referring.planhat__id as record, ");
    if *kind != ColumnType::Json {
        let sql = sql.text("referring.").name(column).text("::text as id from ").table(schema, object.name);
        return sql.text(" as referring where referring._deleted_at is null and referring.").name(column).text(" is not null");
    }
    // An array of objects has `id`, which is the record, before `_id`, which may be the element's own.
    let of_object = match reference.shape {
        ReferenceShape::Objects => "coalesce(item ->> 'id', item ->> '_id')",
        ReferenceShape::Id | ReferenceShape::IdOrObject | ReferenceShape::Ids => "coalesce(item ->> '_id', item ->> 'id')",
    };
    sql.text("case jsonb_typeof(item) when 'string' then item #>> '{}' when 'object' then ")
        .text(of_object)
        .text(" end as id from ")
        .table(schema, object.name)
        .text(" as referring, jsonb_array_elements(case jsonb_typeof(referring.")
        .name(column)
        .text(") when 'array' then referring.")
        .name(column)
        .text(" else jsonb_build_array(referring.")
        .name(column)
        .text(") end) as item where referring._deleted_at is null and referring.")
        .name(column)
        .text(" is not null")
}

/// Behind a first load PostgreSQL has no statistics, takes nearly all rows for deleted, and would rather look up each id. That takes
/// three times as long as the hash join. A list in JSON has to be taken apart in a nested loop anyway. What PostgreSQL thinks a plan costs
/// without nested loops would have it compile the plan, which takes longer than the count.
async fn prefer_hash_join(db: &mut PgConnection, schema: &str, object: &Object) -> Result<(), StoreError> {
    query(
        "select set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = $1 and relname = $2 and reltuples < 0",
    )
    .bind(schema)
    .bind(object.name)
    .execute(db)
    .await
    .map_err(could_not("prepare a count"))?;
    Ok(())
}

/// Gives a count less time than other statements have.
async fn limit_time(db: &mut PgConnection) -> Result<(), StoreError> {
    query(
        "select set_config('statement_timeout', (1000 * extract(epoch from
             least(current_setting('statement_timeout')::interval, $1::text::interval)))::bigint::text, true)",
    )
    .bind(COUNT_TIMEOUT)
    .execute(db)
    .await
    .map_err(could_not("limit the time of a count"))?;
    Ok(())
}
