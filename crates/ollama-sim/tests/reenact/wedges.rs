//! A `keep_alive` that is sent to a busy model, and what it stops.

use crate::Case;
use crate::replay::{Asked, Replay};
use serde_json::json;

pub(crate) fn all() -> Vec<Case> {
    vec![
        ("stop_while_busy", stop_while_busy),
        ("wedge", wedge),
        ("wedge_by_options", wedge_by_options),
    ]
}

const LONG: &str = "a client's long generation";
const OURS: &str = "our request to the busy model, 1 s after the other client's";

fn stop_while_busy(r: &mut Replay) {
    for _ in 0..2 {
        r.server();
        r.ask("keep_alive:-1");
        let long = r.begin(LONG);
        r.run(0.7);
        r.ask("a person unloads it while it generates");
        r.run(0.3);
        r.ask("our ping");
        assert!(r.open(long));
        r.end(long);
        r.run(0.5);
        r.ask("unloaded?");
    }
}

/// Load, a long generation, another client that needs the runner to go, our request.
fn begin(r: &mut Replay, variant: &str, other: &str) -> (Asked, Asked) {
    r.saw(variant);
    r.server();
    r.ask("load with a pin");
    r.ask("before");
    let long = r.begin(LONG);
    r.run(1.0);
    let waiting = r.begin(other);
    r.run(1.0);
    if variant != "no request of ours" {
        r.ask(OURS);
    }
    r.ask("while the other client waits");
    assert!(r.open(long) && r.open(waiting));
    (long, waiting)
}

/// The other client is answered soon after the generation, or `later` seconds later.
fn ends(r: &mut Replay, long: Asked, waiting: Asked, later: f64) {
    r.end(long);
    r.saw("the generation ended");
    let before = r.world.now;
    r.end(waiting);
    let seconds = r.seconds_since(before);
    assert!((later..later + 2.0).contains(&seconds), "{seconds}");
    r.saw("the other client is answered");
    r.ask("now");
    r.saw("runner processes: 1");
    assert_eq!(r.world.pids().len(), 1);
}

/// Nobody's model is loaded any more, until the one in the way is unloaded.
fn never_ends(r: &mut Replay, long: Asked, waiting: Asked) {
    r.end(long);
    r.saw("the generation ended");
    r.run(40.0);
    assert!(r.open(waiting));
    r.saw("the other client is still waiting");
    r.ask("now");
    r.saw("runner processes: 1");
    let third = r.begin("a third model is asked for");
    r.run(10.0);
    assert!(r.open(third));
    r.saw("the third model is still waiting 10 s later");
    r.ask("the server looks well");
    r.ask("the resident model too");
    // Not only for seconds.
    r.run(3600.0);
    assert!(r.open(waiting) && r.open(third));
    r.ask("way out: unload the model in the way");
    let before = r.world.now;
    r.end(waiting);
    assert!(r.seconds_since(before) < 1.0);
    r.saw("the other client is answered");
    r.end(third);
    r.ask("after");
}

fn wedge(r: &mut Replay) {
    const OTHER: &str = "another client's model, must evict ours";
    let (long, waiting) = begin(r, "no request of ours", OTHER);
    ends(r, long, waiting, 0.0);
    let (long, waiting) = begin(r, "a plain ping", OTHER);
    ends(r, long, waiting, 0.0);
    let (long, waiting) = begin(r, "a ping with keep_alive -1", OTHER);
    never_ends(r, long, waiting);
    let (long, waiting) = begin(r, "a ping with keep_alive 10s", OTHER);
    ends(r, long, waiting, 10.0);
}

fn wedge_by_options(r: &mut Replay) {
    const OTHER: &str = "another client asks for num_ctx 2048";
    let (long, waiting) = begin(r, "a plain ping", OTHER);
    ends(r, long, waiting, 0.0);
    let (long, waiting) = begin(r, "a ping with keep_alive -1", OTHER);
    never_ends(r, long, waiting);
}

/// Beyond the recordings: a load of a variant, which `/api/ps` never names, does the same as a pin.
#[test]
fn a_load_of_a_variant_wedges_too() {
    use crate::models;
    use crate::world::World;
    use ollama_sim::{Config, ModelSpec};
    let mut models = models::installed();
    let variant = ModelSpec {
        name: "smol-poet".into(),
        digest: String::new(),
        system: "You are a poet.".into(),
        ..models[0].clone()
    };
    models.push(variant);
    let mut config = Config {
        models,
        ..Config::default()
    };
    config.environment.max_loaded_models = 1;
    let mut world = World::new(config);
    let load = world.post(
        "/api/generate",
        &json!({"model": "smol-a", "keep_alive": -1}),
    );
    assert!(world.wait(load, 5.0));
    let long = world.post(
        "/api/generate",
        &json!({"model": "smol-a", "prompt": "x", "options": {"num_predict": 400}}),
    );
    world.run(1.0);
    let other = world.post("/api/generate", &json!({"model": "smol-b"}));
    world.run(1.0);
    let ours = world.post(
        "/api/generate",
        &json!({"model": "smol-poet", "keep_alive": -1}),
    );
    assert!(
        world.wait(ours, 0.1),
        "it is served by the runner that is to go"
    );
    assert!(world.wait(long, 10.0));
    assert!(
        !world.wait(other, 3600.0),
        "the other client is never answered"
    );
}
