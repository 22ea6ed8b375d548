//! One workspace: its settings, and what works by them: the client, the store, the notifier, and what is asked of a run.
//!
//! ```text
//! Settings -> Workspace -> client, store, notifier, run request (limits, rules)
//! ```
//!
//! Nothing else in the program makes any of these, so that a command, the daemon and the demo cannot differ in them.
//! Nothing is connected before it is asked for: a command that only looks needs no token, and one that only sends a
//! message needs no database.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use planhat_api::{Budget, Client, ClientConfig, PageSettings, RetryPolicy, Token};
use planhat_model::catalog::Object;
use planhat_model::error::{ErrorKind, exit_code as exit};
use planhat_store::{self as store, Store, TimelineOptions};

use crate::command_error::CommandError;
use crate::config::{DatabaseSettings, NotifySettings, Settings};
use crate::events::{Delays, NotifiedWorkspace, Notifier, NotifyTargets};
use crate::pull::{DeletionGuard, Limits, Mode, RejectionGuard};
use crate::run::RunRequest;

/// How long somebody at a terminal waits for a connection to Planhat, and for an answer.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
const LONGEST_REQUEST: Duration = Duration::from_secs(20);

/// A Planhat workspace and the schema that it fills, as the settings name them.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub settings: Settings,
}

impl Workspace {
    pub fn new(settings: Settings) -> Workspace {
        Workspace { settings }
    }

    /// The client for the workspace.
    pub fn client(&self) -> Result<Client, CommandError> {
        self.client_with(self.client_config()?)
    }

    /// The same for somebody who waits at a terminal: it asks once, and waits for seconds at most.
    pub fn client_without_retries(&self) -> Result<Client, CommandError> {
        let config = self.client_config()?;
        self.client_with(ClientConfig {
            connect_timeout: config.connect_timeout.min(LONGEST_CONNECT),
            request_timeout: config.request_timeout.min(LONGEST_REQUEST),
            retry: RetryPolicy { times: 0, ..config.retry },
            ..config
        })
    }

    /// Whether there is a token that can be sent.
    pub fn check_token(&self) -> Result<(), CommandError> {
        self.client_config().map(|_| ())
    }

    /// What tells the token from others without revealing it, under a key; none without a token.
    pub fn token_hash(&self, key: &str) -> Option<String> {
        let pasted = self.settings.planhat.token.as_ref()?;
        Token::new(pasted).ok().map(|token| token.fingerprint(key))
    }

    fn client_config(&self) -> Result<ClientConfig, CommandError> {
        let planhat = &self.settings.planhat;
        let Some(pasted) = &planhat.token else {
            let missing = anyhow::anyhow!("no Planhat token");
            let hint = "set PLANHAT_API_TOKEN, or PLANHAT_API_TOKEN_FILE, to the token of a Planhat private app; `planhat-sync demo` needs none";
            let unreadable = self.settings.secret_files.unreadable_hint("planhat_api_token");
            return Err(CommandError::new(exit::CONFIGURATION, missing, Some(unreadable.as_deref().unwrap_or(hint))));
        };
        Ok(ClientConfig {
            base_url: planhat.base_url.clone(),
            token: Token::new(pasted)?,
            connect_timeout: planhat.connect_timeout,
            request_timeout: planhat.request_timeout,
            retry: RetryPolicy { times: planhat.retries, first_delay: planhat.retry_delay },
            max_page_bytes: planhat.max_page_bytes,
        })
    }

    fn client_with(&self, config: ClientConfig) -> Result<Client, CommandError> {
        let budget = Budget::per_minute(self.settings.planhat.calls_per_minute);
        // It reads the certificates of the authorities that it trusts.
        const NO_AUTHORITIES: &str = "check that SSL_CERT_FILE and SSL_CERT_DIR, if they are set, name certificates in PEM; without them the \
                                      system's certificate store has to be there (the package ca-certificates)";
        Client::new(config, budget).map_err(|error| {
            let failed = anyhow::Error::new(error).context("could not set up HTTP");
            CommandError::new(exit::CONFIGURATION, failed, Some(NO_AUTHORITIES))
        })
    }

    /// The notifier for the configured webhook and ping URL.
    pub fn notifier(&self) -> Result<Notifier, CommandError> {
        let Settings { planhat, notify, database, .. } = &self.settings;
        let NotifySettings { webhook_url, webhook_secret, format, ping_url, .. } = notify.clone();
        let receivers = NotifyTargets { webhook_url, webhook_secret, format, ping_url };
        let workspace = NotifiedWorkspace {
            schema: database.schema.clone(),
            host: planhat.base_url.host_str().unwrap_or_default().to_owned(),
            objects: planhat.objects.iter().map(|object| object.name.to_owned()).collect(),
        };
        Ok(Notifier::new(&receivers, workspace, Delays::default()).map_err(anyhow::Error::new)?)
    }

    /// Begins the log of what writes: where the data goes, and what in the settings is probably not meant.
    pub fn log_destination(&self) {
        let DatabaseSettings { schema, .. } = &self.settings.database;
        tracing::info!(schema, "the data goes to {}, schema {schema}", self.settings.database.location());
        self.log_doubts();
    }

