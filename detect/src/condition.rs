//! Conditions of rules over numbered items, and what is left of them once some are decided.

use crate::truth::Truth;

/// A condition; items are asked for by their number.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    Item(usize),
    Known(Truth),
}

use Condition::{All, Any, Item, Known, Not};

impl Condition {
    /// Whether it holds, given whether items do.
    pub(crate) fn truth(&self, item: &mut impl FnMut(usize) -> Truth) -> Truth {
        match self {
            All(parts) => Truth::all(parts.iter().map(|part| part.truth(item))),
            Any(parts) => Truth::any(parts.iter().map(|part| part.truth(item))),
            Not(part) => !part.truth(item),
            Item(number) => item(*number),
            Known(truth) => *truth,
        }
    }

    /// What is left to ask where some items are decided already: a condition that has the
    /// same truth, whatever the other items turn out to be.
    pub(crate) fn settled(&self, item: &mut impl FnMut(usize) -> Option<Truth>) -> Condition {
        match self {
            All(parts) => settled_parts(parts, Truth::True, Truth::False, Truth::and, All, item),
            Any(parts) => settled_parts(parts, Truth::False, Truth::True, Truth::or, Any, item),
            Not(part) => match part.settled(item) {
                Known(truth) => Known(!truth),
                open => Not(Box::new(open)),
            },
            Item(number) => item(*number).map_or(Item(*number), Known),
            Known(truth) => Known(*truth),
        }
    }

    /// Roughly the memory it takes besides itself, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            All(parts) | Any(parts) => parts.iter().map(|part| size_of::<Self>() + part.bytes()).sum(),
            Not(part) => size_of::<Self>() + part.bytes(),
            Item(_) | Known(_) => 0,
        }
    }
}

fn settled_parts(
    parts: &[Condition],
    neutral: Truth,
    decisive: Truth,
    combine: fn(Truth, Truth) -> Truth,
    join: fn(Box<[Condition]>) -> Condition,
    item: &mut impl FnMut(usize) -> Option<Truth>,
) -> Condition {
    let (mut known, mut open) = (neutral, Vec::new());
    for part in parts {
        match part.settled(item) {
            Known(truth) => known = combine(known, truth),
            part => open.push(part),
        }
        if known == decisive {
            return Known(decisive);
        }
    }
    if open.is_empty() {
        return Known(known);
    }
    if known != neutral {
        open.push(Known(known));
    }
    match open.len() {
        1 => open.remove(0),
        _ => join(open.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTHS: [Truth; 3] = [Truth::False, Truth::Unknown, Truth::True];

    fn conditions() -> Vec<Condition> {
        let items = || vec![Item(0), Item(1), Item(2)];
        let not = |condition| Not(Box::new(condition));
        let pairs = |join: fn(Box<[Condition]>) -> Condition| {
            items().into_iter().flat_map(move |left| {
                items().into_iter().map(move |right| join([left.clone(), right].into()))
            })
        };
        let mut all: Vec<Condition> = items().into_iter().chain(pairs(All)).chain(pairs(Any)).collect();
        all.extend(all.clone().into_iter().map(not));
        let deeper: Vec<Condition> = all
            .iter()
            .flat_map(|left| [All([left.clone(), not(Item(2))].into()), Any([Item(1), left.clone()].into())])
            .collect();
        all.extend(deeper);
        all
    }

    #[test]
    fn what_is_left_has_the_same_truth() {
        let truths = || TRUTHS.into_iter();
        let events = truths().flat_map(|a| truths().flat_map(move |b| truths().map(move |c| [a, b, c])));
        for (event, condition) in events.flat_map(|event| conditions().into_iter().map(move |c| (event, c))) {
            let whole = condition.truth(&mut |item| event[item]);
            for decided in 0..8_usize {
                let known = |item: usize| (decided >> item & 1 == 1).then_some(event[item]);
                let left = condition.settled(&mut |item| known(item));
                let asked = left.truth(&mut |item| {
                    assert!(known(item).is_none(), "{left:?} asks again");
                    event[item]
                });
                assert_eq!(asked, whole, "{condition:?} {event:?} {left:?}");
            }
        }
    }
}
