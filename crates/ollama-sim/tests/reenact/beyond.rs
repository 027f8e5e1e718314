//! Rules that were read from Ollama's source or measured, and of which there is no recording.

use crate::world::World;
use ollama_sim::{Config, Era, EventKind, Fault, Kind, ModelSpec};
use serde_json::{Value, json};
use std::time::Duration;

/// Models `a`, `b`, `c`, `d` of 400 MB that load in a second.
pub(crate) fn config() -> Config {
    Config::new(["a", "b", "c", "d"].map(|name| {
        ModelSpec {
            overhead: 0,
            bytes_per_token: 0,
            ..ModelSpec::new(name)
        }
        .size(400_000_000)
        .load(Duration::from_secs(1))
    }))
}

pub(crate) fn world() -> World {
    World::new(config())
}

pub(crate) fn pinned(model: &str) -> Value {
    json!({"model": model, "keep_alive": -1})
}

fn loads(world: &World) -> usize {
    world
        .rules
        .events()
        .filter(|event| event.kind == EventKind::Loaded)
        .count()
}

#[test]
fn the_older_era_lists_what_is_not_loaded_yet_and_never_blocks() {
    let mut config = Config {
        era: Era::V024,
        ..config()
    };
    config.models[0].newer_engine = true;
    let mut world = World::new(config);
    let load = world.post("/api/generate", &json!({"model": "a"}));
    world.run(0.5);
    assert_eq!(world.ps().unwrap().len(), 0);
    world.run(0.2);
    assert_eq!(world.ps().unwrap().len(), 1, "listed");
    assert!(!world.answered(load), "and not loaded");
    world.fault(&Fault::Crash("a".into()));
    assert!(
        world
            .text(load)
            .contains("model failed to load, this may be due to resource limitations")
    );
    world.generate(&json!({"model": "b"}));
    world.fault(&Fault::Hang("b".into()));
    let ping = world.post("/api/generate", &json!({"model": "b"}));
    world.run(1.0);
    assert!(world.ps().is_some(), "ps answers meanwhile");
    assert!(world.wait(ping, 25.0));
    assert_eq!(world.got(ping).status, 200);
}

#[test]
fn an_embedding_model_is_reloaded_by_a_context_on_one_side_only() {
    let models = [ModelSpec::new("mini").kind(Kind::Embedding).context(512)];
    let mut world = World::new(Config::new(models));
    let embed = |world: &mut World, options: Value| {
        world.ask("/api/embed", &json!({"model": "mini", "options": options}))
    };
    embed(&mut world, json!({"num_ctx": 512}));
    embed(&mut world, json!({"num_ctx": 512}));
    assert_eq!(loads(&world), 1);
    embed(&mut world, json!({}));
    assert_eq!(loads(&world), 2, "its batch is another one");
    let (status, body) = world.generate(&json!({"model": "mini"}));
    assert_eq!(
        (status, &body["error"]),
        (400, &json!("\"mini\" does not support generate"))
    );
    assert_eq!(
        world.generate(&json!({"model": "mini", "keep_alive": 0})).0,
        200,
        "an unload asks for no capability"
    );
}

#[test]
fn only_what_belongs_to_a_runner_reloads_it() {
    for (options, reloads) in [
        (json!({"num_gpu": -1}), false),
        (json!({"num_gpu": 0}), true),
        (json!({"use_mmap": true}), true),
        (json!({"main_gpu": 1}), true),
        (json!({"num_batch": 512}), false),
        (json!({"num_batch": 128}), true),
        (json!({"draft_num_predict": 4}), true),
        (json!({"num_ctx": null}), false),
        (json!({"num_ctx": 4096.0}), false),
        (
            json!({"seed": 1, "num_predict": 3, "stop": ["x"], "num_keep": 4}),
            false,
        ),
    ] {
        let mut world = world();
        world.generate(&pinned("a"));
        world.generate(&json!({"model": "a", "options": options}));
        assert_eq!(loads(&world) == 2, reloads, "{options}");
    }
}

