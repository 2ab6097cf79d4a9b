//! What a simulation of the emulated loop decides for the executor's own descriptors.

#![forbid(unsafe_code)]

pub(crate) use aio_sys::emulated::simulation::{
    choose, is_interrupted, is_on, is_short, is_spurious, refuse,
};
