//! Keyed hashes (HMAC-SHA256): of the API token, of personal data, of outgoing events.
//!
//! A hash under a key tells equal values from different ones, and whoever lacks the key cannot try out which value it
//! belongs to.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key, ready to hash many values. It does not show in debug output.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl HashKey {
    /// HMAC takes keys of any length.
    pub fn new(key: &[u8]) -> HashKey {
        match Hmac::new_from_slice(key) {
            Ok(mac) => HashKey(mac),
            Err(_) => unreachable!("HMAC hashes long keys and pads short ones, so that every length will do"),
        }
    }

    /// The hash of a message, as bytes.
    pub fn bytes_of(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// The hash of a message, in lowercase hexadecimal.
    pub fn hex_of(&self, message: &[u8]) -> String {
        hex::encode(self.bytes_of(message))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4231.
    fn check(key: &[u8], message: &[u8], expected: &str) {
        assert_eq!(HashKey::new(key).hex_of(message), expected);
        assert_eq!(hex::encode(HashKey::new(key).bytes_of(message)), expected);
    }

    #[test]
    fn hashes_are_those_of_rfc_4231_with_keys_of_any_length() {
        check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check(b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        check(&[0xaa; 131], message, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        // As `printf '' | openssl dgst -sha256 -hmac ''` has it.
        check(b"", b"", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    }

    #[test]
    fn a_key_does_not_show_in_debug() {
        assert_eq!(format!("{:?}", HashKey::new(b"hunter2")), "HashKey");
    }
}
