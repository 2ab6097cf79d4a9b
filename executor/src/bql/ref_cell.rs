//! A cell whose value is borrowed under the BQL, with the rules checked at run time.
//!
//! Owns one value and a borrow flag. The guards it gives out count themselves in the flag, and in the
//! [register](super::borrows) of their thread, which blocks the release of the BQL.
//!
//! Threads: any that holds the BQL. Relies on [bql-first]: the check of the lock comes before
//! anything in the cell is touched, the flag included, because the flag is not atomic. Guards
//! are neither `Send` nor `Sync`.

use std::cell::{Cell, UnsafeCell};
use std::error;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::ptr::{self, NonNull};

use super::borrows::{self, Token};
use super::{assert_locked, is_locked};
use crate::cx::Bql;

/// The flag of a cell that is borrowed mutably; otherwise the flag counts the shared borrows.
const EXCLUSIVE: isize = -1;

/// A mutable memory location whose borrows are checked at run time, under the BQL.
///
/// The counterpart of [`std::cell::RefCell`], which can be shared between threads. See the
/// [module](super) for when to use which cell, and for what to do instead of keeping a borrow
/// across an `.await`.
///
/// # Examples
///
/// ```
/// use executor::bql::{BqlRefCell, with_bql};
///
/// static DISKS: BqlRefCell<Vec<&str>> = BqlRefCell::new(Vec::new());
///
/// with_bql(|bql| {
///     DISKS.borrow_mut(bql).push("vda");
///     assert_eq!(*DISKS.borrow(bql), ["vda"]);
///     DISKS.with_mut(bql, |disks| disks.push("vdb"));
///     assert_eq!(DISKS.with(bql, Vec::len), 2);
///     assert_eq!(DISKS.replace(bql, vec!["sda"]), ["vda", "vdb"]);
///     assert_eq!(DISKS.take(bql), ["sda"]);
/// });
///
/// // Whoever owns the cell needs no lock.
/// let mut own = BqlRefCell::new(vec![1]);
/// own.get_mut().push(2);
/// assert_eq!(own.into_inner(), [1, 2]);
/// ```
pub struct BqlRefCell<T: ?Sized> {
    flag: Cell<isize>,
    value: UnsafeCell<T>,
}

// SAFETY: [bql-first]: the obstacles are `Cell` and `UnsafeCell`. Both are touched only while the thread
// holds the BQL, and [borrow-blocks-unlock] keeps it there while a guard lives. A thread can take the
// value out and drop it, hence `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for BqlRefCell<T> {}

impl<T> BqlRefCell<T> {
    /// Creates a cell.
    pub const fn new(value: T) -> Self {
        Self { flag: Cell::new(0), value: UnsafeCell::new(value) }
    }

    /// Returns the value; owning the cell is proof enough.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Replaces the value and returns the old one.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn replace(&self, bql: &Bql, value: T) -> T {
        mem::replace(&mut *self.borrow_mut(bql), value)
    }

    /// Returns the value and leaves the default in its place.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn take(&self, bql: &Bql) -> T
    where
        T: Default,
    {
        self.replace(bql, T::default())
    }
}

