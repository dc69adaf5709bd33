//! Lays JSON out over lines, as it is written: keys keep their order, numbers and texts their form.

/// How far what is inside stands to the right of what it is in.
const INDENT: &str = "  ";

/// JSON that was written on one line, with a line for each key and each item.
pub(super) fn laid_out(json: &str) -> String {
    let mut laid_out = String::with_capacity(json.len() * 2);
    let (mut depth, mut is_in_text, mut is_escaped) = (0_usize, false, false);
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        let is_plain = is_in_text || !matches!(character, '{' | '[' | '}' | ']' | ',' | ':');
        let is_empty = matches!((character, characters.peek()), ('{', Some('}')) | ('[', Some(']')));
        match character {
            _ if is_plain => laid_out.push(character),
            '{' | '[' if is_empty => {
                laid_out.push(character);
                laid_out.extend(characters.next());
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut laid_out, depth);
                laid_out.push(character);
            }
            ':' => laid_out.push_str(": "),
            _ => {
                depth += usize::from(character != ',');
                laid_out.push(character);
                break_line(&mut laid_out, depth);
            }
        }
        is_in_text ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
    }
    laid_out
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n(INDENT, depth));
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
