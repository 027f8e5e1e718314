//! The two layers that come as plain text: the environment and the flags.

use super::field::Accepts;
use super::format::{self, Format};
use super::nearest::nearest;
use super::node::{Node, Origin, Value};
use super::overlay;
use super::problem::{Problem, Report};
use super::walk::all_keys;
use std::fmt;
use std::sync::Arc;

/// Begins the name of a variable that sets any key. The second underscore keeps away the variables that Kubernetes
/// makes for a Service called `model-preloader`.
const PREFIX: &str = "MODEL_PRELOADER__";

/// Keys that are maps with keys of their own.
const FREE_MAPS: [&str; 2] = ["defaults.options", "readiness.policy"];

/// The way out for whoever wants to change one item of a list.
const WHOLE_LIST: &str =
    "a list is given as a whole, as JSON, such as `[{\"model\": \"tinyllama\"}]`";

/// Variables with names of their own, and their keys; those further down win.
pub(super) const NAMED_VARIABLES: [(&str, &str); 5] = [
    ("RUST_LOG", "log.filter"),
    ("OLLAMA_URL", "servers"),
    ("MODEL_PRELOAD_TIMEOUT", "preload.timeout"),
    ("HEALTH_CHECK_INTERVAL", "health.interval"),
    ("MODELS_TO_PRELOAD", "models"),
];

/// A key, its value as text, and where it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    key: String,
    value: String,
    origin: Origin,
}

/// Without the value, which may hold a secret.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.key, self.origin)
    }
}

impl Given {
    /// A value of a flag.
    pub fn flag(flag: &str, key: &str, value: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: value.into(),
            origin: Origin::Flag(flag.into()),
        }
    }
}

/// What the environment says, the later ones to win; variables that nobody knows are problems.
pub(super) fn environment(environment: &[(String, String)], report: &mut Report) -> Vec<Given> {
    let mut given = Vec::new();
    for (variable, key) in NAMED_VARIABLES {
        // An empty RUST_LOG says nothing to any program; it is not ours to refuse.
        let says = |value: &str| variable != "RUST_LOG" || !value.trim().is_empty();
        let mut found = environment.iter();
        let found = found.find(|(name, value)| name == variable && says(value));
        given.extend(found.map(|(name, value)| from_variable(name, key, value)));
    }
    let mut prefixed: Vec<_> = environment
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)))
        .collect();
    prefixed.sort();
    for (name, rest, value) in prefixed {
        let key = key_of(rest);
        if is_settable(&key) {
            given.push(from_variable(name, &key, value));
        } else {
            report.error(unknown_variable(name));
        }
    }
    given
}

fn from_variable(name: &str, key: &str, value: &str) -> Given {
    Given {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: Origin::Variable(name.into()),
    }
}

/// The layer of these values. `below` is all that they lie upon.
pub(super) fn layer(given: &[Given], below: &Node, report: &mut Report) -> Node {
    let mut root = Node::built_in(Value::Map(Vec::new()));
    for one in given {
        let path: Vec<&str> = one.key.split('.').collect();
        let lower = match path.as_slice() {
            [top] => root.get(top).or_else(|| below.get(top)),
            _ => None,
        };
        match node(one, lower) {
            Ok(node) => {
                if let Some(lower) = lower {
                    warn_of_replaced(one, &node, lower, report);
                }
                root.put(&path, node);
            }
            Err(problem) => report.error(*problem),
        }
    }
    root
}

fn node(one: &Given, below: Option<&Node>) -> Result<Node, Box<Problem>> {
    let text = one.value.trim();
    if text.is_empty() {
        let problem = Problem::new(&one.key, "is set and empty").from(&one.origin);
        let hint = "unset it to have the value of the file or the default";
        return Err(Box::new(problem.hint(hint)));
    }
    if is_json(text) && !is_plain(&one.key) {
        let path: Arc<str> = "".into();
        return match format::parse(Format::Json, text, &path) {
            Ok(node) => Ok(node.originating(&one.origin)),
            Err(error) => {
                let column = error.place.map_or(1, |(_, column)| column);
                let rule = format!("{} (at character {column})", error.message);
                Err(Box::new(Problem::new(&one.key, rule).from(&one.origin)))
            }
        };
    }
    Ok(match one.key.as_str() {
        "servers" => overlay::servers(text, &one.origin, below),
        "models" => overlay::models(text, &one.origin, below),
        "defaults.servers" => overlay::list(text, &one.origin),
        _ => Node {
            value: Value::text(text),
            origin: one.origin.clone(),
        },
    })
}

