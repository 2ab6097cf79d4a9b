//! A future on its way to another executor, in one allocation with everything it needs.
//!
//! Owns the node for the inbox, the slot of the result, and the function that makes the future, whose place the
//! future takes at its destination. There a task is spawned around the parcel, which polls the future in place,
//! so what is allocated and freed on the sender's thread is all that the allocator has to do: the task's cell
//! comes out of the destination's own memory.
//!
//! Threads: made by any; what is in it is the destination's from the push on. The memory is freed by the end of the
//! slot that leaves last, mostly the sender's.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, offset_of};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::blocks;
use super::slot::{self, FarEnd, Slot};
use super::{Errand, Remote, result_after_drop};
use crate::current;
use crate::inbox::{Job, Node, NodeVTable, report};
use crate::local_executor::Core;
use crate::observe;

/// The allocation.
#[repr(C)]
struct Parcel<M, F: Future> {
    slot: Slot<F::Output>,
    node: Node,
    spawned_at: &'static Location<'static>,
    content: UnsafeCell<Content<M, F>>,
}

/// The [`Carrier`] knows which.
union Content<M, F> {
    make: ManuallyDrop<M>,
    /// Written, read and dropped through the address of the union.
    _future: ManuallyDrop<F>,
}

/// A job that spawns, on the executor that serves it, the future that `make` makes; and the handle on its result.
pub(crate) fn parcel<M, F>(
    spawned_at: &'static Location<'static>,
    make: M,
) -> (Job, Remote<F::Output>)
where
    M: FnOnce(Rc<Core>) -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let parcel = blocks::put(Parcel::<M, F> {
        slot: Slot::new(VTables::<M, F>::free),
        // SAFETY: [header-first]: a promoted constant is static.
        node: unsafe { Node::new(&VTables::<M, F>::JOB) },
        spawned_at,
        content: UnsafeCell::new(Content { make: ManuallyDrop::new(make) }),
    });
    // The far end goes with the node: `Carrier::arrived` has it again.
    // SAFETY: [slot-two-ends]: just made, and freed by `VTables::free` alone.
    let (far, near) = unsafe { slot::ends(slot_of(parcel)) };
    if observe::is_on() {
        observe::sent(far.address(), 0);
    }
    let remote = Remote { end: near, let_go: false };
    // SAFETY: [parcel-carrier]: `run` and `discard` of the node take the parcel; what is in it is `Send`, by the bounds.
    (unsafe { Job::of_node(node_of(parcel)) }, remote)
}

fn slot_of<M, F: Future>(parcel: NonNull<Parcel<M, F>>) -> NonNull<Slot<F::Output>> {
    // SAFETY: [parcel-carrier]: the offset is that of the slot, within the allocation.
    unsafe { parcel.byte_add(offset_of!(Parcel<M, F>, slot)) }.cast()
}

fn node_of<M, F: Future>(parcel: NonNull<Parcel<M, F>>) -> NonNull<Node> {
    // SAFETY: [parcel-carrier]: the offset is that of the node, within the allocation.
    unsafe { parcel.byte_add(offset_of!(Parcel<M, F>, node)) }.cast()
}

struct VTables<M, F>(PhantomData<(M, F)>);

impl<M, F> VTables<M, F>
where
    M: FnOnce(Rc<Core>) -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    const JOB: NodeVTable = NodeVTable { run: Self::run, discard: Self::discard };

    /// # Safety
    ///
    /// `node` is that of a `Parcel<M, F>` that was made by `parcel` and is nobody else's but for the near end.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: forwarded.
        let carrier = unsafe { Carrier::<M, F>::arrived(node) };
        report(catch_unwind(AssertUnwindSafe(|| carrier.deliver())));
    }

    /// # Safety
    ///
    /// As for `run`.
    unsafe fn discard(node: NonNull<Node>) {
        // SAFETY: forwarded.
        let carrier = unsafe { Carrier::<M, F>::arrived(node) };
        report(catch_unwind(AssertUnwindSafe(|| drop(carrier))));
    }

    /// # Safety
    ///
    /// `slot` is that of a `Parcel<M, F>` of which both ends are gone, and with the far one the content.
    unsafe fn free(slot: NonNull<Slot<F::Output>>) {
        // SAFETY: [parcel-carrier]: the pointer was made from that of the whole, by `slot_of`.
        let parcel =
            unsafe { slot.byte_sub(offset_of!(Parcel<M, F>, slot)) }.cast::<Parcel<M, F>>();
        // SAFETY: [slot-two-ends]: made by `put`, and nobody uses it any more; a union drops nothing.
        unsafe { blocks::free(parcel) };
    }
}

