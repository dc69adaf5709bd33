//! Bodies of one's own: a JSON text with places for parts of an alert.
//!
//! ```text
//! {"text": "{{ rule.level }}: {{ summary }}", "actor": {{ actor }}}
//! ```
//!
//! **Invariant:** what comes out is JSON of the form that the template has, whatever is in an
//! alert: within quotes parts are escaped, elsewhere they are whole JSON values.

use serde_json::Value;

/// How long a template may be, in bytes: far more than any receiver's form needs.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// A template that gives JSON for every alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is too long.
    #[error("the template has {bytes} bytes, at most {TEMPLATE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A place does not end.
    #[error("`{{{{` at byte {offset} has no `}}}}`")]
    Open {
        /// Where it begins, in bytes.
        offset: usize,
    },
    /// A place names no part.
    #[error("`{path}` names no part of an alert")]
    Path {
        /// What it names.
        path: String,
    },
    /// It is no JSON.
    #[error("the template does not give JSON")]
    Json(#[source] serde_json::Error),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// A part within quotes.
    Quoted(Vec<String>),
    /// A part that is a value of its own.
    Value(Vec<String>),
}

impl Template {
    /// Reads a template and makes sure that it gives JSON.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong { bytes: text.len() });
        }
        let mut pieces = Vec::new();
        let mut is_quoted = false;
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once("{{") {
            is_quoted = ends_quoted(literal, is_quoted);
            let offset = text.len() - behind.len() - 2;
            let (path, behind) = behind.split_once("}}").ok_or(TemplateError::Open { offset })?;
            let path = path_of(path.trim())?;
            pieces.push(Piece::Literal(one_line(literal)));
            pieces.push(if is_quoted { Piece::Quoted(path) } else { Piece::Value(path) });
            rest = behind;
        }
        pieces.push(Piece::Literal(one_line(rest)));
        let template = Self { pieces };
        // Within quotes something is filled in that shows whether a place cuts an escape in two.
        let sample = template.fill(|_| "x".to_owned(), |_| "null".to_owned());
        serde_json::from_str::<serde::de::IgnoredAny>(&sample).map_err(TemplateError::Json)?;
        Ok(template)
    }

    /// Fills in an alert: one line of JSON.
    pub(super) fn render(&self, json: &str) -> Result<String, serde_json::Error> {
        let alert: Value = serde_json::from_str(json)?;
        let within_quotes = |path: &[String]| part(&alert, path).map(quoted).unwrap_or_default();
        let value = |path: &[String]| match path {
            [] => json.to_owned(),
            _ => json_of(part(&alert, path).unwrap_or(&Value::Null)),
        };
        Ok(self.fill(within_quotes, value))
    }

    fn fill(&self, quoted: impl Fn(&[String]) -> String, value: impl Fn(&[String]) -> String) -> String {
        let fill = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Quoted(path) => quoted(path),
            Piece::Value(path) => value(path),
        };
        self.pieces.iter().map(fill).collect()
    }
}

/// The path in its steps; `.` alone is the whole alert.
fn path_of(path: &str) -> Result<Vec<String>, TemplateError> {
    if path == "." {
        return Ok(Vec::new());
    }
    let is_odd = |character: char| matches!(character, '{' | '}' | '"' | '\\') || character.is_whitespace();
    if path.split('.').any(|step| step.is_empty() || step.contains(is_odd)) {
        return Err(TemplateError::Path { path: path.to_owned() });
    }
    Ok(path.split('.').map(str::to_owned).collect())
}

/// Whether what follows is within quotes.
fn ends_quoted(literal: &str, mut is_quoted: bool) -> bool {
    let mut characters = literal.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => drop(characters.next()),
            _ => {}
        }
    }
    is_quoted
}

/// Line breaks can only be between values, where they mean nothing.
fn one_line(literal: &str) -> String {
    literal.replace(['\n', '\r'], " ")
}

fn part<'a>(alert: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(alert, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A value as it stands within quotes: texts without theirs, nothing for null.
fn quoted(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        other => escaped(&json_of(other)),
    }
}

fn escaped(text: &str) -> String {
    let json = json_of(&Value::from(text));
    json[1..json.len() - 1].to_owned()
}

/// A value as JSON, with escapes for what a terminal would act on.
fn json_of(value: &Value) -> String {
    crate::jsonl::escaped(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, alert: &str, expected: &str) {
        let rendered = Template::parse(template).unwrap().render(alert).unwrap();
        assert_eq!(rendered, expected);
        serde_json::from_str::<Value>(&rendered).unwrap();
    }

    #[test]
    fn parts_are_filled_in_where_they_are_named() {
        let alert = r#"{"id":"1","rule":{"level":"high","tags":["a","b"]},"n":3,"none":null}"#;
        check(r#"{"text": "{{rule.level}} {{ id }}"}"#, alert, r#"{"text": "high 1"}"#);
        check(r#"[{{ n }}, {{ rule.tags }}, "{{ rule.tags.1 }}"]"#, alert, r#"[3, ["a","b"], "b"]"#);
        check(r#"["{{ rule.tags }}", {{ missing.part }}]"#, alert, r#"["[\"a\",\"b\"]", null]"#);
        check(r#""{{ missing }}{{ none }}""#, alert, r#""""#);
        check("{{ . }}", alert, alert);
        check("{\n\"a\":\n\"\\\"{{ id }}\"}", alert, "{ \"a\": \"\\\"1\"}");
    }

    #[test]
    fn an_alert_cannot_leave_its_place() {
        let alert = serde_json::json!({ "a": "\",\"admin\":true,\"x\":\"\\ \u{202e}\n{{ id }}", "id": "1" });
        let filled = Template::parse(r#"{"t": "{{ a }}", "v": {{ a }}}"#).unwrap().render(&alert.to_string());
        let filled = filled.unwrap();
        let value: Value = serde_json::from_str(&filled).unwrap();
        assert_eq!(value, serde_json::json!({ "t": alert["a"], "v": alert["a"] }));
        assert!(filled.is_ascii() && !filled.contains('\n'));
    }

    #[test]
    fn a_template_that_cannot_work_is_refused() {
        let error = |text: &str| Template::parse(text).unwrap_err().to_string();
        assert_eq!(error(r#"{"a": {{ b }"#), "`{{` at byte 6 has no `}}`");
        assert_eq!(error(r#"{"a": {{ b..c }}}"#), "`b..c` names no part of an alert");
        assert_eq!(error(r#"{"a": {{ }}}"#), "`` names no part of an alert");
        assert_eq!(error(r#"{"a": x{{ b }}}"#), "the template does not give JSON");
        assert_eq!(error("\"\n{{ b }}\" \""), "the template does not give JSON");
        assert_eq!(error(r#"["\{{ b }}n"]"#), "the template does not give JSON");
        assert_eq!(error(r#"["\u00{{ b }}41"]"#), "the template does not give JSON");
        assert!(error(&" ".repeat(70_000)).starts_with("the template has 70000 bytes"));
    }
}
