//! What many tasks have in common: their future's type and the line that spawns them.
//!
//! A task's header points to its [`Kind`]. There are as many kinds as there are lines that spawn, times the types that
//! each of them is compiled for, however many tasks there are; so a kind is made once in the process and stays for ever,
//! where wakers and listings find it from any thread.
//!
//! Threads: kinds are read by any; [`Kinds`] is home's.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};
use std::task::Context;

use super::cell::{Header, Polled};
use crate::inbox::NodeVTable;

/// The functions that know a future's type.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct VTable {
    /// First, so that a pointer to it is a pointer to the whole, [header-first].
    pub(super) node: NodeVTable,
    /// The stage's place in the cell: that of the output, too.
    pub(super) stage: usize,
    pub(super) poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Polled,
    pub(super) drop_future: unsafe fn(NonNull<Header>),
    pub(super) drop_output: unsafe fn(NonNull<Header>),
}

/// See the module's documentation.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Kind {
    /// First, as in [`VTable`]. A copy, which saves each poll a step.
    pub(super) vtable: VTable,
    type_: &'static VTable,
    pub(crate) spawned_at: &'static Location<'static>,
}

type Key = (usize, usize);

/// All kinds of the process.
static ALL: Mutex<BTreeMap<Key, &'static Kind>> = Mutex::new(BTreeMap::new());

impl Kind {
    /// The kind, which is made now if this is the first task of it. Any thread.
    fn find(type_: &'static VTable, spawned_at: &'static Location<'static>) -> &'static Kind {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || &*Box::leak(Box::new(Kind { vtable: *type_, type_, spawned_at }));
        all.entry(key(type_, spawned_at)).or_insert_with(make)
    }

    #[inline]
    fn is(&self, type_: &'static VTable, spawned_at: &'static Location<'static>) -> bool {
        ptr::eq(self.type_, type_) && ptr::eq(self.spawned_at, spawned_at)
    }
}

#[inline]
fn key(type_: &'static VTable, spawned_at: &'static Location<'static>) -> Key {
    (ptr::from_ref(type_) as usize, ptr::from_ref(spawned_at) as usize)
}

/// The kinds that an executor needed last, each at the place that its key gives: a spawn takes no lock.
#[derive(Debug)]
pub(crate) struct Kinds([Cell<Option<&'static Kind>>; Kinds::PLACES]);

impl Kinds {
    const PLACES: usize = 64;

    pub(crate) fn new() -> Kinds {
        Kinds([const { Cell::new(None) }; Kinds::PLACES])
    }

    /// Home.
    #[inline]
    pub(super) fn of(
        &self,
        type_: &'static VTable,
        spawned_at: &'static Location<'static>,
    ) -> &'static Kind {
        let (a, b) = key(type_, spawned_at);
        let place = &self.0[(a ^ b) / align_of::<Kind>() % Kinds::PLACES];
        match place.get() {
            Some(kind) if kind.is(type_, spawned_at) => kind,
            _ => remember(place, type_, spawned_at),
        }
    }
}

#[cold]
fn remember(
    place: &Cell<Option<&'static Kind>>,
    type_: &'static VTable,
    spawned_at: &'static Location<'static>,
) -> &'static Kind {
    let kind = Kind::find(type_, spawned_at);
    place.set(Some(kind));
    kind
}

/// The vtable of a task's type. Home, or with a reference on the task.
#[inline]
pub(super) fn vtable(header: &Header) -> &'static VTable {
    let address = header.node.vtable_address();
    // SAFETY: [header-first]: `spawn` gave each task's header the address of a whole, static `Kind`.
    unsafe { &*address.cast::<VTable>() }
}
