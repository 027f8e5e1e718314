//! One question to a local listener: a plain GET over a connection of its own, with limits on time and size.
//!
//! Whoever listens there may be anything. It can cost this one question its time and nothing else.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Longest head of an answer; llama-server's has 200 bytes.
const HEAD_MAX: usize = 8 << 10;

/// Longest body of an answer; `/props` holds the chat template, which can have tens of kilobytes.
const BODY_MAX: usize = 256 << 10;

/// Read at a time.
const PIECE: usize = 4 << 10;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoReply {
    /// Nobody listens any more.
    Refused,
    /// Nothing whole came in time.
    Silent,
    /// Something else than HTTP, or too much of it.
    Nonsense,
    /// The question could not be put: our own limits.
    NotAsked,
}

/// The local ports of our own questions: they are no clients of a runner. A port is kept for two looks after its question
/// has ended, because a busy kernel may show the other end of a closed connection a little longer.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnPorts(Arc<Mutex<Ports>>);

#[derive(Debug, Default)]
struct Ports {
    open: BTreeSet<u16>,
    /// Of questions that ended since the last look, and since the one before.
    ended: [BTreeSet<u16>; 2],
}

impl OwnPorts {
    pub(super) fn contains(&self, port: u16) -> bool {
        let ports = self.lock();
        ports.open.contains(&port) || ports.ended.iter().any(|ended| ended.contains(&port))
    }

    /// A look was taken.
    pub(super) fn looked(&self) {
        let mut ports = self.lock();
        let [last, _] = std::mem::take(&mut ports.ended);
        ports.ended = [BTreeSet::new(), last];
    }

