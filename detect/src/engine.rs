//! Rules compiled into one engine: what the context of an event leaves open, then match.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::block::Block;
use crate::condition::Condition;
use crate::context::{CONTEXT, Watch};
use crate::derived::{Known, may_write_pods};
use crate::event::{Event, Key};
use crate::facets::{Classes, Facet, Facets, Truths};
use crate::field::{Field, Settings, Sight, Value, View};
use crate::index::Index;
use crate::matcher::{Matcher, Values};
use crate::needles::Needles;
use crate::presence::{self, Names, Needed, Present, Ways};
use crate::question::Question;
use crate::settled::{Open, Settled};
use crate::sigma::{self, Expr, Item, Rule, correlation};
use crate::truth::Truth;

/// How many values one alert shows as the reason for the match.
pub(crate) const EVIDENCE_MAX: usize = 32;

/// The rules, ready to be asked about events. Shared by threads; holds no state.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    conditions: Vec<Condition>,
    items: Vec<CompiledItem>,
    fields: Vec<CompiledField>,
    names: Names,
    index: Index,
    /// By facet: the items that are likely to ask about it alone.
    facet_items: [Box<[usize]>; Facet::ALL.len()],
    /// By rule: whether nobody is told of its matches.
    silent: Vec<bool>,
    settings: Settings,
    /// How many fields and items somebody has begun to make ready.
    prepared_count: AtomicUsize,
}

/// What one thread keeps between events: what it knows, room to work in, what it counted.
#[derive(Debug)]
pub struct Scratch {
    settled: Settled,
    facets: Facets,
    context: Vec<u8>,
    notes: Notes,
    /// Events in which a rule could not be decided because the event hides what it reads,
    /// by rule.
    pub blind_counts: Vec<u64>,
}

/// What has been found out about one event.
#[derive(Debug)]
struct Notes {
    /// By item: whether it holds; nothing where more than what is shown decides it.
    truths: Vec<(u64, Option<Truth>)>,
    /// By item: the last event in which the search in its field found something of it.
    hits: Vec<u64>,
    /// By field: where among the fields that were read it is.
    places: Vec<(u64, usize)>,
    /// Notes with another number are of another event.
    event_number: u64,
    present: (u64, Present),
    may_write_pods: (u64, bool),
    /// Room for a part of an event without case.
    folded: Vec<u8>,
}

/// A rule that an event satisfies.
#[derive(Debug)]
pub struct Match<'e> {
    /// The rule's number in [`Engine::rules`].
    pub rule: usize,
    /// The fields that matched, with the first value that did; none for a rule that only
    /// serves correlations, since nobody is told of it.
    pub evidence: Vec<(String, Value<'e>)>,
}

#[derive(Debug)]
struct CompiledField {
    field: Field,
    needed: Needed,
    needles: Needles,
}

#[derive(Debug)]
struct CompiledItem {
    subject: Subject,
    name: String,
    matcher: Matcher,
    /// Whether what it asks for is looked for together with what others do.
    is_sought: bool,
    /// Whether that alone decides it.
    is_plain: bool,
    /// What the body of a request must have for it not to be false.
    ways: Ways,
    cost: u32,
}

impl CompiledItem {
    fn prepare(&self, fields: &[CompiledField]) {
        match &self.subject {
            Subject::Block(block) => block.prepare(),
            Subject::Keywords => self.matcher.prepare_for_keywords(),
            // Its texts are looked for with those of other items.
            Subject::Field(field) if self.is_plain && fields[*field].needles.are_used() => {}
            Subject::Field(_) => self.matcher.prepare(),
        }
    }
}

/// What an item is about.
#[derive(Debug)]
enum Subject {
    /// The field of this number.
    Field(usize),
    /// Every key and value.
    Keywords,
    /// The elements of a list.
    Block(Box<Block>),
}

