//! What a rule says of itself beside what it looks for: tactic, techniques, audit level.

use detect::sigma::Rule;

use super::catalog::TACTICS;

/// The ATT&CK techniques among the tags, as `T1552.007`.
pub(crate) fn techniques(rule: &Rule) -> Vec<String> {
    let technique = |tag: &String| {
        let name = tag.strip_prefix("attack.t")?;
        name.starts_with(|first: char| first.is_ascii_digit()).then(|| format!("T{name}"))
    };
    rule.tags.iter().filter_map(technique).collect()
}

/// The tactic that the rule is filed under: that of its folder, if it has its tag, else the
/// first among the tags.
pub(crate) fn tactic(rule: &Rule) -> Option<&str> {
    let tactics = || {
        let names = rule.tags.iter().filter_map(|tag| tag.strip_prefix("attack."));
        names.filter(|name| TACTICS.contains(name))
    };
    let folder = rule.path.parent().and_then(|folder| folder.file_name());
    tactics().find(|tactic| folder.is_some_and(|folder| folder == *tactic)).or_else(|| tactics().next())
}

/// The technique of the Threat Matrix for Kubernetes.
pub(crate) fn threat_matrix(rule: &Rule) -> Option<&str> {
    custom(rule, "threat_matrix")
}

/// The audit level that a rule says it needs.
pub(crate) fn minimum_level(rule: &Rule) -> Option<&str> {
    custom(rule, "minimum_level")
}

fn custom<'r>(rule: &'r Rule, name: &str) -> Option<&'r str> {
    let (_, value) = rule.custom.iter().find(|(key, _)| key == name)?;
    value.as_str()
}
