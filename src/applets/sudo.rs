//! `sudo`, for hooks of a build that is root already: just runs the command.
//!
//! Understands what hooks write: `sudo [-EHnSbikK] [-u USER] [VAR=value]... [--] COMMAND [ARGUMENT]...`. Another user
//! than root is refused, since silently running as root would be worse.

use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::vec::IntoIter;

use crate::error::{Error, Kind, Result};
use crate::sandbox::launch::become_program;
use crate::ui;

/// A parsed command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Request {
    variables: Vec<(OsString, OsString)>,
    command: Vec<OsString>,
    shell: bool,
}

/// Becomes the command. Returns only if it cannot, or there is none.
pub fn run(args: &[OsString]) -> u8 {
    match become_command(args.get(1..).unwrap_or_default().to_vec()) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn become_command(args: Vec<OsString>) -> Result<()> {
    let request = parse(args)?;
    let shell = OsString::from("/bin/sh");
    let (program, args) = match request.command.split_first() {
        Some((program, args)) => (program, args),
        None if request.shell => (&shell, &[][..]),
        // `sudo -v`, `sudo -k`: there is no time stamp to care for.
        None => return Ok(()),
    };
    let error = become_program(program, args, &request.variables);
    let status = if error.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    let message = format!("sudo: cannot run {}", Path::new(program).display());
    Err(Error::new(Kind::Hook { status }, message).because(error))
}

/// The command that a command line asks for.
pub(crate) fn command_of(args: Vec<OsString>) -> Result<Vec<OsString>> {
    parse(args).map(|request| request.command)
}

fn parse(args: Vec<OsString>) -> Result<Request> {
    let mut request = Request::default();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next_if(|arg| arg.as_bytes().starts_with(b"-")) {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            break;
        }
        match bytes.strip_prefix(b"--") {
            Some(long) => long_option(long, &mut args)?,
            None => short_options(&arg, &mut request, &mut args)?,
        }
    }
    while let Some(pair) = args.peek().and_then(|arg| assignment(arg)) {
        request.variables.push(pair);
        args.next();
    }
    request.command = args.collect();
    Ok(request)
}

fn short_options(arg: &OsStr, request: &mut Request, args: &mut Peekable<IntoIter<OsString>>) -> Result<()> {
    for (at, letter) in arg.as_bytes().iter().enumerate().skip(1) {
        match letter {
            b'u' | b'g' | b'p' | b'C' | b'D' | b'h' => {
                let rest = &arg.as_bytes()[at + 1..];
                let attached = (!rest.is_empty()).then(|| OsStr::from_bytes(rest).to_owned());
                let value = attached.or_else(|| args.next()).unwrap_or_default();
                return if matches!(letter, b'u' | b'g') {
                    require_root(&value)
                } else {
                    Ok(())
                };
            }
            b'i' | b's' => request.shell = true,
            b'E' | b'H' | b'n' | b'S' | b'b' | b'k' | b'K' | b'P' | b'A' | b'v' => {}
            _ => return Err(unknown(arg)),
        }
    }
    Ok(())
}

fn long_option(long: &[u8], args: &mut Peekable<IntoIter<OsString>>) -> Result<()> {
    let (name, value) = match long.iter().position(|byte| *byte == b'=') {
        Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]).to_owned())),
        None => (long, None),
    };
    match name {
        b"preserve-env" | b"set-home" | b"non-interactive" | b"stdin" | b"validate" => Ok(()),
        b"user" | b"group" => require_root(&value.or_else(|| args.next()).unwrap_or_default()),
        _ => Err(unknown(OsStr::from_bytes(&[b"--", name].concat()))),
    }
}

fn require_root(user: &OsStr) -> Result<()> {
    if matches!(user.as_bytes(), b"root" | b"#0" | b"0") {
        return Ok(());
    }
    let message = format!("sudo: only root is there to run as, not {}", user.display());
    Err(Error::usage(message).hint("the command setpriv or su can change the user"))
}

fn unknown(arg: &OsStr) -> Error {
    Error::usage(format!("sudo: unknown option {}", arg.display()))
}

fn assignment(arg: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = arg.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&bytes[..at], &bytes[at + 1..]);
    let is_name = !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then(|| {
        (
            OsStr::from_bytes(name).to_owned(),
            OsStr::from_bytes(value).to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(Vec<String>, Vec<String>)> {
        let request = parse(line.split_whitespace().map(OsString::from).collect())?;
        let text = |os: &OsString| os.to_str().unwrap().to_owned();
        let variables = request.variables.iter();
        let variables = variables.map(|(name, value)| format!("{}={}", text(name), text(value)));
        Ok((variables.collect(), request.command.iter().map(text).collect()))
    }

    #[test]
    fn options_and_variables_come_before_the_command() {
        let cases = [
            ("mkdir -p a", "", "mkdir -p a"),
            ("-E A=1 B= tee -a x", "A=1 B=", "tee -a x"),
            ("-nEu root -- -odd", "", "-odd"),
            ("--preserve-env=PATH --user=root env X=1", "", "env X=1"),
            ("-uroot true", "", "true"),
            ("-v", "", ""),
        ];
        for (line, variables, command) in cases {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(
                parsed(line).unwrap(),
                (words(variables), words(command)),
                "{line}"
            );
        }
        assert!(parsed("-u nobody id").is_err());
        assert!(parsed("-Z id").is_err());
    }
}
