//! Whether the workspace behind a token is the one whose rows are stored in a schema. Pure decisions, no IO.
//!
//! Tokens are rotated, and a workspace may move to another host; neither makes it another workspace. The ids of its records do
//! not change, so they are the proof: another workspace has none of them.

use std::fmt;

/// The token (as a fingerprint) and host that a schema is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of the token, under the key of the schema.
    pub fingerprint: String,
    /// Scheme, host and port.
    pub host: String,
}

/// What Planhat says of the stored ids of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableAnswers {
    pub object: &'static str,
    pub found: usize,
    pub missing: usize,
}

/// What a run has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is stored yet: the schema is this workspace's from now on.
    Bind,
    /// It is bound to this token and host.
    Same,
    /// Stored records have to be asked for.
    ProbeStoredIds,
    /// Stored records were found: it is the same workspace, by another token or on another host.
    Proven(Evidence),
    Refused(Evidence),
    /// No answer settles it.
    Unproven,
}

/// The evidence, for the person who has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The host that was noted; none if nothing was.
    host_then: Option<String>,
    host_now: String,
    /// Whether the token is another one; false where none was noted.
    is_another_token: bool,
    answers: Vec<TableAnswers>,
}

/// Decides it. `answers` are none before anything was asked, and have an entry for each object that gave an answer.
pub(super) fn decide(
    known: Option<&Identity>,
    current: &Identity,
    schema_has_data: bool,
    answers: Option<ProbeResult>,
) -> Decision {
    if known == Some(current) {
        return Decision::Same;
    }
    if !schema_has_data {
        return Decision::Bind;
    }
    let Some(ProbeResult { ids, answers }) = answers else { return Decision::ProbeStoredIds };
    let evidence = Evidence {
        host_then: known.map(|known| known.host.clone()),
        host_now: current.host.clone(),
        is_another_token: known.is_some_and(|known| known.fingerprint != current.fingerprint),
        answers,
    };
    match (evidence.found(), evidence.answered()) {
        (_, 0) if ids > 0 => Decision::Unproven,
        (found, answered) if found * 2 >= answered && found > 0 => Decision::Proven(evidence),
        _ => Decision::Refused(evidence),
    }
}

/// How many ids were requested, and the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeResult {
    /// How many ids were asked for. None, where all rows are marked as deleted.
    pub ids: usize,
    pub answers: Vec<TableAnswers>,
}

impl Evidence {
    fn found(&self) -> usize {
        self.answers.iter().map(|answers| answers.found).sum()
    }

    /// Ids of which Planhat has said whether they are there.
    fn answered(&self) -> usize {
        self.answers.iter().map(|answers| answers.found + answers.missing).sum()
    }

    fn host(&self) -> String {
        match &self.host_then {
            None => "no token was recorded for it before".to_owned(),
            Some(then) if *then == self.host_now => format!("the host is {then} as before"),
            Some(then) => format!("the host was {then} and is {}", self.host_now),
        }
    }

