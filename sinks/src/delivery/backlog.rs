//! The alerts that a worker holds: what is done with them, and which come next.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::outbox::{Cursor, Outgoing, Route};

/// What was read from the outbox and not yet passed by the cursor.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    items: VecDeque<Item>,
}

#[derive(Debug)]
struct Item {
    alert: Arc<Outgoing>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Unrouted,
    Delivered,
    Dead,
}

impl Backlog {
    /// Adds alerts that follow those that it has.
    pub(super) fn extend(&mut self, alerts: Vec<Outgoing>, routing: impl Fn(&Route) -> bool) {
        let item = |alert: Outgoing| {
            let fate = if routing(&alert.route) { Fate::Waiting } else { Fate::Unrouted };
            Item { alert: Arc::new(alert), fate }
        };
        self.items.extend(alerts.into_iter().map(item));
    }

    pub(super) fn count(&self) -> usize {
        self.items.len()
    }

    /// The number of the last alert that it has.
    pub(super) fn last_number(&self) -> Option<u64> {
        self.items.back().map(|item| item.alert.number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The alerts that the sink is to get, in order.
    pub(super) fn waiting(&self) -> Vec<Arc<Outgoing>> {
        self.indices().map(|index| Arc::clone(&self.items[index].alert)).collect()
    }

    /// Notes that the first `count` that waited are delivered.
    pub(super) fn deliver_first(&mut self, count: usize) {
        let indices: Vec<usize> = self.indices().take(count).collect();
        for index in indices {
            self.items[index].fate = Fate::Delivered;
        }
    }

    /// Notes that one alert was delivered ahead of its turn.
    pub(super) fn deliver(&mut self, number: u64) {
        if let Some(item) = self.items.iter_mut().find(|item| item.alert.number == number) {
            item.fate = Fate::Delivered;
        }
    }

    /// Gives up the first that waits.
    pub(super) fn bury_first(&mut self) -> Option<Arc<Outgoing>> {
        let index = self.indices().next()?;
        let item = self.items.get_mut(index)?;
        item.fate = Fate::Dead;
        Some(Arc::clone(&item.alert))
    }

    /// Moves the cursor over all that need not wait any more; returns over how many.
    pub(super) fn pass(&mut self, cursor: &mut Cursor) -> u64 {
        let mut passed_count = 0;
        while let Some(item) = self.items.front() {
            match item.fate {
                Fate::Waiting => break,
                Fate::Unrouted => cursor.unrouted += 1,
                Fate::Delivered => cursor.delivered += 1,
                Fate::Dead => cursor.dead += 1,
            }
            cursor.number = item.alert.number;
            passed_count += 1;
            self.items.pop_front();
        }
        passed_count
    }

    fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        let waits = |(index, item): (usize, &Item)| (item.fate == Fate::Waiting).then_some(index);
        self.items.iter().enumerate().filter_map(waits)
    }
}
