//! What is installed and what is loaded: `/api/version`, `/api/tags`, `/api/ps`, `/api/show`.

use super::answer::Answer;
use super::bytes;
use super::fields::Fields;
use crate::clock::UnixNanos;
use crate::config::Kind;
use crate::rules::{Call, CallId, Rules, Runner, RunnerId};
use crate::store::name::{NameError, Reference, reference};
use crate::store::{Blob, Model};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The template of every simulated model.
const TEMPLATE: &str = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n";

/// Where cloud models run.
const REMOTE: &str = "https://ollama.com:443";

/// RFC 3339 in UTC, with the digits of a second that it has.
pub(super) fn date(nanos: UnixNanos) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    date.and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

impl Rules {
    pub(super) fn version(&self) -> Answer {
        let version = self
            .config
            .version
            .as_deref()
            .unwrap_or(self.config.era.version());
        Answer::json(200, &json!({"version": version}))
    }

    /// The newest first.
    pub(super) fn by_age(&self) -> Vec<&Model> {
        let mut all: Vec<&Model> = self.store.models().collect();
        all.sort_by_key(|model| std::cmp::Reverse(model.modified));
        all
    }

    pub(super) fn tags(&mut self) -> Answer {
        let all: Vec<Model> = self.by_age().into_iter().cloned().collect();
        let mut models = Vec::new();
        for model in all {
            let mut entry = json!({
                "name": model.name.to_string(),
                "model": model.name.to_string(),
                "modified_at": date(model.modified),
                "size": model.size,
                "digest": model.digest,
                "details": details(&model, true),
            });
            let readable = self.store.knows_capabilities(&model);
            if let Some(map) = entry.as_object_mut() {
                if model.spec.kind == Kind::Cloud {
                    add_remote(map, &model);
                }
                if readable {
                    map.insert("capabilities".into(), model.capabilities().into());
                }
            }
            models.push(entry);
        }
        Answer::json(200, &json!({"models": models}))
    }

    /// The answer of `/api/ps`; what lives longest first.
    pub(crate) fn listed(&mut self, id: CallId, runners: &[RunnerId]) {
        let now = self.wall();
        let mut rows: Vec<(UnixNanos, Value)> = runners
            .iter()
            .filter_map(|id| self.runners.get(id))
            .filter(|runner| self.is_listed(runner))
            .map(|runner| {
                let expires = runner
                    .expires
                    .unwrap_or(now + UnixNanos::from(runner.session));
                (expires, ps_entry(runner, expires))
            })
            .collect();
        // By whole seconds; what lives equally long is in the order of loading (by chance on the real server).
        rows.sort_by_key(|(expires, _)| std::cmp::Reverse(expires / 1_000_000_000));
        let models: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
        self.reply(id, Answer::json(200, &json!({"models": models})));
    }

    pub(super) fn show(&mut self, call: &Call) -> Answer {
        let fields = match Fields::parse(bytes(call), "ShowRequest") {
            Ok(fields) => fields,
            Err(text) => return Answer::error(400, text),
        };
        let wanted = match fields.model() {
            Ok(wanted) => wanted,
            Err(text) => return Answer::error(400, text),
        };
        let name = match reference(wanted) {
            Ok(Reference::Local(name)) => name,
            // A stub of a cloud model is an installed model all the same.
            Ok(Reference::Cloud) => match crate::store::name::Name::parse(wanted) {
                Some(name) => name,
                None => return Answer::invalid_name(),
            },
            Err(NameError::Empty) => return Answer::error(400, "model is required"),
            Err(_) => return Answer::invalid_name(),
        };
        let found = self.store.find(&name).cloned();
        let there =
            |model: &Model| !matches!(self.store.blob(&model.blob), None | Some(Blob::Missing(_)));
        match found.filter(there) {
            Some(model) => Answer::json(200, &shown(&model)),
            None => Answer::not_found(&name.to_string()),
        }
    }
}

