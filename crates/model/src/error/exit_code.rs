//! The exit codes, as documented in `--help`: what scripts rely on.

pub const FAILED: u8 = 1;
pub const CONFIGURATION: u8 = 2;
pub const PARTIAL: u8 = 3;
pub const TOKEN_REFUSED: u8 = 4;
pub const DATABASE: u8 = 5;
pub const BUSY: u8 = 75;
