//! What a person is told of records that are not stored: those that are older than the history, and those that rows refer to,
//! with the command that loads them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use planhat_store::MissingReferences;

use crate::run::records;

/// The records of an object that are older than the history, if there are any.
pub(super) fn left_out_line(object: &str, count: i64, before: Option<DateTime<Utc>>) -> Option<String> {
    let older = before.map_or_else(
        || "older than the history".to_owned(),
        |before| format!("older than the history (no edit or contact since {})", before.format("%Y-%m-%d")),
    );
    let (are, them) = if count == 1 { ("is", "it") } else { ("are", "them") };
    (count > 0).then(|| {
        let load = format!("`planhat-sync backfill --all {object}` loads {them}");
        format!("{} of {object} {are} {older} and not stored; {load}", records(count))
    })
}

/// The rows that refer to records that are not stored, a line for each object that is referred to.
pub(super) fn missing_lines<'a>(references: impl Iterator<Item = &'a MissingReferences>) -> Vec<String> {
    let mut by_object: BTreeMap<&str, Vec<&MissingReferences>> = BTreeMap::new();
    for missing in references {
        by_object.entry(&missing.refers_to).or_default().push(missing);
    }
    let mut lines = Vec::new();
    for (object, references) in by_object {
        let missing = places(&references, |of| of.rows);
        if !missing.is_empty() {
            let load = format!("`planhat-sync backfill --referenced {object}`");
            let what = if references.iter().any(|of| of.some_forgotten) { "those that were not forgotten" } else { "them" };
            lines.push(format!("{object} that rows refer to are not stored ({missing}); {load} loads {what}"));
        }
        let absent = places(&references, |of| of.absent_rows);
        if !absent.is_empty() {
            lines.push(format!("{object} that rows refer to do not exist at Planhat, or the token may not read them ({absent})"));
        }
    }
    lines
}

/// The references to objects that are not synced, in one line.
pub(super) fn not_synced_line<'a>(references: impl Iterator<Item = &'a MissingReferences>) -> Option<String> {
    let mut by_object: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for missing in references.filter(|missing| missing.rows > 0) {
        by_object.entry(&missing.refers_to).or_default().push(format!("{}.{}", missing.object, missing.property));
    }
    let objects: Vec<_> = by_object.iter().map(|(object, names)| format!("{object} (joined by {})", names.join(", "))).collect();
    (!objects.is_empty()).then(|| format!("joins with objects that are not synced find no rows: {}", objects.join(", ")))
}

/// `tickets.companyId in 3 rows, endusers.companyId in 1 row`
fn places(references: &[&MissingReferences], figure: fn(&MissingReferences) -> i64) -> String {
    let place = |of: &&MissingReferences| {
        let rows = match figure(of) {
            0 => return None,
            1 => "1 row".to_owned(),
            count => format!("{count} rows"),
        };
        Some(format!("{}.{} in {rows}", of.object, of.property))
    };
    references.iter().filter_map(place).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(object: &str, property: &str, refers_to: &str, rows: i64, absent_rows: i64) -> MissingReferences {
        let [object, property, refers_to] = [object, property, refers_to].map(str::to_owned);
        let some_forgotten = refers_to == "endusers";
        MissingReferences {
            object,
            property,
            refers_to,
            rows,
            records: rows,
            absent_rows,
            some_forgotten,
            counted_at: Utc::now(),
        }
    }

    #[test]
    fn records_that_are_not_stored_are_named_with_the_command_that_loads_them() {
        let before = Some("2022-11-22T12:00:00Z".parse().unwrap());
        let all = [
            missing("tickets", "companyId", "companies", 3, 0),
            missing("endusers", "companyId", "companies", 1, 2),
            missing("companies", "owner", "users", 0, 0),
            missing("tickets", "endusers", "endusers", 2, 0),
            missing("nps", "campaignId", "campaigns", 5, 0),
        ];
        let lines = [left_out_line("companies", 352, before), left_out_line("users", 1, None), left_out_line("nps", 0, before)];
        let lines = lines.into_iter().flatten().chain(missing_lines(all[..4].iter())).chain(not_synced_line(all[4..].iter()));
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
        352 records of companies are older than the history (no edit or contact since 2022-11-22) and not stored; `planhat-sync backfill --all companies` loads them
        1 record of users is older than the history and not stored; `planhat-sync backfill --all users` loads it
        companies that rows refer to are not stored (tickets.companyId in 3 rows, endusers.companyId in 1 row); `planhat-sync backfill --referenced companies` loads them
        companies that rows refer to do not exist at Planhat, or the token may not read them (endusers.companyId in 2 rows)
        endusers that rows refer to are not stored (tickets.endusers in 2 rows); `planhat-sync backfill --referenced endusers` loads those that were not forgotten
        joins with objects that are not synced find no rows: campaigns (joined by nps.campaignId)
        ");
    }
}
