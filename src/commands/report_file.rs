//! Where `check --probe --report` writes what it found: a new file that only its owner may read, or stdout.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use planhat_model::error::exit_code as exit;
use planhat_model::workspace_report::WorkspaceReport;

use super::finding::Finding;
use super::probe::KeptCapabilities;
use crate::cli::OutputArgs;
use crate::command_error::CommandError;
use crate::print;

const SUBJECT: &str = "report";

#[derive(Debug)]
pub(super) enum ReportDestination {
    Stdout,
    File(PathBuf),
}

impl ReportDestination {
    /// Refuses a file that exists before anything is asked of Planhat.
    pub(super) fn of(path: &Path, output: OutputArgs) -> Result<ReportDestination, CommandError> {
        let refused = |text: String, hint: &str| Err(CommandError::new(exit::CONFIGURATION, anyhow::anyhow!(text), Some(hint)));
        if path == Path::new("-") {
            if output.json {
                return refused("--json and --report - both write to stdout".to_owned(), "name a file for the report");
            }
            return Ok(ReportDestination::Stdout);
        }
        if path.symlink_metadata().is_ok() {
            return refused(format!("{} exists", path.display()), "name a file that does not exist yet");
        }
        Ok(ReportDestination::File(path.to_owned()))
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, ReportDestination::Stdout)
    }

    /// Writes the report. What a 429 carries may have been seen by earlier runs alone.
    pub(super) fn write(&self, report: Option<WorkspaceReport>, kept: &KeptCapabilities) -> Finding {
        let Some(mut report) = report else {
            return Finding::fail(SUBJECT, "not written: Planhat could not be asked", exit::FAILED);
        };
        report.throttling = report.throttling.or(kept.throttling());
        let text = match serde_json::to_string_pretty(&report) {
            Ok(text) => text,
            Err(error) => return Finding::fail(SUBJECT, format!("not written: {error}"), exit::FAILED),
        };
        match self {
            ReportDestination::Stdout => {
                print::own_file_to_stdout(&text);
                Finding::ok(SUBJECT, "written to stdout")
            }
            ReportDestination::File(path) => match write_new(path, &text) {
                Ok(()) => Finding::ok(SUBJECT, format!("written to {}; read it before you hand it on", path.display())),
                Err(error) => Finding::fail(SUBJECT, format!("could not write {}: {error}", path.display()), exit::FAILED),
            },
        }
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")
}
