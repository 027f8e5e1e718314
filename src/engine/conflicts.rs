//! Declared names that cannot be resident together: Ollama has one runner per weights blob, so two names on one blob with
//! other runner options or other adapters take it from each other for ever.

use super::catalog::Weights;
use super::instance::Phase;
use super::spec::{OptionValue, Options};
use super::time::Mono;
use super::{Engine, Failure, FailureKind, InstanceId, ServerId};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Engine {
    /// Finds, for each model of a server, an earlier one whose runner it would take. The earlier one in the order of
    /// loading is kept; the other one is not loaded, and says why.
    pub(super) fn find_conflicts(&mut self, now: Mono, server: ServerId) {
        let ids = self.on(server);
        for (place, id) in ids.iter().copied().enumerate() {
            let earlier = ids.iter().take(place).copied();
            let conflict = earlier
                .filter(|other| self.instances[*other].conflict.is_none())
                .find_map(|other| self.conflict(id, other));
            self.set_conflict(now, id, conflict);
        }
    }

    fn set_conflict(&mut self, now: Mono, id: InstanceId, conflict: Option<Arc<str>>) {
        let instance = &mut self.instances[id];
        let before = std::mem::replace(&mut instance.conflict, conflict.clone());
        if before == conflict || instance.phase == Phase::Excluded {
            return;
        }
        let Some(said) = conflict else {
            if matches!(instance.phase, Phase::Failed(_)) {
                instance.phase = Phase::Waiting;
                instance.touch();
            }
            return;
        };
        let name = Arc::clone(&self.models[instance.model].name);
        let failure = Failure::new(FailureKind::InvalidRequest, &said);
        if matches!(
            self.instances[id].phase,
            Phase::Waiting | Phase::Retrying(_)
        ) {
            self.fail_attempt(now, id, &failure);
        } else {
            self.note_error(now, id, &failure);
        }
        self.advise(Some(&name), said);
    }

    /// Why two models cannot be resident together.
    fn conflict(&self, id: InstanceId, other: InstanceId) -> Option<Arc<str>> {
        let (ours, adapters) = blob(self.instances[id].weights.as_ref()?)?;
        let (same, theirs) = blob(self.instances[other].weights.as_ref()?)?;
        if ours != same {
            return None;
        }
        let name = |id: InstanceId| &self.models[self.instances[id].model].name;
        let what = if adapters == theirs {
            difference(&self.loaded_with(id), &self.loaded_with(other))?
        } else {
            "other adapters".to_owned()
        };
        let said = format!(
            "{} runs on the same weights as {} with {what}; Ollama has one runner for them, so each would take it from \
             the other: give both the same options, or declare one of them",
            name(id),
            name(other),
        );
        Some(said.into())
    }

    /// The options of a model's load, those of its Modelfile that we know included.
    fn loaded_with(&self, id: InstanceId) -> Options {
        let instance = &self.instances[id];
        let mut options = Options::clone(&self.models[instance.model].options);
        let catalog = &self.servers[instance.server].catalog;
        let info = instance
            .digest
            .as_ref()
            .and_then(|digest| catalog.info(digest));
        let context = info.and_then(|info| i64::try_from(info.num_ctx?).ok());
        if let Some(context) = context {
            let entry = options.entry("num_ctx".into());
            entry.or_insert(OptionValue::Int(context));
        }
        options
    }
}

fn blob(weights: &Weights) -> Option<(&Arc<str>, &[Arc<str>])> {
    match weights {
        Weights::Blob(blob, adapters) => Some((blob, adapters)),
        Weights::Manifest(_) => None,
    }
}

/// The first options in which two loads differ, as words; `None` where they are alike.
fn difference(ours: &Options, theirs: &Options) -> Option<String> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name));
    let said: Vec<_> = differing
        .map(|name| {
            format!(
                "{name} {} instead of {}",
                shown(ours.get(name)),
                shown(theirs.get(name))
            )
        })
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn shown(value: Option<&OptionValue>) -> String {
    match value {
        None => "by default".to_owned(),
        Some(OptionValue::Bool(value)) => value.to_string(),
        Some(OptionValue::Int(value)) => value.to_string(),
        Some(OptionValue::Float(value)) => value.to_string(),
        Some(OptionValue::Text(value)) => value.to_string(),
    }
}
