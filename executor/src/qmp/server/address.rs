//! Where a server listens, as people write it.
//!
//! Parsing looks at the form alone; whether the place exists is found out when the server listens there.
//!
//! Threads: any.

#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place at which a [`Server`](super::Server) takes clients.
///
/// # Examples
///
/// ```
/// use executor::qmp::Address;
///
/// let address: Address = "tcp:127.0.0.1:4444".parse()?;
/// assert_eq!(address, Address::Tcp("127.0.0.1:4444".into()));
/// assert_eq!(address.to_string(), "tcp:127.0.0.1:4444");
/// # Ok::<(), executor::qmp::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A UNIX socket at this path: `unix:PATH`.
    ///
    /// Whoever may connect commands the program, so the file's mode is 0600 from its creation on, also where the
    /// umask would allow more. Its owner may change it once the server listens.
    Unix(PathBuf),
    /// A TCP socket, as host and port: `tcp:HOST:PORT`. Port 0 lets the kernel choose one.
    ///
    /// Whoever reaches the port commands the program. A client that closes its connection looks like one
    /// that only sends no more, so a command that runs for it is not cancelled, as it is with UNIX sockets.
    Tcp(String),
    /// Standard input and output, for one client: `stdio`.
    Stdio,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |problem| Err(AddressError { text: text.to_owned(), problem });
        match text.split_once(':') {
            None if text == "stdio" => Ok(Self::Stdio),
            Some(("unix", "")) => refuse("the path is missing"),
            Some(("unix" | "tcp", place)) if place.contains(",server") => {
                refuse("options are not needed: it is always the server, and never waits")
            }
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("tcp", place)) => match check_host_and_port(place) {
                Ok(()) => Ok(Self::Tcp(place.to_owned())),
                Err(problem) => refuse(problem),
            },
            _ => refuse("expected `unix:PATH`, `tcp:HOST:PORT` or `stdio`"),
        }
    }
}

fn check_host_and_port(place: &str) -> Result<(), &'static str> {
    let Some((host, port)) = place.rsplit_once(':') else {
        return Err("the port is missing: expected `tcp:HOST:PORT`");
    };
    if host.is_empty() {
        return Err("the host is missing; `tcp:0.0.0.0:PORT` listens on every network");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an IPv6 address goes in brackets, as in `tcp:[::1]:4444`");
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err("the port is not a number from 0 to 65535"),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(place) => write!(f, "tcp:{place}"),
            Self::Stdio => f.write_str("stdio"),
        }
    }
}

/// Why a text is no [`Address`].
///
/// # Examples
///
/// ```
/// use executor::qmp::{Address, AddressError};
///
/// let error: AddressError = "tcp:localhost".parse::<Address>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`tcp:localhost` is no address of a monitor: the port is missing: expected `tcp:HOST:PORT`"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no address of a monitor: {}", self.text, self.problem)
    }
}

impl error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::Address;

    fn problem(text: &str) -> &'static str {
        text.parse::<Address>().expect_err("the address is wrong").problem
    }

    #[test]
    fn every_kind_of_address_reads_as_it_is_written() {
        for text in ["unix:/run/qmp.sock", "unix:a:b", "tcp:localhost:0", "tcp:[::1]:4444", "stdio"]
        {
            let address: Address = text.parse().expect("the address is right");

            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_is_told_what_is_wrong() {
        let cases = [
            ("", "expected `unix:PATH`"),
            ("/run/qmp.sock", "expected `unix:PATH`"),
            ("udp:localhost:1", "expected `unix:PATH`"),
            ("stdio:", "expected `unix:PATH`"),
            ("unix:", "the path is missing"),
            ("unix:/run/qmp.sock,server=on,wait=off", "options are not needed"),
            ("tcp:localhost", "the port is missing"),
            ("tcp::4444", "the host is missing"),
            ("tcp:::1:4444", "brackets"),
            ("tcp:localhost:http", "not a number"),
            ("tcp:localhost:65536", "not a number"),
        ];
        for (text, expected) in cases {
            assert!(problem(text).contains(expected), "{text}: {}", problem(text));
        }
    }
}
