//! Printing: the one place that writes to stdout and stderr.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Utc};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;

/// A result. A reader that has gone away (`| head`) is no error.
pub(super) fn to_stdout(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Results that somebody waits for: written out when this returns.
pub(super) fn out_to_stdout(lines: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(lines.as_bytes())?;
    stdout.flush()
}

pub(super) fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(super) fn json(value: &impl Serialize) -> Result<(), anyhow::Error> {
    to_stdout(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A table with the first `text_columns` columns to the left and the figures after them to the right.
pub(super) fn table<R>(header: &[&str], text_columns: usize, rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(index, text)| {
            let alignment = if index < text_columns { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(text).set_alignment(alignment)
        }));
    }
    table.trim_fmt()
}

/// For a terminal; elsewhere, and where NO_COLOR is set, as it is.
pub(super) fn red(text: &str) -> String {
    let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !colourless { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
}

pub(super) fn instant(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

pub(super) fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// A hint, indented beneath what it is for, on a line of its own.
pub(super) fn hint(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default()
}

/// Why a run was not good, indented beneath it.
pub(super) fn why(reason: Option<&str>, of_reason: Option<&str>) -> String {
    reason.map(|reason| format!("\n  {reason}")).unwrap_or_default() + &hint(of_reason)
}

/// Whether the reason of a run is that of one of its objects, and so is shown there.
pub(super) fn is_said<'a>(reason: Option<&str>, mut of_objects: impl Iterator<Item = &'a str>) -> bool {
    reason.is_some_and(|reason| of_objects.any(|said| !said.is_empty() && reason.starts_with(said)))
}
