//! The inbox of an executor: what other threads want of it.
//!
//! A lock-free stack of [`Node`]s with one consumer, the home thread, which takes the whole stack in
//! one exchange and turns it round, so that requests are served in the order of their arrival.
//! Pushing is wait-free but for the retries of one compare-exchange, allocates nothing and takes no
//! lock. A node is the head of a task (woken elsewhere) or of a [`Job`] (a closure to run at home).
//!
//! A closed inbox takes nothing: [`Inbox::push`] gives the node back, so nothing can get lost in an
//! executor that is gone.
//!
//! The intrusive list is the classic Treiber stack without its ABA problem: nodes are never popped
//! one by one, and one exchange empties the list whatever it holds.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::sync::Cell;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// What the consumer does with a node. Both functions consume the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeVTable {
    /// Serves the request, on the home thread.
    pub(crate) run: unsafe fn(NonNull<Node>),
    /// Lets go of the request unserved, because the inbox is closed.
    pub(crate) discard: unsafe fn(NonNull<Node>),
}

/// The head of everything that can be in an inbox.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Node {
    next: Cell<*mut Node>,
    /// A raw pointer, since a task's is also one to its whole kind, of which this is the first field. Atomic, since
    /// the table of tasks tells other threads what it says, while the memory goes from one task to the next.
    vtable: AtomicPtr<NodeVTable>,
}

impl Node {
    /// # Safety
    ///
    /// `vtable` is valid for ever, or replaced before the node is pushed.
    pub(crate) unsafe fn new(vtable: *const NodeVTable) -> Node {
        Node { next: Cell::new(ptr::null_mut()), vtable: AtomicPtr::new(vtable.cast_mut()) }
    }

    /// # Safety
    ///
    /// `vtable` is valid for ever, and the node is in no inbox.
    #[inline]
    pub(crate) unsafe fn set_vtable(&self, vtable: *const NodeVTable) {
        // Relaxed: whoever pushes or lists the node orders it.
        self.vtable.store(vtable.cast_mut(), Ordering::Relaxed);
    }

    /// The vtable's address, as it was given to `new` or `set_vtable`.
    #[inline]
    pub(crate) fn vtable_address(&self) -> *const NodeVTable {
        self.vtable.load(Ordering::Relaxed)
    }

    fn vtable(&self) -> &'static NodeVTable {
        // SAFETY: [header-first]: valid for ever, by the contracts of `new` and `set_vtable`.
        unsafe { &*self.vtable_address() }
    }
}

/// How a push ended.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The inbox was empty: the pusher must ring the doorbell.
    First,
    /// Somebody else has rung, or is about to.
    More,
    /// The inbox is closed. The node is still the pusher's.
    Closed,
}

/// The stack itself.
#[derive(Debug)]
pub(crate) struct Inbox {
    head: CachePadded<AtomicPtr<Node>>,
}

/// A `head` that means "closed". Never read through.
static CLOSED: u8 = 0;

fn closed() -> *mut Node {
    ptr::from_ref(&CLOSED).cast::<Node>().cast_mut()
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { head: CachePadded::new(AtomicPtr::new(ptr::null_mut())) }
    }

    /// Whether there is nothing to take. A hint on other threads than home.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: a push that matters rings the doorbell.
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Adds a node. Any thread.
    ///
    /// # Safety
    ///
    /// - `node` stays valid until the consumer has run or discarded it: it is the list's now,
    ///   unless the answer is [`Pushed::Closed`].
    /// - It is in no inbox yet, [queued-once].
    pub(crate) unsafe fn push(&self, node: NonNull<Node>) -> Pushed {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                return Pushed::Closed;
            }
            // SAFETY: [queued-once]: the node is ours until the exchange below succeeds.
            unsafe { node.as_ref() }.next.set(head);
            // Release: pairs with the Acquire in `take`; the node's contents go along. SeqCst, so
            // that "it was empty" and the loop's last look before it sleeps have one order.
            match self.head.compare_exchange_weak(
                head,
                node.as_ptr(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) if head.is_null() => return Pushed::First,
                Ok(_) => return Pushed::More,
                Err(now) => head = now,
            }
        }
    }

    /// Takes everything, oldest first. Home thread.
    pub(crate) fn take(&self) -> Taken<'_> {
        if self.is_empty() || self.head.load(Ordering::Relaxed) == closed() {
            return Taken { next: ptr::null_mut(), inbox: PhantomData };
        }
        // Acquire: pairs with the Release in `push`.
        let newest = self.head.swap(ptr::null_mut(), Ordering::SeqCst);
        Taken { next: oldest_first(newest), inbox: PhantomData }
    }

    /// Takes everything and refuses whatever comes from now on. Home thread.
    pub(crate) fn close(&self) -> Taken<'_> {
        let newest = self.head.swap(closed(), Ordering::SeqCst);
        let newest = if newest == closed() { ptr::null_mut() } else { newest };
        Taken { next: oldest_first(newest), inbox: PhantomData }
    }
}

