//! The TCP sockets of this network namespace, as `/proc/net/tcp` and `/proc/net/tcp6` tell them to anybody.

use crate::engine::sight::Hidden;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

/// Read at a time: the kernel fills it within a millisecond, then others have their turn.
const CHUNK: usize = 32 << 10;

/// Most that is read of one file, about 100 000 sockets. A host with more is no place to read them every second.
const BYTES_MAX: u64 = 16 << 20;

/// The states of a socket, as the kernel numbers them.
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

/// The ports that Ollama takes for its runners where the kernel does not tell: all that need no privilege.
const ANY_PORT: RangeInclusive<u16> = 1024..=u16::MAX;

/// A socket that listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listener {
    pub(super) inode: u64,
    pub(super) address: SocketAddr,
    pub(super) uid: u32,
}

/// One end of a connection between two ports of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) local: u16,
    pub(super) peer: u16,
    /// It is open; otherwise it has ended within the last minute.
    pub(super) open: bool,
}

/// All sockets that matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sockets {
    pub(super) listeners: Vec<Listener>,
    pub(super) links: Vec<Link>,
    /// Lines read: what reading them costs.
    pub(super) lines: usize,
}

impl Sockets {
    /// Reads them all from the folder `proc`, giving others their turn on the way.
    pub(super) async fn read(proc: &Path) -> Result<Self, Hidden> {
        let mut sockets = Self::default();
        read_file(&proc.join("net/tcp"), &mut sockets).await?;
        match read_file(&proc.join("net/tcp6"), &mut sockets).await {
            // A kernel without IPv6 has no such file.
            Ok(()) | Err(Hidden::NoProc) => Ok(sockets),
            Err(other) => Err(other),
        }
    }

    /// Takes in one line of the file; a line that is none is ignored.
    fn take(&mut self, line: &str) {
        self.lines += 1;
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(peer), Some(state)) = (fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let Some(local) = address(local) else { return };
        if state == LISTENING {
            let uid = fields.nth(3).and_then(|uid| uid.parse().ok());
            let inode = fields.nth(1).and_then(|inode| inode.parse().ok());
            if let (Some(uid), Some(inode)) = (uid, inode) {
                self.listeners.push(Listener {
                    inode,
                    address: local,
                    uid,
                });
            }
        } else if is_loopback(local.ip())
            && let Some(peer) = address(peer)
            && is_loopback(peer.ip())
        {
            self.links.push(Link {
                local: local.port(),
                peer: peer.port(),
                open: state == ESTABLISHED,
            });
        }
    }
}

async fn read_file(path: &Path, sockets: &mut Sockets) -> Result<(), Hidden> {
    let mut file = File::open(path).map_err(|_| Hidden::NoProc)?;
    let mut buffer = Vec::with_capacity(CHUNK);
    let mut total = 0;
    loop {
        let kept = buffer.len();
        let limit = u64::try_from(CHUNK.saturating_sub(kept)).unwrap_or_default();
        let read = (&mut file)
            .take(limit)
            .read_to_end(&mut buffer)
            .map_err(|_| Hidden::NoProc)?;
        total += u64::try_from(read).unwrap_or(u64::MAX);
        if total > BYTES_MAX {
            return Err(Hidden::TooManySockets);
        }
        let text = String::from_utf8_lossy(&buffer);
        // What follows the last line break is the beginning of the next chunk's first line.
        let whole = if read == 0 {
            text.len()
        } else {
            text.rfind('\n').map_or(0, |end| end + 1)
        };
        for line in text.get(..whole).unwrap_or_default().lines() {
            sockets.take(line);
        }
        let rest = text.get(whole..).unwrap_or_default().as_bytes().to_vec();
        if read == 0 || rest.len() >= CHUNK {
            return Ok(());
        }
        buffer = rest;
        tokio::task::yield_now().await;
    }
}

/// An address such as `0100007F:8D5F`: the bytes of each word in the order of this machine, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = ip.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let mut octets = [0; 16];
            for (to, from) in octets.iter_mut().zip(words.into_iter().flatten()) {
                *to = from;
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    // A connection of a socket for both families shows its IPv4 address inside an IPv6 one.
    Some(SocketAddr::new(ip.to_canonical(), port))
}

pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The ports that the kernel hands out in this network namespace: Ollama takes one of them for each runner.
pub(super) fn local_ports(proc: &Path) -> RangeInclusive<u16> {
    let text = std::fs::read_to_string(proc.join("sys/net/ipv4/ip_local_port_range"));
    let range = text.ok().and_then(|text| {
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(last))) if first <= last => Some(first..=last),
            _ => None,
        }
    });
    range.unwrap_or(ANY_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    /// As a real kernel wrote it: Ollama, a runner with one client, an idle pooled connection, an ended one, sshd.
    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:8D5F 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 18151 1 0000000000000000 100 0 0 10 0
   1: 0100007F:A24B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 18177 1 0000000000000000 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11111 1 0000000000000000 100 0 0 10 0
   3: 0100007F:A24B 0100007F:DA88 01 00000000:00000000 00:00000000 00000000   998        0 18200 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:DA88 0100007F:A24B 01 00000000:00000000 00:00000000 00000000   998        0 18201 1 0000000000000000 20 4 30 10 -1
   5: 0100007F:DA94 0100007F:A24B 08 00000000:00000001 00:00000000 00000000   998        0 18199 1 0000000000000000 20 4 30 10 -1
   6: 0100007F:A24B 0100007F:DACC 06 00000000:00000000 03:00000F00 00000000     0        0 0 3 0000000000000000
   7: 0A00020F:0016 0202000A:C001 01 00000000:00000000 02:00000000 00000000     0        0 19000 2 0000000000000000 20 4 30 10 -1
";

    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:2CAA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 20001 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:9C40 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 20002 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:2CAA 0000000000000000FFFF00000100007F:C350 01 00000000:00000000 00:00000000 00000000   997        0 20003 1 0000000000000000 20 4 30 10 -1
";

    fn folder(tcp: &str, tcp6: Option<&str>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("net")).unwrap();
        std::fs::write(folder.path().join("net/tcp"), tcp).unwrap();
        if let Some(tcp6) = tcp6 {
            std::fs::write(folder.path().join("net/tcp6"), tcp6).unwrap();
        }
        folder
    }

    #[cfg(target_endian = "little")]
    #[tokio::test]
    async fn listeners_and_loopback_connections_are_found() {
        let folder = folder(TCP, Some(TCP6));
        let sockets = Sockets::read(folder.path()).await.unwrap();
        let seen: Vec<_> = sockets
            .listeners
            .iter()
            .map(|each| (each.inode, each.address.to_string(), each.uid))
            .collect();
        let wanted = [
            (18151, "127.0.0.1:36191", 998),
            (18177, "127.0.0.1:41547", 998),
            (11111, "0.0.0.0:22", 0),
            (20001, "[::]:11434", 997),
            (20002, "[::1]:40000", 997),
        ];
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(inode, address, uid)| (*inode, (*address).to_owned(), *uid))
            .collect();
        assert_eq!(seen, wanted);
        let link = |local, peer, open| Link { local, peer, open };
        let links = [
            link(41547, 55944, true),
            link(55944, 41547, true),
            link(55956, 41547, false),
            link(41547, 56012, false),
            link(11434, 50000, true),
        ];
        assert_eq!(sockets.links, links);
    }

    #[tokio::test]
    async fn a_missing_file_is_a_reason_and_ipv6_may_be_missing() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Sockets::read(empty.path()).await, Err(Hidden::NoProc));
        assert!(Sockets::read(folder(TCP, None).path()).await.is_ok());
    }

    #[tokio::test]
    async fn garbage_is_no_socket() {
        let long = "x".repeat(3 * CHUNK);
        for text in [
            "",
            "\n\n",
            "a b c\n",
            "1: zz:zz 00:00 0A\n",
            "1: ÄÄÄÄ:0000 0:0 0A 0 0 0 1 0 2",
            &long,
        ] {
            let sockets = Sockets::read(folder(text, Some(text)).path()).await;
            let sockets = sockets.unwrap();
            assert!(
                sockets.listeners.is_empty() && sockets.links.is_empty(),
                "{text:.20}"
            );
        }
    }

    #[tokio::test]
    async fn lines_across_chunks_are_read_whole_and_the_size_is_limited() {
        let mut text = String::from("  sl  local_address\n");
        for inode in 0..2000 {
            let port = 1000 + inode;
            writeln!(
                text,
                "{inode:4}: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0000000000000000 100 0 0 10 0"
            )
            .unwrap();
        }
        let sockets = Sockets::read(folder(&text, None).path()).await.unwrap();
        let inodes: Vec<_> = sockets.listeners.iter().map(|each| each.inode).collect();
        assert_eq!(inodes, (0..2000).collect::<Vec<_>>());
        let too_much = text.repeat(100);
        let read = Sockets::read(folder(&too_much, None).path()).await;
        assert_eq!(read, Err(Hidden::TooManySockets));
    }

    #[test]
    fn the_port_range_is_read_or_assumed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(local_ports(folder.path()), ANY_PORT);
        let ipv4 = folder.path().join("sys/net/ipv4");
        std::fs::create_dir_all(&ipv4).unwrap();
        for (text, range) in [
            ("32768\t60999\n", 32768..=60999),
            ("5 4", ANY_PORT),
            ("junk", ANY_PORT),
        ] {
            std::fs::write(ipv4.join("ip_local_port_range"), text).unwrap();
            assert_eq!(local_ports(folder.path()), range);
        }
    }
}
