//! How brokers are reached; whoever configures it says so anew whenever a client is made.

use std::fmt;
use std::io;
use std::sync::Arc;

type ReadProperties = dyn Fn() -> io::Result<Vec<(String, String)>> + Send + Sync;
type ReadToken = dyn Fn() -> io::Result<Token> + Send + Sync;

/// How brokers are reached. Nothing of it is ever shown: there are passwords in it.
#[derive(Clone)]
pub struct Link {
    properties: Arc<ReadProperties>,
    token: Option<Arc<ReadToken>>,
}

/// A token of `OAUTHBEARER`.
pub struct Token {
    /// The token itself.
    pub text: String,
    /// Who it is of.
    pub principal: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: i64,
}

impl Link {
    /// A link whose properties, as librdkafka names them, `properties` reads; asked again for each
    /// new client.
    pub fn new(properties: impl Fn() -> io::Result<Vec<(String, String)>> + Send + Sync + 'static) -> Self {
        Self { properties: Arc::new(properties), token: None }
    }

    /// The link with tokens that `token` reads; asked again before one ends.
    #[must_use]
    pub fn with_token(mut self, token: impl Fn() -> io::Result<Token> + Send + Sync + 'static) -> Self {
        self.token = Some(Arc::new(token));
        self
    }

    pub(super) fn properties(&self) -> io::Result<Vec<(String, String)>> {
        (self.properties)()
    }

    pub(super) fn token(&self) -> io::Result<Token> {
        match &self.token {
            Some(token) => token(),
            None => Err(io::Error::other("no token is configured")),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Link(…)")
    }
}
