//! The commands: one file each, with what it prints and its exit code.
//!
//! Results go to stdout, narration to stderr. What ends a command early is a [`Failure`]: an error with
//! its causes, a hint, and the exit code that scripts rely on.

mod actions;
mod adopt;
mod check;
mod daemon;
#[cfg(feature = "embedded")]
mod demo;
mod health;
mod notify;
mod print;
mod progress;
mod quarantine;
mod retype;
mod runs;
mod schema;
mod status;
mod sync;

use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, Months, Utc};
use clap::CommandFactory;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, HistoryRange, InQuarantine, OneRun};
use crate::config::{self, Settings};
use crate::notify::{Delays, NoRun, Notifier, Receivers, Workspace};
use crate::object::Object;
use crate::planhat::{self, BadToken, Budget, Client, Connection, Retry, Token};
use crate::pull::{Ask, Begin, Range, Turns};
use crate::signals::{self, Stop};
use crate::store::{self, RunStatus, Store, Why};
use crate::{error::Chain, run};
pub use print::ended;

/// The exit codes, as documented in `--help`.
pub mod exit {
    pub const FAILED: u8 = 1;
    pub const CONFIGURATION: u8 = 2;
    pub const PARTIAL: u8 = 3;
    pub const TOKEN_REFUSED: u8 = 4;
    pub const DATABASE: u8 = 5;
    pub const BUSY: u8 = 75;
}

/// Why a command ended before it was done.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    fn new(code: u8, error: impl Into<anyhow::Error>, hint: Option<&str>) -> Failure {
        Failure { code, error: error.into(), hint: hint.map(str::to_owned) }
    }

    /// Tells the person at the terminal, and gives the exit code.
    pub fn show(&self) -> ExitCode {
        print::to_stderr(&self.text());
        ExitCode::from(self.code)
    }

    fn on_one_line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{:#}{hint}", self.error)
    }

    /// For those who are told of it; nobody is told that somebody else is at work.
    fn as_no_run(&self) -> Option<NoRun> {
        let kind = match self.code {
            exit::BUSY => return None,
            exit::CONFIGURATION => "configuration",
            exit::DATABASE => "database",
            _ => "failed",
        };
        Some(NoRun { kind: kind.to_owned(), reason: format!("{:#}", self.error), hint: self.hint.clone() })
    }

    fn text(&self) -> String {
        let mut said = self.error.to_string();
        let mut text = format!("error: {said}");
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Some libraries repeat the cause in the message above it.
            if !said.ends_with(&cause) {
                text.push_str(&format!("\n  Caused by: {cause}"));
            }
            said = cause;
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure::new(
            exit::CONFIGURATION,
            error,
            Some("config/default.toml in the source lists every setting; `planhat-sync --help` the usual ones"),
        )
    }
}

impl From<BadToken> for Failure {
    fn from(error: BadToken) -> Failure {
        Failure::new(exit::CONFIGURATION, error, Some("copy the token of the private app again, whole and without line breaks"))
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        let hint = error.hint();
        let code = match error {
            store::Error::NoPostgresUrl | store::Error::BadUrl { .. } => exit::CONFIGURATION,
            #[cfg(feature = "embedded")]
            store::Error::EmbeddedInUse => exit::BUSY,
            _ => exit::DATABASE,
        };
        Failure::new(code, error, hint)
    }
}

impl From<planhat::Error> for Failure {
    fn from(error: planhat::Error) -> Failure {
        let hint = error.hint();
        Failure::new(code_of(&error), error, hint)
    }
}

