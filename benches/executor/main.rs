//! The executor beside its peers, and above the floors.
//!
//! Measures: what each kind of work costs on our executor, on tokio's `LocalSet`, on async-executor's `LocalExecutor`,
//! on futures' `LocalPool`, on embassy's raw executor, on monoio and on local-runtime, as far as they do it, and what
//! the bare job costs with no executor at all (the *floor*). The peers of a row run directly one after the other, on
//! one CPU; the threads that help them run on another one.
//!
//! Everything that our executor promises is switched on: panics are caught, tasks are listed and can be
//! cancelled, borrows of the Big QEMU Lock's cells are checked, the budgets count.
//!
//! - `cargo bench --bench executor` prints the table of medians, and the table of the goals;
//! - `… -- --goals` prints the goals only, without criterion's part, in about two minutes;
//! - `… -- --plots DIR` draws how costs grow with the number of tasks, fds and timers;
//! - `… -- --quick` takes less than a minute, and its figures are no more than a hint;
//! - `… -- wake` takes the rows, or plots, whose names match.
//!
//! A workload that did not do its work panics.

mod boxed;
mod fd;
mod goals;
mod kit;
mod machine;
mod memory;
mod million;
mod offload;
mod options;
mod peers;
mod plot;
mod scaling;
mod spawn;
mod suite;
mod table;
mod timer;
mod wake;
mod workloads;

use goals::Goals;
use options::{Measure, Options};
use suite::Suite;
use table::Table;

fn main() {
    machine::prepare();
    if million::is_child() {
        return million::run_child();
    }
    let options = Options::from_args();
    if options.rows {
        let table = measure_rows(options.clone());
        show(&table, &options);
    }
    scaling::draw(&options);
}

fn measure_rows(options: Options) -> Table {
    let mut suite = Suite::new(options);
    spawn::add(&mut suite);
    wake::add(&mut suite);
    fd::add(&mut suite);
    timer::add(&mut suite);
    offload::add(&mut suite);
    memory::add(&mut suite);
    million::add(&mut suite);
    suite.finish()
}

fn show(table: &Table, options: &Options) {
    if options.measure == Measure::Nothing {
        return;
    }
    if options.table {
        println!("\n{table}");
    }
    println!("\n{}", Goals(table));
}
