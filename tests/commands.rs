//! The program itself: exit codes, what goes where, signals. Real processes, real sockets; waits are for something to
//! be said, with a limit that finds defects.

#![cfg(test)]

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// No step of a test takes so long on any machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

fn preloader(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-preloader"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn said(command: &mut Command) -> Said {
    let output = timeout(LIMIT, command.output()).await.unwrap().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A preloader that runs, and its log.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    read: String,
    address: String,
}

impl Running {
    async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = preloader(&["run", "--listen", "127.0.0.1:0"]);
        command.args(arguments).envs(variables.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut running = Self {
            child,
            log,
            read: String::new(),
            address: String::new(),
        };
        let line = running.wait_for("listening").await;
        let at = line.find("127.0.0.1:").unwrap();
        let address = line.get(at..).unwrap().split([' ', '"']).next().unwrap();
        running.address = address.to_owned();
        running
    }

    /// Reads the log up to a line with this text.
    async fn wait_for(&mut self, text: &str) -> String {
        let found = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.read.push_str(&line);
                self.read.push('\n');
                if line.contains(text) {
                    return line;
                }
            }
            panic!("ended without `{text}`:\n{}", self.read);
        };
        timeout(LIMIT, found)
            .await
            .unwrap_or_else(|_| panic!("waited for `{text}`"))
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args([name, &pid])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// The exit status and the whole log.
    async fn end(mut self) -> (ExitStatus, String) {
        let status = timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        while let Some(line) = self.log.next_line().await.unwrap() {
            self.read.push_str(&line);
            self.read.push('\n');
        }
        (status, self.read)
    }
}

/// The whole answer to a request.
async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn check_config_says_what_is_wrong_and_exits_2() {
    let fine = said(&mut preloader(&["check-config"])).await;
    assert_eq!(
        (fine.code, &*fine.stdout),
        (Some(0), "the configuration is valid\n")
    );
    let invalid = "tests/config/invalid-values.yaml";
    let wrong = said(&mut preloader(&["check-config", "--config", invalid])).await;
    assert_eq!(wrong.code, Some(2));
    assert_eq!(
        wrong.stdout,
        std::fs::read_to_string(format!("{invalid}.err")).unwrap()
    );
    let json = said(&mut preloader(&["check-config", "--json", "-c", invalid])).await;
    assert_eq!(json.code, Some(2));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["valid"], false);
}

#[tokio::test]
async fn warnings_fail_only_when_they_are_denied() {
    let doubtful = ["check-config", "--set", "defaults.required=false"];
    let fine = said(&mut preloader(&doubtful)).await;
    assert_eq!(fine.code, Some(0));
    assert!(
        fine.stdout.contains("warning: readiness.policy"),
        "{}",
        fine.stdout
    );
    let denied = said(preloader(&doubtful).arg("--deny-warnings")).await;
    assert_eq!(denied.code, Some(2));
}

#[tokio::test]
async fn run_refuses_a_wrong_configuration_with_2() {
    for arguments in [&["run"][..], &[]] {
        let mut command = preloader(arguments);
        let wrong = said(
            command
                .env("MODEL_PRELOAD_TIMEOUT", "soon")
                .env("OLLAMA_URL", ""),
        )
        .await;
        assert_eq!(wrong.code, Some(2));
        assert_eq!(wrong.stdout, "");
        assert!(
            wrong.stderr.contains("variable MODEL_PRELOAD_TIMEOUT"),
            "{}",
            wrong.stderr
        );
        assert!(
            wrong.stderr.contains("variable OLLAMA_URL"),
            "{}",
            wrong.stderr
        );
    }
    let missing = said(preloader(&[]).env("MODEL_PRELOADER_CONFIG", "missing.yaml")).await;
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("cannot be read"),
        "{}",
        missing.stderr
    );
    assert!(
        missing.stderr.contains("at: missing.yaml"),
        "{}",
        missing.stderr
    );
}

#[tokio::test]
async fn wrong_usage_exits_2_and_help_0() {
    let wrong = [
        &["--nonsense"][..],
        &["nonsense"],
        &["--config"],
        // A flag in front of a command would be ignored by the command.
        &["--debug", "check-config"],
    ];
    for arguments in wrong {
        let wrong = said(&mut preloader(arguments)).await;
        assert_eq!((wrong.code, &*wrong.stdout), (Some(2), ""), "{arguments:?}");
        assert!(wrong.stderr.contains("--help"), "{}", wrong.stderr);
    }
    let help = said(&mut preloader(&["--help"])).await;
    assert_eq!((help.code, &*help.stderr), (Some(0), ""));
    for word in ["check-config", "print-config", "--config", "--set"] {
        assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
    }
    let version = said(&mut preloader(&["--version"])).await;
    assert_eq!(
        version.stdout,
        format!("model-preloader {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn a_port_in_use_exits_1_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = said(&mut preloader(&[
        "run",
        "--listen",
        &address,
        "--ollama-url",
        NOWHERE,
    ]))
    .await;
    assert_eq!(failed.code, Some(1));
    assert!(
        failed
            .stderr
            .contains(&format!("cannot listen on {address}")),
        "{}",
        failed.stderr
    );
    assert!(failed.stderr.contains("--listen"), "{}", failed.stderr);
}

