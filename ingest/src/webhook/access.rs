//! Who may post, and as which cluster.
//!
//! **Invariant:** the cluster of an event comes from a credential, or from the path where no
//! credential is asked for; never from the body. Tokens are compared in constant time, all of
//! them, by their hashes.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::rejection::Rejection;
use super::tls::Secured;
use super::{Party, Tls, TlsError};

/// The cluster of those who name none, where no credential is asked for.
pub(super) const DEFAULT_CLUSTER: &str = "default";

/// The longest name of a cluster: it becomes part of alerts, metrics and file names.
const CLUSTER_BYTES_MAX: usize = 128;
/// What a name of a cluster is.
pub(super) const CLUSTER_NAME: &str =
    "one begins with a letter or digit and has at most 128 of letters, digits, `.`, `_` and `-`";

const SCHEME: &str = "bearer ";

/// A bearer token, hashed, and the cluster that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The cluster of everything posted with it.
    pub cluster: String,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
}

/// Why nobody can be let in like this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Anybody could post from anywhere.
    #[error("`{0}` is no loopback address and neither tokens nor a client CA are set")]
    Open(SocketAddr),
    /// A token stands for a cluster that cannot be.
    #[error("`{0}` is no name of a cluster: {CLUSTER_NAME}")]
    ClusterName(String),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Who may post, at one time.
pub(super) struct Access {
    pub(super) tls: Option<Secured>,
    tokens: Vec<Token>,
}

impl Access {
    pub(super) fn new(tls: Option<Tls>, tokens: Vec<Token>) -> Result<Self, AccessError> {
        let tls = tls.map(|tls| Secured::new(tls, !tokens.is_empty())).transpose()?;
        let named = tls.iter().flat_map(|tls| tls.client_clusters.values());
        let mut names = tokens.iter().map(|token| &token.cluster).chain(named);
        if let Some(name) = names.find(|name| !is_cluster_name(name)) {
            return Err(AccessError::ClusterName(name.clone()));
        }
        Ok(Self { tls, tokens })
    }

    /// Refuses to let in anybody from anywhere.
    pub(super) fn checked_for(self, listen: SocketAddr, insecure: bool) -> Result<Self, AccessError> {
        if self.is_open() && !listen.ip().to_canonical().is_loopback() && !insecure {
            return Err(AccessError::Open(listen));
        }
        Ok(self)
    }

    /// True if no credential is asked for.
    fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.tls.as_ref().is_none_or(|tls| tls.verifier.is_none())
    }

    /// The cluster of a request by its credentials, of which `certified` is one, and by the name
    /// in its path.
    pub(super) fn cluster(
        &self,
        certified: Option<String>,
        headers: &HeaderMap,
        named: Option<&str>,
    ) -> Result<String, Rejection> {
        if self.is_open() {
            return Ok(named.unwrap_or(DEFAULT_CLUSTER).to_owned());
        }
        let cluster = match (certified, self.token_cluster(headers)?) {
            (Some(certified), Some(token)) if certified != token => return Err(Rejection::OtherCluster),
            (Some(cluster), _) => cluster,
            (None, Some(cluster)) => cluster.to_owned(),
            (None, None) => return Err(Rejection::Credential),
        };
        match named {
            Some(named) if named != cluster => Err(Rejection::OtherCluster),
            _ => Ok(cluster),
        }
    }

    /// Who answers for what `peer` posts for a cluster: the cluster if that has been proved,
    /// the peer's address if anybody may say what he likes.
    pub(super) fn party(&self, cluster: &str, peer: SocketAddr) -> Party {
        if self.is_open() { Party::at(peer.ip()) } else { Party::Cluster(cluster.into()) }
    }

    /// The cluster of the token in a header, if there is one; a wrong one is refused.
    fn token_cluster(&self, headers: &HeaderMap) -> Result<Option<&str>, Rejection> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let Some(field) = fields.next() else { return Ok(None) };
        let token = bearer_token(field.as_bytes()).filter(|_| fields.next().is_none());
        let token = token.ok_or(Rejection::Credential)?;
        self.find_token(token).map(|token| Some(token.cluster.as_str())).ok_or(Rejection::Credential)
    }

    fn find_token(&self, token: &[u8]) -> Option<&Token> {
        let hash = Sha256::digest(token);
        let mut found = u32::MAX;
        for (index, known) in (0_u32..).zip(&self.tokens) {
            let is_equal: Choice = known.sha256.ct_eq(hash.as_slice());
            found.conditional_assign(&index, is_equal);
        }
        self.tokens.get(usize::try_from(found).ok()?)
    }

    /// The cluster that a client's certificates stand for, if they are good now.
    pub(super) fn certified_cluster(&self, chain: &[CertificateDer<'static>]) -> Option<String> {
        let tls = self.tls.as_ref()?;
        let (own, others) = chain.split_first()?;
        tls.verifier.as_ref()?.verify_client_cert(own, others, UnixTime::now()).ok()?;
        let (_, certificate) = X509Certificate::from_der(own).ok()?;
        let mut names = common_names(&certificate).chain(alternative_names(&certificate));
        if tls.client_clusters.is_empty() {
            return common_names(&certificate).next().filter(|name| is_cluster_name(name)).map(str::to_owned);
        }
        names.find_map(|name| tls.client_clusters.get(name)).cloned()
    }
}

