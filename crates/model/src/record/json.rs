//! A JSON value inside the text of its record.
//!
//! Most values go from the response to the database unchanged: a number by its digits, a string without escapes, an object
//! as a whole. So a value is read in place, and parsed into a tree only where its content matters.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

/// The text of one whole value, without white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

/// What kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Null,
    Boolean,
    Number,
    EmptyString,
    String,
    Array,
    Object,
}

impl<'a> Json<'a> {
    pub fn of(raw: &'a RawValue) -> Json<'a> {
        Json(raw.get())
    }

    /// A text that is known to be one value.
    pub fn trusted(text: &'a str) -> Json<'a> {
        Json(text)
    }

    pub fn as_written(self) -> &'a str {
        self.0
    }

    pub fn shape(self) -> Shape {
        match self.0.as_bytes().first() {
            Some(b'n') | None => Shape::Null,
            Some(b't' | b'f') => Shape::Boolean,
            Some(b'"') if self.0.len() == 2 => Shape::EmptyString,
            Some(b'"') => Shape::String,
            Some(b'[') => Shape::Array,
            Some(b'{') => Shape::Object,
            Some(_) => Shape::Number,
        }
    }

    pub fn is_null(self) -> bool {
        self.shape() == Shape::Null
    }

    /// The characters of a string; none of any other value.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inside.contains('\\') { serde_json::from_str(self.0).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inside)) }
    }

    pub fn integer(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The value as a tree.
    pub fn tree(self) -> Value {
        serde_json::from_str(self.0).unwrap_or_default()
    }

    /// Whether it has to be looked at closely: numbers are written with an exponent, or so long that they may not fit
    /// anywhere, or there are more levels than a tree may have.
    pub(crate) fn is_unusual(self) -> bool {
        const LONG: usize = 16_000;
        const DEEP: u32 = 64;
        if self.0.starts_with('"') {
            return false;
        }
        let bytes = self.0.as_bytes();
        let (mut in_string, mut at, mut levels) = (false, 0, 0);
        while at < bytes.len() {
            match bytes[at] {
                b'"' => in_string = !in_string,
                b'\\' => at += 1,
                b'[' | b'{' if !in_string && levels == DEEP => return true,
                b'[' | b'{' if !in_string => levels += 1,
                b']' | b'}' if !in_string => levels -= 1,
                b'e' | b'E' if !in_string && at > 0 && bytes[at - 1].is_ascii_digit() => return true,
                _ => {}
            }
            at += 1;
        }
        bytes.len() > LONG
    }
}

impl Shape {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Null => "null",
            Shape::Boolean => "a boolean",
            Shape::Number => "a number",
            Shape::EmptyString => "an empty string",
            Shape::String => "a string",
            Shape::Array => "an array",
            Shape::Object => "an object",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_of_a_json_value_gives_its_type() {
        for (text, expected) in [
            ("null", Shape::Null),
            ("true", Shape::Boolean),
            ("-1.5", Shape::Number),
            ("\"\"", Shape::EmptyString),
            ("\"x\"", Shape::String),
            ("[]", Shape::Array),
            ("{}", Shape::Object),
        ] {
            assert_eq!(Json(text).shape(), expected, "{text}");
        }
    }

    #[test]
    fn a_string_without_escapes_is_borrowed() {
        assert!(matches!(Json("\"plain\"").string(), Some(Cow::Borrowed("plain"))));
        assert_eq!(Json(r#""a \"b\" \\""#).string().as_deref(), Some(r#"a "b" \"#));
        assert_eq!(Json("1").string(), None);
    }

    #[test]
    fn deep_nesting_is_detected_and_brackets_inside_strings_do_not_count() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Json(&nested(65)).is_unusual());
        assert!(!Json(&nested(64)).is_unusual());
        assert!(!Json(&format!("[{:?}, [], {{}}]", "[".repeat(100))).is_unusual());
    }

    #[test]
    fn exponents_are_detected_in_numbers_only() {
        for text in ["1e5", "[1.5E-7]", r#"{"a":{"b":2e9}}"#] {
            assert!(Json(text).is_unusual(), "{text}");
        }
        for text in ["15", "\"1e5\"", r#"["5e8a", "\"1e5\\"]"#, r#"{"1e5":true}"#] {
            assert!(!Json(text).is_unusual(), "{text}");
        }
    }
}
