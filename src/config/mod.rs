//! What `masthead run` is told in its one file.
//!
//! A [`Config`] that was loaded is understood completely: what it names was there, could be
//! read and fits together. All mistakes of a file are told at once, each at its place.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::{RuleChoice, SetupChoice};

mod check;
#[cfg(feature = "kafka")]
mod fleet;
#[cfg(feature = "kafka")]
mod kafka;
mod mistake;
mod read;
mod reader;
mod routes;
mod schema;
mod secret;
mod sink;
mod source;
mod tree;
mod units;
mod watch;

#[cfg(feature = "kafka")]
pub(crate) use fleet::Fleet;
#[cfg(feature = "kafka")]
pub(crate) use kafka::{Connection, ConnectionError, bearer_token};
pub(crate) use mistake::Mistakes;
pub(crate) use routes::Routes;
pub(crate) use schema::schema;
pub(crate) use secret::SecretSource;
pub(crate) use sink::{Batch, BatchForm, Format, HeaderValue, Http, Sink, Stdout};
#[cfg(feature = "kafka")]
pub(crate) use sink::{KafkaCompression, KafkaKey, KafkaSink};
#[cfg(feature = "kafka")]
pub(crate) use source::{ClusterFrom, KafkaSource};
pub(crate) use source::{FileSource, Limits, Source, StartAt, Webhook};
pub(crate) use units::{Address, FilePath, Name, Network, Size, Timespan};
pub(crate) use watch::Watch;

/// Where metrics are served unless told otherwise.
pub(crate) const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9881);

/// Masthead: watches audit logs of Kubernetes for attacks and tells people about them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Configuration of masthead")]
pub(crate) struct Config {
    /// The folder of what must survive a restart: alerts, positions, keys.
    pub(crate) state_dir: FilePath,
    /// Which rules are used, and what they are read with.
    pub(crate) rules: Rules,
    /// Where events come from, each under a name of its own. Without, a webhook on this machine alone.
    pub(crate) sources: BTreeMap<Name, Source>,
    /// Where alerts go, each under a name of its own. Without, to standard output.
    pub(crate) sinks: BTreeMap<Name, Sink>,
    /// Which alerts go to which sinks, asked in order: every route that matches sends the alert, until
    /// one says `stop`. Without routes, every sink gets every alert.
    pub(crate) routes: Routes,
    /// Metrics and health, for those who run Masthead.
    pub(crate) admin: Admin,
    /// Several instances that correlate together. Without, each correlates what it receives itself.
    #[cfg(feature = "kafka")]
    pub(crate) fleet: Option<Fleet>,
    /// How long alerts are kept. Those that a sink still waits for are kept longer.
    pub(crate) retention: Retention,
    /// When silence is an alert.
    pub(crate) silence: Silence,
    /// How often the stored alerts are signed.
    pub(crate) checkpoint_every: Timespan,
    /// What Masthead says about itself.
    pub(crate) log: Log,
    /// What is allowed but probably not meant, of a configuration from a file.
    #[serde(skip)]
    pub(crate) doubts: Option<Arc<Mistakes>>,
}

impl Config {
    /// Reads a file and checks it, with everything that it names.
    pub(crate) fn load(path: &Path) -> Result<Self, Mistakes> {
        read::load(path)
    }

    /// Where rules come from.
    pub(crate) fn rule_choice(&self) -> RuleChoice {
        let paths = |paths: &[FilePath]| paths.iter().map(|path| path.0.clone()).collect();
        RuleChoice {
            paths: paths(&self.rules.paths),
            no_default_rules: !self.rules.default,
            setup: SetupChoice { lists: paths(&self.rules.lists), pipelines: paths(&self.rules.pipelines) },
        }
    }

