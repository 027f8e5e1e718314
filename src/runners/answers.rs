//! What a listener's answers mean: whether it is one of Ollama's runners, how it is, and what it does.
//!
//! Written for llama-server as Ollama 0.30 and later starts it. Whatever answers in another form is not recognised.

use super::question::{NoReply, Reply};
use crate::engine::sight::{WeightsFile, Work};
use serde::Deserialize;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// More slots than any runner has; the rest of a longer list is not believed.
const SLOTS_MAX: usize = 4096;

/// A number of tokens or seconds above this is no measurement.
const NUMBER_MAX: f64 = 1e15;

/// What `/health` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    Well,
    Loading,
    /// No answer in time.
    Silent,
    /// Nothing was learned: the socket is gone, or the question could not be put.
    NotTold,
    /// Some other program.
    Foreign,
}

/// What `/props` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Props {
    pub(super) weights: WeightsFile,
    pub(super) slots: usize,
    /// It answers `/slots`.
    pub(super) tells_slots: bool,
    /// It answers `/metrics`.
    pub(super) tells_work: bool,
}

/// How asking for `/props` ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum PropsTold {
    Runner(Props),
    /// It answered, and it is no runner of Ollama's.
    Foreign,
    /// There was no whole answer.
    Nothing,
}

/// What `/slots` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SlotsNow {
    pub(super) busy: usize,
    /// Changes whenever one of the slots at work gets further.
    pub(super) progress: u64,
}

pub(super) fn health(reply: Result<Reply, NoReply>) -> Health {
    #[derive(Deserialize)]
    struct Well {
        status: String,
    }
    #[derive(Deserialize)]
    struct Loading {
        error: Words,
    }
    #[derive(Deserialize)]
    struct Words {
        message: String,
    }
    let reply = match reply {
        Ok(reply) => reply,
        Err(NoReply::Silent) => return Health::Silent,
        Err(NoReply::Refused | NoReply::NotAsked) => return Health::NotTold,
        Err(NoReply::Nonsense) => return Health::Foreign,
    };
    match reply.status {
        200 => match serde_json::from_slice(&reply.body) {
            Ok(Well { status }) if status == "ok" => Health::Well,
            Ok(Well { .. }) | Err(_) => Health::Foreign,
        },
        503 => match serde_json::from_slice(&reply.body) {
            Ok(Loading { error }) if error.message == "Loading model" => Health::Loading,
            Ok(Loading { .. }) | Err(_) => Health::Foreign,
        },
        _ => Health::Foreign,
    }
}

pub(super) fn props_told(reply: Result<Reply, NoReply>) -> PropsTold {
    match reply {
        Ok(reply) => props(&reply).map_or(PropsTold::Foreign, PropsTold::Runner),
        Err(NoReply::Nonsense) => PropsTold::Foreign,
        Err(NoReply::Silent | NoReply::Refused | NoReply::NotAsked) => PropsTold::Nothing,
    }
}

/// `None` where it is no runner of Ollama's: it does not serve a blob of a model store.
pub(super) fn props(reply: &Reply) -> Option<Props> {
    #[derive(Deserialize)]
    struct Body {
        model_path: String,
        total_slots: usize,
        #[serde(default)]
        endpoint_slots: bool,
        #[serde(default)]
        endpoint_metrics: bool,
    }
    let body: Body = accepted(reply)?;
    let (folder, name) = body.model_path.rsplit_once(['/', '\\'])?;
    let is_blob = name.starts_with("sha256-") && folder.ends_with("blobs");
    (is_blob && (1..=SLOTS_MAX).contains(&body.total_slots)).then(|| Props {
        weights: WeightsFile {
            store: Arc::from(folder),
            blob: Arc::from(name),
        },
        slots: body.total_slots,
        tells_slots: body.endpoint_slots,
        tells_work: body.endpoint_metrics,
    })
}

pub(super) fn slots(reply: &Reply) -> Option<SlotsNow> {
    #[derive(Deserialize)]
    struct Slot {
        id: i64,
        is_processing: bool,
        #[serde(default)]
        id_task: i64,
        #[serde(default)]
        n_prompt_tokens_processed: u64,
        #[serde(default)]
        next_token: Vec<Next>,
    }
    #[derive(Deserialize)]
    struct Next {
        #[serde(default)]
        n_decoded: u64,
    }
    let slots: Vec<Slot> = accepted(reply)?;
    let mut progress = DefaultHasher::new();
    let mut busy = 0;
    for slot in slots
        .iter()
        .take(SLOTS_MAX)
        .filter(|slot| slot.is_processing)
    {
        busy += 1;
        (slot.id, slot.id_task, slot.n_prompt_tokens_processed).hash(&mut progress);
        for next in &slot.next_token {
            next.n_decoded.hash(&mut progress);
        }
    }
    Some(SlotsNow {
        busy,
        progress: progress.finish(),
    })
}

/// The totals of `/metrics`; `None` where one of them is missing.
pub(super) fn work(reply: &Reply) -> Option<Work> {
    if reply.status != 200 {
        return None;
    }
    let text = str::from_utf8(&reply.body).ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| {
            line.strip_prefix("llamacpp:")?
                .strip_prefix(name)?
                .strip_prefix(' ')
        })?;
        let number: f64 = line.trim().parse().ok()?;
        (0.0..=NUMBER_MAX).contains(&number).then_some(number)
    };
    Some(Work {
        prompt_tokens: number("prompt_tokens_total")?,
        prompt_tokens_cached: number("prompt_tokens_cached_total")?,
        generated_tokens: number("tokens_predicted_total")?,
        prompt_seconds: number("prompt_seconds_total")?,
        generation_seconds: number("tokens_predicted_seconds_total")?,
    })
}

