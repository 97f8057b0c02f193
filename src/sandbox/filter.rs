//! Which system calls of hooks the builder hears of, as a program that the kernel runs on every call: made, not run.
//!
//! Spec: <https://docs.kernel.org/userspace-api/seccomp_filter.html>, `linux/seccomp.h`, `linux/bpf_common.h`.
//!
//! The program looks at numbers only, and at few calls, so that what is not asked for costs next to nothing. A call of
//! an interface that no table here knows goes its way.

/// An instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) when: u8,
    pub(super) otherwise: u8,
    pub(super) value: u32,
}

/// What the builder wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Devices that hooks want to have.
    pub(super) devices: Devices,
    /// Owners beyond the last user and group that there are.
    pub(super) owners: Option<(u32, u32)>,
    /// Ways to other machines.
    pub(super) network: Network,
}

/// Which devices the builder wants to hear of: what hooks do to have nodes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Devices {
    /// None.
    #[default]
    Unwatched,
    /// Those of the host, such as its disks: its root could make nodes of them, or mount those of the kernel.
    OfHost,
    /// All, for nobody may make a node of any.
    All,
}

/// Which ways to other machines the builder wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Network {
    /// None.
    #[default]
    Unwatched,
    /// The usual ones: the kernel refuses them all.
    Watched,
    /// Every one, for nobody else refuses them.
    Barred,
}

/// What a call that the builder hears of is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `mknod`, or `mknodat`: the first argument of those that are called path, mode and device.
    Node { path: usize },
    /// `mount`, or `fsopen`: the argument that is the type of file system.
    FileSystem { name: usize },
    /// `chown` and its like: the argument that is the user; the group follows it.
    Owner { user: usize },
    /// `connect`: a socket address at argument 1, its length after it.
    Connect,
    /// `sendto`: a socket address at argument 4, its length after it.
    SendTo,
    /// `sendmsg`: one header at argument 1.
    SendMessage,
    /// `sendmmsg`: headers at argument 1, and how many.
    SendMessages,
}

/// The numbers of calls in one interface of the kernel.
#[derive(Debug)]
pub(super) struct Interface {
    /// `AUDIT_ARCH_…`
    arch: u32,
    /// Bytes of a pointer.
    pub(super) pointer: usize,
    calls: &'static [(u32, Meaning)],
}

use Meaning::{Connect, FileSystem, Node, Owner, SendMessage, SendMessages, SendTo};

/// `fsopen`, the same in every interface.
const FSOPEN: u32 = 430;

const INTERFACES: [Interface; 4] = [
    // x86-64
    Interface {
        arch: 0xc000_003e,
        pointer: 8,
        calls: &[
            (133, Node { path: 0 }),
            (259, Node { path: 1 }),
            (165, FileSystem { name: 2 }),
            (FSOPEN, FileSystem { name: 0 }),
            (92, Owner { user: 1 }),
            (93, Owner { user: 1 }),
            (94, Owner { user: 1 }),
            (260, Owner { user: 2 }),
            (42, Connect),
            (44, SendTo),
            (46, SendMessage),
            (307, SendMessages),
        ],
    },
    // i386; its older programs reach the network through socketcall(2), and are not heard.
    Interface {
        arch: 0x4000_0003,
        pointer: 4,
        calls: &[
            (14, Node { path: 0 }),
            (297, Node { path: 1 }),
            (21, FileSystem { name: 2 }),
            (FSOPEN, FileSystem { name: 0 }),
            (212, Owner { user: 1 }),
            (207, Owner { user: 1 }),
            (198, Owner { user: 1 }),
            (298, Owner { user: 2 }),
            (362, Connect),
            (369, SendTo),
            (370, SendMessage),
            (345, SendMessages),
        ],
    },
    // AArch64
    Interface {
        arch: 0xc000_00b7,
        pointer: 8,
        calls: &[
            (33, Node { path: 1 }),
            (40, FileSystem { name: 2 }),
            (FSOPEN, FileSystem { name: 0 }),
            (55, Owner { user: 1 }),
            (54, Owner { user: 2 }),
            (203, Connect),
            (206, SendTo),
            (211, SendMessage),
            (269, SendMessages),
        ],
    },
    // 32-bit ARM
    Interface {
        arch: 0x4000_0028,
        pointer: 4,
        calls: &[
            (14, Node { path: 0 }),
            (324, Node { path: 1 }),
            (21, FileSystem { name: 2 }),
            (FSOPEN, FileSystem { name: 0 }),
            (212, Owner { user: 1 }),
            (207, Owner { user: 1 }),
            (198, Owner { user: 1 }),
            (325, Owner { user: 2 }),
            (283, Connect),
            (290, SendTo),
            (296, SendMessage),
            (374, SendMessages),
        ],
    },
];

