//! The engine's notices as log lines: one for each change of a state, constant words, the facts as fields.

use crate::clock::millis;
use crate::engine::Notice;
use crate::engine::snapshot::State;
use tracing::{info, warn};

pub(super) fn write(notice: &Notice) {
    match notice {
        Notice::State { .. } => write_state(notice),
        Notice::Lost {
            model,
            server,
            cause,
            detail,
        } => {
            warn!(model = %model, server = %server, cause = cause.as_str(), detail = %detail, "model lost");
        }
        Notice::Server {
            server,
            up: true,
            detail,
        } => info!(server = %server, detail = %detail, "server is up"),
        Notice::Server {
            server,
            up: false,
            detail,
        } => warn!(server = %server, detail = %detail, "server is away"),
        Notice::Gate { ready: true, .. } => info!("gate opened"),
        Notice::Gate {
            ready: false,
            reasons,
        } => warn!(reasons = %reasons.join("; "), "gate closed"),
        Notice::Advice {
            model: Some(model),
            text,
        } => warn!(model = %model, advice = %text, "advice"),
        Notice::Advice { model: None, text } => warn!(advice = %text, "advice"),
    }
}

fn write_state(notice: &Notice) {
    let Notice::State {
        model,
        server,
        from,
        to,
        attempt,
        duration,
        failure,
    } = notice
    else {
        return;
    };
    let duration_ms = duration.map(millis);
    let (kind, error) = match failure {
        Some(failure) => (Some(failure.kind.as_str()), Some(&*failure.message)),
        None => (None, None),
    };
    let bad = matches!(
        to,
        State::Retrying | State::Failed | State::Quarantined | State::Unresponsive | State::Unknown
    );
    if bad {
        warn!(
            model = %model, server = %server, from = from.as_str(), to = to.as_str(), attempt, duration_ms, kind, error,
            "model changed its state"
        );
    } else {
        info!(
            model = %model, server = %server, from = from.as_str(), to = to.as_str(), attempt, duration_ms, kind, error,
            "model changed its state"
        );
    }
}
