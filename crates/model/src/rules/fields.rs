//! A map from names of properties and custom fields to what the settings say about them.
//!
//! A property is named as at Planhat, a custom field as `custom.NAME`, and `custom` means all custom fields. An entry for one
//! custom field takes precedence over the entry for all of them. Names that look the same are one name (`spelling.rs`).

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::spelling::{folded, is_folded_ascii};
use crate::record::Origin;

#[derive(Debug, Clone)]
pub struct FieldMap<T> {
    // Every value of every record may be looked up here, so by a quick hash.
    properties: HashMap<String, T, RandomState>,
    custom: HashMap<String, T, RandomState>,
    all_custom: Option<T>,
}

impl<T> Default for FieldMap<T> {
    fn default() -> FieldMap<T> {
        FieldMap { properties: HashMap::default(), custom: HashMap::default(), all_custom: None }
    }
}

impl<T: Copy> FieldMap<T> {
    /// Inserts a value for a name; returns the previous value.
    pub fn insert(&mut self, name: &str, what: T) -> Option<T> {
        match named(name) {
            NamedField::AllCustom => self.all_custom.replace(what),
            NamedField::Custom(field) => self.custom.insert(field, what),
            NamedField::Property(property) => self.properties.insert(property, what),
        }
    }

    /// The entry for a property or custom field. A `custom` that is not an object gets the entry for all custom fields.
    pub fn of(&self, origin: Origin, name: &str) -> Option<T> {
        let name = folded(name);
        match origin {
            Origin::Property if name == "custom" => self.all_custom,
            Origin::Property => self.properties.get(&*name).copied(),
            Origin::Custom => self.custom.get(&*name).copied().or(self.all_custom),
        }
    }

    /// The entries for single custom fields.
    pub fn custom_values(&self) -> impl Iterator<Item = T> {
        self.custom.values().copied()
    }

    /// All entries.
    pub fn values(&self) -> impl Iterator<Item = T> {
        self.properties.values().chain(self.custom.values()).chain(&self.all_custom).copied()
    }

    /// All entries, sorted by origin and name; the entry for all custom fields has no name.
    pub fn sorted_entries(&self) -> Vec<(Origin, Option<&str>, T)> {
        let properties = self.properties.iter().map(|(name, what)| (Origin::Property, Some(name.as_str()), *what));
        let custom = self.custom.iter().map(|(name, what)| (Origin::Custom, Some(name.as_str()), *what));
        let mut all: Vec<_> = properties.chain(custom).chain(self.all_custom.map(|what| (Origin::Custom, None, what))).collect();
        all.sort_by_key(|(origin, name, _)| (*origin, *name));
        all
    }

    /// A bit for each length of a name that has an entry, by which most names are skipped quickly.
    pub fn lengths(&self) -> u64 {
        let of_names = self.properties.keys().chain(self.custom.keys()).fold(0, |lengths, name| lengths | bit_of(name));
        if self.all_custom.is_some() { u64::MAX } else { of_names }
    }

    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }
}

/// The bits for the length of a name; long ones share one. A name that is not in its folded form may have any.
pub fn bit_of(name: &str) -> u64 {
    if is_folded_ascii(name) { 1 << name.len().min(63) } else { u64::MAX }
}

/// What a name in the settings means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedField {
    Property(String),
    Custom(String),
    AllCustom,
}

/// What a name in the settings means, in its folded form.
pub fn named(name: &str) -> NamedField {
    let name = folded(name);
    match name.strip_prefix("custom.").map(str::trim_start) {
        _ if name == "custom" => NamedField::AllCustom,
        // `custom.*` is an alias, because people will write it; a custom field called `*` is unlikely.
        Some("*") => NamedField::AllCustom,
        Some(field) => NamedField::Custom(field.to_owned()),
        None => NamedField::Property(name.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Origin::{Custom, Property};

    fn fields(names: &[&str]) -> FieldMap<usize> {
        let mut fields = FieldMap::default();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(fields.insert(name, index), None, "{name}");
        }
        fields
    }

    #[test]
    fn a_property_and_a_custom_field_of_the_same_name_are_different() {
        let fields = fields(&["Tier", "custom.Tier", "custom.a.b, c"]);
        assert_eq!((fields.of(Property, "Tier"), fields.of(Custom, "Tier")), (Some(0), Some(1)));
        assert_eq!((fields.of(Custom, "a.b, c"), fields.of(Custom, "tier")), (Some(2), None));
    }

    #[test]
    fn an_entry_for_a_custom_field_takes_precedence_over_the_entry_for_all_custom_fields() {
        for all in ["custom", "custom.*"] {
            let fields = fields(&[all, "custom.Tier"]);
            assert_eq!((fields.of(Custom, "Tier"), fields.of(Custom, "other")), (Some(1), Some(0)));
            assert_eq!((fields.of(Property, "custom"), fields.of(Property, "Tier")), (Some(0), None));
        }
    }

    #[test]
    fn an_entry_is_found_by_every_name_that_looks_the_same() {
        let fields = fields(&["custom.Gr\u{f6}sse", "custom. Notes ", "\u{feff}custom.Days\u{a0}left"]);
        for (name, expected) in [
            ("Gro\u{308}sse", Some(0)),
            ("Gr\u{f6}sse\u{200b}", Some(0)),
            ("Notes", Some(1)),
            ("\u{a0}Notes", Some(1)),
            ("Days left", Some(2)),
            ("notes", None),
        ] {
            assert_eq!(fields.of(Custom, name), expected, "{name:?}");
            assert!(expected.is_none() || fields.lengths() & bit_of(name) != 0, "{name:?}");
        }
    }

    #[test]
    fn inserting_a_name_twice_returns_the_first_value() {
        let mut fields = fields(&["custom"]);
        assert_eq!(fields.insert("custom.*", 7), Some(0));
        fields.insert("custom.Notes", 8);
        assert_eq!(fields.insert("custom.Notes ", 9), Some(8));
    }
}
