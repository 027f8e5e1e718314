//! The adapter: Ollama over HTTP by reqwest.
//!
//! It sends what it is told and sets no time limits of its own but for connecting: dropping a request can make Ollama
//! abort a load, so that is the engine's decision.

use super::error::{transport, unexpected};
use super::plain::{self, Call};
use super::wire;
use super::{Ollama, Progress};
use crate::engine::request::{Answer, Request, Target, Timings};
use crate::engine::{Failure, FailureKind};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// Longest wait for a connection. A listener that is alive accepts at once; the network needs at most a few retries.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer kept: a server with thousands of installed models answers `/api/tags` with a few megabytes.
const BODY_MAX: usize = 16 << 20;

/// Longest line of a pull's progress.
const LINE_MAX: usize = 64 << 10;

/// Idle connections kept: one for polls and one for pings.
const IDLE_CONNECTIONS: usize = 2;

/// How a server is reached.
#[derive(Clone)]
pub struct ClientConfig {
    /// `http://` or `https://`, host, port, and a path in front of `/api` where a proxy needs one.
    pub base: String,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<String>,
    /// Further headers; the values are secrets.
    pub headers: Vec<(String, String)>,
    /// The certificate authorities to trust for `https`, in PEM; `None` = the system's, else Mozilla's.
    pub ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ClientConfig")
            .field("base", &without_credentials(&self.base))
            .field("bearer", &self.bearer.is_some())
            .field("headers", &names)
            .field("ca_pem", &self.ca_pem.is_some())
            .finish()
    }
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address is none.
    #[error("`{0}` is no http:// or https:// address")]
    Address(String),
    /// A header's name or value cannot be sent.
    #[error(
        "header `{0}` cannot be sent: its name or value has characters that HTTP does not allow"
    )]
    Header(String),
    /// The certificate authorities cannot be read.
    #[error("the certificate authorities cannot be used: {0}")]
    Tls(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
}

/// One Ollama server over HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Arc<str>,
    headers: HeaderMap,
}

