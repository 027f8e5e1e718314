//! Faults as text: `at 5s crash tinyllama`, one a line.

use crate::config::Scripted;
use crate::rules::Fault;
use std::time::Duration;

/// Most faults of one script.
pub const SCRIPT_MAX: usize = 10_000;

/// What a line can say, for help texts.
pub const FAULTS: &str = "\
crash MODEL            its runner is killed
hang MODEL             its runner freezes
thaw MODEL             its runner goes on
unload MODEL           another client unloads it
oom MODEL              its computation runs out of memory
delete MODEL           it is deleted (a runner stays)
lose MODEL             its weights vanish from the disk
cut MODEL              half of its weights' file is gone
restore MODEL          its weights are whole again
load-time MODEL TIME   it loads in TIME from now on, such as 20s
memory BYTES           so much memory for runners; `memory none` = as much as it takes
online, offline        the registry can be reached, or not
freeze                 the server accepts connections and answers nothing
thaw-server            it goes on
stop, kill             the server ends; `kill` leaves its runners behind
start                  it starts again
POST PATH JSON         another client sends a request, such as POST /api/generate {\"model\":\"m\"}";

/// A line that says nothing that can be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScriptError {
    /// The word is not known.
    #[error("`{0}` is no fault; a line is one of:\n{FAULTS}")]
    Unknown(String),
    /// Something is missing.
    #[error("`{0}` needs {1}")]
    Missing(String, &'static str),
    /// Something is more than it should be.
    #[error("`{0}` is followed by `{1}`, which means nothing here")]
    TooMuch(String, String),
    /// A time or a number is none.
    #[error("`{0}` is no {1}")]
    NotA(String, &'static str),
    /// Where it is.
    #[error("line {0}: {1}")]
    Line(usize, Box<ScriptError>),
    /// Too long.
    #[error("a script has at most {SCRIPT_MAX} lines that do something")]
    TooLong,
}

/// Reads a script: `at TIME FAULT` per line; empty lines and those that begin with `#` say nothing.
pub fn script(text: &str) -> Result<Vec<Scripted>, ScriptError> {
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if all.len() >= SCRIPT_MAX {
            return Err(ScriptError::TooLong);
        }
        let scripted =
            scripted(line).map_err(|error| ScriptError::Line(at + 1, Box::new(error)))?;
        all.push(scripted);
    }
    Ok(all)
}

fn scripted(line: &str) -> Result<Scripted, ScriptError> {
    let missing = || {
        ScriptError::Missing(
            line.into(),
            "the form `at TIME FAULT`, such as `at 5s crash tinyllama`",
        )
    };
    let rest = line.strip_prefix("at ").ok_or_else(missing)?.trim_start();
    let (time, what) = rest.split_once(' ').ok_or_else(missing)?;
    Ok(Scripted {
        at: duration(time)?,
        fault: fault(what.trim())?,
    })
}

/// Reads one fault.
pub fn fault(text: &str) -> Result<Fault, ScriptError> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    if word == "POST" {
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        if !path.starts_with('/') {
            return Err(ScriptError::Missing(
                "POST".into(),
                "a path that begins with `/`, then JSON",
            ));
        }
        return Ok(Fault::Client {
            path: path.into(),
            body: body.trim().into(),
        });
    }
    let mut words = rest.split_whitespace();
    let first = words.next();
    let second = words.next();
    let model = || match first {
        Some(model) => Ok(model.to_owned()),
        None => Err(ScriptError::Missing(word.into(), "a model")),
    };
    let (fault, used) = match word {
        "crash" => (Fault::Crash(model()?), 1),
        "hang" => (Fault::Hang(model()?), 1),
        "thaw" => (Fault::Thaw(model()?), 1),
        "unload" => (Fault::Unload(model()?), 1),
        "oom" => (Fault::OutOfMemory(model()?), 1),
        "delete" => (Fault::Delete(model()?), 1),
        "lose" => (Fault::LoseWeights(model()?), 1),
        "cut" => (Fault::CutWeights(model()?), 1),
        "restore" => (Fault::RestoreWeights(model()?), 1),
        "load-time" => {
            let time =
                second.ok_or_else(|| ScriptError::Missing(word.into(), "a model and a time"))?;
            (Fault::LoadTime(model()?, duration(time)?), 2)
        }
        "memory" => (Fault::Memory(memory(first)?), 1),
        "online" => (Fault::Online(true), 0),
        "offline" => (Fault::Online(false), 0),
        "freeze" => (Fault::FreezeServer, 0),
        "thaw-server" => (Fault::ThawServer, 0),
        "stop" => (Fault::Stop, 0),
        "kill" => (Fault::Kill, 0),
        "start" => (Fault::Start, 0),
        _ => return Err(ScriptError::Unknown(word.into())),
    };
    match rest.split_whitespace().nth(used) {
        Some(more) => Err(ScriptError::TooMuch(word.into(), more.into())),
        None => Ok(fault),
    }
}

fn memory(text: Option<&str>) -> Result<Option<u64>, ScriptError> {
    match text {
        None => Err(ScriptError::Missing("memory".into(), "bytes, or `none`")),
        Some("none") => Ok(None),
        Some(text) => bytes(text).map(Some),
    }
}

/// `500ms`, `5s`, `2m`, `1h`, or seconds.
pub fn duration(text: &str) -> Result<Duration, ScriptError> {
    const WHAT: &str = "time; write it like 500ms, 5s or 2m";
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(ScriptError::NotA(text.into(), WHAT)),
    };
    let seconds = number.parse::<f64>().map(|number| number * factor);
    let duration = seconds
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| ScriptError::NotA(text.into(), WHAT))
}

/// `500M`, `2G`, or bytes.
pub fn bytes(text: &str) -> Result<u64, ScriptError> {
    let wrong = || ScriptError::NotA(text.into(), "size; write it like 500M or 2G");
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let factor: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_line_by_line() {
        let text = "# a comment\n\nat 5s crash tinyllama\nat 1500ms load-time m:1b 2m\nat 0 memory 2G\n\
                    at 1m POST /api/generate {\"model\": \"m\"}\n";
        let faults: Vec<_> = script(text)
            .unwrap()
            .into_iter()
            .map(|one| (one.at, one.fault))
            .collect();
        let client = Fault::Client {
            path: "/api/generate".into(),
            body: "{\"model\": \"m\"}".into(),
        };
        assert_eq!(
            faults,
            [
                (Duration::from_secs(5), Fault::Crash("tinyllama".into())),
                (
                    Duration::from_millis(1500),
                    Fault::LoadTime("m:1b".into(), Duration::from_secs(120))
                ),
                (Duration::ZERO, Fault::Memory(Some(2_000_000_000))),
                (Duration::from_secs(60), client),
            ]
        );
    }

    #[test]
    fn bad_lines_say_what_is_wrong_and_where() {
        for (text, part) in [
            ("at 5s explode m", "line 1: `explode` is no fault"),
            ("\nat 5s crash", "line 2: `crash` needs a model"),
            ("crash m", "needs the form `at TIME FAULT`"),
            ("at soon crash m", "`soon` is no time"),
            ("at 1s crash a b", "followed by `b`"),
            ("at 1s memory 5X", "`5X` is no size"),
            ("at -1s crash a", "`-1s` is no time"),
        ] {
            let error = script(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
