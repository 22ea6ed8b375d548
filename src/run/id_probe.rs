//! Which stored ids are requested to verify the workspace, and when there are enough answers: one id of each table in
//! turn, so that a single table that lost its records, or may not be read, does not decide alone.

use planhat_api::ApiError;
use planhat_model::catalog::Object;
use planhat_model::error::{Chain, Fails};
use tracing::warn;

use super::identity::{ProbeResult, TableAnswers};

/// How many answers are enough.
const ENOUGH: usize = 20;
/// After so many ids that failed, with all their retries, the server is not able to answer.
const MOST_FAILED: usize = 3;

/// Ids on their way from the tables to Planhat and what it says of them.
#[derive(Debug)]
pub(super) struct IdProbe {
    tables: Vec<ProbedTable>,
    asked: usize,
    failed: usize,
    /// The last error, where an id was not answered with yes or no.
    failure: Option<ApiError>,
}

/// One table's ids that are still to be asked for, and what was said of the others.
#[derive(Debug)]
struct ProbedTable {
    object: &'static Object,
    ids: std::vec::IntoIter<String>,
    answers: TableAnswers,
}

/// An id that is to be asked for.
#[derive(Debug)]
pub(super) struct ProbeRequest {
    table: usize,
    pub(super) object: &'static Object,
    pub(super) id: String,
}

