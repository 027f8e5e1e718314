//! Pulls: progress, and ends that are none.

use super::{Fake, Ollama, call, json};
use crate::engine::request::{Answer, Request};
use crate::ollama::Progress;
use std::sync::Mutex;

#[tokio::test]
async fn a_pull_reports_its_progress_and_ends_with_success() {
    let lines = concat!(
        "{\"status\":\"pulling manifest\"}\n",
        "{\"status\":\"pulling a\",\"digest\":\"sha256:a\",\"total\":100,\"completed\":40}\n",
        "{\"status\":\"pulling a\",\"digest\":\"sha256:a\",\"total\":100,\"completed\":100}\n",
        "{\"status\":\"success\"}\n",
    );
    let fake = Fake::answering(json("200 OK", lines)).await;
    let seen = Mutex::new(Vec::new());
    let pull = Request::Pull {
        model: "smol:latest".into(),
    };
    let answer = fake
        .client()
        .call(pull, |progress| seen.lock().unwrap().push(progress))
        .await;
    assert!(matches!(answer, Ok(Answer::Done(_))), "{answer:?}");
    let at = |completed| Progress {
        completed,
        total: 100,
    };
    assert_eq!(*seen.lock().unwrap(), [at(40), at(100)]);
}

#[tokio::test]
async fn a_pull_that_fails_or_stops_is_no_success() {
    let table = [
        (
            "{\"error\":\"pull model manifest: file does not exist\"}\n".to_owned(),
            "file does not exist",
        ),
        (
            "{\"status\":\"pulling manifest\"}\n".to_owned(),
            "ended without success",
        ),
        (
            format!("{{\"status\":\"{}\"}}\n", "x".repeat(70_000)),
            "longer than 64 kB",
        ),
        ("<html>\n".to_owned(), "not what an Ollama answers"),
    ];
    for (lines, words) in table {
        let fake = Fake::answering(json("200 OK", &lines)).await;
        let failure = call(&fake.client(), Request::Pull { model: "m".into() })
            .await
            .unwrap_err();
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}
