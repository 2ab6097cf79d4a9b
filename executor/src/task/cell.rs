//! The task's cell: header, then the future or what became of it.
//!
//! The raw-pointer work on tasks is here. [`TaskRef`] is a counted reference that any thread may hold; what
//! the home thread does with the future is in [`running`](super::running). The rest of the executor is
//! written on these two and on the answers of [`State`].

use std::alloc::Layout;
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, Waker};

use super::entry::Entry;
use super::join::JoinError;
use super::joiner::{Joiner, JoinerSlot};
use super::kind::{VTable, vtable};
use super::spawn::is_large;
use super::state::{AfterDrop, AfterPost, AfterWake, Outcome, Post, State};
use crate::arena::{self, Class, Place};
use crate::home::Home;
use crate::inbox::{Node, NodeVTable, Pushed};
use crate::observe::{self, What};
use crate::sync::Cell;

/// What a task is to those who do not know its future's type.
///
/// It stays when the task is gone and its cell is free, for the next task: others may be about to read the entry and
/// the vtable, which they do not believe then.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Header {
    /// The link in the inbox, and the vtable.
    pub(super) node: Node,
    /// What the table of tasks tells.
    pub(super) entry: Entry,
    /// The link in the run queue, or among the free cells. Home, or whoever frees the cell.
    pub(crate) queue_next: Cell<*mut Header>,
    pub(super) state: State,
    /// Who waits for the result. Home, until the last reference frees it.
    pub(super) joiner: JoinerSlot,
}

impl Header {
    /// The header of a cell that was never used.
    pub(crate) fn vacant() -> Header {
        Header {
            // SAFETY: [header-first]: replaced by `enter` before anybody pushes the node.
            node: unsafe { Node::new(ptr::null()) },
            entry: Entry::vacant(),
            queue_next: Cell::new(ptr::null_mut()),
            state: State::new(),
            joiner: JoinerSlot::new(),
        }
    }
}

/// How a poll ended.
#[derive(Debug)]
pub(crate) enum Polled {
    /// The future waits for something.
    Pending,
    /// The future is gone and the stage holds its output.
    Ready,
    /// The future panicked. It still is in the stage. Boxed twice, so that the answer of each poll comes
    /// back in two registers.
    Panicked(Box<Box<dyn Any + Send>>),
    /// The future completed and its destructor panicked. The stage is empty: neither the future nor its
    /// output may be dropped again.
    Emptied(Box<Box<dyn Any + Send>>),
}

#[repr(C)]
pub(super) struct TaskCell<F: Future> {
    pub(super) header: Header,
    pub(super) stage: UnsafeCell<Stage<F>>,
}

/// The future until it is gone; then the output, an error, or nothing: the state tells.
pub(super) union Stage<F: Future> {
    pub(super) future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
    /// Written and read through the address of the union.
    _error: ManuallyDrop<JoinError>,
}

/// What the home thread does with a future of that type.
pub(super) struct VTables<F>(PhantomData<F>);

impl<F: Future + 'static> VTables<F> {
    pub(super) const CLASS: Class = Class::of(Layout::new::<TaskCell<F>>());

    pub(super) const TASK: VTable = VTable {
        node: NodeVTable { run: serve_post, discard: discard_post },
        stage: mem::offset_of!(TaskCell<F>, stage),
        poll: Self::poll,
        drop_future: Self::drop_future,
        drop_output: Self::drop_output,
    };

    /// # Safety
    ///
    /// `header` heads a live `TaskCell<F>`, and the caller has the stage to itself.
    unsafe fn stage<'a>(header: NonNull<Header>) -> &'a mut Stage<F> {
        let cell = header.cast::<TaskCell<F>>();
        // SAFETY: [header-first], and alive by this function's contract.
        let stage = unsafe { cell.as_ref() }.stage.get();
        // SAFETY: exclusive by this function's contract, [running-is-lock].
        unsafe { &mut *stage }
    }

    /// Polls the future; when it is ready, puts its output in its place.
    ///
    /// # Safety
    ///
    /// As for `stage`, and the stage holds the future.
    unsafe fn poll(header: NonNull<Header>, cx: &mut Context<'_>) -> Polled {
        let mut emptied = false;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: forwarded.
            let stage = unsafe { Self::stage(header) };
            // SAFETY: the stage holds the future, by this function's contract.
            let future = unsafe { &mut stage.future };
            // SAFETY: the cell never moves, and the future is dropped in place.
            let output = match unsafe { Pin::new_unchecked(&mut **future) }.poll(cx) {
                Poll::Ready(output) => output,
                Poll::Pending => return Polled::Pending,
            };
            // From here on the future counts as gone, whether its destructor ends well or not.
            emptied = true;
            // SAFETY: it has completed, so this is its last use.
            unsafe { ManuallyDrop::drop(&mut stage.future) };
            stage.output = ManuallyDrop::new(output);
            Polled::Ready
        }));
        let unwound = if emptied { Polled::Emptied } else { Polled::Panicked };
        polled.unwrap_or_else(|payload| unwound(Box::new(payload)))
    }

    /// # Safety
    ///
    /// As for `stage`; the stage holds the future, which counts as gone from now on.
    unsafe fn drop_future(header: NonNull<Header>) {
        // SAFETY: forwarded.
        let stage = unsafe { Self::stage(header) };
        // SAFETY: the stage holds the future, by this function's contract.
        unsafe { ManuallyDrop::drop(&mut stage.future) };
    }

    /// # Safety
    ///
    /// As for `stage`; the stage holds the output, which counts as gone from now on.
    unsafe fn drop_output(header: NonNull<Header>) {
        // SAFETY: forwarded.
        let stage = unsafe { Self::stage(header) };
        // SAFETY: the stage holds the output, by this function's contract.
        unsafe { ManuallyDrop::drop(&mut stage.output) };
    }
}

