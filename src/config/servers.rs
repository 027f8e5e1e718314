//! The servers: addresses, tokens, headers, certificates.

use super::build::Build;
use super::file;
use super::items::{SERVER, SERVERS_MAX, ServerDraft};
use super::node::{Entry, Node, Value};
use super::problem::Problem;
use super::secret::Secret;
use super::settings::Connection;
use super::walk::Table;
use crate::engine::spec::ServerSpec;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::Arc;

/// Most further headers of a server.
pub(super) const HEADERS_MAX: usize = 32;

/// Headers that belong to the connection itself.
const RESERVED_HEADERS: [&str; 6] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
];

/// A server, checked as far as it goes.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) draft: ServerDraft,
    pub(super) spec: ServerSpec,
    pub(super) connection: Connection,
}

impl Build<'_> {
    /// All servers. What is wrong with them is reported.
    pub(super) fn servers(&mut self, list: &Node) -> Vec<Server> {
        let Some(items) = self.items("servers", list, SERVERS_MAX) else {
            return Vec::new();
        };
        let mut servers: Vec<Server> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let key = format!("servers[{index}]");
            let server = self.server(&key, item, index, items.len());
            self.compare_with_others(&key, item, &server, &servers);
            servers.push(server);
        }
        servers
    }

    fn server(&mut self, key: &str, item: &Node, index: usize, total: usize) -> Server {
        let mut draft = ServerDraft::default();
        self.walk()
            .take(&mut draft, &Table::new(&[SERVER]), item, key);
        let name = match &draft.name {
            Some(name) => Arc::clone(name),
            None if total == 1 => "ollama".into(),
            None => format!("ollama-{}", index + 1).into(),
        };
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        {
            let rule = "must consist of letters, digits, `-`, `_` and `.`";
            self.wrong(&format!("{key}.name"), item.get("name"), rule);
        }
        let url = self.url(key, item, &draft);
        let bearer = self.bearer(key, item, &draft);
        let headers = self.headers(key, &draft, bearer.is_some());
        self.warn_of_open_secrets(key, item, &url, bearer.is_some() || !headers.is_empty());
        let (ca_file, ca_pem) = self.certificates(key, item, &draft);
        let connection = Connection {
            url: Arc::clone(&url),
            bearer,
            headers,
            ca_file,
            ca_pem,
        };
        draft.name = Some(Arc::clone(&name));
        draft.url = Some(Arc::clone(&url));
        let spec = ServerSpec { name, url };
        Server {
            draft,
            spec,
            connection,
        }
    }

    fn compare_with_others(&mut self, key: &str, item: &Node, server: &Server, others: &[Server]) {
        for (index, other) in others.iter().enumerate() {
            if other.spec.name == server.spec.name {
                let rule = format!("must be unique, but servers[{index}] has the same name");
                self.wrong(
                    &format!("{key}.name"),
                    item.get("name").or(Some(item)),
                    &rule,
                );
            }
            if !server.spec.url.is_empty() && other.spec.url == server.spec.url {
                let rule = format!("must be unique, but servers[{index}] has the same address");
                self.wrong(&format!("{key}.url"), item.get("url"), &rule);
            }
        }
    }

    /// The address without a slash at the end; empty when it is none.
    fn url(&mut self, key: &str, item: &Node, draft: &ServerDraft) -> Arc<str> {
        let key = format!("{key}.url");
        let node = item.get("url");
        let Some(text) = &draft.url else {
            if node.is_none() && item.as_map().is_some() {
                let problem = Problem::new(key, "is missing").from(&item.origin);
                self.report
                    .error(problem.hint("such as `http://localhost:11434`"));
            }
            return "".into();
        };
        match address(text) {
            Ok(url) => {
                self.doubt_address(&key, node, &url);
                let shown = url.as_str().trim_end_matches('/');
                shown.into()
            }
            Err((rule, hint)) => {
                let mut problem = Problem::new(key, rule);
                problem = problem.with(node.unwrap_or(item));
                problem.hint = hint;
                self.report.error(problem);
                "".into()
            }
        }
    }

    fn doubt_address(&mut self, key: &str, node: Option<&Node>, url: &Url) {
        let Some(node) = node else { return };
        let path = url.path().trim_end_matches('/');
        if let Some(end) = ["/api", "/v1"].iter().find(|end| path.ends_with(**end)) {
            let rule = format!("ends with `{end}`, and `/api/…` is added to it");
            let hint = format!("leave `{end}` out, unless a proxy needs it");
            self.report
                .warn(Problem::new(key, rule).with(node).hint(hint));
        }
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if local && url.scheme() == "http" && url.port().is_none() {
            let rule = "has no port, which means 80";
            let hint = "Ollama's own port is 11434";
            self.report
                .warn(Problem::new(key, rule).with(node).hint(hint));
        }
    }

    fn bearer(&mut self, key: &str, item: &Node, draft: &ServerDraft) -> Option<Secret> {
        let from_file = self.secret_file(&format!("{key}.tokenFile"), item.get("tokenFile"));
        let from_env = self.secret_variable(&format!("{key}.tokenEnv"), item.get("tokenEnv"));
        if draft.token_env.is_some() && draft.token_file.is_some() {
            let rule = "must not be given together with `tokenEnv`";
            self.wrong(&format!("{key}.tokenFile"), item.get("tokenFile"), rule);
        }
        from_env.or(from_file)
    }

    fn headers(
        &mut self,
        key: &str,
        draft: &ServerDraft,
        has_bearer: bool,
    ) -> Vec<(String, Secret)> {
        let key = format!("{key}.headers");
        let Some(node) = &draft.headers else {
            return Vec::new();
        };
        let Some(entries) = node.as_map() else {
            let rule = "must be a map of header names to `{value: …}`, `{env: …}` or `{file: …}`";
            self.wrong(&key, Some(node), rule);
            return Vec::new();
        };
        if entries.len() > HEADERS_MAX {
            let rule = format!("must not have more than {HEADERS_MAX} headers");
            self.wrong(&key, Some(node), &rule);
        }
        let mut headers: Vec<(String, Secret)> = Vec::new();
        for entry in entries {
            let key = format!("{key}.{}", entry.key);
            let name = entry.key.to_ascii_lowercase();
            let rule = if HeaderName::try_from(&*entry.key).is_err() {
                Some("is no name of an HTTP header")
            } else if RESERVED_HEADERS.contains(&name.as_str()) {
                Some("is set by the connection itself")
            } else if has_bearer && name == "authorization" {
                Some("must not be given together with a token")
            } else if headers
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(&name))
            {
                Some("is given twice")
            } else {
                None
            };
            if let Some(rule) = rule {
                self.report.error(Problem::new(&key, rule).from(&entry.at));
                continue;
            }
            let value = self.header_value(&key, entry);
            headers.extend(value.map(|value| (entry.key.to_string(), value)));
        }
        headers
    }

    fn header_value(&mut self, key: &str, entry: &Entry) -> Option<Secret> {
        let node = &entry.node;
        let sources = node.as_map().unwrap_or_default();
        match (&node.value, sources) {
            (Value::Text(text), _) => self.secret(key, node, text),
            (_, [only]) => {
                let key = format!("{key}.{}", only.key);
                match (&*only.key, &only.node.value) {
                    ("value", Value::Text(text)) => self.secret(&key, &only.node, text),
                    ("env", _) => self.secret_variable(&key, Some(&only.node)),
                    ("file", _) => self.secret_file(&key, Some(&only.node)),
                    _ => {
                        self.wrong(
                            &key,
                            Some(&only.node),
                            "must be `value`, `env` or `file` with a text",
                        );
                        None
                    }
                }
            }
            _ => {
                self.wrong(
                    key,
                    Some(node),
                    "must be one of `{value: …}`, `{env: …}` or `{file: …}`",
                );
                None
            }
        }
    }

    fn secret_variable(&mut self, key: &str, node: Option<&Node>) -> Option<Secret> {
        let name = node?.as_text()?;
        match self.variable(name) {
            Some(value) if !value.trim().is_empty() => self.secret(key, node?, value.trim()),
            Some(_) => {
                self.wrong(key, node, "must name a variable that is not empty");
                None
            }
            None => {
                let problem = Problem::new(key, "must name a variable that is set");
                let hint = "it is the name of the variable, not the secret itself";
                self.report.error(problem.with(node?).hint(hint));
                None
            }
        }
    }

    fn secret_file(&mut self, key: &str, node: Option<&Node>) -> Option<Secret> {
        let path = self.path(node?)?;
        match file::read_text(&path, file::SECRET_MAX) {
            Ok(text) if !text.trim().is_empty() => self.secret(key, node?, text.trim()),
            Ok(_) => {
                self.wrong(key, node, "must name a file that is not empty");
                None
            }
            Err(why) => {
                self.wrong(
                    key,
                    node,
                    &format!("must name a file that can be read; it {why}"),
                );
                None
            }
        }
    }

    fn secret(&mut self, key: &str, node: &Node, text: &str) -> Option<Secret> {
        if HeaderValue::from_str(text).is_err() {
            let rule = "has characters that an HTTP header cannot carry";
            self.report
                .error(Problem::new(key, rule).from(&node.origin));
            return None;
        }
        Some(Secret::new(text))
    }

    fn certificates(
        &mut self,
        key: &str,
        item: &Node,
        draft: &ServerDraft,
    ) -> (Option<PathBuf>, Option<Vec<u8>>) {
        let key = format!("{key}.caFile");
        let node = item.get("caFile").filter(|_| draft.ca_file.is_some());
        let Some(path) = node.and_then(|node| self.path(node)) else {
            return (None, None);
        };
        let pem = file::read(&path, file::CERTIFICATES_MAX);
        let pem = pem.map_err(|why| format!("must name a file that can be read; it {why}"));
        let checked = pem.and_then(|pem| {
            let rule = "must name a file with certificates in PEM";
            let fine = is_authorities(&pem);
            fine.then_some(pem).ok_or_else(|| rule.to_owned())
        });
        match checked {
            Ok(pem) => (Some(path), Some(pem)),
            Err(rule) => {
                self.wrong(&key, node, &rule);
                (Some(path), None)
            }
        }
    }

    fn warn_of_open_secrets(&mut self, key: &str, item: &Node, url: &str, secrets: bool) {
        let Ok(url) = Url::parse(url) else { return };
        let host = url.host_str().unwrap_or_default();
        let last = host.rsplit('.').next();
        let inside = !host.contains('.') || host.starts_with("127.") || last == Some("local");
        if secrets && url.scheme() == "http" && !inside {
            let rule = "sends secrets without encryption";
            let node = item.get("url").unwrap_or(item);
            let problem = Problem::new(format!("{key}.url"), rule).with(node);
            self.report.warn(problem.hint("use `https://`"));
        }
    }
}

