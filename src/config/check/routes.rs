//! Whether each route can match, and leads somewhere.

use detect::sigma::Place;

use super::super::mistake::{MistakeKind, Mistakes};
use super::super::routes::{Pattern, Route};
use super::super::tree::Spot;
use super::super::{Config, Source};

/// Notes routes that lead nowhere and sinks that none leads to.
pub(super) fn check(config: &Config, root: Spot<'_>, mistakes: &mut Mistakes) {
    let spot = root.at("routes");
    let clusters = clusters(config);
    let routes = &config.routes.0;
    for (number, route) in routes.iter().enumerate() {
        let own = spot.item(number);
        destinations(config, route, own, mistakes);
        if let Some(clusters) = &clusters {
            known_clusters(route, clusters, own.at("match").at("cluster"), mistakes);
        }
        let earlier = routes.iter().take(number);
        let stops =
            earlier.enumerate().find(|(_, earlier)| earlier.stop && earlier.matcher.covers(&route.matcher));
        if let Some((earlier, _)) = stops {
            let line = line_of(spot.item(earlier).place);
            let message =
                format!("this route never gets an alert: the one in {line} takes them all and stops");
            mistakes.contradict(own.place, message, "put it before that one, or take it out");
        }
    }
    unreached(config, root.at("sinks"), mistakes);
}

fn line_of(place: Place) -> String {
    format!("line {}", place.line)
}

fn destinations(config: &Config, route: &Route, spot: Spot<'_>, mistakes: &mut Mistakes) {
    for (index, sink) in route.to.iter().enumerate().filter(|(_, sink)| !config.sinks.contains_key(*sink)) {
        let known = config.sinks.keys().map(ToString::to_string).collect();
        let kind = MistakeKind::NoSuch { what: "sink", name: sink.to_string(), known };
        mistakes.add(spot.at("to").item(index).place, kind);
    }
    if route.to.is_empty() && !route.stop {
        let advice = "name sinks in `to`, or say `stop: true` if such alerts are only to be stored";
        mistakes.contradict(spot.place, "this route does nothing", advice);
    }
}

/// The clusters that events can be of, if all are known.
fn clusters(config: &Config) -> Option<Vec<String>> {
    let mut known = Vec::new();
    for source in config.sources.values() {
        match source {
            Source::File(files) => known.push(files.cluster.to_string()),
            #[cfg(feature = "kafka")]
            Source::Kafka(kafka) if kafka.cluster_from.is_some() => return None,
            #[cfg(feature = "kafka")]
            Source::Kafka(kafka) => {
                known.push(kafka.cluster.as_ref().map_or("default", |name| name).to_owned());
            }
            Source::Webhook(webhook) => {
                let client_clusters = webhook.tls.as_ref().filter(|tls| tls.client_ca_file.is_some());
                let client_clusters = client_clusters.map(|tls| &tls.client_clusters);
                let is_open = match client_clusters {
                    Some(clusters) => clusters.is_empty(),
                    None => webhook.tokens.is_empty(),
                };
                if is_open {
                    return None;
                }
                known.extend(
                    client_clusters
                        .into_iter()
                        .flat_map(|clusters| clusters.values())
                        .map(ToString::to_string),
                );
                known.extend(webhook.tokens.iter().map(|token| token.cluster.to_string()));
            }
        }
    }
    Some(known)
}

fn known_clusters(route: &Route, clusters: &[String], spot: Spot<'_>, mistakes: &mut Mistakes) {
    let is_unknown = |pattern: &Pattern| !clusters.iter().any(|cluster| pattern.matches(cluster));
    for (index, pattern) in
        route.matcher.cluster.0.iter().enumerate().filter(|(_, pattern)| is_unknown(pattern))
    {
        let name = pattern.as_str().to_owned();
        let kind = MistakeKind::NoSuch { what: "cluster", name, known: clusters.to_vec() };
        mistakes.add(spot.item(index).place, kind);
    }
}

fn unreached(config: &Config, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let routes = &config.routes.0;
    for name in config.sinks.keys() {
        if !routes.is_empty() && !routes.iter().any(|route| route.to.contains(name)) {
            mistakes.doubt(spot.at(name).key, format!("no route leads to sink `{name}`"));
        }
    }
}
