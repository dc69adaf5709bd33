//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;

use super::access::Access;

/// Who is at the other end of a connection.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The certificates that were shown, the client's own first.
    chain: Vec<CertificateDer<'static>>,
    /// The cluster they stand for, and who said so.
    certified: Mutex<Option<(Arc<Access>, Option<String>)>>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, chain: Vec<CertificateDer<'static>>) -> Self {
        Self { address, chain, certified: Mutex::new(None) }
    }

    /// The cluster that the certificates stand for. They are looked at anew when those who may
    /// post have changed, so that an authority that is taken away is so for open connections too.
    pub(super) fn certified_cluster(&self, access: &Arc<Access>) -> Option<String> {
        if self.chain.is_empty() {
            return None;
        }
        let mut certified = self.certified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((by, cluster)) = &*certified
            && Arc::ptr_eq(by, access)
        {
            return cluster.clone();
        }
        let cluster = access.certified_cluster(&self.chain);
        *certified = Some((Arc::clone(access), cluster.clone()));
        cluster
    }
}