/// Whether a file holds at least one certificate, and nothing that TLS could not trust.
fn is_authorities(pem: &[u8]) -> bool {
    let mut roots = RootCertStore::empty();
    let fine = CertificateDer::pem_slice_iter(pem).all(|certificate| match certificate {
        Ok(certificate) => roots.add(certificate).is_ok(),
        Err(_) => false,
    });
    fine && !roots.is_empty()
}

/// An address, or the rule and the way out.
fn address(text: &str) -> Result<Url, (String, Option<String>)> {
    let rule = || "must be an `http://` or `https://` address".to_owned();
    let text = text.trim();
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    if !has_scheme {
        let host = text.rsplit('@').next().unwrap_or(text);
        let is_host = !text.contains("://") && !host.is_empty();
        let hint = is_host.then(|| format!("write `http://{host}`"));
        return Err((rule(), hint));
    }
    let url = Url::parse(text).map_err(|error| {
        let authority = text.split('/').nth(2).unwrap_or_default();
        let colons = authority.matches(':').count();
        let hint = if colons > 1 && !authority.contains('[') {
            "an IPv6 address stands in brackets: `http://[::1]:11434`".to_owned()
        } else {
            error.to_string()
        };
        (rule(), Some(hint))
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        let hint =
            "use `tokenEnv`, or a header from a variable: `headers: {Authorization: {env: NAME}}`";
        return Err((
            "must not hold credentials".to_owned(),
            Some(hint.to_owned()),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("must not have a `?` or a `#`".to_owned(), None));
    }
    if url.port() == Some(0) {
        return Err(("must not have port 0".to_owned(), None));
    }
    Ok(url)
}
