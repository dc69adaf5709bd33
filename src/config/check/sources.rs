//! Whether sources can be set up, and who may send to them.

use std::collections::{BTreeMap, HashMap};
#[cfg(feature = "kafka")]
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
#[cfg(feature = "kafka")]
use std::time::Duration;

use ingest::follow::{FollowError, FollowOptions, Follower};

use super::super::mistake::{MistakeKind, Mistakes, told};
#[cfg(feature = "kafka")]
use super::super::source::KafkaSource;
use super::super::source::{FileSource, Limits, Source, Token, Webhook};
use super::super::tree::Spot;
use super::super::units::Name;
use super::{at_most_one, least, must_hold, must_last, tls};

/// How long the name of a consumer group may be, in bytes.
#[cfg(feature = "kafka")]
const GROUP_BYTES: RangeInclusive<usize> = 1..=249;
/// How long a session of a consumer may last: what clients and brokers take at all.
#[cfg(feature = "kafka")]
const SESSION_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(1800);
/// How many batches may be evaluated at once: more threads than that wait for one another.
#[cfg(feature = "kafka")]
const WORKERS: RangeInclusive<u32> = 1..=256;
/// What says the hash of a token.
const HASH_KEYS: [&str; 3] = ["sha256", "sha256_file", "sha256_env"];

/// The least number of connections and requests: a client has half of them, an API server a few.
const AMOUNT_MIN: u32 = 8;

/// Notes what is wrong with sources.
pub(super) fn check(sources: &BTreeMap<Name, Source>, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let mut followed: HashMap<&Path, &Name> = HashMap::new();
    for (name, source) in sources {
        let spot = spot.at(name);
        match source {
            Source::Webhook(source) => webhook(source, spot, mistakes),
            #[cfg(feature = "kafka")]
            Source::Kafka(source) => kafka(source, spot, mistakes),
            Source::File(source) => {
                files(source, spot, mistakes);
                for (index, path) in source.paths.iter().enumerate() {
                    if let Some(other) = followed.insert(path, name) {
                        let place = spot.at("paths").item(index).place;
                        let message = format!("source `{other}` reads this file already");
                        mistakes.contradict(place, message, "name each file once");
                    }
                }
            }
        }
    }
}

fn files(source: &FileSource, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let paths: Vec<PathBuf> = source.paths.iter().map(|path| path.0.clone()).collect();
    if let Err(error) = Follower::new(&paths, FollowOptions::default(), None) {
        let odd = paths
            .iter()
            .position(|path| matches!(&error, FollowError::Pattern { path: odd, .. } if odd == path));
        let place = odd.map_or(spot.at("paths").place, |index| spot.at("paths").item(index).place);
        mistakes.contradict(place, told(&error), "name files, or patterns with `*`");
    }
    for (index, path) in source.paths.iter().enumerate() {
        let has_pattern = |folder: &Path| folder.to_string_lossy().contains(['*', '?', '[']);
        let folder = path.parent().filter(|folder| !has_pattern(folder) && !folder.is_dir());
        if let Some(folder) = folder {
            let message = format!("there is no folder `{}` yet", folder.display());
            mistakes.doubt(spot.at("paths").item(index).place, message);
        }
    }
}

/// Whether a topic, or a pattern as it begins with `^`, stands for this one.
#[cfg(feature = "kafka")]
fn reads(topic: &str, name: &str) -> bool {
    let is_pattern = topic.starts_with('^');
    topic == name || is_pattern && regex::Regex::new(topic).is_ok_and(|pattern| pattern.is_match(name))
}

