//! What was learned, in a file: read once at the start, written when it changed. It is a convenience: a file that is
//! missing, damaged or of a later version is ignored with a warning, and one that cannot be written costs nothing else.

use crate::clock::millis;
use crate::engine::snapshot::{LossCause, LossView};
use crate::engine::{Memory, Remembered, Snapshot, UnixMillis};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::warn;

/// The only form of the file so far.
const VERSION: u32 = 1;

/// Largest file that is read: 200 models need 60 kB.
const FILE_MAX: u64 = 4 << 20;

/// Shortest time between two writes: a fight over memory must not wear out a disk.
const WRITE_EVERY: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateFile {
    version: u32,
    models: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    server: Arc<str>,
    model: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warmup_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_loss: Option<Loss>,
}

#[derive(Serialize, Deserialize)]
struct Loss {
    cause: String,
    /// Unix time in milliseconds.
    at: i64,
    detail: Arc<str>,
}

/// What the file at `path` holds; nothing where there is none. The error says why a file cannot be used.
pub fn read(path: &Path) -> Result<Memory, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {} MB", FILE_MAX >> 20));
    }
    let file: StateFile = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!(
            "it has version {}, this program knows {VERSION}",
            file.version
        ));
    }
    Ok(Memory(
        file.models.into_iter().map(Entry::into_memory).collect(),
    ))
}

/// Writes the file at `path` as a whole or not at all.
pub fn write(path: &Path, memory: &Memory) -> io::Result<()> {
    let models = memory
        .0
        .iter()
        .map(|((server, model), facts)| Entry::of(server, model, facts));
    let file = StateFile {
        version: VERSION,
        models: models.collect(),
    };
    let mut text = serde_json::to_vec_pretty(&file)?;
    text.push(b'\n');
    let beside = path.with_extension("tmp");
    let mut out = File::create(&beside)?;
    out.write_all(&text)?;
    out.sync_all()?;
    fs::rename(&beside, path)
}

/// Writes the file whenever what is worth knowing changed, until the snapshots end.
pub async fn keep(
    path: PathBuf,
    mut written: Memory,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
) {
    let (mut failing, mut ended) = (false, false);
    loop {
        let memory = Memory::of(&snapshots.borrow_and_update());
        if memory != written {
            let result = write_aside(path.clone(), memory.clone()).await;
            if let Err(error) = &result
                && !failing
            {
                warn!(path = %path.display(), %error, "the state cannot be written; trying again at the next change");
            }
            failing = result.is_err();
            written = memory;
            ended = ended || pause(&mut snapshots).await;
        } else if ended {
            return;
        } else {
            ended = snapshots.changed().await.is_err();
        }
    }
}

/// Waits until the next write may happen, or for the end of the snapshots; whether they have ended.
async fn pause(snapshots: &mut watch::Receiver<Arc<Snapshot>>) -> bool {
    let end = async { while snapshots.changed().await.is_ok() {} };
    tokio::time::timeout(WRITE_EVERY, end).await.is_ok()
}

/// A slow disk must not delay a probe.
async fn write_aside(path: PathBuf, memory: Memory) -> io::Result<()> {
    tokio::task::spawn_blocking(move || write(&path, &memory))
        .await
        .map_err(io::Error::other)?
}

impl Entry {
    fn of(server: &Arc<str>, model: &Arc<str>, facts: &Remembered) -> Self {
        Self {
            server: Arc::clone(server),
            model: Arc::clone(model),
            load_ms: facts.load.map(millis),
            warmup_ms: facts.warmup.map(millis),
            last_loss: facts.last_loss.as_ref().map(|loss| Loss {
                cause: loss.cause.as_str().to_owned(),
                at: loss.at.0,
                detail: Arc::clone(&loss.detail),
            }),
        }
    }

    fn into_memory(self) -> ((Arc<str>, Arc<str>), Remembered) {
        let loss = |loss: Loss| {
            let cause = LossCause::ALL
                .into_iter()
                .find(|cause| cause.as_str() == loss.cause)?;
            Some(LossView {
                cause,
                at: UnixMillis(loss.at),
                detail: loss.detail,
            })
        };
        let facts = Remembered {
            load: self.load_ms.map(Duration::from_millis),
            warmup: self.warmup_ms.map(Duration::from_millis),
            last_loss: self.last_loss.and_then(loss),
        };
        ((self.server, self.model), facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Mono};
    use crate::testing::spec;

    fn memory(load: u64) -> Memory {
        let facts = Remembered {
            load: Some(Duration::from_millis(load)),
            warmup: Some(Duration::from_millis(8900)),
            last_loss: Some(LossView {
                cause: LossCause::MemoryPressure,
                at: UnixMillis(1_795_507_200_123),
                detail: "a was evicted".into(),
            }),
        };
        Memory(
            [(("ollama".into(), "a:latest".into()), facts)]
                .into_iter()
                .collect(),
        )
    }

    #[test]
    fn what_was_written_is_read_and_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read(&path), Ok(Memory::default()), "none yet");
        write(&path, &memory(2500)).unwrap();
        write(&path, &memory(2600)).unwrap();
        assert_eq!(read(&path), Ok(memory(2600)));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left behind"
        );

        let mut engine = Engine::new(spec(&["a:latest", "b:latest"]), 1);
        engine.recall(&memory(2600));
        let snapshot = engine.snapshot(Mono::ZERO);
        let view = &snapshot.models[0].instances[0];
        assert_eq!(view.expected_load, Some(Duration::from_millis(2600)));
        assert_eq!(view.load_duration, None, "this process has loaded nothing");
        assert_eq!(
            view.last_loss.as_ref().unwrap().cause,
            LossCause::MemoryPressure
        );
        assert_eq!(Memory::of(&snapshot), memory(2600));
    }

    #[test]
    fn a_file_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let table = [
            ("", "EOF"),
            ("{\"version\":1,\"models\":[{\"server\":\"ollama\"", "EOF"),
            (
                "{\"version\":9,\"models\":[]}",
                "it has version 9, this program knows 1",
            ),
            ("[]", "invalid"),
        ];
        for (text, words) in table {
            fs::write(&path, text).unwrap();
            let said = read(&path).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
        fs::write(&path, vec![b' '; usize::try_from(FILE_MAX + 1).unwrap()]).unwrap();
        assert_eq!(read(&path).unwrap_err(), "it is larger than 4 MB");
        assert!(read(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn a_cause_of_a_later_version_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write(&path, &memory(2500)).unwrap();
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("memory_pressure", "sunspots");
        fs::write(&path, text).unwrap();
        let read = read(&path).unwrap();
        let facts = read.0.values().next().unwrap();
        assert_eq!((facts.load.is_some(), &facts.last_loss), (true, &None));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_written_on_a_change_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut engine = Engine::new(spec(&["a:latest"]), 1);
        let (sender, snapshots) = watch::channel(Arc::new(engine.snapshot(Mono::ZERO)));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(keep(path.clone(), Memory::default(), snapshots));
        for load in [1000, 2000] {
            engine.recall(&memory(load));
            sender.send_replace(Arc::new(engine.snapshot(Mono::ZERO)));
        }
        drop(sender);
        while tasks.join_next().await.is_some() {}
        assert_eq!(read(&path), Ok(memory(2000)));
    }
}
