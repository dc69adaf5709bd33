//! Whether the parts of a configuration fit together, and what it names is there.
//!
//! Nothing is changed and nothing but files and the environment is looked at.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use bytesize::ByteSize;
use detect::sigma::Place;

use super::mistake::{Mistake, MistakeKind, Mistakes};
use super::secret::{SecretSource, read_bounded};
use super::tree::{self, Spot};
use super::units::{FilePath, Size, Timespan};
use super::{Config, Routes, Source};
use least::Least;

#[cfg(feature = "kafka")]
mod kafka;
mod least;
mod routes;
mod sinks;
mod sources;
mod tls;

/// How the ids begin by which Masthead tells of itself.
const OWN_RULES: &str = "masthead";

/// Notes everything that is wrong or doubtful.
pub(super) fn check(config: &Config, spot: Spot<'_>, mistakes: &mut Mistakes) {
    general(config, spot, mistakes);
    addresses(config, spot, mistakes);
    sources::check(&config.sources, spot.at("sources"), mistakes);
    sinks::check(config, spot.at("sinks"), mistakes);
    routes::check(config, spot, mistakes);
    #[cfg(feature = "kafka")]
    if let Some(fleet) = &config.fleet {
        kafka::fleet(fleet, spot.at("fleet"), mistakes);
    }
}

impl Mistakes {
    fn add(&mut self, place: Place, kind: MistakeKind) {
        self.list.push(Mistake::new(place, kind));
    }

    /// What cannot be so, and what to do about it.
    fn contradict(&mut self, place: Place, message: impl Into<String>, advice: impl Into<String>) {
        self.add(place, MistakeKind::Contradiction { message: message.into(), advice: advice.into() });
    }

    /// Doubts routes for rules that do not exist. Notices of Masthead about itself count as rules.
    pub(crate) fn doubt_rules<'r>(&mut self, routes: &Routes, ids: impl Iterator<Item = &'r str>) {
        let ids: Vec<&str> = ids.collect();
        let Some(tree) = tree::read(&self.text, &mut Vec::new()) else { return };
        for (number, route) in routes.0.iter().enumerate() {
            for (index, pattern) in route.matcher.rule.0.iter().enumerate() {
                if !pattern.as_str().starts_with(OWN_RULES) && !ids.iter().any(|id| pattern.matches(id)) {
                    let spot = Spot::root(&tree).at("routes").item(number).at("match").at("rule").item(index);
                    self.doubt(spot.place, format!("no rule has the id `{}`", pattern.as_str()));
                }
            }
        }
    }

    /// What is allowed but probably not meant.
    fn doubt(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, MistakeKind::Doubtful { message: message.into() });
    }
}

fn general(config: &Config, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if config.state_dir.exists() && !config.state_dir.is_dir() {
        let message = format!("`{}` is not a folder", config.state_dir.display());
        mistakes.contradict(spot.at("state_dir").place, message, "name the folder that alerts are stored in");
    }
    let rules = spot.at("rules");
    let named = [
        ("paths", &config.rules.paths),
        ("lists", &config.rules.lists),
        ("pipelines", &config.rules.pipelines),
    ];
    for (key, paths) in named {
        for (index, path) in paths.iter().enumerate() {
            must_exist(path, rules.at(key).item(index), mistakes);
        }
    }
    if !config.rules.default && config.rules.paths.is_empty() {
        let advice = "add some by `paths`, or leave out `default: false`";
        mistakes.contradict(rules.at("default").place, "there are no rules to look for", advice);
    }
    let retention = spot.at("retention");
    must_last(config.retention.age, least::RETENTION_AGE, retention.at("age"), mistakes);
    must_hold(config.retention.size, least::RETENTION_SIZE, retention.at("size"), mistakes);
    must_last(config.checkpoint_every, least::CHECKPOINT_EVERY, spot.at("checkpoint_every"), mistakes);
    if !config.silence.cluster_after.0.is_zero() {
        let silence = spot.at("silence").at("cluster_after");
        must_last(config.silence.cluster_after, least::SILENCE, silence, mistakes);
    }
}

fn must_last(span: Timespan, least: Least<Timespan>, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if span < least.value {
        let text = humantime::format_duration(least.value.0);
        mistakes.contradict(spot.place, least.complaint, format!("give it at least `{text}`"));
    }
}

fn must_hold(size: Size, least: Least<Size>, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if size < least.value {
        let text = ByteSize::b(least.value.0).display().iec().to_string().replace(' ', "");
        mistakes.contradict(spot.place, least.complaint, format!("give it at least `{text}`"));
    }
}

fn must_exist(path: &Path, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if let Err(source) = std::fs::metadata(path) {
        mistakes.add(spot.place, MistakeKind::Unreadable { path: path.to_path_buf(), source });
    }
}

/// A file that is not secret.
fn must_be_readable(path: &FilePath, spot: Spot<'_>, mistakes: &mut Mistakes) -> Option<Vec<u8>> {
    match File::open(&path.0).and_then(read_bounded) {
        Ok(bytes) => Some(bytes),
        Err(source) => {
            mistakes.add(spot.place, MistakeKind::Unreadable { path: path.0.clone(), source });
            None
        }
    }
}

/// A secret that one of two keys names.
fn secret(source: Option<&SecretSource>, spot: Spot<'_>, keys: [&str; 2], mistakes: &mut Mistakes) {
    at_most_one(spot, &keys, mistakes);
    let Some(source) = source else { return };
    let [file, variable] = keys;
    let key = if source.file().is_some() { file } else { variable };
    if let Err(error) = source.read() {
        mistakes.add(spot.at(key).place, MistakeKind::Secret(error));
    }
}

/// Refuses several keys that say the same thing.
fn at_most_one(spot: Spot<'_>, keys: &[&str], mistakes: &mut Mistakes) {
    let mut given = keys.iter().filter(|key| spot.has(key));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let message = format!("`{first}` and `{second}` say the same thing");
        mistakes.contradict(spot.at(second).key, message, "keep one of them");
    }
}

/// Everything that listens must have an address of its own.
fn addresses(config: &Config, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let webhooks = config.sources.iter().filter_map(|(name, source)| match source {
        Source::Webhook(webhook) => Some((name, webhook.listen.0)),
        _ => None,
    });
    let listening = webhooks.map(|(name, address)| {
        (format!("source `{name}`"), address, spot.at("sources").at(name).at("listen").place)
    });
    let admin = ("`admin`".to_owned(), config.admin.listen.0, spot.at("admin").at("listen").place);
    let mut taken: HashMap<u16, Vec<(String, SocketAddr)>> = HashMap::new();
    for (who, address, place) in
        [admin].into_iter().chain(listening).filter(|(_, address, _)| address.port() != 0)
    {
        let others = taken.entry(address.port()).or_default();
        if let Some((other, _)) = others.iter().find(|(_, other)| is_same(*other, address)) {
            let message = format!("{who} and {other} listen on the same address");
            mistakes.contradict(place, message, "give each a port of its own");
        }
        others.push((who, address));
    }
}

/// An unspecified address is every address.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}
