//! Seeing Ollama's runner processes without asking Ollama, where this process shares its network namespace.
//!
//! Once a second [`Observer`] reads the namespace's sockets (`diag`, `sockets`), finds each server's own among them (`place`) and
//! asks the sockets that may be runners (`known`) short questions (`question`), whose answers `answers` understands. It
//! tells what it saw and concludes nothing. None of it touches Ollama: no line in its log while a runner is idle, no lock,
//! no timer; a question is a connection of its own that leaves nothing behind.

mod answers;
mod diag;
mod known;
mod place;
mod question;
mod sockets;

use crate::clock::Clock;
use crate::engine::ServerId;
use crate::engine::sight::{Hidden, Scene, Sight};
use crate::engine::spec::ServerSpec;
use answers::{Health, PropsTold, SlotsNow};
use known::{Known, Question};
use place::Place;
use question::OwnPorts;
use sockets::{Listener, Sockets};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// A runner that does not answer `/health` for so long is frozen; one at full load answers within 12 ms. Together with
/// the interval it stays below 3 s.
const ALIVE_WITHIN: Duration = Duration::from_millis(1800);

/// Longest wait for `/props`, `/slots` and `/metrics`, which a runner answers between two batches.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Wait for the answers of a look before it is told; they take a millisecond.
const GATHER: Duration = Duration::from_millis(50);

/// Looks get rarer where there are many sockets, so that reading them takes at most a twentieth of the time: reading one
/// takes about 2 µs.
const PER_SOCKET: Duration = Duration::from_micros(50);

/// Most sockets of one user that are kept in mind.
const KNOWN_MAX: usize = 4096;

/// Most sockets that have never answered asked at one look, the youngest first: a runner is among them.
const UNKNOWN_PER_LOOK: usize = 8;

/// Sights waiting for the engine.
pub const SIGHTS_QUEUED: usize = 16;

/// What a question brought.
#[derive(Debug)]
struct Told {
    inode: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Health(Health),
    Props(PropsTold),
    Work {
        asked: Question,
        slots: Option<SlotsNow>,
        work: Option<crate::engine::sight::Work>,
    },
}

/// Looks at the runners of some servers.
#[derive(Debug)]
pub struct Observer {
    proc: PathBuf,
    /// The kernel's diagnostics are allowed, as far as is known.
    diagnoses: bool,
    clock: Clock,
    places: Vec<Place>,
    /// Each server's own socket, as last seen.
    own: Vec<Result<Listener, Hidden>>,
    known: BTreeMap<u64, Known>,
    has_looked: bool,
    /// Sockets read at the last look.
    lines: usize,
    ports: OwnPorts,
    questions: JoinSet<Told>,
    told: Vec<Option<Sight>>,
}

impl Observer {
    /// An observer of `servers`, which are numbered in their order.
    pub fn new(servers: &[ServerSpec], clock: Clock) -> Self {
        let places: Vec<_> = servers
            .iter()
            .zip(0..)
            .map(|(server, number)| Place::new(ServerId(number), &server.url))
            .collect();
        Self {
            proc: PathBuf::from("/proc"),
            diagnoses: true,
            clock,
            own: vec![Err(Hidden::NoListener); places.len()],
            told: vec![None; places.len()],
            places,
            known: BTreeMap::new(),
            has_looked: false,
            lines: 0,
            ports: OwnPorts::default(),
            questions: JoinSet::new(),
        }
    }

