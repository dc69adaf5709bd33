//! Warnings about rules that are well formed and still cannot work: fields that no event
//! has, values that no field takes.

use std::borrow::Cow;
use std::path::Path;

use super::error::{RuleError, RuleErrorKind as Kind};
use super::event_object;
use super::filter::Filter;
use super::logsource::Subject;
use super::modifier::time_bounds;
use super::nearest::nearest;
use super::{Block, Comparison, Expr, Item, Part, Place, Quantifier, Rule, Test, TimePart, ValuePlaces};
use crate::derived::{self, List};
use crate::event::Key;
use crate::field::Value;
use crate::matcher::Matcher;

/// Says which parts of a rule can never hold, and whether the rule can never fire. To be
/// asked before filters are added, which have places in other files. Of rules about other
/// logs nothing is known.
pub fn lint(rule: &Rule, value_places: &ValuePlaces) -> Vec<RuleError> {
    let Some(condition) = rule.condition() else { return Vec::new() };
    let Some(subject) = rule.logsource.subject() else { return Vec::new() };
    let linter = Linter { path: &rule.path, subject, value_places, list: None, warnings: Vec::new() };
    linter.warnings_about(condition, |reason, note| Kind::NeverFires { reason, note })
}

/// The fields of a correlation that no event has; nothing for other rules. To be asked when
/// it is known that the rules that it relates are about the audit log.
pub fn lint_correlation(rule: &Rule) -> Vec<RuleError> {
    let Some(correlation) = rule.correlation() else { return Vec::new() };
    let place_of = |field: &str| {
        let named = correlation.field_places.iter().find(|(name, _)| name == field).map(|(_, place)| *place);
        named.or_else(|| correlation.rules.first().map(|rule| rule.place)).unwrap_or_default()
    };
    // Among the rules that it relates some may be about Event objects.
    let unknown = |field| Some((place_of(field), unknown_field(field, Subject::EventObjects)?));
    let unknown = correlation.fields().filter_map(unknown);
    unknown.map(|(place, kind)| RuleError { path: rule.path.clone(), place, kind, label: None }).collect()
}

/// Says which parts of a filter can never hold, and whether it silences every rule.
pub fn lint_filter(filter: &Filter, value_places: &ValuePlaces) -> Vec<RuleError> {
    let Some(subject) = filter.logsource.subject() else { return Vec::new() };
    let linter = Linter { path: &filter.path, subject, value_places, list: None, warnings: Vec::new() };
    let silences = |reason, note| Kind::SilencesRules { reason, note };
    match subject {
        Subject::Requests => linter.warnings_about(&filter.condition, silences),
        Subject::EventObjects => {
            linter.warnings_about(&event_object::below(filter.condition.clone()), silences)
        }
    }
}

/// Whether a part of a condition can hold.
enum Verdict {
    Never(Cause),
    Maybe,
    Always,
}

/// Why a part never holds, and the places that have to do with it.
struct Cause {
    places: Vec<Place>,
    reason: String,
    note: Option<String>,
}

struct Linter<'l> {
    path: &'l Path,
    subject: Subject,
    value_places: &'l ValuePlaces,
    /// The list whose elements the fields are about, named from the event on.
    list: Option<String>,
    warnings: Vec<RuleError>,
}

