//! Matches as messages.

use sinks::outbox::NewMatch;

/// The form; another one begins with another byte.
const VERSION: u8 = 1;
/// How long the name of a cluster may be: no source takes a longer one.
const CLUSTER_BYTES_MAX: usize = 253;

/// The message of a match; its key is the name of the cluster.
pub(super) fn match_bytes(found: &NewMatch) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(found.id.to_le_bytes());
    bytes.extend(found.time_us.to_le_bytes());
    bytes.extend(found.until_us.to_le_bytes());
    bytes.extend(&found.body);
    bytes
}

/// Reads what [`match_bytes`] wrote; nothing if it is something else.
pub(super) fn read_match(key: Option<&[u8]>, bytes: &[u8]) -> Option<NewMatch> {
    let (version, bytes) = bytes.split_first()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    let (time, bytes) = bytes.split_first_chunk()?;
    let (until, body) = bytes.split_first_chunk()?;
    (*version == VERSION).then_some(NewMatch {
        id: u128::from_le_bytes(*id),
        cluster: cluster(key)?,
        time_us: i64::from_le_bytes(*time),
        until_us: i64::from_le_bytes(*until),
        body: body.to_vec(),
    })
}

/// The cluster that a key names.
pub(super) fn cluster(key: Option<&[u8]>) -> Option<String> {
    let name = std::str::from_utf8(key?).ok()?;
    (1..=CLUSTER_BYTES_MAX).contains(&name.len()).then(|| name.to_owned())
}

/// The partition of a cluster, the same for everybody.
pub(super) fn partition_of(cluster: &str, count: i32) -> i32 {
    let hash = blake3::hash(cluster.as_bytes());
    // Invariant: a hash has 32 bytes.
    let number = hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let partition = u64::from(number) % u64::try_from(count).unwrap_or(1).max(1);
    // Invariant: less than `count`, which is an `i32`.
    i32::try_from(partition).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> NewMatch {
        NewMatch { id: 7, cluster: "prod".to_owned(), time_us: -5, until_us: i64::MAX, body: vec![1, 2, 3] }
    }

    #[test]
    fn a_match_is_read_as_it_was_written() {
        let read = read_match(Some(b"prod"), &match_bytes(&found())).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", found()));
    }

    #[test]
    fn what_is_no_match_is_no_harm() {
        let bytes = match_bytes(&found());
        assert!((0..33).all(|length| read_match(Some(b"prod"), &bytes[..length]).is_none()));
        let keys: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"\xff"), Some(&[b'a'; 254])];
        assert!(keys.iter().all(|key| read_match(*key, &bytes).is_none()));
        assert!(read_match(Some(b"prod"), &[&[2], &bytes[1..]].concat()).is_none());
    }

    #[test]
    fn clusters_stay_in_their_partition() {
        // Where a cluster is must never change: its matches are there.
        let partitions: Vec<i32> =
            ["prod", "lab", "edge-7"].iter().map(|name| partition_of(name, 12)).collect();
        assert_eq!(partitions, [7, 8, 3]);
    }
}
