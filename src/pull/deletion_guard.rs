//! The deletion guard: how many rows may be marked as deleted before the answers are more likely wrong than the rows.
//!
//! A listing that misses records looks the same as one whose records were deleted, and an id that is requested with the token of
//! another workspace is not found either. So too large a share of one table is held back, and so is too large a share of all tables
//! together, because each table may be small. Rows that are held back are marked only with `--allow-deletes`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use planhat_store::UnlistedRows;
use tokio::sync::OnceCell;

/// Half of a table is held back only if it is at least this many rows.
const MIN_ROWS_FOR_HALF_RULE: i64 = 5;

/// The limits from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionGuard {
    /// False with --allow-deletes.
    pub enabled: bool,
    pub max_percent: u8,
    pub max_rows: u32,
}

/// The limit that holds rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// More than both settings, of one table.
    TableLimit(DeletionGuard),
    /// At least half of one table.
    HalfOfTable,
    /// More than both settings, of all tables together.
    RunLimit { unlisted: i64, rows: i64, guard: DeletionGuard },
}

impl DeletionGuard {
    /// Whether the rows of one table that were not listed may be requested by id, and marked if Planhat answers 404.
    pub(super) fn check_table(self, UnlistedRows { rows, unlisted }: UnlistedRows) -> Result<(), HeldBack> {
        if self.enabled && self.exceeds_limits(unlisted, rows) {
            Err(HeldBack::TableLimit(self))
        } else if self.enabled && unlisted >= MIN_ROWS_FOR_HALF_RULE && unlisted * 2 >= rows {
            Err(HeldBack::HalfOfTable)
        } else {
            Ok(())
        }
    }

    fn exceeds_limits(self, unlisted: i64, rows: i64) -> bool {
        unlisted > i64::from(self.max_rows) && unlisted * 100 > i64::from(self.max_percent) * rows
    }
}

/// What all objects of a run may mark together: each reserves its rows before it asks for them.
#[derive(Debug, Default)]
pub struct DeletionReservations {
    reserved: Mutex<HashMap<&'static str, i64>>,
    /// The rows of all tables, counted once when first needed.
    rows: OnceCell<i64>,
}

impl DeletionReservations {
    pub(super) async fn total_rows<E>(&self, count: impl Future<Output = Result<i64, E>>) -> Result<i64, E> {
        self.rows.get_or_try_init(|| count).await.copied()
    }

    /// Reserves the rows of an object, those included that it has marked already, in place of what it had reserved before.
    /// What is held back reserves nothing.
    pub(super) fn reserve(&self, guard: DeletionGuard, object: &'static str, unlisted: i64, rows: i64) -> Result<(), HeldBack> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let others: i64 = reserved.iter().filter(|(of, _)| **of != object).map(|(_, unlisted)| unlisted).sum();
        let together = others + unlisted;
        if guard.enabled && guard.exceeds_limits(together, rows) {
            return Err(HeldBack::RunLimit { unlisted: together, rows, guard });
        }
        reserved.insert(object, unlisted);
        Ok(())
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeldBack::TableLimit(guard) => write!(f, "more than {guard} allow"),
            HeldBack::HalfOfTable => write!(f, "half of the table or more"),
            HeldBack::RunLimit { unlisted, rows, guard } => {
                write!(f, "which makes {unlisted} of {rows} in all tables of this run, more than {guard} allow")
            }
        }
    }
}

