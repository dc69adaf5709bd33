//! Which alerts go to which sinks.
//!
//! **Invariant:** deciding takes time in proportion to what it is decided on: names in alerts
//! are written by attackers.

use std::str::FromStr;

use detect::sigma::Level;
use schemars::JsonSchema;
use serde::Deserialize;
use sinks::outbox;

use super::units::{Name, Several, from_text};

/// The levels by name, the least urgent first.
const LEVELS: [(&str, Level); 5] = [
    ("informational", Level::Informational),
    ("low", Level::Low),
    ("medium", Level::Medium),
    ("high", Level::High),
    ("critical", Level::Critical),
];

/// Routes in the order in which they are asked. Without any, every sink gets every alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Routes(pub(crate) Vec<Route>);

/// Sends the alerts that match to sinks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Which alerts: those that every key matches. Without keys, all.
    #[serde(default, rename = "match")]
    pub(crate) matcher: Matcher,
    /// The sinks that get them.
    #[serde(default)]
    pub(crate) to: Vec<Name>,
    /// Whether the routes behind are not asked any more. With `stop` and no sink an alert is only stored.
    #[serde(default)]
    pub(crate) stop: bool,
}

/// Which alerts: each key has one value or a list, of which one must match; `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Matcher {
    /// The level of the rule: `high`, or `high+` for that and above.
    pub(crate) level: Several<Levels>,
    /// The id of the rule.
    pub(crate) rule: Several<Pattern>,
    /// A tag of the rule.
    pub(crate) tag: Several<Pattern>,
    /// The cluster.
    pub(crate) cluster: Several<Pattern>,
    /// The namespace of the object; what has none matches no pattern.
    pub(crate) namespace: Several<Pattern>,
    /// The effective user.
    pub(crate) actor: Several<Pattern>,
}

impl Routes {
    /// Whether an alert goes to a sink.
    pub(crate) fn reaches(&self, alert: &outbox::Route, sink: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        for route in self.0.iter().filter(|route| route.matcher.matches(alert)) {
            if route.to.iter().any(|name| **name == *sink) {
                return true;
            }
            if route.stop {
                return false;
            }
        }
        false
    }
}

impl Matcher {
    /// Whether it is about an alert.
    pub(crate) fn matches(&self, alert: &outbox::Route) -> bool {
        let is_any = |patterns: &Several<Pattern>, text: &str| {
            patterns.0.is_empty() || patterns.0.iter().any(|pattern| pattern.matches(text))
        };
        let tag = &self.tag.0;
        self.is_level(&alert.level)
            && is_any(&self.rule, &alert.rule)
            && is_any(&self.cluster, &alert.cluster)
            && is_any(&self.actor, &alert.actor)
            && (tag.is_empty() || alert.tags.iter().any(|text| is_any(&self.tag, text)))
            && match &alert.namespace {
                Some(namespace) => is_any(&self.namespace, namespace),
                None => self.namespace.0.is_empty(),
            }
    }

    /// A level that is not known is taken for the most urgent: it must not go missing.
    fn is_level(&self, name: &str) -> bool {
        let level = level(name).unwrap_or(Level::Critical);
        self.level.0.is_empty() || self.level.0.iter().any(|levels| levels.contains(level))
    }

    /// Whether every alert that `other` is about is one that this is about.
    pub(super) fn covers(&self, other: &Matcher) -> bool {
        let levels = |matcher: &Matcher| -> Vec<bool> {
            LEVELS.iter().map(|(name, _)| matcher.is_level(name)).collect()
        };
        let has_levels = levels(self).iter().zip(levels(other)).all(|(own, others)| *own || !others);
        let keys: [fn(&Matcher) -> &Several<Pattern>; 5] =
            [|it| &it.rule, |it| &it.tag, |it| &it.cluster, |it| &it.namespace, |it| &it.actor];
        has_levels && keys.iter().all(|key| covers(&key(self).0, &key(other).0))
    }
}

/// No patterns match everything.
fn covers(own: &[Pattern], others: &[Pattern]) -> bool {
    own.is_empty()
        || (!others.is_empty() && others.iter().all(|other| own.iter().any(|own| own.covers(other))))
}

fn level(name: &str) -> Option<Level> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

/// One level, or a level and all above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    from: Level,
    to: Level,
}

from_text!(Levels, {
    "type": "string",
    "pattern": "^(informational|low|medium|high|critical)\\+?$",
    "examples": ["high+", "critical"]
});

impl Levels {
    fn contains(self, level: Level) -> bool {
        (self.from..=self.to).contains(&level)
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, is_open) = text.strip_suffix('+').map_or((text, false), |name| (name, true));
        match level(name) {
            Some(from) => Ok(Self { from, to: if is_open { Level::Critical } else { from } }),
            None => Err(format!(
                "unknown level `{name}`: expected one of {}, with `+` for that and above",
                LEVELS.map(|(name, _)| format!("`{name}`")).join(", ")
            )),
        }
    }
}

