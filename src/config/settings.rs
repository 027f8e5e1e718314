//! The configuration as the rest of the program uses it: typed, complete, and valid by the way it is made.

use super::secret::Secret;
use crate::engine::Spec;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Where our requests to Ollama are logged.
const REQUESTS: &str = "model_preloader::ollama";

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the engine has to know.
    pub spec: Spec,
    /// How each server is reached, in the order of `spec.servers`.
    pub connections: Vec<Connection>,
    /// The admin server.
    pub http: HttpSettings,
    /// The file that keeps what was learned.
    pub state_path: Option<PathBuf>,
    /// The log.
    pub log: LogSettings,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `http://` or `https://`, host, port and base path, without credentials and without a slash at the end.
    pub url: Arc<str>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// The file of certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// Its content.
    pub ca_pem: Option<Vec<u8>>,
}

/// The admin server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpSettings {
    /// The address of status, metrics and probes.
    pub listen: SocketAddr,
    /// How long open requests may take to end at shutdown.
    pub shutdown_grace: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 11490)),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// The log, on standard error.
#[derive(Clone, PartialEq, Debug)]
pub struct LogSettings {
    /// Its form.
    pub format: LogFormat,
    /// What it contains.
    pub filter: Targets,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: Targets::new().with_default(LevelFilter::INFO),
        }
    }
}

impl LogSettings {
    /// The same with every request to Ollama.
    pub(super) fn with_requests(mut self) -> Self {
        self.filter = self.filter.with_target(REQUESTS, LevelFilter::DEBUG);
        self
    }
}

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}
