//! A random configuration: what is installed, what is declared, how the server and the sidecar are set.

use crate::dice::Dice;
use model_preloader::engine::spec::{
    Conversation, DriftPolicy, ModelSpec, OptionValue, PullPolicy, ReadinessPolicy, ReadinessScope,
    ReadinessSpec, ServerSpec, Spec, Timing, Verify, WarmupReadiness,
};
use ollama_sim::{Config, Kind, ModelSpec as Installed};
use std::sync::Arc;
use std::time::Duration;

/// An installed model: its name and the weights behind it. Two names share `a`'s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) weights: &'static str,
}

pub(crate) const INSTALLED: [Name; 6] = [
    name("a:latest", "a"),
    name("a-poet:latest", "a"),
    name("b:1b", "b"),
    name("mini:latest", "mini"),
    name("x:latest", "x"),
    name("y:7b", "y"),
];

/// The first so many can be declared; the others are other people's.
const DECLARABLE: usize = 4;

const fn name(name: &'static str, weights: &'static str) -> Name {
    Name { name, weights }
}

/// The weights behind a name.
pub(crate) fn weights_of(name: &str) -> &'static str {
    let found = INSTALLED.iter().find(|one| one.name == name);
    found.map_or("", |one| one.weights)
}

/// The weights behind a blob's digest.
pub(crate) fn blob_of(weights: &str) -> String {
    weights
        .bytes()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        + &"0".repeat(64 - 2 * weights.len())
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) spec: Spec,
    pub(crate) servers: Vec<Config>,
    /// Whether all declared models have room at the same time.
    pub(crate) fits: bool,
    /// Longest load of any model.
    pub(crate) slowest_load: Duration,
}

pub(crate) fn setup(dice: &mut Dice) -> Setup {
    let servers = if dice.chance(20) { 2 } else { 1 };
    let loads: Vec<Duration> = INSTALLED
        .iter()
        .map(|_| {
            if dice.chance(10) {
                dice.millis(20_000, 70_000)
            } else {
                dice.millis(200, 8_000)
            }
        })
        .collect();
    let mut models: Vec<ModelSpec> = Vec::new();
    for one in &INSTALLED[..DECLARABLE] {
        if dice.chance(60) {
            models.push(declared(dice, one.name));
        }
    }
    if models.is_empty() {
        models.push(declared(dice, INSTALLED[0].name));
    }
    // Names of the same weights with different options fight by declaration; that is a conflict, not a run.
    let options = Arc::clone(&models[0].options);
    for model in models
        .iter_mut()
        .filter(|model| weights_of(&model.name) == "a")
    {
        model.options = Arc::clone(&options);
    }
    let mut distinct: Vec<_> = models.iter().map(|model| weights_of(&model.name)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let most = dice.pick(&[1, 2, 3, 3, 4, 5]);
    let parallel = dice.pick(&[1, 1, 2]);
    let config = |dice: &mut Dice| {
        let mut config = Config::new(
            INSTALLED
                .iter()
                .zip(&loads)
                .map(|(one, load)| installed(*one, *load)),
        );
        config.environment.max_loaded_models = most;
        config.environment.num_parallel = parallel;
        config.environment.max_queue = dice.pick(&[512, 512, 4]);
        config
    };
    Setup {
        fits: distinct.len() <= most,
        servers: (0..servers).map(|_| config(dice)).collect(),
        slowest_load: loads.iter().copied().max().unwrap_or_default(),
        spec: Spec {
            servers: (0..servers).map(server).collect(),
            readiness: readiness(dice),
            timing: timing(dice),
            models,
        },
    }
}

fn server(number: usize) -> ServerSpec {
    ServerSpec {
        name: format!("s{number}").into(),
        url: format!("http://127.0.0.1:1143{number}").into(),
    }
}

fn installed(one: Name, load: Duration) -> Installed {
    let kind = if one.weights == "mini" {
        Kind::Embedding
    } else {
        Kind::Completion
    };
    let mut model = Installed::new(one.name).load(load).kind(kind);
    model.blob = blob_of(one.weights);
    if one.name.contains("poet") {
        model.system = "You are a poet.".into();
    }
    model
}

fn declared(dice: &mut Dice, name: &str) -> ModelSpec {
    let embeds = weights_of(name) == "mini";
    let verify = if embeds {
        dice.pick(&[Verify::Load, Verify::Token])
    } else {
        dice.pick(&[Verify::Load, Verify::Token, Verify::Prompt])
    };
    let conversation = |number: u64| Conversation {
        name: number.to_string().into(),
        json: format!(
            r#"{{"messages":[{{"role":"system","content":"{} {number}"}}]}}"#,
            "word ".repeat(50)
        )
        .into(),
    };
    let warmup = if verify == Verify::Prompt {
        (0..=dice.roll(2)).map(conversation).collect()
    } else {
        Vec::new()
    };
    let mut options = model_preloader::engine::spec::Options::new();
    if dice.chance(30) {
        options.insert("num_ctx".into(), OptionValue::Int(2048));
    }
    ModelSpec {
        name: name.into(),
        display_name: name.into(),
        required: dice.chance(80),
        priority: dice.pick(&[0, 0, 1]),
        max_retries: dice.pick(&[0, 3, 3]),
        retry_delay: dice.millis(500, 4_000),
        verify,
        warmup,
        warmup_parallel: dice.pick(&[1, 1, 2]),
        options: Arc::new(options),
        pull: PullPolicy::Never,
        drift: dice.pick(&[
            DriftPolicy::Report,
            DriftPolicy::Report,
            DriftPolicy::Enforce,
        ]),
        servers: None,
        min_servers: 1,
    }
}

fn readiness(dice: &mut Dice) -> ReadinessSpec {
    ReadinessSpec {
        policy: dice.pick(&[
            ReadinessPolicy::All,
            ReadinessPolicy::All,
            ReadinessPolicy::Any,
        ]),
        scope: ReadinessScope::Continuous,
        warmup: dice.pick(&[
            WarmupReadiness::Require,
            WarmupReadiness::Require,
            WarmupReadiness::Background,
        ]),
    }
}

fn timing(dice: &mut Dice) -> Timing {
    Timing {
        preload_timeout: dice.pick(&[Duration::from_secs(5), Duration::from_secs(30)]),
        jitter_percent: dice.pick(&[0, 10, 100]),
        concurrency: dice.pick(&[1, 2, 2, 3]),
        reclaim_after: dice.pick(&[Duration::ZERO, Duration::from_secs(30)]),
        conflict_window: dice.pick(&[Duration::from_secs(60), Duration::from_secs(600)]),
        health_interval: dice.pick(&[Duration::from_secs(60), Duration::from_secs(300)]),
        ..Timing::default()
    }
}
