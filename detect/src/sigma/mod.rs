//! Turns Sigma rule text into typed rules.
//!
//! The only place that reads rule syntax. All problems in a file are reported together,
//! each with its place; past this module a rule is a [`Rule`] and cannot be wrong.

mod action;
mod automaton;
mod block;
mod condition;
mod context;
pub mod correlation;
mod detection;
mod document;
mod draft;
mod error;
pub(crate) mod event_object;
mod expression;
pub mod filter;
pub mod link;
mod lint;
mod lists;
mod logsource;
mod modifier;
mod nearest;
mod necessary;
pub mod packed;
mod pipeline;
mod placeholder;
mod text;
mod yaml;

use core::net::IpAddr;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::field::Sight;
use crate::truth::Truth;

use context::Context;
pub use correlation::{Correlation, Range};
pub use error::{Code, Label, RuleError, RuleErrorKind, Severity};
pub use expression::Regex;
pub use filter::Filter;
pub use link::{link, plain_id};
pub use lint::{lint, lint_correlation, lint_filter};
pub use lists::Lists;
pub use logsource::Subject;
pub use pipeline::Pipeline;

/// What a file of rules holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The rules without errors, in the order of the file.
    pub rules: Vec<Rule>,
    /// The filters without errors, in the order of the file.
    pub filters: Vec<Filter>,
    /// Every mistake of the file, in the order of the file.
    pub problems: Vec<RuleError>,
    /// Where values stand, for [`lint()`].
    pub value_places: ValuePlaces,
}

/// Where the values of an item stand, by the item's own place: one for each of its tests.
pub type ValuePlaces = HashMap<Place, Vec<Place>>;

/// What a user sets up besides rules.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// What placeholders stand for.
    pub lists: Lists,
    /// What changes rules before they are understood.
    pub pipelines: Vec<Pipeline>,
    /// Whether regular expressions have been checked before, and are taken as they are.
    pub trusts_expressions: bool,
}

/// Reads a file of one or more rules, as [`parse_with`] does without lists and pipelines.
pub fn parse(path: &Path, text: &str) -> Parsed {
    parse_with(path, text, &Setup::default())
}

/// Reads a file of one or more rules, never stopping at the first mistake.
///
/// A rule with an error is left out; one with warnings is not. `path` is only named in
/// problems, nothing is read from it.
pub fn parse_with(path: &Path, text: &str, setup: &Setup) -> Parsed {
    let mut context = Context::new(path, text, setup);
    let (rules, filters) = document::read(&mut context, text.len());
    let Context { mut problems, value_places, .. } = context;
    problems.sort_by_key(|problem| problem.place);
    Parsed { rules, filters, problems, value_places }
}

/// A rule that has been understood.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// The file it came from.
    pub path: PathBuf,
    /// The rule's `id`, or one made from its title where it has none.
    pub id: String,
    /// The name by which correlations may refer to it.
    pub name: Option<String>,
    /// What happened, in a few words.
    pub title: String,
    /// How urgent an alert is.
    pub level: Level,
    /// `status` as written.
    pub status: Option<String>,
    /// Why a human should care.
    pub description: String,
    /// Tags as written, such as `attack.t1609`.
    pub tags: Vec<String>,
    /// Known innocent causes.
    pub falsepositives: Vec<String>,
    /// Where to read on.
    pub references: Vec<String>,
    /// What the rule reads.
    pub logsource: Logsource,
    /// Keys that Sigma does not define (`runbook`, `minimum_level`, …), in their order.
    #[serde(with = "packed::as_json")]
    pub custom: Vec<(String, serde_json::Value)>,
    /// What must hold for an alert.
    pub logic: Logic,
}

/// What a rule is about: single events, or how the matches of other rules relate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Logic {
    /// A condition that one event satisfies.
    Event(Expr),
    /// A relation between matches of other rules.
    Correlation(Correlation),
}

impl Rule {
    /// The condition that one event satisfies; nothing for correlations.
    pub fn condition(&self) -> Option<&Expr> {
        match &self.logic {
            Logic::Event(condition) => Some(condition),
            Logic::Correlation(_) => None,
        }
    }

    /// How matches of other rules relate; nothing for rules about single events.
    pub fn correlation(&self) -> Option<&Correlation> {
        match &self.logic {
            Logic::Event(_) => None,
            Logic::Correlation(correlation) => Some(correlation),
        }
    }
}

