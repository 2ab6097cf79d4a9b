//! `qmp-shell-wrap`: listens itself, and starts the server with `-qmp unix:PATH` behind its arguments.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::super::pty::Pty;
use super::super::python_clients::find;
use super::CRC32C;

/// A shell that has started its server.
pub(crate) struct Wrapped(Pty);

impl Wrapped {
    /// Starts the shell in `folder`, where it makes its socket; nothing without the client.
    pub(crate) fn start(folder: &Path, server: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut command = Command::new(find("qmp-shell-wrap")?);
        command.current_dir(folder).env("HOME", folder).env("TERM", "dumb");
        command.arg("--").args(server);
        let mut shell = Pty::start(&mut command);
        shell.wait_for("Connected");
        Some(Self(shell))
    }

    /// Asks for something; waits until `printed` is, too.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &str, printed: &str) {
        self.0.type_in(&format!("{request}\n"));
        self.0.wait_for(printed);
    }

    /// What every server is to be able to do, up to its end.
    #[track_caller]
    pub(crate) fn drive(mut self, file: &Path) {
        self.ask("query-status", "\"running\": true");
        let checksum = format!("x-file-checksum filename={} algorithm=crc32c", file.display());
        self.ask(&checksum, CRC32C);
        self.ask("no-such-command", "has not been found");
        self.ask("quit", "\"return\": {}");
        // The shell does not like that its server has gone, and says so with its status.
        self.0.end("\x04");
    }
}
