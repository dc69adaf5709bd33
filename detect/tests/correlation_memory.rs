//! Memory of correlations is bounded whatever matches come, and what the correlator says it
//! takes is what it takes.
//!
//! The small loads run with every test. The large ones, of millions of groups, take a minute:
//! `cargo test --release -p masthead-detect --test correlation_memory -- --ignored --nocapture`

#![allow(clippy::disallowed_methods, clippy::cast_precision_loss, clippy::print_stdout, clippy::unwrap_used)]

use core::time::Duration;
use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, SecondsFormat};
use detect::Event;
use detect::correlate::{Correlator, Counts, DISORDER, PENDING_BYTES_MAX, Phase, WINDOWS_BYTES_MAX};
use detect::field::{Settings, View};
use detect::sigma::correlation::{Correlation, Metric, Needed, Range, Reference, Relation};
use detect::sigma::{Expr, Level, Logic, Logsource, Place, Rule};

const START: i64 = 1_700_000_000_000_000;

fn rule(id: &str, logic: Logic) -> Rule {
    Rule {
        path: PathBuf::from("load.yml"),
        id: id.to_owned(),
        title: id.to_owned(),
        level: Level::Low,
        status: None,
        description: String::new(),
        tags: vec![],
        falsepositives: vec![],
        references: vec![],
        logsource: Logsource::default(),
        custom: vec![],
        name: None,
        logic,
    }
}

/// Two rules, and correlations of both by the field `group`.
fn rules(relations: &[Relation]) -> Vec<Rule> {
    let base = |id| rule(id, Logic::Event(Expr::All(vec![])));
    let reference = |text: &str| Reference { text: text.to_owned(), place: Place::default() };
    let correlation = |relation: &Relation| Correlation {
        relation: relation.clone(),
        rules: vec![reference("a"), reference("b")],
        group_by: vec!["group".to_owned()],
        aliases: vec![],
        timespan: Duration::from_secs(3600),
        generate: false,
        field_places: vec![],
    };
    let named = |(number, relation)| rule(&format!("c{number}"), Logic::Correlation(correlation(relation)));
    [base("a"), base("b")].into_iter().chain(relations.iter().enumerate().map(named)).collect()
}

fn many_requests() -> Relation {
    Relation::EventCount(Range::at_least(10.0))
}

fn many_values() -> Relation {
    Relation::ValueCount(vec!["value".to_owned()], Range::at_least(20.0))
}

fn in_order() -> Relation {
    Relation::TemporalOrdered(Needed::Count(Range::at_least(2.0)))
}

/// What the n-th event holds besides its time and id.
type Fields<'l> = &'l dyn Fn(u64) -> String;

/// What comes: how many events, how far apart, and what the n-th holds.
struct Load<'l> {
    relations: &'l [Relation],
    count: u64,
    micros_apart: i64,
    fields: Fields<'l>,
    windows_bytes_max: usize,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    counts: Counts,
    peak_bytes: usize,
    /// The memory that the correlator says it takes, to what it takes: at worst either way.
    least_ratio: f64,
    most_ratio: f64,
    begun: u64,
    over: u64,
    seconds: f64,
}

