//! The driver on a paused clock with a scripted in-memory Ollama.

use super::*;
use crate::engine::FailureKind;
use crate::engine::request::{Installed, ModelInfo, PIN_SECONDS, Resident, Timings};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Loads take three seconds; the first `fail_first` of them fail after one.
#[derive(Debug, Default)]
struct Script {
    resident: Mutex<Vec<Resident>>,
    loads: AtomicUsize,
    dropped: AtomicUsize,
    fail_first: usize,
    missing: AtomicBool,
}

/// Counts a future that is dropped before its end.
struct DropGuard<'a>(&'a AtomicUsize, bool);

impl Drop for DropGuard<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Ollama for Arc<Script> {
    async fn call(
        &self,
        request: Request,
        progress: impl Fn(crate::ollama::Progress) + Send + Sync,
    ) -> Result<Answer, Failure> {
        Ok(match request {
            Request::Version => Answer::Version("0.33.0".into()),
            Request::Ps => Answer::Resident(self.resident.lock().unwrap().clone()),
            Request::Tags if self.missing.load(Ordering::SeqCst) => Answer::Installed(Vec::new()),
            Request::Tags => Answer::Installed(vec![Installed {
                name: "a:latest".into(),
                digest: "d".into(),
                size: 1,
                remote: false,
            }]),
            Request::Show { .. } => Answer::Info(ModelInfo {
                blob: Some("sha256-1".into()),
                completion: true,
                ..ModelInfo::default()
            }),
            Request::Load(target) => {
                let number = self.loads.fetch_add(1, Ordering::SeqCst);
                let mut guard = DropGuard(&self.dropped, false);
                if number < self.fail_first {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    guard.1 = true;
                    return Err(Failure::new(FailureKind::ServerError, "scripted"));
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
                guard.1 = true;
                let seconds = clock::wall().0 + PIN_SECONDS * 1000;
                self.resident.lock().unwrap().push(Resident {
                    name: target.model,
                    digest: "d".into(),
                    size: 1,
                    size_vram: 0,
                    context_length: 4096,
                    expires_at: UnixMillis(seconds),
                    expires_nanos: 0,
                });
                Answer::Done(Timings::default())
            }
            Request::Pin(_)
            | Request::Ping(_)
            | Request::Probe(_)
            | Request::Warmup { .. }
            | Request::Unload { .. } => Answer::Done(Timings::default()),
            Request::Pull { .. } => {
                // Twenty lines a second for ten seconds.
                for line in 1..=200 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    progress(Progress {
                        completed: line,
                        total: 200,
                    });
                }
                self.missing.store(false, Ordering::SeqCst);
                Answer::Done(Timings::default())
            }
        })
    }
}

fn spec() -> Spec {
    let mut spec = crate::testing::spec(&["a:latest"]);
    for model in &mut spec.models {
        model.retry_delay = Duration::from_secs(2);
        model.verify = crate::engine::spec::Verify::Token;
        model.pull = crate::engine::spec::PullPolicy::IfMissing;
    }
    spec
}

struct Running {
    script: Arc<Script>,
    clock: Clock,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    kick: Kick,
    tasks: JoinSet<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

fn start(fail_first: usize) -> Running {
    run(Script {
        fail_first,
        ..Script::default()
    })
}

fn run(script: Script) -> Running {
    let script = Arc::new(script);
    let clock = Clock::start();
    let (driver, kick, snapshots) = Driver::new(spec(), vec![Arc::clone(&script)], 1, clock);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run(async {
        let _ended = stopped.await;
    }));
    Running {
        script,
        clock,
        snapshots,
        kick,
        tasks,
        stop: Some(stop),
    }
}

#[tokio::test(start_paused = true)]
async fn loads_and_opens_the_gate_at_the_exact_time() {
    let mut running = start(0);
    running
        .snapshots
        .wait_for(|snapshot| snapshot.gate.ready)
        .await
        .unwrap();
    assert_eq!(running.clock.now().since_start().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_wait_for_their_backoff() {
    let mut running = start(2);
    running
        .snapshots
        .wait_for(|snapshot| snapshot.gate.ready)
        .await
        .unwrap();
    // 1 s, wait 2 s, 1 s, wait 4 s, 3 s.
    assert_eq!(running.clock.now().since_start().as_secs(), 11);
    assert_eq!(running.script.loads.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_kick_does_not_wait() {
    let mut running = start(1);
    let waits = |snapshot: &Arc<Snapshot>| {
        snapshot.models[0].state == crate::engine::snapshot::State::Retrying
    };
    running.snapshots.wait_for(waits).await.unwrap();
    assert!(running.kick.kick(None));
    running
        .snapshots
        .wait_for(|snapshot| snapshot.gate.ready)
        .await
        .unwrap();
    assert_eq!(running.clock.now().since_start().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_the_gate_and_drops_what_is_open() {
    let mut running = start(0);
    let loading = |snapshot: &Arc<Snapshot>| snapshot.servers[0].loads_in_flight == 1;
    running.snapshots.wait_for(loading).await.unwrap();
    running.stop.take().unwrap().send(()).unwrap();
    while running.tasks.join_next().await.is_some() {}
    let last = running.snapshots.borrow().clone();
    assert!(!last.gate.ready);
    assert_eq!(&*last.gate.reasons[0].message, "shutting down");
    assert_eq!(running.script.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_model_is_back_after_one_poll_and_its_load() {
    let mut running = start(0);
    running
        .snapshots
        .wait_for(|snapshot| snapshot.gate.ready)
        .await
        .unwrap();
    let before = running.clock.now();
    running.script.resident.lock().unwrap().clear();
    running
        .snapshots
        .wait_for(|snapshot| !snapshot.gate.ready)
        .await
        .unwrap();
    running
        .snapshots
        .wait_for(|snapshot| snapshot.gate.ready)
        .await
        .unwrap();
    assert!(running.clock.now().since(before) <= Duration::from_millis(5010));
}

#[tokio::test(start_paused = true)]
async fn a_pull_reports_twice_a_second_and_ends_in_a_load() {
    let mut running = run(Script {
        missing: AtomicBool::new(true),
        ..Script::default()
    });
    let mut seen = Vec::new();
    while !running.snapshots.borrow_and_update().gate.ready {
        let snapshot = running.snapshots.borrow().clone();
        if let Some(pull) = snapshot.models[0].instances[0].pull() {
            seen.push(pull.completed);
        }
        running.snapshots.changed().await.unwrap();
    }
    seen.dedup();
    assert!((20..=22).contains(&seen.len()), "{seen:?}");
    assert!(
        seen[0] == 0 && seen.is_sorted() && seen.last() >= Some(&190),
        "{seen:?}"
    );
    assert_eq!(running.clock.now().since_start().as_secs(), 13);
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_of_the_runners_reaches_the_snapshot() {
    let script = Arc::new(Script::default());
    let clock = Clock::start();
    let mut spec = spec();
    spec.servers[0].url = "http://ollama.example.com:11434".into();
    let observer = crate::runners::Observer::new(&spec.servers, clock);
    let (mut driver, _kick, mut snapshots) = Driver::new(spec, vec![script], 1, clock);
    driver.observe(observer);
    let reason = |snapshot: &Snapshot| snapshot.servers[0].runners.reason.clone();
    let before = reason(&snapshots.borrow());
    assert_eq!(before.as_deref(), Some("observation is off"));
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run(std::future::pending()));
    let elsewhere = |snapshot: &Arc<Snapshot>| {
        reason(snapshot).is_some_and(|reason| reason.contains("not a loopback address"))
    };
    snapshots.wait_for(elsewhere).await.unwrap();
}
