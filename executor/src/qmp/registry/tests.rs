//! Registration, lookup, and what a call does with arguments and results.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::task::noop_waker_ref;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::command::{AsyncHandler, Blocking, Call, Command, Coroutine, Oob};
use super::super::error::{Error, ErrorClass};
use super::super::request::Arguments;
use super::Registry;
use crate::cx::{MainCx, NoCoroutine, OobContext, lend};

#[derive(Deserialize)]
struct Add {
    left: i64,
    right: i64,
}

#[derive(Serialize)]
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

fn poll_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(noop_waker_ref())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the handlers here do not wait"),
    }
}

fn call(registry: &Registry, name: &str, arguments: Value) -> Result<String, Error> {
    let Value::Object(arguments) = arguments else { panic!("arguments are objects") };
    let outcome = match registry.find(name, false)? {
        Call::Blocking(call) => call(&mut lend::no_coroutine(), arguments),
        Call::Coroutine(call) => poll_once(call(&lend::main_cx(), arguments)),
        Call::Oob(call) => call(&lend::oob_context(), arguments),
    };
    outcome.map(|json| json.as_str().to_owned())
}

#[test]
fn every_mode_gets_its_arguments_and_gives_its_result() {
    for name in ["add-blocking", "add-coroutine", "add-oob"] {
        let outcome = call(&registry(), name, json!({"left": 1, "right": 2}));

        assert_eq!(outcome.as_deref(), Ok(r#"{"sum": 3, "is_even": false}"#), "{name}");
    }
}

#[test]
fn every_mode_refuses_wrong_arguments_and_passes_errors_on() {
    for name in ["add-blocking", "add-coroutine", "add-oob"] {
        let refused = call(&registry(), name, json!({"left": 1}));
        let failed = call(&registry(), name, json!({"left": i64::MAX, "right": 1}));

        assert_eq!(refused, Err(Error::missing("right")), "{name}");
        assert_eq!(failed, Err(Error::generic("too much")), "{name}");
    }
}

#[test]
fn no_result_is_an_empty_object() {
    assert_eq!(call(&registry(), "nothing", json!({})).as_deref(), Ok("{}"));
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

    let outcome = std::thread::spawn(move || {
        let call = table.find("add-oob")?;
        let arguments: Arguments = [("left", 1), ("right", 1)]
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .into_iter()
            .collect();
        call(&lend::oob_context(), arguments)
    });

    let json = outcome.join().expect("no panic").expect("a result");
    assert_eq!(json.as_str(), r#"{"sum": 2, "is_even": true}"#);
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
fn query_commands_lists_itself_and_what_is_registered_later() {
    let mut registry = Registry::new();
    registry.add_query_commands();
    registry.command::<AddOob, _>(add_oob);

    assert_eq!(
        call(&registry, "query-commands", json!({})).as_deref(),
        Ok(r#"[{"name": "qmp_capabilities"}, {"name": "query-commands"}, {"name": "add-oob"}]"#)
    );
}

#[test]
fn a_handler_may_own_state() {
    let counter = Rc::new(Cell::new(0));
    let mut registry = Registry::new();
    let shared = Rc::clone(&counter);
    registry.command::<Nothing, _>(move |_: &mut NoCoroutine, ()| {
        shared.set(shared.get() + 1);
        Ok(())
    });

    call(&registry, "nothing", json!({})).expect("a result");

    assert_eq!(counter.get(), 1);
}

/// The bound that a coroutine handler has to satisfy, on its own.
fn is_async_handler<F>(_: F)
where
    F: for<'a> AsyncHandler<&'a MainCx, Add, Result<Sum, Error>>,
{
}

#[test]
fn an_async_fn_that_borrows_the_context_is_an_async_handler() {
    is_async_handler(add_coroutine);
}