impl Engine {
    /// Compiles rules. They have been checked when they were parsed, so this cannot fail.
    pub fn new(rules: Vec<Rule>, settings: Settings) -> Self {
        let mut compiler = Compiler::default();
        let conditions = rules.iter().map(|rule| compiler.rule(rule)).collect();
        let index = Index::new(rules.iter().map(Rule::condition));
        let Compiler { items, fields, names, .. } = compiler;
        let silent = correlation::silent(&rules);
        let prepared_count = AtomicUsize::new(0);
        let facet_of = |item: &CompiledItem| match &item.subject {
            Subject::Field(field) => Facet::of(&fields[*field].field),
            Subject::Block(block) => Facet::of(block.field()?),
            Subject::Keywords => None,
        };
        let facet_items = Facet::ALL
            .map(|facet| (0..items.len()).filter(|item| facet_of(&items[*item]) == Some(facet)).collect());
        Self { rules, conditions, items, fields, names, index, facet_items, silent, settings, prepared_count }
    }

    /// Makes ready what events would otherwise have to wait for when the first of them asks,
    /// regular expressions above all. Threads that do so at once share the work; the last of
    /// them returns when all is done. Verdicts stay the same.
    pub fn prepare(&self) {
        loop {
            let number = self.prepared_count.fetch_add(1, Ordering::Relaxed);
            match (self.fields.get(number), self.items.get(number.saturating_sub(self.fields.len()))) {
                (Some(field), _) => field.needles.prepare(),
                (None, Some(item)) => item.prepare(&self.fields),
                (None, None) => return,
            }
        }
    }

    /// The rules in the order they were given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the engine was told about its surroundings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Room for one thread to evaluate events with this engine.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            settled: Settled::default(),
            facets: Facets::default(),
            context: Vec::new(),
            notes: Notes {
                truths: vec![(0, None); self.items.len()],
                hits: vec![0; self.items.len()],
                places: vec![(0, 0); self.fields.len()],
                event_number: 0,
                present: (0, Present::default()),
                may_write_pods: (0, false),
                folded: Vec::new(),
            },
            blind_counts: vec![0; self.rules.len()],
        }
    }

    /// Gives every rule that the event satisfies to `on_match`, in the order of the rules,
    /// and counts those that the event hides from.
    pub fn evaluate<'e>(
        &'e self,
        event: &'e Event<'e>,
        scratch: &mut Scratch,
        mut on_match: impl FnMut(Match<'e>),
    ) {
        let Scratch { settled, facets, context, notes, blind_counts } = scratch;
        let classes = facets.write_context(event, context, |facet| self.truths_of(facet, event, notes));
        let open = settled.of(context, || self.settle(event, facets, &classes, notes));
        if open.is_some_and(<[_]>::is_empty) {
            return;
        }
        let mut reader = Reader::new(self, self.view(event), None, notes);
        let mut judge = |rule: usize, condition: &Condition, reader: &mut Reader<'e, '_>| {
            let truth = condition.truth(&mut |item| reader.truth(item));
            match truth {
                Truth::True if self.silent[rule] => on_match(Match { rule, evidence: Vec::new() }),
                Truth::True => on_match(Match { rule, evidence: reader.evidence(&self.conditions[rule]) }),
                Truth::Unknown => blind_counts[rule] += 1,
                Truth::False => {}
            }
        };
        let Some(open) = open else {
            let candidates = self.index.candidates(event);
            candidates.for_each(|rule| judge(rule, &self.conditions[rule], &mut reader));
            return;
        };
        for Open { rule, condition, ways } in open {
            if !reader.lacks_all(ways) {
                judge(*rule, condition, &mut reader);
            }
        }
    }

    /// Whether the items of a facet hold, as far as it alone decides them.
    fn truths_of(&self, facet: Facet, event: &Event<'_>, notes: &mut Notes) -> Truths {
        let watch = Watch::new(facet.shown());
        let event = event.watched(&watch);
        let mut reader = Reader::new(self, self.view(&event), Some(&watch), notes);
        self.facet_items[facet as usize].iter().map(|item| reader.ask(*item)).collect()
    }

    /// The rules that events in the context of this one can satisfy or hide from, and what
    /// of their conditions the context leaves open.
    fn settle(&self, event: &Event<'_>, facets: &Facets, classes: &Classes, notes: &mut Notes) -> Vec<Open> {
        let watch = Watch::new(&CONTEXT);
        let event = event.watched(&watch);
        let mut reader = Reader::new(self, self.view(&event), Some(&watch), notes);
        for facet in Facet::ALL {
            let truths = facets.truths(facet, classes);
            for (item, truth) in self.facet_items[facet as usize].iter().zip(truths) {
                if truth.is_some() {
                    reader.notes.truths[*item] = (reader.notes.event_number, *truth);
                }
            }
        }
        let candidates = self.index.candidates(&event);
        let open = candidates.map(|rule| {
            let condition = self.conditions[rule].settled(&mut |item| reader.ask(item));
            let ways = presence::ways(&condition, &|item| self.items[item].ways.clone());
            Open { rule, condition, ways }
        });
        open.filter(|open| !matches!(open.condition, Condition::Known(Truth::False))).collect()
    }

    fn view<'e>(&'e self, event: &'e Event<'e>) -> View<'e> {
        View { event, settings: &self.settings }
    }
}

