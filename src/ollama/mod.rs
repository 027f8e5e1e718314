//! The port to Ollama and its adapter. The only place that knows Ollama's paths, JSON and error texts.

use crate::engine::{Answer, Failure, Request};
use std::future::Future;

/// One Ollama server, as the driver sees it.
pub trait Ollama: Send + Sync + 'static {
    /// Carries out one request to its end. Dropping the future closes the connection, which makes Ollama abort a load.
    /// There is no time limit in here: when a request is dropped is the engine's decision.
    fn call(&self, request: Request) -> impl Future<Output = Result<Answer, Failure>> + Send;
}