/// True for what may be the name of a cluster: it stands in paths, metrics and alerts, and is typed as an argument.
pub(super) fn is_cluster_name(name: &str) -> bool {
    name.len() <= CLUSTER_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn bearer_token(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && !token.is_empty()).then_some(token)
}

fn common_names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok())
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.into_iter().flat_map(|extension| &extension.value.general_names);
    names.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some(*name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: &[(&str, &str)]) -> Access {
        let tokens = tokens.iter().map(|(token, cluster)| Token {
            cluster: (*cluster).to_owned(),
            sha256: Sha256::digest(token).into(),
        });
        Access::new(None, tokens.collect()).unwrap()
    }

    fn headers(fields: &[&str]) -> HeaderMap {
        let fields = fields.iter().map(|field| (header::AUTHORIZATION, field.parse().unwrap()));
        fields.collect()
    }

    #[test]
    fn each_token_stands_for_its_cluster() {
        let access = access(&[("one", "prod"), ("two", "lab"), ("three", "prod")]);
        for (field, expected) in [
            ("Bearer one", Ok("prod")),
            ("bearer  two ", Ok("lab")),
            ("BEARER three", Ok("prod")),
            ("Bearer four", Err(Rejection::Credential)),
            ("Bearer ", Err(Rejection::Credential)),
            ("Bearer", Err(Rejection::Credential)),
            ("Basic one", Err(Rejection::Credential)),
            ("", Err(Rejection::Credential)),
        ] {
            let cluster = access.cluster(None, &headers(&[field]), None);
            assert_eq!(cluster.as_deref().map_err(|rejection| *rejection), expected, "{field}");
        }
        assert_eq!(
            access.cluster(None, &headers(&["Bearer one", "Bearer one"]), None),
            Err(Rejection::Credential)
        );
        assert_eq!(access.cluster(None, &HeaderMap::new(), None), Err(Rejection::Credential));
    }

    #[test]
    fn credentials_and_path_must_agree() {
        let access = access(&[("one", "prod")]);
        let token = headers(&["Bearer one"]);
        assert_eq!(access.cluster(None, &token, Some("prod")).as_deref(), Ok("prod"));
        assert_eq!(access.cluster(None, &token, Some("lab")), Err(Rejection::OtherCluster));
        assert_eq!(access.cluster(Some("lab".to_owned()), &token, None), Err(Rejection::OtherCluster));
        assert_eq!(access.cluster(Some("prod".to_owned()), &token, None).as_deref(), Ok("prod"));
    }

    #[test]
    fn without_credentials_the_path_tells_the_cluster() {
        let access = access(&[]);
        assert_eq!(access.cluster(None, &HeaderMap::new(), Some("lab")).as_deref(), Ok("lab"));
        assert_eq!(access.cluster(None, &HeaderMap::new(), None).as_deref(), Ok("default"));
    }

    #[test]
    fn nobody_is_let_in_from_anywhere_by_accident() {
        for (listen, insecure, is_fine) in [
            ("127.0.0.1:0", false, true),
            ("[::1]:0", false, true),
            ("[::ffff:127.0.0.1]:0", false, true),
            ("0.0.0.0:0", false, false),
            ("10.0.0.1:0", true, true),
        ] {
            let checked = access(&[]).checked_for(listen.parse().unwrap(), insecure);
            assert_eq!(checked.is_ok(), is_fine, "{listen}");
        }
        assert!(access(&[("one", "prod")]).checked_for("0.0.0.0:0".parse().unwrap(), false).is_ok());
    }

    #[test]
    fn names_of_clusters_are_harmless() {
        for (name, is_fine) in [
            ("prod-eu.1_a", true),
            (&"a".repeat(128), true),
            (&"a".repeat(129), false),
            ("", false),
            ("..", false),
            ("-a", false),
            ("a/b", false),
            ("ä", false),
            ("a b", false),
        ] {
            assert_eq!(is_cluster_name(name), is_fine, "{name}");
        }
    }
}
