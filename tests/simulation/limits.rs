//! What a simulation itself promises: its time, and what it says when a program cannot go on or does not end.

use std::future::pending;
use std::time::Duration;

use aio_sys::emulated::simulation::{self, Faults, Plan};
use executor::LocalExecutor;
use executor::clock::Clock;
use executor::time::sleep;

use crate::common::{abort_of, in_main_thread, is_child, panic_of, yield_now};

fn without_faults() -> Plan {
    Plan { faults: Faults::default(), ..Plan::new(0) }
}

#[test]
fn time_stands_still_while_there_is_something_to_do_and_leaps_if_not() {
    const DAY: Duration = Duration::from_secs(86_400);
    simulation::run(without_faults(), || {
        let executor = LocalExecutor::new().expect("there are descriptors");
        executor.run(async {
            let begin = Clock::ALL.map(Clock::now);
            for _ in 0..1_000 {
                yield_now().await;
            }
            assert_eq!(Clock::ALL.map(Clock::now), begin);
            sleep(DAY).await;
            let passed = Clock::Realtime.now() - begin[Clock::Realtime as usize];
            assert_eq!(u128::try_from(passed), Ok(DAY.as_nanos()));
        });
    });
}

#[test]
fn a_simulation_in_which_nobody_can_go_on_says_who_waits_for_what() {
    if is_child() {
        simulation::run(without_faults(), || {
            LocalExecutor::new().expect("there are descriptors").run(pending::<()>());
        });
        return;
    }
    let name = "a_simulation_in_which_nobody_can_go_on_says_who_waits_for_what";
    let said = abort_of(&format!("simulation::limits::{name}"));
    assert!(said.contains("everybody waits for something that never comes"), "{said}");
    assert!(said.contains(r#"{"main": Waiting(Readable("#), "{said}");
}

#[test]
fn a_simulation_does_not_end_before_its_threads() {
    let said = panic_alone(|| {
        simulation::run(without_faults(), || drop(simulation::spawn("late", || {})));
    });
    assert_eq!(said, "the simulation has ended, and the thread `late` is still there");
}

#[test]
fn a_simulation_that_does_not_come_to_rest_is_a_panic() {
    let plan = Plan {
        most_steps: 100,
        faults: Faults { preempt: 255, ..Faults::default() },
        ..Plan::new(0)
    };
    let said = panic_alone(move || {
        simulation::run(plan, || {
            let _other = simulation::spawn("other", || {});
            loop {
                simulation::preempt();
            }
        });
    });
    assert!(said.starts_with("the simulation does not come to rest: "), "{said}");
}

/// What `f` panics with. In the main loop's thread: while a program runs, its hook takes every panic for the program's.
fn panic_alone(f: impl FnOnce() + Send + 'static) -> String {
    in_main_thread(|| panic_of(f))
}
