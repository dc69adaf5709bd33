//! Whether certificates can be used, and for how long.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::mistake::{MistakeKind, Mistakes};
use super::super::secret;
use super::super::source::Tls;
use super::super::tree::Spot;
use super::super::units::FilePath;
use super::must_be_readable;

/// From when on it is said that a certificate will expire.
const EXPIRES_SOON: TimeDelta = TimeDelta::days(14);

type Certificates = Vec<CertificateDer<'static>>;

/// The certificate of a server with its key, and who signs those of clients.
pub(super) fn server(files: &Tls, spot: Spot<'_>, mistakes: &mut Mistakes) {
    own(&files.certificate_file, &files.key_file, spot, mistakes);
    if let Some(path) = &files.client_ca_file {
        authorities(path, spot.at("client_ca_file"), mistakes);
    }
}

/// A certificate with its key.
pub(super) fn own(certificate: &FilePath, key: &FilePath, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let chain = certificates(certificate, spot.at("certificate_file"), mistakes);
    let key = private_key(key, spot.at("key_file"), mistakes);
    if let (Some(chain), Some(key)) = (chain, key) {
        pair(chain, key, spot.at("key_file"), mistakes);
    }
}

/// Certificates of those who are believed.
pub(super) fn authorities(path: &FilePath, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let Some(certificates) = certificates(path, spot, mistakes) else { return };
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        if let Err(error) = roots.add(certificate) {
            return unusable(path, format!("cannot be believed: {error}"), spot, mistakes);
        }
    }
    let provider = Arc::new(ring::default_provider());
    if let Err(error) = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build() {
        unusable(path, format!("cannot be believed: {error}"), spot, mistakes);
    }
}

fn unusable(path: &Path, complaint: String, spot: Spot<'_>, mistakes: &mut Mistakes) {
    mistakes.add(spot.place, MistakeKind::File { path: path.to_path_buf(), complaint, advice: None });
}

fn certificates(path: &FilePath, spot: Spot<'_>, mistakes: &mut Mistakes) -> Option<Certificates> {
    let bytes = must_be_readable(path, spot, mistakes)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Certificates, _>>() {
        Ok(found) if found.is_empty() => {
            unusable(path, "has no certificate as PEM".to_owned(), spot, mistakes);
        }
        Err(error) => unusable(path, format!("is no PEM: {error}"), spot, mistakes),
        Ok(found) => {
            for certificate in &found {
                term(path, certificate, spot, mistakes);
            }
            return Some(found);
        }
    }
    None
}

/// Until when a certificate is good.
fn term(path: &Path, certificate: &CertificateDer<'_>, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return unusable(path, "has a certificate that cannot be read".to_owned(), spot, mistakes);
    };
    let time = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let (begin, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let (begin, end, now) = (time(begin), time(end), Utc::now());
    if end < now {
        unusable(path, format!("has a certificate that expired on {}", end.format("%F")), spot, mistakes);
    } else if begin > now {
        unusable(
            path,
            format!("has a certificate that begins on {}", begin.format("%F %T UTC")),
            spot,
            mistakes,
        );
    } else if end - now < EXPIRES_SOON {
        let message = format!("`{}` has a certificate that expires on {}", path.display(), end.format("%F"));
        mistakes.doubt(spot.place, message);
    }
}

fn private_key(path: &FilePath, spot: Spot<'_>, mistakes: &mut Mistakes) -> Option<PrivateKeyDer<'static>> {
    match secret::read_file(path) {
        Err(error) => mistakes.add(spot.place, MistakeKind::Secret(error)),
        Ok(text) => match PrivateKeyDer::from_pem_slice(text.expose().as_bytes()) {
            Ok(key) => return Some(key),
            Err(_) => unusable(path, "has no private key as PEM".to_owned(), spot, mistakes),
        },
    }
    None
}

fn pair(chain: Certificates, key: PrivateKeyDer<'static>, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let built = builder
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    if let Err(error) = built {
        let advice = "key and certificate must be of the same pair";
        mistakes.contradict(
            spot.place,
            format!("the key cannot be used with the certificate: {error}"),
            advice,
        );
    }
}
