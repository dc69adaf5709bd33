//! What every stage of parsing shares: the file's text, and the problems found so far.

use std::collections::HashMap;
use std::path::Path;

use super::error::{Label, RuleError, RuleErrorKind, Severity};
use super::yaml::Source;
use super::{Place, Setup};

/// How much one rule may hold when everything in it is spelled out, roughly in bytes:
/// `windash` multiplies values, and a condition may name a selection many times.
pub(super) const RULE_BYTES_MAX: usize = 16 << 20;
/// How much all rules of one file may hold, in the same way. The largest public collections
/// stay well below.
const FILE_BYTES_MAX: usize = 256 << 20;
/// How many problems of one file are told; whoever has more will come back.
pub(super) const PROBLEMS_MAX: usize = 1000;

/// The file that is being parsed.
pub(super) struct Context<'t> {
    pub(super) source: Source<'t>,
    /// What the user set up besides rules.
    pub(super) setup: &'t Setup,
    pub(super) problems: Vec<RuleError>,
    /// Where the values of an item stand, by the place of the item.
    pub(super) value_places: HashMap<Place, Vec<Place>>,
    /// The fields that the rule at hand reads, and where it names them.
    pub(super) fields: Vec<(Place, String)>,
    /// What the file, and what the rule at hand may still hold.
    file_bytes_left: usize,
    bytes_left: usize,
    bytes_granted: usize,
    is_exhausted: bool,
    error_count: usize,
    path: &'t Path,
}

impl<'t> Context<'t> {
    pub(super) fn new(path: &'t Path, text: &'t str, setup: &'t Setup) -> Self {
        Self {
            source: Source::new(text),
            setup,
            problems: Vec::new(),
            value_places: HashMap::new(),
            fields: Vec::new(),
            file_bytes_left: FILE_BYTES_MAX,
            bytes_left: RULE_BYTES_MAX,
            bytes_granted: RULE_BYTES_MAX,
            is_exhausted: false,
            error_count: 0,
            path,
        }
    }

    pub(super) fn path(&self) -> &'t Path {
        self.path
    }

    pub(super) fn report(&mut self, place: Place, kind: RuleErrorKind) {
        self.push(place, kind, None);
    }

    pub(super) fn report_with(&mut self, place: Place, kind: RuleErrorKind, label: Label) {
        self.push(place, kind, Some(label));
    }

    fn push(&mut self, place: Place, kind: RuleErrorKind, label: Option<Label>) {
        let mut problem = RuleError { path: self.path.to_owned(), place, kind, label };
        self.error_count += usize::from(problem.severity() == Severity::Error);
        if self.problems.len() == PROBLEMS_MAX {
            problem.kind = RuleErrorKind::Limit { what: "the number of problems", max: PROBLEMS_MAX };
        }
        if self.problems.len() <= PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// How many errors, warnings aside, have been found so far.
    pub(super) fn error_count(&self) -> usize {
        self.error_count
    }

    /// What the rule at hand may still hold, roughly in bytes.
    pub(super) fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    /// What the rule at hand holds since it was granted its share.
    pub(super) fn bytes_spent(&self) -> usize {
        self.bytes_granted - self.bytes_left
    }

    /// Forgets the rule before, and grants the next one its share of memory.
    pub(super) fn begin_rule(&mut self) {
        self.fields.clear();
        self.file_bytes_left -= self.bytes_spent();
        self.grant();
        self.is_exhausted = false;
    }

    /// Grants the rule at hand its share once more: what it held until now will be gone.
    pub(super) fn grant(&mut self) {
        self.bytes_granted = self.file_bytes_left.min(RULE_BYTES_MAX);
        self.bytes_left = self.bytes_granted;
    }

    /// Whether so much is wrong that looking for more is of no use.
    pub(super) fn is_hopeless(&self) -> bool {
        self.problems.len() > PROBLEMS_MAX
    }

    /// Takes from what the rule may hold; reports when nothing is left.
    pub(super) fn spend(&mut self, place: Place, bytes: usize) -> bool {
        if let Some(left) = self.bytes_left.checked_sub(bytes) {
            self.bytes_left = left;
            return true;
        }
        // Once is enough, however often more is asked for.
        if !self.is_exhausted {
            self.is_exhausted = true;
            let (what, max) = match self.bytes_granted {
                RULE_BYTES_MAX => ("the size of the rule", RULE_BYTES_MAX),
                _ => ("the size of all rules of the file", FILE_BYTES_MAX),
            };
            self.report(place, RuleErrorKind::Limit { what, max });
        }
        false
    }
}
