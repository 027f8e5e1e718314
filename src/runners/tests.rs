//! The observer with real sockets: listeners of the test play Ollama and its runners, and `/proc` is a folder with their
//! lines of the real one, so that no socket of another program is ever asked.

#![cfg(target_os = "linux")]

use super::*;
use crate::engine::sight::{Life, Runner, Work};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a fake runner does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Well,
    Loading,
    Silent,
    /// Some other program.
    Foreign,
    /// Sends a redirect to somewhere.
    Redirecting,
    /// Never ends its answer.
    Endless,
}

#[derive(Debug)]
struct Script {
    mood: Mood,
    prompt_tokens: u64,
    asked: Vec<String>,
}

struct Fake {
    port: u16,
    script: Arc<Mutex<Script>>,
    tasks: JoinSet<()>,
}

impl Fake {
    async fn start(mood: Mood, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script {
            mood,
            prompt_tokens: 0,
            asked: Vec::new(),
        }));
        let mut tasks = JoinSet::new();
        let (kept, name) = (Arc::clone(&script), name.to_owned());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&kept), name.clone()));
            }
        });
        Self {
            port,
            script,
            tasks,
        }
    }

    fn set(&self, mood: Mood) {
        self.script.lock().unwrap().mood = mood;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }

    async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>, name: String) {
    let mut request = [0; 1024];
    let Ok(read) = stream.read(&mut request).await else {
        return;
    };
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mood, tokens) = {
        let mut script = script.lock().unwrap();
        script.asked.push(path.clone());
        (script.mood, script.prompt_tokens)
    };
    let (status, body) = match (mood, &*path) {
        (Mood::Silent, _) => return std::future::pending().await,
        (Mood::Foreign, _) => (404, "not found".to_owned()),
        (Mood::Redirecting, _) => (302, String::new()),
        (Mood::Endless, _) => loop {
            if stream.write_all(&[b'x'; 4096]).await.is_err() {
                return;
            }
        },
        (Mood::Loading, _) => (503, r#"{"error":{"message":"Loading model"}}"#.to_owned()),
        (Mood::Well, "/health") => (200, r#"{"status":"ok"}"#.to_owned()),
        (Mood::Well, "/props") => (
            200,
            format!(
                r#"{{"model_path":"/models/blobs/sha256-{name}","total_slots":2,"endpoint_slots":true,"endpoint_metrics":true}}"#
            ),
        ),
        (Mood::Well, "/slots") => (
            200,
            r#"[{"id":0,"is_processing":true},{"id":1,"is_processing":false}]"#.to_owned(),
        ),
        (Mood::Well, "/metrics") => (
            200,
            format!(
                "llamacpp:prompt_tokens_total {tokens}\nllamacpp:prompt_tokens_cached_total 0\n\
                 llamacpp:tokens_predicted_total 0\nllamacpp:prompt_seconds_total 0\n\
                 llamacpp:tokens_predicted_seconds_total 0\n"
            ),
        ),
        (Mood::Well, _) => (404, String::new()),
    };
    let reply = format!(
        "HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _written = stream.write_all(reply.as_bytes()).await;
    let _end = stream.read(&mut [0; 1]).await;
}

struct Bed {
    observer: Observer,
    proc: tempfile::TempDir,
    /// Ollama's own socket, kept open.
    ollama: TcpListener,
    ports: Vec<u16>,
    sender: mpsc::Sender<(ServerId, Sight)>,
    sights: mpsc::Receiver<(ServerId, Sight)>,
}

impl Bed {
    async fn new() -> Self {
        let ollama = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = ollama.local_addr().unwrap().port();
        let server = ServerSpec {
            name: "ollama".into(),
            url: format!("http://localhost:{port}").into(),
        };
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("net")).unwrap();
        let mut observer = Observer::new(&[server], Clock::start());
        observer.proc = proc.path().into();
        observer.diagnoses = false;
        let (sender, sights) = mpsc::channel(SIGHTS_QUEUED);
        Self {
            observer,
            proc,
            ollama,
            ports: vec![port],
            sender,
            sights,
        }
    }

    async fn start(&mut self, mood: Mood, name: &str) -> Fake {
        let fake = Fake::start(mood, name).await;
        self.ports.push(fake.port);
        fake
    }

    /// The lines of the real `/proc/net/tcp` that are about this test's ports.
    fn copy_lines(&self) {
        let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = |line: &&str| {
            let ends = line.split_ascii_whitespace().skip(1).take(2);
            let port = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
            ends.filter_map(port).any(|port| self.ports.contains(&port))
        };
        let kept: Vec<_> = all.lines().filter(ours).collect();
        std::fs::write(self.proc.path().join("net/tcp"), kept.join("\n") + "\n").unwrap();
    }

    /// One look with all its answers.
    async fn look(&mut self) -> Sight {
        self.copy_lines();
        self.observer.look().await;
        self.observer.gather().await;
        assert!(self.observer.tell(&self.sender, true).await);
        self.sights.recv().await.unwrap().1
    }

    async fn scene(&mut self) -> Scene {
        match self.look().await {
            Sight::Seen(scene) => scene,
            Sight::Hidden(why) => panic!("hidden: {why:?}"),
        }
    }

    async fn runner(&mut self) -> Runner {
        let scene = self.scene().await;
        assert_eq!(scene.runners.len(), 1, "{scene:?}");
        scene.runners[0].clone()
    }
}

#[tokio::test]
async fn a_runner_is_followed_from_its_load_to_its_end() {
    let mut bed = Bed::new().await;
    assert_eq!(bed.scene().await, Scene::default());
    let mut fake = bed.start(Mood::Loading, "1").await;
    let scene = bed.scene().await;
    assert!(scene.appeared);
    assert_eq!(scene.runners[0].life, Life::Loading);
    assert!(!bed.scene().await.appeared, "that was told");
    fake.set(Mood::Well);
    let runner = bed.runner().await;
    let file = runner.weights.clone().unwrap();
    assert_eq!((&*file.store, &*file.blob), ("/models/blobs", "sha256-1"));
    assert_eq!(
        (runner.life, runner.slots, runner.clients),
        (Life::Well, Some(2), 0)
    );
    let id = runner.id;
    fake.asked();
    for _ in 0..3 {
        assert_eq!(bed.runner().await.id, id);
    }
    assert_eq!(
        fake.asked(),
        ["/health"; 3],
        "idle, it is asked for nothing else"
    );
    fake.stop().await;
    assert!(bed.scene().await.runners.is_empty());
}

#[tokio::test]
async fn clients_are_counted_and_our_own_questions_are_not() {
    let mut bed = Bed::new().await;
    let fake = bed.start(Mood::Well, "1").await;
    bed.runner().await;
    bed.runner().await;
    fake.asked();
    let client = TcpStream::connect(("127.0.0.1", fake.port)).await.unwrap();
    fake.script.lock().unwrap().prompt_tokens = 50;
    let runner = bed.runner().await;
    assert_eq!((runner.clients, runner.slots_busy), (1, 1));
    assert_eq!(runner.work.unwrap().prompt_tokens.to_string(), "50");
    let asked: BTreeSet<_> = fake.asked().into_iter().collect();
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        ["/health", "/metrics", "/slots"]
    );
    drop(client);
    fake.script.lock().unwrap().prompt_tokens = 60;
    let runner = bed.runner().await;
    assert_eq!((runner.clients, runner.slots_busy), (0, 0));
    let work = runner.work.unwrap();
    assert_eq!(
        work,
        Work {
            prompt_tokens: 60.0,
            ..Work::default()
        }
    );
    fake.asked();
    bed.runner().await;
    assert_eq!(fake.asked(), ["/health"], "once after is enough");
}

