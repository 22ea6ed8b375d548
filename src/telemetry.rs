//! Logs: to stderr, as text or as JSON, filtered by RUST_LOG or `log.level`; progress steps aside for them.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::MultiProgress;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process. `rust_log` and `no_color` are the customary variables; a journal
/// knows the time itself.
pub fn start(log: &Log, rust_log: Option<&str>, no_color: bool, to_journal: bool) -> Result<(), TryInitError> {
    // The embedded server's runtime and the database's notices have a lot to say that is of no use here.
    let wanted = rust_log.map_or_else(
        || format!("{},wasmer=error,wasmer_wasix=error,pglite_oxide=warn,sqlx::postgres::notice=warn", log.level),
        str::to_owned,
    );
    // A database URL with a misspelt parameter would be quoted there, and the parameter may be a secret;
    // a slow statement with all the names that people gave to fields.
    let filter = EnvFilter::new(format!("{wanted},sqlx_postgres::options=off,sqlx::query=error"));
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && !no_color;
            let lines = layer().with_writer(|| BesideBars).with_ansi(colour).with_target(false);
            if to_journal { registry.with(lines.without_time()).try_init() } else { registry.with(lines).try_init() }
        }
        LogFormat::Json => registry.with(layer().json().with_writer(|| BesideBars)).try_init(),
    }
}

/// The progress that is drawn on stderr, if any is.
pub fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Stderr, with the progress out of the way while a line is written.
struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
