//! Must not compile: the program's right to block ends with the program.

use executor::run_main;

fn main_loop() {
    let nc = run_main(|nc| nc);
    nc.unlocked(|| ());
}

fn main() {}
