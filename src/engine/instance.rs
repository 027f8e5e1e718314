//! One model on one server: its state machine's data. What happens to it is decided in `observe` and `act`.

use super::catalog::Weights;
use super::event::{ModelId, OpId, ServerId};
use super::loss::Evidence;
use super::pulls::OpenPull;
use super::request::{Resident, Via};
use super::snapshot::{
    Activity, Drift, ErrorView, History, InstanceView, LossView, Residency, State, Totals,
};
use super::spec::{ModelSpec, Options};
use super::time::{Mono, UnixMillis};
use super::watch::OwnSight;
use std::sync::Arc;
use std::time::Duration;

/// Where an instance is between "not there" and "warm".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It shall be loaded as soon as the server and the other loads allow.
    Waiting,
    /// An attempt runs: the model is being pulled.
    Pulling,
    /// An attempt runs: the load request is open, or is about to be sent.
    Loading,
    /// Resident; its probe or warm-up has to run before it is ready.
    Verifying,
    /// Warm.
    Ready,
    /// An attempt failed, the next one is due then. A load request may still be open.
    Retrying(Mono),
    /// The retries are used up, or none can help; tried again then.
    Failed(Mono),
    /// It fights another declared model for memory; tried again then.
    Quarantined(Mono),
    /// Its runner does not answer.
    Unresponsive,
    /// A cloud model: nothing is ever done for it.
    Excluded,
}

/// The open load request. It belongs to the model, not to an attempt: dropping it would make Ollama start from zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenLoad {
    pub(super) op: OpId,
    /// When it became the oldest load in flight on its server: before, it only waited in Ollama's queue.
    pub(super) working_since: Option<Mono>,
    /// Start of the running attempt's clock; `None` when no attempt is counted any more.
    pub(super) attempt_clock: Option<Mono>,
    /// `load_stalled` was said.
    pub(super) stall_reported: bool,
}

/// The open ping.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPing {
    pub(super) op: OpId,
    pub(super) at: Mono,
    /// The runner's expiry in the poll just before.
    pub(super) expiry_before: Expiry,
    /// It is the pin: it carries our `keep_alive`.
    pub(super) is_pin: bool,
}

/// An exact expiry, for comparison.
pub(super) type Expiry = (UnixMillis, u32);

/// What has to run through a resident model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Before it is ready.
    Verify,
    /// It may have lost its prompt cache; it stays ready meanwhile.
    Rewarm,
    /// The regular health check.
    Health,
}

/// Work to run through a resident model, step by step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) purpose: Purpose,
    /// The next conversation; 0 for a probe.
    pub(super) next: usize,
    /// Conversations in all; 0 = one probe instead.
    pub(super) conversations: usize,
    /// When its first step was sent.
    pub(super) started: Option<Mono>,
    /// When it was made.
    pub(super) wanted_since: Mono,
    /// The open step.
    pub(super) open: Option<(OpId, Mono)>,
    /// Its time-out was counted; the request is still open.
    pub(super) overdue: bool,
    /// The next step must find the runner idle, so that nobody waits behind us.
    pub(super) needs_idle: bool,
    /// The model was lost while a step ran: all of them run again once it has ended.
    pub(super) restart: bool,
}

/// An undeclared runner that appeared as ours went. A person's model is not killed under their hands.
#[derive(Clone, Debug)]
pub(super) struct Usurper {
    pub(super) name: Arc<str>,
    pub(super) digest: Arc<str>,
    pub(super) expiry: Expiry,
    /// Since when its expiry stands still: nobody's request has ended since.
    pub(super) still_since: Mono,
}

/// What the last answered poll said of the runner.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) view: Residency,
    pub(super) expiry: Expiry,
    pub(super) listed_as: Arc<str>,
    pub(super) since: Mono,
}

/// One model on one server.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts beside the phase, each with its own sentence"
)]
pub(super) struct Instance {
    pub(super) model: ModelId,
    pub(super) server: ServerId,
    pub(super) phase: Phase,

    /// The manifest digest under the model's name, once known.
    pub(super) digest: Option<Arc<str>>,
    pub(super) weights: Option<Weights>,
    /// Why it cannot be resident beside an earlier model on the same weights.
    pub(super) conflict: Option<Arc<str>>,
    pub(super) via: Via,

    pub(super) seen: Option<Seen>,
    /// Bytes in memory when it was last seen.
    pub(super) last_size: Option<u64>,
    /// Bytes of a runner of weights that its name had before.
    pub(super) outdated_bytes: u64,
    /// The context after our last load; another one later proves a reload by somebody else.
    pub(super) loaded_context: Option<u64>,
    /// The next list shows what our load gave. A pin of ours proves nothing of the kind.
    pub(super) teaches: bool,
    /// The share of it in the GPU's memory after our last load.
    pub(super) loaded_gpu_share: Option<f64>,
    /// The runner is ours: our load or our pin was its last.
    pub(super) ours: bool,

