//! Whose events a message holds.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use ingest::kafka::Message;

use crate::config::{ClusterFrom, Name};

/// The cluster where nothing else is said.
pub(super) const DEFAULT: &str = "default";
/// How many clusters messages may name: half of those that can have a say at all, as whoever writes to a topic
/// may write anything into a header.
const NAMED_MAX: usize = 500;

/// Says whose events a message holds.
pub(super) struct Naming {
    otherwise: Option<Arc<str>>,
    from: Option<ClusterFrom>,
    /// Those that were named so far.
    named: RwLock<BTreeSet<Arc<str>>>,
}

/// Why nobody can tell whose events a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nameless {
    #[error("the message does not say which cluster it is of")]
    Unsaid,
    #[error("what the message says is no name of a cluster")]
    Odd,
    #[error("the message names one cluster too many")]
    TooMany,
}

impl Naming {
    pub(super) fn new(cluster: Option<&Name>, from: Option<ClusterFrom>) -> Self {
        let otherwise = cluster.map(|name| Arc::from(&**name));
        let otherwise = otherwise.or_else(|| from.is_none().then(|| DEFAULT.into()));
        Self { otherwise, from, named: RwLock::default() }
    }

    /// The cluster that a message names.
    pub(super) fn named(&self, message: &Message<'_>) -> Result<Arc<str>, Nameless> {
        let Some(ClusterFrom { topic, header, .. }) = &self.from else {
            return self.otherwise.clone().ok_or(Nameless::Unsaid);
        };
        let said = match (topic, header) {
            (Some(capture), _) => capture.of(&message.partition.topic).map(str::as_bytes),
            (None, Some(_)) => message.header,
            (None, None) => message.key,
        };
        let said = std::str::from_utf8(said.ok_or(Nameless::Unsaid)?).map_err(|_| Nameless::Odd)?;
        if let Some(name) = self.named.read().unwrap_or_else(PoisonError::into_inner).get(said) {
            return Ok(Arc::clone(name));
        }
        let name: Name = said.parse().map_err(|_| Nameless::Odd)?;
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        if named.len() >= NAMED_MAX {
            return Err(Nameless::TooMany);
        }
        let name: Arc<str> = Arc::from(&*name);
        named.insert(Arc::clone(&name));
        Ok(name)
    }

    /// The cluster of messages that name none.
    pub(super) fn otherwise(&self) -> Option<Arc<str>> {
        self.otherwise.clone()
    }
}

#[cfg(test)]
mod tests {
    use ingest::kafka::Partition;

    use super::*;

    fn named(naming: &Naming, header: Option<&str>) -> Result<Arc<str>, Nameless> {
        let partition = Partition { topic: "k8s-audit-prod".into(), number: 0 };
        let header = header.map(str::as_bytes);
        let key = Some(b"by-key".as_slice());
        naming.named(&Message {
            partition: &partition,
            partition_index: 0,
            offset: 0,
            key,
            header,
            value: None,
        })
    }

    fn by_header() -> Naming {
        Naming::new(None, Some(ClusterFrom { header: Some("cluster".to_owned()), ..ClusterFrom::default() }))
    }

    #[test]
    fn the_cluster_is_told_by_topic_header_or_key() {
        assert_eq!(&*named(&Naming::new(None, None), None).unwrap(), DEFAULT);
        let capture = Some("k8s-audit-(.+)".parse().unwrap());
        let by_topic = Naming::new(None, Some(ClusterFrom { topic: capture, ..ClusterFrom::default() }));
        assert_eq!(&*named(&by_topic, None).unwrap(), "prod");
        let by_key = Naming::new(None, Some(ClusterFrom { key: true, ..ClusterFrom::default() }));
        assert_eq!(&*named(&by_key, None).unwrap(), "by-key");
        assert_eq!(&*named(&by_header(), Some("lab")).unwrap(), "lab");
    }

    #[test]
    fn what_is_no_name_names_no_cluster() {
        assert_eq!(named(&by_header(), None), Err(Nameless::Unsaid));
        for odd in ["", "a b", "../etc", &"a".repeat(129)] {
            assert_eq!(named(&by_header(), Some(odd)), Err(Nameless::Odd));
        }
        assert_eq!(by_header().otherwise(), None);
    }

    #[test]
    fn whoever_writes_to_a_topic_cannot_make_up_clusters_for_ever() {
        let naming = by_header();
        for number in 0..NAMED_MAX {
            assert!(named(&naming, Some(&format!("c{number}"))).is_ok());
        }
        assert_eq!(named(&naming, Some("one-more")), Err(Nameless::TooMany));
        assert!(named(&naming, Some("c7")).is_ok());
    }
}
