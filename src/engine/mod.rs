//! The engine decides; it does nothing. Pure: std only, no clock, no I/O, no randomness of its own.
//!
//! [`Event`]s go in with the time they happened, [`Effect`]s come out. The driver carries them out and reports back.
//! One engine serves all servers, so limits such as "two loads at a time" are decided in one place.

pub mod event;
pub mod failure;
pub mod request;
pub mod snapshot;
pub mod spec;
pub mod time;

pub use event::{Effect, Event, ModelId, Notice, OpId, ServerId};
pub use failure::{Failure, FailureKind};
pub use request::{Answer, Request};
pub use snapshot::Snapshot;
pub use spec::Spec;
pub use time::{Mono, UnixMillis};
