//! The register of the borrows that are alive on this thread.
//!
//! Owns, in thread-local storage, one bit per live [`BqlRef`](super::BqlRef) or
//! [`BqlRefMut`](super::BqlRefMut) and, for each bit, the place that borrowed and the cell. So
//! "is anything borrowed?" is one load, cheap enough for a question after every poll, and the answer can
//! name every culprit. Beyond 64 borrows at a time the rest is only counted.
//!
//! The first borrow of a thread blocks the release of the BQL and the last one allows it again. Since
//! only the holder of the lock can borrow, that is as good as QEMU's count of every single borrow,
//! and saves the calls.
//!
//! A borrow that was leaked (`mem::forget`) stays registered and keeps the lock blocked: that is what
//! a leaked borrow means.
//!
//! Threads: everything is about the calling thread. It knows no cells; an address is only compared.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::panic::Location;

/// How many borrows can be named; one bit each.
const NAMED: u32 = u64::BITS;

thread_local! {
    static BORROWS: Register = const { Register::new() };
}

struct Register {
    /// How many borrows are alive.
    live: Cell<u32>,
    /// One bit per entry in use.
    used: Cell<u64>,
    /// The number of live borrows beyond those that have an entry.
    unnamed: Cell<u32>,
    /// The number of borrows ever registered.
    serial: Cell<u64>,
    entries: [Cell<Option<Entry>>; NAMED as usize],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    site: &'static Location<'static>,
    cell: *const (),
    serial: u64,
}

/// A registered borrow; to be given back to [`remove`].
#[derive(Debug)]
pub(super) struct Token {
    index: u32,
}

/// The borrows that were alive at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    used: u64,
    unnamed: u32,
    serial: u64,
}

/// Returns the borrows that are alive on this thread now.
pub(crate) fn live() -> Live {
    BORROWS.with(Register::live)
}

/// Lets `watched` ask again and again, for less, whether it left borrows behind.
#[inline]
pub(crate) fn watch<R>(watched: impl FnOnce(&Watch<'_>) -> R) -> R {
    BORROWS.with(|register| watched(&Watch { register, before: Cell::new(register.live()) }))
}

/// See [`watch`].
pub(crate) struct Watch<'a> {
    register: &'a Register,
    before: Cell<Live>,
}

impl Watch<'_> {
    /// Returns whether a borrow is alive that was not when the watch began.
    #[inline]
    pub(crate) fn has_new(&self) -> bool {
        // One load, while nothing is borrowed.
        !self.register.is_empty() && self.register.live().since(self.before())
    }

    /// Forgives what is alive now.
    #[inline]
    pub(crate) fn begin_again(&self) {
        if !self.register.is_empty() {
            self.before.set(self.register.live());
        }
    }

    /// Returns what was alive when the watch began.
    pub(crate) fn before(&self) -> Live {
        self.before.get()
    }
}

impl Live {
    /// Returns whether nothing was borrowed.
    pub(crate) fn is_empty(self) -> bool {
        self.used == 0 && self.unnamed == 0
    }

    /// Returns whether a borrow that is alive now is younger than `before`.
    ///
    /// To be asked on the thread of both moments, before anything else borrows.
    pub(crate) fn since(self, before: Self) -> bool {
        if self.is_empty() {
            return false;
        }
        self.unnamed > before.unnamed || younger_than(before).next().is_some()
    }
}

/// Names the places of the borrows that are alive on this thread and younger than `before`.
pub(crate) fn describe(before: Live) -> String {
    let unnamed = live().unnamed.saturating_sub(before.unnamed);
    let mut places: Vec<_> = younger_than(before).map(|entry| entry.site.to_string()).collect();
    if unnamed > 0 {
        places.push(format!("{unnamed} more places"));
    }
    format!("borrowed at {}", places.join(", "))
}

/// Names the places of all borrows that are alive on this thread.
pub(crate) fn describe_all() -> String {
    describe(Live { used: 0, unnamed: 0, serial: 0 })
}

/// Names the places that borrow one cell on this thread.
pub(super) fn describe_cell(cell: *const ()) -> String {
    let of_cell = |entry: &Entry| entry.cell == cell;
    let places: Vec<_> = entries().filter(of_cell).map(|entry| entry.site.to_string()).collect();
    if places.is_empty() {
        // Another thread released the BQL in a condition wait, or more than 64 borrows are alive.
        return String::from("borrowed at a place that is not known on this thread");
    }
    format!("borrowed at {}", places.join(", "))
}

/// Registers a borrow of the cell at address `cell` by `site`. The caller holds the BQL.
pub(super) fn add(cell: *const (), site: &'static Location<'static>) -> Token {
    BORROWS.with(|register| {
        let used = register.used.get();
        if register.is_empty() {
            super::block_unlock(true);
        }
        register.live.set(register.live.get() + 1);
        let index = (!used).trailing_zeros();
        if index == NAMED {
            register.unnamed.set(register.unnamed.get() + 1);
            return Token { index };
        }
        let serial = register.serial.get();
        register.serial.set(serial + 1);
        register.entries[index as usize].set(Some(Entry { site, cell, serial }));
        register.used.set(used | 1 << index);
        Token { index }
    })
}

/// Removes a borrow. The caller holds the BQL.
pub(super) fn remove(token: &Token) {
    BORROWS.with(|register| {
        if token.index == NAMED {
            register.unnamed.set(register.unnamed.get() - 1);
        } else {
            register.used.set(register.used.get() & !(1 << token.index));
        }
        register.live.set(register.live.get() - 1);
        if register.is_empty() {
            super::block_unlock(false);
        }
    });
}

fn younger_than(before: Live) -> impl Iterator<Item = Entry> {
    entries().filter(move |entry| entry.serial >= before.serial)
}

fn entries() -> impl Iterator<Item = Entry> {
    let used = BORROWS.with(|register| register.used.get());
    let in_use = move |index: &u32| used & 1 << index != 0;
    let entry = |index: u32| BORROWS.with(|register| register.entries[index as usize].get());
    (0..NAMED).filter(in_use).filter_map(entry)
}

impl Register {
    #[inline]
    fn is_empty(&self) -> bool {
        self.live.get() == 0
    }

    fn live(&self) -> Live {
        Live { used: self.used.get(), unnamed: self.unnamed.get(), serial: self.serial.get() }
    }

    const fn new() -> Self {
        Self {
            live: Cell::new(0),
            used: Cell::new(0),
            unnamed: Cell::new(0),
            serial: Cell::new(0),
            entries: [const { Cell::new(None) }; NAMED as usize],
        }
    }
}
