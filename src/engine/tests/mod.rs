//! Tests of the engine: no clock, no I/O; `World` stands in for Ollama and time is a number.

mod gate;
mod keeping;
mod loading;
mod warmup;
mod world;
