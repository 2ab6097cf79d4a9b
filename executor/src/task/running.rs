//! The home thread's exclusive right to a task's future.
//!
//! [`Running`] stands for a task on the stack, [running-is-lock]: popped from the run queue, in no queue,
//! and put back, or finished, by the same slice of the executor. Home thread only.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::task::Context;
use std::thread;

use super::JoinError;
use super::cell::{Header, Polled, TaskRef, discard_result, enqueue, free};
use super::kind::vtable;
use super::state::{AfterDrop, AfterStart, AfterWake, Outcome};
use super::waker;
use crate::home::Home;
use crate::task_table::Place;

/// The right to the future of a task that left the run queue, [running-is-lock].
///
/// Home thread only. It must end in `suspend` or `finish`.
#[derive(Debug)]
pub(crate) struct Running {
    header: NonNull<Header>,
}

impl Running {
    /// Takes the next task from the queue. Returns the right and whether it was cancelled. Home.
    #[inline]
    pub(crate) fn next(home: &Home) -> Option<(Running, bool)> {
        let header = home.queue().pop()?;
        let running = Running { header };
        let cancelled = running.header().state.start_poll() == AfterStart::Cancel;
        Some((running, cancelled))
    }

    fn header(&self) -> &Header {
        // SAFETY: the table's reference lives until `finish`.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub(crate) fn place(&self) -> Place {
        Place::of(self.header)
    }

    pub(crate) fn has_join(&self) -> bool {
        self.header().state.has_join()
    }

    /// Polls the future once. Panics are caught.
    #[inline]
    pub(crate) fn poll(&self) -> Polled {
        let header = self.header();
        let waker = waker::borrowed(self.header.as_ptr().cast());
        let mut cx = Context::from_waker(&waker);
        // SAFETY: [running-is-lock], and a task that is not complete holds its future.
        unsafe { (vtable(header).poll)(self.header, &mut cx) }
    }

    /// Ends a poll that returned `Pending`: queues the task again, at its home, if it was woken meanwhile.
    #[inline]
    pub(crate) fn suspend(self, home: &Home) {
        if self.header().state.finish_poll() == AfterWake::Enqueue {
            enqueue(home, self.header);
        }
    }

    /// Drops the future. Returns the panic of its destructor, if any; the future is gone all the same.
    pub(crate) fn drop_future(&self) -> Result<(), Box<dyn Any + Send>> {
        let drop_future = vtable(self.header()).drop_future;
        // SAFETY: [running-is-lock], and a task that is not complete holds its future.
        catch_unwind(AssertUnwindSafe(|| unsafe { drop_future(self.header) }))
    }

    /// Drops the output of a poll that returned `Ready`. Returns the panic of its destructor, if any.
    pub(crate) fn drop_output(&self) -> Result<(), Box<dyn Any + Send>> {
        let drop_output = vtable(self.header()).drop_output;
        // SAFETY: [running-is-lock], and the poll has put the output into the stage.
        catch_unwind(AssertUnwindSafe(|| unsafe { drop_output(self.header) }))
    }

    /// Drops the result of a complete task that nobody joins. Returns the error, if it was one, or the
    /// panic of the output's destructor.
    pub(crate) fn discard_result(&self) -> thread::Result<Option<JoinError>> {
        // Not a reference of its own: the table's lives until `finish`.
        let task = ManuallyDrop::new(TaskRef { header: self.header });
        catch_unwind(AssertUnwindSafe(|| discard_result(&task)))
    }

    /// Puts an error where the future was. The stage must be empty.
    pub(crate) fn fail(&self, error: JoinError) {
        let stage = vtable(self.header()).stage;
        // SAFETY: the offset is that of the stage, within the allocation.
        let place = unsafe { self.header.as_ptr().byte_add(stage) };
        // SAFETY: [running-is-lock]; a union's fields begin at its start, and it holds nothing.
        unsafe { place.cast::<JoinError>().write(error) };
        self.header().state.complete(Outcome::Error);
    }

    /// Records that the stage holds the output.
    #[inline]
    pub(crate) fn succeed(&self) {
        self.header().state.complete(Outcome::Output);
    }

    /// Ends a complete task's life on the executor and wakes whoever waits for it. `table` is the
    /// reference that the task table held.
    ///
    /// The cell goes last: waking can be foreign code, and whoever asks there which task is polled looks at
    /// this one's place, [place-in-table].
    pub(crate) fn finish(self, table: TaskRef) {
        debug_assert!(table.header == self.header, "the table's entry is this task's");
        let table = ManuallyDrop::new(table);
        if let Some(joiner) = table.header().joiner.take() {
            joiner.wake();
        }
        if table.state().merge() == AfterDrop::Free {
            // SAFETY: `merge` gave up the table's reference, and it was the last, [last-ref-frees].
            unsafe { free(self.header) };
        }
    }
}
