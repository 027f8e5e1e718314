//! `/api/events`: the status document to everybody who watches, as server-sent events.
//!
//! One task waits for changes and hands each watcher the same bytes. A watcher who is slow misses what came between and
//! gets the latest; who does not read at all is cut off by `patience`.

use super::Surface;
use super::documents::StatusEvent;
use bytes::Bytes;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Shortest time between two events. People see no more, and a load of many models changes something all the time.
pub(super) const EVENT_EVERY: Duration = Duration::from_millis(250);

/// Longest time without an event: proxies close what is silent for a minute, and the page takes twice this time as
/// proof that the connection is dead.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// What a watcher gets first: after a lost connection it shall come back in two seconds.
const GREETING: &[u8] = b"retry: 2000\n\n";

/// An event, not a comment, so that the page sees it as well.
const HEARTBEAT: &[u8] = b"event: heartbeat\ndata: {}\n\n";

/// The watchers and what they were last told.
#[derive(Debug)]
pub(super) struct Events {
    latest: watch::Sender<News>,
    places: Arc<Semaphore>,
}

/// What all watchers shall know.
#[derive(Clone, Debug, Default)]
struct News {
    status: StatusEvent,
    /// Heartbeats so far.
    beats: u64,
    /// The server stops.
    over: bool,
}

/// All places are taken.
#[derive(Debug)]
pub(super) struct Full;

impl Events {
    pub(super) fn new(subscribers: usize) -> Self {
        Self {
            latest: watch::Sender::default(),
            places: Arc::new(Semaphore::new(subscribers)),
        }
    }
}

impl Surface {
    /// A stream of events on `connection`; at first the status, unless `last_event_id` says that it is known.
    pub(super) fn subscribe(
        &self,
        last_event_id: Option<&str>,
        connection: &Connection,
    ) -> Result<Box<EventStream>, Full> {
        let places = Arc::clone(&self.events.places);
        let place = places.try_acquire_owned().map_err(|_| Full)?;
        // In this order: what changes after the first look is told by the second.
        let news = self.events.latest.subscribe();
        let status = self.status_event();
        let known = last_event_id.is_some_and(|id| status.is(id));
        let (beats, over) = {
            let told = news.borrow();
            (told.beats, told.over)
        };
        Ok(Box::new(EventStream {
            greeted: false,
            first: Some(status.bytes).filter(|_| !known),
            revision: status.revision,
            beats,
            over,
            next: Box::pin(next(news)),
            _place: place,
            _mark: connection.mark(),
        }))
    }

    fn publish(&self, over: bool) {
        let status = self.status_event();
        self.events.latest.send_modify(|news| {
            news.status = status;
            news.over = over;
        });
    }
}

/// Tells the watchers of `surface` what changes, until `closing`; then they are told the last and their streams end.
pub(super) async fn publish(surface: Arc<Surface>, mut closing: watch::Receiver<bool>) {
    let mut snapshots = surface.snapshots.clone();
    let mut closed =
        std::pin::pin!(async move { drop(closing.wait_for(|closing| *closing).await) });
    loop {
        let changed = tokio::select! {
            biased;
            () = &mut closed => break,
            () = change(&mut snapshots) => true,
            () = tokio::time::sleep(HEARTBEAT_EVERY) => false,
        };
        if surface.events.latest.receiver_count() == 0 {
            continue;
        }
        if !changed {
            surface.events.latest.send_modify(|news| news.beats += 1);
            continue;
        }
        surface.publish(false);
        tokio::select! {
            biased;
            () = &mut closed => break,
            () = tokio::time::sleep(EVENT_EVERY) => {}
        }
    }
    surface.publish(true);
}

/// The next change; never where nobody publishes any more.
async fn change(snapshots: &mut watch::Receiver<Arc<crate::engine::Snapshot>>) {
    if snapshots.changed().await.is_err() {
        pending::<()>().await;
    }
}

async fn next(mut news: watch::Receiver<News>) -> watch::Receiver<News> {
    // The sender lives as long as the surface, which the connection holds.
    drop(news.changed().await);
    news
}

type Next = Pin<Box<dyn Future<Output = watch::Receiver<News>> + Send>>;

/// What one watcher gets.
pub(super) struct EventStream {
    greeted: bool,
    first: Option<Bytes>,
    /// The revision, and the heartbeats, that it was told.
    revision: u64,
    beats: u64,
    over: bool,
    next: Next,
    _place: OwnedSemaphorePermit,
    _mark: Mark,
}

impl EventStream {
    /// The next bytes; `None` at the end.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.greeted {
            self.greeted = true;
            return Poll::Ready(Some(Bytes::from_static(GREETING)));
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        while !self.over {
            let mut receiver = ready!(self.next.as_mut().poll(context));
            let news = receiver.borrow_and_update().clone();
            self.next = Box::pin(next(receiver));
            self.over = news.over;
            if news.status.revision > self.revision {
                self.revision = news.status.revision;
                self.beats = news.beats;
                return Poll::Ready(Some(news.status.bytes));
            }
            if news.beats > self.beats {
                self.beats = news.beats;
                return Poll::Ready(Some(Bytes::from_static(HEARTBEAT)));
            }
        }
        Poll::Ready(None)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// A connection, as far as others need to know it: whether it carries a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection(Arc<AtomicBool>);

impl Connection {
    pub(super) fn is_streaming(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn mark(&self) -> Mark {
        self.0.store(true, Ordering::Relaxed);
        Mark(Arc::clone(&self.0))
    }
}

/// Marks its connection while it lives.
struct Mark(Arc<AtomicBool>);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
