//! The composition root: the only module that knows all others. Bind first, so that addresses are known and errors come
//! before anything runs; then run everything in one place; then drain.

use crate::clock::{self, Clock};
use crate::config::{Connection, Settings};
use crate::driver::{Driver, Kick};
use crate::engine::{Memory, Snapshot};
use crate::http::{BindError, Bound, Surface};
use crate::metrics::{ConfigReload, Exposition, Metrics};
use crate::ollama::{BuildError, Client, ClientConfig};
use crate::runners::Observer;

use crate::state_file;
use prometheus::Registry;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// Why the preloader could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or may not be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A server cannot be addressed.
    #[error("server `{server}`: {source}")]
    Client {
        /// The server's name.
        server: String,
        /// Why.
        source: BuildError,
    },
    /// A metric of the same name is registered already.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A part of the preloader ended without being told to; the others were ended, so that a supervisor starts it again.
#[derive(Debug, thiserror::Error)]
#[error("a part of the preloader ended by itself, which is a defect")]
pub struct EndedByItself;

/// A preloader that listens and does not run yet.
#[derive(Debug)]
pub struct App {
    bound: Bound,
    driver: Driver<Client>,
    kick: Kick,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    surface: Arc<Surface>,
    reload: Arc<ConfigReload>,
    grace: Duration,
    /// Where what was learned is kept, and what it holds.
    state: Option<(PathBuf, Memory)>,
}

impl App {
    /// Takes the address and makes everything ready. Needs a running runtime.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        Self::bind_with(settings, Registry::new()).await
    }

    /// The same with a registry of the program around: `/metrics` then serves its metrics as well.
    pub async fn bind_with(settings: &Settings, registry: Registry) -> Result<Self, StartError> {
        let clock = Clock::start();
        let named = settings.spec.servers.iter().zip(&settings.connections);
        let clients = named
            .map(|(server, connection)| client(&server.name, connection))
            .collect::<Result<_, _>>()?;
        let bound = Bound::bind(settings.http.listen).await?;
        let (mut driver, kick, snapshots) =
            Driver::new(settings.spec.clone(), clients, seed(), clock);
        if settings.spec.timing.observe_runners {
            driver.observe(Observer::new(&settings.spec.servers, clock));
        }
        let reload = Arc::new(ConfigReload::default());
        reload.succeeded(clock::wall());
        let metrics = Metrics::new(snapshots.clone(), Arc::clone(&reload));
        let exposition = Exposition::new(metrics, registry, clock)?;
        let surface = Arc::new(Surface::new(snapshots.clone(), exposition));
        let grace = settings.http.shutdown_grace;
        let state = settings.state_path.clone().map(|path| {
            let memory = recall(&path);
            driver.recall(&memory);
            (path, memory)
        });
        Ok(Self {
            bound,
            driver,
            kick,
            snapshots,
            surface,
            reload,
            grace,
            state,
        })
    }

    /// The address of the admin server.
    pub fn address(&self) -> SocketAddr {
        self.bound.address()
    }

    /// The state of everything, as it changes.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Asks for a new attempt of models that wait for one.
    pub fn kick(&self) -> Kick {
        self.kick.clone()
    }

    /// Where to say how a reload of the configuration went.
    pub fn config_reload(&self) -> Arc<ConfigReload> {
        Arc::clone(&self.reload)
    }

    /// Runs until `shutdown` is done; then the gate closes, the listener closes, open requests end, and it returns.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), EndedByItself> {
        info!(address = %self.bound.address(), version = env!("CARGO_PKG_VERSION"), "listening");
        let (close_gate, gate_closes) = oneshot::channel::<()>();
        let (stop_http, http_stops) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(self.driver.run(done(gate_closes)));
        tasks.spawn(self.bound.serve(self.surface, done(http_stops), self.grace));
        // Ends with the driver, by the end of its snapshots.
        let mut keeper = JoinSet::new();
        if let Some((path, memory)) = self.state {
            keeper.spawn(state_file::keep(path, memory, self.snapshots.clone()));
        }
        let result = tokio::select! {
            () = shutdown => Ok(()),
            // Neither ends by itself; if one does, the other must not go on alone.
            Some(_) = tasks.join_next() => Err(EndedByItself),
        };
        drop(close_gate);
        let mut gate = self.snapshots;
        // The driver answers within a step; when it is gone already, its gate is closed.
        drop(gate.wait_for(|snapshot| !snapshot.gate.ready).await);
        drop(stop_http);
        while tasks.join_next().await.is_some() {}
        while keeper.join_next().await.is_some() {}
        info!("ended");
        result
    }
}

/// What an earlier process learned; a file that cannot be used is none.
fn recall(path: &Path) -> Memory {
    state_file::read(path).unwrap_or_else(|error| {
        warn!(path = %path.display(), error, "the state cannot be used; starting without it");
        Memory::default()
    })
}

/// Done when the sender is gone.
async fn done(signal: oneshot::Receiver<()>) {
    // Both a message and the end of the sender say the same.
    drop(signal.await);
}

fn client(server: &str, connection: &Connection) -> Result<Client, StartError> {
    let config = ClientConfig {
        base: connection.url.to_string(),
        bearer: connection
            .bearer
            .as_ref()
            .map(|token| token.expose().to_owned()),
        headers: connection
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        ca_pem: connection.ca_pem.clone(),
    };
    Client::new(&config).map_err(|source| StartError::Client {
        server: server.to_owned(),
        source,
    })
}

/// A seed for the jitter of waits: two sidecars that start together must not knock together.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
