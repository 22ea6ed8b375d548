//! The command line: commands, their arguments, and their help texts.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use planhat_model::catalog::ColumnType;

use crate::when::When;

const AFTER_HELP: &str = "\
Settings come from the defaults (config/default.toml, compiled in), a file, and environment variables:
  PLANHAT_API_TOKEN   the token of a Planhat private app (or PLANHAT_API_TOKEN_FILE)
  PLANHAT_API_URL     the API host, https://api.planhat.com by default
  DATABASE_URL        postgres://user:password@host:5432/database; without it an embedded PostgreSQL is used
  PLANHAT_SYNC__SECTION__KEY   any other setting

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 partial, 4 token refused, 5 database,
75 another run is in progress, 130/143 stopped by a signal (everything read until then is committed).";

const STATUS_HELP: &str = "\
The data is fresh when every object in planhat.objects was synced completely within notify.stale_after, by any command.
Objects that the token may not read, and never could, do not count.

Exit codes, for monitors: 0 fresh (also when the last run failed but the data is not too old yet), 1 stale, never synced, or a
table was dropped, 2 configuration, 5 database.";

const ACTIONS_HELP: &str = "\
--follow runs until a signal stops it or its output is closed. It waits for a database that is unreachable
(database.reconnect_timeout). With --consumer it continues after the last action that it printed before: no action is
skipped, and after a crash a few may be printed again, with the same ids. A new consumer begins with --since, or with new
actions only. Use a consumer name in one process at a time; positions are stored in planhat_sync.consumers.";

const FORGET_HELP: &str = "\
Erased are the row, its actions and its text in quarantine; the timeline gets one action `deleted` without values. What is
remembered is a keyed hash of the id, not the id. Records of other objects stay: forgetting a company does not forget its end
users. `vacuum`, replicas, backups and exports are yours: docs/privacy.md says what to do.";

/// Copies a Planhat workspace into your own PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "planhat-sync", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Settings file; the default is /etc/planhat-sync/config.toml, if it exists.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Once(Once),
    /// Keep running: sync on a schedule (daemon.schedule), and serve health checks and metrics.
    // Where the help has it: behind `backfill`, the third from 0.
    #[command(display_order = 4)]
    Daemon,
}

