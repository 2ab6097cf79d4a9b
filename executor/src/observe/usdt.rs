//! Probes for `SystemTap`, `bpftrace` and `perf`: what QEMU's trace backend `dtrace` has for QEMU.
//!
//! Each is a `nop` and a note in the executable. The provider is `executor`; the arguments are numbers.

use probe::probe;

use super::{Event, Observer, What};
use crate::task::TaskLabel;

/// An [`Observer`] with a probe for each event. All have [`Event::task`], [`Event::by`] and [`Event::thread`] as
/// arguments, and some have more:
///
/// | probe | further arguments |
/// |---|---|
/// | `task_spawned` | name and its length (0 without), file and its length, line |
/// | `task_ready`, `task_woken_elsewhere` | – |
/// | `task_sent`, `task_dropped` | number of the move |
/// | `task_moved` | number of the move, thread that it came from |
/// | `poll_begin` | – |
/// | `poll_end` | [`Outcome`](super::Outcome): 0 pending, 1 completed, 2 panicked, 3 cancelled, 4 moved |
/// | `run_begin`, `run_end` | – |
/// | `bql_taken`, `bql_released` | – |
///
/// ```text
/// bpftrace -e 'usdt:./program:executor:task_spawned { @name[arg0] = str(arg3, arg4); }
///              usdt:./program:executor:poll_begin { @polls[@name[arg0]] = count(); }'
/// ```
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::observe::{Usdt, observe};
///
/// static PROBES: Usdt = Usdt;
///
/// observe(&PROBES);
/// let executor = LocalExecutor::new()?;
/// executor.run(executor.spawn(async {}))?;
/// // What `bpftrace -l` shows: the provider, and the probe.
/// let program = std::fs::read(std::env::current_exe()?)?;
/// let note = b"executor\0poll_begin\0";
/// assert!(program.windows(note.len()).any(|bytes| bytes == note));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Usdt;

impl Observer for Usdt {
    fn observe(&self, event: &Event<'_>) {
        let Event { task, by, thread, .. } = *event;
        match event.what {
            What::Spawned { label, .. } => spawned(label, by, thread),
            What::Ready => probe!(executor, task_ready, task, by, thread),
            What::WokenElsewhere => probe!(executor, task_woken_elsewhere, task, by, thread),
            What::PollBegins => probe!(executor, poll_begin, task, by, thread),
            What::PollEnds { outcome } => {
                probe!(executor, poll_end, task, by, thread, outcome as u32);
            }
            What::Sent { number } => probe!(executor, task_sent, task, by, thread, number),
            What::Moved { from, .. } => {
                probe!(executor, task_moved, task, by, thread, from.number, from.thread);
            }
            What::Dropped { number } => probe!(executor, task_dropped, task, by, thread, number),
            What::RunBegins { .. } => probe!(executor, run_begin, task, by, thread),
            What::RunEnds => probe!(executor, run_end, task, by, thread),
            What::BqlTaken => probe!(executor, bql_taken, task, by, thread),
            What::BqlReleased => probe!(executor, bql_released, task, by, thread),
        }
    }
}

fn spawned(label: &TaskLabel, by: u64, thread: u32) {
    let TaskLabel { id, name, spawned_at } = label;
    let (name, file) = (name.as_deref().unwrap_or_default(), spawned_at.file());
    probe!(
        executor,
        task_spawned,
        *id,
        by,
        thread,
        name.as_ptr(),
        name.len(),
        file.as_ptr(),
        file.len(),
        spawned_at.line()
    );
}