#[tokio::test]
async fn a_silent_runner_is_frozen_and_a_silent_stranger_unclear() {
    let mut bed = Bed::new().await;
    bed.scene().await;
    let runner = bed.start(Mood::Well, "1").await;
    let _stranger = bed.start(Mood::Silent, "2").await;
    let scene = bed.scene().await;
    assert_eq!((scene.runners.len(), scene.unclear), (1, 1));
    runner.set(Mood::Silent);
    let scene = bed.scene().await;
    assert_eq!(scene.runners[0].life, Life::Frozen);
    runner.set(Mood::Well);
    assert_eq!(bed.scene().await.runners[0].life, Life::Well);
}

#[tokio::test]
async fn other_programs_are_asked_once_and_cost_nothing_else() {
    let mut bed = Bed::new().await;
    bed.scene().await;
    let mut others = Vec::new();
    for mood in [Mood::Foreign, Mood::Redirecting, Mood::Endless] {
        others.push(bed.start(mood, "1").await);
    }
    let fake = bed.start(Mood::Well, "1").await;
    for _ in 0..3 {
        assert_eq!(bed.scene().await.runners.len(), 1);
    }
    for other in &others {
        assert_eq!(other.asked(), ["/health"]);
    }
    assert!(!fake.asked().is_empty());
}

