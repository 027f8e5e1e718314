//! Why a model was lost: a pure judgement over the evidence of polls and of our own requests.
//!
//! Where the evidence fits two causes equally the verdict is `unknown` with both in the detail: never a wrong cause.

use super::snapshot::LossCause;
use std::sync::Arc;

/// What is known when a model is found lost, and until its own reload has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, any of which may hold"
)]
pub(super) struct Evidence {
    /// The server refused connections since the model was last listed.
    pub(super) server_was_down: bool,
    /// The server's version changed since the model was last listed.
    pub(super) version_changed: bool,
    /// `/api/tags` does not list the model any more.
    pub(super) deleted: bool,
    /// `/api/tags` lists the model with other weights than those that were resident.
    pub(super) updated: bool,
    /// The expiry last seen was not our pin.
    pub(super) foreign_expiry: bool,
    /// The last seen expiry had passed when the model was gone.
    pub(super) expired: bool,
    /// A ping of ours was open when the model disappeared from the list, or took long and ended with another expiry.
    pub(super) repaired_under_ping: bool,
    /// A request of ours failed with the words of a dead runner.
    pub(super) died_under_request: Option<Arc<str>>,
    /// A ping of ours took long on a runner that a client had re-pinned: it had ended, or had other options.
    pub(super) reloaded_under_ping: bool,
    /// Nobody loaded it again within a minute, and the server was not restarted.
    pub(super) stayed_away: bool,
    /// A ping of ours was not answered in time.
    pub(super) silent: bool,
    /// Its socket was gone while a later poll still listed it.
    pub(super) ended: bool,
    /// Another runner is in its place, loaded by somebody's request.
    pub(super) replaced: bool,
    /// We unloaded it, because the server loaded nothing any more.
    pub(super) unwedged: bool,
    /// The runner came back with another context, or under another name, without a load of ours.
    pub(super) reloaded_as: Option<Arc<str>>,
    /// Models that appeared since the model was last listed, or that we were loading meanwhile.
    pub(super) newcomers: Vec<Newcomer>,
    /// Other models that vanished in the same poll.
    pub(super) vanished_together: usize,
    /// Runners that stayed resident across the loss: the server was not restarted.
    pub(super) stayed: usize,
}

/// A model that appeared as another one went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Newcomer {
    /// Its name, as `/api/ps` shows it.
    pub(super) name: Arc<str>,
    /// Whether a load of ours brought it.
    pub(super) ours: bool,
    /// Whether it is one of the declared models.
    pub(super) declared: bool,
}

impl Newcomer {
    fn words(&self) -> String {
        let by = if self.ours {
            "this preloader"
        } else {
            "another client"
        };
        format!("{} was loaded by {by}", self.name)
    }
}

impl Evidence {
    /// Whether nothing that may still happen can change the verdict.
    pub(super) fn is_conclusive(&self) -> bool {
        judge("", self).0 != LossCause::Unknown
    }
}

/// The cause and a sentence about `model`.
pub(super) fn judge(model: &str, evidence: &Evidence) -> (LossCause, String) {
    runner_died(model, evidence)
        .or_else(|| was_changed(model, evidence))
        .unwrap_or_else(|| undecided(model, evidence))
}

/// The process is gone, or silent: seen at our own requests.
fn runner_died(model: &str, evidence: &Evidence) -> Option<(LossCause, String)> {
    if evidence.server_was_down || evidence.version_changed {
        let said = format!("{model} was lost because the Ollama server was restarted");
        return Some((LossCause::ServerRestart, said));
    }
    if evidence.unwedged {
        let said = format!(
            "this preloader unloaded {model}, which was idle, because the server had stopped loading anything"
        );
        return Some((LossCause::Unloaded, said));
    }
    if evidence.ended {
        let said = format!("the runner of {model} ended; Ollama loads it again when it is asked");
        return Some((LossCause::RunnerCrashed, said));
    }
    if evidence.silent {
        return Some((
            LossCause::RunnerHung,
            format!("the runner of {model} does not answer"),
        ));
    }
    if let Some(said) = &evidence.died_under_request {
        return Some((
            LossCause::RunnerCrashed,
            format!("the runner of {model} ended: {said}"),
        ));
    }
    let repaired =
        || format!("the runner of {model} had ended; Ollama loaded it again when it was asked");
    evidence
        .repaired_under_ping
        .then(|| (LossCause::RunnerCrashed, repaired()))
}

/// Somebody did something to the model or needed its place.
fn was_changed(model: &str, evidence: &Evidence) -> Option<(LossCause, String)> {
    if evidence.deleted {
        return Some((
            LossCause::ModelDeleted,
            format!("{model} was deleted from the server"),
        ));
    }
    if evidence.updated {
        let said = format!("the weights of {model} were replaced by a pull or a create");
        return Some((LossCause::ModelUpdated, said));
    }
    if let Some(how) = &evidence.reloaded_as {
        let said = format!("{model} was loaded again by another client {how}");
        return Some((LossCause::OptionsChanged, said));
    }
    if !evidence.newcomers.is_empty() {
        let said: Vec<_> = evidence.newcomers.iter().map(Newcomer::words).collect();
        let said = format!("{model} was evicted because {}", said.join(", or "));
        return Some((LossCause::MemoryPressure, said));
    }
    let ran_out = || {
        format!("a client's keep_alive had shortened the time to live of {model}, and it ran out")
    };
    if evidence.expired && evidence.foreign_expiry {
        return Some((LossCause::UnpinnedByClient, ran_out()));
    }
    let unloaded = || format!("{model} was unloaded by a client");
    evidence
        .stayed_away
        .then(|| (LossCause::Unloaded, unloaded()))
}

