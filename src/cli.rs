//! What can be typed.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use planhat_model::catalog::ColumnType;

const AFTER_HELP: &str = "\
Settings come from config/default.toml (compiled in), a file, and the environment:
  PLANHAT_API_TOKEN   the token of a Planhat private app (or PLANHAT_API_TOKEN_FILE)
  PLANHAT_API_URL     the API host, https://api.planhat.com by default
  DATABASE_URL        postgres://user:password@host:5432/database; without it an embedded PostgreSQL is used
  PLANHAT_SYNC__SECTION__KEY   any other setting

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 partial, 4 token refused, 5 database,
75 another run is at work, 130/143 stopped by a signal with everything committed.";

const STATUS_HELP: &str = "\
The data is fresh when every object of planhat.objects was synced to its end within notify.stale_after, by whatever command;
objects that the token may not read, and never could, aside.

Exit codes, for monitors: 0 fresh (also when the last run failed and the data is not too old yet), 1 stale, never synced or a
table is gone, 2 configuration, 5 database.";

const ACTIONS_HELP: &str = "\
--follow stays up until it is stopped by a signal or its output is closed, and waits for a database that is away
(database.reconnect_timeout). With --consumer it goes on behind the last action that it has written out before: none is left
out, and after a crash a few may come again, with the same ids. A new consumer begins with --since, or with what is new.
One process at a time should go by a name; positions are kept in planhat_sync.consumers.";

/// Copies a Planhat workspace into your own PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "planhat-sync", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Settings file; without it /etc/planhat-sync/config.toml where there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Once(Once),
    /// Stay up, sync on a schedule (daemon.schedule), serve health and metrics.
    // Where the help has it: behind `backfill`, the third from 0.
    #[command(display_order = 4)]
    Daemon,
}

