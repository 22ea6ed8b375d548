//! The end of a full scan: what is in the table and was not listed is asked for by its id.
//!
//! A listing can miss a record, so only a 404 to its id says that one is gone, and only where another
//! record, that was listed, is found by its id. When an unlikely share of a table, or of all tables of a run, seems
//! gone, it is rather the answers that are wrong, and nothing is marked until a person says so (`deletion_guard`).

use futures_util::{StreamExt, stream};
use metrics::counter;
use planhat_api as api;
use planhat_model::catalog::Object;
use planhat_model::error::Chain;
use planhat_store::{self as store, PgConnection, Presence, Target};
use tracing::{info, warn};

use super::deletion_guard::Held;
use super::{Failure, Listed, Pull, Purpose};

/// Where a scan stands while records are asked for by id, in place of a listing.
pub(super) const LISTING: &str = "gone";
/// Ids between two commits, and requests side by side among them.
const BATCH: i32 = 40;
const AT_ONCE: usize = 4;
/// After so many ids without an answer, and after so many answers of which nearly all say that the record is
/// there, no more are asked for.
const MOST_UNKNOWN: usize = 20;
const ENOUGH: usize = 200;
/// Records that were listed, to try whether any can be found by its id.
const LISTED_ONES: i32 = 3;

impl Pull<'_> {
    /// Marks the rows of deleted records.
    pub(super) async fn mark_what_is_gone(&mut self) -> Result<Listed, Failure> {
        let Purpose::Store { run_id } = self.ctx.purpose else {
            self.report.warn(format!("{}: a dry run does not look for deleted records", self.object.name));
            return Ok(Listed::ToTheEnd);
        };
        let presence = self.begin_looking().await.map_err(|source| self.store_failed(source))?;
        if presence.unseen == 0 {
            return Ok(Listed::ToTheEnd);
        }
        if let Err(held) = self.ask_the_guard(presence).await? {
            let Presence { rows, unseen } = presence;
            self.report.warn(format!(
                "{}: {unseen} of {rows} rows were not listed, {held}; nothing was marked as deleted. \
                 If it is right, `planhat-sync sync --full --allow-deletes {}` marks them",
                self.object.name, self.object.name
            ));
            return Ok(Listed::ToTheEnd);
        }
        info!(object = self.object.name, "asking for {} records that were not listed", presence.unseen);
        self.ask_for_them(run_id).await
    }

    /// Saves that all listings have been read, and counts.
    async fn begin_looking(&mut self) -> Result<Presence, store::Error> {
        if self.scan.listing != LISTING {
            self.go_to(LISTING.to_owned());
            self.save_position().await?;
        }
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        self.ctx.store.transaction(async |db| store::presence(db, workspace, object).await).await
    }

    /// Whether the deletion guard lets these rows be asked for, which takes their share of what the run may mark.
    async fn ask_the_guard(&self, presence: Presence) -> Result<Result<(), Held>, Failure> {
        let (guard, ledger) = (self.ctx.limits.brake, self.ctx.ledger);
        if let Err(held) = guard.admits(presence) {
            return Ok(Err(held));
        }
        let all = ledger.rows_of_all(self.rows_of_all()).await.map_err(|source| self.store_failed(source))?;
        let marked = self.report.figures.deleted;
        Ok(ledger.reserve(guard, self.object.name, marked + presence.unseen, all))
    }

    /// The rows of all tables of the run.
    async fn rows_of_all(&self) -> Result<i64, store::Error> {
        let schema = &self.ctx.store.schema;
        let counted = self.ctx.store.transaction(async |db| {
            let tables = store::tables(&mut *db, schema).await?;
            let mut rows = 0;
            for object in self.ctx.objects.iter().filter(|object| tables.iter().any(|table| table == object.name)) {
                rows += store::row_count(&mut *db, schema, object).await?;
            }
            Ok(rows)
        });
        counted.await
    }

    async fn ask_for_them(&mut self, run_id: i64) -> Result<Listed, Failure> {
        let stop = self.ctx.stop;
        let nothing_proven = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Listed::Stopped),
            reason = self.why_ids_prove_nothing() => reason?,
        };
        if let Some(reason) = nothing_proven {
            self.report.warn(format!("{}: deleted records cannot be told, because {reason}", self.object.name));
            return Ok(Listed::ToTheEnd);
        }
        let mut answers = Answers::default();
        let reason = loop {
            let unseen = self.ids(store::unseen, BATCH).await?;
            if unseen.is_empty() {
                break None;
            }
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Listed::Stopped),
                asked = self.ask_for(unseen) => asked?,
            };
            answers += self.settle(asked, run_id).await.map_err(|source| self.store_failed(source))?;
            self.ctx.board.note(self.object.name, self.report.progress());
            if let Some(reason) = answers.why_to_stop_asking() {
                break Some(reason);
            }
        };
        let without_an_answer =
            (answers.unknown > 0).then(|| format!("{} ids were asked for without an answer", answers.unknown));
        for reason in reason.into_iter().chain(without_an_answer) {
            self.report.warn(format!("{}: not all deleted records can be told: {reason}", self.object.name));
        }
        Ok(Listed::ToTheEnd)
    }

    /// A server that knows no record by its id answers 404 to all of them.
    async fn why_ids_prove_nothing(&mut self) -> Result<Option<&'static str>, Failure> {
        let listed = self.ids(store::some_seen, LISTED_ONES).await?;
        if listed.is_empty() {
            let reason = "nothing is listed that could be found by its id; if all are gone, --allow-deletes marks them";
            return Ok(self.ctx.limits.brake.on.then_some(reason));
        }
        let asked = self.ask_for(listed).await?;
        Ok(asked.there.is_empty().then_some("even those that are listed cannot be found by their ids"))
    }

    async fn ids(
        &self,
        which: impl AsyncFn(&mut PgConnection, &str, &Object, i32) -> Result<Vec<String>, store::Error>,
        count: i32,
    ) -> Result<Vec<String>, Failure> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let ids = self.ctx.store.transaction(async |db| which(db, workspace, object, count).await);
        ids.await.map_err(|source| self.store_failed(source))
    }

    /// What Planhat says of each id. Only what no other id would fare better with is a failure.
    async fn ask_for(&self, ids: Vec<String>) -> Result<Asked, Failure> {
        let (client, name, calls) = (self.ctx.client, self.object.name, self.calls);
        let mut answers = stream::iter(ids)
            .map(async |id| {
                let answer = client.has(name, &id, calls).await;
                (id, answer)
            })
            .buffer_unordered(AT_ONCE);
        let mut asked = Asked::default();
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(true) => asked.there.push(id),
                Ok(false) => asked.gone.push(id),
                Err(source @ (api::Error::Unauthorized { .. } | api::Error::Unreachable { .. })) => {
                    return Err(Failure::Fetch { object: name, offset: self.scan.offset, source });
                }
                Err(error) => {
                    warn!(object = name, error = %Chain(&error), "a record could not be asked for by its id");
                    asked.unknown.push(id);
                }
            }
        }
        Ok(asked)
    }

    /// Settles what was asked for. A row that the database does not let be marked counts as one without an answer.
    async fn settle(&mut self, asked: Asked, run_id: i64) -> Result<Asked, store::Error> {
        let (mut settled, mut parts) = (Asked::default(), vec![asked]);
        while let Some(mut part) = parts.pop() {
            let Err(error) = self.settle_at_once(&part, run_id).await else {
                settled += part;
                continue;
            };
            match (error.refusal(), part.gone.len()) {
                (None, _) | (_, 0) => return Err(error),
                (Some((_, sqlstate)), 1) => {
                    // Its words may quote a value.
                    warn!(object = self.object.name, sqlstate, "the database refused to mark a row as deleted");
                    part.unknown.append(&mut part.gone);
                }
                (Some(_), several) => {
                    let gone = part.gone.split_off(several / 2);
                    parts.push(Asked { gone, ..Asked::default() });
                }
            }
            parts.push(part);
        }
        Ok(settled)
    }

    /// What is gone is marked; the rest counts as seen, so that this scan does not ask for it again.
    async fn settle_at_once(&mut self, asked: &Asked, run_id: i64) -> Result<(), store::Error> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let settled = self.ctx.store.transaction(async |db| {
            store::note_seen(&mut *db, workspace, object, &asked.there).await?;
            store::note_seen(&mut *db, workspace, object, &asked.unknown).await?;
            let columns = store::load_columns(&mut *db, workspace, object).await?;
            let noted = self.ctx.limits.timeline.noted(self.is_load);
            let target = Target { schema: workspace, object, columns: &columns, run_id, noted, rules: self.rules };
            let marked = store::mark_deleted(&mut *db, target, &asked.gone).await?;
            Ok((marked, self.save(db, run_id).await?))
        });
        let (marked, saves) = settled.await?;
        self.is_saved(saves);
        self.report.figures.deleted += marked.cast_signed();
        counter!("planhat_sync_rows_total", "object" => self.object.name, "operation" => "deleted").increment(marked);
        Ok(())
    }
}

