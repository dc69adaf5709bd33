//! What can be wrong with a rule, where, and under which code.
//!
//! Errors are data: a place, a kind, and sometimes a second place that explains the first.
//! Drawing them is somebody else's job.

use std::fmt;
use std::path::PathBuf;

use super::Place;

/// Something wrong with a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}:{column}: {kind}", path = path.display(), line = place.line, column = place.column)]
pub struct RuleError {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Where in the file.
    pub place: Place,
    /// What is wrong.
    pub kind: RuleErrorKind,
    /// Another place that explains the first, such as an earlier definition.
    pub label: Option<Label>,
}

impl RuleError {
    /// Whether the rule can still be used.
    pub fn severity(&self) -> Severity {
        self.kind.code().severity()
    }

    /// The stable code, such as `MH104`.
    pub fn code(&self) -> Code {
        self.kind.code()
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<String> {
        self.kind.help()
    }
}

/// A second place with a few words about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where in the same file.
    pub place: Place,
    /// What is there.
    pub text: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The rule works, perhaps not as its author thinks.
    Warning,
    /// The rule is refused.
    Error,
}

macro_rules! codes {
    ($($code:ident $severity:ident $sentence:literal),* $(,)?) => {
        /// The stable code of a kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Code { $($code),* }

        impl Code {
            /// Every code, in ascending order.
            pub const ALL: &'static [Code] = &[$(Code::$code),*];

            /// The code as it is printed.
            pub fn id(self) -> &'static str {
                match self { $(Code::$code => stringify!($code)),* }
            }

            /// How bad problems of this code are.
            pub fn severity(self) -> Severity {
                match self { $(Code::$code => Severity::$severity),* }
            }

            /// What the code means, in a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Code::$code => $sentence),* }
            }
        }
    };
}

