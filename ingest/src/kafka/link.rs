//! How a Kafka cluster is reached; read anew for every client, as passwords and tokens change.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::error::KafkaError;

/// Why nobody can be reached.
pub type LinkError = Box<dyn Error + Send + Sync>;

type Properties = Vec<(String, String)>;
type ReadProperties = dyn Fn() -> Result<Properties, LinkError> + Send + Sync;
type ReadToken = dyn Fn() -> Result<Token, LinkError> + Send + Sync;

/// How a Kafka cluster is reached. What it holds may be secret: it is not shown.
#[derive(Clone)]
pub struct Link {
    properties: Arc<ReadProperties>,
    token: Option<Arc<ReadToken>>,
}

/// A token of `OAUTHBEARER`.
pub struct Token {
    /// The token itself.
    pub text: String,
    /// Whose it is.
    pub principal: String,
    /// When it ends: milliseconds since 1970.
    pub ends_ms: i64,
}

impl Link {
    /// A link by properties of librdkafka, which are asked for whenever a client is made.
    pub fn new(properties: impl Fn() -> Result<Properties, LinkError> + Send + Sync + 'static) -> Self {
        Self { properties: Arc::new(properties), token: None }
    }

    /// The same, with tokens, which are asked for whenever one is about to end.
    #[must_use]
    pub fn with_tokens(self, token: impl Fn() -> Result<Token, LinkError> + Send + Sync + 'static) -> Self {
        Self { token: Some(Arc::new(token)), ..self }
    }

    /// What a client is made with to reach the cluster.
    pub(super) fn client(&self) -> Result<ClientConfig, LinkError> {
        let mut client = ClientConfig::new();
        client.set("client.id", "masthead");
        for (name, value) in (self.properties)()? {
            client.set(name, value);
        }
        // Whoever makes a client of it is told nothing but the names of what is wrong.
        client.create_native_config().map_err(without_values)?;
        Ok(client)
    }

    /// A token to say who this is.
    pub(super) fn token(&self) -> Result<OAuthToken, LinkError> {
        let read = self.token.as_ref().ok_or("no token is configured")?;
        let Token { text, principal, ends_ms } = read()?;
        Ok(OAuthToken { token: text, principal_name: principal, lifetime_ms: ends_ms })
    }
}

/// A complaint without the value of which it is, which may be secret.
fn without_values(error: KafkaError) -> LinkError {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => {
            format!("`{name}` has a value that the client does not take").into()
        }
        error => error.into(),
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Link(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let link = Link::new(|| Ok(vec![("sasl.password".to_owned(), "hunter2".to_owned())]));
        assert_eq!(format!("{link:?}"), "Link(…)");
        assert_eq!(link.client().unwrap().get("sasl.password"), Some("hunter2"));
        assert!(link.token().is_err());
    }

    #[test]
    fn a_value_that_is_not_taken_is_not_told() {
        let link = Link::new(|| Ok(vec![("security.protocol".to_owned(), "hunter2".to_owned())]));
        let told = link.client().unwrap_err().to_string();
        assert!(told.contains("security.protocol") && !told.contains("hunter2"), "{told}");
    }
}
