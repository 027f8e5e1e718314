//! `demo`: the real preloader beside a simulated Ollama in the same process, and somebody who tells what happens.
//!
//! Nothing is computed and nothing is loaded; all else is as with a real server: the same requests over a socket, the
//! same decisions, the same page, status and metrics.

use crate::app::{App, EndedByItself, StartError};
use crate::config::{self, Given, Report, Settings, Sources};
use crate::engine::snapshot::{InstanceView, LossView, ModelView, Snapshot, State};
use ollama_sim::{Config, FaultError, ModelSpec, Sim};
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

const LARGE: &str = "qwen2.5-coder:3b";
const SMALL: &str = "tinyllama:latest";
const THEIRS: &str = "llama3.2:3b";

/// Time to look at a state before the next thing happens to it.
const LOOK: Duration = Duration::from_secs(3);

/// Time between two incidents, once the story has been told.
const PEACE: Duration = Duration::from_secs(20);

/// An agent's system prompt of 200 words; a real one has thousands.
const RULE: &str =
    "You are a careful assistant of a software team: answer shortly, name the file, never guess. ";

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The simulated Ollama did not start.
    #[error("the simulated Ollama did not start")]
    Simulation(#[from] ollama_sim::StartError),
    /// The built-in configuration of the demo is not valid, which is a defect.
    #[error("the demo's configuration: {0}")]
    Configuration(Report),
    /// The preloader did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The preloader ended.
    #[error(transparent)]
    Ended(#[from] EndedByItself),
    /// An incident could not be made, which is a defect.
    #[error("the incident could not be made")]
    Incident(#[from] FaultError),
}

/// Runs the demo on `listen` until `stop` is done; with `once` it ends when the story has been told.
pub(crate) async fn run(
    listen: SocketAddr,
    once: bool,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), DemoError> {
    let sim = Sim::start(ollama()).await?;
    let app = App::bind(&settings(listen, &sim.url())?).await?;
    welcome(app.address());
    let snapshots = app.snapshots();
    let (end, ended) = oneshot::channel::<()>();
    let mut running = std::pin::pin!(app.run(async { drop(ended.await) }));
    let told = tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = stop => Ok(()),
        told = tell(sim, snapshots, once) => told,
    };
    drop(end);
    running.await?;
    told
}

fn ollama() -> Config {
    let model = |name: &str, size: u64, seconds: u64| {
        let load = Duration::from_secs(seconds);
        ModelSpec::new(name).size(size).load(load)
    };
    let mut config = Config::new([
        model(LARGE, 1_930_000_000, 3),
        model(SMALL, 638_000_000, 2),
        model(THEIRS, 2_020_000_000, 1),
    ]);
    config.environment.max_loaded_models = 2;
    config
}

fn settings(listen: SocketAddr, url: &str) -> Result<Settings, DemoError> {
    let models = serde_json::json!([
        {"model": LARGE, "displayName": "Qwen 2.5 Coder 3B", "warmup": [{"system": RULE.repeat(12)}]},
        {"model": SMALL, "displayName": "TinyLlama 1.1B"},
    ]);
    let sources = Sources {
        flags: vec![
            Given::flag("--listen", "http.listen", listen.to_string()),
            Given::flag("demo", "servers", url),
            Given::flag("demo", "models", models.to_string()),
            // An idle model of others makes room after half a minute by default; nobody would wait for it here.
            Given::flag("demo", "residency.reclaimAfter", "3s"),
        ],
        ..Sources::default()
    };
    let mut settings = config::load(&sources)
        .map_err(DemoError::Configuration)?
        .settings;
    // A simulated server has no runners.
    settings.spec.timing.observe_runners = false;
    Ok(settings)
}

fn welcome(address: SocketAddr) {
    say(&format!(
        "Model Preloader beside a SIMULATED Ollama: no model is really loaded.\n\n\
         \x20 page      http://{address}/\n\
         \x20 status    http://{address}/api/models/status\n\
         \x20 metrics   http://{address}/metrics\n\
         \x20 gate      http://{address}/-/ready\n"
    ));
}

/// The story, and after it further incidents, so that there is something to look at.
async fn tell(
    sim: Sim,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    once: bool,
) -> Result<(), DemoError> {
    let mut narrator = Narrator::default();
    narrator
        .until(&mut snapshots, |snapshot| snapshot.gate.ready)
        .await;
    narrator.wait(&mut snapshots, LOOK).await;
    say(&format!(
        "\nAnother client asks for {THEIRS}, and this Ollama has room for two:"
    ));
    let body = serde_json::json!({"model": THEIRS, "prompt": "Hi", "options": {"num_predict": 1}});
    sim.client("/api/generate", &body);
    narrator.loss_and_return(&mut snapshots).await;
    if once {
        say("\nThat is the story.");
        return Ok(());
    }
    say("\nThat is the story. More happens every 20 s; Ctrl-C ends it.");
    loop {
        narrator.wait(&mut snapshots, PEACE).await;
        say(&format!("\nThe runner of {LARGE} is killed:"));
        sim.crash(LARGE)?;
        narrator.loss_and_return(&mut snapshots).await;
        narrator.wait(&mut snapshots, PEACE).await;
        say("\nOllama is restarted:");
        sim.stop().await;
        narrator.wait(&mut snapshots, LOOK).await;
        sim.resume().await;
        narrator
            .until(&mut snapshots, |snapshot| snapshot.gate.ready)
            .await;
    }
}

/// Says what changed from one snapshot to the next.
#[derive(Default)]
struct Narrator {
    known: Vec<Known>,
    open: bool,
}

/// What was said of a model.
#[derive(Clone, PartialEq, Default)]
struct Known {
    state: Option<State>,
    loss: Option<LossView>,
}

impl Narrator {
    async fn loss_and_return(&mut self, snapshots: &mut watch::Receiver<Arc<Snapshot>>) {
        self.until(snapshots, |snapshot| !snapshot.gate.ready).await;
        self.until(snapshots, |snapshot| snapshot.gate.ready).await;
    }

    async fn wait(&mut self, snapshots: &mut watch::Receiver<Arc<Snapshot>>, time: Duration) {
        // The end of the time is the usual end.
        drop(tokio::time::timeout(time, self.until(snapshots, |_| false)).await);
    }

    /// Tells until `done`, or until the preloader has ended.
    async fn until(
        &mut self,
        snapshots: &mut watch::Receiver<Arc<Snapshot>>,
        done: impl Fn(&Snapshot) -> bool,
    ) {
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            self.tell(&snapshot);
            if done(&snapshot) || snapshots.changed().await.is_err() {
                return;
            }
        }
    }

    fn tell(&mut self, snapshot: &Snapshot) {
        let at = format!("{:>6.1} s", snapshot.at.since_start().as_secs_f64());
        self.known
            .resize_with(snapshot.models.len(), Known::default);
        for (model, known) in snapshot.models.iter().zip(&mut self.known) {
            for words in known.update(model) {
                say(&format!("{at}  {:<18}  {words}", model.name));
            }
        }
        if snapshot.gate.ready != self.open {
            self.open = snapshot.gate.ready;
            let words = if self.open {
                "OPEN: traffic may come"
            } else {
                "CLOSED: no traffic"
            };
            say(&format!("{at}  {:<18}  {words}", "gate"));
        }
    }
}

