//! Whether sources can be set up, and who may send to them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ingest::follow::{FollowError, FollowOptions, Follower};

use super::super::mistake::{MistakeKind, Mistakes, told};
use super::super::source::{FileSource, Limits, Source, Token, Webhook};
use super::super::tree::Spot;
use super::super::units::Name;
use super::{at_most_one, must_last, tls};

/// What says the hash of a token.
const HASH_KEYS: [&str; 3] = ["sha256", "sha256_file", "sha256_env"];

/// Notes what is wrong with sources.
pub(super) fn check(sources: &BTreeMap<Name, Source>, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let mut followed: HashMap<&Path, &Name> = HashMap::new();
    for (name, source) in sources {
        let spot = spot.at(name);
        match source {
            Source::Webhook(source) => webhook(source, spot, mistakes),
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
    let amounts = [
        ("connections", u64::from(limits.connections)),
        ("requests", u64::from(limits.requests)),
        ("memory", limits.memory.0),
        ("body", limits.body.0),
        ("decoded", limits.decoded.0),
    ];
    for (key, _) in amounts.into_iter().filter(|(_, amount)| *amount == 0) {
        mistakes.contradict(spot.at(key).place, "nothing could be received", "allow some");
    }
    must_last(limits.connection_age, spot.at("connection_age"), mistakes);
}
