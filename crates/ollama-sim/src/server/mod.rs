//! The simulated server behind HTTP, and the handle by which tests and the binary control it.

mod control;
mod host;
mod http;
mod listener;
mod shared;

use crate::config::{Config, ModelSpec};
use crate::journal::{Event, Received};
use crate::rules::{Fault, FaultError};
use crate::{Resident, Rules};
use shared::Shared;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The header that every response has.
pub const HEADER: &str = "x-ollama-sim";

/// Its value.
pub const HEADER_VALUE: &str = "simulated";

/// Why the simulation could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A model's name is none.
    #[error(
        "`{0}` is no model name: use letters, digits, `_`, `-` and `.`, such as `qwen2.5-coder:3b`"
    )]
    Name(String),
    /// The speed is no positive number.
    #[error("the speed {0} is not a number above 0")]
    Speed(f64),
}

/// A running simulated server. It ends when this is dropped.
#[derive(Debug)]
pub struct Sim {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends the tasks when it is dropped.
    _tasks: JoinSet<()>,
}

impl Sim {
    /// Listens and answers, from now on. Needs a tokio runtime with time and I/O.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        check(&config)?;
        let failed = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, models = config.models.len(), "this is a simulation of Ollama; it computes nothing");
        let shared = Arc::new(Shared::new(config));
        let mut tasks = JoinSet::new();
        tasks.spawn(shared::drive(Arc::clone(&shared)));
        tasks.spawn(listener::serve(listener, address, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            _tasks: tasks,
        })
    }

    /// Such as `http://127.0.0.1:40001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a fault happen now.
    pub fn fault(&self, fault: &Fault) -> Result<(), FaultError> {
        self.shared.fault(fault)
    }

    /// Kills the model's runner.
    pub fn crash(&self, model: &str) -> Result<(), FaultError> {
        self.fault(&Fault::Crash(model.into()))
    }

    /// Freezes the model's runner; also one that is being loaded.
    pub fn hang(&self, model: &str) -> Result<(), FaultError> {
        self.fault(&Fault::Hang(model.into()))
    }

    /// Lets a frozen runner go on.
    pub fn thaw(&self, model: &str) -> Result<(), FaultError> {
        self.fault(&Fault::Thaw(model.into()))
    }

    /// Unloads the model, as another client does.
    pub fn unload(&self, model: &str) -> Result<(), FaultError> {
        self.fault(&Fault::Unload(model.into()))
    }

    /// Deletes the model. Its runner stays.
    pub fn delete(&self, model: &str) -> Result<(), FaultError> {
        self.fault(&Fault::Delete(model.into()))
    }

    /// Installs a model, or another version of it.
    pub fn install(&self, model: ModelSpec) -> Result<(), FaultError> {
        self.fault(&Fault::Install(Box::new(model)))
    }

    /// Another load time from now on.
    pub fn set_load_time(&self, model: &str, time: Duration) -> Result<(), FaultError> {
        self.fault(&Fault::LoadTime(model.into(), time))
    }

    /// Another client sends a request; nobody reads the answer.
    pub fn client(&self, path: &str, body: &serde_json::Value) {
        let fault = Fault::Client {
            path: path.into(),
            body: body.to_string(),
        };
        self.always(&fault);
    }

    /// Freezes the server: it accepts connections and answers nothing.
    pub fn freeze_server(&self) {
        self.always(&Fault::FreezeServer);
    }

    /// Lets it go on.
    pub fn thaw_server(&self) {
        self.always(&Fault::ThawServer);
    }

    /// Ends the server: open requests are cut, new connections refused. Returns when nothing listens any more.
    pub async fn stop(&self) {
        self.always(&Fault::Stop);
        self.shared.listens(false).await;
    }

    /// Starts it again on the same address, with nothing loaded. Returns when it listens.
    pub async fn resume(&self) {
        self.always(&Fault::Start);
        self.shared.listens(true).await;
    }

    /// [`stop`](Self::stop) and [`resume`](Self::resume).
    pub async fn restart(&self) {
        self.stop().await;
        self.resume().await;
    }

    /// These faults need nothing that could be missing.
    fn always(&self, fault: &Fault) {
        if let Err(error) = self.fault(fault) {
            tracing::error!(%error, "a fault without conditions failed");
        }
    }

    /// What `/api/ps` lists, without asking it.
    pub fn resident(&self) -> Vec<Resident> {
        self.read(Rules::resident)
    }

    /// Whether a model is loaded, under whatever name it was loaded first.
    pub fn is_resident(&self, model: &str) -> bool {
        self.resident().iter().any(|one| one.is(model))
    }

    /// The requests received, the oldest first; the last [`REQUESTS_MAX`](crate::REQUESTS_MAX).
    pub fn received(&self) -> Vec<Received> {
        self.read(|rules| rules.received().cloned().collect())
    }

    /// What happened to models, the oldest first; the last [`EVENTS_MAX`](crate::EVENTS_MAX).
    pub fn events(&self) -> Vec<Event> {
        self.read(|rules| rules.events().cloned().collect())
    }

    /// Time since the start, as in the journal.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    fn read<T>(&self, read: impl FnOnce(&Rules) -> T) -> T {
        self.shared.read(read)
    }
}

fn check(config: &Config) -> Result<(), StartError> {
    let speed = config.timing.speed;
    if !(speed.is_finite() && speed > 0.0) {
        return Err(StartError::Speed(speed));
    }
    let mut all = config.models.iter().chain(&config.registry);
    match all.find(|model| !model.has_name()) {
        Some(model) => Err(StartError::Name(model.name.clone())),
        None => Ok(()),
    }
}