    /// Everything that the configuration is made of, its own file included: what a reload reads again.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let rules = &self.rules;
        let own = self.doubts.as_ref().map(|doubts| doubts.path.clone());
        let mut files: Vec<&Path> = [&rules.paths, &rules.lists, &rules.pipelines]
            .into_iter()
            .flatten()
            .map(|path| &**path)
            .collect();
        for source in self.sources.values() {
            match source {
                Source::Webhook(webhook) => files.extend(webhook.files()),
                Source::File(_) => {}
                #[cfg(feature = "kafka")]
                Source::Kafka(kafka) => files.extend(kafka.files()),
            }
        }
        for sink in self.sinks.values() {
            match sink {
                Sink::Http(http) => files.extend(http.files()),
                #[cfg(feature = "kafka")]
                Sink::Kafka(kafka) => files.extend(kafka.files()),
                Sink::Stdout(_) | Sink::File(_) => {}
            }
        }
        #[cfg(feature = "kafka")]
        files.extend(self.fleet.iter().flat_map(Fleet::files));
        own.into_iter().chain(files.into_iter().map(Path::to_path_buf)).collect()
    }

    /// Without sources or sinks, those that are useful at once.
    fn with_defaults(mut self) -> Self {
        if self.sources.is_empty() {
            self.sources.insert(Name::known("webhook"), Source::Webhook(Webhook::default()));
        }
        if self.sinks.is_empty() {
            self.sinks.insert(Name::known("stdout"), Sink::Stdout(Stdout::default()));
        }
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        let config = Self {
            state_dir: default_state_dir().into(),
            rules: Rules::default(),
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            routes: Routes::default(),
            admin: Admin::default(),
            #[cfg(feature = "kafka")]
            fleet: None,
            retention: Retention::default(),
            silence: Silence::default(),
            checkpoint_every: Timespan::seconds(3600),
            log: Log::default(),
            doubts: None,
        };
        config.with_defaults()
    }
}

/// The folder that systemd made for the service; else the user's own by the XDG rules; else
/// that of a system service.
pub(crate) fn default_state_dir() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user =
        || absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    absolute("STATE_DIRECTORY")
        .or_else(|| of_user().map(|state| state.join("masthead")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/masthead"))
}

/// Which rules are used, and what they are read with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    /// Whether the built-in rules are used.
    pub(crate) default: bool,
    /// Rules and filters of your own: files, or folders that are searched for `.yml` and `.yaml`.
    pub(crate) paths: Vec<FilePath>,
    /// Lists of your own: files `NAME.txt`, or folders of such.
    pub(crate) lists: Vec<FilePath>,
    /// Processing pipelines of pySigma, in order.
    pub(crate) pipelines: Vec<FilePath>,
    /// Proxies in front of the API server, whose word about the client's address is taken.
    pub(crate) proxies: Vec<Network>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            default: true,
            paths: Vec::new(),
            lists: Vec::new(),
            pipelines: Vec::new(),
            proxies: Vec::new(),
        }
    }
}

/// Metrics and health, for those who run Masthead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// The address and port of `/metrics`, `/healthz` and `/readyz`.
    pub(crate) listen: Address,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Address(ADMIN_LISTEN) }
    }
}

/// How long alerts are kept. Those that a sink still waits for are kept longer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    /// Until they are this old.
    pub(crate) age: Timespan,
    /// Until the store is this large.
    pub(crate) size: Size,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Timespan::seconds(90 * 24 * 3600), size: Size::mebibytes(10 << 10) }
    }
}

/// When silence is an alert.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Silence {
    /// How long a cluster may send nothing before that is an alert of its own; `0s` turns this off.
    pub(crate) cluster_after: Timespan,
}

impl Default for Silence {
    fn default() -> Self {
        Self { cluster_after: Timespan::seconds(600) }
    }
}

/// What Masthead says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// How it is written.
    pub(crate) format: LogFormat,
    /// What is urgent enough to be written.
    pub(crate) level: LogLevel,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum LogFormat {
    /// For people on a terminal, as JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is urgent enough for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[cfg(test)]
mod tests;
