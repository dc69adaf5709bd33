//! Rules compiled into one engine: index, then match.

use std::collections::HashMap;

use crate::block::Block;
use crate::event::Event;
use crate::field::{Field, Settings, Sight, Value, View};
use crate::index::Index;
use crate::matcher::{Matcher, Values};
use crate::scan;
use crate::sigma::{self, Expr, Item, Rule};
use crate::truth::Truth;

/// How many values one alert shows as the reason for the match.
pub(crate) const EVIDENCE_MAX: usize = 32;

/// The rules, ready to be asked about events. Shared by threads; holds no state.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    conditions: Vec<Node>,
    items: Vec<CompiledItem>,
    fields: Vec<Field>,
    index: Index,
    settings: Settings,
}

/// What one thread keeps between events: room to work in and what it counted.
#[derive(Debug)]
pub struct Scratch {
    truths: Vec<(u64, Truth)>,
    /// Where the values of each field stand, and of which event.
    places: Vec<(u64, usize)>,
    event_number: u64,
    /// Events in which a rule could not be decided because the event hides what it reads,
    /// by rule.
    pub blind_counts: Vec<u64>,
}

/// A rule that an event satisfies.
#[derive(Debug)]
pub struct Match<'e> {
    /// The rule's number in [`Engine::rules`].
    pub rule: usize,
    /// The fields that matched, with the first value that did.
    pub evidence: Vec<(String, Value<'e>)>,
}

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Item(usize),
}

#[derive(Debug)]
struct CompiledItem {
    subject: Subject,
    name: String,
    matcher: Matcher,
    cost: u32,
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
        let Compiler { items, fields, .. } = compiler;
        Self { rules, conditions, items, fields, index, settings }
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
            truths: vec![(0, Truth::False); self.items.len()],
            places: vec![(0, 0); self.fields.len()],
            event_number: 0,
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
        scratch.event_number += 1;
        let mut reader = Reader { engine: self, view: self.view(event), read: Vec::new() };
        for rule in self.index.candidates(event) {
            match reader.truth(&self.conditions[rule], scratch) {
                Truth::True => {
                    on_match(Match { rule, evidence: reader.evidence(&self.conditions[rule], scratch) });
                }
                Truth::Unknown => scratch.blind_counts[rule] += 1,
                Truth::False => {}
            }
        }
    }

    fn view<'e>(&'e self, event: &'e Event<'e>) -> View<'e> {
        View { event, settings: &self.settings }
    }
}

/// Numbers fields and items so that rules share what they have in common.
#[derive(Default)]
struct Compiler {
    items: Vec<CompiledItem>,
    item_numbers: HashMap<String, usize>,
    fields: Vec<Field>,
    field_numbers: HashMap<Field, usize>,
}

impl Compiler {
    /// Correlations match no event by themselves.
    fn rule(&mut self, rule: &Rule) -> Node {
        rule.condition().map_or(Node::Any(Vec::new()), |condition| self.node(condition))
    }

    fn node(&mut self, expr: &Expr) -> Node {
        match expr {
            Expr::All(parts) => Node::All(self.sorted(parts)),
            Expr::Any(parts) => Node::Any(self.sorted(parts)),
            Expr::Not(part) => Node::Not(Box::new(self.node(part))),
            Expr::Named(_, part) => self.node(part),
            Expr::Item(item) => Node::Item(self.item(item)),
            Expr::Block(block) => Node::Item(self.block(block)),
        }
    }

    /// Cheap parts first: any order gives the same truth.
    fn sorted(&mut self, parts: &[Expr]) -> Vec<Node> {
        let mut nodes: Vec<Node> = parts.iter().map(|part| self.node(part)).collect();
        nodes.sort_by_key(|node| self.cost(node));
        nodes
    }

    fn cost(&self, node: &Node) -> u32 {
        match node {
            Node::All(parts) | Node::Any(parts) => {
                parts.iter().fold(0, |sum, part| self.cost(part).saturating_add(sum))
            }
            Node::Not(part) => self.cost(part),
            Node::Item(item) => self.items[*item].cost,
        }
    }

    fn item(&mut self, item: &Item) -> usize {
        let form = form_of_item(item);
        if let Some(&number) = self.item_numbers.get(&form) {
            return number;
        }
        let field = item.field.as_deref().map(Field::parse);
        let compiled = CompiledItem {
            cost: cost_of(field.as_ref()),
            subject: field.map_or(Subject::Keywords, |field| Subject::Field(self.field(field))),
            name: item.field.clone().unwrap_or_else(|| "keywords".to_owned()),
            matcher: Matcher::new(&item.tests, item.field.is_none()),
        };
        for name in compiled.matcher.referenced() {
            self.field(Field::parse(name));
        }
        self.number(form, compiled)
    }

    fn block(&mut self, block: &sigma::Block) -> usize {
        let form = form_of_block(block);
        if let Some(&number) = self.item_numbers.get(&form) {
            return number;
        }
        let compiled = CompiledItem {
            cost: BLOCK_COST,
            subject: Subject::Block(Box::new(Block::new(block))),
            name: block.list.clone(),
            matcher: Matcher::new(&[], false),
        };
        self.number(form, compiled)
    }

