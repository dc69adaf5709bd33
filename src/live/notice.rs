//! What Masthead tells people about itself, by the same way as alerts.

use chrono::{DateTime, SecondsFormat, Utc};
use detect::Alert;
use detect::alert::{Notice, RuleRef, SCHEMA, Subject};
use detect::sigma::Level;
use sinks::outbox::{NewAlert, Route};
use sinks::palette::level_name;

use super::part::new_alert;

/// A kind of thing that happens to Masthead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    name: &'static str,
    pub(super) title: &'static str,
    pub(super) level: Level,
}

/// A sink has not taken anything for a while.
pub(crate) const SINK_FAILING: Kind = kind("sink_failing", "A sink takes no alerts", Level::High);
/// A sink that failed takes alerts again.
pub(crate) const SINK_RECOVERED: Kind =
    kind("sink_recovered", "A sink takes alerts again", Level::Informational);
/// A sink has refused an alert for good.
pub(crate) const SINK_REFUSED: Kind = kind("sink_refused", "A sink refused an alert", Level::Medium);
/// Files are not followed any more, for a fault.
pub(crate) const SOURCE_FAILED: Kind = kind("source_failed", "A source has failed", Level::High);
/// Nothing comes from a cluster any more.
pub(crate) const CLUSTER_SILENT: Kind = kind("cluster_silent", "A cluster has gone silent", Level::High);
/// A change of rules or configuration was not taken over.
pub(crate) const RELOAD_FAILED: Kind = kind("reload_failed", "A reload failed", Level::Medium);
/// The state of the store, signed.
pub(crate) const CHECKPOINT: Kind =
    kind("checkpoint", "Signed checkpoint of the alerts", Level::Informational);
/// The store was damaged.
pub(crate) const STORE_DAMAGED: Kind = kind("store_damaged", "The store was damaged", Level::High);

/// Messages of a partition are not dealt with.
#[cfg(feature = "kafka")]
pub(crate) const PARTITION_STALLED: Kind =
    kind("partition_stalled", "A partition of Kafka does not move", Level::High);

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    SINK_FAILING,
    SINK_RECOVERED,
    SINK_REFUSED,
    SOURCE_FAILED,
    CLUSTER_SILENT,
    RELOAD_FAILED,
    CHECKPOINT,
    STORE_DAMAGED,
    #[cfg(feature = "kafka")]
    PARTITION_STALLED,
];

const fn kind(name: &'static str, title: &'static str, level: Level) -> Kind {
    Kind { name, title, level }
}

/// What the ids of notices begin with, in the place of a rule.
const RULE: &str = "masthead.";

impl Kind {
    /// What stands in the place of a rule's id.
    pub(super) fn rule(self) -> String {
        format!("{RULE}{}", self.name)
    }
}

/// Whether an alert is a notice that everybody should have.
pub(crate) fn is_urgent(route: &Route) -> bool {
    route.rule.starts_with(RULE) && route.level != level_name(Level::Informational)
}

/// Composes a notice: about what, and a sentence for people. `at` makes it one of its kind.
pub(crate) fn notice(
    kind: Kind,
    subject: &str,
    summary: String,
    detail: Option<String>,
    at: DateTime<Utc>,
) -> NewAlert {
    let time = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut hasher = blake3::Hasher::new_derive_key("masthead notice v1");
    for text in [kind.name, subject, &time] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    // Invariant: a hash has 32 bytes.
    let id = hasher.finalize().as_bytes().first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
    let rule = RuleRef {
        id: kind.rule(),
        title: kind.title.to_owned(),
        level: kind.level,
        tags: Vec::new(),
        attack: Vec::new(),
    };
    let alert = Alert {
        schema: SCHEMA,
        id: format!("{id:032x}"),
        rule,
        cluster: if kind.name == CLUSTER_SILENT.name { subject.to_owned() } else { String::new() },
        time: Some(time.clone()),
        detected_at: time,
        summary,
        subject: Subject::Notice {
            notice: Box::new(Notice { kind: kind.name, subject: subject.to_owned(), detail }),
        },
        audit_ids: Vec::new(),
        matched: Vec::new(),
        falsepositives: Vec::new(),
        event: None,
        event_in: None,
    };
    new_alert(&alert, id)
}