impl Linter<'_> {
    /// Every warning, with one of the kind `never` if the condition can never hold.
    fn warnings_about(
        mut self,
        condition: &Expr,
        never: impl FnOnce(String, Option<String>) -> Kind,
    ) -> Vec<RuleError> {
        if let Verdict::Never(cause) = self.expr(condition) {
            // The reason is told once, not as a warning of its own besides.
            self.warnings.retain(|warning| !cause.places.contains(&warning.place));
            let place = cause.places.first().copied().unwrap_or_default();
            self.warn(place, never(cause.reason, cause.note));
        }
        self.warnings.sort_by_key(|warning| warning.place);
        self.warnings.dedup();
        self.warnings
    }

    fn expr(&mut self, expr: &Expr) -> Verdict {
        match expr {
            Expr::Named(_, part) => self.expr(part),
            Expr::Item(item) => self.item(item),
            Expr::Block(block) => self.block(block),
            Expr::Not(part) => match self.expr(part) {
                Verdict::Never(_) => Verdict::Always,
                Verdict::Maybe => Verdict::Maybe,
                Verdict::Always => Verdict::Never(Cause {
                    places: vec![first_place(part)],
                    reason: "what it excludes holds for every event".to_owned(),
                    note: None,
                }),
            },
            // Every part is visited, so that each gets its warnings.
            Expr::All(parts) => {
                let verdicts: Vec<Verdict> = parts.iter().map(|part| self.expr(part)).collect();
                let is_certain = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Always));
                let never = verdicts.into_iter().find(|verdict| matches!(verdict, Verdict::Never(_)));
                never.unwrap_or(if is_certain { Verdict::Always } else { Verdict::Maybe })
            }
            Expr::Any(parts) => {
                let mut verdicts: Vec<Verdict> = parts.iter().map(|part| self.expr(part)).collect();
                let is_certain = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Always));
                if is_certain {
                    Verdict::Always
                } else if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Never(_)))
                    && !verdicts.is_empty()
                {
                    verdicts.swap_remove(0)
                } else {
                    Verdict::Maybe
                }
            }
        }
    }

    fn block(&mut self, block: &Block) -> Verdict {
        let list = self.full(&block.list);
        if !self.knows(&list) && !is_list(&list) {
            let closest = closest(&list, self.subject);
            self.warn(block.place, Kind::UnknownField { field: list, closest });
            return Verdict::Maybe;
        }
        let outer = self.list.replace(list);
        let verdict = self.expr(&block.body);
        self.list = outer;
        match (block.quantifier, verdict) {
            (Quantifier::Any | Quantifier::All | Quantifier::At(_), never @ Verdict::Never(_)) => never,
            (Quantifier::None, Verdict::Never(_)) | (Quantifier::AllOrEmpty, Verdict::Always) => {
                Verdict::Always
            }
            _ => Verdict::Maybe,
        }
    }

    /// A name within the element at hand as it would be written outside.
    fn full(&self, name: &str) -> String {
        match &self.list {
            None => name.to_owned(),
            Some(list) if name == "." => list.clone(),
            Some(list) => format!("{list}.{name}"),
        }
    }

    fn knows(&self, full: &str) -> bool {
        is_known(full) || (self.list.is_some() && (is_list(full) || full == "rbac.subject.apiGroup"))
    }

    fn item(&mut self, item: &Item) -> Verdict {
        let Some(field) = item.field.as_deref() else { return Verdict::Maybe };
        let full = self.full(field);
        let field = full.as_str();
        if !self.knows(field) {
            return self.unknown_field(item, field);
        }
        let mut places = vec![item.place];
        let mut first: Option<(String, Option<String>)> = None;
        let mut never_count = 0;
        for (index, test) in item.tests.iter().enumerate() {
            let Some((value, note)) = self.impossible_for(field, test) else { continue };
            let place = self.value_places.get(&item.place).and_then(|places| places.get(index)).copied();
            let place = place.unwrap_or(item.place);
            never_count += 1;
            places.insert(places.len() - 1, place);
            first.get_or_insert_with(|| (value.clone(), note.clone()));
            let kind = Kind::ImpossibleValue { field: field.to_owned(), value, note };
            self.warn(place, kind);
        }
        if never_count < item.tests.len() {
            return Verdict::Maybe;
        }
        let (value, note) = first.unwrap_or_else(|| ("in an empty range".to_owned(), None));
        Verdict::Never(Cause { places, reason: format!("`{field}` is never {value}"), note })
    }

    fn unknown_field(&mut self, item: &Item, field: &str) -> Verdict {
        let closest = closest(field, self.subject);
        let note = closest.as_ref().map(|name| format!("did you mean `{name}`?"));
        self.warn(item.place, Kind::UnknownField { field: field.to_owned(), closest });
        if item.tests.iter().any(|test| matches!(test, Test::Null | Test::Exists(false))) {
            return Verdict::Always;
        }
        Verdict::Never(Cause {
            places: vec![item.place],
            reason: format!("no audit event has a field `{field}`"),
            note,
        })
    }

    /// For a test that never passes, why: the value in words, and what to write instead.
    fn impossible_for(&self, field: &str, wanted: &Test) -> Option<(String, Option<String>)> {
        match wanted {
            Test::FieldRef(other, _) if !self.knows(&self.full(other)) => {
                let note = closest(&self.full(other), Subject::Requests)
                    .map(|name| format!("did you mean `{name}`?"));
                Some((format!("related to `{}`, which no event has", self.full(other)), note))
            }
            wanted => impossible(field, wanted),
        }
    }

    fn warn(&mut self, place: Place, kind: Kind) {
        self.warnings.push(RuleError { path: self.path.to_owned(), place, kind, label: None });
    }
}

