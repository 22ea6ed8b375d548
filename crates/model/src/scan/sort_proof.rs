//! The proof that a listing comes newest first, which the first page of a sweep has to bring before the rest is left unread.
//!
//! A server may ignore `sort`, and a page in its own order may look sorted by chance: where all times are equal, or where it lists
//! the newest records first anyway. So the first page must begin with a time that is no older than the newest one that is known,
//! and once it must have been seen that the order follows the parameter: by rows that are in no order of ids, or by another first
//! row when the oldest are asked for.

use chrono::{DateTime, Utc};

use crate::record::Record;

/// What is known of the order before a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownOrder {
    /// The newest time that was seen in the same listing; none if nobody has seen all of it.
    pub newest: Option<DateTime<Utc>>,
    /// It was seen before that the order follows the parameter.
    pub is_honoured: bool,
}

/// What the first page of a sweep proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortProof {
    /// The rest is no newer than its last row.
    Proven,
    /// Only if the listing begins with a time before this one when the oldest are asked for.
    UnlessOldestIsNot(DateTime<Utc>),
    /// It may be in order, and proves nothing: say, because the newest record was deleted.
    Unproven,
    /// It is not in order; why.
    Disproved(&'static str),
}

/// Judges the first page of a listing that was asked for newest first by a time.
pub fn judge_first_page(field: &str, records: &[Record], known: KnownOrder) -> SortProof {
    let times: Vec<Option<DateTime<Utc>>> = records.iter().map(|record| record.instant(field)).collect();
    let Some(times) = times.into_iter().collect::<Option<Vec<_>>>() else {
        return SortProof::Disproved("a record does not have the time");
    };
    if times.windows(2).any(|pair| pair[0] < pair[1]) {
        return SortProof::Disproved("a newer record follows an older one");
    }
    let Some((&first, &last)) = times.first().zip(times.last()) else { return SortProof::Unproven };
    match known.newest {
        Some(newest) if first < newest => return SortProof::Unproven,
        Some(_) if known.is_honoured => return SortProof::Proven,
        _ => {}
    }
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let is_in_an_order_of_ids = ids.is_sorted() || ids.iter().rev().is_sorted();
    if first > last && !is_in_an_order_of_ids { SortProof::Proven } else { SortProof::UnlessOldestIsNot(first) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record_of;
    use serde_json::json;

    fn at(day: u32) -> DateTime<Utc> {
        format!("2025-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn page(rows: &[(&str, u32)]) -> Vec<Record> {
        let record = |(id, day): &(&str, u32)| {
            let time = (*day > 0).then(|| format!("2025-01-{day:02}T00:00:00.000Z"));
            record_of(&json!({"_id": id, "updatedAt": time}))
        };
        rows.iter().map(record).collect()
    }

    #[test]
    fn a_first_page_proves_the_order_or_says_what_it_lacks() {
        use SortProof::{Disproved, Proven, UnlessOldestIsNot, Unproven};
        let known = |newest: u32, is_honoured| KnownOrder { newest: Some(at(newest)), is_honoured };
        let nothing_known = KnownOrder::default();
        let mixed = &[("b", 20), ("c", 19), ("a", 18)][..];
        let by_id = &[("c", 20), ("b", 19), ("a", 18)][..];
        let same = &[("b", 20), ("c", 20), ("a", 20)][..];
        for (rows, known, expected) in [
            (mixed, known(20, false), Proven),
            (mixed, known(19, false), Proven),
            (mixed, nothing_known, Proven),
            // Something newer was seen before: the record may be deleted, or the sort ignored.
            (mixed, known(21, false), Unproven),
            (mixed, known(21, true), Unproven),
            // A server that lists the newest ids first, whatever is asked for, would show this too.
            (by_id, known(20, false), UnlessOldestIsNot(at(20))),
            (by_id, known(20, true), Proven),
            (&[("a", 20), ("b", 19)], known(20, false), UnlessOldestIsNot(at(20))),
            // Many edited at once.
            (same, known(20, false), UnlessOldestIsNot(at(20))),
            (same, known(20, true), Proven),
            (same, KnownOrder { newest: None, is_honoured: true }, UnlessOldestIsNot(at(20))),
            (&[("a", 20)], known(20, false), UnlessOldestIsNot(at(20))),
            (&[], known(20, true), Unproven),
            (&[("a", 19), ("b", 20)], known(20, true), Disproved("a newer record follows an older one")),
            (&[("a", 20), ("b", 0)], known(20, true), Disproved("a record does not have the time")),
        ] {
            assert_eq!(judge_first_page("updatedAt", &page(rows), known), expected, "{rows:?} {known:?}");
        }
    }
}
