//! The client against raw sockets: what it sends, byte by byte, and what it makes of answers that no Ollama gives.

mod answers;
mod pulls;
mod requests;

use super::{Client, ClientConfig, Ollama};
use crate::engine::Failure;
use crate::engine::request::{Answer, Request, Target, Via};
use crate::engine::spec::OptionValue;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// No answer takes that long on the loopback interface; only a defect reaches it.
const BOUND: Duration = Duration::from_secs(20);

/// A listener that gives every request the same bytes and closes, and keeps what it was asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::on("127.0.0.1:0", answer, 0).await
    }

    /// `flood`: so many times a chunk of 1 MB follows the answer, as long as somebody reads.
    async fn on(address: &str, answer: impl Into<Vec<u8>>, flood: usize) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (answer.into(), Arc::clone(&asked));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                open.spawn(async move {
                    let request = read_request(&mut stream).await;
                    seen.lock().unwrap().push(request);
                    if stream.write_all(&answer).await.is_ok() {
                        send_flood(&mut stream, flood).await;
                    }
                });
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    fn client(&self) -> Client {
        client(&format!("http://{}", self.address))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn send_flood(stream: &mut TcpStream, megabytes: usize) {
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..megabytes {
        let size = format!("{:x}\r\n", chunk.len());
        let sent = async {
            stream.write_all(size.as_bytes()).await?;
            stream.write_all(&chunk).await?;
            stream.write_all(b"\r\n").await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

/// Head and body of one request.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_it = name.eq_ignore_ascii_case("content-length");
                is_it.then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn client(base: &str) -> Client {
    Client::new(&config(base)).unwrap()
}

fn config(base: &str) -> ClientConfig {
    ClientConfig {
        base: base.to_owned(),
        bearer: None,
        headers: Vec::new(),
        ca_pem: None,
    }
}

fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn target(via: Via) -> Target {
    let options = [("num_ctx".into(), OptionValue::Int(2048))];
    Target {
        model: "smol:latest".into(),
        via,
        options: Arc::new(options.into_iter().collect()),
    }
}

async fn call(client: &Client, request: Request) -> Result<Answer, Failure> {
    tokio::time::timeout(BOUND, client.call(request, |_| {}))
        .await
        .expect("an end")
}
