//! Lays JSON out over lines, as it is written: keys keep their order, numbers and texts their form.

use std::io::{self, Write};

/// How far what is inside stands to the right of what it is in.
const INDENT: &[u8] = b"  ";
/// Deeper than this nothing moves to the right any more: an event may nest as deep as it is long, and would
/// become as wide.
const DEPTH_MAX: usize = 32;

/// Writes JSON that was written on one line with a line for each key and each item.
pub(super) fn write_laid_out(out: &mut dyn Write, json: &str) -> io::Result<()> {
    let (mut depth, mut is_in_text, mut is_escaped) = (0_usize, false, false);
    let mut bytes = json.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let is_plain = is_in_text || !matches!(byte, b'{' | b'[' | b'}' | b']' | b',' | b':');
        match byte {
            _ if is_plain => out.write_all(&[byte])?,
            b'{' | b'[' if matches!((byte, bytes.peek()), (b'{', Some(b'}')) | (b'[', Some(b']'))) => {
                out.write_all(if byte == b'{' { b"{}" } else { b"[]" })?;
                bytes.next();
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                break_line(out, depth)?;
                out.write_all(&[byte])?;
            }
            b':' => out.write_all(b": ")?,
            _ => {
                depth += usize::from(byte != b',');
                out.write_all(&[byte])?;
                break_line(out, depth)?;
            }
        }
        is_in_text ^= byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
    }
    Ok(())
}

fn break_line(out: &mut dyn Write, depth: usize) -> io::Result<()> {
    out.write_all(b"\n")?;
    (0..depth.min(DEPTH_MAX)).try_for_each(|_| out.write_all(INDENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(json: &str) -> String {
        let mut written = Vec::new();
        write_laid_out(&mut written, json).unwrap();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn json_is_laid_out_as_others_do_and_keeps_its_order() {
        let texts = [
            r#"{"a":{},"b":[],"c":[1,{"d":null}],"e":"x"}"#,
            r#"[{"a":"},[:\"\\"},"\\\",{",[[]],-1.5,true]"#,
            r#""text""#,
        ];
        for text in texts {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(laid_out(text), serde_json::to_string_pretty(&value).unwrap());
        }
        assert_eq!(laid_out(r#"{"b":1e3,"a":2}"#), "{\n  \"b\": 1e3,\n  \"a\": 2\n}");
    }

    #[test]
    fn what_nests_without_end_becomes_no_wider() {
        let depth = 100_000;
        let json = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let laid_out = laid_out(&json);
        assert!(laid_out.len() < 200 * depth, "{} bytes", laid_out.len());
        assert_eq!(laid_out.split_ascii_whitespace().collect::<String>(), json);
    }
}
