//! The right to move cannot be copied: then two branches could move the task that they share.

use executor::Migratable;

fn copy(m: &mut Migratable) -> Migratable {
    m.clone()
}

fn main() {}
