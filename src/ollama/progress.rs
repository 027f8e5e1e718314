//! How far a pull is: Ollama reports each layer by itself, people want one number.

use std::collections::BTreeMap;

/// How far a pull is, in bytes over all layers seen so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Bytes there.
    pub completed: u64,
    /// Bytes in all; grows while layers are announced.
    pub total: u64,
}

/// The layers of one pull.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Progress>);

impl Layers {
    /// Most layers of a model; more are not counted.
    const MAX: usize = 256;

    /// Takes in one line; the sum when it told of a layer.
    pub(super) fn take(
        &mut self,
        digest: Option<String>,
        total: Option<u64>,
        completed: Option<u64>,
    ) -> Option<Progress> {
        let (digest, total) = (digest?, total?);
        if self.0.len() >= Self::MAX && !self.0.contains_key(&digest) {
            return None;
        }
        self.0.insert(
            digest,
            Progress {
                completed: completed.unwrap_or(0).min(total),
                total,
            },
        );
        let sum = |get: fn(&Progress) -> u64| self.0.values().map(get).fold(0, u64::saturating_add);
        Some(Progress {
            completed: sum(|layer| layer.completed),
            total: sum(|layer| layer.total),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_summed_and_a_line_without_one_tells_nothing() {
        let mut layers = Layers::default();
        assert_eq!(layers.take(None, None, None), None);
        let first = layers.take(Some("a".into()), Some(100), None);
        assert_eq!(
            first,
            Some(Progress {
                completed: 0,
                total: 100
            })
        );
        layers.take(Some("a".into()), Some(100), Some(40));
        let both = layers.take(Some("b".into()), Some(10), Some(10));
        assert_eq!(
            both,
            Some(Progress {
                completed: 50,
                total: 110
            })
        );
    }
}
