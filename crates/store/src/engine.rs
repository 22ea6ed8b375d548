//! Which engine answers: PostgreSQL, or one that only speaks its protocol.
//!
//! Such an engine takes most statements, and lacks something that every commit here relies on. So it is refused by its name, before
//! anything is written, and not by whichever statement it does not know.

use std::fmt::{self, Display, Formatter};

use planhat_model::printable::on_one_line;
use sqlx::PgConnection;

use crate::sql::{Sql, query_scalar};
use crate::store_error::{StoreError, could_not};

/// What an engine of these says of itself in `version()`, its name, and what it lacks.
const OTHERS: [(&str, &str, &str); 7] = [
    ("CockroachDB", "CockroachDB", "a change of a table is not undone with the rest of its transaction"),
    ("Redshift", "Amazon Redshift", "primary keys and unique constraints are not enforced"),
    ("-YB-", "YugabyteDB", "NOTIFY is missing, or turned off by default"),
    ("aterialize", "Materialize", "tables have no primary keys"),
    ("RisingWave", "RisingWave", "no transaction can write"),
    ("CrateDB", "CrateDB", "there are no transactions"),
    (DSQL, "Amazon Aurora DSQL", "there are no savepoints"),
];
/// Aurora DSQL calls itself PostgreSQL; its hosts are called `….dsql.REGION.on.aws`.
const DSQL: &str = ".dsql.";

/// The engine behind a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    PostgreSql {
        version: String,
        /// The version of the extension that spreads schemas over several servers.
        citus: Option<String>,
    },
    Other {
        name: String,
        lacks: &'static str,
    },
}

impl Display for Engine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Engine::PostgreSql { version, citus: None } => write!(f, "PostgreSQL {version}"),
            Engine::PostgreSql { version, citus: Some(citus) } => write!(f, "PostgreSQL {version} with Citus {citus}"),
            Engine::Other { name, .. } => f.write_str(name),
        }
    }
}

/// An engine other than PostgreSQL, by what it says of itself and where it is: its name, and what it lacks.
fn other_engine(version: &str, place: &str) -> Option<(String, &'static str)> {
    let is_it = |mark: &str| if mark == DSQL { place.contains(mark) } else { version.contains(mark) };
    match OTHERS.into_iter().find(|(mark, ..)| is_it(mark)) {
        Some((_, name, lacks)) => Some((name.to_owned(), lacks)),
        None if version.starts_with("PostgreSQL ") => None,
        None => {
            let name = version.split([' ', ',', '(']).find(|word| !word.is_empty()).unwrap_or("an engine without a name");
            Some((on_one_line(name).into_owned(), "it does not say that it is PostgreSQL"))
        }
    }
}

/// Which engine this is; an error if it is another one than PostgreSQL. `place` is where it is.
pub(crate) async fn expect_postgresql(db: &mut PgConnection, place: &str) -> Result<Engine, StoreError> {
    let failed = || could_not("read the server's version");
    let version: String = query_scalar("select version()").fetch_one(&mut *db).await.map_err(failed())?;
    if let Some((engine, lacks)) = other_engine(&version, place) {
        return Err(StoreError::OtherEngine { engine, lacks });
    }
    let version = query_scalar("select current_setting('server_version')").fetch_one(&mut *db).await.map_err(failed())?;
    let citus = query_scalar("select extversion from pg_extension where extname = 'citus'").fetch_optional(db).await;
    Ok(Engine::PostgreSql { version, citus: citus.map_err(failed())? })
}

/// Why a transaction could not begin: another engine may not know what each of them begins with.
pub(crate) async fn named_in(error: StoreError, db: &mut PgConnection, place: &str) -> StoreError {
    // What has begun is aborted, and would take no statement.
    let _ = Sql::new("rollback").execute_in_one_message(&mut *db).await;
    match expect_postgresql(db, place).await {
        Err(other @ StoreError::OtherEngine { .. }) => other,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, place: &str, expected: Option<&str>) {
        assert_eq!(other_engine(version, place).map(|(name, _)| name).as_deref(), expected, "{version}");
    }

    #[test]
    fn an_engine_is_known_by_what_it_says_of_itself_and_by_its_host() {
        let here = "db.example.org:5432";
        check("PostgreSQL 18.0 on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit", here, None);
        check("PostgreSQL 16.3 (Ubuntu 16.3-1.pgdg22.04+1) on aarch64-unknown-linux-gnu, compiled by gcc, 64-bit", here, None);
        check(
            "PostgreSQL 15.4 (EnterpriseDB Advanced Server 15.4.0) on x86_64-pc-linux-gnu, compiled by gcc, 64-bit",
            here,
            None,
        );
        check("PostgreSQL 15.7 on x86_64-pc-linux-gnu, compiled by Debian clang version 12.0.1, 64-bit", here, None);
        let other = |version, name| check(version, here, Some(name));
        other("CockroachDB CCL v24.3.1 (x86_64-pc-linux-gnu, built 2024/12/02 15:30:32, go1.22.8)", "CockroachDB");
        other(
            "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), Redshift 1.0.77467",
            "Amazon Redshift",
        );
        other("PostgreSQL 15.12-YB-2025.1.0.0-b0 on x86_64-pc-linux-gnu, compiled by clang version 19.1.0, 64-bit", "YugabyteDB");
        other("PostgreSQL 9.5.0 on x86_64-unknown-linux-gnu (Materialize v0.130.1)", "Materialize");
        other("PostgreSQL 9.5.0 on x86_64-unknown-linux-gnu (materialized v0.26.0)", "Materialize");
        other("PostgreSQL 13.14.0-RisingWave-2.1.0 (fa3e0e0)", "RisingWave");
        other("CrateDB 5.9.4 (built 3a1b8a7/2024-11-20T10:00:00Z, Linux 5.15 amd64, OpenJDK 22)", "CrateDB");
        other("Vaporware\u{1b}[31m 1.0", "Vaporware\\u{1b}[31m");
        other("", "an engine without a name");
        let dsql = "abcdefghijklmnopqrst.dsql.eu-west-1.on.aws:5432";
        check("PostgreSQL 16", dsql, Some("Amazon Aurora DSQL"));
        check("PostgreSQL 16", here, None);
    }

    #[test]
    fn an_engine_is_named_with_its_version() {
        let engine = |citus: Option<&str>| Engine::PostgreSql { version: "16.4".to_owned(), citus: citus.map(str::to_owned) };
        assert_eq!(engine(None).to_string(), "PostgreSQL 16.4");
        assert_eq!(engine(Some("13.0-1")).to_string(), "PostgreSQL 16.4 with Citus 13.0-1");
    }
}
