//! The command line: the one source of the help, the man page and the completions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use detect::sigma::Level;
use ipnet::IpNet;

use crate::config::Address;

/// How many threads a replay may have: each holds some chunks of a log.
pub(crate) const THREADS_MAX: u16 = 256;

/// Finds attacks and careless hands in Kubernetes audit logs
///
/// Masthead reads what the API server says was done to a cluster and tells people, in a
/// sentence each, what deserves a look. The detection rules are built in.
#[derive(Debug, Parser)]
#[command(name = "masthead", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,

    /// When to use colours; `auto` is on a terminal, unless `NO_COLOR` is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t = Color::Auto,
        display_order = 900
    )]
    pub(crate) color: Color,
}

const EXAMPLES: &str = "\
Examples:
  masthead run                                watch: receive audit events, print alerts
  masthead replay audit.log                   look through a log with the built-in rules
  masthead replay /var/log/kubernetes/audit/  rotated and compressed files too
  masthead check my-rules/                    find the mistakes in your own rules
  masthead explain command_run_in_pod         what a rule looks for

Exit codes: 0 fine; 1 findings (--fail-on, failed tests, tampering); 2 usage or rule error;
3 could not read everything, listen or write the result; 130 interrupted.";

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub(crate) enum Command {
    Run(Run),
    Replay(Replay),
    Check(Check),
    Test(Test),
    Rules(Rules),
    Explain(Explain),
    Alerts(Alerts),
    Completions(Completions),
    /// Writes the manual page
    #[command(after_help = "Examples:\n  masthead man > /usr/local/share/man/man1/masthead.1")]
    Man,
}

/// Watches clusters: receives their audit events and tells of attacks as they happen
///
/// Point the API server's audit webhook at `http://HOST:9880/audit/NAME-OF-THE-CLUSTER`. A batch is
/// answered with 200 only when every alert it gives is on disk. Without a configuration it listens
/// on loopback, uses the built-in rules and prints alerts.
#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct Run {
    /// The configuration; what is said here wins over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where to listen for API servers [default: 127.0.0.1:9880]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<Address>,

    /// Where to answer for metrics and health [default: 127.0.0.1:9881]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<Address>,

    /// Where alerts are kept [default: the XDG state folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Where rules come from
    #[command(flatten)]
    pub(crate) choice: RuleChoice,

    /// Proxies in front of the API server, whose word about the client's address is taken
    #[arg(long = "proxy", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub(crate) proxies: Vec<IpNet>,

    /// How to print alerts to standard output; `auto` is as configured, else text on a terminal and JSON Lines in a pipe
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
}

const RUN_EXAMPLES: &str = "\
Examples:
  masthead run
  masthead run --listen 127.0.0.1:9999 --state-dir ./state
  masthead run --config /etc/masthead/masthead.yml
  curl --data-binary @audit.log http://127.0.0.1:9880/audit/my-cluster

SIGHUP reads rules, configuration and certificates again; SIGTERM ends it when everything
received has been dealt with, a second one at once: what was acknowledged is durable.";

/// Shows what `masthead run` has stored, whether it is running or not
#[derive(Debug, Args)]
#[command(after_help = ALERTS_EXAMPLES)]
pub(crate) struct Alerts {
    /// What to do with the alerts
    #[command(subcommand)]
    pub(crate) action: AlertsAction,

    /// Where alerts are kept [default: the XDG state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// The configuration of `masthead run`, whose `state_dir` is meant unless `--state-dir` says another
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What to do with stored alerts.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub(crate) enum AlertsAction {
    /// Lists alerts, oldest first
    List(AlertsList),
    /// Prints one alert, with its event, as JSON
    Show {
        /// The beginning of its id; if none begins so, of the audit id of a request, all of whose alerts are meant
        id: String,
    },
    Verify(Verify),
    /// Prints the latest signed checkpoint, to be kept elsewhere
    Checkpoint,
    /// Lists what was received and is no event, as JSON Lines
    Quarantine,
    /// Lists what sinks refused for good, when and why, as JSON Lines
    ///
    /// `curl -X POST http://127.0.0.1:9881/sinks/NAME/replay` has it sent again.
    Dead,
}

/// Finds alerts that were changed, removed, inserted or reordered behind Masthead's back
///
/// Everything is checked against the signed checkpoints in the store. Whoever has the signing key can
/// rewrite both; only a checkpoint that was kept elsewhere shows that: name it.
/// Ends with exit code 1 if something was tampered with.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A checkpoint that was kept elsewhere; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Vec<PathBuf>,

