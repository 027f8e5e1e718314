//! Requests that need a runner: what they ask for, and what is refused before the scheduler sees them.

use super::answer::Answer;
use super::fields::Fields;
use crate::config::Kind;
use crate::rules::{Call, CallId, Rules, RunnerOptions, check_options, keep_alive};
use crate::store::Model;
use crate::store::name::{NameError, Reference, reference};
use serde_json::{Map, Value};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Characters of a word that make one token.
const TOKEN_CHARS: usize = 6;

/// A prompt that does not fit and must not be cut.
const TOO_LONG: &str = "the prompt is longer than the context length currently available to the model; shorten the \
     prompt, adjust the context length in settings, or use a model with a longer context length";

/// Inputs of one embed request.
const INPUTS_MAX: usize = 4096;

/// How the answer looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Generate,
    Chat,
    Embed,
    Embeddings,
    OpenAiChat,
    OpenAiText,
    OpenAiEmbed,
}

impl Style {
    pub(crate) fn embeds(self) -> bool {
        matches!(self, Self::Embed | Self::Embeddings | Self::OpenAiEmbed)
    }

    pub(crate) fn openai(self) -> bool {
        matches!(
            self,
            Self::OpenAiChat | Self::OpenAiText | Self::OpenAiEmbed
        )
    }

    fn go(self) -> &'static str {
        match self {
            Self::Generate => "GenerateRequest",
            Self::Chat => "ChatRequest",
            Self::Embeddings => "EmbeddingRequest",
            Self::OpenAiChat => "ChatCompletionRequest",
            Self::OpenAiText => "CompletionRequest",
            Self::Embed | Self::OpenAiEmbed => "EmbedRequest",
        }
    }
}

/// What the runner is to do.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Work {
    /// Nothing: the request only wants the model loaded.
    Empty,
    Prompt {
        tokens: Vec<u64>,
        predict: Option<u32>,
    },
    Embed {
        tokens: Vec<u64>,
        inputs: usize,
        /// Whether too much input is cut instead of refused.
        truncate: bool,
    },
}

/// A request that needs a runner.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) model: Arc<Model>,
    /// The name as the client wrote it.
    pub(crate) echo: String,
    pub(crate) options: RunnerOptions,
    pub(crate) keep_alive: Option<i64>,
    pub(crate) work: Work,
    pub(crate) style: Style,
    pub(crate) stream: bool,
    /// On `/v1`: whether the stream ends with a count of tokens.
    pub(crate) usage: bool,
}

impl Job {
    /// What the runner itself refuses.
    pub(crate) fn refusal(&self, context: i64) -> Option<Answer> {
        if self.style.embeds() && self.model.spec.kind == Kind::Completion {
            let text = "This server does not support embeddings. Start it with `--embeddings`";
            let status = if self.style == Style::Embeddings {
                500
            } else {
                501
            };
            return Some(Answer::error(status, text));
        }
        let tokens = match &self.work {
            Work::Empty => 0,
            Work::Prompt { tokens, .. } | Work::Embed { tokens, .. } => tokens.len(),
        };
        if i64::try_from(tokens).is_ok_and(|tokens| tokens <= context) {
            return None;
        }
        match self.work {
            Work::Prompt { .. } if !self.options.shifts() => Some(Answer::error(400, TOO_LONG)),
            Work::Embed {
                truncate: false, ..
            } => Some(Answer::error(
                400,
                "the input length exceeds the context length",
            )),
            Work::Empty | Work::Prompt { .. } | Work::Embed { .. } => None,
        }
    }
}

/// A request that was not refused.
enum Accepted {
    Job(Box<Job>),
    Unload(Model),
}

impl Rules {
    /// Checks a request as Ollama's handlers do, in their order, and passes it to the scheduler.
    pub(crate) fn ask(&mut self, id: CallId, call: &Call, style: Style) {
        let answer = Fields::parse(super::bytes(call), style.go())
            .map_err(|text| Answer::error(400, text))
            .and_then(|fields| self.accept(&fields, style));
        match answer {
            Ok(Accepted::Job(job)) => self.schedule(id, *job),
            Ok(Accepted::Unload(model)) => self.unload(id, &model),
            Err(answer) => self.reply(id, answer),
        }
    }