/// What is wrong with a field that no event has.
pub(super) fn unknown_field(name: &str, subject: Subject) -> Option<Kind> {
    let is_known =
        is_known(name) || is_list(name) || subject == Subject::EventObjects && event_object::is_path(name);
    let kind = || Kind::UnknownField { field: name.to_owned(), closest: closest(name, subject) };
    (!is_known).then(kind)
}

/// True for the lists that have a name although they are no field.
fn is_list(name: &str) -> bool {
    !matches!(List::parse(name), List::Field(_))
}

fn is_known(name: &str) -> bool {
    let name = name.replace('"', "");
    derived::find(&name).is_some() || is_raw(&name)
}

/// The name nearest to that of a field that no event has, if any is near.
fn closest(name: &str, subject: Subject) -> Option<String> {
    let name = name.replace('"', "");
    let (root, rest) = name.split_once('.').unwrap_or((&name, ""));
    if subject == Subject::EventObjects
        && let Some(key) = nearest(root, event_object::KEYS)
    {
        return Some(format!("{key}{}", name.strip_prefix(root).unwrap_or_default()));
    }
    if let Some(known) = below(root).filter(|_| !rest.is_empty()) {
        let (key, tail) = rest.split_once('.').map_or((rest, ""), |(key, tail)| (key, tail));
        let tail = if tail.is_empty() { String::new() } else { format!(".{tail}") };
        return nearest(key, known.iter().copied()).map(|key| format!("{root}.{key}{tail}"));
    }
    let raw = Key::ALL.iter().map(|key| key.name());
    let of_root = nearest(root, raw).filter(|_| !rest.is_empty()).map(|root| format!("{root}.{rest}"));
    let mut candidates: Vec<&str> = Key::ALL.iter().map(|key| key.name()).chain(paths()).collect();
    candidates.extend(derived::names().map(|name| name.trim_end_matches(".*")));
    let is_end =
        |candidate: &&&str| candidate.rsplit('.').next().is_some_and(|end| end.eq_ignore_ascii_case(&name));
    let end = candidates.iter().find(is_end).copied();
    let whole = nearest(&name, candidates).or(end).map(str::to_owned);
    of_root.filter(|name| is_raw(name)).or(whole)
}

fn first_place(expr: &Expr) -> Place {
    match expr {
        Expr::Item(item) => item.place,
        Expr::Block(block) => block.place,
        Expr::Not(part) | Expr::Named(_, part) => first_place(part),
        Expr::All(parts) | Expr::Any(parts) => parts.first().map_or(Place::default(), first_place),
    }
}

/// The keys below a top-level key whose Kubernetes type is closed; none below scalars.
/// Nothing for keys that may hold anything.
fn below(root: &str) -> Option<&'static [&'static str]> {
    const USER: &[&str] = &["username", "uid", "groups", "extra"];
    Some(match Key::from_name(root)? {
        Key::ObjectRef => &[
            "resource",
            "namespace",
            "name",
            "uid",
            "apiGroup",
            "apiVersion",
            "resourceVersion",
            "subresource",
        ],
        Key::User | Key::ImpersonatedUser => USER,
        Key::ResponseStatus => {
            &["metadata", "status", "message", "reason", "details", "code", "kind", "apiVersion"]
        }
        Key::AuthenticationMetadata => &["impersonationConstraint"],
        Key::RequestObject | Key::ResponseObject | Key::Annotations => return None,
        _ => &[],
    })
}

/// Some full paths to suggest for names that left out the beginning.
fn paths() -> impl Iterator<Item = &'static str> {
    [
        "objectRef.resource",
        "objectRef.namespace",
        "objectRef.name",
        "objectRef.subresource",
        "objectRef.apiGroup",
    ]
    .into_iter()
    .chain(["user.username", "user.groups", "responseStatus.code", "responseStatus.reason"])
}

