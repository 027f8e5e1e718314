//! The known name that was probably meant.

/// Least likeness, 0–1, of a suggestion; below it people are better off with the list.
const LIKENESS_MIN: f64 = 0.8;

/// The candidate that is most like `name`, if any is. Case and word separators do not count: `retry_delay_ms` is
/// `retryDelayMs`.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = bare(name);
    let likeness = candidates.map(|candidate| {
        let likeness = strsim::jaro_winkler(&name, &bare(candidate));
        (likeness, candidate)
    });
    likeness
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

fn bare(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["maxRetries", "retryDelayMs", "required", "priority"];
        let table = [
            ("retry_delay_ms", Some("retryDelayMs")),
            ("maxRetry", Some("maxRetries")),
            ("requierd", Some("required")),
            ("MAX_RETRIES", Some("maxRetries")),
            ("colour", None),
        ];
        for (written, meant) in table {
            assert_eq!(nearest(written, known.into_iter()), meant, "{written}");
        }
    }
}