    fn accept(&mut self, fields: &Fields, style: Style) -> Result<Accepted, Answer> {
        let bad = |text| Answer::error(400, text);
        let echo = fields.text("model").map_err(bad)?.to_owned();
        let given = options(fields, style).map_err(bad)?;
        let keep_alive = if style.openai() {
            None
        } else {
            keep_alive::parse(fields.get("keep_alive")).map_err(bad)?
        };
        let shift = fields
            .flag("shift")
            .map_err(bad)?
            .filter(|_| !style.openai());
        let stream = fields.flag("stream").map_err(bad)?;
        let work = work(fields, style, &given)?;
        let model = self.named(&echo, style)?;
        if matches!(style, Style::Generate | Style::Chat)
            && work == Work::Empty
            && keep_alive == Some(0)
        {
            return Ok(Accepted::Unload(model));
        }
        self.capable(&model, &echo, style, fields)?;
        check_options(&given).map_err(|text| Answer::error(500, text))?;
        let environment = self.config.environment.context_length;
        Ok(Accepted::Job(Box::new(Job {
            options: RunnerOptions::resolve(&model, &given, shift, environment),
            model: Arc::new(model),
            echo,
            keep_alive,
            work,
            style,
            stream: stream.unwrap_or(!style.openai()) && !style.embeds(),
            usage: fields
                .get("stream_options")
                .and_then(|options| options.get("include_usage"))
                .is_some_and(|usage| *usage == Value::Bool(true)),
        })))
    }

    /// Finds the model, or says what Ollama says.
    fn named(&self, echo: &str, style: Style) -> Result<Model, Answer> {
        let missing = |echo: &str| match style {
            Style::Embed | Style::Embeddings | Style::OpenAiEmbed => Answer::pull_first(echo),
            Style::Generate | Style::Chat | Style::OpenAiChat | Style::OpenAiText => {
                Answer::not_found(echo)
            }
        };
        match reference(echo) {
            Ok(Reference::Local(name)) => {
                let model = self
                    .store
                    .find(&name)
                    .cloned()
                    .ok_or_else(|| missing(echo))?;
                if model.spec.kind == Kind::Cloud {
                    return Err(self.cloud(style));
                }
                Ok(model)
            }
            Ok(Reference::Cloud) => Err(self.cloud(style)),
            Err(NameError::Empty) => Err(match style {
                Style::Generate | Style::Embed => Answer::not_found(""),
                Style::Chat
                | Style::Embeddings
                | Style::OpenAiChat
                | Style::OpenAiText
                | Style::OpenAiEmbed => Answer::error(400, "model is required"),
            }),
            Err(NameError::Invalid) => Err(Answer::invalid_name()),
            Err(NameError::BothSources(text)) => Err(Answer::error(
                400,
                format!("use either :local or :cloud, not both: {text:?}"),
            )),
        }
    }

    /// Ollama passes these on, to somewhere that a simulation cannot reach.
    fn cloud(&self, style: Style) -> Answer {
        let path = match style {
            Style::Generate => "generate",
            Style::Embed | Style::Embeddings | Style::OpenAiEmbed => "embed",
            Style::Chat | Style::OpenAiChat | Style::OpenAiText => "chat",
        };
        let seconds = self.wall() / 1_000_000_000;
        Answer::error(
            502,
            format!(
                "Post \"https://ollama.com:443/api/{path}?ts={seconds}\": dial tcp: lookup ollama.com: no such host"
            ),
        )
    }

    fn capable(
        &mut self,
        model: &Model,
        echo: &str,
        style: Style,
        fields: &Fields,
    ) -> Result<(), Answer> {
        let readable = self.store.knows_capabilities(model);
        if style.embeds() {
            return Ok(());
        }
        let all = if readable {
            model.capabilities()
        } else {
            Vec::new()
        };
        let has = |word: &str| all.iter().any(|one| one == word);
        let thinks = fields
            .get("think")
            .is_some_and(|think| *think != Value::Bool(false));
        if thinks && !has("thinking") {
            return Err(Answer::error(
                400,
                format!("\"{echo}\" does not support thinking"),
            ));
        }
        if !has("completion") {
            let what = if style == Style::Generate {
                "generate"
            } else {
                "chat"
            };
            return Err(Answer::error(
                400,
                format!("\"{echo}\" does not support {what}"),
            ));
        }
        let tools = fields
            .get("tools")
            .and_then(Value::as_array)
            .is_some_and(|tools| !tools.is_empty());
        let suffix = fields
            .get("suffix")
            .and_then(Value::as_str)
            .is_some_and(|suffix| !suffix.is_empty());
        for (wanted, word) in [(tools, "tools"), (suffix, "insert")] {
            if wanted && !has(word) {
                let name = model.name.full();
                return Err(Answer::error(
                    400,
                    format!("{name} does not support {word}"),
                ));
            }
        }
        Ok(())
    }
}

