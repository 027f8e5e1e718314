//! How many connections there may be. Each is an open file, and Ollama's answers need some too: a crowd in front of the
//! page must not make the polls fail.

/// Connections at the same time where the system allows it: those that watch, and `OTHERS_MIN` more. Each idle one
/// costs about 10 kB. At the limit the longest idle connection makes room, so that a probe always gets in.
pub const CONNECTIONS_MAX: usize = SUBSCRIBERS_MAX + OTHERS_MIN;

/// Connections that watch `/api/events` at the same time: some screens for each of a large team.
pub const SUBSCRIBERS_MAX: usize = 1024;

/// Connections that no stream takes. Prometheus, a kubelet and some people need a dozen; the rest is reserve.
const OTHERS_MIN: usize = 512;

/// Open files for everything else: the connections to the servers, `/proc`, the log.
const FILES_RESERVED: usize = 256;

/// What a process may have open where nobody says: the soft limit that systemd and most shells give.
const FILES_USUAL: usize = 1024;

/// The limits of one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    pub(super) connections: usize,
    /// Those among them that may be streams.
    pub(super) subscribers: usize,
}

impl Limits {
    /// What the process's limit of open files allows.
    pub(super) fn of_this_process() -> Self {
        let files = std::fs::read_to_string("/proc/self/limits")
            .ok()
            .and_then(|text| open_files(&text))
            .unwrap_or(FILES_USUAL);
        Self::for_open_files(files)
    }

    fn for_open_files(files: usize) -> Self {
        let left = files.saturating_sub(FILES_RESERVED).max(files / 2);
        let connections = left.clamp(2, CONNECTIONS_MAX);
        Self {
            connections,
            subscribers: connections * SUBSCRIBERS_MAX / CONNECTIONS_MAX,
        }
    }
}

/// The soft limit in the text of `/proc/self/limits`; `None` where there is none or the text is another.
fn open_files(text: &str) -> Option<usize> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_of_open_files_leaves_room_for_the_servers() {
        let table = [
            (1 << 20, 1536, 1024),
            (2048, 1536, 1024),
            (1024, 768, 512),
            (256, 128, 85),
            (3, 2, 1),
            (0, 2, 1),
            (usize::MAX, 1536, 1024),
        ];
        for (files, connections, subscribers) in table {
            let expected = Limits {
                connections,
                subscribers,
            };
            assert_eq!(Limits::for_open_files(files), expected, "{files}");
        }
    }

    #[test]
    fn the_soft_limit_is_found() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(
            open_files(&text.replace("1024 ", "unlimited ")),
            Some(usize::MAX)
        );
        assert_eq!(open_files("Max open files\n"), None);
        assert_eq!(open_files("something else"), None);
    }
}
