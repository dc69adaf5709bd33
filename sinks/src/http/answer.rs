//! What a server's answer means for the alert that it got.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use crate::clean::clean_short;
use crate::delivery::{REASON_CHARACTERS_MAX, Trouble};

/// How much of an answer is read, in bytes: its first words say what is wrong.
const BODY_BYTES_MAX: usize = 4096;

/// How long is waited for the rest of an answer whose status is already known.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads an answer: `Ok` if the server has the alert.
pub(super) async fn judge(mut answer: Response) -> Result<(), Trouble> {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|value| wait_of(value, SystemTime::now()));
    let body = first_bytes(&mut answer).await;
    if status.is_success() {
        return Ok(());
    }
    Err(trouble_of(status, retry_after, &reason_of(status, &body)))
}

/// Reads the beginning of a body. A short one is read whole, which lets the connection be used
/// again.
async fn first_bytes(answer: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = answer.chunk().await {
            let room = BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == BODY_BYTES_MAX {
                break;
            }
        }
    };
    // Late words are not worth waiting for.
    let _ = tokio::time::timeout(BODY_TIMEOUT, read).await;
    body
}

fn reason_of(status: StatusCode, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
    let colon = if words.is_empty() { "" } else { ": " };
    clean_short(&format!("the server answered {status}{colon}{words}"), REASON_CHARACTERS_MAX)
}

/// What to do after a status that is no success.
///
/// Redirects are not followed: they would take alerts and credentials where the configuration did
/// not send them. They, and what concerns credentials, paths and methods, concern all alerts.
fn trouble_of(status: StatusCode, retry_after: Option<Duration>, reason: &str) -> Trouble {
    let reason = reason.to_owned();
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Trouble::Temporary { reason, retry_after },
        401..=405 | 407 | 410 | 421 | 426 | ..=399 => Trouble::Denied { reason },
        _ => Trouble::Refused { reason },
    }
}

/// How long `Retry-After` asks to wait: seconds, or a date.
fn wait_of(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = SystemTime::from(DateTime::parse_from_rfc2822(value).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (value, expected_s) in cases {
            assert_eq!(wait_of(value, now), expected_s.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn what_concerns_all_alerts_buries_none() {
        let kind = |code| match trouble_of(StatusCode::from_u16(code).unwrap(), None, "") {
            Trouble::Temporary { .. } => "temporary",
            Trouble::Denied { .. } => "denied",
            Trouble::Refused { .. } => "refused",
        };
        for (codes, expected) in [
            (&[408, 425, 429, 500, 501, 502, 503, 504, 507, 599][..], "temporary"),
            (&[300, 301, 302, 304, 307, 308, 401, 402, 403, 404, 405, 407, 410], "denied"),
            (&[400, 406, 409, 411, 412, 413, 414, 415, 417, 422, 431, 451], "refused"),
        ] {
            for code in codes {
                assert_eq!(kind(*code), expected, "{code}");
            }
        }
    }
}
