//! A value as it was written, and where. Every format and every layer becomes a tree of these, so that a problem can
//! name its place, and so that texts keep their order: figment's own values know neither.

use std::fmt;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Built into the program.
    BuiltIn,
    /// A place in the configuration file, both counted from 1.
    File {
        /// The file as it was named.
        path: Arc<str>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// The configuration file as a whole.
    WholeFile(Arc<str>),
    /// An environment variable.
    Variable(Arc<str>),
    /// A command-line flag.
    Flag(Arc<str>),
}

impl Origin {
    /// Whether values are written as plain text there, so that a text can mean a number.
    pub(super) fn is_plain_text(&self) -> bool {
        matches!(self, Self::Variable(_) | Self::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::WholeFile(path) => f.write_str(path),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value of a configuration.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map, with the place of the key itself.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) at: Origin,
    pub(super) node: Node,
}

impl Value {
    /// A text.
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(text.as_ref().into())
    }
}

impl Node {
    /// A value that is built in.
    pub(super) fn built_in(value: Value) -> Self {
        Self {
            value,
            origin: Origin::BuiltIn,
        }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&Arc<str>> {
        if let Value::Text(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    /// The entries, if it is a map.
    pub(super) fn as_map(&self) -> Option<&[Entry]> {
        if let Value::Map(entries) = &self.value {
            Some(entries)
        } else {
            None
        }
    }

    /// The items, if it is a list.
    pub(super) fn as_list(&self) -> Option<&[Node]> {
        if let Value::List(items) = &self.value {
            Some(items)
        } else {
            None
        }
    }

    /// The value of a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entries = self.as_map()?;
        entries
            .iter()
            .find(|entry| &*entry.key == key)
            .map(|entry| &entry.node)
    }

    /// Puts a value at a path of keys; what stands in the way is replaced.
    pub(super) fn put(&mut self, path: &[&str], node: Node) {
        let [key, rest @ ..] = path else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        if let Some(entry) = entries.iter_mut().find(|entry| &*entry.key == *key) {
            entry.node.put(rest, node);
            return;
        }
        let origin = node.origin.clone();
        let mut fresh = Self {
            value: Value::Map(Vec::new()),
            origin: origin.clone(),
        };
        fresh.put(rest, node);
        entries.push(Entry {
            key: (*key).into(),
            at: origin,
            node: fresh,
        });
    }

    /// The same tree with another origin everywhere.
    pub(super) fn originating(mut self, origin: &Origin) -> Self {
        self.origin = origin.clone();
        self.value = match self.value {
            Value::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| item.originating(origin))
                    .collect(),
            ),
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|entry| Entry {
                        key: entry.key,
                        at: origin.clone(),
                        node: entry.node.originating(origin),
                    })
                    .collect(),
            ),
            plain @ (Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)) => plain,
        };
        self
    }

    /// As JSON, in the order in which it was written.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(yes) => (*yes).into(),
            Value::Int(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => Json::String(text.to_string()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.to_string(), entry.node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}
