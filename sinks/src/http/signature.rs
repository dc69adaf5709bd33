//! Signs bodies, so that whoever gets them knows that they are genuine and recent.

use std::fmt::Write as _;
use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The signature of a body that is sent now: `t=<seconds since 1970>,v1=<hex>`, where `<hex>` is
/// HMAC-SHA256 of the seconds, a full stop and the body.
pub(super) fn sign(key: &[u8], body: &[u8]) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    sign_at(key, now.as_secs(), body)
}

pub(super) fn sign_at(key: &[u8], time_s: u64, body: &[u8]) -> String {
    let time = time_s.to_string();
    // Invariant: HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    let mut text = format!("t={time},v1=");
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn a_signature_is_that_of_other_tools() {
        let expected = "9e040cb90cefc5a04ab9a9848a74e2ff0489b4d8837b38d54555cb67e4f8e76e";
        assert_eq!(sign_at(b"key", 1_700_000_000, br#"{"id":"1"}"#), format!("t=1700000000,v1={expected}"));
    }
}
