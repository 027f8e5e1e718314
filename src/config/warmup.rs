//! Conversations of the warm-up: inline or from files, always in the form of Ollama's `/api/chat`. Their content goes
//! into no message.

use super::build::Build;
use super::file;
use super::format::{self, Format};
use super::nearest::nearest;
use super::node::{Entry, Node, Value};
use super::problem::Problem;
use crate::engine::spec::Conversation;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Most conversations of a model: each runs after every reload, one after the other.
pub(super) const CONVERSATIONS_MAX: usize = 32;

/// Most of Ollama's slots.
const PARALLEL_MAX: i64 = 64;

const SHAPE: &str = "must be a list of conversations, or `{parallel, conversations}`";
const KEYS: [&str; 6] = ["name", "system", "systemFile", "messages", "tools", "file"];
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

impl Build<'_> {
    /// How many times at once, and which conversations.
    pub(super) fn warmup(&mut self, key: &str, node: Option<&Node>) -> (usize, Vec<Conversation>) {
        let usual = self.parallel;
        let Some(node) = node else {
            return (usual, Vec::new());
        };
        if node.as_list().is_some() {
            return (usual, self.conversations(key, node));
        }
        let Some(entries) = node.as_map() else {
            self.wrong(key, Some(node), SHAPE);
            return (usual, Vec::new());
        };
        self.only(key, entries, &["parallel", "conversations"]);
        let parallel = match node.get("parallel") {
            None => usual,
            Some(given) => {
                let number = super::field::whole(given);
                let number = number.filter(|number| (1..=PARALLEL_MAX).contains(number));
                number
                    .and_then(|number| usize::try_from(number).ok())
                    .unwrap_or_else(|| {
                        let rule = format!("must be a whole number from 1 to {PARALLEL_MAX}");
                        self.wrong(&format!("{key}.parallel"), Some(given), &rule);
                        usual
                    })
            }
        };
        let Some(list) = node.get("conversations") else {
            self.wrong(key, Some(node), "must have `conversations`");
            return (parallel, Vec::new());
        };
        let conversations = self.conversations(&format!("{key}.conversations"), list);
        (parallel, conversations)
    }

    fn conversations(&mut self, key: &str, list: &Node) -> Vec<Conversation> {
        let Some(items) = list.as_list().filter(|items| !items.is_empty()) else {
            self.wrong(
                key,
                Some(list),
                "must be a list with at least one conversation",
            );
            return Vec::new();
        };
        if items.len() > CONVERSATIONS_MAX {
            let rule = format!("must not have more than {CONVERSATIONS_MAX} conversations");
            self.wrong(key, Some(list), &rule);
        }
        let numbered = items.iter().enumerate().take(CONVERSATIONS_MAX);
        let mut conversations = Vec::new();
        for (index, item) in numbered {
            let found = self.conversation(&format!("{key}[{index}]"), item, index + 1);
            conversations.extend(found);
        }
        conversations
    }

    fn conversation(&mut self, key: &str, item: &Node, number: usize) -> Option<Conversation> {
        let Some(entries) = item.as_map() else {
            let rule = "must be a conversation: a map with `system`, `messages`, `tools` or `file`";
            self.wrong(key, Some(item), rule);
            return None;
        };
        let before = self.report.errors.len();
        self.only(key, entries, &KEYS);
        let name = self.text(key, item, "name");
        let source = item.get("file").or_else(|| item.get("systemFile"));
        let name = name
            .or_else(|| source.and_then(|node| file_name(node.as_text()?)))
            .unwrap_or_else(|| number.to_string().into());
        let json = match item.get("file") {
            Some(node) => {
                if let Some(other) = entries
                    .iter()
                    .find(|entry| !matches!(&*entry.key, "file" | "name"))
                {
                    let rule = "must not stand beside `file`, which is the whole conversation";
                    let problem = Problem::new(format!("{key}.{}", other.key), rule);
                    self.report.error(problem.from(&other.at));
                }
                self.conversation_file(&format!("{key}.file"), node)
            }
            None => self.inline(key, item),
        };
        let json = json?;
        (self.report.errors.len() == before).then(|| Conversation {
            name,
            json: json.into(),
        })
    }

    fn inline(&mut self, key: &str, item: &Node) -> Option<String> {
        let text = self.text(key, item, "system");
        let from_file = self.system_file(key, item);
        if text.is_some() && item.get("systemFile").is_some() {
            let rule = "must not be given together with `system`";
            self.wrong(&format!("{key}.systemFile"), item.get("systemFile"), rule);
        }
        let system = text.or(from_file);
        let mut messages = Vec::new();
        messages.extend(system.map(|system| json!({"role": "system", "content": &*system})));
        messages.extend(self.messages(key, item));
        let tools = item.get("tools");
        if let Some(tools) = tools
            && !tools
                .as_list()
                .is_some_and(|items| items.iter().all(|tool| tool.as_map().is_some()))
        {
            let rule = "must be a list of tools, as `/api/chat` takes them";
            self.wrong(&format!("{key}.tools"), Some(tools), rule);
        }
        let entries = item.as_map().unwrap_or_default();
        let says_nothing = entries
            .iter()
            .all(|entry| matches!(&*entry.key, "name" | "tools"));
        if says_nothing {
            self.wrong(
                key,
                Some(item),
                "must have `system`, `systemFile`, `messages` or `file`",
            );
            return None;
        }
        let mut conversation = serde_json::Map::new();
        conversation.insert("messages".to_owned(), messages.into());
        conversation.extend(tools.map(|tools| ("tools".to_owned(), tools.to_json())));
        Some(serde_json::Value::Object(conversation).to_string())
    }

    fn messages(&mut self, key: &str, item: &Node) -> Vec<serde_json::Value> {
        let key = format!("{key}.messages");
        let Some(node) = item.get("messages") else {
            return Vec::new();
        };
        let Some(items) = node.as_list().filter(|items| !items.is_empty()) else {
            self.wrong(
                &key,
                Some(node),
                "must be a list of messages, as `/api/chat` takes them",
            );
            return Vec::new();
        };
        for (index, message) in items.iter().enumerate() {
            let key = format!("{key}[{index}]");
            let role = message.get("role").and_then(Node::as_text);
            if !role.is_some_and(|role| ROLES.contains(&&**role)) {
                let must = "must have a `role`: `system`, `user`, `assistant` or `tool`";
                self.wrong(&key, Some(message), must);
            }
            let content = message.get("content");
            if content.is_some_and(|content| content.as_text().is_none())
                || (content.is_none() && message.get("tool_calls").is_none())
            {
                self.wrong(&key, Some(message), "must have a `content` that is a text");
            }
        }
        items.iter().map(Node::to_json).collect()
    }

    fn system_file(&mut self, key: &str, item: &Node) -> Option<Arc<str>> {
        let key = format!("{key}.systemFile");
        let node = item.get("systemFile")?;
        let path = self.named_path(&key, node)?;
        match file::read_text(&path, file::CONVERSATION_MAX) {
            Ok(text) if !text.trim().is_empty() => Some(text.into()),
            Ok(_) => {
                self.wrong(&key, Some(node), "must name a file that is not empty");
                None
            }
            Err(why) => {
                self.wrong(
                    &key,
                    Some(node),
                    &format!("must name a file that can be read; it {why}"),
                );
                None
            }
        }
    }

    /// A file that is a whole conversation, in any format of the configuration.
    fn conversation_file(&mut self, key: &str, node: &Node) -> Option<String> {
        let path = self.named_path(key, node)?;
        let Some(format) = Format::of(&path) else {
            let rule = "must name a `.json`, `.yaml` or `.toml` file";
            let problem = Problem::new(key, rule).with(node);
            self.report
                .error(problem.hint("a file that is only a system prompt is a `systemFile`"));
            return None;
        };
        let shown: Arc<str> = path.display().to_string().into();
        let text = match file::read_text(&path, file::CONVERSATION_MAX) {
            Ok(text) => text,
            Err(why) => {
                self.wrong(
                    key,
                    Some(node),
                    &format!("must name a file that can be read; it {why}"),
                );
                return None;
            }
        };
        match format::parse(format, &text, &shown) {
            Ok(conversation) if conversation.as_map().is_some() => {
                let entries = conversation.as_map().unwrap_or_default();
                self.only(key, entries, &["system", "messages", "tools"]);
                self.inline(key, &conversation)
            }
            Ok(_) => {
                self.wrong(
                    key,
                    Some(node),
                    "must name a file with `system`, `messages` or `tools`",
                );
                None
            }
            Err(error) => {
                let (line, column) = error.place.unwrap_or((1, 1));
                let rule = format!(
                    "must name a conversation; it {} (line {line}, column {column})",
                    error.message
                );
                self.wrong(key, Some(node), &rule);
                None
            }
        }
    }

    fn named_path(&mut self, key: &str, node: &Node) -> Option<std::path::PathBuf> {
        let path = self.path(node);
        if path.is_none() {
            self.wrong(key, Some(node), "must be the path of a file");
        }
        path
    }

    fn text(&mut self, key: &str, item: &Node, name: &str) -> Option<Arc<str>> {
        let node = item.get(name)?;
        let text = node.as_text().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.wrong(
                &format!("{key}.{name}"),
                Some(node),
                "must be a text that is not empty",
            );
        }
        text.cloned()
    }

    fn only(&mut self, key: &str, entries: &[Entry], known: &[&str]) {
        for entry in entries.iter().filter(|entry| !known.contains(&&*entry.key)) {
            let problem = Problem::new(format!("{key}.{}", entry.key), "is no known key");
            let hint = match nearest(&entry.key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.report.error(problem.from(&entry.at).hint(hint));
        }
    }
}

fn file_name(path: &str) -> Option<Arc<str>> {
    let name = Path::new(path).file_name()?.to_str()?;
    Some(name.into())
}

/// A warm-up as it may be printed: sizes instead of prompts.
pub(super) fn shown(parallel: usize, conversations: &[Conversation]) -> Value {
    let mut map = Node::built_in(Value::Map(Vec::new()));
    let parallel = i64::try_from(parallel).unwrap_or(i64::MAX);
    map.put(&["parallel"], Node::built_in(Value::Int(parallel)));
    let items = conversations.iter().map(|conversation| {
        let text = format!("{} ({} bytes)", conversation.name, conversation.json.len());
        Node::built_in(Value::text(text))
    });
    map.put(
        &["conversations"],
        Node::built_in(Value::List(items.collect())),
    );
    map.value
}
