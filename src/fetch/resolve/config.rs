//! What hosts(5) and resolv.conf(5) say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The most name servers and search domains that count, as in the C library.
const SERVERS_MAX: usize = 3;
const DOMAINS_MAX: usize = 6;

/// Name servers, and how to ask them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Whom to ask, in order.
    pub addresses: Vec<SocketAddr>,
    /// The domains that complete a name.
    pub search: Vec<String>,
    /// With so many dots a name is tried as it is first.
    pub dots: usize,
    /// How long one server may take.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: u32,
    /// Whether to ask over TCP only.
    pub stream: bool,
}

impl Servers {
    /// Reads a resolv.conf; what it does not say is as the C library has it.
    pub fn parse(text: &str) -> Self {
        let mut servers = Self {
            addresses: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            stream: false,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => servers.addresses.extend(words.next().and_then(server)),
                Some("search" | "domain") => {
                    servers.search = words.take(DOMAINS_MAX).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|word| servers.option(word)),
                _ => {}
            }
        }
        servers.addresses.truncate(SERVERS_MAX);
        if servers.addresses.is_empty() {
            servers.addresses.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        servers
    }

    fn option(&mut self, word: &str) {
        let number = |text: &str| text.parse::<u32>().ok();
        match word.split_once(':') {
            Some(("ndots", value)) => {
                if let Some(dots) = number(value) {
                    self.dots = dots.min(15) as usize;
                }
            }
            Some(("timeout", value)) => {
                if let Some(seconds) = number(value) {
                    self.timeout = Duration::from_secs(seconds.clamp(1, 30).into());
                }
            }
            Some(("attempts", value)) => {
                if let Some(attempts) = number(value) {
                    self.attempts = attempts.clamp(1, 5);
                }
            }
            None if matches!(word, "use-vc" | "usevc") => self.stream = true,
            _ => {}
        }
    }

    /// The whole names that a name may stand for, in the order in which they are asked for.
    pub fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(whole) = host.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let domains = self.search.iter().map(|domain| domain.trim_matches('.'));
        let mut names: Vec<String> = domains
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{host}.{domain}"))
            .collect();
        let first = host.matches('.').count() >= self.dots;
        names.insert(if first { 0 } else { names.len() }, host.to_owned());
        names
    }
}

/// A name server's address, with the number or the name of an interface after `%` perhaps.
fn server(word: &str) -> Option<SocketAddr> {
    const PORT: u16 = 53;
    let (address, zone) = match word.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (word, None),
    };
    match (address.parse().ok()?, zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let scope = zone.parse().ok().or_else(|| interface(zone)).unwrap_or_default();
            Some(SocketAddrV6::new(address, PORT, 0, scope).into())
        }
        (address, _) => Some((address, PORT).into()),
    }
}

/// The number of a network interface.
fn interface(name: &str) -> Option<u32> {
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?;
    text.trim().parse().ok()
}

/// The addresses that a hosts file gives a name.
pub(crate) fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let address = words.next().and_then(|word| match word.split_once('%') {
            Some((address, _)) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => word.parse().ok(),
        });
        let Some(address) = address else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}
