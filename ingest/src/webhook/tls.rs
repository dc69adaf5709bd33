//! What a receiver shows of itself in TLS, and whom it believes.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// The protocols offered, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, and the authorities of clients.
#[derive(Debug)]
pub struct Tls {
    /// The certificate, and those that lead to its authority.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// Who may vouch for clients; if nobody, clients are not asked for certificates.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// The cluster by a name in the client's certificate: its common name, or a DNS name or URI
    /// among its alternative names. If there are none, the common name is the cluster.
    pub client_clusters: HashMap<String, String>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate cannot be read.
    #[error("the {what} cannot be read: {source}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        source: PemError,
    },
    /// There is none.
    #[error("there is no {0} in it")]
    Missing(&'static str),
    /// Certificate and key cannot be used, or not together.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
    /// Clients cannot be verified.
    #[error("clients cannot be verified: {0}")]
    Authorities(#[source] VerifierBuilderError),
}

impl Tls {
    /// Reads the PEM text of a certificate chain, its key, and the authorities of clients.
    pub fn from_pem(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| TlsError::Pem { what: "private key", source })?;
        Ok(Self {
            certificates: certificates("certificate", certificate)?,
            key,
            client_authorities: client_ca
                .map_or(Ok(Vec::new()), |text| certificates("client authority", text))?,
            client_clusters: HashMap::new(),
        })
    }
}

fn certificates(what: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() { Err(TlsError::Missing(what)) } else { Ok(found) }
}

/// TLS, ready for connections.
pub(super) struct Secured {
    pub(super) config: Arc<ServerConfig>,
    /// Who says whether a client's certificate is good; nobody if none is asked for.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) client_clusters: HashMap<String, String>,
}

impl Secured {
    /// With `is_certificate_optional`, clients without one are let in, to show another credential.
    pub(super) fn new(tls: Tls, is_certificate_optional: bool) -> Result<Self, TlsError> {
        // Sessions are remembered by the configuration, so none outlives a change of authorities.
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&provider, tls.client_authorities, is_certificate_optional)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(tls.certificates, tls.key).map_err(TlsError::Unusable)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self { config: Arc::new(config), verifier, client_clusters: tls.client_clusters })
    }
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    authorities: Vec<CertificateDer<'static>>,
    is_certificate_optional: bool,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if authorities.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(TlsError::Unusable)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if is_certificate_optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map(Some).map_err(TlsError::Authorities)
}
