//! From the merged tree to [`Settings`]: everything is read, checked and compared; whatever is wrong is reported, and
//! only a tree without errors becomes settings.

use super::effective::Effective;
use super::items::{MODEL_SHARED, ModelDraft};
use super::keys::{Draft, SECTIONS};
use super::models::Model;
use super::node::{Node, Origin, Value};
use super::problem::{Problem, Report};
use super::servers::Server;
use super::settings::{LogSettings, Settings};
use super::walk::{Sources, Table, Walk};
use crate::engine::Spec;
use std::path::{Path, PathBuf};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// What building needs to know and adds to.
#[derive(Debug)]
pub(super) struct Build<'a> {
    pub(super) report: Report,
    pub(super) sources: Sources,
    /// The environment, for the secrets that it holds.
    pub(super) environment: &'a [(String, String)],
    /// The directory that paths in the file are relative to.
    pub(super) base: PathBuf,
    /// How many times a conversation runs at once, where nothing else is said.
    pub(super) parallel: usize,
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) draft: Draft,
    pub(super) defaults: ModelDraft,
    pub(super) servers: Vec<Server>,
    pub(super) models: Vec<Model>,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        report: Report,
        environment: &'a [(String, String)],
        file: Option<&Path>,
    ) -> Self {
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Self {
            report,
            sources: Sources::new(),
            environment,
            base: base.to_owned(),
            parallel: 1,
        }
    }

    /// Reads the whole tree.
    pub(super) fn run(mut self, tree: &Node) -> (Report, Option<(Settings, Effective)>) {
        let parts = self.read(tree);
        let log = self.log(&parts.draft);
        self.compare(&parts);
        self.report.sort();
        if !self.report.errors.is_empty() {
            return (self.report, None);
        }
        let effective = Effective::new(&parts, &self.sources);
        let state = tree.get("state").and_then(|state| state.get("path"));
        let state_path = state.and_then(|node| self.path(node));
        let (specs, connections) = parts
            .servers
            .into_iter()
            .map(|server| (server.spec, server.connection))
            .unzip();
        let settings = Settings {
            spec: Spec {
                servers: specs,
                models: parts.models.into_iter().map(|model| model.spec).collect(),
                readiness: parts.draft.readiness,
                timing: parts.draft.timing,
            },
            connections,
            http: parts.draft.http,
            state_path,
            log,
        };
        (self.report, Some((settings, effective)))
    }

    fn read(&mut self, tree: &Node) -> Parts {
        let others = ["servers", "models", "defaults"];
        let mut draft = Draft::default();
        let table = Table::with_others(&[SECTIONS], &others);
        self.walk().take(&mut draft, &table, tree, "");
        self.parallel = draft.warmup_parallel;
        let empty = Node::built_in(Value::Map(Vec::new()));
        let mut defaults = ModelDraft::default();
        let given = tree.get("defaults").unwrap_or(&empty);
        if given.value != Value::Null {
            let table = Table::new(&[MODEL_SHARED]);
            self.walk().take(&mut defaults, &table, given, "defaults");
        }
        let servers = self.servers(tree.get("servers").unwrap_or(&empty));
        let models = tree.get("models").unwrap_or(&empty);
        let models = self.models(models, &defaults, &servers);
        Parts {
            draft,
            defaults,
            servers,
            models,
        }
    }

    fn log(&mut self, draft: &Draft) -> LogSettings {
        let key = "log.filter";
        let node = Node {
            value: Value::Text(draft.log_filter.clone()),
            origin: self.origin_of(key),
        };
        let filter = draft.log_filter.parse::<Targets>().unwrap_or_else(|_| {
            let rule = "must be a level, or `target=level` pairs separated by commas";
            let hint = "levels are `off`, `error`, `warn`, `info`, `debug` and `trace`";
            let problem = Problem::new(key, rule).with(&node);
            self.report.error(problem.hint(hint));
            Targets::new()
        });
        for word in draft.log_filter.split(',').map(str::trim) {
            let is_target = word.contains(['=', ':']) || word.starts_with("model_preloader");
            if !is_target && word.parse::<LevelFilter>().is_err() {
                let rule = format!("logs everything of the target `{word}`, and nothing else");
                let hint = "levels are `off`, `error`, `warn`, `info`, `debug` and `trace`";
                let problem = Problem::new(key, rule).with(&node);
                self.report.warn(problem.hint(hint));
            }
        }
        let format = draft.log_format;
        let settings = LogSettings { format, filter };
        if draft.debug {
            settings.with_requests()
        } else {
            settings
        }
    }

    /// The items of a list that must have some.
    pub(super) fn items<'n>(
        &mut self,
        key: &str,
        list: &'n Node,
        max: usize,
    ) -> Option<&'n [Node]> {
        let noun = key.trim_end_matches('s');
        let Some(items) = list.as_list() else {
            let rule = format!("must be a list with at least one {noun}");
            self.wrong(key, Some(list), &rule);
            return None;
        };
        if items.is_empty() {
            let problem = Problem::new(key, format!("must have at least one {noun}"));
            let hint = "remove the key to have the default";
            self.report.error(problem.from(&list.origin).hint(hint));
        }
        if items.len() > max {
            let rule = format!("must not have more than {max} {key}");
            self.wrong(key, Some(list), &rule);
            return items.get(..max);
        }
        Some(items)
    }

    pub(super) fn walk(&mut self) -> Walk<'_> {
        Walk {
            report: &mut self.report,
            sources: &mut self.sources,
        }
    }

    /// Reports an error about a value.
    pub(super) fn wrong(&mut self, key: &str, node: Option<&Node>, rule: &str) {
        let problem = Problem::new(key, rule);
        self.report.error(match node {
            Some(node) => problem.with(node),
            None => problem,
        });
    }

    /// Where the value of a key came from.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.sources.get(key).cloned().unwrap_or(Origin::BuiltIn)
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        let found = self.environment.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A path; one that the file names is relative to the file.
    pub(super) fn path(&self, node: &Node) -> Option<PathBuf> {
        let text = node.as_text().filter(|text| !text.trim().is_empty())?;
        Some(match node.origin {
            Origin::File { .. } | Origin::WholeFile(_) => self.base.join(&**text),
            Origin::BuiltIn | Origin::Variable(_) | Origin::Flag(_) => PathBuf::from(&**text),
        })
    }
}
