//! Alerts by HTTP: a POST each, or one for several.
//!
//! **Invariant:** where a request goes and what its headers are is decided by the configuration;
//! of an alert only the id gets into a header, and everything else into the body, as JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Url, redirect};

mod answer;
mod credentials;
mod signature;
mod template;

#[cfg(test)]
mod tests;

pub use credentials::{Credentials, Secret, SecretError};
pub use template::{TEMPLATE_BYTES_MAX, Template, TemplateError};

use crate::delivery::{Delivery, Destination, Trouble};
use crate::outbox::Outgoing;

/// How long a request may take unless the configuration says so.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long one call delivers alert by alert, so that the cursor follows.
const TURN_MAX: Duration = Duration::from_secs(1);

/// The header that repeats itself when an alert does.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that proves who sent the body.
const SIGNATURE: HeaderName = HeaderName::from_static("x-masthead-signature");

/// Headers that belong to the connection, not to the configuration.
const HEADERS_RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-masthead-signature",
];

/// Where requests go and what they look like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to, `http` or `https`, without credentials.
    pub url: String,
    /// What says who sends.
    pub credentials: Option<Credentials>,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// What bodies are signed with, by HMAC-SHA256.
    pub signing_key: Option<Secret>,
    /// Certificates in PEM, one of which must have signed the server's; without it, what the
    /// operating system trusts.
    pub ca_pem: Option<Vec<u8>>,
    /// How long a request may take, the answer included.
    pub timeout: Duration,
    /// How many alerts go into one request.
    pub batch: Batch,
    /// What is sent of an alert; without it, all.
    pub template: Option<Template>,
}

/// How many alerts go into one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batch {
    /// One.
    #[default]
    Single,
    /// One a line, at most so many.
    Lines {
        /// How many at most.
        count_max: usize,
    },
    /// A JSON array of at most so many.
    Array {
        /// How many at most.
        count_max: usize,
    },
}