codes! {
    MH001 Error "The file is not YAML at this place.",
    MH002 Error "A mapping holds the same key twice.",
    MH003 Error "The file exceeds a limit that protects against hostile input.",
    MH004 Error "A document is not a mapping, so it cannot be a rule.",
    MH006 Error "A key is a list or a mapping; keys must be texts.",
    MH007 Error "A YAML tag is none of those that YAML 1.2 defines.",
    MH008 Warning "The file holds no rule.",
    MH101 Error "A key that every rule needs is missing.",
    MH102 Error "A key holds a value of the wrong type.",
    MH103 Error "A key holds a value that is none of those it may have.",
    MH104 Warning "A key is almost one that Sigma defines; it is kept as a custom key.",
    MH105 Error "The `id` is not a UUID.",
    MH106 Warning "The rule has no `id`; one is derived from the title and changes with it.",
    MH107 Warning "The rule has no `level`; `medium` is taken.",
    MH108 Warning "A tag has no namespace.",
    MH109 Warning "A date is not written as YYYY-MM-DD.",
    MH110 Error "A text that must say something is empty or too long.",
    MH201 Error "A selection or a list of values is empty.",
    MH202 Error "A field name is followed by a modifier that does not exist.",
    MH203 Error "A modifier cannot be applied to a value of this type.",
    MH204 Error "A modifier must be the first one but follows another.",
    MH205 Error "A modifier cannot be applied to a text with wildcards.",
    MH206 Error "A regular expression is malformed.",
    MH207 Error "A regular expression uses a feature that is not supported.",
    MH208 Error "A regular expression is too large when compiled.",
    MH209 Error "A network is not in CIDR notation.",
    MH210 Error "A text cannot be written in the encoding that a modifier asks for.",
    MH211 Error "A value holds too many dashes for `windash`.",
    MH212 Error "A placeholder stands for a list that is not defined.",
    MH213 Error "A test needs a field but is written as a keyword.",
    MH214 Error "A value is a list or a mapping where one text or number is needed.",
    MH215 Error "A number is not finite.",
    MH216 Warning "The modifier `all` has no effect on a single value.",
    MH217 Error "Brackets after a list hold no quantifier, or stand after nothing.",
    MH218 Error "A modifier is applied to a mapping of conditions on elements.",
    MH219 Error "A condition on elements holds keywords.",
    MH220 Warning "Several keys of a mapping ask for any element of one list, and each may find another element.",
    MH301 Error "The condition names a selection that is not defined.",
    MH302 Error "A pattern of the condition fits no selection.",
    MH303 Error "A parenthesis of the condition has no partner.",
    MH304 Error "The condition is not well formed.",
    MH305 Error "The condition uses an aggregation, which correlations have replaced.",
    MH306 Warning "A selection is defined but no condition uses it.",
    MH307 Warning "A `timeframe` has no effect outside correlations.",
    MH308 Error "A correlation lists a rule that its condition does not name.",
    MH401 Warning "No audit event has a field of this name.",
    MH402 Warning "A field never has this value.",
    MH403 Warning "The rule can never fire.",
    MH502 Error "A document refers to a rule that does not exist.",
    MH503 Error "A document refers to a rule by a name that several rules have.",
    MH504 Warning "A filter applies to no rule, or not to one that it names.",
    MH505 Error "A correlation leads back to itself.",
    MH506 Error "A correlation lists one rule by its id and by its name.",
    MH601 Error "A time span is not a whole number with a unit.",
    MH602 Warning "A key has no meaning where it stands.",
    MH603 Error "A correlation computes with more than one field.",
    MH701 Error "A pipeline uses a part of pySigma's pipelines that is not supported.",
    MH702 Error "A pipeline sets something that its transformation or condition does not have.",
    MH703 Error "The conditions of a pipeline's step are not well formed.",
    MH704 Error "A pipeline refuses the rule.",
    MH705 Error "A pipeline cannot be applied to the rule.",
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.id())
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum RuleErrorKind {
    #[error("{message}")]
    Yaml { message: String },
    #[error("duplicate key `{key}`")]
    DuplicateKey { key: String },
    #[error("{what} exceeds the limit of {max}")]
    Limit { what: &'static str, max: usize },
    #[error("expected a rule, found {found}")]
    NotARule { found: &'static str },
    #[error("a key must be a text, found {found}")]
    KeyNotText { found: &'static str },
    #[error("unknown tag `{tag}`")]
    UnknownTag { tag: String },
    #[error("the file holds no rule")]
    NoRule,
    #[error("missing key `{key}`")]
    MissingKey { key: &'static str, slip: Option<String> },
    #[error("`{key}` must be {expected}, found {found}")]
    WrongType { key: String, expected: &'static str, found: &'static str },
    #[error("unknown {key} `{value}`")]
    UnknownValue { key: &'static str, value: String, closest: Option<&'static str>, known: String },
    #[error("unknown key `{key}`, did you mean `{closest}`?")]
    UnknownKey { key: String, closest: &'static str },
    #[error("id `{id}` is not a UUID")]
    InvalidId { id: String },
    #[error("the rule has no `id`")]
    MissingId { derived: String },
    #[error("the rule has no `level`")]
    MissingLevel,
    #[error("tag `{tag}` has no namespace")]
    InvalidTag { tag: String },
    #[error("`{key}` is not a date: `{value}`")]
    InvalidDate { key: &'static str, value: String },
    #[error("`{key}` is empty")]
    EmptyText { key: &'static str },
    #[error("`{key}` has {got} characters, more than {max}")]
    TextTooLong { key: &'static str, got: usize, max: usize },
    #[error("selection `{name}` is empty")]
    EmptySelection { name: String },
    #[error("`{field}` has an empty list of values")]
    EmptyValues { field: String },
    #[error("a modifier is missing after `|`")]
    EmptyModifier,
    #[error("unknown modifier `{name}`")]
    UnknownModifier { name: String, closest: Option<&'static str> },
    #[error("`{modifier}` needs {expected}, found {found}")]
    ModifierType { modifier: &'static str, expected: &'static str, found: String },
    #[error("`{modifier}` must be the first modifier")]
    ModifierNotFirst { modifier: &'static str },
    #[error("`{modifier}` cannot be applied to a text with wildcards")]
    Wildcards { modifier: &'static str },
    #[error("invalid regular expression: {message}")]
    InvalidRegex { message: String },
    #[error("{feature} is not supported in regular expressions")]
    UnsupportedRegex { feature: &'static str },
    #[error("the regular expression takes more than {max} bytes when compiled")]
    RegexTooLarge { max: usize },
    #[error("`{value}` is not a network: {reason}")]
    InvalidNetwork { value: String, reason: String },
    #[error("`{modifier}` is only possible for ASCII texts")]
    NotEncodable { modifier: &'static str },
    #[error("`windash` varies at most {max} dashes, found {got}")]
    TooManyDashes { got: usize, max: usize },
    #[error("placeholder `%{name}%` is not defined")]
    UnresolvedPlaceholder { name: String, closest: Option<String> },
    #[error("{what} needs a field")]
    NeedsField { what: String },
    #[error("expected one value, found {found}")]
    UnsupportedValue { found: &'static str },
    #[error("`{value}` is not a finite number")]
    InfiniteNumber { value: String },
    #[error("`all` has no effect on a single value")]
    AllOnSingleValue,
    #[error("unknown quantifier `[{found}]`")]
    UnknownQuantifier { found: String, closest: Option<&'static str> },
    #[error("`[{quantifier}]` needs a list before it")]
    QuantifierWithoutList { quantifier: String },
    #[error("`{modifier}` cannot be applied to a mapping")]
    ModifierOnBlock { modifier: &'static str },
    #[error("keywords cannot be looked for in the elements of a list")]
    KeywordsInBlock,
    #[error("`{list}[any]` is asked for more than once, and each time another element suffices")]
    OtherElement { list: String },
    #[error("condition names `{name}`, but the rule has no such selection")]
    UnknownSelection { name: String, closest: Option<String> },
    #[error("no selection fits `{pattern}`")]
    NoSelectionFits { pattern: String },
    #[error("this parenthesis is never closed")]
    UnclosedParenthesis,
    #[error("this parenthesis was never opened")]
    UnopenedParenthesis,
    #[error("expected {expected}, found {found}")]
    UnexpectedToken { expected: &'static str, found: String },
    #[error("operators are lower case: `{found}`")]
    OperatorCase { found: String },
    #[error("the condition is empty")]
    EmptyCondition,
    #[error("aggregations in conditions are not supported")]
    Aggregation,
    #[error("selection `{name}` is never used")]
    UnusedSelection { name: String },
    #[error("`timeframe` has no effect here")]
    IgnoredTimeframe,
    #[error("rule `{name}` is not in the condition")]
    UnusedRule { name: String },
    #[error("`{key}` must be a number and a unit, found `{value}`")]
    InvalidTimespan { key: &'static str, value: String },
    #[error("`{key}` has no meaning here")]
    IgnoredKey { key: String, closest: Option<&'static str> },
    #[error("`{title}` leads back to itself")]
    CircularRule { title: String },
    #[error("the rule `{id}` is listed before under another name")]
    RuleListedTwice { id: String },
    #[error("only one field can be computed with")]
    OneField,
    #[error("unknown field `{field}`")]
    UnknownField { field: String, closest: Option<String> },
    #[error("`{field}` is never {value}")]
    ImpossibleValue { field: String, value: String, note: Option<String> },
    #[error("the rule can never fire: {reason}")]
    NeverFires { reason: String, note: Option<String> },
    #[error("the filter silences every rule that it is added to: {reason}")]
    SilencesRules { reason: String, note: Option<String> },
    #[error("no rule has the id or name `{reference}`")]
    UnknownRule { reference: String, closest: Option<String> },
    #[error("{count} rules are named `{name}`", count = ids.len())]
    AmbiguousRule { name: String, ids: Vec<String> },
    #[error("the filter has no effect here: {reason}")]
    IdleFilter { reason: String },
    #[error("{what} `{name}` is not supported")]
    UnsupportedStep { what: &'static str, name: String },
    #[error("`{owner}` has no `{key}`")]
    UnknownParameter { owner: String, key: String, closest: Option<&'static str> },
    #[error("{message}")]
    StepConditions { message: String },
    #[error("invalid replacement: {message}")]
    InvalidReplacement { message: String },
    #[error("a pipeline refuses the rule: {message}")]
    RefusedByPipeline { message: String },
    #[error("a pipeline cannot be applied: {message}")]
    PipelineFailed { message: String },
}

impl RuleErrorKind {
    /// The code under which this kind is documented.
    pub fn code(&self) -> Code {
        match self {
            Self::Yaml { .. } => Code::MH001,
            Self::DuplicateKey { .. } => Code::MH002,
            Self::Limit { .. } => Code::MH003,
            Self::NotARule { .. } => Code::MH004,
            Self::KeyNotText { .. } => Code::MH006,
            Self::UnknownTag { .. } => Code::MH007,
            Self::NoRule => Code::MH008,
            Self::MissingKey { .. } => Code::MH101,
            Self::WrongType { .. } => Code::MH102,
            Self::UnknownValue { .. } => Code::MH103,
            Self::UnknownKey { .. } => Code::MH104,
            Self::InvalidId { .. } => Code::MH105,
            Self::MissingId { .. } => Code::MH106,
            Self::MissingLevel => Code::MH107,
            Self::InvalidTag { .. } => Code::MH108,
            Self::InvalidDate { .. } => Code::MH109,
            Self::EmptyText { .. } | Self::TextTooLong { .. } => Code::MH110,
            Self::EmptySelection { .. } | Self::EmptyValues { .. } => Code::MH201,
            Self::EmptyModifier | Self::UnknownModifier { .. } => Code::MH202,
            Self::ModifierType { .. } => Code::MH203,
            Self::ModifierNotFirst { .. } => Code::MH204,
            Self::Wildcards { .. } => Code::MH205,
            Self::InvalidRegex { .. } | Self::InvalidReplacement { .. } => Code::MH206,
            Self::UnsupportedRegex { .. } => Code::MH207,
            Self::RegexTooLarge { .. } => Code::MH208,
            Self::InvalidNetwork { .. } => Code::MH209,
            Self::NotEncodable { .. } => Code::MH210,
            Self::TooManyDashes { .. } => Code::MH211,
            Self::UnresolvedPlaceholder { .. } => Code::MH212,
            Self::NeedsField { .. } => Code::MH213,
            Self::UnsupportedValue { .. } => Code::MH214,
            Self::InfiniteNumber { .. } => Code::MH215,
            Self::AllOnSingleValue => Code::MH216,
            Self::UnknownQuantifier { .. } | Self::QuantifierWithoutList { .. } => Code::MH217,
            Self::ModifierOnBlock { .. } => Code::MH218,
            Self::KeywordsInBlock => Code::MH219,
            Self::OtherElement { .. } => Code::MH220,
            Self::UnknownSelection { .. } => Code::MH301,
            Self::NoSelectionFits { .. } => Code::MH302,
            Self::UnclosedParenthesis | Self::UnopenedParenthesis => Code::MH303,
            Self::UnexpectedToken { .. } | Self::OperatorCase { .. } | Self::EmptyCondition => Code::MH304,
            Self::Aggregation => Code::MH305,
            Self::UnusedSelection { .. } => Code::MH306,
            Self::IgnoredTimeframe => Code::MH307,
            Self::UnusedRule { .. } => Code::MH308,
            Self::InvalidTimespan { .. } => Code::MH601,
            Self::IgnoredKey { .. } => Code::MH602,
            Self::CircularRule { .. } => Code::MH505,
            Self::RuleListedTwice { .. } => Code::MH506,
            Self::OneField => Code::MH603,
            Self::UnknownField { .. } => Code::MH401,
            Self::ImpossibleValue { .. } => Code::MH402,
            Self::NeverFires { .. } | Self::SilencesRules { .. } => Code::MH403,
            Self::UnknownRule { .. } => Code::MH502,
            Self::AmbiguousRule { .. } => Code::MH503,
            Self::IdleFilter { .. } => Code::MH504,
            Self::UnsupportedStep { .. } => Code::MH701,
            Self::UnknownParameter { .. } => Code::MH702,
            Self::StepConditions { .. } => Code::MH703,
            Self::RefusedByPipeline { .. } => Code::MH704,
            Self::PipelineFailed { .. } => Code::MH705,
        }
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownModifier { closest: Some(name), .. }
            | Self::UnknownQuantifier { closest: Some(name), .. }
            | Self::IgnoredKey { closest: Some(name), .. }
            | Self::UnknownParameter { closest: Some(name), .. } => Some(did_you_mean(name)),
            Self::UnknownRule { reference, .. } if reference.eq_ignore_ascii_case("any") => {
                Some("a filter for all rules of its log source says `rules: any`, without a list".to_owned())
            }
            Self::MissingKey { key, slip: Some(slip) } => Some(format!("`{slip}` is almost `{key}`")),
            Self::UnknownField { closest, .. }
            | Self::UnknownSelection { closest, .. }
            | Self::UnknownRule { closest, .. } => closest.as_deref().map(did_you_mean),
            Self::UnknownValue { closest, known, .. } => Some(match closest {
                Some(name) => did_you_mean(name),
                None => format!("one of {known}"),
            }),
            Self::AmbiguousRule { ids, .. } => Some(format!("refer to one by its id: {}", ids.join(", "))),
            Self::UnresolvedPlaceholder { name, closest } => {
                let where_to = format!("write its values into a list `{name}.txt`, one a line");
                Some(match closest {
                    Some(name) => format!("did you mean `%{name}%`? otherwise {where_to}"),
                    None => where_to,
                })
            }
            Self::MissingId { derived } => Some(format!("until it has one, `{derived}` is used")),
            Self::ImpossibleValue { note, .. }
            | Self::NeverFires { note, .. }
            | Self::SilencesRules { note, .. } => note.clone(),
            Self::OperatorCase { found } => Some(format!("write `{}`", found.to_lowercase())),
            _ => self.advice().map(str::to_owned),
        }
    }

    /// What to do about it, whatever the values are.
    fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnknownQuantifier { .. } => {
                "one of any, all, all_or_empty, none, or a position; brackets in a name are written `\\[` and `\\]`"
            }
            Self::ModifierOnBlock { .. } => "put it on a field inside the mapping",
            Self::KeywordsInBlock => "name a field of the element, or write `.` for the element itself",
            Self::OtherElement { .. } => "to ask all of the same element, write a mapping below one `[any]`",
            Self::UnsupportedValue { found: "a mapping" } => {
                "to ask for an element of a list that satisfies a mapping, write `[any]` after the list"
            }
            Self::MissingLevel => "`medium` is taken; say one of informational, low, medium, high, critical",
            Self::InvalidTag { .. } => "write `namespace.name`, such as `attack.t1609`",
            Self::InvalidDate { .. } => "write YYYY-MM-DD",
            Self::InvalidId { .. } => "make one with `uuidgen`",
            Self::EmptyValues { .. } => "to ask for an absent field, write `null`",
            Self::ModifierType { expected: "a text", found, .. } if found.starts_with("the ") => {
                "put the value in quotes to make it a text"
            }
            Self::ModifierType { expected: "`true` or `false`", .. } => {
                "write `true` or `false` without quotes"
            }
            Self::ModifierType { expected: "a regular expression", .. } => "put `re` before it",
            Self::ModifierType { expected: "a number", found, .. } if found.starts_with("the text") => {
                "write the number without quotes"
            }
            Self::Wildcards { .. } => "escape the wildcards with a backslash if they are meant literally",
            Self::UnsupportedRegex { .. } => {
                "split the test in two and combine them in the condition, for instance with `not`"
            }
            Self::TooManyDashes { .. } => "split the value into several",
            Self::Aggregation => "use a correlation document instead",
            Self::IgnoredTimeframe => "it belongs into a correlation document",
            Self::InvalidTimespan { .. } => "write a whole number and s, m, h, d, w, M or y, such as `10m`",
            Self::UnusedRule { .. } => "name it in the condition or remove it from `rules`",
            Self::UnusedSelection { .. } => "use it in the condition or remove it",
            _ => return None,
        })
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}
