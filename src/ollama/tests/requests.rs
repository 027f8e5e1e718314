//! What is sent, and to where.

use super::{BOUND, Client, ClientConfig, Fake, call, client, config, json, read_request, target};
use crate::engine::request::{Answer, PIN_SECONDS, Request, Via};
use crate::engine::spec::Conversation;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[tokio::test]
async fn only_load_pin_and_unload_carry_a_keep_alive() {
    let fake = Fake::answering(json("200 OK", "{\"done\":true}")).await;
    let client = fake.client();
    let conversation = Conversation {
        name: "one".into(),
        json: "{\"messages\":[{\"role\":\"system\",\"content\":\"Be short.\"}]}".into(),
    };
    for via in [Via::Generate, Via::Embed] {
        let requests = [
            (Request::Load(target(via)), Some(PIN_SECONDS)),
            (Request::Pin(target(via)), Some(PIN_SECONDS)),
            (Request::Ping(target(via)), None),
            (Request::Probe(target(via)), None),
            (
                Request::Warmup {
                    target: target(via),
                    conversation: conversation.clone(),
                    copies: 2,
                },
                None,
            ),
            (
                Request::Unload {
                    model: "smol:latest".into(),
                },
                Some(0),
            ),
        ];
        for (request, keep_alive) in requests {
            let before = fake.asked().len();
            call(&client, request.clone()).await.unwrap();
            let asked = fake.asked().split_off(before);
            assert!(!asked.is_empty());
            for text in asked {
                let (_, body) = text.split_once("\r\n\r\n").unwrap();
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_eq!(
                    body.get("keep_alive").and_then(serde_json::Value::as_i64),
                    keep_alive,
                    "{request:?}: {text}"
                );
                assert_eq!(body["model"], "smol:latest");
                if !matches!(request, Request::Unload { .. }) {
                    assert_eq!(body["options"]["num_ctx"], 2048, "{request:?}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn all_copies_of_a_warm_up_are_under_way_at_the_same_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let conversation = Conversation {
            name: "one".into(),
            json: "{\"messages\":[]}".into(),
        };
        let request = Request::Warmup {
            target: target(Via::Generate),
            conversation,
            copies: 4,
        };
        call(&client, request).await
    });
    // None is answered before all have asked: one after the other they would land in the same slot.
    let mut open = Vec::new();
    for _ in 0..4 {
        let (mut stream, _) = tokio::time::timeout(BOUND, listener.accept())
            .await
            .unwrap()
            .unwrap();
        assert!(
            read_request(&mut stream)
                .await
                .starts_with("POST /api/chat ")
        );
        open.push(stream);
    }
    for (number, mut stream) in open.into_iter().enumerate() {
        let body = format!(
            "{{\"done\":true,\"prompt_eval_duration\":{}}}",
            1000 * (number + 1)
        );
        stream
            .write_all(json("200 OK", &body).as_bytes())
            .await
            .unwrap();
    }
    let Ok(Answer::Done(timings)) = tasks.join_next().await.unwrap().unwrap() else {
        panic!("done");
    };
    assert_eq!(
        timings.prompt_eval,
        Some(Duration::from_nanos(4000)),
        "the slowest one's"
    );
}

#[tokio::test]
async fn a_base_path_ipv6_and_a_trailing_slash_lead_to_the_same_place() {
    let answer = json("200 OK", "{\"version\":\"0.33.0\"}");
    let fake = Fake::on("[::1]:0", answer, 0).await;
    for base in ["", "/", "/ollama/", "/a/b"] {
        let client = client(&format!("http://{}{base}", fake.address));
        call(&client, Request::Version).await.unwrap();
        let line = fake.asked().pop().unwrap();
        let path = format!(
            "GET {}/api/version HTTP/1.1\r\n",
            base.trim_end_matches('/')
        );
        assert!(line.starts_with(&path), "{line}");
    }
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let fake = Fake::answering(json("500 Internal Server Error", "{\"error\":\"no\"}")).await;
    let config = ClientConfig {
        base: format!("http://{}", fake.address),
        bearer: Some("tok-123".into()),
        headers: vec![("X-Api-Key".into(), "key-456".into())],
        ca_pem: None,
    };
    let client = Client::new(&config).unwrap();
    let failure = call(&client, Request::Ps).await.unwrap_err();
    let asked = fake.asked().pop().unwrap();
    assert!(
        asked.contains("authorization: Bearer tok-123\r\n"),
        "{asked}"
    );
    assert!(asked.contains("x-api-key: key-456\r\n"), "{asked}");
    let shown = format!("{config:?} {client:?} {failure:?}");
    assert!(
        !shown.contains("tok-123") && !shown.contains("key-456"),
        "{shown}"
    );
}

#[test]
fn what_cannot_be_a_client_is_refused_with_its_reason() {
    let refused = |config: ClientConfig| Client::new(&config).unwrap_err().to_string();
    for base in ["", "localhost:11434", "ftp://host", "http://", "http://a b"] {
        assert!(
            refused(config(base)).contains("no http:// or https:// address"),
            "{base}"
        );
    }
    assert!(!refused(config("ftp://bob:secret@host")).contains("secret"));
    let header = |name: &str, value: &str| ClientConfig {
        headers: vec![(name.into(), value.into())],
        ..config("http://localhost")
    };
    assert!(refused(header("bad name", "v")).contains("`bad name`"));
    let said = refused(header("x-key", "line\nbreak"));
    assert!(
        said.contains("`x-key`") && !said.contains("break"),
        "{said}"
    );
    let pem = ClientConfig {
        ca_pem: Some(b"no certificate".to_vec()),
        ..config("https://localhost")
    };
    assert!(refused(pem).contains("the file holds no certificate"));
}
