//! What is wrong with a configuration: which key, where, which value, which rule, and the way out. Secrets and prompts
//! never get into one.

use super::node::{Node, Origin, Value};
use super::secret::MASK;
use std::fmt;

/// Longest value shown.
const SHOWN_MAX: usize = 60;

/// Most problems shown; a file with more is not the file that was meant.
const PROBLEMS_MAX: usize = 50;

/// One thing that is wrong, or doubtful.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The key, such as `models[1].retryDelayMs`; empty when it is about the whole.
    pub key: String,
    /// Where the value comes from.
    pub source: Option<Origin>,
    /// The value, cut, without secrets.
    pub value: Option<String>,
    /// What must hold.
    pub rule: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with a key and its rule.
    pub(super) fn new(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            source: None,
            value: None,
            rule: rule.into(),
            hint: None,
        }
    }

    /// The same with the value and its source.
    pub(super) fn with(mut self, node: &Node) -> Self {
        self.source = Some(node.origin.clone());
        self.value = shown(&self.key, &node.value);
        self
    }

    /// The same with a source.
    pub(super) fn from(mut self, origin: &Origin) -> Self {
        self.source = Some(origin.clone());
        self
    }

    /// The same with a way out.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn paragraph(&self, severity: &str) -> String {
        let mut text = match self.key.as_str() {
            "" => format!("{severity}: {}\n", self.rule),
            key => format!("{severity}: {key}: {}\n", self.rule),
        };
        let source = self.source.as_ref().map(ToString::to_string);
        let value = self.value.as_ref().map(|value| format!("`{value}`"));
        let lines = [
            ("at", source),
            ("value", value),
            ("hint", self.hint.clone()),
        ];
        for (word, line) in lines {
            if let Some(line) = line {
                text.extend(["  ", word, ": ", &line, "\n"]);
            }
        }
        text
    }

    fn to_json(&self) -> serde_json::Value {
        let mut fields = serde_json::Map::new();
        fields.insert("key".to_owned(), self.key.clone().into());
        let source = self.source.as_ref().map(ToString::to_string);
        let optional = [("source", source), ("value", self.value.clone())];
        for (name, value) in optional {
            fields.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        fields.insert("rule".to_owned(), self.rule.clone().into());
        let hint = self.hint.clone();
        fields.extend(hint.map(|hint| ("hint".to_owned(), hint.into())));
        fields.into()
    }
}

/// On one line, for a log.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.rule)?;
        if let Some(value) = &self.value {
            write!(f, ", got `{value}`")?;
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Everything that was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What forbids to start.
    pub errors: Vec<Problem>,
    /// What is doubtful.
    pub warnings: Vec<Problem>,
}

impl Report {
    /// What is wrong under `defaults` is found once for each model and told once.
    pub(super) fn error(&mut self, problem: Problem) {
        if !self.errors.contains(&problem) {
            self.errors.push(problem);
        }
    }

    pub(super) fn warn(&mut self, problem: Problem) {
        if !self.warnings.contains(&problem) {
            self.warnings.push(problem);
        }
    }

    /// In the order of the sources: the file from top to bottom, then variables, then flags.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by(|a, b| a.source.cmp(&b.source));
        self.warnings.sort_by(|a, b| a.source.cmp(&b.source));
    }

    /// As JSON: `{"valid", "errors": [{key, source, value, rule, hint}], "warnings": […]}`.
    pub fn to_json(&self) -> String {
        let list = |problems: &[Problem]| -> serde_json::Value {
            problems.iter().map(Problem::to_json).collect()
        };
        let report = serde_json::json!({
            "valid": self.errors.is_empty(),
            "errors": list(&self.errors),
            "warnings": list(&self.warnings),
        });
        format!("{report:#}")
    }
}

/// For people: one paragraph for each problem, then the count.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (severity, problems) in [("error", &self.errors), ("warning", &self.warnings)] {
            for problem in problems.iter().take(PROBLEMS_MAX) {
                writeln!(f, "{}", problem.paragraph(severity))?;
            }
            if problems.len() > PROBLEMS_MAX {
                let more = problems.len() - PROBLEMS_MAX;
                writeln!(f, "{severity}: {more} more not shown\n")?;
            }
        }
        match (self.errors.len(), self.warnings.len()) {
            (0, 0) => f.write_str("the configuration is valid"),
            (0, warnings) => write!(
                f,
                "the configuration is valid, with {}",
                counted(warnings, "warning")
            ),
            (errors, 0) => write!(f, "the configuration has {}", counted(errors, "error")),
            (errors, warnings) => write!(
                f,
                "the configuration has {} and {}",
                counted(errors, "error"),
                counted(warnings, "warning")
            ),
        }
    }
}

impl std::error::Error for Report {}

/// A number with its noun.
pub(super) fn counted(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// A value as it may be shown, or nothing where only its absence would tell less.
fn shown(key: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) if is_prompt(key) => return Some(sized(text)),
        Value::Text(text) if is_secret(key, text) => return Some(MASK.to_owned()),
        Value::Text(text) => without_credentials(text),
        Value::List(items) => return Some(format!("[{}]", counted(items.len(), "item"))),
        Value::Map(entries) => return Some(format!("{{{}}}", counted(entries.len(), "key"))),
    };
    Some(cut(&text))
}

/// What stands for a text that is not shown.
pub(super) fn sized(text: &str) -> String {
    format!("({} bytes)", text.len())
}

fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(SHOWN_MAX + 1).collect();
    if short.chars().count() > SHOWN_MAX {
        short.pop();
        short.push('…');
    }
    short
}

/// Whether the value of a key could be a prompt: everything in the warm-up of a model but these.
fn is_prompt(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let named = ["file", "systemFile", "name", "parallel"];
    let of_model = key.starts_with("models[") || key.starts_with("defaults.");
    of_model && key.contains(".warmup") && !named.contains(&last)
}

/// Whether a value could be a secret: values of headers, and a token where the name of its variable or file belongs.
fn is_secret(key: &str, text: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let is_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match last {
        "tokenEnv" | "env" => !text.chars().all(is_variable),
        "tokenFile" => !text.contains(['/', '.']),
        "file" if key.contains(".headers") => !text.contains(['/', '.']),
        _ => key.contains(".headers"),
    }
}

/// An address without the credentials that people write into addresses, before the host or behind a `?`.
pub(super) fn without_credentials(text: &str) -> String {
    let (text, query) = match text.split_once('?') {
        Some((address, _)) if text.contains("://") => (address, "?***"),
        _ => (text, ""),
    };
    let shown = match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, host)) => match before.split_once("//") {
            Some((scheme, _)) => format!("{scheme}//{MASK}@{host}"),
            None if before.contains(':') => format!("{MASK}@{host}"),
            None => text.to_owned(),
        },
    };
    shown + query
}