    /// The verification key that was kept elsewhere, instead of believing the one in the state folder
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

/// Which alerts to list, and how.
#[derive(Debug, Args)]
pub(crate) struct AlertsList {
    /// How to write alerts; `auto` is text on a terminal and JSON Lines in a pipe
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,

    /// Only alerts of this level and above
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LevelName::Informational)]
    pub(crate) min_level: LevelName,

    /// Only alerts of this cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<u64>,
}

const ALERTS_EXAMPLES: &str = "\
Examples:
  masthead alerts list
  masthead alerts list --min-level high --format jsonl | jq -r .summary
  masthead alerts list --config /etc/masthead/masthead.yml --last 5
  masthead alerts show 98fbcc2a    what `list` says of an id (this one is of deploy/demo/audit.log)
  masthead alerts checkpoint > checkpoint-2026-11.txt
  masthead alerts verify --checkpoint checkpoint-2026-11.txt";

/// Looks for attacks in recorded audit logs
///
/// Alerts go to standard output as they are found, the summary to standard error.
/// Reads JSON Lines, arrays and event lists, plain or compressed with gzip or zstd, also as Fluent Bit,
/// Vector, Elastic's agents, syslog, Azure, AWS and Google Cloud wrap them.
/// Malformed items beside events are counted; an input with malformed items alone is an error.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(crate) struct Replay {
    /// Files, folders or glob patterns; `-` or nothing for standard input
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// How to write alerts; `auto` is text on a terminal and JSON Lines in a pipe
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,

    /// Where rules come from
    #[command(flatten)]
    pub(crate) choice: RuleChoice,

    /// Whose log this is; part of what makes a request the same request
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) cluster: String,

    /// Proxies in front of the API server, whose word about the client's address is taken
    #[arg(long = "proxy", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub(crate) proxies: Vec<IpNet>,

    /// Leave the event itself out of the alerts
    #[arg(long)]
    pub(crate) no_event: bool,

    /// Print only alerts of this level and above
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LevelName::Informational)]
    pub(crate) min_level: LevelName,

    /// End with exit code 1 if there was an alert of this level or above
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) fail_on: Option<LevelName>,

    /// How many threads to read with, 1 to 256; by default as many as the machine runs at once
    ///
    /// The alerts and their order are the same for any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(THREADS_MAX)))]
    pub(crate) threads: Option<u16>,

    /// Neither summary nor progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

const REPLAY_EXAMPLES: &str = "\
Examples:
  masthead replay audit.log
  masthead replay audit.log audit-2026-03-01.log.gz 'old/*.zst'
  kubectl logs -n kube-system audit-tail | masthead replay -
  masthead replay --format jsonl audit.log | jq -r .summary
  masthead replay --rules my-rules/ --fail-on high audit.log
  masthead replay --rules my-filters/ --lists trusted_images.txt audit.log
  masthead replay --pipeline fields.yml --rules their-rules/ audit.log";

/// Where rules come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RuleChoice {
    /// Rules and filters to add: a file, or a folder that is searched for `.yml` and `.yaml`; repeatable
    #[arg(long = "rules", id = "rules", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Leave out the built-in rules
    #[arg(long)]
    pub(crate) no_default_rules: bool,

    /// What rules are read with
    #[command(flatten)]
    pub(crate) setup: SetupChoice,
}

/// What rules are read with.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SetupChoice {
    /// Lists to add to: a file `NAME.txt`, or a folder of such; repeatable
    #[arg(long, value_name = "PATH")]
    pub(crate) lists: Vec<PathBuf>,

    /// A pySigma processing pipeline that changes rules before they are used; repeatable, in order
    #[arg(long = "pipeline", id = "pipeline", value_name = "FILE")]
    pub(crate) pipelines: Vec<PathBuf>,
}