/// What is done once, and ends.
#[derive(Debug, Subcommand)]
pub enum Once {
    /// Show what planhat-sync does, with a simulated workspace and an embedded PostgreSQL: needs no token and no database.
    Demo,
    /// Check the token, its permissions and the database, and print what to do about each problem.
    Check(OutputArgs),
    /// Sync now: the changes since the last sync, or the whole history (sync.history) the first time.
    Sync(SyncArgs),
    /// Load history; resumes where an earlier backfill stopped, and pauses while a sync runs.
    Backfill(BackfillArgs),
    /// For health checks of containers: ask the daemon whether it is alive; where another command is at work instead, that is ok.
    Health,
    /// Send a test message to notify.webhook_url, and print the answer.
    Notify,
    /// Show how fresh each object is and what the last run did.
    #[command(after_help = STATUS_HELP)]
    Status(OutputArgs),
    /// List the latest runs, or show one.
    Runs {
        #[command(subcommand)]
        one: Option<RunsCommand>,
        /// How many runs to list.
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
    /// Show the latest actions, newest first; with --follow print new actions as they are stored.
    #[command(after_help = ACTIONS_HELP)]
    Actions(ActionsArgs),
    /// Show tables and columns with the Planhat field behind each.
    Schema {
        #[command(flatten)]
        objects: ObjectsArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Print the SQL statements that create the tables.
        #[arg(long, conflicts_with = "json")]
        sql: bool,
    },
    /// Change the type of a column: values in _misfits that fit the new type move into it, values that do not fit move to _misfits.
    Retype {
        /// Object, e.g. companies.
        object: String,
        /// Column, e.g. planhat__seats__custom.
        column: String,
        /// text, numeric, boolean, timestamptz or jsonb.
        #[arg(value_name = "TYPE", value_parser = parse_kind)]
        kind: ColumnType,
        /// Print how many values would fit, which would not, and what is locked meanwhile, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Erase records for good, so that no run stores them again; a dry run unless --yes is given.
    #[command(after_help = FORGET_HELP)]
    Forget(ForgetArgs),
    /// Privacy rules and what was stored before them.
    Privacy {
        #[command(subcommand)]
        what: PrivacyCommand,
    },
    /// Bind the schema to the configured token and host; needed after a restore at Planhat that gave its records new ids.
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
    /// Compare every record, and mark the rows whose records were deleted at Planhat.
    #[arg(long)]
    pub full: bool,
    /// Mark rows as deleted even beyond the deletion guard (deletions.max_percent, deletions.max_rows).
    #[arg(long, requires = "full")]
    pub allow_deletes: bool,
    /// Fetch and compare, print what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: print each record that would change, column by column.
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
    /// Load just the records that stored rows refer to and that are not stored, by their ids.
    #[arg(long, conflicts_with_all = ["years", "since", "all", "until"])]
    pub referenced: bool,
    /// Leave out records that were created or still active on this day or later, as in 2022-01-01.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub until: Option<DateTime<Utc>>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Show one run, object by object.
    Show {
        /// The run's id, as `runs` lists it.
        id: i64,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List the entries: how many per object and reason, then the latest.
    List(QuarantineListArgs),
    /// Print one entry with the text of its record.
    Show {
        /// The entry's id, as `quarantine` lists it.
        id: i64,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Try to store the kept texts again, without calling Planhat; for example after a database rule has changed.
    Retry {
        #[command(flatten)]
        objects: ObjectsArgs,
    },
    /// Delete entries; a record that Planhat lists again and that still cannot be stored comes back.
    Drop {
        /// The entries' ids, as `quarantine` lists them.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<i64>,
    },
}

#[derive(Debug, Args)]
pub struct QuarantineListArgs {
    /// Only entries of these objects.
    #[arg(value_name = "OBJECT")]
    pub objects: Vec<String>,
    /// How many of the latest entries to list one by one.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct ActionsArgs {
    /// Only actions of this object, e.g. companies; separate several with commas.
    #[arg(long = "object", value_name = "OBJECT", value_delimiter = ',')]
    pub objects: Vec<String>,
    /// Only actions of this kind; separate several with commas.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = ["created", "updated", "deleted", "restored"])]
    pub kinds: Vec<String>,
    /// Only actions of this company: its id, or its name or externalId (a part is enough, if no other company has it).
    #[arg(long, value_name = "COMPANY")]
    pub company: Option<String>,
    /// Only actions of this end user: the id, or the name, email or externalId.
    #[arg(long, value_name = "END_USER")]
    pub end_user: Option<String>,
    /// Only actions stored since then: yesterday, today, monday, "2 days ago", 36h, 2024-01-31, 2024-01-31T08:00:00Z; days begin in daemon.time_zone.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// How many actions to print.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "follow")]
    pub limit: u32,
    /// Keep running, and print new actions as they are stored.
    #[arg(long)]
    pub follow: bool,
    /// Continue after the last action that this consumer was given, also after a restart.
    #[arg(long, value_name = "NAME", requires = "follow")]
    pub consumer: Option<String>,
    /// Print JSON for machines, one action a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Object, e.g. endusers.
    #[arg(value_name = "OBJECT", required_unless_present = "list")]
    pub object: Option<String>,
    /// The ids of the records (planhat__id).
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Forget the records of OBJECT that have this address too (email, otherEmails); may be given several times.
    #[arg(long = "email", value_name = "ADDRESS")]
    pub emails: Vec<String>,
    /// Leave their ids and addresses out of all other records too, now and in the future.
    #[arg(long)]
    pub references: bool,
    /// Do it; without this nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// Undo it for these ids: the records may be stored again.
    #[arg(long, conflicts_with_all = ["references", "yes", "emails", "list"])]
    pub remember: bool,
    /// List how many records are forgotten; with ids, whether each of them is.
    #[arg(long, conflicts_with_all = ["references", "yes", "emails"])]
    pub list: bool,
    /// With --list: print JSON for machines.
    #[arg(long, requires = "list")]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum PrivacyCommand {
    /// Mask what was stored before a rule: rows, values inside actions, texts in quarantine; a dry run unless --yes is given.
    Apply(PrivacyApplyArgs),
}

#[derive(Debug, Args)]
pub struct PrivacyApplyArgs {
    #[command(flatten)]
    pub objects: ObjectsArgs,
    /// Do it; without this nothing is changed.
    #[arg(long)]
    pub yes: bool,
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
    /// Years to go back; the default is sync.history (4 years), or objects.NAME.history.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub years: Option<u32>,
    /// First day to load, as in 2024-01-31.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub since: Option<DateTime<Utc>>,
    /// All records, however old.
    #[arg(long)]
    pub all: bool,
}

fn parse_kind(text: &str) -> Result<ColumnType, String> {
    ColumnType::from_sql(text).ok_or_else(|| format!("the types are {}", ColumnType::ALL.map(ColumnType::sql).join(", ")))
}

fn parse_date(text: &str) -> Result<DateTime<Utc>, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map(|midnight| midnight.and_utc())
        .ok_or_else(|| "not a date like 2024-01-31".to_owned())
}