    fn token(&self) -> &'static str {
        match (&self.host_then, self.is_another_token) {
            (None, _) => "",
            (Some(_), true) => ", the token is another one",
            (Some(_), false) => ", the token is the same",
        }
    }

    fn records(&self) -> String {
        if self.answers.is_empty() {
            return "no stored record is left to verify with: all are marked as deleted".to_owned();
        }
        let of_each = self.answers.iter();
        let of_each: Vec<_> = of_each.map(|of| format!("{} of {} of {}", of.found, of.found + of.missing, of.object)).collect();
        let (found, answered) = (self.found(), self.answered());
        format!("{found} of {answered} stored records were found by their ids ({})", of_each.join(", "))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}; {}", self.host(), self.token(), self.records())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(fingerprint: &str, host: &str) -> Identity {
        Identity { fingerprint: fingerprint.to_owned(), host: host.to_owned() }
    }

    /// Checks what is decided where `known` is noted, with rows, after so many answers: found, missing, and without one.
    fn check(known: Option<(&str, &str)>, answers: (usize, usize, usize), expected: &str) {
        let known = known.map(|(fingerprint, host)| identity(fingerprint, host));
        let (found, missing, silent) = answers;
        let tables = (found + missing > 0).then_some(TableAnswers { object: "companies", found, missing });
        let asked = ProbeResult { ids: found + missing + silent, answers: tables.into_iter().collect() };
        let decision = decide(known.as_ref(), &identity("ours", "https://a"), true, Some(asked));
        let name = match decision {
            Decision::Bind => "bind",
            Decision::Same => "same",
            Decision::ProbeStoredIds => "ask",
            Decision::Proven(_) => "proven",
            Decision::Refused(_) => "refused",
            Decision::Unproven => "unproven",
        };
        assert_eq!(name, expected, "{known:?} {answers:?}");
    }

    #[test]
    fn no_ids_are_requested_for_the_bound_token_and_host() {
        let current = identity("ours", "https://a");
        for schema_has_data in [false, true] {
            assert_eq!(decide(Some(&current), &current, schema_has_data, None), Decision::Same);
        }
    }

    #[test]
    fn an_empty_schema_is_bound_whatever_it_was_bound_to_before() {
        let current = identity("ours", "https://a");
        for known in [None, Some(identity("theirs", "https://a")), Some(identity("ours", "https://b"))] {
            assert_eq!(decide(known.as_ref(), &current, false, None), Decision::Bind);
        }
    }

    #[test]
    fn stored_ids_are_requested_for_a_new_token_a_new_host_or_an_unbound_schema() {
        let current = identity("ours", "https://a");
        for known in [None, Some(identity("theirs", "https://a")), Some(identity("ours", "https://b"))] {
            assert_eq!(decide(known.as_ref(), &current, true, None), Decision::ProbeStoredIds);
        }
    }

    #[test]
    fn the_workspace_is_proven_if_at_least_half_of_the_requested_ids_exist() {
        for known in [None, Some(("theirs", "https://a")), Some(("ours", "https://b")), Some(("theirs", "https://b"))] {
            check(known, (20, 0, 0), "proven");
            check(known, (10, 10, 0), "proven");
            check(known, (9, 11, 0), "refused");
            check(known, (0, 20, 0), "refused");
            check(known, (1, 0, 19), "proven");
            check(known, (1, 1, 18), "proven");
            check(known, (0, 1, 19), "refused");
            check(known, (0, 0, 20), "unproven");
            check(known, (0, 0, 0), "refused");
        }
    }

    #[test]
    fn a_refused_workspace_is_reported_with_the_evidence() {
        let check = |known: Option<Identity>, answers: Vec<TableAnswers>, expected: &str| {
            let asked = ProbeResult { ids: 20, answers };
            let Decision::Refused(evidence) = decide(known.as_ref(), &identity("ours", "https://a"), true, Some(asked)) else {
                panic!("{expected}");
            };
            assert_eq!(evidence.to_string(), expected);
        };
        let missing = |object, missing| TableAnswers { object, found: 0, missing };
        check(
            Some(identity("theirs", "https://a")),
            vec![TableAnswers { found: 2, ..missing("companies", 8) }, missing("nps", 10)],
            "the host is https://a as before, the token is another one; 2 of 20 stored records were found by their ids \
             (2 of 10 of companies, 0 of 10 of nps)",
        );
        check(
            Some(identity("ours", "https://b")),
            vec![missing("nps", 1)],
            "the host was https://b and is https://a, the token is the same; 0 of 1 stored records were found by their ids \
             (0 of 1 of nps)",
        );
        check(
            None,
            vec![missing("nps", 3)],
            "no token was recorded for it before; 0 of 3 stored records were found by their ids (0 of 3 of nps)",
        );
    }
}