    /// Attempts of the running preload.
    pub(super) attempts: u32,
    pub(super) load: Option<OpenLoad>,
    pub(super) pull: Option<OpenPull>,
    /// Pulled since the start of the process.
    pub(super) pulled: bool,
    /// The running attempt began with a pull: the load that follows is its second part.
    pub(super) mid_attempt: bool,
    pub(super) ping: Option<OpenPing>,
    pub(super) last_ping: Option<Mono>,
    /// The last ping took long: whatever the next poll shows is a new runner.
    pub(super) slow_ping: bool,
    pub(super) plan: Option<Plan>,
    /// Our pin has to be set again once the runner is idle.
    pub(super) needs_pin: bool,
    /// The open unload.
    pub(super) unload: Option<OpId>,
    /// It was unloaded by us: until then a runner that is still listed is on its way out.
    pub(super) leaving_until: Option<Mono>,
    /// It is not loaded again as declared before this time.
    pub(super) enforce_not_before: Mono,
    /// What is wanted and what is there, where they differ.
    pub(super) drift_detail: Option<Arc<str>>,
    /// The runner was just seen idle: valid only while the poll that showed it is being handled.
    pub(super) idle_proof: bool,
    /// A ping was answered and the next poll tells whether it moved this expiry, which proves that the runner is idle.
    pub(super) idle_test: Option<Expiry>,
    /// It moved to this, and the next poll tells whether it stays there: the expiry of a runner that has been busy ever
    /// since its load moves in every poll.
    pub(super) idle_until: Option<Expiry>,
    /// It seems that somebody unloaded it, and the operator wants that respected until somebody asks for it.
    pub(super) held: bool,
    /// Not loaded before this time, because it was lost too often.
    pub(super) not_before: Mono,
    /// The undeclared runner that took its place.
    pub(super) usurper: Option<Usurper>,
    /// Not loaded again until then, because it and others of ours push each other out; how often so far.
    pub(super) barred: Option<Mono>,
    pub(super) barred_times: u32,
    /// When our pings made Ollama load it anew for options that `/api/ps` does not show.
    pub(super) hidden_reloads: Vec<Mono>,
    pub(super) no_pings_before: Mono,
    pub(super) next_health: Mono,
    /// Polls asked before this operation know nothing of what our last load did.
    pub(super) polls_count_from: OpId,
    /// It waits to be loaded; only polls asked after this operation were made for it.
    pub(super) wished: Option<OpId>,

    /// What is seen of its runner itself.
    pub(super) sight: OwnSight,

    /// A loss whose cause is not clear yet.
    pub(super) open_loss: Option<(Mono, Evidence)>,
    /// Losses within the conflict window.
    pub(super) recent_losses: Vec<Mono>,

    // What people see.
    pub(super) totals: Arc<Totals>,
    pub(super) state: State,
    pub(super) state_since: Mono,
    pub(super) history: Arc<History<State>>,
    pub(super) ready: bool,
    pub(super) preloaded_at: Option<Mono>,
    pub(super) last_checked: Option<Mono>,
    pub(super) ready_at: Option<Mono>,
    pub(super) load_duration: Option<Duration>,
    /// How long the next load will take, by the last one of this process or of an earlier one.
    pub(super) expected_load: Option<Duration>,
    /// When another client was last found to have loaded it with other options.
    pub(super) options_changed_at: Option<Mono>,
    pub(super) prompt_warm: Option<bool>,
    /// Computing the first conversation on an empty cache took so long.
    pub(super) cold_prompt: Option<Duration>,
    pub(super) warmup_duration: Option<Duration>,
    pub(super) drift: Vec<Drift>,
    pub(super) last_loss: Option<LossView>,
    pub(super) last_error: Option<ErrorView>,
    pub(super) view: Option<Arc<InstanceView>>,
}

impl Instance {
    #[expect(clippy::too_many_lines, reason = "one line for each field")]
    pub(super) fn new(model: ModelId, server: ServerId) -> Self {
        Self {
            model,
            server,
            phase: Phase::Waiting,
            digest: None,
            weights: None,
            conflict: None,
            via: Via::Generate,
            seen: None,
            last_size: None,
            outdated_bytes: 0,
            loaded_context: None,
            teaches: false,
            loaded_gpu_share: None,
            ours: false,
            attempts: 0,
            load: None,
            pull: None,
            pulled: false,
            mid_attempt: false,
            ping: None,
            last_ping: None,
            slow_ping: false,
            plan: None,
            needs_pin: false,
            unload: None,
            leaving_until: None,
            enforce_not_before: Mono::ZERO,
            drift_detail: None,
            idle_proof: false,
            idle_test: None,
            idle_until: None,
            held: false,
            not_before: Mono::ZERO,
            usurper: None,
            barred: None,
            barred_times: 0,
            hidden_reloads: Vec::new(),
            no_pings_before: Mono::ZERO,
            next_health: Mono::ZERO,
            polls_count_from: OpId(0),
            wished: None,
            sight: OwnSight::default(),
            open_loss: None,
            recent_losses: Vec::new(),
            totals: Arc::new(Totals::default()),
            state: State::Pending,
            state_since: Mono::ZERO,
            history: Arc::new(History::starting(Mono::ZERO, State::Pending)),
            ready: false,
            preloaded_at: None,
            last_checked: None,
            ready_at: None,
            load_duration: None,
            expected_load: None,
            options_changed_at: None,
            prompt_warm: None,
            cold_prompt: None,
            warmup_duration: None,
            drift: Vec::new(),
            last_loss: None,
            last_error: None,
            view: None,
        }
    }

