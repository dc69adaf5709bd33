//! Value modifiers: what stands after a field name and a bar.
//!
//! Each turns one value into one or several alternatives, in the order they are written.

use core::net::IpAddr;

use ipnet::IpNet;

use super::error::RuleErrorKind as Kind;
use super::expression::{self, Fault, Regex};
use super::text::{self, Piece, Placeholder, Text};
use super::{Anchor, Comparison, Part, Pattern, Test, TimePart};

macro_rules! modifiers {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// A modifier, under each of its names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Modifier { $($variant),* }

        impl Modifier {
            /// Every name.
            pub(super) const NAMES: &'static [&'static str] = &[$($name),*];

            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

modifiers! {
    All "all", Neq "neq", Contains "contains", StartsWith "startswith", EndsWith "endswith", Regex "re",
    IgnoreCase "i", LongIgnoreCase "ignorecase", Multiline "m", LongMultiline "multiline", DotAll "s",
    LongDotAll "dotall", Cased "cased", Exists "exists", Cidr "cidr", Less "lt", LessOrEqual "lte",
    Greater "gt", GreaterOrEqual "gte", FieldRef "fieldref", Base64 "base64",
    Base64Offset "base64offset", Wide "wide", Utf16Le "utf16le", Utf16Be "utf16be", Utf16 "utf16",
    WinDash "windash", Expand "expand", Minute "minute", Hour "hour", Day "day", Week "week",
    Month "month", Year "year",
}

impl Modifier {
    /// True for modifiers that only understand values as they are written.
    pub(super) fn must_be_first(self) -> bool {
        matches!(self, Self::Regex | Self::Cidr | Self::Exists)
    }

    fn time_part(self) -> Option<TimePart> {
        Some(match self {
            Self::Minute => TimePart::Minute,
            Self::Hour => TimePart::Hour,
            Self::Day => TimePart::Day,
            Self::Week => TimePart::Week,
            Self::Month => TimePart::Month,
            Self::Year => TimePart::Year,
            _ => return None,
        })
    }

    fn comparison(self) -> Option<Comparison> {
        Some(match self {
            Self::Less => Comparison::Less,
            Self::LessOrEqual => Comparison::LessOrEqual,
            Self::Greater => Comparison::Greater,
            Self::GreaterOrEqual => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }
}

/// A value on its way to becoming a [`Test`].
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(Text),
    Regex(RegexText),
    FieldRef(String, Edges),
    Network(IpNet),
    Compare(Comparison, f64),
    Exists(bool),
    Time(TimePart, i64),
    /// A time part that is one of these.
    TimeRange(TimePart, std::ops::RangeInclusive<i64>),
    /// One value in several forms of which any suffices, even under `all`. None: nothing
    /// suffices.
    Forms(Vec<Value>),
}

/// Reads a regular expression whose flags are a part of its text.
pub(super) type ReadRegex = fn(&str) -> Result<Regex, Kind>;

/// A regular expression as written, its flags, and the ends it is held to.
#[derive(Clone, Debug, Default)]
pub(super) struct RegexText {
    /// Without wildcards: only literals and placeholders.
    pub(super) text: Text,
    flags: String,
    edges: Edges,
}

/// Which ends of a value something has to stand at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edges {
    starts: bool,
    ends: bool,
}

impl Value {
    /// What the value is, in words.
    fn found(&self) -> String {
        match self {
            Value::Null => "the value `null`".to_owned(),
            Value::Bool(truth) => format!("the boolean `{truth}`"),
            Value::Number(number) => format!("the number `{number}`"),
            Value::Text(text) => match text.plain() {
                Some(plain) => format!("the text `{}`", plain.chars().take(60).collect::<String>()),
                None => "a text with wildcards".to_owned(),
            },
            Value::Regex(_) => "a regular expression".to_owned(),
            Value::FieldRef(..) => "a field".to_owned(),
            Value::Network(_) => "a network".to_owned(),
            Value::Compare(..) => "a comparison".to_owned(),
            Value::Exists(_) => "a test for existence".to_owned(),
            Value::Time(..) | Value::TimeRange(..) => "a part of a time".to_owned(),
            Value::Forms(_) => "a value in several forms".to_owned(),
        }
    }

    /// Why the value cannot be looked for without a field, if it cannot.
    pub(super) fn needs_field(&self) -> Option<String> {
        match self {
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Regex(_) => None,
            Value::Forms(values) => values.iter().find_map(Value::needs_field),
            other => Some(other.found()),
        }
    }

    /// Roughly how many bytes the value takes once it is compiled.
    pub(super) fn bytes(&self) -> usize {
        // What a compiled regular expression takes differs widely; most stay below this.
        const REGEX_BYTES: usize = 16 << 10;
        size_of::<Test>()
            + match self {
                Value::Text(text) => text.pieces.iter().map(Piece::bytes).sum(),
                Value::Regex(regex) => {
                    REGEX_BYTES + regex.text.pieces.iter().map(Piece::bytes).sum::<usize>()
                }
                Value::Forms(values) => values.iter().map(Value::bytes).sum(),
                Value::Number(text) | Value::FieldRef(text, _) => text.len(),
                _ => 0,
            }
    }

    /// Visits the names of the fields that it refers to.
    pub(super) fn each_reference(&mut self, visit: &mut dyn FnMut(&mut String)) {
        match self {
            Value::FieldRef(field, _) => visit(field),
            Value::Forms(values) => values.iter_mut().for_each(|value| value.each_reference(visit)),
            _ => {}
        }
    }

    /// A placeholder that nothing has replaced.
    pub(super) fn placeholder(&self) -> Option<&Placeholder> {
        match self {
            Value::Text(text) | Value::Regex(RegexText { text, .. }) => text.placeholder(),
            Value::Forms(values) => values.iter().find_map(Value::placeholder),
            _ => None,
        }
    }

    /// Adds the tests that the value stands for; any of them suffices. `is_keyword`: numbers
    /// and booleans are looked for as texts. `read` reads regular expressions.
    pub(super) fn add_tests(
        self,
        is_keyword: bool,
        read: ReadRegex,
        tests: &mut Vec<Test>,
    ) -> Result<(), Kind> {
        let literal =
            |text: String| Test::Text(Pattern { parts: vec![Part::Literal(text)], is_cased: false });
        tests.push(match self {
            Value::Null => Test::Null,
            Value::Bool(truth) => literal(truth.to_string()),
            Value::Number(number) if is_keyword => literal(number),
            Value::Number(number) => Test::Number(number),
            Value::Text(Text { pieces, is_cased, .. }) => {
                let parts: Result<_, _> = pieces.into_iter().map(Piece::into_part).collect();
                Test::Text(Pattern { parts: parts.map_err(|found| unresolved(&found))?, is_cased })
            }
            Value::Regex(regex) => Test::Regex(read(&regex.with_flags()?)?),
            Value::FieldRef(field, edges) => Test::FieldRef(field, edges.anchor()),
            Value::Network(network) => Test::Cidr(network),
            Value::Compare(comparison, number) => Test::Compare(comparison, number),
            Value::Exists(expected) => Test::Exists(expected),
            Value::Time(part, number) => Test::Time(part, number),
            Value::TimeRange(part, range) => {
                tests.extend(range.map(|number| Test::Time(part, number)));
                return Ok(());
            }
            Value::Forms(values) => {
                return values.into_iter().try_for_each(|value| value.add_tests(is_keyword, read, tests));
            }
        });
        Ok(())
    }
}

impl Edges {
    /// Both ends open is what `contains` means for fields, and both modifiers together.
    fn anchor(self) -> Anchor {
        match (self.starts, self.ends) {
            (false, false) => Anchor::Whole,
            (true, false) => Anchor::Start,
            (false, true) => Anchor::End,
            (true, true) => Anchor::Anywhere,
        }
    }
}

impl RegexText {
    /// Another expression with the same flags and ends.
    pub(super) fn with_text(&self, text: Text) -> Self {
        Self { text, ..self.clone() }
    }

    /// What is wrong with it as written, its size aside, and where in its text.
    pub(super) fn check(&self) -> Result<(), Fault> {
        // Within the parentheses that hold it to an end, a mistake may mend another one.
        let is_held = self.edges.starts || self.edges.ends;
        match self.text.plain() {
            Some(text) if is_held || !self.is_readable() => expression::check(text),
            _ => Ok(()),
        }
    }

    fn is_readable(&self) -> bool {
        self.with_flags().and_then(|text| Regex::new(&text)).is_ok()
    }

    /// Flags go into the text, so that equal texts are equal expressions.
    fn with_flags(&self) -> Result<String, Kind> {
        let Self { text, flags, edges } = self;
        if let Some(placeholder) = text.placeholder() {
            return Err(unresolved(placeholder));
        }
        let text = text.plain().unwrap_or_default();
        let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
        Ok(match (edges.starts, edges.ends) {
            (false, false) => format!("{flags}{text}"),
            (starts, ends) => {
                let (start, end) = (if starts { r"\A" } else { "" }, if ends { r"\z" } else { "" });
                format!("{flags}{start}(?:{text}){end}")
            }
        })
    }

    fn add_flag(&mut self, flag: char) {
        if !self.flags.contains(flag) {
            self.flags.push(flag);
        }
    }
}

/// Applies one modifier to one value. `all` and `neq` concern the item as a whole and
/// leave values as they are.
pub(super) fn apply(modifier: Modifier, value: Value) -> Result<Vec<Value>, Kind> {
    use Modifier as M;
    let one = |value| Ok(vec![value]);
    if let Some(part) = modifier.time_part() {
        return whole_number(modifier, &value).map(|number| vec![Value::Time(part, number)]);
    }
    if let Some(comparison) = modifier.comparison() {
        return compare(modifier, comparison, &value).map(|value| vec![value]);
    }
    match (modifier, value) {
        (M::All | M::Neq, value) => one(value),
        (_, Value::Forms(values)) => {
            let forms: Result<Vec<_>, _> = values.into_iter().map(|value| apply(modifier, value)).collect();
            one(Value::Forms(forms?.concat()))
        }
        (M::Contains | M::StartsWith | M::EndsWith, value) => {
            anchor(modifier, value).map(|value| vec![value])
        }
        (M::Regex, Value::Text(text)) => one(Value::Regex(RegexText { text, ..RegexText::default() })),
        (_, Value::Regex(mut regex)) if regex_flag(modifier).is_some() => {
            regex.add_flag(regex_flag(modifier).unwrap_or_default());
            one(Value::Regex(regex))
        }
        (M::Exists, Value::Bool(expected)) => one(Value::Exists(expected)),
        (M::Cidr, Value::Text(text)) => network(text.plain()).map(|network| vec![Value::Network(network)]),
        (M::FieldRef, Value::Text(text)) => {
            let field = text.plain().ok_or(Kind::Wildcards { modifier: modifier.name() })?;
            one(Value::FieldRef(field.to_owned(), Edges::default()))
        }
        (_, Value::Text(text)) => change_text(modifier, text),
        (modifier, value) => Err(mismatch(modifier, &value)),
    }
}

pub(super) fn mismatch(modifier: Modifier, value: &Value) -> Kind {
    let expected = match modifier {
        Modifier::Exists => "`true` or `false`",
        modifier if regex_flag(modifier).is_some() => "a regular expression",
        modifier if modifier.comparison().is_some() || modifier.time_part().is_some() => "a number",
        _ => "a text",
    };
    Kind::ModifierType { modifier: modifier.name(), expected, found: value.found() }
}

fn regex_flag(modifier: Modifier) -> Option<char> {
    Some(match modifier {
        Modifier::IgnoreCase | Modifier::LongIgnoreCase => 'i',
        Modifier::Multiline | Modifier::LongMultiline => 'm',
        Modifier::DotAll | Modifier::LongDotAll => 's',
        _ => return None,
    })
}

fn anchor(modifier: Modifier, value: Value) -> Result<Value, Kind> {
    let (starts, ends) = (modifier != Modifier::EndsWith, modifier != Modifier::StartsWith);
    match value {
        Value::Text(mut text) => {
            if ends {
                text = text.open_start();
            }
            Ok(Value::Text(if starts { text.open_end() } else { text }))
        }
        Value::FieldRef(field, edges) => {
            Ok(Value::FieldRef(field, Edges { starts: edges.starts || starts, ends: edges.ends || ends }))
        }
        // An expression is searched for anywhere, so only its ends can be tightened.
        Value::Regex(mut regex) => {
            regex.edges.starts |= !ends;
            regex.edges.ends |= !starts;
            Ok(Value::Regex(regex))
        }
        value => Err(mismatch(modifier, &value)),
    }
}

fn compare(modifier: Modifier, comparison: Comparison, value: &Value) -> Result<Value, Kind> {
    match value {
        Value::Number(text) => {
            let number = text.parse().map_err(|_| mismatch(modifier, value))?;
            Ok(Value::Compare(comparison, number))
        }
        Value::Time(part, number) => Ok(Value::TimeRange(*part, time_range(*part, comparison, *number))),
        value => Err(mismatch(modifier, value)),
    }
}

/// The numbers that a time part can have; years have no end.
pub(super) fn time_bounds(part: TimePart) -> Option<(i64, i64)> {
    Some(match part {
        TimePart::Minute => (0, 59),
        TimePart::Hour => (0, 23),
        TimePart::Day => (1, 31),
        TimePart::Week => (1, 53),
        TimePart::Month => (1, 12),
        TimePart::Year => return None,
    })
}

/// The numbers of a time part that compare so.
fn time_range(part: TimePart, comparison: Comparison, number: i64) -> std::ops::RangeInclusive<i64> {
    // Kubernetes began in 2014; its certificates and clocks end long before 2200.
    let (low, high) = time_bounds(part).unwrap_or((2000, 2200));
    let (first, last) = match comparison {
        Comparison::Less => (low, number.saturating_sub(1)),
        Comparison::LessOrEqual => (low, number),
        Comparison::Greater => (number.saturating_add(1), high),
        Comparison::GreaterOrEqual => (number, high),
    };
    first.max(low)..=last.min(high)
}

fn whole_number(modifier: Modifier, value: &Value) -> Result<i64, Kind> {
    match value {
        // Fractions are cut off, as pySigma does.
        #[allow(clippy::cast_possible_truncation)]
        Value::Number(text) => text
            .parse::<i64>()
            .or_else(|_| text.parse::<f64>().map(|number| number as i64))
            .map_err(|_| mismatch(modifier, value)),
        value => Err(mismatch(modifier, value)),
    }
}

/// Reads a network in CIDR notation; an address alone is one, too.
pub(super) fn network(text: Option<&str>) -> Result<IpNet, Kind> {
    let value = text.unwrap_or("*").to_owned();
    let invalid = |reason: &str| Kind::InvalidNetwork { value: value.clone(), reason: reason.to_owned() };
    let (address, suffix) =
        value.split_once('/').map_or((value.as_str(), None), |(left, right)| (left, Some(right)));
    let address: IpAddr = address.parse().map_err(|_| invalid("the address is malformed"))?;
    let network = match suffix {
        None => IpNet::from(address),
        Some(suffix) => with_suffix(address, suffix).map_err(invalid)?,
    };
    match network.trunc() {
        exact if exact == network => Ok(network),
        exact => Err(invalid(&format!("it has host bits set, the network is `{exact}`"))),
    }
}

/// A network whose size is given as a prefix length or as a mask.
fn with_suffix(address: IpAddr, suffix: &str) -> Result<IpNet, &'static str> {
    if let Ok(mask) = suffix.parse() {
        return IpNet::with_netmask(address, mask).map_err(|_| "the mask is malformed");
    }
    let length = suffix.parse().map_err(|_| "the prefix length is no number")?;
    IpNet::new(address, length).map_err(|_| "the prefix is too long")
}

