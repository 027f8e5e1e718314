//! The commands. Results go to standard output, everything else to standard error.
//!
//! Exit codes: 0 done, 1 it failed while running, 2 usage or configuration.

use crate::app::App;
use crate::config::{self, Given, Loaded, LogSettings, Sources};
use crate::shutdown::Signals;
use crate::{demo, telemetry};
use clap::{Args, Parser, Subcommand};
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Wrong usage or configuration; the same code that clap uses.
const USAGE: u8 = 2;

/// Names the configuration file.
const CONFIG_VARIABLE: &str = "MODEL_PRELOADER_CONFIG";

const AFTER_HELP: &str = "\
Without a command it runs. Variables: OLLAMA_URL, MODELS_TO_PRELOAD, MODEL_PRELOAD_TIMEOUT,
HEALTH_CHECK_INTERVAL, RUST_LOG, and MODEL_PRELOADER__SECTION__KEY for every key.

Exit codes: 0 done, 1 failed while running, 2 usage or configuration.";

/// Loads the declared models of an Ollama server, keeps them warm, and gates traffic on the truth.
#[derive(Debug, Parser)]
#[command(
    name = "model-preloader",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load the declared models and keep them warm (the default)
    Run(RunArgs),
    /// Show what it does, beside a simulated Ollama inside this process
    Demo(DemoArgs),
    /// Check the configuration without starting; says all that is wrong at once
    CheckConfig(CheckArgs),
    /// Print the configuration in force, with the source of each value
    PrintConfig(PrintArgs),
}

/// Where the configuration comes from. Later ones win: built-in, file, environment, flags.
#[derive(Clone, Debug, Default, Args)]
struct RunArgs {
    /// Configuration file: YAML, TOML or JSON, by its extension (variable `MODEL_PRELOADER_CONFIG`)
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for status, metrics and probes
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Ollama's address; several are separated by commas
    #[arg(long, value_name = "URL")]
    ollama_url: Option<String>,
    /// Models to load, separated by commas
    #[arg(long, value_name = "NAMES")]
    models: Option<String>,
    /// Form of the log: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Log each request to Ollama with its time
    #[arg(long)]
    debug: bool,
    /// Any other key, such as `--set preload.concurrency=1`; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Address for status, metrics and probes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11490")]
    listen: SocketAddr,
    /// End when the story has been told, instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    sources: RunArgs,
    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PrintArgs {
    #[command(flatten)]
    sources: RunArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Carries out the command line. `environment` is the process's, read once by `main`.
pub fn run(cli: Cli, environment: Vec<(String, String)>) -> ExitCode {
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run_preloader(&args, environment),
        Command::Demo(args) => run_demo(&args),
        Command::CheckConfig(args) => check_config(&args, environment),
        Command::PrintConfig(args) => print_config(&args, environment),
    }
}

impl RunArgs {
    fn sources(&self, environment: Vec<(String, String)>) -> Sources {
        let named = environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        let named = named.map(|(_, file)| PathBuf::from(file));
        let flags = [
            ("--listen", "http.listen", self.listen.clone()),
            ("--ollama-url", "servers", self.ollama_url.clone()),
            ("--models", "models", self.models.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
            ("--debug", "debug", self.debug.then(|| "true".to_owned())),
        ];
        let given = flags.into_iter();
        let given = given.filter_map(|(flag, key, value)| Some(Given::flag(flag, key, value?)));
        Sources {
            file: self.config.clone().or(named),
            flags: given.collect(),
            set: self.set.clone(),
            env: environment,
        }
    }
}

/// The configuration, or everything that is wrong with it on standard error.
fn load(args: &RunArgs, environment: Vec<(String, String)>) -> Result<Loaded, ExitCode> {
    config::load(&args.sources(environment)).map_err(|report| {
        complain(&report.to_string());
        ExitCode::from(USAGE)
    })
}

fn run_preloader(args: &RunArgs, environment: Vec<(String, String)>) -> ExitCode {
    // What is only for printing does not stay in memory.
    let Loaded {
        settings, warnings, ..
    } = match load(args, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    telemetry::init(&settings.log);
    for warning in &warnings {
        warn!(%warning, "configuration");
    }
    block_on(async {
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return fail(&error),
        };
        match App::bind(&settings).await {
            Ok(app) => until_signal(app, signals).await,
            Err(error) => fail(&error),
        }
    })
}

/// Runs until the first signal and ends in order; a second one ends at once.
async fn until_signal(app: App, mut signals: Signals) -> ExitCode {
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = std::pin::pin!(app.run(async { drop(stopped.await) }));
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        signal = signals.next() => {
            info!(signal, "ending; a second signal ends at once");
            drop(stop);
            tokio::select! {
                ended = &mut running => Some(ended),
                signal = signals.next() => {
                    warn!(signal, "ended at once");
                    None
                }
            }
        }
    };
    match ended {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => fail(&error),
        None => ExitCode::FAILURE,
    }
}

fn run_demo(args: &DemoArgs) -> ExitCode {
    telemetry::init(&LogSettings {
        filter: Targets::new().with_default(LevelFilter::ERROR),
        ..LogSettings::default()
    });
    block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return fail(&error),
        };
        let stop = async {
            signals.next().await;
        };
        match demo::run(args.listen, args.once, stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    })
}

fn check_config(args: &CheckArgs, environment: Vec<(String, String)>) -> ExitCode {
    let report = config::check(&args.sources.sources(environment));
    print(&if args.json {
        report.to_json()
    } else {
        report.to_string()
    });
    let fine = report.errors.is_empty() && (report.warnings.is_empty() || !args.deny_warnings);
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(USAGE)
    }
}

fn print_config(args: &PrintArgs, environment: Vec<(String, String)>) -> ExitCode {
    match load(&args.sources, environment) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&format!("warning: {warning}"));
            }
            print(&if args.json {
                loaded.to_json()
            } else {
                loaded.to_yaml()
            });
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// One thread does everything: the work is waiting, and a second thread would only cost memory.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A name that does not resolve can hold its thread for long; nothing waits for it.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(level) = cause {
        // Some errors repeat their cause in their own words.
        if !message.contains(&level.to_string()) {
            message = format!("{message}: {level}");
        }
        cause = level.source();
    }
    error!(error = %message, "cannot go on");
    ExitCode::FAILURE
}

/// Writes a result. A reader that went away has seen enough.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()));
}

/// Writes what is wrong before there is a log.
fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "{}", text.trim_end()));
}
