//! A finding of `check`: a line for a person, an object in JSON, and perhaps an exit code.

use planhat_model::error::exit_code as exit;
use serde::Serialize;

use super::probe::CapabilityFinding;
use crate::print;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckLevel {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) verdict: CheckLevel,
    pub(super) subject: String,
    pub(super) text: String,
    /// What is known of how Planhat answers, as data.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) capability: Option<CapabilityFinding>,
    /// What to exit with, unless something failed before.
    #[serde(skip)]
    pub(super) code: exit::ExitCode,
}

impl Finding {
    pub(super) fn ok(subject: &str, text: impl Into<String>) -> Finding {
        Finding::of(CheckLevel::Ok, subject, text)
    }

    pub(super) fn warn(subject: &str, text: impl Into<String>) -> Finding {
        Finding::of(CheckLevel::Warn, subject, text)
    }

    pub(super) fn fail(subject: &str, text: impl Into<String>, code: exit::ExitCode) -> Finding {
        Finding { code, ..Finding::of(CheckLevel::Fail, subject, text) }
    }

    fn of(verdict: CheckLevel, subject: &str, text: impl Into<String>) -> Finding {
        Finding { verdict, subject: subject.to_owned(), text: text.into(), capability: None, code: exit::SUCCESS }
    }

    pub(super) fn line(&self) -> String {
        let verdict = match self.verdict {
            CheckLevel::Ok => "ok",
            CheckLevel::Warn => "warn",
            CheckLevel::Fail => "fail",
        };
        format!("{verdict:<5} {:<14} {}", self.subject, print::on_one_line(&self.text))
    }
}
