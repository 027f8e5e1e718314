//! Durations as people write them: `250ms`, `30s`, `5m`, `1h`, `1m30s`.

use std::time::Duration;

/// Units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration. `0` needs no unit; everything else does.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(number_ends)?;
        let unit_ends = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_ends)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *millis)?)?;
        rest = after;
    }
    Some(total)
}

/// A number with at most three decimals of a unit, in whole milliseconds.
fn scaled(number: &str, unit_millis: u64) -> Option<Duration> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let thousandths = match decimals.len() {
        1 => decimals.parse::<u64>().ok()? * 100,
        2 => decimals.parse::<u64>().ok()? * 10,
        3 => decimals.parse::<u64>().ok()?,
        _ => return None,
    };
    let millis = whole.parse::<u64>().ok()?.checked_mul(unit_millis)?;
    let part = thousandths * unit_millis;
    if !part.is_multiple_of(1000) {
        return None;
    }
    Some(Duration::from_millis(millis.checked_add(part / 1000)?))
}

/// Writes a duration in the largest unit that needs no decimals.
pub(super) fn show(duration: Duration) -> String {
    let millis = crate::clock::millis(duration);
    if millis == 0 {
        return "0s".to_owned();
    }
    // Days read worse than hours.
    let units = UNITS.iter().skip(1);
    let mut exact = units.filter(|(_, unit)| millis.is_multiple_of(*unit));
    match exact.next() {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let table = [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("30s", 30_000, "30s"),
            ("1500ms", 1_500, "1500ms"),
            ("1.5s", 1_500, "1500ms"),
            ("5m", 300_000, "5m"),
            ("90s", 90_000, "90s"),
            ("1m30s", 90_000, "90s"),
            ("24h", 86_400_000, "24h"),
            ("1d", 86_400_000, "24h"),
        ];
        for (text, millis, shown) in table {
            let parsed = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(parsed, Duration::from_millis(millis), "{text}");
            assert_eq!(show(parsed), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5sec",
            "1.2345s",
            "0.1ms",
            "5s5",
            "١s",
            "1e3s",
            "ms5",
            "99999999999999999999s",
            "9999999999999999999d",
            "1..5s",
            ".5s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
