//! What a simulated server is made of: its models, its environment, its faults to come.

use crate::rules::Fault;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Which Ollama is simulated. They answer alike but for what `/api/ps` shows and how a runner dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Era {
    /// 0.33.0: a model is not listed until it is loaded; `/api/ps` waits while a hung runner is pinged.
    #[default]
    V033,
    /// 0.24.0: a model of the newer engine is listed while it loads; `/api/ps` never waits.
    V024,
}

impl Era {
    /// What `/api/version` says.
    pub fn version(self) -> &'static str {
        match self {
            Self::V033 => "0.33.0",
            Self::V024 => "0.24.0",
        }
    }
}

/// What a model can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Generates text.
    #[default]
    Completion,
    /// Only makes embeddings.
    Embedding,
    /// Runs on somebody else's machine and is never resident.
    Cloud,
}

/// How the memory runs out when a model does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutOfMemory {
    /// An allocation fails with a text that Ollama recognises: it evicts all others and tries once more.
    #[default]
    Reported,
    /// The kernel kills the runner, which Ollama does not recognise as a lack of memory.
    Killed,
}

/// The environment of `ollama serve`.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `OLLAMA_KEEP_ALIVE` in nanoseconds; negative is for ever.
    pub keep_alive: i64,
    /// `OLLAMA_MAX_LOADED_MODELS`; 0 = the default, 3 on a CPU.
    pub max_loaded_models: usize,
    /// `OLLAMA_NUM_PARALLEL`.
    pub num_parallel: usize,
    /// `OLLAMA_MAX_QUEUE`.
    pub max_queue: usize,
    /// `OLLAMA_LOAD_TIMEOUT`; `None` = none.
    pub load_timeout: Option<Duration>,
    /// `OLLAMA_CONTEXT_LENGTH`; `None` = automatic.
    pub context_length: Option<u32>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            keep_alive: 300_000_000_000,
            max_loaded_models: 0,
            num_parallel: 1,
            max_queue: 512,
            load_timeout: Some(Duration::from_secs(300)),
            context_length: None,
        }
    }
}

/// How long things take. The defaults were measured with a small model on two CPU cores.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// An empty generate on a resident model, and everything else that asks the scheduler.
    pub request: Duration,
    /// `/api/ps`, `/api/version` and the like.
    pub read: Duration,
    /// Until an unloaded model is gone from `/api/ps`.
    pub unload: Duration,
    /// How long Ollama waits for a runner's answer to a ping.
    pub ping_limit: Duration,
    /// Divides loads and computations; wall time stays true.
    pub speed: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_micros(1700),
            read: Duration::from_micros(500),
            unload: Duration::from_millis(30),
            ping_limit: Duration::from_secs(10),
            speed: 1.0,
        }
    }
}

/// A fault that happens by itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Scripted {
    /// Since the start.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
}

/// An uploaded file that Ollama rewrites into another blob when a model is created of it (>= 0.30 does so).
#[derive(Clone, Debug)]
pub struct Upload {
    /// Digest of the upload, 64 hex digits.
    pub from: String,
    /// Digest of the blob that is kept.
    pub to: String,
    /// The weights' properties.
    pub model: ModelSpec,
}

/// A simulated server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Which Ollama.
    pub era: Era,
    /// What `/api/version` says, if not the era's own.
    pub version: Option<String>,
    /// The installed models.
    pub models: Vec<ModelSpec>,
    /// Models that a pull finds in the registry.
    pub registry: Vec<ModelSpec>,
    /// Whether the registry can be reached.
    pub online: bool,
    /// Known uploads.
    pub uploads: Vec<Upload>,
    /// The environment of the server.
    pub environment: Environment,
    /// How long things take.
    pub timing: Timing,
    /// Memory for runners in bytes; `None` = as much as it takes.
    pub memory: Option<u64>,
    /// What happens when it is used up.
    pub out_of_memory: OutOfMemory,
    /// Video memory in bytes: what will not fit evicts others before it is loaded. `None` = there is only a CPU.
    pub gpu_memory: Option<u64>,
    /// Faults to come.
    pub script: Vec<Scripted>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            era: Era::default(),
            version: None,
            models: Vec::new(),
            registry: Vec::new(),
            online: false,
            uploads: Vec::new(),
            environment: Environment::default(),
            timing: Timing::default(),
            memory: None,
            gpu_memory: None,
            out_of_memory: OutOfMemory::default(),
            script: Vec::new(),
        }
    }
}