/// A request's options, in Ollama's words.
fn options(fields: &Fields, style: Style) -> Result<Map<String, Value>, String> {
    if !style.openai() {
        return fields.object("options");
    }
    let mut map = Map::new();
    let tokens = fields
        .get("max_completion_tokens")
        .or_else(|| fields.get("max_tokens"));
    if let Some(tokens) = tokens {
        map.insert("num_predict".into(), tokens.clone());
    }
    Ok(map)
}

fn work(fields: &Fields, style: Style, options: &Map<String, Value>) -> Result<Work, Answer> {
    let bad = |text| Answer::error(400, text);
    let predict = options.get("num_predict").and_then(Value::as_i64);
    // Less than nothing means without end.
    let predict = predict.and_then(|tokens| u32::try_from(tokens).ok());
    let text = match style {
        Style::Generate | Style::OpenAiText => {
            let prompt = fields.text("prompt").map_err(bad)?;
            if prompt.is_empty() {
                return Ok(Work::Empty);
            }
            format!("{}\n{prompt}", fields.text("system").map_err(bad)?)
        }
        Style::Chat | Style::OpenAiChat => {
            let messages = fields.list("messages", "[]api.Message").map_err(bad)?;
            if messages.is_empty() && style == Style::OpenAiChat {
                return Err(Answer::error(400, "[] is too short - 'messages'"));
            }
            if messages.is_empty() {
                return Ok(Work::Empty);
            }
            conversation(fields, messages)
        }
        Style::Embeddings => {
            let prompt = fields.text("prompt").map_err(bad)?.to_owned();
            return Ok(embed(vec![prompt], true));
        }
        Style::Embed | Style::OpenAiEmbed => {
            let truncate = fields.flag("truncate").map_err(bad)?.unwrap_or(true);
            return Ok(embed(inputs(fields.get("input"))?, truncate));
        }
    };
    Ok(Work::Prompt {
        tokens: tokens(&text),
        predict,
    })
}

fn inputs(input: Option<&Value>) -> Result<Vec<String>, Answer> {
    let invalid = || Answer::error(400, "invalid input type");
    match input {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(all)) if all.len() <= INPUTS_MAX => {
            let texts = all.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(invalid)
        }
        Some(_) => Err(invalid()),
    }
}

fn embed(inputs: Vec<String>, truncate: bool) -> Work {
    let inputs: Vec<String> = inputs
        .into_iter()
        .filter(|input| !input.is_empty())
        .collect();
    if inputs.is_empty() {
        return Work::Empty;
    }
    Work::Embed {
        tokens: tokens(&inputs.join("\n")),
        inputs: inputs.len(),
        truncate,
    }
}

/// A conversation as a template would write it, so that a common beginning is a common beginning of tokens.
fn conversation(fields: &Fields, messages: &[Value]) -> String {
    let mut text = String::new();
    // An empty list is no list: a template writes nothing for it.
    let tools = fields.get("tools");
    if let Some(tools) = tools.filter(|tools| tools.as_array().is_none_or(|list| !list.is_empty()))
    {
        text.push_str(&tools.to_string());
    }
    for message in messages {
        let part = |name: &str| match message.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        text.extend(["<", &part("role"), ">\n", &part("content"), "\n"]);
    }
    text
}

/// One number per token. Ends of lines and long words make further ones.
fn tokens(text: &str) -> Vec<u64> {
    /// What a template puts around a prompt.
    const AROUND: u64 = 8;
    let mut tokens: Vec<u64> = (0..AROUND).collect();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(TOKEN_CHARS) {
            let mut hasher = DefaultHasher::new();
            piece.hash(&mut hasher);
            tokens.push(hasher.finish());
        }
    }
    tokens
}
