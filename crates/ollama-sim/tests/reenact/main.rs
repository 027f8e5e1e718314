//! Every recording of a real Ollama is re-enacted against the rules, with its faults and its concurrency, in virtual
//! time. Statuses, texts, fields and what is loaded afterwards have to be the same; times only in kind.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking"
)]

mod beyond;
mod cases;
mod compare;
mod memory;
mod models;
mod outages;
mod prompts;
mod random;
mod replay;
mod wedges;
mod world;

use replay::Replay;
use serde_json::Value;
use std::path::PathBuf;

/// Where the recordings are.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/ollama-0.33.0")
}

/// The name of a recording, and how it is re-enacted.
pub(crate) type Case = (&'static str, fn(&mut Replay));

fn cases() -> Vec<Case> {
    let mut all = cases::all();
    all.extend(outages::all());
    all.extend(prompts::all());
    all.extend(wedges::all());
    all
}

#[test]
fn every_recording_is_reenacted() {
    let mut recordings: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    recordings.sort();
    assert!(recordings.len() >= 33, "recordings are missing");
    let cases = cases();
    let mut failed = Vec::new();
    for name in &recordings {
        let Some((_, case)) = cases.iter().find(|(case, _)| case == name) else {
            failed.push(format!("{name}: there is no case for this recording"));
            continue;
        };
        let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let recording: Value = serde_json::from_str(&text).unwrap();
        let run = std::panic::AssertUnwindSafe(|| {
            let mut replay = Replay::new(&recording);
            case(&mut replay);
            replay.finish();
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            let text = panic.downcast_ref::<String>().cloned();
            failed.push(text.unwrap_or_else(|| format!("{name}: failed")));
        }
    }
    for (name, _) in &cases {
        if !recordings.iter().any(|recording| recording == name) {
            failed.push(format!("{name}: there is no recording for this case"));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        recordings.len(),
        failed.join("\n")
    );
}
