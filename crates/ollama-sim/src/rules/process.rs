//! The children: loading, crashing, freezing, thawing.

use super::runner::{Loading, Process};
use super::timers::Due;
use super::{CallId, Rules, Runner, RunnerId};
use crate::api::{Answer, Job};
use crate::config::{Era, Kind, OutOfMemory};
use crate::journal::EventKind;
use crate::store::Blob;
use std::sync::Arc;
use std::time::Duration;

/// What a runner says when the memory does not suffice; Ollama recognises `failed to allocate`.
const NO_MEMORY: &str = "llama-server reported out-of-memory during startup: \
     error loading model: unable to allocate CPU buffer: failed to allocate buffer";

/// Share of the free video memory that a model may take, in percent; the rest is headroom.
const USABLE_PERCENT: u64 = 80;

/// Share of its load time after which era 0.24 lists a model of the newer engine, in percent: 1.2 s of 1.9 s.
const LISTED_PERCENT: u32 = 63;

impl Rules {
    /// A time of a load or a computation, by the speed factor.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        Duration::try_from_secs_f64(time.as_secs_f64() / self.config.timing.speed).unwrap_or(time)
    }

    fn free_vram(&self) -> u64 {
        let used = self.runners.values().map(|one| one.vram).sum();
        self.config.gpu_memory.unwrap_or(0).saturating_sub(used)
    }

    /// With a GPU: whether somebody has to go before this is loaded. The first model is always tried.
    pub(super) fn predicted_too_large(&self, job: &Job) -> bool {
        if self.config.gpu_memory.is_none() || self.loaded.is_empty() || job.options.cpu_only() {
            return false;
        }
        let slots = self.slots(job);
        let size = Runner::new(0, Arc::clone(&job.model), job.options.clone(), slots).size;
        size > self.free_vram() / 100 * USABLE_PERCENT
    }

    fn slots(&self, job: &Job) -> usize {
        match job.model.spec.kind {
            Kind::Embedding => 1,
            Kind::Completion | Kind::Cloud => self.config.environment.num_parallel.max(1),
        }
    }

    pub(super) fn begin_load(&mut self, call: CallId, job: &Arc<Job>) {
        if !self.calls.contains_key(&call) {
            self.pending_done();
            return;
        }
        let unreadable = match self.store.blob(&job.model.blob) {
            Some(Blob::Whole(_)) => None,
            Some(Blob::Cut(size)) => Some(Answer::cut_short(size)),
            Some(Blob::Missing(_)) | None => Some(Answer::pull_first(&job.echo)),
        };
        if let Some(answer) = unreadable {
            self.pending_done();
            self.reply(call, answer);
            return;
        }
        let slots = self.slots(job);
        let id = self.next_runner;
        self.next_runner += 1;
        let mut runner = Runner::new(id, Arc::clone(&job.model), job.options.clone(), slots);
        if !job.options.cpu_only() {
            runner.vram = runner.size.min(self.free_vram());
        }
        let used: u64 = self.runners.values().map(|one| one.size).sum::<u64>()
            + self.orphans.iter().sum::<u64>();
        let too_large = self
            .memory
            .is_some_and(|memory| used + runner.size > memory);
        let whole = self.scaled(job.model.spec.load);
        // A child that finds no memory says so in the middle of its load.
        let left = if too_large { whole / 2 } else { whole };
        let timer = self.timers.set(self.now + left, Due::Loaded(id));
        runner.session = job.keep_alive.unwrap_or(self.config.environment.keep_alive);
        runner.loading = Some(Loading {
            call,
            left,
            since: self.now,
            began: self.now,
            timer: Some(timer),
            stall: None,
            too_large,
        });
        self.runners.insert(id, runner);
        self.note(EventKind::LoadStarted, &job.model.name.to_string());
        self.pending_loads(id);
    }

    pub(super) fn load_ends(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        let Some(loading) = runner.loading.take() else {
            return;
        };
        if loading.too_large {
            runner.loading = Some(loading);
            self.load_finds_no_memory(id);
            return;
        }
        let key = runner.key().to_owned();
        let name = runner.model.name.to_string();
        self.loaded.insert(key, id);
        self.note(EventKind::Loaded, &name);
        self.pending_done();
        self.use_loaded(id, loading.call);
    }

    /// The request that loaded it is the first to use it; its `keep_alive` is the runner's already.
    fn use_loaded(&mut self, id: RunnerId, call: CallId) {
        let (Some(open), Some(runner)) = (self.calls.get_mut(&call), self.runners.get_mut(&id))
        else {
            return;
        };
        runner.refs += 1;
        open.holds = Some(runner.key().to_owned());
        self.proceed(id, call);
    }

    fn load_finds_no_memory(&mut self, id: RunnerId) {
        match self.config.out_of_memory {
            OutOfMemory::Killed => self.load_fails(id, killed_while_loading(self.config.era)),
            OutOfMemory::Reported => {
                let call = self
                    .runners
                    .get(&id)
                    .and_then(|runner| runner.loading.as_ref())
                    .map(|one| one.call);
                self.drop_load(id);
                if self.config.era == Era::V024 || !self.pending_retries() {
                    self.pending_done();
                    if let Some(call) = call {
                        self.reply(call, Answer::error(500, NO_MEMORY));
                    }
                }
            }
        }
    }

    pub(super) fn load_stalls(&mut self, id: RunnerId) {
        let text = match self.config.era {
            Era::V033 => "timed out waiting for llama-server to start - ",
            Era::V024 => "timed out waiting for llama runner to start - progress 0.00 - ",
        };
        self.load_fails(id, text);
    }

    fn load_fails(&mut self, id: RunnerId, text: &str) {
        let call = self
            .runners
            .get(&id)
            .and_then(|runner| runner.loading.as_ref())
            .map(|one| one.call);
        self.drop_load(id);
        self.pending_done();
        if let Some(call) = call {
            self.reply(call, Answer::error(500, text));
        }
    }

    /// Ends the child of a load.
    pub(super) fn drop_load(&mut self, id: RunnerId) {
        if let Some(runner) = self.runners.remove(&id) {
            if let Some(loading) = runner.loading {
                self.timers.cancel(loading.timer);
                self.timers.cancel(loading.stall);
            }
            self.note(EventKind::LoadFailed, &runner.model.name.to_string());
        }
    }

    /// The child ends without Ollama's doing.
    pub(super) fn crash(&mut self, id: RunnerId) {
        if self.loading() == Some(id) {
            self.load_fails(id, killed_while_loading(self.config.era));
            return;
        }
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        runner.process = Process::Dead;
        let running: Vec<CallId> = runner.slots.iter().filter_map(|slot| slot.busy).collect();
        let waiting: Vec<CallId> = runner.queue.drain(..).collect();
        let name = runner.model.name.to_string();
        self.note(EventKind::Crashed, &name);
        self.ping_ends(id, false);
        for call in running {
            let generating = self.is_generating(call);
            self.stop_run(call, id);
            self.died(call, generating);
        }
        for call in waiting {
            self.died(call, false);
        }
    }

    fn died(&mut self, call: CallId, generating: bool) {
        let job = self.calls.get(&call).and_then(|open| open.job.clone());
        if let Some(job) = job {
            self.reply(call, Answer::runner_died(job.style, generating));
        }
    }

    /// The child stops answering and working.
    pub(super) fn freeze(&mut self, id: RunnerId) {
        let now = self.now;
        let limit = self.config.environment.load_timeout;
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        if runner.process != Process::Runs {
            return;
        }
        runner.process = Process::Frozen;
        if let Some(loading) = &mut runner.loading {
            self.timers.cancel(loading.timer.take());
            loading.left = loading
                .left
                .saturating_sub(now.saturating_sub(loading.since));
            loading.stall = limit.map(|limit| self.timers.set(now + limit, Due::Stalled(id)));
        }
        self.pause_runs(id);
    }

    /// A frozen child goes on where it was.
    pub(super) fn thaw(&mut self, id: RunnerId) {
        let now = self.now;
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        if runner.process != Process::Frozen {
            return;
        }
        runner.process = Process::Runs;
        if let Some(loading) = &mut runner.loading {
            self.timers.cancel(loading.stall.take());
            loading.since = now;
            loading.timer = Some(self.timers.set(now + loading.left, Due::Loaded(id)));
        }
        self.resume_runs(id);
        self.ping_ends(id, true);
    }

    /// Whether `/api/ps` shows it: era 0.24 shows models of the newer engine before they are loaded.
    pub(crate) fn is_listed(&self, runner: &Runner) -> bool {
        match &runner.loading {
            None => true,
            Some(loading) => {
                let after = self.scaled(runner.model.spec.load) * LISTED_PERCENT / 100;
                self.config.era == Era::V024
                    && runner.model.spec.newer_engine
                    && self.now >= loading.began + after
            }
        }
    }
}

fn killed_while_loading(era: Era) -> &'static str {
    match era {
        Era::V033 => "llama-server process has terminated: signal: killed",
        Era::V024 => {
            "model failed to load, this may be due to resource limitations or an internal error, \
             check ollama server logs for details"
        }
    }
}
