//! Sorts the messages of a batch by cluster; those of a cluster stay in their order.
//!
//! Where wrappers say whose their events are, one message may hold events of several clusters: it is then
//! a member of the group of each, and of its events those are evaluated there that are the cluster's.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Empty};
use std::sync::Arc;

use ingest::kafka::Message;
use ingest::webhook::EVENT_BYTES_MAX;
use ingest::{Frame, Frames};

use super::judging::lone_event;
use super::naming::{Nameless, Naming};

/// How many clusters one message may hold events of; events of others are of the cluster where nothing is
/// said. The message is read once more for each, and batches of clouds hold events of one or a few.
const CLUSTERS_MAX: usize = 16;

/// Messages of one cluster.
pub(super) struct Group<'b> {
    pub(super) cluster: Arc<str>,
    pub(super) members: Vec<Member<'b>>,
}

/// A message, or what of it is of one cluster.
pub(super) struct Member<'b> {
    pub(super) message: Message<'b>,
    /// Whose its events are, in their order, if they are of several clusters.
    clusters: Option<Arc<[Arc<str>]>>,
    /// Whether this is where the message comes first.
    pub(super) is_first: bool,
}

impl Member<'_> {
    /// Whether an event, counted from 0, is of a cluster.
    pub(super) fn is_of(&self, number: usize, cluster: &str) -> bool {
        let clusters = self.clusters.as_deref();
        clusters.is_none_or(|clusters| clusters.get(number).is_some_and(|of| **of == *cluster))
    }
}

/// Messages that are being sorted.
pub(super) struct Grouping<'n, 'b> {
    naming: &'n Naming,
    groups: Vec<Group<'b>>,
    numbers: HashMap<Arc<str>, usize>,
    last: usize,
    nameless: Option<(u64, Nameless)>,
    frames: Frames<Empty>,
}

impl<'n, 'b> Grouping<'n, 'b> {
    pub(super) fn new(naming: &'n Naming) -> Self {
        let frames = Frames::of_bytes(Vec::new(), io::empty(), EVENT_BYTES_MAX);
        Self { naming, groups: Vec::new(), numbers: HashMap::new(), last: 0, nameless: None, frames }
    }

    /// Adds a message.
    pub(super) fn add(&mut self, message: Message<'b>) {
        let wrapped =
            message.value.filter(|value| self.naming.is_by_envelope() && lone_event(value).is_none());
        if let Some(wrapped) = wrapped {
            return self.add_wrapped(message, wrapped);
        }
        let cluster = self.naming.named(&message);
        let cluster = self.known(cluster, true);
        self.put(cluster, Member { message, clusters: None, is_first: true });
    }

    /// The groups; and how many messages name no cluster, and why the last of them does not.
    pub(super) fn end(self) -> (Vec<Group<'b>>, Option<(u64, Nameless)>) {
        (self.groups, self.nameless)
    }

    /// Adds a message to the group of each cluster that wrappers in it name.
    fn add_wrapped(&mut self, message: Message<'b>, value: &[u8]) {
        self.frames.begin_again(value);
        let (mut clusters, mut distinct) = (Vec::new(), BTreeSet::new());
        let mut is_named = true;
        while let Some(frame) = self.frames.next() {
            if matches!(frame, Frame::Malformed(_)) {
                continue;
            }
            let named = self.naming.hinted(self.frames.cluster_hint());
            let is_known = named.is_ok();
            let mut cluster = self.known(named, is_named);
            is_named &= is_known;
            if distinct.len() >= CLUSTERS_MAX && !distinct.contains(&cluster) {
                cluster = self.naming.otherwise();
            }
            distinct.insert(Arc::clone(&cluster));
            clusters.push(cluster);
        }
        if distinct.len() < 2 {
            let cluster = distinct.pop_first().unwrap_or_else(|| self.naming.otherwise());
            return self.put(cluster, Member { message, clusters: None, is_first: true });
        }
        let clusters: Arc<[Arc<str>]> = clusters.into();
        for (index, cluster) in distinct.into_iter().enumerate() {
            let clusters = Some(Arc::clone(&clusters));
            self.put(cluster, Member { message, clusters, is_first: index == 0 });
        }
    }