fn code_of(error: &planhat::Error) -> u8 {
    if matches!(error, planhat::Error::Unauthorized { .. }) { exit::TOKEN_REFUSED } else { exit::FAILED }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Failure {
        match error {
            refused @ run::Error::OtherWorkspace { .. } => {
                let ways_out = "set the token of the workspace that fills it, or another schema for this one (database.schema); \
                     after a restore at Planhat, where records have other ids, `planhat-sync adopt` binds it to the token that is set";
                Failure::new(exit::CONFIGURATION, refused, Some(ways_out))
            }
            run::Error::Unproven { source: Some(ref source), .. } => {
                let (code, hint) = (code_of(source), source.hint());
                Failure::new(code, error, hint)
            }
            unproven @ run::Error::Unproven { source: None, .. } => Failure::new(exit::FAILED, unproven, None),
            run::Error::Store(error) => error.into(),
            run::Error::End { source, run_id, status } => {
                let hint = source.hint().unwrap_or("everything committed is kept; the next run marks this one as interrupted");
                Failure::new(exit::DATABASE, run::Error::End { run_id, status, source }, Some(hint))
            }
            stopped @ run::Error::Stopped => Failure::new(exit::FAILED, stopped, None),
            busy @ run::Error::Busy(_) => {
                let patience = format!(
                    "wait for it to end; if it was killed, its lease is free {} s after it was last seen",
                    store::STALE_AFTER.as_secs()
                );
                Failure::new(exit::BUSY, busy, Some(&patience))
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(exit::FAILED, error, None)
    }
}

/// Executes a command and says with which code to exit. `reload` reads the settings again.
pub async fn execute(
    command: Command,
    settings: &Settings,
    reload: impl Fn() -> Result<Settings, config::Error>,
) -> Result<ExitCode, Failure> {
    match command {
        #[cfg(feature = "embedded")]
        Command::Demo => demo::demo().await,
        #[cfg(not(feature = "embedded"))]
        Command::Demo => {
            let missing = anyhow::anyhow!("the demo needs the embedded PostgreSQL, which this build does not have");
            Err(Failure::new(exit::CONFIGURATION, missing, Some("build with default features: cargo run --release -- demo")))
        }
        Command::Daemon => daemon::daemon(settings.clone(), reload).await,
        Command::Health => health::health(settings).await,
        Command::Notify => notify::notify(settings).await,
        Command::Check(output) => check::check(settings, output).await,
        Command::Sync { objects, full, allow_deletes, dry_run, diff, output } => {
            let objects = named_or_configured(&objects.objects, settings)?;
            let mut order = sync::order("sync", if full { Ask::Full } else { Ask::Changes }, &objects, settings);
            order.limits.brake.on = !allow_deletes;
            if dry_run {
                return sync::preview(&order, diff, settings, output).await;
            }
            sync::sync(&order, settings, output).await
        }
        Command::Backfill { objects, range, until, output } => {
            let objects = named_or_configured(&objects.objects, settings)?;
            let range = range_of(&range, until, settings)?;
            sync::sync(&sync::order("backfill", Ask::History(range), &objects, settings), settings, output).await
        }
        Command::Status(output) => status::status(settings, output).await,
        Command::Runs { one: Some(OneRun::Show { id, output }), .. } => runs::show(settings, id, output).await,
        Command::Runs { one: None, count, output } => runs::list(settings, count, output).await,
        Command::Quarantine { what: None, which } => quarantine::list(settings, &which).await,
        Command::Quarantine { what: Some(what), .. } => match what {
            InQuarantine::List(which) => quarantine::list(settings, &which).await,
            InQuarantine::Show { id, output } => quarantine::show(settings, id, output).await,
            InQuarantine::Retry { objects } => quarantine::retry(settings, &objects.objects).await,
            InQuarantine::Drop { ids } => quarantine::drop(settings, &ids).await,
        },
        Command::Actions(asked) => actions::actions(settings, asked).await,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "planhat-sync", &mut script);
            print::to_stdout(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).context("could not make the page")?;
            print::to_stdout(String::from_utf8_lossy(&page).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Schema { objects, output, sql } => {
            let objects = config::objects_named(&objects.objects)?;
            schema::schema(settings, &objects, output, sql).await
        }
        Command::Adopt => adopt::adopt(settings).await,
        Command::Retype { object, column, kind } => {
            let object = config::objects_named(&[object])?.remove(0);
            retype::retype(settings, object, &column, kind).await
        }
    }
}

fn named_or_configured(names: &[String], settings: &Settings) -> Result<Vec<&'static Object>, Failure> {
    if names.is_empty() {
        return Ok(settings.planhat.objects.clone());
    }
    Ok(config::objects_named(names)?)
}

fn range_of(range: &HistoryRange, until: Option<DateTime<Utc>>, settings: &Settings) -> Result<Range, Failure> {
    let years_ago = |years: u32| Utc::now().checked_sub_months(Months::new(12 * years));
    let from = match (range.all, range.since, range.years.and_then(years_ago)) {
        (true, ..) => Begin::TheBeginning,
        (_, Some(since), _) | (_, _, Some(since)) => Begin::Since(since),
        _ => Begin::Usual,
    };
    let since = match from {
        Begin::Since(since) => Some(since),
        Begin::Usual => Some(Utc::now() - settings.sync.history),
        Begin::TheBeginning => None,
    };
    if let (Some(since), Some(until)) = (since, until)
        && until <= since
    {
        let empty = anyhow::anyhow!("nothing lies between {} and {}", since.date_naive(), until.date_naive());
        let hint = "--until has to be later than where the history begins: say --since or --all";
        return Err(Failure::new(exit::CONFIGURATION, empty, Some(hint)));
    }
    Ok(Range { from, until })
}

/// The client for the configured workspace.
fn client(settings: &Settings) -> Result<Client, Failure> {
    let Some(pasted) = &settings.planhat.token else {
        let missing = anyhow::anyhow!("no Planhat token");
        let hint = "set PLANHAT_API_TOKEN, or PLANHAT_API_TOKEN_FILE, to the token of a Planhat private app; `planhat-sync demo` needs none";
        let unreadable = settings.secret_files.why_missing("planhat_api_token");
        return Err(Failure::new(exit::CONFIGURATION, missing, Some(unreadable.as_deref().unwrap_or(hint))));
    };
    let connection = Connection {
        base_url: settings.planhat.base_url.clone(),
        token: Token::new(pasted)?,
        connect_timeout: settings.planhat.connect_timeout,
        request_timeout: settings.planhat.request_timeout,
        retry: Retry { times: settings.planhat.retries, first_delay: settings.planhat.retry_delay },
        max_page_bytes: settings.planhat.max_page_bytes,
    };
    let budget = Budget::per_minute(settings.planhat.calls_per_minute);
    Client::new(connection, budget).map_err(|error| Failure::from(anyhow::Error::new(error).context("could not set up HTTP")))
}

/// Whom to tell how the workspace is.
fn notifier(settings: &Settings) -> Result<Notifier, Failure> {
    let config::Notify { webhook_url, webhook_secret, format, ping_url, .. } = settings.notify.clone();
    let receivers = Receivers { webhook_url, webhook_secret, format, ping_url };
    let planhat = &settings.planhat;
    let workspace = Workspace {
        schema: settings.database.schema.clone(),
        host: planhat.base_url.host_str().unwrap_or_default().to_owned(),
        objects: planhat.objects.iter().map(|object| object.name.to_owned()).collect(),
    };
    Ok(Notifier::new(&receivers, workspace, Delays::default()).map_err(anyhow::Error::new)?)
}

/// The configured database, or the embedded one.
async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let mut store = connect(settings).await?;
    if settings.database.url.is_some() {
        store.patience = settings.database.patience;
    }
    Ok(store)
}

