//! The executor beside its peers, and above the floors.
//!
//! Measures: what each kind of work costs on our executor, on tokio's `LocalSet`, on async-executor's
//! `LocalExecutor` and on futures' `LocalPool`, as far as they do it, and what the bare job costs with no
//! executor at all (the *floor*). The peers of a row run directly one after the other, on one CPU; the
//! threads that help them run on another one.
//!
//! Everything that our executor promises is switched on: panics are caught, tasks are listed and can be
//! cancelled, borrows of the Big QEMU Lock's cells are checked, the budgets count.
//!
//! `cargo bench` takes less than five minutes and prints one table of medians at the end; `cargo bench -- --quick`
//! takes less than one, and its figures are no more than a hint. `cargo bench -- wake` runs the rows whose names match.
//! A workload that did not do its work panics.

mod boxed;
mod fd;
mod kit;
mod machine;
mod memory;
mod offload;
mod peers;
mod spawn;
mod suite;
mod table;
mod timer;
mod wake;

fn main() {
    machine::prepare();
    let mut suite = suite::Suite::from_args();
    spawn::add(&mut suite);
    wake::add(&mut suite);
    fd::add(&mut suite);
    timer::add(&mut suite);
    offload::add(&mut suite);
    memory::add(&mut suite);
    suite.finish();
}
