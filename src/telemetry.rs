//! Logging to stderr, as text or JSON, filtered by RUST_LOG or `log.level`, without disturbing the progress bars.
//!
//! Under systemd, stderr is the journal, which reads the priority of a line from a prefix (`<4>`) and removes it. So
//! `journalctl -p warning` shows what a person should see, in both formats.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use indicatif::MultiProgress;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};
use crate::log_lines::{JsonLines, TextFields, TextLines};

/// Starts logging for the whole process. `rust_log` is the customary variable; a journal knows the time itself.
pub fn start(log: &LogSettings, rust_log: Option<&str>) -> Result<(), TryInitError> {
    // The embedded server's runtime and the database's notices have a lot to say that is of no use here.
    let wanted = rust_log.map_or_else(
        || format!("{},wasmer=error,wasmer_wasix=error,pglite_oxide=warn,sqlx::postgres::notice=warn", log.level),
        str::to_owned,
    );
    // A database URL with a misspelt parameter would be quoted there, and the parameter may be a secret;
    // a slow statement with all the names that people gave to fields.
    let filter = EnvFilter::new(format!("{wanted},sqlx_postgres::options=off,sqlx::query=error"));
    let registry = tracing_subscriber::registry().with(filter);
    let to_journal = stderr_is_the_journal();
    match log.format {
        LogFormat::Text => {
            let lines = layer().with_writer(|| BesideBars).with_ansi(takes_colour(&io::stderr())).fmt_fields(TextFields);
            let format = TextLines { with_time: !to_journal };
            if to_journal {
                registry.with(lines.event_format(ForJournal(format))).try_init()
            } else {
                registry.with(lines.event_format(format)).try_init()
            }
        }
        LogFormat::Json => {
            let lines = layer().json().with_writer(|| BesideBars).map_event_format(|_| JsonLines);
            if to_journal {
                registry.with(lines.map_event_format(ForJournal)).try_init()
            } else {
                registry.with(lines).try_init()
            }
        }
    }
}

/// Whether what is written there is shown in colour: on a terminal that knows colours, unless NO_COLOR is set; the other
/// customary variables count too.
pub(crate) fn takes_colour(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Whether what is written to stderr goes to the journal: the variable names the stream by device and inode, and is
/// inherited by processes whose stderr goes elsewhere.
pub fn stderr_is_the_journal() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| identity_of_stderr().is_ok_and(|identity| identity == stream))
}

#[cfg(unix)]
fn identity_of_stderr() -> io::Result<String> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(not(unix))]
fn identity_of_stderr() -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How soon somebody should look, as syslog numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    Error = 3,
    Warning = 4,
    Note = 6,
    Debug = 7,
}

impl Urgency {
    fn of(level: Level) -> Urgency {
        match level {
            Level::ERROR => Urgency::Error,
            Level::WARN => Urgency::Warning,
            Level::INFO => Urgency::Note,
            _ => Urgency::Debug,
        }
    }
}

/// As the journal wants it: it takes each line for a message of its own.
pub fn for_journal(urgency: Urgency, text: &str) -> String {
    text.lines().map(|line| format!("<{}>{line}\n", urgency as u8)).collect()
}

/// A format, with the urgency in front of each line.
struct ForJournal<F>(F);

impl<S, N, F> FormatEvent<S, N> for ForJournal<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writer.write_str(&for_journal(Urgency::of(*event.metadata().level()), &text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_in_the_journal_begins_with_its_priority() {
        assert_eq!(for_journal(Urgency::Error, "error: no\n  Caused by: nobody"), "<3>error: no\n<3>  Caused by: nobody\n");
        let urgencies =
            [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(|level| Urgency::of(level) as u8);
        assert_eq!(urgencies, [3, 4, 6, 7, 7]);
    }
}
