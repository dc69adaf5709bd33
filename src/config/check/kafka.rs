//! Whether brokers of Kafka can be reached as configured, as far as that can be told offline.

use chrono::Utc;

use super::super::fleet::Fleet;
use super::super::kafka::{Connection, ConnectionError, KafkaTls, Mechanism, Sasl, bearer_token};
use super::super::mistake::{MistakeKind, Mistakes, told};
use super::super::sink::KafkaSink;
use super::super::tree::Spot;
use super::{secret, tls};

/// The largest message that is taken: more than brokers are set up for.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// The smallest largest message: below, hardly an alert would fit.
const MESSAGE_BYTES_MIN: u64 = 1 << 12;

/// How many partitions the topics of a fleet may have: each is an open file or more for a broker, and a
/// fleet has no use for more than it has clusters.
const FLEET_PARTITIONS_MAX: u32 = 1_000;

/// Notes what is wrong with a sink.
pub(super) fn sink(sink: &KafkaSink, spot: Spot<'_>, mistakes: &mut Mistakes) {
    connection(&sink.connection(), spot, mistakes);
    if !(MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&sink.message_max.0) {
        let advice = "`4KiB` to `64MiB`; the topic's `max.message.bytes` must be no less";
        mistakes.contradict(spot.at("message_max").place, "messages cannot have this size", advice);
    }
}

/// Notes what is wrong with a fleet.
pub(super) fn fleet(fleet: &Fleet, spot: Spot<'_>, mistakes: &mut Mistakes) {
    connection(&fleet.connection(), spot, mistakes);
    if !(1..=FLEET_PARTITIONS_MAX).contains(&fleet.partitions) {
        let advice = format!("1 to {FLEET_PARTITIONS_MAX}, and no fewer than there will be instances");
        mistakes.contradict(spot.at("partitions").place, "topics cannot have so many partitions", advice);
    }
}

/// Notes what is wrong with how brokers are reached.
pub(super) fn connection(connection: &Connection, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if connection.brokers.is_empty() {
        let advice = "name some, such as `kafka-0:9092`";
        mistakes.contradict(spot.at("brokers").place, "there are no brokers to ask", advice);
    }
    if let Some(files) = &connection.tls {
        certificates(files, spot.at("tls"), mistakes);
    }
    if let Some(own) = &connection.sasl {
        sasl(own, spot.at("sasl"), mistakes);
    }
    if connection.tls.is_none() && !connection.is_local() {
        unencrypted(connection, spot, mistakes);
    }
}

/// What is said where everything can be read on its way.
fn unencrypted(connection: &Connection, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let mechanism = connection.sasl.as_ref().map(|sasl| sasl.mechanism);
    match mechanism.filter(|mechanism| mechanism.sends_the_secret()) {
        Some(mechanism) if !connection.insecure => {
            let what = if mechanism == Mechanism::Plain { "the password" } else { "the token" };
            let message = format!("{what} could be read on its way");
            let advice = "add `tls: {}`, or say `insecure: true`";
            mistakes.contradict(spot.at("sasl").at("mechanism").place, message, advice);
        }
        _ if !connection.insecure => {
            let message = "without `tls`, messages can be read and forged on their way";
            mistakes.doubt(spot.at("brokers").place, message);
        }
        _ => {}
    }
}

fn certificates(files: &KafkaTls, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if let Some(path) = &files.ca_file {
        tls::authorities(path, spot.at("ca_file"), mistakes);
    }
    match (&files.certificate_file, &files.key_file) {
        (Some(certificate), Some(key)) => tls::own(certificate, key, spot, mistakes),
        (None, None) => {}
        (certificate, _) => {
            let key = if certificate.is_some() { "certificate_file" } else { "key_file" };
            let advice = "name both `certificate_file` and `key_file`, or neither";
            mistakes.contradict(
                spot.at(key).key,
                "a certificate without its key, or the other way round",
                advice,
            );
        }
    }
}

fn sasl(sasl: &Sasl, spot: Spot<'_>, mistakes: &mut Mistakes) {
    secret(sasl.password().as_ref(), spot, ["password_file", "password_env"], mistakes);
    let place = spot.at("mechanism").place;
    let has_password = sasl.user.as_ref().is_some_and(|user| !user.is_empty()) && sasl.password().is_some();
    let is_by_token = sasl.mechanism == Mechanism::OauthBearer;
    let mechanism = sasl.mechanism.as_str();
    if is_by_token && (sasl.user.is_some() || sasl.password().is_some() || sasl.token_file.is_none()) {
        let advice = "name `token_file` alone";
        mistakes.contradict(place, format!("`{mechanism}` takes a token, not a user"), advice);
    }
    if !is_by_token && (!has_password || sasl.token_file.is_some()) {
        let advice = "name `user` and `password_file` or `password_env`";
        mistakes.contradict(place, format!("`{mechanism}` takes a user and a password"), advice);
    }
    if sasl.user.as_ref().is_some_and(|user| user.contains('\0')) {
        mistakes.contradict(spot.at("user").place, "the user has a NUL in it", "leave it out");
    }
    if let Some(path) = &sasl.token_file
        && let Err(error) = bearer_token(path, Utc::now().timestamp())
    {
        let spot = spot.at("token_file");
        match error {
            ConnectionError::Secret(error) => mistakes.add(spot.place, MistakeKind::Secret(error)),
            // Whatever keeps it fresh may not have begun.
            error => mistakes.doubt(spot.place, told(&error)),
        }
    }
}
