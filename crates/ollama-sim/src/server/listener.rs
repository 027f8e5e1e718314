//! Sockets: listening, as long as the simulated server runs.

use super::http;
use super::shared::Shared;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections at the same time; one more is closed at once.
const CONNECTIONS_MAX: usize = 1024;

/// Largest head of a request.
const HEAD_MAX: usize = 64 << 10;

/// Wait after a failed accept or a failed bind.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves until the task is dropped. While the server is down nothing listens on the address.
pub(super) async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut wanted = shared.wanted.subscribe();
    let mut listener = Some(listener);
    loop {
        let open = match listener.take() {
            Some(open) => open,
            None => bind(address).await,
        };
        shared.listening.send_replace(true);
        let mut connections = JoinSet::new();
        tokio::select! {
            ended = wanted.wait_for(|listens| !listens) => {
                if ended.is_err() {
                    return;
                }
            }
            () = accept(&open, &mut connections, &shared) => {}
        }
        // The listener first: who is cut and comes back at once shall be refused.
        drop(open);
        connections.shutdown().await;
        shared.listening.send_replace(false);
        if wanted.wait_for(|listens| *listens).await.is_err() {
            return;
        }
    }
}

/// The address was ours a moment ago, so it is only a question of time.
async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => tracing::warn!(%error, %address, "cannot listen again yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn accept(listener: &TcpListener, connections: &mut JoinSet<()>, shared: &Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                tracing::warn!(
                    limit = CONNECTIONS_MAX,
                    "too many connections; one was closed"
                );
            }
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(shared)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = service_fn(move |request| http::answer(request, Arc::clone(&shared)));
    let served = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
