//! The rows of a page as a statement takes them: for each column an array.

use planhat_model::flatten::{Column, Columns, Row};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use super::column_values::ColumnValues;
use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// Rows by column, as a statement takes them.
pub(crate) struct RowsByColumn<'a> {
    all: &'a Columns,
    /// The columns that any of the rows fills, by their places, with their values.
    filled: Vec<(usize, ColumnValues<'a>)>,
    hashes: Vec<i64>,
    /// `_misfits` and `_overflow`, as JSON.
    extras: [Vec<Option<String>>; 2],
}

/// The columns of our own, with their types and as what they are sent.
const OWN: [(&str, &str, &str); 3] =
    [("_row_hash", "bigint", "bigint[]"), ("_misfits", "jsonb", "text[]"), ("_overflow", "jsonb", "text[]")];

impl<'a> RowsByColumn<'a> {
    pub(crate) fn of(columns: &'a Columns, rows: &[&'a Row<'_>]) -> RowsByColumn<'a> {
        let mut by_place: Vec<Option<Vec<Option<&str>>>> = vec![None; columns.len()];
        for (index, row) in rows.iter().enumerate() {
            for cell in &row.cells {
                by_place[cell.column].get_or_insert_with(|| vec![None; rows.len()])[index] = Some(&cell.text);
            }
        }
        let filled = by_place.into_iter().enumerate().filter_map(|(place, values)| Some((place, values?)));
        RowsByColumn {
            all: columns,
            filled: filled.map(|(place, values)| (place, ColumnValues::of(columns.at(place).kind, values))).collect(),
            hashes: rows.iter().map(|row| row.hash.latest()).collect(),
            extras: [
                rows.iter().map(|row| row.misfits_as_json()).collect(),
                rows.iter().map(|row| row.overflow_as_json()).collect(),
            ],
        }
    }

    /// The columns with their types and those of their arrays, in the order of the parameters.
    fn sent(&self) -> impl Iterator<Item = (&str, &'static str, &'static str)> {
        let filled = self.filled.iter().map(|(place, values)| {
            let column = self.all.at(*place);
            (&*column.name, column.kind.sql(), values.array())
        });
        filled.chain(OWN)
    }

    /// The names of all columns that are written: those that are sent, and the others, which become NULL.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|column| &*column.name).chain(OWN.map(|(name, ..)| name))
    }

    /// The columns that no row fills.
    pub(super) fn empty(&self) -> impl Iterator<Item = &Column> {
        let mut filled = self.filled.iter().map(|(place, _)| *place).peekable();
        (0..self.all.len()).filter(move |place| filled.next_if_eq(place).is_none()).map(|place| self.all.at(place))
    }

    pub(super) fn names(&self, sql: Sql) -> Sql {
        sql.list(self.sent(), |sql, (name, ..)| sql.name(name))
    }

    /// `select …`, one row of typed columns for each of the rows.
    pub(super) fn select(&self, sql: Sql) -> Sql {
        let typed = |sql: Sql, (name, kind, _): (&str, &'static str, &'static str)| {
            sql.text("sent.").name(name).text("::").text(kind).text(" as ").name(name)
        };
        sql.text("select ").list(self.sent(), typed)
    }

    /// `column = new.column` for each column, with nothing in those that no row fills.
    pub(super) fn assign(&self, sql: Sql) -> Sql {
        let sql = sql.list(self.sent(), |sql, (name, ..)| sql.name(name).text(" = masked.").name(name));
        self.empty().fold(sql, |sql, column| sql.text(", ").name(&column.name).text(" = null"))
    }

    /// `from …` that goes with it. The arrays are taken apart side by side in the list of what is selected: in a `from`, each would be
    /// stored on its own first.
    pub(super) fn from(&self, sql: Sql) -> Sql {
        let unnested = |sql: Sql, (number, (name, _, array)): (usize, (&str, &'static str, &'static str))| {
            sql.text("unnest(").parameter(number).text("::").text(array).text(") as ").name(name)
        };
        sql.text(" from (select ").list((1..).zip(self.sent()), unnested).text(") as sent")
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.hashes.len()
    }

    /// How many parameters there are.
    pub(super) fn count(&self) -> usize {
        self.filled.len() + OWN.len()
    }

    pub(crate) fn arguments(&self) -> Result<PgArguments, StoreError> {
        let mut arguments = PgArguments::default();
        let added = self.filled.iter().try_for_each(|(_, values)| values.add_to(&mut arguments));
        added
            .and_then(|()| arguments.add(&self.hashes))
            .and_then(|()| self.extras.iter().try_for_each(|values| arguments.add(values)))
            .map_err(|source| could_not("send a page")(sqlx::Error::Encode(source)))?;
        Ok(arguments)
    }
}
