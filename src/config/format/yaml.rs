//! YAML 1.2 by the events of saphyr-parser. The core schema decides what a plain word means: `yes` is a text, `true` is
//! not.

use super::super::node::{Entry, Node, Origin, Value};
use super::{Budget, SyntaxError};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn parse(text: &str, path: &Arc<str>) -> Result<Node, SyntaxError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        path,
        anchors: BTreeMap::new(),
        budget: Budget::default(),
    };
    reader.document()
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    path: &'a Arc<str>,
    anchors: BTreeMap<usize, (Node, usize)>,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, SyntaxError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(at(span, "must be one document"));
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?.0);
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => return Err(at(span, "is no YAML document")),
            }
        }
        Ok(root.unwrap_or_else(|| Node {
            value: Value::Null,
            origin: Origin::WholeFile(Arc::clone(self.path)),
        }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(scan_error(&error)),
            None => Err(SyntaxError {
                place: None,
                message: "ends too early".to_owned(),
            }),
        }
    }

    /// The value that begins with this event, and how many values it holds.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        depth: usize,
    ) -> Result<(Node, usize), SyntaxError> {
        self.budget
            .spend(1, depth)
            .map_err(|message| at(span, message))?;
        let (value, size, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|m| at(span, m))?;
                (value, 1, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_ref(), span)?;
                let (items, size) = self.sequence(depth)?;
                (Value::List(items), size, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_ref(), span)?;
                let (entries, size) = self.mapping(depth)?;
                (Value::Map(entries), size, anchor)
            }
            Event::Alias(id) => {
                let found = self.anchors.get(&id).cloned();
                let (node, size) = found.ok_or_else(|| at(span, "must not refer to itself"))?;
                self.budget
                    .spend(size, depth)
                    .map_err(|message| at(span, message))?;
                (node.value, size, 0)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (Value::Null, 1, 0),
        };
        let node = Node {
            value,
            origin: self.origin(span),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn sequence(&mut self, depth: usize) -> Result<(Vec<Node>, usize), SyntaxError> {
        let (mut items, mut size) = (Vec::new(), 1);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((items, size));
            }
            let (item, more) = self.node(event, span, depth + 1)?;
            size += more;
            items.push(item);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(Vec<Entry>, usize), SyntaxError> {
        let (mut entries, mut size) = (Vec::<Entry>::new(), 1);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((entries, size));
            }
            let Event::Scalar(text, ..) = event else {
                return Err(at(span, "must have plain texts as keys"));
            };
            let key: Arc<str> = text.into();
            if &*key == "<<" {
                return Err(at(
                    span,
                    "has a merge key (`<<`), which is not YAML 1.2; what models share can stand under `defaults`",
                ));
            }
            if entries.iter().any(|entry| entry.key == key) {
                return Err(at(span, format!("has the key `{key}` twice")));
            }
            let at = self.origin(span);
            let (event, span) = self.next()?;
            let (node, more) = self.node(event, span, depth + 1)?;
            size += more;
            entries.push(Entry { key, at, node });
        }
    }

    fn origin(&self, span: Span) -> Origin {
        Origin::File {
            path: Arc::clone(self.path),
            line: span.start.line(),
            column: span.start.col() + 1,
        }
    }
}

fn scan_error(error: &ScanError) -> SyntaxError {
    SyntaxError {
        place: Some((error.marker().line(), error.marker().col() + 1)),
        message: format!("is not valid YAML: {}", error.info()),
    }
}

fn at(span: Span, message: impl Into<String>) -> SyntaxError {
    SyntaxError {
        place: Some((span.start.line(), span.start.col() + 1)),
        message: message.into(),
    }
}

fn refuse_tag(tag: Option<&Cow<'_, Tag>>, span: Span) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(at(
            span,
            format!("has the tag `{tag}`, which means nothing here"),
        )),
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if let Some(tag) = tag {
        return match tag.suffix.as_str() {
            "str" if tag.is_yaml_core_schema() => Ok(Value::text(text)),
            "null" | "bool" | "int" | "float" if tag.is_yaml_core_schema() => Ok(plain(text)),
            _ => Err(format!("has the tag `{tag}`, which means nothing here")),
        };
    }
    if style == ScalarStyle::Plain {
        Ok(plain(text))
    } else {
        Ok(Value::text(text))
    }
}

/// The core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix, radix| {
        let digits = text.strip_prefix(prefix)?;
        i64::from_str_radix(digits, radix).ok()
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Value::Int(number);
    }
    // Rust also reads `inf` and `nan`, which are words here.
    let numeric = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    if numeric {
        if let Ok(number) = text.parse::<i64>() {
            return Value::Int(number);
        }
        if let Ok(number) = text.parse::<f64>() {
            return Value::Float(number);
        }
    }
    Value::text(text)
}
