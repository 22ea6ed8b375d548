//! How values are written in settings: durations, addresses, secrets, and lists of names.

use std::net::SocketAddr;
use std::time::Duration;

use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_model::scan::{History, ReconcileEvery, SortedObjects};
use secrecy::SecretString;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};

use super::SettingsError;

/// The most similar name; one that begins with what was given before any other, since people leave out ends.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (!given.is_empty() && name.starts_with(given), strsim::jaro_winkler(given, name), name))
        .filter(|(is_beginning, likeness, _)| *is_beginning || *likeness > 0.8)
        .max_by(|(a_begins, a, _), (b_begins, b, _)| a_begins.cmp(b_begins).then(a.total_cmp(b)))
        .map(|(.., name)| name)
}

/// The objects of these names, each once; the error says which name is wrong and which was meant.
pub fn objects_named<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static Object>, SettingsError> {
    let mut objects: Vec<&'static Object> = Vec::new();
    let find = |name: &str| {
        catalog::object(name).ok_or_else(|| {
            let all = || catalog::OBJECTS.iter().map(|object| object.name);
            let meant = nearest(name, all()).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
            SettingsError::UnknownObject(format!(
                "unknown object {name:?}{meant} (the objects are {})",
                all().collect::<Vec<_>>().join(", ")
            ))
        })
    };
    for name in names {
        let object = find(name.as_ref().trim())?;
        if !objects.iter().any(|known| known.name == object.name) {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// One of the words that an enum has for its variants; the error names them.
pub(super) fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(input)?.into_deserializer())
}

/// An empty text is no address, and neither is "off".
pub(super) fn address<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(input)?;
    if ["", "off"].contains(&text.trim()) {
        return Ok(None);
    }
    let wrong = |_| serde::de::Error::custom(format!("{text:?} is not an address like \"127.0.0.1:9437\", and not \"off\""));
    text.trim().parse().map(Some).map_err(wrong)
}

/// An empty text is no secret.
pub(super) fn secret<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(input)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

pub(super) fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("{text:?} is not a duration like \"90s\" or \"72h\": {error}")))
}

/// A duration; none for "auto".
pub(super) fn duration_or_auto<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(input)?;
    if text.trim() == "auto" {
        return Ok(None);
    }
    let wrong = |error| serde::de::Error::custom(format!("{text:?} is neither \"auto\" nor a duration like \"10s\": {error}"));
    humantime::parse_duration(&text).map(Some).map_err(wrong)
}

/// How far back: a duration, or "all".
pub(super) fn history<'de, D: Deserializer<'de>>(input: D) -> Result<History, D::Error> {
    let text = String::deserialize(input)?;
    if text.trim() == "all" {
        return Ok(History::All);
    }
    let wrong = |error| {
        serde::de::Error::custom(format!("{text:?} is neither \"all\" nor a duration like \"4years\" or \"90days\": {error}"))
    };
    humantime::parse_duration(&text).map(History::Within).map_err(wrong)
}

/// The same where it need not be set.
pub(super) fn history_if_any<'de, D: Deserializer<'de>>(input: D) -> Result<Option<History>, D::Error> {
    history(input).map(Some)
}

/// How often everything is compared: a duration, or "auto".
pub(super) fn reconcile_every<'de, D: Deserializer<'de>>(input: D) -> Result<ReconcileEvery, D::Error> {
    let text = String::deserialize(input)?;
    if text.trim() == "auto" {
        return Ok(ReconcileEvery::AsTheQuotaAllows);
    }
    let wrong = |error| {
        serde::de::Error::custom(format!("{text:?} is neither \"auto\" nor a duration like \"7days\" or \"24h\": {error}"))
    };
    humantime::parse_duration(&text).map(ReconcileEvery::Fixed).map_err(wrong)
}

/// Rows of a page: a number, or "auto".
pub(super) fn page_size<'de, D: Deserializer<'de>>(input: D) -> Result<RowsPerPage, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum PageSize {
        Number(i64),
        Text(String),
    }
    let wrong =
        |given: &dyn std::fmt::Display| serde::de::Error::custom(format!("{given} is neither \"auto\" nor a number of records"));
    match PageSize::deserialize(input)? {
        PageSize::Number(rows) => u32::try_from(rows).map(RowsPerPage::Fixed).map_err(|_| wrong(&rows)),
        PageSize::Text(text) if text.trim() == "auto" => Ok(RowsPerPage::Auto),
        PageSize::Text(text) => text.trim().parse().map(RowsPerPage::Fixed).map_err(|_| wrong(&format_args!("{text:?}"))),
    }
}

/// The objects to sync: "all", or an empty list for the default ones.
pub(super) fn objects<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<&'static Object>, D::Error> {
    match names(input)?.as_slice() {
        [] => Ok(catalog::default_objects()),
        [all] if all.trim() == "all" => Ok(catalog::OBJECTS.iter().collect()),
        names => objects_named(names).map_err(serde::de::Error::custom),
    }
}

/// The objects to read newest first: "auto", "all" that have a modification time, or "none".
pub(super) fn sorted<'de, D: Deserializer<'de>>(input: D) -> Result<SortedObjects, D::Error> {
    let objects = match names(input)?.as_slice() {
        [auto] if auto.trim() == "auto" => return Ok(SortedObjects::Auto),
        [none] if none.trim() == "none" => Vec::new(),
        [all] if all.trim() == "all" => catalog::OBJECTS.iter().filter(|object| !object.sweeps().is_empty()).collect(),
        names => objects_named(names).map_err(serde::de::Error::custom)?,
    };
    Ok(SortedObjects::Named(objects.into_iter().map(|object| object.name).collect()))
}

/// A list, or a text with commas as the environment has it.
pub(super) fn names<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Names::deserialize(input)? {
        Names::List(names) => names,
        Names::Text(text) if text.trim().is_empty() => Vec::new(),
        Names::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
    })
}

pub(super) fn names_if_any<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<String>>, D::Error> {
    names(input).map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{message, with};
    use super::nearest;

    #[test]
    fn the_nearest_name_is_one_that_begins_with_what_was_given_or_else_the_most_similar() {
        let names = ["planhat__alerts", "planhat__seats__custom", "planhat__state", "planhat__seats_in_use__custom"];
        let check = |given, expected| assert_eq!(nearest(given, names.into_iter()), expected, "{given}");
        check("planhat__seat", Some("planhat__seats__custom"));
        check("planhat__seats_in", Some("planhat__seats_in_use__custom"));
        check("planhat__alert", Some("planhat__alerts"));
        check("planhat__alrets", Some("planhat__alerts"));
        check("planhat__stat", Some("planhat__state"));
        check("nothing like it", None);
        check("", None);
    }

    #[test]
    fn a_setting_that_is_one_of_a_few_words_names_them_when_it_is_another() {
        let message = message(with(&[("PLANHAT_SYNC__LOG__FORMAT", "xml")]));
        assert!(message.ends_with("unknown variant `xml`, expected `text` or `json` for key `log.format`"), "{message}");
    }
}
