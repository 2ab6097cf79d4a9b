//! Programs that end the process: what proptest does for a property that fails, for one that cannot even say so.
//!
//! The tests run in processes of their own, which keep a diary of the program that they are about to run.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::program::Program;
use super::run::replay_command;

const DIARY: &str = "SIMULATION_DIARY";
/// How many processes may be spent on a crash.
const MOST_TRIES: usize = 400;

/// Notes in the diary, if there is one, which program is about to run.
pub(crate) fn note(program: &Program) {
    if let Some(diary) = std::env::var_os(DIARY) {
        let text = serde_json::to_string(program).expect("a program is data");
        std::fs::write(diary, text).expect("the diary can be written");
    }
}

/// Has `check`, the test of that name, run in a process of its own.
pub(crate) fn survive(test: &str, check: impl FnOnce()) {
    if std::env::var_os(DIARY).is_some() {
        return check();
    }
    let diary = diary_of(test);
    let output = child(&format!("simulation::{test}"), &[(DIARY, diary.as_os_str())]);
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        // A failure has a code, and has been cut down; a crash has none.
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code().is_none(), "{why}");
        report_crash(&diary, &why);
    }
}

fn diary_of(test: &str) -> PathBuf {
    let name = format!("simulation-{test}-{}", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn child(test: &str, variables: &[(&str, &OsStr)]) -> Output {
    Command::new(std::env::current_exe().expect("the test is a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test can be run again")
}

fn report_crash(diary: &PathBuf, why: &str) -> ! {
    let text = std::fs::read_to_string(diary).unwrap_or_else(|_| panic!("{why}"));
    let program: Program = serde_json::from_str(&text).expect("it was written by `note`");
    let (program, last) = cut_down(program);
    let last = last.as_deref().unwrap_or(why);
    panic!("{last}\nthe process has crashed in {program:#?}\nagain: {}", replay_command(&program));
}

/// Leaves out what is not needed for the crash. Returns what the last process said that crashed.
fn cut_down(mut program: Program) -> (Program, Option<String>) {
    let (mut tries, mut said) = (0, None);
    loop {
        let crash = simpler(&program).into_iter().take(MOST_TRIES - tries).find_map(|simpler| {
            tries += 1;
            let text = serde_json::to_string(&simpler).expect("a program is data");
            let output = child("simulation::replay", &[("SIMULATION_REPLAY", OsStr::new(&text))]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (!output.status.success()).then_some((simpler, said))
        });
        let Some((simpler, last)) = crash else { return (program, said) };
        (program, said) = (simpler, Some(last));
    }
}

/// The program without one of its parts, large parts first.
fn simpler(program: &Program) -> Vec<Program> {
    let mut found = Vec::new();
    let mut without = |change: &dyn Fn(&mut Program)| {
        let mut simpler = program.clone();
        change(&mut simpler);
        found.push(simpler);
    };
    for number in 0..program.strangers.len() {
        without(&|program| drop(program.strangers.remove(number)));
    }
    for number in 0..program.tasks.len() {
        without(&|program| drop(program.tasks.remove(number)));
        if !program.tasks[number].steps.is_empty() {
            without(&|program| program.tasks[number].steps.clear());
        }
    }
    for (number, deeds) in program.strangers.iter().enumerate() {
        for deed in 0..deeds.len() {
            without(&|program| {
                program.strangers[number].remove(deed);
            });
        }
    }
    for (number, task) in program.tasks.iter().enumerate() {
        for step in 0..task.steps.len() {
            without(&|program| {
                program.tasks[number].steps.remove(step);
            });
        }
    }
    found
}
