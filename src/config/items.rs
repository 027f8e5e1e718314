//! The keys of the items of lists: servers and models.

use super::field::{Accepts, Field};
use super::keys::{HOUR, Key, key, text, whole};
use super::node::Node;
use crate::engine::spec::{DriftPolicy, PullPolicy, Verify};
use std::sync::Arc;
use std::time::Duration;

/// Most servers: a host with an Ollama per GPU has eight.
pub(super) const SERVERS_MAX: usize = 32;

/// Most models. Each has about a hundred series in `/metrics`, on each server.
pub(super) const MODELS_MAX: usize = 256;

/// Longest name for people, and longest name of a model.
pub(super) const NAME_MAX: usize = 512;

/// Longest name of a server: it is a label.
pub(super) const SERVER_NAME_MAX: usize = 63;

/// Longest address.
const URL_MAX: usize = 2048;

/// Longest path of a file.
pub(super) const PATH_MAX: usize = 4096;

/// The values of a model.
#[derive(Clone, Debug)]
pub(super) struct ModelDraft {
    pub(super) model: Arc<str>,
    pub(super) display_name: Option<Arc<str>>,
    pub(super) max_retries: u32,
    pub(super) retry_delay: Duration,
    pub(super) required: bool,
    pub(super) priority: i32,
    pub(super) verify: Option<Verify>,
    pub(super) warmup: Option<Node>,
    pub(super) options: Option<Node>,
    pub(super) pull: PullPolicy,
    pub(super) drift: DriftPolicy,
    pub(super) servers: Option<Node>,
    pub(super) min_servers: usize,
}

impl Default for ModelDraft {
    fn default() -> Self {
        Self {
            model: "".into(),
            display_name: None,
            max_retries: 3,
            retry_delay: Duration::from_secs(1),
            required: true,
            priority: 0,
            verify: None,
            warmup: None,
            options: None,
            pull: PullPolicy::Never,
            drift: DriftPolicy::Report,
            servers: None,
            min_servers: 1,
        }
    }
}

/// The keys that only a model of its own has.
pub(super) const MODEL_OWN: &[Key<ModelDraft>] = &[
    key!(
        "model",
        text(NAME_MAX),
        model,
        "Name as in `ollama list`; without a tag it is `:latest`"
    ),
    key!(
        "displayName",
        text(NAME_MAX),
        display_name,
        "Name for people; default the model's name"
    ),
];

/// The keys of a model, also under `defaults` for all of them.
pub(super) const MODEL_SHARED: &[Key<ModelDraft>] = &[
    key!(
        "maxRetries",
        whole(0, 100),
        max_retries,
        "Attempts after the first one"
    ),
    key!(
        "retryDelayMs",
        Accepts::Millis {
            min: Duration::from_millis(1),
            max: Duration::from_secs(HOUR)
        },
        retry_delay,
        "Wait before the first retry; doubles with each further one up to `preload.maxRetryDelay`"
    ),
    key!(
        "required",
        Accepts::Bool,
        required,
        "Whether the gate waits for it"
    ),
    key!(
        "priority",
        whole(-1000, 1000),
        priority,
        "Higher loads earlier and stays longer; equal ones keep the order of declaration"
    ),
    key!(
        "verify",
        Accepts::Word(Verify::WORDS),
        verify,
        "What proves that it is warm: the load's answer, one token, or its conversations; default `prompt` where `warmup` is given, else `token`"
    ),
    key!(
        "warmup",
        Accepts::Own("a list of conversations, or `{parallel, conversations}`"),
        warmup,
        "Conversations that run through it after every load, so that the prompt cache is warm"
    ),
    key!(
        "options",
        Accepts::Own("a map of Ollama's runner options"),
        options,
        "Runner options that it is loaded with, such as `num_ctx`"
    ),
    key!(
        "pull",
        Accepts::Word(PullPolicy::WORDS),
        pull,
        "Whether it is pulled when the server does not have it"
    ),
    key!(
        "drift",
        Accepts::Word(DriftPolicy::WORDS),
        drift,
        "When it is resident with other options or another pin than wanted: say it, or load it again once it is idle"
    ),
    key!(
        "servers",
        Accepts::Own("a list of server names"),
        servers,
        "Names of the servers that shall have it; default all"
    ),
    key!(
        "minServers",
        whole(1, 32),
        min_servers,
        "It is ready when so many servers have it ready"
    ),
];

/// The values of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerDraft {
    pub(super) name: Option<Arc<str>>,
    pub(super) url: Option<Arc<str>>,
    pub(super) token_env: Option<Arc<str>>,
    pub(super) token_file: Option<Arc<str>>,
    pub(super) headers: Option<Node>,
    pub(super) ca_file: Option<Arc<str>>,
}

/// The keys of a server.
pub(super) const SERVER: &[Key<ServerDraft>] = &[
    key!(
        "name",
        text(SERVER_NAME_MAX),
        name,
        "Name, used as the `server` label; default `ollama`, of several `ollama-1`, `ollama-2`, …"
    ),
    key!(
        "url",
        text(URL_MAX),
        url,
        "`http://` or `https://` address, with a path where a proxy needs one; no credentials"
    ),
    key!(
        "tokenEnv",
        text(NAME_MAX),
        token_env,
        "Variable that holds a bearer token"
    ),
    key!(
        "tokenFile",
        text(PATH_MAX),
        token_file,
        "File that holds a bearer token"
    ),
    key!(
        "headers",
        Accepts::Own("a map of header names to `{value: …}`, `{env: …}` or `{file: …}`"),
        headers,
        "Further headers of every request; the values are treated as secrets"
    ),
    key!(
        "caFile",
        text(PATH_MAX),
        ca_file,
        "Certificate authorities to trust for `https`, in PEM; default the system's"
    ),
];
