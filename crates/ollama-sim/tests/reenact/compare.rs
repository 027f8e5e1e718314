//! How an answer of the simulation is compared with the recorded one: strictly, but for what only weights, clocks and
//! machines decide.

use serde_json::{Map, Value};

/// Text that a model wrote, or that names a moment or an instance.
const FREE_TEXT: [&str; 7] = [
    "response",
    "content",
    "text",
    "created_at",
    "modified_at",
    "id",
    "expires_at",
];

/// Numbers that a clock or a tokenizer makes; only whether they are there is compared.
const FREE_NUMBERS: [&str; 9] = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_duration",
    "created",
    "prompt_tokens",
    "total_tokens",
    "context",
];

/// Properties of the weights; of these only some are compared.
const WEIGHTS: [&str; 1] = ["tensors"];

/// What of `model_info` a client decides by.
const INFO: [&str; 2] = ["general.architecture", ".context_length"];

/// Lists whose order is by chance.
/// `/api/ps` sorts by the second, so what was loaded within one is in no order; `Replay` checks the rest.
const SETS: [&str; 2] = ["data", "models"];

/// Bytes and sizes agree within this share.
const SIZE_TOLERANCE: f64 = 0.02;

/// Collects the differences.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    pub(crate) all: Vec<String>,
    /// A recorded digest that hashes bytes which the simulation does not have; any digest will do.
    pub(crate) free_digest: Option<String>,
}

impl Differences {
    fn add(&mut self, path: &str, recorded: &Value, got: &Value) {
        self.all
            .push(format!("{path}: recorded {recorded}, simulated {got}"));
    }

    /// Compares two values under the name `key`.
    pub(crate) fn value(&mut self, path: &str, key: &str, recorded: &Value, got: &Value) {
        if FREE_NUMBERS.contains(&key) || FREE_TEXT.contains(&key) {
            if kind(recorded) != kind(got) {
                self.add(path, recorded, got);
            }
            return;
        }
        let made = |value: &Value| key == "digest" && value.as_str() == self.free_digest.as_deref();
        if WEIGHTS.contains(&key) || made(recorded) {
            return;
        }
        match (recorded, got) {
            (Value::Object(recorded), Value::Object(got)) if key == "model_info" => {
                self.info(path, recorded, got);
            }
            (Value::Object(recorded), Value::Object(got)) => self.object(path, recorded, got),
            (Value::Array(recorded), Value::Array(got)) => self.list(path, key, recorded, got),
            (Value::String(recorded), Value::String(got)) => self.text(path, recorded, got),
            (Value::Number(a), Value::Number(b)) if key == "size" => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                if (a - b).abs() > a * SIZE_TOLERANCE {
                    self.add(path, recorded, got);
                }
            }
            _ if recorded != got => self.add(path, recorded, got),
            _ => {}
        }
    }

    fn object(&mut self, path: &str, recorded: &Map<String, Value>, got: &Map<String, Value>) {
        for (key, value) in recorded {
            match got.get(key) {
                Some(other) => self.value(&format!("{path}.{key}"), key, value, other),
                None => self
                    .all
                    .push(format!("{path}.{key} is missing; recorded {value}")),
            }
        }
        for (key, value) in got {
            if !recorded.contains_key(key) {
                self.all
                    .push(format!("{path}.{key} was not recorded; simulated {value}"));
            }
        }
    }

    fn info(&mut self, path: &str, recorded: &Map<String, Value>, got: &Map<String, Value>) {
        for (key, value) in recorded {
            if INFO.iter().any(|end| key.ends_with(end)) && got.get(key) != Some(value) {
                self.add(
                    &format!("{path}.{key}"),
                    value,
                    got.get(key).unwrap_or(&Value::Null),
                );
            }
        }
    }

    fn list(&mut self, path: &str, key: &str, recorded: &[Value], got: &[Value]) {
        if recorded.len() != got.len() {
            self.add(path, &recorded.into(), &got.into());
            return;
        }
        let (recorded, got) = if SETS.contains(&key) {
            (sorted(recorded), sorted(got))
        } else {
            (recorded.to_vec(), got.to_vec())
        };
        for (at, (recorded, got)) in recorded.iter().zip(&got).enumerate() {
            self.value(&format!("{path}[{at}]"), "", recorded, got);
        }
    }

    fn text(&mut self, path: &str, recorded: &str, got: &str) {
        let (recorded, got) = (plain(recorded), plain(got));
        let same = match recorded.strip_suffix('…') {
            // The recording was cut there.
            Some(start) => got.starts_with(start),
            None => recorded == got,
        };
        if !same {
            self.add(path, &recorded.into(), &got.into());
        }
    }
}

fn sorted(list: &[Value]) -> Vec<Value> {
    let mut list = list.to_vec();
    list.sort_by_key(|one| one.get("name").or(one.get("id")).map(ToString::to_string));
    list
}

/// Without what belongs to a machine, a moment or a file: paths, time stamps, lengths of weights, digests of layers
/// that have no weights.
fn plain(text: &str) -> String {
    let text = text.replace("$OLLAMA_MODELS/", "/models/");
    if text.contains("exceeds file size") || text.contains("?ts=") {
        return text
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect::<String>();
    }
    match text.split_once("layer sha256:") {
        Some((start, _)) => format!("{start}layer"),
        None => text,
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}
