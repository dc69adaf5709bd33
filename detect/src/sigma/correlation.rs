//! Correlation documents: how matches of other rules relate in time.

use super::Place;

/// A relation between the matches of other rules.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// The rules whose matches are related, in the order in which they are listed.
    pub rules: Vec<Reference>,
    /// Whether those rules give alerts of their own besides.
    pub generate: bool,
}

/// A mention of a rule by id or name.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The id or name as written.
    pub text: String,
    /// Where it is mentioned.
    pub place: Place,
}
