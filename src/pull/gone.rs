//! The end of a full scan: what is in the table and was not listed is asked for by its id.
//!
//! A listing can miss a record, so only a 404 to its id says that one is gone, and only where another
//! record, that was listed, is found by its id. When an unlikely share of a table seems gone, it is
//! rather the answers that are wrong, and nothing is marked until a person says so.

use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tracing::info;

use super::{Brake, Failure, Listed, Pull, Purpose};
use crate::error::Chain;
use crate::planhat;
use crate::store::{self, Presence, ScanKind};

/// Where a scan stands while records are asked for by id, in place of a listing.
pub(super) const LISTING: &str = "gone";
/// Ids between two commits, and requests side by side among them.
const BATCH: i32 = 40;
const AT_ONCE: usize = 4;
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
        if holds(self.ctx.limits.brake, presence) {
            let Presence { rows, unseen } = presence;
            self.report.warn(format!(
                "{}: {unseen} of {rows} rows were not listed, more than is likely; nothing was marked as deleted. \
                 If it is right, `planhat-sync sync --full --allow-deletes {}` marks them",
                self.object.name, self.object.name
            ));
            return Ok(Listed::ToTheEnd);
        }
        info!(object = self.object.name, "asking for {} records that were not listed", presence.unseen);
        match self.ask_for_them(run_id).await {
            Err(Failure::Fetch { source, .. }) if source.is_a_refusal() => {
                self.report.warn(format!(
                    "{}: deleted records cannot be told, because none can be asked for by its id: {}",
                    self.object.name,
                    Chain(&source)
                ));
                Ok(Listed::ToTheEnd)
            }
            asked => asked,
        }
    }

    /// Saves that all listings have been read, and counts.
    async fn begin_looking(&mut self) -> Result<Presence, store::Error> {
        if self.scan.listing != LISTING {
            self.go_to(LISTING.to_owned());
            self.save_position().await?;
        }
        let mut tx = self.ctx.store.begin().await?;
        let presence = store::presence(&mut tx, &self.ctx.store.schema, self.object).await?;
        store::commit(tx).await?;
        Ok(presence)
    }

    async fn ask_for_them(&mut self, run_id: i64) -> Result<Listed, Failure> {
        if let Some(reason) = self.why_ids_prove_nothing().await? {
            self.report.warn(format!("{}: deleted records cannot be told, because {reason}", self.object.name));
            return Ok(Listed::ToTheEnd);
        }
        loop {
            if self.ctx.stop.is_cancelled() {
                return Ok(Listed::Stopped);
            }
            let unseen = self.ids(store::unseen, BATCH).await?;
            if unseen.is_empty() {
                return Ok(Listed::ToTheEnd);
            }
            let (there, gone): (Vec<_>, Vec<_>) = self.ask_for(unseen).await?.into_iter().partition(|(_, is_there)| *is_there);
            let ids = |of: Vec<(String, bool)>| of.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
            self.settle(&ids(there), &ids(gone), run_id).await.map_err(|source| self.store_failed(source))?;
        }
    }

    /// A server that knows no record by its id answers 404 to all of them.
    async fn why_ids_prove_nothing(&mut self) -> Result<Option<&'static str>, Failure> {
        let listed = self.ids(store::some_seen, LISTED_ONES).await?;
        if listed.is_empty() {
            let reason = "nothing is listed that could be found by its id; if all are gone, --allow-deletes marks them";
            return Ok(self.ctx.limits.brake.on.then_some(reason));
        }
        let found = self.ask_for(listed).await?.into_iter().any(|(_, is_there)| is_there);
        Ok((!found).then_some("even those that are listed are not found by their ids"))
    }

    async fn ids(
        &self,
        which: impl AsyncFn(&mut store::PgConnection, &str, &crate::object::Object, i32) -> Result<Vec<String>, store::Error>,
        count: i32,
    ) -> Result<Vec<String>, Failure> {
        let ids = async {
            let mut tx = self.ctx.store.begin().await?;
            let ids = which(&mut tx, &self.ctx.store.schema, self.object, count).await?;
            store::commit(tx).await?;
            Ok(ids)
        };
        ids.await.map_err(|source| self.store_failed(source))
    }

    /// Each id with whether Planhat has it.
    async fn ask_for(&self, ids: Vec<String>) -> Result<Vec<(String, bool)>, Failure> {
        let (client, name, calls) = (self.ctx.client, self.object.name, self.calls);
        let answers = stream::iter(ids).map(async |id| {
            let is_there = client.has(name, &id, calls).await?;
            Ok((id, is_there))
        });
        let failed = |source: planhat::Error| Failure::Fetch { object: name, offset: self.scan.offset, source };
        answers.buffer_unordered(AT_ONCE).try_collect().await.map_err(failed)
    }

    /// What is there counts as seen, so that it is not asked for again; what is gone is marked.
    async fn settle(&mut self, there: &[String], gone: &[String], run_id: i64) -> Result<(), store::Error> {
        let workspace = &self.ctx.store.schema;
        let mut tx = self.ctx.store.begin().await?;
        store::note_seen(&mut tx, workspace, self.object, there).await?;
        let marked = store::mark_deleted(&mut tx, workspace, self.object, gone, run_id).await?;
        store::save_scan(&mut tx, workspace, self.object, ScanKind::Full, &self.scan, run_id).await?;
        store::commit(tx).await?;
        self.report.figures.deleted += marked.cast_signed();
        counter!("planhat_sync_rows_total", "object" => self.object.name, "operation" => "deleted").increment(marked);
        Ok(())
    }
}

fn holds(brake: Brake, Presence { rows, unseen }: Presence) -> bool {
    brake.on && unseen > i64::from(brake.rows) && unseen * 100 > i64::from(brake.percent) * rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brake_holds_where_both_bounds_are_passed() {
        let brake = Brake { on: true, percent: 20, rows: 100 };
        let check = |rows, unseen, expected| assert_eq!(holds(brake, Presence { rows, unseen }), expected, "{unseen} of {rows}");
        check(1000, 201, true);
        check(1000, 200, false);
        check(200, 100, false);
        check(101, 101, true);
        check(1_000_000, 101, false);
        assert!(!holds(Brake { on: false, ..brake }, Presence { rows: 1000, unseen: 1000 }));
    }
}
