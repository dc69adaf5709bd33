//! A broker that wants to know who asks, and clients that can and cannot tell it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::Layout;

/// The listener that asks for a password or a token.
pub(crate) const BY_PASSWORD: &str = "SECURE";

/// The listener that asks for a certificate.
pub(crate) const BY_CERTIFICATE: &str = "MUTUAL";

/// The user that the broker knows, for all mechanisms.
pub(crate) const USER: &str = "masthead";

/// The user's password.
pub(crate) const PASSWORD: &str = "correct horse: battery=staple";

/// The files of a broker and of its clients.
pub(crate) struct Security {
    folder: tempfile::TempDir,
}

impl Security {
    /// Makes an authority, what it signed for the broker at `localhost` and for a client, and an
    /// authority that signed nothing.
    pub(crate) fn new() -> Self {
        let security = Self { folder: tempfile::tempdir().unwrap() };
        let (ca, issuer) = authority("authority of tests");
        let broker = signed(&issuer, "localhost");
        let client = signed(&issuer, USER);
        security.write("ca.crt", &ca);
        security.write("other-ca.crt", &authority("another authority").0);
        security.write("broker.pem", &format!("{}{}", broker.1, broker.0));
        security.write("client.crt", &client.0);
        security.write("client.key", &client.1);
        security.write("password", PASSWORD);
        security.write("token", &token());
        security
    }

    /// What the broker is started with.
    pub(crate) fn layout(&self) -> Layout {
        let [keys, trust] = [self.path("broker.pem"), self.path("ca.crt")];
        let tls = |listener: &str| {
            format!(
                "listener.name.{listener}.ssl.keystore.type=PEM\n\
                 listener.name.{listener}.ssl.keystore.location={}\n\
                 listener.name.{listener}.ssl.truststore.type=PEM\n\
                 listener.name.{listener}.ssl.truststore.location={}\n",
                keys.display(),
                trust.display()
            )
        };
        let modules = "org.apache.kafka.common.security";
        let properties = format!(
            "{}{}listener.name.mutual.ssl.client.auth=required\n\
             listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER\n\
             listener.name.secure.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             listener.name.secure.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             listener.name.secure.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required \
             user_{USER}=\"{PASSWORD}\";\n\
             listener.name.secure.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule \
             required unsecuredLoginStringClaim_sub=\"broker\";\n\
             listener.name.secure.oauthbearer.sasl.server.callback.handler.class=\
             {modules}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler\n",
            tls("secure"),
            tls("mutual"),
        );
        let scram = |mechanism: &str| format!("{mechanism}=[name={USER},password=\"{PASSWORD}\"]");
        Layout {
            listeners: vec![(BY_PASSWORD, "SASL_SSL"), (BY_CERTIFICATE, "SSL")],
            properties,
            scram: vec![scram("SCRAM-SHA-256"), scram("SCRAM-SHA-512")],
        }
    }

    /// What a source or sink has to say for TLS and a mechanism with a password.
    pub(crate) fn by_password(&self, mechanism: &str) -> String {
        format!(
            "tls: {{ ca_file: {} }}, sasl: {{ mechanism: {mechanism}, user: {USER}, password_file: {} }}",
            self.path("ca.crt").display(),
            self.path("password").display()
        )
    }

    /// What a source or sink has to say for TLS and a token.
    pub(crate) fn by_token(&self) -> String {
        format!(
            "tls: {{ ca_file: {} }}, sasl: {{ mechanism: OAUTHBEARER, token_file: {} }}",
            self.path("ca.crt").display(),
            self.path("token").display()
        )
    }

    /// What a source or sink has to say for a certificate of its own.
    pub(crate) fn by_certificate(&self) -> String {
        format!(
            "tls: {{ ca_file: {}, certificate_file: {}, key_file: {} }}",
            self.path("ca.crt").display(),
            self.path("client.crt").display(),
            self.path("client.key").display()
        )
    }

    /// One of the files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces one of the files at once.
    pub(crate) fn write(&self, name: &str, text: &str) {
        write_secretly(&self.path(&format!("{name}.draft")), text);
        std::fs::rename(self.path(&format!("{name}.draft")), self.path(name)).unwrap();
    }
}

/// A token that is good for an hour. The broker of tests believes it unsigned.
fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"{USER}","iat":{now},"exp":{}}}"#, now + 3600);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims))
}

fn write_secretly(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), Issuer::new(params, key))
}

/// A certificate and its key.
fn signed(issuer: &Issuer<'static, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
