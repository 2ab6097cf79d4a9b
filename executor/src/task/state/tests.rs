//! Tests of the transitions, one by one, and of the arithmetic of the split count.

use super::{
    AfterDrop, AfterPost, AfterStart, AfterWake, LOCAL_LIMIT, Outcome, Post, Posted, State,
};

/// A task that was polled and waits.
fn idle() -> State {
    let state = State::new();
    assert_eq!(state.start_poll(), AfterStart::Poll);
    assert_eq!(state.finish_poll(), AfterWake::Nothing);
    state
}

/// Completes a task and takes it out of the table, with one reference more than the handle's.
fn complete(state: &State) {
    state.add_local_ref();
    assert_eq!(state.start_poll(), AfterStart::Poll);
    state.complete(Outcome::Output);
    assert_eq!(state.merge(), AfterDrop::Alive);
}

/// A task that has completed and has left the table; one reference, a waker's, is left.
fn merged() -> State {
    let state = State::new();
    complete(&state);
    state.drop_join();
    assert_eq!(state.drop_local_ref(), AfterDrop::Alive, "the handle's");
    state
}

#[test]
fn a_new_task_is_queued_already() {
    let state = State::new();
    assert_eq!(state.wake(), AfterWake::Nothing);
    assert_eq!(state.start_poll(), AfterStart::Poll);
    assert_eq!(state.finish_poll(), AfterWake::Nothing, "that wake was before the poll");
}

#[test]
fn an_idle_task_is_queued_by_the_first_wake_alone() {
    let state = idle();
    assert_eq!(state.wake(), AfterWake::Enqueue);
    assert_eq!(state.wake(), AfterWake::Nothing);
}

#[test]
fn a_wake_during_the_poll_queues_at_its_end_once() {
    let state = State::new();
    assert_eq!(state.start_poll(), AfterStart::Poll);
    assert_eq!(state.wake(), AfterWake::Nothing);
    assert_eq!(state.wake(), AfterWake::Nothing);
    assert_eq!(state.finish_poll(), AfterWake::Enqueue);
    assert_eq!(state.wake(), AfterWake::Nothing);
    assert_eq!(state.start_poll(), AfterStart::Poll);
    assert_eq!(state.finish_poll(), AfterWake::Nothing);
}

#[test]
fn a_cancelled_task_is_started_to_be_dropped_wherever_it_was() {
    let queued = State::new();
    assert_eq!(queued.cancel(), AfterWake::Nothing);
    assert_eq!(queued.start_poll(), AfterStart::Cancel);

    let waiting = idle();
    assert_eq!(waiting.cancel(), AfterWake::Enqueue);
    assert_eq!(waiting.start_poll(), AfterStart::Cancel);

    let running = State::new();
    assert_eq!(running.start_poll(), AfterStart::Poll);
    assert_eq!(running.cancel(), AfterWake::Nothing);
    assert_eq!(running.finish_poll(), AfterWake::Enqueue);
    assert_eq!(running.start_poll(), AfterStart::Cancel);
}

#[test]
fn a_complete_task_is_never_queued() {
    let state = State::new();
    assert_eq!(state.start_poll(), AfterStart::Poll);
    assert_eq!(state.wake(), AfterWake::Nothing);
    state.complete(Outcome::Output);
    assert!(state.is_complete());
    assert_eq!(state.wake(), AfterWake::Nothing);
    assert_eq!(state.cancel(), AfterWake::Nothing);
}

#[test]
fn a_result_is_taken_once_and_is_what_was_put() {
    for outcome in [Outcome::Output, Outcome::Error] {
        let state = State::new();
        assert_eq!(state.take_result(), None);
        assert_eq!(state.start_poll(), AfterStart::Poll);
        state.complete(outcome);
        assert_eq!(state.take_result(), Some(outcome));
        assert_eq!(state.take_result(), None);
        assert!(state.is_complete());
    }
}

#[test]
fn the_handle_is_noted_until_it_is_dropped() {
    let state = State::new();
    assert!(state.has_join());
    state.drop_join();
    assert!(!state.has_join());
}

#[test]
fn the_last_reference_after_the_merge_frees_wherever_it_is_dropped() {
    assert_eq!(merged().drop_local_ref(), AfterDrop::Free);
    assert_eq!(merged().drop_remote_ref(), AfterDrop::Free);
}

#[test]
fn a_handle_that_is_alone_with_its_task_frees_it() {
    let state = State::new();
    assert_eq!(state.start_poll(), AfterStart::Poll);
    state.complete(Outcome::Output);
    assert_eq!(state.merge(), AfterDrop::Alive);
    assert_eq!(state.take_result(), Some(Outcome::Output));
    state.drop_join();
    assert_eq!(state.drop_local_ref(), AfterDrop::Free);
}

