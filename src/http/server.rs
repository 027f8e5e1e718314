//! Sockets: listening, limits, draining.

use super::Surface;
use super::events::{self, Connection};
use super::patience::Patient;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};

/// Longest wait for the head of a request, also of the next one on a kept connection: nobody holds one for nothing.
/// Longer than the usual scrape interval would only keep sockets.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head of a request. Ours have a few hundred bytes; browsers with many cookies stay below.
const HEAD_MAX: usize = 16 << 10;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// Wait after a failed accept, doubling: out of file descriptors is not cured by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);

/// Longest wait after failed accepts.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why the server could not listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; choose another address with `--listen` or `http.listen`"
)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Listens on `address`; port 0 takes any free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is done, then lets open requests end, for at most `grace`.
    pub async fn serve(
        self,
        surface: Arc<Surface>,
        shutdown: impl Future<Output = ()> + Send,
        grace: Duration,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        let (close, closing) = watch::channel(false);
        let mut connections = Connections::new(surface.limits.connections);
        let mut publisher = JoinSet::new();
        publisher.spawn(events::publish(Arc::clone(&surface), closing.clone()));
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.tasks.join_next() => {
                    connections.forget_ended();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = ACCEPT_PAUSE;
                    connections.add(stream, Arc::clone(&surface), closing.clone());
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
                    }
                }
            }
        }
        drop(self.listener);
        close.send_replace(true);
        let drained = async {
            while publisher.join_next().await.is_some() {}
            while connections.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
            debug!("connections were cut at the end of the grace period");
        }
    }
}

/// The open connections, the oldest first.
#[derive(Debug)]
struct Connections {
    max: usize,
    tasks: JoinSet<()>,
    open: VecDeque<(AbortHandle, Connection)>,
}

impl Connections {
    fn new(max: usize) -> Self {
        Self {
            max,
            tasks: JoinSet::new(),
            open: VecDeque::new(),
        }
    }

    fn add(&mut self, stream: TcpStream, surface: Arc<Surface>, closing: watch::Receiver<bool>) {
        if self.open.len() >= self.max {
            self.forget_ended();
        }
        while self.open.len() >= self.max {
            self.end_one();
        }
        // Probes and scrapes are one small answer each: waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "no TCP_NODELAY");
        }
        let connection = Connection::default();
        let serving = serve_connection(stream, surface, closing, connection.clone());
        self.open.push_back((self.tasks.spawn(serving), connection));
    }

    /// Ends the oldest connection that carries no stream; their number is limited, so there is one. An answer is made
    /// and handed to the kernel without a pause, so the oldest is an idle one.
    fn end_one(&mut self) {
        let idle = self
            .open
            .iter()
            .position(|(_, connection)| !connection.is_streaming());
        if let Some((oldest, _)) = self.open.remove(idle.unwrap_or_default()) {
            oldest.abort();
        }
    }

    fn forget_ended(&mut self) {
        self.open.retain(|(task, _)| !task.is_finished());
    }
}

async fn serve_connection(
    stream: TcpStream,
    surface: Arc<Surface>,
    mut closing: watch::Receiver<bool>,
    itself: Connection,
) {
    // No body of a request is ever read; hyper closes the connection when one is left over.
    let service = service_fn(move |request: Request<Incoming>| {
        let head = request.method() == Method::HEAD;
        let response = surface
            .answer(&request, &itself)
            .into_response(request.headers(), head);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(Patient::new(stream)), service));
    let closed = async move { drop(closing.wait_for(|closing| *closing).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}
