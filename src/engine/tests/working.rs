//! What the runners have computed, summed over their lives.

use super::looks::*;
use super::world::*;
use crate::engine::sight::{Hidden, Scene, Work};

const A: &str = "a:latest";

fn sums(looked: &mut Looked, name: &str) -> (f64, f64, f64) {
    let work = looked.world.view(name).totals.work;
    (
        work.prompt_tokens,
        work.prompt_tokens_cached,
        work.generated_tokens,
    )
}

#[test]
fn sums_go_on_over_the_lives_of_runners_and_never_fall() {
    let mut looked = Looked::all_ready(spec(vec![model(A)]));
    looked.computed(1, 100.0, 20.0, 5.0);
    looked.pass(3);
    assert_eq!(sums(&mut looked, A), (100.0, 20.0, 5.0));
    looked.computed(1, 110.0, 400.0, 9.0);
    looked.pass(1);
    assert_eq!(sums(&mut looked, A), (110.0, 400.0, 9.0));
    looked.kill(1);
    looked.start(runner(2, A));
    looked.world.list(A, 300);
    looked.pass(1);
    looked.computed(2, 7.0, 0.0, 1.0);
    looked.pass(1);
    assert_eq!(sums(&mut looked, A), (117.0, 400.0, 10.0));
    let work = looked.world.view(A).totals.work;
    assert!((work.prompt_seconds - 1.17).abs() < 1e-9);
    assert!((work.warm_share().unwrap() - 400.0 / 517.0).abs() < 1e-9);
}

#[test]
fn what_was_done_before_this_process_began_is_not_counted() {
    let mut looked = Looked::all_ready(spec(vec![model(A)]));
    looked.runner(1).old = true;
    looked.computed(1, 5000.0, 1.0, 1.0);
    looked.pass(1);
    assert_eq!(sums(&mut looked, A), (0.0, 0.0, 0.0));
    looked.computed(1, 5010.0, 1.0, 1.0);
    looked.pass(1);
    assert_eq!(sums(&mut looked, A), (10.0, 0.0, 0.0));
}

#[test]
fn a_time_without_looks_counts_nothing_twice() {
    let mut looked = Looked::all_ready(spec(vec![model(A)]));
    looked.computed(1, 100.0, 0.0, 0.0);
    looked.pass(1);
    looked.hide(Hidden::NoListener);
    looked.pass(1);
    assert_eq!(sums(&mut looked, A), (100.0, 0.0, 0.0));
    looked.computed(1, 130.0, 0.0, 0.0);
    looked.pass(2);
    assert_eq!(sums(&mut looked, A), (130.0, 0.0, 0.0));
}

#[test]
fn two_names_of_the_same_weights_count_once() {
    let mut both = spec(vec![model(A), model("alias:latest")]);
    both.timing.concurrency = 1;
    let mut world = World::new(both);
    world.install("alias:latest", "sha256-a:latest");
    world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
    world.pass(100);
    world.finish_load(A);
    let mut looked = Looked {
        world,
        scene: Scene::default(),
    };
    looked.start(runner(1, A));
    looked.pass(5);
    assert!(looked.world.is_ready());
    looked.computed(1, 10.0, 0.0, 0.0);
    looked.pass(1);
    assert_eq!(sums(&mut looked, A), (10.0, 0.0, 0.0));
    assert_eq!(sums(&mut looked, "alias:latest"), (0.0, 0.0, 0.0));
}

#[test]
fn a_number_that_fell_began_anew() {
    let before = Work {
        prompt_tokens: 100.0,
        ..Work::default()
    };
    let now = Work {
        prompt_tokens: 3.0,
        ..Work::default()
    };
    assert_eq!(now.since(before), now);
}
