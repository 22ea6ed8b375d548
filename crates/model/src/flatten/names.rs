//! Makes the name of a column from the name of a property or custom field at Planhat.
//!
//! `planhat__` + snake_case in plain ASCII (+ `__custom`), at most 63 bytes, which is PostgreSQL's limit. Custom fields are
//! named by people: with emoji, brackets, or twins that differ in case only. Whatever the name, the column needs no quotes, and two
//! names never share a column: the later one gets a short hash of its own name, the same in every run and on every machine.
//!
//! The names of documented properties are reserved, so they are the same in every database, whatever arrives first. A custom
//! field cannot take one, since its column ends with `__custom` and no property's does.

use std::collections::HashMap;

use heck::ToSnakeCase;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::catalog::{self, Object};
use crate::record::Origin;

const PREFIX: &str = "planhat__";
const CUSTOM_SUFFIX: &str = "__custom";
/// PostgreSQL cuts identifiers off here.
const MAX_BYTES: usize = 63;

/// The column of a documented property, in every object that has it.
pub fn documented_column_name(property: &str) -> String {
    column_name(Origin::Property, catalog::column_name_of(property), |_| false)
}

/// The names that are kept for the documented properties of an object, with their properties.
pub(super) fn reserved_names(object: &Object) -> HashMap<String, &'static str> {
    object.documented().map(|(property, _)| (documented_column_name(property), property)).collect()
}

/// The column for `name`, different from all that `taken` knows.
pub fn column_name(origin: Origin, name: &str, taken: impl Fn(&str) -> bool) -> String {
    let suffix = match origin {
        Origin::Property => "",
        Origin::Custom => CUSTOM_SUFFIX,
    };
    let room = MAX_BYTES - PREFIX.len() - suffix.len();
    let folded = any_ascii::any_ascii(name).to_snake_case();

    let plain = format!("{PREFIX}{}{suffix}", cut(&folded, room));
    if !folded.is_empty() && !taken(&plain) {
        return plain;
    }
    let mut seed = 0;
    loop {
        let hash = format!("{:08x}", xxh3_64_with_seed(name.as_bytes(), seed) >> 32);
        let stem = cut(&folded, room - hash.len() - 1);
        let separator = if stem.is_empty() { "" } else { "_" };
        let hashed = format!("{PREFIX}{stem}{separator}{hash}{suffix}");
        if !taken(&hashed) {
            return hashed;
        }
        seed += 1;
    }
}

fn cut(folded: &str, room: usize) -> &str {
    folded[..folded.len().min(room)].trim_end_matches('_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn custom(name: &str) -> String {
        column_name(Origin::Custom, name, |_| false)
    }

    fn property(name: &str) -> String {
        column_name(Origin::Property, name, |_| false)
    }

    #[test]
    fn properties_are_written_in_snake_case() {
        assert_eq!(property("lastTouch"), "planhat__last_touch");
        assert_eq!(property("mrr"), "planhat__mrr");
        assert_eq!(property("_id"), "planhat__id");
        assert_eq!(property("nrTasksDue7Days"), "planhat__nr_tasks_due7_days");
    }

    #[test]
    fn every_column_of_a_custom_field_ends_with_custom_whatever_the_field_is_called() {
        assert_eq!(custom("My Custom Field"), "planhat__my_custom_field__custom");
        assert_eq!(custom("# Seats"), "planhat__seats__custom");
        assert_eq!(custom("🚀 Go–live [EU]"), "planhat__rocket_go_live_eu__custom");
        assert_eq!(custom("Größe (m²)"), "planhat__grosse_m2__custom");
        assert_eq!(custom("'; drop table x; --"), "planhat__drop_table_x__custom");
        assert_eq!(custom(&"ä".repeat(300)), format!("planhat__{}__custom", "a".repeat(46)));
    }

    #[test]
    fn of_two_names_that_give_the_same_column_name_the_later_one_gets_a_hash() {
        let taken = custom("# Seats");
        let twin = column_name(Origin::Custom, "# seats", |name| name == taken);
        assert_eq!(twin, "planhat__seats_c69fdec5__custom");
    }

    #[test]
    fn no_two_documented_properties_of_an_object_share_a_column_name() {
        for object in catalog::OBJECTS {
            let names: HashSet<_> = object.documented().map(|(property, _)| documented_column_name(property)).collect();
            assert_eq!(names.len(), object.documented().count(), "{}", object.name);
            assert!(names.iter().all(|name| !name.ends_with(CUSTOM_SUFFIX)), "{}", object.name);
        }
    }

    #[test]
    fn two_documented_properties_that_are_not_the_same_never_have_one_name_in_any_object() {
        let mut property_of: HashMap<String, &str> = HashMap::new();
        for (property, _) in catalog::OBJECTS.iter().flat_map(Object::documented) {
            let taken_by = *property_of.entry(documented_column_name(property)).or_insert(property);
            // A company's `h` is an objective's `health`: one thing under two names, which no object has both of.
            assert!(taken_by == property || [taken_by, property] == ["h", "health"], "{taken_by} and {property}");
        }
        let name = |property: &str| documented_column_name(property);
        assert_eq!((&*name("currency"), &*name("_currency")), ("planhat__currency", "planhat__currency_code"));
    }

    proptest! {
        #[test]
        fn every_column_name_is_unique_short_enough_and_needs_no_quotes(
            names in proptest::collection::hash_set((any::<bool>(), "[aA_ #é🚀]{0,3}|x__custom|.{0,80}"), 1..40),
        ) {
            let mut taken = HashSet::new();
            for (is_custom, name) in &names {
                let origin = if *is_custom { Origin::Custom } else { Origin::Property };
                let column = column_name(origin, name, |candidate| taken.contains(candidate));
                prop_assert!(column.len() <= MAX_BYTES, "{column}");
                prop_assert!(column.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{column}");
                prop_assert!(column.starts_with(PREFIX) && column.len() > PREFIX.len());
                prop_assert!(!is_custom || column.ends_with(CUSTOM_SUFFIX), "{column}");
                prop_assert!(taken.insert(column));
            }
        }
    }
}
