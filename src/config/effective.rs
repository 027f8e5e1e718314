//! The configuration in force, as it may be printed: every key with its value and its source, secrets masked, prompts
//! by their size.

use super::build::Parts;
use super::items::{MODEL_OWN, MODEL_SHARED, SERVER};
use super::keys::{Key, SECTIONS};
use super::models::{self, Model};
use super::node::{Entry, Node, Origin, Value};
use super::secret::MASK;
use super::walk::{Sources, join};
use super::warmup;
use crate::engine::spec::OptionValue;

/// Column at which the sources begin, where values are short.
const SOURCES_COLUMN: usize = 44;

/// The effective values, as a tree.
#[derive(Clone, Debug)]
pub(super) struct Effective {
    root: Node,
}

impl Effective {
    pub(super) fn new(parts: &Parts, sources: &Sources) -> Self {
        let mut root = Node::built_in(Value::Map(Vec::new()));
        let servers = parts.servers.iter().enumerate().map(|(index, server)| {
            let mut item = map(
                &server.draft,
                &[SERVER],
                &format!("servers[{index}]"),
                sources,
            );
            if let Some(headers) = item.get("headers").cloned() {
                item.put(&["headers"], masked(headers));
            }
            item
        });
        root.put(&["servers"], list(servers.collect()));
        let models = parts.models.iter().enumerate();
        let models = models.map(|(index, model)| shown(model, index, sources));
        root.put(&["models"], list(models.collect()));
        let defaults = map(&parts.defaults, &[MODEL_SHARED], "defaults", sources);
        root.put(&["defaults"], typed_options(without(defaults, "warmup")));
        for key in SECTIONS {
            let node = node(key, &parts.draft, key.name, sources);
            if node.value != Value::Null {
                let path: Vec<&str> = key.name.split('.').collect();
                root.put(&path, node);
            }
        }
        Self { root }
    }

    /// As YAML that can be read again, but for masked secrets and prompts; the sources are comments.
    pub(super) fn to_yaml(&self) -> String {
        let mut text = String::new();
        write_map(&mut text, self.root.as_map().unwrap_or_default(), 0);
        text
    }

    /// As JSON: `{"config": …, "sources": {key: source}}`.
    pub(super) fn to_json(&self) -> String {
        let mut sources = serde_json::Map::new();
        collect(&mut sources, "", &self.root);
        let all = serde_json::json!({"config": self.root.to_json(), "sources": sources});
        format!("{all:#}")
    }
}

fn shown(model: &Model, index: usize, sources: &Sources) -> Node {
    let mut draft = model.draft.clone();
    draft.model = model.spec.name.clone();
    draft.display_name = Some(model.spec.display_name.clone());
    draft.verify = Some(model.spec.verify);
    let mut item = map(
        &draft,
        &[MODEL_OWN, MODEL_SHARED],
        &format!("models[{index}]"),
        sources,
    );
    if let Some(warmup) = item.get("warmup") {
        let origin = warmup.origin.clone();
        let value = warmup::shown(model.spec.warmup_parallel, &model.spec.warmup);
        item.put(
            &["warmup"],
            Node {
                value,
                origin: origin.clone(),
            }
            .originating(&origin),
        );
    }
    typed_options(item)
}

fn map<D>(draft: &D, tables: &[&[Key<D>]], prefix: &str, sources: &Sources) -> Node {
    let mut map = Node::built_in(Value::Map(Vec::new()));
    for key in tables.iter().copied().flatten() {
        let node = node(key, draft, &join(prefix, key.name), sources);
        if node.value != Value::Null {
            map.put(&[key.name], node);
        }
    }
    map
}

fn node<D>(key: &Key<D>, draft: &D, full: &str, sources: &Sources) -> Node {
    // What a model does not say itself it has from `defaults`.
    let inherited = || {
        sources
            .get(&join("defaults", key.name))
            .filter(|_| full.starts_with("models["))
    };
    let origin = sources.get(full).or_else(inherited).cloned();
    Node {
        value: (key.show)(draft, &key.accepts),
        origin: origin.unwrap_or(Origin::BuiltIn),
    }
}

fn list(items: Vec<Node>) -> Node {
    Node::built_in(Value::List(items))
}

/// Options as they are sent: from a variable or a flag a number comes as text.
fn typed_options(mut item: Node) -> Node {
    let Value::Map(entries) = &mut item.value else {
        return item;
    };
    let options = entries.iter_mut().find(|entry| &*entry.key == "options");
    if let Some(Value::Map(options)) = options.map(|entry| &mut entry.node.value) {
        for option in options {
            if let Some(value) = models::option_value(&option.node) {
                option.node.value = match value {
                    OptionValue::Bool(yes) => Value::Bool(yes),
                    OptionValue::Int(number) => Value::Int(number),
                    OptionValue::Float(number) => Value::Float(number),
                    OptionValue::Text(text) => Value::Text(text),
                };
            }
        }
    }
    item
}

fn without(mut node: Node, key: &str) -> Node {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| &*entry.key != key);
    }
    node
}

/// Headers with masked values; the names of variables and files stay.
fn masked(mut headers: Node) -> Node {
    let Value::Map(entries) = &mut headers.value else {
        return headers;
    };
    for entry in entries {
        let named = entry.node.get("env").or_else(|| entry.node.get("file"));
        if named.is_none() {
            entry.node.value = Value::text(MASK);
        }
    }
    headers
}

fn collect(into: &mut serde_json::Map<String, serde_json::Value>, key: &str, node: &Node) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                collect(into, &join(key, &entry.key), &entry.node);
            }
        }
        Value::List(items) if items.iter().any(|item| item.as_map().is_some()) => {
            for (index, item) in items.iter().enumerate() {
                collect(into, &format!("{key}[{index}]"), item);
            }
        }
        Value::List(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_) => {
            into.insert(key.to_owned(), node.origin.to_string().into());
        }
    }
}

fn write_map(text: &mut String, entries: &[Entry], indent: usize) {
    for entry in entries {
        write_entry(text, entry, indent);
    }
}

fn write_entry(text: &mut String, entry: &Entry, indent: usize) {
    let line = format!("{:indent$}{}:", "", quoted(&entry.key));
    match &entry.node.value {
        Value::Map(entries) if !entries.is_empty() => {
            push(text, &line);
            write_map(text, entries, indent + 2);
        }
        Value::List(items) if items.iter().any(|item| item.as_map().is_some()) => {
            push(text, &line);
            for item in items {
                let mut block = String::new();
                write_map(&mut block, item.as_map().unwrap_or_default(), indent + 4);
                let marker = format!("{:indent$}  - ", "");
                // The first key of an item stands beside its dash.
                text.push_str(&block.replacen(&" ".repeat(indent + 4), &marker, 1));
            }
        }
        plain @ (Value::Map(_)
        | Value::List(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)) => {
            let line = format!("{line} {}", flow(plain));
            push(
                text,
                &format!("{line:<SOURCES_COLUMN$} # {}", entry.node.origin),
            );
        }
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| flow(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let pairs = entries.iter();
            let pairs: Vec<_> = pairs
                .map(|entry| format!("{}: {}", quoted(&entry.key), flow(&entry.node.value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// A text in quotes, unless it is plainly a text without.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = words.contains(&text.to_ascii_lowercase().as_str());
    let duration = super::duration::parse(text).is_some();
    if (duration || (starts && !is_word && !text.ends_with(':'))) && text.chars().all(plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
