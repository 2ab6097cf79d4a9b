//! QEMUs that the plugin cannot run in: a function is missing, or the event loop does not call back.
//!
//! The QEMUs are copies of real ones in which a name is misspelt in the table of dynamic symbols; the program
//! itself, which is linked already, does not notice. QEMUs that are started by a script are left out.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use qemu::{Folder, run_to_end, run_to_end_with, with_each_qemu};

/// Tests with a copy of each QEMU that does not export `symbol`.
fn with_each_qemu_without(symbol: &str, test: impl Fn(&Path, &Folder)) {
    with_each_qemu(|program| {
        let mut bytes = fs::read(program).expect("it is there");
        if !bytes.starts_with(b"\x7fELF") {
            println!("not with {}: it is no program", program.display());
            return;
        }
        let name = format!("\0{symbol}\0").into_bytes();
        let found = bytes.windows(name.len()).position(|window| window == name);
        bytes[found.expect("it is exported") + symbol.len()] = b'_';
        let folder = Folder::new();
        let copy = folder.file("qemu-system-x86_64");
        fs::write(&copy, bytes).expect("there is space");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("it is ours");
        test(&copy, &folder);
    });
}

/// What a QEMU said that refused the plugin.
fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// Our one sentence in it.
fn sentence(said: &str) -> &str {
    let sentences: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("qemu_plugin: ")).collect();
    assert_eq!(sentences.len(), 1, "{said}");
    sentences[0]
}

/// Builds a library that has a function of no effect.
fn library_with(symbol: &str, folder: &Folder) -> PathBuf {
    let library = folder.file("library.so");
    let mut compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-x", "c", "-", "-o"])
        .arg(&library)
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a C compiler: Rust links with it");
    let mut source = compiler.stdin.take().expect("it is piped");
    writeln!(source, "void {symbol}(void *bh) {{ (void)bh; }}").expect("the compiler reads");
    drop(source);
    assert!(compiler.wait().expect("it ends").success());
    library
}

#[test]
fn a_function_that_differs_between_releases_and_is_missing_is_named() {
    with_each_qemu_without("aio_context_set_poll_params", |program, _| {
        let said = refusal(&run_to_end(program, ""));
        let (release, rest) =
            sentence(&said).split_once(" does not export ").expect("it is the sentence");
        assert!(release.starts_with("QEMU "), "{said}");
        assert_eq!(rest, "`aio_context_set_poll_params`, which the event loop needs");
    });
}

#[test]
fn a_qemu_that_does_not_export_its_functions_says_so_itself() {
    with_each_qemu_without("qemu_bh_schedule", |program, _| {
        let said = refusal(&run_to_end(program, ""));
        assert!(said.contains("undefined symbol: qemu_bh_schedule"), "{said}");
    });
}

#[test]
fn an_event_loop_that_does_not_call_back_is_refused() {
    with_each_qemu_without("qemu_bh_schedule", |program, folder| {
        let library = library_with("qemu_bh_schedule", folder);
        let output = run_to_end_with(program, "", &[("LD_PRELOAD", &library)]);
        let said = refusal(&output);
        assert!(
            sentence(&said).starts_with("a bottom half did not fire in the event loop of QEMU "),
            "{said}"
        );
    });
}
