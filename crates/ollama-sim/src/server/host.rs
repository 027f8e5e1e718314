//! The check of the `Host` header that Ollama makes when it listens on loopback only.

use std::net::IpAddr;

/// Ends of names that mean this machine or this network.
const LOCAL: [&str; 3] = [".localhost", ".local", ".internal"];

/// Whether a request with this `Host` is answered.
pub(super) fn is_local(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = match bracketed {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local(),
        };
    }
    let name = name.to_ascii_lowercase();
    name.is_empty() || name == "localhost" || LOCAL.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn foreign_hosts_are_told_from_local_ones() {
        for host in [
            "localhost:11434",
            "127.0.0.1:1",
            "[::1]:2",
            "10.0.0.3",
            "a.internal",
            "",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "example.com",
            "ollama:11434",
            "8.8.8.8",
            "localhost.example.com",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