fn oldest_first(mut newest: *mut Node) -> *mut Node {
    let mut oldest = ptr::null_mut();
    while let Some(node) = NonNull::new(newest) {
        // SAFETY: [queued-once]: the list was taken whole, so its nodes are ours alone.
        let next = unsafe { node.as_ref() }.next.replace(oldest);
        oldest = newest;
        newest = next;
    }
    oldest
}

/// What was in the inbox. Whatever is not served is discarded when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    next: *mut Node,
    inbox: PhantomData<&'a Inbox>,
}

impl Taken<'_> {
    /// Serves every request. Returns how many there were.
    pub(crate) fn serve(mut self) -> usize {
        let mut served = 0;
        while let Some(node) = self.pop() {
            served += 1;
            // SAFETY: [queued-once]: popped, so it is ours, and alive until it is consumed.
            let run = unsafe { node.as_ref() }.vtable().run;
            // SAFETY: [queued-once]: popped, so it is in no list, and consumed here.
            unsafe { run(node) };
        }
        served
    }

    fn pop(&mut self) -> Option<NonNull<Node>> {
        let node = NonNull::new(self.next)?;
        // SAFETY: [queued-once]: the list is ours.
        self.next = unsafe { node.as_ref() }.next.get();
        Some(node)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        while let Some(node) = self.pop() {
            // SAFETY: [queued-once]: popped, so it is ours, and alive until it is consumed.
            let discard = unsafe { node.as_ref() }.vtable().discard;
            // SAFETY: [queued-once]: popped, so it is in no list, and consumed here.
            unsafe { discard(node) };
        }
    }
}

/// A closure on its way to the home thread of an executor.
#[repr(C)]
struct JobNode<F> {
    node: Node,
    run: F,
}

/// Something to do at home that can be pushed into an inbox, its type forgotten.
#[derive(Debug)]
pub(crate) struct Job {
    node: NonNull<Node>,
}

// SAFETY: [queued-once]: what is behind `node` is `Send` (see `Job::new` and `Job::of_node`), and a `Job` owns it.
unsafe impl Send for Job {}

impl Job {
    /// Packs a closure: one allocation, which is also its place in the inbox.
    pub(crate) fn new<F: FnOnce() + Send + 'static>(run: F) -> Job {
        // SAFETY: a promoted constant is static.
        let node = unsafe { Node::new(&VTables::<F>::JOB) };
        let job = Box::new(JobNode { node, run });
        Job { node: NonNull::from(Box::leak(job)).cast() }
    }

    /// A job that is part of something larger.
    ///
    /// # Safety
    ///
    /// - `node` is in no inbox, and the caller gives it away: `run` or `discard` of its vtable consumes it.
    /// - Both may be called on any thread.
    pub(crate) unsafe fn of_node(node: NonNull<Node>) -> Job {
        Job { node }
    }

    /// Pushes the closure, or gives it back if the inbox is closed.
    pub(crate) fn push_to(self, inbox: &Inbox) -> Result<Pushed, Job> {
        // SAFETY: a `Job` owns its node, which lives until `run` or `discard` consumes it, and it
        // is in no inbox, [queued-once].
        let pushed = unsafe { inbox.push(self.node) };
        if pushed == Pushed::Closed {
            return Err(self);
        }
        let _on_its_way = std::mem::ManuallyDrop::new(self);
        Ok(pushed)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let node = self.node;
        // SAFETY: a `Job` that was not pushed owns its node.
        let discard = unsafe { node.as_ref() }.vtable().discard;
        // SAFETY: as above; consumed here.
        unsafe { discard(node) };
    }
}

struct VTables<F>(PhantomData<F>);

impl<F: FnOnce() + Send + 'static> VTables<F> {
    const JOB: NodeVTable = NodeVTable { run: Self::run, discard: Self::discard };

    /// # Safety
    ///
    /// `node` heads a `JobNode<F>` that nobody else uses.
    unsafe fn unpack(node: NonNull<Node>) -> F {
        // SAFETY: made by `Box::leak` in `Job::new`, `Node` being the first field, [header-first].
        let job = unsafe { Box::from_raw(node.as_ptr().cast::<JobNode<F>>()) };
        job.run
    }

    /// # Safety
    ///
    /// As for `unpack`.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: forwarded.
        let run = unsafe { Self::unpack(node) };
        report(catch_unwind(AssertUnwindSafe(run)));
    }

    /// # Safety
    ///
    /// As for `unpack`.
    unsafe fn discard(node: NonNull<Node>) {
        // SAFETY: forwarded.
        let run = unsafe { Self::unpack(node) };
        report(catch_unwind(AssertUnwindSafe(|| drop(run))));
    }
}

/// Jobs are the executor's own and leave panics of user code to the handles that wait for it; what
/// is left is a destructor that panics, and nobody waits for that.
pub(crate) fn report(result: Result<(), Box<dyn Any + Send>>) {
    if let Err(payload) = result {
        crate::task::report_lost_panic(&"a job sent to an executor", payload);
    }
}

#[cfg(test)]
mod tests;
