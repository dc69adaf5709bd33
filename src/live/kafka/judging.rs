//! Evaluates messages, each on its own: what is wrong with one never costs its neighbour.

use std::io::{self, Empty};
use std::sync::Arc;

use detect::Scratch;
use detect::event::{Event, Scanned};
use ingest::envelope::may_wrap;
use ingest::kafka::{Again, Batch, DeadLetters, Message};
use ingest::webhook::EVENT_BYTES_MAX;
use ingest::{Frame, Frames};
use metrics::counter;

use super::complaints::Complaints;
use super::grouping::{Group, Grouping, Member};
use super::naming::Naming;
use super::settling::Settling;
use super::turns::Turns;
use crate::live::figures::Figures;
use crate::live::part::Part;
use crate::live::{Current, Lookout};
use crate::period::Period;

/// How many items of one message are set aside one by one, the rest being told in one sentence: each
/// costs a row in the store.
const SET_ASIDE_MAX: u64 = 100;

/// Evaluates messages.
pub(super) struct Judging {
    pub(super) source: Arc<str>,
    pub(super) lookout: Arc<Lookout>,
    pub(super) naming: Naming,
    /// How many batches are evaluated at once; more than those wait for the disk.
    pub(super) turns: Turns,
    pub(super) letters: Option<DeadLetters>,
    /// What is said now and then of clusters.
    pub(super) complaints: Complaints,
}

/// What the judging of a batch has come to.
struct Work<'b> {
    /// Where messages are read that are not simply an event.
    frames: Frames<Empty>,
    /// When the events happened, by partition of the batch.
    periods: Vec<Period>,
    /// Messages that nobody can read, and why.
    letters: Vec<(Message<'b>, String)>,
    /// Items of the group at hand, events or not.
    item_count: u64,
    tombstone_count: u64,
}

impl Judging {
    /// Evaluates a batch and makes durable what it gave. Blocks.
    pub(super) fn judge(&self, batch: &Batch) -> Result<Vec<Option<i64>>, Again> {
        let mut settling = Settling::new(self, batch.begun());
        let current = self.lookout.current();
        let mut work = Work {
            frames: Frames::of_bytes(Vec::new(), io::empty(), EVENT_BYTES_MAX),
            periods: batch.partitions().map(|_| Period::default()).collect(),
            letters: Vec::new(),
            item_count: 0,
            tombstone_count: 0,
        };
        // Whoever evaluates while this one waits for the disk finds its scratch warm.
        let mut blind_counts = current.with_scratch(|scratch| {
            for group in self.groups(batch) {
                work.item_count = 0;
                self.take(&group, &current, scratch, &mut work, &mut settling)?;
                settling.received(&group.cluster, work.item_count);
            }
            Ok(scratch.blind_counts.clone())
        })?;
        settling.settle()?;
        self.send_letters(&work.letters)?;
        settling.answer();
        Figures::blind(current.detection.rules(), &mut blind_counts);
        self.count("message", batch.message_count() as u64 - work.tombstone_count);
        self.count("tombstone", work.tombstone_count);
        let latest_us = |period: &Period| period.bounds().map(|(_, last)| last.timestamp_micros());
        Ok(work.periods.iter().map(latest_us).collect())
    }

    pub(super) fn count(&self, kind: &'static str, messages: u64) {
        counter!("masthead_kafka_messages_total", "source" => self.source.to_string(), "kind" => kind)
            .increment(messages);
    }

