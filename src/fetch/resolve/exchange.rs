//! One question to one name server: for both kinds of addresses at once, as the C library asks.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE, header_buffer};

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The addresses of the name, perhaps none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    Unknown,
    /// The name cannot be asked for.
    NoName,
    /// It could not say.
    Failed(String),
}

/// The kinds of addresses, in the order in which they are preferred.
const KINDS: [TYPE; 2] = [TYPE::AAAA, TYPE::A];

/// Asks for all addresses of a name.
pub(super) fn both(server: SocketAddr, name: &str, limit: Duration, stream: bool) -> io::Result<Answer> {
    let mut ids = [0; 4];
    rustix::rand::getrandom(&mut ids, rustix::rand::GetRandomFlags::empty())?;
    let first = u16::from_ne_bytes([ids[0], ids[1]]);
    let ids = [first, first.wrapping_add(1 + u16::from(ids[2]))];
    let mut messages = Vec::new();
    for (id, kind) in ids.into_iter().zip(KINDS) {
        match question(id, name, kind) {
            Some(message) => messages.push(message),
            None => return Ok(Answer::NoName),
        }
    }
    let until = Instant::now() + limit;
    let mut answers = if stream {
        vec![None, None]
    } else {
        datagrams(server, name, &messages, &ids, until)?
    };
    for ((given, message), (id, kind)) in answers.iter_mut().zip(&messages).zip(ids.into_iter().zip(KINDS)) {
        if given.is_none() {
            let bytes = over_stream(server, message, until)?;
            *given = answer(&bytes, id, name, kind);
        }
    }
    Ok(together(answers))
}

/// What both answers come to.
fn together(answers: Vec<Option<Answer>>) -> Answer {
    let mut found = Vec::new();
    let mut worst = None;
    for given in answers {
        match given.unwrap_or_else(|| Answer::Failed("something else".into())) {
            Answer::Addresses(some) => found.extend(some),
            other => worst = Some(other),
        }
    }
    match worst {
        Some(worst) if found.is_empty() => worst,
        _ => Answer::Addresses(found),
    }
}

fn question(id: u16, name: &str, kind: TYPE) -> Option<Vec<u8>> {
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let labels = || name.split('.').all(|label| (1..64).contains(&label.len()));
    if !name.bytes().all(host) || !labels() {
        return None;
    }
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet
        .questions
        .push(Question::new(name, QTYPE::TYPE(kind), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Asks by datagrams. `None` stands for an answer that is too long for one.
fn datagrams(
    server: SocketAddr,
    name: &str,
    messages: &[Vec<u8>],
    ids: &[u16],
    until: Instant,
) -> io::Result<Vec<Option<Answer>>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // A connected socket takes datagrams of this server alone.
    socket.connect(server)?;
    for message in messages {
        socket.send(message)?;
    }
    let mut answers: Vec<Option<Option<Answer>>> = vec![None; ids.len()];
    let mut buf = [0; 4096];
    while answers.iter().any(Option::is_none) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let len = socket.recv(&mut buf)?;
        let bytes = &buf[..len];
        let id = header_buffer::id(bytes).unwrap_or_default();
        let Some(at) = ids.iter().position(|known| *known == id) else {
            continue;
        };
        if header_buffer::has_flags(bytes, PacketFlag::TRUNCATION).unwrap_or(false) {
            answers[at] = Some(None);
        } else if let Some(given) = answer(bytes, id, name, KINDS[at]) {
            answers[at] = Some(Some(given));
        }
    }
    Ok(answers.into_iter().map(Option::flatten).collect())
}

fn over_stream(server: SocketAddr, message: &[u8], until: Instant) -> io::Result<Vec<u8>> {
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::Error::from(io::ErrorKind::TimedOut))
        } else {
            Ok(left)
        }
    };
    let mut stream = TcpStream::connect_timeout(&server, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes(), message].concat())?;
    stream.set_read_timeout(Some(left()?))?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut bytes = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads the answer to a question; `None`: it is the answer to another, or none at all.
pub(crate) fn answer(bytes: &[u8], id: u16, name: &str, kind: TYPE) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let echoed = packet.questions.first().is_some_and(|question| {
        question.qname.to_string().eq_ignore_ascii_case(name) && question.qtype == QTYPE::TYPE(kind)
    });
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !echoed {
        return None;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Some(Answer::Unknown),
        other => return Some(Answer::Failed(format!("{other:?}"))),
    }
    let address = |data: &RData<'_>| match (data, kind) {
        (RData::A(a), TYPE::A) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
        (RData::AAAA(aaaa), TYPE::AAAA) => Some(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
        _ => None,
    };
    let found = packet.answers.iter().filter_map(|record| address(&record.rdata));
    Some(Answer::Addresses(found.collect()))
}
