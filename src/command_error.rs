//! What ends a command early: an error with its causes, a hint, and the exit code that scripts rely on.

use std::process::ExitCode;

use planhat_api::{self as api, InvalidToken};
use planhat_model::error::{Chain, ErrorKind, exit_code as exit, texts};
use planhat_store as store;

use crate::events::StartFailure;
use crate::{config, print, run};

/// Why a command ended before it was done.
#[derive(Debug)]
pub struct CommandError {
    pub code: exit::ExitCode,
    pub error: anyhow::Error,
    pub hint: Option<String>,
}

impl CommandError {
    /// With what the table of consequences says of such an error.
    pub fn of(kind: &ErrorKind, error: impl Into<anyhow::Error>) -> CommandError {
        CommandError { code: kind.consequence().exit_code, error: error.into(), hint: kind.hint() }
    }

    /// With a hint of its own.
    pub fn new(code: exit::ExitCode, error: impl Into<anyhow::Error>, hint: Option<&str>) -> CommandError {
        CommandError { code, error: error.into(), hint: hint.map(str::to_owned) }
    }

    /// Prints the error, and returns the exit code.
    pub fn show(&self) -> ExitCode {
        print::to_stderr(&self.text());
        ExitCode::from(self.code)
    }

    pub fn on_one_line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        print::on_one_line(&format!("{}{hint}", Chain(self.error.as_ref())))
    }

    /// For the events; another run's lease is not announced.
    pub fn as_start_failure(&self) -> Option<StartFailure> {
        let kind = match self.code {
            exit::BUSY => return None,
            exit::CONFIGURATION => "configuration",
            exit::DATABASE => "database",
            _ => "failed",
        };
        Some(StartFailure { kind: kind.to_owned(), reason: Chain(self.error.as_ref()).to_string(), hint: self.hint.clone() })
    }

    fn text(&self) -> String {
        let texts = texts(self.error.as_ref()).iter().map(|text| print::on_one_line(text)).collect::<Vec<_>>();
        let mut text = format!("error: {}", texts.join("\n  Caused by: "));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {}", print::on_one_line(hint)));
        }
        text
    }
}

impl From<config::SettingsError> for CommandError {
    fn from(error: config::SettingsError) -> CommandError {
        let kind = match error.root() {
            config::SettingsError::File { .. } | config::SettingsError::SecretFile { .. } => ErrorKind::UnreadableFile,
            config::SettingsError::BadSecretFile { .. } => ErrorKind::UnusableSecretFile,
            config::SettingsError::UnknownKey { .. } => ErrorKind::UnknownSetting,
            _ => ErrorKind::BadSettings,
        };
        CommandError::of(&kind, error)
    }
}

impl From<InvalidToken> for CommandError {
    fn from(error: InvalidToken) -> CommandError {
        CommandError::of(&ErrorKind::UnusableToken, error)
    }
}

impl From<store::StoreError> for CommandError {
    fn from(error: store::StoreError) -> CommandError {
        CommandError::of(&error.kind(), error)
    }
}

impl From<api::ApiError> for CommandError {
    fn from(error: api::ApiError) -> CommandError {
        CommandError::of(&error.kind(), error)
    }
}

impl From<run::RunError> for CommandError {
    fn from(error: run::RunError) -> CommandError {
        CommandError::of(&error.kind(), error)
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> CommandError {
        CommandError::of(&ErrorKind::Other, error)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn check(error: impl Into<CommandError>, code: exit::ExitCode, hint: Option<&str>) {
        let ended = error.into();
        assert_eq!(ended.code, code, "{:#}", ended.error);
        let said = ended.hint.unwrap_or_default();
        assert!(hint.map_or(said.is_empty(), |hint| said.contains(hint)), "{said}");
    }

    fn unauthorized() -> api::ApiError {
        api::ApiError::Unauthorized { path: "/nps".to_owned() }
    }

    #[test]
    fn what_ends_a_run_has_the_exit_code_and_the_hint_of_its_cause() {
        let schema = || "planhat".to_owned();
        check(run::RunError::Unproven { schema: schema(), source: Some(unauthorized()) }, exit::TOKEN_REFUSED, Some("API_TOKEN"));
        check(run::RunError::Unproven { schema: schema(), source: None }, exit::FAILED, None);
        check(run::RunError::Stopped, exit::FAILED, None);
        check(
            run::RunError::Store(store::StoreError::BadUrl { source: store::ConnectionUrlError::NoScheme }),
            exit::CONFIGURATION,
            Some("postgres://"),
        );
        let source = store::StoreError::UnknownValue { column: "status", value: "odd".to_owned() };
        let status = store::RunStatus::Succeeded;
        check(
            run::RunError::End { run_id: 1, status, source },
            exit::DATABASE,
            Some("the next run marks this one as interrupted"),
        );
    }

    #[test]
    fn a_workspace_that_is_busy_says_when_it_is_free() {
        let held = store::LeaseHolder {
            workspace: "planhat".to_owned(),
            run_id: 7,
            command: "sync".to_owned(),
            holder: "process 1".to_owned(),
            process: String::new(),
            acquired_at: DateTime::UNIX_EPOCH,
            renewed_at: DateTime::UNIX_EPOCH,
        };
        let busy = CommandError::from(run::RunError::Busy { held, schema: "planhat".to_owned() });
        assert!(busy.as_start_failure().is_none());
        let free = format!("another run can begin {} s after the lease was last renewed", store::STALE_AFTER.as_secs());
        check(busy, exit::BUSY, Some(&free));
    }

    #[test]
    fn other_errors_have_the_code_of_their_kind() {
        check(unauthorized(), exit::TOKEN_REFUSED, Some("check PLANHAT_API_TOKEN"));
        check(InvalidToken::Empty, exit::CONFIGURATION, Some("copy the token"));
        check(anyhow::anyhow!("odd"), exit::FAILED, None);
    }
}