/// Why requests cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URL is none.
    #[error("the URL cannot be read: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The URL is of another protocol.
    #[error("the URL begins with `{scheme}`, expected `http` or `https`")]
    Scheme {
        /// The protocol.
        scheme: String,
    },
    /// The URL has a password.
    #[error("the URL contains credentials, which belong into a file")]
    CredentialsInUrl,
    /// The header cannot be sent.
    #[error("the header `{name}` has a name or a value that cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// The header is not the configuration's.
    #[error("the header `{name}` is set for each request")]
    HeaderReserved {
        /// Its name.
        name: String,
    },
    /// The certificates cannot be read.
    #[error("the certificates cannot be read")]
    Certificates(#[source] reqwest::Error),
    /// The client cannot be made.
    #[error("requests cannot be made")]
    Client(#[source] reqwest::Error),
}

/// The sink `http`.
#[derive(Debug)]
pub struct Http {
    options: Options,
    url: Url,
    headers: HeaderMap,
    client: Client,
    authorization: Option<HeaderValue>,
    signing_key: Option<String>,
    /// How many alerts go one by one, since one of them was not wanted.
    alone_count: usize,
}

impl Http {
    /// Checks the options; sends nothing. Makes `ring` the process's provider of cryptography if
    /// there is none.
    pub fn new(options: Options) -> Result<Self, HttpError> {
        let url = checked_url(&options.url)?;
        let headers = checked_headers(&options)?;
        let client = client(&options, &url)?;
        Ok(Self { options, url, headers, client, authorization: None, signing_key: None, alone_count: 0 })
    }

    /// Secrets are read again whenever they may have changed.
    fn read_secrets(&mut self) -> Result<(), Trouble> {
        let trouble = |error: SecretError| Trouble::of(&error);
        self.authorization = match &self.options.credentials {
            Some(credentials) => Some(credentials.authorization().map_err(trouble)?),
            None => None,
        };
        self.signing_key = match &self.options.signing_key {
            Some(key) => Some(key.read().map_err(trouble)?),
            None => None,
        };
        Ok(())
    }

    async fn send(&mut self, alerts: &[Arc<Outgoing>]) -> Result<(), Trouble> {
        let body = self.body_of(alerts)?;
        let mut headers = self.headers.clone();
        headers.extend(self.authorization.clone().map(|authorization| (AUTHORIZATION, authorization)));
        headers.insert(IDEMPOTENCY_KEY, header_of(&idempotency_key(alerts))?);
        if let Some(key) = &self.signing_key {
            headers.insert(SIGNATURE, header_of(&signature::sign(key.as_bytes(), &body))?);
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        // The URL may be a secret, as those of chats are.
        let answer = request.send().await.map_err(|error| Trouble::of(&error.without_url()))?;
        let judged = answer::judge(answer).await;
        if matches!(judged, Err(Trouble::Denied { .. })) {
            self.read_secrets()?;
        }
        judged
    }

    fn body_of(&self, alerts: &[Arc<Outgoing>]) -> Result<Vec<u8>, Trouble> {
        let texts: Vec<String> = alerts.iter().map(|alert| self.text_of(alert)).collect::<Result<_, _>>()?;
        let text = match self.options.batch {
            Batch::Single => texts.concat(),
            Batch::Lines { .. } => texts.into_iter().map(|text| text + "\n").collect(),
            Batch::Array { .. } => format!("[{}]", texts.join(",")),
        };
        Ok(text.into_bytes())
    }

    fn text_of(&self, alert: &Outgoing) -> Result<String, Trouble> {
        let Some(template) = &self.options.template else { return Ok(alert.json.clone()) };
        let refused = |error| Trouble::Refused { reason: format!("the alert cannot be read: {error}") };
        template.render(&alert.json).map_err(refused)
    }

    fn batch_count_max(&self) -> usize {
        match self.options.batch {
            Batch::Lines { count_max } | Batch::Array { count_max } if self.alone_count == 0 => {
                count_max.max(1)
            }
            _ => 1,
        }
    }
}

impl Destination for Http {
    async fn open(&mut self, _memo: Option<&str>) -> Result<(), Trouble> {
        self.read_secrets()
    }

    async fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        let began_at = Instant::now();
        let mut delivered_count = 0;
        while delivered_count < alerts.len() && began_at.elapsed() < TURN_MAX {
            let left = &alerts[delivered_count..];
            let batch = &left[..left.len().min(self.batch_count_max())];
            match self.send(batch).await {
                Ok(()) => {
                    delivered_count += batch.len();
                    self.alone_count = self.alone_count.saturating_sub(batch.len());
                }
                // One of them is not wanted: which, they will tell one by one.
                Err(Trouble::Refused { .. }) if batch.len() > 1 => self.alone_count = batch.len(),
                Err(trouble) => return Delivery::until(delivered_count, trouble),
            }
        }
        Delivery::of(delivered_count)
    }
}

fn checked_url(text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|error| HttpError::Url { reason: error.to_string() })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::Scheme { scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpError::CredentialsInUrl);
    }
    Ok(url)
}

fn checked_headers(options: &Options) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    let content_type = match options.batch {
        Batch::Lines { .. } => "application/x-ndjson",
        Batch::Single | Batch::Array { .. } => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in &options.headers {
        let error = || HttpError::Header { name: name.clone() };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| error())?;
        if HEADERS_RESERVED.contains(&header.as_str()) {
            return Err(HttpError::HeaderReserved { name: name.clone() });
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| error())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn client(options: &Options, url: &Url) -> Result<Client, HttpError> {
    // Fails if there is one already, which then is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
        .timeout(options.timeout)
        .user_agent(concat!("masthead/", env!("CARGO_PKG_VERSION")));
    trusting(builder, options, url)?.build().map_err(HttpError::Client)
}

fn trusting(builder: ClientBuilder, options: &Options, url: &Url) -> Result<ClientBuilder, HttpError> {
    match &options.ca_pem {
        Some(pem) => {
            let certificates = Certificate::from_pem_bundle(pem).map_err(HttpError::Certificates)?;
            Ok(builder.tls_certs_only(certificates))
        }
        // A system without certificates is fine as long as none is needed.
        None if url.scheme() == "http" => Ok(builder.tls_certs_only([])),
        None => Ok(builder),
    }
}

/// The same for the same alerts.
fn idempotency_key(alerts: &[Arc<Outgoing>]) -> String {
    if let [alert] = alerts {
        return format!("{:032x}", alert.id);
    }
    let mut hasher = blake3::Hasher::new();
    for alert in alerts {
        hasher.update(&alert.id.to_be_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

fn header_of(text: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_str(text).map_err(|error| Trouble::of(&error))
}