/// True for a path that the types of `audit.k8s.io` allow.
fn is_raw(name: &str) -> bool {
    let (root, rest) = name.split_once('.').unwrap_or((name, ""));
    if Key::from_name(root).is_none() {
        // v1beta1 events carry metadata and a timestamp of their own.
        return matches!(root, "metadata" | "timestamp");
    }
    let key = rest.split('.').next().unwrap_or_default();
    rest.is_empty() || below(root).is_none_or(|known| known.contains(&key))
}

/// For a test that no value of the field passes, the value in words and what to write
/// instead, where that is known.
fn impossible(field: &str, wanted: &Test) -> Option<(String, Option<String>)> {
    if let Some(range) = impossible_time(wanted) {
        return Some((range, None));
    }
    if matches!(wanted, Test::Null | Test::Exists(_) | Test::FieldRef(..)) {
        return None;
    }
    let values = values_of(field)?;
    let matcher = Matcher::new(std::slice::from_ref(wanted), false);
    if values.iter().any(|value| matcher.matches_value(&Value::Text(value.clone()))) {
        return None;
    }
    let text = words(wanted);
    let value = match (wanted, &text) {
        (Test::Compare(comparison, number), _) => format!("{} {number}", comparison_words(*comparison)),
        (_, Some(text)) => format!("`{text}`"),
        _ => "of this type".to_owned(),
    };
    Some((value, note(field, text.as_deref(), &values)))
}

fn impossible_time(wanted: &Test) -> Option<String> {
    let Test::Time(part, number) = wanted else { return None };
    let (low, high) = time_bounds(*part)?;
    let name = match part {
        TimePart::Minute => "minute",
        TimePart::Hour => "hour",
        TimePart::Day => "day",
        TimePart::Week => "week",
        TimePart::Month => "month",
        TimePart::Year => "year",
    };
    (!(low..=high).contains(number)).then(|| format!("{name} {number}"))
}

/// The text that a test looks for.
fn words(wanted: &Test) -> Option<String> {
    match wanted {
        Test::Number(text) => Some(text.clone()),
        Test::Regex(regex) => Some(regex.as_str().to_owned()),
        Test::Text(pattern) => Some(
            pattern
                .parts
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => text.as_str(),
                    Part::Many => "*",
                    Part::One => "?",
                })
                .collect(),
        ),
        _ => None,
    }
}

fn comparison_words(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "less than",
        Comparison::LessOrEqual => "at most",
        Comparison::Greater => "greater than",
        Comparison::GreaterOrEqual => "at least",
    }
}

/// Every value that a field can have, for fields that have few.
fn values_of(field: &str) -> Option<Vec<Cow<'static, str>>> {
    let names: &[&str] = match field {
        "verb" => &[
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "post",
            "put",
            "head",
            "options",
        ],
        "stage" => &["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"],
        "level" => &["None", "Metadata", "Request", "RequestResponse"],
        "outcome" => &["succeeded", "denied", "rejected", "failed", "pending"],
        "actor.kind" => &["human", "serviceaccount", "node", "controlplane", "anonymous"],
        "source.scope" => &["public", "private", "loopback"],
        "dry_run" | "creates" | "exec.tty" | "exec.stdin" => &["true", "false"],
        "responseStatus.code" => return Some((100..600).map(|code| Cow::Owned(code.to_string())).collect()),
        _ => return None,
    };
    Some(names.iter().map(|name| Cow::Borrowed(*name)).collect())
}

fn note(field: &str, text: Option<&str>, values: &[Cow<'static, str>]) -> Option<String> {
    let note = match (field, text?.to_ascii_lowercase().as_str()) {
        ("verb", "replace" | "modify" | "edit") => "the API server logs a replacement (PUT) as `update`",
        ("verb", "apply") => "the API server logs applying as `patch`",
        ("verb", "connect" | "exec" | "attach" | "portforward" | "proxy") => {
            "the API server logs connections as `create` or `get` of a subresource"
        }
        ("verb", "bind" | "escalate" | "impersonate" | "use" | "approve" | "sign") => {
            "this verb exists in RBAC only; the API server logs what was done with it"
        }
        ("responseStatus.code", _) => "it is an HTTP status between 100 and 599; `outcome` says it in words",
        (_, text) => {
            let closest = nearest(text, values.iter().map(AsRef::as_ref));
            return Some(match closest {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("one of {}", values.join(", ")),
            });
        }
    };
    Some(note.to_owned())
}
