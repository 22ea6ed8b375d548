//! What a file with a secret says: its text as it is, but for one line break at its end, which editors and `echo` put there.
//!
//! Nothing else is taken off, since a password may begin with a blank or be in quotes. What is rarely meant is named instead.

/// What is wrong with a file that should hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFileError {
    #[error("it is empty")]
    Empty,
    #[error("it begins with a byte order mark: save it as UTF-8 without one")]
    ByteOrderMark,
    #[error("it is not UTF-8 text")]
    NotUtf8,
    #[error("it contains a NUL")]
    Nul,
}

/// The secret in a file with this content.
pub fn content(bytes: &[u8]) -> Result<&str, SecretFileError> {
    // Also of UTF-16, as Windows writes it.
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(SecretFileError::ByteOrderMark);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SecretFileError::NotUtf8)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text {
        "" => Err(SecretFileError::Empty),
        text if text.contains('\0') => Err(SecretFileError::Nul),
        text => Ok(text),
    }
}

/// What is probably not meant in a secret, and is taken as a part of it.
pub fn doubt(secret: &str) -> Option<&'static str> {
    let in_quotes = |quote: char| secret.chars().count() > 1 && secret.starts_with(quote) && secret.ends_with(quote);
    if ['"', '\'', '`'].into_iter().any(in_quotes) {
        Some("is in quotes, which are taken as a part of it")
    } else if secret.contains(['\n', '\r']) {
        Some("has several lines, which are all taken as a part of it")
    } else if secret.starts_with(char::is_whitespace) || secret.ends_with(char::is_whitespace) {
        Some("begins or ends with a blank, which is taken as a part of it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_as_it_is_but_for_one_line_break() {
        for (bytes, expected) in [
            (&b"ab%41cd%2Fx"[..], Ok("ab%41cd%2Fx")),
            (b"one\n", Ok("one")),
            (b"one\r\n", Ok("one")),
            (b"one\n\n", Ok("one\n")),
            (b" one \n", Ok(" one ")),
            (b"\"one\"\n", Ok("\"one\"")),
            ("grün ✓".as_bytes(), Ok("grün ✓")),
            (b"", Err(SecretFileError::Empty)),
            (b"\n", Err(SecretFileError::Empty)),
            (b"\xef\xbb\xbfone", Err(SecretFileError::ByteOrderMark)),
            (b"\xff\xfeo\0n\0e\0", Err(SecretFileError::ByteOrderMark)),
            (b"on\xe9", Err(SecretFileError::NotUtf8)),
            (b"o\0ne", Err(SecretFileError::Nul)),
        ] {
            assert_eq!(content(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn quotes_line_breaks_and_blanks_around_a_secret_are_named() {
        for (secret, word) in
            [("\"one\"", "quotes"), ("'one'", "quotes"), ("one\n", "several lines"), (" one", "blank"), ("one\t", "blank")]
        {
            assert!(doubt(secret).is_some_and(|doubt| doubt.contains(word)), "{secret:?}");
        }
        for secret in ["one", "o n e", "\"", "it's", "a\"b\""] {
            assert_eq!(doubt(secret), None, "{secret:?}");
        }
    }
}
