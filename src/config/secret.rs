//! Secrets: they are carried, never shown.

use std::fmt;
use std::sync::Arc;

/// What stands for a secret wherever one would be shown.
pub(super) const MASK: &str = "***";

/// A text that no log, error or print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself; for the request that carries it, and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
