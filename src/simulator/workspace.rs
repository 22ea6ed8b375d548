//! The records of a simulated workspace, and the edits made to them at the source.
//!
//! A [`Workspace`] is plain data, made before the server starts. A [`Shelf`] is one endpoint of a
//! running server: every record is kept as the JSON text it goes out as, so serving a page is
//! copying, and the text of a number stays what it was. Orders are sorted once and kept until a
//! record changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::endpoint::{ENDPOINTS, Endpoint, Hides, endpoint};
use super::generate;

/// All records of a Planhat workspace, by endpoint (`companies`, `nps`, …).
#[derive(Debug, Clone)]
pub struct Workspace {
    records: BTreeMap<&'static str, Vec<Value>>,
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
        let records = ENDPOINTS.iter().map(|endpoint| {
            let records =
                serde_json::from_str(endpoint.fixture).unwrap_or_else(|error| panic!("fixtures/{}.json: {error}", endpoint.path));
            (endpoint.path, records)
        });
        Self { records: records.collect() }
    }

    /// About `records` records over the default objects, half of them end users. The same seed
    /// gives the same workspace.
    #[must_use]
    pub fn generated(seed: u64, records: usize) -> Self {
        generate::objects(seed, records)
            .into_iter()
            .fold(Self::empty(), |workspace, (object, records)| workspace.with(object, records))
    }

    /// Replaces the records of one object.
    ///
    /// # Panics
    /// When Planhat has no such endpoint.
    #[must_use]
    pub fn with(mut self, object: &str, records: Vec<Value>) -> Self {
        let endpoint = endpoint(object).unwrap_or_else(|| panic!("Planhat has no /{object}"));
        self.records.insert(endpoint.path, records);
        self
    }

    /// The records of one object, in the order they were made.
    #[must_use]
    pub fn records(&self, object: &str) -> &[Value] {
        self.records.get(object).map_or(&[], Vec::as_slice)
    }

    pub(super) fn into_shelves(self) -> BTreeMap<&'static str, Shelf> {
        let shelves = self.records.into_iter().filter_map(|(path, records)| {
            let endpoint = endpoint(path)?;
            Some((path, Shelf::new(endpoint, records)))
        });
        shelves.collect()
    }
}

/// One endpoint's records as the server hands them out.
pub(super) struct Shelf {
    pub(super) endpoint: &'static Endpoint,
    records: Vec<Stored>,
    /// Positions in `records`, by what was asked for. Emptied by every edit.
    orders: HashMap<(Option<String>, Marked), Arc<[usize]>>,
}

/// A record as text, with the two things every request wants to know.
struct Stored {
    /// Missing on the malformed records that some tests serve.
    id: Option<String>,
    /// Archived, in the way this endpoint hides.
    marked: bool,
    text: String,
}

/// What a client wants to see of a listing.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// A property, with `-` in front for descending.
    pub(super) sort: Option<String>,
    /// The endpoint's hidden records were asked for.
    pub(super) hidden: bool,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Marked {
    Either,
    No,
    Yes,
}

impl Shelf {
    fn new(endpoint: &'static Endpoint, records: Vec<Value>) -> Self {
        let records = records.into_iter().map(|record| Stored::new(endpoint, &record)).collect();
        Self { endpoint, records, orders: HashMap::new() }
    }

    /// A page as the body of a response: a bare JSON array.
    pub(super) fn page(&mut self, wanted: &Wanted) -> Vec<u8> {
        let order = self.order(wanted);
        let listed = order
            .iter()
            .map(|&position| &self.records[position])
            .filter(|record| wanted.filters.iter().all(|filter| filter.admits(&record.text)))
            .skip(wanted.offset)
            .take(wanted.limit);

        let mut body = vec![b'['];
        for record in listed {
            if body.len() > 1 {
                body.push(b',');
            }
            match wanted.select.as_slice() {
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
        found.map(|record| record.text.as_str())
    }

    /// All records as they are now, archived ones included.
    pub(super) fn records(&self) -> Vec<Value> {
        self.records.iter().map(Stored::value).collect()
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let endpoint = self.endpoint;
        let found = self.records.iter_mut().find(|record| record.id.as_deref() == Some(id));
        let Some(stored) = found else { return false };
        let mut value = stored.value();
        if let Value::Object(properties) = &mut value {
            change(properties);
        }
        *stored = Stored::new(endpoint, &value);
        self.orders.clear();
        true
    }

    pub(super) fn add(&mut self, record: &Value) {
        self.records.push(Stored::new(self.endpoint, record));
        self.orders.clear();
    }

    pub(super) fn delete(&mut self, id: &str) -> Option<Value> {
        let position = self.records.iter().position(|record| record.id.as_deref() == Some(id))?;
        self.orders.clear();
        Some(self.records.remove(position).value())
    }

    /// Positions of the listed records in the order asked for, sorted on first use.
    fn order(&mut self, wanted: &Wanted) -> Arc<[usize]> {
        let marked = match (self.endpoint.hides, wanted.hidden) {
            (Hides::Nothing, _) | (Hides::UntilIncluded(_), true) => Marked::Either,
            (Hides::UntilIncluded(_) | Hides::UntilAskedFor(_), false) => Marked::No,
            (Hides::UntilAskedFor(_), true) => Marked::Yes,
        };
        let records = &self.records;
        let order = self.orders.entry((wanted.sort.clone(), marked)).or_insert_with(|| {
            let mut positions: Vec<usize> =
                (0..records.len()).filter(|&position| marked.admits(records[position].marked)).collect();
            if let Some(sort) = &wanted.sort {
                sort_positions(&mut positions, records, sort);
            }
            positions.into()
        });
        Arc::clone(order)
    }
}

impl Stored {
    fn new(endpoint: &Endpoint, record: &Value) -> Self {
        let marked = match endpoint.hides {
            Hides::Nothing => false,
            Hides::UntilIncluded(mark) | Hides::UntilAskedFor(mark) => record[mark] == Value::Bool(true),
        };
        Self { id: record["_id"].as_str().map(str::to_owned), marked, text: record.to_string() }
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
fn sort_positions(positions: &mut [usize], records: &[Stored], sort: &str) {
    let (property, descending) = match sort.strip_prefix('-') {
        Some(property) => (property, true),
        None => (sort, false),
    };
    let keys: Vec<SortKey> = records.iter().map(|record| SortKey::of(&record.text, property)).collect();
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
