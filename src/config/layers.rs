//! The layers and their order, by figment. figment decides which layer's value wins at each key; the winning value is
//! then taken from that layer's own tree, which knows its place and its order.
//!
//! Maps are merged key by key, lists and plain values are replaced as a whole.

use super::node::{Entry, Node, Origin, Value};
use figment::value::{Dict, Empty, Map, Value as Merged};
use figment::{Error, Figment, Metadata, Profile, Provider};

/// One layer: a name for figment and its tree, a map.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) root: Node,
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let Merged::Dict(_, dict) = merged(&self.root.value) else {
            return Ok(Map::new());
        };
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

fn merged(value: &Value) -> Merged {
    match value {
        Value::Null => Empty::None.into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.to_string().into(),
        Value::List(items) => items
            .iter()
            .map(|item| merged(&item.value))
            .collect::<Vec<_>>()
            .into(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.to_string(), merged(&entry.node.value)))
            .collect::<Dict>()
            .into(),
    }
}

/// All layers as one tree; later ones win.
pub(super) fn merge(layers: &[Layer]) -> Node {
    let figment = layers.iter().fold(Figment::new(), Figment::merge);
    // Our providers cannot fail, so neither can this.
    let data = figment.data().unwrap_or_default();
    let all = data.into_values().next().unwrap_or_default();
    let view = View { layers, figment };
    view.map(&all, &mut Vec::new())
}

struct View<'a> {
    layers: &'a [Layer],
    figment: Figment,
}

impl View<'_> {
    fn map(&self, dict: &Dict, path: &mut Vec<String>) -> Node {
        let origin = self.last_at(path).map(|(_, node)| node.origin.clone());
        let mut entries = Vec::new();
        for (key, value) in dict {
            path.push(key.clone());
            let node = if let Merged::Dict(_, dict) = value {
                self.map(dict, path)
            } else {
                self.winner(value, path)
            };
            let at = self.last_at(path).map_or(Origin::BuiltIn, |(at, _)| at);
            entries.push(Entry {
                key: key.as_str().into(),
                at,
                node,
            });
            path.pop();
        }
        Node {
            value: Value::Map(entries),
            origin: origin.unwrap_or(Origin::BuiltIn),
        }
    }

    /// The value from the tree of the layer that figment says it comes from.
    fn winner(&self, value: &Merged, path: &[String]) -> Node {
        let metadata = self.figment.get_metadata(value.tag());
        let layer = metadata.and_then(|metadata| {
            let of_that_name = |layer: &&Layer| layer.name == metadata.name;
            self.layers.iter().find(of_that_name)
        });
        layer
            .and_then(|layer| at(&layer.root, path))
            .map_or(Node::built_in(Value::Null), |(_, node)| node.clone())
    }

    /// Where the last layer that has something at this path has it.
    fn last_at(&self, path: &[String]) -> Option<(Origin, &Node)> {
        let mut found = self.layers.iter().rev();
        found.find_map(|layer| at(&layer.root, path))
    }
}

/// The value at a path, with the place of its key.
fn at<'a>(root: &'a Node, path: &[String]) -> Option<(Origin, &'a Node)> {
    let mut place = root.origin.clone();
    let mut node = root;
    for key in path {
        let entry = node.as_map()?.iter().find(|entry| *entry.key == **key)?;
        place = entry.at.clone();
        node = &entry.node;
    }
    Some((place, node))
}
