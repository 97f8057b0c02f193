//! Fetching: HTTP, HTTPS and files of this machine, in-process.
//!
//! Spec: RFC 9110 and 9112, which the client `ureq` speaks; here stands what it leaves to others.
//!
//! | module | what it is |
//! |---|---|
//! | [`url`] | addresses, and how they are shown without passwords |
//! | [`part`] | what a download has so far |
//! | [`resolve`] | names of hosts → addresses |
//! | `proxy`, `connect` | which way a request goes |
//! | `trust` | whose certificates count |
//! | `answer` | what an answer means |
//! | [`error`] | why there was none |
//!
//! A fetch is tried again after a pause that doubles, where the failure may pass, and goes on from the byte where it
//! stopped, if the server can say that it is still the same version. Redirections are followed here, not in the
//! client: each address has its own proxy, and user information goes to its own host only.

pub(crate) mod answer;
mod connect;
pub mod error;
pub mod part;
mod proxy;
pub mod resolve;
mod trust;
pub mod url;

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, SystemTime};

use ureq::http::{Response, header};
use ureq::{Agent, Body};

use crate::environment::Environment;
use crate::ui;
use answer::Meaning;
use error::{FetchError, Why};
use part::Part;
pub use proxy::Proxies;
use resolve::Names;
use url::{Scheme, Url};

/// How often a redirection is followed, as often as curl does by `-L`, near enough.
const REDIRECTIONS_MAX: usize = 20;

/// The longest pause that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Fetches.
#[derive(Debug)]
pub struct Fetcher {
    agent: Agent,
    proxies: Proxies,
    patience: Patience,
    limits: Limits,
    /// The kinds of documents that are wanted.
    accept: Option<&'static str>,
    token: Option<Token>,
}

/// A token, and whom it is for.
#[derive(Debug)]
struct Token {
    scheme: Scheme,
    authority: String,
    text: String,
}

/// How long each step of a fetch may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection.
    pub connect: Duration,
    /// No byte at all.
    pub silence: Duration,
}

/// How often something that failed is tried again, and after which pauses.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries after the first.
    pub retries: u32,
    /// The first pause; each next one is twice as long.
    pub pause: Duration,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// From where.
    pub url: &'a Url,
    /// Only if it is not this.
    pub unless: Option<Known>,
    /// Whether caches on the way must ask their source.
    pub reload: bool,
    /// The SHA-256 that it must have, in hexadecimal digits.
    pub sha256: Option<String>,
    /// How many bytes it may have: no more are taken.
    pub len_max: Option<u64>,
}

/// What is there already.
#[derive(Clone, Debug)]
pub struct Known {
    /// When it was made.
    pub time: SystemTime,
    /// Its bytes.
    pub len: u64,
    /// The server's name for the version.
    pub etag: Option<String>,
}

/// How a fetch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What is there already is what the server has.
    Kept,
    /// The part is whole.
    Fetched(Version),
}

/// How a server names a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// By an opaque word.
    pub etag: Option<String>,
    /// By when it was made, as the server wrote that.
    pub last_modified: Option<String>,
}

impl Request<'_> {
    /// Takes the next bytes of a body, unless there are more than there may be: then none of it is kept.
    fn append(&self, bytes: &[u8], part: &mut Part) -> Result<(), Why> {
        let len = part.len().saturating_add(bytes.len() as u64);
        if let Some(max) = self.len_max.filter(|max| len > *max) {
            part.restart().map_err(Why::local("cannot empty the file"))?;
            return Err(Why::TooLong { max });
        }
        part.append(bytes)
            .map_err(Why::local("cannot write what is fetched"))
    }
}

impl Patience {
    /// So many retries, `first` seconds after the first failure, or what `DIB_RETRY_SECONDS` says.
    pub fn new(environment: &Environment, retries: u32, first: f64) -> Self {
        let given = environment
            .non_empty("DIB_RETRY_SECONDS")
            .and_then(|text| text.to_str());
        let given = given.and_then(|text| text.parse::<f64>().ok());
        let given = given.filter(|seconds| (0.0..=3600.0).contains(seconds));
        Self {
            retries,
            pause: Duration::from_secs_f64(given.unwrap_or(first)),
        }
    }

    /// The pause after so many failures.
    fn after(self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.pause.saturating_mul(doubled).min(PAUSE_MAX)
    }
}

