//! Servers that are no Ollama, or a sick one: a clear state, no busy loop, no growth.

use crate::stand::Stand;
use model_preloader::engine::FailureKind;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Answers every connection with the same bytes; `None` reads and answers nothing.
struct Strange {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Strange {
    async fn answering(answer: Option<&'static [u8]>, flood: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(talk(stream, answer, flood));
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn talk(mut stream: TcpStream, answer: Option<&'static [u8]>, flood: bool) {
    let mut head = [0; 4096];
    let Ok(_) = stream.read(&mut head).await else {
        return;
    };
    let Some(answer) = answer else {
        // Until the other side gives up.
        drop(stream.read(&mut head).await);
        return;
    };
    let mut sent = stream.write_all(answer).await;
    let chunk = vec![b'x'; 1 << 20];
    while flood && sent.is_ok() {
        sent = stream.write_all(&chunk).await;
    }
}

#[tokio::test]
async fn each_strange_server_is_named_and_left_in_peace() {
    const HTML: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n<html>nginx</html>";
    const FAILING: &[u8] = b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops";
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"models\":[";
    const MOVED: &[u8] =
        b"HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    const FLOOD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    let table = [
        (Some(HTML), false, FailureKind::UnexpectedResponse),
        (Some(FAILING), false, FailureKind::ServerError),
        (Some(HALF), false, FailureKind::UnexpectedResponse),
        (Some(MOVED), false, FailureKind::UnexpectedResponse),
        (Some(FLOOD), true, FailureKind::UnexpectedResponse),
        (None, false, FailureKind::Timeout),
    ];
    for (answer, flood, kind) in table {
        let strange = Strange::answering(answer, flood).await;
        let set = [
            "poll.timeout=2s",
            "poll.interval=2s",
            "health.staleAfter=10s",
        ];
        let mut stand = Stand::start(&strange.url(), json!(["a"]), &set).await;
        let snapshot = stand
            .until("the failure is known", |snapshot| {
                snapshot.servers[0].last_error.is_some()
            })
            .await;
        let error = snapshot.servers[0].last_error.clone().unwrap();
        assert_eq!(error.kind, kind, "{answer:?}: {}", error.message);
        assert!(!snapshot.gate.ready);
        assert_eq!(stand.get("/metrics").await.0, 200);
        assert!(stand.stop().await);
        let connections = strange.connections.load(Ordering::SeqCst);
        assert!(
            connections <= 8,
            "a busy loop: {connections} connections within the first poll"
        );
    }
}
