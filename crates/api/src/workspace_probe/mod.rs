//! Asks Planhat how it answers: what a parameter does, which sorts are honoured, where pages end.
//!
//! ```text
//! objects -> questions (one GET each) -> answers -> judgements (judge.rs: pure) -> WorkspaceReport
//! ```
//!
//! An answer proves something or nothing. What none has proven is not known, and the report says no more. Each question is
//! asked once, within the budget. After a 429 no further question is asked, and after `until` none either.

mod judge;
mod probe_answer;

use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::{StreamExt, stream};
use planhat_model::catalog::Object;
use planhat_model::record_shapes::ShapeCounts;
use planhat_model::workspace_report::{
    AnswerReport, DimensionDataReport, FORMAT, ObjectReport, OverLimitReport, WorkspaceReport,
};
use serde_json::Value;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use judge::{hidden_listing, over_limit, sort};
use probe_answer::ProbeAnswer;

/// Records of a first page, and of fewer where these are more than `max_page_bytes`.
const FIRST_PAGE: [u32; 3] = [100, 10, 1];
/// Records of a page that shows whether a sort is honoured.
const SORTED_PAGE: [u32; 3] = [20, 5, 1];
const SIDE_BY_SIDE: usize = 4;
/// Of how many objects is asked whether they have more records than their largest page?
const MOST_ASKED_FOR_MORE: usize = 4;
const DAY: i64 = 86_400;

