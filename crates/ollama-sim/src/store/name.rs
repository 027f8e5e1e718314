//! Model names: `[scheme://]host/namespace/model:tag`, with defaults.

use std::fmt;

const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";
const TAG: &str = "latest";

/// Longest part of a name.
const PART_MAX: usize = 80;

/// Longest host.
const HOST_MAX: usize = 350;

/// A name with all its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    host: String,
    namespace: String,
    model: String,
    pub(crate) tag: String,
}

/// What a client's string names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    Local(Name),
    Cloud,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NameError {
    Empty,
    Invalid,
    BothSources(String),
}

impl Name {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, TAG),
        };
        let mut parts = path.rsplitn(3, '/');
        let model = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or(NAMESPACE);
        let host = parts.next().unwrap_or(HOST);
        let fine = is_part(model, PART_MAX, ".")
            && is_part(tag, PART_MAX, ".")
            && is_part(namespace, PART_MAX, "")
            && is_part(host, HOST_MAX, ".:");
        fine.then(|| Self {
            host: host.into(),
            namespace: namespace.into(),
            model: model.into(),
            tag: tag.into(),
        })
    }

    /// The name under which it is found: case does not count.
    pub(crate) fn key(&self) -> String {
        self.full().to_lowercase()
    }

    pub(crate) fn full(&self) -> String {
        format!(
            "{}/{}/{}:{}",
            self.host, self.namespace, self.model, self.tag
        )
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The path of its manifest in a registry.
    pub(crate) fn manifest_url(&self) -> String {
        format!(
            "https://{}/v2/{}/{}/manifests/{}",
            self.host, self.namespace, self.model, self.tag
        )
    }
}

/// As `/api/ps` and `/api/tags` show it: defaults dropped, the tag always there.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != HOST {
            write!(f, "{}/{}/", self.host, self.namespace)?;
        } else if self.namespace != NAMESPACE {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.model, self.tag)
    }
}

/// Letters, digits and `_` first; then also `-` and `more`.
fn is_part(text: &str, max: usize, more: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= max
        && text.starts_with(good)
        && text
            .chars()
            .all(|c| good(c) || c == '-' || more.contains(c))
}

/// What a request's `model` means.
pub(crate) fn reference(text: &str) -> Result<Reference, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let (base, local) = strip(text, ":local");
    let (rest, cloud) = strip(base, ":cloud");
    let (_, also_local) = strip(rest, ":local");
    if cloud && (local || also_local) {
        return Err(NameError::BothSources(text.into()));
    }
    let tagged = rest
        .rsplit_once(':')
        .is_some_and(|(_, tag)| tag.to_ascii_lowercase().ends_with("-cloud") && !tag.contains('/'));
    if cloud || tagged {
        return Name::parse(rest)
            .map(|_| Reference::Cloud)
            .ok_or(NameError::Invalid);
    }
    Name::parse(rest)
        .map(Reference::Local)
        .ok_or(NameError::Invalid)
}

fn strip<'a>(text: &'a str, end: &str) -> (&'a str, bool) {
    let cut = text.len().saturating_sub(end.len());
    match text.split_at_checked(cut) {
        Some((head, tail)) if tail.eq_ignore_ascii_case(end) && !head.is_empty() => (head, true),
        _ => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_ollama_shows_them() {
        for (text, shown) in [
            ("tinyllama", "tinyllama:latest"),
            ("me/m", "me/m:latest"),
            ("hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
            (
                "registry.ollama.ai/library/qwen2.5-coder:3b",
                "qwen2.5-coder:3b",
            ),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ] {
            assert_eq!(Name::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["bad name!", "", "a/b/c/d:", "-a", ":x", &"a".repeat(81)] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sources_are_told_apart() {
        assert_eq!(reference(""), Err(NameError::Empty));
        assert_eq!(reference("gpt-oss:20b-cloud"), Ok(Reference::Cloud));
        assert_eq!(reference("a:b:cloud"), Ok(Reference::Cloud));
        let both = "a:local:cloud";
        assert_eq!(reference(both), Err(NameError::BothSources(both.into())));
        assert!(matches!(reference("a:local"), Ok(Reference::Local(name)) if name.tag == "latest"));
    }
}
