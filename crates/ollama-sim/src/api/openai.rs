//! The `/v1` interface, as far as clients of a small server use it.

use super::answer::{Answer, SSE};
use super::complete::words;
use super::request::{Job, Style};
use crate::clock::UnixNanos;
use crate::rules::{CallId, Rules};
use crate::store::Model;
use crate::store::name::Name;
use bytes::Bytes;
use serde_json::{Value, json};

/// Counted tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tokens {
    pub(super) prompt: usize,
    pub(super) answer: u32,
}

impl Tokens {
    fn usage(self) -> Value {
        let all = self.prompt + self.answer as usize;
        json!({"prompt_tokens": self.prompt, "completion_tokens": self.answer, "total_tokens": all})
    }
}

fn seconds(wall: UnixNanos) -> i64 {
    i64::try_from(wall / 1_000_000_000).unwrap_or_default()
}

/// Another one for each moment.
fn number(wall: UnixNanos) -> i128 {
    wall / 1_000_000 % 1000
}

/// A whole answer.
pub(super) fn whole(wall: UnixNanos, job: &Job, reason: &str, tokens: &Tokens) -> Value {
    let text = words(0..tokens.answer);
    let number = number(wall);
    let (id, object, choice) = if job.style == Style::OpenAiChat {
        let message = json!({"role": "assistant", "content": text});
        let choice = json!({"index": 0, "message": message, "finish_reason": reason});
        (format!("chatcmpl-{number}"), "chat.completion", choice)
    } else {
        let choice = json!({"text": text, "index": 0, "finish_reason": reason});
        (format!("cmpl-{number}"), "text_completion", choice)
    };
    json!({
        "id": id,
        "object": object,
        "created": seconds(wall),
        "model": job.echo,
        "system_fingerprint": "fp_ollama",
        "choices": [choice],
        "usage": tokens.usage(),
    })
}

/// One event of a stream.
pub(super) fn chunk(wall: UnixNanos, job: &Job, text: &str, reason: Option<&str>) -> Value {
    let number = number(wall);
    let (id, object, choice) = if job.style == Style::OpenAiChat {
        let delta = json!({"role": "assistant", "content": text});
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        (
            format!("chatcmpl-{number}"),
            "chat.completion.chunk",
            choice,
        )
    } else {
        let choice = json!({"text": text, "index": 0, "finish_reason": reason});
        (format!("cmpl-{number}"), "text_completion", choice)
    };
    json!({
        "id": id,
        "object": object,
        "created": seconds(wall),
        "model": job.echo,
        "system_fingerprint": "fp_ollama",
        "choices": [choice],
    })
}

pub(super) fn embeddings(job: &Job, vectors: &[Vec<f64>], prompt: usize) -> Value {
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "embedding": vector, "index": index}))
        .collect();
    let usage = json!({"prompt_tokens": prompt, "total_tokens": prompt});
    json!({"object": "list", "data": data, "model": job.echo, "usage": usage})
}

impl Rules {
    pub(super) fn openai_answered(&mut self, id: CallId, job: &Job, reason: &str, tokens: &Tokens) {
        let wall = self.wall();
        if !job.stream {
            self.reply(
                id,
                Answer::json_plain(200, &whole(wall, job, reason, tokens)),
            );
            return;
        }
        let mut last = format!("data: {}\n\n", chunk(wall, job, "", Some(reason)));
        if job.usage {
            let mut usage = chunk(wall, job, "", None);
            if let Some(map) = usage.as_object_mut() {
                map.insert("choices".into(), json!([]));
                map.insert("usage".into(), tokens.usage());
            }
            last.extend(["data: ", &usage.to_string(), "\n\n"]);
        }
        last.push_str("data: [DONE]\n\n");
        self.send(id, SSE, Bytes::from(last));
        self.end(id);
    }

    pub(super) fn openai_models(&self) -> Answer {
        let data: Vec<Value> = self.by_age().into_iter().map(openai_entry).collect();
        Answer::json_plain(200, &json!({"object": "list", "data": data}))
    }

    pub(super) fn openai_model(&self, path: &str) -> Answer {
        let wanted = path.trim_start_matches("/v1/models/");
        let found = Name::parse(wanted).and_then(|name| self.store.find(&name));
        match found {
            Some(model) => Answer::json_plain(200, &openai_entry(model)),
            None => Answer::error(404, format!("model '{wanted}' not found")),
        }
    }
}

fn openai_entry(model: &Model) -> Value {
    json!({
        "id": model.name.to_string(),
        "object": "model",
        "created": seconds(model.modified),
        "owned_by": model.name.namespace(),
    })
}