    fn hold(&self, port: u16) -> HeldPort {
        self.lock().open.insert(port);
        HeldPort(self.clone(), port)
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a port off the list when the question ends, however it ends.
struct HeldPort(OwnPorts, u16);

impl Drop for HeldPort {
    fn drop(&mut self) {
        let Self(ports, port) = self;
        let mut ports = ports.lock();
        ports.open.remove(port);
        let [last, _] = &mut ports.ended;
        last.insert(*port);
    }
}

/// Asks for `path`; the answer is complete within `limit`, or there is none.
pub(super) async fn ask(
    address: SocketAddr,
    path: &str,
    limit: Duration,
    ports: &OwnPorts,
) -> Result<Reply, NoReply> {
    let asked = tokio::time::timeout(limit, exchange(address, path, ports)).await;
    asked.unwrap_or(Err(NoReply::Silent))
}

async fn exchange(address: SocketAddr, path: &str, ports: &OwnPorts) -> Result<Reply, NoReply> {
    let (mut stream, _held) = connect(address, ports).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: model-preloader/{}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| failed(&error))?;
    read_reply(&mut stream).await
}

async fn connect(address: SocketAddr, ports: &OwnPorts) -> Result<(TcpStream, HeldPort), NoReply> {
    let (socket, held) = own_socket(address, ports).map_err(|_| NoReply::NotAsked)?;
    match socket.connect(address).await {
        Ok(stream) => Ok((stream, held)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(NoReply::Refused),
        Err(_) => Err(NoReply::NotAsked),
    }
}

fn own_socket(address: SocketAddr, ports: &OwnPorts) -> io::Result<(TcpSocket, HeldPort)> {
    let (socket, from) = match address {
        SocketAddr::V4(_) => (
            TcpSocket::new_v4()?,
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ),
        SocketAddr::V6(_) => (
            TcpSocket::new_v6()?,
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ),
    };
    // Closed at once: otherwise every question would leave an ended connection behind for a minute.
    socket.set_zero_linger()?;
    // The port is known before the connection can be seen.
    socket.bind(from)?;
    let held = ports.hold(socket.local_addr()?.port());
    Ok((socket, held))
}

fn failed(error: &io::Error) -> NoReply {
    let reset = error.kind() == io::ErrorKind::ConnectionReset;
    if reset {
        NoReply::Refused
    } else {
        NoReply::Nonsense
    }
}

async fn read_reply(stream: &mut TcpStream) -> Result<Reply, NoReply> {
    let mut data = Vec::new();
    let head = loop {
        if let Some(head) = parse_head(&data)? {
            break head;
        }
        if data.len() > HEAD_MAX || !read_more(stream, &mut data).await? {
            return Err(NoReply::Nonsense);
        }
    };
    let wanted = head.length.unwrap_or(BODY_MAX);
    if wanted > BODY_MAX || head.bytes > HEAD_MAX {
        return Err(NoReply::Nonsense);
    }
    let mut body = data.split_off(head.bytes);
    while body.len() < wanted {
        if !read_more(stream, &mut body).await? {
            if head.length.is_some() {
                return Err(NoReply::Nonsense);
            }
            break;
        }
    }
    if head.length.is_none() && body.len() >= BODY_MAX {
        return Err(NoReply::Nonsense);
    }
    body.truncate(wanted);
    Ok(Reply {
        status: head.status,
        body,
    })
}

/// Whether more came; otherwise the other side has ended.
async fn read_more(stream: &mut TcpStream, data: &mut Vec<u8>) -> Result<bool, NoReply> {
    let mut piece = [0; PIECE];
    let read = stream.read(&mut piece).await;
    let read = read.map_err(|error| failed(&error))?;
    data.extend_from_slice(piece.get(..read).unwrap_or_default());
    Ok(read > 0)
}

struct Head {
    status: u16,
    length: Option<usize>,
    /// Bytes up to the body.
    bytes: usize,
}

/// The head of an answer, once it is complete.
fn parse_head(data: &[u8]) -> Result<Option<Head>, NoReply> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = data.windows(END.len()).position(|each| each == END) else {
        return Ok(None);
    };
    let text = data.get(..end).and_then(|head| str::from_utf8(head).ok());
    let mut lines = text.ok_or(NoReply::Nonsense)?.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or(NoReply::Nonsense)?;
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let bytes = value.trim().parse().map_err(|_| NoReply::Nonsense)?;
            length = Some(bytes);
        }
    }
    Ok(Some(Head {
        status,
        length,
        bytes: end + END.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    /// Long enough for any machine; the tests of silence use a paused clock's way out: a short limit.
    const LONG: Duration = Duration::from_secs(20);

    /// A listener that reads the request and then writes `pieces` one by one; without an end if `open`.
    async fn listener(pieces: Vec<Vec<u8>>, open: bool) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await.unwrap();
            for piece in pieces {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
            if open {
                pending::<()>().await;
            }
        });
        (address, tasks)
    }

    async fn asked(text: &str, open: bool, limit: Duration) -> Result<Reply, NoReply> {
        let (address, _tasks) = listener(vec![text.as_bytes().to_vec()], open).await;
        let ports = OwnPorts::default();
        let reply = ask(address, "/health", limit, &ports).await;
        assert!(ports.lock().open.is_empty(), "the port was given back");
        reply
    }

    #[tokio::test]
    async fn a_reply_ends_at_its_length_even_if_the_connection_stays() {
        let text = "HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbusy and more";
        let reply = asked(text, true, LONG).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (503, &b"busy"[..]));
    }

    #[tokio::test]
    async fn a_reply_without_a_length_ends_with_the_connection() {
        let reply = asked("HTTP/1.0 200 OK\r\nA: b\r\n\r\nall", false, LONG).await;
        assert_eq!(reply.unwrap().body, b"all");
    }

    #[tokio::test]
    async fn what_is_no_http_is_nonsense() {
        let lengths = ["99999999999999999999", "-1", "1000000", "5"];
        let with_length =
            |length: &&str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nx");
        let mut texts: Vec<_> = lengths.iter().map(with_length).collect();
        texts.extend(
            [
                "",
                "SSH-2.0-x\r\n\r\n",
                "HTTP/1.1 abc\r\n\r\n",
                "HTTP/2 200\r\n\r\n",
                "\u{0}\r\n\r\n",
            ]
            .map(String::from),
        );
        for text in texts {
            assert_eq!(
                asked(&text, false, LONG).await,
                Err(NoReply::Nonsense),
                "{text:?}"
            );
        }
    }

    #[tokio::test]
    async fn endless_heads_and_bodies_are_cut_off() {
        let endless = vec![b"x".repeat(BODY_MAX); 64];
        let (address, _tasks) = listener(endless.clone(), true).await;
        let reply = ask(address, "/", LONG, &OwnPorts::default()).await;
        assert_eq!(reply, Err(NoReply::Nonsense));
        let mut body = vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()];
        body.extend(endless);
        let (address, _tasks) = listener(body, true).await;
        let reply = ask(address, "/", LONG, &OwnPorts::default()).await;
        assert_eq!(reply, Err(NoReply::Nonsense));
    }

    #[tokio::test]
    async fn silence_and_a_slow_drip_end_at_the_limit() {
        let short = Duration::from_millis(50);
        assert_eq!(asked("", true, short).await, Err(NoReply::Silent));
        let drip = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow";
        assert_eq!(asked(drip, true, short).await, Err(NoReply::Silent));
    }

    #[tokio::test]
    async fn nobody_there_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let reply = ask(address, "/", LONG, &OwnPorts::default()).await;
        assert_eq!(reply, Err(NoReply::Refused));
    }
}
