//! The right to move cannot be made, only lent.

#![allow(unreachable_code)]

use executor::Migratable;

fn main() {
    let _forged = Migratable { journey: unreachable!() };
}
