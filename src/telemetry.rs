//! The log: lines on standard error, as text or JSON. No prompt and no secret is ever given to it.

use crate::config::{LogFormat, LogSettings};
use std::io;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Starts the log. In a program that has one already, that one stays.
pub fn init(settings: &LogSettings) {
    let registry = tracing_subscriber::registry().with(settings.filter.clone());
    drop(registry.with(lines(settings.format)).try_init());
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer()
        .with_writer(io::stderr)
        // A reader that went away must not end the program, and there is nobody left to tell.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    }
}