#[cfg(feature = "kafka")]
fn kafka(source: &KafkaSource, spot: Spot<'_>, mistakes: &mut Mistakes) {
    super::kafka::connection(&source.connection(), spot, mistakes);
    let topics = spot.at("topics").place;
    if let Err(error) = ingest::kafka::Topics::new(&source.topics) {
        mistakes.contradict(topics, told(&error), "name topics, or patterns, which begin with `^`");
    }
    if let Some(letters) = &source.dead_letter_topic
        && source.topics.iter().any(|topic| reads(topic, letters.as_str()))
    {
        let place = spot.at("dead_letter_topic").place;
        mistakes.contradict(place, "this topic is read, so letters would come back", "name another topic");
    }
    if !GROUP_BYTES.contains(&source.group.len()) || source.group.contains(char::is_control) {
        mistakes.contradict(spot.at("group").place, "no group can have this name", "name it as topics are");
    }
    let spot_of_timeout = spot.at("session_timeout").place;
    if !SESSION_TIMEOUT.contains(&source.session_timeout.0) {
        let advice = "`1s` to `30m`; brokers take `6s` to `30m` unless told otherwise";
        mistakes.contradict(spot_of_timeout, "sessions cannot last so long", advice);
    }
    if let Some(from) = &source.cluster_from {
        let ways = [from.topic.is_some(), from.header.is_some(), from.key, from.envelope];
        if ways.iter().filter(|is_given| **is_given).count() != 1 {
            let place = spot.at("cluster_from").place;
            let advice = "give exactly one of `topic`, `header`, `key` and `envelope`";
            mistakes.contradict(place, "this does not say what the cluster is", advice);
        }
    }
    let limits = spot.at("limits");
    must_hold(source.limits.memory, least::KAFKA_MEMORY, limits.at("memory"), mistakes);
    if source.limits.workers.is_some_and(|count| !WORKERS.contains(&count)) {
        let advice = "1 to 256; leave it out for as many as there are processors";
        mistakes.contradict(limits.at("workers").place, "there cannot be so many workers", advice);
    }
}

fn webhook(webhook: &Webhook, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let listen = spot.at("listen").place;
    let is_local = webhook.listen.0.ip().is_loopback();
    let asks_for_certificates = webhook.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    let is_open = webhook.tokens.is_empty() && !asks_for_certificates;
    if is_open && !is_local && !webhook.insecure {
        let advice = "add `tokens` or `tls.client_ca_file`, listen on `127.0.0.1`, or say `insecure: true`";
        mistakes.contradict(listen, "anybody who can reach this address could send events", advice);
    }
    if !webhook.tokens.is_empty() && webhook.tls.is_none() && !is_local {
        mistakes.doubt(listen, "without `tls`, tokens and events can be read on their way");
    }
    if let Some(files) = &webhook.tls {
        tls::server(files, spot.at("tls"), mistakes);
        if files.client_ca_file.is_none() && !files.client_clusters.is_empty() {
            let advice = "name who signs the certificates of clients by `client_ca_file`";
            let place = spot.at("tls").at("client_clusters").key;
            mistakes.contradict(place, "clients are not asked for certificates", advice);
        }
    }
    tokens(&webhook.tokens, spot.at("tokens"), mistakes);
    limits(&webhook.limits, spot.at("limits"), mistakes);
}

fn tokens(tokens: &[Token], spot: Spot<'_>, mistakes: &mut Mistakes) {
    let mut clusters: HashMap<[u8; 32], &Name> = HashMap::new();
    for (number, token) in tokens.iter().enumerate() {
        let own = spot.item(number);
        at_most_one(own, &HASH_KEYS, mistakes);
        let Some(key) = HASH_KEYS.iter().find(|key| own.has(key)) else {
            let advice = format!("add one of `{}`", HASH_KEYS.join("`, `"));
            mistakes.contradict(own.place, "nothing says the hash of this token", advice);
            continue;
        };
        match token.hashes() {
            Err(error) => mistakes.add(own.at(key).place, MistakeKind::Token(error)),
            Ok(hashes) => {
                let other = hashes.into_iter().filter_map(|hash| clusters.insert(hash, &token.cluster));
                if let Some(other) = other.into_iter().find(|other| **other != token.cluster) {
                    let message = format!("this is the token of cluster `{other}` too");
                    mistakes.contradict(own.at(key).place, message, "give each cluster a token of its own");
                }
            }
        }
    }
}

fn limits(limits: &Limits, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let amounts = [("connections", limits.connections), ("requests", limits.requests)];
    for (key, _) in amounts.into_iter().filter(|(_, amount)| *amount < AMOUNT_MIN) {
        let advice = format!("allow at least {AMOUNT_MIN}");
        mistakes.contradict(spot.at(key).place, "one client could shut out all others", advice);
    }
    must_hold(limits.memory, least::MEMORY, spot.at("memory"), mistakes);
    must_hold(limits.body, least::BODY, spot.at("body"), mistakes);
    must_hold(limits.decoded, least::BODY, spot.at("decoded"), mistakes);
    must_last(limits.connection_age, least::CONNECTION_AGE, spot.at("connection_age"), mistakes);
}
