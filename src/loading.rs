//! What the files say: rules and filters that have been understood, and every mistake.
//!
//! All mistakes of all files are collected; nobody is shown one mistake at a time.

use detect::field::Settings;
use detect::sigma::{
    self, Filter, Label, Logsource, Parsed, Pipeline, Place, Rule, RuleError, Setup, Severity,
};
use detect::summary::counted;
use ipnet::IpNet;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};

use crate::files::{self, Contents, Origin, RuleFile};
use crate::skipped::Skipped;

/// The code of the one problem that no file shows on its own.
const DUPLICATE_ID: &str = "MH501";

/// Fewer files are read before threads to read them have started.
const PARALLEL_FILES_MIN: usize = 8;

/// Rules, and what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The files in the order they were read.
    pub(crate) files: Vec<RuleFile>,
    /// The rules about the audit log that have no errors, with the file each is from.
    pub(crate) rules: Vec<(usize, Rule)>,
    /// The filters about the audit log that have no errors.
    pub(crate) filters: Vec<UsedFilter>,
    /// What is wrong, in the order of the files.
    pub(crate) problems: Vec<Problem>,
    /// What is about other logs.
    pub(crate) skipped: Skipped,
    /// The proxies that a list names.
    proxies: Vec<IpNet>,
    /// Rules of other files that may be referred to.
    beside: Vec<Rule>,
}

/// A filter and how many rules it was added to.
#[derive(Debug)]
pub(crate) struct UsedFilter {
    pub(crate) filter: Filter,
    pub(crate) rule_count: usize,
}

/// Something wrong in a rule file.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The number of the file in [`Loaded::files`].
    pub(crate) file: usize,
    /// Whether the rule can be used all the same.
    pub(crate) severity: Severity,
    /// A stable name for this sort of problem.
    pub(crate) code: &'static str,
    /// Where it is.
    pub(crate) place: Place,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// Another place in the file that explains the first.
    pub(crate) label: Option<Label>,
}

impl Problem {
    fn new(file: usize, error: &RuleError) -> Self {
        Self {
            file,
            severity: error.severity(),
            code: error.code().id(),
            place: error.place,
            message: error.kind.to_string(),
            help: error.help(),
            label: error.label.clone(),
        }
    }
}

/// Understands the rules in the files. What is built in has been checked by tests: that is
/// not done again.
pub(crate) fn load(files: Vec<RuleFile>) -> Loaded {
    Loader { trusts_embedded: true, ..Loader::default() }.finish(files, &[])
}

/// Understands the rules in the files, and checks all of them; those that are built in may be
/// referred to.
pub(crate) fn load_beside_embedded(files: Vec<RuleFile>) -> Loaded {
    let is_built_in = |file: &RuleFile| file.contents == Contents::Rules && file.origin != Origin::Disk;
    let beside = if files.iter().any(is_built_in) { Vec::new() } else { files::embedded() };
    Loader::default().finish(files, &beside)
}

/// Everything in the files, before it is known what concerns the audit log.
#[derive(Default)]
struct Loader {
    rules: Vec<Rule>,
    /// The file of each rule.
    files: Vec<usize>,
    filters: Vec<Filter>,
    setup: Setup,
    problems: Vec<Problem>,
    /// Whether built-in rules are as they were when they were tested.
    trusts_embedded: bool,
}

impl Loader {
    /// Adds what one file holds that rules may name.
    fn set_up(&mut self, file: &RuleFile) -> Vec<RuleError> {
        match file.contents {
            Contents::Rules => Vec::new(),
            Contents::List => self.setup.lists.add(&file.name(), &file.path, &file.text),
            Contents::Pipeline => match Pipeline::parse(&file.path, &file.text) {
                Ok(pipeline) => {
                    self.setup.pipelines.push(pipeline);
                    Vec::new()
                }
                Err(problems) => problems,
            },
        }
    }

    /// Adds the rules and filters of all files in order: those that were understood when the
    /// program was built, and the others, which are read on all processors.
    fn add_all(&mut self, files: &[RuleFile]) {
        let rules = files.iter().enumerate().filter(|(_, file)| file.contents == Contents::Rules);
        let (trusted, others): (Vec<_>, Vec<_>) = rules.partition(|(_, file)| self.trusts(file));
        let mut understood = if trusted.is_empty() { HashMap::new() } else { files::understood() };
        let mut read: Vec<(usize, Parsed)> = Vec::with_capacity(files.len());
        let mut unknown = Vec::new();
        for (number, file) in trusted {
            match file.path.to_str().and_then(|path| understood.remove(path)) {
                Some(rules) => read.push((number, Parsed { rules, ..Parsed::default() })),
                None => unknown.push((number, file)),
            }
        }
        self.setup.trusts_expressions = true;
        read.extend(on_all_processors(&unknown, |file| self.read(file)));
        self.setup.trusts_expressions = false;
        read.extend(on_all_processors(&others, |file| self.checked(file)));
        read.sort_by_key(|(number, _)| *number);
        for (number, parsed) in read {
            self.add(number, parsed);
        }
    }

