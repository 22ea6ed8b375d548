//! Signs a message as Standard Webhooks specifies, so that any of its libraries can verify it.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use planhat_model::keyed_hash::HashKey;
use secrecy::{ExposeSecret, SecretSlice};

const PREFIX: &str = "whsec_";

/// The key that sender and receiver share.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// `whsec_` and the key in base64; any other text is the key itself.
    pub fn parse(text: &str) -> Result<Secret, &'static str> {
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| "is not base64 after whsec_")?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err("has no key after whsec_") } else { Ok(Secret(key.into())) }
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn signature(&self, event_id: &str, timestamp: i64, body: &str) -> String {
        let hash = HashKey::new(self.0.expose_secret()).bytes_of(format!("{event_id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(hash))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_matches_the_example_in_the_standard_webhooks_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_webhook_secret_without_prefix_is_used_as_its_bytes() {
        let signature = |secret| Secret::parse(secret).unwrap().signature("a", 1, "b");
        assert_eq!(signature("key"), signature("whsec_a2V5"));
        assert_ne!(signature("key"), signature("a2V5"));
        assert!(Secret::parse("whsec_a secret").is_err() && Secret::parse("whsec_").is_err());
    }

    #[test]
    fn the_webhook_secret_is_hidden_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::parse("hunter2").unwrap()), "Secret(…)");
    }
}