#[tokio::test]
async fn of_hundreds_of_new_sockets_a_few_are_asked_at_each_look_the_youngest_first() {
    let mut bed = Bed::new().await;
    bed.scene().await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(bed.start(Mood::Foreign, "").await);
    }
    let _fake = bed.start(Mood::Well, "1").await;
    let scene = bed.scene().await;
    assert_eq!(scene.runners.len(), 1, "the youngest is the runner");
    let asked = |strangers: &[Fake]| {
        strangers
            .iter()
            .filter(|each| !each.asked().is_empty())
            .count()
    };
    assert_eq!(asked(&strangers), UNKNOWN_PER_LOOK - 1);
    for _ in 0..13 {
        bed.scene().await;
    }
    assert_eq!(bed.scene().await.unclear, 0, "all were asked");
}

#[tokio::test]
async fn a_question_leaves_no_connection_behind() {
    let mut bed = Bed::new().await;
    let fake = bed.start(Mood::Well, "1").await;
    for _ in 0..20 {
        bed.runner().await;
    }
    assert_eq!(
        fake.asked().len(),
        22,
        "20 for its health, one for its kind, one for its work so far"
    );
    bed.copy_lines();
    let text = std::fs::read_to_string(bed.proc.path().join("net/tcp")).unwrap();
    let listening = text.lines().filter(|line| line.contains(" 0A ")).count();
    assert_eq!((listening, text.lines().count()), (2, 2), "{text}");
}

#[tokio::test]
async fn why_nothing_is_seen_is_told() {
    let mut bed = Bed::new().await;
    bed.copy_lines();
    let mut hidden = Vec::new();
    for url in [
        "http://ollama:11434",
        "http://127.0.0.1:9",
        "http://127.0.0.1",
    ] {
        let server = ServerSpec {
            name: "other".into(),
            url: url.into(),
        };
        let mut other = Observer::new(&[server], Clock::start());
        other.proc = bed.proc.path().into();
        other.diagnoses = false;
        other.look().await;
        assert!(other.tell(&bed.sender, true).await);
        hidden.push(bed.sights.recv().await.unwrap().1);
    }
    std::fs::remove_file(bed.proc.path().join("net/tcp")).unwrap();
    bed.observer.look().await;
    assert!(bed.observer.tell(&bed.sender, true).await);
    hidden.push(bed.sights.recv().await.unwrap().1);
    let reasons = [
        Hidden::OtherHost,
        Hidden::NoListener,
        Hidden::NoListener,
        Hidden::NoProc,
    ];
    assert_eq!(hidden, reasons.map(Sight::Hidden));
}

#[tokio::test]
async fn it_runs_until_nobody_listens_and_tells_changes_at_once() {
    let Bed {
        mut observer,
        proc,
        ollama,
        mut ports,
        sender,
        mut sights,
    } = Bed::new().await;
    let fake = Fake::start(Mood::Silent, "1").await;
    ports.push(fake.port);
    let lines = Bed {
        observer: Observer::new(&[], Clock::start()),
        proc,
        ollama,
        ports,
        sender: sender.clone(),
        sights: mpsc::channel(1).1,
    };
    lines.copy_lines();
    observer.proc = lines.proc.path().into();
    let mut tasks = JoinSet::new();
    tasks.spawn(observer.run(sender));
    fake.set(Mood::Well);
    let is_well = |sight: &Sight| match sight {
        Sight::Seen(scene) => scene.runners.iter().any(|each| each.life == Life::Well),
        Sight::Hidden(_) => false,
    };
    while !is_well(&sights.recv().await.unwrap().1) {}
    drop(sights);
    assert!(tasks.join_next().await.unwrap().is_ok());
}