    fn trusts(&self, file: &RuleFile) -> bool {
        self.trusts_embedded && matches!(file.origin, Origin::Embedded(_))
    }

    fn read(&self, file: &RuleFile) -> Parsed {
        sigma::parse_with(&file.path, &file.text, &self.setup)
    }

    /// Reads a file, and looks for what can be read and is wrong all the same.
    fn checked(&self, file: &RuleFile) -> Parsed {
        let mut parsed = self.read(file);
        let places = &parsed.value_places;
        let of_rules = parsed.rules.iter().flat_map(|rule| sigma::lint(rule, places));
        let of_filters = parsed.filters.iter().flat_map(|filter| sigma::lint_filter(filter, places));
        let found: Vec<RuleError> = of_rules.chain(of_filters).collect();
        parsed.problems.extend(found);
        parsed
    }

    /// Adds the rules and filters of one file.
    fn add(&mut self, number: usize, parsed: Parsed) {
        self.problems.extend(parsed.problems.iter().map(|error| Problem::new(number, error)));
        self.files.extend(parsed.rules.iter().map(|_| number));
        self.rules.extend(parsed.rules);
        self.filters.extend(parsed.filters);
    }

    /// Adds every file, and links what is in them and in the files `beside`, whose rules
    /// are only there to be referred to.
    fn finish(mut self, files: Vec<RuleFile>, beside: &[RuleFile]) -> Loaded {
        for file in beside {
            self.set_up(file);
        }
        for (number, file) in files.iter().enumerate() {
            let found = self.set_up(file);
            self.problems.extend(found.iter().map(|error| Problem::new(number, error)));
        }
        let is_rules = |file: &RuleFile| file.contents == Contents::Rules;
        // Lists and pipelines of the user's own change built-in rules.
        let is_as_tested = files.iter().all(|file| is_rules(file) || file.origin != Origin::Disk);
        self.trusts_embedded &= is_as_tested;
        self.add_all(&files);
        if self.may_refer() {
            self.setup.trusts_expressions = is_as_tested;
            self.add_beside(beside);
        }
        let linked = sigma::link(&mut self.rules, &self.filters);
        let beside = self.rules.split_off(self.files.len());
        self.drop_broken(&linked.broken);
        for error in &linked.problems {
            // The user's own file, should it have the path of an embedded one.
            let file = files.iter().rposition(|file| file.path == error.path);
            self.problems.extend(file.map(|file| Problem::new(file, error)));
        }
        let rule_counts = linked.filtered.iter().map(BTreeSet::len).collect();
        let proxies = self.setup.lists.proxies();
        let mut loaded = Loaded { files, proxies, beside, ..self.route(rule_counts) };
        loaded.lint_correlations();
        loaded.refuse_twins();
        loaded.problems.sort_by_key(|problem| (problem.file, problem.place));
        loaded
    }

    /// Whether anything names rules of other files.
    fn may_refer(&self) -> bool {
        !self.filters.is_empty() || self.rules.iter().any(|rule| rule.correlation().is_some())
    }

    /// Adds rules to be referred to, but for those that the user has, too.
    fn add_beside(&mut self, files: &[RuleFile]) {
        let own: HashSet<String> = self.rules.iter().map(|rule| sigma::plain_id(&rule.id)).collect();
        for file in files.iter().filter(|file| file.contents == Contents::Rules) {
            let others = sigma::parse_with(&file.path, &file.text, &self.setup).rules;
            self.rules.extend(others.into_iter().filter(|rule| !own.contains(&sigma::plain_id(&rule.id))));
        }
    }

    /// Leaves out the correlations that cannot work; why has been reported.
    fn drop_broken(&mut self, broken: &BTreeSet<usize>) {
        let rules = std::mem::take(&mut self.rules).into_iter().zip(std::mem::take(&mut self.files));
        let sound = rules.enumerate().filter(|(number, _)| !broken.contains(number));
        (self.rules, self.files) = sound.map(|(_, rule)| rule).unzip();
    }

