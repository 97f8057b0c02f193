//! Why something could not be fetched, and whether it is worth trying again.

use std::io;
use std::time::Duration;

use super::resolve::ResolveError;
use super::url::UrlError;

/// A fetch that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {url}: {why}{}", after(*.tries))]
pub struct FetchError {
    /// The address, without user information.
    pub url: String,
    /// The reason, of the last try where there were several.
    pub why: Why,
    /// How often it was tried.
    pub tries: u32,
}

fn after(tries: u32) -> String {
    match tries {
        0 | 1 => String::new(),
        _ => format!(" (tried {tries} times)"),
    }
}

/// A reason.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The address is none.
    #[error("{0}")]
    Url(UrlError),
    /// The host has no address.
    #[error("{0}")]
    Resolve(ResolveError),
    /// No connection, or one that broke.
    #[error("{0}")]
    Connection(String),
    /// Nothing came for too long.
    #[error("no answer within {} s while {doing}", limit.as_secs())]
    Timeout {
        /// What it waited for.
        doing: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The other side is not whom it should be, or speaks no TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// A proxy that cannot be used.
    #[error("proxy {0} cannot be used: only http:// and https:// proxies can")]
    Proxy(String),
    /// A proxy that refuses.
    #[error("the proxy refuses: {0}")]
    Refused(String),
    /// A status that is no success.
    #[error("the server answered {status}{}", reason(*status))]
    Status {
        /// Which.
        status: u16,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
        /// How one may prove who one is, if it said so.
        challenge: Option<String>,
    },
    /// A redirection that leads nowhere.
    #[error("redirected {0}")]
    Redirect(String),
    /// An answer that makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(String),
    /// The answer ended early.
    #[error("the answer ended after {got} of {of} bytes")]
    Truncated {
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        of: u64,
    },
    /// More came than may.
    #[error("it has more than {max} bytes")]
    TooLong {
        /// Bytes that may come.
        max: u64,
    },
    /// What came is not what was wanted.
    #[error("its SHA-256 is {found}, not {expected}")]
    Digest {
        /// What was asked for.
        expected: String,
        /// What came.
        found: String,
    },
    /// This machine could not store or read it.
    #[error("{doing}: {source}")]
    Local {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

fn reason(status: u16) -> String {
    let status = ureq::http::StatusCode::from_u16(status).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    reason.map_or(String::new(), |reason| format!(" {reason}"))
}

impl Why {
    /// A failure of this machine.
    pub(crate) fn local(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Why::Local { doing, source }
    }

    /// Whether another try may succeed.
    pub(super) fn passes(&self) -> bool {
        match self {
            Why::Connection(_) | Why::Timeout { .. } | Why::Truncated { .. } => true,
            Why::Resolve(error) => error.passes(),
            Why::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// How the server wants to be told who asks, if that is why it refused.
    pub(crate) fn challenge(&self) -> Option<&str> {
        match self {
            Why::Status {
                status: 401,
                challenge,
                ..
            } => challenge.as_deref(),
            _ => None,
        }
    }

    /// Whether there is no such thing at this address.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Why::Status { status: 404, .. })
    }
}

/// What the client says, in our words.
pub(super) fn of_client(error: ureq::Error, limits: &super::Limits) -> Why {
    use ureq::{Error, Timeout};
    match error {
        Error::Timeout(Timeout::Connect) => Why::Timeout {
            doing: "connecting",
            limit: limits.connect,
        },
        Error::Timeout(_) => Why::Timeout {
            doing: "waiting for data",
            limit: limits.silence,
        },
        // What TLS minds comes as data that makes no sense.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Why::Tls(error.to_string()),
        Error::Io(error) => Why::Connection(error.to_string()),
        Error::Other(other) => match other.downcast::<ResolveError>() {
            Ok(error) => Why::Resolve(*error),
            Err(other) => Why::Connection(other.to_string()),
        },
        Error::Tls(told) => Why::Tls(told.into()),
        Error::Rustls(error) => Why::Tls(error.to_string()),
        Error::ConnectProxyFailed(told) => Why::Refused(told),
        Error::ConnectionFailed => Why::Connection("no connection".into()),
        other => Why::Nonsense(other.to_string()),
    }
}
