//! Answers of requests that needed a runner: loads, unloads, text, embeddings.

use super::answer::{Answer, NDJSON, SSE};
use super::models::date;
use super::request::{Job, Style, Work};
use super::{bytes, openai};
use crate::rules::{CallId, Rules, Run, Stage, Waiter};
use crate::store::Model;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The words of every answer: nobody shall take it for a model's.
const WORDS: [&str; 12] = [
    "This",
    " text",
    " is",
    " simulated",
    " by",
    " ollama-sim",
    ";",
    " no",
    " model",
    " wrote",
    " it",
    ".",
];

/// Numbers of an embedding.
const EMBEDDING: usize = 16;

pub(super) fn words(range: Range<u32>) -> String {
    range
        .filter_map(|at| WORDS.get(at as usize % WORDS.len()))
        .copied()
        .collect()
}

impl Rules {
    /// Passes a request to the scheduler: to the loaded runner, else into the queue.
    pub(super) fn schedule(&mut self, id: CallId, job: Job) {
        let key = job.model.blob.clone();
        let Some(open) = self.calls.get_mut(&id) else {
            return;
        };
        open.job = Some(Arc::new(job));
        match self.loaded.get(&key).copied() {
            Some(runner) => self.want_lock(runner, Waiter::Front(id)),
            None => self.enqueue(id),
        }
    }

    /// An unload: the runner is marked to go when it is idle. Nothing waits for that.
    pub(super) fn unload(&mut self, id: CallId, model: &Model) {
        match self.loaded.get(&model.blob).copied() {
            Some(runner) => self.want_lock(runner, Waiter::Unload(id)),
            None => self.unload_answered(id),
        }
    }

    pub(crate) fn unload_answered(&mut self, id: CallId) {
        let Some(open) = self.calls.get(&id) else {
            return;
        };
        let body: Value = serde_json::from_slice(bytes(&open.call)).unwrap_or_default();
        let echo = body
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let chat = open.call.path == "/api/chat";
        let answer = self.bare(echo, chat, "unload");
        self.reply(id, Answer::json(200, &Value::Object(answer)));
    }

    /// A native answer without any text.
    fn bare(&self, echo: &str, chat: bool, reason: &str) -> Map<String, Value> {
        let mut map = self.head(echo);
        add_text(&mut map, chat, "");
        map.insert("done".into(), true.into());
        map.insert("done_reason".into(), reason.into());
        map
    }

