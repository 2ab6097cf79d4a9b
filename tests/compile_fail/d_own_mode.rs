//! Nobody can add a mode: the three are what QEMU has.

use executor::qmp::Mode;

enum CoroutineAndOob {}

impl Mode for CoroutineAndOob {}

fn main() {}