/// Serves what another thread posted. Home.
///
/// # Safety
///
/// `node` is the node of a task, taken from the inbox together with the reference that `State::post`
/// counted.
unsafe fn serve_post(node: NonNull<Node>) {
    let task = TaskRef { header: node.cast() };
    let posted = task.header().state.take_post();
    if posted.cancel {
        task.cancel_at_home();
    } else if posted.wake {
        task.wake_at_home();
    }
}

/// Lets go of a post that nobody will serve. Home.
///
/// # Safety
///
/// As for `serve_post`.
unsafe fn discard_post(node: NonNull<Node>) {
    drop(TaskRef { header: node.cast() });
}

/// A counted reference on a task, for any thread.
pub(crate) struct TaskRef {
    pub(super) header: NonNull<Header>,
}

// SAFETY: the header's plain cells and the stage are the obstacle; a `TaskRef` touches them only after
// `is_home`, [home-thread], and everything else in the header is atomic or never written again.
unsafe impl Send for TaskRef {}
// SAFETY: as for `Send`: what `&TaskRef` allows elsewhere is atomic.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Takes over a reference that [`TaskRef::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and its reference is the caller's, [waker-is-ref].
    #[inline]
    pub(crate) unsafe fn from_raw(raw: *const ()) -> TaskRef {
        // SAFETY: `into_raw` gave a pointer that is not null.
        TaskRef { header: unsafe { NonNull::new_unchecked(raw.cast_mut()) }.cast() }
    }

    #[inline]
    pub(crate) fn into_raw(self) -> *const () {
        ManuallyDrop::new(self).header.as_ptr().cast()
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: [waker-is-ref]: our reference keeps the cell alive.
        unsafe { self.header.as_ref() }
    }

    #[cfg(test)]
    pub(crate) fn as_header(&self) -> NonNull<Header> {
        self.header
    }

    pub(super) fn state(&self) -> &State {
        &self.header().state
    }

    fn vtable(&self) -> &'static VTable {
        vtable(self.header())
    }

    #[inline]
    pub(crate) fn is_home(&self) -> bool {
        arena::is_home(self.header)
    }

    /// Wakes the task and gives up the reference. Any thread.
    #[inline]
    pub(crate) fn wake(self) {
        // Not by its destructor, which would ask again whose thread this is.
        let task = ManuallyDrop::new(self);
        let after = if task.is_home() {
            task.wake_at_home();
            task.state().drop_local_ref()
        } else {
            task.post(Post::Wake);
            task.state().drop_remote_ref()
        };
        if after == AfterDrop::Free {
            // SAFETY: that was the last reference, [last-ref-frees].
            unsafe { free(task.header) };
        }
    }

    /// Wakes the task. Any thread.
    #[inline]
    pub(crate) fn wake_by_ref(&self) {
        if self.is_home() {
            self.wake_at_home();
        } else {
            self.post(Post::Wake);
        }
    }

    /// Asks for the future to be dropped. Any thread.
    pub(crate) fn cancel(&self) {
        if self.is_home() {
            self.cancel_at_home();
        } else {
            self.post(Post::Cancel);
        }
    }

    #[inline]
    fn wake_at_home(&self) {
        if self.state().wake() == AfterWake::Enqueue {
            enqueue(home_of(self.header), self.header);
        }
    }

    fn cancel_at_home(&self) {
        if self.state().cancel() == AfterWake::Enqueue {
            enqueue(home_of(self.header), self.header);
        }
    }

    fn post(&self, post: Post) {
        if self.state().post(post) == AfterPost::Nothing {
            return;
        }
        if observe::is_on() {
            observe::report(id_of(self.header), What::WokenElsewhere);
        }
        let home = home_of(self.header);
        // SAFETY: `post` counted a reference for the place in the inbox and made sure that there
        // is one place at most, [queued-once].
        match unsafe { home.inbox().push(self.header.cast()) } {
            // Our own reference, which the caller keeps until we return, keeps the home alive.
            Pushed::First => home.ring(),
            Pushed::More => {}
            // SAFETY: [waker-is-ref]: the reference that `post` counted.
            Pushed::Closed => unsafe { refused(self.header) },
        }
    }

    /// Sets who is woken when the task completes. Home.
    ///
    /// A waker's clone is foreign code, which may run this very executor: the task can be complete
    /// afterwards.
    pub(super) fn set_joiner(&self, waker: &Waker) {
        let slot = &self.header().joiner;
        if !slot.is(waker) {
            let replaced = slot.replace(Joiner::from(waker));
            drop(replaced);
        }
    }

    /// Moves the output out of the stage. Home.
    ///
    /// # Safety
    ///
    /// - `T` is the future's output type.
    /// - `State::take_result` has just answered `Output`, [running-is-lock].
    pub(super) unsafe fn take_output<T>(&self) -> T {
        if const { is_large::<T>() } {
            // SAFETY: [running-is-lock]: forwarded; `spawn` has chosen a future that boxes its output.
            return *unsafe { self.take_stage::<Box<T>>() };
        }
        // SAFETY: forwarded.
        unsafe { self.take_stage() }
    }

    /// # Safety
    ///
    /// `State::take_result` has just given us the stage, [running-is-lock], which holds a `T`.
    unsafe fn take_stage<T>(&self) -> T {
        // SAFETY: [cell-in-chunk]: the offset is that of the stage, within the cell.
        let stage = unsafe { self.header.as_ptr().byte_add(self.vtable().stage) };
        // SAFETY: the union's fields all begin at its start, and it holds a `T`.
        unsafe { stage.cast::<T>().read() }
    }

    /// Moves the error out of the stage. Home.
    ///
    /// # Safety
    ///
    /// `State::take_result` has just answered `Error`, [running-is-lock].
    pub(super) unsafe fn take_error(&self) -> JoinError {
        // SAFETY: forwarded.
        unsafe { self.take_stage::<JoinError>() }
    }
}

