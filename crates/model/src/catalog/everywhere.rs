//! What holds of a property in whichever object it appears: the name that its column is made from, and whether its list is
//! a set.
//!
//! One property has one name and one type everywhere, so that a query for one table is right for another. The name
//! does not depend on what else an object has or on what arrived first; the types are in the entries of the objects, and a test
//! compares them.

use super::{ColumnType, OBJECTS};

/// Properties whose column has a clearer name than Planhat's own, or that would otherwise share one: `_currency` and
/// `currency` may both be on a record.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("_currency", "currencyCode"),
    ("h", "health"),
    ("hProfile", "healthProfile"),
    ("hDiff", "healthDiff"),
    ("hDiffDate", "healthDiffDate"),
];

/// Properties that list what belongs to a record in no particular order: labels that people give, and ids of people and
/// records that are chosen. They are compared as sets. What is not here is a list, whose order counts: what happened one
/// after the other (`history`, `stageHistory`, `csmScoreLog`, `lastActivities`), what people arrange (`checklist`, `listValues`,
/// `lineItems`, `packages`, `links`, `documents`), where a place has a meaning (`timeBucket`, `orgPath`), copies of other records
/// (`licenses`, `sales`), and what nothing is documented of (`poc`, `permissions`, `sender`, `alerts`, `issues`).
const SETS: &[&str] = &[
    // Labels.
    "activityTags", "autoTags", "domains", "emails", "otherEmails", "personas", "products", "reasons", "tags",
    // People and records.
    "collaborators", "companies", "companyIds", "conversationIds", "emailTemplateIds", "enduserIds", "endusers", "followers",
    "managers", "relatedEndusers", "roles", "teams", "timeEntries", "userIds", "users",
];

/// The name that the column of a property is made from.
pub fn column_name_of(property: &str) -> &str {
    RENAMED.iter().find(|(planhat, _)| *planhat == property).map_or(property, |(_, clearer)| clearer)
}

/// The property whose column is called by this clearer name.
pub fn renamed_to(clearer: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(_, name)| *name == clearer).map(|(planhat, _)| *planhat)
}

/// The type of a property that other objects document: of one that an object has besides, it is the likely one.
pub fn kind_elsewhere(property: &str) -> Option<ColumnType> {
    let mut kinds = OBJECTS.iter().filter_map(|object| object.kind_of(property));
    let first = kinds.next()?;
    kinds.all(|kind| kind == first).then_some(first)
}

/// Whether the order of what a property lists means nothing.
pub fn is_set(property: &str) -> bool {
    SETS.contains(&property)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Properties that are two things under one name, which no reader would compare.
    const TWO_THINGS: &[&str] = &[
        // What a person answered to a survey; an object that Planhat fills in on churn.
        "comment",
    ];

    #[test]
    fn a_documented_property_has_one_type_in_every_object_that_has_it() {
        let mut kinds: BTreeMap<&str, (ColumnType, &str)> = BTreeMap::new();
        for object in OBJECTS {
            for (property, kind) in object.documented() {
                let (first, of) = *kinds.entry(property).or_insert((kind, object.name));
                let agrees = first == kind || TWO_THINGS.contains(&property);
                assert!(agrees, "{property} is {first:?} in {of} and {kind:?} in {}", object.name);
            }
        }
    }

    #[test]
    fn a_set_is_documented_and_no_single_value() {
        for set in SETS {
            let kinds: Vec<_> = OBJECTS.iter().filter_map(|object| object.kind_of(set)).collect();
            assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == ColumnType::Json), "{set}: {kinds:?}");
        }
    }

    #[test]
    fn a_property_that_other_objects_document_as_one_thing_has_their_type() {
        assert_eq!(kind_elsewhere("ownerId"), Some(ColumnType::Text));
        assert_eq!(kind_elsewhere("owner"), Some(ColumnType::Json));
        assert_eq!((kind_elsewhere("comment"), kind_elsewhere("nobody has it")), (None, None));
    }

    #[test]
    fn a_clearer_name_is_found_back() {
        assert_eq!((column_name_of("h"), renamed_to("health")), ("health", Some("h")));
        assert_eq!((column_name_of("mrr"), renamed_to("mrr")), ("mrr", None));
    }
}
