//! The configuration from outside: each file of tests/config/ with the exact text that it gives, and what must never
//! be in any text.
//!
//! `NAME.env` beside a file is its environment. `UPDATE_GOLDEN=1` writes the expected texts anew.

#![cfg(test)]

use model_preloader::config::{self, Given, Loaded, Sources};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Relative, so that the texts are the same everywhere; tests run in the directory of the package.
const FIXTURES: &str = "tests/config";

/// In every fixture it stands for a secret.
const SECRET: &str = "swordfish";

fn fixtures(prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .filter(|path| {
            let extension = path.extension().unwrap().to_str().unwrap();
            ["yaml", "toml", "json", "conf"].contains(&extension)
        })
        .collect();
    found.sort();
    found
}

fn sources(file: &Path) -> Sources {
    let name = file.file_name().unwrap().to_str().unwrap();
    let stem = name.split('.').next().unwrap();
    let environment = std::fs::read_to_string(file.with_file_name(format!("{stem}.env")));
    let pairs = environment.unwrap_or_default();
    let pairs = pairs.lines().map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    Sources {
        file: Some(file.to_owned()),
        env: pairs.collect(),
        ..Sources::default()
    }
}

fn load(file: &Path) -> Loaded {
    config::load(&sources(file)).unwrap_or_else(|report| panic!("{}:\n{report}", file.display()))
}

/// Compares with a file, or writes it.
fn expect(path: &Path, made: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "{} differs; `UPDATE_GOLDEN=1` writes it anew. Made:\n{made}",
        path.display()
    );
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let name = file.file_name().unwrap().to_str().unwrap();
    file.with_file_name(format!("{name}.{ending}"))
}

#[test]
fn every_invalid_file_gives_its_exact_text() {
    let files = fixtures("invalid-");
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        let report = config::load(&sources(&file)).err();
        let report = report.unwrap_or_else(|| panic!("{} is valid", file.display()));
        assert!(!report.errors.is_empty(), "{}", file.display());
        assert_eq!(report, config::check(&sources(&file)), "{}", file.display());
        expect(&beside(&file, "err"), &format!("{report}\n"));
    }
}

#[test]
fn every_valid_file_gives_its_effective_values() {
    let files = fixtures("valid-");
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let loaded = load(&file);
        let mut text = loaded.to_yaml();
        for warning in &loaded.warnings {
            writeln!(text, "# warning: {warning}").unwrap();
        }
        expect(&beside(&file, "print"), &text);
    }
}

#[test]
fn the_printed_values_are_a_valid_file_with_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["valid-empty.yaml", "valid-plain.json"] {
        let first = load(&Path::new(FIXTURES).join(file));
        let copy = folder.path().join("copy.yaml");
        std::fs::write(&copy, first.to_yaml()).unwrap();
        let second = load(&copy);
        let values = |loaded: &Loaded| {
            let json: serde_json::Value = serde_json::from_str(&loaded.to_json()).unwrap();
            json["config"].clone()
        };
        assert_eq!(values(&first), values(&second), "{file}");
        let (first, second) = (&first.settings.spec, &second.settings.spec);
        assert_eq!(first.models, second.models, "{file}");
        assert_eq!(first.timing, second.timing, "{file}");
    }
}

#[test]
fn json_says_the_same_as_the_text() {
    let file = Path::new(FIXTURES).join("invalid-rules.yaml");
    let report = config::check(&sources(&file));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(
        json["errors"].as_array().unwrap().len(),
        report.errors.len()
    );
    assert_eq!(json["errors"][0]["key"], "preload.loadDeadline");
    assert_eq!(
        json["errors"][0]["source"],
        "tests/config/invalid-rules.yaml:1:20"
    );
    assert_eq!(json["errors"][0]["value"], "10m");
    assert!(
        json["errors"][0]["rule"]
            .as_str()
            .unwrap()
            .contains("preload.timeout")
    );
    assert!(
        json["errors"][0]["hint"]
            .as_str()
            .unwrap()
            .contains("preload.loadDeadline")
    );
    assert_eq!(json["warnings"][0]["key"], "models[0].retryDelayMs");
}

#[test]
fn a_secret_is_carried_and_never_shown() {
    let loaded = load(&Path::new(FIXTURES).join("valid-everything.yaml"));
    let gpu = &loaded.settings.connections[1];
    assert_eq!(gpu.bearer.as_ref().unwrap().expose(), SECRET);
    let headers: Vec<_> = gpu
        .headers
        .iter()
        .map(|(name, value)| (&**name, value.expose()))
        .collect();
    assert_eq!(headers, [("X-Team", SECRET), ("X-Key", SECRET)]);
    assert_eq!(&*gpu.url, "https://gpu.example:8443/ollama");

    let mut texts = Vec::new();
    for file in fixtures("") {
        texts.push(format!("{:?}", sources(&file)));
        match config::load(&sources(&file)) {
            Ok(loaded) => texts.extend([
                format!("{loaded:?}"),
                format!("{:?}", loaded.settings),
                loaded.to_yaml(),
                loaded.to_json(),
                loaded.warnings.iter().map(ToString::to_string).collect(),
            ]),
            Err(report) => texts.extend([
                report.to_string(),
                report.to_json(),
                format!("{report:?}"),
                report.errors.iter().map(ToString::to_string).collect(),
            ]),
        }
    }
    assert!(texts.len() > 60);
    for text in texts {
        assert!(!text.contains(SECRET), "a secret is shown:\n{text}");
        assert!(
            !text.contains("private prompt"),
            "a prompt is shown:\n{text}"
        );
        assert!(
            !text.contains("You review code"),
            "a prompt is shown:\n{text}"
        );
    }
}

