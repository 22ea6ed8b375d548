//! A simulated Planhat that behaves as a report of `check --probe` says.
//!
//! ```text
//! WorkspaceReport -> Options: what parameters, sorts and limits do, what is forbidden
//!                 -> Workspace: as many records of each shape as the report counts, invented in value
//! ```
//!
//! What the report leaves open stays as documented. A probe of this Planhat finds what the report says.

use std::collections::BTreeMap;
use std::time::Duration;

use planhat_model::catalog;
use planhat_model::record_shapes::{OtherMembers, ShapeCounts, ValueShape};
use planhat_model::workspace_report::{ObjectReport, OverLimitAnswer, SortAnswer, Throttling, WorkspaceReport};
use serde_json::{Map, Value, json};

use super::endpoint::ENDPOINTS;
use super::{DimensionData, Options, OverLimit, Quota, Sorts, Workspace};

/// Planhat's documented quota.
const QUOTA: Quota = Quota { calls: 200, within: Duration::from_secs(60), sends_retry_after: false };
/// 2026-01-01T00:00:00Z in milliseconds, from where times go on in steps of a minute.
const BEGIN: i64 = 1_767_225_600_000;
const STEP: i64 = 60_000;
/// A prime: multiples of it, modulo the number of records, come in no order, and each once.
const SHUFFLE: usize = 7919;

impl Options {
    /// Behaves as the report says.
    #[must_use]
    pub fn of_report(report: &WorkspaceReport) -> Options {
        let mut options = Options::default();
        let status = |status: Option<u16>| status.unwrap_or(404);
        let found = &report.dimensiondata;
        options.dimension_data =
            DimensionData { whole_workspace: status(found.whole_workspace), one_company: status(found.one_company) };
        options.quota = report.throttling.map(|carried| Quota { sends_retry_after: carried == Throttling::RetryAfter, ..QUOTA });
        for (name, found) in &report.objects {
            match found.status {
                Some(403) => _ = options.forbidden.insert(name.clone()),
                Some(404) => _ = options.missing.insert(name.clone()),
                _ => {}
            }
            let object = options.object(name);
            object.hidden = found.hidden;
            let ignored = found.sorts.iter().filter(|(_, answer)| **answer == SortAnswer::Ignored);
            object.sorts = match ignored.map(|(property, _)| property.clone()).collect::<std::collections::BTreeSet<_>>() {
                none if none.is_empty() => Sorts::Honoured,
                properties => Sorts::IgnoredBy(properties),
            };
            match found.over_limit.map(|over_limit| over_limit.answer) {
                Some(OverLimitAnswer::ClampedTo(most)) => object.max_limit = Some(most),
                Some(OverLimitAnswer::RefusedWith(status)) => object.over_limit = OverLimit::Refused(status),
                Some(OverLimitAnswer::Answered) => object.over_limit = OverLimit::Answered,
                Some(OverLimitAnswer::NotRefused) | None => {}
            }
        }
        options
    }
}

impl Workspace {
    /// Records in the shapes of the report, as many as it has counted, and more where a limit was seen at work.
    #[must_use]
    pub fn of_report(report: &WorkspaceReport) -> Workspace {
        ENDPOINTS.iter().fold(Workspace::empty(), |workspace, endpoint| match report.objects.get(endpoint.path) {
            Some(found) => workspace.with(endpoint.path, records_of(endpoint.path, found)),
            None => workspace,
        })
    }
}

fn records_of(name: &str, found: &ObjectReport) -> Vec<Value> {
    let object = catalog::object(name);
    let sampled = found.records.count;
    let needed = match found.over_limit {
        Some(over_limit) if over_limit.answer != OverLimitAnswer::NotRefused => over_limit.asked.max(sampled),
        _ => sampled,
    };
    let mut records = values(&found.records);
    // Ids come in the order in which they are made, times in none.
    for number in sampled..needed {
        records.push(records[number % sampled.max(1)].clone());
    }
    let archived = archived_records(found);
    let mark = object.and_then(|object| object.hidden);
    for (number, record) in records.iter_mut().enumerate() {
        let Some(record) = record.as_object_mut() else { continue };
        if let Some(id) = record.get_mut("_id") {
            *id = id_like(id, number);
        }
        for property in found.sorts.keys() {
            if let Some(time) = record.get_mut(property.as_str()) {
                *time = time_like(time, number * SHUFFLE % needed);
            }
        }
        if let Some(value) = mark.and_then(|mark| record.get_mut(mark)).filter(|value| value.is_boolean()) {
            *value = Value::Bool(number < archived);
        }
    }
    records
}

/// How many of the sampled records only the listing with archived records has shown.
fn archived_records(found: &ObjectReport) -> usize {
    let plain = found.answers.iter().find(|answer| answer.records.is_some()).and_then(|answer| answer.records);
    found.records.count.saturating_sub(plain.unwrap_or_default())
}

