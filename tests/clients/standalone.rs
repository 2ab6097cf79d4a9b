//! The clients against the standalone server, `examples/qmp_server`.

#[path = "../common/qmp_server.rs"]
mod common;
mod drive;
#[path = "../common/pty.rs"]
mod pty;
#[path = "../common/python_clients.rs"]
mod python_clients;
#[path = "../common/qemu.rs"]
mod qemu;
#[path = "../common/strict_client.rs"]
mod strict_client;

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use common::wait_until;
use drive::{Server, Wrapped};
use qemu::Folder;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The server's program; `$QMP_SERVER`, if there is one.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let given = std::env::var_os("QMP_SERVER").map(PathBuf::from);
        given.unwrap_or_else(|| qemu::build_example("qmp_server", &[]).join("qmp_server"))
    })
}

/// A server that is killed at the end of the test, if it runs then.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_client_is_served() {
    let folder = Folder::new();
    let path = folder.file("qmp");
    let mut command = Command::new(program());
    command.arg("--qmp").arg(format!("unix:{}", path.display())).args(["--iothread", "io0"]);
    let child = command.stderr(Stdio::null()).spawn().expect("the server starts");
    let mut running = Running(child);
    wait_until("the server listens", || UnixStream::connect(&path).is_ok());

    Server::new(path, VERSION, &folder.file("")).serve_everybody();

    assert!(running.0.try_wait().expect("it is our child").is_none(), "the server has ended");
}

#[test]
fn the_client_that_starts_its_server_is_served() {
    let folder = Folder::new();
    let server = Server::new(folder.file("qmp"), VERSION, &folder.file(""));
    let command: [OsString; 3] = [program().into(), "--name".into(), "wrapped".into()];
    let Some(mut shell) = Wrapped::start(&folder.file(""), command) else { return };
    shell.ask("query-name", "\"name\": \"wrapped\"");
    shell.drive(&server.file);
}
