//! Conditions: how selections are combined.
//!
//! Words are those of pySigma: operators in lower case, `not` before `and` before `or`.

use std::collections::HashSet;

use super::context::Context;
use super::detection::{Selection, join_all, join_any};
use super::error::RuleErrorKind as Kind;
use super::nearest::nearest;
use super::yaml::{Content, Node};
use super::{Expr, Place};

/// How deep parentheses may nest; rules seldom exceed 3.
pub(super) const PARENTHESES_MAX: usize = 64;

/// Reads `condition`, a text or a list of texts of which any suffices. `added` selections
/// are used whether or not it names them.
pub(super) fn read(
    node: &Node,
    selections: &[Selection],
    added: &[(String, bool)],
    context: &mut Context<'_>,
) -> Option<Expr> {
    let nodes = match &node.content {
        Content::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        context.report(node.place, Kind::EmptyCondition);
        return None;
    }
    let before = context.error_count();
    let mut used: HashSet<&str> = added.iter().map(|(name, _)| name.as_str()).collect();
    let mut parts = Vec::new();
    for node in nodes {
        parts.push(one(node, selections, &mut used, context));
    }
    if context.error_count() == before {
        for selection in selections.iter().filter(|selection| !used.contains(selection.name.as_str())) {
            context.report(selection.place, Kind::UnusedSelection { name: selection.name.clone() });
        }
    }
    parts.into_iter().collect::<Option<_>>().map(join_any)
}

/// The first `max` names in a condition and where they stand first, operators aside.
pub(super) fn words(node: &Node, max: usize, context: &Context<'_>) -> Vec<(String, Place)> {
    let is_name = |token: &Token<'_>| {
        let is_operator = matches!(token.text.to_ascii_lowercase().as_str(), "and" | "or" | "not" | "of");
        !is_operator && token.text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
    };
    let mut known = HashSet::new();
    let place = |token: &Token<'_>| context.source.place_in(node, token.from, token.text.chars().count());
    tokens(node.scalar_text().unwrap_or_default())
        .iter()
        .filter(|token| is_name(token) && known.insert(token.text))
        .take(max)
        .map(|token| (token.text.to_owned(), place(token)))
        .collect()
}

/// Reads one text; notes which selections it names.
pub(super) fn one<'s>(
    node: &Node,
    selections: &'s [Selection],
    used: &mut HashSet<&'s str>,
    context: &mut Context<'_>,
) -> Option<Expr> {
    let text = match node.scalar_text() {
        Some(text) if !text.trim().is_empty() => text,
        Some(_) => {
            context.report(node.place, Kind::EmptyCondition);
            return None;
        }
        None => {
            let found = node.found();
            context.report(
                node.place,
                Kind::WrongType { key: "condition".to_owned(), expected: "a text", found },
            );
            return None;
        }
    };
    let tokens = tokens(text);
    if let Some(bar) = tokens.iter().find(|token| token.text == "|") {
        let width = text.chars().count() - bar.from;
        context.report(context.source.place_in(node, bar.from, width), Kind::Aggregation);
        return None;
    }
    let mut parser = Parser { node, tokens: &tokens, at: 0, selections, used, context };
    let expr = parser.or(0)?;
    match parser.peek() {
        None => Some(expr),
        Some(token) if token.text == ")" => parser.fail(token, Kind::UnopenedParenthesis),
        Some(token) => parser.unexpected(Some(token), "`and`, `or` or the end"),
    }
}

/// A word or a single other character, and where it begins, counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'c> {
    pub(super) text: &'c str,
    pub(super) from: usize,
}

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '*');
    let mut tokens = Vec::new();
    let mut characters = text.char_indices().enumerate().peekable();
    while let Some((from, (start, character))) = characters.next() {
        if character.is_whitespace() {
            continue;
        }
        let mut end = start + character.len_utf8();
        if is_word(character) {
            while let Some((_, (at, next))) = characters.next_if(|(_, (_, next))| is_word(*next)) {
                end = at + next.len_utf8();
            }
        }
        // Invariant: both ends come from `char_indices` and character lengths.
        tokens.push(Token { text: &text[start..end], from });
    }
    tokens
}

struct Parser<'p, 's, 't> {
    node: &'p Node,
    tokens: &'p [Token<'p>],
    at: usize,
    selections: &'s [Selection],
    used: &'p mut HashSet<&'s str>,
    context: &'p mut Context<'t>,
}

