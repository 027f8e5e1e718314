//! One socket that is, or may become, a runner's: what is known of it and what has to be asked next.

use super::answers::{Health, Props, PropsTold, SlotsNow};
use super::sockets::Listener;
use crate::engine::Mono;
use crate::engine::sight::{Life, Runner, RunnerId, Work};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// A socket that stays silent is asked again after 1, 2, 4, … s, at most so often.
const ASKS_MAX: u32 = 8;

/// Longest time for which a silent socket may still become a runner: twice the time after which Ollama gives up one that
/// says nothing.
const YOUNG: Duration = Duration::from_secs(600);

/// Longest time for which a load is believed to go on.
const LONGEST_LOAD: Duration = Duration::from_secs(1800);

/// What a socket is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// It has not answered yet.
    Unknown {
        /// How often it was asked.
        asked: u32,
        /// When it is asked next.
        next: Mono,
    },
    /// A runner that loads since then.
    Loading(Mono),
    /// It answers like a runner and has not said yet what it runs.
    Nameless,
    /// A runner.
    Runner(Props),
    /// Another program: never asked again.
    Foreign,
}

/// A question that is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Question {
    Health,
    Props,
    /// What its slots do, where it is at work, and what it has computed.
    Work {
        slots: bool,
        work: bool,
    },
}

/// A socket.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own sentence"
)]
pub(super) struct Known {
    pub(super) address: SocketAddr,
    pub(super) uid: u32,
    inode: u64,
    appeared: Mono,
    /// It was there at the first look of this process.
    old: bool,
    /// It was not there at the look before, and nobody was told yet.
    untold: bool,
    kind: Kind,
    frozen: bool,
    clients: usize,
    /// The other ends of its connections, those that ended within the last minute included.
    ports: BTreeSet<u16>,
    /// Used since it was last asked for its work.
    used: bool,
    slots: Option<SlotsNow>,
    work: Option<Work>,
    asking_health: bool,
    asking_more: bool,
}

impl Known {
    pub(super) fn new(listener: &Listener, now: Mono, old: bool) -> Self {
        Self {
            address: listener.address,
            uid: listener.uid,
            inode: listener.inode,
            appeared: now,
            old,
            untold: !old,
            kind: Kind::Unknown {
                asked: 0,
                next: now,
            },
            frozen: false,
            clients: 0,
            ports: BTreeSet::new(),
            used: old,
            slots: None,
            work: None,
            asking_health: false,
            asking_more: false,
        }
    }

    /// Whether it was not there at the look before and may be a runner's.
    pub(super) fn is_news(&self) -> bool {
        self.untold && self.kind != Kind::Foreign
    }

    pub(super) fn was_told(&mut self) {
        self.untold = false;
    }

    /// Whether losing it would be news: it was recognised.
    pub(super) fn is_recognised(&self) -> bool {
        matches!(
            self.kind,
            Kind::Runner(_) | Kind::Nameless | Kind::Loading(_)
        )
    }

