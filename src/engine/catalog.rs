//! What one server has: which models are installed and which weights each of them runs. Residency is a question of
//! weights, not of names, because `/api/ps` shows only the name of whoever loaded a runner first.

use super::request::{Installed, ModelInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The weights that a runner holds: two models with equal weights share one runner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Weights {
    /// A blob and its adapters.
    Blob(Arc<str>, Vec<Arc<str>>),
    /// A model without a blob (safetensors): the manifest is the identity.
    Manifest(Arc<str>),
}

/// Installed models and what `show` told of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    /// By lower-case canonical name; `None` until `/api/tags` was answered.
    installed: Option<BTreeMap<String, Installed>>,
    /// By manifest digest. Kept when a model is replaced: its old runner may still be resident.
    infos: BTreeMap<Arc<str>, ModelInfo>,
    /// Digests for which `show` gave no answer that can be used; not asked again.
    unknowable: BTreeSet<Arc<str>>,
}

impl Catalog {
    /// Most digests remembered beside those that are installed now; a registry of nightly updated models must not grow
    /// the memory for ever.
    const OLD_DIGESTS_MAX: usize = 256;

    /// Takes over an answer of `/api/tags`.
    pub(super) fn set_installed(&mut self, models: Vec<Installed>) {
        let installed: BTreeMap<_, _> = models
            .into_iter()
            .map(|model| (model.name.to_ascii_lowercase(), model))
            .collect();
        if self.infos.len() + self.unknowable.len() > installed.len() + Self::OLD_DIGESTS_MAX {
            let current: BTreeSet<_> = installed
                .values()
                .map(|model| Arc::clone(&model.digest))
                .collect();
            self.infos.retain(|digest, _| current.contains(digest));
            self.unknowable.retain(|digest| current.contains(digest));
        }
        self.installed = Some(installed);
    }

    /// Forgets what is installed, because the server was away; what a digest means stays true.
    pub(super) fn forget_installed(&mut self) {
        self.installed = None;
    }

    /// Whether `/api/tags` was answered.
    pub(super) fn is_known(&self) -> bool {
        self.installed.is_some()
    }

    /// The installed model of that name, compared without case as Ollama does.
    pub(super) fn installed(&self, name: &str) -> Option<&Installed> {
        let installed = self.installed.as_ref()?;
        match installed.get(name) {
            Some(found) => Some(found),
            None => installed.get(&name.to_ascii_lowercase()),
        }
    }

    /// Takes over an answer of `/api/show`.
    pub(super) fn learn(&mut self, digest: Arc<str>, info: ModelInfo) {
        self.infos.insert(digest, info);
    }

    /// Remembers that nothing can be learned of this digest.
    pub(super) fn give_up_on(&mut self, digest: Arc<str>) {
        self.unknowable.insert(digest);
    }

    /// What is known of a digest.
    pub(super) fn info(&self, digest: &str) -> Option<&ModelInfo> {
        self.infos.get(digest)
    }

    /// Whether `show` must be asked before anything can be said of this digest. `name` is whose digest it was said to
    /// be: `show` answers for names, so a digest that its name no longer has can not be learned any more.
    pub(super) fn must_ask(&self, name: &str, digest: &str) -> bool {
        !self.infos.contains_key(digest)
            && !self.unknowable.contains(digest)
            && self
                .installed(name)
                .is_some_and(|found| &*found.digest == digest)
    }

    /// The weights behind a digest; a digest of which nothing is known stands for itself.
    pub(super) fn weights(&self, digest: &Arc<str>) -> Weights {
        match self.infos.get(digest) {
            Some(ModelInfo {
                blob: Some(blob),
                adapters,
                ..
            }) => Weights::Blob(Arc::clone(blob), adapters.clone()),
            Some(_) | None => Weights::Manifest(Arc::clone(digest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(name: &str, digest: &str) -> Installed {
        Installed {
            name: name.into(),
            digest: digest.into(),
            size: 1,
            remote: false,
        }
    }

    fn info(blob: &str) -> ModelInfo {
        ModelInfo {
            blob: Some(blob.into()),
            completion: true,
            ..ModelInfo::default()
        }
    }

    #[test]
    fn a_variant_on_the_same_blob_has_the_same_weights() {
        let mut catalog = Catalog::default();
        catalog.set_installed(vec![
            installed("smol-a:latest", "d1"),
            installed("smol-poet:latest", "d2"),
        ]);
        catalog.learn("d1".into(), info("sha256-1"));
        catalog.learn("d2".into(), info("sha256-1"));
        assert_eq!(catalog.weights(&"d1".into()), catalog.weights(&"d2".into()));
    }

    #[test]
    fn an_adapter_makes_other_weights() {
        let mut catalog = Catalog::default();
        catalog.learn("d1".into(), info("sha256-1"));
        catalog.learn(
            "d2".into(),
            ModelInfo {
                adapters: vec!["sha256-9".into()],
                ..info("sha256-1")
            },
        );
        assert_ne!(catalog.weights(&"d1".into()), catalog.weights(&"d2".into()));
    }

    #[test]
    fn names_are_compared_without_case() {
        let mut catalog = Catalog::default();
        catalog.set_installed(vec![installed("Org/Model:Q4", "d1")]);
        assert!(catalog.installed("org/model:q4").is_some());
        assert!(catalog.installed("Org/Model:Q4").is_some());
        assert!(catalog.installed("org/model:q8").is_none());
    }

    #[test]
    fn an_outdated_digest_is_never_asked_for_by_its_old_name() {
        let mut catalog = Catalog::default();
        catalog.set_installed(vec![installed("m:latest", "new")]);
        assert!(catalog.must_ask("m:latest", "new"));
        assert!(!catalog.must_ask("m:latest", "old"));
        catalog.give_up_on("new".into());
        assert!(!catalog.must_ask("m:latest", "new"));
    }

    #[test]
    fn old_digests_are_forgotten_at_the_limit() {
        let mut catalog = Catalog::default();
        for number in 0..400 {
            catalog.learn(format!("d{number}").into(), info("sha256-1"));
        }
        catalog.set_installed(vec![installed("m:latest", "d399")]);
        assert!(catalog.info("d399").is_some());
        assert!(catalog.info("d0").is_none());
    }
}