impl<T: ?Sized> BqlRefCell<T> {
    /// Borrows the value.
    ///
    /// The borrow ends with the scope that lends the witness, at the latest; so it cannot live across
    /// an `.await`.
    ///
    /// # Panics
    ///
    /// If the value is borrowed mutably, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn borrow<'g>(&'g self, _bql: &'g Bql) -> BqlRef<'g, T> {
        self.borrow_ambient()
    }

    /// Borrows the value mutably.
    ///
    /// The borrow ends with the scope that lends the witness, at the latest; so it cannot live across
    /// an `.await`.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn borrow_mut<'g>(&'g self, _bql: &'g Bql) -> BqlRefMut<'g, T> {
        self.borrow_mut_ambient()
    }

    /// Borrows the value unless it is borrowed mutably.
    ///
    /// # Errors
    ///
    /// If the value is borrowed mutably.
    ///
    /// # Panics
    ///
    /// If this thread does not hold the BQL.
    #[track_caller]
    pub fn try_borrow<'g>(&'g self, _bql: &'g Bql) -> Result<BqlRef<'g, T>, BorrowError> {
        self.share().ok_or_else(|| self.error())
    }

    /// Borrows the value mutably unless it is borrowed.
    ///
    /// # Errors
    ///
    /// If the value is borrowed.
    ///
    /// # Panics
    ///
    /// If this thread does not hold the BQL.
    #[track_caller]
    pub fn try_borrow_mut<'g>(&'g self, _bql: &'g Bql) -> Result<BqlRefMut<'g, T>, BorrowError> {
        self.exclude().ok_or_else(|| self.error())
    }

    /// Runs `f` on the value.
    ///
    /// # Panics
    ///
    /// If the value is borrowed mutably, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn with<R>(&self, bql: &Bql, f: impl FnOnce(&T) -> R) -> R {
        f(&self.borrow(bql))
    }

    /// Runs `f` on the value, which it may change.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn with_mut<R>(&self, bql: &Bql, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.borrow_mut(bql))
    }

    /// Borrows the value without a witness, as QEMU's own cells do.
    ///
    /// For device models and C callbacks that are not handed one. In a task, the borrow must end
    /// before the next `.await`; the executor panics after the poll otherwise.
    ///
    /// # Panics
    ///
    /// If the value is borrowed mutably, or if this thread does not hold the BQL.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::bql::{BqlRefCell, with_bql};
    ///
    /// static REGISTERS: BqlRefCell<[u32; 4]> = BqlRefCell::new([0; 4]);
    ///
    /// /// Called by C, under the lock, which hands no witness along.
    /// extern "C" fn mmio_write(register: usize, value: u32) {
    ///     REGISTERS.borrow_mut_ambient()[register] = value;
    /// }
    ///
    /// extern "C" fn mmio_read(register: usize) -> u32 {
    ///     REGISTERS.borrow_ambient()[register]
    /// }
    ///
    /// with_bql(|_bql| mmio_write(2, 7));
    /// assert_eq!(with_bql(|_bql| mmio_read(2)), 7);
    /// ```
    #[track_caller]
    pub fn borrow_ambient(&self) -> BqlRef<'_, T> {
        match self.share() {
            Some(guard) => guard,
            None => panic!("cannot borrow: {}", self.error()),
        }
    }

    /// Borrows the value mutably without a witness, as QEMU's own cells do.
    ///
    /// As [`borrow_ambient`](Self::borrow_ambient) otherwise.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, or if this thread does not hold the BQL.
    #[track_caller]
    pub fn borrow_mut_ambient(&self) -> BqlRefMut<'_, T> {
        match self.exclude() {
            Some(guard) => guard,
            None => panic!("cannot borrow mutably: {}", self.error()),
        }
    }

    /// Returns a reference to the value; an exclusive borrow of the cell is proof enough.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[track_caller]
    fn share(&self) -> Option<BqlRef<'_, T>> {
        assert_locked();
        let borrow = Shared::new(&self.flag)?;
        Some(BqlRef { value: self.pointer(), borrow })
    }

    #[track_caller]
    fn exclude(&self) -> Option<BqlRefMut<'_, T>> {
        assert_locked();
        let borrow = Exclusive::new(&self.flag)?;
        Some(BqlRefMut { value: self.pointer(), borrow, invariant: PhantomData })
    }

    fn pointer(&self) -> NonNull<T> {
        NonNull::new(self.value.get()).expect("a cell is somewhere")
    }

    fn error(&self) -> BorrowError {
        let sites = borrows::describe_cell(address(&self.flag));
        BorrowError { mutably: self.flag.get() == EXCLUSIVE, sites }
    }
}

impl<T: Default> Default for BqlRefCell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for BqlRefCell<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for BqlRefCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !is_locked() {
            return f.write_str("BqlRefCell(<the BQL is not held>)");
        }
        match self.share() {
            Some(value) => f.debug_tuple("BqlRefCell").field(&&*value).finish(),
            None => f.write_str("BqlRefCell(<borrowed mutably>)"),
        }
    }
}

/// A shared borrow of the value in a [`BqlRefCell`].
///
/// # Examples
///
/// ```
/// use executor::bql::{BqlRef, BqlRefCell, with_bql};
///
/// struct Disk {
///     name: String,
///     size: u64,
/// }
///
/// let disk = BqlRefCell::new(Disk { name: "vda".to_owned(), size: 512 });
/// with_bql(|bql| {
///     let whole = disk.borrow(bql);
///     let name = BqlRef::map(BqlRef::clone(&whole), |disk| &disk.name);
///     drop(whole); // The part keeps the borrow.
///     assert!(*name == "vda" && disk.try_borrow_mut(bql).is_err());
/// });
/// assert_eq!(disk.into_inner().size, 512);
/// ```
#[must_use = "a borrow that is dropped at once protects nothing"]
pub struct BqlRef<'b, T: ?Sized> {
    value: NonNull<T>,
    borrow: Shared<'b>,
}

impl<'b, T: ?Sized> BqlRef<'b, T> {
    /// Borrows the same value once more.
    ///
    /// An associated function, so that it does not hide the value's own `clone`.
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "the value's own `clone` is to be reachable")]
    pub fn clone(this: &Self) -> Self {
        Self { value: this.value, borrow: this.borrow.again() }
    }

    /// Narrows the borrow to a part of the value.
    pub fn map<U: ?Sized>(this: Self, f: impl FnOnce(&T) -> &U) -> BqlRef<'b, U> {
        BqlRef { value: NonNull::from(f(&this)), borrow: this.borrow }
    }
}

