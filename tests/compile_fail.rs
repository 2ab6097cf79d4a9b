//! What must not compile, and what must: one program per case.
//!
//! Each file in `compile_fail` misuses one thing; its first line says why that is refused, and the file
//! beside it holds the compiler's message, which is what a newcomer meets. `compile_pass` holds what such
//! rules could refuse by mistake, as programs that run.
//!
//! The letters are the questions: A1 a future that is handed over, A2 a task that moves itself, A3 a function
//! that is sent, B what the Big QEMU Lock protects, C `no_coroutine_fn`, D the registration of QMP commands,
//! CO code in a C coroutine, X other ways to smuggle a capability.
//!
//! The messages are those of one version of the compiler, and other versions skip them. After a change of
//! the API, `TRYBUILD=overwrite` writes them anew; they are to be read, then, like any other text.

use std::process::Command;

/// The compiler whose messages are recorded.
const COMPILER: &str = "rustc 1.95.0 ";

fn has_recorded_compiler() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("there is a compiler");
    String::from_utf8_lossy(&output.stdout).starts_with(COMPILER)
}

#[test]
fn programs_with_a_misuse_do_not_compile_and_the_message_says_why() {
    if !has_recorded_compiler() {
        eprintln!("skipped: the messages were recorded with {COMPILER}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}

#[test]
fn programs_that_look_like_misuse_and_are_none_compile_and_run() {
    trybuild::TestCases::new().pass("tests/compile_pass/*.rs");
}
