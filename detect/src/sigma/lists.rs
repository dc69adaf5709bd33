//! Lists: the values that `%name%` stands for under `expand`, one a line.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;

use super::Place;
use super::error::{RuleError, RuleErrorKind as Kind};
use super::modifier;
use super::text::Text;

/// How many values a list may have.
const LIST_VALUES_MAX: usize = 10_000;
/// The list of the proxies in front of the API server: addresses and networks only.
const PROXIES: &str = "trusted_proxies";
/// How many bytes a line may have; image references and user names stay far below.
const LINE_BYTES_MAX: usize = 4096;
/// How many problems of one file are told.
const PROBLEMS_MAX: usize = 100;

/// Named lists of values.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    lists: BTreeMap<String, List>,
}

/// The values of a list; none at all is a list that matches nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) texts: Vec<Text>,
    /// By the index of the text, the networks among the values.
    pub(super) networks: BTreeMap<usize, IpNet>,
}

impl Lists {
    /// Adds the values of a file to the list of this name, one a line; reports lines that
    /// are no values, and leaves them out.
    ///
    /// `#` begins a comment at the beginning of a line and after white space. `*` and `?`
    /// are wildcards as in rules. `path` is only named in problems, nothing is read from it.
    pub fn add(&mut self, name: &str, path: &Path, text: &str) -> Vec<RuleError> {
        let list = self.lists.entry(name.to_owned()).or_default();
        let mut problems = Vec::new();
        for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            let Some((value, column)) = value(line) else { continue };
            let is_network = name == PROXIES || is_meant_as_network(value);
            let Err(kind) = list.push(value, is_network) else { continue };
            let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let width = value.chars().count().min(LINE_BYTES_MAX);
            let place = Place { line: number(index + 1), column: number(column), width: number(width) };
            let is_last = matches!(kind, Kind::Limit { max: LIST_VALUES_MAX, .. });
            problems.push(RuleError { path: path.to_owned(), place, kind, label: None });
            if is_last || problems.len() == PROBLEMS_MAX {
                break;
            }
        }
        problems
    }

    /// The names of all lists, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }

    /// The addresses and networks in the list `trusted_proxies`.
    pub fn proxies(&self) -> Vec<IpNet> {
        self.get(PROXIES).map(|list| list.networks.values().copied().collect()).unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&List> {
        self.lists.get(name)
    }
}

impl List {
    fn push(&mut self, value: &str, is_network: bool) -> Result<(), Kind> {
        if value.len() > LINE_BYTES_MAX {
            return Err(Kind::Limit { what: "the number of bytes of a line", max: LINE_BYTES_MAX });
        }
        if self.texts.len() == LIST_VALUES_MAX {
            return Err(Kind::Limit { what: "the number of values of the list", max: LIST_VALUES_MAX });
        }
        if is_network {
            let network = modifier::network(Some(value))?;
            self.networks.insert(self.texts.len(), network);
        }
        self.texts.push(Text::parse(value));
        Ok(())
    }
}

/// The value of a line and the column where it begins, if the line has one.
fn value(line: &str) -> Option<(&str, usize)> {
    let start = line.len() - line.trim_start().len();
    let text = line.get(start..)?;
    let mut before = ' ';
    let end = text
        .char_indices()
        .find(|&(_, character)| {
            let is_comment = character == '#' && before.is_whitespace();
            before = character;
            is_comment
        })
        .map_or(text.len(), |(end, _)| end);
    let value = text.get(..end)?.trim_end();
    let column = line.get(..start)?.chars().count() + 1;
    (!value.is_empty()).then_some((value, column))
}

/// True for an address with something after a slash.
fn is_meant_as_network(value: &str) -> bool {
    value.split_once('/').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok())
}
