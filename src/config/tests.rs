//! Every key of the table, in every layer: it can be set, it arrives, and its source is told.

use super::field::Accepts;
use super::outside::{settable_keys, variable_of};
use super::walk::all_keys;
use super::*;
use crate::engine::spec::Timing;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Two servers, so that `minServers` has something to count.
const SERVERS: &str = r#"[{"name": "a", "url": "http://a:1"}, {"name": "b", "url": "http://b:2"}]"#;

/// A value other than the default, and the same for another layer.
fn samples(key: &str, accepts: Accepts, default: &Json) -> [Json; 2] {
    let last = key.rsplit('.').next().unwrap();
    let number = |step: i64| default.as_i64().unwrap_or(0) + step;
    let time = |more: u64| {
        let default = duration::parse(default.as_str().unwrap()).unwrap();
        json!(duration::show(default + Duration::from_millis(more)))
    };
    match (accepts, last) {
        (Accepts::Bool, _) => [json!(default != true), json!(default == true)],
        (Accepts::Duration { .. }, _) => [time(1), time(2)],
        (Accepts::Millis { .. }, _) => [json!(number(1)), json!(number(2))],
        // There are only two servers to choose from.
        (_, "minServers") => [json!(2), json!(1)],
        (Accepts::Whole { .. }, _) => [json!(number(1)), json!(number(2))],
        // `prompt` would need a conversation.
        (_, "verify") => [json!("load"), json!("token")],
        (Accepts::Word(words), _) => {
            let other = words.iter().find(|word| default != **word).unwrap();
            let same = words.iter().find(|word| *word != other).unwrap();
            [json!(other), json!(same)]
        }
        (Accepts::Listen, _) => [json!("127.0.0.1:1"), json!("127.0.0.1:2")],
        (Accepts::Policy, _) => [json!("any"), json!("none")],
        (_, "warmup") => [json!([{"system": "x"}]), json!([{"system": "y"}])],
        (_, "options") => [json!({"num_ctx": 1}), json!({"num_ctx": 2})],
        (_, "servers") => [json!(["a"]), json!(["b"])],
        (_, "headers") => [
            json!({"X-A": {"value": "1"}}),
            json!({"X-B": {"value": "1"}}),
        ],
        (_, "url") => [json!("http://c:1"), json!("http://c:2")],
        (_, "tokenEnv") => [json!("TOKEN"), json!("OTHER")],
        (Accepts::Text { .. }, _) => [json!("warn"), json!("error")],
        (Accepts::Own(what), _) => panic!("no sample of {what} for {key}"),
    }
}

/// As a variable or a flag gives it.
fn as_text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn nested(key: &str, value: Json) -> Json {
    let keys = key.rsplit('.');
    keys.fold(value, |inner, key| json!({key: inner}))
}

fn loaded(sources: &Sources, what: &str) -> (Json, BTreeMap<String, String>) {
    let loaded = load(sources).unwrap_or_else(|report| panic!("{what}:\n{report}"));
    let json: Json = serde_json::from_str(&loaded.to_json()).unwrap();
    let sources = serde_json::from_value(json["sources"].clone()).unwrap();
    (json["config"].clone(), sources)
}

fn at<'a>(config: &'a Json, key: &str) -> &'a Json {
    key.split('.').fold(config, |inner, key| &inner[key])
}

/// The parts of a key that are printed: the warm-up of `defaults` is seen at its models.
fn seen_at(key: &str) -> &str {
    match key {
        "defaults.warmup" => "models[0].warmup.parallel",
        "defaults.options" => "defaults.options.num_ctx",
        _ => key,
    }
}

#[test]
fn every_key_can_be_set_from_every_layer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let base = Sources {
        env: vec![("MODEL_PRELOADER__SERVERS".into(), SERVERS.into())],
        ..Sources::default()
    };
    let (defaults, _) = loaded(&base, "defaults");
    let accepts: BTreeMap<String, Accepts> = all_keys().into_iter().collect();
    let keys = settable_keys();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys
        .iter()
        .filter(|key| !matches!(&***key, "servers" | "models"))
    {
        let [one, other] = samples(key, accepts[key], at(&defaults, key));
        let printed = key != "defaults.warmup";
        let expect = |sources: &Sources, value: &Json, source: &str| {
            let (config, origins) = loaded(sources, key);
            if printed {
                assert_eq!(at(&config, key), value, "{key} from {source}");
            }
            assert!(
                origins[seen_at(key)].contains(source),
                "{key} from {source}: {origins:?}"
            );
        };
        std::fs::write(&file, nested(key, one.clone()).to_string()).unwrap();
        let mut sources = Sources {
            file: Some(file.clone()),
            ..base.clone()
        };
        expect(&sources, &one, "config.json:1:");
        let variable = variable_of(key);
        sources.env.push((variable.clone(), as_text(&other)));
        expect(&sources, &other, &format!("variable {variable}"));
        sources.set = vec![format!("{key}={}", as_text(&one))];
        expect(&sources, &one, &format!("flag --set {key}"));
    }
}

