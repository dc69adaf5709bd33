//! Several instances give what one gives: the same code as in a fleet, with a topic that is a list.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use detect::field::Settings;
use detect::redact::Redactor;
use sinks::store::{Filter, Options, Reading, Retention, Store};
use tokio::runtime::Runtime;

use super::super::mark::Said;
use super::super::record::{match_bytes, read_match};
use super::*;
use crate::args::{RuleChoice, SetupChoice};
use crate::live::Current;
use crate::live::exchange::{Exchange, Publishing};
use crate::live::figures::Figures;
use crate::live::lanes::Lane;
use crate::live::lookout::Origin;
use crate::{files, loading};

const PARTITIONS: i32 = 4;
const CLUSTERS: [&str; 3] = ["prod", "lab", "edge"];

const RULES: &str = "
title: Something was deleted
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c101
status: test
name: deleted
logsource: { product: kubernetes, service: audit }
detection: { deleted: { verb: delete }, condition: deleted }
level: low
---
title: Something was created
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c102
status: test
name: created
logsource: { product: kubernetes, service: audit }
detection: { created: { verb: create }, condition: created }
level: low
---
title: Many deletions
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c103
status: test
name: many
correlation:
  type: event_count
  rules: [deleted]
  group-by: [user.username]
  timespan: 10m
  condition: { gte: 3 }
level: high
---
title: Few creations
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c104
status: test
correlation:
  type: event_count
  rules: [created]
  group-by: [user.username]
  timespan: 20m
  condition: { lte: 2 }
level: high
---
title: Created, then deleted by many
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c105
status: test
correlation:
  type: temporal_ordered
  rules: [created, many]
  group-by: [user.username]
  timespan: 30m
level: high
";

