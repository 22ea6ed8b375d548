//! The text format of COPY, the fastest way into a table.

use sqlx::PgConnection;

use super::error::{Error, could_not};
use super::sql::Sql;

/// Rows for one COPY, in the making.
#[derive(Debug, Default)]
pub(super) struct CopyText {
    text: String,
    row_has_begun: bool,
}

impl CopyText {
    /// The next value of a row, as PostgreSQL reads a value of its type; none for NULL.
    pub(super) fn value(&mut self, value: Option<&str>) {
        if std::mem::replace(&mut self.row_has_begun, true) {
            self.text.push('\t');
        }
        match value {
            Some(value) => self.escaped(value),
            None => self.text.push_str("\\N"),
        }
    }

    pub(super) fn end_row(&mut self) {
        self.text.push('\n');
        self.row_has_begun = false;
    }

    fn escaped(&mut self, value: &str) {
        let mut rest = value;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
            self.text.push_str(&rest[..at]);
            self.text.push_str(match rest.as_bytes()[at] {
                b'\t' => "\\t",
                b'\n' => "\\n",
                b'\r' => "\\r",
                _ => "\\\\",
            });
            rest = &rest[at + 1..];
        }
        self.text.push_str(rest);
    }
}

/// Runs a `copy … from stdin` with these rows.
pub(super) async fn copy_in(db: &mut PgConnection, statement: &Sql, rows: &CopyText) -> Result<(), Error> {
    let mut copy = db.copy_in_raw(statement.as_str()).await.map_err(could_not("store a page"))?;
    match copy.send(rows.text.as_bytes()).await {
        Ok(_) => copy.finish().await.map_err(could_not("store a page"))?,
        Err(error) => return Err(could_not("store a page")(error)),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_copy_is_escaped() {
        let mut rows = CopyText::default();
        rows.value(Some("a\tb\nc\\N\r"));
        rows.value(None);
        rows.value(Some(""));
        rows.end_row();
        rows.value(Some("\\."));
        rows.end_row();
        assert_eq!(rows.text, "a\\tb\\nc\\\\N\\r\t\\N\t\n\\\\.\n");
    }
}
