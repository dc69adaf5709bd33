//! Coverage as a layer of the ATT&CK Navigator, format 4.5.

use serde::Serialize;
use sinks::palette::level_name;

use super::catalog::{ATTACK_VERSION, Catalog};
use super::{Coverage, Covering, State};

/// The oldest Navigator that reads the format.
const NAVIGATOR_VERSION: &str = "4.9.0";

/// A layer, as the Navigator opens it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layer {
    name: &'static str,
    versions: Versions,
    domain: &'static str,
    description: String,
    sorting: u8,
    hide_disabled: bool,
    techniques: Vec<LayerTechnique>,
    gradient: Gradient,
    legend_items: Vec<LegendItem>,
    metadata: Vec<Metadata>,
}

#[derive(Serialize)]
struct Versions {
    attack: &'static str,
    navigator: &'static str,
    layer: &'static str,
}

/// Without `tactic`: it shows below each of its tactics.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerTechnique {
    #[serde(rename = "techniqueID")]
    technique_id: String,
    score: u8,
    color: &'static str,
    comment: String,
    enabled: bool,
    metadata: Vec<Metadata>,
    links: Vec<Link>,
    show_subtechniques: bool,
}

#[derive(Serialize)]
struct Metadata {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Link {
    label: &'static str,
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gradient {
    colors: [&'static str; 3],
    min_value: u8,
    max_value: u8,
}

#[derive(Serialize)]
struct LegendItem {
    label: &'static str,
    color: &'static str,
}

impl State {
    fn score(self) -> u8 {
        match self {
            Self::NoRule => 0,
            Self::Rule => 50,
            Self::Proven => 100,
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::NoRule => "#d9d9d9",
            Self::Rule => "#fdd49e",
            Self::Proven => "#74c476",
        }
    }
}

impl Layer {
    /// The layer that shows what rules cover.
    pub(crate) fn new(coverage: &Coverage, catalog: &Catalog) -> Self {
        let known = coverage.of(&catalog.attack);
        let known = known.iter().map(|covered| {
            let unseen = covered.technique.unseen.filter(|_| covered.rules.is_empty());
            LayerTechnique::new(covered.technique.id, covered.state(), &covered.rules, unseen)
        });
        let others = coverage.others(catalog).into_iter().filter(|(id, _)| id.starts_with('T'));
        let others = others.map(|(id, rules)| LayerTechnique::new(id, state_of(&rules), &rules, None));
        let states = [State::NoRule, State::Rule, State::Proven];
        Self {
            name: "Masthead",
            versions: Versions { attack: ATTACK_VERSION, navigator: NAVIGATOR_VERSION, layer: "4.5" },
            domain: "enterprise-attack",
            description: "What Masthead's rules find in Kubernetes audit logs. 100: a rule with events that \
                          prove it; 50: a rule; 0: no rule."
                .to_owned(),
            sorting: 3,
            hide_disabled: false,
            techniques: known.chain(others).collect(),
            gradient: Gradient { colors: states.map(State::color), min_value: 0, max_value: 100 },
            legend_items: states.map(|state| LegendItem { label: state.name(), color: state.color() }).into(),
            metadata: vec![threat_matrix(coverage, catalog)],
        }
    }
}

fn state_of(rules: &[&Covering]) -> State {
    if rules.iter().any(|rule| rule.is_proven) { State::Proven } else { State::Rule }
}

/// The other matrix has no place in a layer but its totals.
fn threat_matrix(coverage: &Coverage, catalog: &Catalog) -> Metadata {
    let covered = coverage.of(&catalog.threat_matrix);
    let with_rules = covered.iter().filter(|covered| !covered.rules.is_empty()).count();
    Metadata {
        name: "Threat Matrix for Kubernetes",
        value: format!("rules for {with_rules} of {} techniques", covered.len()),
    }
}

impl LayerTechnique {
    fn new(id: &str, state: State, rules: &[&Covering], unseen: Option<&str>) -> Self {
        let comment = match (rules.len(), unseen) {
            (0, None) => state.name().to_owned(),
            (0, Some(reason)) => format!("no rule: {reason}"),
            (1, _) => "1 rule".to_owned(),
            (count, _) => format!("{count} rules"),
        };
        let metadata = rules.iter().map(|rule| Metadata {
            name: level_name(rule.level),
            value: if rule.is_proven { rule.title.clone() } else { format!("{} (no events)", rule.title) },
        });
        Self {
            technique_id: id.to_owned(),
            score: state.score(),
            color: state.color(),
            comment,
            enabled: true,
            metadata: metadata.collect(),
            links: vec![Link {
                label: "ATT&CK",
                url: format!("https://attack.mitre.org/techniques/{}", id.replace('.', "/")),
            }],
            show_subtechniques: true,
        }
    }
}
