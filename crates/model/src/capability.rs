//! Capabilities: what was learned of how a workspace answers.
//!
//! Much of the API is not documented, and what holds for one workspace may not hold for another. So a capability is proven by an
//! answer, used to save calls, and taken back when another answer disproves it. It never replaces a proof: whoever relies on
//! one looks again, with every scan, whether it still holds.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What can be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// What the parameter that asks for archived records does.
    Hidden,
    /// Whether a listing comes newest first when asked to, and each record has the time.
    Sort,
    /// How many records one call brings.
    Limit,
    /// What a 429 carries.
    Throttling,
    /// Whether `/dimensiondata` answers.
    DimensionData,
}

impl Capability {
    pub const ALL: [Capability; 5] =
        [Capability::Hidden, Capability::Sort, Capability::Limit, Capability::Throttling, Capability::DimensionData];

    /// Its name in tables and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Hidden => "hidden",
            Capability::Sort => "sort",
            Capability::Limit => "limit",
            Capability::Throttling => "throttling",
            Capability::DimensionData => "dimensiondata",
        }
    }
}

/// What the listing that is asked for with the hidden parameter (`archived=true`) has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HiddenListing {
    /// Archived records and all others, so that the plain listing need not be read too.
    Adds,
    /// Archived records alone.
    Replaces,
}

impl HiddenListing {
    pub fn as_str(self) -> &'static str {
        match self {
            HiddenListing::Adds => "adds",
            HiddenListing::Replaces => "replaces",
        }
    }

    pub fn from_name(name: &str) -> Option<HiddenListing> {
        [HiddenListing::Adds, HiddenListing::Replaces].into_iter().find(|listing| listing.as_str() == name)
    }

    /// Judges by the first pages of both listings in the order of ids. None if they prove neither, or if there is nothing in
    /// the plain listing to compare.
    ///
    /// `hidden_is_whole` says that the second page is the whole listing; else only ids up to its last one can be compared.
    pub fn of_first_pages(plain: &[&str], hidden: &[&str], hidden_is_whole: bool) -> Option<HiddenListing> {
        let last = hidden.iter().max();
        let comparable: Vec<&&str> = plain.iter().filter(|id| hidden_is_whole || last.is_some_and(|last| *id <= last)).collect();
        let found = comparable.iter().filter(|id| hidden.contains(id)).count();
        match (comparable.len(), found) {
            (0, _) => None,
            (all, found) if all == found => Some(HiddenListing::Adds),
            (_, 0) => Some(HiddenListing::Replaces),
            _ => None,
        }
    }
}

/// What was learned of a sort, as it is stored: the times that a scan of everything has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SortDetail {
    /// The newest time in the plain listing.
    pub newest: Option<DateTime<Utc>>,
    /// The newest time in the listing with hidden records.
    pub newest_with_hidden: Option<DateTime<Utc>>,
    /// The oldest time of all.
    pub oldest: Option<DateTime<Utc>>,
    /// Whether a listing has come newest first when asked to. Without it, only the times of all records are known.
    pub is_honoured: bool,
}

impl SortDetail {
    pub fn newest_of(&self, hidden: bool) -> Option<DateTime<Utc>> {
        if hidden { self.newest_with_hidden } else { self.newest }
    }

    /// A listing has shown this time.
    pub fn add(&mut self, hidden: bool, time: DateTime<Utc>) {
        let newest = if hidden { &mut self.newest_with_hidden } else { &mut self.newest };
        *newest = (*newest).max(Some(time));
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
    }

    /// Whether an order by these times can be told from any other.
    pub fn has_an_order(&self) -> bool {
        self.newest.max(self.newest_with_hidden) > self.oldest
    }
}

/// What was learned of pages, as it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitDetail {
    /// The bytes of an average record.
    pub bytes_per_record: u64,
    /// A larger limit than the value that was asked for, and not answered in full.
    pub asked: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_has_one_name_in_tables_and_in_json() {
        assert_eq!(Capability::ALL.map(Capability::as_str), ["hidden", "sort", "limit", "throttling", "dimensiondata"]);
        for capability in Capability::ALL {
            assert_eq!(serde_json::to_value(capability).unwrap(), capability.as_str());
        }
        for listing in [HiddenListing::Adds, HiddenListing::Replaces] {
            assert_eq!(HiddenListing::from_name(listing.as_str()), Some(listing));
        }
    }

    #[test]
    fn first_pages_prove_what_the_hidden_listing_has() {
        use HiddenListing::{Adds, Replaces};
        for (plain, hidden, is_whole, expected) in [
            (&["a", "c", "e"][..], &["a", "b", "c"][..], false, Some(Adds)),
            (&["a", "c", "e"], &["a", "b", "c", "e"], true, Some(Adds)),
            (&["a"], &["a"], true, Some(Adds)),
            // What comes behind the hidden page cannot be compared, unless that page is all there is.
            (&["a", "c", "e"], &["a", "b", "c"], true, None),
            (&["x", "y"], &["a", "b"], false, None),
            (&["x", "y"], &["a", "b"], true, Some(Replaces)),
            (&["a", "c", "e"], &["b", "d"], false, Some(Replaces)),
            (&["a", "c"], &[], true, Some(Replaces)),
            // Some are in both: one was archived in between, or the order is another one.
            (&["a", "c", "e"], &["a", "b", "d", "f"], false, None),
            // Nothing to compare.
            (&[], &["b"], true, None),
            (&[], &[], true, None),
        ] {
            assert_eq!(HiddenListing::of_first_pages(plain, hidden, is_whole), expected, "{plain:?} {hidden:?} {is_whole}");
        }
    }

    #[test]
    fn a_detail_of_a_later_or_earlier_release_is_read_as_far_as_it_is_known() {
        assert_eq!(serde_json::from_str::<SortDetail>(r#"{"more": 1}"#).unwrap(), SortDetail::default());
        assert_eq!(serde_json::from_str::<LimitDetail>("{}").unwrap(), LimitDetail::default());
    }
}