impl Load<'_> {
    fn run(&self) -> Outcome {
        let (rules, settings) = (rules(self.relations), Settings::default());
        let mut live = 0;
        let mut correlator =
            Correlator::new(&rules, "c", DISORDER).with_windows_bytes_max(self.windows_bytes_max);
        let (mut begun, mut over) = (0, 0);
        let mut on_episode = |phase| match phase {
            Phase::Begun => begun += 1,
            Phase::Over => over += 1,
            Phase::Grown => {}
        };
        let (mut peak, mut least_ratio, mut most_ratio) = (0, f64::INFINITY, 0.0_f64);
        let started = Instant::now();
        let chunk_count = (self.count / 50).max(1);
        for from in (0..self.count).step_by(usize::try_from(chunk_count).unwrap()) {
            let numbers = from..(from + chunk_count).min(self.count);
            let chunk = allocation_counter::measure(|| {
                for number in numbers {
                    let json = self.json(number);
                    let event = Event::parse(json.as_bytes()).unwrap();
                    let view = View { event: &event, settings: &settings };
                    let rule = usize::from(number % 5 == 4);
                    correlator.observe(rule, view, &mut |episode| on_episode(episode.phase));
                }
            });
            peak = peak.max(live + i64::try_from(chunk.bytes_max).unwrap());
            live += chunk.bytes_current;
            // Little is not worth being told exactly.
            if live > 1 << 18 {
                let ratio = correlator.size().1 as f64 / live as f64;
                (least_ratio, most_ratio) = (least_ratio.min(ratio), most_ratio.max(ratio));
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        correlator.finish(&mut |episode| on_episode(episode.phase));
        assert_eq!(correlator.size().0, 0, "nothing is remembered of what is over");
        let counts = correlator.counts();
        let peak_bytes = usize::try_from(peak).unwrap();
        Outcome { counts, peak_bytes, least_ratio, most_ratio, begun, over, seconds }
    }

    fn json(&self, number: u64) -> String {
        let time = START + i64::try_from(number).unwrap() * self.micros_apart;
        let time =
            DateTime::from_timestamp_micros(time).unwrap().to_rfc3339_opts(SecondsFormat::Micros, true);
        let fields = (self.fields)(number);
        let id = if fields.contains("auditID") {
            String::new()
        } else {
            format!(r#""auditID":"01234567-89ab-4def-8123-{number:012x}","#)
        };
        format!(r#"{{{id}"requestReceivedTimestamp":"{time}",{fields}}}"#)
    }

    /// Bounded, and honest about it.
    #[track_caller]
    fn check(&self, name: &str) -> Outcome {
        let outcome = self.run();
        println!(
            "{name}: {} events, peak {} MiB, told/taken {:.2} to {:.2}, {:.0} events/s, {} begun, {:?}",
            self.count,
            outcome.peak_bytes >> 20,
            outcome.least_ratio,
            outcome.most_ratio,
            self.count as f64 / outcome.seconds,
            outcome.begun,
            outcome.counts,
        );
        assert!(outcome.least_ratio >= 1.0, "more is taken than told: {outcome:?}");
        // While a table is moved into one of twice the size, both are there.
        let bound = (self.windows_bytes_max + PENDING_BYTES_MAX) / 8 * 9;
        assert!(outcome.peak_bytes <= bound, "{outcome:?}");
        assert_eq!(outcome.begun, outcome.over, "every episode that begins ends");
        assert_eq!(outcome.counts.late, 0);
        outcome
    }
}

/// Each of so many groups gets its turn, and another value each time.
fn spread(groups: u64) -> impl Fn(u64) -> String {
    move |number| {
        let group = number.wrapping_mul(2_654_435_761) % groups;
        format!(r#""group":"user-{group}","value":"value-{}""#, number / groups)
    }
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown").to_owned()
}

#[test]
fn what_is_told_is_what_is_taken() {
    let sum = Relation::Metric(Metric::Sum, "value".to_owned(), Range::at_least(1e9));
    let median = Relation::Metric(Metric::Percentile(50.0), "group".to_owned(), Range::at_least(1e9));
    let relations = [many_requests(), many_values(), in_order(), sum, median];
    for relation in relations {
        for groups in [1, 50, 3000] {
            let fields = |number: u64| format!(r#""group":{},"value":{}"#, number % groups, number / groups);
            let load = Load {
                relations: std::slice::from_ref(&relation),
                count: 10_000,
                micros_apart: 500_000,
                fields: &fields,
                windows_bytes_max: WINDOWS_BYTES_MAX,
            };
            let outcome = load.check(&format!("{} in {groups} groups", relation.name()));
            assert!(outcome.most_ratio <= 1.3, "{outcome:?}");
        }
    }
}

#[test]
fn hostile_shapes_are_bounded() {
    let relations = [many_requests(), many_values(), in_order()];
    let values = |number: u64, count: u64| {
        let values: Vec<String> = (0..count).map(|value| format!(r#""{}""#, number * 7 + value)).collect();
        values.join(",")
    };
    let many =
        |number: u64| format!(r#""group":[{}],"value":[{}]"#, values(number, 3000), values(number, 3000));
    let huge = |number: u64| {
        let text = "x".repeat(1 << 20);
        format!(r#""group":"{text}{number}","value":"{number}{text}""#)
    };
    let made_up = |number: u64| format!(r#""group":"{number}","value":1,"auditID":"{}""#, "y".repeat(5000));
    let shapes: [(&str, u64, Fields<'_>); 3] = [
        ("thousands of values", 20, &many),
        ("values of 1 MiB", 30, &huge),
        ("made-up ids", 2_000, &made_up),
    ];
    for (name, count, fields) in shapes {
        let windows_bytes_max = 1 << 16;
        let outcome =
            Load { relations: &relations, count, micros_apart: 20_000_000, fields, windows_bytes_max }
                .check(name);
        assert!(outcome.counts.evicted_groups > 0, "{outcome:?}");
    }
}

#[test]
fn a_flood_is_taken_early_and_groups_that_do_not_fit_are_given_up() {
    let relations = [Relation::ValueCount(vec!["value".to_owned()], Range::at_least(1.0))];
    let fields = |number: u64| {
        let values: Vec<String> = (0..60).map(|value| format!(r#""{value}{}""#, "z".repeat(250))).collect();
        format!(r#""group":"{number}","value":[{}]"#, values.join(","))
    };
    let load = Load {
        relations: &relations,
        count: 9_000,
        micros_apart: 1,
        fields: &fields,
        windows_bytes_max: 1 << 20,
    };
    let outcome = load.check("a flood");
    assert!(outcome.counts.hurried > 0 && outcome.counts.evicted_groups > 0, "{outcome:?}");
    assert_eq!(outcome.begun, 9_000, "what is given up has been told");
}

#[test]
#[ignore = "takes a minute, and half a gigabyte of memory"]
fn ten_million_events_of_a_million_groups() {
    let fields = spread(1_000_000);
    let all = [many_requests(), many_values(), in_order()];
    let sets: [(&str, &[Relation]); 4] =
        [("requests", &all[..1]), ("values", &all[1..2]), ("in order", &all[2..]), ("all three", &all)];
    for (name, relations) in sets {
        let load = Load {
            relations,
            count: 10_000_000,
            micros_apart: 360,
            fields: &fields,
            windows_bytes_max: WINDOWS_BYTES_MAX,
        };
        let outcome = load.check(name);
        println!("{}", resident());
        assert!(outcome.most_ratio <= 1.3, "{outcome:?}");
    }
    let one = |_| r#""group":"one","value":"1""#.to_owned();
    let load = Load {
        relations: &all,
        count: 10_000_000,
        micros_apart: 360,
        fields: &one,
        windows_bytes_max: WINDOWS_BYTES_MAX,
    };
    load.check("one group");
    println!("{}", resident());
}