/// What several causes explain equally well.
fn undecided(model: &str, evidence: &Evidence) -> (LossCause, String) {
    if evidence.reloaded_under_ping {
        let said = format!(
            "{model} was loaded again when it was asked: its runner had ended, or a client had loaded it with options \
             that /api/ps does not show"
        );
        return (LossCause::Unknown, said);
    }
    if evidence.replaced {
        let said = format!(
            "{model} runs in another process than before: its runner had ended and a client's request loaded it again, \
             or a client loaded it with options that /api/ps does not show"
        );
        return (LossCause::Unknown, said);
    }
    let both = if evidence.stayed > 0 {
        "a client unloaded it, loads it again with other options, or needed its place for a moment"
    } else if evidence.vanished_together > 0 {
        "the server was restarted between two polls, or clients unloaded all models or needed their place"
    } else {
        "a client unloaded it or needed its place for a moment, or the server was restarted between two polls"
    };
    (
        LossCause::Unknown,
        format!("{model} is gone and the evidence does not tell why: {both}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newcomer(name: &str, ours: bool) -> Vec<Newcomer> {
        vec![Newcomer {
            name: name.into(),
            ours,
            declared: ours,
        }]
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_evidence_has_one_cause_and_a_sentence() {
        let none = Evidence::default;
        let table = [
            (
                Evidence {
                    server_was_down: true,
                    ..none()
                },
                LossCause::ServerRestart,
                "restarted",
            ),
            (
                Evidence {
                    version_changed: true,
                    ..none()
                },
                LossCause::ServerRestart,
                "restarted",
            ),
            (
                Evidence {
                    silent: true,
                    ..none()
                },
                LossCause::RunnerHung,
                "does not answer",
            ),
            (
                Evidence {
                    died_under_request: Some("EOF".into()),
                    ..none()
                },
                LossCause::RunnerCrashed,
                "ended: EOF",
            ),
            (
                Evidence {
                    ended: true,
                    ..none()
                },
                LossCause::RunnerCrashed,
                "ended; Ollama loads it again",
            ),
            (
                Evidence {
                    unwedged: true,
                    ..none()
                },
                LossCause::Unloaded,
                "this preloader unloaded tinyllama",
            ),
            (
                Evidence {
                    replaced: true,
                    ..none()
                },
                LossCause::Unknown,
                "runs in another process than before",
            ),
            (
                Evidence {
                    repaired_under_ping: true,
                    ..none()
                },
                LossCause::RunnerCrashed,
                "had ended",
            ),
            (
                Evidence {
                    deleted: true,
                    ..none()
                },
                LossCause::ModelDeleted,
                "deleted",
            ),
            (
                Evidence {
                    stayed_away: true,
                    ..none()
                },
                LossCause::Unloaded,
                "unloaded by a client",
            ),
            (
                Evidence {
                    updated: true,
                    ..none()
                },
                LossCause::ModelUpdated,
                "replaced",
            ),
            (
                Evidence {
                    reloaded_as: Some("with a context of 2048".into()),
                    ..none()
                },
                LossCause::OptionsChanged,
                "by another client with a context of 2048",
            ),
            (
                Evidence {
                    newcomers: newcomer("qwen2.5-coder:3b", false),
                    ..none()
                },
                LossCause::MemoryPressure,
                "tinyllama was evicted because qwen2.5-coder:3b was loaded by another client",
            ),
            (
                Evidence {
                    newcomers: newcomer("b", true),
                    ..none()
                },
                LossCause::MemoryPressure,
                "b was loaded by this preloader",
            ),
            (
                Evidence {
                    expired: true,
                    foreign_expiry: true,
                    ..none()
                },
                LossCause::UnpinnedByClient,
                "shortened",
            ),
            (
                Evidence {
                    reloaded_under_ping: true,
                    ..none()
                },
                LossCause::Unknown,
                "options that /api/ps does not show",
            ),
            (
                none(),
                LossCause::Unknown,
                "needed its place for a moment, or the server was restarted",
            ),
            (
                Evidence {
                    stayed: 1,
                    ..none()
                },
                LossCause::Unknown,
                "loads it again with other options, or needed its place",
            ),
            (
                Evidence {
                    vanished_together: 1,
                    ..none()
                },
                LossCause::Unknown,
                "restarted between two polls",
            ),
        ];
        for (evidence, cause, words) in table {
            let (judged, detail) = judge("tinyllama", &evidence);
            assert_eq!(judged, cause, "{evidence:?}");
            assert!(detail.contains(words), "{detail:?} lacks {words:?}");
            assert_eq!(evidence.is_conclusive(), cause != LossCause::Unknown);
        }
    }

    #[test]
    fn a_restart_explains_everything_else() {
        let all = Evidence {
            server_was_down: true,
            silent: true,
            deleted: true,
            newcomers: newcomer("b", false),
            ..Evidence::default()
        };
        assert_eq!(judge("a", &all).0, LossCause::ServerRestart);
    }
}
