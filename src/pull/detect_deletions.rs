//! The end of a full scan: what is in the table and was not listed is asked for by its id.
//!
//! A listing can miss a record, so only a 404 to its id says that one is gone, and only where another
//! record, that was listed, is found by its id. When an unlikely share of a table, or of all tables of a run, seems
//! gone, it is rather the answers that are wrong, and nothing is marked until a person says so (`deletion_guard`).

use futures_util::{StreamExt, stream};
use metrics::counter;
use planhat_model::catalog::Object;
use planhat_model::error::{Chain, Fails};
use planhat_store::{self as store, PgConnection, UnlistedRows};
use tracing::{info, warn};

use super::PullError;
use super::deletion_guard::HeldBack;
use super::object_scan::ObjectScan;

/// Where a scan stands while records are asked for by id, in place of a listing.
pub(super) const LISTING: &str = "deletions";
/// Ids between two commits, and requests side by side among them.
const BATCH: i32 = 40;
const CONCURRENT_REQUESTS: usize = 4;
/// After so many ids without an answer, and after so many answers of which nearly all say that the record is
/// there, no more are asked for.
const MAX_UNANSWERED: usize = 20;
const MIN_ANSWERS_TO_JUDGE: usize = 200;
/// Records that were listed, to try whether any can be found by its id.
const PROBED_LISTED_IDS: i32 = 3;

impl ObjectScan<'_> {
    /// Marks the rows of deleted records. False when it was stopped before its end.
    pub(super) async fn detect_deletions(&mut self) -> Result<bool, PullError> {
        if self.checkpoint.is_none() {
            self.report.warn(format!("{}: a dry run does not look for deleted records", self.object().name));
            return Ok(true);
        }
        let presence = self.begin_deletion_check().await.map_err(|source| self.store_failed(source))?;
        if presence.unlisted == 0 {
            return Ok(true);
        }
        if let Err(held) = self.check_deletion_guard(presence).await? {
            let UnlistedRows { rows, unlisted } = presence;
            self.report.warn(format!(
                "{}: {unlisted} of {rows} rows were not listed, {held}; nothing was marked as deleted. \
                 If it is right, `planhat-sync sync --full --allow-deletes {}` marks them",
                self.object().name,
                self.object().name
            ));
            return Ok(true);
        }
        info!("asking for {} records that were not listed", presence.unlisted);
        self.probe_unlisted().await
    }

    /// Saves that all listings have been read, and counts.
    async fn begin_deletion_check(&mut self) -> Result<UnlistedRows, store::StoreError> {
        if let Some(checkpoint) = &mut self.checkpoint
            && self.progress.listing != LISTING
        {
            let all_read = self.progress.at_start_of(LISTING.to_owned());
            checkpoint.save(&all_read, async |_| Ok(())).await?;
            self.progress = all_read;
        }
        let (workspace, object) = (&self.ctx.store.schema, self.object());
        self.ctx.store.transaction(async |db| store::count_unlisted(db, workspace, object).await).await
    }

    /// Whether the deletion guard lets these rows be asked for, which takes their share of what the run may mark.
    async fn check_deletion_guard(&self, presence: UnlistedRows) -> Result<Result<(), HeldBack>, PullError> {
        let (guard, deletion_reservations) = (self.ctx.limits.deletion_guard, self.ctx.deletion_reservations);
        if let Err(held) = guard.check_table(presence) {
            return Ok(Err(held));
        }
        let all = deletion_reservations.total_rows(self.total_rows()).await.map_err(|source| self.store_failed(source))?;
        let marked = self.report.figures.deleted;
        Ok(deletion_reservations.reserve(guard, self.object().name, marked + presence.unlisted, all))
    }

    /// The rows of all tables of the run.
    async fn total_rows(&self) -> Result<i64, store::StoreError> {
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

    async fn probe_unlisted(&mut self) -> Result<bool, PullError> {
        let stop = self.ctx.stop;
        let nothing_proven = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(false),
            reason = self.probe_get_by_id() => reason?,
        };
        if let Some(reason) = nothing_proven {
            self.report.warn(format!("{}: deleted records cannot be told, because {reason}", self.object().name));
            return Ok(true);
        }
        let mut counts = ProbeCounts::default();
        let reason = loop {
            let unlisted = self.ids(store::unlisted, BATCH).await?;
            if unlisted.is_empty() {
                break None;
            }
            let probed = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                probed = self.probe_ids(unlisted) => probed?,
            };
            counts += self.apply_probe(probed).await.map_err(|source| self.store_failed(source))?;
            self.ctx.progress.update(self.object().name, self.report.progress());
            if let Some(reason) = counts.reason_to_stop() {
                break Some(reason);
            }
        };
        let without_an_answer =
            (counts.unanswered > 0).then(|| format!("{} ids were asked for without an answer", counts.unanswered));
        for reason in reason.into_iter().chain(without_an_answer) {
            self.report.warn(format!("{}: not all deleted records can be told: {reason}", self.object().name));
        }
        Ok(true)
    }

    /// A server that knows no record by its id answers 404 to all of them.
    async fn probe_get_by_id(&mut self) -> Result<Option<&'static str>, PullError> {
        let listed = self.ids(store::some_listed_ids, PROBED_LISTED_IDS).await?;
        if listed.is_empty() {
            let reason = "nothing is listed that could be found by its id; if all are gone, --allow-deletes marks them";
            return Ok(self.ctx.limits.deletion_guard.enabled.then_some(reason));
        }
        let probed = self.probe_ids(listed).await?;
        Ok(probed.found.is_empty().then_some("even those that are listed cannot be found by their ids"))
    }

    async fn ids(
        &self,
        which: impl AsyncFn(&mut PgConnection, &str, &Object, i32) -> Result<Vec<String>, store::StoreError>,
        count: i32,
    ) -> Result<Vec<String>, PullError> {
        let (workspace, object) = (&self.ctx.store.schema, self.object());
        let ids = self.ctx.store.transaction(async |db| which(db, workspace, object, count).await);
        ids.await.map_err(|source| self.store_failed(source))
    }

    /// What Planhat says of each id. Only what no other id would fare better with is a failure.
    async fn probe_ids(&self, ids: Vec<String>) -> Result<ProbedIds, PullError> {
        let (client, name) = (self.client, self.object().name);
        let mut answers = stream::iter(ids)
            .map(async |id| {
                let answer = client.record_exists(&id).await;
                (id, answer)
            })
            .buffer_unordered(CONCURRENT_REQUESTS);
        let mut probed = ProbedIds::default();
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(true) => probed.found.push(id),
                Ok(false) => probed.missing.push(id),
                Err(source) if source.kind().fails() == Fails::Run => {
                    return Err(PullError::Fetch { object: name, offset: self.progress.offset, source });
                }
                Err(error) => {
                    warn!(error = %Chain(&error), "a record could not be asked for by its id");
                    probed.unanswered.push(id);
                }
            }
        }
        Ok(probed)
    }

    /// Settles what was asked for. A row that the database does not let be marked counts as one without an answer.
    async fn apply_probe(&mut self, probed: ProbedIds) -> Result<ProbedIds, store::StoreError> {
        let (mut settled, mut parts) = (ProbedIds::default(), vec![probed]);
        while let Some(mut part) = parts.pop() {
            let Err(error) = self.apply_probe_at_once(&part).await else {
                settled += part;
                continue;
            };
            match (error.refusal(), part.missing.len()) {
                (None, _) | (_, 0) => return Err(error),
                (Some((_, sqlstate)), 1) => {
                    // Its words may quote a value.
                    warn!(sqlstate, "the database refused to mark a row as deleted");
                    part.unanswered.append(&mut part.missing);
                }
                (Some(_), several) => {
                    let missing = part.missing.split_off(several / 2);
                    parts.push(ProbedIds { missing, ..ProbedIds::default() });
                }
            }
            parts.push(part);
        }
        Ok(settled)
    }

    /// What is gone is marked; the rest counts as seen, so that this scan does not ask for it again.
    async fn apply_probe_at_once(&mut self, probed: &ProbedIds) -> Result<(), store::StoreError> {
        let (schema, object) = (&self.ctx.store.schema, self.object());
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(()) };
        let run_id = checkpoint.run_id();
        let marked = checkpoint.save(&self.progress, async |db| {
            store::save_listed_ids(&mut *db, schema, object, &probed.found).await?;
            store::save_listed_ids(&mut *db, schema, object, &probed.unanswered).await?;
            let columns = store::load_columns(&mut *db, schema, object).await?;
            store::mark_deleted(db, self.table.target(&columns, run_id), &probed.missing).await
        });
        let marked = marked.await?;
        self.report.figures.deleted += marked.cast_signed();
        counter!("planhat_sync_rows_total", "object" => self.object().name, "operation" => "deleted").increment(marked);
        Ok(())
    }
}

