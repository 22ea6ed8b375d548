//! The embedded PostgreSQL, for people who have no database yet.
//!
//! It is PostgreSQL 17 compiled into this binary, with a data folder of its own, behind a socket that lives as long as the
//! process, with exactly one connection. All other code uses it like any server.

use std::path::PathBuf;

use pglite_oxide::PgliteServer;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::store_error::StoreError;

/// Where the embedded server keeps its data.
#[derive(Debug, Clone)]
pub enum EmbeddedLocation {
    /// In this folder, for good.
    Folder(PathBuf),
    /// In a temporary folder that goes with the server.
    Temporary,
}

#[derive(Debug)]
pub(crate) struct EmbeddedServer {
    server: PgliteServer,
    /// A private folder, since whoever can open the socket can read everything.
    socket: PathBuf,
    /// Kept for as long as the server runs, where the socket is in one.
    _temporary: Option<TempDir>,
}

/// In the folder of a database once it has been made; the crate puts the cluster there.
const CLUSTER: &str = "tmp/pglite/base/PG_VERSION";
/// Part of the name of a PostgreSQL socket.
const PORT: u16 = 5432;
/// The path of a socket is limited to some 100 bytes; its name needs a few of them.
const LONGEST_FOLDER: usize = 80;

impl EmbeddedServer {
    pub(crate) async fn start(place: EmbeddedLocation) -> Result<EmbeddedServer, StoreError> {
        let start = move || {
            let (socket, temporary) = socket_folder(&place)?;
            let builder = PgliteServer::builder().unix(socket.join(format!(".s.PGSQL.{PORT}")));
            let server = match place {
                EmbeddedLocation::Folder(folder) => builder.path(folder.join("postgres")).start()?,
                EmbeddedLocation::Temporary => builder.temporary().start()?,
            };
            Ok::<_, anyhow::Error>(EmbeddedServer { server, socket, _temporary: temporary })
        };
        match spawn_blocking(start).await {
            Ok(Ok(server)) => Ok(server),
            // The crate has no type for this error.
            Ok(Err(error)) if error.chain().any(|cause| cause.to_string().contains("already in use")) => {
                Err(StoreError::EmbeddedInUse)
            }
            Ok(Err(error)) => Err(StoreError::Embedded { source: error.into() }),
            Err(panic) => Err(StoreError::Embedded { source: panic.into() }),
        }
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .port(PORT)
            .username("postgres")
            .password("")
            .database("template1")
            .ssl_mode(PgSslMode::Disable)
    }

    /// Call it when all connections are closed: the server waits for them.
    pub(crate) async fn stop(self) {
        let stopped = spawn_blocking(move || self.server.shutdown()).await;
        if let Ok(Err(error)) = stopped {
            // It minds that we hang up first; everything is committed by then.
            tracing::debug!(error = format!("{error:#}"), "the embedded PostgreSQL did not stop cleanly");
        }
    }
}

/// Whether there is a database in this folder.
pub(crate) fn database_exists(folder: &std::path::Path) -> bool {
    folder.join("postgres").join(CLUSTER).is_file()
}

/// Beside the data, or in a temporary folder where that path is too long.
fn socket_folder(place: &EmbeddedLocation) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    if let EmbeddedLocation::Folder(folder) = place {
        create_private(folder)?;
        let socket = folder.join("socket");
        create_private(&socket)?;
        if socket.as_os_str().len() <= LONGEST_FOLDER {
            return Ok((socket, None));
        }
    }
    let temporary = tempfile::Builder::new().prefix("planhat-sync").tempdir()?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

/// The folder holds customer data: nobody else on the machine may read it.
fn create_private(folder: &std::path::Path) -> anyhow::Result<()> {
    use anyhow::Context;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("could not create {}", folder.display()))
}
