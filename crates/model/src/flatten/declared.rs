//! Column types that are known before any value is seen: of documented properties, of custom fields as the workspace
//! declares them, and of masked values.
//!
//! `/customfields` gives the type of a custom field before any record has a value. It does not list every field that records
//! have, lists fields that no record uses, and the token may not be allowed to read it. So it says which columns there are
//! from the start and of which types, and never which fields there are (docs/planhat-api.md, Custom fields).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::catalog::{ByObject, ColumnType, Object};
use crate::record::Json;
use crate::record::{Origin, Record};
use crate::rules::{Rule, Rules};

/// What is known before any value is seen.
#[derive(Debug, Default)]
pub struct Declared {
    /// The declared custom fields by their lower-case models.
    models: HashMap<String, Fields>,
    /// Whether these are all that the workspace declares.
    are_all: bool,
    /// What they mask is a text, whatever it was.
    rules: ByObject<Rules>,
}

/// The declared custom fields of a model.
#[derive(Debug, Default)]
struct Fields {
    /// In the order in which they are listed.
    names: Vec<String>,
    /// None where the type is not known, or two declarations disagree.
    by_name: HashMap<String, Option<Field>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    kind: ColumnType,
    is_set: bool,
}

/// Which custom fields of an object are sets.
#[derive(Debug, Clone, Default)]
pub enum CustomSets {
    /// The declarations are not known. Every type with several values is a set, so every list is taken for one.
    #[default]
    EveryList,
    Declared(Arc<HashSet<String>>),
}

impl CustomSets {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            CustomSets::EveryList => true,
            CustomSets::Declared(names) => names.contains(name),
        }
    }
}

impl Declared {
    /// From all records of `/customfields`.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Declared {
        let mut declared = Declared { are_all: true, ..Declared::default() };
        for record in records {
            let text = |property: &str| record.get(property).and_then(Json::string);
            let (Some(model), Some(name)) = (text("parent"), text("name")) else { continue };
            let field = text("type").and_then(|declared| field_of_type(&declared));
            let fields = declared.models.entry(model.to_lowercase()).or_default();
            match fields.by_name.get_mut(&*name) {
                Some(known) => *known = known.filter(|known| Some(*known) == field),
                None => {
                    fields.names.push(name.to_string());
                    fields.by_name.insert(name.into_owned(), field);
                }
            }
        }
        declared
    }

    /// The same where not all records could be read.
    #[must_use]
    pub fn as_a_part(self) -> Declared {
        Declared { are_all: false, ..self }
    }

    /// The same under the rules of objects.
    #[must_use]
    pub fn under(self, rules: &ByObject<Rules>) -> Declared {
        Declared { rules: rules.clone(), ..self }
    }

    /// The custom fields that are declared for an object.
    pub fn custom_fields_of(&self, object: &Object) -> impl Iterator<Item = &str> {
        self.fields_of(object).into_iter().flat_map(|fields| fields.names.iter().map(String::as_str))
    }

    /// Which custom fields of an object are sets.
    pub fn custom_sets_of(&self, object: &Object) -> CustomSets {
        // A workspace that declares nothing at all may be one that did not answer in full.
        if !self.are_all || self.models.is_empty() {
            return CustomSets::EveryList;
        }
        let by_name = self.fields_of(object).into_iter().flat_map(|fields| &fields.by_name);
        let sets = by_name.filter(|(_, field)| field.is_some_and(|field| field.is_set)).map(|(name, _)| name.clone());
        CustomSets::Declared(Arc::new(sets.collect()))
    }

    pub(super) fn kind_of(&self, object: &Object, origin: Origin, name: &str) -> Option<ColumnType> {
        match origin {
            _ if self.rule_of(object, origin, name).masks() => Some(ColumnType::Text),
            Origin::Property => object.kind_of(name),
            Origin::Custom => Some((*self.fields_of(object)?.by_name.get(name)?)?.kind),
        }
    }

    /// Whether the rules let anything of it into the database.
    pub(super) fn may_be_stored(&self, object: &Object, origin: Origin, name: &str) -> bool {
        self.rule_of(object, origin, name) != Rule::Exclude
    }

    fn rule_of(&self, object: &Object, origin: Origin, name: &str) -> Rule {
        self.rules.get(object.name).map_or(Rule::Include, |rules| rules.of(origin, name))
    }

    fn fields_of(&self, object: &Object) -> Option<&Fields> {
        self.models.get(&object.model.to_lowercase())
    }
}

/// The column type that holds all values of a declared type, and whether these are sets. A reference to one user or contact is
/// an id or an object. Of types that are not known here the values decide.
fn field_of_type(declared: &str) -> Option<Field> {
    let single = |kind| Some(Field { kind, is_set: false });
    match declared {
        "number" | "rating" => single(ColumnType::Number),
        "checkbox" => single(ColumnType::Boolean),
        "day" | "date" => single(ColumnType::Time),
        "text" | "rich text" | "list" | "phone" | "email" | "url" => single(ColumnType::Text),
        "team member" | "enduser" => single(ColumnType::Json),
        "multipicklist" | "team members" | "endusers" => Some(Field { kind: ColumnType::Json, is_set: true }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::record::record_of;
    use serde_json::json;

    #[test]
    fn the_declared_type_of_a_custom_field_applies_to_its_own_object_only() {
        let field =
            |parent: &str, name: &str, kind: &str| record_of(&json!({"_id": "f", "parent": parent, "name": name, "type": kind}));
        let declared = Declared::from_records(&[
            field("Company", "Seats", "number"),
            field("EndUser", "Seats", "list"),
            field("Company", "Twin", "day"),
            field("Company", "Twin", "text"),
            field("Company", "Sponsor", "team member"),
            field("Company", "Mood", "a type of next year"),
        ]);
        let kind = |object: &str, name: &str| declared.kind_of(catalog::object(object).unwrap(), Origin::Custom, name);
        assert_eq!(kind("companies", "Seats"), Some(ColumnType::Number));
        assert_eq!(kind("endusers", "Seats"), Some(ColumnType::Text));
        assert_eq!(kind("licenses", "Seats"), None);
        assert_eq!((kind("companies", "Twin"), kind("companies", "Mood")), (None, None));
        assert_eq!(kind("companies", "Sponsor"), Some(ColumnType::Json), "an id or an object, whatever comes first");
    }

    #[test]
    fn declared_fields_of_several_values_are_sets_and_every_list_is_one_while_the_declarations_are_not_known() {
        let companies = catalog::object("companies").unwrap();
        let declare = || {
            Declared::from_records(&[
                record_of(&json!({"_id": "f", "parent": "company", "name": "Modules", "type": "multipicklist"})),
                record_of(&json!({"_id": "g", "parent": "Company", "name": "Steps", "type": "text"})),
            ])
        };
        let is_set = |declared: &Declared, name: &str| declared.custom_sets_of(companies).has(name);
        assert_eq!(["Modules", "Steps", "undeclared"].map(|name| is_set(&declare(), name)), [true, false, false]);
        for unknown in [declare().as_a_part(), Declared::default()] {
            assert!(is_set(&unknown, "undeclared"));
        }
    }
}
