//! Walks a map along a table of keys: takes what fits, collects what does not, and remembers where each value came from.

use super::field::Accepts;
use super::items::{MODEL_OWN, MODEL_SHARED, SERVER};
use super::keys::{Key, SECTIONS};
use super::nearest::nearest;
use super::node::{Entry, Node, Origin, Value};
use super::problem::{Problem, Report};
use std::collections::BTreeMap;

/// Largest difference in length of a key that was meant in another place: a guess so far away must be a good one.
const OTHER_LENGTH_MAX: usize = 2;

/// Where each value came from, by its full key.
pub(super) type Sources = BTreeMap<String, Origin>;

/// What a walk adds to.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) report: &'a mut Report,
    pub(super) sources: &'a mut Sources,
}

impl Walk<'_> {
    /// Puts the values of a map into a draft. `prefix` is the full key of the map.
    pub(super) fn take<D>(
        &mut self,
        draft: &mut D,
        table: &Table<'_, D>,
        map: &Node,
        prefix: &str,
    ) {
        let Some(entries) = map.as_map() else {
            let rule = "must be a map of keys and values";
            self.report.error(Problem::new(prefix, rule).with(map));
            return;
        };
        let place = Place {
            prefix,
            section: "",
        };
        for entry in entries {
            self.entry(draft, table, entry, place);
        }
    }

    fn entry<D>(&mut self, draft: &mut D, table: &Table<'_, D>, entry: &Entry, place: Place<'_>) {
        let name = join(place.section, &entry.key);
        let full = join(place.prefix, &name);
        if place.section.is_empty() && table.others.contains(&name.as_str()) {
            return;
        }
        if let Some(key) = table.find(&name) {
            self.value(draft, key, &full, &entry.node);
            return;
        }
        if !table.is_section(&name) {
            self.report.error(table.unknown(&full, &name, entry));
            return;
        }
        match &entry.node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let section = &name;
                    self.entry(draft, table, entry, Place { section, ..place });
                }
            }
            // A section whose keys are all commented out.
            Value::Null => {}
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
                let hint = format!("its keys are {}", table.members(&name).join(", "));
                let problem = Problem::new(full, "must be a section with keys of its own");
                self.report.error(problem.with(&entry.node).hint(hint));
            }
        }
    }

    fn value<D>(&mut self, draft: &mut D, key: &Key<D>, full: &str, node: &Node) {
        self.sources.insert(full.to_owned(), node.origin.clone());
        if node.value == Value::Null {
            let problem = Problem::new(full, format!("has no value: {}", key.accepts.rule()));
            let hint = "give it a value, or remove the key to have the default";
            self.report.error(problem.with(node).hint(hint));
            return;
        }
        if let Err(misfit) = (key.read)(draft, node, &key.accepts) {
            let mut problem = Problem::new(full, misfit.rule).with(node);
            problem.hint = misfit.hint;
            self.report.error(problem);
        }
    }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    prefix: &'a str,
    section: &'a str,
}

/// The keys that a map can have.
#[derive(Debug)]
pub(super) struct Table<'a, D: 'static> {
    tables: &'a [&'static [Key<D>]],
    others: &'a [&'a str],
}

impl<'a, D> Table<'a, D> {
    pub(super) fn new(tables: &'a [&'static [Key<D>]]) -> Self {
        Self::with_others(tables, &[])
    }

    /// With keys that somebody else takes care of.
    pub(super) fn with_others(tables: &'a [&'static [Key<D>]], others: &'a [&'a str]) -> Self {
        Self { tables, others }
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key<D>> {
        self.tables.iter().flat_map(|table| table.iter())
    }

    fn find(&self, name: &str) -> Option<&'static Key<D>> {
        self.keys().find(|key| key.name == name)
    }

    fn is_section(&self, name: &str) -> bool {
        let inside = |key: &Key<D>| {
            let rest = key.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        self.keys().any(inside)
    }

    /// The names directly inside a section, or at the top.
    fn members(&self, section: &str) -> Vec<&str> {
        let mut members: Vec<&str> = Vec::new();
        let names = self.keys().map(|key| key.name);
        let inside = names.filter_map(|name| match section {
            "" => Some(name),
            _ => name.strip_prefix(section)?.strip_prefix('.'),
        });
        for name in inside {
            let member = name.split('.').next().unwrap_or(name);
            if !members.contains(&member) {
                members.push(member);
            }
        }
        if section.is_empty() {
            members.extend(self.others);
        }
        members
    }

    /// The value of an unknown key is not shown: it could be anything, a secret as well.
    fn unknown(&self, full: &str, name: &str, entry: &Entry) -> Problem {
        let section = name.rsplit_once('.').map_or("", |(section, _)| section);
        let members = self.members(section);
        let problem = Problem::new(full, "is no known key").from(&entry.at);
        let here = nearest(&entry.key, members.iter().copied()).map(|near| join(section, near));
        problem.hint(match here.or_else(|| elsewhere(&entry.key)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", members.join(", ")),
        })
    }
}

/// A key of that name in another place.
fn elsewhere(name: &str) -> Option<String> {
    let is_alike = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        let close = last.len().abs_diff(name.len()) <= OTHER_LENGTH_MAX;
        close && nearest(name, std::iter::once(last)).is_some()
    };
    let mut keys = all_keys().into_iter().map(|(key, _)| key);
    keys.find(|key| is_alike(key))
}

/// Every key with what it accepts, those of lists as `models[].verify`.
pub(super) fn all_keys() -> Vec<(String, Accepts)> {
    let named = |prefix: &'static str| move |name: &str| join(prefix, name);
    let sections = SECTIONS
        .iter()
        .map(|key| (key.name.to_owned(), key.accepts));
    let defaults = MODEL_SHARED.iter();
    let models = MODEL_OWN.iter().chain(MODEL_SHARED);
    sections
        .chain(defaults.map(|key| (named("defaults")(key.name), key.accepts)))
        .chain(models.map(|key| (named("models[]")(key.name), key.accepts)))
        .chain(
            SERVER
                .iter()
                .map(|key| (named("servers[]")(key.name), key.accepts)),
        )
        .collect()
}

/// A key inside another.
pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}
