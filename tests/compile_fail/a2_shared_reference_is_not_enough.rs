//! Moving takes `&mut Migratable`; a shared reference could be in two branches at once.

use executor::{IoContext, Migratable};

async fn hash(m: &Migratable, io: &IoContext) {
    m.reschedule_to(io).await;
}

fn main() {}