/// Numbers fields and items so that rules share what they have in common.
#[derive(Default)]
struct Compiler<'r> {
    items: Vec<CompiledItem>,
    item_numbers: HashMap<Question<'r>, usize, foldhash::fast::RandomState>,
    fields: Vec<CompiledField>,
    names: Names,
    field_numbers: HashMap<Field, usize, foldhash::fast::RandomState>,
}

impl<'r> Compiler<'r> {
    /// Correlations match no event by themselves.
    fn rule(&mut self, rule: &'r Rule) -> Condition {
        rule.condition().map_or(Condition::Known(Truth::False), |condition| self.condition(condition))
    }

    fn condition(&mut self, expr: &'r Expr) -> Condition {
        match expr {
            Expr::All(parts) => Condition::All(self.sorted(parts)),
            Expr::Any(parts) => Condition::Any(self.sorted(parts)),
            Expr::Not(part) => Condition::Not(Box::new(self.condition(part))),
            Expr::Named(_, part) => self.condition(part),
            Expr::Item(item) => Condition::Item(self.item(item)),
            Expr::Block(block) => Condition::Item(self.block(block)),
        }
    }

    /// Cheap parts first: any order gives the same truth.
    fn sorted(&mut self, parts: &'r [Expr]) -> Box<[Condition]> {
        let mut conditions: Box<[Condition]> = parts.iter().map(|part| self.condition(part)).collect();
        conditions.sort_by_key(|condition| self.cost(condition));
        conditions
    }

    fn cost(&self, condition: &Condition) -> u32 {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().fold(0, |sum, part| self.cost(part).saturating_add(sum))
            }
            Condition::Not(part) => self.cost(part),
            Condition::Item(item) => self.items[*item].cost,
            Condition::Known(_) => 0,
        }
    }

    fn item(&mut self, item: &'r Item) -> usize {
        let question = Question::Item(item);
        if let Some(&number) = self.item_numbers.get(&question) {
            return number;
        }
        let field = item.field.as_deref().map(Field::parse);
        let matcher = Matcher::new(&item.tests, item.field.is_none());
        let cost = cost_of(field.as_ref());
        let subject = field.map_or(Subject::Keywords, |field| Subject::Field(self.field(field)));
        let ways = match subject {
            Subject::Field(field) if matcher.of_absence() == Truth::False => {
                vec![self.fields[field].needed.clone()]
            }
            _ => presence::free(),
        };
        let name = item.field.clone().unwrap_or_else(|| "keywords".to_owned());
        let compiled = CompiledItem { subject, name, matcher, is_sought: false, is_plain: false, ways, cost };
        self.number(question, compiled)
    }

    fn block(&mut self, block: &'r sigma::Block) -> usize {
        let question = Question::Block(block);
        if let Some(&number) = self.item_numbers.get(&question) {
            return number;
        }
        let compiled_block = Block::new(block);
        let compiled = CompiledItem {
            cost: BLOCK_COST,
            ways: compiled_block.ways(&mut self.names),
            subject: Subject::Block(Box::new(compiled_block)),
            name: block.list.clone(),
            matcher: Matcher::new(&[], false),
            is_sought: false,
            is_plain: false,
        };
        self.number(question, compiled)
    }

    fn number(&mut self, question: Question<'r>, mut compiled: CompiledItem) -> usize {
        if let Subject::Field(field) = compiled.subject {
            let sought = compiled.matcher.sought();
            compiled.is_sought = sought.is_some();
            compiled.is_plain = sought.as_ref().is_some_and(|sought| sought.is_all);
            if let Some(sought) = sought {
                self.fields[field].needles.add(self.items.len(), sought);
            }
        }
        self.items.push(compiled);
        self.item_numbers.insert(question, self.items.len() - 1);
        self.items.len() - 1
    }

    fn field(&mut self, field: Field) -> usize {
        let next = self.fields.len();
        *self.field_numbers.entry(field.clone()).or_insert_with(|| {
            let needed = self.names.needed_by_field(&field);
            self.fields.push(CompiledField { field, needed, needles: Needles::default() });
            next
        })
    }
}

