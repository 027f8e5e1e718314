//! The same sockets from the kernel's socket diagnostics, as `ss` reads them.
//!
//! `/proc/net/tcp` walks the whole table of connections slowly, empty or not: 4 ms on a host with 24 GB of memory. This
//! takes 0.2 ms. Where a sandbox forbids it, `/proc` is read.

use super::sockets::{Link, Listener, Sockets, is_loopback};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TCP: u8 = 6;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// The states of a socket, as the kernel numbers them.
const ESTABLISHED: u8 = 1;
const LISTENING: u8 = 10;
/// Established, and all in which a connection can end.
const CONNECTED: u32 = 0b1001_0111_0010;

/// The kernel answers at once; this only keeps a surprise from stopping everything.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Read at a time, about 300 sockets.
const PIECE: usize = 32 << 10;

/// More sockets than can be read every second.
const SOCKETS_MAX: usize = 100_000;

/// Reads all sockets that matter, giving others their turn on the way.
pub(super) async fn read() -> io::Result<Sockets> {
    if !cfg!(target_os = "linux") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let domain = Domain::from(AF_NETLINK);
    let protocol = Protocol::from(NETLINK_SOCK_DIAG);
    let mut socket = Socket::new(domain, Type::from(3), Some(protocol))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut sockets = Sockets::default();
    let listening = 1 << LISTENING;
    dump(&mut socket, IPV4, listening | CONNECTED, &mut sockets).await?;
    // Runners listen on IPv4; only a server may listen on IPv6.
    match dump(&mut socket, IPV6, listening, &mut sockets).await {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    Ok(sockets)
}

async fn dump(socket: &mut Socket, family: u8, states: u32, into: &mut Sockets) -> io::Result<()> {
    socket.send(&request(family, states))?;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = socket.read(&mut buffer)?;
        if take(buffer.get(..read).unwrap_or_default(), into)? {
            return Ok(());
        }
        if read == 0 || into.lines > SOCKETS_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        tokio::task::yield_now().await;
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for every socket of a family in these states.
fn request(family: u8, states: u32) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let mut request = Vec::with_capacity(72);
    request.extend(LENGTH.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_AND_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family, TCP, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.extend([0; 48]);
    request
}

/// Takes in the messages of one read. Returns whether they were the last.
fn take(mut data: &[u8], into: &mut Sockets) -> io::Result<bool> {
    while let Some(length) = u32_at(data, 0) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (Some(message), Some(kind)) = (data.get(16..length), u16_at(data, 4)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(message, 0).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => take_socket(message, into),
        }
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct inet_diag_msg`; one that is cut off is ignored.
fn take_socket(message: &[u8], into: &mut Sockets) {
    into.lines += 1;
    let ends = || {
        let local = SocketAddr::new(ip_at(message, 8)?, port_at(message, 4)?);
        let peer = SocketAddr::new(ip_at(message, 24)?, port_at(message, 6)?);
        Some((local, peer))
    };
    let (Some(state), Some((local, peer))) = (message.get(1), ends()) else {
        return;
    };
    if *state == LISTENING {
        if let (Some(uid), Some(inode)) = (u32_at(message, 64), u32_at(message, 68)) {
            into.listeners.push(Listener {
                inode: inode.into(),
                address: local,
                uid,
            });
        }
    } else if is_loopback(local.ip()) && is_loopback(peer.ip()) {
        into.links.push(Link {
            local: local.port(),
            peer: peer.port(),
            open: *state == ESTABLISHED,
        });
    }
}

fn bytes_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    bytes_at(data, at).map(u32::from_ne_bytes)
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    bytes_at(data, at).map(u16::from_ne_bytes)
}

fn port_at(data: &[u8], at: usize) -> Option<u16> {
    bytes_at(data, at).map(u16::from_be_bytes)
}

fn ip_at(message: &[u8], at: usize) -> Option<IpAddr> {
    if message.first() == Some(&IPV6) {
        let ip = IpAddr::V6(Ipv6Addr::from(bytes_at::<16>(message, at)?));
        return Some(ip.to_canonical());
    }
    bytes_at::<4>(message, at).map(|ip| IpAddr::V4(Ipv4Addr::from(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    /// The kernel's two ways of telling the same must agree, on sockets of this test.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_tells_the_same_as_proc() {
        let v4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let from = client.local_addr().unwrap().port();
        let (_server, _) = v4.accept().await.unwrap();
        let v6 = TcpListener::bind("[::1]:0").await.ok();
        let ports = [
            Some(port),
            v6.and_then(|each| Some(each.local_addr().ok()?.port())),
        ];
        let ours = |mut sockets: Sockets| {
            sockets
                .listeners
                .retain(|each| ports.contains(&Some(each.address.port())));
            sockets
                .links
                .retain(|each| [each.local, each.peer].contains(&port));
            sockets.links.sort_by_key(|each| (each.local, each.peer));
            (sockets.listeners, sockets.links)
        };
        let Ok(told) = read().await else {
            eprintln!(
                "NOTICE: this sandbox forbids socket diagnostics; /proc is read, and this was not tested"
            );
            return;
        };
        let told = ours(told);
        assert_eq!(told.1.len(), 2, "{told:?}");
        assert!(told.1.iter().all(|each| each.open));
        assert!(told.1.iter().any(|each| each.local == from));
        let proc = Sockets::read(std::path::Path::new("/proc")).await.unwrap();
        assert_eq!(told, ours(proc));
    }

    #[test]
    fn messages_that_are_none_end_the_reading() {
        let mut sockets = Sockets::default();
        let message = |length: u32, kind: u16, body: &[u8]| {
            let mut message = length.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(body);
            message
        };
        assert!(take(&message(16, NLMSG_DONE, &[]), &mut sockets).unwrap());
        assert!(!take(&[], &mut sockets).unwrap());
        for length in [0, 15, 17, u32::MAX] {
            let read = take(&message(length, SOCK_DIAG_BY_FAMILY, &[]), &mut sockets);
            assert_eq!(
                read.unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{length}"
            );
        }
        let refused = take(
            &message(20, NLMSG_ERROR, &(-2_i32).to_ne_bytes()),
            &mut sockets,
        );
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
        let cut_off = message(20, SOCK_DIAG_BY_FAMILY, &[IPV4, LISTENING, 0, 0]);
        assert!(!take(&cut_off, &mut sockets).unwrap());
        assert!(sockets.listeners.is_empty() && sockets.links.is_empty());
    }
}
