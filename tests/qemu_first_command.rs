//! The plugin that newcomers begin with, in QEMU: built by itself, as the README says, and asked over QMP.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use qemu::with_each_qemu;

fn build() -> PathBuf {
    let test = env::current_exe().expect("a test has an executable");
    let target = test.ancestors().nth(3).expect("it is in `target/PROFILE/deps`");
    let target = target.join("first_command");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            "examples/first_command/Cargo.toml",
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo starts");
    assert!(built.success(), "it cannot be built");
    target.join("debug/libfirst_command.so")
}

fn ask(program: &Path, plugin: &Path, requests: &str) -> Output {
    let mut qemu = Command::new(program)
        .args(["-M", "none", "-accel", "tcg", "-display", "none", "-nodefaults", "-qmp", "stdio"])
        .arg("-plugin")
        .arg(plugin)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    let mut input = qemu.stdin.take().expect("it is a pipe");
    input.write_all(requests.as_bytes()).expect("QEMU reads");
    qemu.wait_with_output().expect("it ends, since it was asked to")
}

#[test]
fn the_first_command_answers_in_qemu() {
    let plugin = build();
    let requests = "{'execute':'qmp_capabilities'}\n\
        {'execute':'x-greet','arguments':{'name':'QEMU','seconds':1},'id':1}\n\
        {'execute':'x-greet','arguments':{'name':''},'id':2}\n\
        {'execute':'quit'}\n";
    with_each_qemu(|program| {
        let output = ask(program, &plugin, requests);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("\"return\": \"Hello, QEMU!\""), "{said}");
        assert!(said.contains("Parameter 'name' is empty"), "{said}");
    });
}