/// An event with its cluster and when it came, in seconds since 1970.
type Happened = (&'static str, i64, String);

/// Numbers that look random, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Keys and values.
type Messages = Vec<(String, Vec<u8>)>;

/// Kafka, as far as it matters: by partition, messages.
#[derive(Default)]
struct Topic {
    matches: Mutex<BTreeMap<i32, Messages>>,
    standings: Mutex<HashMap<String, Standing>>,
}

/// What an instance publishes.
#[derive(Clone)]
struct Memory {
    topic: Arc<Topic>,
    said: Arc<Mutex<Said>>,
}

impl Exchange for Memory {
    fn publish(&self, matches: Vec<NewMatch>) -> Publishing {
        for found in matches {
            let partition = partition_of(&found.cluster, PARTITIONS);
            let mut topic = self.topic.matches.lock().unwrap();
            let messages = topic.entry(partition).or_default();
            messages.push((found.cluster.clone(), match_bytes(&found)));
            self.said.lock().unwrap().published(partition, i64::try_from(messages.len()).unwrap() - 1);
        }
        Box::pin(async { Ok(()) })
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn hear(&self, _: &str, cluster: &str, latest: Option<chrono::DateTime<chrono::Utc>>) -> bool {
        self.said.lock().unwrap().hear(cluster, latest)
    }
}

/// An instance.
struct Instance {
    name: String,
    folder: tempfile::TempDir,
    lookout: Arc<Lookout>,
    memory: Memory,
    shares: Shares,
    /// By partition that it has: the next message.
    next: BTreeMap<i32, usize>,
}

fn lookout(folder: &Path, exchange: Option<Arc<dyn Exchange>>) -> Arc<Lookout> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static FIGURES: OnceLock<Arc<Figures>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    let figures = Arc::clone(FIGURES.get_or_init(|| Arc::new(Figures::install().unwrap())));
    let rules = folder.join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let setup = SetupChoice { lists: Vec::new(), pipelines: Vec::new() };
    let choice = RuleChoice { paths: vec![rules], no_default_rules: true, setup };
    let rules = loading::load(files::chosen(&choice).unwrap()).into_rules();
    assert_eq!(rules.len(), 5);
    let redactor = Redactor::new([0; 32]);
    let current = Current::new(rules, Settings::default(), redactor.clone());
    let guard = runtime.enter();
    let (store, _) = Store::open(&folder.join("state"), Options::default()).unwrap();
    drop(guard);
    Arc::new(Lookout::new(current, store, figures, redactor, runtime.handle().clone(), exchange).unwrap())
}

impl Instance {
    fn start(name: String, topic: &Arc<Topic>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory { topic: Arc::clone(topic), said: Arc::default() };
        let lookout = lookout(folder.path(), Some(Arc::new(memory.clone())));
        // Nobody speaks later than a test lets him.
        let shares =
            Shares { spoken_within: Duration::ZERO, ..Shares::new(Arc::clone(&lookout), PARTITIONS) };
        Self { name, folder, lookout, memory, shares, next: BTreeMap::new() }
    }

    fn assign(&mut self, partition: i32) {
        self.shares.assigned([partition]);
        self.next.insert(partition, 0);
    }

    fn hand_over(&mut self, partition: i32) {
        self.publish_standings();
        self.shares.revoked([partition]);
        self.next.remove(&partition);
    }

    fn publish_standings(&self) {
        let mut standings = self.memory.topic.standings.lock().unwrap();
        for (_, cluster, bytes) in self.shares.standings().unwrap() {
            standings.insert(cluster, Standing::from_bytes(&bytes).unwrap());
        }
    }

    /// Takes up to so many messages of each partition, and reads those from before the assignment to the end.
    fn turn(&mut self, count: usize) {
        for partition in self.shares.unread() {
            self.shares.begin(partition, self.memory.topic.standings.lock().unwrap().clone());
        }
        for (partition, next) in &mut self.next {
            let messages = self.memory.topic.matches.lock().unwrap().entry(*partition).or_default().clone();
            let taken: Vec<_> = messages.iter().skip(*next).take(count).collect();
            *next += taken.len();
            let matches = taken.iter().map(|(key, bytes)| read_match(Some(key.as_bytes()), bytes).unwrap());
            if !taken.is_empty() {
                self.shares.take(*partition, matches.collect(), i64::try_from(*next).unwrap() - 1).unwrap();
            }
            if *next == messages.len() {
                self.shares.ended(*partition).unwrap();
            }
        }
        self.shares.settle();
        self.lookout.tick();
    }

    /// Lets go of the matches that no window wants.
    fn prune(&self) {
        let now_us = chrono::Utc::now().timestamp_micros();
        let keep = Retention {
            age: Duration::MAX,
            bytes_max: u64::MAX,
            matches_before_us: self.lookout.told_until_us(now_us),
        };
        self.lookout.runtime.block_on(self.lookout.store.prune(now_us, keep)).unwrap();
        self.lookout.forget_unrelated().unwrap();
    }

    /// How many matches are stored.
    fn match_count(&self) -> u64 {
        self.lookout.runtime.block_on(self.lookout.store.figures()).unwrap().matches
    }

    fn mark(&self) -> Mark {
        let lanes = self.lookout.clusters.lanes.marks();
        self.memory.said.lock().unwrap().mark(&self.name, lanes)
    }
}

/// Requests of three clusters in the order in which they come: some minutes out of order.
fn events(dice: &mut Dice) -> Vec<Happened> {
    let begin = chrono::DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().timestamp();
    let mut events: Vec<_> = (0..600)
        .map(|number| {
            let cluster = CLUSTERS[dice.below(3)];
            let time = begin + number * 25;
            (time + i64::try_from(dice.below(200)).unwrap(), cluster, event(dice, time, &number.to_string()))
        })
        .collect();
    events.sort_by_key(|(at, ..)| *at);
    events.into_iter().map(|(at, cluster, event)| (cluster, at, event)).collect()
}

fn event(dice: &mut Dice, time: i64, id: &str) -> String {
    let time = chrono::DateTime::from_timestamp(time, 0).unwrap().format("%Y-%m-%dT%H:%M:%S.000000Z");
    let verb = ["get", "create", "delete", "delete"][dice.below(4)];
    let user = ["alice", "bob", "carol", "dave", "eve"][dice.below(5)];
    format!(
        r#"{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","requestURI":"/{id}","verb":"{verb}","user":{{"username":"{user}"}},"requestReceivedTimestamp":"{time}","stageTimestamp":"{time}"}}"#
    )
}

/// An event a day later, so that all windows are over.
fn last() -> String {
    event(&mut Dice(0), 1_772_452_800 + 86_400, "last")
}

fn take(lookout: &Lookout, source: &str, cluster: &str, events: &[String]) {
    let received_at = Instant::now();
    let origin = Origin { source, cluster, place: None, position: None, received_at };
    lookout.take(origin, events.join("\n").as_bytes()).unwrap();
}

fn ids(folder: &Path) -> BTreeSet<String> {
    let reading = Reading::open(&folder.join("state")).unwrap();
    let told = |json: &str| {
        let alert: serde_json::Value = serde_json::from_str(json).unwrap();
        format!("{} {}", alert["id"], alert["rule"]["title"])
    };
    reading.alerts(Filter::default()).map(|alert| told(&alert.unwrap().json)).collect()
}

/// Batches of one cluster each, in order.
fn batches(events: &[Happened]) -> Vec<(&'static str, Vec<String>)> {
    let mut batches: Vec<(&str, Vec<String>)> = Vec::new();
    for some in events.chunks(12) {
        for cluster in CLUSTERS {
            let of = some.iter().filter(|(of, ..)| *of == cluster).map(|(.., event)| event.clone());
            batches.push((cluster, of.collect()));
        }
    }
    batches
}

/// What one instance gives.
fn alone(batches: &[(&str, Vec<String>)]) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let lookout = lookout(folder.path(), None);
    for (cluster, events) in batches {
        take(&lookout, "webhook", cluster, events);
    }
    for cluster in CLUSTERS {
        take(&lookout, "webhook", cluster, &[last()]);
    }
    lookout.tick();
    for cluster in lookout.clusters.all() {
        assert_eq!(cluster.losses()[0], ("late", 0));
    }
    ids(folder.path())
}

