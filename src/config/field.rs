//! How one value is read and shown: its type, its limits, and the rule in words.

use super::duration;
use super::node::{Node, Origin, Value};
use crate::engine::spec::{
    DriftPolicy, PullPolicy, ReadinessPolicy, ReadinessScope, Verify, WarmupReadiness,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The historic variables whose plain numbers are milliseconds.
pub(super) const MILLISECOND_VARIABLES: [&str; 2] =
    ["MODEL_PRELOAD_TIMEOUT", "HEALTH_CHECK_INTERVAL"];

/// What a key accepts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Accepts {
    /// `true` or `false`.
    Bool,
    /// A duration with its unit.
    Duration { min: Duration, max: Duration },
    /// A number of milliseconds, or a duration.
    Millis { min: Duration, max: Duration },
    /// A whole number.
    Whole { min: i64, max: i64 },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text of so many bytes at most.
    Text { max: usize },
    /// An address and a port to listen on.
    Listen,
    /// A readiness policy.
    Policy,
    /// Something with a shape of its own, checked where it is used; what it is, in words.
    Own(&'static str),
}

/// Why a value does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Misfit {
    pub(super) rule: String,
    pub(super) hint: Option<String>,
}

impl Misfit {
    pub(super) fn new(rule: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Accepts {
    /// What must hold, in words.
    pub(super) fn rule(&self) -> String {
        match self {
            Self::Bool => "must be `true` or `false`".to_owned(),
            Self::Duration { min, max } => format!(
                "must be a duration from {} to {}",
                duration::show(*min),
                duration::show(*max)
            ),
            Self::Millis { min, max } => format!(
                "must be a number of milliseconds from {} to {}",
                min.as_millis(),
                max.as_millis()
            ),
            Self::Whole { min, max } => format!("must be a whole number from {min} to {max}"),
            Self::Word(words) => format!("must be {}", either(words)),
            Self::Text { max } => format!("must be a text of 1 to {max} bytes"),
            Self::Listen => "must be an address and a port".to_owned(),
            Self::Policy => "must be `all`, `any`, `none` or `quorum: N`".to_owned(),
            Self::Own(what) => format!("must be {what}"),
        }
    }

    fn misfit(&self) -> Misfit {
        Misfit::new(self.rule())
    }
}

fn either(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => quoted.join(""),
    }
}

/// A type that a key can have.
pub(super) trait Field: Sized {
    /// Reads it.
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit>;
    /// Shows it as it could be written.
    fn show(&self, accepts: &Accepts) -> Value;
}

impl Field for bool {
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
        // The engine's yes can be a word for people: the first means yes.
        if let Accepts::Word(words) = accepts {
            let word = word(node, words)?;
            return Ok(words.first() == Some(&word));
        }
        match (&node.value, node.origin.is_plain_text()) {
            (Value::Bool(yes), _) => Ok(*yes),
            (Value::Text(text), true) if text.eq_ignore_ascii_case("true") => Ok(true),
            (Value::Text(text), true) if text.eq_ignore_ascii_case("false") => Ok(false),
            (Value::Text(text), true) if &**text == "1" => Ok(true),
            (Value::Text(text), true) if &**text == "0" => Ok(false),
            _ => Err(accepts.misfit()),
        }
    }

    fn show(&self, accepts: &Accepts) -> Value {
        if let Accepts::Word([yes, no]) = accepts {
            Value::text(if *self { yes } else { no })
        } else {
            Value::Bool(*self)
        }
    }
}

impl Field for Duration {
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
        let (Accepts::Duration { min, max } | Accepts::Millis { min, max }) = accepts else {
            return Err(accepts.misfit());
        };
        let plain_millis =
            matches!(accepts, Accepts::Millis { .. }) || is_millisecond_variable(&node.origin);
        let millis = whole(node).and_then(|number| u64::try_from(number).ok());
        let read = match (&node.value, millis) {
            (_, Some(millis)) if plain_millis || millis == 0 => Some(Self::from_millis(millis)),
            (_, Some(millis)) => {
                let hint = format!("give the unit: `{millis}ms` or `{millis}s`");
                return Err(accepts.misfit().hint(hint));
            }
            (Value::Text(text), None) => duration::parse(text),
            _ => None,
        };
        match read {
            Some(read) if (min..=max).contains(&&read) => Ok(read),
            Some(_) => Err(accepts.misfit()),
            None => Err(accepts
                .misfit()
                .hint("write it like `500ms`, `30s`, `5m` or `1h`")),
        }
    }

    fn show(&self, accepts: &Accepts) -> Value {
        if let Accepts::Millis { .. } = accepts {
            Value::Int(i64::try_from(self.as_millis()).unwrap_or(i64::MAX))
        } else {
            Value::text(duration::show(*self))
        }
    }
}

fn is_millisecond_variable(origin: &Origin) -> bool {
    matches!(origin, Origin::Variable(name) if MILLISECOND_VARIABLES.contains(&&**name))
}

