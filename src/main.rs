//! The program: reads its arguments and its environment once, and hands over.

use clap::Parser;
use model_preloader::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    // A value that is no UTF-8 is kept with its bad characters replaced: the check refuses them by name.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        })
        .collect();
    cli::run(Cli::parse(), environment)
}
