//! Names in the rules for objects that mean nothing in this workspace, or not all that they seem to: a rule for a misspelt name
//! is none. `check` warns of them.

use std::time::Duration;

use planhat_api::Client;
use planhat_model::catalog::{self, ByObject, Object};
use planhat_model::flatten::{Columns, Declared};
use planhat_model::record::Origin;
use planhat_model::rules::{NamedField, folded, named};
use planhat_store::{self as store, Store};
use tokio::time::timeout;

use super::finding::Finding;
use crate::config::{Settings, nearest};
use crate::run;
use crate::workspace::Workspace;

/// The columns of the objects whose properties the settings name.
pub(super) async fn columns_with_rules(store: &Store, settings: &Settings) -> Result<ByObject<Columns>, store::StoreError> {
    let mut columns = ByObject::new();
    for (_, object, _) in settings.names_of_properties() {
        if !columns.contains_key(object.name) {
            let of_object = store.read_only(async |db| store::load_columns(db, &store.schema, object).await).await?;
            columns.insert(object.name, of_object);
        }
    }
    Ok(columns)
}

/// The declarations of custom fields, if the settings name properties and the token may read them.
pub(super) async fn declared_fields(workspace: &Workspace, client: Option<&Client>, time_limit: Duration) -> Option<Declared> {
    workspace.settings.names_of_properties().next()?;
    let client = client?.for_object(catalog::object("customfields")?);
    let read = run::read_declarations(&client, workspace.limits().pages);
    match timeout(time_limit, read).await {
        Ok((records, None)) => Some(Declared::from_records(&records)),
        _ => None,
    }
}
/// What is doubtful of each name.
pub(super) fn check_names_in_rules(
    settings: &Settings,
    declared: &Option<Declared>,
    columns: &ByObject<Columns>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (setting, object, name) in settings.names_of_properties() {
        let (origin, bare) = match named(name) {
            NamedField::AllCustom => continue,
            NamedField::Custom(field) => (Origin::Custom, field),
            NamedField::Property(property) => (Origin::Property, property),
        };
        let known = names_known(object, origin, declared.as_ref(), columns.get(object.name));
        if let Some(doubt) = doubt_of(&bare, origin, &known) {
            findings.push(Finding::warn("settings", format!("{setting} names {name:?}, {doubt}")));
            continue;
        }
        let all_named: Vec<NamedField> =
            settings.names_of_properties().filter(|(_, of, _)| of.name == object.name).map(|(.., name)| named(name)).collect();
        let is_named =
            |field: &str| all_named.contains(&NamedField::AllCustom) || all_named.contains(&named(&full(origin, field)));
        let twin = known.iter().find(|field| is_case_twin(field, &bare) && !is_named(field));
        if let Some(twin) = twin {
            let text =
                format!("{setting} names {name:?}, but not {:?}, which differs in upper and lower case only", full(origin, twin));
            findings.push(Finding::warn("settings", text));
        }
    }
    findings
}

/// The names of the properties or custom fields of an object as far as they are documented, declared or stored.
fn names_known<'a>(
    object: &'static Object,
    origin: Origin,
    declared: Option<&'a Declared>,
    columns: Option<&'a Columns>,
) -> Vec<&'a str> {
    let mut known: Vec<&str> = match origin {
        Origin::Property => object.documented().map(|(property, _)| property).collect(),
        Origin::Custom => declared.into_iter().flat_map(|declared| declared.custom_fields_of(object)).collect(),
    };
    let stored = columns.into_iter().flat_map(Columns::iter).filter(|column| column.origin == origin);
    known.extend(stored.map(|column| column.planhat_name.as_str()));
    known
}

/// Why a name may be a mistake, if none of those that are known looks like it.
fn doubt_of(bare: &str, origin: Origin, known: &[&str]) -> Option<String> {
    // Of custom fields nothing may be known yet.
    if known.is_empty() || known.iter().any(|known| folded(known) == bare) {
        return None;
    }
    let renamed = catalog::renamed_to(bare).filter(|property| origin == Origin::Property && known.contains(property));
    let in_other_case = known.iter().find(|known| is_case_twin(known, bare)).copied();
    let meant = renamed.or(in_other_case).or_else(|| nearest(bare, known.iter().copied()));
    let what = if origin == Origin::Custom { "custom field" } else { "property" };
    Some(match meant {
        Some(meant) => format!("but no {what} has this name; did you mean {:?}?", full(origin, meant)),
        None => format!("but no {what} has this name so far; if one appears, the setting applies to it"),
    })
}

fn is_case_twin(name: &str, other: &str) -> bool {
    let name = folded(name);
    name != other && name.to_lowercase() == other.to_lowercase()
}

/// As the settings name it.
fn full(origin: Origin, name: &str) -> String {
    format!("{}{name}", if origin == Origin::Custom { "custom." } else { "" })
}
