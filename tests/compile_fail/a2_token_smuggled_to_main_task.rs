//! The right to move belongs to one task; another one, which need not be `Send`, cannot capture it.

use std::rc::Rc;

use executor::{IoContext, LocalSpawner, Migratable};

async fn lend(m: &mut Migratable, spawner: &LocalSpawner, io: IoContext) {
    spawner.spawn(async move {
        let shared = Rc::new(1);
        m.reschedule_to(&io).await;
        println!("{shared}");
    });
}

fn main() {}
