//! Model Preloader: loads the declared models of an Ollama server, proves them warm, keeps them so, and gates traffic
//! on the truth.
//!
//! A tour in the order in which data flows: [`config`] reads what is wanted, [`engine`] decides, [`driver`] carries it
//! out by [`ollama`], [`runners`] sees, [`http`] and [`metrics`] tell; [`app`] puts them together, [`cli`] is the program
//! around it.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
mod demo;
pub mod driver;
pub mod engine;
pub mod http;
pub mod metrics;
pub mod ollama;
pub mod runners;
pub mod shutdown;
pub mod state_file;
pub mod telemetry;

#[cfg(test)]
mod testing;
