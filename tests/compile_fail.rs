//! Programs that must not compile, and what the compiler says about them.
//!
//! Each file in `compile_fail/` is one misuse; its first line says why it must not compile, and the `.stderr`
//! beside it is the message that a user would read. The files in `compile_pass/` are the legitimate twins.
//! The letters are the questions: A1 a future that is handed over, A2 a task that moves itself, A3 a function
//! that is sent, B what the Big QEMU Lock protects, C `no_coroutine_fn`, D the registration of QMP commands,
//! X other ways to smuggle a capability.

#[test]
fn misuse_does_not_compile_and_its_twins_do() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
    cases.pass("tests/compile_pass/*.rs");
}