/// Whether the calls of this machine's own interface are known.
pub(super) fn knows_this_machine() -> bool {
    ["x86_64", "aarch64"].contains(&std::env::consts::ARCH)
}

/// The interface, and what the call means.
pub(super) fn meaning(arch: u32, number: u32) -> Option<(&'static Interface, Meaning)> {
    let interface = INTERFACES.iter().find(|interface| interface.arch == arch)?;
    let (_, meaning) = interface.calls.iter().find(|(known, _)| *known == number)?;
    Some((interface, *meaning))
}

/// `io_uring_setup`, the same in every interface: what goes through a ring passes no filter.
const IO_URING_SETUP: u32 = 425;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const ABOVE: u16 = 0x25;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
/// `ENOSYS`
const NOT_IMPLEMENTED: u32 = 0x0005_0026;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The lower half of an argument. Every interface above is little-endian.
fn low(argument: usize) -> u32 {
    u32::try_from(16 + 8 * argument).expect("a call has six arguments")
}

fn high(argument: usize) -> u32 {
    low(argument) + 4
}

fn instruction(code: u16, when: u8, otherwise: u8, value: u32) -> Instruction {
    Instruction {
        code,
        when,
        otherwise,
        value,
    }
}

/// `fsync`, `fdatasync`, `sync`, `syncfs` and `sync_file_range` of each interface, in the order of the table above.
const FLUSHES: [[u32; 5]; 4] = [
    [74, 75, 162, 306, 277],
    [118, 148, 36, 344, 314],
    [82, 83, 81, 267, 84],
    [118, 148, 36, 373, 341],
];

/// `errno` 0: the call has succeeded.
const SUCCEED: u32 = 0x0005_0000;

/// The program by which flushes to disk do nothing, successfully.
pub(super) fn without_flushes() -> Vec<Instruction> {
    let sections = FLUSHES.iter().map(|numbers| {
        let mut section = vec![instruction(LOAD, 0, 0, NUMBER)];
        for number in numbers {
            section.push(instruction(EQUAL, 0, 1, *number));
            section.push(instruction(RETURN, 0, 0, SUCCEED));
        }
        section.push(instruction(RETURN, 0, 0, ALLOW));
        section
    });
    of_sections(sections)
}

/// The program.
pub(super) fn program(wanted: &Wanted) -> Vec<Instruction> {
    of_sections(INTERFACES.iter().map(|interface| section(interface, wanted)))
}

/// A program of one part for each interface, in their order; calls of another one are allowed.
fn of_sections(sections: impl Iterator<Item = Vec<Instruction>>) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (interface, section) in INTERFACES.iter().zip(sections) {
        let len = u8::try_from(section.len()).expect("the tables are short");
        program.push(instruction(LOAD, 0, 0, ARCH));
        program.push(instruction(EQUAL, 0, len, interface.arch));
        program.extend(section);
    }
    program.push(instruction(RETURN, 0, 0, ALLOW));
    program
}

/// The part for one interface; it always returns.
fn section(interface: &Interface, wanted: &Wanted) -> Vec<Instruction> {
    let mut section = vec![instruction(LOAD, 0, 0, NUMBER)];
    let mut judge = |number: u32, body: Vec<Instruction>| {
        let len = u8::try_from(body.len()).expect("a body is short");
        section.push(instruction(EQUAL, 0, len, number));
        section.extend(body);
    };
    if wanted.network == Network::Barred {
        judge(IO_URING_SETUP, vec![instruction(RETURN, 0, 0, NOT_IMPLEMENTED)]);
    }
    for (number, meaning) in interface.calls {
        if let Some(body) = body(*meaning, wanted) {
            judge(*number, body);
        }
    }
    section.push(instruction(RETURN, 0, 0, ALLOW));
    section
}

const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// Devices that are no part of the host, as `mknod` takes their numbers: what overlays cover names with, `null`, `zero`,
/// `full`, `random`, `urandom`, `tty`, `console`, `ptmx`.
const OF_NO_HOST: [u32; 9] = [0, 0x103, 0x105, 0x107, 0x108, 0x109, 0x500, 0x501, 0x502];

