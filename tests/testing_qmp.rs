//! The test kit's clients and servers: the real protocol, without sockets.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::panic_of;
use executor::qmp::{Blocking, Command, Coroutine, Error, Oob, Registry, boxed};
use executor::testing;
use executor::time::sleep;
use executor::{MainCx, NoCoroutine, OobContext};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Sleeps for an hour.
struct Nap;

impl Command for Nap {
    const NAME: &'static str = "x-nap";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

async fn nap(_: &MainCx, (): ()) -> Result<(), Error> {
    sleep(HOUR).await;
    Ok(())
}

struct Ping;

impl Command for Ping {
    const NAME: &'static str = "x-ping";
    type Mode = Oob;
    type Args = ();
    type Ret = String;
}

struct Drain;

impl Command for Drain {
    const NAME: &'static str = "x-drain";
    type Mode = Blocking;
    type Args = ();
    type Ret = u32;
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.command::<Nap, _>(nap);
    registry.command::<Ping, _>(|_: &OobContext, ()| Ok("pong".into()));
    registry.command::<Drain, _>(|nc: &mut NoCoroutine, ()| {
        executor::block_on(nc, async |_: &MainCx| sleep(SECOND).await);
        Ok(3)
    });
    registry
}

#[test]
fn a_command_of_an_hour_is_cancelled_by_a_client_that_goes_after_ten_minutes() {
    testing::run(|kit| {
        let mut client = kit.client(registry());
        client.execute("x-nap", ());
        kit.advance(HOUR / 6);
        assert_eq!(kit.commands().len(), 1);
        client.disconnect();
        kit.run_until_idle();
        assert!(kit.commands().is_empty());
    });
}

#[test]
fn out_of_band_commands_overtake() {
    testing::run(|kit| {
        let mut client = kit.serve(registry()).oob_client(kit);
        client.execute("x-nap", ());
        assert_eq!(client.command_oob(kit, "x-ping", ()).unwrap(), "pong");
        assert_eq!(client.received(), None);
        kit.advance(HOUR);
        assert_eq!(client.received(), Some(json!({"return": {}})));
        let error = client.command_oob(kit, "x-nap", ()).unwrap_err();
        assert_eq!(error.to_string(), "The command x-nap does not support OOB");
    });
}

#[test]
fn a_blocking_command_may_wait_in_a_nested_loop() {
    testing::run(|kit| {
        let mut client = kit.client(registry());
        client.execute("x-drain", ());
        kit.advance(SECOND);
        assert_eq!(client.received(), Some(json!({"return": 3})));
        kit.clock().set_auto_advance(true);
        assert_eq!(client.call::<Drain>(kit, ()).unwrap(), 3);
        assert_eq!(kit.clock().elapsed(), 2 * SECOND);
    });
}

#[test]
fn a_command_that_is_not_registered_is_the_tests_mistake_if_it_is_called_by_its_type() {
    let text = panic_of(|| {
        testing::run(|kit| kit.client(Registry::new()).call::<Nap>(kit, ()).map_err(drop))
    });
    assert!(text.contains("has no command `x-nap`: register it"), "{text}");
    testing::run(|kit| {
        let error = kit.client(Registry::new()).command(kit, "x-nap", ()).unwrap_err();
        assert_eq!(error.to_string(), "The command x-nap has not been found");
    });
}

#[test]
fn a_reply_that_needs_time_is_not_waited_for_while_it_stands_still() {
    let text =
        panic_of(|| testing::run(|kit| kit.client(registry()).call::<Nap>(kit, ()).map_err(drop)));
    assert!(text.contains("The next deadline is in 3600s"), "{text}");
    assert!(text.contains("`qmp:x-nap` spawned at"), "{text}");
}

#[test]
fn closures_with_state_are_commands_too() {
    testing::run(|kit| {
        let count = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&count);
        let mut registry = Registry::new();
        registry.command::<Nap, _>(boxed(move |_: &MainCx, ()| {
            *counted.borrow_mut() += 1;
            Box::pin(async { Ok(()) })
        }));
        let mut client = kit.client(registry);
        client.call::<Nap>(kit, ()).unwrap();
        client.call::<Nap>(kit, json!({})).unwrap();
        assert_eq!(*count.borrow(), 2);
    });
}
