//! Credentials behind Base64.

use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The shortest run that is looked at, as [`RUN`] says.
const RUN_BYTES_MIN: usize = 16;

/// Shorter than what any credential with its name is.
static RUN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("[A-Za-z0-9+/_-]{16,}={0,2}").ok());

/// The runs of Base64 whose content `holds_secret`.
pub(super) fn secrets(text: &str, mut holds_secret: impl FnMut(&str) -> bool) -> Vec<Range<usize>> {
    if text.len() < RUN_BYTES_MIN && !text.contains('\n') {
        return Vec::new();
    }
    let mut judge = |run: &str| decoded(run).is_some_and(|inner| holds_secret(&inner));
    if let Some(bare) = wrapped(text) {
        return std::iter::once(0..text.len()).filter(|_| judge(&bare)).collect();
    }
    let runs = RUN.iter().flat_map(|run| run.find_iter(text));
    runs.filter(|run| judge(run.as_str())).map(|run| run.range()).collect()
}

/// A text that is Base64 over several lines, without its line breaks.
fn wrapped(text: &str) -> Option<String> {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-\r\n \t".contains(&byte);
    let bytes = text.trim().as_bytes();
    (bytes.contains(&b'\n') && bytes.iter().all(|byte| is_of_it(*byte)))
        .then(|| text.split_ascii_whitespace().collect())
}

/// The text behind Base64; nothing where there is none.
fn decoded(run: &str) -> Option<String> {
    let is_url_safe = run.contains(['-', '_']);
    let bytes = if is_url_safe { URL_SAFE.decode(run) } else { STANDARD.decode(run) };
    String::from_utf8(bytes.ok()?).ok()
}
