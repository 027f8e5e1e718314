//! How fast the engine decides and how fast the metrics are made. `cargo bench --bench engine`.
//!
//! Every model is ready and is kept so for a minute of the engine's time: polls, pings, their answers and the clock's
//! ticks, as the driver would tell them. The minute is recorded once and replayed, so that only the engine is measured.

mod world;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use model_preloader::engine::{Engine, Event, Mono};
use model_preloader::metrics::{ConfigReload, Metrics};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use world::World;

const MODELS: [usize; 4] = [3, 10, 100, 200];
const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    divan::main();
}

/// The minute's events and an engine that waits for them.
fn minute(models: usize) -> (Engine, Vec<(Mono, Event)>) {
    let mut world = World::ready(models);
    let before = world.told.len();
    world.pass(MINUTE);
    let events = world.told.split_off(before);
    let mut engine = Engine::new(world::spec(models), world::SEED);
    for (now, event) in world.told {
        engine.handle(now, event);
        engine.snapshot(now);
    }
    (engine, events)
}

/// One step is one event: what [`Engine::handle`] costs.
#[divan::bench(args = MODELS)]
fn handle(bencher: Bencher<'_, '_>, models: usize) {
    bencher
        .with_inputs(|| minute(models))
        .input_counter(|(_, events)| ItemsCount::new(events.len()))
        .bench_local_values(|(mut engine, events)| {
            for (now, event) in events {
                black_box(engine.handle(now, event));
            }
            engine
        });
}

/// The whole step of the driver: handle, publish what changed, ask for the next time.
#[divan::bench(args = MODELS)]
fn step(bencher: Bencher<'_, '_>, models: usize) {
    bencher
        .with_inputs(|| minute(models))
        .input_counter(|(_, events)| ItemsCount::new(events.len()))
        .bench_local_values(|(mut engine, events)| {
            for (now, event) in events {
                black_box(engine.handle(now, event));
                if engine.has_changed() {
                    black_box(engine.snapshot(now));
                }
                black_box(engine.next_due());
            }
            engine
        });
}

/// Start to ready: everything that happens until all models are loaded.
#[divan::bench(args = MODELS)]
fn preload(bencher: Bencher<'_, '_>, models: usize) {
    let told = World::ready(models).told;
    bencher
        .with_inputs(|| (Engine::new(world::spec(models), world::SEED), told.clone()))
        .input_counter(|(_, events)| ItemsCount::new(events.len()))
        .bench_local_values(|(mut engine, events)| {
            for (now, event) in events {
                black_box(engine.handle(now, event));
            }
            engine
        });
}

/// The text of `/metrics`, made anew: what a scrape costs after a change.
#[divan::bench(args = MODELS)]
fn encode_metrics(bencher: Bencher<'_, '_>, models: usize) {
    let mut world = World::ready(models);
    let snapshot = Arc::new(world.engine.snapshot(world.now));
    let (_sender, receiver) = watch::channel(snapshot);
    let metrics = Metrics::new(receiver, Arc::new(ConfigReload::default()));
    let encode = || {
        let mut text = String::with_capacity(16 << 10);
        metrics.write(&mut text);
        text
    };
    let bytes = encode().len();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| black_box(encode()));
}
