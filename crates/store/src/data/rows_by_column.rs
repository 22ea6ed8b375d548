//! The rows of a page as a statement takes them: for each column an array of texts.

use planhat_model::flatten::{Column, Columns, Row};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// Rows by column, as a statement takes them: for each an array of texts, as PostgreSQL reads values of its type.
pub(crate) struct RowsByColumn<'a> {
    all: &'a Columns,
    /// The columns that any of the rows fills, by their places, with their values.
    filled: Vec<(usize, Vec<Option<&'a str>>)>,
    /// The columns of our own, with their types.
    pub(super) own: [(&'static str, &'static str, Vec<Option<String>>); 3],
}

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
            filled: filled.collect(),
            own: [
                ("_row_hash", "bigint", rows.iter().map(|row| Some(row.hash.latest().to_string())).collect()),
                ("_misfits", "jsonb", rows.iter().map(|row| row.misfits_as_json()).collect()),
                ("_overflow", "jsonb", rows.iter().map(|row| row.overflow_as_json()).collect()),
            ],
        }
    }

    /// The columns with their types, in the order of the parameters.
    fn sent(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let filled = self.filled.iter().map(|(place, _)| self.all.at(*place)).map(|column| (&*column.name, column.kind.sql()));
        filled.chain(self.own.iter().map(|(name, kind, _)| (*name, *kind)))
    }

    /// The columns that no row fills.
    pub(super) fn empty(&self) -> impl Iterator<Item = &Column> {
        let mut filled = self.filled.iter().map(|(place, _)| *place).peekable();
        (0..self.all.len()).filter(move |place| filled.next_if_eq(place).is_none()).map(|place| self.all.at(place))
    }

    pub(super) fn names(&self, sql: Sql) -> Sql {
        sql.list(self.sent(), |sql, (name, _)| sql.name(name))
    }

    /// `select …`, one row of typed columns for each of the rows.
    pub(super) fn select(&self, sql: Sql) -> Sql {
        let typed = |sql: Sql, (name, kind): (&str, &'static str)| {
            sql.text("sent.").name(name).text("::").text(kind).text(" as ").name(name)
        };
        sql.text("select ").list(self.sent(), typed)
    }

    /// `column = new.column` for each column, with nothing in those that no row fills.
    pub(super) fn assign(&self, sql: Sql) -> Sql {
        let sql = sql.list(self.sent(), |sql, (name, _)| sql.name(name).text(" = masked.").name(name));
        self.empty().fold(sql, |sql, column| sql.text(", ").name(&column.name).text(" = null"))
    }

    /// `from …` that goes with it.
    pub(super) fn from(&self, sql: Sql) -> Sql {
        let sql = sql.text(" from unnest(").list(1..=self.count(), |sql, number| sql.parameter(number).text("::text[]"));
        self.names(sql.text(") as sent (")).text(")")
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        let (.., hashes) = &self.own[0];
        hashes.len()
    }

    /// How many parameters there are.
    pub(super) fn count(&self) -> usize {
        self.filled.len() + self.own.len()
    }

    pub(crate) fn arguments(&self) -> Result<PgArguments, StoreError> {
        let mut arguments = PgArguments::default();
        let added = self.filled.iter().try_for_each(|(_, values)| arguments.add(values));
        added
            .and_then(|()| self.own.iter().try_for_each(|(_, _, values)| arguments.add(values)))
            .map_err(|source| could_not("send a page")(sqlx::Error::Encode(source)))?;
        Ok(arguments)
    }
}
