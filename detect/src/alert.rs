//! What people and systems are told: one alert for one rule and one request.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::correlate::{Episode, Phase};
use crate::derived::{self, Derived};
use crate::engine::{Engine, Match};
use crate::event::{Event, Key};
use crate::field::{Value, View};
use crate::json::{Json, lossy};
use crate::sigma::{Level, Rule, correlation};
use crate::summary;

/// The name of this form of an alert; a change that readers could notice changes it.
pub const SCHEMA: &str = "masthead.alert/v1";

/// How much of a value an alert shows, in bytes: the event has the rest.
pub const EVIDENCE_BYTES_MAX: usize = 1024;

/// How many groups or addresses an alert lists: a client may send as many as its headers hold.
pub const LIST_MAX: usize = 256;

/// How many bytes of groups or addresses an alert lists: every alert of a request has them again.
pub const LIST_BYTES_MAX: usize = 32 * 1024;

/// An alert as it goes over the wire.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Alert {
    pub schema: &'static str,
    /// The same for the same rule and request, wherever and how often they are evaluated.
    pub id: String,
    pub rule: RuleRef,
    pub cluster: String,
    /// When the API server received the request: RFC 3339 in UTC with microseconds.
    pub time: Option<String>,
    /// When Masthead saw it.
    pub detected_at: String,
    /// One sentence for people, free of anything a terminal or Markdown would interpret.
    pub summary: String,
    #[serde(flatten)]
    pub subject: Subject,
    /// The requests that made it; of a correlation at most [`LISTED_MAX`](crate::correlate::LISTED_MAX).
    pub audit_ids: Vec<String>,
    /// The fields that matched; of a correlation what its requests share.
    pub matched: Vec<Evidence>,
    pub falsepositives: Vec<String>,
    /// The event as it was logged, unless it was asked to be left out or is in another alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// The id of the alert of the same request that has the event, where it is too large to be in all of
    /// them ([`REPEATED_BYTES_MAX`](crate::carrying::REPEATED_BYTES_MAX)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_in: Option<String>,
}

/// What an alert is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Subject {
    Request(Box<Request>),
    Correlation { correlation: Box<Correlated> },
    Notice { notice: Box<Notice> },
}

/// What Masthead tells of itself: a sink that fails, a cluster that has gone silent.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Notice {
    /// Which kind of thing happened: a stable name.
    pub kind: &'static str,
    /// The sink, the cluster, the file that it is about.
    pub subject: String,
    /// More for programs, such as a signed checkpoint.
    pub detail: Option<String>,
}

/// One request.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Request {
    pub outcome: &'static str,
    /// Whether the request asked to change nothing.
    pub dry_run: bool,
    pub actor: Actor,
    pub source: Source,
    pub target: Target,
}

/// Requests that a correlation relates.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Correlated {
    pub r#type: &'static str,
    pub timespan_s: u64,
    pub started_at: String,
    pub ended_at: String,
    pub request_count: u64,
    /// What was compared, at its highest: a count, a sum, a mean, how many rules.
    pub number: f64,
    /// The distinct values that were counted, at most [`LISTED_MAX`](crate::correlate::LISTED_MAX).
    pub values: Vec<String>,
    /// What the requests share, absent fields included.
    pub group: Vec<Shared>,
    /// The rules that matched.
    pub rules: Vec<Related>,
    /// Whether this is all of the episode; until then more may follow under the same id.
    pub is_over: bool,
}

/// A field that requests share; nothing where all of them lack it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Shared {
    pub field: String,
    pub value: Option<String>,
}

/// A rule that a correlation relates.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Related {
    pub id: String,
    pub title: String,
}

/// The rule of an alert.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct RuleRef {
    pub id: String,
    pub title: String,
    pub level: Level,
    pub tags: Vec<String>,
    /// The ATT&CK techniques among the tags, such as `T1552.007`.
    pub attack: Vec<String>,
}

/// Who did it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Actor {
    /// The effective name: the impersonated one if impersonation was used.
    pub name: String,
    pub kind: String,
    pub groups: Vec<String>,
    /// The authenticated name behind an impersonation.
    pub original: Option<String>,
}

/// From where.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Source {
    /// The last address that is not a configured proxy: the only one a client cannot forge.
    pub ip: Option<String>,
    pub scope: Option<String>,
    pub ips: Vec<String>,
    pub user_agent: Option<String>,
}

/// To what.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Target {
    pub verb: Option<String>,
    pub api_group: Option<String>,
    pub resource: Option<String>,
    pub subresource: Option<String>,
    pub namespace: Option<String>,
    pub name: Option<String>,
}

/// A field that matched and its value.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Evidence {
    pub field: String,
    pub value: String,
}

/// Whether an alert carries the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RawEvent {
    Include,
    LeaveOut,
    /// The alert with this id does.
    In(u128),
}

