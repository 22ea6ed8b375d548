//! Listens for new actions, so that a follower of the timeline need not poll for them all the time.

use std::sync::Arc;
use std::time::Duration;

use planhat_model::error::Chain;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument;

use super::action_table::CHANNEL;
use crate::Store;
use crate::connect::Connector;
use crate::sql::query;

/// For the connection that listens: how long it may take to be made, after how much silence it is asked whether anybody
/// is there, and how long the answer may take.
const LISTENER_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const PING_AFTER: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Notifies when actions have been committed, if LISTEN works: not through a pooler, and not with the single connection of
/// the embedded database. So its users also poll.
#[derive(Debug)]
pub struct ActionListener {
    notify: Arc<Notify>,
    listening: Option<JoinHandle<()>>,
}

impl ActionListener {
    pub fn of(store: &Store) -> ActionListener {
        let notify = Arc::new(Notify::new());
        // On a connection of its own, since it is for nothing else.
        let own = (!store.is_embedded()).then(|| Arc::clone(store.connections.connector()));
        let shared = Arc::clone(&notify);
        let listening = own.map(|own| {
            let listening = async move {
                loop {
                    let Err(error) = listen(&own, &shared).await;
                    tracing::debug!(error = %Chain(&error), "cannot listen for new actions: polling for them instead");
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            };
            tokio::spawn(listening.in_current_span())
        });
        ActionListener { notify, listening }
    }

    pub async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for ActionListener {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

async fn listen(connector: &Connector, notify: &Notify) -> Result<std::convert::Infallible, sqlx::Error> {
    let only_one = PgPoolOptions::new().max_connections(1).acquire_timeout(LISTENER_CONNECT_TIMEOUT);
    let mut listener = PgListener::connect_with(&only_one.connect_lazy_with(connector.options())).await?;
    in_time(listener.listen(CHANNEL)).await?;
    loop {
        match timeout(PING_AFTER, listener.recv()).await {
            Ok(heard) => _ = heard?,
            // A connection without notifications may have stalled: a live server answers this.
            Err(_) => _ = in_time(query("select 1").execute(&mut listener)).await?,
        }
        notify.notify_one();
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PING_TIMEOUT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