    fn number(&mut self, form: String, compiled: CompiledItem) -> usize {
        self.items.push(compiled);
        self.item_numbers.insert(form, self.items.len() - 1);
        self.items.len() - 1
    }

    fn field(&mut self, field: Field) -> usize {
        let next = self.fields.len();
        *self.field_numbers.entry(field.clone()).or_insert_with(|| {
            self.fields.push(field);
            next
        })
    }
}

/// What an item asks, wherever it stands: the same text for the same question.
fn form_of_item(item: &Item) -> String {
    format!("{:?} {:?}", item.field, item.tests)
}

fn form_of_block(block: &sigma::Block) -> String {
    format!("{}[{}] {}", block.list, block.quantifier, form_of(&block.body))
}

fn form_of(expr: &Expr) -> String {
    let forms = |parts: &[Expr]| parts.iter().map(form_of).collect::<Vec<_>>();
    match expr {
        Expr::All(parts) => format!("all{:?}", forms(parts)),
        Expr::Any(parts) => format!("any{:?}", forms(parts)),
        Expr::Not(part) => format!("not({})", form_of(part)),
        Expr::Named(_, part) => form_of(part),
        Expr::Item(item) => form_of_item(item),
        Expr::Block(block) => form_of_block(block),
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
struct Reader<'e> {
    engine: &'e Engine,
    view: View<'e>,
    read: Vec<(Sight, Values<'e>)>,
}

impl<'e> Reader<'e> {
    fn truth(&mut self, node: &Node, scratch: &mut Scratch) -> Truth {
        match node {
            Node::Item(item) => self.item_truth(*item, scratch),
            Node::Not(part) => !self.truth(part, scratch),
            Node::All(parts) => Truth::all(parts.iter().map(|part| self.truth(part, scratch))),
            Node::Any(parts) => Truth::any(parts.iter().map(|part| self.truth(part, scratch))),
        }
    }

    fn item_truth(&mut self, number: usize, scratch: &mut Scratch) -> Truth {
        let (event_number, truth) = scratch.truths[number];
        if event_number == scratch.event_number {
            return truth;
        }
        let truth = self.decide(&self.engine.items[number], scratch);
        scratch.truths[number] = (scratch.event_number, truth);
        truth
    }

    fn decide(&mut self, item: &CompiledItem, scratch: &mut Scratch) -> Truth {
        let field = match &item.subject {
            Subject::Field(field) => *field,
            Subject::Keywords => {
                return words(self.view.event).any(|word| item.matcher.matches_keyword(&word)).into();
            }
            Subject::Block(block) => return block.truth(self.view),
        };
        let at = self.field(field, scratch);
        let (sight, values) = &self.read[at];
        let view = self.view;
        item.matcher.truth(values, *sight, |name| {
            let mut others = Vec::new();
            let sight = Field::parse(name).read(view, &mut others);
            (others, sight)
        })
    }

    /// Reads a field unless it has been read; returns its place in `read`.
    fn field(&mut self, number: usize, scratch: &mut Scratch) -> usize {
        let (event_number, at) = scratch.places[number];
        if event_number == scratch.event_number {
            return at;
        }
        let mut values = Vec::new();
        let sight = self.engine.fields[number].read(self.view, &mut values);
        self.read.push((sight, Values::new(values)));
        let at = self.read.len() - 1;
        scratch.places[number] = (scratch.event_number, at);
        at
    }

    /// The fields that made a condition true, with the first value that did.
    fn evidence(&mut self, node: &Node, scratch: &mut Scratch) -> Vec<(String, Value<'e>)> {
        let mut items = Vec::new();
        self.true_items(node, scratch, &mut items);
        let mut evidence = Vec::new();
        for number in items {
            let item = &self.engine.items[number];
            match &item.subject {
                Subject::Keywords => {}
                Subject::Block(block) => block.evidence(self.view, &mut |name, value| {
                    add_evidence(&mut evidence, name, value);
                }),
                Subject::Field(field) => {
                    let at = self.field(*field, scratch);
                    let mut values = self.read[at].1.iter();
                    let found = values.find(|value| item.matcher.matches_value(value));
                    if let Some(value) = found {
                        add_evidence(&mut evidence, &item.name, value);
                    }
                }
            }
        }
        evidence
    }

    fn true_items(&mut self, node: &Node, scratch: &mut Scratch, items: &mut Vec<usize>) {
        match node {
            Node::Item(item) if self.truth(node, scratch) == Truth::True => items.push(*item),
            Node::Item(_) | Node::Not(_) => {}
            Node::All(parts) | Node::Any(parts) => {
                for part in parts {
                    if self.truth(part, scratch) == Truth::True {
                        self.true_items(part, scratch, items);
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

/// Every key and every scalar value of an event, decoded, for keywords.
fn words<'e>(event: &Event<'e>) -> impl Iterator<Item = std::borrow::Cow<'e, str>> {
    scan::Scalars::new(event.raw()).filter_map(crate::json::Json::text)
}