async fn connect(settings: &Settings) -> Result<Store, Failure> {
    match &settings.database.url {
        Some(url) => {
            let config::Database { schema, max_connections, statement_timeout, .. } = &settings.database;
            let connected = Store::connect_with(url, schema, *max_connections, *statement_timeout).await;
            connected.map_err(|error| {
                let unreadable = settings.secret_files.why_missing("database_password").filter(|_| error.is_login_refused());
                let failure = Failure::from(error);
                Failure { hint: unreadable.or(failure.hint), ..failure }
            })
        }
        #[cfg(feature = "embedded")]
        None => {
            let folder = settings.database.data_dir.clone();
            tracing::info!(folder = %folder.display(), "no DATABASE_URL: using the embedded PostgreSQL");
            Ok(Store::embedded(store::Place::Folder(folder), &settings.database.schema).await?)
        }
        #[cfg(not(feature = "embedded"))]
        None => {
            let missing = anyhow::anyhow!("no database, and this build has no embedded PostgreSQL");
            let hint = "set DATABASE_URL to a PostgreSQL 15 or newer, as postgres://user:password@host:5432/database";
            let unreadable = settings.secret_files.why_missing("environment");
            Err(Failure::new(exit::CONFIGURATION, missing, Some(unreadable.as_deref().unwrap_or(hint))))
        }
    }
}

