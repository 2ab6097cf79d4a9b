//! How QEMU ends and begins again while the plugin's commands run.
//!
//! Whoever asks for the end, a client, a signal or the guest: a command that waits gets its error, and QEMU
//! ends with status 0. Guests are boot sectors of a few instructions.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use std::fs;
use std::path::Path;

use common::wait_until;
use nix::sys::signal::Signal;
use qemu::{Folder, Monitor, Qemu, error, with_each_qemu};
use serde_json::{Value, json};

/// Longer than any test, on a clock that does not depend on the guest.
fn forever() -> Value {
    json!({ "seconds": 100_000 })
}

/// Both places of the executor.
const PLACES: [&str; 2] = ["", ",nested=on"];

/// A guest that switches its machine off: in QEMU's PC, firmware puts the ACPI register there.
const SHUTS_DOWN: &[u8] = &[
    0xfa, // cli
    0xba, 0x04, 0x06, // mov dx, 0x604
    0xb8, 0x00, 0x20, // mov ax, 0x2000
    0xef, // out dx, ax
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// A guest that resets its machine by way of the keyboard controller, as soon as it has booted.
const RESETS: &[u8] = &[
    0xfa, // cli
    0xb0, 0xfe, // mov al, 0xfe
    0xe6, 0x64, // out 0x64, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Starts a PC that boots `code`, once it is told to go on.
fn start_guest(
    program: &Path,
    code: &[u8],
    plugin_arguments: &str,
    more: &[&str],
) -> (Qemu, Folder) {
    let folder = Folder::new();
    let image = folder.file("boot");
    let mut sector = [0; 512];
    sector[..code.len()].copy_from_slice(code);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&image, sector).expect("there is space");
    let drive = format!("if=ide,format=raw,file={}", image.display());
    let machine = ["-M", "pc", "-S", "-drive", &drive];
    let arguments = [&machine, more].concat();
    (Qemu::start(program, plugin_arguments, &arguments), folder)
}

/// A command that waits in QEMU's own dispatcher, and one that waits in our server.
struct Waiting {
    theirs: Monitor,
    ours: Monitor,
}

impl Waiting {
    /// Starts both, and waits until they run.
    fn start(qemu: &Qemu) -> Self {
        let (mut theirs, mut ours, mut observer) = (qemu.first(), qemu.ours(), qemu.ours());
        theirs.send("x-sleep", &forever());
        ours.send("x-sleep", &forever());
        wait_until("the commands run", || observer.tasks_of("x-sleep").len() == 2);
        Self { theirs, ours }
    }

    /// Checks that both clients are told.
    fn expect_cancelled(mut self) {
        assert_eq!(self.theirs.receive(), error("The command was cancelled"));
        assert_eq!(self.ours.receive(), error("The command was cancelled"));
    }
}

#[test]
fn quit_ends_qemu_while_commands_wait() {
    with_each_qemu(|program| {
        for place in PLACES {
            let qemu = Qemu::start(program, place, &[]);
            let waiting = Waiting::start(&qemu);
            // QEMU's own monitors take no command while one waits.
            qemu.ours().ok("quit", &json!({}));
            waiting.expect_cancelled();
            qemu.expect_success();
        }
    });
}

#[test]
fn signals_end_qemu_while_commands_wait() {
    with_each_qemu(|program| {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let qemu = Qemu::start(program, "", &[]);
            let waiting = Waiting::start(&qemu);
            qemu.signal(signal);
            waiting.expect_cancelled();
            qemu.expect_success();
        }
    });
}

#[test]
fn a_guest_that_shuts_down_ends_qemu_while_commands_wait() {
    with_each_qemu(|program| {
        for place in PLACES {
            let (qemu, _folder) = start_guest(program, SHUTS_DOWN, place, &[]);
            let waiting = Waiting::start(&qemu);
            qemu.ours().ok("cont", &json!({}));
            waiting.expect_cancelled();
            qemu.expect_success();
        }
    });
}

#[test]
fn a_guest_that_resets_a_machine_without_reboot_ends_qemu_while_commands_wait() {
    with_each_qemu(|program| {
        let (qemu, _folder) = start_guest(program, RESETS, "", &["-no-reboot"]);
        let waiting = Waiting::start(&qemu);
        qemu.ours().ok("cont", &json!({}));
        waiting.expect_cancelled();
        qemu.expect_success();
    });
}

/// Waits until the machine was reset so often, as a monitor of QEMU's tells.
fn wait_for_resets(monitor: &mut Monitor, times: usize) {
    for _ in 0..times {
        monitor.wait_for_event("RESET");
    }
}

#[test]
fn commands_go_on_while_the_guest_resets_its_machine_over_and_over() {
    with_each_qemu(|program| {
        let (qemu, _folder) = start_guest(program, RESETS, "", &[]);
        // QEMU greets nobody while a command waits in its dispatcher.
        let (mut ours, mut second) = (qemu.ours(), qemu.second());
        let waiting = Waiting::start(&qemu);
        ours.ok("cont", &json!({}));
        wait_for_resets(&mut second, 3);
        ours.ok("x-sleep", &json!({ "ns": 1_000_000, "clock": "virtual" }));
        ours.ok("quit", &json!({}));
        waiting.expect_cancelled();
        qemu.expect_success();
    });
}

#[test]
fn commands_go_on_after_a_shutdown_of_the_guest_that_only_stops_it() {
    with_each_qemu(|program| {
        for by_signal in [false, true] {
            let (qemu, _folder) = start_guest(program, SHUTS_DOWN, "", &["-no-shutdown"]);
            // QEMU greets nobody while a command waits in its dispatcher.
            let (mut ours, mut second) = (qemu.ours(), qemu.second());
            let waiting = Waiting::start(&qemu);
            ours.ok("cont", &json!({}));
            second.wait_for_event("SHUTDOWN");
            wait_until("the guest is off", || {
                ours.ok("query-status", &json!({}))["status"] == "shutdown"
            });
            ours.ok("x-sleep", &json!({ "seconds": 0.01 }));
            assert_eq!(ours.tasks_of("x-sleep").len(), 2, "the others still wait");
            if by_signal {
                qemu.signal(Signal::SIGTERM);
            } else {
                ours.ok("quit", &json!({}));
            }
            waiting.expect_cancelled();
            qemu.expect_success();
        }
    });
}

#[test]
fn the_first_work_for_an_iothread_that_was_removed_is_refused() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",selftest=on", &[]);
        let (mut sender, mut observer) = (qemu.ours(), qemu.ours());
        sender.send("x-selftest-iothread-gone", &json!({ "iothread": "io0" }));
        wait_until("the command runs", || observer.tasks_of("x-selftest-iothread-gone").len() == 1);
        qemu.first().ok("object-del", &json!({ "id": "io0" }));
        let refused = sender.receive();
        assert_eq!(refused, error("the task was cancelled"));
        observer.ok("quit", &json!({}));
        qemu.expect_success();
    });
}
