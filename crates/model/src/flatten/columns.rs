//! The columns of one table: which property or custom field each column holds.
//!
//! A column never changes its name, and its type only by `retype`, while no run is in progress. So the column map is read
//! at the start of a pull and only ever grows.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::declared::{CustomSets, Declared};
use super::names::{column_name, reserved_names};
use super::types::{Fit, fit, kind_for};
use crate::catalog::{self, ColumnType, Object};
use crate::record::Json;
use crate::record::{Origin, Record};

/// PostgreSQL allows 1,600 columns, dropped ones included; beyond this many of ours further
/// properties go to `_overflow`.
pub const MAX_COLUMNS: usize = 1200;

/// Declared fields get columns before any record has a value only if no more columns than this come of it: the others are for
/// fields that have values. Whoever declares more gets the columns of those that have a value, as they arrive.
const MAX_COLUMNS_WITHOUT_VALUES: usize = 900;

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
    custom_sets: CustomSets,
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

    /// The same columns, with what is declared of custom fields that are sets.
    #[must_use]
    pub fn with_custom_sets(self, custom_sets: CustomSets) -> Columns {
        Columns { custom_sets, ..self }
    }

    /// Whether the order of what a property or custom field lists means nothing.
    pub fn is_set(&self, origin: Origin, planhat_name: &str) -> bool {
        match origin {
            Origin::Property => catalog::is_set(planhat_name),
            Origin::Custom => self.custom_sets.has(planhat_name),
        }
    }

    /// The columns whose lists are compared as sets.
    pub fn sets(&self) -> impl Iterator<Item = &Column> {
        self.all.iter().filter(|column| column.kind == ColumnType::Json && self.is_set(column.origin, &column.planhat_name))
    }

    /// Adds a column for everything of which the type is known before any value, and which may be stored: the documented
    /// properties, and the declared custom fields if all of them have room. Says which.
    pub fn add_known<'a>(&mut self, object: &'a Object, declared: &'a Declared) -> Vec<Column> {
        if self.held_back == HeldBackColumns::All {
            return Vec::new();
        }
        let wanted = |columns: &Columns, origin, name: &'a str| {
            let lacks = name.len() <= MAX_NAME_BYTES && columns.find(origin, name).is_none();
            let may = lacks && declared.may_be_stored(object, origin, name);
            may.then(|| declared.kind_of(object, origin, name)).flatten().map(|kind| (origin, name, kind))
        };
        let documented = object.documented().filter_map(|(name, _)| wanted(self, Origin::Property, name));
        let mut new: Vec<_> = documented.take(MAX_COLUMNS.saturating_sub(self.len())).collect();
        if self.held_back == HeldBackColumns::None {
            let custom = declared.custom_fields_of(object).filter_map(|name| wanted(self, Origin::Custom, name));
            let custom: Vec<_> = custom.collect();
            if self.len() + new.len() + custom.len() <= MAX_COLUMNS_WITHOUT_VALUES {
                new.extend(custom);
            }
        }
        self.add(object, new)
    }

    /// Adds a column for every property in these records that has none yet, and says which.
    pub fn grow(&mut self, object: &Object, records: &[Record], declared: &Declared) -> Vec<Column> {
        let mut unknown: BTreeMap<(Origin, &str), Vec<Json<'_>>> = BTreeMap::new();
        for (origin, name, value) in records.iter().flat_map(Record::values) {
            if name.len() <= MAX_NAME_BYTES && !self.holds_back(origin, name) && self.find(origin, name).is_none() {
                unknown.entry((origin, name)).or_default().push(value);
            }
        }
        // Nothing but null is no reason for a column.
        let new = unknown.into_iter().filter_map(|((origin, name), values)| {
            let seen = kind_for(values.iter().copied())?;
            let fits_all = |kind: &ColumnType| values.iter().all(|value| fit(*kind, *value) != Fit::Misfit);
            let elsewhere = || catalog::kind_elsewhere(name).filter(|kind| origin == Origin::Property && fits_all(kind));
            Some((origin, name, declared.kind_of(object, origin, name).or_else(elsewhere).unwrap_or(seen)))
        });
        let room = MAX_COLUMNS.saturating_sub(self.len());
        self.add(object, new.take(room).collect())
    }

    /// Adds these columns under names that nothing else has, and that are no documented property's.
    fn add(&mut self, object: &Object, new: Vec<(Origin, &str, ColumnType)>) -> Vec<Column> {
        let reserved = if new.is_empty() { HashMap::new() } else { reserved_names(object) };
        let mut added = Vec::new();
        for (origin, planhat_name, kind) in new {
            let base = match origin {
                Origin::Property => catalog::column_name_of(planhat_name),
                Origin::Custom => planhat_name,
            };
            let its_own = Some(planhat_name).filter(|_| origin == Origin::Property);
            let is_reserved = |name: &str| reserved.get(name).is_some_and(|of| Some(*of) != its_own);
            let is_taken = |name: &str| self.taken.contains(name) || is_reserved(name);
            let column =
                Column { name: column_name(origin, base, is_taken), kind, origin, planhat_name: planhat_name.to_owned() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record_of;
    use crate::rules::{FieldMap, Rule, Rules};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn object(name: &str) -> &'static Object {
        catalog::object(name).unwrap()
    }

    fn field(name: &str, kind: &str) -> Record {
        record_of(&json!({"_id": name, "parent": "License", "name": name, "type": kind}))
    }

    fn columns_from(object: &Object, records: &[Value]) -> Columns {
        let mut columns = Columns::default();
        for record in records {
            columns.grow(object, &[record_of(record)], &Declared::default());
        }
        columns
    }

    /// Names of properties in quotes that are no documented ones, types, and the columns.
    fn shown(columns: &[Column]) -> String {
        let shown = columns.iter().map(|column| format!("{} {} ({})", column.name, column.kind.sql(), column.planhat_name));
        shown.collect::<Vec<_>>().join("\n")
    }

    fn rules(by_name: &[(&str, Rule)]) -> crate::catalog::ByObject<Rules> {
        let mut fields = FieldMap::default();
        by_name.iter().for_each(|(name, rule)| _ = fields.insert(name, *rule));
        [("licenses", Rules::new(fields, Some(&"a key of the tests alone".into())))].into()
    }

    proptest! {
        #[test]
        fn a_documented_property_has_the_same_column_whatever_arrived_before(
            properties in Just(vec!["currency", "_currency", "Currency", "currencyCode", "currency_code", "mrr", "MRR", "_mrr", "m r r"]).prop_shuffle(),
            is_known_first in any::<bool>(),
        ) {
            let opportunities = object("opportunities");
            let records: Vec<Value> = properties
                .iter()
                .map(|name| {
                    let mut record = json!({"_id": "a", "custom": {*name: 1}});
                    record[*name] = json!(1);
                    record
                })
                .collect();
            let mut columns = Columns::default();
            if is_known_first {
                columns.add_known(opportunities, &Declared::default());
            }
            for record in &records {
                columns.grow(opportunities, &[record_of(record)], &Declared::default());
            }
            columns.add_known(opportunities, &Declared::default());
            for (property, kind) in opportunities.documented() {
                let column = columns.at(columns.find(Origin::Property, property).unwrap());
                prop_assert_eq!((&*column.name, column.kind), (&*super::super::documented_column_name(property), kind));
            }
            let names: HashSet<_> = columns.iter().map(|column| &column.name).collect();
            prop_assert_eq!(names.len(), columns.len());
        }
    }

    #[test]
    fn a_property_that_is_documented_for_other_objects_has_their_type_if_it_holds_what_arrived() {
        let record = json!({"_id": "a", "owner": "64b0000000000000000000a1", "createdAt": "2026-11-01", "days": "few"});
        let columns = columns_from(object("deals"), &[record]);
        let kind = |name: &str| columns.at(columns.find(Origin::Property, name).unwrap()).kind;
        assert_eq!((kind("owner"), kind("createdAt"), kind("days")), (ColumnType::Json, ColumnType::Time, ColumnType::Text));
    }

    #[test]
    fn a_name_that_an_earlier_release_gave_away_stays_and_the_documented_property_gets_a_hash() {
        let old = |name: &str, planhat_name: &str| Column {
            name: name.to_owned(),
            kind: ColumnType::Json,
            origin: Origin::Property,
            planhat_name: planhat_name.to_owned(),
        };
        let mut columns: Columns = [old("planhat__id", "_id"), old("planhat__currency", "_currency")].into_iter().collect();
        columns.add_known(object("opportunities"), &Declared::default());
        let column = |name: &str| columns.at(columns.find(Origin::Property, name).unwrap());
        assert_eq!(*column("_currency"), old("planhat__currency", "_currency"));
        assert_eq!(column("currency").name, "planhat__currency_021ee518");
    }

    #[test]
    fn documented_properties_and_declared_fields_have_columns_before_any_value() {
        let fields = [field("Seats", "number"), field("Modules", "multipicklist"), field("Mood", "a type of next year")];
        let mut columns = Columns::default();
        let added = columns.add_known(object("licenses"), &Declared::from_records(&fields));
        let custom: Vec<_> = added.iter().filter(|column| column.origin == Origin::Custom).cloned().collect();
        assert_eq!(added.len() - custom.len(), object("licenses").documented().count());
        assert_eq!(
            shown(&custom),
            "planhat__seats__custom numeric (Seats)\nplanhat__modules__custom jsonb (Modules)",
            "the values decide where the declared type is not known"
        );
        assert!(columns.add_known(object("licenses"), &Declared::from_records(&fields)).is_empty());
        assert_eq!(Columns::default().without_new_columns().add_known(object("licenses"), &Declared::default()), []);
        let mut waiting = Columns::default().without_new_custom_columns();
        assert!(
            waiting.add_known(object("licenses"), &Declared::from_records(&fields)).iter().all(|c| c.origin == Origin::Property)
        );
    }

    #[test]
    fn what_the_rules_exclude_has_no_column_before_any_value_and_what_they_mask_a_text() {
        let fields = [field("Seats", "number"), field("Notes ", "text")];
        let added = |by_name: &[(&str, Rule)]| {
            Columns::default().add_known(object("licenses"), &Declared::from_records(&fields).under(&rules(by_name)))
        };
        let all = object("licenses").documented().count() + 2;
        let some = added(&[
            ("mrr", Rule::Exclude),
            ("arr", Rule::Hash),
            ("custom.Notes", Rule::Exclude),
            ("custom.Seats", Rule::Redact),
        ]);
        assert_eq!(some.len(), all - 2);
        let kind = |name: &str| some.iter().find(|column| column.planhat_name == name).map(|column| column.kind);
        assert_eq!(["mrr", "arr", "Notes ", "Seats"].map(kind), [None, Some(ColumnType::Text), None, Some(ColumnType::Text)]);
        let included = added(&[("mrr", Rule::Include), ("custom.Seats", Rule::Include)]);
        assert_eq!(
            shown(&included),
            "planhat__id text (_id)\nplanhat__mrr numeric (mrr)\nplanhat__seats__custom numeric (Seats)"
        );
    }

    #[test]
    fn declared_fields_take_no_room_from_fields_that_have_values() {
        let object = object("licenses");
        let documented = object.documented().count();
        let declared = |count: usize| {
            let fields: Vec<_> = (0..count).map(|number| field(&format!("F{number:04}"), "number")).collect();
            Declared::from_records(&fields)
        };
        let most = MAX_COLUMNS_WITHOUT_VALUES - documented;
        let mut columns = Columns::default();
        assert_eq!(columns.add_known(object, &declared(most)).len(), MAX_COLUMNS_WITHOUT_VALUES);

        let mut columns = Columns::default();
        assert_eq!(columns.add_known(object, &declared(3000)).len(), documented);
        let record = json!({"_id": "a", "custom": (0..3000).map(|number| (format!("F{number:04}"), json!(1))).collect::<serde_json::Map<_, _>>()});
        columns.grow(object, &[record_of(&record)], &declared(3000));
        assert_eq!(columns.len(), MAX_COLUMNS);
        assert!(columns.add_known(object, &declared(3001)).is_empty());
    }
}
