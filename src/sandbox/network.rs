//! The network of a build that has none: a loopback interface, and an ear for what is asked of a name server there.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::sys;
use super::witness::{Record, Refusal, lock};

/// Where a program wanted to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// An address of the Internet, and a port.
    Address(IpAddr, u16),
    /// It could not be learnt.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address, 53) => write!(f, "{address} port 53, a name server"),
            Peer::Address(address, port) => write!(f, "{address} port {port}"),
            Peer::Unknown => f.write_str("the network"),
        }
    }
}

impl Peer {
    /// Where a socket address leads, if to another machine.
    ///
    /// Spec: `sockaddr_in` and `sockaddr_in6` of `ip(7)` and `ipv6(7)`.
    pub(super) fn remote(address: &[u8]) -> Option<Self> {
        let (family, rest) = address.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let ip: IpAddr = match i32::from(u16::from_ne_bytes(*family)) {
            libc::AF_INET => Ipv4Addr::from(*rest.first_chunk::<4>()?).into(),
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?);
                ip.to_canonical()
            }
            _ => return None,
        };
        let here = ip.is_loopback() || ip.is_unspecified();
        (!here).then_some(Peer::Address(ip, u16::from_be_bytes(*port)))
    }
}

/// Raises the loopback interface of a new network namespace: programs of a build may talk to each other.
pub(super) fn raise_loopback() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    sys::raise_interface(&socket.into(), c"lo")
}

/// What tells programs to ask for names where [`hear_names`] hears them.
pub(super) const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions attempts:1\n";

/// Takes the place of the name server: fails every question, and remembers the name.
pub(super) fn hear_names(record: Record) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?;
    let answer = move || {
        let mut question = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut question) {
            let Some((name, answer)) = fail(&question[..len]) else {
                continue;
            };
            lock(&record).refused(Refusal::Name(name));
            // Who asked may be gone.
            let _ = socket.send_to(&answer, from);
        }
    };
    std::thread::Builder::new()
        .name("names".to_owned())
        .spawn(answer)?;
    Ok(())
}

/// The name that a question is about, and the answer that the server failed.
///
/// Spec: RFC 1035, 4.1.
fn fail(question: &[u8]) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    const RESPONSE: u8 = 0x80;
    const SERVER_FAILURE: u8 = 2;
    let mut labels = Vec::new();
    let mut rest = question.get(HEADER..)?;
    while let Some((len, after)) = rest.split_first().filter(|(len, _)| **len != 0) {
        let (label, after) = after.split_at_checked(usize::from(*len))?;
        labels.push(label.escape_ascii().to_string());
        rest = after;
    }
    // The root's empty label, a type and a class end a question.
    let end = question.len() - rest.len() + 5;
    let mut answer = question.get(..end)?.to_vec();
    answer[2] = answer[2] & 0x7f | RESPONSE;
    answer[3] = SERVER_FAILURE;
    // One question, no records.
    answer[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    (!labels.is_empty()).then(|| (labels.join("."), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_machines_are_remote() {
        let v4 = |ip: [u8; 4]| [&2_u16.to_ne_bytes()[..], &443_u16.to_be_bytes(), &ip, &[0; 8]].concat();
        let v6 = |ip: Ipv6Addr| {
            [
                &10_u16.to_ne_bytes()[..],
                &80_u16.to_be_bytes(),
                &[0; 4],
                &ip.octets(),
                &[0; 4],
            ]
            .concat()
        };
        let shown = |address: Vec<u8>| Peer::remote(&address).map(|peer| peer.to_string());
        assert_eq!(shown(v4([192, 0, 2, 1])).as_deref(), Some("192.0.2.1 port 443"));
        assert_eq!(
            shown(v6("2001:db8::1".parse().unwrap())).as_deref(),
            Some("2001:db8::1 port 80")
        );
        assert_eq!(
            shown(v6("::ffff:192.0.2.1".parse().unwrap())).as_deref(),
            Some("192.0.2.1 port 80")
        );
        for here in [v4([127, 0, 0, 53]), v4([0; 4]), v6(Ipv6Addr::LOCALHOST)] {
            assert_eq!(shown(here), None);
        }
        assert_eq!(shown([&1_u16.to_ne_bytes()[..], b"/run/x"].concat()), None);
        assert_eq!(shown(v4([192, 0, 2, 1])[..5].to_vec()), None);
    }

    #[test]
    fn questions_are_failed_by_name() {
        let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03deb\x07example\x03org\x00\x00\x01\x00\x01rest";
        let (name, answer) = fail(question).unwrap();
        assert_eq!(name, "deb.example.org");
        assert_eq!(
            answer,
            b"\x12\x34\x81\x02\x00\x01\x00\x00\x00\x00\x00\x00\x03deb\x07example\x03org\x00\x00\x01\x00\x01"
        );
        for short in 0..question.len() - 4 {
            assert!(fail(&question[..short]).is_none(), "{short}");
        }
    }
}
