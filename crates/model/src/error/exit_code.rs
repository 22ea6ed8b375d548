//! The exit codes, as documented in `--help`: what scripts rely on. Which error gets which code: `consequences.rs`.

use std::process;

/// How the process exits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExitCode(u8);

pub const SUCCESS: ExitCode = ExitCode(0);
pub const FAILED: ExitCode = ExitCode(1);
pub const CONFIGURATION: ExitCode = ExitCode(2);
pub const PARTIAL: ExitCode = ExitCode(3);
pub const TOKEN_REFUSED: ExitCode = ExitCode(4);
pub const DATABASE: ExitCode = ExitCode(5);
pub const BUSY: ExitCode = ExitCode(75);
/// Stopped by SIGINT, as shells number it: 128 and the signal.
pub const INTERRUPTED: ExitCode = ExitCode(130);
/// Stopped by SIGTERM.
pub const TERMINATED: ExitCode = ExitCode(143);

impl ExitCode {
    /// The code of a run in which several objects failed: a refused token explains all the others, and so does the database.
    pub fn of_failures(codes: impl Iterator<Item = ExitCode>) -> ExitCode {
        codes.fold(FAILED, |worst, code| match (worst, code) {
            (TOKEN_REFUSED, _) | (_, TOKEN_REFUSED) => TOKEN_REFUSED,
            (DATABASE, _) | (_, DATABASE) => DATABASE,
            _ => FAILED,
        })
    }

    /// As the system takes it.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> process::ExitCode {
        process::ExitCode::from(code.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_exits_with_what_explains_most_of_its_failures() {
        let of = |codes: &[ExitCode]| ExitCode::of_failures(codes.iter().copied());
        assert_eq!(of(&[FAILED, DATABASE, TOKEN_REFUSED, FAILED]), TOKEN_REFUSED);
        assert_eq!(of(&[FAILED, DATABASE, FAILED]), DATABASE);
        assert_eq!(of(&[FAILED, CONFIGURATION]), FAILED);
        assert_eq!(of(&[]), FAILED);
    }
}
