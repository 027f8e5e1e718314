//! The models: names, options, servers, and what they inherit from `defaults`.

use super::build::Build;
use super::items::{MODEL_OWN, MODEL_SHARED, MODELS_MAX, ModelDraft};
use super::names::canonical;
use super::nearest::nearest;
use super::node::{Node, Value};
use super::problem::{Problem, counted};
use super::servers::Server;
use super::walk::Table;
use crate::engine::spec::{Conversation, ModelSpec, OptionValue, Options, Verify};
use std::sync::Arc;

/// Most options of a model; Ollama knows half as many.
pub(super) const OPTIONS_MAX: usize = 64;

/// The options that Ollama knows. It ignores all others in silence, so they deserve a word.
const KNOWN_OPTIONS: [&str; 34] = [
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "use_mlock",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "embedding_only",
    "num_keep",
    "num_predict",
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "tfs_z",
    "typical_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
    "stop",
    "draft_num_predict",
    "shift",
    "truncate",
];

/// A model, checked as far as it goes.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) draft: ModelDraft,
    pub(super) spec: ModelSpec,
}

impl Build<'_> {
    /// All models. What is wrong with them is reported.
    pub(super) fn models(
        &mut self,
        list: &Node,
        defaults: &ModelDraft,
        servers: &[Server],
    ) -> Vec<Model> {
        let Some(items) = self.items("models", list, MODELS_MAX) else {
            return Vec::new();
        };
        let mut models: Vec<Model> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let key = format!("models[{index}]");
            let item = &named(item);
            let model = self.model(&key, item, defaults.clone(), servers);
            let same = |other: &Model| other.spec.name.eq_ignore_ascii_case(&model.spec.name);
            if let Some(first) = models.iter().position(same)
                && !model.spec.name.is_empty()
            {
                let name = models.get(first).map_or("", |model| &*model.spec.name);
                let rule = format!("is the same model as models[{first}], `{name}`");
                let node = item.get("model");
                let problem = Problem::new(format!("{key}.model"), rule);
                let problem = problem.with(node.unwrap_or(item));
                self.report.error(problem.hint("remove one of the two"));
            }
            models.push(model);
        }
        models
    }

    fn model(
        &mut self,
        key: &str,
        item: &Node,
        mut draft: ModelDraft,
        servers: &[Server],
    ) -> Model {
        let tables = [MODEL_OWN, MODEL_SHARED];
        self.walk()
            .take(&mut draft, &Table::new(&tables), item, key);
        let name = self.model_name(key, item, &draft);
        let options = self.options(&given_at(key, item, "options"), draft.options.as_ref());
        let (parallel, warmup) = self.warmup(&given_at(key, item, "warmup"), draft.warmup.as_ref());
        let verify = draft.verify.unwrap_or(if warmup.is_empty() {
            Verify::Token
        } else {
            Verify::Prompt
        });
        self.check_verify(key, item, verify, &warmup);
        let chosen = self.chosen_servers(&given_at(key, item, "servers"), &draft, servers);
        let available = chosen.as_ref().map_or(servers.len(), Vec::len);
        if draft.min_servers > available && available > 0 {
            let rule = format!(
                "must not be more than the {} it is on",
                counted(available, "server")
            );
            let key = given_at(key, item, "minServers");
            let node = Node::built_in(Value::Int(draft.min_servers.try_into().unwrap_or(i64::MAX)));
            let problem = Problem::new(&key, rule)
                .with(&node)
                .from(&self.origin_of(&key));
            self.report.error(problem);
        }
        let spec = ModelSpec {
            display_name: draft
                .display_name
                .clone()
                .unwrap_or_else(|| Arc::clone(&name)),
            name,
            required: draft.required,
            priority: draft.priority,
            max_retries: draft.max_retries,
            retry_delay: draft.retry_delay,
            verify,
            warmup,
            warmup_parallel: parallel,
            options: Arc::new(options),
            pull: draft.pull,
            drift: draft.drift,
            servers: chosen,
            min_servers: draft.min_servers,
        };
        Model { draft, spec }
    }

    fn model_name(&mut self, key: &str, item: &Node, draft: &ModelDraft) -> Arc<str> {
        let key = format!("{key}.model");
        let Some(node) = item.get("model") else {
            if item.as_map().is_some() {
                let problem = Problem::new(key, "is missing").from(&item.origin);
                self.report.error(
                    problem.hint("such as `tinyllama:latest`; `ollama list` shows the names"),
                );
            }
            return "".into();
        };
        match canonical(draft.model.trim()) {
            Ok(name) => name.into(),
            // Of an unusable value the walk has told already.
            Err(_) if draft.model.is_empty() => "".into(),
            Err(rule) => {
                let problem = Problem::new(key, rule).with(node);
                self.report.error(
                    problem.hint("write it as `ollama list` does, such as `qwen2.5-coder:3b`"),
                );
                "".into()
            }
        }
    }

    fn check_verify(&mut self, key: &str, item: &Node, verify: Verify, warmup: &[Conversation]) {
        let key = given_at(key, item, "verify");
        let origin = self.origin_of(&key);
        match verify {
            Verify::Prompt if warmup.is_empty() => {
                let problem = Problem::new(key, "is `prompt`, but there is no conversation");
                let hint = "give it a `warmup`, or set `verify: token`";
                self.report.error(problem.from(&origin).hint(hint));
            }
            Verify::Load | Verify::Token if !warmup.is_empty() => {
                let rule = "leaves the conversations of `warmup` unused";
                let hint = "set `verify: prompt`, or leave it out";
                self.report
                    .warn(Problem::new(key, rule).from(&origin).hint(hint));
            }
            Verify::Load | Verify::Token | Verify::Prompt => {}
        }
    }

    fn options(&mut self, key: &str, node: Option<&Node>) -> Options {
        let mut options = Options::new();
        let Some(node) = node else { return options };
        let Some(entries) = node.as_map() else {
            self.wrong(key, Some(node), "must be a map of Ollama's runner options");
            return options;
        };
        if entries.len() > OPTIONS_MAX {
            let rule = format!("must not have more than {OPTIONS_MAX} options");
            self.wrong(key, Some(node), &rule);
        }
        for entry in entries {
            let key = format!("{key}.{}", entry.key);
            if let Some(value) = option_value(&entry.node) {
                options.insert(Arc::clone(&entry.key), value);
            } else {
                let rule = "must be a number, a text, `true` or `false`";
                self.wrong(&key, Some(&entry.node), rule);
            }
            if !KNOWN_OPTIONS.contains(&&*entry.key) {
                let problem = Problem::new(&key, "is no option that Ollama is known to have");
                let problem = problem.from(&entry.at);
                let near = nearest(&entry.key, KNOWN_OPTIONS.into_iter());
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                self.report.warn(match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem.hint("Ollama ignores unknown options in silence"),
                });
            }
        }
        options
    }

    fn chosen_servers(
        &mut self,
        key: &str,
        draft: &ModelDraft,
        servers: &[Server],
    ) -> Option<Vec<Arc<str>>> {
        let node = draft.servers.as_ref()?;
        let texts: Option<Vec<_>> = node
            .as_list()
            .and_then(|items| items.iter().map(|item| item.as_text().cloned()).collect());
        let Some(names) = texts.filter(|names| !names.is_empty()) else {
            self.wrong(key, Some(node), "must be a list of server names");
            return None;
        };
        let known = || servers.iter().map(|server| &*server.spec.name);
        for (index, name) in names.iter().enumerate() {
            let key = format!("{key}[{index}]");
            let item = node.as_list().and_then(|items| items.get(index));
            if !known().any(|known| known == &**name) {
                let problem = Problem::new(&key, "must be the name of a server");
                let problem = problem.with(item.unwrap_or(node));
                let hint = match nearest(name, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known: {}", known().collect::<Vec<_>>().join(", ")),
                };
                self.report.error(problem.hint(hint));
            } else if names.iter().take(index).any(|earlier| earlier == name) {
                self.wrong(&key, item, "is listed twice");
            }
        }
        Some(names)
    }
}