/// Finds the mistakes in rules and configurations
///
/// Reports every mistake of every file at its place. Rules that can never match are
/// warnings; rules about other logs than that of Kubernetes are counted and skipped.
/// Filters may name built-in rules. A configuration is checked with all that it names:
/// rules, certificates, keys, tokens; nothing is listened on and nothing is sent.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// Rule files or folders; the built-in rules if there are none
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// What rules are read with
    #[command(flatten)]
    pub(crate) setup: SetupChoice,

    /// A configuration of `masthead run`, instead of rules
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "lists", "pipeline"])]
    pub(crate) config: Option<PathBuf>,

    /// Write the JSON Schema of configurations, for editors
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,

    /// How to write the problems; `auto` is text, whether on a terminal or in a pipe
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  masthead check
  masthead check my-rules/ --lists my-lists/
  masthead check my-rules/ --format jsonl
  masthead check --config /etc/masthead/masthead.yml
  masthead check --schema > masthead.schema.json";

/// Tests rules against the example events beside them
///
/// The examples of `name.yml` are in `name.events.jsonl`, one a line: an event, or for a
/// correlation several, with whether the rule is to match and why.
#[derive(Debug, Args)]
#[command(after_help = TEST_EXAMPLES)]
pub(crate) struct Test {
    /// Rule files or folders; the built-in rules if there are none
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// What rules are read with
    #[command(flatten)]
    pub(crate) setup: SetupChoice,

    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

const TEST_EXAMPLES: &str = r#"Examples:
  masthead test
  masthead test my-rules/ --junit report.xml

A line of example events:
  {"match": true, "why": "a person with kubectl", "event": {"verb": "get", …}}

The same for a correlation, with several events:
  {"match": true, "why": "ten names", "events": [{"event": {…}, "times": 10, "after": "5s"}]}"#;

/// Lists the rules, what they cover, or the fields that rules can use
#[derive(Debug, Args)]
#[command(after_help = RULES_EXAMPLES)]
pub(crate) struct Rules {
    /// How to write the list; `auto` is a table on a terminal and JSON Lines in a pipe. `json` is one
    /// document, with `--coverage` a layer of the ATT&CK Navigator
    #[arg(long, value_enum, default_value_t = ListFormat::Auto)]
    pub(crate) format: ListFormat,

    /// List the computed fields instead of the rules
    #[arg(long)]
    pub(crate) fields: bool,

    /// List the techniques of ATT&CK and of the Threat Matrix for Kubernetes, and which of them rules
    /// are about; runs the example events beside each rule
    #[arg(long, conflicts_with = "fields")]
    pub(crate) coverage: bool,

    /// Where rules come from
    #[command(flatten)]
    pub(crate) choice: RuleChoice,
}

const RULES_EXAMPLES: &str = "\
Examples:
  masthead rules
  masthead rules --fields
  masthead rules --format jsonl
  masthead rules --coverage
  masthead rules --coverage --format json > layer.json";

/// Says what a rule looks for, and why it did or did not match
///
/// Of a correlation, which relates several events, it says how far each of its windows got in a
/// log, and what alerts it gave.
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct Explain {
    /// The id, name, title or file name of a rule, or the path of a rule file
    pub(crate) rule: String,

    /// A file with one audit event, or for a correlation a log; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,

    /// Proxies in front of the API server, whose word about the client's address is taken
    #[arg(long = "proxy", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub(crate) proxies: Vec<IpNet>,

    /// Where rules come from
    #[command(flatten)]
    pub(crate) choice: RuleChoice,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  masthead explain command_run_in_pod
  masthead explain command_run_in_pod --event event.json
  tail -n 1 audit.log | masthead explain command_run_in_pod --event -
  masthead explain many_secrets_read --event audit.log";

/// Writes a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  masthead completions bash > /etc/bash_completion.d/masthead\n  masthead completions fish > ~/.config/fish/completions/masthead.fish"
)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

// The values below have no help of their own, which would make a page of each option.

#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Auto,
    Jsonl,
    Text,
}

#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    Auto,
    Json,
    Jsonl,
    Markdown,
    Text,
}

/// A level by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub(crate) enum LevelName {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl From<LevelName> for Level {
    fn from(name: LevelName) -> Level {
        match name {
            LevelName::Informational => Level::Informational,
            LevelName::Low => Level::Low,
            LevelName::Medium => Level::Medium,
            LevelName::High => Level::High,
            LevelName::Critical => Level::Critical,
        }
    }
}

/// Reads a network, or an address as the network of itself.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "neither an address nor a network such as `10.0.0.0/8`".to_owned())
}