impl<T: ?Sized> Deref for BqlRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: [borrow-blocks-unlock]: while this guard lives the flag counts it, so nobody has
        // a mutable borrow, and the BQL stays with this thread, which the guard cannot leave.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for BqlRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A mutable borrow of the value in a [`BqlRefCell`].
///
/// # Examples
///
/// ```
/// use executor::bql::{BqlRefCell, BqlRefMut, with_bql};
///
/// let registers = BqlRefCell::new([0_u32; 4]);
/// with_bql(|bql| {
///     let mut status = BqlRefMut::map(registers.borrow_mut(bql), |all| &mut all[3]);
///     *status |= 1;
///     assert!(registers.try_borrow(bql).is_err(), "the whole value is borrowed, to the end of the scope");
/// });
/// assert_eq!(registers.into_inner(), [0, 0, 0, 1]);
/// ```
#[must_use = "a borrow that is dropped at once protects nothing"]
pub struct BqlRefMut<'b, T: ?Sized> {
    value: NonNull<T>,
    borrow: Exclusive<'b>,
    /// `NonNull` alone would let a caller shorten lifetimes in `T` and store through it.
    invariant: PhantomData<&'b mut T>,
}

impl<'b, T: ?Sized> BqlRefMut<'b, T> {
    /// Narrows the borrow to a part of the value.
    pub fn map<U: ?Sized>(mut this: Self, f: impl FnOnce(&mut T) -> &mut U) -> BqlRefMut<'b, U> {
        let value = NonNull::from(f(&mut this));
        BqlRefMut { value, borrow: this.borrow, invariant: PhantomData }
    }
}

impl<T: ?Sized> Deref for BqlRefMut<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: [borrow-blocks-unlock]: while this guard lives the flag says so, so nobody else has
        // a borrow, and the BQL stays with this thread, which the guard cannot leave.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for BqlRefMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: [borrow-blocks-unlock]: as in `deref`; `&mut self` makes it the only reference
        // that came from this guard.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for BqlRefMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// One count in a cell's flag and one entry in the register. The maker has checked the lock.
struct Shared<'b> {
    flag: &'b Cell<isize>,
    token: Token,
}

impl<'b> Shared<'b> {
    #[track_caller]
    fn new(flag: &'b Cell<isize>) -> Option<Self> {
        let count = flag.get();
        if count == EXCLUSIVE {
            return None;
        }
        flag.set(count.checked_add(1).expect("a process cannot leak that many borrows"));
        Some(Self { flag, token: borrows::add(address(flag), Location::caller()) })
    }

    #[track_caller]
    fn again(&self) -> Self {
        assert_locked();
        Self::new(self.flag).expect("a shared borrow excludes a mutable one")
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.flag.set(self.flag.get() - 1);
        borrows::remove(&self.token);
    }
}

/// The mark of a mutable borrow in a cell's flag and an entry in the register. The maker has checked
/// the lock.
struct Exclusive<'b> {
    flag: &'b Cell<isize>,
    token: Token,
}

impl<'b> Exclusive<'b> {
    #[track_caller]
    fn new(flag: &'b Cell<isize>) -> Option<Self> {
        if flag.get() != 0 {
            return None;
        }
        flag.set(EXCLUSIVE);
        Some(Self { flag, token: borrows::add(address(flag), Location::caller()) })
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.flag.set(0);
        borrows::remove(&self.token);
    }
}

/// What the register knows a cell by.
fn address(flag: &Cell<isize>) -> *const () {
    ptr::from_ref(flag).cast()
}

/// The error of a borrow that another one is in the way of.
///
/// # Examples
///
/// ```
/// use executor::bql::{BqlRefCell, with_bql};
///
/// let queue = BqlRefCell::new(vec![1]);
/// with_bql(|bql| {
///     let mut borrowed = queue.borrow_mut(bql);
///     borrowed.push(2);
///     // A callback that finds itself in the middle of somebody's change puts its own off.
///     let error = queue.try_borrow(bql).unwrap_err();
///     assert!(error.to_string().starts_with("the `BqlRefCell` is mutably borrowed already: "));
/// });
/// assert!(with_bql(|bql| queue.try_borrow(bql).is_ok()));
/// ```
#[derive(Debug)]
pub struct BorrowError {
    mutably: bool,
    sites: String,
}

impl fmt::Display for BorrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.mutably { "mutably " } else { "" };
        write!(f, "the `BqlRefCell` is {how}borrowed already: {}", self.sites)
    }
}

impl error::Error for BorrowError {}
