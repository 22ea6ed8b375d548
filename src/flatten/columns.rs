//! The columns of one table: which property or custom field goes where.
//!
//! A column never changes its name once it is made, and its type only on the user's word while no run is
//! at work, so the map is read at the start of a pull and only ever grows.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::declared::Declared;
use super::names::column_name;
use super::types::kind_for;
use crate::object::{Kind, Object};
use crate::record::Record;

/// PostgreSQL allows 1,600 columns, dropped ones included; beyond this many of ours further
/// properties go to `_overflow`.
pub const MAX_COLUMNS: usize = 1200;

/// A name longer than this is no name; its value goes to `_overflow`.
const MAX_NAME_BYTES: usize = 1000;

/// Where Planhat keeps a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// On the record itself.
    Property,
    /// In the record's `custom` object.
    Custom,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Property => "property",
            Origin::Custom => "custom",
        }
    }

    pub fn parse(text: &str) -> Option<Origin> {
        [Origin::Property, Origin::Custom].into_iter().find(|origin| origin.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub origin: Origin,
    /// The name at Planhat.
    pub planhat_name: String,
}

/// The columns of a table in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    all: Vec<Column>,
    properties: HashMap<String, usize>,
    custom: HashMap<String, usize>,
    taken: HashSet<String>,
}

impl FromIterator<Column> for Columns {
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Columns {
        let mut all = Columns::default();
        columns.into_iter().for_each(|column| all.push(column));
        all
    }
}

impl Columns {
    pub fn iter(&self) -> impl Iterator<Item = &Column> {
        self.all.iter()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The column of that name.
    pub fn named(&self, name: &str) -> Option<&Column> {
        self.all.iter().find(|column| column.name == name)
    }

    pub(super) fn find(&self, origin: Origin, planhat_name: &str) -> Option<&Column> {
        let index = match origin {
            Origin::Property => self.properties.get(planhat_name),
            Origin::Custom => self.custom.get(planhat_name),
        };
        index.map(|index| &self.all[*index])
    }

    /// Whether these records have a property that wants a column and has none yet.
    pub fn would_grow(&self, records: &[Record]) -> bool {
        let wants = |(origin, name, value): (Origin, &str, &Value)| {
            !value.is_null() && name.len() <= MAX_NAME_BYTES && self.find(origin, name).is_none()
        };
        self.len() < MAX_COLUMNS && records.iter().flat_map(values).any(wants)
    }

    /// Adds a column for every property in these records that has none yet, and says which.
    pub fn grow(&mut self, object: &Object, records: &[Record], declared: &Declared) -> Vec<Column> {
        let mut unknown: BTreeMap<(Origin, &str), Vec<&Value>> = BTreeMap::new();
        for (origin, name, value) in records.iter().flat_map(values) {
            if name.len() <= MAX_NAME_BYTES && self.find(origin, name).is_none() {
                unknown.entry((origin, name)).or_default().push(value);
            }
        }
        let mut added = Vec::new();
        for ((origin, planhat_name), values) in unknown {
            if self.len() >= MAX_COLUMNS {
                break;
            }
            let seen = kind_for(values);
            let (known, base) = match origin {
                Origin::Property => (object.kind_of(planhat_name), object.column_name_of(planhat_name)),
                Origin::Custom => (declared.kind_of(object, planhat_name), planhat_name),
            };
            // Nothing but null is no reason for a column.
            let Some(kind) = seen.map(|seen| known.unwrap_or(seen)) else { continue };
            let name = column_name(origin, base, |name| self.taken.contains(name));
            let column = Column { name, kind, origin, planhat_name: planhat_name.to_owned() };
            self.push(column.clone());
            added.push(column);
        }
        added
    }

    fn push(&mut self, column: Column) {
        let index = self.all.len();
        let map = match column.origin {
            Origin::Property => &mut self.properties,
            Origin::Custom => &mut self.custom,
        };
        map.insert(column.planhat_name.clone(), index);
        self.taken.insert(column.name.clone());
        self.all.push(column);
    }
}

/// Every value of a record with where it came from: its properties, and the fields of `custom` in
/// place of `custom` itself.
pub(super) fn values(record: &Record) -> impl Iterator<Item = (Origin, &str, &Value)> {
    let custom = record.fields.get("custom").and_then(Value::as_object);
    let properties = record
        .fields
        .iter()
        .filter(move |(name, _)| custom.is_none() || *name != "custom")
        .map(|(name, value)| (Origin::Property, name.as_str(), value));
    let custom_fields = custom.into_iter().flatten().map(|(name, value)| (Origin::Custom, name.as_str(), value));
    properties.chain(custom_fields)
}
