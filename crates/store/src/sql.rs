//! Statements: how all of them are made, and SQL whose names are only known at run time.
//!
//! Table and column names come from Planhat, that is, from strangers. They reach SQL through
//! [`Sql::name`] alone, which quotes them; the rest of a statement is `&'static str`. This is the only
//! module that vouches for a statement's safety, and it can, because nothing else can get into one.
//!
//! A statement of constant text cannot name a table of the data schema, whose name is a setting. One that does is an
//! [`Sql`], and what that returns has to be [`Guarded`]: a stored value does not lie open in it.

use std::time::Duration;

use planhat_model::printable::acts;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Postgres};

use crate::data::stored_value::Guarded;

/// A statement in the making.
#[derive(Debug, Default)]
pub(crate) struct Sql(String);

impl Sql {
    pub(crate) fn new(text: &'static str) -> Sql {
        Sql(text.to_owned())
    }

    pub(crate) fn text(mut self, text: &'static str) -> Sql {
        self.0.push_str(text);
        self
    }

    /// An identifier, always in quotes.
    pub(crate) fn name(mut self, name: &str) -> Sql {
        self.0.push_str(&quoted(name));
        self
    }

    /// A table with its schema.
    pub(crate) fn table(self, schema: &str, table: &str) -> Sql {
        self.name(schema).text(".").name(table)
    }

    /// A string constant, for the statements that take no parameters.
    pub(crate) fn literal(mut self, value: &str) -> Sql {
        // The E form means the same whatever standard_conforming_strings says.
        let escaped = value.replace('\0', "").replace('\\', "\\\\").replace('\'', "''");
        self.0.push_str("E'");
        for c in escaped.chars() {
            // `schema --sql` prints statements: what a terminal would act on is spelled out.
            if acts(c) { self.0.push_str(&format!("\\u{:04x}", u32::from(c))) } else { self.0.push(c) }
        }
        self.0.push('\'');
        self
    }

    /// One piece per item, separated by commas.
    pub(crate) fn list<T>(mut self, items: impl IntoIterator<Item = T>, piece: impl Fn(Sql, T) -> Sql) -> Sql {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push_str(", ");
            }
            self = piece(self, item);
        }
        self
    }

    /// A time as PostgreSQL's settings have it.
    pub(crate) fn milliseconds(mut self, duration: Duration) -> Sql {
        self.0.push_str(&format!("'{}ms'", duration.as_millis()));
        self
    }

    /// `$n`.
    pub(crate) fn parameter(mut self, number: usize) -> Sql {
        self.0.push_str(&format!("${number}"));
        self
    }

    /// For the beginning of a transaction, whose answer nobody reads.
    pub(crate) fn safe(self) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.0)
    }

    /// Executes it without parameters. PostgreSQL prepares it, and refuses to prepare a text of several statements.
    pub(crate) async fn execute(self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.query().execute(db).await.map(|_| ())
    }

    /// Executes it in one message, without having it prepared. Only for what is outside of a transaction: behind a pooler a
    /// statement that is prepared first may find another session.
    pub(crate) async fn execute_in_one_message(self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(self.safe()).execute(db).await.map(|_| ())
    }

    pub(crate) fn query<'q>(self) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(self.safe()).persistent(false)
    }

    pub(crate) fn query_with<'q>(self, arguments: PgArguments) -> Query<'q, Postgres, PgArguments> {
        sqlx::query_with(self.safe(), arguments).persistent(false)
    }

    pub(crate) fn query_as<'q, T: Guarded + for<'r> FromRow<'r, PgRow>>(self) -> QueryAs<'q, Postgres, T, PgArguments> {
        sqlx::query_as(self.safe()).persistent(false)
    }

    pub(crate) fn query_as_with<'q, T>(self, arguments: PgArguments) -> QueryAs<'q, Postgres, T, PgArguments>
    where
        T: Guarded + for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_as_with(self.safe(), arguments).persistent(false)
    }

    pub(crate) fn query_scalar<'q, T: Guarded>(self) -> QueryScalar<'q, Postgres, T, PgArguments>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_scalar(self.safe()).persistent(false)
    }
}

