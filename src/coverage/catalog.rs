//! The techniques that coverage is measured against, so that what is missing shows.

/// The tactics of ATT&CK in its order. The Threat Matrix for Kubernetes has ten of them.
pub(crate) const TACTICS: [&str; 14] = [
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
];

/// The version of ATT&CK that names and tactics are taken from.
pub(crate) const ATTACK_VERSION: &str = "18";

const TABLE: &str = include_str!("techniques.tsv");

/// A technique of either matrix.
#[derive(Debug)]
pub(crate) struct Technique {
    /// Such as `T1552.007` or `MS-TA9025`.
    pub(crate) id: &'static str,
    /// As its matrix calls it.
    pub(crate) name: &'static str,
    /// Those it belongs to.
    pub(crate) tactics: Vec<&'static str>,
    /// Why requests to the API server do not show it by themselves, if they do not.
    pub(crate) unseen: Option<&'static str>,
}

/// The techniques of both matrices.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// MITRE ATT&CK, by number.
    pub(crate) attack: Vec<Technique>,
    /// The Threat Matrix for Kubernetes, by number.
    pub(crate) threat_matrix: Vec<Technique>,
}

impl Catalog {
    /// Reads the table in the binary.
    pub(crate) fn new() -> Self {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).skip(1);
        let (threat_matrix, attack) =
            lines.filter_map(Technique::parse).partition(|technique| technique.id.starts_with("MS-"));
        Self { attack, threat_matrix }
    }

    /// The technique of an id.
    pub(crate) fn find(&self, id: &str) -> Option<&Technique> {
        self.attack.iter().chain(&self.threat_matrix).find(|technique| technique.id == id)
    }
}

impl Technique {
    fn parse(line: &'static str) -> Option<Self> {
        let mut columns = line.split('\t');
        let (id, name, tactics) = (columns.next()?, columns.next()?, columns.next()?);
        let unseen = columns.next().filter(|reason| !reason.is_empty());
        Some(Self { id, name, tactics: tactics.split(',').collect(), unseen })
    }
}

/// A tactic as people write it: `Credential access`.
pub(crate) fn tactic_name(tactic: &str) -> String {
    let mut name = tactic.replace('-', " ");
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_line_of_the_table_is_whole() {
        let catalog = Catalog::new();
        let all: Vec<&Technique> = catalog.attack.iter().chain(&catalog.threat_matrix).collect();
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count() - 1;
        assert_eq!(all.len(), lines);
        assert_eq!(all.iter().map(|technique| technique.id).collect::<HashSet<_>>().len(), lines);
        for technique in all {
            let digits = technique.id.strip_prefix("MS-TA").or(technique.id.strip_prefix('T')).unwrap();
            assert!(digits.chars().all(|c| c.is_ascii_digit() || c == '.'), "{}", technique.id);
            assert!(!technique.name.is_empty(), "{}", technique.id);
            for tactic in &technique.tactics {
                assert!(TACTICS.contains(tactic), "{}: {tactic}", technique.id);
            }
        }
    }

    #[test]
    fn a_tactic_has_a_name_for_people() {
        assert_eq!(tactic_name("credential-access"), "Credential access");
        assert_eq!(tactic_name(""), "");
    }
}
