//! The emulation and QEMU, case by case: the same rules hold, in the same words.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "conformance/cases.rs"]
mod cases;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use std::fs;
use std::path::Path;

use qemu::{Qemu, with_each_qemu};
use serde_json::json;

#[test]
fn what_holds_for_the_emulation_holds_for_qemu() {
    cases::aio::start_main_loop();
    let emulated = cases::transcript("");
    assert!(emulated.iter().any(|line| line.starts_with("ok ")));
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",selftest=on", &[]);
        let mut ours = qemu.ours();
        let reply = ours.ok("x-selftest-conformance", &json!({}));
        let lines = reply.as_array().expect("it is a list").iter();
        let lines: Vec<_> = lines.map(|line| line.as_str().expect("it is a string")).collect();
        for (theirs, ours) in lines.iter().zip(&emulated) {
            assert_eq!(theirs, ours);
        }
        assert_eq!(lines.len(), emulated.len());
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

/// The names of the tests in a file.
fn tests_in(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the file is readable");
    let after = text.split("#[test]\nfn ").skip(1);
    after.map(|rest| rest.split('(').next().expect("it is a function").to_owned()).collect()
}

#[test]
fn every_rule_that_qemu_is_not_asked_is_listed_with_the_reason() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = ["conformance_aborts.rs", "conformance_alone.rs", "conformance_main_loop.rs"];
    let mut alone: Vec<_> = files.iter().flat_map(|file| tests_in(&tests.join(file))).collect();
    let mut listed: Vec<_> = cases::elsewhere::ELSEWHERE.iter().map(|(test, _)| *test).collect();
    alone.sort();
    listed.sort_unstable();
    assert_eq!(listed, alone);
}
