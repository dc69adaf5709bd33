//! Makes text from events and rules harmless to a terminal.
//!
//! **Invariant:** what comes out has no character that moves the cursor, changes colours,
//! breaks the line, reorders text or is invisible, so that what people see is what was logged.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every control, bidirectional and invisible character spelled out, such as
/// `\u{1b}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => cleaned.push_str("\\n"),
            '\r' => cleaned.push_str("\\r"),
            '\t' => cleaned.push_str("\\t"),
            _ if is_unsafe(character) => {
                let _ = write!(cleaned, "{}", character.escape_unicode());
            }
            _ => cleaned.push(character),
        }
    }
    Cow::Owned(cleaned)
}

/// Cleans a text and cuts it after `characters_max` characters, with `…` in place of the rest.
pub fn clean_short(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        None => clean(text).into_owned(),
        Some((end, _)) => format!("{}…", clean(&text[..end])),
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::{clean, clean_short};

    #[test]
    fn everyday_text_of_any_script_stays_as_it_is() {
        for text in ["", "kube-system/coredns", "Grüße, 世界", "a\\b", "עברית"] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn what_a_terminal_would_act_on_is_spelled_out() {
        assert_eq!(clean("\u{1b}[2Jx\r\ny\t\0"), "\\u{1b}[2Jx\\r\\ny\\t\\u{0}");
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("pod\u{202e}nimda"), "pod\\u{202e}nimda");
        assert_eq!(clean("\u{2066}\u{200b}\u{e0041}"), "\\u{2066}\\u{200b}\\u{e0041}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clean_short("世界平和", 2), "世界…");
        assert_eq!(clean_short("世界", 2), "世界");
    }
}
