//! Text of strangers, made fit for a terminal, a log and a message.
//!
//! Names, values, ids and errors come from whoever types into Planhat. A terminal acts on control characters (it moves its cursor,
//! changes colours, answers), on marks that turn the direction of text, and a line break makes what follows look like a line
//! of ours. All of these are shown as escapes (`\u{1b}`, `\n`), so that nothing is lost and everything is seen.
//!
//! Whoever puts strange text into a line uses [`on_one_line`]; whatever writes to a terminal or a log uses [`in_lines`] or
//! [`in_json`] once more, so that a forgotten place costs a line break at most.

use std::borrow::Cow;

/// Whether a terminal acts on a character instead of showing it: controls (C0, DEL, C1), separators of lines, and marks that
/// set the direction of text.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text on one line: everything in it that a terminal would act on is shown as an escape.
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// The same for a text of several lines, whose line breaks are ours.
pub fn in_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && acts(c))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_escaped(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// JSON that means the same. JSON itself escapes only what is below a space, so such a character can only be between its values.
pub fn in_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| c > ' ' && acts(c);
    if !json.chars().any(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut written = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_escaped(c) { written.push_str(&format!("\\u{:04x}", u32::from(c))) } else { written.push(c) }
    }
    Cow::Owned(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "\u{1b}[31mRed\r\n\u{9b}2J\t\u{7f}\u{85}\u{2028}\u{2029}\u{200f}\u{202e}\u{2066}\u{61c}\u{feff}x é ✓ 👨‍👩‍👧";

    #[test]
    fn text_cannot_break_its_line_move_the_cursor_or_turn_around() {
        let line = on_one_line(ODD);
        assert_eq!(
            line,
            "\\u{1b}[31mRed\\r\\n\\u{9b}2J\\t\\u{7f}\\u{85}\\u{2028}\\u{2029}\\u{200f}\\u{202e}\\u{2066}\\u{61c}\\u{feff}x é ✓ 👨‍👩‍👧"
        );
        assert!(matches!(on_one_line(&line), Cow::Borrowed(same) if same == line), "what is escaped stays");
        assert_eq!(in_lines("a\u{1b}\nb"), "a\\u{1b}\nb");
    }

    #[test]
    fn json_means_the_same_and_shows_nothing_that_a_terminal_acts_on() {
        let json = serde_json::to_string_pretty(&serde_json::json!({ODD: [ODD, 1]})).unwrap();
        let written = in_json(&json);
        assert!(!written.chars().any(|c| c != '\n' && acts(c)), "{written}");
        let same: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(same, serde_json::json!({ODD: [ODD, 1]}));
        assert_eq!(in_json("{\n  \"é\": 1\n}"), "{\n  \"é\": 1\n}");
    }
}