/// Another number of addresses than the file has servers: their tokens and names are gone.
fn warn_of_replaced(one: &Given, node: &Node, lower: &Node, report: &mut Report) {
    let (new, old) = (node.as_list(), lower.as_list());
    let (Some(new), Some(old)) = (new, old) else {
        return;
    };
    let by_short_form = one.key == "servers" && !is_json(one.value.trim());
    if by_short_form && new.len() != old.len() && lower.origin != Origin::BuiltIn {
        let rule = format!(
            "replaces the {} of {}, with their names, tokens and headers",
            super::problem::counted(old.len(), "server"),
            lower.origin
        );
        let hint = "give as many addresses as there are servers to keep the rest of each";
        report.warn(Problem::new("servers", rule).from(&one.origin).hint(hint));
    }
}

/// Values of `--set KEY=VALUE`.
pub(super) fn set(pairs: &[String], report: &mut Report) -> Vec<Given> {
    let mut given = Vec::new();
    for pair in pairs {
        let origin = Origin::Flag("--set".into());
        let Some((key, value)) = pair.split_once('=') else {
            let problem = Problem::new("", "`--set` must be given KEY=VALUE").from(&origin);
            report.error(problem.hint("write it like `--set preload.concurrency=1`"));
            continue;
        };
        if key.contains('[') {
            let problem = Problem::new(key.trim(), "is an item of a list").from(&origin);
            report.error(problem.hint(WHOLE_LIST));
            continue;
        }
        given.push(Given {
            key: key.trim().to_owned(),
            value: value.to_owned(),
            origin: Origin::Flag(format!("--set {}", key.trim()).into()),
        });
    }
    given
}

/// `PRELOAD__MAX_RETRY_DELAY` is `preload.maxRetryDelay`. Names below `options` are Ollama's, in snake case.
fn key_of(rest: &str) -> String {
    let mut key = String::new();
    for segment in rest.split("__") {
        if !key.is_empty() {
            key.push('.');
        }
        if key == "defaults.options." {
            key.push_str(&segment.to_ascii_lowercase());
        } else {
            key.push_str(&camel(segment));
        }
    }
    key
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_').map(str::to_ascii_lowercase);
    let mut camel = words.next().unwrap_or_default();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    let mut name = PREFIX.to_owned();
    for (index, segment) in key.split('.').enumerate() {
        if index > 0 {
            name.push_str("__");
        }
        for letter in segment.chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
    }
    name
}

/// The keys that a variable or a flag can set: lists are given as a whole.
pub(super) fn settable_keys() -> Vec<String> {
    let keys = all_keys().into_iter().map(|(key, _)| key);
    let plain = keys.filter(|key| !key.contains("[]"));
    plain
        .chain(["models".to_owned(), "servers".to_owned()])
        .collect()
}

/// Whether a value is a map or a list of maps or texts. `[::1]:11434` is an address.
fn is_json(text: &str) -> bool {
    let inner = text.strip_prefix('[').map(str::trim_start);
    text.starts_with('{') || inner.is_some_and(|inner| inner.starts_with(['{', '"', ']']))
}

/// Whether the value of a key is always a plain text, even one that begins like JSON.
fn is_plain(key: &str) -> bool {
    all_keys().into_iter().any(|(known, accepts)| {
        known == key && !matches!(accepts, Accepts::Own(_) | Accepts::Policy)
    })
}

/// A key, a whole section, or something inside a key that is a map.
fn is_settable(key: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    settable_keys().iter().any(|known| inside(key, known))
        || FREE_MAPS.iter().any(|map| inside(map, key))
}

fn unknown_variable(name: &str) -> Problem {
    let known: Vec<_> = settable_keys().iter().map(|key| variable_of(key)).collect();
    let problem = Problem::new(name, "is no known variable").from(&Origin::Variable(name.into()));
    let upper = name.to_ascii_uppercase();
    let lists = ["MODEL_PRELOADER__MODELS__", "MODEL_PRELOADER__SERVERS__"];
    if lists.iter().any(|list| upper.starts_with(list)) {
        return problem.hint(WHOLE_LIST);
    }
    // The prefix is common to all and would make strangers alike.
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let known = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
    match nearest(rest, known) {
        Some(near) => problem.hint(format!("did you mean `{PREFIX}{near}`?")),
        None => problem.hint("every key is named in docs/CONFIGURATION.md"),
    }
}
