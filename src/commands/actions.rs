//! `actions`: prints the latest actions, or follows new ones.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use planhat_model::catalog;
use planhat_model::error::exit_code as exit;
use planhat_store::{self as store, ActionFilter, ActionListener, ActionQuery, PastAction, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::no_actions::NoActions;
use super::{named_record, with_store, with_store_read_only};
use crate::cli;
use crate::command_error::CommandError;
use crate::config;
use crate::print;
use crate::signals;
use crate::workspace::Workspace;

/// Actions that are read, written out and noted as read at a time.
const BATCH: i64 = 500;
/// How often is looked for new ones where nobody rings.
const POLL_EVERY: Duration = Duration::from_secs(3);

/// Lines of a table that an action may take.
const MOST_LINES: usize = 4;

pub(super) async fn actions(workspace: &Workspace, asked: &cli::ActionsArgs) -> Result<ExitCode, CommandError> {
    let zone = workspace.settings.daemon.time_zone.parse().unwrap_or(Tz::UTC);
    let now = Utc::now();
    let since = asked.since.map(|since| since.instant(now, zone).ok_or_else(|| anyhow!("--since is beyond the calendar")));
    let since = since.transpose()?;
    match asked.follow {
        true => with_store(workspace, async |store| follow_asked(store, workspace, asked, since).await).await,
        false => list(workspace, asked, since, zone).await,
    }
}

async fn follow_asked(
    store: &Store,
    workspace: &Workspace,
    asked: &cli::ActionsArgs,
    since: Option<DateTime<Utc>>,
) -> Result<ExitCode, CommandError> {
    let Selection { filter, nobody, .. } = select(store, workspace, asked).await?;
    if let Some(nobody) = nobody {
        print::to_stderr(&format!("{nobody}\nthe text is taken as an id"));
    }
    let query = ActionQuery { schema: &store.schema, filter: &filter, rules: &workspace.settings.rules };
    follow(store, query, since, asked.consumer.as_deref(), asked.json).await
}

/// The newest actions, or why there are none.
async fn list(
    workspace: &Workspace,
    asked: &cli::ActionsArgs,
    since: Option<DateTime<Utc>>,
    zone: Tz,
) -> Result<ExitCode, CommandError> {
    let found = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok((Vec::new(), NoActions::default().because()));
        }
        let Selection { filter, who, nobody } = select(store, workspace, asked).await?;
        let query = ActionQuery { schema: &store.schema, filter: &filter, rules: &workspace.settings.rules };
        let newest = async |since, count: u32| {
            store.read_only(async |db| store::newest_actions(db, query, since, count.into()).await).await
        };
        let actions = newest(since, asked.limit).await?;
        let why = match nobody {
            _ if !actions.is_empty() => String::new(),
            Some(nobody) => format!("no actions match: {nobody}"),
            None => {
                let config::ActionsSettings { enabled, initial, keep } = workspace.settings.actions;
                let stored = store.read_only(async |db| store::actions_span(db, &store.schema).await).await?;
                let newest_match = newest(None, 1).await?.pop();
                let (is_synced, is_enabled, loads_are_told) = (true, enabled, initial);
                NoActions { is_synced, is_enabled, loads_are_told, keep, stored, since, who, newest_match }.because()
            }
        };
        Ok((actions, why))
    });
    let (newest, why) = found.await?;
    if asked.json {
        let _ = print::write_to_stdout(&lines(&newest, asked.json)?);
        if newest.is_empty() && !why.is_empty() {
            print::to_stderr(&why);
        }
    } else if newest.is_empty() {
        print::to_stdout(if why.is_empty() { "no actions match" } else { &why });
    } else {
        print::to_stdout(&table_of(&newest, zone, None));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is selected, with what to say of it.
struct Selection {
    filter: ActionFilter,
    /// Company and end user by their names.
    who: Vec<String>,
    /// Somebody was named whom nobody knows: what was looked at.
    nobody: Option<String>,
}

async fn select(store: &Store, workspace: &Workspace, asked: &cli::ActionsArgs) -> Result<Selection, CommandError> {
    let objects = config::objects_named(&asked.objects)?.into_iter().map(|object| object.name.to_owned()).collect();
    let filter = ActionFilter { objects, kinds: asked.kinds.clone(), ..ActionFilter::default() };
    let mut selection = Selection { filter, who: Vec::new(), nobody: None };
    selection.filter.company = selection.named(store, workspace, "companies", asked.company.as_deref()).await?;
    selection.filter.end_user = selection.named(store, workspace, "endusers", asked.end_user.as_deref()).await?;
    Ok(selection)
}

impl Selection {
    /// The id of a record that is named; what nobody has as a name may still be an id that actions know.
    async fn named(
        &mut self,
        store: &Store,
        workspace: &Workspace,
        object: &str,
        text: Option<&str>,
    ) -> Result<Option<String>, CommandError> {
        let (Some(object), Some(text)) = (catalog::object(object), text) else { return Ok(None) };
        if !store.is_set_up().await? {
            return Ok(Some(text.to_owned()));
        }
        let Some(record) = named_record::find(store, workspace, object, text).await? else {
            self.nobody = Some(named_record::nobody(store, workspace, object, text).await?);
            return Ok(Some(text.to_owned()));
        };
        self.who.push(named_record::in_words(&record));
        Ok(Some(record.id))
    }
}

/// Writes out new actions until somebody stops it or nobody reads on.
async fn follow(
    store: &Store,
    wanted: ActionQuery<'_>,
    since: Option<DateTime<Utc>>,
    consumer: Option<&str>,
    json: bool,
) -> Result<ExitCode, CommandError> {
    let stop = signals::listen_for(store)?;
    let listener = ActionListener::of(store);
    let stopped = || Ok(ExitCode::from(stop.exit_code()));
    let began = tokio::select! {
        began = unless_stopped(&stop.token, begin(store, since, consumer, &stop.token)) => began?,
        () = print::stdout_closed() => return Ok(ExitCode::SUCCESS),
    };
    let Some(mut position) = began else { return stopped() };
    info!("following the timeline behind action {position}");
    loop {
        let read = store.transaction(async |db| {
            // Everything up to this one is committed, so nothing can come in between later.
            let latest = store::latest_action(&mut *db, &store.schema).await?.unwrap_or(position);
            if latest <= position {
                return Ok((position, Vec::new()));
            }
            Ok((latest, store::next_actions(db, wanted, position + 1..=latest, BATCH).await?))
        });
        let read = async { Ok(read.await?) };
        let Some((latest, actions)) = unless_stopped(&stop.token, read).await? else { return stopped() };
        let lines = lines(&actions, json)?;
        let Some(written) = unless_stopped(&stop.token, async { Ok(write_out(lines).await) }).await? else { return stopped() };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            // What could not be written is said at the end.
            Err(_) => return Ok(ExitCode::from(exit::FAILED)),
        }
        let is_full = actions.len() as i64 == BATCH;
        let reached = if is_full { actions.last().map_or(latest, |last| last.id) } else { latest };
        if reached > position {
            position = reached;
            // What has been written out is noted even if that was the last moment for it.
            save(store, consumer, position).await?;
        }
        if is_full {
            continue;
        }
        tokio::select! {
            () = stop.token.cancelled() => return stopped(),
            () = print::stdout_closed() => return Ok(ExitCode::SUCCESS),
            () = listener.notified() => {}
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
    }
}

/// Writes out, on a thread that may be left behind: a reader that has fallen asleep keeps nobody from ending.
async fn write_out(lines: String) -> std::io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let (done, written) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(print::write_to_stdout(&lines)));
    written.await.unwrap_or_else(|_| Err(std::io::Error::other("the thread that writes the output ended without a result")))
}

