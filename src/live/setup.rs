//! What a run is told: the configuration and the command line, and the rules they name.

use std::io;
use std::path::PathBuf;

use anyhow::bail;
use detect::field::Settings;
use detect::sigma::{Rule, Severity};
use ipnet::IpNet;

use crate::args::{RuleChoice, Run};
use crate::config::{Config, Format, Mistakes, Sink, Source, Stdout};
use crate::loading::{self, Loaded};
use crate::{args, files, report};

/// Everything that a run is told, understood.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) rules: Vec<Rule>,
    pub(crate) settings: Settings,
    /// What all of this was read from: when it changes, it is to be read again.
    pub(crate) files: Vec<PathBuf>,
}

/// Why a run cannot be told like this.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(Box<Mistakes>),
    /// The rules have mistakes.
    #[error("{}", short(.0))]
    Rules(Box<Loaded>),
    /// A file cannot be read, or what was said makes no sense.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Setup {
    /// Reads the configuration and the rules; what the command line says wins.
    pub(crate) fn read(args: &Run) -> Result<Self, SetupError> {
        let mut config = match &args.config {
            Some(path) => Config::load(path).map_err(|mistakes| SetupError::Config(Box::new(mistakes)))?,
            None => Config::default(),
        };
        overrule(&mut config, args)?;
        let choice = choice(&config, &args.choice);
        let loaded = loading::load(files::chosen(&choice).map_err(anyhow::Error::from)?);
        if loaded.count(Severity::Error) > 0 {
            return Err(SetupError::Rules(Box::new(loaded)));
        }
        let proxies: Vec<IpNet> = config.rules.proxies.iter().map(|network| network.0).collect();
        let settings = loaded.settings(&[args.proxies.clone(), proxies].concat());
        let rules = loaded.into_rules();
        if rules.is_empty() {
            return Err(
                anyhow::anyhow!("no rules to look for: add some, or leave out `--no-default-rules`").into()
            );
        }
        let own = [&choice.paths, &choice.setup.lists, &choice.setup.pipelines];
        let mut files: Vec<PathBuf> = own.into_iter().flatten().cloned().collect();
        files.extend(config.files());
        Ok(Self { config, rules, settings, files })
    }
}

/// Lets the command line win over the configuration.
fn overrule(config: &mut Config, args: &Run) -> anyhow::Result<()> {
    if let Some(folder) = &args.state_dir {
        config.state_dir = folder.clone().into();
    }
    if let Some(address) = args.admin_listen {
        config.admin.listen = address;
    }
    if let Some(address) = args.listen {
        let mut webhooks = config.sources.values_mut().filter_map(|source| match source {
            Source::Webhook(webhook) => Some(webhook),
            _ => None,
        });
        match (webhooks.next(), webhooks.next()) {
            (Some(webhook), None) => webhook.listen = address,
            (None, _) => bail!("`--listen` says where a webhook listens, but the configuration has none"),
            (Some(_), Some(_)) => bail!("`--listen` does not say which of several webhooks it means"),
        }
    }
    let format = match args.format {
        args::Format::Auto => return Ok(()),
        args::Format::Jsonl => Format::Jsonl,
        args::Format::Text => Format::Text,
    };
    for sink in config.sinks.values_mut() {
        if let Sink::Stdout(stdout) = sink {
            *stdout = Stdout { format };
        }
    }
    Ok(())
}

/// Where rules come from: the configuration, and what the command line adds.
fn choice(config: &Config, args: &RuleChoice) -> RuleChoice {
    let RuleChoice { mut paths, no_default_rules, mut setup } = config.rule_choice();
    paths.extend(args.paths.iter().cloned());
    setup.lists.extend(args.setup.lists.iter().cloned());
    setup.pipelines.extend(args.setup.pipelines.iter().cloned());
    RuleChoice { paths, no_default_rules: no_default_rules || args.no_default_rules, setup }
}

/// The first mistake of rules with its place, and how many more there are.
fn short(loaded: &Loaded) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _: io::Result<()> = report::write_short(&mut text, loaded, Severity::Error);
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    match lines.count() {
        0 => first.to_owned(),
        more => format!("{first} (and {more} more)"),
    }
}
