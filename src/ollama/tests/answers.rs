//! What is made of answers.

use super::{Fake, call, client, json, target};
use crate::engine::FailureKind;
use crate::engine::request::{Answer, Request, Via};
use tokio::net::TcpListener;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_strange_answer_is_a_failure_of_a_kind() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"models\":[";
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://bob:secret@elsewhere/login\r\ncontent-length: 0\r\n\r\n";
    let table = [
        (
            json("200 OK", "<html><title>nginx</title>"),
            FailureKind::UnexpectedResponse,
            "<html>",
        ),
        (
            json("200 OK", ""),
            FailureKind::UnexpectedResponse,
            "an empty answer",
        ),
        (
            json("200 OK", "{\"models\":7}"),
            FailureKind::UnexpectedResponse,
            "not what an Ollama answers",
        ),
        (
            json(
                "200 OK",
                "{\"models\":[{\"name\":\"a\",\"expires_at\":\"soon\"}]}",
            ),
            FailureKind::UnexpectedResponse,
            "expires_at",
        ),
        (
            json("502 Bad Gateway", "<h1>Bad Gateway</h1>"),
            FailureKind::ServerError,
            "Bad Gateway",
        ),
        (
            json("503 Service Unavailable", "{\"error\":\"server busy\"}"),
            FailureKind::ServerBusy,
            "server busy",
        ),
        (
            json("404 Not Found", "404 page not found"),
            FailureKind::UnexpectedResponse,
            "page not found",
        ),
        (
            json("401 Unauthorized", ""),
            FailureKind::InvalidRequest,
            "",
        ),
        (
            moved.to_owned(),
            FailureKind::UnexpectedResponse,
            "redirects (302) to http://elsewhere/login",
        ),
        (half.to_owned(), FailureKind::UnexpectedResponse, ""),
        (String::new(), FailureKind::Unreachable, ""),
        (
            "no HTTP at all\r\n\r\n".to_owned(),
            FailureKind::UnexpectedResponse,
            "",
        ),
    ];
    for (answer, kind, words) in table {
        let fake = Fake::answering(answer.clone()).await;
        let failure = call(&fake.client(), Request::Ps).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{answer:?}: {}", failure.message);
        assert!(
            failure.message.contains(words),
            "{answer:?}: {}",
            failure.message
        );
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_at_the_limit() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let fake = Fake::on("127.0.0.1:0", head, 1024).await;
    let failure = call(&fake.client(), Request::Tags).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnexpectedResponse);
    assert_eq!(&*failure.message, "the answer is larger than 16 MB");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    // Bound and dropped: nobody else gets this port meanwhile.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = call(&client(&format!("http://{address}")), Request::Version)
        .await
        .unwrap_err();
    assert_eq!(
        failure.kind,
        FailureKind::Unreachable,
        "{}",
        failure.message
    );
    let failure = call(&client("http://no-such-host.invalid"), Request::Version)
        .await
        .unwrap_err();
    assert_eq!(
        failure.kind,
        FailureKind::Unreachable,
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_opened_anew() {
    // Promises to keep the connection and closes it.
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"version\":\"0.33.0\"}";
    let fake = Fake::answering(answer).await;
    let client = fake.client();
    for _ in 0..3 {
        assert_eq!(
            call(&client, Request::Version).await,
            Ok(Answer::Version("0.33.0".into()))
        );
    }
}

#[tokio::test]
async fn an_error_inside_a_success_is_one() {
    let fake = Fake::answering(json(
        "200 OK",
        "{\"error\":\"llama-server process has terminated: signal: killed\"}",
    ))
    .await;
    let failure = call(&fake.client(), Request::Ping(target(Via::Generate)))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::RunnerCrashed);
}

#[tokio::test]
async fn an_empty_list_of_go_is_an_empty_list() {
    let fake = Fake::answering(json("200 OK", "{\"models\":null}")).await;
    assert_eq!(
        call(&fake.client(), Request::Ps).await,
        Ok(Answer::Resident(Vec::new()))
    );
    assert_eq!(
        call(&fake.client(), Request::Tags).await,
        Ok(Answer::Installed(Vec::new()))
    );
}
