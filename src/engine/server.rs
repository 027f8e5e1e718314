//! One server as the engine sees it: when it is asked what, and what its answers prove.

use super::InstanceId;
use super::catalog::Catalog;
use super::event::OpId;
use super::request::Resident;
use super::snapshot::{ErrorView, Reach};
use super::spec::{ServerSpec, Timing};
use super::time::Mono;
use super::tracks::Watch;
use super::wedge::Wedge;
use std::sync::Arc;

/// An open request for the server as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) op: OpId,
    pub(super) at: Mono,
}

/// One of our models went as another one of ours was loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eviction {
    pub(super) at: Mono,
    pub(super) victim: InstanceId,
    pub(super) culprit: InstanceId,
}

/// One server.

#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own sentence"
)]
pub(super) struct Server {
    pub(super) spec: ServerSpec,
    pub(super) reach: Reach,
    pub(super) version: Option<Arc<str>>,
    pub(super) last_error: Option<ErrorView>,

    /// The open poll.
    pub(super) ps: Option<Asked>,
    /// When the next poll is due.
    pub(super) next_poll: Mono,
    /// When `/api/ps` was last answered.
    pub(super) answered_at: Option<Mono>,
    /// The operation that brought that answer: it proves nothing about anything asked later.
    pub(super) evidence: OpId,
    /// When the first poll was sent that stayed without an answer.
    pub(super) silent_since: Option<Mono>,
    /// Whether the last look at the state found that the evidence counts.
    pub(super) evidence_counted: bool,
    /// It refused connections since the last answered poll.
    pub(super) was_down: bool,
    /// Its version changed since the last answered poll.
    pub(super) version_changed: bool,

    /// The open question for the version; asked when it is new, and whenever a poll stays without an answer.
    pub(super) version_asked: Option<Asked>,
    pub(super) version_due: bool,
    /// The open question for the installed models.
    pub(super) tags_asked: Option<Asked>,
    pub(super) next_tags: Mono,
    /// The open `show`, one at a time.
    pub(super) show_asked: Option<Asked>,
    /// A `show` failed since the server came up: no other model waits for it any longer.
    pub(super) show_failed: bool,
    /// No `show` before this time, after one that failed.
    pub(super) show_not_before: Mono,

    pub(super) catalog: Catalog,
    /// The entries of the last answered poll.
    pub(super) resident: Vec<Resident>,
    /// The name and digest whose weights have to be asked for next. Made when an answer changed what is known, because
    /// looking every digest up at every step would cost more than all other decisions together.
    pub(super) to_ask: Option<(Arc<str>, Arc<str>)>,
    /// The weights of every resident runner are known, or can never be; made together with `to_ask`.
    pub(super) residents_known: bool,
    /// Open loads of ours, the oldest first: Ollama carries them out in this order.
    pub(super) loads: Vec<InstanceId>,
    /// Which of our loads pushed out which of our models, and when; see `thrash`.
    pub(super) own_evictions: Vec<Eviction>,
    /// Whose warm-up runs: one at a time, so that no user waits behind a queue of ours.
    pub(super) warming: Option<InstanceId>,

    /// What is seen of its runners.
    pub(super) watch: Watch,
    /// It loads nothing any more, for certain.
    pub(super) wedge: Option<Wedge>,
    /// How often that was found.
    pub(super) wedges: u64,
}

impl Server {
    pub(super) fn new(spec: ServerSpec) -> Self {
        Self {
            spec,
            reach: Reach::Starting,
            version: None,
            last_error: None,
            ps: None,
            next_poll: Mono::ZERO,
            answered_at: None,
            evidence: OpId(0),
            show_failed: false,
            silent_since: None,
            evidence_counted: false,
            was_down: false,
            version_changed: false,
            version_asked: None,
            version_due: true,
            tags_asked: None,
            next_tags: Mono::ZERO,
            show_asked: None,
            show_not_before: Mono::ZERO,
            catalog: Catalog::default(),
            resident: Vec::new(),
            to_ask: None,
            residents_known: true,
            loads: Vec::new(),
            own_evictions: Vec::new(),
            warming: None,
            watch: Watch::default(),
            wedge: None,
            wedges: 0,
        }
    }

    /// Whether what was last seen still counts: recent enough, and the server not known to be away.
    pub(super) fn evidence_counts(&self, now: Mono, timing: &Timing) -> bool {
        let Some(answered_at) = self.answered_at else {
            return false;
        };
        match self.reach {
            Reach::Starting | Reach::Down => false,
            Reach::Up | Reach::PsSilent => now < answered_at + timing.stale_after,
            Reach::Silent => {
                now < self
                    .silence_ends_at(timing)
                    .min(answered_at + timing.stale_after)
            }
        }
    }

    /// When a server that answers nothing is unknown.
    fn silence_ends_at(&self, timing: &Timing) -> Mono {
        self.silent_since
            .map_or(Mono::ZERO, |since| since + timing.server_timeout)
    }

    /// When [`Self::evidence_counts`] will change by itself.
    pub(super) fn evidence_ends_at(&self, timing: &Timing) -> Option<Mono> {
        let stale = self.answered_at? + timing.stale_after;
        match self.reach {
            Reach::Starting | Reach::Down => None,
            Reach::Up | Reach::PsSilent => Some(stale),
            Reach::Silent => Some(self.silence_ends_at(timing).min(stale)),
        }
    }

    /// Whether requests for models may be sent: `/api/ps` answers. While it is silent a request could wait behind a
    /// hung runner and make everybody wait longer, or turn into a load.
    pub(super) fn may_ask(&self) -> bool {
        self.reach == Reach::Up && self.silent_since.is_none()
    }

    /// Asks for a poll as soon as none is open.
    pub(super) fn poll_now(&mut self, now: Mono) {
        self.next_poll = self.next_poll.min(now);
    }
}