fn change_text(modifier: Modifier, text: Text) -> Result<Vec<Value>, Kind> {
    use Modifier as M;
    let name = modifier.name();
    if let Some(placeholder) = text.placeholder().filter(|_| modifier != M::Cased) {
        return Err(unresolved(placeholder));
    }
    let encoded = |text: Option<Text>| text.ok_or(Kind::NotEncodable { modifier: name });
    let changed = match modifier {
        M::Cased => vec![Text { is_cased: true, ..text }],
        M::Wide | M::Utf16Le => vec![encoded(text::wide(&text, u16::to_le_bytes))?],
        M::Utf16Be => vec![encoded(text::wide(&text, u16::to_be_bytes))?],
        M::Utf16 => vec![encoded(text::with_byte_order_mark(&text))?],
        M::Base64 => vec![text::base64(&text, name)?],
        M::Base64Offset => text::base64_offsets(&text, name)?,
        M::WinDash => text::vary_dashes(&text)?,
        modifier => return Err(mismatch(modifier, &Value::Text(text))),
    };
    let mut values: Vec<Value> = changed.into_iter().map(Value::Text).collect();
    if matches!(modifier, M::Base64Offset | M::WinDash) {
        values = vec![Value::Forms(values)];
    }
    Ok(values)
}

pub(super) fn unresolved(placeholder: &Placeholder) -> Kind {
    Kind::UnresolvedPlaceholder { name: placeholder.name.clone(), closest: None }
}