/// What three give that die and hand over to one another.
fn together(batches: &[(&str, Vec<String>)], dice: &mut Dice) -> BTreeSet<String> {
    let topic = Arc::new(Topic::default());
    let mut instances: Vec<_> = (0..3).map(|number| Instance::start(number.to_string(), &topic)).collect();
    for partition in 0..PARTITIONS {
        instances[dice.below(3)].assign(partition);
    }
    let mut ended = Vec::new();
    let mut all = BTreeSet::new();
    for (number, (cluster, events)) in batches.iter().enumerate() {
        take(&instances[dice.below(3)].lookout, "webhook", cluster, events);
        match dice.below(12) {
            0 => {
                let died = dice.below(3);
                let fresh = Instance::start(format!("{number}"), &topic);
                let died = std::mem::replace(&mut instances[died], fresh);
                for partition in died.next.keys() {
                    instances[dice.below(3)].assign(*partition);
                }
                all.extend(ids(died.folder.path()));
                ended.push(died);
            }
            1 => {
                let (from, to) = (dice.below(3), dice.below(3));
                if let Some(partition) = instances[from].next.keys().next().copied().filter(|_| from != to) {
                    instances[from].hand_over(partition);
                    instances[to].assign(partition);
                }
            }
            2 => {
                for instance in &instances {
                    instance.publish_standings();
                }
            }
            3..8 => speak(&instances),
            8 => instances[dice.below(3)].prune(),
            _ => {
                let count = 1 + dice.below(40);
                instances[dice.below(3)].turn(count);
            }
        }
    }
    for cluster in CLUSTERS {
        take(&instances[dice.below(3)].lookout, "webhook", cluster, &[last()]);
    }
    for _ in 0..3 {
        speak(&instances);
        for instance in &mut instances {
            instance.turn(usize::MAX);
        }
    }
    for instance in &instances {
        all.extend(ids(instance.folder.path()));
    }
    all
}

fn speak(instances: &[Instance]) {
    for mark in instances.iter().map(Instance::mark) {
        for instance in instances {
            instance.shares.hear(&mark);
        }
    }
}

#[test]
fn several_instances_that_die_and_hand_over_give_what_one_gives() {
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let batches = batches(&events(&mut dice));
        let expected = alone(&batches);
        assert!(expected.len() > 20, "{}", expected.len());
        let found = together(&batches, &mut dice);
        let missing: Vec<_> = expected.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&expected).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "seed {seed}: {missing:#?} missing, {surplus:#?} too many"
        );
    }
}

/// The matches of this log are months old by the clock here.
#[test]
fn matches_are_kept_while_they_are_restored_and_let_go_where_nobody_relates_them() {
    let topic = Arc::new(Topic::default());
    let mut instance = Instance::start("one".to_owned(), &topic);
    let events = events(&mut Dice(1)).into_iter().filter(|(cluster, ..)| *cluster == "prod");
    take(&instance.lookout, "webhook", "prod", &events.map(|(.., event)| event).collect::<Vec<_>>());
    let partition = partition_of("prod", PARTITIONS);
    let published = topic.matches.lock().unwrap()[&partition].len() as u64;
    assert!(published > 50, "{published}");

    instance.assign(partition);
    instance.turn(40);
    instance.prune();
    assert_eq!(instance.match_count(), 40, "correlations have not begun");
    instance.turn(usize::MAX);
    speak(std::slice::from_ref(&instance));
    instance.turn(0);
    instance.prune();
    let kept = instance.match_count();
    assert!(0 < kept && kept < published, "{kept} of {published}: some windows are over in the cluster");
    instance.hand_over(partition);
    instance.prune();
    assert_eq!(instance.match_count(), 0);
}

