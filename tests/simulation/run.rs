//! Runs a program in a simulation, and shows what happened to the model.

use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::abort;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::task::Poll;

use aio_sys::emulated::simulation::{self, Faults, Plan, Report};
use executor::async_fd::AsyncFd;
use executor::{IoThread, MainCx, NoCoroutine, block_on, run_main, set_task_panic_hook};

use super::crash;
use super::history::{Happened, What};
use super::model;
use super::program::{Deed, EVENTS, LINKS, Program};
use super::shared::{PLANNED, Shared, home, with_locals};
use super::tasks::spawn_on_main;
use crate::common::{in_main_thread, message};

/// What a run did.
pub(crate) struct Run {
    pub(crate) history: Vec<Happened>,
    pub(crate) report: Report,
}

/// The program that runs, for the message of a crash.
static RUNNING: Mutex<Option<Program>> = Mutex::new(None);

fn set_running(program: Option<Program>) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = program;
}

/// What a user runs to see the same again.
pub(crate) fn replay_command(program: &Program) -> String {
    let text = serde_json::to_string(program).expect("a program is data");
    format!("SIMULATION_REPLAY='{text}' cargo test --features simulation --test simulation replay")
}

/// Says which program ran when a panic is about to end the process; planned panics say nothing.
fn install_hooks() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        set_task_panic_hook(|_| {});
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let is_text = info.payload().is::<String>() || info.payload().is::<&str>();
            if is_text && message(info.payload()) == PLANNED {
                return;
            }
            default(info);
            if let Some(program) = &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
                // The threads of the simulation cannot be ended, and nothing that follows would be right.
                eprintln!("a simulation goes wrong; again: {}", replay_command(program));
                abort();
            }
        }));
    });
}

/// Runs a program and has the model check what it did. In the main loop's thread.
pub(crate) fn run_and_check(program: &Program) -> Result<Run, String> {
    let run = run_here(program);
    model::check(program, &run.history).map(|()| run)
}

/// Runs a program in the main loop's thread.
pub(crate) fn run(program: &Program) -> Run {
    let program = program.clone();
    in_main_thread(move || run_here(&program))
}

fn run_here(program: &Program) -> Run {
    install_hooks();
    prepare();
    crash::note(program);
    set_running(Some(program.clone()));
    let (shared, report) = simulation::run(plan(program.seed), || simulate(program));
    set_running(None);
    Run { history: shared.history.take(), report }
}

/// Some programs are disturbed more often than others.
fn plan(seed: u64) -> Plan {
    let plan = Plan::new(seed);
    let preempt = [16, 64, 160, 240][(seed >> 8) as usize % 4];
    let short = [0, 48, 160][(seed >> 16) as usize % 3];
    let faults = Faults { preempt, short, ..plan.faults };
    Plan { faults, most_steps: 100_000, ..plan }
}

/// Makes all simulations of the main loop begin alike.
pub(crate) fn prepare() {
    make_the_main_loop();
    settle();
}

/// The main loop is made once, in the first simulation, and differs from what the later ones find.
fn make_the_main_loop() {
    static MAKE: Once = Once::new();
    MAKE.call_once(|| {
        simulation::run(Plan::new(0), || run_main(|_| {}));
    });
}

/// Runs whatever the last program left to the loop, outside any simulation.
fn settle() {
    executor::bql::with_bql(|_| {
        for _ in 0..4 {
            // SAFETY: this is the main loop's thread, under the lock, with nothing borrowed.
            unsafe { aio_sys::main_loop_wait(1) };
        }
    });
}

fn simulate(program: &Program) -> Arc<Shared> {
    let (shared, late) = run_main(|nc| on_main_loop(nc, program));
    drop_handles(&shared);
    late.into_iter().for_each(simulation::Thread::join);
    shared
}

