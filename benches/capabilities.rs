//! What capabilities cost, and what the run-time net costs, counted in instructions.
//!
//! Measures, under callgrind, functions that come in pairs: one is lent a capability, the other is not, and
//! both do the same. *The counts must be equal*: a capability is checked by the compiler, and gone by then. The
//! exception is the context of an async function, which is a handle, not only a proof: the future keeps it, as
//! any argument that lives across an `.await`, and may cost a store or two per call.
//!
//! Then the polls of a task that only yields, and how many of their instructions are the run-time net: the
//! check for live borrows of BQL cells after each poll, and the note that a future is being polled. The
//! nanoseconds are the net's share of the time that a poll takes without callgrind.
//!
//! `cargo bench --bench capabilities`. Says so and does nothing where there is no valgrind.

#[path = "capabilities/callgrind.rs"]
mod callgrind;
#[path = "capabilities/measured.rs"]
mod measured;

use std::time::Instant;

use executor::{LocalExecutor, MainCx, NoCoroutine, block_on, run_main};

use callgrind::Counts;

/// The functions of `measured`, with a capability and without, and what the former may cost more.
const PAIRS: [(&str, &str, &str, u64); 3] = [
    ("a chain of calls, `&mut NoCoroutine`", "calls_with", "calls_without", 0),
    ("a borrow of a BQL cell, `&Bql`", "borrow_with", "borrow_without", 0),
    ("100 async calls, `&MainCx`", "future_with", "future_without", 4 * 100),
];

/// The sources of the run-time net, and of what it inlines. The rest of a poll uses those, too, so this is the most
/// that the net can cost: leaving it out of the executor saves less.
const NET: [&str; 4] = [
    "executor/src/bql/borrows.rs",
    "executor/src/current.rs",
    "core/src/cell.rs",
    "std/src/thread/local.rs",
];
const POLLS: u64 = 10_000;
/// The net may cost this many instructions of a poll: with them it stays below 3 ns. Instructions do not
/// depend on who else uses the machine.
const MOST_INSTRUCTIONS: f64 = 40.0;

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--measure").skip(1);
    if let Some(name) = args.next() {
        return run_main(|nc| measure(nc, &name));
    }
    if !callgrind::is_there() {
        println!("skipped: there is no valgrind");
        return;
    }
    compare_pairs();
    weigh_net();
}

/// What the child does.
fn measure(nc: &mut NoCoroutine, name: &str) {
    let result = match name {
        "calls_with" => measured::calls_with(nc, 100),
        "calls_without" => measured::calls_without(100),
        "borrow_with" => measured::borrow_with(nc),
        "borrow_without" => measured::borrow_without(),
        "future_with" => block_on(nc, async |cx: &MainCx| measured::future_with(cx)),
        "future_without" => measured::future_without(),
        polls => {
            let times = polls.strip_prefix("polls=").and_then(|times| times.parse().ok());
            nc.unlocked(|| poll_a_task(times.expect("the parent passes a number")));
            0
        }
    };
    std::hint::black_box(result);
}

/// On a thread of its own, whose loop is the executor's.
fn poll_a_task(times: u64) -> f64 {
    let poll = move || {
        let executor = LocalExecutor::new().expect("there are file descriptors left");
        let start = Instant::now();
        measured::polls(&executor, times);
        start.elapsed().as_secs_f64() * 1e9
    };
    std::thread::spawn(poll).join().expect("it does not panic")
}

fn compare_pairs() {
    println!("instructions                               with   without");
    for (what, with, without, allowed) in PAIRS {
        let (with, without) = (callgrind::count(with, with), callgrind::count(without, without));
        println!("{what:<40} {:>6} {:>9}", with.total, without.total);
        let more = with.total.abs_diff(without.total);
        assert!(more <= allowed, "{what}: a capability costs {more} instructions");
    }
}

fn weigh_net() {
    let few = callgrind::count("polls", &format!("polls={POLLS}"));
    let many = callgrind::count("polls", &format!("polls={}", 2 * POLLS));
    let per_poll = |part: fn(&Counts) -> u64| (part(&many) - part(&few)) as f64 / POLLS as f64;
    let (poll, net) = (per_poll(|counts| counts.total), per_poll(net_of));
    let times = 200 * POLLS;
    let nanoseconds = (0..5).map(|_| poll_a_task(times)).fold(f64::INFINITY, f64::min);
    let nanoseconds = nanoseconds / times as f64;
    let share = nanoseconds * net / poll;
    println!("a poll of a task that yields: {poll:.1} instructions, {nanoseconds:.1} ns");
    println!("of them the run-time net:     {net:.1} instructions, {share:.1} ns");
    assert!(net >= 1.0, "the net was not found");
    assert!(net <= MOST_INSTRUCTIONS, "the run-time net costs {net:.1} instructions per poll");
}

fn net_of(counts: &Counts) -> u64 {
    let of_it = |file: &str| NET.iter().any(|end| file.ends_with(end));
    counts.files.iter().filter(|(file, _)| of_it(file)).map(|(_, count)| count).sum()
}
