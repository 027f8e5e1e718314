//! Progress line by line: `/api/pull` and `/api/create`, errors inside the stream.

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

/// A pull or a create that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(super) name: Name,
    /// What is installed with the last line.
    pub(super) spec: Option<ModelSpec>,
    /// The lines, and how long each takes.
    pub(super) lines: VecDeque<(Duration, Value)>,
    pub(super) stream: bool,
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
        let mut lines = VecDeque::from([(Duration::ZERO, json!({"status": "pulling manifest"}))]);
        if let Some(spec) = &spec {
            lines.extend(progress(spec).into_iter().map(|line| (STEP, line)));
        } else {
            let text = if self.online {
                "pull model manifest: file does not exist".to_owned()
            } else {
                let url = name.manifest_url();
                format!(
                    "pull model manifest: Get \"{url}\": dial tcp: lookup registry.ollama.ai: no such host"
                )
            };
            lines.push_back((Duration::ZERO, json!({ "error": text })));
        }
        let stream = fields.flag("stream").ok().flatten().unwrap_or(true);
        let progress = Progress {
            name,
            spec,
            lines,
            stream,
        };
        self.next_line(id, Box::new(progress));
    }

    pub(super) fn next_line(&mut self, id: CallId, progress: Box<Progress>) {
        let after = progress
            .lines
            .front()
            .map_or(Duration::ZERO, |(after, _)| *after);
        let timer = self.line_timer(id, after);
        if let Some(open) = self.calls.get_mut(&id) {
            open.stage = Stage::Progress(progress, timer);
        }
    }

    /// The next line. The last one installs the model.
    pub(crate) fn line(&mut self, id: CallId) {
        let Some(open) = self.calls.get_mut(&id) else {
            return;
        };
        let stage = std::mem::replace(&mut open.stage, Stage::Waiting);
        let Stage::Progress(mut progress, _) = stage else {
            return;
        };
        let Some((_, line)) = progress.lines.pop_front() else {
            return;
        };
        let last = progress.lines.is_empty();
        if last && let Some(spec) = progress.spec.take() {
            let blob = self.store.put(progress.name.clone(), spec, self.wall());
            self.store.harm(&blob, crate::store::Blob::Whole);
        }
        if progress.stream {
            self.send(id, NDJSON, Bytes::from(format!("{line}\n")));
        }
        match (last, progress.stream) {
            (true, true) => self.end(id),
            (true, false) => {
                let failed = line.get("error").is_some();
                self.reply(id, Answer::json(if failed { 500 } else { 200 }, &line));
            }
            (false, _) => self.next_line(id, progress),
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
