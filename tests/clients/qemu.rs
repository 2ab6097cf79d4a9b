//! The clients against the plugin's server inside QEMU; see `../common/qemu.rs` for which QEMUs.

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
use std::path::Path;

use drive::{Server, Wrapped};
use qemu::{Folder, Qemu, with_each_qemu};
use serde_json::json;

/// The version of a QEMU, as it greets clients.
fn version(program: &Path) -> String {
    let printed = std::process::Command::new(program).arg("--version").output();
    let printed = String::from_utf8(printed.expect("QEMU starts").stdout).expect("it is text");
    let mut words = printed.split_whitespace().skip_while(|word| *word != "version");
    words.nth(1).expect("a word after `version`").to_owned()
}

#[test]
fn every_client_is_served() {
    with_each_qemu(|program| {
        // Of a machine, since the human monitor begins with a processor.
        let qemu = Qemu::start(program, "", &["-M", "pc"]);
        let folder = Folder::new();

        let server = Server::new(qemu.ours_path(), &version(program), &folder.file(""));
        server.serve_everybody();

        qemu.ours().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

/// QEMU with the plugin, as a shell is told to start it.
fn command_line(program: &Path) -> Vec<OsString> {
    let command = qemu::command(program, "", &[]);
    let arguments = command.get_args().map(OsString::from);
    [command.get_program().into()].into_iter().chain(arguments).collect()
}

#[test]
fn the_client_that_starts_qemu_has_our_commands_in_its_monitor() {
    with_each_qemu(|program| {
        let folder = Folder::new();
        let server = Server::new(folder.file("qmp"), &version(program), &folder.file(""));
        let started = Wrapped::start(&folder.file(""), command_line(program));
        started.into_iter().for_each(|shell| shell.drive(&server.file));
    });
}

/// The shell adds `-qmp ADDRESS` to the command line, which is for a monitor of QEMU's own. This says it in the
/// plugin's words: moves all other arguments behind those two, and takes them away.
const SCRIPT: &str = r#"plugin=$1
shift
others=$(($# - 2))
while [ $others -gt 0 ]; do
    set -- "$@" "$1"
    shift
    others=$((others - 1))
done
address=$2
shift 2
exec "$@" -plugin "$plugin,qmp-connect=$address"
"#;

#[test]
fn the_client_that_starts_qemu_can_have_our_server_connected_instead() {
    with_each_qemu(|program| {
        let folder = Folder::new();
        let server = Server::new(folder.file("qmp"), &version(program), &folder.file(""));
        let mut command = command_line(program);
        let plugin = command.pop().expect("the plugin is last");
        let _option = command.pop();
        let script = ["/bin/sh", "-c", SCRIPT, "qemu"].map(OsString::from);
        let words = script.into_iter().chain([plugin]).chain(command);
        let Some(mut shell) = Wrapped::start(&folder.file(""), words) else { return };
        shell.ask("x-query-tasks", "qmp:dispatcher");
        shell.drive(&server.file);
    });
}
