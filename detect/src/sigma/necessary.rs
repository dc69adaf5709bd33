//! The texts of which one must stand wherever an expression finds something.
//!
//! They are looked for together, whatever the number of expressions, and an expression is asked,
//! or even built, only where one of its texts stands.
//!
//! **Invariant:** an expression finds nothing in a text of ASCII alone that holds, folded, none
//! of its necessary texts. Of other texts nothing is said.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// How many texts one expression is looked for by; the more there are, the more they cost and
/// the less each rules out.
const TEXTS_MAX: usize = 48;

/// How long a text gets: what is longer is hardly rarer.
const TEXT_BYTES_MAX: usize = 24;

/// How many ASCII characters of a class are told apart.
const CLASS_MAX: u32 = 12;

/// Some texts without case, of which one stands somewhere; in order, each once.
type Texts = Vec<String>;

/// What is known of what an expression finds.
struct Known {
    /// All that it can be, if that is not much.
    whole: Option<Texts>,
    /// What stands at its beginning as well as at its end.
    edge: Option<Texts>,
    /// What it holds.
    inner: Option<Texts>,
}

/// The texts of an expression, without case; nothing if there are none that would be rare.
pub(super) fn texts(hir: &Hir) -> Option<Vec<String>> {
    let known = known(hir);
    let texts = known.whole.or(known.inner)?;
    // Where a text stands, those that it holds stand too.
    let is_needed = |text: &&String| !texts.iter().any(|other| other != *text && text.contains(other));
    is_telling(&texts).then(|| texts.iter().filter(is_needed).cloned().collect())
}

/// Whether a text without any of these exists: all texts hold the empty one.
fn is_telling(texts: &Texts) -> bool {
    texts.iter().all(|text| !text.is_empty())
}

impl Known {
    fn nothing() -> Self {
        Self { whole: None, edge: None, inner: None }
    }

    fn whole(texts: Texts) -> Self {
        Self { whole: Some(texts), ..Self::nothing() }
    }

    fn inner(texts: Option<Texts>) -> Self {
        Self { inner: texts, ..Self::nothing() }
    }
}

fn known(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Known::whole([String::new()].into()),
        HirKind::Literal(literal) => of_literal(&literal.0),
        HirKind::Class(class) => of_class(class),
        HirKind::Repetition(repetition) => of_repetition(repetition),
        HirKind::Capture(capture) => known(&capture.sub),
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Alternation(parts) => of_alternatives(parts),
    }
}

/// What is not ASCII is in no text that this is about.
fn of_literal(bytes: &[u8]) -> Known {
    let text = str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
    Known::whole(text.map(str::to_ascii_lowercase).into_iter().collect())
}

fn of_class(class: &Class) -> Known {
    let mut folded = 0_u128;
    let mut add = |start: u32, end: u32| {
        let characters = (start..=end).filter_map(char::from_u32);
        characters.for_each(|character| folded |= 1 << u32::from(character.to_ascii_lowercase()));
    };
    match class {
        Class::Unicode(class) => {
            let ascii = class.iter().take_while(|range| range.start().is_ascii());
            ascii.for_each(|range| add(range.start().into(), u32::from(range.end()).min(ASCII_LAST)));
        }
        Class::Bytes(class) => {
            let ascii = class.iter().take_while(|range| range.start().is_ascii());
            ascii.for_each(|range| add(range.start().into(), u32::from(range.end()).min(ASCII_LAST)));
        }
    }
    if folded.count_ones() > CLASS_MAX {
        return Known::nothing();
    }
    let mut characters = Texts::with_capacity(folded.count_ones() as usize);
    while folded != 0 {
        characters.extend(char::from_u32(folded.trailing_zeros()).map(String::from));
        folded &= folded - 1;
    }
    Known::whole(characters)
}

/// The last character of ASCII.
const ASCII_LAST: u32 = 0x7f;

fn of_repetition(repetition: &Repetition) -> Known {
    let is_fixed = repetition.max == Some(repetition.min);
    let below = known(&repetition.sub);
    match (repetition.min, below.whole) {
        (0, Some(mut texts)) if repetition.max == Some(1) => {
            texts.push(String::new());
            Known::whole(in_order(texts))
        }
        (0, _) => Known::nothing(),
        (count, Some(texts)) => match repeated(&texts, count) {
            Some(all) if is_fixed => Known::whole(all),
            all => {
                let edge = all.unwrap_or(texts);
                Known { whole: None, inner: Some(edge.clone()), edge: Some(edge) }
            }
        },
        (_, None) => Known::inner(below.inner),
    }
}

fn repeated(texts: &Texts, count: u32) -> Option<Texts> {
    let mut all = Texts::from([String::new()]);
    for _ in 0..count {
        // Nothing but the empty text may be repeated more often than this.
        let next = joined(&all, texts)?;
        if next == all {
            break;
        }
        all = next;
    }
    Some(all)
}

