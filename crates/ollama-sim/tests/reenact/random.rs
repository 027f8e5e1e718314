//! Seeded random clients and faults: whatever happens, every request ends, and nothing is left over.

use crate::world::World;
use ollama_sim::{CallId, Config, Fault, Kind, ModelSpec};
use serde_json::{Value, json};
use std::time::Duration;

/// Runs; each takes about a millisecond.
const SEEDS: u64 = 200;

/// Steps of one run.
const STEPS: usize = 120;

/// A generator that is the same everywhere (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        let at = self.roll(all.len() as u64);
        all[usize::try_from(at).unwrap()].clone()
    }
}

const NAMES: [&str; 6] = ["a", "a-poet", "a-short", "b", "c", "mini"];

fn config(dice: &mut Dice) -> Config {
    let a = ModelSpec::new("a").load(Duration::from_secs(1));
    let poet = ModelSpec {
        system: "You are a poet.".into(),
        ..a.clone()
    };
    let models = [
        ModelSpec {
            name: "a-poet".into(),
            ..poet
        }
        .on_weights_of(&a),
        ModelSpec {
            name: "a-short".into(),
            ..a.clone()
        }
        .on_weights_of(&a)
        .parameter("num_ctx", 1024),
        a,
        ModelSpec::new("b").load(Duration::from_millis(300)),
        ModelSpec::new("c").load(Duration::from_secs(4)),
        ModelSpec::new("mini").kind(Kind::Embedding),
    ];
    let mut config = Config::new(models);
    config.environment.max_loaded_models = usize::try_from(dice.roll(4)).unwrap();
    config.environment.num_parallel = 1 + usize::try_from(dice.roll(3)).unwrap();
    config.environment.max_queue = dice.pick(&[1, 3, 512]);
    config.memory = dice.pick(&[None, None, Some(1_600_000_000)]);
    config
}

fn request(dice: &mut Dice, world: &mut World) -> CallId {
    let mut body = json!({"model": dice.pick(&NAMES)});
    let keep_alive = dice.pick(&[
        Value::Null,
        Value::Null,
        json!(-1),
        json!("5s"),
        json!(0),
        json!(9_000_000_000_u64),
    ]);
    if !keep_alive.is_null() {
        body["keep_alive"] = keep_alive;
    }
    body["options"] = dice.pick(&[
        json!({}),
        json!({}),
        json!({"num_ctx": 2048}),
        json!({"num_thread": 1}),
    ]);
    match dice.roll(6) {
        0 | 1 => world.post("/api/generate", &body),
        2 => {
            body["prompt"] = json!("word ".repeat(usize::try_from(dice.roll(300)).unwrap()) + "x");
            body["options"]["num_predict"] = json!(dice.roll(300));
            body["stream"] = json!(dice.roll(2) == 0);
            world.post("/api/generate", &body)
        }
        3 => world.post("/api/chat", &body),
        4 => {
            body["input"] = json!("x");
            world.post("/api/embed", &body)
        }
        _ => world.send(
            "GET",
            dice.pick(&["/api/ps", "/api/tags", "/api/version"]),
            ollama_sim::Body::Bytes("".into()),
        ),
    }
}

fn fault(dice: &mut Dice, world: &mut World) {
    let model = dice.pick(&NAMES).to_owned();
    let fault = match dice.roll(16) {
        0..=2 => Fault::Crash(model),
        3..=5 => Fault::Hang(model),
        6..=8 => Fault::Thaw(model),
        9 | 10 => Fault::Unload(model),
        11 => Fault::OutOfMemory(model),
        12 => Fault::FreezeServer,
        13 => Fault::ThawServer,
        14 => dice.pick(&[Fault::Stop, Fault::Kill]),
        _ => Fault::Start,
    };
    // Most models have no runner at most times.
    world.try_fault(&fault);
}

/// Everything is thawed and started; then models in the way are unloaded, as people do with a wedged server.
fn calm(world: &mut World) {
    world.fault(&Fault::ThawServer);
    world.fault(&Fault::Start);
    world.fault(&Fault::Memory(None));
    for name in NAMES {
        world.try_fault(&Fault::Thaw(name.into()));
    }
    for _ in 0..40 {
        world.run(120.0);
        if world.rules.open() == 0 {
            return;
        }
        for name in NAMES {
            world.try_fault(&Fault::Unload(name.into()));
        }
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed * 0x9E37_79B9 + 1);
    let config = config(&mut dice);
    let most = match config.environment.max_loaded_models {
        0 => 3,
        some => some,
    };
    let mut world = World::new(config);
    let mut sent: Vec<CallId> = Vec::new();
    let mut dropped: Vec<CallId> = Vec::new();
    for _ in 0..STEPS {
        match dice.roll(10) {
            0..=4 => sent.push(request(&mut dice, &mut world)),
            5 => fault(&mut dice, &mut world),
            6 if !sent.is_empty() => {
                let id = dice.pick(&sent);
                world.drop_connection(id);
                dropped.push(id);
            }
            _ => {
                let millis = dice.pick(&[1, 10, 100, 1000, 12_000]);
                world.run(f64::from(millis) / 1000.0);
            }
        }
        assert!(
            world.rules.resident().len() <= most,
            "seed {seed}: more loaded than allowed"
        );
    }
    calm(&mut world);
    for id in sent {
        assert!(
            world.answered(id) || dropped.contains(&id),
            "seed {seed}: request {id} is never answered"
        );
    }
    assert_eq!(
        (world.rules.open(), world.rules.waiting()),
        (0, 0),
        "seed {seed}: something is left over"
    );
    for one in world.rules.resident() {
        assert_eq!(
            one.requests, 0,
            "seed {seed}: {} is kept by nobody",
            one.name
        );
    }
    // And it still works.
    assert_eq!(world.generate(&json!({"model": "b"})).0, 200, "seed {seed}");
}

#[test]
fn every_request_ends_and_nothing_is_left_over() {
    for seed in 0..SEEDS {
        run(seed);
    }
}

/// The same seed gives the same run.
#[test]
fn runs_can_be_repeated() {
    let events = || {
        let mut dice = Dice(7);
        let mut world = World::new(config(&mut dice));
        for _ in 0..STEPS {
            request(&mut dice, &mut world);
            fault(&mut dice, &mut world);
            world.run(0.5);
        }
        world.rules.events().cloned().collect::<Vec<_>>()
    };
    assert_eq!(events(), events());
    assert!(events().len() > 20);
}