/// The number behind an alert's id: 128 bits of BLAKE3 over rule id and request identity.
///
/// A request is cluster, audit id, time of receipt, user, verb and URI. The audit id alone
/// is not enough: it comes from a header that the client may set.
pub fn id_of(rule: &Rule, cluster: &str, event: &Event<'_>) -> u128 {
    RequestIdentity::of(cluster, event).id_of(rule)
}

/// How the matches of each rule are named.
#[derive(Clone, Debug)]
pub struct MatchIds {
    /// By rule: what stands for it in the names of its matches.
    hashes: Vec<u128>,
    /// By rule: whether nobody is told of its matches.
    silent: Vec<bool>,
}

impl MatchIds {
    /// How those of these rules are.
    pub fn of(rules: &[Rule]) -> Self {
        let hash =
            |rule: &Rule| first_half(&blake3::derive_key("masthead match v1", rule.id.as_bytes()).into());
        Self { hashes: rules.iter().map(hash).collect(), silent: correlation::silent(rules) }
    }

    /// Whether a rule only serves correlations: nobody is told of its matches.
    pub fn is_silent(&self, rule: usize) -> bool {
        self.silent.get(rule).is_some_and(|is_silent| *is_silent)
    }

    /// The number behind the match of a rule in a request, whatever other rules there are: the hash
    /// of the rule and that of the request, so that a request that many rules match is hashed once.
    pub fn match_id(&self, rule: usize, identity: &RequestIdentity) -> u128 {
        self.hashes.get(rule).copied().unwrap_or_default() ^ identity.of_request()
    }

    /// By what it is known that a match was found before: the number behind the id of its alert, if
    /// people are told of it, else that of the match.
    pub fn id_of(&self, number: usize, rule: &Rule, identity: &RequestIdentity) -> u128 {
        if self.is_silent(number) { self.match_id(number, identity) } else { identity.id_of(rule) }
    }
}

/// What identifies the request of an event, read once for all rules that the event satisfies.
pub struct RequestIdentity {
    bytes: Vec<u8>,
    /// What identifies the request whatever rule it matches, once somebody has asked.
    of_request: OnceCell<u128>,
}

impl RequestIdentity {
    /// That of an event of a cluster.
    pub fn of(cluster: &str, event: &Event<'_>) -> Self {
        let user = event.str_at(Key::User, "username");
        let mut bytes = Vec::with_capacity(512);
        add(cluster, &mut bytes);
        add(&event.str(Key::AuditId).unwrap_or_default(), &mut bytes);
        add(&event.str(Key::RequestReceivedTimestamp).unwrap_or_default(), &mut bytes);
        add(&user.unwrap_or_default(), &mut bytes);
        add(&event.str(Key::Verb).unwrap_or_default(), &mut bytes);
        add(&event.str(Key::RequestUri).unwrap_or_default(), &mut bytes);
        Self { bytes, of_request: OnceCell::new() }
    }

    /// What [`id_of`] says of the event and a rule.
    pub fn id_of(&self, rule: &Rule) -> u128 {
        self.number(&rule.id)
    }

    /// What identifies the request whatever rule it matches.
    pub(crate) fn of_request(&self) -> u128 {
        *self.of_request.get_or_init(|| self.number(""))
    }

    fn number(&self, rule_id: &str) -> u128 {
        // Hashing what is in one piece takes half the time.
        let mut bytes = Vec::with_capacity(size_of::<u64>() + rule_id.len() + self.bytes.len());
        add(rule_id, &mut bytes);
        bytes.extend_from_slice(&self.bytes);
        first_half(&blake3::hash(&bytes))
    }
}