impl IdProbe {
    pub(super) fn of(ids: Vec<(&'static Object, Vec<String>)>) -> IdProbe {
        let table = |(object, ids): (&'static Object, Vec<String>)| ProbedTable {
            object,
            ids: ids.into_iter(),
            answers: TableAnswers { object: object.name, found: 0, missing: 0 },
        };
        IdProbe { tables: ids.into_iter().map(table).collect(), asked: 0, failed: 0, failure: None }
    }

    /// What is asked for next, side by side; nothing when it is enough.
    pub(super) fn next_batch(&mut self) -> Vec<ProbeRequest> {
        if self.has_failed() {
            return Vec::new();
        }
        let answered: usize = self.tables.iter().map(|table| table.answers.found + table.answers.missing).sum();
        let next = self
            .tables
            .iter_mut()
            .enumerate()
            .filter_map(|(index, table)| Some(ProbeRequest { table: index, object: table.object, id: table.ids.next()? }));
        next.take(ENOUGH.saturating_sub(answered)).collect()
    }

    /// Records an answer; an error that would affect every id is returned.
    pub(super) fn record_answer(&mut self, request: &ProbeRequest, answer: Result<bool, ApiError>) -> Result<(), ApiError> {
        self.asked += 1;
        let table = &mut self.tables[request.table];
        let error = match answer {
            Ok(true) => {
                table.answers.found += 1;
                return Ok(());
            }
            Ok(false) => {
                table.answers.missing += 1;
                return Ok(());
            }
            Err(error) if error.kind().fails() == Fails::Run => return Err(error),
            Err(error) => error,
        };
        warn!(error = %Chain(&error), "could not request a stored record by its id");
        match error {
            // This id says nothing of the next one.
            ApiError::UnusableId { .. } => {}
            ApiError::AccessDenied { .. } => table.ids = Vec::new().into_iter(),
            _ => (table.ids, self.failed) = (Vec::new().into_iter(), self.failed + 1),
        }
        self.failure = Some(error);
        Ok(())
    }

    /// Whether too many ids failed, so that the server seems unable to answer.
    pub(super) fn has_failed(&self) -> bool {
        self.failed >= MOST_FAILED
    }

    /// What was asked and what came back, and the last error.
    pub(super) fn end(self) -> (ProbeResult, Option<ApiError>) {
        let answers = self.tables.into_iter().map(|table| table.answers).filter(|of| of.found + of.missing > 0).collect();
        (ProbeResult { ids: self.asked, answers }, self.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog;

    fn probe(tables: &[(&'static str, usize)]) -> IdProbe {
        let ids = |(object, count): &(&'static str, usize)| {
            (catalog::object(object).unwrap(), (0..*count).map(|id| id.to_string()).collect())
        };
        IdProbe::of(tables.iter().map(ids).collect())
    }

    fn forbidden() -> ApiError {
        ApiError::AccessDenied { path: "/nps/…".to_owned(), status: reqwest::StatusCode::FORBIDDEN }
    }

    fn broken() -> ApiError {
        ApiError::Status {
            path: "/nps/…".to_owned(),
            status: reqwest::StatusCode::BAD_GATEWAY,
            excerpt: String::new(),
            retry_after: None,
        }
    }

    /// Asks to the end; returns how many ids of each object were asked for.
    fn ask(probe: &mut IdProbe, answer: impl Fn(&ProbeRequest) -> Result<bool, ApiError>) -> Vec<(&'static str, usize)> {
        let mut asked: Vec<(&'static str, usize)> = Vec::new();
        loop {
            let batch = probe.next_batch();
            if batch.is_empty() {
                return asked;
            }
            for request in batch {
                probe.record_answer(&request, answer(&request)).unwrap();
                match asked.iter_mut().find(|(object, _)| *object == request.object.name) {
                    Some((_, count)) => *count += 1,
                    None => asked.push((request.object.name, 1)),
                }
            }
        }
    }

    #[test]
    fn ids_are_requested_from_all_tables_in_turn_until_there_are_twenty_answers() {
        let asked = ask(&mut probe(&[("companies", 100), ("users", 100), ("nps", 2)]), |_| Ok(true));
        assert_eq!(asked, [("companies", 9), ("users", 9), ("nps", 2)]);
        let asked = ask(&mut probe(&[("companies", 3), ("users", 0)]), |_| Ok(false));
        assert_eq!(asked, [("companies", 3)]);
        assert_eq!(ask(&mut probe(&[]), |_| Ok(true)), []);
    }

    #[test]
    fn a_table_that_may_not_be_read_leaves_its_share_of_requests_to_the_others() {
        let mut probe = probe(&[("companies", 100), ("nps", 100)]);
        let asked = ask(&mut probe, |request| if request.object.name == "nps" { Err(forbidden()) } else { Ok(true) });
        assert_eq!(asked, [("companies", 20), ("nps", 1)]);
        let (asked, failure) = probe.end();
        assert_eq!(asked, ProbeResult { ids: 21, answers: vec![TableAnswers { object: "companies", found: 20, missing: 0 }] });
        assert!(matches!(failure, Some(ApiError::AccessDenied { .. })));
    }

    #[test]
    fn an_unusable_id_says_nothing_about_the_other_ids_of_its_table() {
        let no_path = || ApiError::UnusableId { path: "/nps/…".to_owned() };
        let mut probe = probe(&[("nps", 5)]);
        assert_eq!(ask(&mut probe, |request| if request.id == "0" { Err(no_path()) } else { Ok(true) }), [("nps", 5)]);
    }

    #[test]
    fn no_more_ids_are_requested_after_repeated_server_errors() {
        let tables: Vec<_> = ["companies", "endusers", "users", "nps", "tasks"].into_iter().map(|table| (table, 9)).collect();
        let mut probe = probe(&tables);
        let batch = probe.next_batch();
        for request in &batch[..3] {
            assert!(!probe.has_failed());
            probe.record_answer(request, Err(broken())).unwrap();
        }
        assert!(probe.has_failed() && probe.next_batch().is_empty());
    }

    #[test]
    fn an_error_that_affects_every_id_ends_the_probe() {
        let mut probe = probe(&[("nps", 5)]);
        let request = probe.next_batch().remove(0);
        let refused = ApiError::Unauthorized { path: "/nps/…".to_owned() };
        assert!(matches!(probe.record_answer(&request, Err(refused)), Err(ApiError::Unauthorized { .. })));
    }
}
