//! Builds without a network: nothing gets out, and who wanted to is named.

use std::net::TcpListener;

use crate::rung::{Rung, Stairs};

/// What hooks do is bash's own: no program of the tree is needed for it.
const ARGS: [&str; 3] = ["no-final-image", "mini-os", "probe"];

fn stairs(rung: Rung, phase: &str, script: &str) -> Option<Stairs> {
    let stairs = Stairs::new(rung)?;
    stairs.lab.file("no-final-image/README.md", "");
    stairs.lab.hook(&format!("{phase}/10-wants"), script);
    Some(stairs)
}

#[test]
fn a_hook_that_wants_the_network_is_named() {
    for rung in Rung::ALL {
        for phase in ["root.d", "install.d"] {
            let Some(mut stairs) = stairs(rung, phase, "exec 3<>/dev/tcp/192.0.2.1/80") else {
                continue;
            };
            let said = stairs.build(&[&["--network", "none"], &ARGS[..]].concat());
            let said = said.failed(
                1,
                &format!("phase {phase}, element probe: 10-wants ended with status 1"),
            );
            let hint = "it wanted the network, which --network none and --hermetic keep from it: \
                        10-wants wanted 192.0.2.1 port 80";
            assert!(said.err.contains(hint), "{rung:?}: {}", said.err);
            assert!(
                said.out.contains("Network is unreachable"),
                "{rung:?}: {}",
                said.out
            );
            stairs.lab.set("DIB_NETWORK", "none");
            stairs.build(&ARGS).failed(1, "192.0.2.1 port 80");
        }
    }
}

#[test]
fn a_name_that_a_hook_asks_for_is_told() {
    for rung in [Rung::T0, Rung::T2] {
        for phase in ["root.d", "install.d"] {
            let script = "exec 3<>/dev/tcp/www.example.org/80";
            let Some(stairs) = stairs(rung, phase, script) else {
                continue;
            };
            let said = stairs.build(&[&["--offline", "--hermetic"], &ARGS[..]].concat());
            let said = said.failed(1, "it asked for the address of www.example.org");
            assert!(said.err.contains(&format!("phase {phase}")), "{}", said.err);
        }
    }
}

#[test]
fn a_hook_that_goes_on_without_the_network_is_a_warning() {
    for rung in Rung::ALL {
        let script = "(exec 3<>/dev/tcp/192.0.2.7/443) || true";
        let Some(stairs) = stairs(rung, "install.d", script) else {
            continue;
        };
        let said = stairs.build(&[&["--hermetic"], &ARGS[..]].concat()).ok();
        let warning =
            "10-wants wanted the network, which this build has not: 10-wants wanted 192.0.2.7 port 443";
        assert!(said.out.contains(warning), "{rung:?}: {}", said.out);
    }
}

#[test]
fn the_machine_itself_is_reached_with_a_network_only() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    for rung in [Rung::T0, Rung::T2] {
        for phase in ["root.d", "install.d"] {
            let Some(stairs) = stairs(rung, phase, &script) else {
                continue;
            };
            stairs.build(&ARGS).ok();
            let said = stairs.build(&[&["--network", "none"], &ARGS[..]].concat());
            // A loopback interface of the build's own, where nobody listens.
            let said = said.failed(1, "10-wants ended with status 1");
            assert!(said.out.contains("Connection refused"), "{rung:?}: {}", said.out);
            assert!(!said.err.contains("wanted the network"), "{rung:?}: {}", said.err);
        }
    }
}
