//! What a line of the log looks like: as text for people, as JSON for machines.
//!
//! An event says what happened; the spans around it say where: in which workspace, run, object and page. Both formats put
//! them together, so that no event has to repeat them. Text has the message first, since that is what is read. JSON has
//! everything in `fields`, so that `.fields.object` is there whoever has set it.
//!
//! The fields come from the spans that are open: `workspace` (opened in `main.rs`), `run` (`run/mod.rs`), `object`
//! (`run/objects.rs`) and `page` (`pull/object_scan.rs`, and the pager of `crates/api`). `docs/logging.md` lists them.

use std::fmt;

use chrono::{SecondsFormat, Utc};
use planhat_model::printable::{in_json, on_one_line};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The fields of an event or a span as text, `what happened wait_ms=250 error=…`, on one line whatever is in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut written = WrittenFields { writer, is_first: true, result: Ok(()) };
        fields.record(&mut written);
        written.result
    }
}

struct WrittenFields<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl WrittenFields<'_> {
    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        let (name, value) = (field.name(), on_one_line(value));
        if name.starts_with("log.") {
            return Ok(());
        }
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.write_char(' ')?;
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        match (name, self.writer.has_ansi_escapes()) {
            ("message", _) => self.writer.write_str(&value),
            (_, false) => write!(self.writer, "{name}={value}"),
            (_, true) => write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        }
    }
}

impl Visit for WrittenFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        // In quotes, as it may have blanks.
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"))
        } else {
            self.record_debug(field, &value)
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = self.write(field, &format!("{value:?}"));
        }
    }
}

/// `2026-01-03T03:00:07Z  WARN asking /nps again error=… wait_ms=500 workspace=planhat run_id=7 object=nps`
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextLines {
    /// The journal knows the time itself.
    pub(crate) with_time: bool,
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (dim, colour, plain) =
            if writer.has_ansi_escapes() { ("\x1b[2m", colour_of(*event.metadata().level()), "\x1b[0m") } else { ("", "", "") };
        if self.with_time {
            writer.write_str(dim)?;
            SystemTime.format_time(&mut writer)?;
            write!(writer, "{plain} ")?;
        }
        write!(writer, "{colour}{:>5}{plain} ", event.metadata().level().as_str())?;
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            match span.extensions().get::<FormattedFields<N>>() {
                Some(fields) if !fields.is_empty() => write!(writer, " {dim}{fields}{plain}")?,
                _ => {}
            }
        }
        writeln!(writer)
    }
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// `{"timestamp":"…","level":"WARN","fields":{"message":"asking /nps again","object":"nps",…},"target":"planhat_api::client"}`
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonLines;

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'static str,
    fields: Map<String, Value>,
    target: &'a str,
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(&self, context: &FmtContext<'_, S, JsonFields>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let of_span = span.extensions().get::<FormattedFields<JsonFields>>().map(|fields| serde_json::from_str(fields));
            if let Some(Ok(Value::Object(of_span))) = of_span {
                fields.extend(of_span);
            }
        }
        let mut of_event = EventFields { fields, target: None };
        event.record(&mut of_event);
        let line = JsonLine {
            timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
            level: event.metadata().level().as_str(),
            fields: of_event.fields,
            target: of_event.target.as_deref().unwrap_or(event.metadata().target()),
        };
        writeln!(writer, "{}", in_json(&serde_json::to_string(&line).map_err(|_| fmt::Error)?))
    }
}

/// The fields of an event, which go over those of its spans.
struct EventFields {
    fields: Map<String, Value>,
    /// Of a line that comes through the crate `log`, which carries its target in a field.
    target: Option<String>,
}

impl EventFields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        match field.name() {
            "log.target" => self.target = value.into().as_str().map(str::to_owned),
            name if name.starts_with("log.") => {}
            name => _ = self.fields.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value.into()),
        }
    }
}

impl Visit for EventFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    /// Milliseconds of a duration come so; none that is logged is larger than 64 bits.
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.insert(field, u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::{error_span, warn};
    use tracing_subscriber::fmt::layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn something_happens() {
        let run = error_span!("run", run_id = tracing::field::Empty, command = %"sync").entered();
        run.record("run_id", 7);
        let _object = error_span!("object", object = %"nps").entered();
        warn!(wait_ms = std::time::Duration::from_millis(250).as_millis(), error = %"no answer", "asking again");
    }

    #[test]
    fn a_line_of_text_has_what_happened_first_and_where_behind_it() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let lines = layer().with_ansi(false).with_writer(move || writer.clone()).fmt_fields(TextFields);
        let lines = lines.event_format(TextLines { with_time: false });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), something_happens);
        assert_eq!(buffer.text(), " WARN asking again wait_ms=250 error=no answer command=sync run_id=7 object=nps\n");
    }

    #[test]
    fn a_line_of_json_has_all_of_it_in_fields_with_its_types() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let lines = layer().json().with_writer(move || writer.clone()).map_event_format(|_| JsonLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), something_happens);
        let mut line: Value = serde_json::from_str(&buffer.text()).unwrap();
        assert!(line["timestamp"].take().as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "timestamp": null,
            "level": "WARN",
            "fields": {"message": "asking again", "wait_ms": 250, "error": "no answer", "run_id": 7, "command": "sync", "object": "nps"},
            "target": module_path!(),
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn nothing_in_a_field_of_an_event_or_a_span_breaks_its_line_or_reaches_a_terminal_raw() {
        const ODD: &str = "\u{1b}[2J\nWARN forged\u{9b}\u{202e}";
        let odd_things_happen = || {
            let _object = error_span!("object", object = %ODD, said = ODD).entered();
            warn!(error = %ODD, reason = ODD, debug = ?ODD, "no answer: {ODD}");
        };
        let (text, json) = (Buffer::default(), Buffer::default());
        let (for_text, for_json) = (text.clone(), json.clone());
        let lines = layer().with_ansi(false).with_writer(move || for_text.clone()).fmt_fields(TextFields);
        let lines = lines.event_format(TextLines { with_time: false });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), odd_things_happen);
        let lines = layer().json().with_writer(move || for_json.clone()).map_event_format(|_| JsonLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), odd_things_happen);
        for written in [text.text(), json.text()] {
            let (line, rest) = written.split_once('\n').unwrap();
            assert!(rest.is_empty() && !line.chars().any(planhat_model::printable::acts), "{written}");
        }
        assert!(text.text().contains(r"no answer: \u{1b}[2J\nWARN forged\u{9b}\u{202e} error=\u{1b}[2J"), "{}", text.text());
        let line: Value = serde_json::from_str(&json.text()).unwrap();
        assert_eq!((&line["fields"]["error"], &line["fields"]["object"]), (&ODD.into(), &ODD.into()));
    }

    #[test]
    fn what_an_event_says_goes_over_what_its_span_says() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let lines = layer().json().with_writer(move || writer.clone()).map_event_format(|_| JsonLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _object = error_span!("object", object = %"nps").entered();
            warn!(object = "tasks", "another one");
        });
        let line: Value = serde_json::from_str(&buffer.text()).unwrap();
        assert_eq!(line["fields"]["object"], "tasks");
    }
}
