//! What holds across files: rules that are mentioned by others.

use std::collections::HashMap;

use super::Rule;
use super::error::RuleErrorKind as Kind;
use super::nearest::nearest;

/// The rules by what they may be called in other documents: their id, or their name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Ids without dashes, since both spellings mean the same rule.
    ids: HashMap<String, usize>,
    /// Names with all rules that bear them: one is only a problem when it is mentioned.
    names: HashMap<String, Vec<usize>>,
    /// Every id and name as written, in the order of the rules, for suggestions.
    spellings: Vec<String>,
    /// Titles, by which nobody may refer to a rule but somebody will try.
    titles: HashMap<String, usize>,
    /// The id of each rule.
    id_of: Vec<String>,
}

impl Names {
    /// Notes what each of the rules is called.
    pub fn new(rules: &[Rule]) -> Self {
        let mut names = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            names.ids.entry(plain(&rule.id)).or_insert(number);
            names.titles.entry(rule.title.clone()).or_insert(number);
            names.spellings.push(rule.id.clone());
            names.id_of.push(rule.id.clone());
            if let Some(name) = &rule.name {
                names.names.entry(name.clone()).or_default().push(number);
                names.spellings.push(name.clone());
            }
        }
        names
    }

    /// The number of the rule with this id, or else with this name.
    ///
    /// # Errors
    ///
    /// [`Kind::UnknownRule`] when there is none, [`Kind::AmbiguousRule`] when several rules
    /// have the name.
    pub fn find(&self, text: &str) -> Result<usize, Kind> {
        if let Some(&number) = self.ids.get(&plain(text)) {
            return Ok(number);
        }
        match self.names.get(text).map(Vec::as_slice) {
            Some([number]) => Ok(*number),
            Some(numbers) => {
                let ids = numbers.iter().filter_map(|&number| self.id_of.get(number));
                Err(Kind::AmbiguousRule { name: text.to_owned(), ids: ids.cloned().collect() })
            }
            None => Err(Kind::UnknownRule { reference: text.to_owned(), closest: self.closest(text) }),
        }
    }

    /// What somebody who wrote `text` most likely meant.
    fn closest(&self, text: &str) -> Option<String> {
        let by_title = self.titles.get(text).and_then(|&number| self.id_of.get(number));
        let by_title = by_title.map(String::as_str);
        by_title.or_else(|| nearest(text, self.spellings.iter().map(String::as_str))).map(str::to_owned)
    }
}

/// An id without dashes and in lower case.
fn plain(id: &str) -> String {
    id.chars().filter(|character| *character != '-').map(|character| character.to_ascii_lowercase()).collect()
}
