//! The end of a full scan: rows that are in the table but were not listed are requested by id.
//!
//! A listing can miss a record, so only a 404 for its id proves that a record was deleted, and only if another record, which was
//! listed, is found by its id. If too large a share of a table, or of all tables of a run, seems deleted, the answers are
//! more likely wrong, and no row is marked until a person allows it (`deletion_guard`).

use futures_util::{StreamExt, stream};
use metrics::counter;
use planhat_model::catalog::Object;
use planhat_model::error::{Chain, Fails};
use planhat_store::{self as store, PgConnection, UnlistedRows};
use tracing::{info, warn};

use super::PullError;
use super::deletion_guard::HeldBack;
use super::object_scan::ObjectScan;

/// The value of `scans.listing` while records are requested by id.
pub(super) const LISTING: &str = "deletions";
/// Ids between two commits, and how many of them are requested in parallel.
const BATCH: i32 = 40;
const CONCURRENT_REQUESTS: usize = 4;
/// No more ids are requested after this many unanswered ones, or after this many answers of which nearly all say that the
/// record exists.
const MAX_UNANSWERED: usize = 20;
const MIN_ANSWERS_TO_JUDGE: usize = 200;
/// How many listed records are requested by id, to test whether that works.
const PROBED_LISTED_IDS: i32 = 3;

impl ObjectScan<'_> {
    /// Detects records deleted at Planhat, and marks their rows. False when it was stopped before its end.
    pub(super) async fn detect_deletions(&mut self) -> Result<bool, PullError> {
        if self.checkpoint.is_none() {
            self.report.warn(format!("{}: a dry run does not detect deleted records", self.object().name));
            return Ok(true);
        }
        let presence = self.begin_deletion_check().await.map_err(|source| self.store_failed(source))?;
        if presence.unlisted == 0 {
            return Ok(true);
        }
        if let Err(held) = self.check_deletion_guard(presence).await? {
            let UnlistedRows { rows, unlisted } = presence;
            self.report.warn(format!(
                "{}: {unlisted} of {rows} rows were not listed, {held}; the deletion guard marked none of them as deleted. \
                 If these records were really deleted, `planhat-sync sync --full --allow-deletes {}` marks them",
                self.object().name,
                self.object().name
            ));
            return Ok(true);
        }
        info!("requesting {} records by id that were not listed", presence.unlisted);
        self.probe_unlisted().await
    }

    /// Saves the checkpoint after the last listing, and counts the rows that were not listed.
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

    /// Whether the deletion guard allows these rows to be requested; if so, reserves them in the limit of the run.
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
            self.report.warn(format!("{}: deleted records cannot be detected: {reason}", self.object().name));
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
        let without_an_answer = (counts.unanswered > 0).then(|| format!("{} requests by id got no answer", counts.unanswered));
        for reason in reason.into_iter().chain(without_an_answer) {
            self.report.warn(format!("{}: not all deleted records could be detected: {reason}", self.object().name));
        }
        Ok(true)
    }

    /// Why a 404 for an id proves nothing: the server answers 404 even for records that it lists.
    async fn probe_get_by_id(&mut self) -> Result<Option<&'static str>, PullError> {
        let listed = self.ids(store::some_listed_ids, PROBED_LISTED_IDS).await?;
        if listed.is_empty() {
            let reason =
                "no record is listed to test requests by id with; if all records were really deleted, --allow-deletes marks them";
            return Ok(self.ctx.limits.deletion_guard.enabled.then_some(reason));
        }
        let probed = self.probe_ids(listed).await?;
        Ok(probed.found.is_empty().then_some("Planhat answers 404 by id even for records that it lists"))
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

    /// Requests each id. Only an error that would affect every id is a failure.
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
                    warn!(error = %Chain(&error), "could not request a record by its id");
                    probed.unanswered.push(id);
                }
            }
        }
        Ok(probed)
    }

    /// Stores the result of a batch. A row that PostgreSQL refuses to mark counts as unanswered.
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
                    warn!(sqlstate, "PostgreSQL refused to mark a row as deleted");
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

    /// Marks the missing ids as deleted and saves the others as listed, so that this scan does not request them again.
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

/// Ids by Planhat's answer.
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
    /// Why no more ids should be requested: each request is a call.
    fn reason_to_stop(&self) -> Option<String> {
        let probed = self.found + self.missing + self.unanswered;
        if self.unanswered >= MAX_UNANSWERED {
            Some("too many requests by id got no answer".to_owned())
        } else if probed >= MIN_ANSWERS_TO_JUDGE && self.found * 10 >= probed * 9 {
            Some(format!(
                "{} of {probed} records that were not listed still exist at Planhat, so the others were not checked",
                self.found
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<String> {
        vec!["id".to_owned(); count]
    }

    /// The beginning of why no more ids are requested after so many answers of each kind.
    fn stopped_after(found: usize, missing: usize, unanswered: usize) -> Option<String> {
        let mut counts = ProbeCounts::default();
        // In two batches.
        counts += ProbedIds { found: ids(found / 2), missing: ids(missing), unanswered: ids(0) };
        counts += ProbedIds { found: ids(found - found / 2), missing: ids(0), unanswered: ids(unanswered) };
        counts.reason_to_stop().map(|reason| reason.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn no_more_ids_are_requested_once_too_many_are_unanswered_or_nearly_all_records_exist() {
        for (found, missing, unanswered, expected) in [
            (0, 0, 0, None),
            (0, 0, 19, None),
            (0, 0, 20, Some("too many requests")),
            (1000, 0, 20, Some("too many requests")),
            (199, 0, 0, None),
            (200, 0, 0, Some("200 of 200")),
            (180, 20, 0, Some("180 of 200")),
            (179, 21, 0, None),
            (180, 1, 19, Some("180 of 200")),
            (179, 2, 19, None),
            (0, 1000, 0, None),
        ] {
            assert_eq!(stopped_after(found, missing, unanswered).as_deref(), expected, "{found} {missing} {unanswered}");
        }
    }

    #[test]
    fn what_was_answered_in_parts_is_taken_together() {
        let id = |id: &str| vec![id.to_owned()];
        let mut all = ProbedIds { found: id("a"), missing: id("b"), unanswered: id("c") };
        all += ProbedIds { found: id("d"), missing: id("e"), unanswered: id("f") };
        assert_eq!((all.found.concat(), all.missing.concat(), all.unanswered.concat()), ("ad".into(), "be".into(), "cf".into()));
    }
}