/// An id of the same shape, in the order of its number.
fn id_like(id: &Value, number: usize) -> Value {
    match id {
        Value::String(text) if ValueShape::of(id) == ValueShape::Id => json!(format!("{number:0width$x}", width = text.len())),
        Value::String(text) if ValueShape::of(id) == ValueShape::NumberText => {
            json!(format!("{number:0width$}", width = text.len().max(8)))
        }
        Value::String(text) => json!(format!("r{number:0width$}", width = text.len().saturating_sub(1).max(7))),
        other => other.clone(),
    }
}

/// A time of the same shape, so many steps later.
fn time_like(time: &Value, steps: usize) -> Value {
    let later = BEGIN + STEP * i64::try_from(steps).unwrap_or_default();
    match ValueShape::of(time) {
        ValueShape::EpochMilliseconds => json!(later),
        ValueShape::Time => chrono::DateTime::from_timestamp_millis(later).map_or(Value::Null, super::date),
        _ => time.clone(),
    }
}

/// As many values as are counted, of the shapes that are counted.
fn values(counts: &ShapeCounts) -> Vec<Value> {
    let mut values: Vec<Value> = flat_values(&counts.shapes);
    if let Some(items) = &counts.items {
        fill_arrays(&mut values, self::values(items));
    }
    let mut objects: Vec<&mut Map<String, Value>> = values.iter_mut().filter_map(Value::as_object_mut).collect();
    for (name, member) in &counts.members {
        for (object, value) in objects.iter_mut().zip(self::values(member)) {
            object.insert(name.clone(), value);
        }
    }
    add_other_members(&mut objects, &counts.other_members);
    values
}

/// Booleans come first: the archived records do, and need their mark.
fn flat_values(shapes: &BTreeMap<ValueShape, usize>) -> Vec<Value> {
    let of_one = |(shape, count): (&ValueShape, &usize)| std::iter::repeat_n(flat_value(*shape), *count);
    let (booleans, others): (Vec<_>, Vec<_>) = shapes.iter().partition(|(shape, _)| **shape == ValueShape::Boolean);
    booleans.into_iter().chain(others).flat_map(of_one).collect()
}

fn flat_value(shape: ValueShape) -> Value {
    match shape {
        ValueShape::Null => Value::Null,
        ValueShape::Boolean => json!(false),
        ValueShape::Integer => json!(1),
        ValueShape::Decimal => json!(0.5),
        ValueShape::EpochMilliseconds => json!(BEGIN),
        ValueShape::Id => json!("0".repeat(23) + "a"),
        ValueShape::Time => json!("2026-01-01T00:00:00.000Z"),
        ValueShape::OtherTime => json!("2026-01-01T00:00:00+0000"),
        ValueShape::Date => json!("2026-01-01"),
        ValueShape::EmptyText => json!(""),
        ValueShape::UndefinedText => json!("undefined"),
        ValueShape::NumberText => json!("1"),
        ValueShape::Text(range) => json!("x".repeat(range.shortest())),
        ValueShape::EmptyArray => json!([]),
        // Of an array that is not looked into, the length is all that is known.
        ValueShape::Array(range) => Value::Array(vec![Value::Null; range.shortest()]),
        ValueShape::Object => json!({}),
    }
}

/// Hands the items out: to each array as many as the shortest of its range has, and the rest to those that have room.
fn fill_arrays(values: &mut [Value], mut items: Vec<Value>) {
    let longest = |length: usize| match ValueShape::of(&Value::Array(vec![Value::Null; length])) {
        ValueShape::Array(range) => range.longest(),
        _ => Some(0),
    };
    let mut arrays: Vec<&mut Vec<Value>> =
        values.iter_mut().filter_map(Value::as_array_mut).filter(|array| !array.is_empty()).collect();
    let mut spare = items.len().saturating_sub(arrays.iter().map(|array| array.len()).sum());
    for array in &mut arrays {
        let room = longest(array.len()).map_or(spare, |longest| longest - array.len()).min(spare);
        spare -= room;
        let length = (array.len() + room).min(items.len());
        **array = items.split_off(items.len() - length);
    }
}

/// Each name once, and then again from record to record, until all values have a place.
fn add_other_members(objects: &mut [&mut Map<String, Value>], others: &OtherMembers) {
    let places = (0..objects.len()).flat_map(|round| (0..others.names).map(move |name| (round, name)));
    for ((round, name), value) in places.zip(flat_values(&others.shapes)) {
        let object = (name + round) % objects.len();
        objects[object].insert(format!("Invented {}", name + 1), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_made_in_the_shapes_that_were_counted() {
        for endpoint in &ENDPOINTS {
            let object = catalog::object(endpoint.path).unwrap();
            let fixtures = Workspace::from_fixtures().records(endpoint.path);
            let counts = ShapeCounts::of_records(object, &fixtures);
            assert_eq!(ShapeCounts::of_records(object, &values(&counts)), counts, "{}", endpoint.path);
            let wide = Workspace::generated(7, 1000).records(endpoint.path);
            let counts = ShapeCounts::of_records(object, &wide);
            let found = ObjectReport { records: counts.clone(), ..ObjectReport::default() };
            assert_eq!(ShapeCounts::of_records(object, &records_of(endpoint.path, &found)), counts, "{}", endpoint.path);
        }
    }
}
