//! The embedded PostgreSQL, for those who have no database yet.
//!
//! It is PostgreSQL 17 compiled into this binary, in a folder of its own, on a loopback port that lives
//! as long as the process, with exactly one connection. Everything above talks to it as to any server.

use std::path::PathBuf;

use pglite_oxide::PgliteServer;
use tokio::task::spawn_blocking;

use super::error::Error;

/// Where the embedded server keeps its data.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this folder, for good.
    Folder(PathBuf),
    /// In a temporary folder that goes with the server.
    Temporary,
}

#[derive(Debug)]
pub(super) struct Server(PgliteServer);

impl Server {
    pub(super) async fn start(place: Place) -> Result<Server, Error> {
        let start = move || match place {
            Place::Folder(folder) => {
                create_private(&folder)?;
                PgliteServer::builder().path(folder).start()
            }
            Place::Temporary => PgliteServer::builder().temporary().start(),
        };
        match spawn_blocking(start).await {
            Ok(Ok(server)) => Ok(Server(server)),
            Ok(Err(error)) => Err(Error::Embedded { source: error.into() }),
            Err(panic) => Err(Error::Embedded { source: panic.into() }),
        }
    }

    pub(super) fn url(&self) -> String {
        self.0.database_url()
    }

    /// Call it when all connections are closed: the server waits for them.
    pub(super) async fn stop(self) {
        let stopped = spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(error = format!("{error:#}"), "the embedded PostgreSQL did not stop cleanly");
        }
    }
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
