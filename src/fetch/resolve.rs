//! Names of hosts → addresses, without the system's resolver, which a static binary cannot load.
//!
//! Spec: RFC 1035 for the messages, which the crate `simple-dns` reads and writes; hosts(5) and resolv.conf(5) for the
//! files. In order: a literal address, `localhost`, `/etc/hosts`, then the name servers in turn, over UDP, and over TCP
//! where an answer is too long for that. Other sources of nsswitch.conf(5) are not asked; `systemd-resolved` answers as
//! the name server that it is.
//!
//! Addresses that this machine has no route to come last.

mod config;
mod exchange;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ureq::config::Config as ClientConfig;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

pub use config::Servers;
pub(crate) use config::in_hosts;
use exchange::Answer;
pub(crate) use exchange::answer;

/// The most addresses that the client takes.
const MAX: usize = 16;

/// The longest that a name may take, whatever resolv.conf says.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name.
    #[error("no host is named {0}")]
    Unknown(String),
    /// There is, without an address.
    #[error("host {0} has no address")]
    NoAddress(String),
    /// It is no name.
    #[error("'{0}' is no name of a host")]
    NoName(String),
    /// No name server said.
    #[error("cannot look up {name}: {last}")]
    Unanswered {
        /// The name.
        name: String,
        /// What the last server did, and which it was.
        last: String,
    },
}

impl ResolveError {
    /// Whether asking again may help.
    pub(super) fn passes(&self) -> bool {
        matches!(self, ResolveError::Unanswered { .. })
    }
}

/// The resolver of a machine, or of a tree.
#[derive(Clone, Debug)]
pub struct Names {
    etc: PathBuf,
}

impl Names {
    /// That of the files in `/etc`.
    pub fn of_system() -> Self {
        Self { etc: "/etc".into() }
    }

    /// That of the files in another directory.
    pub fn of(etc: PathBuf) -> Self {
        Self { etc }
    }

    /// The addresses of a host, those first that can be reached.
    pub fn lookup(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse() {
            return Ok(vec![address]);
        }
        let read = |name| std::fs::read(self.etc.join(name)).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let mut found = config::in_hosts(&text(read("hosts")), host);
        if found.is_empty() && is_localhost(host) {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        if found.is_empty() {
            let servers = Servers::parse(&text(read("resolv.conf")));
            found = ask(&servers, host, Instant::now() + limit.min(LIMIT))?;
        }
        // The sort is stable: the order of the answer decides among equals.
        found.sort_by_key(|address| !has_route(*address));
        Ok(found)
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether packets to an address would go anywhere. Connecting a UDP socket sends none.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((address, 443)).is_ok())
}

/// Asks the name servers for a name, completed as resolv.conf says.
pub fn ask(servers: &Servers, host: &str, until: Instant) -> Result<Vec<IpAddr>, ResolveError> {
    let mut without_address = false;
    for name in servers.candidates(host) {
        match ask_whole(servers, &name, until) {
            Ok(found) => return Ok(found),
            Err(ResolveError::Unknown(_)) => {}
            Err(ResolveError::NoAddress(_)) => without_address = true,
            Err(error) => return Err(error),
        }
    }
    Err(if without_address {
        ResolveError::NoAddress(host.into())
    } else {
        ResolveError::Unknown(host.into())
    })
}

/// Asks for one whole name.
fn ask_whole(servers: &Servers, name: &str, until: Instant) -> Result<Vec<IpAddr>, ResolveError> {
    let mut last = "no name server".to_owned();
    for _ in 0..servers.attempts {
        for server in &servers.addresses {
            let left = until
                .saturating_duration_since(Instant::now())
                .min(servers.timeout);
            if left.is_zero() {
                return Err(ResolveError::Unanswered {
                    name: name.into(),
                    last,
                });
            }
            match exchange::both(*server, name, left, servers.stream) {
                Ok(Answer::Addresses(found)) if found.is_empty() => {
                    return Err(ResolveError::NoAddress(name.into()));
                }
                Ok(Answer::Addresses(found)) => return Ok(found),
                Ok(Answer::Unknown) => return Err(ResolveError::Unknown(name.into())),
                Ok(Answer::NoName) => return Err(ResolveError::NoName(name.into())),
                Ok(Answer::Failed(how)) => last = format!("name server {server} answered {how}"),
                Err(error) if is_timeout(&error) => last = format!("name server {server} does not answer"),
                Err(error) => last = format!("name server {server}: {error}"),
            }
        }
    }
    Err(ResolveError::Unanswered {
        name: name.into(),
        last,
    })
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ClientConfig,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        });
        let limit = timeout.not_zero().map_or(LIMIT, |limit| *limit);
        let found = self.lookup(host, limit);
        let found = found.map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut addresses = self.empty();
        for address in found.into_iter().take(MAX) {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests;
