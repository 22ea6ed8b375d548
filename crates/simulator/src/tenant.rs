//! The records of a simulated workspace, and edits of them.
//!
//! A [`Workspace`] is plain data, made before the server starts. [`EndpointRecords`] are the records of one endpoint of a running
//! server. Both keep a record as its JSON text, so that a million records need little more memory than their texts, serving a page
//! is copying, and numbers keep their digits. Sort orders are computed once and kept until a record changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::endpoint::{ENDPOINTS, Endpoint, endpoint};
use super::generate;

/// All records of a Planhat workspace, by endpoint (`companies`, `nps`, …).
#[derive(Debug, Clone)]
pub struct Workspace {
    records: BTreeMap<&'static str, Vec<StoredRecord>>,
}

impl Workspace {
    /// Every endpoint exists and lists nothing.
    #[must_use]
    pub fn empty() -> Self {
        let records = ENDPOINTS.iter().map(|endpoint| (endpoint.path, Vec::new()));
        Self { records: records.collect() }
    }

    /// The records of `fixtures/`: a few per endpoint, with the odd shapes that real ones have.
    ///
    /// # Panics
    /// When a compiled-in fixture is no JSON array; a test reads them all.
    #[must_use]
    pub fn from_fixtures() -> Self {
        ENDPOINTS.iter().fold(Self::empty(), |workspace, endpoint| {
            let records =
                serde_json::from_str(endpoint.fixture).unwrap_or_else(|error| panic!("fixtures/{}.json: {error}", endpoint.path));
            workspace.with(endpoint.path, records)
        })
    }

    /// About `records` records over the default objects, half of them end users. The same seed
    /// gives the same workspace.
    #[must_use]
    pub fn generated(seed: u64, records: usize) -> Self {
        Self::generated_until(DateTime::from_timestamp_millis(generate::END).unwrap_or_default(), seed, records)
    }

    /// The same with the last of three years of history at `end`.
    #[must_use]
    pub fn generated_until(end: DateTime<Utc>, seed: u64, records: usize) -> Self {
        let mut workspace = Self::empty();
        generate::records(end, seed, records, |object, record| {
            if let Some((endpoint, records)) = endpoint(object).zip(workspace.records.get_mut(object)) {
                records.push(StoredRecord::new(endpoint, record));
            }
        });
        workspace
    }

    /// Replaces the records of one object.
    ///
    /// # Panics
    /// When Planhat has no such endpoint.
    #[must_use]
    pub fn with(mut self, object: &str, records: Vec<Value>) -> Self {
        let endpoint = endpoint(object).unwrap_or_else(|| panic!("Planhat has no /{object}"));
        self.records.insert(endpoint.path, records.iter().map(|record| StoredRecord::new(endpoint, record)).collect());
        self
    }

    /// The records of one object, in the order they were made.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<Value> {
        self.records.get(object).into_iter().flatten().map(StoredRecord::value).collect()
    }

    pub(super) fn into_shelves(self) -> BTreeMap<&'static str, EndpointRecords> {
        let endpoints = self.records.into_iter().filter_map(|(path, records)| {
            let endpoint = endpoint(path)?;
            Some((path, EndpointRecords { endpoint, records, keys: HashMap::new(), orders: HashMap::new() }))
        });
        endpoints.collect()
    }
}

/// One endpoint's records as the server hands them out.
pub(super) struct EndpointRecords {
    pub(super) endpoint: &'static Endpoint,
    records: Vec<StoredRecord>,
    /// What the records are sorted by, for every property that was asked for so far: to find it takes a look into
    /// each of them.
    keys: HashMap<String, Vec<SortKey>>,
    /// Positions in `records`, by what was asked for. Emptied by every edit.
    orders: HashMap<(Option<String>, Marked), Arc<[usize]>>,
}

/// A record as text, with the two things every request wants to know.
#[derive(Debug, Clone)]
struct StoredRecord {
    /// Missing on the malformed records that some tests serve.
    id: Option<Box<str>>,
    /// Archived, in the way this endpoint hides.
    marked: bool,
    text: Box<str>,
}

