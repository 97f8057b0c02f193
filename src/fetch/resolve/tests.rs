//! Name servers on the loopback, of every temper.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::thread;

use simple_dns::rdata::{A, CNAME, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::*;

/// What the server of the tests does with a question for a name.
fn reply(question: &[u8], stream: bool) -> Option<Vec<u8>> {
    let question = Packet::parse(question).unwrap();
    let asked = question.questions[0].clone();
    let name = asked.qname.to_string().to_ascii_lowercase();
    let wants_v4 = asked.qtype == QTYPE::TYPE(TYPE::A);
    let mut packet = Packet::new_reply(question.id());
    packet.questions.push(asked.clone());
    let owner = || asked.qname.clone().into_owned();
    let a = |owner: Name<'static>, last: u8| {
        let address = u32::from(Ipv4Addr::new(127, 0, 0, last));
        ResourceRecord::new(owner, CLASS::IN, 60, RData::A(A { address }))
    };
    match name.as_str() {
        "one.test" | "short.example.test" if wants_v4 => packet.answers.push(a(owner(), 1)),
        "alias.test" if wants_v4 => {
            let target = Name::new("one.test").unwrap();
            let data = RData::CNAME(CNAME(target.clone()));
            packet
                .answers
                .push(ResourceRecord::new(owner(), CLASS::IN, 60, data));
            packet.answers.push(a(target.into_owned(), 1));
        }
        "long.test" if wants_v4 && stream => (1..=40).for_each(|last| packet.answers.push(a(owner(), last))),
        "long.test" if wants_v4 => packet.set_flags(PacketFlag::TRUNCATION),
        "broken.test" => *packet.rcode_mut() = RCODE::ServerFailure,
        "silent.test" => return None,
        "one.test" | "alias.test" | "long.test" | "bare.test" | "short.example.test" => {}
        "forged.test" => packet.questions.clear(),
        _ => *packet.rcode_mut() = RCODE::NameError,
    }
    Some(packet.build_bytes_vec().unwrap())
}

/// Starts one that lives as long as the tests, and returns how to ask it.
fn server() -> Servers {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        // The port may be taken for the other kind.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut buf = [0; 512];
        loop {
            let (len, from) = udp.recv_from(&mut buf).unwrap();
            // Somebody else's answer comes first: it must not be taken for one.
            udp.send_to(&reply_to_another(&buf[..len]), from).unwrap();
            if let Some(bytes) = reply(&buf[..len], false) {
                udp.send_to(&bytes, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut question = vec![0; u16::from_be_bytes(len).into()];
            stream.read_exact(&mut question).unwrap();
            let bytes = reply(&question, true).unwrap();
            let len = u16::try_from(bytes.len()).unwrap();
            stream
                .write_all(&[&len.to_be_bytes(), &bytes[..]].concat())
                .unwrap();
        }
    });
    let mut servers = Servers::parse("search example.test\noptions timeout:1 attempts:1 ndots:1\n");
    servers.addresses = vec![address];
    servers
}

fn reply_to_another(question: &[u8]) -> Vec<u8> {
    let mut forged = reply(question, false).unwrap_or_else(|| question.to_vec());
    forged[0] ^= 0xff;
    forged
}

fn asked(servers: &Servers, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    ask(servers, host, Instant::now() + Duration::from_secs(5))
}

#[test]
fn name_servers_are_asked_and_believed() {
    let servers = server();
    let one: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    for host in ["one.test", "ONE.test", "one.test.", "alias.test", "short"] {
        assert_eq!(asked(&servers, host).unwrap(), one, "{host}");
    }
    assert_eq!(asked(&servers, "long.test").unwrap().len(), 40, "over TCP");
    let stream = Servers {
        stream: true,
        ..servers.clone()
    };
    assert_eq!(asked(&stream, "one.test").unwrap(), one);
    assert_eq!(
        asked(&servers, "absent.test"),
        Err(ResolveError::Unknown("absent.test".into()))
    );
    assert_eq!(
        asked(&servers, "bare.test"),
        Err(ResolveError::NoAddress("bare.test".into()))
    );
    assert_eq!(
        asked(&servers, "no name"),
        Err(ResolveError::NoName("no name.example.test".into()))
    );
}

#[test]
fn servers_that_fail_are_named_and_others_asked() {
    let servers = server();
    let address = servers.addresses[0];
    let error = asked(&servers, "broken.test").unwrap_err();
    assert!(error.passes());
    assert_eq!(
        error.to_string(),
        format!("cannot look up broken.test: name server {address} answered ServerFailure")
    );
    let start = Instant::now();
    for host in ["silent.test", "forged.test"] {
        let error = asked(&servers, host).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("name server {address} does not answer")),
            "{error}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    // A port at which nobody listens: the kernel says so at once.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut two = servers.clone();
    two.addresses.insert(0, nobody);
    assert_eq!(
        asked(&two, "one.test").unwrap(),
        [IpAddr::from(Ipv4Addr::LOCALHOST)]
    );
    two.addresses.pop();
    assert!(
        asked(&two, "one.test")
            .unwrap_err()
            .to_string()
            .contains(&nobody.to_string())
    );
}

#[test]
fn files_come_before_servers() {
    let dir = tempfile::tempdir().unwrap();
    let names = Names::of(dir.path().to_owned());
    let found = |host: &str| {
        let found = names.lookup(host, Duration::from_secs(1));
        found.map(|found| {
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    assert_eq!(found("127.0.0.9").unwrap(), "127.0.0.9");
    assert_eq!(found("[::1]").unwrap(), "::1");
    let local = found("a.localhost").unwrap();
    assert!(local.contains("127.0.0.1") && local.contains("::1"), "{local}");
    std::fs::write(
        dir.path().join("hosts"),
        "# no\n127.0.0.3 box Box.test # box2\n::1 x\nnonsense box\n127.0.0.4\tbox\n",
    )
    .unwrap();
    assert_eq!(found("BOX").unwrap(), "127.0.0.3 127.0.0.4");
    assert_eq!(found("box.test.").unwrap(), "127.0.0.3");
    std::fs::write(dir.path().join("resolv.conf"), "nameserver 127.0.0.1%lo\n").unwrap();
    assert!(found("box2").is_err());
}

#[test]
fn the_configuration_is_read_as_the_c_library_reads_it() {
    let text = "; c\nnameserver 192.0.2.1 # x\nnameserver fe80::1%7\nnameserver bad\nnameserver ::1\n\
        nameserver 192.0.2.9\nsearch a.test. b.test\noptions ndots:2 timeout:3 attempts:9 rotate use-vc\n";
    let servers = Servers::parse(text);
    let shown: Vec<String> = servers.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.1:53", "[fe80::1%7]:53", "[::1]:53"]);
    assert_eq!((servers.dots, servers.attempts, servers.stream), (2, 5, true));
    assert_eq!(servers.timeout, Duration::from_secs(3));
    assert_eq!(servers.candidates("x.y"), ["x.y.a.test", "x.y.b.test", "x.y"]);
    assert_eq!(
        servers.candidates("x.y.z"),
        ["x.y.z", "x.y.z.a.test", "x.y.z.b.test"]
    );
    assert_eq!(servers.candidates("x."), ["x"]);
    let empty = Servers::parse("");
    assert_eq!(empty.addresses, ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(empty.candidates("x"), ["x"]);
}
