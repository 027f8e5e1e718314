//! TOML by the toml crate, which knows the place of each key and value.

use super::super::node::{Entry, Node, Origin, Value};
use super::{Budget, SyntaxError, place_of};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) fn parse(text: &str, path: &Arc<str>) -> Result<Node, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        place: error.span().map(|span| place_of(text, span.start)),
        message: format!("is not valid TOML: {}", error.message()),
    })?;
    let mut reader = Reader {
        text,
        path,
        budget: Budget::default(),
    };
    let entries = reader.table(table.get_ref(), 0)?;
    Ok(Node {
        value: Value::Map(entries),
        origin: reader.origin(0),
    })
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Arc<str>,
    budget: Budget,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries = Vec::new();
        for (key, value) in table {
            entries.push(Entry {
                key: key.get_ref().as_ref().into(),
                at: self.origin(key.span().start),
                node: self.node(value, depth + 1)?,
            });
        }
        // The table is sorted by name; people expect the order of the file.
        entries.sort_by(|a, b| a.at.cmp(&b.at));
        Ok(entries)
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, SyntaxError> {
        let start = value.span().start;
        let wrong = |message: String| SyntaxError {
            place: Some(place_of(self.text, start)),
            message,
        };
        self.budget.spend(1, depth).map_err(wrong)?;
        let value = match value.get_ref() {
            DeValue::String(text) => Value::text(text),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Int(parsed.map_err(|_| wrong("is too large a number".to_owned()))?)
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse();
                Value::Float(parsed.map_err(|_| wrong("is no number".to_owned()))?)
            }
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Datetime(_) => return Err(wrong("must not be a date or a time".to_owned())),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.node(item, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Map(self.table(table, depth)?),
        };
        Ok(Node {
            value,
            origin: self.origin(start),
        })
    }

    fn origin(&self, offset: usize) -> Origin {
        let (line, column) = place_of(self.text, offset);
        Origin::File {
            path: Arc::clone(self.path),
            line,
            column,
        }
    }
}
