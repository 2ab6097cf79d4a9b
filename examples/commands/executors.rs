//! The executors of the process, for commands that cannot have the Big QEMU Lock.
//!
//! An out-of-band command is to answer while the main loop hangs, possibly with the lock held. So what
//! it needs is behind a mutex of its own, held for a few instructions at a time and never while other
//! code runs; a [`Probe`] likewise reads its executor from outside.
//!
//! Owns the table: the main loop, and each iothread that has been given work. An iothread that has ended
//! is not listed.
//!
//! Threads: any.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use executor::{IoContext, Probe};

/// By name. Of two with the same name, the one that was added last.
static EXECUTORS: Mutex<BTreeMap<String, Home>> = Mutex::new(BTreeMap::new());

/// Where an executor lives.
pub(crate) enum Home {
    Main(Probe),
    /// Its executor is made when the first task arrives.
    IoThread(IoContext),
}

/// Lists an executor from now on.
pub(crate) fn add(name: &str, home: Home) {
    let replaced = table().insert(name.to_owned(), home);
    drop(replaced);
}

/// Returns the executors that run, with their names.
pub(crate) fn all() -> Vec<(String, Probe)> {
    let table = table();
    table.iter().filter_map(|(name, home)| Some((name.clone(), home.probe()?))).collect()
}

impl Home {
    fn probe(&self) -> Option<Probe> {
        match self {
            Self::Main(probe) => Some(probe.clone()),
            Self::IoThread(context) => context.probe(),
        }
    }
}

fn table() -> MutexGuard<'static, BTreeMap<String, Home>> {
    EXECUTORS.lock().unwrap_or_else(PoisonError::into_inner)
}
