//! What is known of how Planhat answers for the workspace: what earlier runs have stored, and what `check --probe` asks anew.
//!
//! ```text
//! ask -> WorkspaceReport -> learned: proven, disproved, not known -> keep (planhat_sync.capabilities) -> findings
//! ```
//!
//! `--probe` writes into that one table and nothing else, and only if the schema is bound to this workspace.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use planhat_api::{Client, probe_workspace};
use planhat_model::capability::{Capability, HiddenListing, LimitDetail, SortDetail};
use planhat_model::catalog::{self, Object};
use planhat_model::workspace_report::{
    AnswerReport, ObjectReport, OverLimitAnswer, OverLimitReport, SortAnswer, Throttling, WorkspaceReport,
};
use planhat_store::{self as store, ProvenCapability, Store, StoredCapability};
use serde::Serialize;
use serde_json::{Value, json};

use super::finding::Finding;
use crate::command_error::CommandError;

/// For all questions together. With the usual budget they take a quarter of a minute.
const LONGEST_PROBE: Duration = Duration::from_secs(3 * 60);
const SUBJECT: &str = "capability";
/// What holds for the whole token has no object.
const WHOLE_TOKEN: &str = "";

/// A capability as data.
#[derive(Debug, Serialize)]
pub(super) struct CapabilityFinding {
    object: String,
    capability: Capability,
    /// Null if it is not known.
    value: Option<String>,
    proof: Option<String>,
    proven_at: Option<DateTime<Utc>>,
    disproof: Option<String>,
    disproved_at: Option<DateTime<Utc>>,
}

/// What is stored, and what became of what a probe has found.
pub(super) struct KeptCapabilities {
    stored: Vec<StoredCapability>,
    /// What was stored before the probe.
    before: Vec<StoredCapability>,
    /// Why a probe's findings could not be stored.
    not_kept: Option<String>,
}

impl KeptCapabilities {
    pub(super) fn none(why: &str) -> KeptCapabilities {
        KeptCapabilities { stored: Vec::new(), before: Vec::new(), not_kept: Some(why.to_owned()) }
    }

    pub(super) fn of_another(schema: &str) -> KeptCapabilities {
        KeptCapabilities::none(&format!("schema {schema} is not bound to this workspace; a sync binds it"))
    }

    /// What a 429 carried, when one was seen.
    pub(super) fn throttling(&self) -> Option<Throttling> {
        let seen = self.stored.iter().find(|known| known.holds() && known.is(WHOLE_TOKEN, Capability::Throttling))?;
        Throttling::from_name(&seen.value)
    }
}

/// What an answer said about one capability.
#[derive(Debug, PartialEq)]
struct Learned {
    object: &'static str,
    capability: Capability,
    fact: Fact,
}

#[derive(Debug, PartialEq)]
enum Fact {
    Proven(Proven),
    /// What is stored does not hold.
    Disproved(String),
    /// Known, and nothing that a run goes by.
    Seen(String),
    NotKnown(String),
}

#[derive(Debug, PartialEq)]
struct Proven {
    value: String,
    detail: Value,
    proof: String,
    /// The value may be larger than what was seen.
    is_at_least: bool,
}

impl Proven {
    fn fact(value: &str, detail: Value, proof: String) -> Fact {
        Fact::Proven(Proven { value: value.to_owned(), detail, proof, is_at_least: false })
    }
}

