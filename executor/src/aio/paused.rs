//! The emulation's clocks, as a test stops them.

#![forbid(unsafe_code)]

pub(crate) use aio_sys::emulated::simulation::paused::{
    Outside, Stuck, elapsed_ns, next_deadline_ns, outside, pause, program, set_auto, set_limit,
    set_patience, take_stuck,
};
pub(crate) use aio_sys::emulated::simulation::wake_at_rest;
