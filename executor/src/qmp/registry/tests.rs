//! Registration, lookup, and what a call does with arguments and results.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::command::{Blocking, Call, CallFuture, Command, Coroutine, Oob, OobCall};
use super::super::error::{Error, ErrorClass};
use super::Registry;
use crate::{MainCx, NoCoroutine, OobContext, block_on, run_main};

#[derive(Deserialize)]
struct Add {
    left: i64,
    right: i64,
}

#[derive(Deserialize, Serialize)]
struct Sum {
    sum: i64,
    is_even: bool,
}

struct AddBlocking;

impl Command for AddBlocking {
    const NAME: &'static str = "add-blocking";
    type Mode = Blocking;
    type Args = Add;
    type Ret = Sum;
}

struct AddCoroutine;

impl Command for AddCoroutine {
    const NAME: &'static str = "add-coroutine";
    type Mode = Coroutine;
    type Args = Add;
    type Ret = Sum;
}

struct AddOob;

impl Command for AddOob {
    const NAME: &'static str = "add-oob";
    type Mode = Oob;
    type Args = Add;
    type Ret = Sum;
}

struct Nothing;

impl Command for Nothing {
    const NAME: &'static str = "nothing";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

fn add(args: &Add) -> Result<Sum, Error> {
    let sum = args.left.checked_add(args.right).ok_or_else(|| Error::generic("too much"))?;
    Ok(Sum { sum, is_even: sum % 2 == 0 })
}

fn add_blocking(_: &mut NoCoroutine, args: Add) -> Result<Sum, Error> {
    add(&args)
}

async fn add_coroutine(cx: &MainCx, args: Add) -> Result<Sum, Error> {
    let sum = std::future::ready(add(&args)).await;
    let _still_borrowed = cx;
    sum
}

fn add_oob(_: &OobContext, args: Add) -> Result<Sum, Error> {
    add(&args)
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.command::<AddBlocking, _>(add_blocking);
    registry.command::<AddCoroutine, _>(add_coroutine);
    registry.command::<AddOob, _>(add_oob);
    registry.command::<Nothing, _>(|_: &mut NoCoroutine, ()| Ok(()));
    registry
}

/// Calls `add-oob`, which needs no main loop.
fn call_oob(call: &OobCall, left: i64, right: i64) -> String {
    let arguments = [("left", left), ("right", right)];
    let arguments = arguments.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let outcome = OobContext::lend(|cx| call(cx, arguments.into_iter().collect()));
    outcome.expect("a result").as_str().to_owned()
}

/// Gives a closure the signature that `block_on` wants, before the closure's own is inferred.
fn bounded<F>(task: F) -> F
where
    F: for<'a> FnOnce(&'a MainCx) -> CallFuture<'a>,
{
    task
}

fn call(nc: &mut NoCoroutine, registry: &Registry, name: &str, arguments: Value) -> String {
    let Value::Object(arguments) = arguments else { panic!("arguments are objects") };
    let outcome = match registry.find(name, false).expect(name) {
        Call::Blocking(call) => call(nc, arguments),
        Call::Coroutine(call) => block_on(nc, bounded(move |cx| call(cx, arguments))),
        Call::Oob(call) => OobContext::lend(|cx| call(cx, arguments)),
    };
    match outcome {
        Ok(json) => json.as_str().to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The main loop has one thread, so one test has all that is to be tried there.
#[test]
fn every_mode_gets_its_arguments_and_gives_its_result_or_error() {
    let mut registry = registry();
    registry.add_query_commands();
    let cases = [
        (json!({"left": 1, "right": 2}), r#"{"sum": 3, "is_even": false}"#),
        (json!({"left": 1}), "Parameter 'right' is missing"),
        (json!({"left": i64::MAX, "right": 1}), "too much"),
    ];

    run_main(|nc| {
        for (arguments, expected) in cases {
            for name in ["add-blocking", "add-coroutine", "add-oob"] {
                assert_eq!(call(nc, &registry, name, arguments.clone()), expected, "{name}");
            }
        }
        assert_eq!(call(nc, &registry, "nothing", json!({})), "{}");
        assert_eq!(
            call(nc, &registry, "query-commands", json!({})),
            "[{\"name\": \"qmp_capabilities\"}, {\"name\": \"add-blocking\"}, \
             {\"name\": \"add-coroutine\"}, {\"name\": \"add-oob\"}, \
             {\"name\": \"nothing\"}, {\"name\": \"query-commands\"}]"
        );
    });
}

#[test]
fn an_unknown_command_is_not_found() {
    let error = registry().find("nope", false).expect_err("there is no such command");

    assert_eq!(error.class(), ErrorClass::CommandNotFound);
    assert_eq!(error.to_string(), "The command nope has not been found");
}

#[test]
fn only_oob_commands_can_be_found_out_of_band() {
    let registry = registry();
    let table = registry.oob_table();

    assert!(matches!(registry.find("add-oob", true), Ok(Call::Oob(_))));
    assert!(table.find("add-oob").is_ok());
    for name in ["add-blocking", "add-coroutine"] {
        let expected = format!("The command {name} does not support OOB");
        assert_eq!(registry.find(name, true).expect_err(name).to_string(), expected);
        assert_eq!(table.find(name).err().expect(name).to_string(), expected);
    }
    assert_eq!(table.find("nope").err(), registry.find("nope", true).err());
}

#[test]
fn the_oob_table_can_run_on_another_thread() {
    let table = registry().oob_table();

    let reply = std::thread::spawn(move || {
        let call = table.find("add-oob").expect("the command is there");
        call_oob(&call, 1, 1)
    });

    assert_eq!(reply.join().expect("no panic"), r#"{"sum": 2, "is_even": true}"#);
}

#[test]
fn registering_a_name_twice_panics_and_names_it() {
    let mut registry = registry();

    let attempt = catch_unwind(AssertUnwindSafe(|| registry.command::<AddOob, _>(add_oob)));

    let payload = attempt.expect_err("the name is taken");
    let message = payload.downcast_ref::<String>().expect("a formatted message");
    assert_eq!(message, "the QMP command `add-oob` is registered already");
}

#[test]
fn the_monitors_own_command_cannot_be_registered() {
    struct Negotiate;

    impl Command for Negotiate {
        const NAME: &'static str = "qmp_capabilities";
        type Mode = Blocking;
        type Args = ();
        type Ret = ();
    }

    let attempt = catch_unwind(|| Registry::new().command::<Negotiate, _>(|_: &mut _, ()| Ok(())));

    let payload = attempt.expect_err("the name is reserved");
    let message = payload.downcast_ref::<String>().expect("a formatted message");
    assert_eq!(message, "the QMP command `qmp_capabilities` belongs to the monitor itself");
}

#[test]
fn names_come_in_the_order_of_registration() {
    assert_eq!(registry().names(), ["add-blocking", "add-coroutine", "add-oob", "nothing"]);
}
