//! A cell for values that are read and replaced as a whole under the BQL.
//!
//! Owns one value. No references to it are given out, so nothing can be left behind when the lock is
//! released, and there is nothing to count: an access costs the check of the lock and a move.
//!
//! Threads: any that holds the BQL. Relies on [bql-first]: the check comes before the access.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem;

use super::{assert_locked, is_locked};
use crate::cx::Bql;

/// A mutable memory location that is accessed under the BQL.
///
/// The counterpart of [`std::cell::Cell`], which can be shared between threads. See the
/// [module](super) for when to use which cell.
///
/// # Examples
///
/// ```
/// use executor::bql::{BqlCell, with_bql};
///
/// struct Timer {
///     period: BqlCell<u32>,
///     owner: BqlCell<Option<String>>,
/// }
///
/// static TIMER: Timer = Timer { period: BqlCell::new(0), owner: BqlCell::new(None) };
///
/// with_bql(|bql| {
///     TIMER.period.set(bql, 20);
///     assert_eq!(TIMER.period.replace(bql, 50), 20);
///     assert_eq!(TIMER.period.get(bql), 50);
///     TIMER.owner.set(bql, Some("rtc".to_owned()));
///     // What is no `Copy` is taken out, and put back.
///     assert_eq!(TIMER.owner.take(bql).as_deref(), Some("rtc"));
/// });
///
/// // Whoever owns the cell needs no lock.
/// let mut own = BqlCell::new(1);
/// *own.get_mut() += 1;
/// assert_eq!(own.into_inner(), 2);
/// ```
#[derive(Default)]
#[repr(transparent)]
pub struct BqlCell<T> {
    value: UnsafeCell<T>,
}

// SAFETY: [bql-first]: the obstacle is `UnsafeCell`. All access through `&self` happens while the
// thread holds the BQL, so there is one at a time. A thread can take the value out and drop it, hence
// `T: Send`.
unsafe impl<T: Send> Sync for BqlCell<T> {}

impl<T> BqlCell<T> {
    /// Creates a cell.
    pub const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value) }
    }

    /// Returns a copy of the value.
    ///
    /// # Panics
    ///
    /// If this thread does not hold the BQL although it has a witness.
    #[track_caller]
    pub fn get(&self, _bql: &Bql) -> T
    where
        T: Copy,
    {
        assert_locked();
        // SAFETY: [bql-first]: checked above, and a copy runs no code that could change the value.
        unsafe { *self.value.get() }
    }

    /// Replaces the value and drops the old one.
    ///
    /// # Panics
    ///
    /// If this thread does not hold the BQL although it has a witness.
    #[track_caller]
    pub fn set(&self, bql: &Bql, value: T) {
        // The old value is dropped when the cell is whole again: its destructor may come back here.
        drop(self.replace(bql, value));
    }

    /// Replaces the value and returns the old one.
    ///
    /// # Panics
    ///
    /// If this thread does not hold the BQL although it has a witness.
    #[track_caller]
    pub fn replace(&self, _bql: &Bql, value: T) -> T {
        assert_locked();
        // SAFETY: [bql-first]: checked above; no reference into the cell is ever given out, and moving
        // runs no code.
        let place = unsafe { &mut *self.value.get() };
        mem::replace(place, value)
    }

    /// Returns the value and leaves the default in its place.
    ///
    /// # Panics
    ///
    /// If this thread does not hold the BQL although it has a witness.
    #[track_caller]
    pub fn take(&self, bql: &Bql) -> T
    where
        T: Default,
    {
        self.replace(bql, T::default())
    }

    /// Returns the value; owning the cell is proof enough.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Returns a reference to the value; an exclusive borrow of the cell is proof enough.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T> From<T> for BqlCell<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for BqlCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_locked() {
            f.debug_tuple("BqlCell").field(&self.get(&Bql::new())).finish()
        } else {
            f.write_str("BqlCell(<the BQL is not held>)")
        }
    }
}