impl fmt::Display for DeletionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deletions.max_rows ({}) and deletions.max_percent ({} %)", self.max_rows, self.max_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUARD: DeletionGuard = DeletionGuard { enabled: true, max_percent: 20, max_rows: 100 };

    #[test]
    fn the_deletion_guard_holds_back_too_large_a_share_of_a_table() {
        let check = |unlisted, rows, expected: Result<(), HeldBack>| {
            assert_eq!(GUARD.check_table(UnlistedRows { rows, unlisted }), expected, "{unlisted} of {rows}");
        };
        let settings = Err(HeldBack::TableLimit(GUARD));
        check(201, 1000, settings);
        check(200, 1000, Ok(()));
        check(101, 101, settings);
        check(101, 1_000_000, Ok(()));
        check(100, 200, Err(HeldBack::HalfOfTable));
        check(99, 200, Ok(()));
        check(29, 57, Err(HeldBack::HalfOfTable));
        check(28, 57, Ok(()));
        check(5, 10, Err(HeldBack::HalfOfTable));
        check(5, 11, Ok(()));
        check(4, 4, Ok(()));
        check(5, 5, Err(HeldBack::HalfOfTable));
        check(0, 0, Ok(()));
    }

    #[test]
    fn the_deletion_guard_holds_back_too_large_a_share_of_all_tables_together() {
        let deletion_reservations = DeletionReservations::default();
        let reserve = |object, unlisted| deletion_reservations.reserve(GUARD, object, unlisted, 450).is_ok();
        assert!(reserve("assets", 40));
        assert!(reserve("churn", 40));
        assert!(!reserve("issues", 30), "110 of 450 are more than 100 and more than 20 %");
        assert!(reserve("users", 10), "what is held back takes nothing from the others");
        assert!(reserve("assets", 50), "what an object reserves again takes the place of what it had");
        assert!(!reserve("assets", 51));
        assert!(DeletionReservations::default().reserve(GUARD, "assets", 110, 550).is_ok(), "20 % of all, but not more");
    }

    #[tokio::test]
    async fn the_rows_of_all_tables_are_counted_once_in_a_run() {
        let deletion_reservations = DeletionReservations::default();
        let failed = deletion_reservations.total_rows(async { Err("no connection") }).await;
        assert_eq!(failed, Err("no connection"));
        for counted in [450, 460] {
            assert_eq!(deletion_reservations.total_rows(async { Ok::<_, ()>(counted) }).await, Ok(450));
        }
    }

    #[test]
    fn allow_deletes_turns_the_deletion_guard_off() {
        let guard = DeletionGuard { enabled: false, ..GUARD };
        assert_eq!(guard.check_table(UnlistedRows { rows: 1000, unlisted: 1000 }), Ok(()));
        assert_eq!(DeletionReservations::default().reserve(guard, "assets", 1000, 1000), Ok(()));
    }

    #[test]
    fn the_message_of_the_deletion_guard_names_the_limit_that_was_exceeded() {
        let said = |held: HeldBack| held.to_string();
        assert_eq!(
            said(HeldBack::TableLimit(GUARD)),
            "more than deletions.max_rows (100) and deletions.max_percent (20 %) allow"
        );
        assert_eq!(said(HeldBack::HalfOfTable), "half of the table or more");
        assert_eq!(
            said(HeldBack::RunLimit { unlisted: 110, rows: 450, guard: GUARD }),
            "which makes 110 of 450 in all tables of this run, more than deletions.max_rows (100) and deletions.max_percent (20 %) allow"
        );
    }

    proptest! {
        #[test]
        fn a_run_over_any_number_of_tables_marks_no_more_rows_than_the_settings_allow(
            tables in prop::collection::vec((0_i64..3000, 0_i64..=100), 1..14),
            max_percent in 0_u8..=100,
            max_rows in 0_u32..300,
        ) {
            let guard = DeletionGuard { enabled: true, max_percent, max_rows };
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
            let all: i64 = tables.iter().map(|(rows, _)| rows).sum();
            let deletion_reservations = DeletionReservations::default();
            let mut marked = 0;
            for ((of_table, share), name) in tables.into_iter().zip(names) {
                let unlisted = of_table * share / 100;
                let presence = UnlistedRows { rows: of_table, unlisted };
                if guard.check_table(presence).is_ok() && deletion_reservations.reserve(guard, name, unlisted, all).is_ok() {
                    prop_assert!(unlisted < MIN_ROWS_FOR_HALF_RULE || unlisted * 2 < of_table);
                    marked += unlisted;
                }
            }
            prop_assert!(marked <= i64::from(max_rows).max(all * i64::from(max_percent) / 100));
        }
    }
}
