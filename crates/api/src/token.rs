//! The API token: checked when it is read, shown nowhere, sent in one header.
//!
//! What may be logged or stored of it is its fingerprint, a hash under a key.

use planhat_model::keyed_hash::HashKey;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// An API token that is valid in an HTTP header.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("the Planhat token is empty")]
    Empty,
    #[error("the Planhat token has an invalid character at position {position}")]
    InvalidCharacter { position: usize },
}

impl Token {
    /// Takes a token as it was pasted: surrounding white space is a frequent accident (docs/planhat-api.md, source CC).
    pub fn new(pasted: &SecretString) -> Result<Token, InvalidToken> {
        let token = pasted.expose_secret().trim();
        if token.is_empty() {
            return Err(InvalidToken::Empty);
        }
        match token.chars().position(|character| !character.is_ascii_graphic()) {
            Some(index) => Err(InvalidToken::InvalidCharacter { position: index + 1 }),
            None => Ok(Token(token.into())),
        }
    }

    /// What tells this token from others without revealing it: its HMAC-SHA256 under a key, in hexadecimal.
    pub fn fingerprint(&self, key: &str) -> String {
        HashKey::new(key.as_bytes()).hex_of(self.0.expose_secret().as_bytes())
    }

    /// The value of the header `Authorization`. Its characters were checked, so there always is one.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The text without the token, should it contain it.
    pub(crate) fn mask_in(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), "[token]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_token_is_trimmed_and_invalid_characters_are_refused() {
        assert!(Token::new(&"  abc.DEF-1\n".into()).is_ok());
        assert_eq!(Token::new(&" \n".into()).unwrap_err(), InvalidToken::Empty);
        assert_eq!(Token::new(&"abc\u{200b}def".into()).unwrap_err(), InvalidToken::InvalidCharacter { position: 4 });
        assert_eq!(Token::new(&"abc\ndef".into()).unwrap_err(), InvalidToken::InvalidCharacter { position: 4 });
    }

    #[test]
    fn the_token_fingerprint_is_an_hmac_that_differs_for_each_key() {
        // As `printf %s token | openssl dgst -sha256 -hmac key` has it.
        let token = Token::new(&" token\n".into()).unwrap();
        let expected = "646b8eac0c4ae4178299c9bd924e2bf073dfb07e024901a8c864f65b9462bf0d";
        assert_eq!(token.fingerprint("key"), expected);
        assert_ne!(token.fingerprint("another key"), expected);
    }

    #[test]
    fn the_token_is_hidden_in_debug_output() {
        let token = Token::new(&"very-secret".into()).unwrap();
        assert!(!format!("{token:?} {:?}", token.header()).contains("very-secret"));
    }

    #[test]
    fn a_token_is_masked_wherever_a_text_contains_it() {
        let token = Token::new(&"very-secret".into()).unwrap();
        assert_eq!(token.mask_in("very-secret and Bearer very-secret!"), "[token] and Bearer [token]!");
    }
}