    /// Whether it has never answered; the number of those that are asked at one look is limited.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.kind, Kind::Unknown { .. })
    }

    /// Whether it may be a runner that begins to load.
    pub(super) fn is_unclear(&self, now: Mono) -> bool {
        self.is_unknown() && !self.old && now < self.appeared + YOUNG
    }

    /// Takes over who is connected with it, our own questions left out.
    pub(super) fn connected(&mut self, clients: usize, ports: BTreeSet<u16>) {
        let came = ports.iter().any(|port| !self.ports.contains(port));
        self.used |= clients > 0 || came;
        self.clients = clients;
        self.ports = ports;
        if clients == 0 {
            self.slots = self.slots.map(|slots| SlotsNow { busy: 0, ..slots });
        }
    }

    /// The next questions to it, which are open from now on.
    pub(super) fn due(&mut self, now: Mono) -> Vec<Question> {
        let mut due = Vec::new();
        let asks_health = match self.kind {
            Kind::Unknown { asked, next } => asked < ASKS_MAX && now >= next,
            Kind::Loading(_) | Kind::Nameless | Kind::Runner(_) => true,
            Kind::Foreign => false,
        };
        if asks_health && !self.asking_health {
            self.asking_health = true;
            due.push(Question::Health);
        }
        due.extend(self.more_due());
        due
    }

    /// What is to be asked beside its health, now that something was learned.
    pub(super) fn more_due(&mut self) -> Option<Question> {
        let question = match &self.kind {
            Kind::Nameless => Some(Question::Props),
            // Each of these questions writes a line into Ollama's log when the runner is idle.
            Kind::Runner(props) if self.used && !self.frozen => {
                let slots = props.tells_slots && self.clients > 0;
                let work = props.tells_work;
                (slots || work).then_some(Question::Work { slots, work })
            }
            Kind::Runner(_) | Kind::Unknown { .. } | Kind::Loading(_) | Kind::Foreign => None,
        };
        let question = question.filter(|_| !self.asking_more)?;
        self.asking_more = true;
        if question != Question::Props && self.clients == 0 {
            self.used = false;
        }
        Some(question)
    }

    pub(super) fn health_told(&mut self, now: Mono, health: Health) {
        self.asking_health = false;
        self.kind = match (health, std::mem::replace(&mut self.kind, Kind::Foreign)) {
            (Health::Foreign, Kind::Unknown { .. }) => Kind::Foreign,
            (Health::Silent, Kind::Unknown { asked, .. }) => Kind::Unknown {
                asked: asked + 1,
                next: now + Duration::from_secs(1 << asked.min(ASKS_MAX)),
            },
            (Health::Loading, Kind::Loading(since)) if now >= since + LONGEST_LOAD => Kind::Foreign,
            (Health::Loading, Kind::Unknown { .. } | Kind::Nameless) => Kind::Loading(now),
            (Health::Well, Kind::Unknown { .. } | Kind::Loading(_)) => Kind::Nameless,
            (_, kind) => kind,
        };
        if health != Health::NotTold {
            self.frozen = health == Health::Silent;
        }
    }

    pub(super) fn props_told(&mut self, told: PropsTold) {
        self.asking_more = false;
        match told {
            PropsTold::Runner(props) => self.kind = Kind::Runner(props),
            PropsTold::Foreign => self.kind = Kind::Foreign,
            PropsTold::Nothing => {}
        }
    }

    pub(super) fn work_told(
        &mut self,
        slots: Option<SlotsNow>,
        work: Option<Work>,
        asked: Question,
    ) {
        self.asking_more = false;
        let silent = matches!(asked, Question::Work { work: true, .. }) && work.is_none();
        // What was not told has to be asked again.
        self.used |= silent;
        self.slots = slots.or(self.slots);
        self.work = work.or(self.work);
    }

    /// What is told of it; `None` while it is no runner as far as is known.
    pub(super) fn runner(&self) -> Option<Runner> {
        let blank = Runner {
            id: RunnerId(self.inode),
            weights: None,
            life: Life::Loading,
            clients: self.clients,
            slots: None,
            slots_busy: 0,
            progress: None,
            work: None,
            old: self.old,
        };
        match &self.kind {
            Kind::Unknown { .. } | Kind::Foreign => None,
            Kind::Loading(_) | Kind::Nameless => Some(blank),
            Kind::Runner(props) => Some(Runner {
                weights: Some(props.weights.clone()),
                life: if self.frozen {
                    Life::Frozen
                } else {
                    Life::Well
                },
                slots: Some(props.slots),
                slots_busy: self.slots.map_or(0, |slots| slots.busy),
                // A runner whose slots are asked and do not answer gets no further either.
                progress: props
                    .tells_slots
                    .then(|| self.slots.map_or(0, |slots| slots.progress)),
                work: self.work,
                ..blank
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sight::WeightsFile;

    fn known(old: bool) -> Known {
        let listener = Listener {
            inode: 7,
            address: "127.0.0.1:40000".parse().unwrap(),
            uid: 1,
        };
        Known::new(&listener, Mono::ZERO, old)
    }

    fn props() -> Props {
        Props {
            weights: WeightsFile {
                store: "/models/blobs".into(),
                blob: "sha256-1".into(),
            },
            slots: 2,
            tells_slots: true,
            tells_work: true,
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono::millis(seconds * 1000)
    }

    /// A runner that is recognised and was not used yet.
    fn runner() -> Known {
        let mut known = known(false);
        assert_eq!(known.due(at(0)), [Question::Health]);
        known.health_told(at(0), Health::Loading);
        assert_eq!(known.runner().map(|each| each.life), Some(Life::Loading));
        known.due(at(1));
        known.health_told(at(1), Health::Well);
        assert_eq!(known.more_due(), Some(Question::Props));
        known.props_told(PropsTold::Runner(props()));
        known
    }

    const BOTH: Question = Question::Work {
        slots: true,
        work: true,
    };
    const WORK: Question = Question::Work {
        slots: false,
        work: true,
    };

    #[test]
    fn an_idle_runner_is_asked_for_nothing_but_its_health() {
        let mut known = runner();
        for second in 2..100 {
            known.connected(0, BTreeSet::new());
            assert_eq!(known.due(at(second)), [Question::Health]);
            known.health_told(at(second), Health::Well);
        }
    }

    #[test]
    fn a_busy_runner_tells_its_work_and_once_more_afterwards() {
        let mut known = runner();
        known.connected(1, BTreeSet::from([9]));
        assert_eq!(known.due(at(2)), [Question::Health, BOTH]);
        known.work_told(
            Some(SlotsNow {
                busy: 1,
                progress: 5,
            }),
            Some(Work::default()),
            BOTH,
        );
        assert_eq!(known.runner().unwrap().slots_busy, 1);
        known.connected(0, BTreeSet::from([9]));
        assert_eq!(known.runner().unwrap().slots_busy, 0);
        assert_eq!(known.more_due(), Some(WORK));
        known.work_told(None, Some(Work::default()), WORK);
        known.connected(0, BTreeSet::from([9]));
        assert_eq!(known.more_due(), None);
    }

    #[test]
    fn a_request_between_two_looks_leaves_its_port_and_is_counted() {
        let mut known = runner();
        known.connected(0, BTreeSet::from([9]));
        assert_eq!(known.more_due(), Some(WORK));
        known.work_told(None, None, WORK);
        assert_eq!(
            known.more_due(),
            Some(WORK),
            "it did not answer, so it is asked again"
        );
    }

    #[test]
    fn silence_of_a_runner_is_frozen_and_of_a_stranger_is_asked_less_and_less() {
        let mut runner = runner();
        runner.due(at(2));
        runner.health_told(at(4), Health::Silent);
        assert_eq!(runner.runner().unwrap().life, Life::Frozen);
        runner.due(at(5));
        runner.health_told(at(5), Health::Well);
        assert_eq!(runner.runner().unwrap().life, Life::Well);

        let mut stranger = known(false);
        let mut asked = Vec::new();
        for second in 0..4000 {
            if !stranger.due(at(second)).is_empty() {
                asked.push(second);
                stranger.health_told(at(second), Health::Silent);
            }
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 127]);
        assert_eq!(stranger.runner(), None);
        assert!(stranger.is_unclear(at(599)) && !stranger.is_unclear(at(600)));
    }

    #[test]
    fn another_program_is_asked_once() {
        let mut known = known(true);
        assert_eq!(known.due(at(0)), [Question::Health]);
        known.health_told(at(0), Health::Foreign);
        assert!(known.due(at(1)).is_empty());
        assert_eq!(known.runner(), None);
        let mut pretender = runner();
        pretender.kind = Kind::Nameless;
        pretender.props_told(PropsTold::Foreign);
        assert!(pretender.due(at(9)).is_empty());
    }

    #[test]
    fn a_load_that_never_ends_is_believed_for_a_while() {
        let mut known = known(false);
        for second in 0..=1801 {
            known.due(at(second));
            known.health_told(at(second), Health::Loading);
        }
        assert_eq!(known.runner(), None);
    }
}
