//! Attacks in safe code, each with the outcome that it must have: an error, a panic that says what is wrong,
//! an abort with a sentence, or nothing bad at all.
//!
//! What the compiler refuses is in `compile_fail/`; here is what compiles. The names `r1` to `r15` and `n1` to
//! `n8` are those of the design notes: `r` is what only run time can catch, `n` is a naive design and the
//! program that breaks it. Those that do not compile with this API are listed here so that the list is
//! whole: n1 (an output that is not `Send`), n2 (lending to another thread), n3 (a stolen right to move), n5
//! (a shared cell of an `Rc`), n6 (a guard out of its scope), n7 (an ambient context).
//!
//! The main loop belongs to one thread of the process, so what needs it runs one after the other in one test,
//! and what ends the process runs in a child.

#![forbid(unsafe_code)]

#[path = "attacks/bql.rs"]
mod bql;
#[path = "attacks/ends.rs"]
mod ends;
#[path = "attacks/foreign.rs"]
mod foreign;
#[path = "attacks/loops.rs"]
mod loops;
#[path = "attacks/moving.rs"]
mod moving;
#[path = "common/process.rs"]
mod process;
#[path = "attacks/tools.rs"]
mod tools;

use executor::{NoCoroutine, run_main};

type Case = (&'static str, fn(&mut NoCoroutine));

#[test]
fn attacks_on_the_main_loop_fail() {
    let groups = [bql::CASES, ends::CASES, foreign::CASES, loops::CASES, moving::CASES];
    for (name, case) in groups.into_iter().flatten() {
        println!("attack {name}");
        run_main(case);
    }
}
