//! Rules in a compact form that is read far faster than their text.
//!
//! The rules that are built into a program are understood when it is built. The form says
//! nothing about its version: it is for the program that it was made with.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{Expr, Item, Logic, Rule, Test};

/// Rules that could not be written or read in their compact form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The form is broken, or there is something that it does not know.
    #[error("rules cannot be packed")]
    Form(#[from] postcard::Error),
    /// A part is missing.
    #[error("packed rules are incomplete")]
    Incomplete,
}

/// Rules without the tests of their items: the same lists stand in many of them.
#[derive(Deserialize, Serialize)]
struct Packed {
    /// Every group of tests, once.
    tests: Vec<Arc<[Test]>>,
    /// Which group each item has, in the order of the items.
    groups: Vec<usize>,
    files: Vec<Option<Vec<Rule>>>,
}

/// Writes the rules of files; [`unpack`] reads them. Of a file that is not to be read from
/// there, nothing is written.
pub fn pack(mut files: Vec<Option<Vec<Rule>>>) -> Result<Vec<u8>, PackError> {
    let (mut tests, mut groups) = (Vec::new(), Vec::new());
    let mut numbers: HashMap<Vec<u8>, usize> = HashMap::new();
    each_item(&mut files, &mut |item| {
        let number = *numbers.entry(postcard::to_allocvec(&item.tests[..])?).or_insert_with(|| {
            tests.push(Arc::clone(&item.tests));
            tests.len() - 1
        });
        groups.push(number);
        Ok(())
    })?;
    Ok(postcard::to_allocvec(&Packed { tests, groups, files })?)
}

/// Reads what [`pack`] wrote, file by file. Regular expressions are taken as they are.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Option<Vec<Rule>>>, PackError> {
    let Packed { tests, groups, mut files } = postcard::from_bytes(bytes)?;
    let mut groups = groups.into_iter();
    each_item(&mut files, &mut |item| {
        let tests = groups.next().and_then(|group| tests.get(group)).ok_or(PackError::Incomplete)?;
        item.tests = Arc::clone(tests);
        Ok(())
    })?;
    Ok(files)
}

/// Shows every item to `visit`, always in the same order.
fn each_item(
    files: &mut [Option<Vec<Rule>>],
    visit: &mut impl FnMut(&mut Item) -> Result<(), PackError>,
) -> Result<(), PackError> {
    for rule in files.iter_mut().flatten().flatten() {
        if let Logic::Event(condition) = &mut rule.logic {
            each_item_below(condition, visit)?;
        }
    }
    Ok(())
}

fn each_item_below(
    expr: &mut Expr,
    visit: &mut impl FnMut(&mut Item) -> Result<(), PackError>,
) -> Result<(), PackError> {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => {
            parts.iter_mut().try_for_each(|part| each_item_below(part, visit))
        }
        Expr::Not(part) | Expr::Named(_, part) => each_item_below(part, visit),
        Expr::Block(block) => each_item_below(&mut block.body, visit),
        Expr::Item(item) => visit(item),
    }
}

/// Values of any shape, as a text: the compact form has no types in it.
pub(super) mod as_json {
    use super::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    type Values = Vec<(String, serde_json::Value)>;

    pub(in super::super) fn serialize<S: Serializer>(
        values: &Values,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts: Result<Vec<_>, _> =
            values.iter().map(|(key, value)| Ok((key, serde_json::to_string(value)?))).collect();
        texts.map_err(|error: serde_json::Error| ser::Error::custom(error))?.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(
        deserializer: D,
    ) -> Result<Values, D::Error> {
        let texts = Vec::<(String, &str)>::deserialize(deserializer)?;
        texts
            .into_iter()
            .map(|(key, text)| Ok((key, serde_json::from_str(text).map_err(de::Error::custom)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sigma::parse;

    const RULES: &str = "
title: Everything that a test can be
id: 7c0b6f0e-5f0e-4c1e-9d0f-2f1b0f6cc0ff
name: everything
status: test
description: One of each.
tags: [attack.t1609]
references: [https://example.org]
falsepositives: [None]
logsource: {product: kubernetes, service: audit}
level: low
runbook: {steps: [1, 2.5, -3, null, true, 'yes'], 'empty': {}}
detection:
  texts: {verb: [get, 'l?s*', '']}
  cased: {verb|cased|endswith: T}
  others: {verb|re|i: '^x+$', sourceIPs|cidr: [10.0.0.0/8, 'fd00::/8'], verb|exists: false, stage: null}
  numbers: {responseStatus.code: 200, responseStatus.code|gte: 400.5}
  times: {requestReceivedTimestamp|hour: [22, 23], user.username|fieldref|startswith: verb}
  blocks: {'container[any]': {image|contains: x, 'ports[-1]': {hostPort|gt: 0}}}
  keywords: [secret, 17]
  condition: (texts or cased) and not others and 1 of n* or times or blocks or keywords
---
title: Some of it often
id: 7c0b6f0e-5f0e-4c1e-9d0f-2f1b0f6cc1ff
level: high
correlation:
  type: event_count
  rules: [everything]
  group-by: [actor]
  aliases: {actor: {everything: user.username}}
  timespan: 90s
  condition: {gte: 3, neq: 7}
";

    #[test]
    fn rules_are_read_as_they_were_written() {
        let parsed = parse(Path::new("rules.yml"), RULES);
        assert_eq!(parsed.rules.len(), 2, "{:?}", parsed.problems);
        let packed = pack(vec![Some(parsed.rules.clone()), None]).unwrap();
        let read = unpack(&packed).unwrap();
        assert_eq!(format!("{:?}", [Some(parsed.rules), None]), format!("{read:?}"));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let packed = pack(vec![Some(parse(Path::new("rules.yml"), RULES).rules)]).unwrap();
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length]).is_err(), "{length}");
        }
    }
}
