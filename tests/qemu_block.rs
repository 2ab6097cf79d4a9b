//! What the commands that read disks answer, in QEMU as distributions ship it.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu_block.rs"]
mod disks;
#[path = "common/qemu.rs"]
mod qemu;

use std::fs;
use std::time::{Duration, Instant};

use disks::{CHECKSUM, COMPARE, Images, LENGTH, digest_of, node, quit};
use qemu::{Qemu, error, with_each_qemu};
use serde_json::json;

#[test]
fn a_checksum_is_that_of_the_image_whatever_its_format_is_and_wherever_it_is_computed() {
    let images = Images::new();
    let sha512 = digest_of(&images.folder.file("raw"), "sha512sum");
    let drive = format!("if=none,id=drive,format=raw,readonly=on,file={}", images.path("raw"));
    with_each_qemu(|program| {
        let qemu = images.start(program, &["-drive", &drive]);
        for mut monitor in [qemu.first(), qemu.ours()] {
            for mut arguments in [node("disk"), node("raw"), json!({ "device": "drive" })] {
                let here = monitor.ok(CHECKSUM, &arguments);
                arguments["iothread"] = json!("io0");
                let there = monitor.ok(CHECKSUM, &arguments);
                assert_eq!([&here["digest"], &there["digest"]], [&images.digest, &images.digest]);
                assert_eq!(here["bytes"], LENGTH);
            }
            let other = json!({ "node-name": "disk", "algorithm": "sha512" });
            assert_eq!(monitor.ok(CHECKSUM, &other)["digest"], sha512);
        }
        quit(qemu);
    });
}

#[test]
fn the_naive_command_is_there_on_request_and_comes_to_the_same() {
    const NAIVE: &str = "x-blocking-blockdev-checksum";
    let images = Images::new();
    let drive = format!("if=none,id=drive,format=raw,readonly=on,file={}", images.path("raw"));
    let device = |name: &str| json!({ "device": name });
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",naive=on", &["-drive", &drive]);
        for mut monitor in [qemu.first(), qemu.ours()] {
            let checksum = monitor.ok(NAIVE, &device("drive"));
            assert_eq!(checksum["digest"], images.digest);
            assert_eq!(checksum["bytes"], LENGTH);
            let refused = monitor.ask(NAIVE, &device("none"));
            assert_eq!(refused, error("Cannot find device='none' nor node-name=''"));
        }
        quit(qemu);
        let without = images.start(program, &[]);
        let refused = without.ours().ask(NAIVE, &device("disk"));
        assert_eq!(refused["error"]["class"], "CommandNotFound");
        quit(without);
    });
}

#[test]
fn a_checksum_of_a_part_is_that_of_the_part() {
    let images = Images::new();
    let bytes = fs::read(images.folder.file("raw")).expect("it was written");
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let mut monitor = qemu.ours();
        for (offset, length) in [(0, 1), (511, 2), (1 << 20, 1 << 20), (4_000_001, 1_000_700)] {
            fs::write(images.folder.file("part"), &bytes[offset..offset + length])
                .expect("there is space");
            let part = json!({ "node-name": "disk", "offset": offset, "length": length });
            let reply = monitor.ok(CHECKSUM, &part);
            assert_eq!(reply["digest"], digest_of(&images.folder.file("part"), "sha256sum"));
        }
        let nothing = monitor.ok(CHECKSUM, &json!({ "node-name": "disk", "offset": LENGTH }));
        assert_eq!(nothing["bytes"], 0);
        quit(qemu);
    });
}

#[test]
fn what_cannot_be_read_is_refused_in_the_words_of_qemu() {
    let images = Images::new();
    let beyond =
        format!("Offset (5000705) cannot be greater than size of the containing node ({LENGTH})");
    let too_long = format!(
        "The sum of offset (1) and length ({LENGTH}) has to be smaller or equal to the actual size of the \
         containing node ({LENGTH})"
    );
    let cases = [
        (json!({}), "Need exactly one of 'device' and 'node-name'"),
        (
            json!({ "device": "a", "node-name": "b" }),
            "Need exactly one of 'device' and 'node-name'",
        ),
        (node("none"), "Cannot find device='' nor node-name='none'"),
        (json!({ "device": "disk" }), "Cannot find device='disk' nor node-name=''"),
        (json!({ "device": "cd" }), "Device 'cd' has no medium"),
        (json!({ "node-name": "disk", "iothread": "io9" }), "Cannot find iothread io9"),
        (json!({ "node-name": "disk", "offset": LENGTH + 1 }), beyond.as_str()),
        (json!({ "node-name": "disk", "offset": 1, "length": LENGTH }), too_long.as_str()),
        (json!({ "node-name": "disk", "speed": "fast" }), "Parameter 'speed' expects uint64"),
    ];
    with_each_qemu(|program| {
        let qemu = images.start(program, &["-drive", "if=none,id=cd,media=cdrom"]);
        let (mut theirs, mut ours) = (qemu.first(), qemu.ours());
        for (arguments, sentence) in &cases {
            assert_eq!(theirs.ask(CHECKSUM, arguments), error(sentence));
            assert_eq!(ours.ask(CHECKSUM, arguments), error(sentence));
        }
        let target = json!({ "node-name": "disk", "target": "none" });
        let missing = error("Cannot find device='none' nor node-name='none'");
        assert_eq!(ours.ask(COMPARE, &target), missing);
        // Nothing of that is still in use.
        theirs.ok("blockdev-del", &node("disk"));
        quit(qemu);
    });
}

