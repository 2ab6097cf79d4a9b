//! The tasks of a program, step by step.

use std::io::{self, Read as _};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aio_sys::emulated::simulation;
use executor::clock::Clock;
use executor::time::sleep_on;
use executor::{IoCx, JoinError, MainCx, Migratable, block_on, bql};

use super::history::{Block, Outcome, What};
use super::program::{Kind, Place, Step};
use super::shared::{Guard, Output, PLANNED, Shared, Watched, with_locals};

/// Spawns a task of a kind that is spawned on the main loop, or any other.
pub(crate) fn spawn_on_main(cx: &MainCx, shared: &Arc<Shared>, task: usize) {
    if shared.task(task).kind == Kind::Main || shared.task(task).kind == Kind::Migratable {
        if !shared.is_first_spawn(task) {
            return;
        }
        let (guard, shared_too) = (Guard::new(shared, task), Arc::clone(shared));
        if shared.task(task).kind == Kind::Migratable {
            let remote = cx.spawn_migratable(async move |m: &mut Migratable| {
                let output =
                    Watched::new(&shared_too, task, migratable_task(m, &shared_too, task)).await;
                end(guard, output)
            });
            return shared.keep_remote(task, remote);
        }
        let handle = cx.spawn(async move |cx: &MainCx| {
            let output = Watched::new(&shared_too, task, main_task(cx, &shared_too, task)).await;
            end(guard, output)
        });
        with_locals(|locals| locals.handles[task] = Some(handle));
    } else {
        spawn_on_iothread(shared, task);
    }
}

/// Spawns a task of an iothread; other kinds cannot be spawned from everywhere.
fn spawn_on_iothread(shared: &Arc<Shared>, task: usize) {
    let Kind::Io(number) = shared.task(task).kind else { return };
    if number < shared.iothreads.len() && shared.is_first_spawn(task) {
        let (guard, shared_too) = (Guard::new(shared, task), Arc::clone(shared));
        let remote = shared.iothreads[number].run(async move |_: &IoCx| {
            let output = Watched::new(&shared_too, task, io_task(&shared_too, task)).await;
            end(guard, output)
        });
        shared.keep_remote(task, remote);
    }
}

/// The destructor of the future comes first; should it panic, the output goes with it.
fn end(guard: Guard, output: Output) -> Output {
    drop(guard);
    output
}

async fn main_task(cx: &MainCx, shared: &Arc<Shared>, me: usize) -> Output {
    for step in shared.task(me).steps.clone() {
        match step {
            Step::Spawn(task) if shared.has(task) => spawn_on_main(cx, shared, task),
            Step::Join(task) if is_local(shared, task) => join(shared, me, task).await,
            Step::Cancel(task) if is_local(shared, task) => cancel(shared, me, task).await,
            Step::Abort(task) if is_local(shared, task) => abort(shared, task),
            Step::Forget(task) if is_local(shared, task) => {
                let handle = with_locals(|locals| locals.handles[task].take());
                drop(handle);
            }
            Step::Receive(link, count) => receive(shared, me, link, count).await,
            Step::Nest(yields, ns) => nest(cx, shared, me, yields, ns).await,
            step => common_step(shared, me, step).await,
        }
    }
    Output::new(shared, me)
}

async fn io_task(shared: &Arc<Shared>, me: usize) -> Output {
    for step in shared.task(me).steps.clone() {
        common_step(shared, me, step).await;
    }
    Output::new(shared, me)
}

async fn migratable_task(m: &mut Migratable, shared: &Arc<Shared>, me: usize) -> Output {
    for step in shared.task(me).steps.clone() {
        match step {
            Step::Hop(place) => hop(m, shared, me, place).await,
            step => common_step(shared, me, step).await,
        }
    }
    Output::new(shared, me)
}

/// What a task can do wherever it is.
async fn common_step(shared: &Arc<Shared>, me: usize, step: Step) {
    match step {
        Step::Yield => yield_now(shared, me).await,
        Step::Preempt => simulation::preempt(),
        Step::Spend(ns) => {
            simulation::spend(ns);
            shared.add(What::Spent(ns));
        }
        Step::Sleep(clock, ns) => sleep(shared, me, clock, ns).await,
        Step::Wait(event) => shared.wait(me, event).await,
        Step::Set(event) => shared.set(event),
        Step::Poke(task) => shared.poke(task),
        Step::Spawn(task) if shared.has(task) => spawn_on_iothread(shared, task),
        Step::Join(task) if shared.has(task) => join_remote(shared, me, task).await,
        Step::Cancel(task) if shared.has(task) => cancel_remote(shared, me, task).await,
        Step::Abort(task) | Step::Forget(task) if shared.has(task) => {
            drop(shared.take_remote(task));
        }
        Step::Send(link, count) => shared.send(link, count),
        Step::Lock if !bql::is_locked() && !shared.is_over() => {
            bql::with_bql(|_| simulation::preempt());
        }
        Step::Panic => panic!("{PLANNED}"),
        _ => {}
    }
}

