//! Whose events a message holds.
//!
//! A message always is of some cluster, so that nothing it holds remains unseen: where it does not say
//! of which, of the one that is configured for that, or of [`DEFAULT`].

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use ingest::kafka::Message;
use ingest::webhook::Party;

use crate::config::{ClusterFrom, Name};

/// The cluster where nothing else is said.
const DEFAULT: &str = "default";
/// How many names are remembered, so that they need not be looked at again: as many as there may be clusters.
/// Beyond, all are forgotten: some may be made up.
const REMEMBERED_MAX: usize = 1_000;

/// Says whose events a message holds.
pub(super) struct Naming {
    source: Arc<str>,
    otherwise: Arc<str>,
    from: Option<ClusterFrom>,
    /// Names that were found to be some.
    remembered: RwLock<BTreeSet<Arc<str>>>,
}

/// Why nobody can tell whose events a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nameless {
    #[error("the message does not say which cluster it is of")]
    Unsaid,
    #[error("what the message says is no name of a cluster")]
    Odd,
}

impl Naming {
    pub(super) fn new(source: Arc<str>, cluster: Option<&Name>, from: Option<ClusterFrom>) -> Self {
        let otherwise = cluster.map_or_else(|| DEFAULT.into(), |name| Arc::from(&**name));
        Self { source, otherwise, from, remembered: RwLock::default() }
    }

    /// The cluster that a message names.
    pub(super) fn named(&self, message: &Message<'_>) -> Result<Arc<str>, Nameless> {
        let Some(ClusterFrom { topic, header, key, .. }) = &self.from else { return Ok(self.otherwise()) };
        let said = match (topic, header) {
            (Some(capture), _) => capture.of(&message.partition.topic).map(str::as_bytes),
            (None, Some(_)) => message.header,
            (None, None) => message.key.filter(|_| *key),
        };
        let said = std::str::from_utf8(said.ok_or(Nameless::Unsaid)?).map_err(|_| Nameless::Odd)?;
        self.checked(said)
    }

    /// Whether wrappers in messages say whose their events are.
    pub(super) fn is_by_envelope(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.envelope)
    }

    /// The cluster that a wrapper names.
    pub(super) fn hinted(&self, hint: Option<&str>) -> Result<Arc<str>, Nameless> {
        self.checked(hint.ok_or(Nameless::Unsaid)?)
    }

    /// The cluster of messages that name none.
    pub(super) fn otherwise(&self) -> Arc<str> {
        Arc::clone(&self.otherwise)
    }

    /// Who answers for a cluster of this name: where messages say whose they are, whoever writes them may have
    /// made it up.
    pub(super) fn party(&self, cluster: &Arc<str>) -> Party {
        match &self.from {
            Some(ClusterFrom { topic: None, .. }) if *cluster != self.otherwise => {
                Party::Source(Arc::clone(&self.source))
            }
            _ => Party::Cluster(Arc::clone(cluster)),
        }
    }

    /// What was said, if it is a name.
    fn checked(&self, said: &str) -> Result<Arc<str>, Nameless> {
        if let Some(name) = self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(said) {
            return Ok(Arc::clone(name));
        }
        let name: Name = said.parse().map_err(|_| Nameless::Odd)?;
        let name: Arc<str> = Arc::from(&*name);
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(Arc::clone(&name));
        Ok(name)
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

    fn naming(from: Option<ClusterFrom>) -> Naming {
        Naming::new("managed".into(), None, from)
    }

    fn by_header() -> Naming {
        naming(Some(ClusterFrom { header: Some("cluster".to_owned()), ..ClusterFrom::default() }))
    }

    #[test]
    fn the_cluster_is_told_by_topic_header_or_key() {
        assert_eq!(&*named(&naming(None), None).unwrap(), DEFAULT);
        let capture = Some("k8s-audit-(.+)".parse().unwrap());
        let by_topic = naming(Some(ClusterFrom { topic: capture, ..ClusterFrom::default() }));
        assert_eq!(&*named(&by_topic, None).unwrap(), "prod");
        let by_key = naming(Some(ClusterFrom { key: true, ..ClusterFrom::default() }));
        assert_eq!(&*named(&by_key, None).unwrap(), "by-key");
        assert_eq!(&*named(&by_header(), Some("lab")).unwrap(), "lab");
    }

    #[test]
    fn what_is_no_name_names_no_cluster() {
        assert_eq!(named(&by_header(), None), Err(Nameless::Unsaid));
        for odd in ["", "a b", "../etc", &"a".repeat(129)] {
            assert_eq!(named(&by_header(), Some(odd)), Err(Nameless::Odd));
        }
        assert_eq!(&*by_header().otherwise(), DEFAULT);
    }

    #[test]
    fn names_that_were_made_up_keep_no_other_from_being_understood() {
        let naming = by_header();
        for number in 0..3 * REMEMBERED_MAX {
            assert!(named(&naming, Some(&format!("c{number}"))).is_ok());
            assert!(naming.remembered.read().unwrap().len() <= REMEMBERED_MAX);
        }
        assert_eq!(&*named(&naming, Some("prod")).unwrap(), "prod");
    }

    #[test]
    fn a_source_answers_for_names_that_its_messages_say() {
        let of_source = Party::Source("managed".into());
        assert_eq!(by_header().party(&"prod".into()), of_source);
        assert_eq!(by_header().party(&DEFAULT.into()), Party::Cluster(DEFAULT.into()));
        let capture = Some("k8s-audit-(.+)".parse().unwrap());
        let by_topic = naming(Some(ClusterFrom { topic: capture, ..ClusterFrom::default() }));
        assert_eq!(by_topic.party(&"prod".into()), Party::Cluster("prod".into()));
    }
}
