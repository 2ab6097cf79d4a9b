//! An indexed four-way heap of deadlines.
//!
//! Two vectors: `heap` holds what is compared (deadline, insertion number, slot), in heap order;
//! `slots` holds what is looked up (place in the heap, generation, waker). A slot never moves, so its
//! number can be given out. Free slots form a list through their `place`.
//!
//! Both vectors grow with the largest number of timers that were ever pending at once, and nothing
//! is allocated once they have. The heap never reads a clock and calls no foreign code: wakers
//! come in by value and go out by value.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::ops::Range;
use std::task::Waker;

/// Children per node.
const ARITY: usize = 4;

/// Timers that are close to each other. Fewer are not worth making one of them late.
const CROWD: usize = 4;

/// The end of the list of free slots.
const NONE: u32 = u32::MAX;

/// What a timer is ordered by.
#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: i64,
    /// Counts insertions, so that equal deadlines are served in the order they came.
    number: u64,
    slot: u32,
}

/// What a timer is found by.
#[derive(Debug)]
struct Slot {
    /// The entry's index while the slot is in use; the next free slot while it is not.
    place: u32,
    /// Counts the timers that had this slot; even while it is free.
    generation: u32,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Heap {
    heap: Vec<Entry>,
    slots: Vec<Slot>,
    free: u32,
    next_number: u64,
}

impl Heap {
    pub(super) const fn new() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), free: NONE, next_number: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn earliest(&self) -> Option<i64> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// Returns the earliest deadline, or the end of `window` if it and a crowd are within.
    pub(super) fn next_call(&self, window: &Range<i64>) -> Option<i64> {
        let earliest = self.earliest()?;
        let waits = window.contains(&earliest) && self.is_crowded_before(window.end);
        Some(if waits { window.end } else { earliest })
    }

    /// Whether there are as many timers as it takes to be a crowd before `end`. A look at the root and its
    /// children, so a crowd may be overlooked that sits further down.
    fn is_crowded_before(&self, end: i64) -> bool {
        let top = &self.heap[..self.heap.len().min(1 + ARITY)];
        top.iter().filter(|entry| entry.deadline < end).count() >= CROWD
    }

    /// Adds a timer; returns its slot, its generation, and whether it is the earliest now.
    pub(super) fn insert(&mut self, deadline: i64, waker: Waker) -> (u32, u32, bool) {
        let slot = self.allocate(waker);
        let place = self.heap.len();
        self.heap.push(Entry { deadline, number: self.next_number, slot });
        self.next_number += 1;
        let place = self.sift_up(place);
        (slot, self.slots[slot as usize].generation, place == 0)
    }

    /// Returns the waker of a pending timer.
    pub(super) fn waker(&mut self, slot: u32, generation: u32) -> Option<&mut Waker> {
        let slot = self.slots.get_mut(slot as usize)?;
        if slot.generation == generation { slot.waker.as_mut() } else { None }
    }

    /// Removes a pending timer.
    pub(super) fn remove(&mut self, slot: u32, generation: u32) -> Option<Waker> {
        self.waker(slot, generation)?;
        let place = self.slots[slot as usize].place as usize;
        self.remove_entry(place);
        self.release(slot)
    }

    /// Moves the wakers of timers whose deadline is not after `now` to `room`, earliest first, while
    /// there is room. Returns how many.
    pub(super) fn take_due(&mut self, now: i64, room: &mut [Option<Waker>]) -> usize {
        for (taken, place) in room.iter_mut().enumerate() {
            *place = self.pop_due(now);
            if place.is_none() {
                return taken;
            }
        }
        room.len()
    }

    /// Removes the earliest timer if its deadline is not after `now`.
    fn pop_due(&mut self, now: i64) -> Option<Waker> {
        let first = self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        let slot = first.slot;
        self.remove_entry(0);
        self.release(slot)
    }

    /// Ends the heap and returns the wakers it held, in no particular order.
    pub(super) fn into_wakers(self) -> impl Iterator<Item = Waker> {
        self.slots.into_iter().filter_map(|slot| slot.waker)
    }

    fn allocate(&mut self, waker: Waker) -> u32 {
        if self.free == NONE {
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers fit memory");
            self.slots.push(Slot { place: 0, generation: 1, waker: Some(waker) });
            return index;
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.place;
        slot.generation = slot.generation.wrapping_add(1);
        slot.waker = Some(waker);
        index
    }

    fn release(&mut self, index: u32) -> Option<Waker> {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.place = self.free;
        self.free = index;
        slot.waker.take()
    }

    fn remove_entry(&mut self, place: usize) {
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            // The entry from the end can belong above or below its new place, not both.
            if self.sift_up(place) == place {
                self.sift_down(place);
            }
        }
    }

    /// Moves an entry towards the root until its parent is not later. Returns its place.
    fn sift_up(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if !entry.is_before(&self.heap[parent]) {
                break;
            }
            self.set(place, self.heap[parent]);
            place = parent;
        }
        self.set(place, entry);
        place
    }

    /// Moves an entry towards the leaves until none of its children is earlier.
    fn sift_down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while let Some(child) = self.earliest_child(place) {
            if !self.heap[child].is_before(&entry) {
                break;
            }
            self.set(place, self.heap[child]);
            place = child;
        }
        self.set(place, entry);
    }

    fn earliest_child(&self, place: usize) -> Option<usize> {
        let first = place * ARITY + 1;
        let end = self.heap.len().min(first + ARITY);
        (first..end).reduce(
            |best, child| {
                if self.heap[child].is_before(&self.heap[best]) { child } else { best }
            },
        )
    }

    fn set(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        let index = u32::try_from(place).expect("no more entries than slots");
        self.slots[entry.slot as usize].place = index;
    }
}

impl Entry {
    fn is_before(&self, other: &Self) -> bool {
        match self.deadline.cmp(&other.deadline) {
            Ordering::Equal => self.number < other.number,
            order => order == Ordering::Less,
        }
    }
}