/// Ids by what Planhat says of them.
#[derive(Debug, Default)]
struct Asked {
    there: Vec<String>,
    gone: Vec<String>,
    unknown: Vec<String>,
}

impl std::ops::AddAssign for Asked {
    fn add_assign(&mut self, mut other: Asked) {
        self.there.append(&mut other.there);
        self.gone.append(&mut other.gone);
        self.unknown.append(&mut other.unknown);
    }
}

/// How many answers of each kind there were.
#[derive(Debug, Default)]
struct Answers {
    there: usize,
    gone: usize,
    unknown: usize,
}

impl std::ops::AddAssign<Asked> for Answers {
    fn add_assign(&mut self, asked: Asked) {
        self.there += asked.there.len();
        self.gone += asked.gone.len();
        self.unknown += asked.unknown.len();
    }
}

impl Answers {
    /// Questions cost calls, and some are not worth any more of them.
    fn why_to_stop_asking(&self) -> Option<String> {
        let asked = self.there + self.gone + self.unknown;
        if self.unknown >= MOST_UNKNOWN {
            Some("there are too many ids without an answer".to_owned())
        } else if asked >= ENOUGH && self.there * 10 >= asked * 9 {
            Some(format!("{} of {asked} that were not listed are there all the same, so the rest was not asked for", self.there))
        } else {
            None
        }
    }
}
