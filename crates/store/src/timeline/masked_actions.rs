//! Masks the values inside past actions, for rules that are newer than they, and for people who are forgotten.
//!
//! An action keeps its id, kind and times: readers who are behind it do not get it again. Only an action that told of nothing but
//! values that would not have been stored, and so would not have been there, is removed.

use planhat_model::catalog::Role;
use sqlx::PgConnection;

use super::action_table::{TABLE, actions_table_exists};
use crate::data::rewrite::{MaskedCounts, MaskedTable, Masking, Pass, contains_any, names_of};
use crate::data::stored_value::{Changes, Stored};
use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// Ids that a transaction looks at.
const BATCH: i64 = 5_000;

/// What was stored with an action of its record.
type ActionValues = (i64, Option<Stored<String>>, Option<Stored<String>>, Option<Stored<Changes>>);

/// What becomes of actions, a field for each column of the statement. What stays as it is has its flag unset.
#[derive(Debug, Default)]
struct MaskedActions {
    ids: Vec<i64>,
    other_company: Vec<bool>,
    company_ids: Vec<Option<String>>,
    other_end_user: Vec<bool>,
    end_user_ids: Vec<Option<String>>,
    other_changes: Vec<bool>,
    changes: Vec<Option<String>>,
    /// Those of which nothing is left.
    emptied: Vec<i64>,
}

/// Masks the actions of an object behind an id, some of them. Returns the id from which to go on, if there are more.
pub async fn mask_actions(
    db: &mut PgConnection,
    table: MaskedTable<'_>,
    behind: i64,
) -> Result<(MaskedCounts, Option<i64>), StoreError> {
    if !actions_table_exists(&mut *db, table.schema).await? {
        return Ok((MaskedCounts::default(), None));
    }
    let newest = Sql::new("select coalesce(max(id), 0) from ").table(table.schema, TABLE);
    let newest: i64 = newest.query_scalar().fetch_one(&mut *db).await.map_err(could_not("look for values to mask"))?;
    let last = behind + BATCH;
    let mut masked = MaskedActions::default();
    for action in suspects(&mut *db, table, behind, last).await? {
        masked.add(table, action);
    }
    if table.pass == Pass::Write && !masked.ids.is_empty() {
        write_masked(db, table, &masked).await?;
    }
    let counts = MaskedCounts { masked: masked.ids.len() as u64, refused: 0 };
    Ok((counts, (last < newest).then_some(last)))
}

async fn suspects(
    db: &mut PgConnection,
    table: MaskedTable<'_>,
    behind: i64,
    last: i64,
) -> Result<Vec<ActionValues>, StoreError> {
    let sql = Sql::new("select id, company_id, end_user_id, changes::text from ")
        .table(table.schema, TABLE)
        .text(" as action where id > $1 and id <= $2 and object = $3 and (");
    let sql = match table.masking {
        Masking::Forgotten { terms, .. } => contains_any(sql, "concat_ws(' ', changes::text, company_id, end_user_id)", terms),
        Masking::Rules(rules) => {
            let ruled = table.columns.iter().filter(|column| rules.concerns(column.origin, &column.planhat_name));
            let names = ruled.map(|column| &*column.name).chain(["_misfits", "_overflow"]);
            names_of(sql.text("coalesce(company_id, end_user_id) is not null or changes ?| "), names)
        }
    };
    sql.text(")")
        .query_as()
        .bind(behind)
        .bind(last)
        .bind(table.object.name)
        .fetch_all(db)
        .await
        .map_err(could_not("look for values to mask"))
}

impl MaskedActions {
    fn add(&mut self, table: MaskedTable<'_>, (id, company_id, end_user_id, changes): ActionValues) {
        let kept_id = |id: Option<Stored<String>>, role| {
            let names: Vec<_> = table.object.properties_naming(role).collect();
            id.and_then(|id| id.kept_reference(table.masking, &names))
        };
        let company_id = kept_id(company_id, Role::Company);
        let end_user_id = kept_id(end_user_id, Role::EndUser);
        let changes = changes.and_then(|changes| changes.kept(table.masking, table.columns));
        if company_id.is_none() && end_user_id.is_none() && changes.is_none() {
            return;
        }
        if changes == Some(None) {
            self.emptied.push(id);
        }
        self.ids.push(id);
        self.other_company.push(company_id.is_some());
        self.company_ids.push(company_id.flatten());
        self.other_end_user.push(end_user_id.is_some());
        self.end_user_ids.push(end_user_id.flatten());
        self.other_changes.push(changes.is_some());
        self.changes.push(changes.flatten());
    }
}

async fn write_masked(db: &mut PgConnection, table: MaskedTable<'_>, masked: &MaskedActions) -> Result<(), StoreError> {
    let sql = Sql::new("update ").table(table.schema, TABLE).text(
        " as action set
             company_id = case when masked.other_company then masked.company_id else action.company_id end,
             end_user_id = case when masked.other_end_user then masked.end_user_id else action.end_user_id end,
             changes = case when masked.other_changes then masked.changes::jsonb else action.changes end
         from unnest($1::bigint[], $2::boolean[], $3::text[], $4::boolean[], $5::text[], $6::boolean[], $7::text[])
             as masked (id, other_company, company_id, other_end_user, end_user_id, other_changes, changes)
         where action.id = masked.id",
    );
    sql.query()
        .bind(&masked.ids)
        .bind(&masked.other_company)
        .bind(&masked.company_ids)
        .bind(&masked.other_end_user)
        .bind(&masked.end_user_ids)
        .bind(&masked.other_changes)
        .bind(&masked.changes)
        .execute(&mut *db)
        .await
        .map_err(could_not("mask actions"))?;
    // One that was created, deleted or restored tells so without values too.
    let sql = Sql::new("delete from ").table(table.schema, TABLE).text(" where id = any($1) and kind = 'updated'");
    sql.query().bind(&masked.emptied).execute(db).await.map_err(could_not("mask actions"))?;
    Ok(())
}