/// Adds a text so that it shows where it ends.
fn add(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// 128 bits of a hash: enough that no two requests ever share them.
pub(crate) fn first_half(hash: &blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

impl Alert {
    /// Composes the alert for a match. `detected_at` is the caller's clock.
    pub fn new(
        engine: &Engine,
        found: &Match<'_>,
        event: &Event<'_>,
        cluster: &str,
        detected_at: DateTime<Utc>,
        raw: RawEvent,
    ) -> Self {
        let id = id_of(&engine.rules()[found.rule], cluster, event);
        Self::with_id(id, engine, found, event, cluster, detected_at, raw)
    }

    /// The same with an id that is not that of the event as it is shown.
    pub(crate) fn with_id(
        id: u128,
        engine: &Engine,
        found: &Match<'_>,
        event: &Event<'_>,
        cluster: &str,
        detected_at: DateTime<Utc>,
        raw: RawEvent,
    ) -> Self {
        let rule = &engine.rules()[found.rule];
        let view = View { event, settings: engine.settings() };
        let (outcome, dry_run) = (derived::outcome(event), derived::is_dry_run(event));
        Self {
            schema: SCHEMA,
            id: format!("{id:032x}"),
            rule: RuleRef::of(rule),
            cluster: cluster.to_owned(),
            time: event_time(event),
            detected_at: rfc3339(detected_at),
            summary: summary::of_ended(view, outcome, dry_run),
            subject: Subject::Request(Box::new(Request {
                outcome,
                dry_run,
                actor: Actor::of(view),
                source: Source::of(view),
                target: Target::of(view),
            })),
            audit_ids: event.str(Key::AuditId).map(bounded).into_iter().collect(),
            matched: found.evidence.iter().map(|(field, value)| Evidence::new(field, value)).collect(),
            falsepositives: rule.falsepositives.clone(),
            event: (raw == RawEvent::Include).then(|| one_line(event)).flatten(),
            event_in: match raw {
                RawEvent::In(id) => Some(format!("{id:032x}")),
                RawEvent::Include | RawEvent::LeaveOut => None,
            },
        }
    }
}

impl Alert {
    /// Composes the alert for an episode of a correlation among `rules`; nothing if it is
    /// of other rules. `detected_at` is the caller's clock.
    pub fn of_episode(
        rules: &[Rule],
        episode: &Episode,
        cluster: &str,
        detected_at: DateTime<Utc>,
    ) -> Option<Self> {
        let rule = rules.get(episode.rule)?;
        let correlation = rule.correlation()?;
        let shared = episode.group.iter().filter_map(|(field, value)| Some((field.clone(), value.clone()?)));
        let correlated = Correlated {
            r#type: correlation.relation.name(),
            timespan_s: correlation.timespan.as_secs(),
            started_at: rfc3339(episode.started_at),
            ended_at: rfc3339(episode.ended_at),
            request_count: episode.request_count,
            number: episode.number,
            values: episode.values.clone(),
            group: episode
                .group
                .iter()
                .map(|(field, value)| Shared { field: field.clone(), value: value.clone() })
                .collect(),
            rules: episode
                .rules
                .iter()
                .filter_map(|number| rules.get(*number))
                .map(|rule| Related { id: rule.id.clone(), title: rule.title.clone() })
                .collect(),
            is_over: episode.phase == Phase::Over,
        };
        Some(Self {
            schema: SCHEMA,
            id: format!("{:032x}", episode.id),
            rule: RuleRef::of(rule),
            cluster: cluster.to_owned(),
            time: Some(rfc3339(episode.started_at)),
            detected_at: rfc3339(detected_at),
            summary: summary::of_episode(rules, correlation, episode),
            subject: Subject::Correlation { correlation: Box::new(correlated) },
            audit_ids: episode.audit_ids.clone(),
            matched: shared.map(|(field, value)| Evidence { field, value }).collect(),
            falsepositives: rule.falsepositives.clone(),
            event: None,
            event_in: None,
        })
    }

    /// The request that it is about, unless it is about several.
    pub fn request(&self) -> Option<&Request> {
        match &self.subject {
            Subject::Request(request) => Some(request),
            Subject::Correlation { .. } | Subject::Notice { .. } => None,
        }
    }

    /// What it relates, unless it is about one request.
    pub fn correlated(&self) -> Option<&Correlated> {
        match &self.subject {
            Subject::Request(_) | Subject::Notice { .. } => None,
            Subject::Correlation { correlation } => Some(correlation),
        }
    }
}

impl RuleRef {
    fn of(rule: &Rule) -> Self {
        let attack = rule.tags.iter().filter_map(|tag| technique(tag)).collect();
        let Rule { id, title, level, tags, .. } = rule;
        Self { id: id.clone(), title: title.clone(), level: *level, tags: tags.clone(), attack }
    }
}

/// The ATT&CK technique that a tag such as `attack.t1552.007` names.
fn technique(tag: &str) -> Option<String> {
    let name = tag.strip_prefix("attack.")?.to_ascii_uppercase();
    let digits = name.strip_prefix('T')?;
    digits.starts_with(|first: char| first.is_ascii_digit()).then_some(name)
}

impl Actor {
    fn of(view: View<'_>) -> Self {
        Self {
            name: first(view, Derived::ActorName).unwrap_or_default(),
            kind: first(view, Derived::ActorKind).unwrap_or_default(),
            groups: texts(view, Derived::ActorGroups),
            original: first(view, Derived::ActorOriginal),
        }
    }
}

impl Source {
    fn of(view: View<'_>) -> Self {
        let ips = view.event.get(Key::SourceIps);
        Self {
            ip: first(view, Derived::SourceIp),
            scope: first(view, Derived::SourceScope),
            ips: listed(ips.into_iter().flat_map(Json::elements).filter_map(Json::text)),
            user_agent: view.event.str(Key::UserAgent).map(bounded),
        }
    }
}

impl Target {
    fn of(view: View<'_>) -> Self {
        let of_object = |name| view.event.str_at(Key::ObjectRef, name).map(bounded);
        Self {
            verb: view.event.str(Key::Verb).map(bounded),
            api_group: of_object("apiGroup"),
            resource: of_object("resource"),
            subresource: of_object("subresource"),
            namespace: of_object("namespace"),
            name: first(view, Derived::ObjectName),
        }
    }
}

impl Evidence {
    fn new(field: &str, value: &Value<'_>) -> Self {
        let text = match value {
            Value::Text(text) => text.clone(),
            Value::Json(json) => json.text().unwrap_or_else(|| String::from_utf8_lossy(json.bytes())),
        };
        Self { field: field.to_owned(), value: bounded(text) }
    }
}

/// At most [`EVIDENCE_BYTES_MAX`] of a text, and how much is left out.
fn bounded(text: Cow<'_, str>) -> String {
    let Some(rest) = text.len().checked_sub(EVIDENCE_BYTES_MAX).filter(|rest| *rest > 0) else {
        return text.into_owned();
    };
    let end = (0..=EVIDENCE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
    let mut shown = text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
    let _ = write!(shown, "… ({rest} more bytes)");
    shown
}

fn texts(view: View<'_>, derived: Derived) -> Vec<String> {
    let mut values = Vec::new();
    let _ = derived::read(derived, "", view, &mut values);
    listed(values.iter().filter_map(Value::text))
}

/// The first texts of a list, as many as an alert shows.
fn listed<'t>(texts: impl Iterator<Item = Cow<'t, str>>) -> Vec<String> {
    let mut room_bytes = LIST_BYTES_MAX;
    let fits = |text: &String| match room_bytes.checked_sub(text.len()) {
        Some(rest) => {
            room_bytes = rest;
            true
        }
        None => false,
    };
    texts.take(LIST_MAX).map(bounded).take_while(fits).collect()
}

fn first(view: View<'_>, derived: Derived) -> Option<String> {
    texts(view, derived).into_iter().next()
}

/// When the request was received, as RFC 3339 in UTC with microseconds; the time of the
/// stage where the former is missing.
pub fn event_time(event: &Event<'_>) -> Option<String> {
    time_of(event).map(rfc3339)
}

/// When the request was received; the time of the stage where that is missing.
pub fn time_of(event: &Event<'_>) -> Option<DateTime<Utc>> {
    [Key::RequestReceivedTimestamp, Key::StageTimestamp]
        .iter()
        .find_map(|key| DateTime::parse_from_rfc3339(&event.str(*key)?).ok())
        .map(|time| time.with_timezone(&Utc))
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The event on one line. Strings cannot hold raw line breaks, so any that occur are white
/// space between tokens.
fn one_line(event: &Event<'_>) -> Option<Box<RawValue>> {
    let text = lossy(event.raw());
    let has_breaks = memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some();
    let text = if has_breaks { text.replace(['\n', '\r'], " ") } else { text.into_owned() };
    RawValue::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::{Alert, EVIDENCE_BYTES_MAX, LIST_BYTES_MAX, LIST_MAX, RawEvent};
    use crate::{Engine, Event};

    #[test]
    fn an_alert_without_its_event_is_small_whatever_the_client_sends() {
        let long = "é".repeat(5_000);
        let list = vec![long.as_str(); 300];
        let event = serde_json::json!({
            "auditID": long, "verb": long, "userAgent": long, "sourceIPs": list,
            "user": { "username": long, "groups": list },
            "objectRef": { "resource": long, "namespace": long, "name": long },
        });
        let event = event.to_string();
        let event = Event::parse(event.as_bytes()).unwrap();
        let rule = "{title: t, id: 1d2c3b4a-0000-4000-8000-000000000001, level: low, \
            logsource: {product: kubernetes, service: audit}, detection: {a: {verb: '*'}, condition: a}}";
        let rules = crate::sigma::parse(std::path::Path::new("t.yml"), rule).rules;
        let engine = Engine::new(rules, crate::field::Settings::default());
        let mut alerts = Vec::new();
        let now = chrono::DateTime::UNIX_EPOCH;
        engine.evaluate(&event, &mut engine.scratch(), |found| {
            alerts.push(Alert::new(&engine, &found, &event, "c", now, RawEvent::LeaveOut));
        });
        let json = serde_json::to_string(&alerts).unwrap();
        assert_eq!(alerts.len(), 1);
        assert!(json.len() < 2 * LIST_BYTES_MAX + 20 * (EVIDENCE_BYTES_MAX + 100), "{}", json.len());
        let Some(request) = alerts[0].request() else { panic!("it is about one request") };
        assert!(request.actor.groups.len() < LIST_MAX && !request.actor.groups.is_empty());
    }
}
