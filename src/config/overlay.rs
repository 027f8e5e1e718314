//! Short forms: addresses and model names separated by commas, as variables and flags give them. What a lower layer
//! said about the same server or model is kept.

use super::names::canonical;
use super::node::{Entry, Node, Origin, Value};
use std::sync::Arc;

/// The non-empty parts of a text separated by commas.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// A list of texts.
pub(super) fn list(text: &str, origin: &Origin) -> Node {
    let items = parts(text).map(|part| Node {
        value: Value::text(part),
        origin: origin.clone(),
    });
    Node {
        value: Value::List(items.collect()),
        origin: origin.clone(),
    }
}

/// Servers with these addresses. As many as below: each takes over name, token and headers of its predecessor; another
/// number: they replace them.
pub(super) fn servers(text: &str, origin: &Origin, below: Option<&Node>) -> Node {
    let addresses = list(text, origin);
    let addresses = addresses.as_list().unwrap_or_default();
    let below = below.and_then(Node::as_list).unwrap_or_default();
    let items = addresses.iter().enumerate().map(|(index, address)| {
        let same = below.get(index).filter(|_| below.len() == addresses.len());
        let mut item = same.cloned().unwrap_or_else(|| empty(origin));
        item.origin = origin.clone();
        item.put(&["url"], address.clone());
        item
    });
    Node {
        value: Value::List(items.collect()),
        origin: origin.clone(),
    }
}

/// Models of these names. One that a lower layer declares keeps what is said about it there.
pub(super) fn models(text: &str, origin: &Origin, below: Option<&Node>) -> Node {
    let names = list(text, origin);
    let below = below.and_then(Node::as_list).unwrap_or_default();
    let items = names.as_list().unwrap_or_default().iter().map(|name| {
        let text = name.as_text().cloned().unwrap_or_default();
        let declared = below.iter().find(|item| {
            let other = item.get("model").and_then(Node::as_text);
            other.is_some_and(|other| is_same(&text, other))
        });
        let mut item = declared.cloned().unwrap_or_else(|| empty(origin));
        item.origin = origin.clone();
        item.put(&["model"], name.clone());
        item
    });
    Node {
        value: Value::List(items.collect()),
        origin: origin.clone(),
    }
}

fn is_same(name: &str, other: &Arc<str>) -> bool {
    match (canonical(name), canonical(other)) {
        (Ok(name), Ok(other)) => name.eq_ignore_ascii_case(&other),
        _ => false,
    }
}

fn empty(origin: &Origin) -> Node {
    Node {
        value: Value::Map(Vec::<Entry>::new()),
        origin: origin.clone(),
    }
}
