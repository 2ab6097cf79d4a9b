//! Safe handles on the C objects of the event loop.
//!
//! The only modules that name `aio_sys`, with [`bql`](crate::bql), [`clock`](crate::clock) and `main_loop`. They know
//! neither tasks nor futures.
//!
//! Callbacks from C carry a *number*, never a pointer: an executor registers itself under a number in a
//! thread-local list, and a callback looks it up there. A callback that comes late finds nothing, so no
//! C object can outlive what its `opaque` points to, [opaque-is-number].

pub(crate) mod bottom_half;
pub(crate) mod callback;
pub(crate) mod context;
pub(crate) mod fd_handler;
pub(crate) mod iothread;
pub(crate) mod loop_timer;
pub(crate) mod main_loop;
#[cfg(feature = "testing")]
pub(crate) mod paused;
#[cfg(feature = "simulation")]
pub(crate) mod simulation;
pub(crate) mod wait;