/// What decides about a node that somebody may make.
fn node_of_host(path: usize) -> Vec<Instruction> {
    let harmless = u8::try_from(OF_NO_HOST.len()).expect("the list is short");
    let mut body = vec![
        instruction(LOAD, 0, 0, low(path + 1)),
        instruction(AND, 0, 0, S_IFMT),
        instruction(EQUAL, harmless + 2, 0, S_IFBLK),
        instruction(EQUAL, 0, harmless + 2, S_IFCHR),
        instruction(LOAD, 0, 0, low(path + 2)),
    ];
    for (left, number) in (1..=harmless).rev().zip(OF_NO_HOST) {
        body.push(instruction(EQUAL, left, 0, number));
    }
    body.push(instruction(RETURN, 0, 0, NOTIFY));
    body.push(instruction(RETURN, 0, 0, ALLOW));
    body
}

/// What decides about a call, if it is of interest.
fn body(meaning: Meaning, wanted: &Wanted) -> Option<Vec<Instruction>> {
    const UNCHANGED: u32 = u32::MAX;
    let network = wanted.network;
    match meaning {
        Node { path } if wanted.devices == Devices::OfHost => Some(node_of_host(path)),
        FileSystem { .. } if wanted.devices == Devices::OfHost => {
            Some(vec![instruction(RETURN, 0, 0, NOTIFY)])
        }
        Node { path } if wanted.devices == Devices::All => Some(vec![
            instruction(LOAD, 0, 0, low(path + 1)),
            instruction(AND, 0, 0, S_IFMT),
            instruction(EQUAL, 1, 0, S_IFCHR),
            instruction(EQUAL, 0, 1, S_IFBLK),
            instruction(RETURN, 0, 0, NOTIFY),
            instruction(RETURN, 0, 0, ALLOW),
        ]),
        Owner { user } => wanted.owners.map(|(last_user, last_group)| {
            vec![
                instruction(LOAD, 0, 0, low(user)),
                instruction(EQUAL, 1, 0, UNCHANGED),
                instruction(ABOVE, 3, 0, last_user),
                instruction(LOAD, 0, 0, low(user + 1)),
                instruction(EQUAL, 2, 0, UNCHANGED),
                instruction(ABOVE, 0, 1, last_group),
                instruction(RETURN, 0, 0, NOTIFY),
                instruction(RETURN, 0, 0, ALLOW),
            ]
        }),
        Connect if network != Network::Unwatched => Some(vec![instruction(RETURN, 0, 0, NOTIFY)]),
        // Only with an address; a connected socket's peer is known.
        SendTo if network != Network::Unwatched => Some(vec![
            instruction(LOAD, 0, 0, low(4)),
            instruction(EQUAL, 0, 2, 0),
            instruction(LOAD, 0, 0, high(4)),
            instruction(EQUAL, 1, 0, 0),
            instruction(RETURN, 0, 0, NOTIFY),
            instruction(RETURN, 0, 0, ALLOW),
        ]),
        SendMessage | SendMessages if network == Network::Barred => {
            Some(vec![instruction(RETURN, 0, 0, NOTIFY)])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does.
    fn decide(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCH => arch,
            _ => {
                let at = usize::try_from(offset - 16).unwrap();
                let bytes = args[at / 8].to_le_bytes();
                u32::from_le_bytes(bytes[at % 8..at % 8 + 4].try_into().unwrap())
            }
        };
        let (mut at, mut held) = (0, 0);
        loop {
            let it = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { it.when } else { it.otherwise });
            match it.code {
                LOAD => held = word(it.value),
                AND => held &= it.value,
                EQUAL => at += jump(held == it.value),
                ABOVE => at += jump(held > it.value),
                RETURN => return it.value,
                code => panic!("no instruction {code}"),
            }
        }
    }

    const X86_64: u32 = 0xc000_003e;
    const AARCH64: u32 = 0xc000_00b7;

    #[test]
    fn only_what_is_wanted_is_heard() {
        let wanted = Wanted {
            devices: Devices::All,
            owners: Some((65_536, 10)),
            network: Network::Watched,
        };
        let all = program(&wanted);
        let unchanged = u64::from(u32::MAX);
        for (arch, number, args, heard) in [
            (X86_64, 133, [1, 0o020_644, 0x103, 0, 0, 0], true),
            (X86_64, 259, [0, 1, 0o060_644, 0x103, 0, 0], true),
            (X86_64, 259, [0, 1, 0o010_644, 0, 0, 0], false),
            (X86_64, 259, [0, 1, 0o644, 0, 0, 0], false),
            (X86_64, 92, [1, 65_536, 10, 0, 0, 0], false),
            (X86_64, 92, [1, 65_537, 10, 0, 0, 0], true),
            (X86_64, 92, [1, 0, 11, 0, 0, 0], true),
            (X86_64, 260, [0, 1, unchanged, 10, 0, 0], false),
            (X86_64, 260, [0, 1, unchanged, 11, 0, 0], true),
            (X86_64, 260, [0, 1, 70_000, unchanged, 0, 0], true),
            (X86_64, 42, [3, 1, 16, 0, 0, 0], true),
            (X86_64, 44, [3, 1, 16, 0, 0, 0], false),
            (X86_64, 44, [3, 1, 16, 0, 1 << 32, 16], true),
            (X86_64, 46, [3, 1, 0, 0, 0, 0], false),
            (X86_64, 425, [1, 1, 0, 0, 0, 0], false),
            (AARCH64, 33, [0, 1, 0o020_644, 0x103, 0, 0], true),
            (AARCH64, 133, [1, 0o020_644, 0x103, 0, 0, 0], false),
            (0xdead, 133, [1, 0o020_644, 0x103, 0, 0, 0], false),
        ] {
            let decided = decide(&all, arch, number, args) == NOTIFY;
            assert_eq!(decided, heard, "{number} {args:?}");
        }
        let none = program(&Wanted::default());
        assert_eq!(decide(&none, X86_64, 133, [1, 0o020_644, 0, 0, 0, 0]), ALLOW);
        assert_eq!(decide(&none, X86_64, 92, [1, 1 << 31, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn of_devices_that_may_be_made_those_of_the_host_are_heard() {
        let wanted = Wanted {
            devices: Devices::OfHost,
            ..Wanted::default()
        };
        let program = program(&wanted);
        for (number, args, heard) in [
            (133, [1, 0o060_644, 0x800, 0, 0, 0], true),
            (133, [1, 0o060_644, 0, 0, 0, 0], true),
            (133, [1, 0o020_644, 0, 0, 0, 0], false),
            (133, [1, 0o020_644, 0x103, 0, 0, 0], false),
            (133, [1, 0o020_644, 0x502, 0, 0, 0], false),
            // /dev/mem, and a SCSI generic device.
            (133, [1, 0o020_644, 0x101, 0, 0, 0], true),
            (259, [0, 1, 0o020_644, 0x1500, 0, 0], true),
            (133, [1, 0o010_644, 0x101, 0, 0, 0], false),
            (133, [1, 0o644, 0x101, 0, 0, 0], false),
            (165, [1, 1, 1, 0, 0, 0], true),
            (430, [1, 0, 0, 0, 0, 0], true),
            (92, [1, 70_000, 0, 0, 0, 0], false),
        ] {
            let decided = decide(&program, X86_64, number, args) == NOTIFY;
            assert_eq!(decided, heard, "{number} {args:?}");
        }
    }

    #[test]
    fn where_nobody_else_refuses_no_way_is_left() {
        let wanted = Wanted {
            network: Network::Barred,
            ..Wanted::default()
        };
        let program = program(&wanted);
        for number in [42, 46, 307] {
            assert_eq!(decide(&program, X86_64, number, [0; 6]), NOTIFY, "{number}");
        }
        assert_eq!(decide(&program, X86_64, IO_URING_SETUP, [0; 6]), NOT_IMPLEMENTED);
    }

    #[test]
    fn numbers_are_those_of_this_machine() {
        for (number, means) in [
            (libc::SYS_mknodat, Node { path: 1 }),
            (libc::SYS_mount, FileSystem { name: 2 }),
            (libc::SYS_fsopen, FileSystem { name: 0 }),
            (libc::SYS_fchownat, Owner { user: 2 }),
            (libc::SYS_fchown, Owner { user: 1 }),
            (libc::SYS_connect, Connect),
            (libc::SYS_sendto, SendTo),
            (libc::SYS_sendmsg, SendMessage),
            (libc::SYS_sendmmsg, SendMessages),
        ] {
            let arch = match std::env::consts::ARCH {
                "x86_64" => X86_64,
                "aarch64" => AARCH64,
                _ => return,
            };
            let number = u32::try_from(number).unwrap();
            assert_eq!(meaning(arch, number).map(|(_, meaning)| meaning), Some(means));
        }
    }
}
