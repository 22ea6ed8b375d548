//! Loads the records that stored rows refer to and that are not stored, one by one, by their ids.
//!
//! ```text
//! missing ids (a query) -> get by id -> the same way as any page: window, rules, flatten, one transaction -> the next ids
//! ```
//!
//! Nothing has to be remembered between two runs: what was loaded is not missing any more, and what Planhat does not have is noted in
//! `planhat_sync.absent_records`. As with deletions, a 404 proves something only if a record that is stored is found by its id.
//!
//! A get by id answers in another shape than a listing, with properties that no listing has. So no columns are created here:
//! such a property goes to `_overflow`, until a listing shows the record.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use planhat_api::{ApiError, Page, Position, RecordAnswer, ReservedBytes};
use planhat_model::error::{Chain, Fails};
use planhat_model::record::Record;
use planhat_model::scan::{Window, WindowVerdict};
use planhat_store::{self as store, AbsentRecord, ReferringColumns};
use reqwest::StatusCode;
use tracing::{info, warn};

use super::PullError;
use super::next_step::Ended;
use super::object_scan::{Interruption, ObjectScan};

/// Ids between two commits, and how many of them are requested in parallel.
const BATCH: i64 = 40;
const CONCURRENT_REQUESTS: usize = 4;
/// No more ids are requested after this many unanswered ones.
const MAX_UNANSWERED: usize = 20;
/// How many stored records are requested by id, to test whether that works.
const PROBED_IDS: i64 = 4;
/// A record that was loaded may refer to another one of its object, as a company to its head company, and so on.
const MAX_PASSES: usize = 20;

/// The answers to a batch of ids.
#[derive(Debug, Default)]
struct Answers {
    found: Vec<Record>,
    absent: Vec<AbsentRecord>,
    unanswered: Vec<String>,
}

/// What is known of the records that were requested so far.
#[derive(Debug, Default)]
struct Requested {
    /// Those that were requested and are neither stored nor noted as absent: each is requested once in a run.
    open: HashSet<String>,
    unanswered: usize,
    not_found: usize,
    forbidden: usize,
    /// Whether a record that exists is found by its id; none if that was not tested yet.
    works_by_id: Option<bool>,
}