impl Clone for TaskRef {
    #[inline]
    fn clone(&self) -> TaskRef {
        if self.is_home() {
            self.state().add_local_ref();
        } else {
            self.state().add_remote_ref();
        }
        TaskRef { header: self.header }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        let state = self.state();
        let after = if self.is_home() { state.drop_local_ref() } else { state.drop_remote_ref() };
        if after == AfterDrop::Free {
            // SAFETY: that was the last reference, [last-ref-frees].
            unsafe { free(self.header) };
        }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRef").field("header", &self.header).finish()
    }
}

/// Lets go of a post that the inbox did not take: the executor is gone, and so is the future. Nothing to wake.
///
/// # Safety
///
/// The caller gives up a reference on the task.
#[cold]
unsafe fn refused(header: NonNull<Header>) {
    drop(TaskRef { header });
}

/// The home of a task. For as long as a reference on the task keeps its cell in use.
#[inline]
fn home_of<'a>(header: NonNull<Header>) -> &'a Home {
    // SAFETY: [cells-hold-home]: the callers hold a reference on the task, or own its future.
    unsafe { arena::home_of(header).as_ref() }
}

/// Queues a task at its home and rings if nobody runs the queue. Home.
#[inline]
pub(super) fn enqueue(home: &Home, header: NonNull<Header>) {
    // SAFETY: [queued-once]: the state has just answered `Enqueue`; the
    // table's reference keeps it alive, since only complete tasks leave the table.
    unsafe { home.queue().push(header) };
    home.queued(|| id_of(header));
}

/// A new task comes into the queue. Home.
///
/// # Safety
///
/// The task was born queued, and the table's reference keeps it alive.
#[inline]
pub(super) unsafe fn enqueue_first(home: &Home, header: NonNull<Header>) {
    // SAFETY: [queued-once]: by this function's contract.
    unsafe { home.queue().push(header) };
    home.ring_if_idle();
}

/// The task's id; 0 if it has ended. Any thread that has a reference on it, or home while it is listed.
#[cold]
fn id_of(header: NonNull<Header>) -> u64 {
    Place::of(header).id().unwrap_or(0)
}

/// # Safety
///
/// The last reference is gone, [last-ref-frees].
pub(super) unsafe fn free(header: NonNull<Header>) {
    // SAFETY: alive until the end of this function.
    let shared = unsafe { header.as_ref() };
    let joiner = shared.joiner.take();
    #[cfg(aio_loom)]
    // SAFETY: as for this function.
    unsafe { &mut *header.as_ptr() }.state.retire();
    // SAFETY: [last-ref-frees]: allocated by `spawn`; the stage is empty, since the result is taken or dropped before the handle's
    // reference goes, and so is the joiner's slot now.
    unsafe { arena::free(header) };
    drop(joiner);
}

/// Drops a result that nobody asked for: the output, or the error, which is returned. Home.
///
/// A panic of the output's destructor goes to the caller.
pub(crate) fn discard_result(task: &TaskRef) -> Option<JoinError> {
    match task.state().take_result()? {
        // SAFETY: `take_result` gave us the stage, which holds the output.
        Outcome::Output => unsafe { (task.vtable().drop_output)(task.header) },
        // SAFETY: `take_result` has just answered `Error`.
        Outcome::Error => return Some(unsafe { task.take_error() }),
    }
    None
}
