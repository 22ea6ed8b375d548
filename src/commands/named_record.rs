//! Which company or end user somebody means by a name.

use planhat_model::catalog::Object;
use planhat_model::error::exit_code as exit;
use planhat_store::{self as store, NameQuery, NamedRecord, Store};

use crate::command_error::CommandError;
use crate::print;
use crate::workspace::Workspace;

/// Records that are compared with what was asked.
const CANDIDATES: i64 = 200;
/// Of those that a text may mean, as many are named.
const LISTED: usize = 10;
/// Among as many names one is searched that is like the one asked for.
const SIMILAR_AMONG: i64 = 20_000;

/// Whom a text means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meant {
    One(NamedRecord),
    Several(Vec<NamedRecord>),
    Nobody,
}

/// Chooses by what says most: the id, then a whole name, then one in other letters, then its beginning, then any part of it.
fn choose(text: &str, candidates: Vec<NamedRecord>) -> Meant {
    let lower = text.to_lowercase();
    let rank = |record: &NamedRecord| {
        let any = |is: &dyn Fn(&str) -> bool| record.names.iter().any(|name| is(name));
        match () {
            () if record.id == text => Some(0),
            () if any(&|name| name == text) => Some(1),
            () if any(&|name| name.to_lowercase() == lower) => Some(2),
            () if any(&|name| name.to_lowercase().starts_with(&lower)) => Some(3),
            () if any(&|name| name.to_lowercase().contains(&lower)) => Some(4),
            () => None,
        }
    };
    let mut ranked: Vec<(i32, NamedRecord)> =
        candidates.into_iter().filter_map(|record| Some((rank(&record)?, record))).collect();
    let best = ranked.iter().map(|(rank, _)| *rank).min();
    ranked.retain(|(rank, _)| Some(*rank) == best);
    let mut best: Vec<NamedRecord> = ranked.into_iter().map(|(_, record)| record).collect();
    match best.len() {
        0 => Meant::Nobody,
        1 => Meant::One(best.remove(0)),
        _ => Meant::Several(best),
    }
}

/// Looks for the one record of an object that a text means. If several may be meant, the error names them.
pub(super) async fn find(
    store: &Store,
    workspace: &Workspace,
    object: &'static Object,
    text: &str,
) -> Result<Option<NamedRecord>, CommandError> {
    let query = NameQuery { schema: &store.schema, object, rules: workspace.settings.rules.get(object.name) };
    let candidates = store.read_only(async |db| store::named_records(db, query, text, CANDIDATES).await).await?;
    match choose(text, candidates) {
        Meant::One(record) => Ok(Some(record)),
        Meant::Nobody => Ok(None),
        Meant::Several(records) => {
            let mut listed: Vec<String> = records.iter().take(LISTED).map(in_words).collect();
            if records.len() > LISTED {
                listed.push(format!("and {} more", records.len() - LISTED));
            }
            let several = anyhow::anyhow!("{:?} may mean several {}: {}", text, object.name, listed.join(", "));
            Err(CommandError::new(exit::CONFIGURATION, several, Some("give the id of the one that you mean")))
        }
    }
}

/// What to say where nobody is meant.
pub(super) async fn nobody(
    store: &Store,
    workspace: &Workspace,
    object: &'static Object,
    text: &str,
) -> Result<String, CommandError> {
    let query = NameQuery { schema: &store.schema, object, rules: workspace.settings.rules.get(object.name) };
    let some = store.read_only(async |db| store::some_named_records(db, query, SIMILAR_AMONG).await).await?;
    let names = some.iter().flat_map(|record| record.names.iter().map(String::as_str));
    let similar = crate::config::nearest(text, names).map(|name| format!("; did you mean {:?}?", print::shortened(name, 60)));
    let (none, looked_at) = match object.name {
        "companies" => ("no company has", "name or externalId"),
        "endusers" => ("no end user has", "name, email or externalId"),
        _ => ("no record has", "name or externalId"),
    };
    Ok(format!("{none} {text:?} as its id, or in its {looked_at}{}", similar.unwrap_or_default()))
}

/// `Acme (64b0…)`.
pub(super) fn in_words(record: &NamedRecord) -> String {
    match record.names.first() {
        Some(name) => format!("{} ({})", print::shortened(name, 60), print::on_one_line(&record.id)),
        None => print::on_one_line(&record.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_means_the_record_of_which_it_says_most() {
        let record = |id: &str, names: &[&str]| NamedRecord {
            id: id.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let all = || {
            vec![
                record("1", &["Acme", "ext-1"]),
                record("2", &["ACME"]),
                record("3", &["Acme Nord"]),
                record("4", &["Old Bolt"]),
                record("5", &["Bolt and Sons"]),
                record("Acme", &["Named like an id"]),
                record("6", &["Bolt and Daughters"]),
                record("7", &[]),
            ]
        };
        for (text, expected) in [
            ("Acme", vec!["Acme"]),
            ("ACME", vec!["2"]),
            ("acme", vec!["1", "2"]),
            ("acme n", vec!["3"]),
            ("nord", vec!["3"]),
            ("EXT-1", vec!["1"]),
            ("bolt", vec!["5", "6"]),
            ("old", vec!["4"]),
            ("7", vec!["7"]),
            ("nobody", vec![]),
        ] {
            let ids = match choose(text, all()) {
                Meant::One(record) => vec![record.id],
                Meant::Several(records) => records.into_iter().map(|record| record.id).collect(),
                Meant::Nobody => vec![],
            };
            assert_eq!(ids, expected, "{text}");
        }
    }
}
