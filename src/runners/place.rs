//! Where a server listens, as far as it can be this host: its own socket among all those of the network namespace.

use super::sockets::{Listener, Sockets};
use crate::engine::ServerId;
use crate::engine::sight::Hidden;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A server that may have its runners here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) server: ServerId,
    /// Where its socket may be, the likeliest first; empty = not on this host.
    addresses: Vec<IpAddr>,
    port: u16,
}

impl Place {
    /// The place of the server at `url`.
    pub(super) fn new(server: ServerId, url: &str) -> Self {
        let parsed = reqwest::Url::parse(url).ok();
        let host = parsed.as_ref().and_then(reqwest::Url::host_str);
        let port = parsed
            .as_ref()
            .and_then(reqwest::Url::port_or_known_default);
        Self {
            server,
            addresses: host.map(addresses).unwrap_or_default(),
            port: port.unwrap_or_default(),
        }
    }

    /// Whether its address is one of this host.
    pub(super) fn is_here(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// The server's own socket.
    pub(super) fn listener<'a>(&self, sockets: &'a Sockets) -> Result<&'a Listener, Hidden> {
        if !self.is_here() {
            return Err(Hidden::OtherHost);
        }
        let at = |ip: &IpAddr| {
            let same =
                |each: &&Listener| each.address.port() == self.port && each.address.ip() == *ip;
            sockets.listeners.iter().find(same)
        };
        self.addresses.iter().find_map(at).ok_or(Hidden::NoListener)
    }
}

/// The addresses under which a socket for a host name of this host can be listed.
fn addresses(host: &str) -> Vec<IpAddr> {
    const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    const OWN4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OWN6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.eq_ignore_ascii_case("localhost") {
        return vec![OWN4, ANY4, OWN6, ANY6];
    }
    match bare.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        // A socket for both families is listed under the unspecified IPv6 address.
        Ok(ip @ IpAddr::V4(v4)) if v4.is_loopback() => vec![ip, ANY4, ANY6],
        Ok(ip @ IpAddr::V6(v6)) if v6.is_loopback() => vec![ip, ANY6],
        Ok(_) | Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(addresses: &[&str]) -> Sockets {
        let listeners = addresses.iter().zip(1..).map(|(address, inode)| Listener {
            inode,
            address: address.parse().unwrap(),
            uid: 1,
        });
        Sockets {
            listeners: listeners.collect(),
            ..Sockets::default()
        }
    }

    fn found(url: &str, listening: &[&str]) -> Result<u64, Hidden> {
        let place = Place::new(ServerId(0), url);
        place.listener(&sockets(listening)).map(|each| each.inode)
    }

    #[test]
    fn the_socket_that_answers_at_the_address_is_the_servers() {
        let all = ["0.0.0.0:80", "127.0.0.1:11434", "[::1]:11434", "[::]:11435"];
        for (url, inode) in [
            ("http://localhost:11434", Ok(2)),
            ("http://LOCALHOST:11434/ollama/", Ok(2)),
            ("http://user:secret@127.0.0.1:11434", Ok(2)),
            ("http://[::1]:11434", Ok(3)),
            ("http://127.0.0.1:11435", Ok(4)),
            ("http://[::1]:11435", Ok(4)),
            ("http://localhost", Ok(1)),
            ("http://127.0.0.2:11434", Err(Hidden::NoListener)),
            ("http://127.0.0.1:9", Err(Hidden::NoListener)),
            ("http://ollama:11434", Err(Hidden::OtherHost)),
            ("http://10.0.0.7:11434", Err(Hidden::OtherHost)),
            ("https://ollama.example.com", Err(Hidden::OtherHost)),
            ("nonsense", Err(Hidden::OtherHost)),
        ] {
            assert_eq!(found(url, &all), inode, "{url}");
        }
    }
}
