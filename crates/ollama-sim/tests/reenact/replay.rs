//! One recording that is re-enacted step by step. Every step has to be used, once.

use crate::compare::Differences;
use crate::models;
use crate::world::World;
use ollama_sim::{Body, CallId, Config, Fault};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A request that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    step: usize,
    pub(crate) id: CallId,
}

pub(crate) struct Replay {
    name: String,
    steps: Vec<Value>,
    used: Vec<bool>,
    pub(crate) world: World,
    /// Model → `expires_at` as last listed: recorded and simulated.
    expiries: BTreeMap<String, (String, String)>,
    /// See [`Differences::free_digest`].
    pub(crate) free_digest: Option<String>,
    /// The last recorded moment.
    recorded_now: Option<OffsetDateTime>,
}

impl Replay {
    pub(crate) fn new(recording: &Value) -> Self {
        let steps = recording["steps"].as_array().expect("steps").clone();
        Self {
            name: recording["scenario"].as_str().expect("a name").to_owned(),
            used: vec![false; steps.len()],
            steps,
            world: World::new(Config::default()),
            expiries: BTreeMap::new(),
            free_digest: None,
            recorded_now: None,
        }
    }

    /// The next server of the recording, with its environment.
    pub(crate) fn server(&mut self) {
        let config = Config {
            models: models::installed(),
            ..Config::default()
        };
        self.server_with(config);
    }

    pub(crate) fn server_with(&mut self, mut config: Config) {
        let seen = self.saw("server answers GET /");
        for (name, value) in seen["env"].as_object().expect("an environment") {
            let text = value.as_str().expect("text");
            let number = || text.parse::<usize>().expect("a number");
            match name.as_str() {
                "OLLAMA_MAX_LOADED_MODELS" => config.environment.max_loaded_models = number(),
                "OLLAMA_NUM_PARALLEL" => config.environment.num_parallel = number(),
                "OLLAMA_MAX_QUEUE" => config.environment.max_queue = number(),
                "OLLAMA_KEEP_ALIVE" => {
                    config.environment.keep_alive =
                        ollama_sim::parse_keep_alive(text).expect("a duration");
                }
                "OLLAMA_LOAD_TIMEOUT" => {
                    config.environment.load_timeout =
                        Some(ollama_sim::script::duration(text).expect("a duration"));
                }
                // Settings of llama-server itself; the cases say what of them is not simulated.
                _ => assert!(name.starts_with("LLAMA_ARG_"), "{name} is not known"),
            }
        }
        let version = self
            .steps
            .iter()
            .find(|step| step["request"]["path"] == "/api/version");
        config.version = version
            .and_then(|step| step["response"]["body"]["version"].as_str())
            .map(str::to_owned);
        self.world = World::new(config);
        self.expiries.clear();
    }

    /// Uses the next observation that begins so.
    pub(crate) fn saw(&mut self, start: &str) -> Value {
        let fits = |step: &Value| {
            step["observation"]
                .as_str()
                .is_some_and(|text| text.starts_with(start))
        };
        let at = (0..self.steps.len()).find(|at| !self.used[*at] && fits(&self.steps[*at]));
        let at = at.unwrap_or_else(|| panic!("{}: no (further) observation `{start}`", self.name));
        self.used[at] = true;
        self.steps[at].clone()
    }

    fn find(&self, key: &str) -> usize {
        let fits = |step: &Value| {
            step.get("request").is_some() && key_of(step).is_some_and(|name| name.contains(key))
        };
        let noted = |step: &Value| step["note"].as_str() == Some(key);
        let fits = |step: &Value| noted(step) || (step.get("note").is_none() && fits(step));
        let at = (0..self.steps.len()).find(|at| !self.used[*at] && fits(&self.steps[*at]));
        at.unwrap_or_else(|| panic!("{}: no (further) request `{key}`", self.name))
    }

    /// Sends the next recorded request with this note (or, without a note, with this text in it).
    pub(crate) fn begin(&mut self, key: &str) -> Asked {
        let step = self.find(key);
        self.used[step] = true;
        let request = self.steps[step]["request"].clone();
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let body = Self::body(&request);
        let id = self.world.send(&text("method"), &text("path"), body);
        Asked { step, id }
    }

