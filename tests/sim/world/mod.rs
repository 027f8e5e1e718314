//! One run: the engine, the servers' rules, and whatever happens to them, in virtual time.

mod answered;
mod asked;
mod calm;
mod chance;

use crate::checks::{Checks, Mode, Truth, Verdict, truth};
use crate::defects::Defect;
use crate::dice::Dice;
use crate::setup::{INSTALLED, Setup, setup, weights_of};
use model_preloader::engine::request::{Request, Target, Timings};
use model_preloader::engine::snapshot::{LossCause, Snapshot, State, Totals};
use model_preloader::engine::{
    Answer, Effect, Engine, Event, Failure, Mono, Notice, OpId, UnixMillis,
};
use model_preloader::ollama::plain;
use ollama_sim::{Body, Call, CallId, Fault, Output, Rules};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-24T08:00:00Z.
const WALL: i64 = 1_795_507_200_000;

/// Things that happen in one run.
const ACTIONS: u64 = 40;

/// Wakes without any passing of time that only a defect needs.
const SPINS: u32 = 2_000;

/// Nothing of the server moves for so long while requests wait: it is wedged, and a person unloads what is in the way.
const WEDGED: Duration = Duration::from_secs(150);

/// Until an unload is seen.
const UNLOADED: Duration = Duration::from_secs(5);

/// How long everything must stay ready, once it is.
const QUIET: Duration = Duration::from_secs(90);

/// How long a dropped load of a planted defect lives.
const DEFECT_DROP: Duration = Duration::from_secs(3);

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Failed {
    pub(crate) invariant: u8,
    pub(crate) at: Duration,
    pub(crate) what: String,
}

#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) simulated: Duration,
}

/// A request of ours at the server.
#[derive(Debug)]
struct Open {
    row: usize,
    request: Request,
    calls: Vec<CallId>,
    answers: Vec<Answer>,
    sent: Duration,
}

struct World<'h> {
    setup: Setup,
    defect: Defect,
    dice: Dice,
    engine: Engine,
    rules: Vec<Rules>,
    modes: Vec<Mode>,
    now: Duration,
    open: BTreeMap<OpId, Open>,
    calls: BTreeMap<(usize, CallId), OpId>,
    pieces: BTreeMap<(usize, CallId), (u16, Vec<u8>)>,
    next_call: CallId,
    coming: VecDeque<(usize, Output)>,
    /// Answers that will be lost on the way.
    to_lose: u64,
    dropped: Vec<(OpId, Request)>,
    checks: Checks,
    snapshot: Snapshot,
    /// The last list of each server, and whether it is being told at this moment.
    lists: Vec<Vec<&'static str>>,
    remembered: Vec<Option<Answer>>,
    fresh: Option<usize>,
    /// The last poll of a server stayed without an answer.
    silenced: Vec<bool>,
    kicked: bool,
    shut: bool,
    late_load: Option<(Duration, OpId, usize, Request)>,
    spins: u32,
    history: Option<&'h mut Vec<String>>,
}

/// Runs a seed to its end or to its first failure.
pub(crate) fn run(
    seed: u64,
    defect: Defect,
    history: Option<&mut Vec<String>>,
) -> Result<Done, Failed> {
    let mut dice = Dice::new(seed);
    let setup = setup(&mut dice);
    let epoch = i128::from(WALL) * 1_000_000;
    let mut spec = setup.spec.clone();
    if defect == Defect::OneLoadMore {
        spec.timing.concurrency += 1;
    }
    let mut engine = Engine::new(spec, seed);
    let snapshot = engine.snapshot(Mono::ZERO);
    let count = setup.servers.len();
    let mut world = World {
        rules: setup
            .servers
            .iter()
            .map(|config| Rules::new(config.clone(), epoch))
            .collect(),
        modes: vec![Mode::Runs; count],
        lists: vec![Vec::new(); count],
        remembered: vec![None; count],
        engine,
        snapshot,
        defect,
        dice,
        setup,
        now: Duration::ZERO,
        open: BTreeMap::new(),
        calls: BTreeMap::new(),
        pieces: BTreeMap::new(),
        next_call: 1,
        coming: VecDeque::new(),
        to_lose: 0,
        dropped: Vec::new(),
        checks: Checks::default(),
        fresh: None,
        silenced: vec![false; count],
        kicked: false,
        shut: false,
        late_load: None,
        spins: 0,
        history,
    };
    let models: Vec<_> = world
        .setup
        .spec
        .models
        .iter()
        .map(|model| format!("{} ({:?})", model.name, model.verify))
        .collect();
    world.say(|| format!("declared {models:?}"));
    let result = world.live();
    let (at, simulated) = (world.now, world.now);
    result
        .map(|()| Done { simulated })
        .map_err(|(invariant, what)| Failed {
            invariant,
            at,
            what,
        })
}

