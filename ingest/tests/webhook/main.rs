//! The receiver, asked by real clients over real sockets.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod answers;
mod bodies;
mod hostile;
mod stopping;
mod support;
mod tls;
