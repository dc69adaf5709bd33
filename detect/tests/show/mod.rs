//! Shows what a rule means, as tables of expectations write it.

use detect::sigma::{Anchor, Comparison, Part, Pattern, Test};

/// A test as a text.
pub(crate) fn test(test: &Test) -> String {
    match test {
        Test::Text(Pattern { parts, is_cased }) => {
            let kind = if *is_cased { "cased" } else { "text" };
            format!("{kind} {}", parts.iter().map(part).collect::<String>())
        }
        Test::Number(number) => format!("number {number}"),
        Test::Null => "null".to_owned(),
        Test::Exists(expected) => format!("exists {expected}"),
        Test::Regex(found) => regex(found.as_str()),
        Test::Cidr(network) => format!("cidr {network}"),
        Test::Compare(found, number) => format!("{} {number}", comparison(*found)),
        Test::FieldRef(field, found) => format!("field {} {field}", anchor(*found)),
        Test::Time(part, number) => format!("{} {number}", format!("{part:?}").to_lowercase()),
    }
}

fn part(found: &Part) -> String {
    match found {
        Part::Literal(text) => text.replace('\\', r"\\").replace('*', r"\*").replace('?', r"\?"),
        Part::Many => "*".to_owned(),
        Part::One => "?".to_owned(),
    }
}

/// Splits the flags off that stand before the expression.
fn regex(text: &str) -> String {
    match text.strip_prefix("(?").and_then(|rest| rest.split_once(')')) {
        Some((flags, rest)) if flags.chars().all(|flag| "ims".contains(flag)) => {
            let mut flags: Vec<char> = flags.chars().collect();
            flags.sort_unstable();
            format!("regex {} {rest}", flags.into_iter().collect::<String>())
        }
        _ => format!("regex  {text}"),
    }
}

fn comparison(found: Comparison) -> &'static str {
    match found {
        Comparison::Less => "less",
        Comparison::LessOrEqual => "lessorequal",
        Comparison::Greater => "greater",
        Comparison::GreaterOrEqual => "greaterorequal",
    }
}

fn anchor(found: Anchor) -> &'static str {
    match found {
        Anchor::Whole => "whole",
        Anchor::Start => "start",
        Anchor::End => "end",
        Anchor::Anywhere => "anywhere",
    }
}
