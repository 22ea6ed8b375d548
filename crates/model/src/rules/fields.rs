//! What the user says of values by their names: of properties, of custom fields, or of all custom fields at once.
//!
//! A property is named as Planhat has it, a custom field as `custom.<its name>`, and `custom` means all of them. What is
//! said of a field by its own name goes before what is said of all.

use std::collections::HashMap;

use foldhash::fast::RandomState;

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
    /// Says something of a name; returns what was said of it before.
    pub fn insert(&mut self, name: &str, what: T) -> Option<T> {
        match name.strip_prefix("custom.") {
            _ if name == "custom" => self.all_custom.replace(what),
            // Somebody will think that this is how it is written, and a field that is called so does no harm.
            Some("*") => self.all_custom.replace(what),
            Some(field) => self.custom.insert(field.to_owned(), what),
            None => self.properties.insert(name.to_owned(), what),
        }
    }

    /// What is said of a value. A `custom` that is no object is what all custom fields are.
    pub fn of(&self, origin: Origin, name: &str) -> Option<T> {
        match origin {
            Origin::Property if name == "custom" => self.all_custom,
            Origin::Property => self.properties.get(name).copied(),
            Origin::Custom => self.custom.get(name).copied().or(self.all_custom),
        }
    }

    /// What is said of custom fields by their names.
    pub fn custom_values(&self) -> impl Iterator<Item = T> {
        self.custom.values().copied()
    }

    /// All that is said, of whatever name.
    pub fn values(&self) -> impl Iterator<Item = T> {
        self.properties.values().chain(self.custom.values()).chain(&self.all_custom).copied()
    }

    /// All that is said, by origin and name; of all custom fields without one.
    pub fn sorted_entries(&self) -> Vec<(Origin, Option<&str>, T)> {
        let properties = self.properties.iter().map(|(name, what)| (Origin::Property, Some(name.as_str()), *what));
        let custom = self.custom.iter().map(|(name, what)| (Origin::Custom, Some(name.as_str()), *what));
        let mut all: Vec<_> = properties.chain(custom).chain(self.all_custom.map(|what| (Origin::Custom, None, what))).collect();
        all.sort_by_key(|(origin, name, _)| (*origin, *name));
        all
    }

    /// A bit for each length that a name has of which anything is said: most names can be passed over by that alone.
    pub fn lengths(&self) -> u64 {
        let of_names = self.properties.keys().chain(self.custom.keys()).fold(0, |lengths, name| lengths | bit_of(name));
        if self.all_custom.is_some() { u64::MAX } else { of_names }
    }

    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }
}

/// The bit for the length of a name; long ones share one.
pub fn bit_of(name: &str) -> u64 {
    1 << name.len().min(63)
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
    fn properties_and_custom_fields_of_the_same_name_are_two() {
        let fields = fields(&["Tier", "custom.Tier", "custom.a.b, c"]);
        assert_eq!((fields.of(Property, "Tier"), fields.of(Custom, "Tier")), (Some(0), Some(1)));
        assert_eq!((fields.of(Custom, "a.b, c"), fields.of(Custom, "tier")), (Some(2), None));
    }

    #[test]
    fn a_fields_own_name_goes_before_all_of_them() {
        for all in ["custom", "custom.*"] {
            let fields = fields(&[all, "custom.Tier"]);
            assert_eq!((fields.of(Custom, "Tier"), fields.of(Custom, "other")), (Some(1), Some(0)));
            assert_eq!((fields.of(Property, "custom"), fields.of(Property, "Tier")), (Some(0), None));
        }
    }

    #[test]
    fn what_is_said_twice_of_a_name_is_told() {
        let mut fields = fields(&["custom"]);
        assert_eq!(fields.insert("custom.*", 7), Some(0));
    }
}
