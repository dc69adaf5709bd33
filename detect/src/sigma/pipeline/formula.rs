//! Formulas: how `*_cond_expr` combines conditions by their names.

use super::super::condition::{PARENTHESES_MAX, Token, tokens};

/// A combination of conditions, which are known by their position.
#[derive(Clone, Debug)]
pub(super) enum Formula {
    Is(usize),
    Not(Box<Formula>),
    All(Vec<Formula>),
    Any(Vec<Formula>),
}

/// What is wrong with a formula, and which of its characters are meant.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) from: usize,
    pub(super) width: usize,
}

impl Formula {
    /// Reads a formula over named conditions, all of which it must use.
    pub(super) fn parse(text: &str, names: &[&str]) -> Result<Self, Fault> {
        let tokens = tokens(text);
        let mut parser = Parser { tokens: &tokens, at: 0, names, used: vec![false; names.len()] };
        let formula = parser.any(0)?;
        if parser.at < tokens.len() {
            return Err(parser.fault("expected `and`, `or` or the end".to_owned()));
        }
        match names.iter().zip(&parser.used).find(|(_, is_used)| !**is_used) {
            Some((name, _)) => {
                let message = format!("condition `{name}` is not used in the expression");
                Err(Fault { message, from: 0, width: text.chars().count() })
            }
            None => Ok(formula),
        }
    }

    /// Whether it holds; `test` says so of the single conditions.
    pub(super) fn holds(&self, test: &impl Fn(usize) -> bool) -> bool {
        match self {
            Formula::Is(index) => test(*index),
            Formula::Not(part) => !part.holds(test),
            Formula::All(parts) => parts.iter().all(|part| part.holds(test)),
            Formula::Any(parts) => parts.iter().any(|part| part.holds(test)),
        }
    }
}

struct Parser<'f> {
    tokens: &'f [Token<'f>],
    at: usize,
    names: &'f [&'f str],
    used: Vec<bool>,
}

impl Parser<'_> {
    fn next_if(&mut self, text: &str) -> bool {
        let is_next = self.tokens.get(self.at).is_some_and(|token| token.text == text);
        self.at += usize::from(is_next);
        is_next
    }

    fn fault(&self, message: String) -> Fault {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        let (from, width) = token.map_or((0, 1), |token| (token.from, token.text.chars().count()));
        Fault { message, from, width }
    }

    fn any(&mut self, depth: usize) -> Result<Formula, Fault> {
        let mut parts = vec![self.all(depth)?];
        while self.next_if("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Formula::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Formula, Fault> {
        let mut parts = vec![self.not(depth)?];
        while self.next_if("and") {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Formula::All(parts) })
    }

    fn not(&mut self, depth: usize) -> Result<Formula, Fault> {
        let mut is_negated = false;
        while self.next_if("not") {
            is_negated = !is_negated;
        }
        let part = self.operand(depth)?;
        Ok(if is_negated { Formula::Not(Box::new(part)) } else { part })
    }

    fn operand(&mut self, depth: usize) -> Result<Formula, Fault> {
        if self.next_if("(") {
            if depth >= PARENTHESES_MAX {
                return Err(self.fault("parentheses nest too deep".to_owned()));
            }
            let part = self.any(depth + 1)?;
            return if self.next_if(")") { Ok(part) } else { Err(self.fault("expected `)`".to_owned())) };
        }
        let Some(token) = self.tokens.get(self.at) else {
            return Err(self.fault("expected a condition, found the end".to_owned()));
        };
        let Some(index) = self.names.iter().position(|name| *name == token.text) else {
            return Err(self.fault(format!("no condition is called `{}`", token.text)));
        };
        self.at += 1;
        if let Some(is_used) = self.used.get_mut(index) {
            *is_used = true;
        }
        Ok(Formula::Is(index))
    }
}
