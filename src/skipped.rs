//! What is not looked at because it is about other logs than the audit log.

use std::collections::BTreeMap;
use std::fmt;

use detect::sigma::Logsource;
use detect::summary::counted;

/// How many of the logs that rules are about are named.
const LOGS_MAX: usize = 5;

/// How many rules and filters are about which other log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    counts: BTreeMap<String, Counts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    rules: u64,
    filters: u64,
}

impl Skipped {
    /// Counts a rule.
    pub(crate) fn add_rule(&mut self, logsource: &Logsource) {
        self.of(logsource).rules += 1;
    }

    /// Counts a filter.
    pub(crate) fn add_filter(&mut self, logsource: &Logsource) {
        self.of(logsource).filters += 1;
    }

    /// Whether nothing was skipped.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn of(&mut self, logsource: &Logsource) -> &mut Counts {
        self.counts.entry(logsource.to_string().to_lowercase()).or_default()
    }
}

/// `skipped 3 rules about windows/process_creation, 1 rule and 1 filter about linux`.
impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: Vec<_> = self.counts.iter().collect();
        counts.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.rules + counts.filters));
        let described = |(logsource, counts): &(&String, &Counts)| format!("{counts} about {logsource}");
        let mut parts: Vec<String> = counts.iter().take(LOGS_MAX).map(described).collect();
        let rest = counts.iter().skip(LOGS_MAX).fold(Counts::default(), |sum, (_, counts)| Counts {
            rules: sum.rules + counts.rules,
            filters: sum.filters + counts.filters,
        });
        if rest != Counts::default() {
            parts.push(format!("{rest} about other logs"));
        }
        write!(formatter, "skipped {}", parts.join(", "))
    }
}

/// `3 rules and 1 filter`.
impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.rules, "rule"), (self.filters, "filter")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, noun)| counted(count, noun)).collect();
        formatter.write_str(&parts.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(product: &str, category: Option<&str>) -> Logsource {
        Logsource { product: Some(product.to_owned()), category: category.map(str::to_owned), service: None }
    }

    #[test]
    fn the_most_skipped_logs_come_first() {
        let mut skipped = Skipped::default();
        skipped.add_rule(&about("linux", None));
        skipped.add_filter(&about("linux", None));
        (0..3).for_each(|_| skipped.add_rule(&about("Windows", Some("process_creation"))));
        let expected = "skipped 3 rules about windows/process_creation, 1 rule and 1 filter about linux";
        assert_eq!(skipped.to_string(), expected);
    }

    #[test]
    fn many_logs_are_summed_up() {
        let mut skipped = Skipped::default();
        (0..8).for_each(|number| skipped.add_rule(&about(&format!("product{number}"), None)));
        assert!(skipped.to_string().ends_with("about product4, 3 rules about other logs"), "{skipped}");
    }
}
