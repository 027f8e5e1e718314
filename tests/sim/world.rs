//! One run: the engine, the servers' rules, and whatever happens to them, in virtual time.

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
    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(format!("{:>10.3}  {}", self.now.as_secs_f64(), what()));
        }
    }

    fn live(&mut self) -> Verdict {
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

    fn pass(&mut self, time: Duration) -> Verdict {
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

    fn wake(&mut self) -> Verdict {
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

    fn defect_drop(&self) -> Option<(Duration, OpId)> {
        if self.defect != Defect::DroppedLoad {
            return None;
        }
        let load = self
            .open
            .iter()
            .find(|(_, open)| matches!(open.request, Request::Load(_)))?;
        Some((load.1.sent + DEFECT_DROP, *load.0))
    }

    fn look(&mut self) -> Verdict {
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

    /// Whether our poll waits for its answer.
    fn is_silent(&self, row: usize) -> bool {
        let waits = |open: &Open| {
            open.row == row
                && open.request == Request::Ps
                && self.now - open.sent > Duration::from_millis(100)
        };
        self.open.values().any(waits)
    }

    // === between the engine and the servers ===

    fn tell(&mut self, event: Event) -> Verdict {
        if self.shut && self.defect == Defect::ShutdownUnheard && event == Event::Shutdown {
            return Ok(());
        }
        let effects = self.engine.handle(Mono::from_start(self.now), event);
        self.update()?;
        for effect in effects {
            self.carry_out(effect)?;
        }
        if let Some(due) = self.engine.next_due()
            && due.since_start() <= self.now
        {
            return Err((0, format!("it would be woken for ever: due {due:?}")));
        }
        self.drain()
    }

    fn update(&mut self) -> Verdict {
        let before = std::mem::replace(
            &mut self.snapshot,
            self.engine.snapshot(Mono::from_start(self.now)),
        );
        if self.defect == Defect::CountersFall {
            for model in &mut self.snapshot.models {
                let model = Arc::make_mut(model);
                for view in &mut model.instances {
                    if view.state == State::Ready {
                        Arc::make_mut(view).totals = Arc::new(Totals::default());
                    }
                }
            }
        }
        if before.revision == self.snapshot.revision || self.history.is_none() {
            return Ok(());
        }
        if before.gate.ready != self.snapshot.gate.ready {
            let open = self.snapshot.gate.ready;
            self.say(|| format!("        gate {}", if open { "open" } else { "closed" }));
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Verdict {
        match effect {
            Effect::Send {
                op,
                server,
                request,
            } => {
                let row = usize::try_from(server.0).unwrap();
                if self.defect == Defect::LoadWithoutPoll
                    && matches!(request, Request::Load(_))
                    && self.late_load.is_none()
                {
                    self.late_load = Some((self.now + Duration::from_secs(2), op, row, request));
                    return Ok(());
                }
                self.send(op, row, request)
            }
            Effect::Drop(op) => self.drop_op(op),
            Effect::Log(notice) => {
                if let Notice::Lost {
                    model,
                    server,
                    cause,
                    ..
                } = &notice
                    && !(self.defect == Defect::LossUnsaid && *cause != LossCause::Unknown)
                {
                    *self
                        .checks
                        .lost
                        .entry((Arc::clone(server), Arc::clone(model)))
                        .or_default() += 1;
                }
                self.say(|| format!("        {}", words(&notice)));
                Ok(())
            }
        }
    }

    fn send(&mut self, op: OpId, row: usize, request: Request) -> Verdict {
        self.say(|| format!("s{row} <- {op:?} {}", short(&request)));
        if self.shut {
            return Err((10, format!("{request:?} after the shutdown began")));
        }
        if self.defect == Defect::PingsBelieved && matches!(request, Request::Ping(_)) {
            return self.believe(op, Answer::Done(Timings::default()));
        }
        let list = (self.fresh == Some(row)).then(|| self.lists[row].as_slice());
        let mut request = request;
        if self.defect == Defect::PingWithoutOptions
            && let Request::Ping(target) = request
        {
            request = Request::Ping(Target {
                options: Arc::default(),
                ..target
            });
        }
        let runners = truth(&self.rules[row]);
        self.checks.sent(self.now, row, &request, list, &runners)?;
        if let Request::Load(target) = &request {
            self.may_load(row, &target.model)?;
        }
        let mut call =
            plain::encode(&request).map_err(|failure| (0, failure.message.to_string()))?;
        if let (Defect::PinOnPing, Request::Ping(_), Some(body)) =
            (self.defect, &request, &mut call.body)
        {
            body["keep_alive"] = model_preloader::engine::request::PIN_SECONDS.into();
        }
        let pins = matches!(
            request,
            Request::Load(_) | Request::Pin(_) | Request::Unload { .. }
        );
        if !pins
            && call
                .body
                .as_ref()
                .is_some_and(|body| body.get("keep_alive").is_some())
        {
            return Err((4, format!("{request:?} carries a keep_alive")));
        }
        let body: bytes::Bytes = call
            .body
            .as_ref()
            .map_or_else(Default::default, |body| body.to_string().into());
        let mut calls = Vec::new();
        for _ in 0..call.copies {
            let id = self.next_call;
            self.next_call += 1;
            calls.push(id);
            self.calls.insert((row, id), op);
        }
        self.open.insert(
            op,
            Open {
                row,
                request,
                calls: calls.clone(),
                answers: Vec::new(),
                sent: self.now,
            },
        );
        for id in calls {
            let method = if call.body.is_some() { "POST" } else { "GET" };
            let call = Call {
                method: method.into(),
                path: call.path.into(),
                body: Body::Bytes(body.clone()),
            };
            let out = self.rules[row].call(self.now, id, call);
            self.coming
                .extend(out.into_iter().map(|output| (row, output)));
        }
        Ok(())
    }

    fn may_load(&self, row: usize, name: &str) -> Verdict {
        let loads = self
            .open
            .values()
            .filter(|open| open.row == row && matches!(open.request, Request::Load(_)));
        let loads = loads.count() + 1;
        let most = self.setup.spec.timing.concurrency;
        if loads > most {
            return Err((3, format!("{loads} loads in flight, {most} at most")));
        }
        Ok(()).and_then(|()| {
            if self.kicked {
                Ok(())
            } else {
                self.may_retry(row, name)
            }
        })
    }

    /// The snapshot before the load says when it is due.
    fn may_retry(&self, row: usize, name: &str) -> Verdict {
        let model = self
            .snapshot
            .models
            .iter()
            .find(|model| &*model.name == name);
        let view = model.map(|model| &model.instances[row]);
        let due = view
            .and_then(|view| view.next_retry_at)
            .map(Mono::since_start);
        match due {
            Some(due) if due > self.now => Err((
                3,
                format!(
                    "{name} is loaded {:.3} s before its next retry",
                    (due - self.now).as_secs_f64()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn drop_op(&mut self, op: OpId) -> Verdict {
        let Some(open) = self.open.remove(&op) else {
            self.late_load.take_if(|(_, late, ..)| *late == op);
            return Ok(());
        };
        self.say(|| format!("s{} x  {op:?} {}", open.row, short(&open.request)));
        let timing = &self.setup.spec.timing;
        let may_load = !matches!(
            open.request,
            Request::Version | Request::Ps | Request::Tags | Request::Show { .. }
        );
        if may_load && !self.shut && self.now - open.sent < timing.load_deadline {
            return Err((
                5,
                format!(
                    "{} is dropped after {:.3} s",
                    short(&open.request),
                    (self.now - open.sent).as_secs_f64()
                ),
            ));
        }
        for id in open.calls {
            self.calls.remove(&(open.row, id));
            let out = self.rules[open.row].gone(self.now, id);
            self.coming
                .extend(out.into_iter().map(|output| (open.row, output)));
        }
        if self.defect == Defect::SilenceIgnored && open.request == Request::Ps {
            if let Some(list) = self.remembered[open.row].clone() {
                let asked = self
                    .open
                    .iter()
                    .find(|(_, other)| other.row == open.row && other.request == Request::Ps);
                if let Some(op) = asked.map(|(op, _)| *op) {
                    return self.believe(op, list);
                }
            }
        }
        self.dropped.push((op, open.request));
        Ok(())
    }

    /// A planted defect: this operation ends with this answer, whatever the server says.
    fn believe(&mut self, op: OpId, answer: Answer) -> Verdict {
        self.open.remove(&op);
        self.tell(Event::Answered {
            op,
            result: Ok(answer),
        })
    }

    fn take(&mut self, row: usize, out: Vec<Output>) -> Verdict {
        self.coming
            .extend(out.into_iter().map(|output| (row, output)));
        self.drain()
    }

    fn drain(&mut self) -> Verdict {
        while let Some((row, output)) = self.coming.pop_front() {
            match output {
                Output::Reply(id, reply) => {
                    self.replied(row, id, Some((reply.status, reply.body.to_vec())))?
                }
                Output::Begin(id, status, _) => {
                    drop(self.pieces.insert((row, id), (status, Vec::new())))
                }
                Output::Data(id, piece) => {
                    if let Some((_, body)) = self.pieces.get_mut(&(row, id)) {
                        body.extend_from_slice(&piece);
                    }
                }
                Output::End(id) => {
                    let whole = self.pieces.remove(&(row, id));
                    self.replied(row, id, whole)?;
                }
                Output::Cut(id) => self.replied(row, id, None)?,
                Output::Listening(_) => {}
            }
        }
        Ok(())
    }

    fn replied(&mut self, row: usize, id: CallId, reply: Option<(u16, Vec<u8>)>) -> Verdict {
        let Some(op) = self.calls.remove(&(row, id)) else {
            return Ok(());
        };
        let Some(open) = self.open.get_mut(&op) else {
            return Ok(());
        };
        let lost = self.to_lose > 0 && !matches!(open.request, Request::Version);
        let result: Result<Answer, Failure> = match reply {
            Some(_) if lost => {
                self.to_lose -= 1;
                Err(plain::cut())
            }
            Some((status, body)) => plain::decode(&open.request, status, &body),
            None => Err(plain::cut()),
        };
        let result = match result {
            Ok(answer) => {
                open.answers.push(answer);
                if open.answers.len() < open.calls.len() {
                    return Ok(());
                }
                let answers = std::mem::take(&mut open.answers);
                match answers.len() {
                    1 => Ok(answers.into_iter().next().unwrap()),
                    _ => Ok(plain::slowest(answers)),
                }
            }
            Err(failure) => Err(failure),
        };
        let Some(open) = self.open.remove(&op) else {
            return Ok(());
        };
        for other in open.calls.iter().filter(|other| **other != id) {
            if self.calls.remove(&(row, *other)).is_some() {
                let out = self.rules[row].gone(self.now, *other);
                self.coming
                    .extend(out.into_iter().map(|output| (row, output)));
            }
        }
        self.ended(op, open, result)
    }

    fn ended(&mut self, op: OpId, open: Open, result: Result<Answer, Failure>) -> Verdict {
        let row = open.row;
        if open.request != Request::Ps || result.is_err() {
            self.say(|| {
                format!(
                    "s{row} -> {op:?} {}: {}",
                    short(&open.request),
                    said(&result)
                )
            });
        }
        if self.defect == Defect::LoadForgotten && matches!(open.request, Request::Load(_)) {
            return Ok(());
        }
        let mut result = result;
        if let Ok(Answer::Resident(entries)) = &result {
            self.lists[row] = entries
                .iter()
                .map(|entry| weights_of(&entry.name))
                .collect();
            if self.defect == Defect::PollsRemembered
                && self.snapshot.gate.ready
                && let Some(list) = &self.remembered[row]
            {
                result = Ok(list.clone());
            } else {
                self.remembered[row] = Some(result.clone().unwrap());
            }
            self.fresh = Some(row);
        }
        let early = self.early_retry(row);
        let told = self.tell(Event::Answered { op, result });
        let told = told
            .and_then(|()| early.map_or(Ok(()), |request| self.send(OpId(u64::MAX), row, request)));
        self.fresh = None;
        told
    }

    fn early_retry(&self, row: usize) -> Option<Request> {
        if self.defect != Defect::EarlyRetry || self.fresh != Some(row) {
            return None;
        }
        let waits = |model: &&Arc<model_preloader::engine::snapshot::ModelView>| {
            let view = &model.instances[row];
            view.state == State::Retrying && view.residency.is_none()
        };
        let model = self.snapshot.models.iter().find(waits)?;
        let spec = self
            .setup
            .spec
            .models
            .iter()
            .find(|spec| spec.name == model.name)?;
        Some(Request::Load(Target {
            model: Arc::clone(&model.name),
            via: model_preloader::engine::request::Via::Generate,
            options: Arc::clone(&spec.options),
        }))
    }

    // === what happens ===

    fn something(&mut self) -> Verdict {
        let row = usize::try_from(self.dice.roll(self.rules.len() as u64)).unwrap();
        let name = self.dice.pick(&INSTALLED).name.to_owned();
        match self.dice.roll(30) {
            0..=11 => self.client(row, &name),
            12 | 13 => self.fault(row, &Fault::Crash(name)),
            14 | 15 => self.fault(row, &Fault::Hang(name)),
            16 | 17 => self.fault(row, &Fault::Thaw(name)),
            18 | 19 => self.fault(row, &Fault::Unload(name)),
            20 => self.fault(row, &Fault::OutOfMemory(name)),
            21 => self.fault(row, &Fault::FreezeServer),
            22 => self.fault(row, &Fault::ThawServer),
            23 => self.fault(row, &Fault::Stop),
            24 => {
                self.fault(row, &Fault::Stop)?;
                let down = self.dice.millis(1, 6_000);
                self.pass(down)?;
                self.fault(row, &Fault::Start)
            }
            25 => self.fault(row, &Fault::Start),
            26 => {
                let time = self.dice.millis(100, 40_000);
                self.fault(row, &Fault::LoadTime(name, time))
            }
            27 => {
                self.to_lose = 1 + self.dice.roll(2);
                Ok(())
            }
            28 => {
                let jump = i64::try_from(self.dice.roll(7_200_000)).unwrap() - 3_600_000;
                let wall = WALL + i64::try_from(self.now.as_millis()).unwrap() + jump;
                self.say(|| format!("the clock jumps by {jump} ms"));
                self.tell(Event::Clock(UnixMillis(wall)))
            }
            _ => {
                self.kick()?;
                self.late_answer()
            }
        }
    }

    /// The answer of a forgotten operation arrives: nothing changes.
    fn late_answer(&mut self) -> Verdict {
        let Some((op, request)) = self.dropped.pop() else {
            return Ok(());
        };
        self.tell(Event::Tick)?;
        let before = self.snapshot.revision;
        let op = match self.defect {
            Defect::LateAnswerBelieved => {
                let same = |open: &Open| {
                    std::mem::discriminant(&open.request) == std::mem::discriminant(&request)
                };
                self.open
                    .iter()
                    .find(|(_, open)| same(open))
                    .map_or(op, |(op, _)| *op)
            }
            _ => op,
        };
        let answer = match request {
            Request::Ps => Answer::Resident(Vec::new()),
            Request::Version => Answer::Version("9.9.9".into()),
            Request::Tags => Answer::Installed(Vec::new()),
            _ => Answer::Done(Timings::default()),
        };
        self.say(|| format!("late answer of {op:?}"));
        let effects = self.engine.handle(
            Mono::from_start(self.now),
            Event::Answered {
                op,
                result: Ok(answer),
            },
        );
        let after = self.engine.snapshot(Mono::from_start(self.now));
        if after.revision != before || !effects.is_empty() {
            return Err((
                6,
                format!(
                    "a late answer of {} changes something: {effects:?}",
                    short(&request)
                ),
            ));
        }
        Ok(())
    }

    fn fault(&mut self, row: usize, fault: &Fault) -> Verdict {
        let (done, out) = self.rules[row].fault(self.now, fault);
        if done.is_ok() {
            self.say(|| format!("s{row} !! {fault:?}"));
            self.modes[row] = match (fault, self.modes[row]) {
                (Fault::FreezeServer, Mode::Runs) => Mode::Frozen,
                (Fault::ThawServer, Mode::Frozen) | (Fault::Start, Mode::Down) => Mode::Runs,
                (Fault::Stop | Fault::Kill, _) => Mode::Down,
                (_, mode) => mode,
            };
        }
        self.take(row, out)?;
        self.look()
    }

    fn client(&mut self, row: usize, name: &str) -> Verdict {
        let keep_alive = self.dice.pick(&[
            "",
            "",
            "",
            r#","keep_alive":-1"#,
            r#","keep_alive":"5s""#,
            r#","keep_alive":"1m""#,
        ]);
        let options = self.dice.pick(&[
            "",
            "",
            "",
            r#","options":{"num_ctx":1024}"#,
            r#","options":{"num_thread":1}"#,
        ]);
        let what = self
            .dice
            .pick(&["", r#","prompt":"Hello there","stream":false"#]);
        let embeds = weights_of(name) == "mini";
        let body = if embeds {
            format!(r#"{{"model":"{name}","input":"x"{keep_alive}}}"#)
        } else {
            format!(r#"{{"model":"{name}"{what}{keep_alive}{options}}}"#)
        };
        let path = if embeds {
            "/api/embed"
        } else {
            "/api/generate"
        };
        self.fault(
            row,
            &Fault::Client {
                path: path.into(),
                body,
            },
        )
    }

    // === the end ===

    /// Nothing happens any more: what fits becomes ready, and stays so.
    fn calm(&mut self) -> Verdict {
        self.say(|| "calm".into());
        self.to_lose = 0;
        for row in 0..self.rules.len() {
            self.fault(row, &Fault::ThawServer)?;
            self.fault(row, &Fault::Start)?;
            for one in &INSTALLED {
                self.fault(row, &Fault::Thaw(one.name.into()))?;
                self.fault(
                    row,
                    &Fault::LoadTime(one.name.into(), Duration::from_secs(3)),
                )?;
            }
        }
        // What clients have asked for so far may still be loaded, by one loader, one after the other.
        let queue = (self.setup.slowest_load + Duration::from_secs(10)) * 8;
        let end = self.now + queue;
        while self.now < end && self.rules.iter().any(|rules| rules.waiting() > 0) {
            self.pass(Duration::from_secs(1))?;
        }
        self.others_leave()?;
        self.pass(UNLOADED)?;
        self.kick()?;
        let limit = self.now + self.patience();
        let mut moved = (self.now, 0);
        while !self.all_ready() && self.setup.fits {
            if self.now >= limit {
                let views = self
                    .snapshot
                    .models
                    .iter()
                    .flat_map(|model| model.instances.iter().map(move |view| (model, view)));
                let states: Vec<_> = views
                    .map(|(model, view)| {
                        format!("{} on {}: {}", model.name, view.server, view.state)
                    })
                    .collect();
                return Err((
                    2,
                    format!(
                        "{} s after the last fault: {}",
                        self.patience().as_secs(),
                        states.join(", ")
                    ),
                ));
            }
            self.pass(Duration::from_secs(1))?;
            self.others_leave()?;
            let events = self
                .rules
                .iter()
                .map(|rules| rules.events().count())
                .sum::<usize>();
            let waiting = self.rules.iter().any(|rules| rules.waiting() > 0);
            if !waiting || events != moved.1 {
                moved = (self.now, events);
            } else if self.now >= moved.0 + WEDGED {
                moved.0 = self.now;
                self.say(|| "wedged: a person unloads what is there".into());
                for row in 0..self.rules.len() {
                    for one in &INSTALLED {
                        self.fault(row, &Fault::Unload(one.name.into()))?;
                    }
                }
            }
        }
        self.pass(QUIET)?;
        if self.setup.fits && !self.all_ready() {
            return Err((2, "it does not stay ready although nothing happens".into()));
        }
        Ok(())
    }

    /// A model that a client keeps for ever takes a place from ours for ever: Ollama evicts what leaves soonest.
    fn others_leave(&mut self) -> Verdict {
        for row in 0..self.rules.len() {
            for other in INSTALLED
                .iter()
                .filter(|one| matches!(one.weights, "x" | "y"))
            {
                if truth(&self.rules[row])
                    .iter()
                    .any(|runner| runner.weights == other.weights)
                {
                    self.fault(row, &Fault::Unload(other.name.into()))?;
                }
            }
        }
        Ok(())
    }

    /// A quarantine may last an hour; a person who has made room says so.
    fn kick(&mut self) -> Verdict {
        self.say(|| "kick".into());
        self.kicked = true;
        let told = self.tell(Event::Kick(None));
        self.kicked = false;
        told
    }

    fn all_ready(&self) -> bool {
        let views = self
            .snapshot
            .models
            .iter()
            .flat_map(|model| &model.instances);
        views.clone().all(|view| view.state == State::Ready)
    }

    /// The waits that may be running, and what loads and warm-ups take.
    fn patience(&self) -> Duration {
        let timing = &self.setup.spec.timing;
        let loads = (self.setup.slowest_load + Duration::from_secs(10)) * 8;
        timing.conflict_window
            + timing.health_interval * 2
            + timing.max_retry_delay * 2
            + timing.reclaim_after
            + timing.load_deadline
            + loads
            + WEDGED * 2
    }

    fn shut_down(&mut self) -> Verdict {
        self.shut = true;
        self.checks.end(&self.snapshot)?;
        self.say(|| "shutdown".into());
        self.tell(Event::Shutdown)?;
        self.pass(Duration::from_secs(30))?;
        self.tell(Event::Kick(None))?;
        if self.snapshot.gate.ready {
            return Err((10, "the gate is open after the shutdown began".into()));
        }
        if !self.open.is_empty() {
            return Err((
                10,
                format!("{} requests are open after the shutdown", self.open.len()),
            ));
        }
        Ok(())
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