impl Known {
    /// What is new of the model, in words.
    fn update(&mut self, model: &ModelView) -> Vec<String> {
        let Some(instance) = model.instances.first() else {
            return Vec::new();
        };
        let before = std::mem::replace(
            self,
            Self {
                state: Some(model.state),
                loss: instance.last_loss.clone(),
            },
        );
        let mut said = Vec::new();
        if before.state != self.state {
            let was_ready = before.state == Some(State::Ready);
            said.push(if model.state == State::Ready {
                format!("READY{}", times(instance))
            } else if model.state == State::Verifying {
                "loaded; proving that it is warm".to_owned()
            } else if model.state == State::Pending && was_ready {
                "lost".to_owned()
            } else {
                model.state.to_string()
            });
        }
        let loss = self.loss.as_ref();
        if let Some(loss) = loss.filter(|loss| before.loss.as_ref() != Some(loss)) {
            said.push(format!("why: {} ({})", loss.detail, loss.cause.as_str()));
        }
        said
    }
}

fn times(instance: &InstanceView) -> String {
    let seconds = |name: &str, duration: Option<Duration>| {
        duration.map(|duration| format!("{name} {:.1} s", duration.as_secs_f64()))
    };
    let parts = [
        seconds("load", instance.load_duration),
        seconds("prompt", instance.warmup_duration),
    ];
    let said: Vec<_> = parts.into_iter().flatten().collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(" ({})", said.join(", "))
    }
}

/// Writes a part of the story. A reader that went away has seen enough.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}
