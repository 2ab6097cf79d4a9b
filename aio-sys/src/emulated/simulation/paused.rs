//! A clock that stands still until a test lets it go on.
//!
//! [`pause`] runs a program whose clocks stand still: those of its thread, and of the iothreads that it makes. As in a
//! simulation, only one of these threads runs at a time; here no seed decides which, they have their turns one after
//! another, and nothing goes wrong. When none of them can go on, time leaps to the next deadline, as far as it
//! [may](set_limit). Then the program is at rest, which [`wake_at_rest`](super::wake_at_rest) announces; if nobody wants
//! to know, the loop of the program's thread returns, and finds out why from [`take_stuck`].
//!
//! What goes on [`outside`], such as a thread of a pool, has real time: the program is not at rest before it has ended.
//!
//! Threads: those of the program, but for [`Outside`], which any thread may drop.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::world::{BEGIN_NS, World};
use super::{Faults, Plan, here, run_in_world, with};

/// After so many leaps in one wait, something goes on for ever.
const MOST_LEAPS: u64 = 1 << 22;
/// How long, in real time, what goes on outside may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far time may go.
#[derive(Debug)]
pub(super) struct Pause {
    /// Time of its own accord goes no further.
    limit_ns: Option<i64>,
    /// Where there is no limit, time goes on to any deadline, or to none.
    auto: bool,
    leaps: u64,
    pub(super) outside: usize,
    pub(super) patience: Duration,
    pub(super) stuck: Option<Stuck>,
    /// What came next when nobody could go on.
    pub(super) deadline_ns: Option<i64>,
    /// Which of the programs that this world has seen.
    program: u64,
}

/// Why the loop of the program's thread returns although nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Whatever is waited for cannot come, or not before time goes on.
    Forever,
    /// Something outside does not end.
    Outside,
    /// Time goes on and on.
    Busy,
}

impl Pause {
    /// Where time goes when nobody can go on: to the deadline, or as far as it may.
    pub(super) fn leap(&mut self, now_ns: i64, deadline_ns: Option<i64>) -> i64 {
        let limit_ns = match self.limit_ns {
            Some(limit_ns) => limit_ns,
            // Without a deadline there is nowhere to go.
            None if self.auto => deadline_ns.unwrap_or(now_ns),
            None => now_ns,
        };
        self.leaps += 1;
        if self.limit_ns.is_none() && self.leaps > MOST_LEAPS {
            self.stuck = Some(Stuck::Busy);
            return now_ns;
        }
        deadline_ns.map_or(limit_ns, |deadline_ns| deadline_ns.min(limit_ns)).max(now_ns)
    }
}

/// Runs `program` with clocks that stand still.
///
/// # Panics
///
/// In a simulation, or if the clock is paused; and if an iothread of the program is still there at its end.
pub fn pause<R>(program: impl FnOnce() -> R) -> R {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PROGRAMS: AtomicU64 = AtomicU64::new(1);

    assert!(here().is_none(), "the clock of this thread is paused already");
    let pause = Pause {
        limit_ns: None,
        auto: false,
        leaps: 0,
        outside: 0,
        patience: PATIENCE,
        stuck: None,
        deadline_ns: None,
        // Relaxed: only uniqueness matters.
        program: PROGRAMS.fetch_add(1, Ordering::Relaxed),
    };
    let plan = Plan { seed: 0, faults: Faults::default(), most_steps: u64::MAX };
    run_in_world(plan, Some(pause), program).0
}

/// Looks at the pause that this thread is in.
fn with_pause<R>(look: impl FnOnce(&mut Pause) -> R) -> Option<R> {
    with(|state| state.pause.as_mut().map(look)).flatten()
}

/// The number of the program whose clock this thread has; `None` if it is not paused.
#[must_use]
pub fn program() -> Option<u64> {
    with_pause(|pause| pause.program)
}

/// How long the clock would show to have run since the pause began; `None` if it is not paused.
#[must_use]
pub fn elapsed_ns() -> Option<i64> {
    with(|state| state.pause.is_some().then(|| state.now_ns() - BEGIN_NS)).flatten()
}

/// Lets time go on by so much, as soon as nobody can go on without it; with `None`, as [`set_auto`] has it. Returns
/// whether there was a limit.
pub fn set_limit(ahead_ns: Option<i64>) -> bool {
    let set = |state: &mut super::State| {
        let now_ns = state.now_ns();
        let pause = state.pause.as_mut()?;
        pause.leaps = 0;
        let before = pause.limit_ns;
        pause.limit_ns = ahead_ns.map(|ahead_ns| now_ns.saturating_add(ahead_ns));
        Some(before.is_some())
    };
    with(set).flatten().unwrap_or(false)
}

/// Sets whether time goes on by itself where there is no limit.
pub fn set_auto(auto: bool) {
    with_pause(|pause| pause.auto = auto);
}

/// How long after now the next deadline of any thread is, as it was known when nobody could go on.
#[must_use]
pub fn next_deadline_ns() -> Option<i64> {
    let left = |state: &mut super::State| {
        let deadline_ns = state.pause.as_ref()?.deadline_ns?;
        Some((deadline_ns - state.now_ns()).max(0))
    };
    with(left).flatten()
}

/// Sets how long, in real time, what goes on [`outside`] may take.
pub fn set_patience(patience: Duration) {
    with_pause(|pause| pause.patience = patience);
}

/// Why the loop has returned although nothing has happened, if that is so. In the program's own thread.
#[inline]
#[must_use]
pub fn take_stuck() -> Option<Stuck> {
    here()?;
    with_pause(|pause| pause.stuck.take()).flatten()
}

/// Says that something begins that this thread's program is to wait for, in real time, before it leaves its clock
/// alone; until the answer is dropped. `None` if the clock is not paused.
#[must_use]
pub fn outside() -> Option<Outside> {
    let (world, _) = here()?;
    let program = with_pause(|pause| {
        pause.outside += 1;
        pause.program
    })?;
    Some(Outside { world, program })
}

/// See [`outside`].
pub struct Outside {
    world: &'static World,
    program: u64,
}

impl Drop for Outside {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        // A later program may be in the same world.
        if let Some(pause) = state.pause.as_mut().filter(|pause| pause.program == self.program) {
            pause.outside -= 1;
        }
        drop(state);
        self.world.outside.notify_all();
    }
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("program", &self.program).finish_non_exhaustive()
    }
}
