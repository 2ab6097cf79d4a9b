//! Must not compile: iothreads are made under the lock.

use executor::IoThread;

fn vcpu() {
    IoThread::create("io0").unwrap();
}

fn main() {}
