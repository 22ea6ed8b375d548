//! Column types that are known before any value is seen: of documented properties, of custom fields as the workspace
//! declares them, and of masked values.
//!
//! `/customfields` gives the type of a custom field before any record has a value. It does not list every field that records
//! have, lists fields that no record uses, and the token may not be allowed to read it. So it is a source of types only
//! (reference, section 9).

use std::collections::HashMap;

use crate::catalog::{ByObject, ColumnType, Object};
use crate::record::Json;
use crate::record::{Origin, Record};
use crate::rules::Rules;

/// The types that are known.
#[derive(Debug, Default)]
pub struct Declared {
    /// Of custom fields by lower-case model and name. None where two declarations disagree.
    kinds: HashMap<(String, String), Option<ColumnType>>,
    /// What they mask is a text, whatever it was.
    rules: ByObject<Rules>,
}

impl Declared {
    /// From the records of `/customfields`.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Declared {
        let mut declared = Declared::default();
        for record in records {
            let text = |property: &str| record.get(property).and_then(Json::string);
            let (Some(model), Some(name), Some(kind)) =
                (text("parent"), text("name"), text("type").and_then(|declared| kind_of_type(&declared)))
            else {
                continue;
            };
            declared
                .kinds
                .entry((model.to_lowercase(), name.into_owned()))
                .and_modify(|known| *known = known.filter(|known| *known == kind))
                .or_insert(Some(kind));
        }
        declared
    }

    /// The same under the rules of objects.
    pub fn under(self, rules: &ByObject<Rules>) -> Declared {
        Declared { rules: rules.clone(), ..self }
    }

    pub(super) fn kind_of(&self, object: &Object, origin: Origin, name: &str) -> Option<ColumnType> {
        match origin {
            _ if self.rules.get(object.name).is_some_and(|rules| rules.of(origin, name).masks()) => Some(ColumnType::Text),
            Origin::Property => object.kind_of(name),
            Origin::Custom => self.declared_kind_of(object, name),
        }
    }

    fn declared_kind_of(&self, object: &Object, name: &str) -> Option<ColumnType> {
        *self.kinds.get(&(object.model.to_lowercase(), name.to_owned()))?
    }
}

/// The column type that holds all values of a declared type. A reference to one user or contact is an
/// id or an object, so its values decide, as for types that are not known here.
fn kind_of_type(declared: &str) -> Option<ColumnType> {
    Some(match declared {
        "number" | "rating" => ColumnType::Number,
        "checkbox" => ColumnType::Boolean,
        "day" | "date" => ColumnType::Time,
        "text" | "rich text" | "list" | "phone" | "email" | "url" => ColumnType::Text,
        "multipicklist" | "team members" | "endusers" => ColumnType::Json,
        _ => return None,
    })
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
        ]);
        let kind = |object: &str, name: &str| declared.kind_of(catalog::object(object).unwrap(), Origin::Custom, name);
        assert_eq!(kind("companies", "Seats"), Some(ColumnType::Number));
        assert_eq!(kind("endusers", "Seats"), Some(ColumnType::Text));
        assert_eq!(kind("licenses", "Seats"), None);
        assert_eq!((kind("companies", "Twin"), kind("companies", "Sponsor")), (None, None));
    }
}
