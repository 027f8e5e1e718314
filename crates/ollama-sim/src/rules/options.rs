//! The options that belong to a runner, and which differences make Ollama reload it.

use crate::store::Model;
use serde_json::{Map, Value};

/// Smallest context that Ollama runs.
const CONTEXT_MIN: i64 = 4;

/// Smallest context of a model that sees pictures.
const VISION_CONTEXT_MIN: i64 = 2048;

/// Context where nobody says otherwise, on a machine without much video memory.
const CONTEXT_AUTO: i64 = 4096;

/// Batch where nobody says otherwise.
const BATCH_AUTO: i64 = 512;

/// Largest automatic batch of an embedding model.
const EMBEDDING_BATCH_MAX: i64 = 2048;

/// What a runner is started with, or what a request wants it to have.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RunnerOptions {
    pub(crate) num_ctx: i64,
    num_batch: i64,
    num_gpu: i64,
    main_gpu: i64,
    use_mmap: Option<bool>,
    num_thread: i64,
    draft_num_predict: i64,
    shift: bool,
    context_auto: bool,
    batch_auto: bool,
}

/// The types of the options that have one; others are ignored.
const TYPES: [(&str, Type); 24] = [
    ("num_ctx", Type::Integer),
    ("num_batch", Type::Integer),
    ("num_gpu", Type::Integer),
    ("main_gpu", Type::Integer),
    ("num_thread", Type::Integer),
    ("draft_num_predict", Type::Integer),
    ("use_mmap", Type::Boolean),
    ("num_keep", Type::Integer),
    ("seed", Type::Integer),
    ("num_predict", Type::Integer),
    ("top_k", Type::Integer),
    ("top_p", Type::Float),
    ("min_p", Type::Float),
    ("typical_p", Type::Float),
    ("repeat_last_n", Type::Integer),
    ("temperature", Type::Float),
    ("repeat_penalty", Type::Float),
    ("presence_penalty", Type::Float),
    ("frequency_penalty", Type::Float),
    ("stop", Type::Array),
    ("mirostat", Type::Integer),
    ("mirostat_tau", Type::Float),
    ("mirostat_eta", Type::Float),
    ("penalize_newline", Type::Boolean),
];

#[derive(Clone, Copy, Debug)]
enum Type {
    Integer,
    Float,
    Boolean,
    Array,
}

impl Type {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Integer | Self::Float => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Float => "float32",
            Self::Boolean => "boolean",
            Self::Array => "array",
        }
    }
}

/// Refuses an option of the wrong type with Ollama's words. `null` is as if it were absent.
pub(crate) fn check(options: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in options {
        let known = TYPES.iter().find(|(name, _)| name == key);
        if let Some((name, kind)) = known
            && !value.is_null()
            && !kind.fits(value)
        {
            return Err(format!("option \"{name}\" must be of type {}", kind.name()));
        }
    }
    Ok(())
}

impl RunnerOptions {
    /// Whether nothing of it is to be on a GPU.
    pub(crate) fn cpu_only(&self) -> bool {
        self.num_gpu == 0
    }

    /// Whether a prompt that does not fit is cut instead of refused.
    pub(crate) fn shifts(&self) -> bool {
        self.shift
    }

    /// Defaults, then the Modelfile's parameters, then the request's options.
    pub(crate) fn resolve(
        model: &Model,
        given: &Map<String, Value>,
        shift: Option<bool>,
        context_env: Option<u32>,
    ) -> Self {
        let value = |name: &str| {
            let given = given.get(name).filter(|value| !value.is_null());
            given.or_else(|| model.parameter(name))
        };
        let number = |name: &str, default: i64| value(name).and_then(integer).unwrap_or(default);
        let embedding = model.capabilities().iter().any(|one| one == "embedding");
        let vision = model.capabilities().iter().any(|one| one == "vision");
        let least = if vision {
            VISION_CONTEXT_MIN
        } else {
            CONTEXT_MIN
        };
        let asked = number("num_ctx", context_env.map_or(CONTEXT_AUTO, i64::from));
        let batch_given = value("num_batch").is_some();
        let batch = if embedding {
            EMBEDDING_BATCH_MAX.min(asked)
        } else {
            BATCH_AUTO
        };
        Self {
            num_ctx: asked.max(least),
            num_batch: number("num_batch", batch),
            num_gpu: number("num_gpu", -1),
            main_gpu: number("main_gpu", 0),
            use_mmap: value("use_mmap").and_then(Value::as_bool),
            num_thread: number("num_thread", 0),
            draft_num_predict: number("draft_num_predict", 0),
            shift: shift.unwrap_or(model.spec.family != "deepseek2"),
            context_auto: value("num_ctx").is_none() && context_env.is_none(),
            batch_auto: !batch_given && !embedding,
        }
    }

    /// As the runner has them once it runs: not more context than the model was trained with.
    pub(crate) fn started(mut self, train: u32) -> Self {
        self.num_ctx = self.num_ctx.min(i64::from(train));
        self
    }

    /// Whether a runner with these options has to be started anew for a request that wants `new`.
    pub(crate) fn differ(&self, new: &Self, train: u32) -> bool {
        let context = self.context_auto && new.context_auto
            || self.num_ctx == new.num_ctx.min(i64::from(train));
        let batch = self.batch_auto && new.batch_auto || self.num_batch == new.num_batch;
        let gpu = new.num_gpu < 0 || self.num_gpu == new.num_gpu;
        // On a CPU the server itself turns memory mapping off where nobody asks for it.
        let mmap = self.use_mmap == new.use_mmap;
        !(context
            && batch
            && gpu
            && mmap
            && self.main_gpu == new.main_gpu
            && self.num_thread == new.num_thread
            && self.draft_num_predict == new.draft_num_predict
            && self.shift == new.shift)
    }
}

/// Go makes an integer of any JSON number.
#[expect(clippy::cast_possible_truncation, reason = "that is what Go does")]
fn integer(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|float| float as i64))
}
