//! A web server on the loopback, as well or as badly behaved as a test wants it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What stands after `GET`.
    pub target: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
}

/// What a server sends for it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers besides those that the server makes itself.
    pub headers: Vec<(String, String)>,
    /// The body, of which `Content-Length` tells.
    pub body: Vec<u8>,
    /// How many bytes of the body are sent before the connection ends; `None`: all.
    pub cut: Option<usize>,
    /// How long nothing follows those, before the connection ends.
    pub stall: Duration,
    /// Whether the body comes in chunks, without `Content-Length`.
    pub chunked: bool,
}

/// A server, as long as the test's process lives.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Asked {
    /// A header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Reply {
    /// A status with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
            stall: Duration::ZERO,
            chunked: false,
        }
    }

    /// With a header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whose connection ends after so many bytes of the body.
    #[must_use]
    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    /// A file as a server keeps it: conditions and ranges are understood.
    pub fn file(asked: &Asked, body: &[u8], etag: &str) -> Self {
        let made = "Thu, 01 Jan 2015 00:00:00 GMT";
        let named = |reply: Reply| reply.with("ETag", etag).with("Last-Modified", made);
        if asked.header("if-none-match") == Some(etag) {
            return named(Reply::new(304, ""));
        }
        let from = asked.header("range").and_then(|range| {
            let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
            from.parse::<usize>().ok()
        });
        match from {
            Some(from) if asked.header("if-range") == Some(etag) && from < body.len() => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                named(Reply::new(206, &body[from..])).with("Content-Range", &range)
            }
            _ => named(Reply::new(200, body)),
        }
    }
}

impl Server {
    /// Starts one that answers the n-th request, from 0 on, by `answer`.
    pub fn start(answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, list) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, list) = (Arc::clone(&answer), Arc::clone(&list));
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let number = {
                        let mut list = list.lock().expect("nobody panics with it");
                        list.push(request.clone());
                        list.len() - 1
                    };
                    // A client that went away is what some tests are about.
                    let _ = send(&stream, &answer(number, &request));
                });
            }
        });
        Self { address, asked }
    }

    /// The address of something on it.
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Its host and port.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

fn read(mut stream: &TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Asked {
        target,
        headers: headers.collect(),
    })
}

fn send(mut stream: &TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut lines = vec![
        format!("HTTP/1.1 {} Said", reply.status),
        "Connection: close".to_owned(),
    ];
    lines.extend(
        reply
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    if reply.chunked {
        lines.push("Transfer-Encoding: chunked".to_owned());
    } else if reply.status != 304 {
        lines.push(format!("Content-Length: {}", reply.body.len()));
    }
    stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    if reply.chunked {
        for chunk in body.chunks(1000) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            stream.write_all(chunk)?;
            stream.write_all(b"\r\n")?;
        }
        if reply.cut.is_none() {
            stream.write_all(b"0\r\n\r\n")?;
        }
    } else {
        stream.write_all(body)?;
    }
    stream.flush()?;
    thread::sleep(reply.stall);
    stream.shutdown(Shutdown::Write)
}
