//! What users have made on a column of ours: views, which are in the way of whoever drops it or changes its type, and indexes,
//! which go with the column and are made again behind it.

use planhat_model::catalog::Object;
use sqlx::PgConnection;

use crate::sql::{query, query_scalar};
use crate::store_error::{StoreError, could_not};

/// An error if a view reads one of these columns, or reads a view that does. PostgreSQL would refuse as well, but name one view
/// at a time, and none that depends on another.
pub(super) async fn refuse_if_viewed(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &[&str],
) -> Result<(), StoreError> {
    let views: Vec<String> = query_scalar(
        "with recursive viewed as (
             select ev_class as view from pg_class join pg_attribute on attrelid = pg_class.oid
                 join pg_depend on refclassid = 'pg_class'::regclass and refobjid = pg_class.oid and refobjsubid = attnum
                     and classid = 'pg_rewrite'::regclass
                 join pg_rewrite on pg_rewrite.oid = objid and ev_class <> refobjid
             where relnamespace = (select oid from pg_namespace where nspname = $1) and relname = $2 and attname = any($3)
             union select ev_class from viewed
                 join pg_depend on refclassid = 'pg_class'::regclass and refobjid = view and classid = 'pg_rewrite'::regclass
                 join pg_rewrite on pg_rewrite.oid = objid and ev_class <> refobjid
         )
         select format('%I.%I', nspname, relname) from viewed
             join pg_class on pg_class.oid = view join pg_namespace on pg_namespace.oid = relnamespace
         order by 1",
    )
    .bind(schema)
    .bind(object.name)
    .bind(columns)
    .fetch_all(db)
    .await
    .map_err(could_not("look for views on a column"))?;
    if views.is_empty() { Ok(()) } else { Err(StoreError::UsedByViews { column: columns.join(", "), views: views.join(", ") }) }
}

/// Remembers, until the end of the transaction, how the indexes on these columns are made.
pub(super) async fn remember_indexes(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &[&str],
) -> Result<(), StoreError> {
    query(
        "select set_config('planhat_sync.indexes', coalesce(json_agg(distinct pg_get_indexdef(pg_index.indexrelid))::text, '[]'), true)
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             join pg_attribute on attrelid = pg_class.oid
             join pg_depend on refclassid = 'pg_class'::regclass and refobjid = attrelid and refobjsubid = attnum
                 and classid = 'pg_class'::regclass
             join pg_index on pg_index.indexrelid = pg_depend.objid
         where nspname = $1 and relname = $2 and attname = any($3)",
    )
    .bind(schema)
    .bind(object.name)
    .bind(columns)
    .execute(db)
    .await
    .map_err(could_not("look for indexes on a column"))?;
    Ok(())
}

/// Makes the remembered indexes again, on the columns that are there again.
pub(super) async fn make_indexes_again(db: &mut PgConnection) -> Result<(), StoreError> {
    query(
        "do $$ declare definition text; begin
             for definition in select json_array_elements_text(current_setting('planhat_sync.indexes')::json) loop
                 begin execute definition; exception when undefined_column then null; end;
             end loop;
         end $$",
    )
    .execute(db)
    .await
    .map_err(could_not("make the indexes on a column again"))?;
    Ok(())
}