#[test]
fn more_context_than_trained_is_cut_and_is_no_reason_to_reload() {
    let mut world = world();
    for _ in 0..2 {
        world.generate(&json!({"model": "a", "options": {"num_ctx": 1_000_000}}));
    }
    assert_eq!(world.rules.resident()[0].context_length, 8192);
    assert_eq!(loads(&world), 1);
}

#[test]
fn with_a_context_from_the_environment_nothing_is_automatic() {
    let mut config = config();
    config.environment.context_length = Some(2048);
    let mut world = World::new(config);
    world.generate(&json!({"model": "a"}));
    world.generate(&json!({"model": "a", "options": {"num_ctx": 2048}}));
    assert_eq!(
        (loads(&world), world.rules.resident()[0].context_length),
        (1, 2048)
    );
}

#[test]
fn a_request_with_keep_alive_0_unloads_when_it_ends() {
    let mut world = world();
    world.generate(&pinned("a"));
    let body = json!({"model": "a", "prompt": "x", "stream": false, "keep_alive": 0});
    assert_eq!(world.generate(&body).1["done_reason"], "stop");
    world.run(0.1);
    assert_eq!(world.names(), [] as [&str; 0]);
    world.ask("/api/embed", &json!({"model": "b", "keep_alive": 0}));
    assert_eq!(
        loads(&world),
        2,
        "an empty embed with keep_alive 0 loads first"
    );
    world.run(0.1);
    assert_eq!(world.names(), [] as [&str; 0]);
}

#[test]
fn a_dropped_request_in_the_queue_is_skipped() {
    let mut world = world();
    let first = world.post("/api/generate", &json!({"model": "a"}));
    let second = world.post("/api/generate", &json!({"model": "b"}));
    let third = world.post("/api/generate", &json!({"model": "c"}));
    world.run(0.1);
    world.drop_connection(second);
    assert!(world.wait(first, 2.0) && world.wait(third, 2.0));
    assert_eq!(world.names(), ["a:latest", "c:latest"]);
}

/// A client that gives up does not heal the runner, and leaves its lock.
#[test]
fn a_dropped_ping_of_a_hung_runner_ends_at_once() {
    let mut world = world();
    world.generate(&pinned("a"));
    world.fault(&Fault::Hang("a".into()));
    let ping = world.post("/api/generate", &json!({"model": "a"}));
    world.run(2.0);
    assert!(world.ps().is_none(), "ps waits for the ping");
    world.drop_connection(ping);
    assert_eq!(world.ps().unwrap().len(), 1);
    assert_eq!(loads(&world), 1);
    world.fault(&Fault::Thaw("a".into()));
    let body = world.post("/api/generate", &json!({"model": "a"}));
    assert!(world.wait(body, 0.1), "thawed, it answers pings again");
}

#[test]
fn a_generation_stands_still_while_its_runner_is_frozen() {
    let mut world = world();
    world.generate(&pinned("a"));
    let body =
        json!({"model": "a", "prompt": "x", "stream": false, "options": {"num_predict": 100}});
    let run = world.post("/api/generate", &body);
    world.run(0.5);
    world.fault(&Fault::Hang("a".into()));
    world.run(100.0);
    assert!(!world.answered(run));
    world.fault(&Fault::Thaw("a".into()));
    assert!(world.wait(run, 2.0));
    assert!(world.got(run).seconds() > 100.0);
}

#[test]
fn new_weights_leave_the_old_runner_where_no_name_reaches_it() {
    let mut world = world();
    world.generate(&pinned("a"));
    let update = ModelSpec {
        blob: "f".repeat(64),
        ..ModelSpec::new("a")
    };
    world.fault(&Fault::Install(Box::new(update)));
    assert_eq!(world.generate(&json!({"model": "a"})).0, 200);
    let digests: Vec<_> = world
        .rules
        .resident()
        .into_iter()
        .map(|one| (one.name, one.digest))
        .collect();
    assert_eq!(
        (digests.len(), &digests[0].0, &digests[1].0),
        (2, &"a:latest".to_owned(), &"a:latest".to_owned())
    );
    assert_ne!(digests[0].1, digests[1].1);
    world.generate(&json!({"model": "a", "keep_alive": 0}));
    world.run(1.0);
    let left = world.rules.resident();
    assert_eq!(left.len(), 1);
    assert_ne!(left[0].blob, "f".repeat(64), "the unload met the new one");
}