/// What is in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Function,
    Future,
    Nothing,
}

/// Whoever has the content of a parcel: first a job, then a task, which is a future that polls the one inside.
///
/// [parcel-carrier]: there is one for each parcel; it has the content to itself, and its errand, which is the
/// last of its fields to go, keeps the memory.
struct Carrier<M, F: Future> {
    parcel: NonNull<Parcel<M, F>>,
    inside: Inside,
    errand: Errand<F::Output>,
}

impl<M, F: Future> Unpin for Carrier<M, F> {}

impl<M, F> Carrier<M, F>
where
    M: FnOnce(Rc<Core>) -> F,
    F: Future + 'static,
{
    /// # Safety
    ///
    /// As for `VTables::run`; this is called once.
    unsafe fn arrived(node: NonNull<Node>) -> Carrier<M, F> {
        // SAFETY: [parcel-carrier]: the pointer was made from that of the whole, by `node_of`.
        let parcel =
            unsafe { node.byte_sub(offset_of!(Parcel<M, F>, node)) }.cast::<Parcel<M, F>>();
        // SAFETY: [parcel-carrier]: `parcel` left this very end to the node.
        let far = unsafe { FarEnd::again(slot_of(parcel)) };
        Carrier { parcel, inside: Inside::Function, errand: Errand { end: Some(far) } }
    }

    /// Spawns the future, unless the thread's locals are being destroyed: no executor is current then.
    fn deliver(mut self)
    where
        M: 'static,
    {
        let Some(core) = current::core() else { return };
        self.unpack(Rc::clone(&core));
        // SAFETY: [parcel-carrier]: our errand keeps the memory; the line is never written again.
        let spawned_at = unsafe { self.parcel.as_ref() }.spawned_at;
        core.spawn_sent(self.errand.address(), spawned_at, self).detach();
    }

    /// Puts the future into the place of the function that makes it.
    fn unpack(&mut self, core: Rc<Core>) {
        self.inside = Inside::Nothing;
        // SAFETY: [parcel-carrier]: ours alone; it is the function until here, and counts as gone from now on.
        let make = unsafe { ptr::read(self.content().cast::<M>()) };
        let future = make(core);
        // SAFETY: [parcel-carrier]: ours alone, and there is nothing in it.
        unsafe { ptr::write(self.content().cast::<F>(), future) };
        self.inside = Inside::Future;
    }
}

impl<M, F: Future> Carrier<M, F> {
    /// Where the content is. A union's fields all begin at its start.
    fn content(&self) -> *mut Content<M, F> {
        // SAFETY: [parcel-carrier]: our errand keeps the memory.
        unsafe { self.parcel.as_ref() }.content.get()
    }

    /// Drops what is inside. A panic of its destructor goes to the caller; it is gone all the same.
    fn empty(&mut self) {
        match mem::replace(&mut self.inside, Inside::Nothing) {
            // SAFETY: [parcel-carrier]: ours alone, and it is the function.
            Inside::Function => unsafe { ptr::drop_in_place(self.content().cast::<M>()) },
            // SAFETY: [parcel-carrier]: ours alone, and it is the future, which never moved.
            Inside::Future => unsafe { ptr::drop_in_place(self.content().cast::<F>()) },
            Inside::Nothing => {}
        }
    }
}

impl<M, F: Future> Future for Carrier<M, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        assert!(this.inside == Inside::Future, "a parcel is polled until its future is ready");
        // SAFETY: [parcel-carrier]: ours alone, and it is the future.
        let future = unsafe { &mut *this.content().cast::<F>() };
        // SAFETY: [parcel-carrier]: it stays there until it is dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        let result = ready!(this.errand.poll_unless_cancelled(future, cx));
        let dropped = catch_unwind(AssertUnwindSafe(|| this.empty()));
        this.errand.finish(result_after_drop(result, dropped));
        Poll::Ready(())
    }
}

impl<M, F: Future> Drop for Carrier<M, F> {
    fn drop(&mut self) {
        self.empty();
    }
}

impl<M, F: Future> fmt::Debug for Carrier<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").field("inside", &self.inside).finish_non_exhaustive()
    }
}