/// Where a value of a model was given: at the model, or under `defaults`.
fn given_at(key: &str, item: &Node, name: &str) -> String {
    if item.get(name).is_some() {
        format!("{key}.{name}")
    } else {
        format!("defaults.{name}")
    }
}

/// A bare text in the list of models is a name.
fn named(item: &Node) -> Node {
    let mut node = item.clone();
    if let Value::Text(_) = item.value {
        node.value = Value::Map(Vec::new());
        node.put(&["model"], item.clone());
    }
    node
}

/// The value of an option, if it can be one.
pub(super) fn option_value(node: &Node) -> Option<OptionValue> {
    match &node.value {
        Value::Bool(yes) => Some(OptionValue::Bool(*yes)),
        Value::Int(number) => Some(OptionValue::Int(*number)),
        Value::Float(number) if number.is_finite() => Some(OptionValue::Float(*number)),
        // From a variable or a flag a number comes as text, and no option of Ollama is a text of digits.
        Value::Text(text) if node.origin.is_plain_text() => Some(match text.parse::<i64>() {
            Ok(number) => OptionValue::Int(number),
            Err(_) => match (text.parse::<f64>(), &**text) {
                (Ok(number), _) if number.is_finite() => OptionValue::Float(number),
                (_, "true") => OptionValue::Bool(true),
                (_, "false") => OptionValue::Bool(false),
                _ => OptionValue::Text(Arc::clone(text)),
            },
        }),
        Value::Text(text) => Some(OptionValue::Text(Arc::clone(text))),
        Value::Null | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
    }
}
