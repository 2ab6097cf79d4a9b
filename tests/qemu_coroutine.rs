//! C coroutines and tasks that move, inside QEMU as distributions ship it.
//!
//! The checks themselves are in the plugin, `examples/qemu_plugin/selftest/coroutine.rs`; see `common/qemu.rs` for
//! which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use std::path::Path;

use common::wait_until;
use nix::sys::signal::Signal;
use qemu::{Qemu, error, with_each_qemu};
use serde_json::{Value, json};

/// A QEMU with two iothreads.
fn start(program: &Path, arguments: &str) -> Qemu {
    let arguments = format!(",selftest=on{arguments}");
    Qemu::start(program, &arguments, &["-object", "iothread,id=io1"])
}

/// Asks each kind of monitor, in each kind of attachment, and lets QEMU end as it should.
fn everywhere(name: &str, check: impl Fn(Value)) {
    with_each_qemu(|program| {
        for arguments in ["", ",nested=on"] {
            let qemu = start(program, arguments);
            for mut monitor in [qemu.first(), qemu.ours()] {
                check(monitor.ok(name, &json!({})));
            }
            qemu.first().ok("quit", &json!({}));
            qemu.expect_success();
        }
    });
}

fn hop(driver: &str, hops: u32) {
    with_each_qemu(|program| {
        let qemu = start(program, "");
        let arguments = json!({ "iothreads": ["io0", "io1"], "hops": hops, "driver": driver });
        let result = qemu.ours().ok("x-selftest-hops", &arguments);
        println!("{driver}: {result}");
        assert!(result["hops"].as_u64() >= Some(hops.into()), "{result}");
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn a_task_hops_100_000_times_between_the_main_loop_and_two_iothreads() {
    hop("task", 100_000);
}

#[test]
fn a_c_coroutine_drives_a_migratable_task_from_thread_to_thread() {
    hop("coroutine", 10_000);
}

/// Starts a journey that nobody lives to see the end of.
fn hop_for_ever(qemu: &Qemu, driver: &str) -> qemu::Monitor {
    let (mut traveller, mut observer) = (qemu.first(), qemu.ours());
    let arguments = json!({ "iothreads": ["io0", "io1"], "hops": u32::MAX / 2, "driver": driver });
    traveller.send("x-selftest-hops", &arguments);
    wait_until("the command runs", || observer.tasks_of("x-selftest-hops").len() == 1);
    // It travels when this has been there and back a few times.
    let few = json!({ "iothreads": ["io0", "io1"], "hops": 30, "driver": driver });
    observer.ok("x-selftest-hops", &few);
    traveller
}

#[test]
fn qemu_ends_while_a_task_or_a_coroutine_is_on_its_way() {
    with_each_qemu(|program| {
        for driver in ["task", "coroutine"] {
            let qemu = start(program, "");
            let mut traveller = hop_for_ever(&qemu, driver);
            qemu.signal(Signal::SIGTERM);
            assert_eq!(traveller.receive(), error("The command was cancelled"));
            qemu.expect_success();
        }
    });
}

#[test]
fn coroutines_of_the_main_context_go_on_in_whichever_thread_runs_it() {
    with_each_qemu(|program| {
        let qemu = start(program, "");
        let mut ours = qemu.ours();
        for name in ["x-selftest-call-coroutine", "x-selftest-wait-in-coroutine"] {
            let request = json!({ "request": { "execute": name } });
            let reply = ours.ok("x-selftest-foreign-dispatch", &request);
            assert!(reply.get("return").is_some(), "{name}: {reply}");
        }
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn a_coroutine_that_drove_a_migratable_task_is_back_where_it_was() {
    everywhere("x-selftest-migrate-coroutine", drop);
}

#[test]
fn a_borrow_across_an_await_fails_the_task_with_its_name_and_both_lines() {
    everywhere("x-selftest-borrow-across-await", |failure| {
        let message = failure["message"].as_str().expect("it is a string");
        let file = "selftest/coroutine.rs";
        let spawned = format!("`careless` spawned at examples/qemu_plugin/{file}:");
        assert!(message.contains(&spawned), "{message}");
        for line in ["spawned_at_line", "borrowed_at_line"] {
            assert!(message.contains(&format!("{file}:{}:", failure[line])), "{line}: {message}");
        }
        assert!(message.contains("was suspended while a BqlRefCell is borrowed"), "{message}");
    });
}

#[test]
fn a_task_awaits_coroutine_fns_of_c_side_by_side() {
    everywhere("x-selftest-call-coroutine", drop);
}

#[test]
fn a_panic_in_a_coroutine_is_an_error_of_its_handle() {
    everywhere("x-selftest-panic-in-coroutine", |messages| {
        let messages = messages.as_array().expect("it is a list");
        let expected = [
            "panicked: a panic in a coroutine",
            "panicked: a panic far from home",
            "borrowed at examples/qemu_plugin/selftest/coroutine.rs:",
        ];
        assert_eq!(messages.len(), expected.len());
        for (message, expected) in messages.iter().zip(expected) {
            assert!(message.as_str().is_some_and(|it| it.contains(expected)), "{message}");
        }
    });
}

#[test]
fn a_coroutine_whose_handle_is_dropped_runs_to_its_end_in_peace() {
    everywhere("x-selftest-drop-coroutine", drop);
}

#[test]
fn code_in_a_coroutine_awaits_futures() {
    everywhere("x-selftest-wait-in-coroutine", |sum| assert_eq!(sum, 100));
}

#[test]
fn async_code_leaves_through_the_bridges_that_it_has() {
    everywhere("x-selftest-bridges", |crossed| assert_eq!(crossed, 3));
}
