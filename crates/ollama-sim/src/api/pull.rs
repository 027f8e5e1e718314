//! `/api/pull`: progress line by line, errors inside the stream.

use super::answer::{Answer, NDJSON};
use super::bytes;
use super::fields::Fields;
use crate::config::ModelSpec;
use crate::rules::{Call, CallId, Rules, Stage};
use crate::store::name::Name;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Between two lines of progress.
const STEP: Duration = Duration::from_millis(100);

/// Lines of progress per layer.
const PARTS: u64 = 10;

/// A pull that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    name: Name,
    spec: Option<ModelSpec>,
    lines: VecDeque<Value>,
    stream: bool,
}

impl Rules {
    pub(super) fn pull(&mut self, id: CallId, call: &Call) {
        let fields = match Fields::parse(bytes(call), "PullRequest") {
            Ok(fields) => fields,
            Err(text) => return self.reply(id, Answer::error(400, text)),
        };
        let name = fields.model().ok().and_then(Name::parse);
        let Some(name) = name else {
            return self.reply(id, Answer::invalid_name());
        };
        let key = name.key();
        let in_registry =
            |spec: &&ModelSpec| Name::parse(&spec.name).is_some_and(|name| name.key() == key);
        let spec = self.config.registry.iter().find(in_registry).cloned();
        let spec = spec.filter(|_| self.online);
        let mut lines = VecDeque::from([json!({"status": "pulling manifest"})]);
        match &spec {
            Some(spec) => lines.extend(progress(spec)),
            None if self.online => {
                lines.push_back(json!({"error": "pull model manifest: file does not exist"}));
            }
            None => {
                let url = name.manifest_url();
                let text = format!(
                    "pull model manifest: Get \"{url}\": dial tcp: lookup registry.ollama.ai: no such host"
                );
                lines.push_back(json!({"error": text}));
            }
        }
        let stream = fields.flag("stream").ok().flatten().unwrap_or(true);
        let pull = Pull {
            name,
            spec,
            lines,
            stream,
        };
        self.pull_next(id, Box::new(pull), Duration::ZERO);
    }

    fn pull_next(&mut self, id: CallId, pull: Box<Pull>, after: Duration) {
        let timer = self.pull_timer(id, after);
        if let Some(open) = self.calls.get_mut(&id) {
            open.stage = Stage::Pulling(pull, timer);
        }
    }

    /// The next line. The last one installs the model.
    pub(crate) fn pull_on(&mut self, id: CallId) {
        let Some(open) = self.calls.get_mut(&id) else {
            return;
        };
        let stage = std::mem::replace(&mut open.stage, Stage::Waiting);
        let Stage::Pulling(mut pull, _) = stage else {
            return;
        };
        let Some(line) = pull.lines.pop_front() else {
            return;
        };
        let last = pull.lines.is_empty();
        if let (true, Some(spec)) = (last, pull.spec.take()) {
            let blob = self.store.put(pull.name.clone(), spec, self.wall());
            self.store.harm(&blob, crate::store::Blob::Whole);
        }
        if pull.stream {
            self.send(id, NDJSON, Bytes::from(format!("{line}\n")));
        }
        match (last, pull.stream) {
            (true, true) => self.end(id),
            (true, false) => {
                let failed = line.get("error").is_some();
                self.reply(id, Answer::json(if failed { 500 } else { 200 }, &line));
            }
            (false, _) => self.pull_next(id, pull, STEP),
        }
    }
}

fn progress(spec: &ModelSpec) -> Vec<Value> {
    let digest = spec.blob_digest();
    let short: String = digest.chars().take(12).collect();
    let (status, digest) = (format!("pulling {short}"), format!("sha256:{digest}"));
    let line = |part: u64| {
        let mut line = json!({"status": status, "digest": digest, "total": spec.size});
        if let (1.., Some(map)) = (part, line.as_object_mut()) {
            map.insert("completed".into(), (spec.size / PARTS * part).into());
        }
        line
    };
    let mut lines: Vec<Value> = (0..PARTS).map(line).collect();
    lines.push(
        json!({"status": status, "digest": digest, "total": spec.size, "completed": spec.size}),
    );
    for status in ["verifying sha256 digest", "writing manifest", "success"] {
        lines.push(json!({"status": status}));
    }
    lines
}