/// The same for a dry run, which has nothing to compare with where there is no database yet, and makes none that stays.
async fn open_store_to_preview(settings: &Settings) -> Result<Store, Failure> {
    #[cfg(feature = "embedded")]
    if no_database_yet(settings).is_some() {
        return Ok(Store::embedded(store::Place::Temporary, &settings.database.schema).await?);
    }
    open_store(settings).await
}

/// From here on a signal stops after the pages in hand, and a database that hangs then is not waited for.
fn listen_for_signals(store: &Store) -> Result<Stop, Failure> {
    let stop = signals::listen().context("could not listen for signals")?;
    store.end_with(stop.token.clone());
    Ok(stop)
}

/// Opens the store, does the work, and closes it whatever came of the work. Only a sync makes an embedded database.
async fn with_store<T>(settings: &Settings, work: impl AsyncFnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
    if let Some(text) = no_database_yet(settings) {
        return Err(Failure::new(exit::CONFIGURATION, anyhow::anyhow!(text), None));
    }
    let store = open_store(settings).await?;
    let result = work(&store).await;
    store.close().await;
    result
}

/// The same for a command that only looks: it makes no embedded database to find nothing in. Where there is none yet, the
/// person hears of that, and there is nothing to show.
async fn with_store_to_look<T: Default>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match no_database_yet(settings) {
        Some(text) => {
            print::to_stderr(&text);
            Ok(T::default())
        }
        None => with_store(settings, work).await,
    }
}

/// Where an embedded database would be made, and what to do, if there is no database to look at.
fn no_database_yet(settings: &Settings) -> Option<String> {
    if settings.database.url.is_some() || !store::could_be_made(&settings.database.data_dir) {
        return None;
    }
    let unreadable = settings.secret_files.why_missing("environment").map(|why| format!(" ({why})")).unwrap_or_default();
    let folder = settings.database.data_dir.display();
    Some(format!(
        "there is no database yet in {folder}; set DATABASE_URL{unreadable}, or `planhat-sync sync` makes an embedded one"
    ))
}

/// Does something as a run of its own, so that no other one is at work meanwhile, and notes what it came to.
async fn as_a_run<T>(
    store: &Store,
    command: &str,
    work: impl AsyncFnOnce(i64) -> Result<(T, RunStatus), Failure>,
) -> Result<T, Failure> {
    let halt = CancellationToken::new();
    let run_id = run::begin(store, command, &halt).await?;
    let result = run::beside_heartbeat(store, run_id, command, &Turns::default(), &halt, work(run_id)).await;
    let status = result.as_ref().map_or(RunStatus::Failed, |(_, status)| *status);
    let why = Why { reason: result.as_ref().err().map(Failure::on_one_line), hint: None };
    let ended = run::end(store, run_id, status, &why).await;
    let (done, _) = result?;
    ended?;
    Ok(done)
}

fn hinted(error: &planhat::Error) -> String {
    let text = Chain(error).to_string();
    error.hint().map_or(text.clone(), |hint| format!("{text}; {hint}"))
}
