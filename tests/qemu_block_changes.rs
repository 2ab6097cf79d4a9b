//! What happens to the commands that read disks when disks, iothreads, clients or QEMU go or change.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu_block.rs"]
mod disks;
#[path = "common/qemu.rs"]
mod qemu;

use std::thread;

use common::wait_until;
use disks::{CHECKSUM, COMPARE, HELD, Images, LENGTH, begin, cancel, held, node, quit};
use nix::sys::signal::Signal;
use qemu::{Monitor, Qemu, error, with_each_qemu};
use serde_json::{Value, json};

#[test]
fn a_disk_is_in_use_until_its_reader_is_gone() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start_slow(program, 2_000_000, &[]);
        let mut client = begin(&qemu, CHECKSUM, &node("slow"));
        let mut monitor = qemu.first();
        let reply = monitor.ask("blockdev-del", &node("slow"));
        assert_eq!(reply, error("Node slow is in use"));
        cancel(&qemu, CHECKSUM);
        assert_eq!(client.receive(), error("The command was cancelled"));
        // The reads that were under way end first.
        let mut gone = || monitor.ask("blockdev-del", &node("slow")).get("return").is_some();
        wait_until("the disk is free", &mut gone);
        monitor.ok("blockdev-del", &node("disk"));
        quit(qemu);
    });
}

#[test]
fn a_disk_is_free_when_the_reply_is_there() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let mut monitor = qemu.ours();
        monitor.ok(CHECKSUM, &node("disk"));
        monitor.ok("blockdev-del", &node("disk"));
        let compare = json!({ "node-name": "raw", "target": "raw" });
        monitor.ok(COMPARE, &compare);
        monitor.ok("blockdev-del", &node("raw"));
        quit(qemu);
    });
}

#[test]
fn the_command_of_a_client_that_hangs_up_lets_its_disk_go() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        drop(begin(&qemu, CHECKSUM, &held()));
        drop(begin(
            &qemu,
            COMPARE,
            &json!({ "node-name": "disk", "target": "raw", "speed": HELD }),
        ));
        let mut monitor = qemu.first();
        for name in ["disk", "raw"] {
            let mut gone = || monitor.ask("blockdev-del", &node(name)).get("return").is_some();
            wait_until("the disk is free", &mut gone);
        }
        quit(qemu);
    });
}

#[test]
fn a_checksum_goes_on_while_the_guest_is_stopped_and_started() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &["-M", "pc"]);
        let arguments = json!({ "node-name": "disk", "speed": 10_000_000, "iothread": "io0" });
        let mut client = begin(&qemu, CHECKSUM, &arguments);
        let mut monitor = qemu.first();
        for command in ["stop", "cont", "stop"] {
            monitor.ok(command, &json!({}));
        }
        assert_eq!(client.receive()["return"]["digest"], images.digest);
        quit(qemu);
    });
}

#[test]
fn a_checksum_is_right_across_drained_sections_and_new_overlays() {
    let images = Images::new();
    let overlay_file = images.folder.file("overlay");
    with_each_qemu(|program| {
        let qemu = images.start_slow(program, 2_000_000, &[]);
        let mut clients = ["disk", "slow"].map(|name| {
            let arguments = json!({ "node-name": name, "speed": 2_000_000 });
            begin(&qemu, CHECKSUM, &arguments)
        });
        let mut monitor = qemu.first();
        for more in 1..=20 {
            let size = LENGTH + 512 * more;
            monitor.ok("block_resize", &json!({ "node-name": "disk", "size": size }));
        }
        // The reader of `disk` goes on at the overlay, the other one below it.
        let overlay = json!({
            "node-name": "disk", "snapshot-file": overlay_file.display().to_string(),
            "snapshot-node-name": "overlay",
        });
        monitor.ok("blockdev-snapshot-sync", &overlay);
        assert_eq!(qemu.ours().tasks_of(CHECKSUM).len(), 2, "they are at work");
        for client in &mut clients {
            assert_eq!(client.receive()["return"]["digest"], images.digest);
        }
        quit(qemu);
        images.restore();
    });
}

