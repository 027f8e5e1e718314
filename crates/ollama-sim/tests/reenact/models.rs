//! The models with which the recordings were made.

use ollama_sim::{Config, ModelSpec, Upload};
use serde_json::{Value, json};
use std::time::Duration;

/// Weights' blobs and manifests, as the recordings name them.
const SMOL: [(&str, &str, &str); 4] = [
    (
        "smol-a",
        "941f309b54caaad6747569ba43712bcde44a2be3bae16c3282ff499c37c54af5",
        "fd5f44c0b5aff6453726119fc560d73a8a995a55b4a49804bc24b1969ecf1794",
    ),
    (
        "smol-b",
        "5d05c927a496fc037fd21ffbcacd17082c4a4651ed342e7f3ae0383b36c03a66",
        "0daa41b14dec33824197342cf2b4312b2eccfbb7201b19a5c947bfefff96e4d8",
    ),
    (
        "smol-c",
        "f4d131ace1a9501c43d553f2875fd8769cb21b63bc5311493db759d09cb44920",
        "0a2665882b3501d1e72de938e55caf44bf5d785d9cc93e92d6b4d636f6860869",
    ),
    (
        "smol-d",
        "520ef626cb3c9a1c097470952f6d21b933a17f186e0ff83ef4e30458ff0ad65c",
        "dbd126f3faf39db83ff3ccf8edacc8f8ea665243140212fa3117af89db2cae66",
    ),
];

pub(crate) const SMOL_CTX: &str =
    "d0c73afd0947c0cd40b767840bada49fe709548230383a47d95f1100850adc0e";
const GEMMA: &str = "14f8ac0fb3c4d0781f89e8e94fb0f50f6074e4433c57f2974444117109948bb3";
const GEMMA_BLOB: &str = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818";

fn smol(name: &str, blob: &str, digest: &str) -> ModelSpec {
    ModelSpec {
        blob: blob.into(),
        digest: digest.into(),
        size: 98_362_348,
        load: Duration::from_millis(600),
        context: 8192,
        bytes_per_token: 24_064,
        overhead: 12_576_991,
        parameter_size: "134.52M".into(),
        quantization: "Q4_1".into(),
        ..ModelSpec::new(name)
    }
    .parameter("stop", json!(["<|im_start|>", "<|im_end|>"]))
}

fn gemma() -> ModelSpec {
    ModelSpec {
        blob: GEMMA_BLOB.into(),
        digest: GEMMA.into(),
        size: 253_113_024,
        load: Duration::from_millis(2300),
        context: 32_768,
        bytes_per_token: 8192,
        overhead: 579_452,
        family: "gemma3".into(),
        parameter_size: "268.10M".into(),
        quantization: "Q4_K_M".into(),
        embedding_length: 640,
        newer_engine: true,
        ..ModelSpec::new("gemma")
    }
}

/// The recorded server's models.
pub(crate) fn installed() -> Vec<ModelSpec> {
    let mut all: Vec<ModelSpec> = SMOL
        .iter()
        .map(|(name, blob, digest)| smol(name, blob, digest))
        .collect();
    let base = all[0].clone();
    all.push(ModelSpec {
        name: "smol-alias".into(),
        ..base.clone()
    });
    let mut variant = ModelSpec {
        name: "smol-ctx".into(),
        digest: SMOL_CTX.into(),
        parent: "smol-a:latest".into(),
        ..base
    };
    variant
        .parameters
        .insert(0, ("num_ctx".into(), Value::from(1024)));
    all.push(variant);
    all.push(gemma());
    all
}

/// A server without models that knows what the recorded uploads become.
pub(crate) fn empty_with_uploads(uploads: &[String]) -> Config {
    let specs = SMOL
        .iter()
        .map(|(name, blob, digest)| smol(name, blob, digest))
        .chain([gemma()]);
    let known = uploads.iter().zip(specs).map(|(from, model)| Upload {
        from: from.clone(),
        to: model.blob.clone(),
        model,
    });
    Config {
        uploads: known.collect(),
        ..Config::default()
    }
}
