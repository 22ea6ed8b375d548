//! What it means that a record is stored for the first time: it was created, it is an old one that has changed, or it was
//! only loaded.
//!
//! Who asks for what is new must not get a record of 2021 that somebody edited today, and a timeline must not date that edit to
//! 2021. So a record counts as created only if it was made since the sync before, by its own word (its creation time) or by its
//! id: the first four bytes of an ObjectId are the second in which it was made. The later of the two counts: an import gives a
//! new record the creation time that it had elsewhere, and its id tells that it is new here.
//!
//! A record that shows neither is taken as created: the scans before would have listed and stored it, had it been there.

use chrono::{DateTime, Utc};

/// What a record shows of its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordAge {
    /// Its creation time.
    pub(super) created: Option<DateTime<Utc>>,
    /// When its id was made, if that is an ObjectId.
    pub(super) id_made: Option<DateTime<Utc>>,
    /// The newest of all its times.
    pub(super) newest: Option<DateTime<Utc>>,
}

/// Why a record is stored for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstSight {
    /// It was made since the sync before, at this time if it shows any.
    Created(Option<DateTime<Utc>>),
    /// It is older, was outside the history until now, and changed at this time.
    Changed(DateTime<Utc>),
    /// It is older, and nothing shows that it changed: a load has reached it.
    Loaded,
}

impl FirstSight {
    /// `created_since`: what was made since then was not there when everything was last read; none where nothing was read yet.
    pub(super) fn of(age: RecordAge, created_since: Option<DateTime<Utc>>) -> FirstSight {
        let Some(since) = created_since else { return FirstSight::Loaded };
        let made = [age.created, age.id_made];
        match (made.into_iter().flatten().find(|made| *made >= since), age.newest) {
            (Some(made), _) => FirstSight::Created(Some(made)),
            (None, _) if made == [None, None] => FirstSight::Created(None),
            (None, Some(newest)) if newest >= since => FirstSight::Changed(newest),
            (None, _) => FirstSight::Loaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn year(year: i32) -> DateTime<Utc> {
        format!("{year}-06-01T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn a_record_is_created_only_if_it_was_made_since_the_sync_before() {
        let since = Some(year(2026));
        let (old, new) = (Some(year(2021)), Some(year(2026)));
        let changed = FirstSight::Changed(year(2026));
        let created = FirstSight::Created(new);
        for (case, since, created, id_made, newest, expected) in [
            ("a first load", None, old, old, new, FirstSight::Loaded),
            ("a first load of something new", None, new, new, new, FirstSight::Loaded),
            ("made today", since, new, None, new, created),
            ("made today, with a time that is all it has", since, new, None, None, created),
            ("made today, by its id", since, None, new, None, created),
            ("an import: old by its word, new by its id", since, old, new, old, created),
            ("an id that was made elsewhere, and a creation of today", since, new, old, new, created),
            ("without any time and without an ObjectId", since, None, None, None, FirstSight::Created(None)),
            ("edited today, with nothing that tells its age", since, None, None, new, FirstSight::Created(None)),
            ("old, edited today", since, old, None, new, changed),
            ("old by its id alone, edited today", since, None, old, new, changed),
            ("old, and not edited since", since, old, None, old, FirstSight::Loaded),
            ("old by its id, without any time", since, None, old, None, FirstSight::Loaded),
        ] {
            assert_eq!(FirstSight::of(RecordAge { created, id_made, newest }, since), expected, "{case}");
        }
    }
}