impl Fetcher {
    /// A fetcher that goes the ways that these variables name.
    pub fn new(environment: &Environment) -> Self {
        let limits = Limits {
            connect: Duration::from_secs(10),
            silence: Duration::from_mins(1),
        };
        let patience = Patience::new(environment, 3, 1.0);
        Self::with(environment, Names::of_system(), limits, patience)
    }

    /// A fetcher of another temper.
    pub fn with(environment: &Environment, names: Names, limits: Limits, patience: Patience) -> Self {
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(trust::roots(environment))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            // A pause between tries outlives most servers' patience with idle connections.
            .max_idle_connections(0)
            .user_agent(concat!("diskimage-builder/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(limits.silence))
            .timeout_connect(Some(limits.connect))
            .timeout_per_read(Some(limits.silence))
            .timeout_per_write(Some(limits.silence))
            .build();
        Self {
            agent: Agent::with_parts(config, connect::ways(), names),
            proxies: Proxies::new(environment),
            patience,
            limits,
            accept: None,
            token: None,
        }
    }

    /// A fetcher of documents of some kinds, in the words of the `Accept` header.
    pub fn accepting(environment: &Environment, kinds: &'static str) -> Self {
        Self {
            accept: Some(kinds),
            ..Self::new(environment)
        }
    }

    /// From now on whoever serves `url` gets a token, by the same scheme, and nobody else does: sent on to an address in
    /// the clear, everybody on the way would read it.
    pub fn bear(&mut self, url: &Url, token: String) {
        self.token = Some(Token {
            scheme: url.scheme(),
            authority: url.authority().to_owned(),
            text: token,
        });
    }

    /// Fetches into `part`, which goes on from where it is.
    pub fn fetch(&self, request: &Request<'_>, part: &mut Part) -> Result<Answer, FetchError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let why = match self.attempt(request, part) {
                Ok(answer) => return Ok(answer),
                Err(why) => why,
            };
            if tries > self.patience.retries || !why.passes() {
                let url = request.url.to_string();
                return Err(FetchError { url, why, tries });
            }
            let mut pause = self.patience.after(tries);
            if let Why::Status {
                retry_after: Some(asked),
                ..
            } = why
            {
                pause = pause.max(asked.min(PAUSE_MAX));
            }
            ui::note(format_args!(
                "{}: {why}; trying again in {:.1} s",
                request.url,
                pause.as_secs_f64()
            ));
            std::thread::sleep(pause);
        }
    }

    fn attempt(&self, request: &Request<'_>, part: &mut Part) -> Result<Answer, Why> {
        if part.validator().is_none() {
            part.restart().map_err(Why::local("cannot empty the file"))?;
        }
        let resumed = !part.is_empty();
        let answer = match request.url.scheme() {
            Scheme::File => copy_file(request, part)?,
            _ => self.follow(request, part)?,
        };
        let expected = request.sha256.as_ref().map(|digest| digest.to_ascii_lowercase());
        if let (Answer::Fetched(_), Some(expected)) = (&answer, expected) {
            let found = part.sha256();
            if found != expected {
                part.restart().map_err(Why::local("cannot empty the file"))?;
                // The first bytes may have been another version's: only a whole download tells.
                return if resumed {
                    self.attempt(request, part)
                } else {
                    Err(Why::Digest { expected, found })
                };
            }
        }
        Ok(answer)
    }

