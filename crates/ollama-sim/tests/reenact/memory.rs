//! Who has to go when there is no room.

use crate::beyond::{config, pinned, world};
use crate::world::World;
use ollama_sim::{Config, Fault, ModelSpec, OutOfMemory};
use serde_json::json;

#[test]
fn without_memory_everything_is_evicted_and_the_load_tried_again() {
    let mut world = World::new(Config {
        memory: Some(1_000_000_000),
        ..config()
    });
    for model in ["a", "b"] {
        assert_eq!(world.generate(&pinned(model)).0, 200);
    }
    assert_eq!(world.generate(&json!({"model": "c"})).0, 200);
    assert_eq!(world.names(), ["c:latest"], "pinned ones too");
    world.fault(&Fault::Memory(Some(300_000_000)));
    let (status, body) = world.generate(&json!({"model": "d"}));
    let text = body["error"].as_str().unwrap();
    assert_eq!(
        (
            status,
            text.starts_with("llama-server reported out-of-memory during startup: ")
        ),
        (500, true),
        "{text}"
    );
    assert_eq!(world.names(), [] as [&str; 0]);
}

#[test]
fn a_runner_killed_for_its_memory_evicts_nobody() {
    let memory = Some(1_000_000_000);
    let mut world = World::new(Config {
        memory,
        out_of_memory: OutOfMemory::Killed,
        ..config()
    });
    for model in ["a", "b"] {
        world.generate(&pinned(model));
    }
    let (status, body) = world.generate(&json!({"model": "c"}));
    assert_eq!(
        (status, &body["error"]),
        (
            500,
            &json!("llama-server process has terminated: signal: killed")
        )
    );
    assert_eq!(world.names(), ["a:latest", "b:latest"]);
}

#[test]
fn memory_that_runs_out_in_a_computation_unloads_everything() {
    let mut world = world();
    for model in ["a", "b"] {
        world.generate(&pinned(model));
    }
    let long = world.post(
        "/api/generate",
        &json!({"model": "a", "prompt": "x", "stream": false}),
    );
    world.run(0.2);
    world.fault(&Fault::OutOfMemory("a".into()));
    assert!(world.wait(long, 0.1));
    assert_eq!(world.got(long).status, 500);
    world.run(1.0);
    assert_eq!(world.names(), [] as [&str; 0]);
}

/// Orphans of a killed server keep their memory.
#[test]
fn orphans_take_memory() {
    let mut world = World::new(Config {
        memory: Some(500_000_000),
        ..config()
    });
    world.generate(&pinned("a"));
    world.fault(&Fault::Kill);
    world.fault(&Fault::Start);
    assert_eq!(world.generate(&json!({"model": "b"})).0, 500);
}

#[test]
fn an_idle_model_is_evicted_before_a_busy_one() {
    let mut config = config();
    config.environment.max_loaded_models = 2;
    let mut world = World::new(config);
    world.generate(&json!({"model": "a", "keep_alive": "1m"}));
    world.generate(&pinned("b"));
    let busy = world.post(
        "/api/generate",
        &json!({"model": "a", "prompt": "x", "options": {"num_predict": 3000}}),
    );
    world.run(0.5);
    world.generate(&json!({"model": "c"}));
    assert_eq!(world.names(), ["a:latest", "c:latest"]);
    assert!(!world.answered(busy));
}

#[test]
fn on_a_gpu_one_goes_before_the_next_is_loaded() {
    let mut world = World::new(Config {
        gpu_memory: Some(1_500_000_000),
        ..config()
    });
    for model in ["a", "b"] {
        world.generate(&pinned(model));
    }
    let listed = world.ps().unwrap();
    assert!(listed.iter().all(|one| one["size_vram"] == one["size"]));
    world.generate(&pinned("c"));
    assert_eq!(world.rules.resident().len(), 3, "1.2 of 1.5 GB");
    world.generate(&json!({"model": "c", "keep_alive": 0}));
    world.run(1.0);
    let large = ModelSpec::new("large").size(500_000_000);
    world.fault(&Fault::Install(Box::new(large)));
    world.generate(&json!({"model": "large"}));
    assert_eq!(world.rules.resident().len(), 2, "one had to go");
    world.generate(&json!({"model": "d", "options": {"num_gpu": 0}}));
    let cpu = world
        .ps()
        .unwrap()
        .into_iter()
        .find(|one| one["name"] == "d:latest");
    assert_eq!(cpu.unwrap()["size_vram"], 0);
    assert_eq!(world.rules.resident().len(), 3);
}
