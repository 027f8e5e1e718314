//! A plain specification for the tests of other modules.

use crate::engine::Spec;
use crate::engine::spec::{
    DriftPolicy, ModelSpec, PullPolicy, ReadinessPolicy, ReadinessScope, ReadinessSpec, ServerSpec,
    Timing, Verify, WarmupReadiness,
};
use std::sync::Arc;
use std::time::Duration;

/// One server and these models: loaded is ready, no jitter.
pub(crate) fn spec(models: &[&str]) -> Spec {
    let model = |name: &&str| ModelSpec {
        name: (*name).into(),
        display_name: (*name).into(),
        required: true,
        priority: 0,
        max_retries: 3,
        retry_delay: Duration::from_secs(1),
        verify: Verify::Load,
        warmup: Vec::new(),
        warmup_parallel: 1,
        options: Arc::default(),
        pull: PullPolicy::Never,
        drift: DriftPolicy::Report,
        servers: None,
        min_servers: 1,
    };
    Spec {
        servers: vec![ServerSpec {
            name: "ollama".into(),
            url: "http://127.0.0.1:11434".into(),
        }],
        models: models.iter().map(model).collect(),
        readiness: ReadinessSpec {
            policy: ReadinessPolicy::All,
            scope: ReadinessScope::Continuous,
            warmup: WarmupReadiness::Require,
        },
        timing: Timing {
            jitter_percent: 0,
            ..Timing::default()
        },
    }
}