    /// The same for a daemon of several workspaces, of which these are the shared settings.
    pub fn log_destination_of_all(&self) {
        tracing::info!("the data goes to {}, a schema for each workspace", self.settings.database.location());
        self.log_doubts();
    }

    fn log_doubts(&self) {
        for doubt in &self.settings.secret_files.doubts {
            tracing::warn!("{doubt}");
        }
    }

    /// The configured database, or the embedded one.
    pub async fn open_store(&self) -> Result<Store, CommandError> {
        self.open_store_with(self.settings.database.max_connections).await
    }

    /// The same with this many connections at most; the embedded database has one.
    pub async fn open_store_with(&self, max_connections: u32) -> Result<Store, CommandError> {
        let mut store = self.connect(max_connections).await?;
        store.readers.clone_from(&self.settings.database.grant_select_to);
        if !self.settings.database.is_embedded() {
            store.reconnect_timeout = self.settings.database.reconnect_timeout;
        }
        Ok(store)
    }

    async fn connect(&self, max_connections: u32) -> Result<Store, CommandError> {
        match self.settings.database.source() {
            Some(source) => {
                let DatabaseSettings { schema, statement_timeout, .. } = &self.settings.database;
                let connected = Store::connect_with(source, schema, max_connections, *statement_timeout).await;
                connected.map_err(|error| self.with_hint_of_files(error))
            }
            #[cfg(feature = "embedded")]
            None => {
                let folder = self.settings.database.data_dir.clone();
                Ok(Store::embedded(store::EmbeddedLocation::Folder(folder), &self.settings.database.schema).await?)
            }
            #[cfg(not(feature = "embedded"))]
            None => {
                let missing = anyhow::anyhow!("no database, and this build has no embedded PostgreSQL");
                let hint = "set DATABASE_URL to a PostgreSQL 15 or newer, as postgres://user:password@host:5432/database";
                let unreadable = self.settings.secret_files.unreadable_hint("environment");
                Err(CommandError::new(exit::CONFIGURATION, missing, Some(unreadable.as_deref().unwrap_or(hint))))
            }
        }
    }

    /// Why a login may have been refused, as far as the files with secrets tell.
    fn with_hint_of_files(&self, error: store::StoreError) -> CommandError {
        let is_login = matches!(error.kind(), ErrorKind::LoginRefused(_));
        let files = &self.settings.secret_files;
        let doubt = || files.doubts.iter().find(|doubt| doubt.starts_with("the password")).cloned();
        let hint = is_login.then(|| files.unreadable_hint("database_password").or_else(doubt)).flatten();
        let failure = CommandError::from(error);
        CommandError { hint: hint.or(failure.hint), ..failure }
    }

    /// An embedded database that goes with the process.
    #[cfg(feature = "embedded")]
    pub async fn open_temporary_store(&self) -> Result<Store, CommandError> {
        Ok(Store::embedded(store::EmbeddedLocation::Temporary, &self.settings.database.schema).await?)
    }

    /// The same for a dry run, which has nothing to compare with where there is no database yet, and makes none that stays.
    pub async fn open_store_to_preview(&self) -> Result<Store, CommandError> {
        #[cfg(feature = "embedded")]
        if self.no_database_yet().is_some() {
            return self.open_temporary_store().await;
        }
        self.open_store().await
    }

    /// Where an embedded database would be made, and what to do, if there is no database to look at.
    pub fn no_database_yet(&self) -> Option<String> {
        let Settings { database, secret_files, .. } = &self.settings;
        if !database.is_embedded() || !store::needs_new_embedded_database(&database.data_dir) {
            return None;
        }
        let unreadable = secret_files.unreadable_hint("environment").map(|why| format!(" ({why})")).unwrap_or_default();
        let folder = database.data_dir.display();
        Some(format!(
            "there is no database yet in {folder}; set DATABASE_URL{unreadable}, or run `planhat-sync sync` to create an embedded one"
        ))
    }

    /// The run request for these objects, with the limits from the settings.
    pub fn run_request<'a>(&self, command: &'a str, mode: Mode, objects: &'a [&'static Object]) -> RunRequest<'a> {
        RunRequest {
            command,
            objects,
            mode,
            limits: self.limits(),
            now: Utc::now(),
            concurrency: self.settings.sync.concurrency,
            progress: Arc::default(),
        }
    }

    /// What a run may do, and how far it goes.
    pub fn limits(&self) -> Limits {
        let settings = &self.settings;
        Limits {
            pages: PageSettings { size: settings.planhat.page_size, overlap: settings.pages.overlap > 0 },
            lookback: settings.sync.lookback,
            history: settings.sync.history,
            histories: settings.histories.clone(),
            sorted: settings.sync.sorted.clone(),
            reconcile_every: settings.sync.reconcile_every,
            calls_per_minute: settings.planhat.calls_per_minute,
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

    /// The names of the objects that the settings name, in their order.
    pub fn object_names(&self) -> Vec<&'static str> {
        self.settings.planhat.objects.iter().map(|object| object.name).collect()
    }
}
