//! By what a person is found in other records: id and addresses, as they are stored.
//!
//! They come out of the database only to be looked for in it, and to be hashed: they show nowhere.

use std::fmt;

use planhat_model::catalog::Object;
use planhat_model::flatten::Columns;
use planhat_model::keyed_hash::HashKey;
use planhat_model::rules::ForgottenRecords;
use sqlx::PgConnection;

use super::stored_value::{RecordId, RowText, Stored};
use super::tables::table_exists;
use crate::sql::Sql;
use crate::state::quarantined::addresses_in_quarantine;
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_table::{TABLE, actions_table_exists};

/// Ids and addresses of people who are to be forgotten.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Terms(Vec<String>);

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Terms({})", self.0.len())
    }
}

impl Terms {
    /// Those that somebody has typed.
    pub fn typed<'a>(terms: impl IntoIterator<Item = &'a str>) -> Terms {
        let mut all = Terms::default();
        terms.into_iter().for_each(|term| all.push(term));
        all
    }

    /// In small letters, each once.
    fn push(&mut self, term: &str) {
        let term = term.trim().to_lowercase();
        if !term.is_empty() && !self.0.contains(&term) {
            self.0.push(term);
        }
    }

    pub fn extend(&mut self, others: &Terms) {
        others.0.iter().for_each(|term| self.push(term));
    }

    pub(super) fn all(&self) -> &[String] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By what they are remembered.
    pub fn hashes(&self, key: &HashKey) -> Vec<String> {
        self.0.iter().map(|term| ForgottenRecords::hash_of_reference(key, term)).collect()
    }
}

/// The id of a record, and the addresses that are stored of it: also those that it had before.
pub async fn terms_of(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    id: &str,
) -> Result<Terms, StoreError> {
    let mut terms = Terms::typed([id]);
    for address in addresses_in_quarantine(&mut *db, schema, object, id).await? {
        terms.push(&address);
    }
    if table_exists(&mut *db, schema, object).await? {
        let sql =
            Sql::new("select to_jsonb(stored)::text from ").table(schema, object.name).text(" as stored where planhat__id = $1");
        let row: Option<Stored<RowText>> =
            sql.query_scalar().bind(id).fetch_optional(&mut *db).await.map_err(could_not("look for a row"))?;
        for address in row.iter().flat_map(|row| row.addresses(columns)) {
            terms.push(&address);
        }
    }
    for earlier in earlier_values(db, schema, object, id).await? {
        for address in earlier.addresses(columns) {
            terms.push(&address);
        }
    }
    Ok(terms)
}

/// The values that a record had before each of its actions, as parts of a row.
async fn earlier_values(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    id: &str,
) -> Result<Vec<Stored<RowText>>, StoreError> {
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(Vec::new());
    }
    let sql = Sql::new(
        "select (select jsonb_object_agg(change.key, change.value -> 'old') || jsonb_build_object('planhat__id', record_id)
             from jsonb_each(changes) as change)::text
         from ",
    );
    let sql = sql.table(schema, TABLE).text(" as action where object = $1 and record_id = $2 and changes <> '{}'");
    sql.query_scalar().bind(object.name).bind(id).fetch_all(db).await.map_err(could_not("look for earlier addresses"))
}

/// The ids of rows with one of these addresses: read through once, since an address may be one of several.
pub async fn ids_by_address(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    addresses: &Terms,
) -> Result<Vec<String>, StoreError> {
    if addresses.is_empty() || !table_exists(&mut *db, schema, object).await? {
        return Ok(Vec::new());
    }
    let sql = Sql::new("select planhat__id, to_jsonb(stored)::text from ").table(schema, object.name).text(" as stored where ");
    let sql = super::rewrite::contains_any(sql, "stored::text", addresses).text(" order by planhat__id");
    let found: Vec<(RecordId, Stored<RowText>)> = sql.query_as().fetch_all(db).await.map_err(could_not("look for an address"))?;
    let has_one = |row: &Stored<RowText>| {
        let own = row.addresses(columns);
        own.iter().any(|address| addresses.0.contains(&address.trim().to_lowercase()))
    };
    Ok(found.into_iter().filter(|(_, row)| has_one(row)).map(|(RecordId(id), _)| id).collect())
}
