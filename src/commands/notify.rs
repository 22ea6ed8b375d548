//! `notify`: sends a test message to the webhook.

use std::process::ExitCode;

use planhat_model::error::exit_code as exit;

use crate::command_error::CommandError;
use crate::events::NotifyError;
use crate::print;
use crate::workspace::Workspace;

pub(super) async fn notify(workspace: &Workspace) -> Result<ExitCode, CommandError> {
    match workspace.notifier()?.test().await {
        Ok(answer) => {
            print::to_stdout(&format!("notify.webhook_url accepted the test message: {answer}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(nobody @ NotifyError::NoWebhook) => {
            let hint = "set it to a URL that accepts a POST, and notify.format to the format that it expects";
            Err(CommandError::new(exit::CONFIGURATION, nobody, Some(hint)))
        }
        Err(error) => Err(anyhow::Error::new(error).into()),
    }
}
