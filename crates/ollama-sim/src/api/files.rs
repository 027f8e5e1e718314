//! What changes the store: uploads, create, copy, delete.

use super::answer::Answer;
use super::fields::Fields;
use super::progress::Progress;
use super::{BLOBS, bytes};
use crate::config::ModelSpec;
use crate::rules::{Body, Call, CallId, Rules};
use crate::store::name::Name;
use crate::store::{MODELS_MAX, sha256};
use serde_json::{Value, json};
use std::time::Duration;

/// How fast a create reads and rewrites a file.
const CREATE_BYTES_PER_MS: u64 = 180_000;

/// Hex digits of a digest.
const DIGEST: usize = 64;

impl Rules {
    /// `HEAD` and `POST /api/blobs/sha256:…`.
    pub(super) fn blob(&mut self, call: &Call) -> Answer {
        let given = call.path.trim_start_matches(BLOBS);
        let digest = given.trim_start_matches("sha256:");
        let hex = digest.len() == DIGEST && digest.chars().all(|c| c.is_ascii_hexdigit());
        if !hex || !given.starts_with("sha256:") {
            return Answer::error(400, "invalid digest format");
        }
        let there = self.store.blob(digest).is_some();
        if call.method == "HEAD" {
            return if there {
                Answer::empty(200)
            } else {
                Answer::json(404, &Value::Null)
            };
        }
        let (got, size, gguf) = match &call.body {
            Body::File { sha256, size, gguf } => (sha256.clone(), *size, *gguf),
            Body::Bytes(bytes) => (
                sha256(bytes),
                bytes.len() as u64,
                bytes.starts_with(b"GGUF"),
            ),
        };
        if there {
            return Answer::empty(200);
        }
        if got != digest.to_ascii_lowercase() {
            let text =
                format!("digest mismatch, expected \"sha256:{digest}\", got \"sha256:{got}\"");
            return Answer::error(400, text);
        }
        self.store.put_upload(&got, size, gguf);
        Answer::empty(201)
    }

