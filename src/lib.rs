//! Model Preloader: loads the declared models of an Ollama server, proves them warm, keeps them so, and gates traffic
//! on the truth.
//!
//! A tour in the order in which data flows: `config` reads what is wanted, [`engine`] decides, [`ollama`] does.

pub mod clock;
pub mod driver;
pub mod engine;
pub mod http;
pub mod metrics;
pub mod ollama;
pub mod state_file;

#[cfg(test)]
mod testing;
