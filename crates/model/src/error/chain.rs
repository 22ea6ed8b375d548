//! An error with all its causes, for logs, tables and messages. Some libraries repeat the cause in the message above it; here it
//! stands once.

use std::error::Error;
use std::fmt::{Display, Formatter, Result};

/// `could not read nps from offset 0: /nps answered 403 Forbidden`
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&texts(self.0).join(": "))
    }
}

/// What the error says, and each of its causes.
pub fn texts(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_some_and(|above| !above.ends_with(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Said {
        text: &'static str,
        source: Option<Box<Said>>,
    }

    #[test]
    fn a_cause_that_the_message_above_it_repeats_stands_once() {
        let refused = |source| Some(Box::new(Said { text: "login refused", source }));
        let repeated = Said { text: "error returned from database: login refused", source: refused(None) };
        let error = Said { text: "could not connect", source: Some(Box::new(repeated)) };
        assert_eq!(Chain(&error).to_string(), "could not connect: error returned from database: login refused");

        let error = Said { text: "could not connect", source: refused(refused(None)) };
        assert_eq!(texts(&error), ["could not connect", "login refused"]);
    }
}
