//! What may stand in a line before the event: the header of a container runtime or of syslog.
//!
//! Only what looks like such a header is one. The rest of a broken event does not, and has to
//! be told.

/// How long a header may be: that of RFC 5424 has five names of up to 255 characters in all, and
/// structured data.
pub(crate) const PREFIX_BYTES_MAX: usize = 1024;

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Where the object of a text begins, behind white space or a header.
pub(super) fn object_start(text: &[u8]) -> Option<usize> {
    let start = text.len() - text.trim_ascii_start().len();
    let text = text.get(start..)?;
    let window = text.get(..text.len().min(PREFIX_BYTES_MAX + 1))?;
    let length = memchr::memchr(b'{', window)?;
    (length == 0 || is_header(text.get(..length)?)).then_some(start + length)
}

/// True for what container runtimes and syslog write before a message.
pub(crate) fn is_header(text: &[u8]) -> bool {
    let is_plain = text.iter().all(|byte| !byte.is_ascii_control() && *byte != b'}');
    let ends_well = matches!(text.last(), Some(b' ' | b':' | b']' | 0xbf));
    is_plain && ends_well && text.len() <= PREFIX_BYTES_MAX && begins_well(text)
}

/// True if it begins with a priority, or with a time as `2026-01-31T` or `Jan 31`.
fn begins_well(text: &[u8]) -> bool {
    match text {
        [b'<', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=3).contains(&digits) && rest.get(digits) == Some(&b'>')
        }
        [month @ .., _] if month.len() > 6 && month.get(3) == Some(&b' ') => {
            let is_day = |day: &[u8]| day.iter().all(|byte| byte.is_ascii_digit() || *byte == b' ');
            MONTHS.iter().any(|name| month.starts_with(name)) && month.get(4..6).is_some_and(is_day)
        }
        _ => is_date(text),
    }
}

/// `2026-01-31`, and what stands before a time.
fn is_date(text: &[u8]) -> bool {
    let Some(date) = text.get(..11) else { return false };
    date.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b' '),
        _ => byte.is_ascii_digit(),
    })
}

#[cfg(test)]
mod tests {
    use super::{is_header, object_start};

    #[test]
    fn headers_of_runtimes_and_of_syslog_are_known() {
        for header in [
            "2026-01-31T10:00:00.123456789Z stdout F ",
            "2026-01-31T10:00:00.123456789+01:00 stderr F ",
            "2026-01-31 10:00:00 ",
            "<134>Jan 31 10:00:00 node-1 audit: ",
            "<134>1 2026-01-31T10:00:00Z node-1 audit 77 ID47 [origin@1 ip=\"10.0.0.1\"] ",
            "<134>1 2026-01-31T10:00:00Z node-1 audit - - - \u{feff}",
            "Jan  3 10:00:00 node-1 kube-apiserver[77]: ",
        ] {
            assert!(is_header(header.as_bytes()), "{header}");
            assert_eq!(object_start(format!(" {header}{{").as_bytes()), Some(header.len() + 1));
        }
    }

    #[test]
    fn other_text_is_none() {
        for text in [
            "",
            "x",
            "garbage ",
            "2026",
            "2026-01-31T10:00:00Z\"}} ",
            "Jan 31\n ",
            "<1234> ",
            "<> ",
            "12345 ",
        ] {
            assert!(!is_header(text.as_bytes()), "{text}");
        }
        assert!(!is_header(format!("<1>{} ", "x".repeat(1024)).as_bytes()));
        assert_eq!(object_start(b" \t{"), Some(2));
        assert_eq!(object_start(b"text {"), None);
    }
}