#[test]
fn every_key_of_an_item_can_be_set_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("token"), "secret\n").unwrap();
    std::fs::write(path("ca.pem"), CERTIFICATE).unwrap();
    for (key, accepts) in all_keys() {
        let Some((list, name)) = key.split_once("[].") else {
            continue;
        };
        let value = match name {
            "tokenFile" => json!(path("token")),
            "caFile" => json!(path("ca.pem")),
            _ => samples(&key, accepts, &Json::Null)[0].clone(),
        };
        let mut tree = json!({
            "servers": serde_json::from_str::<Json>(SERVERS).unwrap(),
            "models": [{"model": "m"}],
        });
        tree[list][0][name] = value;
        if name == "name" {
            tree["models"][0]["servers"] = json!(["warn"]);
        }
        std::fs::write(&file, tree.to_string()).unwrap();
        let env = vec![("TOKEN".to_owned(), "secret".to_owned())];
        let sources = Sources {
            file: Some(file.clone()),
            env,
            ..Sources::default()
        };
        let (_, origins) = loaded(&sources, &key);
        let full = format!("{list}[0].{name}");
        let found = origins.iter().find(|(key, _)| key.starts_with(&full));
        let (_, origin) = found.unwrap_or_else(|| panic!("{full} is not printed: {origins:?}"));
        assert!(origin.contains("config.json:1:"), "{full}: {origin}");
    }
}

/// Of an authority whose key nobody has.
const CERTIFICATE: &str = include_str!("../../tests/config/ca.pem");

#[test]
fn the_defaults_of_the_table_are_those_of_the_engine() {
    let settings = load(&Sources::default()).unwrap().settings;
    assert_eq!(settings.spec.timing, Timing::default());
    assert_eq!(settings.http, HttpSettings::default());
    assert_eq!(settings.log, LogSettings::default());
    assert_eq!(settings.spec.models.len(), 2);
}

#[test]
fn every_default_fits_its_own_rule() {
    // The lowest layer goes through the same check as all others, so a default that does not fit is an error.
    assert_eq!(check(&Sources::default()), Report::default());
}

#[test]
fn no_two_keys_share_a_variable() {
    let keys = settable_keys();
    let variables: std::collections::BTreeSet<_> =
        keys.iter().map(|key| variable_of(key)).collect();
    assert_eq!(variables.len(), keys.len());
}

#[test]
fn the_documentation_names_the_limits() {
    let page = std::fs::read_to_string("docs/CONFIGURATION.md").unwrap();
    let counts = format!(
        "At most {} servers, {} models, {} conversations of a model, {} options of a model, {} headers of a server.",
        items::SERVERS_MAX,
        items::MODELS_MAX,
        warmup::CONVERSATIONS_MAX,
        models::OPTIONS_MAX,
        servers::HEADERS_MAX,
    );
    let sizes = format!(
        "The file has at most {} MB, a conversation {} MB, a secret {} kB.",
        file::CONFIG_MAX >> 20,
        file::CONVERSATION_MAX >> 20,
        file::SECRET_MAX >> 10,
    );
    assert!(page.contains(&counts), "{counts}");
    assert!(page.contains(&sizes), "{sizes}");
}

/// `(name, value)` pairs as an environment.
fn with_env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Sources {
        env: env.collect(),
        ..Sources::default()
    }
}

#[test]
fn files_that_cannot_be_read_are_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("folder.yaml")).unwrap();
    std::fs::write(path("latin.yaml"), b"a: 1\nb: \xe4\n").unwrap();
    std::fs::write(path("large.yaml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let table = [
        (path("missing.yaml"), "cannot be read"),
        (path("folder.yaml"), "is a directory"),
        (path("latin.yaml"), "is no UTF-8 text (line 2)"),
        (path("large.yaml"), "is larger than 1024 kB"),
        (path("none"), "has no known extension"),
        (PathBuf::new(), "has no name"),
    ];
    for (file, said) in table {
        let file = Some(file);
        let report = check(&Sources {
            file,
            ..Sources::default()
        });
        let rules: Vec<_> = report.errors.iter().map(|problem| &problem.rule).collect();
        assert!(
            matches!(rules.as_slice(), [rule] if rule.contains(said)),
            "{said}: {rules:?}"
        );
    }
}

#[test]
fn a_byte_order_mark_is_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, "\u{feff}debug: true\r\n").unwrap();
    let file = Some(file);
    let loaded = load(&Sources {
        file,
        ..Sources::default()
    })
    .unwrap();
    assert_ne!(loaded.settings.log.filter, LogSettings::default().filter);
}

