//! The reference of all keys, for docs/CONFIGURATION.md. A test compares the page with it.

use super::field::Accepts;
use super::items::{MODEL_OWN, MODEL_SHARED, ModelDraft, SERVER, ServerDraft};
use super::keys::{Draft, Key, SECTIONS};
use super::node::{Node, Value};
use super::outside::{NAMED_VARIABLES, variable_of};
use super::walk::join;

/// A table of every key in Markdown: type, default, meaning, variable.
pub fn reference() -> String {
    let mut text = String::from(
        "| key | type | default | meaning | variable |\n| --- | --- | --- | --- | --- |\n",
    );
    table(&mut text, "", SECTIONS, &Draft::default());
    for (key, kind, about) in [
        ("servers", "list", "The Ollama servers"),
        ("models", "list", "The models to load"),
    ] {
        row(&mut text, key, kind, "see above", about);
    }
    table(&mut text, "servers[]", SERVER, &ServerDraft::default());
    let model = ModelDraft::default();
    table(&mut text, "models[]", MODEL_OWN, &model);
    table(&mut text, "models[]", MODEL_SHARED, &model);
    table(&mut text, "defaults", MODEL_SHARED, &model);
    text
}

fn table<D>(text: &mut String, prefix: &str, keys: &[Key<D>], draft: &D) {
    for key in keys {
        let default = (key.show)(draft, &key.accepts);
        let default = match (key.name, prefix, default) {
            ("model" | "url", ..) => "required".to_owned(),
            (_, _, Value::Null) => String::new(),
            // What a model does not say it has from `defaults`.
            (name, "models[]", _) if !name.contains('.') => format!("`defaults.{name}`"),
            (_, _, value) => format!("`{}`", plain(&value)),
        };
        let about = if prefix == "defaults" {
            "Of every model that does not say it itself"
        } else {
            key.about
        };
        row(
            text,
            &join(prefix, key.name),
            &kind(&key.accepts),
            &default,
            about,
        );
    }
}

fn row(text: &mut String, key: &str, kind: &str, default: &str, about: &str) {
    let mut variables: Vec<_> = NAMED_VARIABLES
        .iter()
        .filter(|(_, of)| *of == key)
        .collect();
    variables.reverse();
    let mut names: Vec<_> = variables
        .into_iter()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if !key.contains("[]") {
        names.push(format!("`{}`", variable_of(key)));
    }
    let cells = [
        format!("`{key}`"),
        kind.to_owned(),
        default.to_owned(),
        about.to_owned(),
        names.join(", "),
    ];
    text.extend(["| ", &cells.join(" | "), " |\n"]);
}

fn plain(value: &Value) -> String {
    let node = Node::built_in(value.clone());
    match node.as_text() {
        Some(text) => text.to_string(),
        None => node.to_json().to_string(),
    }
}

/// The type in the words of the rule.
fn kind(accepts: &Accepts) -> String {
    let rule = accepts.rule();
    rule.strip_prefix("must be ").unwrap_or(&rule).to_owned()
}
