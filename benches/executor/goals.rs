//! What the executor is to reach, and how far it is.
//!
//! A goal is about one row: at most that ratio to the best peer, with everything switched on that the executor
//! promises, or at most that figure. Where the ratio is above but a quarter of the rounds are not, the run was too
//! noisy to say. For a goal that is not met the reason is here, in one line, or is not known.

use std::fmt;

use crate::table::{Column, Ratio, Row, Table};

/// What a row is held to.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// Ours by the best peer's, at most.
    Ratio(f64),
    /// Ours, at most, in the row's unit.
    Figure(f64),
    /// Another benchmark measures it. The ratio there, at most.
    Elsewhere(f64, &'static str),
}

struct Goal {
    row: &'static str,
    limit: Limit,
    /// Why it may be missed.
    reason: &'static str,
}

const fn ratio(row: &'static str, most: f64, reason: &'static str) -> Goal {
    Goal { row, limit: Limit::Ratio(most), reason }
}

const fn figure(row: &'static str, most: f64, reason: &'static str) -> Goal {
    Goal { row, limit: Limit::Figure(most), reason }
}

const fn in_qemu(row: &'static str, most: f64) -> Goal {
    let limit = Limit::Elsewhere(most, "cargo bench --bench qemu");
    Goal { row, limit, reason: "" }
}

const KERNEL: &str = "the kernel's wake of a sleeper is nearly all of it, for everybody";
const TASK: &str =
    "each task is listed and polled once, with the checks of `yield_1k`, on top of the floor";
const MEMORY: &str = "the kernel's first touch of the memory is most of it, for everybody";
const HOP: &str = "the far side spawns a task, which is listed and can be cancelled: 430 instructions, \
                   and a cache line each way";
const FD: &str = "six system calls, as the floor; 900 instructions a hop";
const SOCKET: &str = "six system calls, as the floor; 900 instructions a hop, and `recvmsg` takes 160 ns \
                      more than `recv`: it tells whether a short read means an empty socket";
const FLOOD: &str = "each wake is a read-modify-write, for the sake of what it publishes";
const LOCKS: &str = "a `Sleep` may be dropped on any thread: three locks without contention, six atomic \
                     instructions, where monoio needs none";
const GRID: &str = "a wake-up takes 15 us of the CPU; nobody is late by more than 50 us, which makes \
                    300 of them where a grid of 1 ms has 20";

const GOALS: &[Goal] = &[
    ratio("spawn_join_1", 0.90, TASK),
    ratio("spawn_join_1k", 0.40, TASK),
    ratio("spawn_join_100k", 0.25, TASK),
    ratio("spawn_detach_1k", 0.55, TASK),
    ratio("yield_1", 0.75, "panics, borrows and budgets are looked after in each poll"),
    ratio("yield_1k", 0.65, "panics, borrows and budgets are looked after in each poll"),
    ratio("chan_pp", 0.80, "a waker counts references, embassy's does not"),
    ratio("chan_pp_idle1k", 0.80, "a waker counts references, embassy's does not"),
    ratio("chan_pp_idle100k", 0.80, "a waker counts references, embassy's does not"),
    ratio("wake_lat", 1.00, KERNEL),
    ratio("wake_rtt", 1.00, KERNEL),
    ratio("wake_lat_polling", 0.02, "the loop's bookkeeping between two looks"),
    ratio("wake_busy_1", 1.00, FLOOD),
    ratio("wake_busy_1k", 1.00, FLOOD),
    ratio("fd_pp_sock", 0.90, SOCKET),
    ratio("fd_pp_evfd", 0.70, FD),
    ratio("fd_pp_pipe", 0.70, FD),
    ratio("fd_pp_idle100", 0.90, SOCKET),
    ratio("fd_pp_idle5k", 0.90, SOCKET),
    ratio("sleep_1ms_over", 0.95, KERNEL),
    ratio("sleep_100us_over", 0.95, KERNEL),
    ratio("timer_cancel_1", 0.90, LOCKS),
    ratio("timer_create_100k", 0.75, ""),
    ratio("timer_drop_100k", 0.75, ""),
    ratio("timer_10k_cpu", 0.90, GRID),
    ratio("timer_10k_late", 0.10, ""),
    figure("mem_bytes", 70.0, ""),
    figure("mem_allocs", 1.0, ""),
    ratio("million_total", 0.75, MEMORY),
    figure("million_rss", 96.0, ""),
    ratio("offload_rtt", 1.00, KERNEL),
    ratio("offload_rtt_polling", 0.02, HOP),
    ratio("offload_pipe", 0.80, HOP),
    ratio("offload_pipe_polling", 0.25, HOP),
    in_qemu("our yield / QEMU coroutine's enter and yield", 0.125),
    in_qemu("our hop / `aio_co_reschedule_self`", 0.90),
];

/// How far a row is from its goal.
enum State {
    Met,
    TooNoisy,
    /// By how much of the goal.
    Missed(f64),
}

impl Goal {
    fn state(&self, row: &Row, ratio: Option<Ratio>) -> Option<State> {
        let (value, low, most) = match self.limit {
            Limit::Ratio(most) => ratio.map(|r| (r.median, r.lower_quartile, most))?,
            Limit::Figure(most) => row.figure(Column::Ours).map(|f| (f, f, most))?,
            Limit::Elsewhere(..) => return None,
        };
        Some(if value <= most {
            State::Met
        } else if low <= most {
            State::TooNoisy
        } else {
            State::Missed(value / most - 1.0)
        })
    }

    fn describe(&self, row: &Row, ratio: Option<Ratio>) -> String {
        let because = |what: String| match self.reason {
            "" => what,
            reason => format!("{what}: {reason}"),
        };
        match self.state(row, ratio) {
            Some(State::Met) => "met".into(),
            Some(State::TooNoisy) => "too noisy to say".into(),
            Some(State::Missed(by)) => because(format!("{:.0} % above", by * 100.0)),
            None => "not measured".into(),
        }
    }

    fn limit(&self, row: &Row) -> String {
        match self.limit {
            Limit::Ratio(most) => format!("≤ {most}"),
            Limit::Figure(most) => format!("≤ {}", row.unit().format(most)),
            Limit::Elsewhere(most, _) => format!("≤ {most}"),
        }
    }

    fn write(&self, table: &Table, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Limit::Elsewhere(most, command) = self.limit {
            return writeln!(f, "| {} | | | | | ≤ {most} | see `{command}` |", self.row);
        }
        let Some(row) = table.row(self.row) else { return Ok(()) };
        let ratio = row.ratio();
        let figure = |column| row.figure(column).map_or("–".into(), |f| row.unit().format(f));
        let peer = ratio.map_or("–".into(), |r| format!("{} {}", r.peer.name(), figure(r.peer)));
        let spread = ratio.map_or("–".into(), |r| {
            format!("{:.2} ({:.2}–{:.2})", r.median, r.lower_quartile, r.upper_quartile)
        });
        let (ours, floor) = (figure(Column::Ours), figure(Column::Floor));
        let (limit, state) = (self.limit(row), self.describe(row, ratio));
        writeln!(f, "| {} | {ours} | {peer} | {floor} | {spread} | {limit} | {state} |", self.row)
    }
}

/// The goals, as far as a table has their rows.
pub(crate) struct Goals<'a>(pub(crate) &'a Table);

impl fmt::Display for Goals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| row | ours | best peer | floor | ratio (quartiles) | goal | |")?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---|")?;
        GOALS.iter().try_for_each(|goal| goal.write(self.0, f))
    }
}