    /// Something that the snapshot shows changed.
    pub(super) fn touch(&mut self) {
        self.view = None;
    }

    /// The counters, to change them.
    pub(super) fn totals(&mut self) -> &mut Totals {
        self.view = None;
        Arc::make_mut(&mut self.totals)
    }

    /// The next attempt begins; of a new preload if the last one had used up its retries.
    pub(super) fn begin_attempt(&mut self) {
        if matches!(self.phase, Phase::Failed(_) | Phase::Quarantined(_)) {
            self.attempts = 0;
        }
        self.attempts += 1;
        let retry = self.attempts > 1;
        let totals = self.totals();
        totals.preload_attempts += 1;
        totals.preload_retries += u64::from(retry);
    }

    /// A request of ours other than a ping is open for the runner; per runner there is at most one.
    pub(super) fn is_occupied(&self) -> bool {
        self.load.is_some()
            || self.pull.is_some()
            || self.unload.is_some()
            || self.plan.is_some_and(|plan| plan.open.is_some())
    }

    /// Nothing of ours is open for the runner.
    pub(super) fn is_quiet(&self) -> bool {
        self.ping.is_none() && !self.is_occupied()
    }

    /// The options of every request to the resident runner: those of its load, or it would be reloaded; where its
    /// context is another than the one asked for, that one.
    pub(super) fn runner_options(&self, wanted: &Arc<Options>) -> Arc<Options> {
        let Some(seen) = &self.seen else {
            return Arc::clone(wanted);
        };
        let context = seen.view.context_length;
        let as_loaded = match self.loaded_context {
            Some(loaded) => self.ours && loaded == context,
            None => self.ours && self.teaches,
        };
        if as_loaded || context == 0 {
            return Arc::clone(wanted);
        }
        let mut options = Options::clone(wanted);
        let context = i64::try_from(context).unwrap_or(i64::MAX);
        options.insert("num_ctx".into(), super::spec::OptionValue::Int(context));
        Arc::new(options)
    }

    /// A plan that proves a resident model warm; `None` where the load alone counts.
    pub(super) fn plan_for(spec: &ModelSpec, purpose: Purpose, now: Mono) -> Option<Plan> {
        use super::spec::Verify;
        let conversations = match (spec.verify, purpose) {
            (Verify::Load, Purpose::Verify | Purpose::Rewarm) => return None,
            (Verify::Load | Verify::Token, _) => 0,
            (Verify::Prompt, Purpose::Health) => spec.warmup.len().min(1),
            (Verify::Prompt, Purpose::Verify | Purpose::Rewarm) => spec.warmup.len(),
        };
        Some(Plan {
            purpose,
            next: 0,
            conversations,
            started: None,
            wanted_since: now,
            open: None,
            overdue: false,
            needs_idle: purpose != Purpose::Verify,
            restart: false,
        })
    }

    /// What it is doing, for people.
    pub(super) fn activity(&self, now: Mono) -> Option<Activity> {
        if let Some(pull) = &self.pull {
            return Some(Activity::Pulling(pull.view(now)));
        }
        if let (Some(load), Phase::Loading) = (&self.load, self.phase) {
            return Some(Activity::Loading {
                since: load.working_since,
            });
        }
        let plan = self.plan?;
        match (plan.open, plan.started) {
            (Some(_), Some(since)) if plan.conversations > 0 => Some(Activity::WarmingUp {
                since,
                done: plan.next,
                total: plan.conversations,
            }),
            (None, _) if plan.needs_idle && plan.purpose != Purpose::Health => {
                Some(Activity::WaitingForIdle {
                    since: plan.wanted_since,
                })
            }
            (Some(_) | None, _) => None,
        }
    }

    /// Takes over what a poll said of its runner.
    pub(super) fn see(&mut self, entry: &Resident, pinned: bool, now: Mono) {
        let since = self.seen.as_ref().map_or(now, |seen| seen.since);
        self.last_size = Some(entry.size);
        self.seen = Some(Seen {
            view: Residency {
                size: entry.size,
                size_vram: entry.size_vram,
                context_length: entry.context_length,
                expires_at: entry.expires_at,
                pinned,
            },
            expiry: (entry.expires_at, entry.expires_nanos),
            listed_as: Arc::clone(&entry.name),
            since,
        });
        self.touch();
    }
}
