//! The invariants, as far as one can see them from outside: at the wire, in the snapshot, against the truth of the
//! simulated server.

use crate::setup::{Setup, weights_of};
use model_preloader::engine::request::{Request, Target};
use model_preloader::engine::snapshot::{Drift, InstanceView, Snapshot, State, Totals};
use model_preloader::engine::spec::OptionValue;
use ollama_sim::Rules;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// "plus one step": what a request takes on its way, and a poll that is under way when it happens.
const STEP: Duration = Duration::from_millis(100);

/// Seconds for which a client's request ran before a pin counts as sent to a busy runner: the idle test takes a poll.
const BUSY_LONG: Duration = Duration::from_millis(200);

/// What Ollama gives a request that asks for no context, without a GPU.
const CONTEXT_AUTO: i64 = 4096;

/// What makes a ready model a false one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lie {
    /// No runner, or none that has loaded.
    Absent,
    /// A runner that is dead or frozen.
    Dead,
    /// The server is frozen.
    ServerFrozen,
    /// The server is down.
    ServerDown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Runs,
    Frozen,
    Down,
}

/// A runner, as it is.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) weights: &'static str,
    pub(crate) context: i64,
    /// Requests that use it.
    pub(crate) requests: u32,
    pub(crate) runs: bool,
}

pub(crate) fn truth(rules: &Rules) -> Vec<Truth> {
    let resident = rules.resident();
    resident
        .iter()
        .map(|one| Truth {
            weights: weights_of(&one.name),
            context: one.context_length,
            requests: one.requests,
            runs: one.runs,
        })
        .collect()
}

