//! The exposition: golden text, the documentation, promtool's rules, caching.

use super::*;
use crate::clock::Clock;
use crate::engine::{Engine, Event, Mono};
use crate::testing::spec;
use std::collections::BTreeSet;
use std::time::Duration;

struct World {
    engine: Engine,
    sender: watch::Sender<Arc<Snapshot>>,
    exposition: Exposition,
}

impl World {
    fn new(models: &[&str]) -> Self {
        let mut engine = Engine::new(spec(models), 1);
        engine.handle(Mono::ZERO, Event::Clock(UnixMillis(1_795_507_200_000)));
        let (sender, snapshots) = watch::channel(Arc::new(engine.snapshot(Mono::ZERO)));
        let metrics = Metrics::new(snapshots, Arc::new(ConfigReload::default()));
        let exposition = Exposition::new(metrics, Registry::new(), Clock::start()).unwrap();
        Self {
            engine,
            sender,
            exposition,
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.exposition.text(false).to_vec()).unwrap()
    }
}

/// The text without the values of the process, which are another each time, as if on x86-64.
fn ours(text: &str) -> String {
    let ours: String = text
        .split_inclusive('\n')
        .filter(|line| line.contains("preloader_"))
        .collect();
    ours.replace(
        &format!("arch=\"{}\"", std::env::consts::ARCH),
        "arch=\"x86_64\"",
    )
}

#[tokio::test]
async fn every_child_is_there_from_the_start() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
    let made = ours(&World::new(&["tinyllama:latest"]).text());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        std::fs::write(golden, &made).unwrap();
    }
    let kept = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(
        kept == made,
        "tests/golden/metrics.txt differs; see docs/TESTING.md for how to update it:\n{made}"
    );
}

#[tokio::test]
async fn the_documentation_names_each_metric_and_no_other() {
    let page = include_str!("../../docs/METRICS.md");
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let documented: BTreeSet<_> = words
        .filter(|word| word.starts_with("preloader_") || word.starts_with("process_"))
        .collect();
    let text = World::new(&["tinyllama:latest"]).text();
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut exported: BTreeSet<_> = types.collect();
    exported.extend(FAMILIES.iter().map(|family| family.name));
    assert_eq!(documented, exported);
}

#[tokio::test]
async fn names_follow_the_conventions() {
    for family in FAMILIES {
        assert_eq!(
            family.kind == Kind::Counter,
            family.name.ends_with("_total"),
            "{}",
            family.name
        );
        assert_eq!(
            family.kind == Kind::Histogram,
            family.name.ends_with("_duration_seconds"),
            "{}",
            family.name
        );
        assert!(family.help.ends_with('.'), "{}", family.name);
        for unit in ["_ms", "_mb", "_percent", "_seconds_ago"] {
            assert!(!family.name.contains(unit), "{}", family.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_text_is_kept_until_something_changes() {
    let mut world = World::new(&["a:latest"]);
    let first = world.exposition.text(false);
    assert_eq!(
        first.as_ptr(),
        world.exposition.text(false).as_ptr(),
        "made once"
    );
    world.engine.handle(Mono::millis(5), Event::Shutdown);
    world
        .sender
        .send_replace(Arc::new(world.engine.snapshot(Mono::millis(5))));
    assert_ne!(first.as_ptr(), world.exposition.text(false).as_ptr());
    let second = world.exposition.text(false);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ne!(
        second.as_ptr(),
        world.exposition.text(false).as_ptr(),
        "the process's values are at most 1 s old"
    );
}

#[tokio::test]
async fn a_registry_of_the_program_around_is_served_too() {
    let world = World::new(&["a:latest"]);
    let registry = Registry::new();
    let theirs = prometheus::IntCounter::new("their_requests_total", "Theirs.").unwrap();
    registry.register(Box::new(theirs.clone())).unwrap();
    theirs.inc();
    let metrics = Metrics::new(world.sender.subscribe(), Arc::new(ConfigReload::default()));
    let exposition = Exposition::new(metrics.clone(), registry.clone(), Clock::start()).unwrap();
    let text = String::from_utf8(exposition.text(false).to_vec()).unwrap();
    assert!(text.contains("their_requests_total 1") && text.contains("preloader_ready 0"));
    assert!(
        Exposition::new(metrics, registry, Clock::start()).is_err(),
        "twice is an error, not a panic"
    );
}

#[tokio::test]
async fn the_text_is_what_the_library_makes_of_the_same_metrics() {
    let mut world = World::new(&["a:latest", "odd\"name\\with\nall:latest"]);
    world.engine.handle(Mono::millis(5), Event::Shutdown);
    let mut snapshot = world.engine.snapshot(Mono::millis(1234));
    let mut model = crate::engine::snapshot::ModelView::clone(&snapshot.models[0]);
    let mut instance = crate::engine::snapshot::InstanceView::clone(&model.instances[0]);
    let mut totals = crate::engine::snapshot::Totals::default();
    for millis in [1, 60, 333, 70_000, 400_000] {
        totals
            .preload_seconds
            .observe(Duration::from_millis(millis));
    }
    instance.totals = Arc::new(totals);
    model.instances[0] = Arc::new(instance);
    snapshot.models[0] = Arc::new(model);
    world.sender.send_replace(Arc::new(snapshot));

    let metrics = Metrics::new(world.sender.subscribe(), Arc::new(ConfigReload::default()));
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    let theirs = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let mut written = String::new();
    metrics.write(&mut written);
    // The library sorts; the order has no meaning.
    let sorted = |text: &str| -> Vec<String> {
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("preloader_"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert!(written.contains(r#"model="odd\"name\\with\nall:latest""#));
    assert!(written.contains(r#"_bucket{server="ollama",model="a:latest",le="0.5"} 3"#));
    assert_eq!(sorted(&written), sorted(&theirs));
}
