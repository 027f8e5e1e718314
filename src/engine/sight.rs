//! What is seen of a server's runner processes without asking Ollama: the port between the pure engine and `runners`.
//!
//! A sight comes about once a second for each server. It is evidence and nothing else: what follows from it is decided in
//! `watch`.

use std::fmt;
use std::sync::Arc;

/// A runner process, named by the inode of its listening socket: another inode is another process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerId(pub u64);

impl fmt::Debug for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runner {}", self.0)
    }
}

/// What was seen of a server's runners.
#[derive(Clone, PartialEq, Debug)]
pub enum Sight {
    /// They cannot be seen from here.
    Hidden(Hidden),
    /// All that can be seen.
    Seen(Scene),
}

/// Why the runners of a server cannot be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hidden {
    /// `runners` is `off`, or nobody looks.
    Off,
    /// The server's address is not of this host.
    OtherHost,
    /// There is no `/proc/net/tcp` to read.
    NoProc,
    /// No socket listens at the server's address in this network namespace.
    NoListener,
    /// More sockets than can be read every second.
    TooManySockets,
    /// The last look is too long ago.
    Late,
}

impl Hidden {
    /// A sentence for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Off => "observation is off",
            Self::OtherHost => {
                "the server's address is not a loopback address, so its runners are on another host or in another network namespace"
            }
            Self::NoProc => "there is no readable /proc/net/tcp here; only Linux has it",
            Self::NoListener => "nothing listens at the server's address in this network namespace",
            Self::TooManySockets => "too many sockets in this network namespace to read them",
            Self::Late => "the last look at them is too long ago",
        }
    }
}

/// The runners that were seen, and what else may become one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Scene {
    /// The runners, those that still load included.
    pub runners: Vec<Runner>,
    /// A socket that may be a runner's was not there before.
    pub appeared: bool,
    /// Young sockets that have not answered yet: each may be a runner that begins to load.
    pub unclear: usize,
}

/// One runner.
#[derive(Clone, PartialEq, Debug)]
pub struct Runner {
    /// Which.
    pub id: RunnerId,
    /// Its weights; not known while it loads.
    pub weights: Option<WeightsFile>,
    /// Whether it answers.
    pub life: Life,
    /// Requests that run on it or wait for it.
    pub clients: usize,
    /// Requests that it can work on at the same time; not known while it loads.
    pub slots: Option<usize>,
    /// Slots at work when it was last asked.
    pub slots_busy: usize,
    /// A fingerprint of what its slots have done; `None` where it does not tell.
    pub progress: Option<u64>,
    /// What it has computed since it began; `None` where it does not tell.
    pub work: Option<Work>,
    /// It was already there when this process began to look.
    pub old: bool,
}

/// The file of a runner's weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightsFile {
    /// The folder: which model store it is.
    pub store: Arc<str>,
    /// The blob's name, `sha256-…`.
    pub blob: Arc<str>,
}

/// Whether a runner answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It loads its weights, for whoever asked for them.
    Loading,
    /// It answers.
    Well,
    /// It does not answer.
    Frozen,
}

/// What a runner has computed in its life. Each number only rises.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// Prompt tokens computed.
    pub prompt_tokens: f64,
    /// Prompt tokens served from the cache.
    pub prompt_tokens_cached: f64,
    /// Tokens generated.
    pub generated_tokens: f64,
    /// Seconds of computing prompts.
    pub prompt_seconds: f64,
    /// Seconds of generating.
    pub generation_seconds: f64,
}

impl Work {
    /// What was done since `before`. A number that fell began anew.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let grown = |now: f64, then: f64| if now >= then { now - then } else { now };
        Self {
            prompt_tokens: grown(self.prompt_tokens, before.prompt_tokens),
            prompt_tokens_cached: grown(self.prompt_tokens_cached, before.prompt_tokens_cached),
            generated_tokens: grown(self.generated_tokens, before.generated_tokens),
            prompt_seconds: grown(self.prompt_seconds, before.prompt_seconds),
            generation_seconds: grown(self.generation_seconds, before.generation_seconds),
        }
    }

    /// Adds what was done to a sum.
    pub fn add(&mut self, more: Self) {
        self.prompt_tokens += more.prompt_tokens;
        self.prompt_tokens_cached += more.prompt_tokens_cached;
        self.generated_tokens += more.generated_tokens;
        self.prompt_seconds += more.prompt_seconds;
        self.generation_seconds += more.generation_seconds;
    }

    /// The share of prompt tokens that came from the cache, 0–1; `None` before the first token.
    pub fn warm_share(&self) -> Option<f64> {
        let all = self.prompt_tokens + self.prompt_tokens_cached;
        (all > 0.0).then(|| self.prompt_tokens_cached / all)
    }
}
