//! Connections: directly, through a proxy, with TLS over either.
//!
//! An address in the clear goes to a proxy as one request line with the whole address (RFC 9112, 3.2.2), since many
//! proxies allow `CONNECT` to port 443 alone, and caching ones cache only this.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, TcpConnector, Transport,
};
use ureq::{Error, ProxyProtocol};

/// All ways, in the order in which they are tried.
pub(super) fn ways() -> impl Connector<()> {
    ().chain(Forwarding)
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(RustlsConnector::default())
}

/// Through a proxy, in the clear.
#[derive(Debug)]
struct Forwarding;

impl<In: Transport> Connector<In> for Forwarding {
    type Out = Either<In, Forwarded>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(made) = chained {
            return Ok(Some(Either::A(made)));
        }
        let proxy = details.config.proxy();
        let Some(proxy) = proxy.filter(|proxy| proxy.protocol() == ProxyProtocol::Http) else {
            return Ok(None);
        };
        if details.needs_tls() {
            return Ok(None);
        }
        let addresses = details
            .resolver
            .resolve(proxy.uri(), details.config, details.timeout)?;
        let stream = open(&addresses, details.timeout)?;
        let authority = details
            .uri
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(Either::B(Forwarded {
            stream,
            buffers,
            before_path: Some(format!("http://{authority}")),
        })))
    }
}

fn open(addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, Error> {
    let share = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = Error::HostNotFound;
    for address in addresses {
        let opened = match limit(timeout) {
            Some(limit) => TcpStream::connect_timeout(address, limit / share),
            None => TcpStream::connect(address),
        };
        match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Error::Io(error),
        }
    }
    Err(last)
}

/// How long the next step may take. The system takes none for no limit.
fn limit(timeout: NextTimeout) -> Option<Duration> {
    timeout
        .not_zero()
        .map(|limit| (*limit).max(Duration::from_millis(1)))
}

/// A connection to a proxy that gets one request.
#[derive(Debug)]
struct Forwarded {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// What makes the path of the request line a whole address, until it is sent.
    before_path: Option<String>,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(limit(timeout))?;
        let output = &self.buffers.output()[..amount];
        let at = output
            .iter()
            .position(|byte| *byte == b' ')
            .map(|blank| blank + 1);
        let bytes = match (at, self.before_path.take()) {
            (Some(at), Some(address)) => [&output[..at], address.as_bytes(), &output[at..]].concat(),
            (_, address) => {
                self.before_path = address;
                output.to_vec()
            }
        };
        timed(self.stream.write_all(&bytes), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(limit(timeout))?;
        let amount = timed(self.stream.read(self.buffers.input_append_buf()), timeout)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // The path of a second request would not be made whole.
        false
    }
}

fn timed<T>(done: io::Result<T>, timeout: NextTimeout) -> Result<T, Error> {
    done.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    })
}