#[tokio::test]
async fn sigterm_and_sigint_end_in_order_with_0() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&["--ollama-url", NOWHERE], &[]).await;
        let answer = get(&running.address, "/-/healthy").await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        running.signal(signal).await;
        running.wait_for("ended").await;
        let (status, log) = running.end().await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_1() {
    let grace = ["--ollama-url", NOWHERE, "--set", "http.shutdownGrace=10m"];
    let mut running = Running::start(&grace, &[]).await;
    // Half a request keeps its connection open after the first signal.
    let mut stream = TcpStream::connect(&running.address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\n")
        .await
        .unwrap();
    // Connections are accepted in order: when a later one was answered, this one was read.
    get(&running.address, "/-/healthy").await;
    running.signal("-TERM").await;
    running.wait_for("a second signal ends at once").await;
    running.signal("-TERM").await;
    let (status, log) = running.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("ended at once"), "{log}");
}

/// As much of an Ollama as a start with a warm-up needs: one model, loaded by an empty request. Ends with the test.
async fn ollama() -> (String, mpsc::Receiver<String>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let (heads, seen) = mpsc::channel(1024);
    let loaded = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer_all(stream, heads.clone(), Arc::clone(&loaded)));
        }
    });
    (url, seen, tasks)
}

async fn answer_all(stream: TcpStream, heads: mpsc::Sender<String>, loaded: Arc<AtomicBool>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let begun = head.len();
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
            let line = head.get(begun..).unwrap().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = answer(&head, &loaded);
        // The test may have seen enough.
        drop(heads.send(head).await);
        let size = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    }
}

fn answer(head: &str, loaded: &AtomicBool) -> String {
    let digest = "0".repeat(64);
    let model = serde_json::json!({
        "name": "m:latest", "model": "m:latest", "digest": digest, "size": 1, "size_vram": 0,
        "expires_at": "2312-01-01T00:00:00Z", "context_length": 4096, "modified_at": "2026-01-01T00:00:00Z",
        "details": {},
    });
    let path = head.split(' ').nth(1).unwrap();
    match path {
        "/base/api/version" => serde_json::json!({"version": "0.33.0"}),
        "/base/api/tags" => serde_json::json!({"models": [model]}),
        "/base/api/ps" if loaded.load(Ordering::SeqCst) => serde_json::json!({"models": [model]}),
        "/base/api/ps" => serde_json::json!({"models": []}),
        "/base/api/show" => {
            serde_json::json!({"capabilities": ["completion"], "modelfile": "FROM /blobs/sha256-1"})
        }
        "/base/api/generate" | "/base/api/chat" => {
            loaded.store(true, Ordering::SeqCst);
            serde_json::json!({"model": "m:latest", "done": true, "done_reason": "load"})
        }
        other => panic!("asked for {other}"),
    }
    .to_string()
}

#[tokio::test]
async fn a_whole_start_logs_neither_secret_nor_prompt() {
    let (url, mut heads, _tasks) = ollama().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let config = serde_json::json!({
        "servers": [{"url": url, "tokenEnv": "TOKEN", "headers": {"X-Key": {"value": "swordfish-2"}}}],
        "models": [{"model": "m", "warmup": [{"system": "a private prompt"}]}],
        "log": {"format": "json", "filter": "trace"},
        "debug": true,
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let mut running = Running::start(&["-c", file], &[("TOKEN", "swordfish-1")]).await;
    running.wait_for("gate opened").await;
    running.signal("-TERM").await;
    let (status, log) = running.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let mut warmed = false;
    while let Ok(head) = heads.try_recv() {
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("authorization: bearer swordfish-1\r\n"),
            "{head}"
        );
        assert!(head.contains("x-key: swordfish-2\r\n"), "{head}");
        warmed |= head.starts_with("post /base/api/chat ");
    }
    assert!(warmed, "{log}");
    assert!(!log.contains("swordfish"), "{log}");
    assert!(!log.contains("private prompt"), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn debug_shows_each_request_with_its_time() {
    let mut running = Running::start(&["--ollama-url", NOWHERE, "--debug"], &[]).await;
    let line = running.wait_for("request=").await;
    assert!(
        line.contains("ms=") && line.contains("server=http://127.0.0.1:1"),
        "{line}"
    );
    assert!(line.contains("DEBUG model_preloader::ollama"), "{line}");
}

#[tokio::test]
async fn a_reader_that_went_away_is_no_failure() {
    let mut command = preloader(&["print-config", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaint = String::new();
    let mut stderr = child.stderr.take().unwrap();
    timeout(LIMIT, stderr.read_to_string(&mut complaint))
        .await
        .unwrap()
        .unwrap();
    let status = timeout(LIMIT, child.wait()).await.unwrap().unwrap();
    assert_eq!((status.code(), &*complaint), (Some(0), ""));

    let mut running = Running::start(&["--ollama-url", NOWHERE, "--debug"], &[]).await;
    let pid = running.child.id().unwrap().to_string();
    drop(running.log);
    // It goes on and answers, although no line of its log can be written any more.
    for _ in 0..3 {
        let answer = get(&running.address, "/-/ready").await;
        assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
    }
    let sent = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    let status = timeout(LIMIT, running.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}
