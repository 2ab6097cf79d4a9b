//! Must not compile: an executor stays on the thread that made it.

use executor::LocalExecutor;

fn handler(executor: LocalExecutor) {
    std::thread::spawn(move || executor.run(async {}));
}

fn main() {}