fn on_main_loop(
    nc: &mut NoCoroutine,
    program: &Program,
) -> (Arc<Shared>, Vec<simulation::Thread<()>>) {
    let threads: Vec<IoThread> = (0..program.iothreads)
        .map(|number| IoThread::create(nc, &format!("io{number}")).expect("there are threads"))
        .collect();
    let iothreads = threads.iter().map(IoThread::io).collect();
    let (readers, writers): (Vec<_>, Vec<_>) = (0..LINKS).map(|_| link()).unzip();
    let to_run = program.clone();
    let shared = block_on(nc, async move |cx: &MainCx| {
        let shared = Shared::new(&to_run, iothreads, cx.probe(), writers);
        let readers = readers.into_iter().map(|fd| Rc::new(AsyncFd::new(fd).expect("it is open")));
        with_locals(|locals| {
            locals.links = readers.collect();
            locals.handles = to_run.tasks.iter().map(|_| None).collect();
        });
        live(cx, &shared).await;
        shared
    });
    shared.end();
    // They come while everything ends, and after it.
    let late = strangers(&shared, true);
    if !program.late_handles {
        drop_handles(&shared);
    }
    for thread in threads {
        thread.destroy(nc).expect("it was made here");
    }
    (shared, late)
}

/// Starts the threads outside of any loop, every other one late.
fn strangers(shared: &Arc<Shared>, late: bool) -> Vec<simulation::Thread<()>> {
    let numbers = (0..shared.program.strangers.len()).filter(|number| (number % 2 == 1) == late);
    let start = |number| {
        let shared = Arc::clone(shared);
        simulation::spawn(&format!("stranger {number}"), move || be_strange(&shared, number))
    };
    numbers.map(start).collect()
}

/// Two ends of a socket that do not block.
fn link() -> (UnixStream, UnixStream) {
    let (reader, writer) = UnixStream::pair().expect("there are descriptors");
    reader.set_nonblocking(true).expect("it is open");
    writer.set_nonblocking(true).expect("it is open");
    (reader, writer)
}

/// The life of a program: until nobody can go on, and again with all events set.
async fn live(cx: &MainCx, shared: &Arc<Shared>) {
    let strangers = strangers(shared, false);
    for task in roots(&shared.program) {
        spawn_on_main(cx, shared, task);
    }
    rest(shared).await;
    (0..EVENTS).for_each(|event| shared.set(event));
    rest(shared).await;
    strangers.into_iter().for_each(simulation::Thread::join);
}

/// The tasks that no other task spawns, and those of iothreads that there are.
fn roots(program: &Program) -> impl Iterator<Item = usize> {
    let is_child = |task: usize| {
        let steps = program.tasks.iter().flat_map(|parent| &parent.steps);
        steps
            .into_iter()
            .any(|step| matches!(step, super::program::Step::Spawn(child) if *child == task))
    };
    let is_there =
        |task: &usize| home(program.tasks[*task].kind).is_none_or(|n| n < program.iothreads);
    let roots = (0..program.tasks.len()).filter(move |task| !is_child(*task));
    roots.filter(is_there).collect::<Vec<_>>().into_iter()
}

/// Waits until nobody can go on.
async fn rest(shared: &Shared) {
    let mut asked = false;
    poll_fn(|cx| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        simulation::wake_at_rest(cx.waker().clone());
        Poll::Pending
    })
    .await;
    shared.add(What::AtRest);
}

fn be_strange(shared: &Arc<Shared>, number: usize) {
    for deed in shared.program.strangers[number].clone() {
        match deed {
            Deed::Preempt => simulation::preempt(),
            Deed::Set(event) => shared.set(event),
            Deed::Poke(task) => shared.poke(task),
            Deed::Send(link, count) => shared.send(link, count),
            Deed::Forget(task) if shared.has(task) => drop(shared.take_remote(task)),
            Deed::Forget(_) => {}
            Deed::List => assert!(shared.listing.tasks().len() <= shared.program.tasks.len() + 1),
        }
        simulation::preempt();
    }
}

/// Lets go of everything that a program has kept.
fn drop_handles(shared: &Arc<Shared>) {
    let locals = with_locals(std::mem::take);
    for handle in locals.handles {
        // An output that nobody has joined may bite whoever drops its handle.
        let _bitten = catch_unwind(AssertUnwindSafe(|| drop(handle)));
    }
    drop(locals.links);
    (0..shared.program.tasks.len()).for_each(|task| drop(shared.take_remote(task)));
    shared.forget_wakers();
}
