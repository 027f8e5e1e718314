//! The configuration: built-in values, a file, the environment and flags become [`Settings`].
//!
//! `node` is a value with its place; `format` reads the file and `outside` the rest into trees of them; `layers` merges
//! the trees; `keys` is the table of all keys; `walk` and `build` read the merged tree along the table, `rules` compares
//! values with each other; all problems are collected in a [`Report`]; `effective` prints what is in force.

mod build;
mod duration;
mod effective;
mod field;
mod file;
mod format;
mod items;
mod keys;
mod layers;
mod models;
mod names;
mod nearest;
mod node;
mod outside;
mod overlay;
mod problem;
mod reference;
mod rules;
mod secret;
mod servers;
mod settings;
mod walk;
mod warmup;

pub use node::Origin;
pub use outside::Given;
pub use problem::{Problem, Report};
pub use reference::reference;
pub use secret::Secret;
pub use settings::{Connection, HttpSettings, LogFormat, LogSettings, Settings};

use build::Build;
use effective::Effective;
use items::{MODEL_SHARED, ModelDraft};
use keys::{Draft, SECTIONS};
use layers::Layer;
use node::{Node, Value};
use std::fmt;
use std::path::PathBuf;

/// Where a configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment: names and values.
    pub env: Vec<(String, String)>,
    /// Values of flags with names of their own.
    pub flags: Vec<Given>,
    /// `KEY=VALUE` of `--set`; they win over all others.
    pub set: Vec<String>,
}

/// Names only: the values may hold secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("env", &variables)
            .field("flags", &self.flags)
            .field("set", &self.set.len())
            .finish()
    }
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program uses.
    pub settings: Settings,
    /// What is doubtful.
    pub warnings: Vec<Problem>,
    effective: Effective,
}

impl Loaded {
    /// Every key in force as YAML, with its source as a comment; secrets are masked, prompts shown by their size.
    pub fn to_yaml(&self) -> String {
        self.effective.to_yaml()
    }

    /// The same as JSON: `{"config": …, "sources": {key: source}}`.
    pub fn to_json(&self) -> String {
        self.effective.to_json()
    }
}

/// Reads and checks a configuration; the error is everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Loaded, Report> {
    let (report, built) = build(sources);
    match built {
        Some((settings, effective)) => Ok(Loaded {
            settings,
            warnings: report.warnings,
            effective,
        }),
        None => Err(report),
    }
}

/// Everything that is wrong with a configuration, or doubtful.
pub fn check(sources: &Sources) -> Report {
    build(sources).0
}

fn build(sources: &Sources) -> (Report, Option<(Settings, Effective)>) {
    let mut report = Report::default();
    let mut layers = vec![Layer {
        name: "built in",
        root: built_in(&sources.env),
    }];
    if let Some(path) = &sources.file {
        match file::load(path) {
            Ok(root) => layers.extend(from_file(root, &mut report)),
            Err(problem) => report.error(*problem),
        }
    }
    let given = outside::environment(&sources.env, &mut report);
    let root = outside::layer(&given, &layers::merge(&layers), &mut report);
    layers.push(Layer {
        name: "environment",
        root,
    });
    let mut given = sources.flags.clone();
    given.extend(outside::set(&sources.set, &mut report));
    let root = outside::layer(&given, &layers::merge(&layers), &mut report);
    layers.push(Layer {
        name: "flags",
        root,
    });
    let tree = layers::merge(&layers);
    Build::new(report, &sources.env, sources.file.as_deref()).run(&tree)
}

fn from_file(root: Node, report: &mut Report) -> Option<Layer> {
    match root.value {
        Value::Map(_) => Some(Layer { name: "file", root }),
        // An empty file says nothing.
        Value::Null => None,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
            let rule = "the configuration file must be a map of keys and values";
            report.error(Problem::new("", rule).from(&root.origin));
            None
        }
    }
}

/// The lowest layer. Ollama's own variable for its slots is the default of ours.
fn built_in(environment: &[(String, String)]) -> Node {
    let mut root = Node::built_in(Value::Map(Vec::new()));
    let draft = Draft::default();
    for key in SECTIONS {
        let value = (key.show)(&draft, &key.accepts);
        if value != Value::Null {
            let path: Vec<&str> = key.name.split('.').collect();
            root.put(&path, Node::built_in(value));
        }
    }
    let defaults = ModelDraft::default();
    for key in MODEL_SHARED {
        let value = (key.show)(&defaults, &key.accepts);
        if value != Value::Null {
            root.put(&["defaults", key.name], Node::built_in(value));
        }
    }
    let slots = environment
        .iter()
        .find(|(name, _)| name == "OLLAMA_NUM_PARALLEL");
    let number = slots.and_then(|(_, value)| value.trim().parse::<i64>().ok());
    // 0 lets an old Ollama choose; one is then always right.
    if let Some(number) = number.filter(|number| (1..=64).contains(number)) {
        let origin = Origin::Variable("OLLAMA_NUM_PARALLEL".into());
        root.put(
            &["warmup", "parallel"],
            Node {
                value: Value::Int(number),
                origin,
            },
        );
    }
    root.put(&["servers"], default_servers());
    root.put(&["models"], default_models());
    root
}

fn default_servers() -> Node {
    let mut server = Node::built_in(Value::Map(Vec::new()));
    server.put(
        &["url"],
        Node::built_in(Value::text("http://localhost:11434")),
    );
    Node::built_in(Value::List(vec![server]))
}

fn default_models() -> Node {
    let models = [
        ("qwen2.5-coder:3b", "Qwen 2.5 Coder 3B", 2000),
        ("tinyllama:latest", "TinyLlama 1.1B", 1000),
    ];
    let models = models.map(|(model, display_name, retry_delay_ms)| {
        let mut item = Node::built_in(Value::Map(Vec::new()));
        item.put(&["model"], Node::built_in(Value::text(model)));
        item.put(&["displayName"], Node::built_in(Value::text(display_name)));
        item.put(&["maxRetries"], Node::built_in(Value::Int(3)));
        item.put(
            &["retryDelayMs"],
            Node::built_in(Value::Int(retry_delay_ms)),
        );
        item
    });
    Node::built_in(Value::List(models.to_vec()))
}

#[cfg(test)]
mod tests;
