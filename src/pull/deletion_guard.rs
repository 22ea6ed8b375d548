//! The deletion guard: how many rows may seem gone before it is rather the answers that are wrong.
//!
//! A listing that fails to show records looks the same as one whose records were deleted, and an id that is asked for
//! with the token of another workspace is not found either. So an unlikely share of a table is held back, and so is an
//! unlikely share of all tables: each of them may be small. What is held back waits for a person's word.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use planhat_store::Presence;
use tokio::sync::OnceCell;

/// Half of a table is unlikely, if it is so many rows.
const FEW: i64 = 5;

/// The bounds, as the user has set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Off when the user says that it is right.
    pub on: bool,
    pub percent: u8,
    pub rows: u32,
}

/// The bound that holds rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// More than both settings, of one table.
    Settings(Brake),
    /// At least half of one table.
    Half,
    /// More than both settings, of all tables together.
    Together { unseen: i64, rows: i64, guard: Brake },
}

impl Brake {
    /// Whether the rows of one table that were not listed may be asked for, and marked where they are not found.
    pub(super) fn admits(self, Presence { rows, unseen }: Presence) -> Result<(), Held> {
        if self.on && self.is_passed(unseen, rows) {
            Err(Held::Settings(self))
        } else if self.on && unseen >= FEW && unseen * 2 >= rows {
            Err(Held::Half)
        } else {
            Ok(())
        }
    }

    fn is_passed(self, unseen: i64, rows: i64) -> bool {
        unseen > i64::from(self.rows) && unseen * 100 > i64::from(self.percent) * rows
    }
}

/// What all objects of a run may mark together: each reserves its rows before it asks for them.
#[derive(Debug, Default)]
pub struct Ledger {
    reserved: Mutex<HashMap<&'static str, i64>>,
    /// The rows of all tables, counted once, where somebody wants to know.
    rows: OnceCell<i64>,
}

impl Ledger {
    pub(super) async fn rows_of_all<E>(&self, count: impl Future<Output = Result<i64, E>>) -> Result<i64, E> {
        self.rows.get_or_try_init(|| count).await.copied()
    }

    /// Reserves the rows of an object, those included that it has marked already, in place of what it had reserved before.
    /// What is held back reserves nothing.
    pub(super) fn reserve(&self, guard: Brake, object: &'static str, unseen: i64, rows: i64) -> Result<(), Held> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let others: i64 = reserved.iter().filter(|(of, _)| **of != object).map(|(_, unseen)| unseen).sum();
        let together = others + unseen;
        if guard.on && guard.is_passed(together, rows) {
            return Err(Held::Together { unseen: together, rows, guard });
        }
        reserved.insert(object, unseen);
        Ok(())
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Settings(guard) => write!(f, "more than {guard} allow"),
            Held::Half => write!(f, "half of the table or more"),
            Held::Together { unseen, rows, guard } => {
                write!(f, "which makes {unseen} of {rows} in all tables of this run, more than {guard} allow")
            }
        }
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sync.brake_rows ({}) and sync.brake_percent ({} %)", self.rows, self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUARD: Brake = Brake { on: true, percent: 20, rows: 100 };

    #[test]
    fn an_unlikely_share_of_a_table_is_held_back() {
        let check = |unseen, rows, expected: Result<(), Held>| {
            assert_eq!(GUARD.admits(Presence { rows, unseen }), expected, "{unseen} of {rows}");
        };
        let settings = Err(Held::Settings(GUARD));
        check(201, 1000, settings);
        check(200, 1000, Ok(()));
        check(101, 101, settings);
        check(101, 1_000_000, Ok(()));
        check(100, 200, Err(Held::Half));
        check(99, 200, Ok(()));
        check(29, 57, Err(Held::Half));
        check(28, 57, Ok(()));
        check(5, 10, Err(Held::Half));
        check(5, 11, Ok(()));
        check(4, 4, Ok(()));
        check(5, 5, Err(Held::Half));
        check(0, 0, Ok(()));
    }

    #[test]
    fn an_unlikely_share_of_all_tables_is_held_back() {
        let ledger = Ledger::default();
        let reserve = |object, unseen| ledger.reserve(GUARD, object, unseen, 450).is_ok();
        assert!(reserve("assets", 40));
        assert!(reserve("churn", 40));
        assert!(!reserve("issues", 30), "110 of 450 are more than 100 and more than 20 %");
        assert!(reserve("users", 10), "what is held back takes nothing from the others");
        assert!(reserve("assets", 50), "what an object reserves again takes the place of what it had");
        assert!(!reserve("assets", 51));
        assert!(Ledger::default().reserve(GUARD, "assets", 110, 550).is_ok(), "20 % of all, but not more");
    }

    #[test]
    fn a_persons_word_turns_all_of_it_off() {
        let guard = Brake { on: false, ..GUARD };
        assert_eq!(guard.admits(Presence { rows: 1000, unseen: 1000 }), Ok(()));
        assert_eq!(Ledger::default().reserve(guard, "assets", 1000, 1000), Ok(()));
    }

    #[test]
    fn it_is_said_which_bound_holds() {
        let said = |held: Held| held.to_string();
        assert_eq!(said(Held::Settings(GUARD)), "more than sync.brake_rows (100) and sync.brake_percent (20 %) allow");
        assert_eq!(said(Held::Half), "half of the table or more");
        assert_eq!(
            said(Held::Together { unseen: 110, rows: 450, guard: GUARD }),
            "which makes 110 of 450 in all tables of this run, more than sync.brake_rows (100) and sync.brake_percent (20 %) allow"
        );
    }

    proptest! {
        #[test]
        fn no_run_marks_more_than_the_settings_allow_however_many_its_tables_are(
            tables in prop::collection::vec((0_i64..3000, 0_i64..=100), 1..14),
            percent in 0_u8..=100,
            rows in 0_u32..300,
        ) {
            let guard = Brake { on: true, percent, rows };
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
            let all: i64 = tables.iter().map(|(rows, _)| rows).sum();
            let ledger = Ledger::default();
            let mut marked = 0;
            for ((of_table, share), name) in tables.into_iter().zip(names) {
                let unseen = of_table * share / 100;
                let presence = Presence { rows: of_table, unseen };
                if guard.admits(presence).is_ok() && ledger.reserve(guard, name, unseen, all).is_ok() {
                    prop_assert!(unseen < FEW || unseen * 2 < of_table);
                    marked += unseen;
                }
            }
            prop_assert!(marked <= i64::from(rows).max(all * i64::from(percent) / 100));
        }
    }
}