fn accepted<'a, T: Deserialize<'a>>(reply: &'a Reply) -> Option<T> {
    (reply.status == 200)
        .then(|| serde_json::from_slice(&reply.body).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const RECORDED: &str = include_str!("../../tests/fixtures/ollama-0.33.0/runner_seen.json");

    /// What the recorded runner answered to `path`, in order.
    fn recorded(path: &str) -> Vec<Reply> {
        let scenario: Value = serde_json::from_str(RECORDED).unwrap();
        let steps = scenario["steps"].as_array().unwrap();
        let of_runner = |step: &&Value| {
            let note = step["note"].as_str().unwrap_or_default();
            step["request"]["path"] == path && note.starts_with("asked of the runner")
        };
        let replies = steps.iter().filter(of_runner).filter_map(|step| {
            let response = step.get("response")?;
            let body = &response["body"];
            let text = body
                .as_str()
                .map_or_else(|| body.to_string(), str::to_owned);
            Some(Reply {
                status: response["status"].as_u64()?.try_into().unwrap(),
                body: text.into_bytes(),
            })
        });
        replies.collect()
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            body: body.into(),
        }
    }

    #[test]
    fn a_recorded_runner_is_recognised() {
        let healths = recorded("/health");
        assert!(!healths.is_empty());
        for each in healths {
            assert_eq!(health(Ok(each)), Health::Well);
        }
        let told = props(&recorded("/props")[0]).unwrap();
        assert_eq!(&*told.weights.store, "$OLLAMA_MODELS/blobs");
        assert!(told.weights.blob.starts_with("sha256-a5fd3b62"));
        assert_eq!(
            (told.slots, told.tells_slots, told.tells_work),
            (1, true, true)
        );
        let seen: Vec<_> = recorded("/slots")
            .iter()
            .map(|each| slots(each).unwrap())
            .collect();
        assert_eq!(
            seen.iter().map(|each| each.busy).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_ne!(seen[0].progress, seen[1].progress);
        assert_eq!(work(&recorded("/metrics")[0]), Some(Work::default()));
    }

    #[test]
    fn a_loading_runner_is_recognised_by_its_words() {
        let body = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
        assert_eq!(health(Ok(reply(503, body))), Health::Loading);
        assert_eq!(
            health(Ok(reply(503, "Service Unavailable"))),
            Health::Foreign
        );
    }

    #[test]
    fn other_programs_are_not() {
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, r#"{"status":"ok""#),
            (200, r#"{"status":2,"progress":0.5}"#),
            (302, r#"{"status":"ok"}"#),
            (404, "not found"),
            (503, r#"{"error":"Loading model"}"#),
        ] {
            assert_eq!(
                health(Ok(reply(status, body))),
                Health::Foreign,
                "{status} {body}"
            );
        }
        for body in [
            "[]",
            r#"{"model_path":"/models/blobs/sha256-1"}"#,
            r#"{"model_path":"/models/a.gguf","total_slots":1}"#,
            r#"{"model_path":"sha256-1","total_slots":1}"#,
            r#"{"model_path":"/models/blobs/sha256-1","total_slots":0}"#,
            r#"{"model_path":"/models/blobs/sha256-1","total_slots":1000000}"#,
            r#"{"model_path":"/models/blobs/sha256-1","total_slots":-1}"#,
        ] {
            assert_eq!(props(&reply(200, body)), None, "{body}");
        }
        assert_eq!(slots(&reply(200, "{}")), None);
        assert_eq!(slots(&reply(501, "[]")), None);
    }

    #[test]
    fn a_slot_that_gets_further_is_seen() {
        let at = |processed: u64, decoded: u64| {
            let body = format!(
                r#"[{{"id":0,"is_processing":true,"id_task":7,"n_prompt_tokens_processed":{processed},"next_token":[{{"n_decoded":{decoded}}}]}}]"#
            );
            slots(&reply(200, &body)).unwrap().progress
        };
        assert_eq!(at(512, 0), at(512, 0));
        assert_ne!(at(512, 0), at(1024, 0));
        assert_ne!(at(512, 0), at(512, 1));
    }

    #[test]
    fn numbers_that_are_none_are_not_believed() {
        let text = |number: &str| {
            format!(
                "llamacpp:prompt_tokens_total {number}\nllamacpp:prompt_tokens_cached_total 2\n\
                 llamacpp:tokens_predicted_total 3\nllamacpp:prompt_seconds_total 0.5\n\
                 llamacpp:tokens_predicted_seconds_total 1e1\n"
            )
        };
        let told = work(&reply(200, &text("1"))).unwrap();
        let wanted = Work {
            prompt_tokens: 1.0,
            prompt_tokens_cached: 2.0,
            generated_tokens: 3.0,
            prompt_seconds: 0.5,
            generation_seconds: 10.0,
        };
        assert_eq!(told, wanted);
        for number in ["-1", "NaN", "inf", "1e300", "x", ""] {
            assert_eq!(work(&reply(200, &text(number))), None, "{number}");
        }
        assert_eq!(work(&reply(501, &text("1"))), None);
        assert_eq!(work(&reply(200, "")), None);
    }
}