fn ps_entry(runner: &Runner, expires: UnixNanos) -> Value {
    let mut details = details(&runner.model, false);
    if let Some(map) = details.as_object_mut() {
        // Unlike `/api/tags`, this never tells the base of a variant.
        map.insert("parent_model".into(), "".into());
    }
    json!({
        "name": runner.model.name.to_string(),
        "model": runner.model.name.to_string(),
        "size": runner.size,
        "digest": runner.model.digest,
        "details": details,
        "expires_at": date(expires),
        "size_vram": runner.vram,
        "context_length": runner.options.num_ctx,
    })
}

fn shown(model: &Model) -> Value {
    let mut map = Map::new();
    map.insert("modelfile".into(), modelfile(model).into());
    map.insert("parameters".into(), parameters(model).into());
    map.insert("template".into(), TEMPLATE.into());
    if !model.spec.system.is_empty() {
        map.insert("system".into(), model.spec.system.clone().into());
    }
    map.insert("details".into(), details(model, false));
    if model.spec.kind == Kind::Cloud {
        add_remote(&mut map, model);
    }
    map.insert("model_info".into(), Value::Object(info(model)));
    map.insert(
        "tensors".into(),
        json!([{"name": "output_norm.weight", "type": "F32", "shape": [576]}]),
    );
    map.insert("capabilities".into(), model.capabilities().into());
    map.insert("modified_at".into(), date(model.modified).into());
    Value::Object(map)
}

fn add_remote(map: &mut Map<String, Value>, model: &Model) {
    map.insert("remote_model".into(), model.name.to_string().into());
    map.insert("remote_host".into(), REMOTE.into());
}

fn details(model: &Model, lengths: bool) -> Value {
    let spec = &model.spec;
    let mut details = json!({
        "parent_model": spec.parent,
        "format": "gguf",
        "family": spec.family,
        "families": [spec.family],
        "parameter_size": spec.parameter_size,
        "quantization_level": spec.quantization,
    });
    if let (true, Some(map)) = (lengths, details.as_object_mut()) {
        map.insert("context_length".into(), spec.context.into());
        map.insert("embedding_length".into(), spec.embedding_length.into());
    }
    details
}

fn info(model: &Model) -> Map<String, Value> {
    let family = &model.spec.family;
    let mut map = Map::new();
    map.insert("general.architecture".into(), family.clone().into());
    map.insert(
        "general.size_label".into(),
        model.spec.parameter_size.clone().into(),
    );
    map.insert("general.type".into(), "model".into());
    map.insert(
        format!("{family}.context_length"),
        model.spec.context.into(),
    );
    map.insert(
        format!("{family}.embedding_length"),
        model.spec.embedding_length.into(),
    );
    if model.spec.kind == Kind::Embedding {
        map.insert(format!("{family}.pooling_type"), 1.into());
    }
    map
}

/// `%-30s %#v`, as Go writes it; lists have a line per value.
fn parameters(model: &Model) -> String {
    let lines = values(model).map(|(name, value)| format!("{name:<30} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Each parameter; of a list each value.
fn values(model: &Model) -> impl Iterator<Item = (&str, &Value)> {
    model.spec.parameters.iter().flat_map(|(name, value)| {
        let all = match value.as_array() {
            Some(list) => list.as_slice(),
            None => std::slice::from_ref(value),
        };
        all.iter().map(|one| (name.as_str(), one))
    })
}

fn modelfile(model: &Model) -> String {
    let head = format!(
        "# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on this, replace FROM with:\n\
         # FROM {}\n\nFROM /models/blobs/sha256-{}\nTEMPLATE \"{TEMPLATE}\"",
        model.name, model.blob
    );
    let mut lines = vec![head];
    let adapters = model.spec.adapters.iter();
    lines.extend(adapters.map(|digest| format!("ADAPTER /models/blobs/sha256-{digest}")));
    if !model.spec.system.is_empty() {
        lines.push(format!("SYSTEM {}", model.spec.system));
    }
    lines.extend(values(model).map(|(name, value)| match value.as_str() {
        Some(text) => format!("PARAMETER {name} {text}"),
        None => format!("PARAMETER {name} {value}"),
    }));
    lines.push(String::new());
    lines.join("\n")
}