impl World<'_> {
    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(format!("{:>10.3}  {}", self.now.as_secs_f64(), what()));
        }
    }

    pub(super) fn live(&mut self) -> Verdict {
        self.tell(Event::Clock(UnixMillis(WALL)))?;
        for _ in 0..ACTIONS {
            let gap = self.dice.pick(&[10, 300, 2_000, 8_000, 20_000, 60_000]);
            let gap = self.dice.millis(0, gap);
            self.pass(gap)?;
            self.something()?;
        }
        self.calm()?;
        self.shut_down()
    }

    // === time ===

    pub(super) fn pass(&mut self, time: Duration) -> Verdict {
        let end = self.now + time;
        loop {
            let engine = self.engine.next_due().map(Mono::since_start);
            let rules = self.rules.iter().filter_map(Rules::next_due).min();
            let late = self.late_load.as_ref().map(|(at, ..)| *at);
            let dropped = self.defect_drop().map(|(at, _)| at);
            let next = [engine, rules, late, dropped]
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= end);
            let Some(next) = next else { break };
            if next > self.now {
                self.spins = 0;
            }
            self.spins += 1;
            if self.spins > SPINS {
                return Err((
                    0,
                    format!(
                        "woken {SPINS} times at one moment; engine {engine:?}, rules {rules:?}"
                    ),
                ));
            }
            self.now = self.now.max(next);
            self.wake()?;
        }
        self.now = end;
        Ok(())
    }

    pub(super) fn wake(&mut self) -> Verdict {
        for row in 0..self.rules.len() {
            let due = self.rules[row]
                .next_due()
                .is_some_and(|due| due <= self.now);
            if due {
                let out = self.rules[row].tick(self.now);
                self.take(row, out)?;
            }
        }
        if let Some((at, op)) = self.defect_drop()
            && at <= self.now
        {
            self.carry_out(Effect::Drop(op))?;
        }
        if let Some((_, op, row, request)) = self.late_load.take_if(|(at, ..)| *at <= self.now) {
            self.send(op, row, request)?;
            self.drain()?;
        }
        if self
            .engine
            .next_due()
            .is_some_and(|due| due.since_start() <= self.now)
        {
            self.tell(Event::Tick)?;
        }
        self.look()
    }

    pub(super) fn defect_drop(&self) -> Option<(Duration, OpId)> {
        if self.defect != Defect::DroppedLoad {
            return None;
        }
        let load = self
            .open
            .iter()
            .find(|(_, open)| matches!(open.request, Request::Load(_)))?;
        Some((load.1.sent + DEFECT_DROP, *load.0))
    }

    pub(super) fn look(&mut self) -> Verdict {
        let truths: Vec<(Mode, bool, Vec<Truth>)> = (0..self.rules.len())
            .map(|row| {
                (
                    self.modes[row],
                    self.is_silent(row),
                    truth(&self.rules[row]),
                )
            })
            .collect();
        self.checks
            .look(self.now, &self.setup, &self.snapshot, &truths)
    }

    /// Whether our poll waits for its answer, or the last one did not get any.
    pub(super) fn is_silent(&self, row: usize) -> bool {
        let waits = |open: &Open| {
            open.row == row
                && open.request == Request::Ps
                && self.now - open.sent > Duration::from_millis(100)
        };
        self.silenced[row] || self.open.values().any(waits)
    }
}

fn short(request: &Request) -> String {
    let words =
        |word: &str, target: &Target| format!("{word} {} {:?}", target.model, target.options);
    match request {
        Request::Version => "version".into(),
        Request::Ps => "ps".into(),
        Request::Tags => "tags".into(),
        Request::Show { model } => format!("show {model}"),
        Request::Load(target) => words("load", target),
        Request::Pin(target) => words("pin", target),
        Request::Ping(target) => words("ping", target),
        Request::Probe(target) => words("probe", target),
        Request::Warmup { target, copies, .. } => format!("{} x{copies}", words("warmup", target)),
        Request::Unload { model } => format!("unload {model}"),
        Request::Pull { model } => format!("pull {model}"),
    }
}

fn said(result: &Result<Answer, Failure>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(failure) => format!("{} ({})", failure.kind, failure.message),
    }
}

fn words(notice: &Notice) -> String {
    match notice {
        Notice::State {
            model,
            server,
            from,
            to,
            ..
        } => format!("{model} on {server}: {from} -> {to}"),
        Notice::Lost {
            model,
            server,
            cause,
            detail,
        } => format!("{model} on {server} lost: {} ({detail})", cause.as_str()),
        other => format!("{other:?}"),
    }
}