/// A whole number, also one that a variable or a flag can only give as text.
pub(super) fn whole(node: &Node) -> Option<i64> {
    if let Value::Int(number) = &node.value {
        return Some(*number);
    }
    let text = node.as_text().filter(|_| node.origin.is_plain_text())?;
    text.parse().ok()
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
                let Accepts::Whole { min, max } = accepts else {
                    return Err(accepts.misfit());
                };
                let number = whole(node).filter(|number| (min..=max).contains(&number));
                let number = number.and_then(|number| Self::try_from(number).ok());
                number.ok_or_else(|| {
                    let quoted = node.as_text().and_then(|text| text.parse::<i64>().ok());
                    match quoted {
                        Some(_) if !node.origin.is_plain_text() => {
                            accepts.misfit().hint("write it without quotes")
                        }
                        _ => accepts.misfit(),
                    }
                })
            }

            fn show(&self, _accepts: &Accepts) -> Value {
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )*};
}

whole_numbers!(u8, u32, i32, usize);

impl Field for Arc<str> {
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
        let Accepts::Text { max } = accepts else {
            return Err(accepts.misfit());
        };
        if matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_)) {
            return Err(accepts.misfit().hint("write it in quotes"));
        }
        let fits = |text: &&Self| !text.trim().is_empty() && text.len() <= *max;
        let text = node.as_text().filter(fits);
        text.cloned().ok_or_else(|| accepts.misfit())
    }

    fn show(&self, _accepts: &Accepts) -> Value {
        Value::Text(Arc::clone(self))
    }
}

impl Field for SocketAddr {
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
        let number = whole(node).map(|port| port.to_string().into());
        let text = node.as_text().cloned().or(number);
        let text: Arc<str> = text.ok_or_else(|| accepts.misfit())?;
        text.parse().map_err(|_| {
            let port = text.trim_start_matches(':').parse::<u16>();
            accepts.misfit().hint(match port {
                Ok(port) => {
                    format!("write `0.0.0.0:{port}`, or `127.0.0.1:{port}` for this host only")
                }
                Err(_) => "write it like `0.0.0.0:11490` or `[::]:11490`".to_owned(),
            })
        })
    }

    fn show(&self, _accepts: &Accepts) -> Value {
        Value::text(self.to_string())
    }
}

impl Field for ReadinessPolicy {
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
        if let Some(quorum) = node.get("quorum")
            && node.as_map().is_some_and(|entries| entries.len() == 1)
        {
            let number = whole(quorum).and_then(|number| usize::try_from(number).ok());
            return number
                .filter(|number| *number > 0)
                .map(Self::Quorum)
                .ok_or_else(|| accepts.misfit().hint("a quorum is at least 1"));
        }
        let text = node.as_text().ok_or_else(|| accepts.misfit())?;
        match &**text {
            "all" => Ok(Self::All),
            "any" => Ok(Self::Any),
            "none" => Ok(Self::None),
            other => {
                let number = other.strip_prefix("quorum").map(|rest| {
                    let rest = rest.trim_start().strip_prefix(':').unwrap_or(rest);
                    rest.trim().parse::<usize>()
                });
                match number {
                    Some(Ok(number)) if number > 0 => Ok(Self::Quorum(number)),
                    _ => Err(accepts.misfit()),
                }
            }
        }
    }

    fn show(&self, _accepts: &Accepts) -> Value {
        match self {
            Self::All => Value::text("all"),
            Self::Any => Value::text("any"),
            Self::Quorum(number) => Value::text(format!("quorum: {number}")),
            Self::None => Value::text("none"),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn read(node: &Node, accepts: &Accepts) -> Result<Self, Misfit> {
        T::read(node, accepts).map(Some)
    }

    fn show(&self, accepts: &Accepts) -> Value {
        match self {
            Some(value) => value.show(accepts),
            None => Value::Null,
        }
    }
}

/// A part with a shape of its own is kept as it was written.
impl Field for Node {
    fn read(node: &Node, _accepts: &Accepts) -> Result<Self, Misfit> {
        Ok(node.clone())
    }

    fn show(&self, _accepts: &Accepts) -> Value {
        self.value.clone()
    }
}

/// One of the words, with a hint at the nearest.
fn word<'a>(node: &Node, words: &[&'a str]) -> Result<&'a str, Misfit> {
    let misfit = || Misfit::new(format!("must be {}", either(words)));
    let Some(text) = node.as_text() else {
        return Err(misfit());
    };
    if let Some(found) = words.iter().find(|word| **word == &**text) {
        return Ok(found);
    }
    Err(match super::nearest::nearest(text, words.iter().copied()) {
        Some(near) => misfit().hint(format!("did you mean `{near}`?")),
        None => misfit(),
    })
}

macro_rules! words {
    ($($type:ident { $($word:literal => $variant:ident),* })*) => {$(
        impl $type {
            /// The words of the configuration for it.
            pub(super) const WORDS: &'static [&'static str] = &[$($word),*];
        }

        impl Field for $type {
            fn read(node: &Node, _accepts: &Accepts) -> Result<Self, Misfit> {
                match word(node, Self::WORDS)? {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Misfit::new("must be one of the known words")),
                }
            }

            fn show(&self, _accepts: &Accepts) -> Value {
                Value::text(match self {
                    $(Self::$variant => $word,)*
                })
            }
        }
    )*};
}

use super::settings::LogFormat;

words! {
    Verify { "load" => Load, "token" => Token, "prompt" => Prompt }
    PullPolicy { "never" => Never, "ifMissing" => IfMissing, "always" => Always }
    DriftPolicy { "report" => Report, "enforce" => Enforce }
    ReadinessScope { "continuous" => Continuous, "startup" => Startup }
    WarmupReadiness { "require" => Require, "background" => Background }
    LogFormat { "text" => Text, "json" => Json }
}
