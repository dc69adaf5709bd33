//! Makes text from an event safe to show.

/// How many characters of one value a sentence shows.
pub const VALUE_CHARACTERS_MAX: usize = 120;

/// How long a sentence may be, in characters: a line or two of a terminal or a chat.
pub const SENTENCE_CHARACTERS_MAX: usize = 400;

/// A value as a sentence may show it: on one line, at most [`VALUE_CHARACTERS_MAX`] long,
/// without control characters, invisible or direction-changing ones, and backticks.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    let mut length = 0;
    for character in text.chars() {
        let character = match character {
            '`' => '\'',
            character if character.is_control() || character.is_whitespace() => ' ',
            character if is_invisible(character) => continue,
            character => character,
        };
        if character == ' ' && (cleaned.is_empty() || cleaned.ends_with(' ')) {
            continue;
        }
        if length == VALUE_CHARACTERS_MAX {
            cleaned.push('…');
            break;
        }
        cleaned.push(character);
        length += 1;
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// A sentence in which nothing outside code spans is a link, a tag or a mention: a name that
/// nobody had to be allowed to ask for must not ring every telephone of a team.
pub(super) fn without_markup(sentence: &str) -> String {
    let (mut text, mut before, mut is_code) = (String::with_capacity(sentence.len()), ' ', false);
    for character in sentence.chars() {
        is_code ^= character == '`';
        match (is_code, before, character) {
            (false, _, '<') => text.push('‹'),
            (false, _, '>') => text.push('›'),
            (false, ']', '(') => text.push_str(" ("),
            (false, before, '@') if !before.is_alphanumeric() => text.push('＠'),
            (.., character) => text.push(character),
        }
        before = character;
    }
    text
}

/// At most this many characters, the last one `…` if some were cut.
pub(super) fn shortened(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let kept = text.chars().take(characters_max.saturating_sub(1)).collect::<String>();
    // A code span that was cut open would swallow what follows.
    let is_open = !kept.matches('`').count().is_multiple_of(2);
    if is_open {
        format!("{}…`", kept.chars().take(characters_max.saturating_sub(2)).collect::<String>())
    } else {
        kept + "…"
    }
}

/// True for characters that show nothing of their own: they reorder, join or hide others.
pub fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::{VALUE_CHARACTERS_MAX, clean, shortened};

    #[test]
    fn nothing_that_a_terminal_or_markdown_interprets_survives() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred [0m"),
            ("a\nb\r\n\tc", "a b c"),
            ("  a  ", "a"),
            ("`; rm -rf /`", "'; rm -rf /'"),
            ("user\u{202e}txt.exe", "usertxt.exe"),
            ("a\u{2066}b\u{200b}c\u{feff}d\u{e0041}e", "abcde"),
            ("\u{9b}31m\u{85}x\u{2028}y\u{2029}z", "31m x y z"),
            ("\0\u{7f}", ""),
            ("é日本", "é日本"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_value_is_bounded_in_characters() {
        let cleaned = clean(&"é".repeat(100_000));
        assert_eq!(cleaned.chars().count(), VALUE_CHARACTERS_MAX + 1);
        assert!(cleaned.ends_with('…'));
        assert_eq!(clean(&"é".repeat(VALUE_CHARACTERS_MAX)).chars().count(), VALUE_CHARACTERS_MAX);
    }

    #[test]
    fn a_cut_closes_the_code_span_it_opens() {
        assert_eq!(shortened("ran `abcdef` in", 9), "ran `ab…`");
        assert_eq!(shortened("ran `a` in pod", 10), "ran `a` i…");
        assert_eq!(shortened("short", 5), "short");
    }
}
