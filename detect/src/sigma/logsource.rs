//! Which rules are about the audit log, and what about it.

use std::fmt;

use super::Logsource;

/// What of the audit log a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Requests, field by field as the API server logs them: `service: audit`.
    Requests,
    /// Event objects (`Pulled`, `FailedScheduling`, …), which the log shows as they are
    /// written: `service: events`.
    EventObjects,
}

impl Logsource {
    /// What of the audit log is meant; nothing when it is another log. What is left out
    /// restricts nothing. `category: application` is the one that Sigma gives Kubernetes.
    pub fn subject(&self) -> Option<Subject> {
        let is = |part: &Option<String>, name: &str| {
            part.as_ref().is_none_or(|text| text.eq_ignore_ascii_case(name))
        };
        if !is(&self.product, "kubernetes") || !is(&self.category, "application") {
            None
        } else if is(&self.service, "audit") {
            Some(Subject::Requests)
        } else {
            is(&self.service, "events").then_some(Subject::EventObjects)
        }
    }

    /// Whether everything that this one says is also said by the other.
    pub fn contains(&self, other: &Logsource) -> bool {
        let agrees = |mine: &Option<String>, theirs: &Option<String>| match (mine, theirs) {
            (None, _) => true,
            (Some(mine), Some(theirs)) => mine.eq_ignore_ascii_case(theirs),
            (Some(_), None) => false,
        };
        agrees(&self.product, &other.product)
            && agrees(&self.service, &other.service)
            && agrees(&self.category, &other.category)
    }
}

/// `windows/process_creation`: product, category and service, as far as they are given.
impl fmt::Display for Logsource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.product, &self.category, &self.service];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        formatter.write_str(&parts.join("/"))
    }
}