#[test]
fn a_waker_that_is_alone_with_its_task_frees_it_wherever_it_is_dropped() {
    for elsewhere in [false, true] {
        let state = State::new();
        state.add_local_ref();
        state.drop_join();
        assert_eq!(state.drop_local_ref(), AfterDrop::Alive, "the handle's");
        assert_eq!(state.start_poll(), AfterStart::Poll);
        state.complete(Outcome::Output);
        assert_eq!(state.merge(), AfterDrop::Alive);
        let dropped = if elsewhere { state.drop_remote_ref() } else { state.drop_local_ref() };
        assert_eq!(dropped, AfterDrop::Free);
    }
}

#[test]
fn the_merge_itself_frees_when_no_handle_is_left() {
    let state = State::new();
    state.drop_join();
    assert_eq!(state.drop_local_ref(), AfterDrop::Alive);
    assert_eq!(state.start_poll(), AfterStart::Poll);
    state.complete(Outcome::Output);
    assert_eq!(state.merge(), AfterDrop::Free);
}

#[test]
fn references_may_be_counted_on_one_side_and_dropped_on_the_other() {
    for merge_first in [false, true] {
        let state = State::new();
        if merge_first {
            complete(&state);
        }
        for _ in 0..5 {
            state.add_local_ref();
            state.add_remote_ref();
            state.add_remote_ref();
            assert_eq!(state.drop_remote_ref(), AfterDrop::Alive);
            assert_eq!(state.drop_local_ref(), AfterDrop::Alive);
            assert_eq!(state.drop_local_ref(), AfterDrop::Alive);
        }
        if !merge_first {
            complete(&state);
        }
        assert_eq!(state.drop_local_ref(), AfterDrop::Alive);
        assert_eq!(state.drop_local_ref(), AfterDrop::Free, "the handle's was left");
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of steps")]
fn a_share_that_drifts_far_either_way_is_folded_and_nothing_is_lost() {
    let state = State::new();
    for _ in 0..LOCAL_LIMIT + 10 {
        state.add_local_ref();
        assert_eq!(state.drop_remote_ref(), AfterDrop::Alive);
    }
    for _ in 0..2 * LOCAL_LIMIT + 10 {
        state.add_remote_ref();
        assert_eq!(state.drop_local_ref(), AfterDrop::Alive);
    }
    assert!(state.has_join(), "the flags are untouched");
    assert_eq!(state.start_poll(), AfterStart::Poll);
    state.complete(Outcome::Output);
    assert_eq!(state.merge(), AfterDrop::Alive);
    assert_eq!(state.drop_local_ref(), AfterDrop::Free);
}

#[test]
fn the_first_post_pushes_and_owns_a_reference() {
    let state = idle();
    assert_eq!(state.post(Post::Wake), AfterPost::Push);
    assert_eq!(state.post(Post::Wake), AfterPost::Nothing);
    assert_eq!(state.post(Post::Cancel), AfterPost::Nothing);
    assert_eq!(state.take_post(), Posted { wake: true, cancel: true });
    assert_eq!(state.drop_local_ref(), AfterDrop::Alive);

    assert_eq!(state.post(Post::Cancel), AfterPost::Push, "it left the inbox");
    assert_eq!(state.post(Post::Wake), AfterPost::Nothing);
    assert_eq!(state.take_post(), Posted { wake: true, cancel: true });
    assert_eq!(state.drop_local_ref(), AfterDrop::Alive);
}

#[test]
fn a_post_that_is_on_its_way_keeps_the_task_after_its_completion() {
    let state = State::new();
    assert_eq!(state.post(Post::Wake), AfterPost::Push);
    assert_eq!(state.start_poll(), AfterStart::Poll);
    state.complete(Outcome::Output);
    assert_eq!(state.merge(), AfterDrop::Alive);
    assert_eq!(state.drop_local_ref(), AfterDrop::Alive, "the handle's");
    assert_eq!(state.take_post(), Posted { wake: true, cancel: false });
    assert_eq!(state.wake(), AfterWake::Nothing);
    assert_eq!(state.drop_local_ref(), AfterDrop::Free, "the inbox's");
}

#[test]
fn nothing_is_posted_to_a_task_that_has_gone() {
    let state = merged();
    assert_eq!(state.post(Post::Wake), AfterPost::Nothing);
    assert_eq!(state.post(Post::Cancel), AfterPost::Nothing);
    assert_eq!(state.drop_remote_ref(), AfterDrop::Free);
}
