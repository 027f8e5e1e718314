//! The page's files as they are served. How they look and behave in a browser is checked by `tools/check-page`.

use super::*;
use crate::engine::snapshot::{Drift, LossCause, Reach, State};

const FILES: [&str; 8] = [
    "/",
    "/assets/page.css",
    "/assets/page.js",
    "/assets/dom.js",
    "/assets/live.js",
    "/assets/models.js",
    "/assets/timeline.js",
    "/assets/words.js",
];

/// What the whole page may weigh on the wire.
const WEIGHT_MAX: usize = 60_000;

async fn text(server: &Running, path: &str) -> String {
    ask(server.address, "GET", path, "").await.2
}

/// A header's value; names and values are in lower case.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    head.lines()
        .find_map(|line| line.strip_prefix(start.as_str()))
        .unwrap_or_default()
}

#[tokio::test]
async fn the_page_is_light_and_kept_by_the_browser() {
    let server = start().await;
    let mut weight = 0;
    for path in FILES {
        let (status, head, _) = ask(server.address, "GET", path, "Accept-Encoding: gzip\r\n").await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(header(&head, "content-encoding"), "gzip", "{path}");
        assert_eq!(header(&head, "cache-control"), "no-cache", "{path}");
        weight += header(&head, "content-length").parse::<usize>().unwrap();
        let tag = header(&head, "etag");
        assert!(tag.starts_with("w/\""), "{path}: {tag:?}");
        let tag = tag.replacen('w', "W", 1);
        for known in [&tag, "*", &format!("\"other\", {tag}")] {
            let condition = format!("If-None-Match: {known}\r\n");
            let (status, head, body) = ask(server.address, "GET", path, &condition).await;
            assert_eq!((status, &*body), (304, ""), "{path} {known}");
            assert_eq!(header(&head, "etag"), tag.to_lowercase());
        }
        let (status, ..) = ask(server.address, "GET", path, "If-None-Match: \"x\"\r\n").await;
        assert_eq!(status, 200, "{path}");
    }
    assert!(weight <= WEIGHT_MAX, "{weight} bytes");
}

#[tokio::test]
async fn its_policy_allows_its_own_files_only_and_it_needs_no_more() {
    let server = start().await;
    let (_, head, html) = ask(server.address, "GET", "/", "").await;
    let policy = header(&head, "content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for forbidden in [
        "<style", " style=", "<script>", " onclick", " onload", "http://", "https://",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    let mut scripts = String::new();
    for path in FILES.iter().filter(|path| path.contains(".js")) {
        scripts += &text(&server, path).await;
    }
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
    ] {
        assert!(!scripts.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn whatever_it_names_is_there_wherever_it_is_mounted() {
    let server = start().await;
    let mut named: Vec<(String, String)> = Vec::new();
    for path in FILES {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = text(&server, path).await;
        for mark in ["href=\"", "src=\"", " from './", "fetch('", "EventSource('"] {
            for part in text.split(mark).skip(1) {
                let name = part.split(['"', '\'']).next().unwrap_or_default();
                if name.starts_with(['#', 'd']) && !name.starts_with("dom") {
                    continue;
                }
                assert!(
                    !name.starts_with('/'),
                    "{path} names {name}: a proxy may mount it anywhere"
                );
                // Addresses of requests are relative to the page, those of imports to the file.
                let base = if mark.starts_with(" from") {
                    folder
                } else {
                    ""
                };
                named.push((path.to_owned(), format!("{base}/{name}")));
            }
        }
    }
    assert!(named.len() > 20, "{named:?}");
    for (path, name) in named {
        let (status, ..) = ask(server.address, "HEAD", &name, "").await;
        assert!(matches!(status, 200 | 503), "{path} names {name}: {status}");
    }
}

#[tokio::test]
async fn it_knows_every_word_that_can_come() {
    let server = start().await;
    let script = text(&server, "/assets/words.js").await;
    let reach = [
        Reach::Starting,
        Reach::Up,
        Reach::PsSilent,
        Reach::Silent,
        Reach::Down,
    ];
    let activities = [
        "queued",
        "loading",
        "warming_up",
        "waiting_for_idle",
        "pulling",
    ];
    let words = State::ALL
        .map(State::as_str)
        .into_iter()
        .chain(reach.map(Reach::as_str))
        .chain(Drift::ALL.map(Drift::as_str))
        .chain(LossCause::ALL.map(LossCause::as_str))
        .chain(activities);
    for word in words {
        assert!(script.contains(&format!("\n  {word}: ")), "{word}");
    }
    let html = text(&server, "/").await;
    for state in State::ALL {
        assert!(
            html.contains(&format!("id=\"i-{state}\"")),
            "an icon for {state}"
        );
    }
}