    /// Asks, wherever the server sends us.
    fn follow(&self, request: &Request<'_>, part: &mut Part) -> Result<Answer, Why> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTIONS_MAX {
            let response = self.ask(&url, request, part)?;
            let text = |name| {
                let value = response.headers().get(name)?;
                Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
            };
            match answer::meaning(response.status().as_u16(), &text, request, part)? {
                Meaning::Kept => return Ok(Answer::Kept),
                Meaning::Moved(location) => {
                    let told =
                        |error| Why::Redirect(format!("to '{}': {error}", url::without_user(&location)));
                    url = url.join(&location).map_err(told)?;
                    if url.scheme() == Scheme::File {
                        return Err(Why::Redirect(format!("to {url}, a file of this machine")));
                    }
                }
                Meaning::Body { version, from, len } => {
                    if from == 0 {
                        let strong = answer::strong_validator(&text);
                        part.begin(strong).map_err(Why::local("cannot empty the file"))?;
                    }
                    self.take(response, from, len, request, part)?;
                    // Some servers that know no conditions of time send nothing instead.
                    let nothing = part.is_empty() && request.unless.is_some();
                    return Ok(if nothing {
                        Answer::Kept
                    } else {
                        Answer::Fetched(version)
                    });
                }
            }
        }
        Err(Why::Redirect(format!("more than {REDIRECTIONS_MAX} times")))
    }

    fn ask(&self, url: &Url, request: &Request<'_>, part: &Part) -> Result<Response<Body>, Why> {
        let proxy = self.proxies.of(url)?;
        let in_the_clear = proxy.as_ref().filter(|_| url.scheme() == Scheme::Http);
        let for_proxy = in_the_clear.and_then(proxy::authorization);
        let mut asked = self.agent.get(url.to_string()).config().proxy(proxy).build();
        if let Some(authorization) = for_proxy {
            asked = asked.header(header::PROXY_AUTHORIZATION, authorization);
        }
        if let Some(authorization) = url.authorization() {
            asked = asked.header(header::AUTHORIZATION, authorization);
        }
        let is_for = |token: &&Token| token.scheme == url.scheme() && token.authority == url.authority();
        if let Some(token) = self.token.as_ref().filter(is_for) {
            asked = asked.header(header::AUTHORIZATION, format!("Bearer {}", token.text));
        }
        if let Some(kinds) = self.accept {
            asked = asked.header(header::ACCEPT, kinds);
        }
        if request.reload {
            asked = asked
                .header(header::CACHE_CONTROL, "no-cache, must-revalidate")
                .header(header::PRAGMA, "no-cache");
        }
        match (part.validator(), &request.unless) {
            (Some(validator), _) if !part.is_empty() => {
                asked = asked
                    .header(header::RANGE, format!("bytes={}-", part.len()))
                    .header(header::IF_RANGE, validator);
            }
            (_, Some(known)) => {
                asked = asked.header(header::IF_MODIFIED_SINCE, httpdate::fmt_http_date(known.time));
                if let Some(etag) = &known.etag {
                    asked = asked.header(header::IF_NONE_MATCH, etag);
                }
            }
            _ => {}
        }
        asked
            .call()
            .map_err(|error| error::of_client(error, &self.limits))
    }

    /// Takes the body, of which `len` bytes are to follow after `from`.
    fn take(
        &self,
        response: Response<Body>,
        from: u64,
        len: Option<u64>,
        request: &Request<'_>,
        part: &mut Part,
    ) -> Result<(), Why> {
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buf = vec![0; 128 * 1024];
        let ended = loop {
            match body.read(&mut buf) {
                Ok(0) => break None,
                Ok(read) => request.append(&buf[..read], part)?,
                Err(error) => break Some(error::of_client(error.into(), &self.limits)),
            }
        };
        let of = len.and_then(|len| from.checked_add(len));
        match (ended, of) {
            (None, Some(of)) if part.len() != of => Err(Why::Truncated { got: part.len(), of }),
            (None, _) => Ok(()),
            (Some(Why::Connection(_) | Why::Nonsense(_)), Some(of)) if part.len() < of => {
                Err(Why::Truncated { got: part.len(), of })
            }
            (Some(Why::Nonsense(told)), _) => Err(Why::Connection(told)),
            (Some(why), _) => Err(why),
        }
    }
}

/// Takes a file of this machine.
fn copy_file(request: &Request<'_>, part: &mut Part) -> Result<Answer, Why> {
    let path = request.url.path();
    let read = || format!("cannot read {}", path.display());
    let irregular = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
    // A fifo is not opened: that would wait for who writes to it.
    let meta = std::fs::metadata(&path).map_err(Why::local(read()))?;
    if !meta.is_file() {
        return Err(Why::local(read())(irregular()));
    }
    if let (Some(known), Ok(made)) = (&request.unless, meta.modified())
        && made <= known.time
        && meta.len() == known.len
    {
        return Ok(Answer::Kept);
    }
    let mut file = File::open(&path).map_err(Why::local(read()))?;
    part.begin(None).map_err(Why::local("cannot empty the file"))?;
    let mut buf = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buf).map_err(Why::local(read()))? {
            0 => break,
            len => request.append(&buf[..len], part)?,
        }
    }
    Ok(Answer::Fetched(Version::default()))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
