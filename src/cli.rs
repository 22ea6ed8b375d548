//! The command line: commands, their arguments, and their help texts.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use planhat_model::catalog::ColumnType;

use crate::when::When;

/// The widest that help is wrapped, in columns. A narrower terminal wraps it earlier.
const HELP_WIDTH: usize = 100;

const AFTER_HELP: &str = "\
Settings come from the defaults, from a settings file and from environment variables:
  PLANHAT_API_TOKEN           the token of a private app in Planhat (or PLANHAT_API_TOKEN_FILE)
  PLANHAT_API_URL             the API host, https://api.planhat.com by default
  DATABASE_URL                postgres://user:password@host:5432/database; without it an embedded
                              PostgreSQL is used
  PLANHAT_SYNC__SECTION__KEY  any other setting, as in PLANHAT_SYNC__PLANHAT__PAGE_SIZE

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 partial, 4 token refused, 5 database, 75 another run is in \
progress, 130 or 143 stopped by a signal (what was committed until then is kept). Of several workspaces the worst code counts: a signal, 2, 4, \
5, 1, 3, 75, 0.";

const DEMO_HELP: &str = "\
The demo loads a small simulated workspace, changes some of its records, syncs again and prints what was stored. Its data is \
deleted when it ends.";

const CHECK_HELP: &str = "\
It checks the token, the permission to read each object, whether the schema belongs to this workspace, the database (its \
version, the encryption of the connection, tables and privileges), files with secrets that others can read, and settings that \
are probably not meant. It changes nothing and takes seconds, whatever is wrong.

It also shows what is known of how Planhat answers for this workspace, since when, and by which answer. With --probe it asks \
Planhat about that anew: with a few dozen calls within the call budget, in up to three minutes. What the answers prove is stored \
in planhat_sync.capabilities if the schema belongs to this workspace; nothing else is changed.

--report writes what the probe found and the shapes of the records to a file, without a value, an id or the name of a custom \
field. docs/probe-report.md says what is in it, and how to hand it to us.

Each line is ok, warn or fail. Exit codes: 0 no line is fail, 1 failed, 2 configuration, 4 token refused, 5 database.";

const SYNC_HELP: &str = "\
The first sync of an object loads its history. Later syncs store what changed since. Once a week (sync.reconcile_every) a sync \
compares every record, as --full does at once, and so finds what was deleted at Planhat.

A sync that was stopped or killed is resumed by the next one. If another run is in progress on the same workspace, the exit \
code is 75; a backfill pauses instead.

--dry-run prints how many rows would be inserted and updated, and which columns would be added.";

const BACKFILL_HELP: &str = "\
A backfill loads older records and adds them to the rows that are there. It goes as far back as the settings say \
(sync.history), unless --years, --since or --all says otherwise. If --until is earlier than that, one of these three is \
needed too (otherwise exit code 2).

A sync of the same workspace takes precedence: the backfill pauses meanwhile. A backfill that was stopped or killed is resumed \
by the next one.

--referenced reads no listing. It requests each missing record by its id, one call each: companies of tickets, owners of \
companies and so on. It can be stopped at any time, and continues with what is still missing.";

const DAEMON_HELP: &str = "\
The first sync begins at once, and so does one that was missed while no daemon ran. The daemon serves /healthz, /readyz, \
/metrics, /api/status and /api/runs at daemon.listen. SIGHUP makes it read its settings again. SIGTERM and SIGINT end it with \
exit code 0; the next run resumes where it was.";

const HEALTH_HELP: &str = "\
Exit codes: 0 alive, 1 not. In a container that was started for another command (sync, backfill), 0 while that command runs.";

const STATUS_HELP: &str = "\
The data is fresh when every object in planhat.objects was synced completely within notify.stale_after, by any command. \
Objects that the token may not read, and never could, do not count.

For each object it prints the state, the last result, the last success, the watermark (every change before it is stored), when \
all records were last compared, and the figures of the last run; after a failure its reason and a hint.

Of several workspaces it prints one line for each, the worst first. If there are many, those that are fresh are counted and not \
listed, unless --all is given. With --workspace NAME it prints the objects of one.

