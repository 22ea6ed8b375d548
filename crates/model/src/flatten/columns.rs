//! The columns of one table: which property or custom field each column holds.
//!
//! A column never changes its name, and its type only by `retype`, while no run is in progress. So the column map is read
//! at the start of a pull and only ever grows.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::declared::Declared;
use super::names::column_name;
use super::types::kind_for;
use crate::catalog::{ColumnType, Object};
use crate::record::Json;
use crate::record::{Origin, Record};

/// PostgreSQL allows 1,600 columns, dropped ones included; beyond this many of ours further
/// properties go to `_overflow`.
pub const MAX_COLUMNS: usize = 1200;

/// A name longer than this is no name; its value goes to `_overflow`.
const MAX_NAME_BYTES: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
    pub origin: Origin,
    /// The name at Planhat.
    pub planhat_name: String,
}

/// The columns of a table in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    all: Vec<Column>,
    // Every value of every record is looked up here, so by a quick hash.
    properties: HashMap<String, usize, RandomState>,
    custom: HashMap<String, usize, RandomState>,
    taken: HashSet<String>,
    held_back: HeldBackColumns,
}

/// Which properties without a column wait for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum HeldBackColumns {
    #[default]
    None,
    CustomFields,
    All,
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

    /// The column at a place in the table.
    pub fn at(&self, place: usize) -> &Column {
        &self.all[place]
    }

    /// The column of that name.
    pub fn named(&self, name: &str) -> Option<&Column> {
        self.all.iter().find(|column| column.name == name)
    }

    /// The column of a property or custom field, by its place in the table.
    pub(super) fn find(&self, origin: Origin, planhat_name: &str) -> Option<usize> {
        let places = match origin {
            Origin::Property => &self.properties,
            Origin::Custom => &self.custom,
        };
        places.get(planhat_name).copied()
    }

    /// The same columns, to which no custom field is added: its type is not known yet, and would be for ever. The value
    /// waits in `_overflow`, and its row for being written again.
    #[must_use]
    pub fn without_new_custom_columns(self) -> Columns {
        Columns { held_back: HeldBackColumns::CustomFields, ..self }
    }

    /// The same columns, to which nothing is added for now.
    #[must_use]
    pub fn without_new_columns(self) -> Columns {
        Columns { held_back: HeldBackColumns::All, ..self }
    }

    /// Whether a property without a column has none because it waits for one.
    pub(super) fn holds_back(&self, origin: Origin, planhat_name: &str) -> bool {
        (self.held_back == HeldBackColumns::All || self.held_back == HeldBackColumns::CustomFields && origin == Origin::Custom)
            && self.len() < MAX_COLUMNS
            && planhat_name.len() <= MAX_NAME_BYTES
    }

    /// Whether these records have a property that wants a column and has none yet.
    pub fn would_grow(&self, records: &[Record]) -> bool {
        let wants = |(origin, name, value): (Origin, &str, Json<'_>)| {
            !value.is_null()
                && name.len() <= MAX_NAME_BYTES
                && !self.holds_back(origin, name)
                && self.find(origin, name).is_none()
        };
        self.len() < MAX_COLUMNS && records.iter().flat_map(Record::values).any(wants)
    }

    /// Adds a column for every property in these records that has none yet, and says which.
    pub fn grow(&mut self, object: &Object, records: &[Record], declared: &Declared) -> Vec<Column> {
        let mut unknown: BTreeMap<(Origin, &str), Vec<Json<'_>>> = BTreeMap::new();
        for (origin, name, value) in records.iter().flat_map(Record::values) {
            if name.len() <= MAX_NAME_BYTES && !self.holds_back(origin, name) && self.find(origin, name).is_none() {
                unknown.entry((origin, name)).or_default().push(value);
            }
        }
        let mut added = Vec::new();
        for ((origin, planhat_name), values) in unknown {
            if self.len() >= MAX_COLUMNS {
                break;
            }
            let seen = kind_for(values);
            let known = declared.kind_of(object, origin, planhat_name);
            let base = match origin {
                Origin::Property => object.column_name_of(planhat_name),
                Origin::Custom => planhat_name,
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
