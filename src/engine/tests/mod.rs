//! Tests of the engine: no clock, no I/O; `World` stands in for Ollama and time is a number.

#![expect(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    reason = "test numbers are small, and a test names only the cases it is about"
)]

mod drifting;
mod fighting;
mod gate;
mod keeping;
mod loading;
mod looks;
mod pulling;
mod sharing;
mod warmup;
mod watching;
mod wedging;
mod working;
mod world;
