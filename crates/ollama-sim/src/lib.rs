//! A simulated Ollama.
//!
//! It answers as the real server was measured to (0.33.0, and 0.24.0 where that differs), including what is
//! awkward about it: one load at a time, loads that are dropped with their connection, time to live, reloads by
//! options, evictions, runners that crash or hang, and the way in which a `keep_alive` can stop it for good. It
//! computes nothing: its answers say so, and so does a header of every response (`x-ollama-sim`).
//!
//! ```
//! use ollama_sim::{Config, ModelSpec, Sim};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Sim::start(Config::new([ModelSpec::new("tinyllama")])).await?;
//! assert!(sim.url().starts_with("http://127.0.0.1:"));
//! assert!(sim.crash("tinyllama").is_err(), "it is not loaded yet");
//! # Ok(())
//! # }
//! ```
//!
//! [`Rules`] is the server without sockets and without a clock, for simulations in virtual time; [`Sim`] is the same
//! behind HTTP.

mod api;
mod clock;
mod config;
mod journal;
mod rules;
pub mod script;
mod server;
mod store;

pub use clock::UnixNanos;
pub use config::{
    Config, Environment, Era, Kind, ModelSpec, OutOfMemory, Scripted, Timing, Upload,
};
pub use journal::{
    BODY_MAX as JOURNAL_BODY_MAX, EVENTS_MAX, Event, EventKind, REQUESTS_MAX, Received,
};
pub use rules::keep_alive::{FOREVER, environment as parse_keep_alive};
pub use rules::{Body, Call, CallId, Fault, FaultError, Output, Reply, Resident, Rules};
pub use server::{HEADER, HEADER_VALUE, Sim, StartError};
