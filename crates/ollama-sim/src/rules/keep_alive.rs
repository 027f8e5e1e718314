//! `keep_alive`: how a request's value becomes a duration, with Go's rules and texts.

use serde_json::Value;

/// For ever: 292 years, so that `expires_at` is in 2319.
pub const FOREVER: i64 = i64::MAX;

const SECOND: f64 = 1e9;

/// The nanoseconds a request asks for; `None` = it says nothing.
///
/// A number that is too large becomes negative, as on the real server, and so means: unload at once.
pub(crate) fn parse(value: Option<&Value>) -> Result<Option<i64>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(seconds(number.as_f64().unwrap_or_default()))),
        Some(Value::String(text)) => {
            let nanos = duration(text)?;
            Ok(Some(if nanos < 0 { FOREVER } else { nanos }))
        }
        Some(Value::Bool(_)) => Err("Unsupported type: 'bool'".into()),
        Some(Value::Array(_)) => Err("Unsupported type: '[]interface {}'".into()),
        Some(Value::Object(_)) => Err("Unsupported type: 'map[string]interface {}'".into()),
    }
}

/// `OLLAMA_KEEP_ALIVE`: a duration or whole seconds; negative is for ever.
pub fn environment(text: &str) -> Option<i64> {
    let nanos = match text.parse::<i64>() {
        Ok(number) => number.checked_mul(1_000_000_000)?,
        Err(_) => duration(text).ok()?,
    };
    Some(if nanos < 0 { FOREVER } else { nanos })
}

fn seconds(number: f64) -> i64 {
    /// 2^63 as a float: the first value that an `i64` cannot hold.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let nanos = number * SECOND;
    if number < 0.0 {
        FOREVER
    } else if nanos >= LIMIT {
        i64::MIN
    } else {
        to_i64(nanos)
    }
}

/// Saturates, and drops the fraction: Go's conversion inside the range.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn to_i64(number: f64) -> i64 {
    number as i64
}

/// Go's `time.ParseDuration`.
fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some(nanos) = unit_nanos(unit) else {
            return Err(format!(
                "time: unknown unit {} in duration {}",
                quote(unit),
                quote(text)
            ));
        };
        // A trailing or leading point is fine in Go, and in Rust's floats too.
        total += number.parse::<f64>().map_err(|_| invalid())? * nanos;
        rest = after;
    }
    if total > 9.223_372_036_854_775e18 {
        return Err(invalid());
    }
    let nanos = to_i64(total);
    Ok(if negative { -nanos } else { nanos })
}

fn split(text: &str, take: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !take(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn unit_nanos(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

fn quote(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_mean_what_they_mean_to_ollama() {
        for (value, nanos) in [
            (json!(null), None),
            (json!(0), Some(0)),
            (json!(0.5), Some(500_000_000)),
            (json!(-1), Some(FOREVER)),
            (json!(9_000_000_000_u64), Some(9_000_000_000_000_000_000)),
            (json!(9_223_372_037_u64), Some(i64::MIN)),
            (json!("10m"), Some(600_000_000_000)),
            (json!("1h1.5s"), Some(3_601_500_000_000)),
            (json!("-1m"), Some(FOREVER)),
            (json!("0"), Some(0)),
        ] {
            assert_eq!(parse(Some(&value)), Ok(nanos), "{value}");
        }
    }

    #[test]
    fn bad_values_are_refused_with_gos_words() {
        for (value, text) in [
            (json!("-1"), "time: missing unit in duration \"-1\""),
            (json!("1d"), "time: unknown unit \"d\" in duration \"1d\""),
            (json!(""), "time: invalid duration \"\""),
            (json!("abc"), "time: invalid duration \"abc\""),
            (json!("2562048h"), "time: invalid duration \"2562048h\""),
            (json!(true), "Unsupported type: 'bool'"),
        ] {
            assert_eq!(parse(Some(&value)), Err(text.to_owned()), "{value}");
        }
    }

    #[test]
    fn the_environment_takes_plain_seconds() {
        assert_eq!(environment("-1"), Some(FOREVER));
        assert_eq!(environment("300"), Some(300_000_000_000));
        assert_eq!(environment("24h"), Some(86_400_000_000_000));
        assert_eq!(environment("soon"), None);
    }
}
