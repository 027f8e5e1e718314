//! A preloader beside a simulated Ollama, and questions to both.

use model_preloader::app::App;
use model_preloader::config::{self, Given, Settings, Sources};
use model_preloader::engine::Snapshot;
use model_preloader::engine::snapshot::{InstanceView, State};
use ollama_sim::{Config, ModelSpec, Received, Sim};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Only a defect takes that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A model that loads in 50 ms and computes a prompt at 20 000 tokens a second.
pub(crate) fn quick(name: &str) -> ModelSpec {
    ModelSpec {
        prompt_token: Duration::from_micros(50),
        answer_token: Duration::from_micros(100),
        ..ModelSpec::new(name).load(Duration::from_millis(50))
    }
}

pub(crate) async fn simulated(names: &[&str]) -> Sim {
    let models = names.iter().map(|name| quick(name));
    Sim::start(Config::new(models)).await.unwrap()
}

/// Settings for a server, impatient so that tests are short.
pub(crate) fn settings(url: &str, models: &Value, set: &[&str]) -> Settings {
    let impatient = [
        "preload.jitterPercent=0",
        "poll.interval=100ms",
        "poll.timeout=100ms",
        "poll.tagsInterval=1s",
        "poll.reconnectInterval=50ms",
        "health.pingInterval=500ms",
        "health.slowAfter=500ms",
        "health.staleAfter=1s",
        "health.serverTimeout=500ms",
        "residency.reclaimAfter=500ms",
    ];
    let sources = Sources {
        flags: vec![
            Given::flag("test", "http.listen", "127.0.0.1:0"),
            Given::flag("test", "servers", url),
            Given::flag("test", "models", models.to_string()),
        ],
        set: impatient
            .iter()
            .chain(set)
            .map(ToString::to_string)
            .collect(),
        ..Sources::default()
    };
    match config::load(&sources) {
        Ok(mut loaded) => {
            // The listeners of other tests are none of its business.
            loaded.settings.spec.timing.observe_runners = false;
            loaded.settings
        }
        Err(report) => panic!("{report}"),
    }
}

/// A running preloader.
pub(crate) struct Stand {
    pub(crate) url: String,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<bool>,
    http: reqwest::Client,
}

impl Stand {
    pub(crate) async fn start(url: &str, models: Value, set: &[&str]) -> Self {
        Self::with(&settings(url, &models, set)).await
    }

    pub(crate) async fn with(settings: &Settings) -> Self {
        let app = App::bind(settings).await.unwrap();
        let url = format!("http://{}", app.address());
        let snapshots = app.snapshots();
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = app.run(async { drop(stopped.await) }).await;
            ended.is_ok()
        });
        Self {
            url,
            snapshots,
            stop: Some(stop),
            tasks,
            http: client(),
        }
    }

    /// Waits until the snapshot is as wanted.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl FnMut(&Arc<Snapshot>) -> bool,
    ) -> Arc<Snapshot> {
        let latest = self.snapshots.clone();
        let found = tokio::time::timeout(LIMIT, self.snapshots.wait_for(wanted)).await;
        let Ok(found) = found else {
            panic!("not within {LIMIT:?}: {what}; it is {:#?}", latest.borrow());
        };
        Arc::clone(&found.expect("the preloader runs"))
    }

    pub(crate) async fn ready(&mut self) -> Arc<Snapshot> {
        self.until("the gate opens", |snapshot| snapshot.gate.ready)
            .await
    }

    pub(crate) async fn closed(&mut self) -> Arc<Snapshot> {
        self.until("the gate closes", |snapshot| !snapshot.gate.ready)
            .await
    }

    pub(crate) async fn state(&mut self, name: &str, state: State) -> Arc<InstanceView> {
        let what = format!("{name} is {state}");
        let snapshot = self
            .until(&what, |snapshot| view(snapshot, name).state == state)
            .await;
        view(&snapshot, name)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self
            .http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    /// Ends it in order; whether it ended as it should.
    pub(crate) async fn stop(mut self) -> bool {
        drop(self.stop.take());
        let ended = tokio::time::timeout(LIMIT, self.tasks.join_next()).await;
        ended.unwrap().unwrap().unwrap()
    }
}

pub(crate) fn view(snapshot: &Snapshot, name: &str) -> Arc<InstanceView> {
    let model = snapshot.models.iter().find(|model| &*model.name == name);
    Arc::clone(&model.expect("it is declared").instances[0])
}

/// The requests that name a model, but for those of other clients.
pub(crate) fn requests(sim: &Sim, path: &str) -> Vec<Received> {
    let received = sim.received();
    received
        .into_iter()
        .filter(|request| request.path == path)
        .collect()
}

/// A client of HTTP, as other programs have one.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(no_tls());
    builder.no_proxy().timeout(LIMIT).build().unwrap()
}

fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