/// What is done once, and ends.
#[derive(Debug, Subcommand)]
pub enum Once {
    /// Show what it does, on a simulated workspace and an embedded PostgreSQL: no token, no database.
    Demo,
    /// Check token, permissions and database, and say what to do about what is wrong.
    Check(OutputArgs),
    /// Sync now: what changed since the last time, or all of history the first time.
    Sync(SyncArgs),
    /// Load history; goes on where it was stopped, and makes way for a sync meanwhile.
    Backfill(BackfillArgs),
    /// Ask the daemon on this machine whether it lives.
    Health,
    /// Send a test message to notify.webhook_url, and say what is answered.
    Notify,
    /// Show how fresh each object is and what the last run did.
    #[command(after_help = STATUS_HELP)]
    Status(OutputArgs),
    /// List the latest runs, or show one.
    Runs {
        #[command(subcommand)]
        one: Option<RunsCommand>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        count: u32,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List the records that cannot be stored, show one, try to store them again, or drop some.
    #[command(args_conflicts_with_subcommands = true)]
    Quarantine {
        #[command(subcommand)]
        what: Option<QuarantineCommand>,
        #[command(flatten)]
        which: QuarantineListArgs,
    },
    /// Show what happened, the newest first; with --follow what happens from now on, as it is stored.
    #[command(after_help = ACTIONS_HELP)]
    Actions(ActionsArgs),
    /// Show tables and columns with the Planhat field behind each.
    Schema {
        #[command(flatten)]
        objects: ObjectsArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Print the statements that make the tables.
        #[arg(long, conflicts_with = "json")]
        sql: bool,
    },
    /// Give a column another type: misfits that fit it move in, values that do not fit it move to _misfits.
    Retype {
        /// Object, e.g. companies.
        object: String,
        /// Column, e.g. planhat__seats__custom.
        column: String,
        /// text, numeric, boolean, timestamptz or jsonb.
        #[arg(value_name = "TYPE", value_parser = parse_kind)]
        kind: ColumnType,
    },
    /// Bind the schema to the token and host that are set, after a restore at Planhat has given its records other ids.
    Adopt,
    /// Print the completions for a shell, e.g. into /etc/bash_completion.d/planhat-sync.
    Completions { shell: Shell },
    /// Print the man page.
    Man,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    #[command(flatten)]
    pub objects: ObjectsArgs,
    /// Compare everything, and mark the rows whose records are gone at Planhat.
    #[arg(long)]
    pub full: bool,
    /// Mark them even if more seem gone than is likely (deletions.max_percent, deletions.max_rows).
    #[arg(long, requires = "full")]
    pub allow_deletes: bool,
    /// Fetch and compare, say what would be done, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: each record, and what would change in it, column by column.
    #[arg(long, requires = "dry_run")]
    pub diff: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    #[command(flatten)]
    pub objects: ObjectsArgs,
    #[command(flatten)]
    pub range: HistoryRangeArgs,
    /// Leave out what was still active on this day or later, as in 2022-01-01.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub until: Option<DateTime<Utc>>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Show one run, object by object.
    Show {
        /// Its number, as `runs` lists it.
        id: i64,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List them: how many of each object for which reason, then the latest.
    List(QuarantineListArgs),
    /// Print one with its text.
    Show {
        /// Its number, as `quarantine` lists it.
        id: i64,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Try to store what is kept of them, without asking Planhat: after a rule of the database has changed, say.
    Retry {
        #[command(flatten)]
        objects: ObjectsArgs,
    },
    /// Drop entries; a record that is listed again and still cannot be stored comes back.
    Drop {
        /// Their numbers, as `quarantine` lists them.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<i64>,
    },
}

#[derive(Debug, Args)]
pub struct QuarantineListArgs {
    /// Only of these objects.
    #[arg(value_name = "OBJECT")]
    pub objects: Vec<String>,
    /// How many of the latest are listed one by one.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct ActionsArgs {
    /// Only of this object, e.g. companies; several with commas.
    #[arg(long = "object", value_name = "OBJECT", value_delimiter = ',')]
    pub objects: Vec<String>,
    /// Only of this kind; several with commas.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = ["created", "updated", "deleted", "restored"])]
    pub kinds: Vec<String>,
    /// Only of the company with this id.
    #[arg(long, value_name = "ID")]
    pub company: Option<String>,
    /// Only what was stored since: a day as in 2024-01-31, an instant as in 2024-01-31T08:00:00Z, or so long ago, as in 36h.
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub since: Option<DateTime<Utc>>,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "follow")]
    pub limit: u32,
    /// Stay, and print new ones as they are stored.
    #[arg(long)]
    pub follow: bool,
    /// Go on where this consumer was, also after a restart.
    #[arg(long, value_name = "NAME", requires = "follow")]
    pub consumer: Option<String>,
    /// Print JSON for machines, one action a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ObjectsArgs {
    /// Objects by name, e.g. companies; all configured ones if none is named.
    #[arg(value_name = "OBJECT")]
    pub objects: Vec<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Print JSON for machines.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct HistoryRangeArgs {
    /// Years to go back; sync.history (4 years) if nothing is said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub years: Option<u32>,
    /// First day to load, as in 2024-01-31.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub since: Option<DateTime<Utc>>,
    /// Everything there is.
    #[arg(long)]
    pub all: bool,
}

fn parse_kind(text: &str) -> Result<ColumnType, String> {
    ColumnType::from_sql(text).ok_or_else(|| format!("there are {}", ColumnType::ALL.map(ColumnType::sql).join(", ")))
}

fn parse_date(text: &str) -> Result<DateTime<Utc>, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map(|midnight| midnight.and_utc())
        .ok_or_else(|| "not a date like 2024-01-31".to_owned())
}

fn parse_when(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(instant) = parse_date(text).or_else(|_| text.parse().map_err(|_| String::new())) {
        return Ok(instant);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| Utc::now().checked_sub_signed(TimeDelta::from_std(ago).ok()?));
    ago.ok_or_else(|| "not like 2024-01-31, 2024-01-31T08:00:00Z or 36h".to_owned())
}