/// Elements are read one by one: dearer than a body, cheaper than keywords.
const BLOCK_COST: u32 = 60;

/// How dear a field is to read, roughly: short values near the top first, bodies last.
fn cost_of(field: Option<&Field>) -> u32 {
    match field {
        Some(Field::Path(path)) if path.starts_with("requestObject") => 20,
        Some(Field::Path(path)) if path.starts_with("responseObject") => 40,
        Some(Field::Path(_)) => 1,
        Some(Field::Derived(..)) => 10,
        None => 100,
    }
}

/// Reads one event for all rules: each field once, each item once.
struct Reader<'e, 'r> {
    engine: &'e Engine,
    known: Known<'e>,
    /// Tells whether a part of the event was asked for that is not shown.
    watch: Option<&'r Watch>,
    notes: &'r mut Notes,
    read: Vec<Reading<'e>>,
}

/// What a field holds in an event.
struct Reading<'e> {
    values: Values<'e>,
    sight: Sight,
    /// Whether it depends on what is not shown.
    is_open: bool,
    /// Whether the texts of all items have been looked for; nothing before it was tried.
    is_searched: Option<bool>,
}

impl<'e, 'r> Reader<'e, 'r> {
    fn new(engine: &'e Engine, view: View<'e>, watch: Option<&'r Watch>, notes: &'r mut Notes) -> Self {
        notes.event_number += 1;
        Self { engine, known: Known::new(view), watch, notes, read: Vec::new() }
    }

    /// Whether an item holds in an event that is shown whole.
    fn truth(&mut self, number: usize) -> Truth {
        self.ask(number).unwrap_or(Truth::Unknown)
    }

    /// Whether an item holds; nothing where something decides it that is not shown.
    fn ask(&mut self, number: usize) -> Option<Truth> {
        let (event_number, truth) = self.notes.truths[number];
        if event_number == self.notes.event_number {
            return truth;
        }
        let truth = self.decide(number);
        self.notes.truths[number] = (self.notes.event_number, truth);
        truth
    }

    fn decide(&mut self, number: usize) -> Option<Truth> {
        let item = &self.engine.items[number];
        let view = self.known.view();
        if self.lacks_all(&item.ways) {
            return Some(Truth::False);
        }
        let truth = match &item.subject {
            Subject::Keywords if self.watch.is_some() => return None,
            Subject::Keywords => item.matcher.matches_event(view.event, &mut self.notes.folded).into(),
            Subject::Block(block) if block.is_of_pods() && !self.may_write_pods() => block.of_absence(),
            Subject::Block(block) if block.is_of_pods() && self.hides_body() => return None,
            Subject::Block(block) => self.look(|known| block.truth(known)),
            Subject::Field(field) => {
                let at = self.field(*field);
                if self.read[at].is_open {
                    return None;
                }
                if item.is_sought && self.search(*field, at) {
                    match (self.notes.hits[number] == self.notes.event_number, item.is_plain) {
                        (true, true) => return Some(Truth::True),
                        (true, false) => {}
                        (false, _) => return Some(self.read[at].sight.of_nothing()),
                    }
                }
                let Reading { values, sight, .. } = &self.read[at];
                item.matcher.truth(values, *sight, |name| {
                    let mut others = Vec::new();
                    let sight = Field::parse(name).read(view, &mut others);
                    (others, sight)
                })
            }
        };
        (!self.has_asked()).then_some(truth)
    }

    /// Notes all items that may find something in a field at once; false where that cannot be.
    fn search(&mut self, field: usize, at: usize) -> bool {
        let Reading { values, is_searched, .. } = &mut self.read[at];
        let Notes { hits, event_number, .. } = &mut *self.notes;
        *is_searched.get_or_insert_with(|| {
            self.engine.fields[field].needles.find(values, |item| hits[item] = *event_number)
        })
    }