    fn body(request: &Value) -> Body {
        match &request["body"] {
            Value::Null => Body::Bytes(String::new().into()),
            // The recording does not hold the weights, only how many bytes they had; their digest is in the path.
            Value::String(text) if text.ends_with(" bytes>") => {
                let size = text
                    .trim_start_matches('<')
                    .split(' ')
                    .next()
                    .and_then(|size| size.parse().ok());
                let path = request["path"].as_str().unwrap_or_default();
                let sha256 = path.rsplit(':').next().unwrap_or_default().to_owned();
                Body::File {
                    sha256,
                    size: size.expect("a size"),
                    gguf: true,
                }
            }
            Value::String(text) => Body::Bytes(text.clone().into()),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Body::Bytes(other.to_string().into())
            }
        }
    }

    /// Lets time pass until the answer is there, and compares it.
    pub(crate) fn end(&mut self, asked: Asked) -> f64 {
        let step = self.steps[asked.step].clone();
        if let Some(error) = step["error"].as_str() {
            return self.end_without(asked, error);
        }
        assert!(
            self.world.wait(asked.id, 3600.0),
            "{}: never answered: {step}",
            self.name
        );
        let got = self.world.got(asked.id).clone();
        assert!(!got.cut, "{}: cut: {step}", self.name);
        let response = &step["response"];
        let mut differences = Differences {
            free_digest: self.free_digest.clone(),
            ..Differences::default()
        };
        differences.value("status", "", &response["status"], &got.status.into());
        let kind = got.content_type.map_or(Value::Null, Value::from);
        differences.value("content type", "", &response["content_type"], &kind);
        let body = parsed(&got.body, got.content_type);
        differences.value("body", "", &response["body"], &body);
        self.expiry(&step, &body, &mut differences);
        let recorded = step["seconds"].as_f64().expect("seconds");
        let seconds = got.seconds();
        if (recorded < 0.15 && seconds > 0.3) || (recorded >= 0.5 && seconds < 0.25) {
            differences
                .all
                .push(format!("recorded {recorded} s, simulated {seconds} s"));
        }
        assert!(
            differences.all.is_empty(),
            "{}: {} ({}):\n  {}",
            self.name,
            step["request"],
            step["note"],
            differences.all.join("\n  ")
        );
        if let Some(moment) = response["body"]["created_at"].as_str() {
            self.recorded_now = OffsetDateTime::parse(moment, &Rfc3339).ok();
        }
        seconds
    }

    fn end_without(&mut self, asked: Asked, error: &str) -> f64 {
        if error.starts_with("TimeoutError") {
            let limit = self.steps[asked.step]["seconds"].as_f64().expect("seconds");
            assert!(!self.world.wait(asked.id, limit), "{}: answered", self.name);
            self.world.drop_connection(asked.id);
        } else if error.starts_with("RemoteDisconnected") {
            assert!(self.world.got(asked.id).cut, "{}: not cut", self.name);
            assert!(self.world.got(asked.id).body.is_empty());
        } else {
            assert!(error.starts_with("ConnectionRefused"), "{error}");
            assert!(!self.world.listening, "{}: it listens", self.name);
        }
        0.0
    }

    pub(crate) fn ask(&mut self, key: &str) -> f64 {
        let asked = self.begin(key);
        self.end(asked)
    }

    /// All steps up to the next observation (or the end), one after the other.
    pub(crate) fn ask_on(&mut self) {
        while let Some(at) = self.used.iter().position(|used| !used) {
            if self.steps[at].get("observation").is_some() {
                return;
            }
            let key = key_of(&self.steps[at]).expect("a request");
            self.ask(&key);
        }
    }

    /// Expiries are compared by kind (in which year, else how long from now) and by whether they moved.
    fn expiry(&mut self, step: &Value, body: &Value, differences: &mut Differences) {
        if step["request"]["path"] != "/api/ps" {
            return;
        }
        let recorded = step["response"]["body"]["models"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let got = body["models"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["expires_at"].as_str().unwrap_or_default().to_owned();
        for list in [&recorded, &got] {
            let seconds = |value: &Value| {
                OffsetDateTime::parse(&text(value), &Rfc3339).map(OffsetDateTime::unix_timestamp)
            };
            let all: Vec<i64> = list
                .iter()
                .map(|one| seconds(one).expect("a date"))
                .collect();
            assert!(
                all.is_sorted_by(|a, b| a >= b),
                "what lives longest comes first: {all:?}"
            );
        }
        for recorded in &recorded {
            let Some(same) = got.iter().find(|one| one["name"] == recorded["name"]) else {
                continue;
            };
            let (old, new) = (text(recorded), text(same));
            let wall =
                OffsetDateTime::from_unix_timestamp_nanos(self.world.rules.wall()).expect("a date");
            let lives = |text: &str, now: Option<OffsetDateTime>| {
                let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
                if at.year() > 2262 {
                    Some(f64::from(at.year()) * 1e9)
                } else {
                    Some((at - now?).as_seconds_f64())
                }
            };
            if let (Some(a), Some(b)) = (lives(&old, self.recorded_now), lives(&new, Some(wall)))
                && (a - b).abs() > 12.0
            {
                differences
                    .all
                    .push(format!("expires_at: recorded {old}, simulated {new}"));
            }
            let name = recorded["name"].as_str().unwrap_or_default().to_owned();
            let pair = (old, new);
            if let Some(last) = self.expiries.insert(name, pair.clone())
                && (last.0 == pair.0) != (last.1 == pair.1)
            {
                differences.all.push(format!(
                    "moved: recorded {} → {}, simulated {} → {}",
                    last.0, pair.0, last.1, pair.1
                ));
            }
        }
    }

    /// A step that cannot be re-enacted, and why.
    pub(crate) fn cannot(&mut self, key: &str, reason: &str) {
        let at = self.find(key);
        self.used[at] = true;
        println!("{}: not re-enacted: {key}: {reason}", self.name);
    }

    /// An observation that cannot be compared, and why.
    pub(crate) fn cannot_see(&mut self, start: &str, reason: &str) {
        self.saw(start);
        println!("{}: not compared: {start}: {reason}", self.name);
    }

    pub(crate) fn open(&self, asked: Asked) -> bool {
        !self.world.answered(asked.id)
    }

    pub(crate) fn run(&mut self, seconds: f64) {
        self.world.run(seconds);
    }

    pub(crate) fn crash(&mut self, model: &str) {
        self.world.fault(&Fault::Crash(model.into()));
    }

    pub(crate) fn hang(&mut self, model: &str) {
        self.world.fault(&Fault::Hang(model.into()));
    }

    pub(crate) fn thaw(&mut self, model: &str) {
        self.world.fault(&Fault::Thaw(model.into()));
    }

    pub(crate) fn seconds_since(&self, start: Duration) -> f64 {
        self.world.now.saturating_sub(start).as_secs_f64()
    }

    pub(crate) fn seconds_until_gone(&mut self, model: &str) -> f64 {
        let start = self.world.now;
        while self.world.is_resident(model) {
            self.world.run(0.001);
            assert!(self.seconds_since(start) < 60.0, "{model} stays");
        }
        self.seconds_since(start)
    }

    pub(crate) fn uploads(&self) -> Vec<String> {
        let heads = self
            .steps
            .iter()
            .filter(|step| step["request"]["method"] == "HEAD");
        let mut all: Vec<String> = Vec::new();
        for head in heads {
            let path = head["request"]["path"].as_str().unwrap_or_default();
            let digest = path.rsplit(':').next().unwrap_or_default().to_owned();
            if !all.contains(&digest) {
                all.push(digest);
            }
        }
        all
    }

    /// Fails if a step was forgotten.
    pub(crate) fn finish(self) {
        let left: Vec<_> = self
            .steps
            .iter()
            .zip(&self.used)
            .filter(|(_, used)| !**used)
            .map(|(step, _)| step)
            .collect();
        assert!(
            left.is_empty(),
            "{}: {} steps were not re-enacted: {left:#?}",
            self.name,
            left.len()
        );
    }
}

/// A request's note, or what it asks.
fn key_of(step: &Value) -> Option<String> {
    let request = step.get("request")?;
    let text = format!(
        "{} {} {}",
        request["method"], request["path"], request["body"]
    );
    let note = step["note"].as_str().map(str::to_owned);
    Some(note.unwrap_or_else(|| text.replace('"', "")))
}

fn parsed(body: &[u8], content_type: Option<&str>) -> Value {
    let text = String::from_utf8_lossy(body).into_owned();
    if content_type == Some("application/x-ndjson") {
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        return serde_json::json!({ "ndjson": lines });
    }
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