fn of_sequence(parts: &[Hir]) -> Known {
    let mut sequence = Sequence { run: [String::new()].into(), is_whole: true, best: None };
    for part in parts {
        sequence.add(known(part));
    }
    let Sequence { run, is_whole, .. } = &sequence;
    if *is_whole {
        return Known::whole(run.clone());
    }
    sequence.end_run(Texts::from([String::new()]));
    Known::inner(sequence.best)
}

/// Parts that follow one another.
struct Sequence {
    /// What the last parts are together.
    run: Texts,
    /// Whether all parts are in it.
    is_whole: bool,
    /// The rarest of what must stand somewhere.
    best: Option<Texts>,
}

impl Sequence {
    fn add(&mut self, part: Known) {
        if let Some(texts) = part.whole {
            // Most parts are one character.
            if let ([run], [text]) = (self.run.as_mut_slice(), texts.as_slice())
                && run.len() + text.len() <= TEXT_BYTES_MAX
            {
                run.push_str(text);
                return;
            }
            match joined(&self.run, &texts) {
                Some(run) => self.run = run,
                None => self.end_run(texts),
            }
        } else if let Some(edge) = part.edge {
            if let Some(run) = joined(&self.run, &edge) {
                self.run = run;
            }
            self.end_run(edge);
        } else {
            self.end_run([String::new()].into());
            self.offer(part.inner);
        }
    }

    /// Begins anew with what follows.
    fn end_run(&mut self, next: Texts) {
        self.is_whole = false;
        let run = std::mem::replace(&mut self.run, next);
        self.offer(Some(run));
    }

    fn offer(&mut self, texts: Option<Texts>) {
        let Some(texts) = texts.filter(is_telling) else { return };
        if self.best.as_ref().is_none_or(|best| frequency(&texts) < frequency(best)) {
            self.best = Some(texts);
        }
    }
}

fn of_alternatives(parts: &[Hir]) -> Known {
    let all: Vec<Known> = parts.iter().map(known).collect();
    let few = |texts: &Texts| texts.len() <= TEXTS_MAX;
    let union = |texts: Option<Vec<&Texts>>| Some(in_order(texts?.into_iter().flatten().cloned().collect()));
    if let Some(whole) = union(all.iter().map(|part| part.whole.as_ref()).collect()).filter(few) {
        return Known::whole(whole);
    }
    let inner = union(all.iter().map(|part| part.whole.as_ref().or(part.inner.as_ref())).collect());
    Known::inner(inner.filter(few).filter(is_telling))
}

/// Each of the first followed by each of the second, unless that is too much.
fn joined(first: &Texts, second: &Texts) -> Option<Texts> {
    if first.len().saturating_mul(second.len()) > TEXTS_MAX {
        return None;
    }
    let pairs = first.iter().flat_map(|left| second.iter().map(move |right| [left.as_str(), right].concat()));
    let all = in_order(pairs.collect());
    all.iter().all(|text| text.len() <= TEXT_BYTES_MAX).then_some(all)
}

fn in_order(mut texts: Texts) -> Texts {
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// How often these stand in a text, roughly: as if each character were one of sixteen.
fn frequency(texts: &Texts) -> u64 {
    texts.iter().map(|text| 1 << (60 - 4 * text.len().min(13))).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: Option<&[&str]>) {
        let found = texts(&regex_syntax::parse(expression).unwrap());
        let found: Option<Vec<&str>> = found.as_ref().map(|found| found.iter().map(String::as_str).collect());
        assert_eq!(found.as_deref(), expected, "{expression}");
    }

    #[test]
    fn the_rarest_part_is_looked_for() {
        check(r"(?i)\bKill\b", Some(&["kill"]));
        check(r"(?:^|[^a-z0-9-])pool\.example\.?(?:[^a-z0-9.-]|$)", Some(&["pool.example"]));
        check(r"[^\s]\$\{?IFS\b", Some(&["$ifs", "${ifs"]));
        check("(?:nc|ncat) +-[el]", Some(&["nc ", "ncat "]));
        check("a+bc{2}x*", Some(&["abcc"]));
        check("x*(?:abc|de.*fgh)?yz", Some(&["yz"]));
        check(r"\w+=[a-z]{1,4};\s*", Some(&["="]));
        check("(?:abc|[a-z]def)", Some(&["abc", "def"]));
    }

    #[test]
    fn what_may_find_anything_has_none() {
        for expression in ["", "a*", "^$", r"\w+", "[^a]", "abc|", "(?:abc)?", "(?:abc|x*)", ".{3}"] {
            check(expression, None);
        }
    }

    #[test]
    fn what_ascii_cannot_hold_is_never_found_there() {
        check("é", Some(&[]));
        check("a(?:é|b)", Some(&["ab"]));
    }
}