    pub(super) fn copy(&mut self, call: &Call) -> Answer {
        let fields = match Fields::parse(bytes(call), "CopyRequest") {
            Ok(fields) => fields,
            Err(text) => return Answer::error(400, text),
        };
        let name = |field: &str| match fields.text(field) {
            Err(text) => Err(Answer::error(400, text)),
            Ok(text) => Name::parse(text)
                .map(|name| (name, text.to_owned()))
                .ok_or_else(|| Answer::error(400, format!("{field} {text:?} is invalid"))),
        };
        let ((source, written), (destination, _)) = match (name("source"), name("destination")) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(answer), _) | (_, Err(answer)) => return answer,
        };
        if self.store.len() >= MODELS_MAX {
            return too_many();
        }
        if self.store.copy(&source, destination, self.wall()) {
            Answer::empty(200)
        } else {
            Answer::error(404, format!("model {written:?} not found"))
        }
    }

    pub(super) fn delete(&mut self, call: &Call) -> Answer {
        let fields = match Fields::parse(bytes(call), "DeleteRequest") {
            Ok(fields) => fields,
            Err(text) => return Answer::error(400, text),
        };
        let written = match fields.model() {
            Ok(written) => written,
            Err(text) => return Answer::error(400, text),
        };
        match Name::parse(written) {
            None => Answer::error(400, format!("name {written:?} is invalid")),
            Some(name) if self.store.delete(&name) => Answer::empty(200),
            Some(_) => Answer::not_found(written),
        }
    }

    pub(super) fn create(&mut self, id: CallId, call: &Call) {
        match self.created(call) {
            Err(answer) => self.reply(id, answer),
            Ok(progress) => self.next_line(id, Box::new(progress)),
        }
    }

    fn created(&mut self, call: &Call) -> Result<Progress, Answer> {
        let bad = |text| Answer::error(400, text);
        let fields = Fields::parse(bytes(call), "CreateRequest").map_err(bad)?;
        let name = Name::parse(fields.model().map_err(bad)?).ok_or_else(Answer::invalid_name)?;
        let from = fields.text("from").map_err(bad)?;
        let files = fields.object("files").map_err(bad)?;
        if self.store.len() >= MODELS_MAX {
            return Err(too_many());
        }
        let mut lines = Vec::new();
        let mut spec = if from.is_empty() {
            let Some(digest) = files.values().next().and_then(Value::as_str) else {
                return Err(Answer::error_plain(
                    400,
                    "neither 'from' or 'files' was specified",
                ));
            };
            self.file_spec(digest.trim_start_matches("sha256:"), &mut lines)?
        } else {
            self.base_spec(from, &mut lines)?
        };
        spec.name = name.to_string();
        let parameters = fields.object("parameters").map_err(bad)?;
        if !from.is_empty() || !parameters.is_empty() || fields.get("system").is_some() {
            // Another manifest than the one whose digest may be known.
            spec.digest = String::new();
        }
        for (key, value) in parameters {
            spec.parameters.retain(|(known, _)| *known != key);
            spec.parameters.insert(0, (key, value));
        }
        if let Ok(system) = fields.text("system")
            && !system.is_empty()
        {
            system.clone_into(&mut spec.system);
        }
        if !from.is_empty() {
            let layer = sha256(format!("{:?} {}", spec.parameters, spec.system).as_bytes());
            lines.push(self.layer(&layer));
        }
        // A file is read as a whole, and rewritten.
        let work = if from.is_empty() {
            spec.size / CREATE_BYTES_PER_MS
        } else {
            0
        };
        let work = Duration::from_millis(work);
        let times = std::iter::once(work).chain(std::iter::repeat(Duration::ZERO));
        let last = ["writing manifest", "success"].map(|status| json!({ "status": status }));
        Ok(Progress {
            name,
            spec: Some(spec),
            lines: times.zip(lines.into_iter().chain(last)).collect(),
            stream: fields.flag("stream").map_err(bad)?.unwrap_or(true),
        })
    }

    /// The lines of a create from an upload. What is rewritten becomes another blob; what is known from the
    /// configuration has the properties given there.
    fn file_spec(&mut self, digest: &str, lines: &mut Vec<Value>) -> Result<ModelSpec, Answer> {
        let size = self.store.upload(digest);
        let size = match size {
            None => return Err(Answer::error_plain(400, "blob does not exist")),
            Some((_, false)) => {
                return Err(Answer::error_plain(
                    400,
                    "supplied file was not in GGUF format",
                ));
            }
            Some((size, true)) => size,
        };
        lines.push(json!({"status": "parsing GGUF"}));
        lines.push(json!({"status": "verifying conversion"}));
        let known = self
            .config
            .uploads
            .iter()
            .find(|upload| upload.from == digest)
            .cloned();
        let (to, mut spec) = match known {
            Some(upload) => (upload.to, upload.model),
            None => (digest.to_owned(), ModelSpec::new("").size(size)),
        };
        if to == digest {
            lines.push(using(&to));
        } else {
            self.store.put_blob(&to, spec.size);
            lines.push(creating(&to));
        }
        spec.blob = to;
        if !spec.parameters.is_empty() {
            lines.push(json!({"status": "using autodetected template chatml"}));
            let template = sha256(format!("{:?}", spec.parameters).as_bytes());
            lines.push(self.layer(&template));
        }
        Ok(spec)
    }

    fn base_spec(&mut self, from: &str, lines: &mut Vec<Value>) -> Result<ModelSpec, Answer> {
        let found = Name::parse(from).and_then(|name| self.store.find(&name).cloned());
        let Some(model) = found else {
            return Err(Answer::not_found(from));
        };
        lines.push(using(&model.blob));
        let template = sha256(format!("{:?}", model.spec.parameters).as_bytes());
        lines.push(using(&template));
        Ok(ModelSpec {
            blob: model.blob.clone(),
            parent: model.name.to_string(),
            ..(*model.spec).clone()
        })
    }

    fn layer(&mut self, digest: &str) -> Value {
        if self.store.add_layer(digest) {
            creating(digest)
        } else {
            using(digest)
        }
    }
}

fn creating(digest: &str) -> Value {
    json!({"status": format!("creating new layer sha256:{digest}")})
}

fn using(digest: &str) -> Value {
    json!({"status": format!("using existing layer sha256:{digest}")})
}

fn too_many() -> Answer {
    Answer::error(
        500,
        format!("the simulation holds at most {MODELS_MAX} models"),
    )
}
