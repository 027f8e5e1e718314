//! The binary: exit codes, messages, signals.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_ollama-sim");

fn run(arguments: &[&str]) -> (i32, String) {
    let Output {
        status,
        stderr,
        stdout,
    } = Command::new(BINARY).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().unwrap(), text)
}

/// Ended when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts it and gives the address that it announces.
fn start(arguments: &[&str]) -> (Running, String) {
    let child = Command::new(BINARY)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("a simulation"), "{line}");
    let address = line.trim().rsplit("http://").next().unwrap().to_owned();
    (running, address)
}

#[test]
fn help_teaches_models_scripts_and_control() {
    let (code, text) = run(&["--help"]);
    assert_eq!(code, 0);
    for part in [
        "--model",
        "load=2s",
        "at 5s crash tinyllama",
        "/sim/fault",
        "OLLAMA_MAX_LOADED_MODELS",
        "Exit status",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn bad_arguments_end_with_2() {
    for arguments in [
        ["--model", "m,load=never"],
        ["--nonsense", "1"],
        ["--num-parallel", "0"],
        ["--speed", "-1"],
    ] {
        let (code, text) = run(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.contains("error:"), "{text}");
    }
}

#[test]
fn an_address_in_use_ends_with_1_and_a_signal_with_0() {
    let (mut first, address) = start(&["--listen", "127.0.0.1:0"]);
    let (code, text) = run(&["--listen", &address]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains(&format!("cannot listen on {address}")),
        "{text}"
    );
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.ends_with("Ollama is running") && answer.contains("x-ollama-sim: simulated"),
        "{answer}"
    );
    let killed = Command::new("kill")
        .args(["-TERM", &first.0.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(first.0.wait().unwrap().code(), Some(0));
}
