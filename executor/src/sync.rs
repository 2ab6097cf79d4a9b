//! Where atomics, locks and plain cells come from: the standard library, or loom.
//!
//! The modules whose memory several threads touch take these names from here. With `--cfg aio_loom` they are
//! loom's, so that the models in `crate::loom` run this very code in every interleaving that loom knows;
//! loom's cells also find a plain access that is not ordered with another one, which is how the models check
//! what the home thread alone may touch.
//!
//! Relies on: nothing. It has no code of its own.

#![forbid(unsafe_code)]

#[cfg(not(aio_loom))]
pub(crate) use std::{
    alloc::{alloc, dealloc},
    cell::Cell,
    sync::{Mutex, MutexGuard, atomic},
};

#[cfg(aio_loom)]
pub(crate) use loom::{
    alloc::{alloc, dealloc},
    cell::Cell,
    sync::{Mutex, MutexGuard, atomic},
};
