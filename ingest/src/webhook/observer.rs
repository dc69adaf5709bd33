//! What may be counted of a receiver, without saying by what.

/// Whoever counts what a receiver does. Called on the path of every request: it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A request was answered with this status code.
    fn answered(&self, _code: u16) {}

    /// A request was answered so that it comes again; `why` is a short stable name.
    fn refused(&self, _why: &'static str) {}

    /// A request has come; it is in flight until it has ended.
    fn request_begun(&self) {}

    /// A request has been answered, or its client has gone.
    fn request_ended(&self) {}

    /// A connection has been accepted; it is open until it has ended.
    fn connection_begun(&self) {}

    /// A connection has ended.
    fn connection_ended(&self) {}

    /// A connection ended before it could carry a request.
    fn connection_refused(&self, _why: Refused) {}
}

/// Counts nothing.
impl Observer for () {}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many connections are open as may be.
    Full,
    /// As many connections are open from this address as may be.
    AddressFull,
    /// TLS could not be agreed upon.
    Handshake,
    /// TLS was not agreed upon in time.
    HandshakeTimeout,
}

impl Refused {
    /// A short stable name, for counting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
        }
    }
}