#[test]
fn a_disk_that_shrinks_meanwhile_is_an_error_that_says_so() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let mut client = begin(&qemu, CHECKSUM, &held());
        let shrink = json!({ "node-name": "disk", "size": 512 });
        qemu.first().ok("block_resize", &shrink);
        let reply = client.receive();
        let text = reply["error"]["desc"].as_str().expect("it is an error");
        let said = format!("it has shrunk from {LENGTH} to 512 bytes");
        assert!(text.starts_with("Could not read 'disk' at offset "), "{text}");
        assert!(text.ends_with(&said), "{text}");
        quit(qemu);
        images.restore();
    });
}

/// Moves a node that no device has.
fn move_to_iothread(name: &str, iothread: &Value) -> Value {
    json!({ "node-name": name, "iothread": iothread, "force": true })
}

#[test]
fn a_disk_in_an_iothread_is_read() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start_slow(program, 10_000_000, &[]);
        let mut monitor = qemu.ours();
        for iothread in [json!("io0"), json!("io1"), Value::Null] {
            monitor.ok("x-blockdev-set-iothread", &move_to_iothread("slow", &iothread));
            for name in ["slow", "disk"] {
                let here = monitor.ok(CHECKSUM, &node(name));
                let in_iothread = json!({ "node-name": name, "iothread": "io0" });
                let there = monitor.ok(CHECKSUM, &in_iothread);
                assert_eq!([&here["digest"], &there["digest"]], [&images.digest, &images.digest]);
            }
            let compare = json!({ "node-name": "slow", "target": "raw" });
            assert_eq!(monitor.ok(COMPARE, &compare)["equal"], true);
        }
        quit(qemu);
    });
}

#[test]
fn a_disk_moves_to_another_iothread_while_it_is_read() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let arguments = json!({ "node-name": "disk", "speed": 3_000_000 });
        let mut client = begin(&qemu, CHECKSUM, &arguments);
        let mut monitor = qemu.first();
        for iothread in
            [json!("io0"), json!("io1"), Value::Null, json!("io1")].iter().cycle().take(40)
        {
            monitor.ok("x-blockdev-set-iothread", &move_to_iothread("disk", iothread));
        }
        // Nothing of it is left behind in the other one.
        monitor.ok("object-del", &json!({ "id": "io0" }));
        assert_eq!(qemu.ours().tasks_of(CHECKSUM).len(), 1, "it is at work");
        assert_eq!(client.receive()["return"]["digest"], images.digest);
        quit(qemu);
    });
}

/// Two nodes of zeros, each read of which takes a while.
const LATE: [&str; 4] = [
    "-blockdev",
    "driver=null-co,node-name=late,read-zeroes=on,size=8388608,latency-ns=5000000",
    "-blockdev",
    "driver=raw,node-name=upper,file=late",
];

/// Of each client.
const COMMANDS: usize = 30;

#[test]
fn commands_come_and_go_while_their_disk_moves() {
    let images = Images::new();
    with_each_qemu(|program| {
        for plugin in ["", ",nested=on"] {
            let qemu = images.start_with(program, plugin, &LATE);
            let mut monitor = qemu.first();
            let mut contexts = [json!("io0"), json!("io1"), Value::Null].into_iter().cycle();
            thread::scope(|scope| {
                let work = || {
                    let mut client = qemu.ours();
                    for number in 0..COMMANDS {
                        qemu.ours().send(CHECKSUM, &node("upper"));
                        let name = ["upper", "late"][number % 2];
                        let reply = client.ok(CHECKSUM, &node(name));
                        assert_eq!(reply["bytes"], 1 << 23);
                    }
                };
                let clients = [(); 4].map(|()| scope.spawn(work));
                while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
                    let context = contexts.next().expect("it is endless");
                    monitor.ok("x-blockdev-set-iothread", &move_to_iothread("upper", &context));
                }
            });
            quit(qemu);
        }
    });
}