/// What a client wants to see of a listing.
#[derive(Debug, Default)]
pub(super) struct ListQuery {
    /// A property, with `-` in front for descending.
    pub(super) sort: Option<String>,
    pub(super) marked: Marked,
    /// A record is listed when each of these properties has one of the values.
    pub(super) filters: Vec<Filter>,
    /// Properties to send; everything when there are none.
    pub(super) select: Vec<String>,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

#[derive(Debug)]
pub(super) struct Filter {
    /// Different names for one idea, such as `companyId` and `cId`.
    pub(super) properties: &'static [&'static str],
    pub(super) values: Vec<String>,
}

/// Which records a listing holds, told by their archive mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Marked {
    #[default]
    Either,
    No,
    Yes,
}

impl EndpointRecords {
    /// A page as the body of a response: a bare JSON array.
    pub(super) fn page(&mut self, query: &ListQuery) -> Vec<u8> {
        let order = self.order(query);
        let records = order.iter().map(|&position| &self.records[position]);
        let listed: Vec<&StoredRecord> = match query.filters.as_slice() {
            // Not so much as a look at those before the offset, which may be many.
            [] => records.skip(query.offset).take(query.limit).collect(),
            filters => {
                let admitted = records.filter(|record| filters.iter().all(|filter| filter.admits(&record.text)));
                admitted.skip(query.offset).take(query.limit).collect()
            }
        };

        let mut body = Vec::with_capacity(listed.iter().map(|record| record.text.len() + 1).sum::<usize>() + 2);
        body.push(b'[');
        for record in listed {
            if body.len() > 1 {
                body.push(b',');
            }
            match query.select.as_slice() {
                [] => body.extend_from_slice(record.text.as_bytes()),
                properties => body.extend_from_slice(selected(&record.text, properties).as_bytes()),
            }
        }
        body.push(b']');
        body
    }

    /// One record by `_id`, `extid-<externalId>` or `srcid-<sourceId>`. Archived ones are found too.
    pub(super) fn find(&self, key: &str) -> Option<&str> {
        let external = key.strip_prefix("extid-").map(|id| ("externalId", id));
        let source = key.strip_prefix("srcid-").map(|id| ("sourceId", id));
        let found = match external.or(source) {
            Some((property, id)) => self.records.iter().find(|record| {
                let value = properties_of(&record.text).remove(property);
                value.and_then(text_of).is_some_and(|value| value == id)
            }),
            None => self.records.iter().find(|record| record.id.as_deref() == Some(key)),
        };
        found.map(|record| &*record.text)
    }

    /// The ids of all records as they are now, archived ones included.
    pub(super) fn ids(&self) -> Vec<String> {
        self.records.iter().filter_map(|record| record.id.as_deref().map(str::to_owned)).collect()
    }

    /// All records as they are now, archived ones included.
    pub(super) fn records(&self) -> Vec<Value> {
        self.records.iter().map(StoredRecord::value).collect()
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let Some(position) = self.position(id) else { return false };
        let mut value = self.records[position].value();
        if let Value::Object(properties) = &mut value {
            change(properties);
        }
        let changed = StoredRecord::new(self.endpoint, &value);
        for (property, keys) in &mut self.keys {
            keys[position] = SortKey::of(&changed.text, property);
        }
        self.records[position] = changed;
        self.orders.clear();
        true
    }

    pub(super) fn add(&mut self, record: &Value) {
        let added = StoredRecord::new(self.endpoint, record);
        for (property, keys) in &mut self.keys {
            keys.push(SortKey::of(&added.text, property));
        }
        self.records.push(added);
        self.orders.clear();
    }

    pub(super) fn delete(&mut self, id: &str) -> Option<Value> {
        let position = self.position(id)?;
        for keys in self.keys.values_mut() {
            keys.remove(position);
        }
        self.orders.clear();
        Some(self.records.remove(position).value())
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.records.iter().position(|record| record.id.as_deref() == Some(id))
    }

    /// Makes an order, with and without hidden records, before it is asked for.
    pub(super) fn sort(&mut self, sort: &str) {
        let listings: &[Marked] =
            if self.endpoint.hides.is_some() { &[Marked::Either, Marked::No, Marked::Yes] } else { &[Marked::Either] };
        for &marked in listings {
            self.order(&ListQuery { sort: Some(sort.to_owned()), marked, ..ListQuery::default() });
        }
    }

