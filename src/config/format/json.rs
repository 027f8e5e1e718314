//! JSON: `serde_json` says whether it is, a small scanner finds the places. The scanner reads valid JSON only, so it
//! skips where a parser would check.

use super::super::node::{Entry, Node, Origin, Value};
use super::{Budget, SyntaxError};
use serde::de::IgnoredAny;
use std::sync::Arc;

pub(super) fn parse(text: &str, path: &Arc<str>) -> Result<Node, SyntaxError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let said = error.to_string();
        // Its text ends with the place, which is told apart.
        let what = said.split(" at line ").next().unwrap_or(&said).to_owned();
        SyntaxError {
            place: Some((error.line(), error.column().max(1))),
            message: format!("is not valid JSON: {what}"),
        }
    })?;
    let mut scanner = Scanner {
        rest: text,
        line: 1,
        column: 1,
        path,
        budget: Budget::default(),
    };
    scanner.node(0)
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
    path: &'a Arc<str>,
    budget: Budget,
}

impl Scanner<'_> {
    fn node(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let origin = self.here();
        self.budget
            .spend(1, depth)
            .map_err(|message| self.wrong(message))?;
        let value = match self.peek() {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Value::Text(self.string().into()),
            _ => self.word(),
        };
        Ok(Node { value, origin })
    }

    fn map(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let mut entries = Vec::<Entry>::new();
        self.skip();
        while self.peek() != Some('}') {
            let at = self.here();
            let key: Arc<str> = self.string().into();
            if entries.iter().any(|entry| entry.key == key) {
                return Err(self.wrong(format!("has the key `{key}` twice")));
            }
            self.expect(':');
            let node = self.node(depth + 1)?;
            entries.push(Entry { key, at, node });
            self.expect(',');
        }
        self.skip();
        Ok(Value::Map(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        self.skip();
        while self.peek() != Some(']') {
            items.push(self.node(depth + 1)?);
            self.expect(',');
        }
        self.skip();
        Ok(Value::List(items))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Value {
        let end = self
            .rest
            .find(|c: char| c == ',' || c == ']' || c == '}' || c.is_whitespace())
            .unwrap_or(self.rest.len());
        let word = self.take(end.max(1));
        match serde_json::from_str::<serde_json::Value>(word) {
            Ok(serde_json::Value::Bool(yes)) => Value::Bool(yes),
            Ok(serde_json::Value::Number(number)) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            _ => Value::Null,
        }
    }

    fn string(&mut self) -> String {
        self.blank();
        let mut escaped = true;
        let end = self
            .rest
            .char_indices()
            .find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            })
            .map_or(self.rest.len(), |(at, _)| at + 1);
        serde_json::from_str(self.take(end)).unwrap_or_default()
    }

    fn peek(&mut self) -> Option<char> {
        self.blank();
        self.rest.chars().next()
    }

    fn skip(&mut self) {
        self.blank();
        let width = self.rest.chars().next().map_or(0, char::len_utf8);
        self.take(width);
    }

    /// Skips the separator, where there is one.
    fn expect(&mut self, separator: char) {
        if self.peek() == Some(separator) {
            self.skip();
        }
    }

    fn blank(&mut self) {
        let width = self.rest.len() - self.rest.trim_start().len();
        self.take(width);
    }

    fn take(&mut self, width: usize) -> &str {
        let (taken, rest) = self.rest.split_at_checked(width).unwrap_or((self.rest, ""));
        self.rest = rest;
        for c in taken.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        taken
    }

    fn here(&mut self) -> Origin {
        self.blank();
        Origin::File {
            path: Arc::clone(self.path),
            line: self.line,
            column: self.column,
        }
    }

    fn wrong(&self, message: String) -> SyntaxError {
        SyntaxError {
            place: Some((self.line, self.column)),
            message,
        }
    }
}