Exit codes, for monitors: 0 fresh (also when the last run failed but the data is not too old yet), 1 stale, never synced, or a \
table was dropped, 2 configuration, 5 database. Of several workspaces it is the worst.";

const WORKSPACES_HELP: &str = "\
For each workspace it lists the schema, whether its settings can be used, with whom it shares its token, when its next run is \
due, and the last error of a run that a daemon began. A paused workspace is not run by any daemon; `planhat-sync sync --workspace \
NAME` still works. --json prints one line for each workspace.

docs/many-workspaces.md says how to have several workspaces.";

const RUNS_HELP: &str = "\
The latest run comes first. `runs show ID` has the reason and a hint for each object that failed.";

const QUARANTINE_HELP: &str = "\
The quarantine has the records that cannot be stored at all, each with the reason, and with its text if that was kept. An entry \
is removed when its record can be stored.";

const RETRY_HELP: &str = "\
Exit codes: 0 everything could be stored, 3 some records are left.";

const ACTIONS_HELP: &str = "\
An action is one stored change of a record. The list begins with the action that was stored last; with --company, with the one \
that happened last. The column `when` is the time at Planhat, so the list may look unsorted after a load. If there are no \
actions, the command says why.

--follow runs until a signal stops it or its output is closed. It waits for a database that is unreachable \
(database.reconnect_timeout). With --consumer it continues after the last action that it printed before: no action is \
skipped, and after a crash a few may be printed again, with the same ids. A new consumer begins with --since, or with new \
actions only. Use a consumer name in one process at a time; positions are stored in planhat_sync.consumers.";

const RETYPE_HELP: &str = "\
The column is changed in one transaction. The command refuses while a view reads the column, and names the views. Values that \
moved are written as Planhat spells them by the next sync that reads their records, or by a backfill; that is no update and no \
action.

--dry-run shows some of the values that would not fit, masked by the privacy rules, and how many rows are locked meanwhile.";

const FORGET_HELP: &str = "\
Erased are the row, its actions and its text in quarantine; the timeline gets one action `deleted` without values. What is \
remembered is a keyed hash of the id, not the id. Records of other objects stay: forgetting a company does not forget its end \
users. `vacuum`, replicas, backups and exports are yours: docs/privacy.md says what to do.";

const APPLY_HELP: &str = "\
Without --yes it only counts what it would mask. Exit code 3 if PostgreSQL refuses to change a row.";

const ADOPT_HELP: &str = "\
A schema belongs to one workspace, and a run refuses to fill it from another one. Use this command only if you know that it is \
the same workspace. The next sync then reads everything from the beginning; rows with the old ids stay until `planhat-sync sync \
--full --allow-deletes` marks them as deleted.";

/// Copies a Planhat workspace into your own PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "planhat-sync", version, max_term_width = HELP_WIDTH, after_help = AFTER_HELP)]
pub struct Cli {
    /// The settings file; by default /etc/planhat-sync/config.toml, if it exists.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where there are several workspaces: only these. Separate names with commas, or give the option several times.
    #[arg(long = "workspace", value_name = "NAME", value_delimiter = ',', global = true)]
    pub workspaces: Vec<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Once(Once),
    /// Keep running: sync on a schedule (daemon.schedule), and serve health checks and metrics.
    // Where the help has it: behind `backfill`, the third from 0.
    #[command(display_order = 4, after_help = DAEMON_HELP)]
    Daemon,
}