    /// Looks until nobody listens any more.
    pub async fn run(mut self, sights: mpsc::Sender<(ServerId, Sight)>) {
        loop {
            let begun = self.clock.now();
            self.look().await;
            // What is not answered by then is told when it is.
            let _in_time = tokio::time::timeout(GATHER, self.gather()).await;
            if !self.tell(&sights, true).await {
                return;
            }
            let many = u32::try_from(self.lines).unwrap_or(u32::MAX);
            let next = self.clock.instant(begun + INTERVAL.max(PER_SOCKET * many));
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    Some(told) = self.questions.join_next() => {
                        self.take(told.ok());
                        if !self.tell(&sights, false).await {
                            return;
                        }
                    }
                    () = sights.closed() => return,
                }
            }
        }
    }

    // === looking ===

    async fn look(&mut self) {
        if self.places.iter().all(|place| !place.is_here()) {
            self.own.fill(Err(Hidden::OtherHost));
            return;
        }
        let mut sockets = match self.read().await {
            Ok(sockets) => sockets,
            Err(why) => return self.own.fill(Err(why)),
        };
        if self.misses_a_runner(&sockets) {
            // The kernel may skip a line while others change; two looks that both miss it do not.
            if let Ok(again) = self.read().await {
                sockets = again;
            }
        }
        self.lines = sockets.lines;
        self.own = self
            .places
            .iter()
            .map(|place| place.listener(&sockets).copied())
            .collect();
        self.meet(&sockets);
        self.connect(&sockets);
        self.ports.looked();
        self.ask();
    }

    async fn read(&mut self) -> Result<Sockets, Hidden> {
        if self.diagnoses {
            match diag::read().await {
                Ok(sockets) => return Ok(sockets),
                Err(error) => debug!(%error, "no socket diagnostics; reading /proc"),
            }
            self.diagnoses = false;
        }
        Sockets::read(&self.proc).await
    }

    fn misses_a_runner(&self, sockets: &Sockets) -> bool {
        let there: BTreeSet<_> = sockets.listeners.iter().map(|each| each.inode).collect();
        self.known
            .iter()
            .any(|(inode, known)| known.is_recognised() && !there.contains(inode))
    }

    /// Forgets the sockets that are gone and takes in new ones that may be runners.
    fn meet(&mut self, sockets: &Sockets) {
        let now = self.clock.now();
        let range = sockets::local_ports(&self.proc);
        let own: BTreeSet<_> = self.own.iter().flatten().map(|each| each.inode).collect();
        let users: BTreeSet<_> = self.own.iter().flatten().map(|each| each.uid).collect();
        if users.is_empty() {
            // No server is there. What its runners are, is judged when it is back.
            return;
        }
        let mut candidates: Vec<_> = sockets
            .listeners
            .iter()
            .filter(|each| {
                users.contains(&each.uid)
                    && !own.contains(&each.inode)
                    && range.contains(&each.address.port())
                    && sockets::is_loopback(each.address.ip())
            })
            .collect();
        let there: BTreeSet<_> = candidates.iter().map(|each| each.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        candidates.sort_by_key(|each| std::cmp::Reverse(each.inode));
        let old = !self.has_looked;
        self.has_looked = true;
        for candidate in candidates {
            if self.known.len() >= KNOWN_MAX {
                break;
            }
            self.known
                .entry(candidate.inode)
                .or_insert_with(|| Known::new(candidate, now, old));
        }
    }

    /// Notes who is connected with each runner.
    fn connect(&mut self, sockets: &Sockets) {
        let mut runners: BTreeMap<u16, (usize, BTreeSet<u16>)> = self
            .known
            .values()
            .filter(|known| known.is_recognised())
            .map(|known| (known.address.port(), Default::default()))
            .collect();
        for link in &sockets.links {
            if let Some((clients, ports)) = runners.get_mut(&link.local)
                && !self.ports.contains(link.peer)
            {
                *clients += usize::from(link.open);
                ports.insert(link.peer);
            }
            if let Some((_, ports)) = runners.get_mut(&link.peer)
                && !self.ports.contains(link.local)
            {
                ports.insert(link.local);
            }
        }
        for known in self.known.values_mut() {
            if let Some((clients, ports)) = runners.remove(&known.address.port()) {
                known.connected(clients, ports);
            }
        }
    }

    // === asking ===

    fn ask(&mut self) {
        let now = self.clock.now();
        let mut unknown = 0;
        let mut due = Vec::new();
        for (inode, known) in self.known.iter_mut().rev() {
            if known.is_unknown() && unknown >= UNKNOWN_PER_LOOK {
                continue;
            }
            let questions = known.due(now);
            unknown += usize::from(known.is_unknown() && !questions.is_empty());
            due.extend(
                questions
                    .into_iter()
                    .map(|each| (*inode, known.address, each)),
            );
        }
        for (inode, address, question) in due {
            self.put(inode, address, question);
        }
    }

    /// Takes in all answers, and those to the questions that follow from them.
    async fn gather(&mut self) {
        while let Some(told) = self.questions.join_next().await {
            self.take(told.ok());
        }
    }

    fn put(&mut self, inode: u64, address: SocketAddr, question: Question) {
        let ports = self.ports.clone();
        self.questions.spawn(async move {
            let ask = |path, limit| question::ask(address, path, limit, &ports);
            let what = match question {
                Question::Health => {
                    What::Health(answers::health(ask("/health", ALIVE_WITHIN).await))
                }
                Question::Props => {
                    What::Props(answers::props_told(ask("/props", TOLD_WITHIN).await))
                }
                Question::Work { slots, work } => What::Work {
                    asked: question,
                    slots: if slots {
                        let reply = ask("/slots", TOLD_WITHIN).await.ok();
                        reply.and_then(|reply| answers::slots(&reply))
                    } else {
                        None
                    },
                    work: if work {
                        let reply = ask("/metrics", TOLD_WITHIN).await.ok();
                        reply.and_then(|reply| answers::work(&reply))
                    } else {
                        None
                    },
                },
            };
            Told { inode, what }
        });
    }

    /// Takes in an answer and asks what follows from it.
    fn take(&mut self, told: Option<Told>) {
        let Some(Told { inode, what }) = told else {
            return;
        };
        let now = self.clock.now();
        let Some(known) = self.known.get_mut(&inode) else {
            return;
        };
        let follows = matches!(what, What::Health(_));
        match what {
            What::Health(health) => known.health_told(now, health),
            What::Props(props) => known.props_told(props),
            What::Work { asked, slots, work } => known.work_told(slots, work, asked),
        }
        if follows && let Some(question) = known.more_due() {
            let address = known.address;
            self.put(inode, address, question);
        }
    }

    // === telling ===

    /// Tells each server's sight: all of them, or those that have changed. Returns whether somebody listens.
    async fn tell(&mut self, sights: &mpsc::Sender<(ServerId, Sight)>, all: bool) -> bool {
        let now = self.clock.now();
        let mut news = Vec::new();
        for ((place, own), told) in self.places.iter().zip(&self.own).zip(&mut self.told) {
            let sight = match own {
                Ok(own) => Sight::Seen(scene(&self.known, own, now)),
                Err(why) => Sight::Hidden(*why),
            };
            let changed = told.as_ref() != Some(&sight);
            if changed {
                debug!(server = place.server.0, sight = ?sight, "runners");
                *told = Some(sight.clone());
            }
            if all || changed {
                news.push((place.server, sight));
            }
        }
        for known in self.known.values_mut() {
            known.was_told();
        }
        for each in news {
            if sights.send(each).await.is_err() {
                return false;
            }
        }
        true
    }
}

fn scene(known: &BTreeMap<u64, Known>, own: &Listener, now: crate::engine::Mono) -> Scene {
    let theirs = || known.values().filter(|known| known.uid == own.uid);
    Scene {
        runners: theirs().filter_map(Known::runner).collect(),
        appeared: theirs().any(Known::is_news),
        unclear: theirs().filter(|known| known.is_unclear(now)).count(),
    }
}

#[cfg(test)]
mod tests;
