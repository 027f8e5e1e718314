//! The port to Ollama and its adapter. The only place that knows Ollama's paths, JSON and error texts.

mod client;
mod error;
pub mod plain;
mod progress;
mod tls;
mod wire;

pub use client::{BuildError, Client, ClientConfig};
pub use progress::Progress;

use crate::engine::{Answer, Failure, Request};
use std::future::Future;

/// One Ollama server, as the driver sees it.
pub trait Ollama: Send + Sync + 'static {
    /// Carries out one request to its end. Dropping the future closes the connection, which makes Ollama abort a load.
    /// There is no time limit in here: when a request is dropped is the engine's decision. `progress` is called while
    /// a pull runs, at every line that Ollama reports.
    fn call(
        &self,
        request: Request,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

#[cfg(test)]
mod tests;