#[test]
fn matches_from_the_future_are_not_stored() {
    let topic = Arc::new(Topic::default());
    let mut instance = Instance::start("one".to_owned(), &topic);
    let now = chrono::Utc::now().timestamp();
    let deletion = |time: i64, id: &str| event(&mut Dice(0), time, id).replace(r#""get""#, r#""delete""#);
    let events = [deletion(now + 240, "on time"), deletion(now + 3_600, "ahead"), deletion(now, "now")];
    take(&instance.lookout, "webhook", "prod", &events);
    let partition = partition_of("prod", PARTITIONS);
    assert_eq!(topic.matches.lock().unwrap()[&partition].len(), 2);

    // Another instance may have been told so by another clock.
    let ahead = NewMatch {
        id: 7,
        cluster: "prod".to_owned(),
        time_us: (now + 3_600) * 1_000_000,
        until_us: i64::MAX,
        body: vec![7],
    };
    topic.matches.lock().unwrap().get_mut(&partition).unwrap().push(("prod".to_owned(), match_bytes(&ahead)));
    instance.assign(partition);
    instance.turn(usize::MAX);
    assert_eq!(instance.match_count(), 2);
}

/// Lanes that are hours apart, and lost now and then, give what one pass in order gives.
#[test]
fn lanes_that_are_read_at_unequal_pace_give_what_one_pass_gives() {
    for seed in 10..12 {
        let mut dice = Dice(seed);
        let events = events(&mut dice);
        let expected = alone(&batches(&events));
        let folder = tempfile::tempdir().unwrap();
        let lookout = lookout(folder.path(), None);
        let lane = |partition| Lane { source: "managed".into(), topic: "audit".into(), partition };
        let lanes = &lookout.clusters.lanes;
        lanes.assigned((0..3).map(lane));
        let mut queues: Vec<Vec<_>> = vec![Vec::new(); 3];
        for event in events {
            queues[dice.below(3)].push(event);
        }
        // The second lane is read to its end before the others have begun.
        for order in [vec![1], vec![0, 2, 2, 2]] {
            while order.iter().any(|partition| !queues[*partition].is_empty()) {
                if dice.below(4) == 0 {
                    // A session ended: for a moment nobody reads any of them.
                    lanes.lost((0..3).map(lane));
                    lookout.tick();
                    lanes.assigned((0..3).map(lane));
                }
                let partition = order[dice.below(order.len())];
                let count = (1 + dice.below(30)).min(queues[partition].len());
                let some: Vec<_> = queues[partition].drain(..count).collect();
                for (cluster, _, event) in &some {
                    take(&lookout, "managed", cluster, std::slice::from_ref(event));
                }
                let latest = some.iter().map(|(_, at, _)| *at - 200).max();
                let partition = i32::try_from(partition).unwrap();
                lanes.heard(&lane(partition), latest.and_then(|at| chrono::DateTime::from_timestamp(at, 0)));
                lookout.tick();
            }
        }
        for cluster in CLUSTERS {
            take(&lookout, "managed", cluster, &[last()]);
        }
        lanes.revoked((0..3).map(lane));
        lookout.tick();
        assert_eq!(ids(folder.path()), expected, "seed {seed}");
    }
}

#[test]
fn what_was_said_of_a_topic_that_is_gone_holds_up_nothing() {
    let mut share = Share { last_offset: Some(3), ..Share::default() };
    let mark = |offset| Mark { instance: "one".to_owned(), published: vec![(0, offset)], ..Mark::default() };
    let now = Instant::now();
    share.hear(0, &mark(5_000), now);
    share.hear(0, &mark(5_001), now);
    assert!(share.due(0, now, &mut false).is_empty());
    share.hear(0, &mark(3), now);
    let due = share.due(0, now, &mut false);
    assert_eq!(due.iter().map(|heard| heard.published(0)).collect::<Vec<_>>(), [Some(3)]);
}

#[test]
fn partitions_that_were_added_are_not_related() {
    let instance = Instance::start("one".to_owned(), &Arc::default());
    instance.shares.assigned([PARTITIONS - 1, PARTITIONS]);
    assert_eq!(instance.shares.unread(), [PARTITIONS - 1]);
}
