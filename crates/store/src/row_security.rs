//! Row security that would hide rows of our tables from us.
//!
//! A policy leaves rows out of an answer without a word. A run that does not see a row would store its record a second time, never
//! mark it as deleted, and take a filled schema for an empty one. So a run does not begin before it is known that no policy
//! hides anything: each command on each table has to be allowed by a policy that does not look at the row, such as `using (true)`.
//!
//! Policies do not apply to a superuser, to a role with `bypassrls`, and (unless they are forced) to the owner of a table;
//! `row_security_active` knows that.

use sqlx::PgConnection;

use crate::OWN_SCHEMA;
use crate::data::keys;
use crate::sql::query_as;
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_table;

/// An error if a policy could hide rows of our tables from the current role.
pub async fn refuse_hidden_rows(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    let hidden: Option<(String, String, String)> = query_as(
        "with ours as (
             -- What belongs to a schema is looked up as what depends on it, for which there is an index.
             select pg_class.oid, nspname, relname from pg_namespace
                 join pg_depend on refclassid = 'pg_namespace'::regclass and refobjid = pg_namespace.oid
                     and classid = 'pg_class'::regclass
                 join pg_class on pg_class.oid = objid
             where relkind in ('r', 'p') and relrowsecurity and row_security_active(pg_class.oid) and nspname in ($1, $2)
                 and (nspname = $1 or relname = any($3) or exists (select from pg_attribute
                     where attrelid = pg_class.oid and attname = '_row_hash' and not attisdropped))
         ), policies as (
             select polrelid, polname, polpermissive, polcmd,
                 coalesce(pg_get_expr(polqual, polrelid) <> 'false' and polqual::text !~ '[{](VAR|SUBLINK) ', true)
                     and coalesce(pg_get_expr(polwithcheck, polrelid) <> 'false'
                         and polwithcheck::text !~ '[{](VAR|SUBLINK) ', true) as hides_nothing
             from pg_policy
             where polrelid in (select oid from ours)
                 and exists (select from unnest(polroles) as role where role = 0 or pg_has_role(role, 'usage'))
         )
         select format('%I.%I', nspname, relname), current_user::text,
             coalesce((select string_agg(quote_ident(polname), ', ' order by polname) from policies
                 where polrelid = ours.oid and not hides_nothing), '')
         from ours
         where exists (select from policies where polrelid = ours.oid and not polpermissive and not hides_nothing)
             or exists (select from unnest(array['r', 'a', 'w', 'd']) as command where not exists (
                 select from policies where polrelid = ours.oid and polpermissive and hides_nothing and polcmd in ('*', command)))
         order by nspname = $1, 1 limit 1",
    )
    .bind(OWN_SCHEMA)
    .bind(schema)
    .bind([action_table::TABLE, keys::TABLE])
    .fetch_optional(db)
    .await
    .map_err(could_not("read the policies of row security"))?;
    match hidden {
        Some((relation, role, policies)) => Err(StoreError::RowsHidden { relation, role, policies }),
        None => Ok(()),
    }
}