    /// Leaves out what is not about the audit log.
    fn route(self, rule_counts: Vec<usize>) -> Loaded {
        let foreign = foreign(&self.rules);
        let mut loaded = Loaded { problems: self.problems, ..Loaded::default() };
        for (file, rule) in self.files.into_iter().zip(self.rules) {
            match foreign.get(&rule.id) {
                Some(logsource) => loaded.skipped.add_rule(logsource),
                None => loaded.rules.push((file, rule)),
            }
        }
        for (filter, rule_count) in self.filters.into_iter().zip(rule_counts) {
            match filter.logsource.subject() {
                Some(_) => loaded.filters.push(UsedFilter { filter, rule_count }),
                None => loaded.skipped.add_filter(&filter.logsource),
            }
        }
        loaded
    }
}

/// What `read` makes of each file. Threads are not worth their while for few of them.
fn on_all_processors(
    files: &[(usize, &RuleFile)],
    read: impl Fn(&RuleFile) -> Parsed + Sync,
) -> Vec<(usize, Parsed)> {
    let read = |(number, file): &(usize, &RuleFile)| (*number, read(file));
    if files.len() < PARALLEL_FILES_MIN {
        files.iter().map(read).collect()
    } else {
        files.par_iter().map(read).collect()
    }
}

/// The rules about other logs, by id, and which log: what they say themselves, or what the
/// rules say that they relate.
fn foreign(rules: &[Rule]) -> HashMap<String, Logsource> {
    let mut relating: HashMap<&str, Vec<&Rule>> = HashMap::new();
    for rule in rules {
        for related in rule.correlation().into_iter().flat_map(|correlation| &correlation.rules) {
            relating.entry(&related.text).or_default().push(rule);
        }
    }
    let own = rules.iter().filter(|rule| rule.logsource.subject().is_none());
    let mut next: Vec<(&Rule, &Logsource)> = own.map(|rule| (rule, &rule.logsource)).collect();
    let mut foreign = HashMap::new();
    while let Some((rule, logsource)) = next.pop() {
        if foreign.insert(rule.id.clone(), logsource.clone()).is_none() {
            let more = relating.get(rule.id.as_str()).into_iter().flatten();
            next.extend(more.map(|rule| (*rule, logsource)));
        }
    }
    foreign
}

impl Loaded {
    /// `12 rules, 1 filter, 2 lists`.
    pub(crate) fn contents(&self) -> String {
        let lists: HashSet<String> =
            self.files.iter().filter(|file| file.contents == Contents::List).map(RuleFile::name).collect();
        let mut parts = vec![counted(self.rules.len() as u64, "rule")];
        for (count, noun) in [(self.filters.len(), "filter"), (lists.len(), "list")] {
            parts.extend((count > 0).then(|| counted(count as u64, noun)));
        }
        parts.join(", ")
    }

    fn lint_correlations(&mut self) {
        for (file, rule) in &self.rules {
            let found = sigma::lint_correlation(rule);
            self.problems.extend(found.iter().map(|error| Problem::new(*file, error)));
        }
    }

    /// What the engine is to know, with proxies besides those of the list.
    pub(crate) fn settings(&self, proxies: &[IpNet]) -> Settings {
        Settings { proxies: [proxies, &self.proxies].concat() }
    }

    /// How many problems there are of a severity.
    pub(crate) fn count(&self, severity: Severity) -> u64 {
        self.problems.iter().filter(|problem| problem.severity == severity).count() as u64
    }

    /// The rules of one file, and how many they are before those that they relate follow.
    pub(crate) fn rules_for(&self, file: usize) -> (Vec<Rule>, usize) {
        let own = self.rules.iter().filter(|(of, _)| *of == file).map(|(_, rule)| rule.clone());
        let mut rules: Vec<Rule> = own.collect();
        let own_count = rules.len();
        self.add_related(&mut rules);
        (rules, own_count)
    }

    /// Appends the rules that correlations among `rules` relate, and what those relate.
    pub(crate) fn add_related(&self, rules: &mut Vec<Rule>) {
        let mut at = 0;
        while let Some(rule) = rules.get(at) {
            let mentioned: Vec<String> = rule.correlation().map_or(Vec::new(), |correlation| {
                correlation.rules.iter().map(|rule| rule.text.clone()).collect()
            });
            for id in mentioned {
                let known = self.rules.iter().map(|(_, rule)| rule).chain(&self.beside);
                let found = known.into_iter().find(|rule| rule.id == id);
                let is_new = !rules.iter().any(|rule| rule.id == id);
                rules.extend(found.filter(|_| is_new).cloned());
            }
            at += 1;
        }
    }