    /// Whether the event may write a pod spec; true also where that is not shown.
    fn may_write_pods(&mut self) -> bool {
        let (event_number, may_write) = self.notes.may_write_pods;
        if event_number == self.notes.event_number {
            return may_write;
        }
        let (is_shown, has_asked) = (self.look(may_write_pods), self.has_asked());
        let may_write = is_shown || has_asked;
        self.notes.may_write_pods = (self.notes.event_number, may_write);
        may_write
    }

    /// Whether there is a body that is not shown.
    fn hides_body(&self) -> bool {
        self.watch.is_some() && self.known.event().has(Key::RequestObject)
    }

    /// Whether the body of the request lacks keys that are needed in every way.
    fn lacks_all(&mut self, ways: &Ways) -> bool {
        ways.iter().all(|needed| self.lacks(needed))
    }

    /// Whether the body of the request lacks a key that what is asked for must have.
    fn lacks(&mut self, needed: &[usize]) -> bool {
        if needed.is_empty() || self.watch.is_some() {
            return false;
        }
        let (event_number, present) = &mut self.notes.present;
        if *event_number != self.notes.event_number {
            *event_number = self.notes.event_number;
            present.read(self.known.event(), &self.engine.names);
        }
        present.lacks(needed)
    }

    /// Whether something was asked for since the last time that is not shown.
    fn has_asked(&self) -> bool {
        self.watch.is_some_and(Watch::take)
    }

    /// Shows what is known of the event to `read`; to whoever watches it, as if nothing were: each
    /// question is to be noticed.
    fn look<R>(&self, read: impl FnOnce(&Known<'e>) -> R) -> R {
        if self.watch.is_none() { read(&self.known) } else { read(&Known::new(self.known.view())) }
    }

    /// Reads a field unless it has been read; returns its place in `read`.
    fn field(&mut self, number: usize) -> usize {
        let (event_number, at) = self.notes.places[number];
        if event_number == self.notes.event_number {
            return at;
        }
        let mut values = Vec::new();
        let CompiledField { field, needed, .. } = &self.engine.fields[number];
        let is_of_pods = matches!(field, Field::Derived(derived, _) if derived.is_of_pods());
        let is_absent = (is_of_pods && !self.may_write_pods()) || self.lacks(needed);
        let is_hidden = !is_absent && is_of_pods && self.hides_body();
        let sight = if is_absent || is_hidden {
            Sight::Clear
        } else {
            self.look(|known| field.read_known(known, &mut values))
        };
        let is_open = self.has_asked() || is_hidden;
        self.read.push(Reading { values: Values::new(values), sight, is_open, is_searched: None });
        let at = self.read.len() - 1;
        self.notes.places[number] = (self.notes.event_number, at);
        at
    }

    /// The fields that made a condition true, with the first value that did.
    fn evidence(&mut self, condition: &Condition) -> Vec<(String, Value<'e>)> {
        let mut items = Vec::new();
        self.true_items(condition, &mut items);
        let mut evidence = Vec::new();
        for number in items {
            let item = &self.engine.items[number];
            match &item.subject {
                Subject::Keywords => {}
                Subject::Block(block) => block.evidence(&self.known, &mut |name, value| {
                    add_evidence(&mut evidence, name, value);
                }),
                Subject::Field(field) => {
                    let at = self.field(*field);
                    let mut values = self.read[at].values.iter();
                    let found = values.find(|value| item.matcher.matches_value(value));
                    if let Some(value) = found {
                        add_evidence(&mut evidence, &item.name, value);
                    }
                }
            }
        }
        evidence
    }

    fn true_items(&mut self, condition: &Condition, items: &mut Vec<usize>) {
        match condition {
            Condition::Item(item) if self.truth(*item) == Truth::True => items.push(*item),
            Condition::Item(_) | Condition::Not(_) | Condition::Known(_) => {}
            Condition::All(parts) | Condition::Any(parts) => {
                for part in parts {
                    if part.truth(&mut |item| self.truth(item)) == Truth::True {
                        self.true_items(part, items);
                    }
                }
            }
        }
    }
}

/// Adds the first value of each field, up to [`EVIDENCE_MAX`] of them.
fn add_evidence<'e>(evidence: &mut Vec<(String, Value<'e>)>, name: &str, value: &Value<'e>) {
    if evidence.len() < EVIDENCE_MAX && !evidence.iter().any(|(known, _)| known == name) {
        evidence.push((name.to_owned(), value.clone()));
    }
}
