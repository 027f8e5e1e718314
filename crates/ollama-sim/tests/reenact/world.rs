//! The rules in virtual time: requests, faults and the passing of time, without sockets.

use ollama_sim::{Body, Call, CallId, Config, Fault, Output, Rules};
use std::collections::BTreeMap;
use std::time::Duration;

/// What came back for one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: Option<Duration>,
    pub(crate) cut: bool,
    pub(crate) asked: Duration,
}

impl Got {
    pub(crate) fn seconds(&self) -> f64 {
        let ended = self.ended.expect("it is answered");
        ended.saturating_sub(self.asked).as_secs_f64()
    }
}

pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) now: Duration,
    pub(crate) listening: bool,
    next: CallId,
    got: BTreeMap<CallId, Got>,
}

/// 2026-11-23T08:45:00Z, when the recordings were made.
const EPOCH: i128 = 1_795_423_500_000_000_000;

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            rules: Rules::new(config, EPOCH),
            now: Duration::ZERO,
            listening: true,
            next: 0,
            got: BTreeMap::new(),
        }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: Body) -> CallId {
        let id = self.next;
        self.next += 1;
        self.got.insert(
            id,
            Got {
                asked: self.now,
                ..Got::default()
            },
        );
        let call = Call {
            method: method.into(),
            path: path.into(),
            body,
        };
        let out = self.rules.call(self.now, id, call);
        self.take(out);
        id
    }

    pub(crate) fn post(&mut self, path: &str, body: &serde_json::Value) -> CallId {
        self.send("POST", path, Body::Bytes(body.to_string().into()))
    }

    pub(crate) fn drop_connection(&mut self, id: CallId) {
        let out = self.rules.gone(self.now, id);
        self.take(out);
    }

    pub(crate) fn fault(&mut self, fault: &Fault) {
        let (result, out) = self.rules.fault(self.now, fault);
        result.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        self.take(out);
    }

    /// A fault that may find nothing to happen to.
    pub(crate) fn try_fault(&mut self, fault: &Fault) {
        let (_, out) = self.rules.fault(self.now, fault);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Reply(id, reply) => {
                    let now = self.now;
                    let got = self.got.entry(id).or_default();
                    assert!(got.ended.is_none(), "a request is answered once");
                    got.status = reply.status;
                    got.content_type = reply.content_type;
                    got.body = reply.body.to_vec();
                    got.ended = Some(now);
                }
                Output::Begin(id, status, content_type) => {
                    let got = self.got.entry(id).or_default();
                    got.status = status;
                    got.content_type = content_type;
                }
                Output::Data(id, piece) => self
                    .got
                    .entry(id)
                    .or_default()
                    .body
                    .extend_from_slice(&piece),
                Output::End(id) => self.got.entry(id).or_default().ended = Some(self.now),
                Output::Cut(id) => self.got.entry(id).or_default().cut = true,
                Output::Listening(listens) => self.listening = listens,
            }
        }
    }

    /// Lets time pass until `at`, event by event.
    pub(crate) fn run_to(&mut self, at: Duration) {
        while let Some(due) = self.rules.next_due().filter(|due| *due <= at) {
            self.now = self.now.max(due);
            let out = self.rules.tick(self.now);
            self.take(out);
        }
        self.now = self.now.max(at);
    }

    pub(crate) fn run(&mut self, seconds: f64) {
        self.run_to(self.now + Duration::from_secs_f64(seconds));
    }

    /// Lets time pass until the answer is there, for at most `limit` seconds.
    pub(crate) fn wait(&mut self, id: CallId, limit: f64) -> bool {
        let end = self.now + Duration::from_secs_f64(limit);
        while !self.answered(id) {
            match self.rules.next_due() {
                Some(due) if due <= end => self.run_to(due),
                _ => {
                    self.run_to(end);
                    return self.answered(id);
                }
            }
        }
        true
    }

    pub(crate) fn answered(&self, id: CallId) -> bool {
        let got = &self.got[&id];
        got.ended.is_some() || got.cut
    }

    pub(crate) fn got(&self, id: CallId) -> &Got {
        &self.got[&id]
    }

    /// Sends a request to `/api/generate`, waits for its answer and gives status and JSON.
    pub(crate) fn generate(&mut self, body: &serde_json::Value) -> (u16, serde_json::Value) {
        self.ask("/api/generate", body)
    }

    pub(crate) fn ask(&mut self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let id = self.post(path, body);
        assert!(self.wait(id, 3600.0), "{path} {body} is never answered");
        let got = self.got(id);
        (
            got.status,
            serde_json::from_slice(&got.body).unwrap_or_default(),
        )
    }

    pub(crate) fn text(&self, id: CallId) -> String {
        String::from_utf8_lossy(&self.got(id).body).into_owned()
    }

    /// What `/api/ps` answers, if it does within 1 s.
    pub(crate) fn ps(&mut self) -> Option<Vec<serde_json::Value>> {
        let id = self.send("GET", "/api/ps", Body::Bytes("".into()));
        if !self.wait(id, 1.0) {
            self.drop_connection(id);
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(&self.got(id).body).expect("JSON");
        body["models"].as_array().cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .rules
            .resident()
            .into_iter()
            .map(|one| one.name)
            .collect();
        all.sort();
        all
    }

    /// The process ids of the runners, so to speak.
    pub(crate) fn pids(&self) -> Vec<u64> {
        self.rules.resident().iter().map(|one| one.runner).collect()
    }

    pub(crate) fn is_resident(&self, model: &str) -> bool {
        self.rules.resident().iter().any(|one| one.is(model))
    }
}