type Parameters = Vec<(&'static str, String)>;

/// Asks about these objects, until `until` at the latest.
pub async fn probe_workspace(client: &Client, objects: &[&'static Object], until: Instant) -> WorkspaceReport {
    let asker = Asker { client, until, stopped: CancellationToken::new() };
    let asked = stream::iter(objects).map(|object| asker.about(object)).buffered(SIDE_BY_SIDE);
    let mut found: Vec<ProbedObject> = asked.collect().await;
    asker.about_a_limit_over_the_maximum(&mut found).await;
    let company = found.iter().find(|probed| probed.object.name == "companies").and_then(|probed| probed.first_id.clone());
    let dimensiondata = asker.about_dimension_data(company).await;
    WorkspaceReport {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        throttling: client.throttling_seen(),
        dimensiondata,
        objects: found.into_iter().map(|probed| (probed.object.name.to_owned(), probed.report)).collect(),
    }
}

/// What was found of one object, and what further questions go by.
struct ProbedObject {
    object: &'static Object,
    report: ObjectReport,
    /// Of the first page.
    records: usize,
    bytes: u64,
    first_id: Option<String>,
}

struct Asker<'a> {
    client: &'a Client,
    until: Instant,
    /// Cancelled after a refusal that all further questions would meet.
    stopped: CancellationToken,
}

impl Asker<'_> {
    async fn about(&self, object: &'static Object) -> ProbedObject {
        let mut report = ObjectReport::default();
        let by_id = || vec![("sort", "_id".to_owned())];
        let plain = self.page(object, by_id(), &FIRST_PAGE, &mut report.answers).await;
        let (records, bytes) = (plain.records.len(), plain.bytes);
        report.status = plain.status;
        let ids = plain.ids();
        let first_id = ids.first().cloned();
        let mut sample: Vec<Value> = plain.values();
        if let (Some(parameter), true) = (object.hidden, plain.is_listing()) {
            let mut parameters = by_id();
            parameters.push((parameter, "true".to_owned()));
            let hidden = self.page(object, parameters, &FIRST_PAGE, &mut report.answers).await;
            report.hidden = hidden.is_listing().then(|| hidden_listing(&ids, &hidden.ids(), hidden.limit as usize)).flatten();
            let is_new = |record: &Value| record["_id"].as_str().is_none_or(|id| !ids.iter().any(|known| known == id));
            sample.extend(hidden.values().into_iter().filter(is_new));
        }
        // Of a single record no order can be seen.
        for property in sorts_of(object).into_iter().filter(|_| records > 1) {
            let (newest, oldest) = (format!("-{property}"), property.to_owned());
            let newest_first = self.page(object, vec![("sort", newest)], &SORTED_PAGE, &mut report.answers).await;
            let oldest_first = self.page(object, vec![("sort", oldest)], &SORTED_PAGE, &mut report.answers).await;
            if let Some(answer) = sort(&newest_first.times(property), &oldest_first.times(property)) {
                report.sorts.insert(property.to_owned(), answer);
            }
        }
        report.records = ShapeCounts::of_records(object, &sample);
        ProbedObject { object, report, records, bytes, first_id }
    }

    /// Asks one object for more than it is documented to answer with: the one with the smallest maximum that has more records.
    async fn about_a_limit_over_the_maximum(&self, found: &mut [ProbedObject]) {
        let mut order: Vec<usize> = (0..found.len()).filter(|place| found[*place].records > 0).collect();
        order.sort_by_key(|place| found[*place].object.max_limit);
        let is_full = |probed: &ProbedObject| probed.records >= FIRST_PAGE[0] as usize;
        let (full, short): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|place| is_full(&found[*place]));
        let may_be_read = |probed: &ProbedObject| {
            let of_one = probed.bytes / probed.records.max(1) as u64;
            of_one * u64::from(probed.object.max_limit + 1) < self.client.max_page_bytes() / 2
        };
        for place in full.into_iter().filter(|place| may_be_read(&found[*place])).take(MOST_ASKED_FOR_MORE).collect::<Vec<_>>() {
            let probed = &mut found[place];
            let beyond = vec![("sort", "_id".to_owned()), ("offset", probed.object.max_limit.to_string())];
            let beyond = self.page(probed.object, beyond, &[1], &mut probed.report.answers).await;
            if !beyond.records.is_empty() {
                return self.ask_for_too_many(probed, true).await;
            }
        }
        if let Some(place) = short.first() {
            self.ask_for_too_many(&mut found[*place], false).await;
        }
    }

    async fn ask_for_too_many(&self, probed: &mut ProbedObject, has_enough: bool) {
        let asked = probed.object.max_limit + 1;
        let by_id = vec![("sort", "_id".to_owned())];
        let page = self.page(probed.object, by_id, &[asked], &mut probed.report.answers).await;
        let records = page.is_listing().then_some(page.records.len());
        let asked = asked as usize;
        let answer = over_limit(asked, page.status, records, has_enough);
        probed.report.over_limit = answer.map(|answer| OverLimitReport { asked, answer });
    }

    async fn about_dimension_data(&self, company: Option<String>) -> DimensionDataReport {
        let yesterday = (Utc::now().timestamp() / DAY - 1).to_string();
        let parameters = || vec![("limit", "1".to_owned()), ("from", yesterday.clone()), ("to", yesterday.clone())];
        let mut report = DimensionDataReport::default();
        let path = "dimensiondata";
        report.whole_workspace = self.ask(path, &parameters(), &mut report.answers).await.status;
        if let Some(company) = company {
            let mut parameters = parameters();
            parameters.push(("cId", company));
            report.one_company = self.ask(path, &parameters, &mut report.answers).await.status;
        }
        report
    }

    /// A page with the largest of these limits that is not too large.
    async fn page(
        &self,
        object: &'static Object,
        parameters: Parameters,
        limits: &[u32],
        answers: &mut Vec<AnswerReport>,
    ) -> ProbeAnswer {
        let mut page = ProbeAnswer::default();
        for limit in limits {
            let mut parameters = parameters.clone();
            parameters.push(("limit", limit.to_string()));
            page = self.ask(object.name, &parameters, answers).await;
            page.limit = *limit;
            if !page.is_too_large {
                break;
            }
        }
        page
    }

    /// Sends one GET. Whatever comes of it is an answer; nothing comes where no further question may be asked.
    async fn ask(&self, path: &'static str, parameters: &Parameters, answers: &mut Vec<AnswerReport>) -> ProbeAnswer {
        let permit = tokio::select! {
            biased;
            // Nobody waits for the end of the pause that Planhat has asked for.
            () = self.stopped.cancelled() => return ProbeAnswer::default(),
            permit = timeout_at(self.until.into(), self.client.acquire(None)) => permit,
        };
        let left = self.until.saturating_duration_since(Instant::now());
        let Ok(_permit) = permit else { return ProbeAnswer::default() };
        if left == Duration::ZERO {
            return ProbeAnswer::default();
        }
        let begun = Instant::now();
        let (answer, headers) = timeout(left, self.answer_to(path, parameters)).await.unwrap_or_default();
        if matches!(answer.status, Some(429 | 401)) {
            self.stopped.cancel();
        }
        answers.push(AnswerReport {
            request: shown(path, parameters),
            status: answer.status,
            records: answer.is_listing().then_some(answer.records.len()),
            bytes: answer.bytes,
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            headers: probe_answer::reported_headers(&headers),
        });
        answer
    }

    async fn answer_to(&self, path: &str, parameters: &Parameters) -> (ProbeAnswer, reqwest::header::HeaderMap) {
        let sent = self.client.send(&format!("/{path}"), self.client.url_of(&[path]), parameters).await;
        let Ok(response) = sent else { return Default::default() };
        let headers = response.headers().clone();
        (ProbeAnswer::read(self.client, path, parameters, response).await, headers)
    }
}

/// The properties by which a scan may want a listing sorted.
fn sorts_of(object: &'static Object) -> Vec<&'static str> {
    let mut sorts: Vec<&str> = object.modified.iter().take(1).chain(object.sweeps).copied().collect();
    sorts.sort_unstable();
    sorts.dedup();
    sorts
}

/// A request without a value that is not ours.
fn shown(path: &str, parameters: &Parameters) -> String {
    let value = |(name, value): &(&str, String)| match *name {
        "cId" | "from" | "to" => format!("{name}=…"),
        _ => format!("{name}={value}"),
    };
    let query: Vec<String> = parameters.iter().map(value).collect();
    format!("/{path}?{}", query.join("&"))
}
