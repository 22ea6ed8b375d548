//! An error with all its causes on one line, for logs and tables.

use std::error::Error;
use std::fmt::{Display, Formatter, Result};

/// `could not read nps from offset 0: /nps answered 403 Forbidden`
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