#[test]
fn doubtful_values_are_warnings() {
    let table: [(&[(&str, &str)], &str); 9] = [
        (
            &[("OLLAMA_URL", "http://localhost")],
            "servers[0].url: has no port",
        ),
        (
            &[("OLLAMA_URL", "http://gpu:1/v1/")],
            "servers[0].url: ends with `/v1`",
        ),
        (
            &[("RUST_LOG", "inof")],
            "log.filter: logs everything of the target `inof`",
        ),
        (
            &[("OLLAMA_MAX_LOADED_MODELS", "1")],
            "models: declares 2 models for server `ollama`",
        ),
        (
            &[("MODEL_PRELOADER__DEFAULTS__OPTIONS", r#"{"numctx": 1}"#)],
            "did you mean `num_ctx`?",
        ),
        (
            &[("MODEL_PRELOADER__DEFAULTS__REQUIRED", "false")],
            "readiness.policy: holds from the start",
        ),
        (
            &[
                ("MODEL_PRELOADER__DEFAULTS__WARMUP", r#"[{"system": "x"}]"#),
                ("MODEL_PRELOADER__DEFAULTS__VERIFY", "load"),
            ],
            "defaults.verify: leaves the conversations of `warmup` unused",
        ),
        (
            &[("MODEL_PRELOADER__PRELOAD__MAX_RETRY_DELAY", "1s")],
            "models[0].retryDelayMs: is longer than",
        ),
        (
            &[
                (
                    "MODEL_PRELOADER__SERVERS",
                    r#"[{"url": "http://gpu.example:1", "tokenEnv": "T"}]"#,
                ),
                ("T", "x"),
            ],
            "servers[0].url: sends secrets without encryption",
        ),
    ];
    for (pairs, said) in table {
        let report = check(&with_env(pairs));
        assert_eq!(report.errors, [], "{pairs:?}");
        let lines: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
        assert!(
            matches!(lines.as_slice(), [line] if line.contains(said)),
            "{said}: {lines:?}"
        );
    }
}

#[test]
fn what_is_empty_is_not_what_is_unset() {
    for name in [
        "OLLAMA_URL",
        "MODELS_TO_PRELOAD",
        "MODEL_PRELOAD_TIMEOUT",
        "MODEL_PRELOADER__DEBUG",
    ] {
        let report = check(&with_env(&[(name, " ")]));
        let [problem] = report.errors.as_slice() else {
            panic!("{name}: {report}");
        };
        assert_eq!(problem.rule, "is set and empty");
    }
    assert_eq!(check(&with_env(&[("RUST_LOG", "")])), Report::default());
    let report = check(&with_env(&[("MODELS_TO_PRELOAD", ",")]));
    assert!(
        report
            .to_string()
            .contains("models: must have at least one model"),
        "{report}"
    );
}

#[test]
fn set_takes_keys_and_nothing_else() {
    let table = [
        ("preload.concurrency", "", "must be given KEY=VALUE"),
        (
            "models[0].maxRetries=1",
            "models[0].maxRetries",
            "is an item of a list",
        ),
        ("preload.timout=1s", "preload.timout", "is no known key"),
        (
            "preload=1",
            "preload",
            "must be a section with keys of its own",
        ),
        (
            "preload.timeout.ms=1",
            "preload.timeout",
            "must be a duration from 10ms to 1h",
        ),
        ("=1", "", "is no known key"),
        ("models=[", "models[0].model", "is no name of a model"),
        (
            "models=[{]",
            "models",
            "is not valid JSON: key must be a string (at character 3)",
        ),
    ];
    for (pair, key, rule) in table {
        let set = vec![pair.to_owned()];
        let report = check(&Sources {
            set,
            ..Sources::default()
        });
        let [problem] = report.errors.as_slice() else {
            panic!("{pair}: {report}");
        };
        assert_eq!(problem.key, key, "{pair}");
        assert!(problem.rule.contains(rule), "{pair}: {}", problem.rule);
    }
}

#[test]
fn an_address_in_brackets_is_not_taken_for_json() {
    let report = check(&with_env(&[("OLLAMA_URL", "[::1]:11434")]));
    let hints: Vec<_> = report
        .errors
        .iter()
        .filter_map(|problem| problem.hint.as_deref())
        .collect();
    assert_eq!(hints, ["write `http://[::1]:11434`"]);
}

#[test]
fn names_that_are_not_ours_are_left_alone() {
    let foreign = [
        ("MODEL_PRELOADER_SERVICE_HOST", "10.0.0.1"),
        ("MODEL_PRELOADER_PORT", "tcp://10.0.0.1:11490"),
        ("OLLAMA_HOST", "0.0.0.0"),
    ];
    assert_eq!(check(&with_env(&foreign)), Report::default());
}