/// Does something, unless it is stopped before.
async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<Option<T>, CommandError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        done = work => done.map(Some),
    }
}

/// Behind which action to begin; waits for the first sync, which makes the tables.
async fn begin(
    store: &Store,
    since: Option<DateTime<Utc>>,
    consumer: Option<&str>,
    stop: &CancellationToken,
) -> Result<i64, CommandError> {
    let mut waited = false;
    while !stop.is_cancelled() {
        if store.transaction(store::is_set_up).await? {
            let known = match consumer {
                Some(name) => store.transaction(async |db| store::consumer_position(db, &store.schema, name).await).await?,
                None => None,
            };
            if let Some(position) = known {
                return Ok(position);
            }
            let latest = store.transaction(async |db| store::latest_action(db, &store.schema).await).await?;
            let position = match (latest, since) {
                (Some(_), Some(since)) if !waited => {
                    store.transaction(async |db| store::last_action_before(db, &store.schema, since).await).await?
                }
                // Whatever there is was not there when we came.
                _ if waited => 0,
                (latest, _) => latest.unwrap_or(0),
            };
            save(store, consumer, position).await?;
            return Ok(position);
        }
        if !waited {
            info!("nothing was synced yet: waiting for the first actions");
            waited = true;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
    Ok(0)
}

async fn save(store: &Store, consumer: Option<&str>, position: i64) -> Result<(), CommandError> {
    let Some(name) = consumer else { return Ok(()) };
    Ok(store.transaction(async |db| store::save_consumer_position(db, &store.schema, name, position).await).await?)
}

/// One line each.
fn lines(actions: &[PastAction], json: bool) -> Result<String, CommandError> {
    let line = |action: &PastAction| -> Result<String, anyhow::Error> {
        if json {
            return print::json_line(action).context("could not write an action as JSON");
        }
        let who: Vec<_> = [company_of(action), end_user_of(action)].into_iter().filter(|text| !text.is_empty()).collect();
        let changed = what_changed(action);
        let changed = if changed.is_empty() { changed } else { format!(": {changed}") };
        let (id, happened) = (action.id, print::instant(action.happened_at));
        let PastAction { action: name, kind, object, record_id, .. } = action;
        let line = format!("{id} {happened} {name} ({kind}) {object} {record_id} [{}]{changed}", who.join(", "));
        Ok(print::on_one_line(&line))
    };
    let lines: Result<Vec<String>, anyhow::Error> = actions.iter().map(|action| Ok(line(action)? + "\n")).collect();
    Ok(lines?.concat())
}

/// For a terminal as wide as it is, or as wide as it is said to be; as wide as it has to be where it is no terminal. The end users
/// have a column where there are some.
fn table_of(actions: &[PastAction], zone: Tz, width: Option<u16>) -> String {
    let has_end_users = actions.iter().any(|action| !end_user_of(action).is_empty());
    let end_user = has_end_users.then_some("end user");
    let header: Vec<&str> = ["when", "action", "company"].into_iter().chain(end_user).chain(["what changed"]).collect();
    let rows = actions.iter().map(|action| {
        let when = action.happened_at.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string();
        let end_user = has_end_users.then(|| end_user_of(action).to_owned());
        let start = [when, action.action.clone(), company_of(action).to_owned()];
        start.into_iter().chain(end_user).chain([what_changed(action)])
    });
    let table = print::table_to_read(&header, rows, MOST_LINES, width);
    format!("{table}\ntimes are {zone}{}", if zone == Tz::UTC { "" } else { " (daemon.time_zone)" })
}

fn company_of(action: &PastAction) -> &str {
    action.company.as_ref().or(action.company_id.as_ref()).map_or("", String::as_str)
}

fn end_user_of(action: &PastAction) -> &str {
    action.end_user.as_ref().or(action.end_user_id.as_ref()).map_or("", String::as_str)
}

fn what_changed(action: &PastAction) -> String {
    match (&action.changed, action.kind.as_str(), action.first_seen) {
        (Some(changed), ..) => changed.clone(),
        // An older record that was changed: what it was before is not known.
        (None, "updated", Some(true)) => "first seen".to_owned(),
        (None, ..) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(company: &str, changed: Option<&str>) -> PastAction {
        let at = "2026-11-26T23:30:00Z".parse().unwrap();
        PastAction {
            id: 1,
            happened_at: at,
            seen_at: at,
            action: "Company Updated".to_owned(),
            kind: "updated".to_owned(),
            first_seen: Some(changed.is_none()),
            object: "companies".to_owned(),
            record_id: "c".to_owned(),
            company_id: Some("c".to_owned()),
            company: Some(company.to_owned()),
            end_user_id: None,
            end_user: None,
            run_id: 1,
            changes: None,
            changed: changed.map(str::to_owned),
        }
    }

    #[test]
    fn a_table_of_actions_fits_the_terminal_whatever_is_in_it() {
        let long = "description: – → a text of sixty characters that goes on and on, and of, ".repeat(12);
        let actions = [
            action("Acme", Some(&long)),
            action(&"A company of a very long name ".repeat(4), None),
            action("株式会社日本の会社", Some("phase: オンボーディング → 本番")),
            action(&"x".repeat(300), Some(&"y".repeat(3000))),
        ];
        for width in [60, 80, 100, 200, 300] {
            let table = table_of(&actions, Tz::UTC, Some(width));
            let widest = table.lines().map(columns_of_terminal).max().unwrap();
            assert!(widest <= usize::from(width), "{width}\n{table}");
            assert!(table.contains('…') && table.lines().count() <= 4 * MOST_LINES + 8, "{width}\n{table}");
        }
        insta::assert_snapshot!(table_of(&actions[..2], Tz::Europe__Stockholm, Some(90)), @"
        ┌──────────────────┬─────────────────┬─────────────────────┬─────────────────────────────┐
        │ when             ┆ action          ┆ company             ┆ what changed                │
        ╞══════════════════╪═════════════════╪═════════════════════╪═════════════════════════════╡
        │ 2026-11-27 00:30 ┆ Company Updated ┆ Acme                ┆ description: – → a text of  │
        │                  ┆                 ┆                     ┆ sixty characters that goes  │
        │                  ┆                 ┆                     ┆ on and on, and of,          │
        │                  ┆                 ┆                     ┆ description: – → a text of… │
        │ 2026-11-27 00:30 ┆ Company Updated ┆ A company of a very ┆ first seen                  │
        │                  ┆                 ┆ long name A company ┆                             │
        │                  ┆                 ┆ of a very long name ┆                             │
        │                  ┆                 ┆ A company of a ver… ┆                             │
        └──────────────────┴─────────────────┴─────────────────────┴─────────────────────────────┘
        times are Europe/Stockholm (daemon.time_zone)
        ");
    }

    /// Columns of a terminal, for the characters of these tests.
    fn columns_of_terminal(line: &str) -> usize {
        line.chars().map(|c| if ('\u{3000}'..'\u{a000}').contains(&c) { 2 } else { 1 }).sum()
    }
}
