//! A page as it came, and its elements: what identifies each, and what it holds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::record::{Record, Rejected};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes_in_flight::ReservedBytes;
use crate::client::ListResponse;

/// A page as Planhat sent it, with its records parsed.
#[derive(Debug, Default)]
pub(crate) struct FetchedPage {
    pub(crate) entries: Vec<PageEntry>,
    pub(crate) bytes: u64,
    pub(crate) served_at: Option<DateTime<Utc>>,
    pub(crate) answered_in: Duration,
    pub(crate) reserved: ReservedBytes,
}

/// One element of a page.
#[derive(Debug)]
pub(crate) struct PageEntry {
    /// A hash of its id, or of its content if it has none.
    pub(crate) key: u64,
    /// A hash of its content.
    pub(crate) content: u64,
    pub(crate) id: Option<String>,
    pub(crate) parsed: Result<Record, Rejected>,
}

impl FetchedPage {
    pub(crate) fn read(listed: ListResponse) -> FetchedPage {
        let ListResponse { records, bytes, served_at, answered_in } = listed;
        let entries = records.into_iter().map(PageEntry::read).collect();
        FetchedPage { entries, bytes, served_at, answered_in, reserved: ReservedBytes::default() }
    }
}

impl PageEntry {
    pub(crate) fn read(raw: Box<RawValue>) -> PageEntry {
        let content = xxh3_64(raw.get().as_bytes());
        let parsed = Record::parse(raw);
        let id = parsed.as_ref().ok().map(|record| record.id.clone());
        let key = id.as_deref().map_or(content, hash_of_id);
        PageEntry { key, content, id, parsed }
    }
}

pub(crate) fn hash_of_id(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

/// Entries for tests: one per id, with a version that stands for the rest of the record.
#[cfg(test)]
pub(crate) fn entries_of<'a>(versions: impl IntoIterator<Item = (&'a str, u32)>) -> Vec<PageEntry> {
    let entry = |(id, version): (&str, u32)| {
        let text = serde_json::json!({"_id": id, "version": version}).to_string();
        PageEntry::read(RawValue::from_string(text).unwrap())
    };
    versions.into_iter().map(entry).collect()
}

/// An entry for tests whose record has no id, so that it is rejected.
#[cfg(test)]
pub(crate) fn entry_without_id() -> PageEntry {
    PageEntry::read(RawValue::from_string(r#"{"name": "no id"}"#.to_owned()).unwrap())
}
