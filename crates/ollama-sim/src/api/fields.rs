//! JSON bodies with Go's error texts.

use serde_json::error::Category;
use serde_json::{Map, Value};

/// An object of which Go would fill the struct `go`.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    go: &'static str,
}

impl Fields {
    /// Reads an object; `Err` is Go's text.
    pub(crate) fn parse(bytes: &[u8], go: &'static str) -> Result<Self, String> {
        if bytes.trim_ascii().is_empty() {
            return Err("missing request body".into());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { map, go }),
            Ok(Value::Null) => Ok(Self {
                map: Map::new(),
                go,
            }),
            Ok(other) => Err(format!(
                "json: cannot unmarshal {} into Go value of type api.{go}",
                kind(&other)
            )),
            Err(error) if error.classify() == Category::Eof => Err("unexpected EOF".into()),
            Err(error) => Err(syntax(bytes, &error)),
        }
    }

    fn wrong(&self, field: &str, value: &Value, wanted: &str) -> String {
        format!(
            "json: cannot unmarshal {} into Go struct field {}.{field} of type {wanted}",
            kind(value),
            self.go
        )
    }

    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Empty if it is absent.
    pub(crate) fn text(&self, field: &str) -> Result<&str, String> {
        match self.get(field) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(field, other, "string")),
        }
    }

    pub(crate) fn flag(&self, field: &str) -> Result<Option<bool>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(field, other, "bool")),
        }
    }

    pub(crate) fn object(&self, field: &str) -> Result<Map<String, Value>, String> {
        match self.get(field) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(other) => Err(self.wrong(field, other, "map[string]interface {}")),
        }
    }

    pub(crate) fn list(&self, field: &str, of: &str) -> Result<&[Value], String> {
        match self.get(field) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(field, other, of)),
        }
    }

    /// Ollama takes `name` as well as `model` in some places.
    pub(crate) fn model(&self) -> Result<&str, String> {
        let model = self.text("model")?;
        if model.is_empty() {
            self.text("name")
        } else {
            Ok(model)
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn syntax(bytes: &[u8], error: &serde_json::Error) -> String {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let line = lines
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let byte = line
        .get(error.column().saturating_sub(1))
        .copied()
        .unwrap_or(b' ');
    format!(
        "invalid character {:?} looking for beginning of value",
        char::from(byte)
    )
}