    /// Positions of the listed records in the order asked for, sorted on first use.
    fn order(&mut self, query: &ListQuery) -> Arc<[usize]> {
        let marked = query.marked;
        let (records, keys) = (&self.records, &mut self.keys);
        let order = self.orders.entry((query.sort.clone(), marked)).or_insert_with(|| {
            let mut positions: Vec<usize> =
                (0..records.len()).filter(|&position| marked.admits(records[position].marked)).collect();
            if let Some(sort) = &query.sort {
                sort_positions(&mut positions, records, keys, sort);
            }
            positions.into()
        });
        Arc::clone(order)
    }
}

impl StoredRecord {
    fn new(endpoint: &Endpoint, record: &Value) -> Self {
        let marked = endpoint.hides.is_some_and(|hides| record[hides.mark] == Value::Bool(true));
        Self { id: record["_id"].as_str().map(Box::from), marked, text: record.to_string().into() }
    }

    fn value(&self) -> Value {
        // The text was printed from a value, so it parses.
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Marked {
    fn admits(self, marked: bool) -> bool {
        match self {
            Self::Either => true,
            Self::No => !marked,
            Self::Yes => marked,
        }
    }
}

impl Filter {
    fn admits(&self, record: &str) -> bool {
        let mut of_record = properties_of(record);
        let mut values = self.properties.iter().filter_map(|property| of_record.remove(*property).and_then(text_of));
        values.any(|value| self.values.contains(&value))
    }
}

/// A value's place in an order. Kinds follow one another as they do in MongoDB, which keeps the
/// records behind the real API: no value, numbers, text, the rest, booleans, dates.
#[derive(Debug, PartialEq, PartialOrd)]
enum SortKey {
    Missing,
    Number(f64),
    Text(String),
    Compound,
    Flag(bool),
    Instant(DateTime<Utc>),
}

/// The sort is stable in both directions: equal records stay in the order they were made.
fn sort_positions(positions: &mut [usize], records: &[StoredRecord], keys: &mut HashMap<String, Vec<SortKey>>, sort: &str) {
    let (property, descending) = match sort.strip_prefix('-') {
        Some(property) => (property, true),
        None => (sort, false),
    };
    let keys = keys
        .entry(property.to_owned())
        .or_insert_with(|| records.iter().map(|record| SortKey::of(&record.text, property)).collect());
    positions.sort_by(|&a, &b| {
        let (a, b) = if descending { (b, a) } else { (a, b) };
        keys[a].partial_cmp(&keys[b]).unwrap_or(std::cmp::Ordering::Equal)
    });
}

impl SortKey {
    fn of(record: &str, property: &str) -> Self {
        let raw = properties_of(record).remove(property);
        let value = raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        match value {
            Value::Null => Self::Missing,
            Value::Bool(flag) => Self::Flag(flag),
            Value::Number(number) => number.as_f64().map_or(Self::Missing, Self::Number),
            Value::String(text) => instant(&text).map_or(Self::Text(text), Self::Instant),
            Value::Array(_) | Value::Object(_) => Self::Compound,
        }
    }
}

/// The API keeps dates as dates, so they sort by instant and not by how they are written.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let may_be_a_date = text.len() >= 20 && text.as_bytes()[10] == b'T';
    let parsed = may_be_a_date.then(|| DateTime::parse_from_rfc3339(text).ok()).flatten()?;
    Some(parsed.to_utc())
}

/// The record with nothing but the chosen properties; `_id` always comes along.
fn selected(record: &str, chosen: &[String]) -> String {
    let mut properties: BTreeMap<_, _> = properties_of(record).into_iter().collect();
    properties.retain(|name, _| name == "_id" || chosen.contains(name));
    serde_json::to_string(&properties).unwrap_or_else(|_| record.to_owned())
}

/// The top-level properties, their values unread. A record that is no object has none.
fn properties_of(record: &str) -> HashMap<String, &RawValue> {
    serde_json::from_str(record).unwrap_or_default()
}

fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}
