//! The three formats of the file. Each becomes the same tree of values with their places.

mod json;
mod toml;
mod yaml;

use super::node::Node;
use std::sync::Arc;

/// Deepest nesting of a file. Schemas of tools nest a dozen levels; a bomb nests thousands.
const DEPTH_MAX: usize = 64;

/// Most values of a file, aliases counted as often as they are used: ten nested aliases can mean a billion values.
const VALUES_MAX: usize = 50_000;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Yaml,
    Toml,
    Json,
}

impl Format {
    /// The format that an extension tells.
    pub(super) fn of(path: &std::path::Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why a text cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SyntaxError {
    /// Line and column, counted from 1, where they are known.
    pub(super) place: Option<(usize, usize)>,
    /// What is wrong; never an excerpt, which could hold a secret.
    pub(super) message: String,
}

/// Reads a text. `path` goes into the origins.
pub(super) fn parse(format: Format, text: &str, path: &Arc<str>) -> Result<Node, SyntaxError> {
    match format {
        Format::Yaml => yaml::parse(text, path),
        Format::Toml => toml::parse(text, path),
        Format::Json => json::parse(text, path),
    }
}

/// Line and column of a byte offset, both counted from 1, the column in characters.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}

/// Counts values and depth against the limits.
#[derive(Debug, Default)]
struct Budget {
    values: usize,
}

impl Budget {
    fn spend(&mut self, values: usize, depth: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX {
            return Err(format!("must not hold more than {VALUES_MAX} values"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("must not nest deeper than {DEPTH_MAX} levels"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
