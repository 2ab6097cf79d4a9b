//! Commands that may not take longer than so, and of which only so many may run at a time.

mod common;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use common::{OnDrop, panic_of};
use executor::qmp::{Blocking, Command, Coroutine, Registry, boxed};
use executor::testing::{self, FakeClient, Kit};
use executor::time::sleep;
use executor::{MainCx, NoCoroutine};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

/// Never ends by itself; has a time of its own.
struct Limited;

impl Command for Limited {
    const NAME: &'static str = "x-limited";
    const TIMEOUT: Option<Duration> = Some(HOUR);
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// As long as the registry says.
struct Unlimited;

impl Command for Unlimited {
    const NAME: &'static str = "x-unlimited";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// Ends at once.
struct Quick;

impl Command for Quick {
    const NAME: &'static str = "x-quick";
    const TIMEOUT: Option<Duration> = Some(HOUR);
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// A command that never ends, and says so when it is dropped.
fn add_endless<C>(registry: &mut Registry, told: &Rc<RefCell<Vec<&'static str>>>)
where
    C: Command<Mode = Coroutine, Args = (), Ret = ()>,
{
    let told = Rc::clone(told);
    registry.command::<C, _>(boxed(move |_: &MainCx, ()| {
        let told = Rc::clone(&told);
        let dropped = OnDrop(move || told.borrow_mut().push(C::NAME));
        Box::pin(async move {
            let _dropped = dropped;
            pending().await
        })
    }));
}

#[test]
fn a_command_that_takes_too_long_is_dropped_and_its_client_is_told() {
    testing::run(|kit| {
        let told = Rc::default();
        let mut registry = Registry::new();
        registry.set_timeout(2 * HOUR);
        add_endless::<Limited>(&mut registry, &told);
        add_endless::<Unlimited>(&mut registry, &told);
        registry.command::<Quick, _>(boxed(|_: &MainCx, ()| Box::pin(async { Ok(()) })));
        let mut client = kit.client(registry);

        client.execute("x-limited", ());
        kit.advance(HOUR - Duration::from_nanos(1));
        assert_eq!((client.received(), kit.commands().len()), (None, 1));
        kit.advance(Duration::from_nanos(1));
        let desc = "The command timed out after 3600s";
        let error = json!({"error": {"class": "GenericError", "desc": desc}});
        assert_eq!(client.received(), Some(error));
        assert_eq!(told.take(), ["x-limited"]);

        kit.clock().set_auto_advance(true);
        let error = client.call::<Unlimited>(kit, ()).unwrap_err();
        assert_eq!(error.to_string(), "The command timed out after 7200s");
        assert_eq!(told.take(), ["x-unlimited"]);
        client.call::<Quick>(kit, ()).unwrap();
        assert_eq!(kit.clock().elapsed(), 3 * HOUR);
        assert!(kit.commands().is_empty());
    });
}

/// Takes an hour. Two may run at a time.
struct Narrow;

impl Command for Narrow {
    const NAME: &'static str = "x-narrow";
    const CONCURRENCY: Option<usize> = Some(2);
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// So many clients that have called `x-narrow`, and how many of it run.
fn narrow(kit: &mut Kit<'_>, count: usize) -> (Vec<FakeClient>, Rc<Cell<usize>>) {
    let running = Rc::<Cell<usize>>::default();
    let counted = Rc::clone(&running);
    let mut registry = Registry::new();
    registry.command::<Narrow, _>(boxed(move |_: &MainCx, ()| {
        let running = Rc::clone(&counted);
        Box::pin(async move {
            running.set(running.get() + 1);
            let _ended = OnDrop(|| running.set(running.get() - 1));
            sleep(HOUR).await;
            Ok(())
        })
    }));
    let server = kit.serve(registry);
    let mut clients: Vec<_> = (0..count).map(|_| server.client(kit)).collect();
    for client in &mut clients {
        client.execute("x-narrow", ());
        kit.run_until_idle();
    }
    (clients, running)
}

/// How many of these clients have their reply.
fn answered(clients: &mut [FakeClient]) -> usize {
    let replies = clients.iter_mut().filter_map(FakeClient::received);
    replies.inspect(|reply| assert_eq!(*reply, json!({"return": {}}))).count()
}

#[test]
fn no_more_commands_run_at_a_time_than_may() {
    testing::run(|kit| {
        let (mut clients, running) = narrow(kit, 5);
        for (now, then) in [(2, 2), (2, 2), (1, 1)] {
            assert_eq!(running.get(), now);
            assert_eq!(answered(&mut clients), 0);
            kit.advance(HOUR);
            assert_eq!(answered(&mut clients), then);
        }
    });
}

#[test]
fn whoever_waits_for_a_turn_may_go() {
    testing::run(|kit| {
        let (mut clients, running) = narrow(kit, 4);

        // The third and the fourth wait.
        clients.remove(2).disconnect();
        kit.run_until_idle();
        assert_eq!((running.get(), kit.commands().len()), (2, 3));
        kit.advance(HOUR);
        assert_eq!((running.get(), kit.commands().len()), (1, 1));
        kit.advance(HOUR);
        assert_eq!(answered(&mut clients), 3);
        assert!(kit.commands().is_empty());
    });
}

#[test]
fn whoever_goes_makes_room_at_once() {
    testing::run(|kit| {
        let (mut clients, running) = narrow(kit, 3);
        kit.advance(HOUR / 2);
        clients.remove(0).disconnect();
        kit.advance(HOUR / 2);
        assert_eq!((running.get(), answered(&mut clients)), (1, 1));
        kit.advance(HOUR / 2);
        assert_eq!((running.get(), answered(&mut clients)), (0, 1));
    });
}

/// Cannot be interrupted.
struct Rigid;

impl Command for Rigid {
    const NAME: &'static str = "x-rigid";
    const TIMEOUT: Option<Duration> = Some(HOUR);
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

#[test]
fn a_command_that_cannot_be_interrupted_has_no_time() {
    let refused =
        panic_of(|| Registry::new().command::<Rigid, _>(|_: &mut NoCoroutine, ()| Ok(())));
    assert_eq!(refused, "the QMP command `x-rigid` cannot be limited: it does not await");
}
