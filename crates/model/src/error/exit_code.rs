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

/// From the worst to the best, where the same was done for several workspaces. What stopped the whole command comes first, and then
/// what a person has to do something about before it can be any better. A workspace that is busy is looked after by another run.
const WORST_FIRST: [ExitCode; 9] =
    [INTERRUPTED, TERMINATED, CONFIGURATION, TOKEN_REFUSED, DATABASE, FAILED, PARTIAL, BUSY, SUCCESS];

/// The code of a command that was executed for several workspaces.
pub fn worst_of(codes: impl IntoIterator<Item = process::ExitCode>) -> process::ExitCode {
    let rank = |code: &process::ExitCode| WORST_FIRST.iter().position(|known| process::ExitCode::from(*known) == *code);
    codes.into_iter().min_by_key(rank).unwrap_or_default()
}

/// Whether it is that of a signal, so that nothing more is begun.
pub fn is_stop(code: process::ExitCode) -> bool {
    [INTERRUPTED, TERMINATED].into_iter().any(|stopped| process::ExitCode::from(stopped) == code)
}

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
    fn a_command_for_several_workspaces_exits_with_the_worst_of_their_codes() {
        let of = |codes: &[ExitCode]| worst_of(codes.iter().map(|code| process::ExitCode::from(*code)));
        for (codes, worst) in [
            (&[SUCCESS, SUCCESS][..], SUCCESS),
            (&[SUCCESS, BUSY, SUCCESS], BUSY),
            (&[BUSY, PARTIAL], PARTIAL),
            (&[PARTIAL, FAILED, BUSY], FAILED),
            (&[FAILED, DATABASE, SUCCESS], DATABASE),
            (&[DATABASE, TOKEN_REFUSED], TOKEN_REFUSED),
            (&[FAILED, TOKEN_REFUSED, CONFIGURATION, DATABASE], CONFIGURATION),
            (&[CONFIGURATION, TERMINATED], TERMINATED),
            (&[INTERRUPTED, CONFIGURATION], INTERRUPTED),
            (&[], SUCCESS),
        ] {
            assert_eq!(of(codes), worst.into(), "{codes:?}");
        }
        let stops = WORST_FIRST.into_iter().filter(|code| is_stop((*code).into())).collect::<Vec<_>>();
        assert_eq!(stops, [INTERRUPTED, TERMINATED]);
    }

    #[test]
    fn a_run_exits_with_what_explains_most_of_its_failures() {
        let of = |codes: &[ExitCode]| ExitCode::of_failures(codes.iter().copied());
        assert_eq!(of(&[FAILED, DATABASE, TOKEN_REFUSED, FAILED]), TOKEN_REFUSED);
        assert_eq!(of(&[FAILED, DATABASE, FAILED]), DATABASE);
        assert_eq!(of(&[FAILED, CONFIGURATION]), FAILED);
        assert_eq!(of(&[]), FAILED);
    }
}
