//! Tests of the bell's edge and of the memory for cells.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Block, Doorbell, Home, KEEP, allocate, close_pool, free, pointer};
use crate::inbox::Job;

#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Doorbell for Counting {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn home() -> (Arc<Home>, Counting) {
    let bell = Counting::default();
    (Home::new(Box::new(bell.clone())), bell)
}

fn sized(size: usize) -> Block {
    Block::of(Layout::from_size_align(size, 8).unwrap())
}

/// Frees what `allocate` gave for this very home and layout.
fn give_back(home: &Arc<Home>, memory: NonNull<u8>, block: Block) {
    // SAFETY: the tests below use each block once, with its own home and layout.
    unsafe { free(pointer(home), memory, block) }
}

/// A home and a block of it, on their way to another thread.
struct Sent(NonNull<Home>, NonNull<u8>);

// SAFETY: any thread may free a block, and whoever sends one does not use it any more.
unsafe impl Send for Sent {}

#[test]
fn only_its_own_thread_is_home() {
    let (home, _bell) = home();
    assert!(home.is_home());
    assert!(!thread::spawn(move || home.is_home()).join().unwrap());
}

#[test]
fn an_idle_home_rings_once_and_a_busy_one_not_at_all() {
    let (home, bell) = home();
    home.ring_if_idle();
    home.ring_if_idle();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1, "it has been rung for");
    assert!(!home.set_idle(false));
    home.ring_if_idle();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    home.set_idle(true);
    home.ring_if_idle();
    assert_eq!(bell.0.load(Ordering::SeqCst), 2);
}

#[test]
fn a_send_rings_for_the_first_job_of_a_batch() {
    let (home, bell) = home();
    assert!(home.send(Job::new(|| ())).is_ok());
    assert!(home.send(Job::new(|| ())).is_ok());
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    drop(home.inbox().close());
    assert!(home.send(Job::new(|| ())).is_err());
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_block_that_is_freed_at_home_is_used_again() {
    let (home, _bell) = home();
    let first = allocate(&home, sized(100));
    give_back(&home, first, sized(100));
    let second = allocate(&home, sized(97));
    assert_eq!(first, second, "the same class of sizes");
    give_back(&home, second, sized(97));
    close_pool(&home);
    assert_eq!(Arc::strong_count(&home), 1, "the block counted as a reference");
}

#[test]
fn a_block_keeps_its_home_alive_and_may_be_freed_on_another_thread() {
    let (home, bell) = home();
    let sent = Sent(pointer(&home), allocate(&home, sized(100)));
    drop(home);
    assert_eq!(Arc::strong_count(&bell.0), 2, "the home has the other one");
    thread::spawn(move || {
        let sent = sent;
        // SAFETY: the block is alive, of this home and layout, and counts as a reference on it.
        unsafe { free(sent.0, sent.1, sized(100)) };
    })
    .join()
    .unwrap();
    assert_eq!(Arc::strong_count(&bell.0), 1);
}

#[test]
fn large_and_strictly_aligned_blocks_go_back_to_the_allocator() {
    let (home, _bell) = home();
    for (size, align) in [(100_000, 8), (64, 64)] {
        let block = Block::of(Layout::from_size_align(size, align).unwrap());
        let memory = allocate(&home, block);
        assert_eq!(memory.as_ptr() as usize % align, 0);
        give_back(&home, memory, block);
        assert_eq!(Arc::strong_count(&home), 1);
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of blocks")]
fn the_pool_keeps_a_bounded_number_of_blocks() {
    let (home, _bell) = home();
    let blocks: Vec<_> = (0..KEEP + 10).map(|_| allocate(&home, sized(32))).collect();
    blocks.into_iter().for_each(|block| give_back(&home, block, sized(32)));
    assert_eq!(Arc::strong_count(&home), 1 + KEEP);
    close_pool(&home);
    assert_eq!(Arc::strong_count(&home), 1);
}

#[test]
fn a_closed_pool_keeps_nothing() {
    let (home, _bell) = home();
    close_pool(&home);
    let block = allocate(&home, sized(32));
    give_back(&home, block, sized(32));
    assert_eq!(Arc::strong_count(&home), 1);
}
