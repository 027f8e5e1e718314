//! Prompts and their caches: warm and cold are told apart, times are not compared.

use crate::Case;
use crate::replay::Replay;
use ollama_sim::CallId;
use serde_json::{Value, json};

pub(crate) fn all() -> Vec<Case> {
    vec![
        ("first_request", first_request),
        ("prefix_sharing", prefix_sharing),
        ("slots_by_environment", slots_by_environment),
    ]
}

/// Milliseconds that part warm from cold: the recordings have 0.08–0.6 s and 3.9–36 s.
const COLD_MS: f64 = 2000.0;

/// 1 400 tokens, like an agent's system prompt.
fn system(of: &str) -> String {
    let rules = (1..65).map(|n| {
        format!("Rule {n} of {of}: when a user asks about topic {n}, answer shortly, name the file, and never guess.")
    });
    rules.collect::<Vec<_>>().join(" ")
}

fn conversation(of: &str, user: &str) -> Value {
    json!([{"role": "system", "content": system(of)}, {"role": "user", "content": user}])
}

fn chat(messages: &Value) -> Value {
    json!({"model": "smol-a", "stream": false, "options": {"num_predict": 1}, "messages": messages})
}

fn answer(r: &mut Replay, id: CallId) -> Value {
    assert!(r.world.wait(id, 600.0));
    let got = r.world.got(id);
    assert_eq!(got.status, 200);
    serde_json::from_slice(&got.body).unwrap()
}

fn prompt_ms(answer: &Value) -> f64 {
    answer["prompt_eval_duration"].as_f64().unwrap() / 1e6
}

fn ask(r: &mut Replay, body: &Value) -> Value {
    let id = r.world.post("/api/chat", body);
    answer(r, id)
}

/// Warm where the recording is warm, cold where it is cold.
fn same_kind(what: &str, recorded: &Value, simulated: f64) {
    let recorded = recorded.as_f64().unwrap();
    assert_eq!(
        recorded > COLD_MS,
        simulated > COLD_MS,
        "{what}: recorded {recorded} ms, simulated {simulated} ms"
    );
}

fn first_request(r: &mut Replay) {
    r.server();
    let first = |r: &mut Replay, seen: &str, user: &str| {
        let recorded = r.saw(seen);
        let answer = ask(r, &chat(&conversation("the team", user)));
        same_kind(seen, &recorded["prompt_eval_ms"], prompt_ms(&answer));
        same_kind(
            seen,
            &recorded["total_ms"],
            answer["total_duration"].as_f64().unwrap() / 1e6,
        );
        let load = answer["load_duration"].as_f64().unwrap() / 1e6;
        assert_eq!(
            recorded["load_ms"].as_f64().unwrap() > 300.0,
            load > 300.0,
            "{seen}: {load}"
        );
        let tokens = answer["prompt_eval_count"].as_u64().unwrap();
        assert!((1200..1700).contains(&tokens), "{tokens}");
    };
    let reload = |r: &mut Replay| {
        r.ask("keep_alive:0");
        r.seconds_until_gone("smol-a");
        r.saw("smol-a:latest gone from ps");
        r.ask("keep_alive:-1");
    };
    first(r, "cold: first chat", "one");
    first(r, "second, same system prompt", "two");
    reload(r);
    first(r, "after an empty load: first chat", "one");
    first(r, "second", "two");
    reload(r);
    ask(r, &chat(&json!([{"role": "user", "content": "hi"}])));
    first(r, "after load and one token: first chat", "one");
    reload(r);
    ask(
        r,
        &chat(&json!([{"role": "system", "content": system("the team")}])),
    );
    first(r, "after load and the system prompt once", "one");
    for other in ["another team", "a third team", "a fourth team"] {
        ask(r, &chat(&conversation(other, "one")));
    }
    first(r, "after three other long conversations", "two");
}

