//! From the settings to what works by them: the client, the store, the notifier, and what is asked of a run.
//!
//! This is the one place that reads settings to build something, so that a command and the daemon cannot differ in it.

use std::sync::Arc;

use anyhow::Context;
use chrono::Utc;
use planhat_api::{Budget, Client, ClientConfig, PageSettings, RetryPolicy, Token};
use planhat_model::catalog::Object;
use planhat_model::error::{ErrorKind, exit_code as exit};
use planhat_store::{self as store, Store, TimelineOptions};

use crate::command_error::CommandError;
use crate::config::{self, Settings};
use crate::events::{Delays, NotifiedWorkspace, Notifier, NotifyTargets};
use crate::pull::{DeletionGuard, Limits, Mode, RejectionGuard};
use crate::run::RunRequest;
use crate::signals::{self, Stop};

/// The client for the configured workspace.
pub fn client(settings: &Settings) -> Result<Client, CommandError> {
    let Some(pasted) = &settings.planhat.token else {
        let missing = anyhow::anyhow!("no Planhat token");
        let hint = "set PLANHAT_API_TOKEN, or PLANHAT_API_TOKEN_FILE, to the token of a Planhat private app; `planhat-sync demo` needs none";
        let unreadable = settings.secret_files.unreadable_hint("planhat_api_token");
        return Err(CommandError::new(exit::CONFIGURATION, missing, Some(unreadable.as_deref().unwrap_or(hint))));
    };
    let connection = ClientConfig {
        base_url: settings.planhat.base_url.clone(),
        token: Token::new(pasted)?,
        connect_timeout: settings.planhat.connect_timeout,
        request_timeout: settings.planhat.request_timeout,
        retry: RetryPolicy { times: settings.planhat.retries, first_delay: settings.planhat.retry_delay },
        max_page_bytes: settings.planhat.max_page_bytes,
    };
    let budget = Budget::per_minute(settings.planhat.calls_per_minute);
    Client::new(connection, budget)
        .map_err(|error| CommandError::from(anyhow::Error::new(error).context("could not set up HTTP")))
}

/// Whom to tell how the workspace is.
pub fn notifier(settings: &Settings) -> Result<Notifier, CommandError> {
    let config::NotifySettings { webhook_url, webhook_secret, format, ping_url, .. } = settings.notify.clone();
    let receivers = NotifyTargets { webhook_url, webhook_secret, format, ping_url };
    let planhat = &settings.planhat;
    let workspace = NotifiedWorkspace {
        schema: settings.database.schema.clone(),
        host: planhat.base_url.host_str().unwrap_or_default().to_owned(),
        objects: planhat.objects.iter().map(|object| object.name.to_owned()).collect(),
    };
    Ok(Notifier::new(&receivers, workspace, Delays::default()).map_err(anyhow::Error::new)?)
}

/// The configured database, or the embedded one.
pub async fn open_store(settings: &Settings) -> Result<Store, CommandError> {
    let mut store = connect(settings).await?;
    if settings.database.url.is_some() {
        store.reconnect_timeout = settings.database.reconnect_timeout;
    }
    Ok(store)
}

pub async fn connect(settings: &Settings) -> Result<Store, CommandError> {
    match &settings.database.url {
        Some(url) => {
            let config::DatabaseSettings { schema, max_connections, statement_timeout, .. } = &settings.database;
            let connected = Store::connect_with(url, schema, *max_connections, *statement_timeout).await;
            connected.map_err(|error| {
                let unreadable = settings
                    .secret_files
                    .unreadable_hint("database_password")
                    .filter(|_| matches!(error.kind(), ErrorKind::LoginRefused(_)));
                let failure = CommandError::from(error);
                CommandError { hint: unreadable.or(failure.hint), ..failure }
            })
        }
        #[cfg(feature = "embedded")]
        None => {
            let folder = settings.database.data_dir.clone();
            tracing::info!(folder = %folder.display(), "no DATABASE_URL: using the embedded PostgreSQL");
            Ok(Store::embedded(store::EmbeddedLocation::Folder(folder), &settings.database.schema).await?)
        }
        #[cfg(not(feature = "embedded"))]
        None => {
            let missing = anyhow::anyhow!("no database, and this build has no embedded PostgreSQL");
            let hint = "set DATABASE_URL to a PostgreSQL 15 or newer, as postgres://user:password@host:5432/database";
            let unreadable = settings.secret_files.unreadable_hint("environment");
            Err(CommandError::new(exit::CONFIGURATION, missing, Some(unreadable.as_deref().unwrap_or(hint))))
        }
    }
}

/// The same for a dry run, which has nothing to compare with where there is no database yet, and makes none that stays.
pub async fn open_store_to_preview(settings: &Settings) -> Result<Store, CommandError> {
    #[cfg(feature = "embedded")]
    if no_database_yet(settings).is_some() {
        return Ok(Store::embedded(store::EmbeddedLocation::Temporary, &settings.database.schema).await?);
    }
    open_store(settings).await
}

/// From here on a signal stops after the pages in hand, and a database that hangs then is not waited for.
pub fn listen_for_signals(store: &Store) -> Result<Stop, CommandError> {
    let stop = signals::listen().context("could not listen for signals")?;
    store.stop_on(stop.token.clone());
    Ok(stop)
}

/// Where an embedded database would be made, and what to do, if there is no database to look at.
pub fn no_database_yet(settings: &Settings) -> Option<String> {
    if settings.database.url.is_some() || !store::needs_new_embedded_database(&settings.database.data_dir) {
        return None;
    }
    let unreadable = settings.secret_files.unreadable_hint("environment").map(|why| format!(" ({why})")).unwrap_or_default();
    let folder = settings.database.data_dir.display();
    Some(format!(
        "there is no database yet in {folder}; set DATABASE_URL{unreadable}, or `planhat-sync sync` makes an embedded one"
    ))
}

/// What is to be done, as far as the settings say.
pub fn run_request<'a>(command: &'a str, mode: Mode, objects: &'a [&'static Object], settings: &Settings) -> RunRequest<'a> {
    RunRequest {
        command,
        objects,
        mode,
        limits: limits(settings),
        now: Utc::now(),
        concurrency: settings.sync.concurrency,
        progress: Arc::default(),
    }
}

pub fn limits(settings: &Settings) -> Limits {
    Limits {
        pages: PageSettings { size: settings.planhat.page_size, overlap: settings.pages.overlap > 0 },
        lookback: settings.sync.lookback,
        history: settings.sync.history,
        sorted: settings.sync.sorted.iter().map(|object| object.name).collect(),
        reconcile_every: settings.sync.reconcile_every,
        keep_runs: settings.sync.keep_runs,
        timeline: TimelineOptions {
            enabled: settings.actions.enabled,
            initial: settings.actions.initial,
            keep: settings.actions.keep,
        },
        rules: settings.rules.clone(),
        ignore_changes: settings.ignore_changes.clone(),
        deletion_guard: DeletionGuard {
            enabled: true,
            max_percent: settings.deletions.max_percent,
            max_rows: settings.deletions.max_rows,
        },
        rejections: RejectionGuard { percent: settings.sync.reject_percent, rows: settings.sync.reject_rows },
        quarantine_rows: settings.sync.quarantine_rows,
    }
}
