//! Rules between values of different keys.

use super::build::{Build, Parts};
use super::duration::show;
use super::node::{Node, Value};
use super::problem::{Problem, counted};
use crate::engine::spec::ReadinessPolicy;
use std::time::Duration;

impl Build<'_> {
    /// Compares what belongs together.
    pub(super) fn compare(&mut self, parts: &Parts) {
        self.compare_times(parts);
        self.compare_retries(parts);
        self.compare_readiness(parts);
        self.compare_with_ollama(parts);
    }

    fn compare_times(&mut self, parts: &Parts) {
        let timing = &parts.draft.timing;
        if timing.poll_timeout > timing.poll_interval {
            let rule = format!(
                "must not be longer than `poll.interval`, {}",
                show(timing.poll_interval)
            );
            self.too(
                &["poll.timeout", "poll.interval"],
                timing.poll_timeout,
                &rule,
            );
        }
        if timing.load_deadline < timing.preload_timeout {
            let rule = format!(
                "must not be shorter than `preload.timeout`, {}",
                show(timing.preload_timeout)
            );
            self.too(
                &["preload.loadDeadline", "preload.timeout"],
                timing.load_deadline,
                &rule,
            );
        }
        let least = timing.poll_interval * 2 + timing.slow_after;
        if timing.stale_after < least {
            let rule = format!(
                "must be at least 2 × `poll.interval` + `health.slowAfter`, {}, or a poll that is merely slow makes models `unknown`",
                show(least)
            );
            let keys = ["health.staleAfter", "poll.interval", "health.slowAfter"];
            self.too(&keys, timing.stale_after, &rule);
        }
    }

    /// A value that does not fit others. When it is built in, the problem is where the others were set.
    fn too(&mut self, keys: &[&str], value: Duration, rule: &str) {
        let Some(key) = keys.first() else { return };
        let node = Node::built_in(Value::text(show(value)));
        let set = keys.iter().find(|key| !self.is_built_in(key));
        let origin = self.origin_of(set.unwrap_or(key));
        let problem = Problem::new(*key, rule).with(&node).from(&origin);
        self.report.error(match set {
            Some(other) if other != key => {
                problem.hint(format!("set `{key}` too, or change `{other}`"))
            }
            _ => problem,
        });
    }

    fn is_built_in(&self, key: &str) -> bool {
        self.origin_of(key) == super::node::Origin::BuiltIn
    }

    fn compare_retries(&mut self, parts: &Parts) {
        let cap = parts.draft.timing.max_retry_delay;
        for (index, model) in parts.models.iter().enumerate() {
            let delay = model.spec.retry_delay;
            if delay <= cap || model.spec.max_retries == 0 {
                continue;
            }
            let own = format!("models[{index}].retryDelayMs");
            let key = if self.sources.contains_key(&own) {
                own
            } else {
                "defaults.retryDelayMs".to_owned()
            };
            let rule = format!(
                "is longer than `preload.maxRetryDelay`, {}, which is used instead",
                show(cap)
            );
            let node = Node::built_in(Value::text(show(delay)));
            let problem = Problem::new(&key, rule)
                .with(&node)
                .from(&self.origin_of(&key));
            self.report
                .warn(problem.hint("raise `preload.maxRetryDelay`"));
        }
    }

    fn compare_readiness(&mut self, parts: &Parts) {
        let required = parts
            .models
            .iter()
            .filter(|model| model.spec.required)
            .count();
        let key = "readiness.policy";
        let origin = self.origin_of(key);
        match parts.draft.readiness.policy {
            ReadinessPolicy::Quorum(quorum) if quorum > required && !parts.models.is_empty() => {
                let rule = format!(
                    "asks for {} of {}",
                    quorum,
                    counted(required, "required model")
                );
                self.report.error(Problem::new(key, rule).from(&origin));
            }
            ReadinessPolicy::All | ReadinessPolicy::Any
                if required == 0 && !parts.models.is_empty() =>
            {
                let rule = "holds from the start, because no model is required";
                let hint = "make a model required, or say it with `readiness.policy: none`";
                self.report
                    .warn(Problem::new(key, rule).from(&origin).hint(hint));
            }
            ReadinessPolicy::All
            | ReadinessPolicy::Any
            | ReadinessPolicy::Quorum(_)
            | ReadinessPolicy::None => {}
        }
    }

    /// A sidecar often gets the environment of its Ollama.
    fn compare_with_ollama(&mut self, parts: &Parts) {
        let name = "OLLAMA_MAX_LOADED_MODELS";
        let most = self
            .variable(name)
            .and_then(|text| text.trim().parse::<usize>().ok());
        let Some(most) = most.filter(|most| *most > 0) else {
            return;
        };
        for server in &parts.servers {
            let here = |servers: &Option<Vec<std::sync::Arc<str>>>| {
                servers
                    .as_ref()
                    .is_none_or(|names| names.contains(&server.spec.name))
            };
            let wanted = parts
                .models
                .iter()
                .filter(|model| here(&model.spec.servers))
                .count();
            if wanted > most {
                let rule = format!(
                    "declares {} for server `{}`, which keeps {most} loaded",
                    counted(wanted, "model"),
                    server.spec.name
                );
                let origin = super::node::Origin::Variable(name.into());
                let problem = Problem::new("models", rule).from(&origin);
                self.report
                    .warn(problem.hint(format!("raise {name} of Ollama, or declare fewer models")));
            }
        }
    }
}
