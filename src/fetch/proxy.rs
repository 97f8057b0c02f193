//! Proxies, as the environment names them: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, in small or in capital
//! letters, the small ones first.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::error::Why;
use super::url::{Scheme, Url, without_user};
use crate::environment::Environment;

/// The proxies of this environment.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    none: Vec<String>,
}

/// Their number, not their passwords.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = [&self.http, &self.https].into_iter().flatten().count();
        write!(f, "Proxies({known})")
    }
}

impl Proxies {
    /// Reads the variables.
    pub fn new(environment: &Environment) -> Self {
        let text = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_uppercase()];
            let values = names.iter().filter_map(|name| environment.non_empty(name));
            values
                .filter_map(|value| value.to_str())
                .map(str::to_owned)
                .next()
        };
        let all = text("all_proxy");
        let none = text("no_proxy").unwrap_or_default();
        let words = none.split([',', ' ']).filter(|word| !word.is_empty());
        Self {
            http: text("http_proxy").or_else(|| all.clone()),
            https: text("https_proxy").or(all),
            none: words.map(str::to_ascii_lowercase).collect(),
        }
    }

    /// The proxy of an address; `None`: it is reached directly.
    pub(crate) fn of(&self, url: &Url) -> Result<Option<ureq::Proxy>, Why> {
        let proxy = match url.scheme() {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
            Scheme::File => &None,
        };
        let Some(proxy) = proxy.as_deref().filter(|_| !self.spares(url)) else {
            return Ok(None);
        };
        let unusable = || Why::Proxy(without_user(proxy));
        let made = ureq::Proxy::new(proxy).map_err(|_| unusable())?;
        match made.protocol() {
            ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(made)),
            _ => Err(unusable()),
        }
    }

    /// Whether `no_proxy` names the host of an address.
    fn spares(&self, url: &Url) -> bool {
        let host = url.host();
        self.none.iter().any(|word| {
            let (name, port) = match word.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
                _ => (word.as_str(), None),
            };
            let name = name.trim_start_matches('*').trim_start_matches('.');
            let within = name.is_empty() && word == "*"
                || host == name
                || !name.is_empty() && host.strip_suffix(name).is_some_and(|left| left.ends_with('.'))
                || in_network(host, name);
            within && port.is_none_or(|port: u16| port == url.port())
        })
    }
}

/// What a proxy that forwards in the clear wants to know of us. To one that tunnels the client says it itself.
pub(super) fn authorization(proxy: &ureq::Proxy) -> Option<String> {
    if proxy.protocol() != ureq::ProxyProtocol::Http {
        return None;
    }
    let pair = format!("{}:{}", proxy.username()?, proxy.password().unwrap_or_default());
    Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

/// Whether an address lies in a network such as `10.0.0.0/8`.
fn in_network(host: &str, network: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let Some((base, len)) = network.split_once('/') else {
        return false;
    };
    let (Ok(host), Ok(base), Ok(len)) = (host.parse(), base.parse(), len.parse::<u32>()) else {
        return false;
    };
    let ((host, width), (base, same)) = (bits(host), bits(base));
    width == same && len <= width && (len == 0 || (host ^ base) >> (128 - len) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let mut environment = Environment::default();
        for (name, value) in variables {
            environment.set(*name, *value);
        }
        Proxies::new(&environment)
    }

    fn host(proxies: &Proxies, url: &str) -> Option<String> {
        let proxy = proxies.of(&Url::parse(url).unwrap()).unwrap();
        proxy.map(|proxy| proxy.host().to_owned())
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let both = proxies(&[("http_proxy", "http://a:3128"), ("HTTPS_PROXY", "b:8080")]);
        assert_eq!(host(&both, "http://h/").as_deref(), Some("a"));
        assert_eq!(host(&both, "https://h/").as_deref(), Some("b"));
        let all = proxies(&[("ALL_PROXY", "http://c"), ("http_proxy", "")]);
        assert_eq!(host(&all, "http://h/").as_deref(), Some("c"));
        assert_eq!(host(&proxies(&[]), "http://h/"), None);
        let small = proxies(&[("HTTP_PROXY", "http://big"), ("http_proxy", "http://small")]);
        assert_eq!(host(&small, "http://h/").as_deref(), Some("small"));
    }

    #[test]
    fn unusable_proxies_are_named_without_their_password() {
        let url = Url::parse("http://h/").unwrap();
        for proxy in ["socks5://me:pw@h:1080", "nonsense://me:pw@h"] {
            let told = proxies(&[("http_proxy", proxy)])
                .of(&url)
                .unwrap_err()
                .to_string();
            assert!(told.contains("://h") && !told.contains("pw"), "{told}");
        }
    }

    #[test]
    fn no_proxy_spares_hosts_domains_and_networks() {
        let none = "localhost, .example.org *.test,10.0.0.0/8,[::1],h:81";
        let some = proxies(&[("all_proxy", "http://p"), ("no_proxy", none)]);
        for (url, direct) in [
            ("http://localhost/", true),
            ("http://example.org/", true),
            ("http://a.b.example.org/", true),
            ("http://badexample.org/", false),
            ("http://x.test/", true),
            ("http://10.200.0.1/", true),
            ("http://11.0.0.1/", false),
            ("http://h:81/", true),
            ("http://h/", false),
        ] {
            assert_eq!(host(&some, url).is_none(), direct, "{url}");
        }
        let every = proxies(&[("all_proxy", "http://p"), ("no_proxy", "*")]);
        assert_eq!(host(&every, "https://h/"), None);
    }
}