#[test]
fn pulls_tell_their_progress_and_install() {
    let mut world = World::new(Config {
        registry: vec![ModelSpec::new("new:1b")],
        online: true,
        ..Config::default()
    });
    let pull = world.post("/api/pull", &json!({"model": "new:1b"}));
    assert!(world.wait(pull, 60.0));
    let lines: Vec<Value> = world
        .text(pull)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.first().unwrap()["status"], "pulling manifest");
    assert!(lines[1].get("completed").is_none() && lines[2]["completed"].as_u64() > Some(0));
    assert_eq!(lines.last().unwrap()["status"], "success");
    assert_eq!(world.generate(&json!({"model": "new:1b"})).0, 200);
    let (status, body) = world.ask("/api/pull", &json!({"model": "other", "stream": false}));
    assert_eq!(
        (status, &body["error"]),
        (500, &json!("pull model manifest: file does not exist"))
    );
    let dropped = world.post("/api/pull", &json!({"model": "new:1b"}));
    world.run(0.2);
    world.drop_connection(dropped);
    assert_eq!(world.rules.open(), 0);
}

#[test]
fn openai_streams_end_with_usage_and_done() {
    let mut world = world();
    let body = json!({
        "model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let id = world.post("/v1/chat/completions", &body);
    assert!(world.wait(id, 10.0));
    let text = world.text(id);
    let events: Vec<&str> = text
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .collect();
    assert_eq!(events.len(), 5, "{text}");
    assert!(events.iter().all(|event| event.starts_with("data: ")));
    assert!(events[2].contains("\"finish_reason\":\"length\""));
    assert!(events[3].contains("\"choices\":[]") && events[3].contains("\"completion_tokens\":2"));
    assert_eq!(events[4], "data: [DONE]");
    let (status, body) = world.ask(
        "/v1/chat/completions",
        &json!({"model": "nope", "messages": [{}]}),
    );
    assert_eq!(
        (status, &body["error"]["type"]),
        (404, &json!("not_found_error"))
    );
}

#[test]
fn tools_need_the_capability_and_thinking_too() {
    let mut world = world();
    let chat = json!({"model": "a", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]});
    let (status, body) = world.ask("/api/chat", &chat);
    let text = "registry.ollama.ai/library/a:latest does not support tools";
    assert_eq!((status, &body["error"]), (400, &json!(text)));
    let mut able = ModelSpec::new("able");
    able.capabilities = vec!["tools".into(), "thinking".into()];
    world.fault(&Fault::Install(Box::new(able)));
    let chat = json!({
        "model": "able", "messages": [{"role": "user", "content": "x"}], "tools": [{}], "think": true, "stream": false,
    });
    assert_eq!(world.ask("/api/chat", &chat).0, 200);
}

#[test]
fn cloud_models_are_listed_as_such_and_never_loaded() {
    let mut world = World::new(Config::new([ModelSpec::new("big:cloud").kind(Kind::Cloud)]));
    let id = world.send("GET", "/api/tags", ollama_sim::Body::Bytes("".into()));
    assert!(world.wait(id, 1.0));
    let tags: Value = serde_json::from_str(&world.text(id)).unwrap();
    assert!(tags["models"][0]["remote_host"].is_string());
    assert_eq!(world.generate(&json!({"model": "big:cloud"})).0, 502);
    assert_eq!(
        world.ask("/api/show", &json!({"model": "big:cloud"})).0,
        200
    );
    assert_eq!(world.names(), [] as [&str; 0]);
}

/// Two slots: a second conversation does not wait, and has a cache of its own.
#[test]
fn slots_work_side_by_side() {
    let mut config = config();
    config.environment.num_parallel = 2;
    let mut world = World::new(config);
    world.generate(&pinned("a"));
    let body = |prompt: &str| json!({"model": "a", "prompt": prompt, "stream": false, "options": {"num_predict": 200}});
    let both = [
        world.post("/api/generate", &body("one")),
        world.post("/api/generate", &body("two")),
    ];
    let third = world.post("/api/generate", &body("three"));
    assert!(both.iter().all(|id| world.wait(*id, 10.0)));
    assert!(both.iter().all(|id| world.got(*id).seconds() < 3.0));
    assert!(world.wait(third, 10.0));
    assert!(
        world.got(third).seconds() > 3.5,
        "the third waits for a slot"
    );
}

/// A script's faults happen by themselves.
#[test]
fn scripts_happen_at_their_time() {
    let text = "at 10s unload a\nat 20s POST /api/generate {\"model\":\"b\"}\n";
    let script = ollama_sim::script::script(text).unwrap();
    let mut world = World::new(Config { script, ..config() });
    world.generate(&pinned("a"));
    world.run_to(Duration::from_secs(9));
    assert_eq!(world.names(), ["a:latest"]);
    world.run_to(Duration::from_secs(11));
    assert_eq!(world.names(), [] as [&str; 0]);
    world.run_to(Duration::from_secs(22));
    assert_eq!(world.names(), ["b:latest"]);
}

#[test]
fn a_runner_that_is_thawed_in_time_answers_the_ping() {
    let mut world = world();
    world.generate(&pinned("a"));
    world.fault(&Fault::Hang("a".into()));
    let ping = world.post("/api/generate", &json!({"model": "a"}));
    world.run(5.0);
    world.fault(&Fault::Thaw("a".into()));
    assert!(world.wait(ping, 0.1));
    assert_eq!(loads(&world), 1, "it is not reloaded");
}

#[test]
fn what_does_not_fit_into_the_context_is_cut_or_refused() {
    let mini = ModelSpec::new("mini").kind(Kind::Embedding).context(64);
    let mut world = World::new(Config::new([ModelSpec::new("a").context(64), mini]));
    let long = "word ".repeat(100);
    let (status, body) = world.generate(&json!({"model": "a", "prompt": long, "stream": false}));
    assert_eq!((status, &body["prompt_eval_count"]), (200, &json!(64)));
    let (status, body) = world.generate(&json!({"model": "a", "prompt": long, "shift": false}));
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .starts_with("the prompt is longer than the context length")
    );
    assert_eq!(status, 400);
    assert_eq!(
        world
            .ask("/api/embed", &json!({"model": "mini", "input": long}))
            .0,
        200
    );
    let (status, body) = world.ask(
        "/api/embed",
        &json!({"model": "mini", "input": long, "truncate": false}),
    );
    assert_eq!(
        (status, &body["error"]),
        (400, &json!("the input length exceeds the context length"))
    );
}

#[test]
fn a_crash_is_told_in_the_words_of_what_ran() {
    let mini = ModelSpec::new("mini").kind(Kind::Embedding);
    let mut world = World::new(Config::new([ModelSpec::new("a"), mini]));
    for (path, body, status, text) in [
        (
            "/api/generate",
            json!({"model": "a", "prompt": "x"}),
            500,
            "model runner has unexpectedly stopped",
        ),
        (
            "/api/embed",
            json!({"model": "mini", "input": "x"}),
            400,
            "do embedding request: Post ",
        ),
        (
            "/api/embeddings",
            json!({"model": "mini", "prompt": "x"}),
            500,
            "do embedding request: Post ",
        ),
    ] {
        let model = body["model"].as_str().unwrap().to_owned();
        world.ask(path, &json!({"model": model}));
        let id = world.post(path, &body);
        world.run(0.003);
        world.fault(&Fault::Crash(model));
        assert!(world.wait(id, 0.1));
        assert_eq!(world.got(id).status, status, "{path}");
        assert!(world.text(id).contains(text), "{}", world.text(id));
    }
}
