//! The clients of the Python package `qemu.qmp`.
//!
//! They are looked for at `$QMP_SHELL` and beside it, then on the path. Without them nothing is tested, which is
//! said, and is a failure if `REQUIRE_QMP_SHELL` is 1.

#![allow(dead_code, reason = "every test program uses another part")]

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Finds a client by its name.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let given = env::var_os("QMP_SHELL").map(|shell| PathBuf::from(shell).with_file_name(name));
    let folders = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&folders).map(|folder| folder.join(name));
    let found = given.into_iter().chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        absent(&format!("{name} is neither beside $QMP_SHELL nor on the path"));
    }
    found
}

/// Finds a client that may be there without the packages that it needs.
pub(crate) fn find_complete(name: &str) -> Option<PathBuf> {
    let program = find(name)?;
    let help = Command::new(&program).arg("--help").output();
    let complete = help.is_ok_and(|help| help.status.success());
    if !complete {
        absent(&format!("{name} cannot start: it comes with `qemu.qmp[tui]`"));
    }
    complete.then_some(program)
}

fn absent(why: &str) {
    let required = env::var("REQUIRE_QMP_SHELL").is_ok_and(|required| required == "1");
    assert!(!required, "{why}, and is required");
    println!("skipped: {why}");
}

/// Types `lines` into a shell that is connected to `address`; returns what it prints.
pub(crate) fn type_into(shell: &Path, options: &[&str], address: &str, lines: &str) -> String {
    let mut shell = Command::new(shell)
        .args(options)
        .arg(address)
        // Its history file is kept there.
        .env("HOME", env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("qmp-shell starts");
    let mut input = shell.stdin.take().expect("it is a pipe");
    input.write_all(lines.as_bytes()).expect("qmp-shell reads");
    drop(input);
    let output = shell.wait_with_output().expect("it is our child");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qmp-shell fails: {errors}");
    assert_eq!(errors, "", "qmp-shell complains");
    String::from_utf8(output.stdout).expect("qmp-shell prints UTF-8")
}