/// Asks Planhat.
pub(super) async fn ask(client: &Client, objects: &[&'static Object]) -> WorkspaceReport {
    probe_workspace(client, objects, Instant::now() + LONGEST_PROBE).await
}

/// Reads what is stored, after storing what a probe has found.
pub(super) async fn keep(store: &Store, report: Option<&WorkspaceReport>) -> KeptCapabilities {
    let schema = &store.schema;
    let read = || store.read_only(async |db| store::capabilities(db, schema).await);
    // Somebody who may not read the table sees that with the privileges.
    let Ok(before) = read().await else { return KeptCapabilities::none("planhat_sync.capabilities cannot be read") };
    let Some(report) = report else { return KeptCapabilities { stored: before, before: Vec::new(), not_kept: None } };
    let learned = learned_from(report);
    let written = store.transaction(async |db| {
        for Learned { object, capability, fact } in &learned {
            let known = before.iter().find(|known| known.is(object, *capability));
            match fact {
                Fact::Proven(proven) => {
                    let (value, detail) = beside_what_is_known(*capability, proven, known);
                    let proof = proven.proof.clone();
                    let proven = ProvenCapability { object, capability: *capability, value, detail, proof };
                    store::save_capability(&mut *db, schema, &proven).await?;
                }
                Fact::Disproved(disproof) => {
                    store::disprove_capability(&mut *db, schema, object, *capability, disproof).await?;
                }
                Fact::Seen(_) | Fact::NotKnown(_) => {}
            }
        }
        Ok(())
    });
    let not_kept = written.await.err().map(|error| CommandError::from(error).on_one_line());
    let stored = read().await.unwrap_or_else(|_| before.clone());
    KeptCapabilities { stored, before, not_kept }
}

/// The value and the detail to store. A probe looks at a few pages, so what scans have learned from whole listings stays.
fn beside_what_is_known(capability: Capability, new: &Proven, known: Option<&StoredCapability>) -> (String, Value) {
    let as_found = (new.value.clone(), new.detail.clone());
    let Some(known) = known.filter(|known| known.holds()) else { return as_found };
    match capability {
        Capability::Sort if known.value == new.value => {
            (new.value.clone(), json!(SortDetail { is_honoured: true, ..known.detail::<SortDetail>() }))
        }
        // Where the limit was refused, an earlier page may have had more records.
        Capability::Limit if new.is_at_least => {
            let records = |value: &str| value.parse::<u32>().unwrap_or_default();
            (records(&known.value).max(records(&new.value)).to_string(), new.detail.clone())
        }
        _ => as_found,
    }
}

/// What a report says of each capability.
fn learned_from(report: &WorkspaceReport) -> Vec<Learned> {
    let mut learned = Vec::new();
    for object in catalog::OBJECTS {
        let Some(found) = report.objects.get(object.name).filter(|found| found.status == Some(200)) else { continue };
        let mut note = |capability, fact| learned.push(Learned { object: object.name, capability, fact });
        if let Some(parameter) = object.hidden {
            note(Capability::Hidden, hidden_fact(parameter, found));
        }
        for property in sorts_asked(object) {
            note(Capability::Sort, sort_fact(object, property, found));
        }
        if let Some(over_limit) = found.over_limit {
            note(Capability::Limit, limit_fact(over_limit, found));
        }
    }
    let mut note = |capability, fact| learned.push(Learned { object: WHOLE_TOKEN, capability, fact });
    if report.objects.values().all(|found| found.over_limit.is_none()) {
        let why = "what a limit over the documented maximum does is not known: no object has a record, or there was no answer";
        note(Capability::Limit, Fact::NotKnown(why.to_owned()));
    }
    note(Capability::Throttling, throttling_fact(report.throttling));
    note(Capability::DimensionData, dimension_data_fact(report));
    learned
}

/// The time of the last edit, and what companies and end users are walked by beside it.
fn sorts_asked(object: &'static Object) -> impl Iterator<Item = &'static str> {
    let edited = object.modified.first();
    edited.into_iter().chain(object.sweeps.iter().filter(move |sweep| Some(*sweep) != edited)).copied()
}

/// The listings that came in answer to a request with this in it.
fn answered<'a>(found: &'a ObjectReport, request: &'a str) -> impl Iterator<Item = &'a AnswerReport> {
    found.answers.iter().filter(move |answer| answer.request.contains(request) && answer.records.is_some())
}

fn hidden_fact(parameter: &str, found: &ObjectReport) -> Fact {
    let first_page = |with_parameter: bool| {
        let mut pages = answered(found, "sort=_id").filter(|answer| answer.request.contains(parameter) == with_parameter);
        pages.next().and_then(|answer| answer.records).unwrap_or_default()
    };
    let (with, without) = (first_page(true), first_page(false));
    let proof = |which: &str| {
        format!(
            "of the {without} records on the first page by _id, {which} on the first page with {parameter}=true ({with} records)"
        )
    };
    match found.hidden {
        Some(HiddenListing::Adds) => Proven::fact(HiddenListing::Adds.as_str(), json!({}), proof("all that may be there are")),
        Some(HiddenListing::Replaces) => Proven::fact(HiddenListing::Replaces.as_str(), json!({}), proof("none is")),
        None if answered(found, parameter).next().is_none() => {
            Fact::NotKnown(format!("what {parameter}=true does is not known: there was no answer"))
        }
        None => Fact::NotKnown(format!(
            "what {parameter}=true does is not known: the first pages by _id with it ({with} records) and without it ({without}) prove nothing"
        )),
    }
}

fn sort_fact(object: &'static Object, property: &str, found: &ObjectReport) -> Fact {
    let is_stored = object.modified.first() == Some(&property);
    match found.sorts.get(property) {
        Some(SortAnswer::Honoured) if is_stored => Proven::fact(
            property,
            json!(SortDetail { is_honoured: true, ..SortDetail::default() }),
            format!("sort=-{property} began with a newer record than sort={property}, each page in order"),
        ),
        Some(SortAnswer::Honoured) => Fact::Seen(format!("sort=-{property} comes newest first")),
        Some(SortAnswer::Ignored) if is_stored => {
            Fact::Disproved(format!("sort=-{property} and sort={property} did not both come in order"))
        }
        Some(SortAnswer::Ignored) => Fact::Seen(format!("sort=-{property} is ignored: the pages did not come in order")),
        None => {
            let plain = answered(found, "sort=_id").next().and_then(|answer| answer.records).unwrap_or_default();
            let why = match answered(found, &format!("sort=-{property}")).next() {
                Some(_) => "no two records with different times were seen",
                None if plain < 2 => "there are fewer than two records",
                None => "there was no answer",
            };
            Fact::NotKnown(format!("whether sort=-{property} is honoured is not known: {why}"))
        }
    }
}

fn limit_fact(over_limit: OverLimitReport, found: &ObjectReport) -> Fact {
    let OverLimitReport { asked, answer } = over_limit;
    let largest = found.answers.iter().filter(|answer| answer.records.is_some()).max_by_key(|answer| answer.records);
    let (records, bytes) = largest.map_or((0, 0), |answer| (answer.records.unwrap_or_default(), answer.bytes));
    let detail = |was_answered: bool| {
        let asked = u32::try_from(asked).ok().filter(|_| !was_answered);
        json!(LimitDetail { bytes_per_record: bytes / records.max(1) as u64, asked })
    };
    match answer {
        OverLimitAnswer::Answered => {
            Proven::fact(&asked.to_string(), detail(true), format!("limit={asked} brought {asked} records"))
        }
        OverLimitAnswer::ClampedTo(count) => {
            Proven::fact(&count.to_string(), detail(false), format!("limit={asked} brought {count} records, and there are more"))
        }
        OverLimitAnswer::RefusedWith(status) => Fact::Proven(Proven {
            value: records.to_string(),
            detail: detail(false),
            proof: format!("limit={asked} was refused with {status}"),
            is_at_least: true,
        }),
        OverLimitAnswer::NotRefused => {
            Fact::Seen(format!("limit={asked} is not refused; the listing is too short to see whether it is clamped"))
        }
    }
}

fn throttling_fact(seen: Option<Throttling>) -> Fact {
    match seen {
        Some(throttling) => Proven::fact(throttling.as_str(), json!({}), "a 429 in answer to a probe".to_owned()),
        None => Fact::NotKnown("what a 429 carries is not known: none was seen".to_owned()),
    }
}

fn dimension_data_fact(report: &WorkspaceReport) -> Fact {
    let found = &report.dimensiondata;
    let one_company = match found.one_company {
        Some(status) => format!("; with the cId of a company: {status}"),
        None => String::new(),
    };
    match found.whole_workspace {
        Some(200) => Proven::fact("answers", json!({}), format!("200 without cId{one_company}")),
        Some(status) if status != 401 && status != 429 && status < 500 => {
            Proven::fact(&status.to_string(), json!({}), format!("{status} without cId{one_company}"))
        }
        _ => Fact::NotKnown("whether /dimensiondata answers is not known: there was no answer".to_owned()),
    }
}

/// The findings of `check`: what a probe has found, and what else is stored.
pub(super) fn findings(report: Option<&WorkspaceReport>, kept: &KeptCapabilities) -> Vec<Finding> {
    let learned = report.map(learned_from).unwrap_or_default();
    let is_stored = |learned: &Learned| kept.stored.iter().any(|known| known.is(learned.object, learned.capability));
    let mut findings: Vec<Finding> = kept.stored.iter().map(|known| of_stored(known, &kept.before)).collect();
    let of_probe = |learned: &&Learned| match &learned.fact {
        // What was stored is shown as it is stored.
        Fact::Proven(_) => kept.not_kept.is_some() || !is_stored(learned),
        Fact::Disproved(_) | Fact::NotKnown(_) => !is_stored(learned),
        Fact::Seen(_) => true,
    };
    findings.extend(learned.iter().filter(of_probe).map(of_learned));
    if report.is_some() {
        findings.push(match &kept.not_kept {
            None => Finding::ok(SUBJECT, "what was proven is stored in planhat_sync.capabilities"),
            Some(why) => Finding::warn(SUBJECT, format!("what was proven is not stored: {why}")),
        });
    }
    findings
}

fn of_stored(known: &StoredCapability, before: &[StoredCapability]) -> Finding {
    let StoredCapability { object, value, proof, proven_at, disproof, disproved_at, .. } = known.clone();
    let Some(capability) = Capability::ALL.into_iter().find(|capability| capability.as_str() == known.capability) else {
        return Finding::ok(SUBJECT, format!("{} of {object}: {value}", known.capability));
    };
    let text = sentence(&object, capability, &value, &known.detail);
    let since = minute(proven_at);
    let other =
        before.iter().find(|other| other.is(&object, capability) && other.holds() && contradicts(capability, &value, other));
    let finding = match (&disproof, disproved_at, other) {
        (Some(disproof), Some(at), _) => {
            let text = format!("{text}: this was proven on {since}, and disproved on {}: {disproof}", minute(at));
            Finding::warn(SUBJECT, text)
        }
        (_, _, Some(other)) => {
            let earlier = sentence(&object, capability, &other.value, &other.detail);
            let text = format!("{text} (proven on {since}: {proof}); on {} it was otherwise: {earlier}", minute(other.proven_at));
            Finding::warn(SUBJECT, text)
        }
        _ => Finding::ok(SUBJECT, format!("{text} (proven on {since}: {proof})")),
    };
    let data = CapabilityFinding {
        object,
        capability,
        value: Some(value),
        proof: Some(proof),
        proven_at: Some(proven_at),
        disproof,
        disproved_at,
    };
    Finding { capability: Some(data), ..finding }
}

/// Whether an earlier value does not hold beside the new one: that more records come than before is no contradiction.
fn contradicts(capability: Capability, value: &str, earlier: &StoredCapability) -> bool {
    let records = |value: &str| value.parse::<u64>().unwrap_or_default();
    match capability {
        Capability::Limit => records(value) < records(&earlier.value),
        _ => value != earlier.value,
    }
}

fn minute(at: DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%d %H:%M UTC")
}

fn of_learned(learned: &Learned) -> Finding {
    let Learned { object, capability, fact } = learned;
    let about = if object.is_empty() { String::new() } else { format!("{object}: ") };
    let (value, proof, text) = match fact {
        Fact::Proven(Proven { value, detail, proof, .. }) => {
            let text = sentence(object, *capability, value, detail);
            (Some(value.clone()), Some(proof.clone()), format!("{text} (proven now: {proof})"))
        }
        Fact::Disproved(text) | Fact::Seen(text) | Fact::NotKnown(text) => (None, None, format!("{about}{text}")),
    };
    let data = CapabilityFinding {
        object: (*object).to_owned(),
        capability: *capability,
        value,
        proof,
        proven_at: None,
        disproof: None,
        disproved_at: None,
    };
    Finding { capability: Some(data), ..Finding::ok(SUBJECT, text) }
}

/// What a capability means, for people.
fn sentence(object: &str, capability: Capability, value: &str, detail: &Value) -> String {
    match capability {
        Capability::Hidden => {
            let parameter = catalog::object(object).and_then(|object| object.hidden).unwrap_or("archived");
            let others = match HiddenListing::from_name(value) {
                Some(HiddenListing::Adds) => "archived records and all others",
                Some(HiddenListing::Replaces) => "archived records alone",
                None => value,
            };
            format!("{object}: {parameter}=true lists {others}")
        }
        Capability::Sort => {
            let is_honoured = serde_json::from_value::<SortDetail>(detail.clone()).unwrap_or_default().is_honoured;
            match is_honoured {
                true => format!("{object}: sort=-{value} comes newest first"),
                false => format!("{object}: every record seen has {value}"),
            }
        }
        Capability::Limit => {
            let asked = serde_json::from_value::<LimitDetail>(detail.clone()).unwrap_or_default().asked;
            let asked = asked.map(|asked| format!(", and not {asked}")).unwrap_or_default();
            format!("{object}: one call brings up to {value} records{asked}")
        }
        Capability::Throttling => format!("a 429 carries {value}"),
        Capability::DimensionData if value == "answers" => "/dimensiondata answers".to_owned(),
        Capability::DimensionData => format!("/dimensiondata answers {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(capability: Capability, value: &str, detail: Value) -> StoredCapability {
        StoredCapability {
            object: "nps".to_owned(),
            capability: capability.as_str().to_owned(),
            value: value.to_owned(),
            detail,
            proof: "a scan".to_owned(),
            proven_at: DateTime::UNIX_EPOCH,
            disproof: None,
            disproved_at: None,
        }
    }

    fn answer(request: &str, records: usize, bytes: u64) -> AnswerReport {
        let (request, headers) = (request.to_owned(), std::collections::BTreeMap::new());
        AnswerReport { request, status: Some(200), records: Some(records), bytes, milliseconds: 1, headers }
    }

    fn limit_of(answer_to_limit: OverLimitAnswer) -> Fact {
        let found = ObjectReport { answers: vec![answer("/nps?sort=_id&limit=100", 100, 5000)], ..ObjectReport::default() };
        limit_fact(OverLimitReport { asked: 2001, answer: answer_to_limit }, &found)
    }

    #[test]
    fn what_scans_have_learned_of_a_sort_stays_beside_a_probe() {
        let newest = json!({"newest": "2026-11-01T00:00:00Z", "is_honoured": false});
        let Fact::Proven(found) = Proven::fact("updatedAt", json!(SortDetail::default()), String::new()) else { panic!() };
        let known = stored(Capability::Sort, "updatedAt", newest);
        let (_, detail) = beside_what_is_known(Capability::Sort, &found, Some(&known));
        assert_eq!((&detail["newest"], &detail["is_honoured"]), (&json!("2026-11-01T00:00:00Z"), &json!(true)));
        let taken_back = StoredCapability { disproved_at: Some(DateTime::UNIX_EPOCH), ..known.clone() };
        for other in [Some(&taken_back), Some(&stored(Capability::Sort, "lastUpdated", json!({}))), None] {
            assert_eq!(beside_what_is_known(Capability::Sort, &found, other).1, found.detail);
        }
    }

    #[test]
    fn a_clamped_limit_replaces_what_was_known_and_a_refused_one_does_not() {
        let known = stored(Capability::Limit, "1500", json!({}));
        for (answered, expected) in [
            (OverLimitAnswer::ClampedTo(500), "500"),
            (OverLimitAnswer::ClampedTo(2000), "2000"),
            (OverLimitAnswer::Answered, "2001"),
            (OverLimitAnswer::RefusedWith(400), "1500"),
        ] {
            let Fact::Proven(found) = limit_of(answered) else { panic!("{answered:?}") };
            assert_eq!(beside_what_is_known(Capability::Limit, &found, Some(&known)).0, expected, "{answered:?}");
        }
        assert!(matches!(limit_of(OverLimitAnswer::NotRefused), Fact::Seen(_)));
        let Fact::Proven(clamped) = limit_of(OverLimitAnswer::ClampedTo(500)) else { panic!() };
        assert_eq!(clamped.detail, json!({"bytes_per_record": 50, "asked": 2001}));
    }

    #[test]
    fn a_status_says_whether_dimension_data_answer_unless_it_says_something_else() {
        let fact = |whole_workspace| {
            let mut report = WorkspaceReport {
                format: 1,
                version: String::new(),
                throttling: None,
                dimensiondata: Default::default(),
                objects: Default::default(),
            };
            report.dimensiondata.whole_workspace = whole_workspace;
            match dimension_data_fact(&report) {
                Fact::Proven(Proven { value, .. }) => Some(value),
                _ => None,
            }
        };
        for (status, expected) in [
            (Some(200), Some("answers")),
            (Some(400), Some("400")),
            (Some(404), Some("404")),
            (Some(401), None),
            (Some(429), None),
            (Some(503), None),
            (None, None),
        ] {
            assert_eq!(fact(status).as_deref(), expected, "{status:?}");
        }
    }
}
