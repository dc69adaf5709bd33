//! Every metric that there is: its labels, its type, and what it says.
//!
//! The one place that explains metrics: `/metrics` takes its help from here, and docs/run.md its table.

use metrics::{describe_counter, describe_gauge};

use self::Kind::{Counter, Gauge};

/// A metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Its name, with its labels in braces.
    series: &'static str,
    pub(crate) kind: Kind,
    /// What it says, for people.
    pub(crate) help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows, but for a restart.
    Counter,
    /// It is what holds now.
    Gauge,
}

impl Kind {
    /// What Prometheus calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
        }
    }
}

impl Metric {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.series.split('{').next().unwrap_or_default()
    }
}

/// What there is to know of a metric.
pub(crate) fn of(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name() == name)
}

/// Has the recorder of the process say what its metrics mean.
pub(crate) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Counter => describe_counter!(metric.name(), metric.help),
            Gauge => describe_gauge!(metric.name(), metric.help),
        }
    }
}

const fn metric(series: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric { series, kind, help }
}

/// All of them, in the order of the documentation.
#[rustfmt::skip]
const METRICS: &[Metric] = &[
    metric("masthead_build_info{version}", Gauge, "1: which version runs"),
    metric("masthead_rules_loaded", Gauge, "rules in force"),
    metric("masthead_reloads_total{result}", Counter, "reloads, by result: `ok`, `failed`"),
    metric("masthead_ledger_imbalance", Gauge, "events and alerts that the books do not account for; it must be 0"),

    metric("masthead_events_received_total{source,cluster}", Counter, "items that came from a source and are answered for"),
    metric("masthead_events_evaluated_total{cluster}", Counter, "events that were judged by all rules"),
    metric("masthead_events_quarantined_total{cluster}", Counter, "items that were no event, and are kept in quarantine"),
    metric("masthead_events_unwrapped_total{source}", Counter, "events that came in what a shipper or a cloud wraps around them"),
    metric("masthead_records_skipped_total{source}", Counter, "records that their wrapper says are of other logs than the audit log"),
    metric("masthead_blind_events_total{rule,title}", Counter, "events that hid from a rule what it reads, by the audit policy or truncated"),
    metric("masthead_cluster_last_event_age_seconds{cluster}", Gauge, "how long nothing has come from a cluster"),
    metric("masthead_event_lag_seconds{cluster}", Gauge, "how old the latest event was when it came"),
    metric("masthead_received_to_durable_seconds{quantile}", Gauge, "how long it takes from the head of a request until what its events gave is on disk, by event, since the start"),

    metric("masthead_alerts_total{rule,title,level}", Counter, "alerts that are stored, each once; of rules in force from 0 on"),
    metric("masthead_alerts_without_event_total", Counter, "alerts that name another one of the same request, which has their large event"),
    metric("masthead_alerts_not_durable", Gauge, "alerts of episodes and notices that wait for the store"),
    metric("masthead_notices_given_up_total", Counter, "notices of Masthead about itself that were given up, as the store took none for too long"),

    metric("masthead_sink_delivered_total{sink}", Counter, "alerts that a sink took"),
    metric("masthead_sink_pending{sink}", Gauge, "alerts that wait for a sink"),
    metric("masthead_sink_retries_total{sink}", Counter, "deliveries that failed and were tried again"),
    metric("masthead_sink_dead_total{sink}", Counter, "alerts that a sink refused for good"),

    metric("masthead_http_requests_total{code}", Counter, "answers of webhooks, by status"),
    metric("masthead_requests_refused_total{reason}", Counter, "requests that are to be sent again (503), by reason: `store`, `incomplete`, `busy`, `clusters`, `stopping`; `memory`, `requests`, `streams`, and `…_share` where one client has its share"),
    metric("masthead_requests_in_flight", Gauge, "requests that are being answered"),
    metric("masthead_connections_open", Gauge, "connections of clients"),
    metric("masthead_connections_refused_total{reason}", Counter, "connections that were closed at once: `full`, `address_full`, `handshake`, `handshake_timeout`"),

    metric("masthead_files_known{source}", Gauge, "log files that are followed"),
    metric("masthead_file_pending_bytes{source}", Gauge, "what lies in files and is not done, without compressed ones"),
    metric("masthead_file_read_bytes_total{source}", Counter, "what was read of files, decoded"),
    metric("masthead_file_batches_total{source}", Counter, "batches that were read of files"),
    metric("masthead_file_failing{source}", Gauge, "1 while reading files breaks down again and again"),
    metric("masthead_file_failures_total{source}", Counter, "how often reading files broke down"),
    metric("masthead_file_rotations_total{source}", Counter, "files that took the name of a log from another"),
    metric("masthead_file_rewritten_total{source}", Counter, "files that were cut or written anew; what was written just before may be lost"),
    metric("masthead_file_passed_total{source}", Counter, "files that were there at first and are not read, as `start_at: end` says"),
    metric("masthead_file_vanished_total{source}", Counter, "files that vanished before they were known to be read to their end"),
    metric("masthead_file_long_lines_total{source}", Counter, "lines longer than the limit"),
    metric("masthead_file_nul_runs_total{source}", Counter, "runs of NUL bytes longer than the limit of a line"),
    metric("masthead_file_skipped_bytes_total{source}", Counter, "bytes of such lines and runs, which are skipped"),
    metric("masthead_file_unfinished_lines_total{source}", Counter, "ends of files that were taken although no line feed came"),
    metric("masthead_file_damaged_total{source}", Counter, "compressed files that are cut or corrupt"),
    metric("masthead_file_lost_positions_total{source}", Counter, "stored positions that could not be understood, so that files were read again"),
    metric("masthead_file_paths_unreadable{source}", Gauge, "paths that cannot be read"),
    metric("masthead_files_crowded{source}", Gauge, "files that are not followed, as there are too many"),
    metric("masthead_files_unseen{source}", Gauge, "rotated files that are not looked at, as there are too many newer ones"),

    metric("masthead_kafka_messages_total{source,kind}", Counter, "messages, by kind: `message`, `tombstone`, `dead_letter`, `dead_letter_too_large` (the topic takes not even its beginning), `nameless` (names no cluster)"),
    metric("masthead_kafka_matches_unrelated_total{source}", Counter, "matches that correlations leave out, as there is no room for their cluster"),
    metric("masthead_kafka_lag_offsets{source,topic,partition}", Gauge, "messages of a partition read here that are not done; of at most 2,000 partitions"),
    metric("masthead_kafka_lag_seconds{source,topic,partition}", Gauge, "how old the last message is that is done, while others are not; of at most 2,000 partitions"),
    metric("masthead_kafka_partitions{source}", Gauge, "partitions that are read here"),
    metric("masthead_kafka_rebalances_total{source}", Counter, "how often partitions came or went"),
    metric("masthead_kafka_paused{source}", Gauge, "partitions that wait because too much is in flight"),
    metric("masthead_kafka_stalled{source}", Gauge, "partitions with messages of which none was done for a minute; each is also an alert, `partition_stalled`"),
    metric("masthead_kafka_errors_total{source,reason}", Counter, "what the client complains of"),

    metric("masthead_correlation_memory_bytes", Gauge, "what the correlations of all clusters take"),
    metric("masthead_correlation_losses_total{cluster,reason}", Counter, "what correlations could not count: matches that came too `late`, `hurried` through for want of room, `timeless`, `hidden` in what they group by, or too `crowded`; and groups that were `evicted` to bound memory"),
    metric("masthead_matches_from_the_future_total", Counter, "matches more than five minutes ahead of the clock here, which correlations leave out"),
    metric("masthead_lanes_given_up_total", Counter, "partitions that correlations wait for no longer, as nothing was heard of them"),

    metric("masthead_fleet_failing", Gauge, "1 while other instances cannot be told what correlations count; `/readyz` says why"),
    metric("masthead_fleet_partitions", Gauge, "partitions of matches that are correlated here: their sum over all instances is their number"),
    metric("masthead_fleet_matches_published_total", Counter, "matches that were found here"),
    metric("masthead_fleet_matches_taken_total", Counter, "matches that are correlated here"),
    metric("masthead_fleet_matches_crowded_out_total", Counter, "matches of clusters beyond the 1,000th, which no correlation counts"),
    metric("masthead_fleet_messages_wrong_total{kind}", Counter, "messages that should not be there: `unreadable`, `misplaced` (there were other numbers of partitions), `mark`"),
    metric("masthead_fleet_marks_hurried_total", Counter, "how often matches that another instance published did not come within a minute"),
    metric("masthead_fleet_topics_changed_total", Counter, "how often topics were found with other numbers of partitions"),
    metric("masthead_fleet_topics_anew_total", Counter, "partitions that were found without what had been published"),

    metric("masthead_store_bytes", Gauge, "the size of the store"),
    metric("masthead_store_commit_seconds{quantile}", Gauge, "how long the store takes to make something durable, since the start"),
    metric("masthead_store_failures_total", Counter, "how often the store could not write"),
    metric("masthead_store_matches", Gauge, "matches that are kept for correlations"),
    metric("masthead_store_match_bytes", Gauge, "about what the matches take that are kept for correlations"),
    metric("masthead_store_matches_dropped_total", Counter, "matches that had to go for want of room though correlations still counted them"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_metric_is_explained_once() {
        let names: BTreeSet<&str> = METRICS.iter().map(Metric::name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert_eq!(metric.name().ends_with("_total"), metric.kind == Counter, "{metric:?}");
        }
    }

    #[test]
    fn the_table_of_the_documentation_is_the_codes_own() {
        let mut expected = "| metric | type | what it says |\n|---|---|---|\n".to_owned();
        for Metric { series, kind, help } in METRICS {
            writeln!(expected, "| `{series}` | {} | {help} |", kind.name()).expect("memory");
        }
        let document = include_str!("../../docs/run.md");
        let (_, rest) = document.split_once("<!-- metrics:begin -->\n").expect("a place for the table");
        let (table, _) = rest.split_once("<!-- metrics:end -->").expect("an end of the table");
        assert_eq!(table, expected, "put this there:\n{expected}");
    }
}