#[test]
fn two_disks_are_equal_or_differ_at_a_place() {
    let images = Images::new();
    let mut bytes = fs::read(images.folder.file("raw")).expect("it was written");
    let place = 3_333_333;
    bytes[place] ^= 1;
    fs::write(images.folder.file("other"), &bytes).expect("there is space");
    fs::write(images.folder.file("short"), &bytes[..1 << 20]).expect("there is space");
    let [other, short] = ["other", "short"].map(|name| {
        let path = images.path(name);
        format!("driver=raw,node-name={name},read-only=on,file.driver=file,file.filename={path}")
    });
    with_each_qemu(|program| {
        let qemu = images.start(program, &["-blockdev", &other, "-blockdev", &short]);
        let mut monitor = qemu.ours();
        let mut compare =
            |target: &str| monitor.ok(COMPARE, &json!({ "node-name": "disk", "target": target }));
        let sizes = json!({ "equal": true, "length": LENGTH, "target-length": LENGTH });
        assert_eq!(compare("raw"), sizes);
        assert_eq!(compare("disk"), sizes);
        let differs = json!({
            "equal": false, "offset": place, "length": LENGTH, "target-length": LENGTH
        });
        assert_eq!(compare("other"), differs);
        let ends = json!({
            "equal": false, "offset": 1 << 20, "length": LENGTH, "target-length": 1 << 20
        });
        assert_eq!(compare("short"), ends);
        quit(qemu);
    });
}

#[test]
fn several_commands_read_one_disk_at_once() {
    let images = Images::new();
    with_each_qemu(|program| {
        for plugin in ["", ",nested=on"] {
            let qemu = images.start_with(program, plugin, &[]);
            let mut clients: Vec<_> = (0..8).map(|_| qemu.ours()).collect();
            for (number, client) in clients.iter_mut().enumerate() {
                let mut arguments = node(if number % 2 == 0 { "disk" } else { "raw" });
                if number < 4 {
                    arguments["iothread"] = json!("io0");
                }
                client.send(CHECKSUM, &arguments);
            }
            for client in &mut clients {
                assert_eq!(client.receive()["return"]["digest"], images.digest);
            }
            quit(qemu);
        }
    });
}

/// How much memory a process has that is in use, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("it is a number")
}

#[test]
fn a_hundred_commands_in_a_row_leave_the_memory_as_it_is() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let mut monitor = qemu.ours();
        let mut fifty = || {
            for _ in 0..25 {
                monitor.ok(CHECKSUM, &json!({ "node-name": "disk", "iothread": "io0" }));
                monitor.ok(COMPARE, &json!({ "node-name": "disk", "target": "raw" }));
            }
        };
        fifty();
        let before = resident(qemu.pid());
        fifty();
        let grown = resident(qemu.pid()).saturating_sub(before);
        // One read of a megabyte that stays would be more.
        assert!(grown < 1024, "fifty commands took {grown} KiB");
        quit(qemu);
    });
}

#[test]
fn a_checksum_takes_as_long_as_its_speed_says() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let start = Instant::now();
        let arguments = json!({ "node-name": "disk", "speed": 10_000_000 });
        let reply = qemu.ours().ok(CHECKSUM, &arguments);
        assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
        assert_eq!(reply["digest"], images.digest);
        quit(qemu);
    });
}

#[test]
fn a_read_error_has_the_words_of_c() {
    let images = Images::new();
    let bad = |name: &str, errno: u32| {
        let (sector, path) = (2_u32 << 11, images.path("raw"));
        format!(
            "driver=blkdebug,node-name={name},read-only=on,image.driver=file,image.filename={path},\
             inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno={errno},\
             inject-error.0.sector={sector}"
        )
    };
    let (io, space) = (bad("io", 5), bad("space", 28));
    with_each_qemu(|program| {
        let qemu = images.start(program, &["-blockdev", &io, "-blockdev", &space]);
        let mut monitor = qemu.ours();
        let refused = |name: &str, words: &str| {
            error(&format!("Could not read '{name}' at offset {}: {words}", 2 << 20))
        };
        for _ in 0..2 {
            let no_space = refused("space", "No space left on device");
            assert_eq!(monitor.ask(CHECKSUM, &node("space")), no_space);
            assert_eq!(monitor.ask(CHECKSUM, &node("io")), refused("io", "Input/output error"));
            let compare = json!({ "node-name": "disk", "target": "io" });
            assert_eq!(monitor.ask(COMPARE, &compare), refused("io", "Input/output error"));
        }
        for name in ["io", "space", "disk"] {
            monitor.ok("blockdev-del", &node(name));
        }
        quit(qemu);
    });
}
