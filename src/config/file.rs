//! Reads files: the configuration, conversations, tokens, certificates. Every one has a largest size.

use super::format::{self, Format};
use super::node::{Node, Origin};
use super::problem::Problem;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Largest configuration file. One with 64 models and a page of prompt for each has 200 kB.
pub(super) const CONFIG_MAX: u64 = 1 << 20;

/// Largest conversation file: more than any context holds.
pub(super) const CONVERSATION_MAX: u64 = 4 << 20;

/// Largest file of certificate authorities; the system's whole bundle has 220 kB.
pub(super) const CERTIFICATES_MAX: u64 = 4 << 20;

/// Largest file of a secret; HTTP servers refuse longer headers.
pub(super) const SECRET_MAX: u64 = 16 << 10;

/// The bytes of a file, or why not.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err("is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large from one that just fits; pipes and mounts do not tell their size.
    let limited = file.take(max + 1).read_to_end(&mut bytes);
    limited.map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(format!("is larger than {} kB", max >> 10));
    }
    Ok(bytes)
}

/// The text of a file, or why not.
pub(super) fn read_text(path: &Path, max: u64) -> Result<String, String> {
    let bytes = read(path, max)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = line.filter(|byte| **byte == b'\n').count() + 1;
        format!("is no UTF-8 text (line {line})")
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

/// The tree of a configuration file.
pub(super) fn load(path: &Path) -> Result<Node, Box<Problem>> {
    let shown: Arc<str> = path.display().to_string().into();
    let whole = Origin::WholeFile(Arc::clone(&shown));
    let wrong = |rule: String, origin: &Origin| {
        Problem::new("", format!("the configuration file {rule}")).from(origin)
    };
    if path.as_os_str().is_empty() {
        let problem = Problem::new("", "the configuration file has no name");
        return Err(Box::new(
            problem.hint("unset `MODEL_PRELOADER_CONFIG`, or let it name a file"),
        ));
    }
    let Some(format) = Format::of(path) else {
        let problem = wrong("has no known extension".to_owned(), &whole);
        return Err(Box::new(
            problem.hint("name it `.yaml`, `.yml`, `.toml` or `.json`"),
        ));
    };
    let text = read_text(path, CONFIG_MAX).map_err(|rule| {
        let problem = wrong(rule, &whole);
        Box::new(if path.exists() {
            problem
        } else {
            problem.hint("check `--config` or `MODEL_PRELOADER_CONFIG`")
        })
    })?;
    format::parse(format, &text, &shown).map_err(|error| {
        let place = error.place.map(|(line, column)| Origin::File {
            path: Arc::clone(&shown),
            line,
            column,
        });
        Box::new(wrong(error.message, place.as_ref().unwrap_or(&whole)))
    })
}
