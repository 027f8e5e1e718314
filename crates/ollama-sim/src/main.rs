//! `ollama-sim`: a simulated Ollama to try things against.

mod cli;

use clap::Parser;
use ollama_sim::Sim;
use std::io::{self, Write};
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// The command line is wrong; clap uses the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let level = if arguments.verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let config = match arguments.config() {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    runtime.block_on(async {
        let sim = match Sim::start(config).await {
            Ok(sim) => sim,
            Err(error) => return fail(1, &error),
        };
        announce(&sim);
        match stopped().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &error),
        }
    })
}

/// One line on standard output, for people and scripts that wait for it.
fn announce(sim: &Sim) {
    let line = format!(
        "ollama-sim (a simulation, no real models) listens on {}",
        sim.url()
    );
    let mut out = io::stdout();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        tracing::warn!("standard output is closed");
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Where even standard error is closed, the exit code has to say it.
    let told = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(if told.is_ok() { code } else { code.max(1) })
}

/// SIGTERM or SIGINT.
#[cfg(unix)]
async fn stopped() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Ctrl-C.
#[cfg(not(unix))]
async fn stopped() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
