//! Must not compile: whoever is in the main loop already has it exclusively.

use executor::MainLoop;

fn turn(mut main: MainLoop) {
    main.enter(|_| main.dispatch());
}

fn main() {}