/// What is done once, and ends.
#[derive(Debug, Subcommand)]
pub enum Once {
    /// Show what planhat-sync does, without a token and without a database.
    #[command(after_help = DEMO_HELP)]
    Demo,
    /// Check the token, its permissions and the database, and print what to do about each problem.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Sync now: the changes since the last sync, or the whole history (sync.history) the first time.
    #[command(after_help = SYNC_HELP)]
    Sync(SyncArgs),
    /// Load older records, later and beside the daily syncs.
    #[command(after_help = BACKFILL_HELP)]
    Backfill(BackfillArgs),
    /// Ask the daemon whether it is alive, for the health check of a container.
    #[command(after_help = HEALTH_HELP)]
    Health,
    /// Send a test message to notify.webhook_url, and print the answer.
    Notify,
    /// Show how fresh each object is and what the last run did.
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// List the workspaces, pause and resume them, or have the daemon sync some now.
    #[command(args_conflicts_with_subcommands = true, after_help = WORKSPACES_HELP)]
    Workspaces {
        #[command(subcommand)]
        what: Option<WorkspacesCommand>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List the latest runs, or show one.
    #[command(after_help = RUNS_HELP)]
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
    #[command(args_conflicts_with_subcommands = true, after_help = QUARANTINE_HELP)]
    Quarantine {
        #[command(subcommand)]
        what: Option<QuarantineCommand>,
        #[command(flatten)]
        which: QuarantineListArgs,
    },
    /// Show the latest actions, newest first; with --follow print new actions as they are stored.
    #[command(after_help = ACTIONS_HELP)]
    Actions(ActionsArgs),
    /// Show tables and columns, with the property or custom field of Planhat behind each.
    Schema {
        #[command(flatten)]
        objects: ObjectsArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Print the SQL statements that create the tables.
        #[arg(long, conflicts_with = "json")]
        sql: bool,
    },
    /// Change the type of a column: values that fit it move in from _misfits, values that do not fit it move to _misfits.
    #[command(after_help = RETYPE_HELP)]
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
    /// Apply the privacy rules to what was stored before them.
    Privacy {
        #[command(subcommand)]
        what: PrivacyCommand,
    },
    /// Bind the schema to the token and host that are set, after a restore at Planhat that gave its records new ids.
    #[command(after_help = ADOPT_HELP)]
    Adopt,
    /// Print the completions for a shell, e.g. into /etc/bash_completion.d/planhat-sync.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, which has the help of every command.
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
    /// Load only the records that stored rows refer to and that are not stored.
    #[arg(long, conflicts_with_all = ["years", "since", "all", "until"])]
    pub referenced: bool,
    /// Leave out records that were created, edited or in contact on this day or later, as in 2022-01-01.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub until: Option<DateTime<Utc>>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where there are several workspaces: list all of them, also many that are fresh.
    #[arg(long, conflicts_with = "json")]
    pub all: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub enum WorkspacesCommand {
    /// Have daemons begin no more runs of these workspaces. A run that is in progress goes on.
    Pause(NamedWorkspacesArgs),
    /// Have daemons run these workspaces again.
    Resume(NamedWorkspacesArgs),
    /// Have the daemon sync these workspaces as soon as it can.
    SyncNow(NamedWorkspacesArgs),
}

#[derive(Debug, Args)]
pub struct NamedWorkspacesArgs {
    /// The names of the workspaces.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
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
    /// List the entries: how many there are for each object and reason, then the latest ones.
    List(QuarantineListArgs),
    /// Print one entry with the text of its record.
    Show {
        /// The entry's id, as `quarantine` lists it.
        id: i64,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Try to store the kept texts again, without calling Planhat: for example after you have dropped a constraint.
    #[command(after_help = RETRY_HELP)]
    Retry {
        #[command(flatten)]
        objects: ObjectsArgs,
    },
    /// Delete entries. A record that Planhat lists again, and that still cannot be stored, comes back.
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
    /// Only actions of this end user: its id, name, email or externalId.
    #[arg(long, value_name = "END_USER")]
    pub end_user: Option<String>,
    /// Only actions stored since then: yesterday, today, monday, "2 days ago", 36h, 2024-01-31, 2024-01-31T08:00:00Z. Days
    /// begin at midnight in daemon.time_zone.
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
    /// Also forget the records of OBJECT that have this address (email, otherEmails); may be given several times.
    #[arg(long = "email", value_name = "ADDRESS")]
    pub emails: Vec<String>,
    /// Also leave their ids and addresses out of all other records, now and in the future.
    #[arg(long)]
    pub references: bool,
    /// Do it; without this nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// Undo it for these ids, at once: the records may be stored again.
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
    #[command(after_help = APPLY_HELP)]
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
pub struct CheckArgs {
    /// Ask Planhat how it answers for this workspace, and store what the answers prove.
    #[arg(long)]
    pub probe: bool,
    /// Write what the probe found to a new file, or to stdout with - (the findings go to stderr then).
    #[arg(long, value_name = "FILE", requires = "probe")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
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
