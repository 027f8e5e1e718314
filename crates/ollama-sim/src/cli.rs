//! The command line.

use clap::{Parser, ValueEnum};
use ollama_sim::script::{self, ScriptError};
use ollama_sim::{Config, Environment, Era, Kind, ModelSpec, OutOfMemory, Timing};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Most bytes of a script that are read.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;

const EXAMPLES: &str = "\
Models:
  --model NAME[,KEY=VALUE…], several times. Without any: tinyllama and qwen2.5-coder:3b.
    size=640M        bytes of the weights
    load=2s          how long it takes to load
    context=8192     most tokens of context
    kind=completion  or embed, or cloud
    base=OTHER       shares the weights, and so the runner, of a model given before
    system=TEXT      a system prompt of its own
    prompt=6ms       computing one token of a prompt that is in no cache
    token=10ms       one token of an answer
    num_ctx=4096     (or another parameter of a Modelfile)

Scripts (--script FILE) have one fault a line: `at 5s crash tinyllama`. Faults:
";

const CONTROL: &str = "
The same at any time over HTTP:
  curl -d 'crash tinyllama' localhost:11434/sim/fault
  curl localhost:11434/sim/state        what is loaded, and how many requests wait
  curl localhost:11434/sim/requests     what was received
  curl localhost:11434/sim/events       what happened to models
A server that was stopped this way starts again after 5 s.

Examples:
  ollama-sim --listen 127.0.0.1:11500 --model tinyllama,load=3s --max-loaded-models 1
  ollama-sim --model m:1b --model n:1b,load=10s --script faults.txt --speed 10

Exit status: 0 after SIGTERM or SIGINT, 1 if it cannot listen, 2 if an argument is wrong.";

/// Which Ollama is simulated.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Version {
    /// A model is listed when it is loaded; /api/ps waits while a hung runner is pinged
    #[value(name = "0.33")]
    V033,
    /// Models of the newer engine are listed while they load
    #[value(name = "0.24")]
    V024,
}

/// What happens when the memory is used up.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Memory {
    /// The runner says so; Ollama evicts everything and tries once more
    Reported,
    /// The kernel kills the runner
    Killed,
}

/// A simulated Ollama: the same answers, errors, evictions and hang-ups, without models and without computing.
///
/// It behaves as Ollama 0.33.0 was measured to. Every response has the header `x-ollama-sim: simulated`.
#[derive(Debug, Parser)]
#[command(name = "ollama-sim", version, after_help = format!("{EXAMPLES}{}\n{CONTROL}", indented(script::FAULTS)))]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11434")]
    listen: SocketAddr,
    /// An installed model (see below)
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// A model that a pull finds in the registry
    #[arg(long, value_name = "MODEL")]
    registry: Vec<String>,
    /// Faults that happen by themselves (see below)
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Which Ollama
    #[arg(long, value_enum, default_value = "0.33")]
    era: Version,
    #[arg(
        long,
        help = "As OLLAMA_MAX_LOADED_MODELS; 0 = 3, as on a CPU",
        value_name = "N",
        default_value_t = 0
    )]
    max_loaded_models: usize,
    #[arg(long, help = "As OLLAMA_NUM_PARALLEL", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    num_parallel: u16,
    #[arg(
        long,
        help = "As OLLAMA_KEEP_ALIVE: a duration or seconds; negative = for ever",
        value_name = "TIME",
        default_value = "5m",
        allow_hyphen_values = true
    )]
    keep_alive: String,
    #[arg(
        long,
        help = "As OLLAMA_MAX_QUEUE",
        value_name = "N",
        default_value_t = 512
    )]
    max_queue: usize,
    #[arg(
        long,
        help = "As OLLAMA_LOAD_TIMEOUT; 0 = none",
        value_name = "TIME",
        default_value = "5m"
    )]
    load_timeout: String,
    #[arg(long, help = "As OLLAMA_CONTEXT_LENGTH", value_name = "TOKENS")]
    context_length: Option<u32>,
    /// Memory for runners, such as 8G
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Video memory, such as 24G; without it there is only a CPU
    #[arg(long, value_name = "SIZE")]
    gpu_memory: Option<String>,
    /// What happens when the memory is used up
    #[arg(long, value_enum, default_value = "reported")]
    out_of_memory: Memory,
    /// The registry cannot be reached
    #[arg(long)]
    offline: bool,
    /// Loads and computations are so many times faster
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
    /// Log every request
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// What is wrong with an argument.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("--model `{model}`: {problem}")]
    Model { model: String, problem: ModelError },
    #[error("--{name} `{value}`: {rule}")]
    Value {
        name: &'static str,
        value: String,
        rule: String,
    },
    #[error("--script {}: {problem}", path.display())]
    Script { path: PathBuf, problem: String },
}

