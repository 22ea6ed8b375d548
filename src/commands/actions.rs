//! `actions`: prints the latest actions, or follows new ones.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use planhat_model::error::exit_code as exit;
use planhat_store::{self as store, ActionFilter, ActionListener, ActionQuery, PastAction, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{with_store, with_store_read_only};
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

pub(super) async fn actions(workspace: &Workspace, asked: cli::ActionsArgs) -> Result<ExitCode, CommandError> {
    let cli::ActionsArgs { objects, kinds, company, since, limit, follow: is_followed, consumer, json } = asked;
    let objects = config::objects_named(&objects)?.into_iter().map(|object| object.name.to_owned()).collect();
    let filter = ActionFilter { objects, kinds, company };
    if is_followed {
        return with_store(workspace, async |store| {
            let query = ActionQuery { schema: &store.schema, filter: &filter, rules: &workspace.settings.rules };
            follow(store, query, since, consumer.as_deref(), json).await
        })
        .await;
    }
    let newest = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(Vec::new());
        }
        let query = ActionQuery { schema: &store.schema, filter: &filter, rules: &workspace.settings.rules };
        Ok(store.read_only(async |db| store::newest_actions(db, query, since, limit.into()).await).await?)
    })
    .await?;
    if json {
        let _ = print::write_to_stdout(&lines(&newest, json)?);
    } else if newest.is_empty() {
        print::to_stdout("no actions match");
    } else {
        let header = ["id", "happened", "action", "kind", "record", "company", "end user", "what changed"];
        print::to_stdout(&print::table(&header, header.len(), newest.iter().map(row_of)));
    }
    Ok(ExitCode::SUCCESS)
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
    let Some(mut position) = unless_stopped(&stop.token, begin(store, since, consumer, &stop.token)).await? else {
        return stopped();
    };
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
    written.await.unwrap_or_else(|_| Err(std::io::Error::other("nobody the writing thread ended without a result")))
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
    let line = |action: &PastAction| {
        if json {
            return serde_json::to_string(action).context("could not write an action as JSON");
        }
        let [id, happened, name, kind, record, company, end_user, changed] = row_of(action);
        let who: Vec<_> = [company, end_user].into_iter().filter(|text| !text.is_empty()).collect();
        let changed = if changed.is_empty() { changed } else { format!(": {changed}") };
        Ok(format!("{id} {happened} {name} ({kind}) {record} [{}]{changed}", who.join(", ")))
    };
    let lines: Result<Vec<String>, anyhow::Error> = actions.iter().map(|action| Ok(line(action)? + "\n")).collect();
    Ok(lines?.concat())
}

fn row_of(action: &PastAction) -> [String; 8] {
    // What somebody typed at Planhat stays on its line.
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().replace(char::is_control, " ");
    [
        action.id.to_string(),
        print::instant(action.happened_at),
        action.action.clone(),
        action.kind.clone(),
        format!("{} {}", action.object, action.record_id.replace(char::is_control, " ")),
        text(&action.company.clone().or(action.company_id.clone())),
        text(&action.end_user.clone().or(action.end_user_id.clone())),
        text(&action.changed),
    ]
}