/// A text in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

from_text!(Pattern, { "type": "string", "minLength": 1 });

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() { Err("an empty text matches nothing") } else { Ok(Self(text.to_owned())) }
    }
}

impl Pattern {
    /// The pattern as written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is of this form. The parts between the stars are looked for one behind
    /// the other, each as early as possible, which never misses a match.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(text) = text.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut text) = text.strip_suffix(last) else { return false };
        for part in middle.split('*') {
            match text.find(part) {
                // Invariant: `find` gives the beginning of a whole `part`.
                Some(at) => text = &text[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    /// Whether everything that matches `other` matches this; may be false where it would be true.
    fn covers(&self, other: &Pattern) -> bool {
        self.0 == "*" || self == other || (!other.0.contains('*') && self.matches(&other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        let cases = [
            ("prod", "prod", true),
            ("prod", "prod-eu", false),
            ("prod*", "prod-eu", true),
            ("prod*", "prod", true),
            ("*-eu", "prod-eu", true),
            ("*-eu", "prod-us", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a**b", "ab", true),
            ("*b*b*", "ab", false),
            ("*", "", true),
            ("Prod", "prod", false),
        ];
        for (pattern, text, expected) in cases {
            let pattern: Pattern = pattern.parse().expect("a pattern");
            assert_eq!(pattern.matches(text), expected, "{pattern:?} on {text}");
        }
    }

    #[test]
    fn a_hostile_name_costs_no_more_than_its_length() {
        let pattern: Pattern = "*a*a*a*a*a*a*a*a*a*a*b".parse().expect("a pattern");
        assert!(!pattern.matches(&"a".repeat(1 << 20)));
    }

    #[test]
    fn routes_are_asked_in_order_until_one_stops() {
        let yaml = "
- { match: { level: high+, cluster: [prod, 'prod-*'] }, to: [pager, disk] }
- { match: { actor: 'system:*' }, to: [disk], stop: true }
- { match: { tag: attack.* }, to: [siem] }
";
        let routes = routes(yaml);
        let reached = |alert: &outbox::Route| {
            let sinks = ["disk", "pager", "siem"].into_iter().filter(|sink| routes.reaches(alert, sink));
            sinks.collect::<Vec<_>>().join(" ")
        };
        let alert = outbox::Route {
            level: "critical".into(),
            cluster: "prod-eu".into(),
            actor: "alice".into(),
            tags: vec!["attack.execution".into()],
            ..outbox::Route::default()
        };
        assert_eq!(reached(&alert), "disk pager siem");
        let by_system = outbox::Route { actor: "system:node:a".into(), ..alert.clone() };
        assert_eq!(reached(&by_system), "disk pager");
        assert_eq!(reached(&outbox::Route { level: "low".into(), ..by_system }), "disk");
        assert_eq!(reached(&outbox::Route { level: "low".into(), tags: Vec::new(), ..alert.clone() }), "");
        assert_eq!(reached(&outbox::Route { level: "novel".into(), ..alert }), "disk pager siem");
    }

    #[test]
    fn without_routes_every_sink_gets_every_alert() {
        assert!(Routes::default().reaches(&outbox::Route::default(), "a"));
    }

    #[test]
    fn what_has_no_namespace_matches_no_namespace() {
        let routes = routes("- { match: { namespace: '*' }, to: [a] }");
        let alert = outbox::Route::default();
        assert!(!routes.reaches(&alert, "a"));
        assert!(routes.reaches(&outbox::Route { namespace: Some("web".into()), ..alert }, "a"));
    }

    #[test]
    fn a_wider_matcher_covers_a_narrower() {
        let cases = [
            ("{}", "{ level: high }", true),
            ("{ level: high }", "{}", false),
            ("{ level: medium+ }", "{ level: [high, critical], cluster: a }", true),
            ("{ level: high }", "{ level: high+ }", false),
            ("{ cluster: 'prod*' }", "{ cluster: [prod-a, prod-b] }", true),
            ("{ cluster: 'prod*' }", "{ cluster: [prod-a, lab] }", false),
            ("{ actor: a }", "{ cluster: c }", false),
        ];
        for (wide, narrow, expected) in cases {
            let matcher = |text| routes(&format!("- {{ match: {text} }}")).0.remove(0).matcher;
            assert_eq!(matcher(wide).covers(&matcher(narrow)), expected, "{wide} over {narrow}");
        }
    }

    fn routes(yaml: &str) -> Routes {
        serde_saphyr::from_str(yaml).expect("routes")
    }
}
