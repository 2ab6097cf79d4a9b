//! A million live tasks: spawned, woken, and come to their end.
//!
//! `million_total` is the time of all three, per task; `million_rss` what the process has grown by when all of them
//! wait. Nobody holds a handle. Each peer has a process of its own, since memory that was used before is not
//! fresh; the children run in turn, round after round. The floor is a box with a future, polled when it is made
//! and when it ends.

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::kit::Gate;
use crate::peers::{AsyncExecutor, Embassy, LocalRuntime, Monoio, Ours, Peer, Pool, Tokio};
use crate::suite::Suite;
use crate::table::{Column, Figures, Unit};

const TASKS: usize = 1_000_000;

/// Before the name of a column, on the command line of a child.
const OPTION: &str = "--million";

pub(crate) fn add(suite: &mut Suite) {
    if !suite.wants("million_total") && !suite.wants("million_rss") {
        return;
    }
    eprintln!("million");
    let (mut totals, mut sizes) = (Vec::new(), Vec::new());
    // Fewer rounds: each takes seconds, and sees less noise.
    for _ in 0..suite.rounds().div_ceil(4) {
        let (mut total, mut size): (Figures, Figures) = Default::default();
        for column in Column::ALL {
            let (nanoseconds, bytes) = ask_child(column);
            total[column as usize] = Some(nanoseconds);
            size[column as usize] = Some(bytes);
        }
        totals.push(total);
        sizes.push(size);
    }
    suite.push("million_total", Unit::Nanoseconds, totals);
    suite.push("million_rss", Unit::Bytes, sizes);
}

fn ask_child(column: Column) -> (f64, f64) {
    let program = std::env::current_exe().expect("a benchmark has an executable");
    let output = Command::new(program).args([OPTION, column.name()]).output();
    let output = output.expect("this program can be started again");
    assert!(output.status.success(), "{} with a million tasks: {output:?}", column.name());
    let text = String::from_utf8(output.stdout).expect("the child writes numbers");
    let mut words = text.split_whitespace().map(|word| word.parse().expect("it is a number"));
    let mut next = || words.next().expect("the child writes two numbers");
    (next(), next())
}

pub(crate) fn is_child() -> bool {
    std::env::args().any(|arg| arg == OPTION)
}

/// Measures one column and prints nanoseconds and bytes per task.
pub(crate) fn run_child() {
    let name = std::env::args().next_back().expect("the parent passes a column");
    let column = Column::ALL.into_iter().find(|column| column.name() == name);
    let (time, bytes) = match column.expect("the parent passes a column") {
        Column::Ours => live::<Ours>(),
        Column::Tokio => live::<Tokio>(),
        Column::AsyncExecutor => live::<AsyncExecutor>(),
        Column::Pool => live::<Pool>(),
        Column::Embassy => live::<Embassy>(),
        Column::Monoio => live::<Monoio>(),
        Column::LocalRuntime => live::<LocalRuntime>(),
        Column::Floor => boxed(),
    };
    let per_task = |figure: f64| figure / TASKS as f64;
    println!("{} {}", per_task(time.as_secs_f64() * 1e9), per_task(bytes as f64));
}

/// The memory that the process has in use, in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/status").expect("the system has `/proc`");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    let kilobytes = kilobytes.and_then(|word| word.parse::<usize>().ok());
    kilobytes.expect("the system says how much is resident") * 1024
}

fn live<P: Peer>() -> (Duration, usize) {
    P::run(|peer: P| async move {
        // One after the other: the gate's list of wakers is touched before, and is not in the figures.
        let gate = Gate::new(TASKS);
        gate.touch();
        let before = resident();
        let start = Instant::now();
        for _ in 0..TASKS {
            peer.spawn_detached(gate.pass());
        }
        gate.all_parked().await;
        let parked = start.elapsed();
        let grown = resident() - before;
        let start = Instant::now();
        gate.open();
        gate.all_passed().await;
        (parked + start.elapsed(), grown)
    })
}

fn boxed() -> (Duration, usize) {
    let gate = Gate::new(TASKS);
    gate.touch();
    let mut futures: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>> = Vec::new();
    futures.resize_with(TASKS, || None);
    let mut cx = Context::from_waker(Waker::noop());
    let before = resident();
    let start = Instant::now();
    for place in &mut futures {
        let mut future = Box::pin(gate.pass());
        assert!(future.as_mut().poll(&mut cx).is_pending(), "the gate is closed");
        *place = Some(future);
    }
    let parked = start.elapsed();
    let grown = resident() - before;
    let start = Instant::now();
    gate.open();
    for future in futures.iter_mut().filter_map(Option::take) {
        assert_eq!({ future }.as_mut().poll(&mut cx), Poll::Ready(()), "the gate is open");
    }
    (parked + start.elapsed(), grown)
}
