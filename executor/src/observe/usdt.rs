//! Probes for `SystemTap`, `bpftrace` and `perf`: what QEMU's trace backend `dtrace` has for QEMU.
//!
//! Each is a `nop` and a note in the executable. The provider is `executor`; the arguments are numbers.

use probe::probe;

use super::{Event, Observer, What};

/// An [`Observer`] with a probe for each event: `task_spawned`, `task_ready`, `task_woken_elsewhere`, `poll_begin`,
/// `poll_end`, `run_begin`, `run_end`.
///
/// The arguments are [`Event::task`], [`Event::by`] and [`Event::thread`]; `poll_end` has the
/// [`Outcome`](super::Outcome) as a fourth: 0 for pending, 1 completed, 2 panicked, 3 cancelled.
///
/// ```text
/// bpftrace -e 'usdt:./program:executor:poll_begin { @[arg0] = count(); }'
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
            What::Spawned { .. } => probe!(executor, task_spawned, task, by, thread),
            What::Ready => probe!(executor, task_ready, task, by, thread),
            What::WokenElsewhere => probe!(executor, task_woken_elsewhere, task, by, thread),
            What::PollBegins => probe!(executor, poll_begin, task, by, thread),
            What::PollEnds { outcome } => {
                probe!(executor, poll_end, task, by, thread, outcome as u32);
            }
            What::RunBegins => probe!(executor, run_begin, task, by, thread),
            What::RunEnds => probe!(executor, run_end, task, by, thread),
        }
    }
}