    /// The cluster that was named, or the one where none is; the message `counts` if it did not before.
    fn known(&mut self, named: Result<Arc<str>, Nameless>, counts: bool) -> Arc<str> {
        named.unwrap_or_else(|reason| {
            let before = self.nameless.map_or(0, |(messages, _)| messages);
            self.nameless = Some((before + u64::from(counts), reason));
            self.naming.otherwise()
        })
    }

    fn put(&mut self, cluster: Arc<str>, member: Member<'b>) {
        let Self { groups, numbers, last, .. } = self;
        if groups.get(*last).is_none_or(|group| group.cluster != cluster) {
            *last = *numbers.entry(Arc::clone(&cluster)).or_insert_with(|| {
                groups.push(Group { cluster, members: Vec::new() });
                groups.len() - 1
            });
        }
        if let Some(group) = groups.get_mut(*last) {
            group.members.push(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use ingest::kafka::Partition;

    use super::*;
    use crate::config::ClusterFrom;

    /// A cluster, the numbers of the events that are its own, and whether the message comes there first.
    type Told = (String, Vec<usize>, bool);

    /// What wrappers of these names give, and how many messages name none.
    fn grouped(names: &[&str]) -> (Vec<Told>, Option<u64>) {
        let record = |name: &&str| {
            format!(
                r#"{{"resourceId":"{name}","properties":{{"log":{{"verb":"get","auditID":"1","stage":"Panic","requestURI":"/"}}}}}}"#
            )
        };
        let records: Vec<String> = names.iter().map(record).collect();
        let value = format!(r#"{{"records":[{}]}}"#, records.join(","));
        let partition = Partition { topic: "hub".into(), number: 0 };
        let message = Message {
            partition: &partition,
            partition_index: 0,
            offset: 0,
            key: None,
            header: None,
            value: Some(value.as_bytes()),
        };
        let from = ClusterFrom { envelope: true, ..ClusterFrom::default() };
        let naming = Naming::new("managed".into(), None, Some(from));
        let mut grouping = Grouping::new(&naming);
        grouping.add(message);
        let (groups, nameless) = grouping.end();
        let own = |group: &Group<'_>| {
            let own = |number: &usize| group.members[0].is_of(*number, &group.cluster);
            (0..names.len()).filter(own).collect()
        };
        let told =
            groups.iter().map(|group| (group.cluster.to_string(), own(group), group.members[0].is_first));
        (told.collect(), nameless.map(|(messages, _)| messages))
    }

    fn of(cluster: &str, numbers: &[usize], is_first: bool) -> Told {
        (cluster.to_owned(), numbers.to_vec(), is_first)
    }

    #[test]
    fn each_event_in_a_wrapper_is_of_the_cluster_that_the_wrapper_names() {
        assert_eq!(grouped(&["/s/A", "/s/A"]), (vec![of("a", &[0, 1], true)], None));
        let two = vec![of("a", &[0, 2], true), of("b", &[1], false)];
        assert_eq!(grouped(&["/s/A", "/s/B", "/s/A"]), (two, None));
        let odd = vec![of("a", &[0], true), of("default", &[1, 2], false)];
        assert_eq!(grouped(&["/s/A", "/s/..", "/s/x y"]), (odd, Some(1)));
    }

    #[test]
    fn a_message_is_not_read_over_and_over_for_names_that_were_made_up() {
        let names: Vec<String> = (0..100).map(|number| format!("/s/c{number:03}")).collect();
        let (groups, _) = grouped(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(groups.len(), CLUSTERS_MAX + 1);
        assert_eq!(groups.iter().map(|(_, own, _)| own.len()).sum::<usize>(), 100);
    }
}