/// So many chats at once, each with a question of its own; sorted.
fn at_once(r: &mut Replay, count: usize, questions: &str) -> Vec<f64> {
    let ids: Vec<CallId> = (0..count)
        .map(|n| {
            r.world.post(
                "/api/chat",
                &chat(&conversation("the team", &format!("{questions} {n}"))),
            )
        })
        .collect();
    let mut all: Vec<f64> = ids
        .into_iter()
        .map(|id| prompt_ms(&answer(r, id)))
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

fn same_kinds(r: &mut Replay, seen: &str, simulated: &[f64]) {
    let recorded = r.saw(seen);
    let recorded = &recorded["prompt_ms"];
    match recorded.as_array() {
        Some(all) => {
            assert_eq!(all.len(), simulated.len());
            for (recorded, simulated) in all.iter().zip(simulated) {
                same_kind(seen, recorded, *simulated);
            }
        }
        None => same_kind(seen, recorded, simulated[0]),
    }
}

fn prefix_sharing(r: &mut Replay) {
    r.server();
    let first = at_once(r, 1, "first");
    same_kinds(r, "warm-up by /api/chat", &first);
    let messages = conversation("the team", "two");
    let before = r.world.now;
    let id = r.world.post(
        "/v1/chat/completions",
        &json!({"model": "smol-a", "messages": messages, "max_tokens": 1}),
    );
    answer(r, id);
    let recorded = r.saw("client by /v1/chat/completions");
    same_kind(
        "openai",
        &recorded["total_ms"],
        r.seconds_since(before) * 1e3,
    );
    let mut other = chat(&conversation("the team", "three"));
    other["options"] = json!({"temperature": 0.2, "seed": 7, "num_predict": 1});
    other["keep_alive"] = json!("10m");
    let ms = prompt_ms(&ask(r, &other));
    same_kinds(r, "client with temperature, seed, keep_alive", &[ms]);
    let mut empty = chat(&conversation("the team", ""));
    empty["options"] = json!({"num_predict": 0});
    let ms = prompt_ms(&ask(r, &empty));
    same_kinds(
        r,
        "warm-up with an empty user message and num_predict 0?",
        &[ms],
    );

    r.server();
    let answered = ask(
        r,
        &chat(&json!([{"role": "system", "content": system("the team")}])),
    );
    let recorded = r.saw("warm-up by the system message alone");
    same_kind(
        "system alone",
        &recorded["total_ms"],
        answered["total_duration"].as_f64().unwrap() / 1e6,
    );
    let ms = at_once(r, 1, "client");
    same_kinds(r, "then a client", &ms);

    r.server();
    let ms = at_once(r, 1, "first");
    same_kinds(r, "OLLAMA_NUM_PARALLEL=4: warm-up once", &ms);
    let ms = at_once(r, 1, "client");
    same_kinds(r, "one client", &ms);
    let ms = at_once(r, 4, "client");
    same_kinds(r, "four clients at once", &ms);
    let ms = at_once(r, 4, "again");
    same_kinds(r, "four clients at once, again", &ms);

    r.server();
    let ms = at_once(r, 4, "warm-up");
    same_kinds(r, "OLLAMA_NUM_PARALLEL=4: four warm-ups at once", &ms);
    let ms = at_once(r, 4, "client");
    same_kinds(r, "then four clients at once", &ms);
    r.ask("GET /api/ps");
}

/// Settings of llama-server through the environment. That a unified cache loses the warmth again is not simulated, and
/// neither are the runner's own metrics.
fn slots_by_environment(r: &mut Replay) {
    for server in ["default", "unified", "unified, with idle slots", "reuse"] {
        r.server();
        let ms = at_once(r, 1, "first");
        same_kinds(r, "one warm-up", &ms);
        let ms = at_once(r, 1, "client");
        same_kinds(r, "one client", &ms);
        let ms = at_once(r, 4, "client");
        same_kinds(r, "four clients at once", &ms);
        let ms = at_once(r, 4, "again");
        if server.starts_with("unified") {
            r.cannot_see("again", "settings of llama-server do nothing here");
        } else {
            same_kinds(r, "again", &ms);
        }
        r.cannot(
            "asked of the runner itself",
            "the simulation has no runner processes with sockets of their own",
        );
    }
}
