//! Prompts and answers: slots, their caches, and how long it takes.
//!
//! Prompts of one runner are computed one after the other; answers grow side by side.

use super::runner::Process;
use super::timers::{Due, TimerKey};
use super::{CallId, Rules, RunnerId, Stage};
use crate::api::{Answer, Work};
use std::time::Duration;

/// What a prompt costs beside its tokens.
const PROMPT_EXTRA: Duration = Duration::from_millis(9);

/// The first computation of a new runner takes so much longer.
const FIRST_EXTRA: Duration = Duration::from_millis(45);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Prompt,
    Answer,
}

/// A computation on a slot.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    step: Step,
    /// What is left of this step, at `since`.
    left: Duration,
    /// When it went on; `None` = it stands still.
    since: Option<Duration>,
    timer: Option<TimerKey>,
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// Tokens to generate.
    pub(crate) wanted: u32,
    pub(crate) done: u32,
    /// Whether the answer ends because of `num_predict`.
    pub(crate) cut: bool,
    pub(crate) prompt_time: Duration,
    began: Duration,
    pub(crate) answer_began: Duration,
}

impl Rules {
    /// The request has its runner: answer an empty one, or compute.
    pub(super) fn proceed(&mut self, id: RunnerId, call: CallId) {
        let now = self.now;
        let Some(open) = self.calls.get_mut(&call) else {
            return;
        };
        open.got_runner = now;
        let Some(job) = open.job.clone() else {
            return;
        };
        if matches!(job.work, Work::Empty) {
            self.empty_answered(call, &job);
            return;
        }
        if self.is_dead(id) {
            self.reply(call, Answer::runner_died(job.style, false));
            return;
        }
        let context = self.runners.get(&id).map_or(0, |one| one.options.num_ctx);
        if let Some(answer) = job.refusal(context) {
            self.reply(call, answer);
            return;
        }
        if let Some(open) = self.calls.get_mut(&call) {
            open.stage = Stage::Slot(id);
        }
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.queue.push_back(call);
        }
        self.fill_slots(id);
    }

    /// Gives free slots to those who wait, in order.
    fn fill_slots(&mut self, id: RunnerId) {
        loop {
            let Some(runner) = self.runners.get_mut(&id) else {
                return;
            };
            let free = runner.slots.iter().any(|slot| slot.busy.is_none());
            let Some(call) = runner.queue.front().copied().filter(|_| free) else {
                return;
            };
            runner.queue.pop_front();
            self.start_run(id, call);
        }
    }

    fn start_run(&mut self, id: RunnerId, call: CallId) {
        let now = self.now;
        let Some(job) = self.calls.get(&call).and_then(|open| open.job.clone()) else {
            return;
        };
        let (prompt, predict) = match &job.work {
            Work::Empty => return,
            Work::Prompt { tokens, predict } => (tokens, *predict),
            Work::Embed { tokens, .. } => (tokens, Some(0)),
        };
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        let most = usize::try_from(runner.options.num_ctx).unwrap_or(usize::MAX);
        let prompt = prompt.get(..prompt.len().min(most)).unwrap_or(prompt);
        let Some(cached) = runner.take_slot(call, prompt, now) else {
            return;
        };
        let new = u32::try_from(prompt.len() - cached).unwrap_or(u32::MAX);
        let first = if runner.fresh {
            FIRST_EXTRA
        } else {
            Duration::ZERO
        };
        runner.fresh = false;
        runner.prompts.push_back(call);
        let left = job.model.spec.prompt_token * new + PROMPT_EXTRA + first;
        let run = Run {
            step: Step::Prompt,
            left: self.scaled(left),
            since: None,
            timer: None,
            prompt: prompt.len(),
            wanted: predict.unwrap_or(job.model.spec.answer_tokens),
            done: 0,
            cut: predict.is_some(),
            prompt_time: Duration::ZERO,
            began: now,
            answer_began: now,
        };
        if let Some(open) = self.calls.get_mut(&call) {
            open.stage = Stage::Running(id, Box::new(run));
        }
        self.next_prompt(id);
    }

    /// Lets the first prompt in line be computed.
    fn next_prompt(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.get(&id) else {
            return;
        };
        if let (Process::Runs, Some(call)) = (runner.process, runner.prompts.front().copied()) {
            self.go_on(call);
        }
    }

    /// Sets the timer of a computation that stands still.
    fn go_on(&mut self, call: CallId) {
        let now = self.now;
        if let Some(Stage::Running(_, run)) = self.calls.get_mut(&call).map(|open| &mut open.stage)
            && run.since.is_none()
        {
            run.since = Some(now);
            run.timer = Some(self.timers.set(now + run.left, Due::Step(call)));
        }
    }

    /// A step of a computation is done: the prompt, or one token (or all, where nobody watches).
    pub(super) fn step(&mut self, call: CallId) {
        let now = self.now;
        let Some(open) = self.calls.get_mut(&call) else {
            return;
        };
        let (Stage::Running(id, run), Some(job)) = (&mut open.stage, open.job.clone()) else {
            return;
        };
        let id = *id;
        run.since = None;
        run.timer = None;
        let watched = job.stream;
        let token = job.model.spec.answer_token;
        let spoken = match run.step {
            Step::Prompt => {
                run.step = Step::Answer;
                run.prompt_time = now.saturating_sub(run.began);
                run.answer_began = now;
                // The first token is the result of the prompt.
                u32::from(run.wanted > 0)
            }
            Step::Answer if watched => 1,
            Step::Answer => run.wanted - run.done,
        };
        let prompt_ended = run.done == 0 && run.answer_began == now;
        run.done += spoken;
        let ended = run.done >= run.wanted;
        let rest = if watched { 1 } else { run.wanted - run.done };
        let (from, to) = (run.done - spoken, run.done);
        let next = self.scaled(token * rest);
        if prompt_ended {
            self.prompt_ended(id, call);
        }
        if watched && spoken > 0 {
            self.speak(call, &job, from..to);
        }
        if ended {
            self.run_ended(call, id);
        } else if let Some(Stage::Running(_, run)) =
            self.calls.get_mut(&call).map(|open| &mut open.stage)
        {
            run.left = next;
            self.go_on(call);
        }
    }

    fn prompt_ended(&mut self, id: RunnerId, call: CallId) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.prompts.retain(|waits| *waits != call);
        }
        self.next_prompt(id);
    }

    fn run_ended(&mut self, call: CallId, id: RunnerId) {
        let Some(open) = self.calls.get(&call) else {
            return;
        };
        let (Stage::Running(_, run), Some(job)) = (&open.stage, open.job.clone()) else {
            return;
        };
        let run = (**run).clone();
        self.stop_run(call, id);
        self.answered(call, &job, &run);
    }

    /// Frees the slot of a computation, whatever became of it.
    pub(super) fn stop_run(&mut self, call: CallId, id: RunnerId) {
        if let Some(Stage::Running(_, run)) = self.calls.get_mut(&call).map(|open| &mut open.stage)
        {
            self.timers.cancel(run.timer.take());
        }
        if let Some(runner) = self.runners.get_mut(&id) {
            for slot in &mut runner.slots {
                if slot.busy == Some(call) {
                    slot.busy = None;
                }
            }
            runner.prompts.retain(|waits| *waits != call);
        }
        if let Some(open) = self.calls.get_mut(&call) {
            open.stage = Stage::Waiting;
        }
        self.next_prompt(id);
        self.fill_slots(id);
    }

    pub(super) fn is_generating(&self, call: CallId) -> bool {
        let stage = self.calls.get(&call).map(|open| &open.stage);
        matches!(stage, Some(Stage::Running(_, run)) if run.step == Step::Answer)
    }

    pub(super) fn pause_runs(&mut self, id: RunnerId) {
        let now = self.now;
        for open in self.calls.values_mut() {
            if let Stage::Running(on, run) = &mut open.stage
                && *on == id
                && let Some(since) = run.since.take()
            {
                self.timers.cancel(run.timer.take());
                run.left = run.left.saturating_sub(now.saturating_sub(since));
            }
        }
    }

    pub(super) fn resume_runs(&mut self, id: RunnerId) {
        let answering: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, open)| matches!(&open.stage, Stage::Running(on, run) if *on == id && run.step == Step::Answer))
            .map(|(call, _)| *call)
            .collect();
        for call in answering {
            self.go_on(call);
        }
        self.next_prompt(id);
    }
}
