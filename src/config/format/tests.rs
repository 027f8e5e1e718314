//! The three formats mean the same, and no text makes one of them panic or run for ever.

use super::*;
use crate::config::node::{Origin, Value};

const FORMATS: [Format; 3] = [Format::Yaml, Format::Toml, Format::Json];

fn read(format: Format, text: &str) -> Result<Node, SyntaxError> {
    parse(format, text, &"f".into())
}

fn places(node: &Node, key: &str, found: &mut Vec<(String, usize, usize)>) {
    if let Origin::File { line, column, .. } = &node.origin {
        found.push((key.to_owned(), *line, *column));
    }
    for entry in node.as_map().unwrap_or_default() {
        places(&entry.node, &format!("{key}.{}", entry.key), found);
    }
    for (index, item) in node.as_list().unwrap_or_default().iter().enumerate() {
        places(item, &format!("{key}[{index}]"), found);
    }
}

#[test]
fn the_formats_mean_the_same() {
    let yaml = "a: {b: 1, c: [true, 'x', 1.5]}\nd: \"ü\\n\"\n";
    let toml = "a = {b = 1, c = [true, 'x', 1.5]}\nd = \"ü\\n\"\n";
    let json = "{\"a\": {\"b\": 1, \"c\": [true, \"x\", 1.5]},\n \"d\": \"\\u00fc\\n\"}";
    let meant = serde_json::json!({"a": {"b": 1, "c": [true, "x", 1.5]}, "d": "ü\n"});
    for (format, text) in FORMATS.into_iter().zip([yaml, toml, json]) {
        assert_eq!(read(format, text).unwrap().to_json(), meant, "{format:?}");
    }
}

#[test]
fn each_value_knows_its_place() {
    let texts = [
        "a:\n  b: 1\n  c: [ü, \"x\"]\n",
        "[a]\nb = 1\nc = ['ü', 'x']\n",
        "{\"a\": {\n \"b\": 1,\n \"c\": [\"ü\", \"x\"]}}\n",
    ];
    let expected = [
        [
            (".a.b", 2, 6),
            (".a.c", 3, 6),
            (".a.c[0]", 3, 7),
            (".a.c[1]", 3, 10),
        ],
        [
            (".a.b", 2, 5),
            (".a.c", 3, 5),
            (".a.c[0]", 3, 6),
            (".a.c[1]", 3, 11),
        ],
        [
            (".a.b", 2, 7),
            (".a.c", 3, 7),
            (".a.c[0]", 3, 8),
            (".a.c[1]", 3, 13),
        ],
    ];
    for ((format, text), expected) in FORMATS.into_iter().zip(texts).zip(expected) {
        let mut found = Vec::new();
        places(&read(format, text).unwrap(), "", &mut found);
        for (key, line, column) in expected {
            let place = (key.to_owned(), line, column);
            assert!(
                found.contains(&place),
                "{format:?}: {place:?} is not in {found:?}"
            );
        }
    }
}

#[test]
fn words_of_yaml_mean_what_version_1_2_says() {
    let table = [
        ("true", Value::Bool(true)),
        ("yes", Value::text("yes")),
        ("on", Value::text("on")),
        ("~", Value::Null),
        ("12", Value::Int(12)),
        ("-3", Value::Int(-3)),
        ("0x1F", Value::Int(31)),
        ("0o17", Value::Int(15)),
        ("1e3", Value::Float(1000.0)),
        ("1.5", Value::Float(1.5)),
        ("5s", Value::text("5s")),
        ("1.2.3", Value::text("1.2.3")),
        ("-", Value::text("-")),
        (".", Value::text(".")),
        ("12:30", Value::text("12:30")),
        ("'12'", Value::text("12")),
        ("!!str 12", Value::text("12")),
        (".inf", Value::text(".inf")),
    ];
    for (text, value) in table {
        let node = read(Format::Yaml, &format!("a: {text}\n"));
        // A lone dash begins a list, which cannot stand there.
        let Ok(node) = node else {
            assert_eq!(text, "-");
            continue;
        };
        assert_eq!(node.get("a").unwrap().value, value, "{text}");
    }
}

#[test]
fn anchors_are_understood() {
    let node = read(Format::Yaml, "a: &x {b: 1}\nc: *x\nd: [*x]\n").unwrap();
    let meant = serde_json::json!({"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}]});
    assert_eq!(node.to_json(), meant);
}

#[test]
fn bombs_are_refused() {
    let deep = 200_000;
    let texts = [
        (Format::Yaml, "[".repeat(deep)),
        (
            Format::Yaml,
            "a:\n".to_owned()
                + &(0..200)
                    .map(|n| " ".repeat(n + 1) + "a:\n")
                    .collect::<String>(),
        ),
        (Format::Yaml, "- ".repeat(deep)),
        (Format::Toml, format!("a = {}", "[".repeat(deep))),
        (Format::Toml, format!("{}a = 1", "a.".repeat(deep))),
        (Format::Json, "[".repeat(deep)),
        (Format::Json, format!("[{}1]", "1,".repeat(VALUES_MAX))),
        (Format::Json, "{\"a\":".repeat(100) + "1" + &"}".repeat(100)),
        (Format::Yaml, "a: &a [*a]".to_owned()),
    ];
    for (format, text) in texts {
        let head: String = text.chars().take(20).collect();
        assert!(read(format, &text).is_err(), "{format:?} {head}");
    }
}

/// What means something in one of the formats.
const MARKS: &[u8] = b"{}[]:,\"'\\\n#&*!|>%@`- \t0x~=.";

/// Beginnings of every fixture, and each fixture with one byte changed: an answer, whatever it is.
#[test]
fn no_text_makes_it_panic() {
    let mut tried = 0;
    for entry in std::fs::read_dir("tests/config").unwrap() {
        let path = entry.unwrap().path();
        let (Some(own), Ok(text)) = (Format::of(&path), std::fs::read_to_string(&path)) else {
            continue;
        };
        // A step without a common factor with the marks brings each of them to many places.
        for (at, _) in text.char_indices().step_by(7) {
            tried += usize::from(read(own, text.get(..at).unwrap()).is_ok());
            let mut bytes = text.clone().into_bytes();
            bytes[at] = *MARKS.iter().cycle().nth(at).unwrap();
            if let Ok(changed) = String::from_utf8(bytes) {
                for format in FORMATS {
                    tried += usize::from(read(format, &changed).is_ok());
                }
            }
        }
    }
    assert!(tried > 100, "{tried} texts were valid");
}