/// What is wrong with a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error(
        "`{0}` is no model name; use letters, digits, `_`, `-` and `.`, such as `qwen2.5-coder:3b`"
    )]
    Name(String),
    #[error("`{0}` is not of the form KEY=VALUE")]
    Form(String),
    #[error("kind `{0}` is none of completion, embed, cloud")]
    Kind(String),
    #[error("base `{0}` is no model given before")]
    Base(String),
    #[error("{0} must be a whole number, not `{1}`")]
    Number(String, String),
    #[error(
        "`{0}` is no key; there are size, load, context, kind, base, system, prompt, token and num_…"
    )]
    Key(String),
    #[error(transparent)]
    Value(#[from] ScriptError),
    #[error("it is given twice")]
    Twice,
}

impl Arguments {
    pub(crate) fn config(&self) -> Result<Config, ArgumentError> {
        let value = |name: &'static str, value: &str, rule: String| ArgumentError::Value {
            name,
            value: value.into(),
            rule,
        };
        if !(self.speed.is_finite() && self.speed > 0.0) {
            let rule = "must be a number above 0, such as 10".to_owned();
            return Err(value("speed", &self.speed.to_string(), rule));
        }
        let keep_alive = ollama_sim::parse_keep_alive(&self.keep_alive).ok_or_else(|| {
            let rule = "must be a duration such as 24h, seconds, or -1 for ever".to_owned();
            value("keep-alive", &self.keep_alive, rule)
        })?;
        let load_timeout = script::duration(&self.load_timeout)
            .map_err(|error| value("load-timeout", &self.load_timeout, error.to_string()))?;
        let size = |name: &'static str, text: &Option<String>| {
            let bytes = text.as_deref().map(script::bytes).transpose();
            bytes.map_err(|error| {
                value(name, text.as_deref().unwrap_or_default(), error.to_string())
            })
        };
        Ok(Config {
            listen: self.listen,
            era: match self.era {
                Version::V033 => Era::V033,
                Version::V024 => Era::V024,
            },
            models: if self.model.is_empty() {
                defaults()
            } else {
                models(&self.model)?
            },
            registry: models(&self.registry)?,
            online: !self.offline,
            environment: Environment {
                keep_alive,
                max_loaded_models: self.max_loaded_models,
                num_parallel: self.num_parallel.into(),
                max_queue: self.max_queue,
                load_timeout: Some(load_timeout).filter(|timeout| !timeout.is_zero()),
                context_length: self.context_length,
            },
            timing: Timing {
                speed: self.speed,
                ..Timing::default()
            },
            memory: size("memory", &self.memory)?,
            gpu_memory: size("gpu-memory", &self.gpu_memory)?,
            out_of_memory: match self.out_of_memory {
                Memory::Reported => OutOfMemory::Reported,
                Memory::Killed => OutOfMemory::Killed,
            },
            script: self.read_script()?,
            ..Config::default()
        })
    }

    fn read_script(&self) -> Result<Vec<ollama_sim::Scripted>, ArgumentError> {
        let Some(path) = &self.script else {
            return Ok(Vec::new());
        };
        let failed = |problem: String| ArgumentError::Script {
            path: path.clone(),
            problem,
        };
        let size = std::fs::metadata(path)
            .map_err(|error| failed(error.to_string()))?
            .len();
        if size > SCRIPT_BYTES_MAX {
            return Err(failed(format!(
                "has {size} bytes; at most {SCRIPT_BYTES_MAX} are read"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        script::script(&text).map_err(|error| failed(error.to_string()))
    }
}

fn defaults() -> Vec<ModelSpec> {
    vec![
        ModelSpec::new("tinyllama"),
        ModelSpec::new("qwen2.5-coder:3b")
            .size(1_900_000_000)
            .load(Duration::from_secs(5)),
    ]
}

fn models(texts: &[String]) -> Result<Vec<ModelSpec>, ArgumentError> {
    let mut all: Vec<ModelSpec> = Vec::new();
    for text in texts {
        let failed = |problem| ArgumentError::Model {
            model: text.clone(),
            problem,
        };
        let model = model(text, &all).map_err(failed)?;
        if all.iter().any(|one| one.name == model.name) {
            return Err(failed(ModelError::Twice));
        }
        all.push(model);
    }
    Ok(all)
}

fn model(text: &str, before: &[ModelSpec]) -> Result<ModelSpec, ModelError> {
    let mut parts = text.split(',');
    let mut model = ModelSpec::new(parts.next().unwrap_or_default());
    if !model.has_name() {
        return Err(ModelError::Name(model.name));
    }
    for part in parts {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| ModelError::Form(part.into()))?;
        model = with(model, (key, value), before)?;
    }
    Ok(model)
}

fn with(
    model: ModelSpec,
    (key, value): (&str, &str),
    before: &[ModelSpec],
) -> Result<ModelSpec, ModelError> {
    let number = || {
        let number = value.parse::<u32>();
        number.map_err(|_| ModelError::Number(key.into(), value.into()))
    };
    Ok(match key {
        "size" => model.size(script::bytes(value)?),
        "load" => model.load(script::duration(value)?),
        "context" => model.context(number()?),
        "prompt" => ModelSpec {
            prompt_token: script::duration(value)?,
            ..model
        },
        "token" => ModelSpec {
            answer_token: script::duration(value)?,
            ..model
        },
        "system" => ModelSpec {
            system: value.into(),
            ..model
        },
        "kind" => model.kind(match value {
            "completion" => Kind::Completion,
            "embed" => Kind::Embedding,
            "cloud" => Kind::Cloud,
            _ => return Err(ModelError::Kind(value.into())),
        }),
        "base" => {
            let base = before.iter().find(|one| one.name == value);
            model.on_weights_of(base.ok_or_else(|| ModelError::Base(value.into()))?)
        }
        _ if key.starts_with("num_") => model.parameter(key, number()?),
        _ => return Err(ModelError::Key(key.into())),
    })
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["    ", line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let all = std::iter::once("ollama-sim").chain(arguments.iter().copied());
        let parsed = Arguments::try_parse_from(all).map_err(|error| error.to_string())?;
        parsed.config().map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_a_configuration() {
        let config = config(&[
            "--model",
            "a:1b,size=2G,load=500ms,context=2048,kind=embed",
            "--model",
            "b,base=a:1b,system=Be short.,num_ctx=1024",
            "--keep-alive",
            "-1",
            "--load-timeout",
            "0",
            "--memory",
            "8G",
            "--era",
            "0.24",
        ])
        .unwrap();
        let [a, b] = config.models.as_slice() else {
            panic!("two models")
        };
        assert_eq!(
            (a.size, a.load, a.context, a.kind),
            (
                2_000_000_000,
                Duration::from_millis(500),
                2048,
                Kind::Embedding
            )
        );
        assert_eq!(
            (b.size, b.system.as_str(), b.parameters.len()),
            (a.size, "Be short.", 1)
        );
        assert_eq!(config.environment.keep_alive, ollama_sim::FOREVER);
        assert_eq!(
            (config.environment.load_timeout, config.memory),
            (None, Some(8_000_000_000))
        );
        assert_eq!(config.era, Era::V024);
    }

    #[test]
    fn bad_arguments_say_which_and_why() {
        for (arguments, parts) in [
            (
                ["--model", "bad name!"],
                ["--model `bad name!`", "is no model name"],
            ),
            (
                ["--model", "m,size=big"],
                ["--model `m,size=big`", "`big` is no size"],
            ),
            (
                ["--model", "m,color=red"],
                ["`color` is no key", "there are size"],
            ),
            (["--model", "m,base=n"], ["base `n`", "given before"]),
            (["--speed", "0"], ["--speed `0`", "above 0"]),
            (["--keep-alive", "soon"], ["--keep-alive `soon`", "24h"]),
            (["--memory", "8X"], ["--memory `8X`", "500M"]),
            (["--listen", "here"], ["--listen", "invalid socket address"]),
            (
                ["--script", "/nowhere/at/all"],
                ["--script /nowhere/at/all", "No such file"],
            ),
        ] {
            let error = config(&arguments).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{arguments:?}: {error}");
            }
        }
    }
}
