//! `OnMain` borrows the right to move, so the task cannot move while it has the proof that it did not.

use executor::{IoContext, Migratable};

async fn hash(m: &mut Migratable, io: &IoContext) {
    let on_main = m.to_main().await;
    m.reschedule_to(io).await;
    on_main.bql(|_| ());
}

fn main() {}
