//! Must not compile: a task of the main loop's cannot drive it, since it does not outlive the loan of its task.

use executor::{MainCx, MainLoop};

fn program(main: &mut MainLoop, other: &mut MainLoop) {
    main.enter(|nc| nc.spawn(async |_: &MainCx| other.dispatch()).detach());
}

fn main() {}
