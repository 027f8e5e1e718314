//! What newcomers run first: the demo and the example of the library.

use crate::stand::{LIMIT, simulated};
use std::path::{Path, PathBuf};
use std::process::Output;
use tokio::process::Command;

async fn output(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output())
        .await
        .unwrap()
        .unwrap()
}

/// `cargo test` builds the examples beside the tests.
fn example(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_model-preloader"));
    binary.with_file_name("examples").join(name)
}

#[tokio::test]
async fn the_demo_tells_its_story() {
    let binary = Path::new(env!("CARGO_BIN_EXE_model-preloader"));
    let output = output(binary, &["demo", "--once", "--listen", "127.0.0.1:0"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let story = [
        "SIMULATED",
        "/metrics",
        "qwen2.5-coder:3b    READY",
        "OPEN",
        "Another client asks for llama3.2:3b",
        "CLOSED",
        "was evicted because llama3.2:3b was loaded by another client",
        "READY",
        "OPEN",
    ];
    let mut rest = said.as_str();
    for words in story {
        let (_, after) = rest
            .split_once(words)
            .unwrap_or_else(|| panic!("{words:?} is missing, or too early:\n{said}"));
        rest = after;
    }
}

#[tokio::test]
async fn the_example_loads_models_and_calls_its_hook() {
    let sim = simulated(&["a", "b"]).await;
    let output = output(&example("custom_preload"), &[&sim.url(), "a", "b"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("2 of 2 models are warm"), "{said}");
    assert!(sim.is_resident("a") && sim.is_resident("b"));
}
