//! Canonical model names, by Ollama's own rules: `tinyllama` is `tinyllama:latest`, and so is
//! `registry.ollama.ai/library/tinyllama`. The case is kept for display and ignored for comparing.

/// Longest host of a name.
const HOST_MAX: usize = 350;

/// Longest other part of a name.
const PART_MAX: usize = 80;

/// Left out of a canonical name.
const DEFAULT_HOST: &str = "registry.ollama.ai";

/// Left out of a canonical name, unless the host is another one.
const DEFAULT_NAMESPACE: &str = "library";

/// The name in the form in which Ollama lists it.
pub(super) fn canonical(name: &str) -> Result<String, &'static str> {
    let name = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))
        .unwrap_or(name);
    let (path, last) = match name.rsplit_once('/') {
        Some((path, last)) => (Some(path), last),
        None => (None, name),
    };
    // `:local` only says that the model is no cloud model.
    let last = last.strip_suffix(":local").unwrap_or(last);
    let (model, tag) = last.split_once(':').unwrap_or((last, "latest"));
    let (host, namespace) = match path {
        None => (None, None),
        Some(path) => match path.rsplit_once('/') {
            None => (None, Some(path)),
            Some((host, namespace)) => (Some(host), Some(namespace)),
        },
    };
    if !is_part(model, true) {
        return Err("is no name of a model");
    }
    if !is_part(tag, true) {
        return Err("has a tag that no model can have");
    }
    if namespace.is_some_and(|namespace| !is_part(namespace, false)) {
        return Err("has a namespace that no model can have");
    }
    if host.is_some_and(|host| !is_host(host)) {
        return Err("has a registry that is no host");
    }
    let host = host.filter(|host| !host.eq_ignore_ascii_case(DEFAULT_HOST));
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    let namespace_shown = host.is_some() || !namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE);
    let mut canonical = String::new();
    if let Some(host) = host {
        canonical.push_str(host);
        canonical.push('/');
    }
    if namespace_shown {
        canonical.push_str(namespace);
        canonical.push('/');
    }
    canonical.push_str(model);
    canonical.push(':');
    canonical.push_str(tag);
    Ok(canonical)
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]*`; a namespace has no dots.
fn is_part(part: &str, dots: bool) -> bool {
    let mut bytes = part.bytes();
    let first = bytes.next();
    part.len() <= PART_MAX
        && first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && bytes.all(|byte| {
            byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (dots && byte == b'.')
        })
}

fn is_host(host: &str) -> bool {
    host.len() <= HOST_MAX
        && host
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn names_take_the_form_in_which_ollama_lists_them() {
        let table = [
            ("tinyllama", "tinyllama:latest"),
            ("tinyllama:latest", "tinyllama:latest"),
            ("library/tinyllama", "tinyllama:latest"),
            ("registry.ollama.ai/library/tinyllama", "tinyllama:latest"),
            (
                "https://registry.ollama.ai/library/tinyllama",
                "tinyllama:latest",
            ),
            ("qwen2.5-coder:3b", "qwen2.5-coder:3b"),
            ("me/m", "me/m:latest"),
            ("registry.ollama.ai/me/m:x", "me/m:x"),
            ("hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
            ("hf.co/library/r", "hf.co/library/r:latest"),
            ("localhost:5000/team/m:1", "localhost:5000/team/m:1"),
            ("llama3:8b:local", "llama3:8b"),
            ("llama3:local", "llama3:latest"),
            ("gpt-oss:120b-cloud", "gpt-oss:120b-cloud"),
            ("TinyLlama", "TinyLlama:latest"),
        ];
        for (written, listed) in table {
            assert_eq!(canonical(written).as_deref(), Ok(listed), "{written}");
        }
    }

    #[test]
    fn what_ollama_refuses_is_refused() {
        let long = "a".repeat(81);
        for name in [
            "",
            ":",
            "a:",
            ":a",
            "a b",
            "-a",
            "a/",
            "/a",
            "a//b",
            "my.team/m",
            "a:b:c",
            "a:b/c d",
            "ü",
            "a\n",
            "a/b/c/d",
            &long,
        ] {
            assert!(canonical(name).is_err(), "{name}");
        }
    }
}