    /// Sorts messages by cluster, and says how many name none.
    fn groups<'b>(&self, batch: &'b Batch) -> Vec<Group<'b>> {
        let mut grouping = Grouping::new(&self.naming);
        for message in batch.messages() {
            grouping.add(message);
        }
        let (groups, nameless) = grouping.end();
        if let Some((messages, reason)) = nameless {
            self.count("nameless", messages);
            self.complaints.nameless(&self.source, messages, reason);
        }
        groups
    }

    fn take<'b>(
        &self,
        group: &Group<'b>,
        current: &Current,
        scratch: &mut Scratch,
        work: &mut Work<'b>,
        settling: &mut Settling<'_>,
    ) -> Result<(), Again> {
        let begin = || Part::new(current, &group.cluster, &self.source, None);
        let mut part = begin();
        for member in &group.members {
            self.evaluate(member, &group.cluster, &mut part, scratch, work);
            if settling.is_full_with(&part) {
                settling.add(&group.cluster, std::mem::replace(&mut part, begin()));
                settling.settle()?;
                settling.go_on();
            }
        }
        settling.add(&group.cluster, part);
        Ok(())
    }

    /// Evaluates what one message holds of a cluster.
    fn evaluate<'b>(
        &self,
        member: &Member<'b>,
        cluster: &str,
        part: &mut Part<'_>,
        scratch: &mut Scratch,
        work: &mut Work<'b>,
    ) {
        let message = &member.message;
        let Some(value) = message.value else {
            work.tombstone_count += 1;
            return;
        };
        if let Some(event) = lone_event(value) {
            work.add(message, &event, part, scratch);
            return;
        }
        // They are somewhere else meanwhile, so that what they give can be added.
        let nothing = Frames::of_bytes(Vec::new(), io::empty(), EVENT_BYTES_MAX);
        let mut frames = std::mem::replace(&mut work.frames, nothing);
        frames.begin_again(value);
        let (mut number, mut odd_count) = (0, 0);
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, .. } => {
                    if member.is_of(number, cluster) {
                        work.add(message, &event, part, scratch);
                    }
                    number += 1;
                }
                // What is none is told once.
                Frame::Malformed(_) if !member.is_first => {}
                Frame::Malformed(malformed) => {
                    work.item_count += 1;
                    odd_count += 1;
                    if odd_count <= SET_ASIDE_MAX {
                        let bytes = span(value, malformed.offset, malformed.bytes);
                        let reason = match malformed.offset {
                            0 => malformed.kind.to_string(),
                            offset => format!("at byte {offset} of the message: {}", malformed.kind),
                        };
                        self.set_aside(message, bytes, reason, part, work);
                    }
                }
            }
        }
        if member.is_first {
            Figures::unwrapped(&self.source, &frames.counts());
        }
        work.frames = frames;
        if odd_count > SET_ASIDE_MAX {
            let rest = odd_count - SET_ASIDE_MAX;
            let reason = format!("{rest} more items of the message are no events");
            part.set_aside(rest, place(message), reason, Vec::new());
        }
    }

    /// Sets aside something of a message; the whole message, once, becomes a letter.
    fn set_aside<'b>(
        &self,
        message: &Message<'b>,
        bytes: &[u8],
        reason: String,
        part: &mut Part<'_>,
        work: &mut Work<'b>,
    ) {
        let is_letter = |letter: &(Message<'b>, String)| {
            letter.0.offset == message.offset && letter.0.partition_index == message.partition_index
        };
        if self.letters.is_some() && !work.letters.last().is_some_and(is_letter) {
            work.letters.push((*message, reason.clone()));
        }
        part.set_aside(1, place(message), reason, self.lookout.redactor.fragment(bytes));
    }

    /// Lets those who wrote what nobody can read find it.
    fn send_letters(&self, letters: &[(Message<'_>, String)]) -> Result<(), Again> {
        let Some(topic) = &self.letters else { return Ok(()) };
        // What was a letter is not sent once more, where a pattern matches the topic of letters.
        let fresh = letters.iter().filter(|(message, _)| *message.partition.topic != *topic.topic());
        let fresh: Vec<_> = fresh.cloned().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let lost = topic.deliver(&fresh);
        let lost = lost.map_err(|error| Again(format!("{:#}", anyhow::Error::from(error))))?;
        self.count("dead_letter", (fresh.len() as u64).saturating_sub(lost));
        self.count("dead_letter_too_large", lost);
        Ok(())
    }
}

impl Work<'_> {
    fn add(&mut self, message: &Message<'_>, event: &Event<'_>, part: &mut Part<'_>, scratch: &mut Scratch) {
        self.item_count += 1;
        part.add(event, scratch);
        if let Some(period) = self.periods.get_mut(message.partition_index) {
            period.add(event);
        }
    }
}

/// The event that a message is, if it is one and nothing else: nearly all are.
pub(super) fn lone_event(value: &[u8]) -> Option<Event<'_>> {
    let value = value.trim_ascii();
    match Event::scan_prefix(value) {
        Ok(Scanned::Event(event, length)) if length == value.len() => {
            (event.complaint().is_none() && !may_wrap(&event)).then_some(event)
        }
        _ => None,
    }
}

/// Where a message is, for people; with the bytes it is the same however often the message is read.
fn place(message: &Message<'_>) -> String {
    format!("{}/{}", message.partition, message.offset)
}

fn span(value: &[u8], offset: u64, length: u64) -> &[u8] {
    let end = usize::try_from(offset.saturating_add(length)).unwrap_or(usize::MAX).min(value.len());
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_one_event_is_taken_as_it_is() {
        let event = r#" {"kind":"Event","verb":"get","requestURI":"/"} "#;
        assert!(lone_event(event.as_bytes()).is_some());
        let others = [
            r#"{"kind":"EventList","items":[{"verb":"get"}]}"#,
            r#"{"verb":"get"}{"verb":"get"}"#,
            r#"[{"verb":"get"}]"#,
            r#"{"verb":"get""#,
            r#"{"log":"{}"}"#,
            r#"{"verb":"get","log":"{}"}"#,
            "",
        ];
        for other in others {
            assert!(lone_event(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_span_stays_within_the_message() {
        assert_eq!(span(b"0123456789", 2, 3), b"234");
        assert_eq!(span(b"0123456789", 8, 9), b"89");
        assert_eq!(span(b"0123456789", u64::MAX, u64::MAX), b"");
    }
}
