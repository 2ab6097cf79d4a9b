//! Who looks on while the executors work: accounts of each task, and a watchdog.
//!
//! Nothing is kept, and nothing costs anything, until [`keep_accounts`] is called; then it is kept for good.
//!
//! Owns the accounts and the watchdog's thread.
//!
//! Threads: any.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use executor::observe::{Accounts, Report, Watchdog, observe};

static ACCOUNTS: OnceLock<Accounts> = OnceLock::new();
static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

/// Keeps accounts from now on.
pub(crate) fn keep_accounts() -> &'static Accounts {
    let mut first = false;
    let accounts = ACCOUNTS.get_or_init(|| {
        first = true;
        Accounts::new()
    });
    if first {
        observe(accounts);
    }
    accounts
}

/// Returns the accounts, if they are kept.
pub(crate) fn accounts() -> Option<&'static Accounts> {
    ACCOUNTS.get()
}

/// Reports polls that take longer than `limit` on stderr, while they do; `None` ends that.
pub(crate) fn watch(limit: Option<Duration>) -> io::Result<()> {
    with_watchdog(|watchdog| match (&mut *watchdog, limit) {
        (Some(watchdog), limit) => {
            watchdog.set_limit(limit);
            Ok(())
        }
        (None, Some(_)) => {
            *watchdog = Some(Watchdog::start(keep_accounts(), limit, print)?);
            Ok(())
        }
        (None, None) => Ok(()),
    })
}

/// Returns what a poll may take before it is reported.
pub(crate) fn limit() -> Option<Duration> {
    with_watchdog(|watchdog| watchdog.as_ref()?.limit())
}

fn with_watchdog<R>(f: impl FnOnce(&mut Option<Watchdog>) -> R) -> R {
    f(&mut WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner))
}

fn print(report: Report) {
    eprint!("{report}");
}