/// Whether the task has a `JoinHandle`.
fn is_local(shared: &Shared, task: usize) -> bool {
    shared.has(task) && shared.task(task).kind == Kind::Main
}

async fn yield_now(shared: &Shared, me: usize) {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        shared.add(What::Woken(me));
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn sleep(shared: &Shared, me: usize, clock: u8, ns: u32) {
    let deadline = Clock::Realtime.now() + i64::from(ns);
    let sleep = sleep_on(Clock::ALL[usize::from(clock)], Duration::from_nanos(ns.into()));
    shared.add(What::Blocked(me, Block::Until(deadline, clock)));
    sleep.await;
    shared.add(What::Unblocked(me));
}

fn outcome(result: Result<Output, JoinError>) -> Outcome {
    match result {
        Ok(output) => {
            output.calm();
            Outcome::Output
        }
        Err(error) if error.is_cancelled() => Outcome::Cancelled,
        Err(_) => Outcome::Panicked,
    }
}

async fn join(shared: &Shared, me: usize, task: usize) {
    let handle = with_locals(|locals| locals.handles[task].take());
    let Some(handle) = handle else { return };
    shared.add(What::Blocked(me, Block::Task(task)));
    let result = handle.await;
    shared.add(What::Unblocked(me));
    shared.add(What::Joined(task, outcome(result)));
}

async fn join_remote(shared: &Arc<Shared>, me: usize, task: usize) {
    let Some(mut held) = shared.take_remote(task) else { return };
    shared.add(What::Blocked(me, Block::Task(task)));
    let result = held.remote().await;
    shared.add(What::Unblocked(me));
    shared.add(What::Joined(task, outcome(result)));
}

async fn cancel(shared: &Shared, me: usize, task: usize) {
    let handle = with_locals(|locals| locals.handles[task].take());
    let Some(handle) = handle else { return };
    shared.add(What::CancelRequested(task));
    shared.add(What::Blocked(me, Block::Task(task)));
    let output = handle.cancel().await;
    shared.add(What::Unblocked(me));
    withdrawn(shared, task, output);
}

async fn cancel_remote(shared: &Arc<Shared>, me: usize, task: usize) {
    let Some(held) = shared.take_remote(task) else { return };
    shared.add(What::Blocked(me, Block::Task(task)));
    let output = held.cancel().cancel().await;
    shared.add(What::Unblocked(me));
    withdrawn(shared, task, output);
}

fn withdrawn(shared: &Shared, task: usize, output: Option<Output>) {
    match output {
        Some(output) => shared.add(What::Joined(task, outcome(Ok(output)))),
        None => shared.add(What::Withdrawn(task)),
    }
}

fn abort(shared: &Shared, task: usize) {
    with_locals(|locals| {
        if let Some(handle) = &locals.handles[task] {
            shared.add(What::CancelRequested(task));
            handle.abort();
        }
    });
}

async fn receive(shared: &Shared, me: usize, link: usize, count: u8) {
    let link_fd = with_locals(|locals| Rc::clone(&locals.links[link]));
    shared.add(What::Blocked(me, Block::Link(link)));
    let received = link_fd
        .read_with(|mut stream| {
            if simulation::is_interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = if simulation::is_short() { 1 } else { usize::from(count) };
            stream.read(&mut [0; u8::MAX as usize][..most])
        })
        .await;
    shared.add(What::Unblocked(me));
    shared.add(What::Received(link, received.expect("the other end is open")));
}

/// A nested loop, with a task of its own.
async fn nest(cx: &MainCx, shared: &Arc<Shared>, me: usize, yields: u8, ns: u32) {
    let begins = Arc::clone(shared);
    let nested = cx.run_in_bh(move |nc| {
        begins.add(What::NestedLoopBegins);
        block_on(nc, async move |cx: &MainCx| {
            let child = cx.spawn(async move |_: &MainCx| {
                for _ in 0..yields {
                    simulation::preempt();
                    futures_yield().await;
                }
            });
            sleep_on(Clock::Realtime, Duration::from_nanos(ns.into())).await;
            child.await.expect("it does not panic");
        });
        begins.add(What::NestedLoopEnds);
    });
    shared.add(What::Blocked(me, Block::NestedLoop));
    nested.await.expect("it does not panic");
    shared.add(What::Unblocked(me));
}

async fn futures_yield() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn hop(m: &mut Migratable, shared: &Shared, me: usize, place: Place) {
    let thread = match place {
        Place::Main => 0,
        Place::Io(number) if number < shared.iothreads.len() => number + 1,
        Place::Io(_) => return,
    };
    if simulation::thread_number() == Some(thread) {
        return;
    }
    shared.add(What::Blocked(me, Block::Arrival(thread)));
    match place {
        Place::Main => {
            let _on_main = m.to_main().await;
        }
        Place::Io(number) => m.reschedule_to(&shared.iothreads[number]).await,
    }
    shared.add(What::Unblocked(me));
}