/// `logsource`: which logs a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Logsource {
    pub product: Option<String>,
    pub service: Option<String>,
    pub category: Option<String>,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Level {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

/// A condition over an event. Three-valued: a part that cannot be known makes the whole
/// unknown unless the other parts decide it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    /// Every part holds (an empty list holds).
    All(Vec<Expr>),
    /// At least one part holds (an empty list does not).
    Any(Vec<Expr>),
    /// The part does not hold.
    Not(Box<Expr>),
    /// A selection under the name it has in the rule.
    Named(String, Box<Expr>),
    /// A test of one field.
    Item(Item),
    /// A condition on the elements of a list.
    Block(Block),
}

/// A condition on the elements of a list, each looked at on its own: `container[any]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The list; within another block, relative to its element.
    pub list: String,
    /// Which elements the condition must hold for.
    pub quantifier: Quantifier,
    /// What is asked of one element. Fields are relative to it, `.` is the element itself;
    /// there are no keywords.
    pub body: Box<Expr>,
    /// Where the list is named.
    pub place: Place,
}

/// Which elements of a list a condition must hold for. A list that is absent or `null` has
/// no elements, a value that is no list is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantifier {
    /// At least one.
    Any,
    /// Every one, and there is one.
    All,
    /// Every one.
    AllOrEmpty,
    /// Not one.
    None,
    /// The one at this position, which counts from the end if it is negative; values that
    /// are no list have no positions.
    At(i64),
}

impl Quantifier {
    /// The quantifiers that have a name.
    pub const NAMES: [(&'static str, Quantifier); 4] = [
        ("any", Quantifier::Any),
        ("all", Quantifier::All),
        ("all_or_empty", Quantifier::AllOrEmpty),
        ("none", Quantifier::None),
    ];

    /// Understands what stands in the brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, quantifier)| *quantifier);
        named.or_else(|| text.parse().ok().map(Quantifier::At))
    }

    /// The position, if only one counts.
    pub fn position(self) -> Option<i64> {
        if let Quantifier::At(position) = self { Some(position) } else { None }
    }

    /// Whether the whole holds, from what holds for each element that the event shows.
    /// Elements that do not matter any more are not looked at.
    pub fn truth(self, sight: Sight, elements: impl Iterator<Item = Truth>) -> Truth {
        let unseen = if sight == Sight::Hidden { Truth::Unknown } else { Truth::False };
        let is_universal = matches!(self, Quantifier::All | Quantifier::AllOrEmpty);
        let (mut truth, settled) = if is_universal { (!unseen, Truth::False) } else { (unseen, Truth::True) };
        let mut is_empty = true;
        for element in elements {
            is_empty = false;
            truth = if is_universal { truth.and(element) } else { truth.or(element) };
            if truth == settled {
                break;
            }
        }
        match self {
            Quantifier::All if is_empty => unseen,
            Quantifier::None => !truth,
            _ => truth,
        }
    }
}

impl std::fmt::Display for Quantifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Quantifier::At(position) => write!(formatter, "{position}"),
            named => {
                let name = Self::NAMES.iter().find(|(_, quantifier)| quantifier == named);
                formatter.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

/// One field and the tests of which at least one must hold for at least one of its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The field as written; nothing for keywords, which look at every key and value.
    pub field: Option<String>,
    /// The alternatives; rules that name a list share them.
    #[serde(skip)]
    pub tests: Arc<[Test]>,
    /// Where the item stands in its file.
    pub place: Place,
}

/// A position in a file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    /// How many characters are meant, for a caret.
    pub width: u32,
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// The value's text is spelled by the pattern. For keywords: contains it.
    Text(Pattern),
    /// The value is this number, or has its text.
    Number(String),
    /// The field is absent or `null`.
    Null,
    /// The field is there (`null` included), or not.
    Exists(bool),
    /// A regular expression finds something in the value's text.
    Regex(Regex),
    /// The value is an address in the network.
    Cidr(IpNet),
    /// The value is a number that compares so.
    Compare(Comparison, f64),
    /// The value's text relates so to a value of another field.
    FieldRef(String, Anchor),
    /// A part of the value, read as a time, is this number.
    Time(TimePart, i64),
}

/// A text with wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pattern {
    /// Pieces from left to right; no two literals in a row. No pieces: the empty text.
    pub parts: Vec<Part>,
    /// True when upper and lower case differ (`cased`).
    pub is_cased: bool,
}

/// A piece of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Part {
    /// These characters.
    Literal(String),
    /// `*`: any characters, none and newlines included.
    Many,
    /// `?`: exactly one character.
    One,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where in the text the other text must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Anchor {
    Whole,
    Start,
    End,
    Anywhere,
}

/// A part of a time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Reads an address as `sourceIPs` and rules write it.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}
