//! What ends a command early: an error with its causes, a hint, and the exit code that scripts rely on.

use std::process::ExitCode;

use planhat_api::{self as api, InvalidToken};
use planhat_model::error::exit_code as exit;
use planhat_store as store;

use crate::events::StartFailure;
use crate::{config, print, run};

/// Why a command ended before it was done.
#[derive(Debug)]
pub struct CommandError {
    pub code: u8,
    pub error: anyhow::Error,
    pub hint: Option<String>,
}

impl CommandError {
    pub fn new(code: u8, error: impl Into<anyhow::Error>, hint: Option<&str>) -> CommandError {
        CommandError { code, error: error.into(), hint: hint.map(str::to_owned) }
    }

    /// Tells the person at the terminal, and gives the exit code.
    pub fn show(&self) -> ExitCode {
        print::to_stderr(&self.text());
        ExitCode::from(self.code)
    }

    pub fn on_one_line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{:#}{hint}", self.error)
    }

    /// For those who are told of it; nobody is told that somebody else is at work.
    pub fn as_start_failure(&self) -> Option<StartFailure> {
        let kind = match self.code {
            exit::BUSY => return None,
            exit::CONFIGURATION => "configuration",
            exit::DATABASE => "database",
            _ => "failed",
        };
        Some(StartFailure { kind: kind.to_owned(), reason: format!("{:#}", self.error), hint: self.hint.clone() })
    }

    fn text(&self) -> String {
        let mut said = self.error.to_string();
        let mut text = format!("error: {said}");
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Some libraries repeat the cause in the message above it.
            if !said.ends_with(&cause) {
                text.push_str(&format!("\n  Caused by: {cause}"));
            }
            said = cause;
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

impl From<config::SettingsError> for CommandError {
    fn from(error: config::SettingsError) -> CommandError {
        CommandError::new(
            exit::CONFIGURATION,
            error,
            Some("config/default.toml in the source lists every setting; `planhat-sync --help` the usual ones"),
        )
    }
}

impl From<InvalidToken> for CommandError {
    fn from(error: InvalidToken) -> CommandError {
        CommandError::new(
            exit::CONFIGURATION,
            error,
            Some("copy the token of the private app again, whole and without line breaks"),
        )
    }
}

impl From<store::StoreError> for CommandError {
    fn from(error: store::StoreError) -> CommandError {
        let hint = error.hint();
        let code = match error {
            store::StoreError::NoPostgresUrl | store::StoreError::BadUrl { .. } => exit::CONFIGURATION,
            #[cfg(feature = "embedded")]
            store::StoreError::EmbeddedInUse => exit::BUSY,
            _ => exit::DATABASE,
        };
        CommandError::new(code, error, hint)
    }
}

impl From<api::ApiError> for CommandError {
    fn from(error: api::ApiError) -> CommandError {
        let hint = error.hint();
        CommandError::new(code_of(&error), error, hint)
    }
}

fn code_of(error: &api::ApiError) -> u8 {
    if matches!(error, api::ApiError::Unauthorized { .. }) { exit::TOKEN_REFUSED } else { exit::FAILED }
}

impl From<run::RunError> for CommandError {
    fn from(error: run::RunError) -> CommandError {
        match error {
            refused @ run::RunError::OtherWorkspace { .. } => {
                let ways_out = "set the token of the workspace that fills it, or another schema for this one (database.schema); \
                     after a restore at Planhat, where records have other ids, `planhat-sync adopt` binds it to the token that is set";
                CommandError::new(exit::CONFIGURATION, refused, Some(ways_out))
            }
            run::RunError::Unproven { source: Some(ref source), .. } => {
                let (code, hint) = (code_of(source), source.hint());
                CommandError::new(code, error, hint)
            }
            unproven @ run::RunError::Unproven { source: None, .. } => CommandError::new(exit::FAILED, unproven, None),
            run::RunError::Store(error) => error.into(),
            run::RunError::End { source, run_id, status } => {
                let hint = source.hint().unwrap_or("everything committed is kept; the next run marks this one as interrupted");
                CommandError::new(exit::DATABASE, run::RunError::End { run_id, status, source }, Some(hint))
            }
            stopped @ run::RunError::Stopped => CommandError::new(exit::FAILED, stopped, None),
            busy @ run::RunError::Busy(_) => {
                let hint = format!(
                    "wait for it to end; if it was killed, its lease is free {} s after it was last seen",
                    store::STALE_AFTER.as_secs()
                );
                CommandError::new(exit::BUSY, busy, Some(&hint))
            }
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> CommandError {
        CommandError::new(exit::FAILED, error, None)
    }
}
