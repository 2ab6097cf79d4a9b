//! How many instructions each operation of the executor takes, held to budgets.
//!
//! Times depend on who else uses the machine, instructions do not, so this is what CI watches: a row that takes 5 %
//! more than `benches/budgets.txt` allows fails. Each row is a program that does its work `N` times and one that does it
//! `2 N` times, both under callgrind; the difference, by `N`, has neither the start nor the end in it.
//!
//! Where instructions mislead: an atomic operation is one of them, a cache miss is none, and a system call is the few
//! around it. `cargo bench --bench executor` has the times.
//!
//! `cargo bench --bench instructions` checks, `-- --write` writes new budgets, `-- timer` takes the rows whose names
//! match. Without valgrind it says so and does nothing, unless `REQUIRE_VALGRIND` is set, as in CI.

mod budgets;
#[path = "../capabilities/callgrind.rs"]
mod callgrind;
#[path = "../executor/kit.rs"]
mod kit;
mod local;
mod measured;
mod remote;

use std::process::{Command, ExitCode};
use std::thread;

use budgets::{Budgets, Verdict};
use callgrind::Counts;

/// An operation.
struct Row {
    name: &'static str,
    /// Does it so many times.
    work: fn(u64),
    what: &'static str,
}

/// How often an operation is done, in the shorter one of two runs.
const N: u64 = 2_000;

const fn row(name: &'static str, work: fn(u64), what: &'static str) -> Row {
    Row { name, work, what }
}

const ROWS: [Row; 18] = [
    row("loop_pass", local::loop_pass, "`run_once` with nothing to do"),
    row("spawn_join", local::spawn_join, "spawn a task, await its handle"),
    row("spawn_join_batch", local::spawn_join_batch, "the same, 1000 at a time"),
    row("spawn_detach", local::spawn_detach, "spawn a detached task, 1000 at a time"),
    row("yield", local::yields, "a task wakes itself and is polled"),
    row("ping_pong", local::ping_pong, "a task wakes another, and back"),
    row("drop_idle", local::drop_idle, "shut down with idle tasks, per task"),
    row("timer", local::timer, "make, arm and drop a timer"),
    row("timer_batch", local::timer_batch, "the same, 1000 at a time"),
    row("fd_sockets", local::sockets, "a round trip over a socket pair"),
    row("fd_event_fds", local::event_fds, "a round trip over two eventfds"),
    row("remote_wake_first", remote::first_wake, "wake from another thread, ring"),
    row("remote_wake_more", remote::more_wakes, "wake from another thread, others before"),
    row("remote_wake_again", remote::wake_again, "wake from another thread, woken before"),
    row("remote_serve_first", remote::serve_first, "the loop pass that serves one wake"),
    row("remote_serve_more", remote::serve_more, "serve one of many wakes"),
    row("hop", remote::hop, "a call to another executor, both sides"),
    row("nothing", |n| (0..n).for_each(|_| measured::counted(&mut || ())), "the counting itself"),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "--measure") {
        measure(&args[at + 1]);
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--quick") {
        println!("instructions: left to a run without `--quick`");
        return ExitCode::SUCCESS;
    }
    if !callgrind::is_there() {
        let required = std::env::var_os("REQUIRE_VALGRIND").is_some();
        println!("{}: there is no valgrind", if required { "failed" } else { "skipped" });
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |row: &&Row| names.is_empty() || names.iter().any(|n| row.name.contains(*n));
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    if args.iter().any(|arg| arg == "--write") {
        assert!(names.is_empty(), "budgets are written for all rows together");
        write(&rows);
        return ExitCode::SUCCESS;
    }
    check(&rows)
}

/// What the child does: `name=n`.
fn measure(argument: &str) {
    let (name, n) = argument.split_once('=').expect("the parent passes `name=n`");
    let row = ROWS.iter().find(|row| row.name == name).expect("the parent passes a row");
    (row.work)(n.parse().expect("the parent passes a number"));
}

/// The counts of a row's two runs, which run at the same time.
fn runs(row: &Row) -> [Counts; 2] {
    let run = |n: u64| callgrind::count("counted", &format!("{}={n}", row.name));
    thread::scope(|scope| {
        let few = scope.spawn(move || run(N));
        let many = run(2 * N);
        [few.join().expect("callgrind does not fail"), many]
    })
}

fn per_operation(few: u64, many: u64) -> f64 {
    (many as f64 - few as f64) / N as f64
}

fn write(rows: &[&Row]) {
    let count = |row: &&Row| {
        let [few, many] = runs(row);
        let count = per_operation(few.total, many.total);
        println!("{:<18} {count:>8.1}  {}", row.name, row.what);
        (row.name, count)
    };
    let counts: Vec<(&str, f64)> = rows.iter().map(count).collect();
    budgets::write(&counts, &versions());
}

/// Who compiled and who counts.
fn versions() -> String {
    let ask = |program: &str| {
        let output = Command::new(program).arg("--version").output().expect("it was there");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let target = format!("{} {}", std::env::consts::ARCH, std::env::consts::OS);
    format!("{}, {}, {target}", ask("rustc"), ask("valgrind"))
}

fn check(rows: &[&Row]) -> ExitCode {
    let budgets = Budgets::read();
    println!("{:<18} {:>8} {:>8}  per operation", "row", "count", "budget");
    let failed: Vec<&str> =
        rows.iter().filter(|row| !passes(row, &budgets)).map(|row| row.name).collect();
    let names = ROWS.map(|row| row.name);
    for gone in budgets.without_row(&names) {
        println!("{gone}: there is no such row, write the budgets anew");
    }
    if failed.is_empty() && budgets.without_row(&names).is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("instructions: not within the budget: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn passes(row: &Row, budgets: &Budgets) -> bool {
    let [few, many] = runs(row);
    let count = per_operation(few.total, many.total);
    let budget = budgets.of(row.name).map_or_else(|| "none".into(), |b| format!("{b:.1}"));
    let verdict = budgets.judge(row.name, count);
    let remark = match verdict {
        Verdict::Within => "",
        Verdict::Below => "  lower the budget",
        Verdict::Above => "  OVER BUDGET",
        Verdict::Unknown => "  NO BUDGET",
    };
    println!("{:<18} {count:>8.1} {budget:>8}  {}{remark}", row.name, row.what);
    if verdict == Verdict::Above {
        explain(&few, &many);
    }
    matches!(verdict, Verdict::Within | Verdict::Below)
}

/// Prints the source files that most of the instructions come from.
fn explain(few: &Counts, many: &Counts) {
    let of_file = |(file, count): (&String, &u64)| {
        let before = few.files.get(file).copied().unwrap_or(0);
        (per_operation(before, *count), file.clone())
    };
    let mut files: Vec<(f64, String)> = many.files.iter().map(of_file).collect();
    files.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    for (count, file) in files.iter().take(12).filter(|(count, _)| *count >= 0.5) {
        println!("{:<18} {count:>8.1}  {file}", "");
    }
}
