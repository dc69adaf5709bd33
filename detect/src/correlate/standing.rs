//! How far a correlator is: what it has to know after a restart besides the matches that are
//! stored.
//!
//! Windows come back with the matches that may still be in them. What began before those does
//! not: since when an episode goes on, on which its id depends; since when a window is open
//! that is judged at its end; until when a first-seen correlation learns.

use std::collections::HashMap;

use super::relations::Relations;
use super::values::GroupKey;

/// How many groups a standing tells of; of more, an episode that goes on may be told once more
/// after a restart. So many take 3 MiB.
pub const STANDING_GROUPS_MAX: usize = 1 << 16;

/// The form; another one begins with another byte.
const VERSION: u8 = 1;
/// A time that there is not.
const NEVER: i64 = i64::MIN;

/// How far a correlator is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is of earlier than this has been told.
    pub(super) told_until: i64,
    /// By the name of a correlation.
    pub(super) correlations: Vec<(u128, Known)>,
}

/// What one correlation knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) learning_until: Option<i64>,
    pub(super) groups: HashMap<GroupKey, Begun>,
}

/// What goes on in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// When the window began, where windows are judged at their end.
    pub(super) opened_at: Option<i64>,
    /// When the episode started, and when it last held.
    pub(super) episode: Option<(i64, i64)>,
}

impl Standing {
    /// Before which time everything has been told, in the time of events: microseconds since
    /// 1970. Matches that no correlation wants at this time are not needed with it.
    pub fn told_until_us(&self) -> i64 {
        self.told_until
    }

    /// Writes it in a form that [`Standing::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.told_until.to_le_bytes());
        for (name, known) in &self.correlations {
            bytes.extend(name.to_le_bytes());
            bytes.extend(known.learning_until.unwrap_or(NEVER).to_le_bytes());
            bytes.extend((known.groups.len() as u64).to_le_bytes());
            for (key, begun) in &known.groups {
                bytes.extend(key.to_le_bytes());
                let (started_at, held_at) = begun.episode.unwrap_or((NEVER, NEVER));
                let times = [begun.opened_at.unwrap_or(NEVER), started_at, held_at];
                bytes.extend(times.iter().flat_map(|time| time.to_le_bytes()));
            }
        }
        bytes
    }

    /// Reads what [`Standing::to_bytes`] wrote; nothing if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let mut standing = Self { told_until: time(&mut rest)?, correlations: Vec::new() };
        while !rest.is_empty() {
            let name = u128::from_le_bytes(take(&mut rest)?);
            let mut known = Known { learning_until: moment(&mut rest)?, groups: HashMap::new() };
            for _ in 0..u64::from_le_bytes(take(&mut rest)?) {
                let key = GroupKey::from_le_bytes(take(&mut rest)?);
                let opened_at = moment(&mut rest)?;
                let episode = moment(&mut rest)?.zip(moment(&mut rest)?);
                known.groups.insert(key, Begun { opened_at, episode });
            }
            standing.correlations.push((name, known));
        }
        Some(standing)
    }

    /// What a correlation among these knew, if it is still there; its number comes first.
    pub(super) fn of<'s>(&'s self, relations: &'s Relations) -> impl Iterator<Item = (usize, &'s Known)> {
        let number = |name| relations.plans().iter().position(|plan| plan.name == name);
        self.correlations.iter().filter_map(move |(name, known)| Some((number(*name)?, known)))
    }
}

fn take<const COUNT: usize>(rest: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn time(rest: &mut &[u8]) -> Option<i64> {
    take(rest).map(i64::from_le_bytes)
}

/// A time, or that there is none; nothing where nothing is left to read.
// What may be absent may also be cut.
#[allow(clippy::option_option)]
fn moment(rest: &mut &[u8]) -> Option<Option<i64>> {
    Some(Some(time(rest)?).filter(|time| *time != NEVER))
}

#[cfg(test)]
mod tests {
    use super::{Begun, GroupKey, Known, Standing};

    #[test]
    fn a_standing_that_is_cut_or_changed_is_no_harm() {
        let begun = [(1, Some(5), None), (2, None, Some((6, 7))), (3, Some(8), Some((9, 10)))];
        let key = |key: u128| GroupKey::from_le_bytes(key.to_le_bytes());
        let groups =
            begun.map(|(number, opened_at, episode)| (key(number), Begun { opened_at, episode })).into();
        let known = Known { learning_until: Some(4), groups };
        let correlations = vec![(11, known), (12, Known::default())];
        let standing = Standing { told_until: 3, correlations };
        let bytes = standing.to_bytes();
        assert_eq!(Standing::from_bytes(&bytes), Some(standing));
        for at in 0..bytes.len() {
            let _ = Standing::from_bytes(&bytes[..at]);
            for value in 0..=u8::MAX {
                let mut changed = bytes.clone();
                changed[at] = value;
                let read = Standing::from_bytes(&changed);
                assert!(read.is_none_or(|read| read.to_bytes().len() <= bytes.len() + 3 * 32));
            }
        }
    }
}