impl std::fmt::Display for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a table or a view: its statements in their order, and the comments on what they make.
///
/// Each statement is a call of its own. Citus distributes a table that is made by a call of its own, and none that is made in a
/// text of several statements. Comments distribute nothing, and there is one for each column, so comments that follow each other are
/// one `do`: otherwise each would wait for the network, some of them while a table is locked.
#[derive(Debug, Default)]
pub(crate) struct Definition(Vec<DefinitionStep>);

#[derive(Debug)]
enum DefinitionStep {
    Statement(Sql),
    Comment(Sql),
}

impl Definition {
    pub(crate) fn statement(mut self, sql: Sql) -> Definition {
        self.0.push(DefinitionStep::Statement(sql));
        self
    }

    pub(crate) fn comment(mut self, sql: Sql) -> Definition {
        self.0.push(DefinitionStep::Comment(sql));
        self
    }

    pub(crate) fn and(mut self, other: Definition) -> Definition {
        self.0.extend(other.0);
        self
    }

    pub(crate) async fn execute(self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        for call in self.calls() {
            call.execute(&mut *db).await?;
        }
        Ok(())
    }

    fn calls(self) -> Vec<Sql> {
        let (mut calls, mut comments) = (Vec::new(), Vec::new());
        for step in self.0 {
            match step {
                DefinitionStep::Comment(sql) => comments.push(sql),
                DefinitionStep::Statement(sql) => {
                    calls.extend(one_call(std::mem::take(&mut comments)));
                    calls.push(sql);
                }
            }
        }
        calls.extend(one_call(comments));
        calls
    }
}

fn one_call(mut comments: Vec<Sql>) -> Option<Sql> {
    if comments.len() < 2 {
        return comments.pop();
    }
    let body = comments.iter().fold("begin".to_owned(), |body, comment| format!("{body}\n{comment};")) + "\nend";
    Some(Sql::new("do ").literal(&body))
}

/// As a person would type it.
impl std::fmt::Display for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, DefinitionStep::Statement(sql) | DefinitionStep::Comment(sql)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(";\n")?;
            }
            write!(f, "{sql}")?;
        }
        Ok(())
    }
}

// No statement is kept on the connection: behind a connection pooler the next one may go to another
// server process, which would not know it, and a new column would outdate it.

pub(crate) fn query<'q>(sql: &'static str) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

pub(crate) fn query_as<'q, T: for<'r> FromRow<'r, PgRow>>(sql: &'static str) -> QueryAs<'q, Postgres, T, PgArguments> {
    sqlx::query_as(sql).persistent(false)
}

pub(crate) fn query_scalar<'q, T>(sql: &'static str) -> QueryScalar<'q, Postgres, T, PgArguments>
where
    (T,): for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_scalar(sql).persistent(false)
}

/// The one function that quotes identifiers.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        let sql = Sql::new("select ").name("a\"; drop table x; --").text(" from ").table("s", "t\0");
        assert_eq!(sql.0, r#"select "a""; drop table x; --" from "s"."t""#);
    }

    #[test]
    fn a_definition_is_a_call_for_each_statement_and_one_for_comments_that_follow_each_other() {
        let (statement, comment) = (Sql::new("create table t ()"), |text: &str| Sql::new("comment on table t is ").literal(text));
        let definition = Definition::default().statement(statement).comment(comment("it's")).comment(comment("\\ $$; end"));
        let definition = definition.statement(Sql::new("create index on t (a)")).comment(comment("last"));
        assert_eq!(
            definition.to_string(),
            "create table t ();\ncomment on table t is E'it''s';\ncomment on table t is E'\\\\ $$; end';\n\
             create index on t (a);\ncomment on table t is E'last'"
        );
        let calls: Vec<String> = definition.calls().iter().map(Sql::to_string).collect();
        let comments =
            r"do E'begin\u000acomment on table t is E''it''''s'';\u000acomment on table t is E''\\\\ $$; end'';\u000aend'";
        assert_eq!(calls, ["create table t ()", comments, "create index on t (a)", "comment on table t is E'last'"]);
    }

    #[test]
    fn hostile_values_stay_values() {
        assert_eq!(Sql::default().literal(r"it's \'; drop").0, r"E'it''s \\''; drop'");
        assert_eq!(Sql::default().literal("a\u{1b}[31m\n\u{202e}b").0, r"E'a\u001b[31m\u000a\u202eb'");
    }
}