impl<'p, 's> Parser<'p, 's, '_> {
    fn peek(&self) -> Option<Token<'p>> {
        self.tokens.get(self.at).copied()
    }

    fn next_if(&mut self, text: &str) -> Option<Token<'p>> {
        let token = self.peek().filter(|token| token.text == text)?;
        self.at += 1;
        Some(token)
    }

    fn or(&mut self, depth: usize) -> Option<Expr> {
        let mut parts = vec![self.and(depth)?];
        while self.next_if("or").is_some() {
            parts.push(self.and(depth)?);
        }
        Some(join_any(parts))
    }

    fn and(&mut self, depth: usize) -> Option<Expr> {
        let mut parts = vec![self.not(depth)?];
        while self.next_if("and").is_some() {
            parts.push(self.not(depth)?);
        }
        Some(join_all(parts))
    }

    fn not(&mut self, depth: usize) -> Option<Expr> {
        let mut is_negated = false;
        while self.next_if("not").is_some() {
            is_negated = !is_negated;
        }
        let expr = self.operand(depth)?;
        Some(if is_negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn operand(&mut self, depth: usize) -> Option<Expr> {
        if let Some(open) = self.next_if("(") {
            return self.group(open, depth);
        }
        let expected = "a selection";
        let Some(token) = self.peek() else { return self.unexpected(None, expected) };
        let is_quantifier = self.tokens.get(self.at + 1).is_some_and(|next| next.text == "of");
        match token.text {
            "and" | "or" | "of" | ")" => self.unexpected(Some(token), expected),
            "1" | "any" | "all" if is_quantifier => self.quantified(token),
            _ if is_quantifier => self.unexpected(Some(token), "`1`, `any` or `all`"),
            text if !text
                .starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '_' | '-')) =>
            {
                self.unexpected(Some(token), expected)
            }
            _ => {
                self.at += 1;
                self.named(token)
            }
        }
    }

    fn group(&mut self, open: Token<'p>, depth: usize) -> Option<Expr> {
        if depth >= PARENTHESES_MAX {
            return self.fail(open, Kind::Limit { what: "the nesting of parentheses", max: PARENTHESES_MAX });
        }
        let expr = self.or(depth + 1)?;
        match self.peek() {
            Some(token) if token.text == ")" => {
                self.at += 1;
                Some(expr)
            }
            Some(token) => self.unexpected(Some(token), "`and`, `or` or `)`"),
            None => self.fail(open, Kind::UnclosedParenthesis),
        }
    }

    /// `1 of pattern`, `any of pattern`, `all of pattern`.
    fn quantified(&mut self, quantifier: Token<'p>) -> Option<Expr> {
        self.at += 2;
        let is_word = |token: &Token<'_>| {
            token.text.chars().all(|found| found.is_ascii_alphanumeric() || "*_-".contains(found))
        };
        let Some(token) = self.peek().filter(is_word) else {
            return self.unexpected(self.peek(), "`them` or a pattern");
        };
        self.at += 1;
        let selections = self.selections;
        let fitting: Vec<&Selection> =
            selections.iter().filter(|selection| is_meant(token.text, &selection.name)).collect();
        if fitting.is_empty() {
            self.report(token, Kind::NoSelectionFits { pattern: token.text.to_owned() });
            return Some(Expr::All(Vec::new()));
        }
        let mut parts = Vec::new();
        for selection in fitting {
            parts.push(self.use_of(selection, token)?);
        }
        Some(if quantifier.text == "all" { join_all(parts) } else { join_any(parts) })
    }

    fn named(&mut self, token: Token<'p>) -> Option<Expr> {
        let selections = self.selections;
        if let Some(selection) = selections.iter().find(|selection| selection.name == token.text) {
            return self.use_of(selection, token);
        }
        if is_shouted(token.text) {
            return self.fail(token, Kind::OperatorCase { found: token.text.to_owned() });
        }
        let names = selections.iter().map(|selection| selection.name.as_str());
        let closest = nearest(token.text, names).map(str::to_owned);
        self.report(token, Kind::UnknownSelection { name: token.text.to_owned(), closest });
        (!self.context.is_hopeless()).then_some(Expr::All(Vec::new()))
    }

    fn use_of(&mut self, selection: &'s Selection, token: Token<'p>) -> Option<Expr> {
        self.used.insert(&selection.name);
        let bytes = selection.bytes + size_of::<Expr>();
        // Finding the place takes a walk through the text, too long for each of many words.
        let place = if bytes > self.context.bytes_left() { self.place(token) } else { self.node.place };
        if !self.context.spend(place, bytes) {
            return None;
        }
        // A selection with a mistake stands in as empty: the rule is refused anyway.
        let expr = selection.expr.clone().unwrap_or(Expr::All(Vec::new()));
        Some(Expr::Named(selection.name.clone(), Box::new(expr)))
    }

    fn place(&self, token: Token<'p>) -> Place {
        self.context.source.place_in(self.node, token.from, token.text.chars().count())
    }

    fn report(&mut self, token: Token<'p>, kind: Kind) {
        self.context.report(self.place(token), kind);
    }

    fn fail<T>(&mut self, token: Token<'p>, kind: Kind) -> Option<T> {
        self.report(token, kind);
        None
    }

    /// Reports what stands where something else is needed; at the end, the last token.
    fn unexpected<T>(&mut self, token: Option<Token<'p>>, expected: &'static str) -> Option<T> {
        match token {
            Some(token) if is_shouted(token.text) => {
                self.fail(token, Kind::OperatorCase { found: token.text.to_owned() })
            }
            Some(token) => {
                let found = format!("`{}`", token.text);
                self.fail(token, Kind::UnexpectedToken { expected, found })
            }
            None => {
                let kind = Kind::UnexpectedToken { expected, found: "the end of the condition".to_owned() };
                let place = self.tokens.last().map_or(self.node.place, |last| self.place(*last));
                self.context.report(place, kind);
                None
            }
        }
    }
}

/// True for an operator that is not in lower case.
fn is_shouted(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower != text && matches!(lower.as_str(), "and" | "or" | "not")
}

/// Whether a pattern means a selection. Names that begin with `_` are private: only
/// patterns that do so too mean them.
fn is_meant(pattern: &str, name: &str) -> bool {
    let is_private = name.starts_with('_') && !pattern.starts_with('_');
    !is_private && (pattern == "them" || fits(pattern.as_bytes(), name.as_bytes()))
}

/// Whether a text is spelled by a pattern in which `*` stands for anything.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut rest, mut retry) = (0, text, None);
    loop {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                retry = Some((at, rest));
                continue;
            }
            Some(byte) if rest.first() == Some(byte) => {
                // Invariant: `rest` has a first byte.
                (at, rest) = (at + 1, &rest[1..]);
                continue;
            }
            None if rest.is_empty() => return true,
            _ => {}
        }
        let Some((after, from)) = retry else { return false };
        let Some((_, shorter)) = from.split_first() else { return false };
        (at, rest, retry) = (after, shorter, Some((after, shorter)));
    }
}
