//! The model store: names, manifests and blobs, as `$OLLAMA_MODELS` holds them.

pub(crate) mod name;

use crate::clock::UnixNanos;
use crate::config::{Kind, ModelSpec};
use name::Name;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// What a manifest weighs beside its weights: template, parameters, licence.
const LAYERS_SIZE: u64 = 385;

/// Most installed models: a client that creates without end is told so instead of filling the memory.
pub(crate) const MODELS_MAX: usize = 10_000;

/// SHA-256 as lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// An installed model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: Name,
    pub(crate) digest: String,
    pub(crate) spec: Arc<ModelSpec>,
    pub(crate) blob: String,
    pub(crate) size: u64,
    pub(crate) modified: UnixNanos,
}

impl Model {
    pub(crate) fn parameter(&self, name: &str) -> Option<&Value> {
        let mut all = self.spec.parameters.iter();
        all.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// As `/api/show` and `/api/tags` tell them.
    pub(crate) fn capabilities(&self) -> Vec<String> {
        let first = match self.spec.kind {
            Kind::Completion | Kind::Cloud => "completion",
            Kind::Embedding => "embedding",
        };
        let mut all = vec![first.to_owned()];
        all.extend(self.spec.capabilities.iter().cloned());
        all
    }
}

/// The state of a weights' file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blob {
    Whole(u64),
    Missing(u64),
    /// Bytes that should be there; half of them are.
    Cut(u64),
}

/// All models of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    models: BTreeMap<String, Model>,
    blobs: BTreeMap<String, Blob>,
    /// Manifest digest → whether its capabilities could be read when they were first asked for. Kept until a restart.
    capabilities: BTreeMap<String, bool>,
    /// Digests of layers that a create wrote, so that the next one finds them.
    layers: BTreeSet<String>,
    /// Digest → size of uploaded files, and whether they are GGUF files.
    uploads: BTreeMap<String, (u64, bool)>,
}

impl Store {
    pub(crate) fn put(&mut self, name: Name, spec: ModelSpec, modified: UnixNanos) -> String {
        let blob = spec.blob_digest();
        let digest = if spec.digest.is_empty() {
            let parts = format!(
                "{blob} {:?} {} {:?}",
                spec.parameters, spec.system, spec.adapters
            );
            sha256(parts.as_bytes())
        } else {
            spec.digest.clone()
        };
        let weights = if spec.kind == Kind::Cloud {
            0
        } else {
            spec.size
        };
        self.blobs
            .entry(blob.clone())
            .or_insert(Blob::Whole(weights));
        let parameters: usize = spec.parameters.iter().map(|(key, _)| key.len() + 8).sum();
        let model = Model {
            digest,
            size: weights + LAYERS_SIZE + parameters as u64,
            blob,
            modified,
            spec: Arc::new(spec),
            name,
        };
        let key = model.name.key();
        let blob = model.blob.clone();
        self.models.insert(key, model);
        blob
    }

    pub(crate) fn len(&self) -> usize {
        self.models.len()
    }

    pub(crate) fn find(&self, name: &Name) -> Option<&Model> {
        self.models.get(&name.key())
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }

    pub(crate) fn copy(&mut self, from: &Name, to: Name, modified: UnixNanos) -> bool {
        let Some(model) = self.find(from).cloned() else {
            return false;
        };
        let copy = Model {
            name: to,
            modified,
            ..model
        };
        self.models.insert(copy.name.key(), copy);
        true
    }

    /// Removes a model, and its weights if no other one needs them. A runner keeps what it has in memory.
    pub(crate) fn delete(&mut self, name: &Name) -> bool {
        let Some(model) = self.models.remove(&name.key()) else {
            return false;
        };
        if !self.models.values().any(|other| other.blob == model.blob) {
            self.blobs.remove(&model.blob);
        }
        true
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Blob> {
        self.blobs.get(digest).copied()
    }

    pub(crate) fn put_upload(&mut self, digest: &str, size: u64, gguf: bool) {
        self.put_blob(digest, size);
        self.uploads.insert(digest.into(), (size, gguf));
    }

    /// Size of an uploaded file, and whether it is a GGUF file. A file that came otherwise is one.
    pub(crate) fn upload(&self, digest: &str) -> Option<(u64, bool)> {
        let known = self.uploads.get(digest).copied();
        known.or_else(|| match self.blob(digest)? {
            Blob::Whole(size) => Some((size, true)),
            Blob::Missing(_) | Blob::Cut(_) => None,
        })
    }

    pub(crate) fn put_blob(&mut self, digest: &str, size: u64) {
        self.blobs.insert(digest.into(), Blob::Whole(size));
    }

    pub(crate) fn harm(&mut self, digest: &str, harm: fn(u64) -> Blob) {
        if let Some(blob) = self.blobs.get_mut(digest) {
            let (Blob::Whole(size) | Blob::Missing(size) | Blob::Cut(size)) = *blob;
            *blob = harm(size);
        }
    }

    /// Whether the capabilities of a model are readable; Ollama remembers the first answer.
    pub(crate) fn knows_capabilities(&mut self, model: &Model) -> bool {
        let there = !matches!(self.blob(&model.blob), None | Some(Blob::Missing(_)));
        *self
            .capabilities
            .entry(model.digest.clone())
            .or_insert(there)
    }

    pub(crate) fn forget_capabilities(&mut self) {
        self.capabilities.clear();
    }

    /// Whether the layer is new.
    pub(crate) fn add_layer(&mut self, digest: &str) -> bool {
        self.layers.insert(digest.into())
    }

    /// Changes the properties of weights, in all models that use them.
    pub(crate) fn change(&mut self, blob: &str, change: impl Fn(ModelSpec) -> ModelSpec) {
        for model in self.models.values_mut().filter(|model| model.blob == blob) {
            model.spec = Arc::new(change((*model.spec).clone()));
        }
    }
}