/// Ids by what Planhat says of them.
#[derive(Debug, Default)]
struct ProbedIds {
    found: Vec<String>,
    missing: Vec<String>,
    unanswered: Vec<String>,
}

impl std::ops::AddAssign for ProbedIds {
    fn add_assign(&mut self, mut other: ProbedIds) {
        self.found.append(&mut other.found);
        self.missing.append(&mut other.missing);
        self.unanswered.append(&mut other.unanswered);
    }
}

/// How many answers of each kind there were.
#[derive(Debug, Default)]
struct ProbeCounts {
    found: usize,
    missing: usize,
    unanswered: usize,
}

impl std::ops::AddAssign<ProbedIds> for ProbeCounts {
    fn add_assign(&mut self, probed: ProbedIds) {
        self.found += probed.found.len();
        self.missing += probed.missing.len();
        self.unanswered += probed.unanswered.len();
    }
}

impl ProbeCounts {
    /// Questions cost calls, and some are not worth any more of them.
    fn reason_to_stop(&self) -> Option<String> {
        let probed = self.found + self.missing + self.unanswered;
        if self.unanswered >= MAX_UNANSWERED {
            Some("there are too many ids without an answer".to_owned())
        } else if probed >= MIN_ANSWERS_TO_JUDGE && self.found * 10 >= probed * 9 {
            Some(format!("{} of {probed} that were not listed are there all the same, so the rest was not asked for", self.found))
        } else {
            None
        }
    }
}