impl ObjectScan<'_> {
    /// Requests the missing records of the object until none is left.
    pub(super) async fn load_referenced(mut self) -> Result<Ended, PullError> {
        let name = self.object().name;
        let columns = self.reference_columns().await?;
        let Some(columns) = columns else {
            self.report
                .warn(format!("{name}: nothing is loaded yet; `planhat-sync sync {name}` comes first, if the token may read it"));
            return Ok(Ended::Complete { has_watermark: false });
        };
        self.table.prepare_without_new_columns(self.report).await?;
        let mut requested = Requested::default();
        for _ in 0..MAX_PASSES {
            let stored_before = self.report.figures.inserted;
            match self.request_missing(&columns, &mut requested).await? {
                Some(Interruption::Stop) => return Ok(Ended::Stopped),
                Some(Interruption::Pause) => return Ok(Ended::Preempted { is_saved: false }),
                None => {}
            }
            let may_name_more = columns.columns.iter().any(|column| column.object.name == name);
            if !may_name_more || self.report.figures.inserted == stored_before || requested.unanswered >= MAX_UNANSWERED {
                break;
            }
        }
        self.warn_of(&requested);
        // What is only in a get by id is no news to a person.
        self.report.overflowing.clear();
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.end_scan(async |_| Ok(())).await.map_err(|source| self.store_failed(source))?;
        }
        Ok(Ended::Complete { has_watermark: false })
    }

    /// The columns that name records of the object; none if it has no table.
    async fn reference_columns(&mut self) -> Result<Option<ReferringColumns>, PullError> {
        let (schema, object, rules) = (&self.ctx.store.schema, self.object(), &self.ctx.limits.rules);
        let all = self.ctx.store.transaction(async |db| store::reference_columns(db, schema, rules).await).await;
        let all = all.map_err(|source| self.store_failed(source))?;
        let masked = all.masked.iter().filter(|column| column.reference.to == object.name);
        for column in masked {
            let (referring, property) = (column.object.name, column.reference.property);
            self.report.warn(format!(
                "{}: those that {referring}.{property} refers to cannot be requested, since a privacy rule masks it",
                object.name
            ));
        }
        Ok(all.has_table(object.name).then(|| all.naming(object)))
    }

    /// Requests every missing id once, in the order of ids.
    async fn request_missing(
        &mut self,
        columns: &ReferringColumns,
        requested: &mut Requested,
    ) -> Result<Option<Interruption>, PullError> {
        let (ctx, schema, object) = (self.ctx, &self.ctx.store.schema, self.object());
        let mut after = String::new();
        loop {
            let missing = async |db: &mut store::PgConnection| store::missing_ids(db, schema, columns, &after, BATCH).await;
            let ids = ctx.store.transaction(missing).await.map_err(|source| self.store_failed(source))?;
            let Some(last) = ids.last() else { return Ok(None) };
            after.clone_from(last);
            // Who was forgotten is not asked for.
            let is_wanted = |id: &String| !requested.open.contains(id) && !self.table.has_forgotten(id);
            let ids: Vec<String> = ids.into_iter().filter(is_wanted).collect();
            let answers = tokio::select! {
                biased;
                () = ctx.stop.cancelled() => return self.interrupt(Interruption::Stop).await.map(|_| Some(Interruption::Stop)),
                () = ctx.pause_gate.pause_requested() => return self.interrupt(Interruption::Pause).await.map(|_| Some(Interruption::Pause)),
                answers = self.request(ids) => answers?,
            };
            self.take(answers, requested).await?;
            ctx.progress.update(object.name, self.report.progress());
            if requested.unanswered >= MAX_UNANSWERED {
                return Ok(None);
            }
        }
    }

    /// Requests each id. Only an error that would affect every id is a failure.
    async fn request(&self, ids: Vec<String>) -> Result<Answers, PullError> {
        let client = self.client;
        let mut requests = stream::iter(ids)
            .map(async |id| {
                let answer = client.record(&id).await;
                (id, answer)
            })
            .buffer_unordered(CONCURRENT_REQUESTS);
        let mut answers = Answers::default();
        while let Some((id, answer)) = requests.next().await {
            match answer {
                Ok(RecordAnswer::Found(record)) => answers.found.push(*record),
                Ok(RecordAnswer::NotFound) => answers.absent.push(AbsentRecord { id, answer: 404 }),
                Ok(RecordAnswer::Forbidden) => answers.absent.push(AbsentRecord { id, answer: 403 }),
                Err(source) if source.kind().fails() == Fails::Run => return Err(self.fetch_failed(source)),
                Err(error) => {
                    warn!(error = %Chain(&error), "could not request a record by its id");
                    answers.unanswered.push(id);
                }
            }
        }
        Ok(answers)
    }

    /// Stores the records of a batch, and notes which of the others Planhat does not have.
    async fn take(&mut self, answers: Answers, requested: &mut Requested) -> Result<(), PullError> {
        let Answers { found, absent, unanswered } = answers;
        requested.unanswered += unanswered.len();
        requested.open.extend(unanswered);
        if !found.is_empty() {
            self.report.readable = true;
            requested.works_by_id = Some(true);
            requested.open.extend(found.iter().map(|record| record.id.clone()));
            let old = found.iter().filter(|record| self.is_older_than_history(record)).count();
            self.store_page(self.page_of(found)).await.map_err(|source| self.store_failed(source))?;
            self.note_loaded(old).await.map_err(|source| self.store_failed(source))?;
        }
        if absent.is_empty() {
            return Ok(());
        }
        if !self.works_by_id(requested).await? {
            if absent.iter().any(|record| record.answer == 403) {
                let path = format!("/{}/…", self.object().name);
                return Err(self.fetch_failed(ApiError::AccessDenied { path, status: StatusCode::FORBIDDEN }));
            }
            requested.unanswered += absent.len();
            requested.open.extend(absent.into_iter().map(|record| record.id));
            return Ok(());
        }
        requested.forbidden += absent.iter().filter(|record| record.answer == 403).count();
        requested.not_found += absent.iter().filter(|record| record.answer == 404).count();
        self.note_absent(&absent).await.map_err(|source| self.store_failed(source))
    }

    /// Whether a listing would have shown the record as one that is left out.
    fn is_older_than_history(&self, record: &Record) -> bool {
        let history = self.ctx.limits.history_of(self.object()).begin(self.ctx.now);
        let newest = record.newest_of(self.object().times());
        Window::Full { history }.judge(self.object(), record, newest) == WindowVerdict::IfStored
    }

    /// So many records that were left out are stored now.
    async fn note_loaded(&self, old: usize) -> Result<(), store::StoreError> {
        let (schema, object, loaded) = (&self.ctx.store.schema, self.object(), i64::try_from(old).unwrap_or(i64::MAX));
        if old == 0 {
            return Ok(());
        }
        self.ctx.store.transaction(async |db| store::subtract_from_left_out(db, schema, object, loaded).await).await
    }

    async fn note_absent(&mut self, absent: &[AbsentRecord]) -> Result<(), store::StoreError> {
        let (schema, object) = (&self.ctx.store.schema, self.object());
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(()) };
        checkpoint.save(&self.progress, async |db| store::save_absent_records(db, schema, object, absent).await).await
    }

    /// Whether Planhat answers to a get by id with a record that is stored.
    async fn works_by_id(&self, requested: &mut Requested) -> Result<bool, PullError> {
        if let Some(works) = requested.works_by_id {
            return Ok(works);
        }
        let (schema, object) = (&self.ctx.store.schema, self.object());
        let stored = async |db: &mut store::PgConnection| store::ids_at_both_ends(db, schema, object, PROBED_IDS).await;
        let stored = self.ctx.store.transaction(stored).await.map_err(|source| self.store_failed(source))?;
        let works = !self.request(stored).await?.found.is_empty();
        requested.works_by_id = Some(works);
        Ok(works)
    }

    /// Records as if a listing had shown them.
    fn page_of(&self, records: Vec<Record>) -> Page {
        let offset = self.progress.offset.cast_unsigned() + records.len() as u64;
        let next = Position { offset, overlap_id: None };
        Page {
            pages: 0,
            records,
            rejected: Vec::new(),
            rows_moved: false,
            next,
            served_at: None,
            reserved: ReservedBytes::default(),
        }
    }

    fn warn_of(&mut self, requested: &Requested) {
        let name = self.object().name;
        let &Requested { not_found, forbidden, unanswered, works_by_id, .. } = requested;
        let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
        let requests = counted(unanswered, "request");
        info!(not_found, forbidden, unanswered, "requested the missing {name} by id");
        if works_by_id == Some(false) {
            self.report.warn(format!("{name}: Planhat answers 404 by id even for records that are stored, which proves nothing"));
        } else if unanswered > 0 {
            self.report.warn(format!("{name}: no answer to {requests} by id; the next `backfill --referenced` sends them again"));
        }
        let absent = [(not_found, "Planhat does not have"), (forbidden, "the token may not read")];
        for (count, why) in absent.into_iter().filter(|(count, _)| *count > 0) {
            let records = counted(count, "record");
            self.report.warn(format!("{name}: {why} {records} that rows refer to; they are not requested again for 30 days"));
        }
    }

    fn fetch_failed(&self, source: ApiError) -> PullError {
        PullError::Fetch { object: self.object().name, offset: self.progress.offset, source }
    }
}
