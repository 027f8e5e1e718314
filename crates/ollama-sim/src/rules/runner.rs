//! One runner: the process, its scheduling state, its slots.

use super::options::RunnerOptions;
use super::timers::TimerKey;
use super::{CallId, RunnerId};
use crate::clock::UnixNanos;
use crate::store::Model;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// States of earlier prompts that a runner keeps beside its slots (`--cache-ram`), as a number: a few gigabytes hold
/// this many of the size of an agent's system prompt.
const SAVED_MAX: usize = 32;

/// A slot is taken for a prompt if at least this share of the prompt is already in it, in percent.
const SIMILAR_PERCENT: usize = 10;

/// A slot's own prompt is saved when less of it than this is kept, in percent.
const KEEP_PERCENT: usize = 50;

/// The child process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Process {
    Runs,
    /// Exists and answers nothing.
    Frozen,
    Dead,
}

/// A load that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Loading {
    pub(crate) call: CallId,
    /// What is left of it, at `since`.
    pub(crate) left: Duration,
    pub(crate) since: Duration,
    pub(crate) began: Duration,
    pub(crate) timer: Option<TimerKey>,
    pub(crate) stall: Option<TimerKey>,
    /// It will turn out not to fit.
    pub(crate) too_large: bool,
}

/// Who wants the runner's lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// A request that just came in: can this runner serve it?
    Front(CallId),
    /// The pending loop asks the same for the request it works on.
    Check,
    /// The pending loop looks for an idle runner.
    Scan,
    /// The pending loop marks the runner to go.
    Mark,
    /// The completed loop: a request has ended.
    Finish,
    /// The completed loop: the runner is to be unloaded.
    Expire,
    /// A time to live ended.
    TimeToLive,
    /// `/api/ps`.
    List(CallId),
    /// An unload request.
    Unload(CallId),
}

/// Who waits for the answer to a ping, and holds the lock meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Ping {
    /// `None` = the pending loop.
    pub(crate) call: Option<CallId>,
    pub(crate) timer: TimerKey,
}

/// One of the prompts that are computed at the same time, with a cache of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) cache: Vec<u64>,
    pub(crate) busy: Option<CallId>,
    pub(crate) used: Duration,
}

#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) id: RunnerId,
    /// Of whoever loaded it.
    pub(crate) model: Arc<Model>,
    pub(crate) options: RunnerOptions,
    pub(crate) size: u64,
    /// What of it is in video memory.
    pub(crate) vram: u64,
    pub(crate) process: Process,
    pub(crate) loading: Option<Loading>,
    /// Nanoseconds it stays when it is idle.
    pub(crate) session: i64,
    pub(crate) expires: Option<UnixNanos>,
    pub(crate) timer: Option<TimerKey>,
    pub(crate) refs: u32,
    pub(crate) unloading: bool,
    pub(crate) ping: Option<Ping>,
    pub(crate) waiters: VecDeque<Waiter>,
    /// Those who wait have been overtaken once.
    pub(crate) starving: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) queue: VecDeque<CallId>,
    /// Whose prompt is computed, and whose waits for that.
    pub(crate) prompts: VecDeque<CallId>,
    pub(crate) saved: VecDeque<Vec<u64>>,
    pub(crate) fresh: bool,
}

impl Runner {
    pub(crate) fn new(
        id: RunnerId,
        model: Arc<Model>,
        options: RunnerOptions,
        slots: usize,
    ) -> Self {
        let options = options.started(model.spec.context);
        let context = u64::try_from(options.num_ctx).unwrap_or_default();
        let spec = &model.spec;
        let size = spec.size + spec.overhead + spec.bytes_per_token * context * slots as u64;
        Self {
            id,
            model,
            options,
            size,
            vram: 0,
            process: Process::Runs,
            loading: None,
            session: 0,
            expires: None,
            timer: None,
            refs: 0,
            unloading: false,
            ping: None,
            waiters: VecDeque::new(),
            starving: false,
            slots: vec![Slot::default(); slots],
            queue: VecDeque::new(),
            prompts: VecDeque::new(),
            saved: VecDeque::new(),
            fresh: true,
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.model.blob
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.ping.is_some() || self.unloading
    }

    /// Takes a free slot for a prompt: the most similar one, else the one unused for longest. Gives how much of
    /// the prompt is already computed in it.
    pub(crate) fn take_slot(
        &mut self,
        call: CallId,
        prompt: &[u64],
        now: Duration,
    ) -> Option<usize> {
        let free = |slot: &&(usize, usize, Duration, bool)| slot.3;
        let rated: Vec<(usize, usize, Duration, bool)> = self
            .slots
            .iter()
            .enumerate()
            .map(|(at, slot)| {
                (
                    at,
                    common(&slot.cache, prompt),
                    slot.used,
                    slot.busy.is_none(),
                )
            })
            .collect();
        let similar = rated
            .iter()
            .filter(free)
            .filter(|slot| slot.1 * 100 > prompt.len() * SIMILAR_PERCENT)
            .max_by_key(|slot| slot.1);
        let (at, shared, ..) =
            *similar.or_else(|| rated.iter().filter(free).min_by_key(|slot| slot.2))?;
        let shared = self.swap(at, shared, prompt);
        let slot = self.slots.get_mut(at)?;
        slot.busy = Some(call);
        slot.used = now;
        slot.cache.clear();
        slot.cache.extend_from_slice(prompt);
        // The last token is always computed anew: the answer begins with its result.
        Some(shared.min(prompt.len().saturating_sub(1)))
    }

    /// Saves what the slot would lose, and takes back what was saved of this prompt.
    fn swap(&mut self, at: usize, shared: usize, prompt: &[u64]) -> usize {
        let Some(slot) = self.slots.get_mut(at) else {
            return shared;
        };
        if shared * 100 >= slot.cache.len() * KEEP_PERCENT {
            return shared;
        }
        let old = std::mem::take(&mut slot.cache);
        let best = self
            .saved
            .iter()
            .enumerate()
            .map(|(at, cache)| (at, common(cache, prompt)))
            .max_by_key(|(_, length)| *length);
        let found = match best {
            Some((at, length)) if length > shared => {
                self.saved.remove(at);
                length
            }
            _ => shared,
        };
        if self.saved.len() >= SAVED_MAX {
            self.saved.pop_front();
        }
        self.saved.push_back(old);
        found
    }
}

/// Length of the common beginning.
fn common(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
