//! The tests, and what they consist of.

mod crash;
mod emulation;
mod history;
mod limits;
mod model;
mod program;
mod run;
mod shared;
mod tasks;

use std::cell::RefCell;
use std::collections::HashSet;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use program::Program;
use run::{Run, replay_command, run, run_and_check};

use crate::common::in_main_thread;

/// Programs of `cargo test`; `SIMULATION_CASES` says otherwise.
const CASES: u32 = 3_000;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} makes no sense")))
}

fn cases() -> u32 {
    variable("SIMULATION_CASES").unwrap_or(CASES)
}

fn runner(cases: u32) -> TestRunner {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&variable("SIMULATION_SEED").unwrap_or(0_u64).to_le_bytes());
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// Sums over the programs of a test.
#[derive(Default)]
struct Sums {
    programs: u64,
    events: u64,
    turns: u64,
    faults: u64,
    leaps: u64,
}

impl Sums {
    fn add(&mut self, run: &Run) {
        self.programs += 1;
        self.events += run.history.len() as u64;
        self.turns += run.report.steps;
        self.faults += run.report.faults;
        self.leaps += run.report.advances;
    }

    fn print(&self) {
        let Self { programs, events, turns, faults, leaps } = self;
        println!(
            "{programs} programs: {events} events, {turns} turns, {faults} faults, {leaps} leaps of time"
        );
    }
}

fn check_programs<S: Strategy<Value = Program> + 'static>(cases: u32, programs: fn() -> S) {
    let checked = in_main_thread(move || {
        let sums = RefCell::new(Sums::default());
        let checked = runner(cases).run(&programs(), |program| {
            let run = run_and_check(&program).map_err(TestCaseError::fail)?;
            sums.borrow_mut().add(&run);
            Ok(())
        });
        sums.borrow().print();
        checked
    });
    if let Err(TestError::Fail(why, program)) = checked {
        let trace = run(&program).report.trace;
        panic!("{why}\n{program:#?}\n{trace}\nagain: {}", replay_command(&program));
    }
    checked.expect("the programs can be made");
}

#[test]
fn programs_of_one_thread_do_what_the_model_says() {
    crash::survive("programs_of_one_thread_do_what_the_model_says", || {
        check_programs(cases() * 2 / 3, program::of_one_thread);
    });
}

#[test]
fn programs_of_many_threads_do_what_the_model_says() {
    crash::survive("programs_of_many_threads_do_what_the_model_says", || {
        check_programs(cases() / 3, program::of_many_threads);
    });
}

/// Some programs of a strategy.
fn some(count: u32, programs: impl Strategy<Value = Program>) -> Vec<Program> {
    let mut runner = runner(count);
    let new = |_| programs.new_tree(&mut runner).expect("programs can be made").current();
    (0..count).map(new).collect()
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let one_thread = some(cases() / 30, program::of_one_thread());
    let many_threads = some(cases() / 30, program::of_many_threads());
    let programs: Vec<Program> = one_thread.into_iter().chain(many_threads).collect();
    let traces = || programs.iter().map(|program| run(program).report.trace);
    let (first, second): (Vec<String>, Vec<String>) = (traces().collect(), traces().collect());
    for (program, (first, second)) in programs.iter().zip(first.iter().zip(&second)) {
        assert!(
            first == second,
            "{}\n--- and then\n{first}--- is\n{second}",
            replay_command(program)
        );
    }
    let bytes: usize = first.iter().map(String::len).sum();
    println!("{} programs twice, {bytes} bytes of traces", programs.len());
}

#[test]
fn another_seed_gives_another_order() {
    let program = some(50, program::of_many_threads())
        .into_iter()
        .max_by_key(|program| run(program).report.steps)
        .expect("there are some");
    let of_seed = |seed| run(&Program { seed, ..program.clone() }).report.trace;
    let traces: HashSet<String> = (0..20).map(of_seed).collect();
    assert_eq!(traces.len(), 20, "{}", replay_command(&program));
}

/// Programs that have failed once, with this executor or with one into which a defect was planted.
const REGRESSIONS: &str = include_str!("regressions");

/// `SIMULATION_REPLAY` is another one, whose trace is shown.
#[test]
fn replay() {
    let asked: Option<String> = variable("SIMULATION_REPLAY");
    let is_shown = asked.is_some();
    for text in asked.iter().map(String::as_str).chain(REGRESSIONS.lines()) {
        let program: Program = serde_json::from_str(text).expect("it was printed by a failure");
        if is_shown {
            println!("{}", run(&program).report.trace);
        }
        let again = replay_command(&program);
        if let Err(why) = in_main_thread(move || run_and_check(&program).map(drop)) {
            panic!("{why}\nagain: {again}");
        }
        if is_shown {
            return;
        }
    }
}
