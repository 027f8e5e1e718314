//! Ollama's JSON, both ways, and nowhere else. Unknown fields are ignored; missing ones have harmless defaults.

use crate::engine::request::{Installed, ModelInfo, PIN_SECONDS, Resident, Target, Timings};
use crate::engine::spec::{Conversation, OptionValue, Options};
use crate::engine::{Failure, FailureKind, UnixMillis};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Deserialize)]
pub(super) struct Ps {
    #[serde(default, deserialize_with = "null_is_default")]
    models: Vec<PsEntry>,
}

#[derive(Deserialize)]
struct PsEntry {
    name: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    size_vram: u64,
    #[serde(default)]
    context_length: u64,
    expires_at: String,
}

impl Ps {
    pub(super) fn into_resident(self) -> Result<Vec<Resident>, String> {
        self.models.into_iter().map(resident).collect()
    }
}

fn resident(entry: PsEntry) -> Result<Resident, String> {
    let expires = OffsetDateTime::parse(&entry.expires_at, &Rfc3339).map_err(|error| {
        format!(
            "expires_at {:?} of {} is no date: {error}",
            entry.expires_at, entry.name
        )
    })?;
    let nanos = expires.unix_timestamp_nanos();
    let millis = i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(i64::MAX);
    Ok(Resident {
        name: entry.name.into(),
        digest: entry.digest.trim_start_matches("sha256:").into(),
        size: entry.size,
        size_vram: entry.size_vram,
        context_length: entry.context_length,
        expires_at: UnixMillis(millis),
        expires_nanos: u32::try_from(nanos.rem_euclid(1_000_000)).unwrap_or_default(),
    })
}

#[derive(Deserialize)]
pub(super) struct Tags {
    #[serde(default, deserialize_with = "null_is_default")]
    models: Vec<TagsEntry>,
}

#[derive(Deserialize)]
struct TagsEntry {
    name: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    remote_host: Option<String>,
    #[serde(default)]
    remote_model: Option<String>,
}

impl Tags {
    pub(super) fn into_installed(self) -> Vec<Installed> {
        let installed = |entry: TagsEntry| Installed {
            remote: is_given(entry.remote_host.as_ref()) || is_given(entry.remote_model.as_ref()),
            name: entry.name.into(),
            digest: entry.digest.trim_start_matches("sha256:").into(),
            size: entry.size,
        };
        self.models.into_iter().map(installed).collect()
    }
}

#[derive(Deserialize)]
pub(super) struct Show {
    #[serde(default)]
    modelfile: String,
    #[serde(default)]
    parameters: String,
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    remote_host: Option<String>,
    #[serde(default)]
    remote_model: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    model_info: Map<String, Value>,
}

impl Show {
    pub(super) fn into_info(self) -> ModelInfo {
        let path = |word: &'static str| {
            let lines = self.modelfile.lines();
            lines.filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
        };
        let mut adapters: Vec<Arc<str>> = path("ADAPTER").filter_map(blob_name).collect();
        adapters.sort();
        // Ollama before 0.6 does not tell capabilities; what it has completes.
        let has = |word: &str| {
            self.capabilities
                .as_ref()
                .map(|all| all.iter().any(|each| each == word))
        };
        let context = self
            .model_info
            .iter()
            .find(|(key, _)| key.ends_with(".context_length"));
        ModelInfo {
            blob: path("FROM").find_map(blob_name),
            store: path("FROM").find_map(blob_folder),
            adapters,
            completion: has("completion").unwrap_or(true),
            embedding: has("embedding").unwrap_or(false),
            remote: is_given(self.remote_host.as_ref()) || is_given(self.remote_model.as_ref()),
            num_ctx: parameter(&self.parameters, "num_ctx"),
            context_length: context.and_then(|(_, value)| value.as_u64()),
        }
    }
}

/// The value of a line `num_ctx                        8192`; Ollama writes large numbers as `1e+06`.
fn parameter(parameters: &str, name: &str) -> Option<u64> {
    let value = parameters.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()).flatten()
    })?;
    let number = value
        .parse::<f64>()
        .ok()
        .filter(|number| (0.0..1e15).contains(number))?;
    format!("{number:.0}").parse().ok()
}

/// `sha256-…` at the end of a path, on any operating system.
fn blob_name(path: &str) -> Option<Arc<str>> {
    let name = path.trim().trim_matches('"').rsplit(['/', '\\']).next()?;
    name.starts_with("sha256-").then(|| name.into())
}

