//! How several workspaces are, in a few statements for all of them together: a thousand of them are one transaction on one
//! connection.
//!
//! It is less than what [`overview`](super::object_states::overview) reads of one. No table of data is touched, so that it makes no
//! difference where the schemas of the workspaces are.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

use crate::sql::query_as;
use crate::state::leases::STALE_AFTER;
use crate::store_error::{StoreError, could_not};

/// What is on record of several workspaces.
#[derive(Debug, Default)]
pub struct FleetOverview {
    /// By workspace and object.
    pub objects: Vec<FleetObject>,
    /// The latest run of each workspace that has had one, by workspace.
    pub runs: Vec<FleetRun>,
    /// The runs that are in progress, by workspace.
    pub leases: Vec<FleetLease>,
}

/// What the freshness of an object depends on, and why its latest run was not good.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct FleetObject {
    /// The data schema, as everywhere in these tables.
    pub workspace: String,
    pub object: String,
    pub status: String,
    pub reason: Option<String>,
    pub last_success_at: Option<DateTime<Utc>>,
    pub has_table: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct FleetRun {
    pub workspace: String,
    pub id: i64,
    pub command: String,
    pub status: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
}

/// A run that has the lease of its workspace, and renews it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct FleetLease {
    pub workspace: String,
    pub command: String,
    pub holder: String,
    pub acquired_at: DateTime<Utc>,
}

pub async fn fleet_overview(db: &mut PgConnection, workspaces: &[&str]) -> Result<FleetOverview, StoreError> {
    Ok(FleetOverview {
        objects: fleet_objects(&mut *db, workspaces).await?,
        runs: latest_runs(&mut *db, workspaces).await?,
        leases: runs_in_progress(db, workspaces).await?,
    })
}

async fn fleet_objects(db: &mut PgConnection, workspaces: &[&str]) -> Result<Vec<FleetObject>, StoreError> {
    query_as(
        "select states.workspace, states.object, states.status, states.reason, states.last_success_at,
             tables.oid is not null as has_table
         from planhat_sync.object_states as states
             left join pg_namespace as schemas on schemas.nspname = states.workspace
             left join pg_class as tables
                 on tables.relnamespace = schemas.oid and tables.relname = states.object and tables.relkind in ('r', 'p')
         where states.workspace = any($1) order by states.workspace, states.object",
    )
    .bind(workspaces)
    .fetch_all(db)
    .await
    .map_err(could_not("read the state of the objects"))
}

/// Each by the index, so that it does not matter how many runs there were.
async fn latest_runs(db: &mut PgConnection, workspaces: &[&str]) -> Result<Vec<FleetRun>, StoreError> {
    query_as(
        "select latest.workspace, latest.id, latest.command, latest.status, latest.started_at, latest.finished_at, latest.reason
         from unnest($1::text[]) as named (workspace)
             cross join lateral (select * from planhat_sync.runs where runs.workspace = named.workspace order by id desc limit 1)
                 as latest
         order by latest.workspace",
    )
    .bind(workspaces)
    .fetch_all(db)
    .await
    .map_err(could_not("read the latest runs"))
}

async fn runs_in_progress(db: &mut PgConnection, workspaces: &[&str]) -> Result<Vec<FleetLease>, StoreError> {
    query_as(
        "select leases.workspace, runs.command, leases.holder, leases.acquired_at
         from planhat_sync.leases join planhat_sync.runs on runs.id = leases.run_id
         where leases.workspace = any($1) and leases.renewed_at >= now() - make_interval(secs => $2) order by leases.workspace",
    )
    .bind(workspaces)
    .bind(STALE_AFTER.as_secs_f64())
    .fetch_all(db)
    .await
    .map_err(could_not("see which runs are in progress"))
}