    fn head(&self, echo: &str) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("model".into(), echo.into());
        map.insert("created_at".into(), date(self.wall()).into());
        map
    }

    /// The request only wanted its model loaded, and it is.
    pub(crate) fn empty_answered(&mut self, id: CallId, job: &Job) {
        let answer = match job.style {
            Style::Generate => Value::Object(self.bare(&job.echo, false, "load")),
            Style::Chat => Value::Object(self.bare(&job.echo, true, "load")),
            Style::Embed => json!({"model": job.echo, "embeddings": []}),
            Style::Embeddings => json!({"embedding": []}),
            Style::OpenAiText | Style::OpenAiChat | Style::OpenAiEmbed => {
                let answer = openai::whole(self.wall(), job, "load", &openai::Tokens::default());
                self.reply(id, Answer::json_plain(200, &answer));
                return;
            }
        };
        self.reply(id, Answer::json(200, &answer));
    }

    /// Tokens of a stream.
    pub(crate) fn speak(&mut self, id: CallId, job: &Job, range: Range<u32>) {
        let text = words(range);
        if job.style.openai() {
            let chunk = openai::chunk(self.wall(), job, &text, None);
            self.send(id, SSE, Bytes::from(format!("data: {chunk}\n\n")));
            return;
        }
        let mut map = self.head(&job.echo);
        add_text(&mut map, job.style == Style::Chat, &text);
        map.insert("done".into(), false.into());
        self.send(id, NDJSON, Bytes::from(format!("{}\n", Value::Object(map))));
    }

    /// The end of a computation.
    pub(crate) fn answered(&mut self, id: CallId, job: &Job, run: &Run) {
        if job.style.embeds() {
            self.embedded(id, job, run);
            return;
        }
        let reason = if run.cut { "length" } else { "stop" };
        if job.style.openai() {
            let tokens = openai::Tokens {
                prompt: run.prompt,
                answer: run.done,
            };
            self.openai_answered(id, job, reason, &tokens);
            return;
        }
        let text = if job.stream {
            String::new()
        } else {
            words(0..run.done)
        };
        let mut map = self.bare(&job.echo, job.style == Style::Chat, reason);
        if !text.is_empty() {
            add_text(&mut map, job.style == Style::Chat, &text);
        }
        if job.style == Style::Generate {
            let context: Vec<u32> = (1..=u32::try_from(run.prompt)
                .unwrap_or(u32::MAX)
                .saturating_add(run.done))
                .collect();
            map.insert("context".into(), context.into());
        }
        let Some(open) = self.calls.get(&id) else {
            return;
        };
        let times = [
            ("total_duration", nanos(self.now.saturating_sub(open.begun))),
            (
                "load_duration",
                nanos(open.got_runner.saturating_sub(open.begun)),
            ),
            ("prompt_eval_count", run.prompt as u64),
            ("prompt_eval_duration", nanos(run.prompt_time)),
            ("eval_count", u64::from(run.done)),
            (
                "eval_duration",
                nanos(self.now.saturating_sub(run.answer_began)).max(1000),
            ),
        ];
        for (name, value) in times {
            // Go leaves out what is 0.
            if value > 0 {
                map.insert(name.into(), value.into());
            }
        }
        if job.stream {
            self.send(id, NDJSON, Bytes::from(format!("{}\n", Value::Object(map))));
            self.end(id);
        } else {
            self.reply(id, Answer::json(200, &Value::Object(map)));
        }
    }

    fn embedded(&mut self, id: CallId, job: &Job, run: &Run) {
        let Work::Embed { tokens, inputs, .. } = &job.work else {
            return;
        };
        let vectors: Vec<Vec<f64>> = (0..*inputs).map(|at| vector(tokens, at)).collect();
        let Some(open) = self.calls.get(&id) else {
            return;
        };
        let total = nanos(self.now.saturating_sub(open.begun));
        let load = nanos(open.got_runner.saturating_sub(open.begun));
        let answer = match job.style {
            Style::Embeddings => json!({"embedding": vectors.first()}),
            Style::OpenAiEmbed => openai::embeddings(job, &vectors, run.prompt),
            Style::Embed
            | Style::Generate
            | Style::Chat
            | Style::OpenAiChat
            | Style::OpenAiText => json!({
                "model": job.echo,
                "embeddings": vectors,
                "total_duration": total,
                "load_duration": load,
                "prompt_eval_count": run.prompt,
            }),
        };
        self.reply(id, Answer::json(200, &answer));
    }

    /// Whether the request has to wait until a runner is gone.
    pub(super) fn is_barred(&mut self, id: CallId) -> bool {
        let barred = self.is_unloading();
        if barred {
            self.bar(id);
            if let Some(open) = self.calls.get_mut(&id) {
                open.stage = Stage::Waiting;
            }
        }
        barred
    }
}

fn add_text(map: &mut Map<String, Value>, chat: bool, text: &str) {
    if chat {
        map.insert(
            "message".into(),
            json!({"role": "assistant", "content": text}),
        );
    } else {
        map.insert("response".into(), text.into());
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A unit vector that depends on the input.
fn vector(tokens: &[u64], at: usize) -> Vec<f64> {
    let seed = tokens
        .iter()
        .fold(at as u64 + 1, |sum, token| sum.rotate_left(5) ^ token);
    let raw: Vec<f64> = (0..EMBEDDING)
        .map(|n| {
            f64::from((seed.rotate_left(u32::try_from(n * 4).unwrap_or_default()) & 0xff) as u8)
                + 1.0
        })
        .collect();
    let length = raw.iter().map(|one| one * one).sum::<f64>().sqrt();
    raw.into_iter().map(|one| one / length).collect()
}
