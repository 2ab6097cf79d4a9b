//! The conformance cases on the emulated event loop.
//!
//! A program of its own rather than tests: the table of cases is shared with the plugin, which runs them inside
//! QEMU. `cargo test --test conformance -- WORDS` runs those whose sentence has the words in it.

#[path = "conformance/cases.rs"]
mod cases;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = words.join(" ").replace('_', " ");
    cases::aio::start_main_loop();
    let cases = cases::all();
    let lines = cases.iter().filter(|case| case.sentence().contains(&wanted)).map(|case| {
        let line = case.line();
        println!("{line}");
        line
    });
    let failed = lines.filter(|line| !line.starts_with("ok ")).count();
    if wanted.is_empty() {
        cases::elsewhere::lines().for_each(|line| println!("{line}"));
    }
    if failed > 0 {
        println!("{failed} cases failed");
    }
    ExitCode::from(u8::from(failed > 0))
}