impl Client {
    /// A client of the server at `config.base`. Nothing is sent yet.
    pub fn new(config: &ClientConfig) -> Result<Self, BuildError> {
        let base = config.base.trim_end_matches('/');
        let url = reqwest::Url::parse(base)
            .map_err(|_| BuildError::Address(without_credentials(base)))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(BuildError::Address(without_credentials(base)));
        }
        let loopback = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ];
        let http = reqwest::Client::builder()
            .user_agent(concat!("model-preloader/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // A proxy from the environment is meant for the Internet, not for the server beside us.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            // An image from scratch has no /etc/hosts unless the kubelet brings one.
            .resolve_to_addrs("localhost", &loopback)
            .tls_backend_preconfigured(super::tls::config(
                url.scheme() == "https",
                config.ca_pem.as_deref(),
            )?)
            .build()
            .map_err(BuildError::Client)?;
        Ok(Self {
            http,
            base: base.into(),
            headers: headers(config)?,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, Failure> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .headers(self.headers.clone());
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| transport(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let to = response
                .headers()
                .get("location")
                .and_then(|to| to.to_str().ok())
                .unwrap_or("nowhere");
            let said = format!(
                "redirects ({}) to {}",
                status.as_u16(),
                without_credentials(to)
            );
            return Err(unexpected(said));
        }
        let text = read(response).await.unwrap_or_default();
        Err(plain::refusal(status.as_u16(), &text))
    }

    async fn once(&self, request: &Request, call: &Call) -> Result<Answer, Failure> {
        let method = if call.body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let response = self.send(method, call.path, call.body.as_ref()).await?;
        let status = response.status().as_u16();
        plain::decode(request, status, &read(response).await?)
    }

    /// All copies at the same time, one for each slot: one after the other they would land in the same one.
    async fn copies(&self, request: &Request, call: &Call) -> Result<Answer, Failure> {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..call.copies {
            let (client, request, call) = (self.clone(), request.clone(), call.clone());
            running.spawn(async move { client.once(&request, &call).await });
        }
        let mut answers = Vec::new();
        while let Some(ended) = running.join_next().await {
            let answer =
                ended.map_err(|_| unexpected("a copy of the warm-up ended before its answer"))?;
            answers.push(answer?);
        }
        Ok(plain::slowest(answers))
    }

    async fn pull(
        &self,
        model: &str,
        progress: &(impl Fn(Progress) + Sync),
    ) -> Result<Answer, Failure> {
        let body = serde_json::json!({"model": model});
        let mut response = self.send(Method::POST, "/api/pull", Some(&body)).await?;
        let mut lines = wire::Lines::new(LINE_MAX);
        let mut layers = super::progress::Layers::default();
        let mut done = false;
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
            for line in lines.push(&chunk).map_err(unexpected)? {
                let line: wire::PullLine = plain::parse(&line)?;
                if let Some(said) = line.error {
                    return Err(Failure::new(FailureKind::PullFailed, said));
                }
                done |= line.status == "success";
                if let Some(state) = layers.take(line.digest, line.total, line.completed) {
                    progress(state);
                }
            }
        }
        if done {
            return Ok(Answer::Done(Timings::default()));
        }
        Err(Failure::new(
            FailureKind::PullFailed,
            "the pull ended without success",
        ))
    }

    async fn answer(
        &self,
        request: Request,
        progress: &(impl Fn(Progress) + Sync),
    ) -> Result<Answer, Failure> {
        if let Request::Pull { model } = &request {
            return self.pull(model, progress).await;
        }
        let call = plain::encode(&request)?;
        if call.copies > 1 {
            return self.copies(&request, &call).await;
        }
        match self.once(&request, &call).await {
            // A kept connection that the server had closed meanwhile says nothing about the server now.
            Err(failure) if failure.kind == FailureKind::Unreachable && call.body.is_none() => {
                self.once(&request, &call).await
            }
            other => other,
        }
    }
}

impl Ollama for Client {
    async fn call(
        &self,
        request: Request,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Answer, Failure> {
        let (word, model) = describe(&request);
        let begun = crate::clock::Clock::start();
        let result = self.answer(request, &progress).await;
        let ms = begun.now().since_start().as_secs_f64() * 1000.0;
        match &result {
            Ok(_) => debug!(request = word, model, server = %self.base_for_log(), ms, "answered"),
            Err(failure) => debug!(
                request = word, model, server = %self.base_for_log(), ms,
                kind = failure.kind.as_str(), error = %failure.message, "failed"
            ),
        }
        result
    }
}

impl Client {
    fn base_for_log(&self) -> String {
        without_credentials(&self.base)
    }
}

/// A word for the log, and whose request it is.
fn describe(request: &Request) -> (&'static str, Option<String>) {
    let of = |target: &Target| Some(target.model.to_string());
    match request {
        Request::Version => ("version", None),
        Request::Ps => ("ps", None),
        Request::Tags => ("tags", None),
        Request::Show { model } => ("show", Some(model.to_string())),
        Request::Load(target) => ("load", of(target)),
        Request::Pin(target) => ("pin", of(target)),
        Request::Ping(target) => ("ping", of(target)),
        Request::Probe(target) => ("probe", of(target)),
        Request::Warmup { target, .. } => ("warmup", of(target)),
        Request::Unload { model } => ("unload", Some(model.to_string())),
        Request::Pull { model } => ("pull", Some(model.to_string())),
    }
}

fn headers(config: &ClientConfig) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    let secret = |name: &str, value: &str| {
        let mut value =
            HeaderValue::from_str(value).map_err(|_| BuildError::Header(name.to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    };
    if let Some(token) = &config.bearer {
        headers.insert(
            AUTHORIZATION,
            secret("Authorization", &format!("Bearer {token}"))?,
        );
    }
    for (name, value) in &config.headers {
        let key =
            HeaderName::try_from(name.as_str()).map_err(|_| BuildError::Header(name.clone()))?;
        headers.insert(key, secret(name, value)?);
    }
    Ok(headers)
}

/// An address as it may be shown.
fn without_credentials(address: &str) -> String {
    match reqwest::Url::parse(address) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            // Cannot fail for an address with a host; one without has no credentials either.
            if url.set_username("").is_ok() && url.set_password(None).is_ok() {
                return url.to_string();
            }
            "an address with credentials".to_owned()
        }
        _ => address.to_owned(),
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(unexpected(format!(
                "the answer is larger than {} MB",
                BODY_MAX >> 20
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