#[test]
fn a_disk_of_a_device_with_an_iothread_is_read_while_the_guest_runs() {
    let images = Images::new();
    with_each_qemu(|program| {
        let device = "virtio-blk-pci,drive=disk,iothread=io0";
        let qemu = images.start(program, &["-M", "pc", "-device", device]);
        let mut monitor = qemu.ours();
        for iothread in ["io0", "io1"] {
            let arguments = json!({ "node-name": "disk", "iothread": iothread });
            assert_eq!(monitor.ok(CHECKSUM, &arguments)["digest"], images.digest);
        }
        let compare = json!({ "node-name": "disk", "target": "raw" });
        assert_eq!(monitor.ok(COMPARE, &compare)["equal"], true);
        quit(qemu);
    });
}

#[test]
fn an_iothread_is_removed_while_it_hashes() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let arguments = json!({ "node-name": "disk", "speed": 5_000_000, "iothread": "io1" });
        let mut client = begin(&qemu, CHECKSUM, &arguments);
        let mut monitor = qemu.ours();
        monitor.ok("object-del", &json!({ "id": "io1" }));
        assert_eq!(monitor.tasks_of(CHECKSUM).len(), 1, "it is at work");
        assert_eq!(client.receive()["return"]["digest"], images.digest);
        let gone = monitor.ask(CHECKSUM, &arguments);
        assert_eq!(gone, error("Cannot find iothread io1"));
        quit(qemu);
    });
}

/// More zeros than anybody can hash, as fast as can be, and slowly.
const ENDLESS: [&str; 6] = [
    "-object",
    "throttle-group,id=group,x-bps-read=65536",
    "-blockdev",
    "driver=null-co,node-name=endless,read-zeroes=on,size=1099511627776",
    "-blockdev",
    "driver=throttle,node-name=slow,throttle-group=group,file=endless",
];

/// Starts commands of every kind, and reads of every kind under way.
fn start_everything(qemu: &Qemu) -> Vec<Monitor> {
    let endless = |iothread: &str| json!({ "node-name": "endless", "iothread": iothread });
    let commands = [
        (CHECKSUM, node("slow")),
        (CHECKSUM, json!({ "node-name": "slow", "iothread": "io0" })),
        (CHECKSUM, held()),
        (CHECKSUM, node("endless")),
        (CHECKSUM, endless("io0")),
        (CHECKSUM, endless("io1")),
        (COMPARE, json!({ "node-name": "slow", "target": "endless" })),
        (COMPARE, json!({ "node-name": "endless", "target": "endless" })),
    ];
    commands.iter().map(|(command, arguments)| begin(qemu, command, arguments)).collect()
}

#[test]
fn qemu_quits_while_disks_are_read() {
    let images = Images::new();
    with_each_qemu(|program| {
        for iothread in [Value::Null, json!("io0")] {
            let qemu = images.start(program, &ENDLESS);
            let mut monitor = qemu.second();
            monitor.ok("x-blockdev-set-iothread", &move_to_iothread("slow", &iothread));
            drop(monitor);
            let _clients = start_everything(&qemu);
            quit(qemu);
        }
    });
}

#[test]
fn a_signal_ends_qemu_while_its_dispatcher_waits_for_a_disk() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &ENDLESS);
        let _clients = start_everything(&qemu);
        let mut waiting = qemu.first();
        waiting.send(CHECKSUM, &node("slow"));
        let mut observer = qemu.ours();
        wait_until("the last command runs", || observer.tasks_of(CHECKSUM).len() == 7);
        qemu.signal(Signal::SIGTERM);
        assert_eq!(waiting.receive(), error("The command was cancelled"));
        qemu.expect_success();
    });
}
