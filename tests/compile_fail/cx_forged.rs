//! Must not compile: nobody can make a task's capability.

use executor::MainCx;

fn forge(cx: MainCx) -> MainCx {
    MainCx { ..cx }
}

fn main() {}
