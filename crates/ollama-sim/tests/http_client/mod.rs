//! The smallest HTTP client: one request per connection.

use ollama_sim::Sim;
use serde_json::Value;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response, chunks put together.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.body.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Sends a request and leaves the connection open.
pub(crate) async fn send(sim: &Sim, method: &str, path: &str, body: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(sim.address()).await?;
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    Ok(stream)
}

pub(crate) async fn receive(mut stream: TcpStream) -> io::Result<Response> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    Ok(Response {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        head: head.to_lowercase(),
        body: if chunked {
            unchunk(body).ok_or(io::ErrorKind::UnexpectedEof)?
        } else {
            body.into()
        },
    })
}

/// `None` if the last chunk is missing.
fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

pub(crate) async fn ask(sim: &Sim, method: &str, path: &str, body: &str) -> Response {
    receive(send(sim, method, path, body).await.unwrap())
        .await
        .unwrap()
}

pub(crate) async fn post(sim: &Sim, path: &str, body: Value) -> Response {
    ask(sim, "POST", path, &body.to_string()).await
}

pub(crate) async fn get(sim: &Sim, path: &str) -> Response {
    ask(sim, "GET", path, "").await
}