    /// The rules alone.
    pub(crate) fn into_rules(self) -> Vec<Rule> {
        self.rules.into_iter().map(|(_, rule)| rule).collect()
    }

    /// Two rules with one id would hide each other's alerts: an error at the second.
    fn refuse_twins(&mut self) {
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut twins = Vec::new();
        for (file, rule) in &self.rules {
            let id = sigma::plain_id(&rule.id);
            match first.get(&id) {
                None => drop(first.insert(id, *file)),
                Some(&other) => twins.push(self.twin(*file, other, rule)),
            }
        }
        self.problems.extend(twins);
    }

    fn twin(&self, file: usize, other: usize, rule: &Rule) -> Problem {
        let other = &self.files[other];
        let whose = match other.origin {
            Origin::Embedded(_) => "the built-in rule",
            Origin::Disk => "the rule",
        };
        Problem {
            file,
            severity: Severity::Error,
            code: DUPLICATE_ID,
            place: place_of_id(&self.files[file].text, &rule.id),
            message: format!("the id `{}` is also that of {whose} in `{}`", rule.id, other.path.display()),
            help: Some("give one of the two an id of its own; `uuidgen` makes one".to_owned()),
            label: None,
        }
    }
}

/// Where the last line `id: …` with this id stands in a rule file.
fn place_of_id(text: &str, id: &str) -> Place {
    for (number, line) in (1..).zip(text.lines()).collect::<Vec<_>>().into_iter().rev() {
        let value = line.trim_start().strip_prefix("id:").and_then(|rest| rest.split_whitespace().next());
        let written = value.map(|value| value.trim_matches(['"', '\'']));
        let Some(written) = written.filter(|written| sigma::plain_id(written) == sigma::plain_id(id)) else {
            continue;
        };
        let column = line.split_once(written).map_or(0, |(before, _)| before.chars().count());
        let number_of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        return Place {
            line: number,
            column: number_of(column + 1),
            width: number_of(written.chars().count()),
        };
    }
    Place { line: 1, column: 1, width: 1 }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn built_in_rules_have_no_mistake_and_are_the_same_unchecked() {
        let checked = Loader::default().finish(files::embedded(), &[]);
        assert_eq!(checked.problems.first().map(|problem| &problem.message), None);
        let trusted = load(files::embedded());
        assert_eq!(trusted.rules.len(), checked.rules.len());
        for (one, other) in trusted.rules.iter().zip(&checked.rules) {
            assert!(format!("{one:?}") == format!("{other:?}"), "{}", one.1.path.display());
        }
    }

    #[test]
    fn every_file_of_built_in_rules_is_understood_when_the_program_is_built() {
        let files = files::embedded().into_iter().filter(|file| file.contents == Contents::Rules);
        let understood = files::understood();
        for file in files {
            assert!(understood.contains_key(file.path.to_str().unwrap()), "{}", file.path.display());
        }
    }

    #[test]
    fn only_built_in_rules_with_built_in_lists_go_unchecked() {
        let (built_in, own) = (Origin::Embedded(None), Origin::Disk);
        let codes = |origin, others: Vec<RuleFile>| {
            let mut files = vec![file("r.yml", UNSOUND, origin, Contents::Rules)];
            files.extend(others);
            load(files).problems.iter().map(|problem| problem.code).collect::<Vec<_>>()
        };
        let pipeline = "{name: p, transformations: []}";
        assert!(codes(built_in, Vec::new()).is_empty());
        assert_eq!(codes(own, Vec::new()), ["MH206"]);
        assert_eq!(codes(built_in, vec![file("l.txt", "x", own, Contents::List)]), ["MH206"]);
        assert_eq!(codes(built_in, vec![file("p.yml", pipeline, own, Contents::Pipeline)]), ["MH206"]);
        assert!(codes(built_in, vec![file("l.txt", "x", built_in, Contents::List)]).is_empty());
        let rule = UNSOUND.replace("c0ff", "c1ff").replace("'['", "x");
        assert!(codes(built_in, vec![file("o.yml", &rule, own, Contents::Rules)]).is_empty());
    }

    const UNSOUND: &str = "
title: A broken expression
id: 7c0b6f0e-5f0e-4c1e-9d0f-2f1b0f6cc0ff
logsource: {product: kubernetes, service: audit}
detection: {found: {user.username|re: '['}, condition: found}
level: low
";

    fn file(path: &str, text: &str, origin: Origin, contents: Contents) -> RuleFile {
        RuleFile { path: PathBuf::from(path), text: text.to_owned().into(), origin, contents }
    }
}
