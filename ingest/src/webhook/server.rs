//! Binds a port and serves it: from settings to connections, and back to nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::connection::Connections;
use super::request::{Service, router};
use super::room::Room;
use super::{AccessError, Judge, Limits, Observer, Settings, Tls, Token};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A port that is bound, and how it will be served.
pub struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
    reloader: Reloader,
    limits: Limits,
    observer: Arc<dyn Observer>,
}

/// Why a receiver cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The port cannot be had.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody can be let in like this.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl Receiver {
    /// Binds a port; connections wait until it is served.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        let Settings { listen, tls, tokens, insecure, limits } = settings;
        let access = Access::new(tls, tokens)?.checked_for(listen, insecure)?;
        let explain = |source| BindError::Listen { address: listen, source };
        let listener = listener(listen).map_err(explain)?;
        let address = listener.local_addr().map_err(explain)?;
        let reloader = Reloader { access: Arc::new(ArcSwap::from_pointee(access)), address, insecure };
        Ok(Self { listener, address, reloader, limits, observer: Arc::new(()) })
    }

    /// The same with somebody who counts.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What changes certificates and tokens while it is served.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `shutdown`, then refuses connections, lets requests in flight end for as long
    /// as the limits say, and returns how many connections had to be cut off.
    pub async fn serve<J: Judge>(self, judge: Arc<J>, shutdown: impl Future<Output = ()> + Send) -> usize {
        let Self { listener, address: _, reloader, limits, observer } = self;
        let judging = TaskTracker::new();
        let service = Service {
            judge,
            access: Arc::clone(&reloader.access),
            room: Room::new(&limits),
            limits: limits.clone(),
            judging: judging.clone(),
            observer: Arc::clone(&observer),
        };
        let drain_max = limits.drain_max;
        let connections = Connections::new(router(Arc::new(service)), reloader.access, limits, observer);
        tokio::select! {
            () = connections.accept_all(&listener) => {}
            () = shutdown => {}
        }
        drop(listener);
        connections.stop(drain_max, &judging).await
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Changes certificates and tokens of a receiver that is served, without ending a connection.
#[derive(Clone)]
pub struct Reloader {
    access: Arc<ArcSwap<Access>>,
    address: SocketAddr,
    insecure: bool,
}

impl Reloader {
    /// The same as [`prepare`](Self::prepare) and [`put_in_force`](Prepared::put_in_force) at once.
    pub fn reload(&self, tls: Option<Tls>, tokens: Vec<Token>) -> Result<(), AccessError> {
        self.prepare(tls, tokens).map(Prepared::put_in_force)
    }

    /// Makes ready other certificates and tokens; nothing changes yet.
    pub fn prepare(&self, tls: Option<Tls>, tokens: Vec<Token>) -> Result<Prepared, AccessError> {
        let access = Access::new(tls, tokens)?.checked_for(self.address, self.insecure)?;
        Ok(Prepared { access: Arc::new(access), in_force: Arc::clone(&self.access) })
    }
}

/// Certificates and tokens with which nothing can be wrong any more.
#[must_use]
pub struct Prepared {
    access: Arc<Access>,
    in_force: Arc<ArcSwap<Access>>,
}

impl Prepared {
    /// From now on new connections see these certificates, and every request, also on open
    /// connections, is let in by these tokens and authorities.
    pub fn put_in_force(self) {
        self.in_force.store(self.access);
    }
}
