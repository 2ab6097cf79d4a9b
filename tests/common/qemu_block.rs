//! Disks for QEMU, and commands that read them.
//!
//! Images are made by `qemu-img`, and what is right is said by `sha256sum`. A command is held in the middle of
//! its work by its own speed limit, or its reads are by a throttled node.

#![allow(dead_code, reason = "every test program uses another part")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::common::wait_until;
use super::qemu::{Folder, Monitor, Qemu};

pub(crate) const CHECKSUM: &str = "x-blockdev-checksum";
pub(crate) const COMPARE: &str = "x-blockdev-compare";

/// How long the test's disk is: sectors, but no blocks.
pub(crate) const LENGTH: usize = 512 * 9767;

/// Slow enough to be found at work: a read of 64 KiB per second.
pub(crate) const HELD: u64 = 1 << 16;

/// A disk as raw and as qcow2, and its digest.
pub(crate) struct Images {
    pub(crate) folder: Folder,
    pub(crate) digest: String,
}

impl Images {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let bytes: Vec<u8> =
            (0..LENGTH as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(folder.file("raw"), bytes).expect("there is space");
        convert(&folder.file("raw"), &folder.file("qcow2"));
        let digest = digest_of(&folder.file("raw"), "sha256sum");
        Self { folder, digest }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.file(name).display().to_string()
    }

    /// The node `disk` on the qcow2 image, and more options.
    pub(crate) fn qcow2(&self, more: &str) -> String {
        let path = self.path("qcow2");
        format!("driver=qcow2,node-name=disk,file.driver=file,file.filename={path}{more}")
    }

    /// The node `raw` on the raw image, for reading only.
    pub(crate) fn raw(&self) -> String {
        let path = self.path("raw");
        format!("driver=raw,node-name=raw,read-only=on,file.driver=file,file.filename={path}")
    }

    /// Makes the qcow2 image again, for a test that writes to it.
    pub(crate) fn restore(&self) {
        convert(&self.folder.file("raw"), &self.folder.file("qcow2"));
        // There is none if the test made none.
        let _ = fs::remove_file(self.folder.file("overlay"));
    }

    /// Starts a QEMU with both, a second iothread, and more arguments.
    pub(crate) fn start(&self, program: &Path, more: &[&str]) -> Qemu {
        self.start_with(program, "", more)
    }

    /// As [`start`](Self::start), with more arguments of the plugin's.
    pub(crate) fn start_with(&self, program: &Path, plugin: &str, more: &[&str]) -> Qemu {
        let (qcow2, raw) = (self.qcow2(""), self.raw());
        let mut arguments = vec!["-blockdev", &qcow2, "-blockdev", &raw];
        arguments.extend(["-object", "iothread,id=io1"]);
        arguments.extend(more);
        Qemu::start(program, plugin, &arguments)
    }

    /// As [`start`](Self::start), with the node `slow` that reads `bps` bytes of `disk` per second. QEMU
    /// forgets the limit when it drains, as releases since 8.2 do whenever a disk is opened or closed.
    pub(crate) fn start_slow(&self, program: &Path, bps: u64, more: &[&str]) -> Qemu {
        let group = format!("throttle-group,id=group,x-bps-read={bps}");
        let slow = "driver=throttle,node-name=slow,throttle-group=group,file=disk";
        let mut arguments = vec!["-object", &group, "-blockdev", slow];
        // The block devices come in order, `disk` first.
        arguments.extend(more);
        self.start(program, &arguments)
    }
}

pub(crate) fn convert(raw: &Path, qcow2: &Path) {
    let program = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([raw, qcow2])
        .status()
        .expect("qemu-img comes with QEMU");
    assert!(program.success());
}

pub(crate) fn digest_of(path: &Path, program: &str) -> String {
    let output = Command::new(program).arg(path).output().expect("it is everywhere");
    let line = String::from_utf8(output.stdout).expect("it is text");
    line.split_whitespace().next().expect("it is the first word").to_owned()
}

pub(crate) fn node(name: &str) -> Value {
    json!({ "node-name": name })
}

/// A command on `disk` that is at work for longer than any test.
pub(crate) fn held() -> Value {
    json!({ "node-name": "disk", "speed": HELD })
}

/// The commands of that name that have come to read.
fn at_work(observer: &mut Monitor, command: &str) -> Vec<u64> {
    let tasks = observer.ok("x-query-tasks", &json!({}));
    let name = format!("qmp:{command}");
    // The first poll asks for the disk.
    let reads = |task: &&Value| task["name"] == name && task["polls"].as_u64() >= Some(2);
    let reading = tasks.as_array().expect("it is a list").iter().filter(reads);
    reading.map(|task| task["id"].as_u64().expect("it is a number")).collect()
}

/// Sends a command and waits until it reads. Returns its client.
pub(crate) fn begin(qemu: &Qemu, command: &str, arguments: &Value) -> Monitor {
    let mut observer = qemu.ours();
    let before = at_work(&mut observer, command);
    let mut client = qemu.ours();
    client.send(command, arguments);
    let is_new = |task: &u64| !before.contains(task);
    wait_until("the command reads", || at_work(&mut observer, command).iter().any(is_new));
    client
}

/// Cancels the only command of that name.
pub(crate) fn cancel(qemu: &Qemu, command: &str) {
    let mut observer = qemu.ours();
    let tasks = observer.tasks_of(command);
    assert_eq!(tasks.len(), 1);
    observer.ok("x-task-cancel", &json!({ "id": tasks[0] }));
}

/// By the second monitor, since the test may have the first.
pub(crate) fn quit(qemu: Qemu) {
    qemu.second().ok("quit", &json!({}));
    qemu.expect_success();
}
