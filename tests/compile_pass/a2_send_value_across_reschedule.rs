//! What is `Send` may be kept across a move, also in named functions and callees.

use std::sync::Arc;

use executor::{IoContext, MainCx, Migratable};

async fn hash(m: &mut Migratable, io: &IoContext, data: &[u8]) -> usize {
    m.reschedule_to(io).await;
    data.len()
}

pub fn start(cx: &MainCx, io: IoContext, shared: Arc<u32>) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        let data = vec![0; 512];
        let length = hash(m, &io, &data).await;
        length + *shared as usize
    })
    .detach();
}

fn main() {}
