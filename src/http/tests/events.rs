//! The stream of events over real sockets.

use super::super::events::{EVENT_EVERY, HEARTBEAT_EVERY};
use super::*;

/// Longer than anything here takes; a bug detector, no tuning knob.
const SOON: Duration = Duration::from_secs(120);

/// A connection that watches.
struct Watcher {
    stream: TcpStream,
    text: String,
}

impl Watcher {
    async fn open(address: SocketAddr, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /api/events HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let text = String::new();
        Self { stream, text }
    }

    /// Reads until all of `words` came, and gives what came up to the end of the last; `None` at the end of the stream.
    async fn until(&mut self, words: &str) -> Option<String> {
        let read = async {
            loop {
                if let Some(found) = self.text.find(words) {
                    let rest = self.text.split_off(found + words.len());
                    return Some(std::mem::replace(&mut self.text, rest));
                }
                let mut bytes = [0; 4096];
                match self.stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return None,
                    Ok(got) => self.text.push_str(&String::from_utf8_lossy(&bytes[..got])),
                }
            }
        };
        tokio::time::timeout(SOON, read).await.expect(words)
    }

    /// The status of the next event, with its id.
    async fn status(&mut self) -> (String, serde_json::Value) {
        self.until("id: ").await.expect("an event");
        let id = self.until("\n").await.unwrap().trim().to_owned();
        self.until("event: status\ndata: ").await.unwrap();
        let data = self.until("\n\n").await.unwrap();
        (id, serde_json::from_str(&data).unwrap())
    }
}

#[tokio::test]
async fn who_watches_is_told_the_status_and_every_change() {
    let mut server = start_with(&["a:latest"]).await;
    let mut watcher = Watcher::open(server.address, "").await;
    let head = watcher
        .until("\r\n\r\n")
        .await
        .unwrap()
        .to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
    ] {
        assert!(head.contains(header), "{head}");
    }
    watcher.until("retry: 2000\n\n").await.unwrap();
    let (id, first) = watcher.status().await;
    assert_eq!(first["models"][0]["status"], "pending");
    server.tell(Event::Tick);
    let (other, second) = watcher.status().await;
    assert_eq!(second["models"][0]["status"], "loading");
    assert_ne!(id, other);
    let (_, _, body) = ask(server.address, "GET", "/api/status", "").await;
    let polled: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(second, polled, "an event is the whole document");
}

#[tokio::test]
async fn who_comes_back_is_told_only_what_is_new() {
    let mut server = start_with(&["a:latest"]).await;
    let (id, _) = Watcher::open(server.address, "").await.status().await;
    let again = format!("Last-Event-ID: {id}\r\n");
    let mut known = Watcher::open(server.address, &again).await;
    known.until("retry: 2000\n\n").await.unwrap();
    let mut foreign = Watcher::open(server.address, "Last-Event-ID: 0-1\r\n").await;
    assert_eq!(foreign.status().await.0, id, "of a process before this one");
    server.tell(Event::Tick);
    let (next, status) = known.status().await;
    assert_ne!(next, id, "the known event was not sent again");
    assert_eq!(status["models"][0]["status"], "loading");
    let mut late = Watcher::open(server.address, &again).await;
    assert_eq!(
        late.status().await.0,
        next,
        "what it missed is sent at once"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_fast_are_told_together() {
    const CHANGES: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(5);
    let mut server = start_with(&["a:latest"]).await;
    let mut watcher = Watcher::open(server.address, "").await;
    watcher.status().await;
    let began = Clock::start();
    let last = {
        for change in 0..CHANGES {
            server.tell(Event::Clock(UnixMillis(WALL + i64::from(change))));
            tokio::time::sleep(PAUSE).await;
        }
        server.snapshots.borrow().revision
    };
    let mut events = 0;
    loop {
        events += 1;
        let (_, status) = watcher.status().await;
        if status["revision"] == last {
            break;
        }
    }
    let allowed = began.now().since_start().as_millis() / EVENT_EVERY.as_millis() + 2;
    assert!(events <= allowed, "{events} events, {allowed} allowed");
    assert!(events > 1, "they are told while they happen");
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats() {
    let server = start_with(&["a:latest"]).await;
    let mut watcher = Watcher::open(server.address, "").await;
    watcher.status().await;
    for beat in 1..=3 {
        let began = Clock::start();
        watcher
            .until("event: heartbeat\ndata: {}\n\n")
            .await
            .unwrap();
        assert!(
            began.now().since_start() <= HEARTBEAT_EVERY + EVENT_EVERY,
            "{beat}"
        );
    }
}

#[tokio::test]
async fn watchers_leave_room_for_probes_and_are_not_pushed_out() {
    let mut server = start_with(&["a:latest"]).await;
    let mut watchers = Vec::new();
    for _ in 0..FEW.subscribers {
        let mut watcher = Watcher::open(server.address, "").await;
        watcher.status().await;
        watchers.push(watcher);
    }
    let (status, head, body) = ask(server.address, "GET", "/api/events", "").await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: ") && body.contains("too_many_subscribers"));
    let mut idle = Vec::new();
    for _ in 0..3 * FEW.connections {
        idle.push(TcpStream::connect(server.address).await.unwrap());
        assert_eq!(ask(server.address, "GET", "/livez", "").await.0, 200);
    }
    server.tell(Event::Tick);
    for watcher in &mut watchers {
        assert_eq!(watcher.status().await.1["models"][0]["status"], "loading");
    }
    drop(watchers);
    let free = async {
        while ask(server.address, "HEAD", "/api/events", "").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, free)
        .await
        .expect("places are given back");
}

#[tokio::test]
async fn shutdown_tells_the_last_and_ends_the_streams() {
    let mut server = start_with(&["a:latest"]).await;
    let mut watcher = Watcher::open(server.address, "").await;
    watcher.status().await;
    server.tell(Event::Shutdown);
    server.stop.send(()).unwrap();
    let (_, last) = watcher.status().await;
    assert_eq!(last["reasons"][0], "shutting down");
    assert_eq!(watcher.until("never said").await, None);
    while server.tasks.join_next().await.is_some() {}
}
