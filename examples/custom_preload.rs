//! The preloader inside another program: configuration from code, a readiness hook and a metrics registry of its own.
//!
//! ```sh
//! cargo run --example custom_preload -- http://127.0.0.1:11434 tinyllama qwen2.5-coder:3b
//! ```
//!
//! It serves status, probes and metrics on a free port of 127.0.0.1, calls the hook whenever the verdict changes, and ends
//! when the gate has opened for the first time, or with Ctrl-C.

use model_preloader::app::App;
use model_preloader::config::{self, Given, LogSettings, Sources};
use model_preloader::engine::Snapshot;
use model_preloader::telemetry;
use prometheus::{IntCounter, Registry};
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: custom_preload URL MODEL…")?;
    let models: Vec<String> = arguments.collect();
    telemetry::init(&LogSettings::default());

    // The same checks as for a file: all that is wrong is said at once. `Sources` can name a file as well, and the
    // environment of the process, which is not read unless it is given.
    let sources = Sources {
        flags: vec![
            Given::flag("program", "servers", url),
            Given::flag("program", "models", models.join(",")),
            Given::flag("program", "http.listen", "127.0.0.1:0"),
        ],
        ..Sources::default()
    };
    let settings = config::load(&sources)?.settings;

    // Metrics of this program stand beside those of the preloader, in one registry and on one page.
    let registry = Registry::new();
    let calls = IntCounter::new("custom_hook_calls_total", "Calls of the readiness hook.")?;
    registry.register(Box::new(calls.clone()))?;

    let app = App::bind_with(&settings, registry).await?;
    say(&format!("http://{}/metrics", app.address()))?;
    let hook = call_hook(app.snapshots(), calls);
    let (done, ended) = tokio::sync::oneshot::channel::<()>();
    let mut running = std::pin::pin!(app.run(async { drop(ended.await) }));
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        hooked = hook => hooked?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    drop(done);
    Ok(running.await?)
}

/// A rule of this program: every snapshot is seen here, in order; some may be skipped when many follow each other.
async fn call_hook(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    calls: IntCounter,
) -> io::Result<()> {
    let mut before = None;
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let ready = snapshot.models.iter().filter(|model| model.ready).count();
        if before != Some(ready) {
            before = Some(ready);
            calls.inc();
            say(&format!(
                "{ready} of {} models are warm",
                snapshot.models.len()
            ))?;
        }
        if snapshot.gate.ready || snapshots.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}
