//! An async executor that lives inside QEMU's main loop.