#[test]
fn conversations_reach_the_engine_in_the_form_of_chat() {
    let loaded = load(&Path::new(FIXTURES).join("valid-everything.yaml"));
    let coder = &loaded.settings.spec.models[0];
    assert_eq!(coder.warmup_parallel, 2);
    let warmup: Vec<_> = coder
        .warmup
        .iter()
        .map(|each| (&*each.name, &*each.json))
        .collect();
    assert_eq!(
        warmup,
        [
            (
                "prompt.txt",
                r#"{"messages":[{"role":"system","content":"You are a careful assistant.\n"},{"role":"user","content":"Hello"}]}"#
            ),
            (
                "conversation.yaml",
                r#"{"messages":[{"role":"system","content":"You review code."},{"role":"user","content":"Review this."}]}"#
            ),
            (
                "tools",
                // The order of the keys of a tool stays as written: it becomes part of the prompt.
                r#"{"messages":[{"role":"system","content":"You call tools."}],"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}}}}}]}"#
            ),
        ]
    );
    let list = load(&Path::new(FIXTURES).join("valid-list.json"));
    let json: serde_json::Value =
        serde_json::from_str(&list.settings.spec.models[0].warmup[0].json).unwrap();
    assert_eq!(json["messages"][0]["content"], "Be \"short\" \\ ü 😀.");
}

#[test]
fn each_layer_wins_over_those_below() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, "preload: {concurrency: 4}\n").unwrap();
    let concurrency = |sources: &Sources| {
        let loaded = config::load(sources).unwrap();
        loaded.settings.spec.timing.concurrency
    };
    let mut sources = Sources::default();
    assert_eq!(concurrency(&sources), 2, "built in");
    sources.file = Some(file);
    assert_eq!(concurrency(&sources), 4, "file");
    sources.env = vec![("MODEL_PRELOADER__PRELOAD__CONCURRENCY".into(), "5".into())];
    assert_eq!(concurrency(&sources), 5, "environment");
    sources.flags = vec![Given::flag("--x", "preload.concurrency", "6")];
    assert_eq!(concurrency(&sources), 6, "flag");
    sources.set = vec!["preload.concurrency=7".into()];
    assert_eq!(concurrency(&sources), 7, "--set");
}

#[test]
fn historic_variables_mean_what_they_always_meant() {
    let load = |variables: &[(&str, &str)]| {
        let env = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        config::load(&Sources {
            env: env.collect(),
            ..Sources::default()
        })
        .unwrap()
        .settings
    };
    let settings = load(&[
        ("OLLAMA_URL", "http://10.0.0.7:11434/"),
        ("MODEL_PRELOAD_TIMEOUT", "1500"),
        ("HEALTH_CHECK_INTERVAL", "60000"),
        ("MODELS_TO_PRELOAD", "tinyllama, smollm2:135m"),
    ]);
    assert_eq!(&*settings.connections[0].url, "http://10.0.0.7:11434");
    assert_eq!(&*settings.spec.servers[0].name, "ollama");
    assert_eq!(settings.spec.timing.preload_timeout.as_millis(), 1500);
    assert_eq!(settings.spec.timing.health_interval.as_secs(), 60);
    let models = &settings.spec.models;
    assert_eq!(models.len(), 2);
    // What is built in about a model stays; of another nothing is known.
    assert_eq!(
        (&*models[0].name, &*models[0].display_name),
        ("tinyllama:latest", "TinyLlama 1.1B")
    );
    assert_eq!(
        (&*models[1].name, &*models[1].display_name),
        ("smollm2:135m", "smollm2:135m")
    );

    let settings = load(&[("OLLAMA_URL", "http://a:1, http://b:2")]);
    let names: Vec<_> = settings
        .spec
        .servers
        .iter()
        .map(|server| &*server.name)
        .collect();
    assert_eq!(names, ["ollama-1", "ollama-2"]);
    assert_eq!(
        load(&[("MODEL_PRELOAD_TIMEOUT", "45s")])
            .spec
            .timing
            .preload_timeout
            .as_secs(),
        45
    );
    assert_eq!(
        load(&[("OLLAMA_NUM_PARALLEL", "4")]).spec.models[0].warmup_parallel,
        4
    );
    assert_eq!(
        load(&[("OLLAMA_NUM_PARALLEL", "0")]).spec.models[0].warmup_parallel,
        1
    );
    let own = ("MODEL_PRELOADER__WARMUP__PARALLEL", "2");
    assert_eq!(
        load(&[("OLLAMA_NUM_PARALLEL", "4"), own]).spec.models[0].warmup_parallel,
        2
    );
}

#[test]
fn the_documentation_has_the_reference_of_every_key() {
    let page = std::fs::read_to_string("docs/CONFIGURATION.md").unwrap();
    let (begin, end) = (
        "<!-- reference: made by the test -->\n",
        "<!-- end of the reference -->",
    );
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let made = format!("{before}{begin}\n{}\n{end}{after}", config::reference());
    expect(Path::new("docs/CONFIGURATION.md"), &made);
}

#[test]
fn the_examples_are_valid_and_say_the_same() {
    let load = |name: &str| {
        let env = vec![("OLLAMA_TOKEN".to_owned(), "x".to_owned())];
        let file = Some(Path::new("examples").join(name));
        let loaded = config::load(&Sources {
            file,
            env,
            ..Sources::default()
        });
        loaded.unwrap_or_else(|report| panic!("{name}:\n{report}"))
    };
    let values = |name: &str| {
        let loaded = load(name);
        assert_eq!(loaded.warnings, [], "{name}");
        let json: serde_json::Value = serde_json::from_str(&loaded.to_json()).unwrap();
        json["config"].clone()
    };
    let yaml = values("config.yaml");
    assert_eq!(yaml, values("config.toml"));
    assert_eq!(yaml, values("config.json"));
}
