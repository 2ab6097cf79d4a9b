//! The C surface of QEMU's event loop.