/// The folder of such a path.
fn blob_folder(path: &str) -> Option<Arc<str>> {
    blob_name(path)?;
    let (folder, _) = path.trim().trim_matches('"').rsplit_once(['/', '\\'])?;
    Some(folder.into())
}

/// The end of a generate, chat or embed: how long what took.
#[derive(Deserialize)]
pub(super) struct Done {
    #[serde(default)]
    error: Option<String>,
    load_duration: Option<u64>,
    prompt_eval_duration: Option<u64>,
    prompt_eval_count: Option<u64>,
}

impl Done {
    /// An error can come in a 200.
    pub(super) fn into_timings(self) -> Result<Timings, String> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Timings {
                load: self.load_duration.map(Duration::from_nanos),
                prompt_eval: self.prompt_eval_duration.map(Duration::from_nanos),
                prompt_tokens: self.prompt_eval_count,
            }),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: String,
}

/// One line of a pull.
#[derive(Deserialize)]
pub(super) struct PullLine {
    #[serde(default)]
    pub(super) status: String,
    pub(super) error: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) total: Option<u64>,
    pub(super) completed: Option<u64>,
}

/// What a request carries besides the model and its options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeepAlive {
    /// Nothing: the runner keeps what it has.
    Absent,
    /// Our pin.
    Ours,
}

/// The empty request: loads, pins or pings.
pub(super) fn empty_body(target: &Target, keep_alive: KeepAlive) -> Value {
    let mut body = json!({"model": &*target.model});
    if let Value::Object(body) = &mut body {
        add_options(body, &target.options, None);
        if keep_alive == KeepAlive::Ours {
            body.insert("keep_alive".into(), PIN_SECONDS.into());
        }
    }
    body
}

/// One token through a completion model.
pub(super) fn token_body(target: &Target) -> Value {
    let mut body = json!({"model": &*target.model, "prompt": "Hi", "stream": false});
    if let Value::Object(body) = &mut body {
        add_options(body, &target.options, Some(1));
    }
    body
}

/// One input through an embedding model.
pub(super) fn embed_body(target: &Target) -> Value {
    let mut body = json!({"model": &*target.model, "input": "Hi"});
    if let Value::Object(body) = &mut body {
        add_options(body, &target.options, None);
    }
    body
}

/// A conversation with one token of answer.
pub(super) fn chat_body(target: &Target, conversation: &Conversation) -> Result<Value, Failure> {
    let parsed: Result<Map<String, Value>, _> = serde_json::from_str(&conversation.json);
    let mut body = parsed.map_err(|error| {
        let said = format!(
            "warm-up conversation {} is no JSON object: {error}",
            conversation.name
        );
        Failure::new(FailureKind::InvalidRequest, said)
    })?;
    body.insert("model".into(), (*target.model).into());
    body.insert("stream".into(), false.into());
    add_options(&mut body, &target.options, Some(1));
    Ok(Value::Object(body))
}

fn add_options(body: &mut Map<String, Value>, options: &Options, num_predict: Option<i64>) {
    let mut given: Map<String, Value> = options
        .iter()
        .map(|(name, value)| (name.to_string(), option_value(value)))
        .collect();
    if let Some(tokens) = num_predict {
        given.insert("num_predict".into(), tokens.into());
    }
    if !given.is_empty() {
        body.insert("options".into(), Value::Object(given));
    }
}

fn option_value(value: &OptionValue) -> Value {
    match value {
        OptionValue::Bool(value) => (*value).into(),
        OptionValue::Int(value) => (*value).into(),
        OptionValue::Float(value) => (*value).into(),
        OptionValue::Text(value) => (**value).into(),
    }
}

fn is_given(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// Go writes an empty list as `null`.
fn null_is_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

/// Puts chunks together to lines of a bounded length.
#[derive(Debug)]
pub(super) struct Lines {
    rest: Vec<u8>,
    max: usize,
}

impl Lines {
    pub(super) fn new(max: usize) -> Self {
        Self {
            rest: Vec::new(),
            max,
        }
    }

    /// The lines that `chunk` completes, without empty ones.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.rest.len() + piece.len() > self.max {
                return Err(format!("a line is longer than {} kB", self.max >> 10));
            }
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                if !line.trim_ascii().is_empty() {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }
}
