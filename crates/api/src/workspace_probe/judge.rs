//! What answers prove: pure functions from answers to what they prove, or to nothing.

use chrono::{DateTime, Utc};
use planhat_model::capability::HiddenListing;
use planhat_model::workspace_report::{OverLimitAnswer, SortAnswer};
use reqwest::StatusCode;

/// What the listing with archived records has, by the first pages of both in the order of ids. Of the hidden one `limit` records
/// were asked for.
pub(super) fn hidden_listing(plain: &[String], hidden: &[String], limit: usize) -> Option<HiddenListing> {
    // Where the order is another one, a record that is missing on a page may be on the next.
    if !plain.is_sorted() || !hidden.is_sorted() {
        return None;
    }
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
    // The server has given more records on one page than this one has, so that nothing was cut off.
    let is_whole = hidden.len() < plain.len().min(limit);
    HiddenListing::of_first_pages(&plain, &hidden, is_whole)
}

/// Whether a sort by a time is honoured: by the times on the first page newest first, and on the first page oldest first.
pub(super) fn sort(newest_first: &[Option<DateTime<Utc>>], oldest_first: &[Option<DateTime<Utc>>]) -> Option<SortAnswer> {
    let (Some(first_of_newest), Some(first_of_oldest)) = (newest_first.first(), oldest_first.first()) else { return None };
    // Where all times are the same, every order is right.
    if newest_first.iter().chain(oldest_first).all(|time| time == first_of_newest) {
        return None;
    }
    // A record without the time comes last, newest first.
    let is_newest_first = newest_first.is_sorted_by(|a, b| a >= b);
    let known = oldest_first.iter().flatten();
    let is_oldest_first = oldest_first.is_sorted() || known.is_sorted();
    match (is_newest_first, is_oldest_first) {
        (true, true) if first_of_newest > first_of_oldest => Some(SortAnswer::Honoured),
        // Nothing comes before the newest, so that one of both pages was not sorted from the beginning of the listing.
        (true, true) => None,
        (false, _) | (_, false) => Some(SortAnswer::Ignored),
    }
}

/// What a limit over the documented maximum did. `has_enough`: the listing has at least as many records as were asked for.
pub(super) fn over_limit(asked: usize, status: Option<u16>, records: Option<usize>, has_enough: bool) -> Option<OverLimitAnswer> {
    let status = StatusCode::from_u16(status?).ok()?;
    match (status, records) {
        (StatusCode::OK, Some(count)) if count >= asked => Some(OverLimitAnswer::Answered),
        (StatusCode::OK, Some(count)) if has_enough && count > 0 => Some(OverLimitAnswer::ClampedTo(count)),
        (StatusCode::OK, Some(_)) if !has_enough => Some(OverLimitAnswer::NotRefused),
        // Refused for another reason than the limit.
        (
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS,
            _,
        ) => None,
        (status, _) if status.is_client_error() => Some(OverLimitAnswer::RefusedWith(status.as_u16())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// `3 1 -`: two times and a record without one.
    fn times(text: &str) -> Vec<Option<DateTime<Utc>>> {
        text.split_whitespace().map(|day| day.parse().ok().and_then(|day: i64| DateTime::from_timestamp(day, 0))).collect()
    }

    #[test]
    fn the_hidden_listing_is_judged_by_pages_in_the_order_of_ids() {
        use HiddenListing::{Adds, Replaces};
        for (plain, hidden, limit, expected) in [
            ("a c", "a b c", 100, Some(Adds)),
            ("a c", "a c", 100, Some(Adds)),
            ("a c e", "b d", 100, Some(Replaces)),
            ("a c", "", 100, Some(Replaces)),
            ("a c e g", "b d", 100, Some(Replaces)),
            ("a c e", "a b", 100, None),
            // What was not asked for is not missing.
            ("a c e", "a b", 2, Some(Adds)),
            ("x y z", "a b", 2, None),
            ("", "a", 100, None),
            ("c a", "a b c", 100, None),
            ("a c", "d b", 100, None),
        ] {
            assert_eq!(hidden_listing(&ids(plain), &ids(hidden), limit), expected, "{plain} | {hidden} | {limit}");
        }
    }

    #[test]
    fn a_sort_is_proven_by_a_first_record_that_is_newer_and_by_pages_in_order() {
        use SortAnswer::{Honoured, Ignored};
        for (newest_first, oldest_first, expected) in [
            ("3 2 1", "1 2 3", Some(Honoured)),
            ("3 3 2", "1 1", Some(Honoured)),
            ("3 2 -", "- 2 3", Some(Honoured)),
            ("3 2 -", "2 3 -", Some(Honoured)),
            ("3 2", "- -", Some(Honoured)),
            // The same page whatever was asked for.
            ("2 3 1", "2 3 1", Some(Ignored)),
            ("1 2 3", "1 2 3", Some(Ignored)),
            ("3 2 1", "3 2 1", Some(Ignored)),
            ("- 3 2", "2 3 -", Some(Ignored)),
            // Nothing to tell by.
            ("2 2", "2 2", None),
            ("- -", "- -", None),
            ("2", "2", None),
            ("", "", None),
            ("", "1 2", None),
            // In between, the newest record was deleted: neither is proven.
            ("3 2", "3 4", None),
        ] {
            assert_eq!(sort(&times(newest_first), &times(oldest_first)), expected, "{newest_first} | {oldest_first}");
        }
    }

    #[test]
    fn a_limit_over_the_maximum_is_answered_clamped_refused_or_not_known() {
        use OverLimitAnswer::{Answered, ClampedTo, NotRefused, RefusedWith};
        for (status, records, has_enough, expected) in [
            (Some(200), Some(101), true, Some(Answered)),
            (Some(200), Some(101), false, Some(Answered)),
            (Some(200), Some(100), true, Some(ClampedTo(100))),
            (Some(200), Some(50), true, Some(ClampedTo(50))),
            (Some(200), Some(7), false, Some(NotRefused)),
            (Some(400), None, true, Some(RefusedWith(400))),
            (Some(422), None, false, Some(RefusedWith(422))),
            (Some(200), Some(0), true, None),
            (Some(200), None, true, None),
            (Some(401), None, true, None),
            (Some(403), None, true, None),
            (Some(404), None, true, None),
            (Some(429), None, true, None),
            (Some(500), None, true, None),
            (None, None, true, None),
        ] {
            assert_eq!(over_limit(101, status, records, has_enough), expected, "{status:?} {records:?} {has_enough}");
        }
    }
}