#[derive(Debug, Default)]
struct Span {
    since: Option<Duration>,
    lies: Vec<Lie>,
    silent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Checks {
    spans: BTreeMap<(usize, usize), Span>,
    busy_since: BTreeMap<(usize, &'static str), Duration>,
    totals: BTreeMap<(usize, usize), Arc<Totals>>,
    revision: u64,
    pub(crate) lost: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

/// The number of the invariant and what is wrong.
pub(crate) type Verdict = Result<(), (u8, String)>;

fn ensure(holds: bool, invariant: u8, what: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err((invariant, what()))
    }
}

impl Checks {
    /// What the snapshot says, against the truth of every server.
    pub(crate) fn look(
        &mut self,
        now: Duration,
        setup: &Setup,
        snapshot: &Snapshot,
        servers: &[(Mode, bool, Vec<Truth>)],
    ) -> Verdict {
        ensure(snapshot.revision >= self.revision, 8, || {
            "the revision falls".into()
        })?;
        self.revision = snapshot.revision;
        let busy: Vec<_> = servers
            .iter()
            .enumerate()
            .flat_map(|(row, (_, _, runners))| runners.iter().map(move |runner| (row, runner)))
            .filter(|(_, runner)| runner.requests > 0)
            .map(|(row, runner)| (row, runner.weights))
            .collect();
        self.busy_since.retain(|key, _| busy.contains(key));
        for key in busy {
            self.busy_since.entry(key).or_insert(now);
        }
        for (number, model) in snapshot.models.iter().enumerate() {
            for (row, view) in model.instances.iter().enumerate() {
                let lie = if view.state == State::Ready {
                    lie(&servers[row], weights_of(&model.name))
                } else {
                    None
                };
                self.judge(now, setup, (number, row), lie, servers[row].1, view)?;
                self.count((number, row), view)?;
            }
        }
        let ready = snapshot
            .models
            .iter()
            .filter(|model| model.required && !model.excluded);
        let wanted = match setup.spec.readiness.policy {
            model_preloader::engine::spec::ReadinessPolicy::All => {
                ready.clone().all(|model| model.ready)
            }
            _ => ready.clone().count() == 0 || ready.clone().any(|model| model.ready),
        };
        ensure(!snapshot.gate.ready || wanted, 1, || {
            "the gate is open although its policy does not hold".into()
        })
    }

    fn judge(
        &mut self,
        now: Duration,
        setup: &Setup,
        key: (usize, usize),
        lie: Option<Lie>,
        silent: bool,
        view: &InstanceView,
    ) -> Verdict {
        let span = self.spans.entry(key).or_default();
        let timing = &setup.spec.timing;
        if let Some(since) = span.since {
            let mut bound = STEP;
            for lie in &span.lies {
                bound += match lie {
                    Lie::Absent | Lie::ServerDown => timing.poll_interval + timing.poll_timeout,
                    Lie::Dead => timing.ping_interval + timing.poll_interval + timing.slow_after,
                    Lie::ServerFrozen => {
                        timing.poll_interval + timing.poll_timeout + timing.server_timeout
                    }
                };
            }
            if span.silent {
                bound += timing.stale_after;
            }
            // Pings rest for ten minutes where they reload: only the health check looks then.
            let unpinged = view.drift.contains(&Drift::HiddenOptions);
            ensure(unpinged || now - since <= bound, 1, || {
                format!(
                    "model {} on server {} is called ready for {:.3} s: {:?}",
                    key.0,
                    key.1,
                    (now - since).as_secs_f64(),
                    span.lies
                )
            })?;
        }
        let Some(lie) = lie else {
            *span = Span::default();
            return Ok(());
        };
        span.since.get_or_insert(now);
        span.silent |= silent;
        if !span.lies.contains(&lie) {
            span.lies.push(lie);
        }
        Ok(())
    }

    fn count(&mut self, key: (usize, usize), view: &InstanceView) -> Verdict {
        let new = &view.totals;
        if let Some(old) = self.totals.get(&key) {
            if Arc::ptr_eq(old, new) {
                return Ok(());
            }
            let sums = |totals: &Totals| {
                let sum = |all: &[u64]| all.iter().sum::<u64>();
                [
                    totals.preload_attempts,
                    sum(&totals.preload_failures),
                    totals.preload_retries,
                    totals.preload_seconds.count(),
                    totals.warmup_seconds.count(),
                    sum(&totals.warmup_failures),
                    totals.health_checks,
                    sum(&totals.health_check_failures),
                    totals.health_check_seconds.count(),
                    sum(&totals.losses),
                ]
            };
            let falls = sums(old).iter().zip(sums(new)).any(|(old, new)| new < *old);
            ensure(!falls, 8, || format!("a counter falls: {old:?} → {new:?}"))?;
        }
        self.totals.insert(key, Arc::clone(new));
        Ok(())
    }

    /// A request of ours goes out. `list`: the poll that is answered at this very moment.
    pub(crate) fn sent(
        &self,
        now: Duration,
        row: usize,
        request: &Request,
        list: Option<&[&'static str]>,
        runners: &[Truth],
    ) -> Verdict {
        let (name, options) = match request {
            Request::Version
            | Request::Ps
            | Request::Tags
            | Request::Show { .. }
            | Request::Pull { .. } => return Ok(()),
            Request::Load(target)
            | Request::Pin(target)
            | Request::Ping(target)
            | Request::Probe(target)
            | Request::Warmup { target, .. } => (&target.model, Some(target)),
            Request::Unload { model } => (model, None),
        };
        let weights = weights_of(name);
        ensure(matches!(weights, "a" | "b" | "mini"), 4, || {
            format!("{name} is not declared")
        })?;
        let Some(list) = list else {
            return Err((4, format!("{request:?} does not follow a poll")));
        };
        let listed = list.contains(&weights);
        if matches!(request, Request::Load(_)) {
            return ensure(!listed, 4, || {
                format!("{name} is loaded although the poll lists it")
            });
        }
        ensure(listed, 4, || {
            format!("{request:?} although the poll does not list it")
        })?;
        let runner = runners
            .iter()
            .find(|runner| runner.weights == weights && runner.runs);
        if let (Some(runner), Some(target)) = (runner, options) {
            ensure(context(target) == runner.context, 4, || {
                format!(
                    "{request:?} would reload a runner with {} tokens of context",
                    runner.context
                )
            })?;
        }
        if matches!(request, Request::Pin(_) | Request::Unload { .. }) {
            let since = self.busy_since.get(&(row, weights));
            ensure(
                since.is_none_or(|since| now - *since < BUSY_LONG),
                4,
                || format!("{request:?} to a busy runner"),
            )?;
        }
        Ok(())
    }

    /// At the end of a run: every loss has said its cause, once.
    pub(crate) fn end(&self, snapshot: &Snapshot) -> Verdict {
        for model in &snapshot.models {
            for view in &model.instances {
                let counted: u64 = view.totals.losses.iter().sum();
                let said = self
                    .lost
                    .get(&(Arc::clone(&view.server), Arc::clone(&model.name)));
                let said = said.copied().unwrap_or_default();
                ensure(counted == said, 7, || {
                    format!(
                        "{} was lost {counted} times and {said} causes were said",
                        model.name
                    )
                })?;
                ensure((counted > 0) == view.last_loss.is_some(), 7, || {
                    format!("{} has losses without a last one", model.name)
                })?;
            }
        }
        Ok(())
    }
}

/// The context that a request asks for.
fn context(target: &Target) -> i64 {
    match target.options.get("num_ctx") {
        Some(OptionValue::Int(tokens)) => *tokens,
        _ => CONTEXT_AUTO,
    }
}

fn lie((mode, _, runners): &(Mode, bool, Vec<Truth>), weights: &str) -> Option<Lie> {
    match mode {
        Mode::Down => return Some(Lie::ServerDown),
        Mode::Frozen => return Some(Lie::ServerFrozen),
        Mode::Runs => {}
    }
    match runners.iter().find(|runner| runner.weights == weights) {
        None => Some(Lie::Absent),
        Some(runner) if !runner.runs => Some(Lie::Dead),
        Some(_) => None,
    }
}