impl Config {
    /// A server with these models.
    pub fn new(models: impl IntoIterator<Item = ModelSpec>) -> Self {
        Self {
            models: models.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// One model of a simulated server.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelSpec {
    /// Its name, as a client writes it.
    pub name: String,
    /// What it can do.
    pub kind: Kind,
    /// Bytes of the weights' file.
    pub size: u64,
    /// How long it takes to load.
    pub load: Duration,
    /// Most tokens of context (the training context).
    pub context: u32,
    /// Memory beside the weights, per token of context and slot.
    pub bytes_per_token: u64,
    /// Memory beside the weights, once.
    pub overhead: u64,
    /// One token of a prompt that is in no cache.
    pub prompt_token: Duration,
    /// One token of an answer.
    pub answer_token: Duration,
    /// Tokens of an answer to which no `num_predict` sets an end.
    pub answer_tokens: u32,
    /// Digest of the weights' blob, 64 hex digits; empty = made of the name. Models with the same one share a runner.
    pub blob: String,
    /// Digest of the manifest; empty = made of the name and the blob.
    pub digest: String,
    /// Digests of adapters.
    pub adapters: Vec<String>,
    /// The Modelfile's parameters.
    pub parameters: Vec<(String, Value)>,
    /// The Modelfile's system prompt.
    pub system: String,
    /// Further capabilities: `tools`, `insert`, `vision`, `thinking`.
    pub capabilities: Vec<String>,
    /// The architecture.
    pub family: String,
    /// Such as `1.1B`.
    pub parameter_size: String,
    /// Such as `Q4_0`.
    pub quantization: String,
    /// Numbers of an embedding, as `/api/tags` tells it.
    pub embedding_length: u32,
    /// The base of a variant.
    pub parent: String,
    /// Era 0.24: runs on the newer engine, so that it is listed while it loads.
    pub newer_engine: bool,
}

impl ModelSpec {
    /// A small completion model that loads within 2 s.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Completion,
            size: 640_000_000,
            load: Duration::from_secs(2),
            context: 8192,
            bytes_per_token: 24_064,
            overhead: 12_576_594,
            prompt_token: Duration::from_micros(6300),
            answer_token: Duration::from_millis(10),
            answer_tokens: 48,
            blob: String::new(),
            digest: String::new(),
            adapters: Vec::new(),
            parameters: Vec::new(),
            system: String::new(),
            capabilities: Vec::new(),
            family: "llama".into(),
            parameter_size: "1B".into(),
            quantization: "Q4_0".into(),
            embedding_length: 576,
            parent: String::new(),
            newer_engine: false,
        }
    }

    /// The same with other weights' size.
    #[must_use]
    pub fn size(self, size: u64) -> Self {
        Self { size, ..self }
    }

    /// The same with another load time.
    #[must_use]
    pub fn load(self, load: Duration) -> Self {
        Self { load, ..self }
    }

    /// The same as another kind.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The same with another training context.
    #[must_use]
    pub fn context(self, context: u32) -> Self {
        Self { context, ..self }
    }

    /// The same with a parameter of the Modelfile.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Another name, system prompt or parameters on the weights of `base`: it shares its runner.
    #[must_use]
    pub fn on_weights_of(self, base: &ModelSpec) -> Self {
        Self {
            blob: base.blob_digest(),
            size: base.size,
            ..self
        }
    }

    /// Whether its name is a model name.
    pub fn has_name(&self) -> bool {
        crate::store::name::Name::parse(&self.name).is_some()
    }

    pub(crate) fn blob_digest(&self) -> String {
        if self.blob.is_empty() {
            crate::store::sha256(format!("weights of {}", self.name).as_bytes())
        } else {
            self.blob.clone()
        }
    }
}
