//! Must not compile: the main loop stays in its thread.

use executor::MainLoop;

fn program(mut main: MainLoop) {
    std::thread::spawn(move || main.dispatch());
}

fn main() {}
