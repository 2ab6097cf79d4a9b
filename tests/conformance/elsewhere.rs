//! The rules that are no cases of the table, and why not.

/// What ends the process.
const ENDS: &str = "it ends the process";
/// What only the owner of a main loop can see.
const TURN: &str = "it takes single turns of a main loop of its own";
/// What stops or starts the guest.
const CLOCK: &str = "it stops a clock of the whole process";
/// What relies on which descriptors are free.
const NUMBER: &str = "nobody else may open a descriptor meanwhile";

/// The names of the tests of the emulation alone (`tests/conformance_*.rs`), and why the others cannot have them.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("a_pending_bottom_half_outliving_its_context_aborts", ENDS),
    ("a_pending_oneshot_outliving_its_context_aborts", ENDS),
    ("a_cancelled_bottom_half_that_is_still_linked_counts_as_leaked", ENDS),
    ("the_last_reference_going_during_a_poll_aborts", ENDS),
    ("to_take_the_lock_twice_aborts_and_says_where", ENDS),
    ("to_release_the_lock_without_holding_it_aborts", ENDS),
    ("to_release_the_lock_during_a_borrow_aborts_and_names_the_borrow", ENDS),
    ("a_turn_of_the_main_loop_during_a_borrow_aborts", ENDS),
    ("a_borrow_without_the_lock_aborts", ENDS),
    ("to_end_a_borrow_that_did_not_begin_aborts", ENDS),
    ("to_register_a_closed_descriptor_aborts", ENDS),
    ("a_bottom_half_scheduled_after_the_stop_is_a_leak", ENDS),
    ("an_iothread_that_stops_itself_aborts", ENDS),
    ("a_pass_in_another_thread_than_the_home_thread_aborts", ENDS),
    ("a_second_current_context_aborts", ENDS),
    ("a_callback_that_disables_its_own_clock_aborts", ENDS),
    ("an_armed_timer_outliving_its_context_aborts", ENDS),
    ("to_end_the_use_of_an_armed_timer_aborts", ENDS),
    ("before_the_main_loop_starts_there_is_no_main_context", TURN),
    ("a_turn_runs_both_contexts_and_then_the_timers_of_the_main_loop", TURN),
    ("a_nested_loop_runs_neither_the_iohandler_context_nor_the_timers_of_the_main_loop", TURN),
    ("the_main_loop_may_run_the_iohandler_context_alone", TURN),
    ("a_nonblocking_turn_does_not_sleep", TURN),
    ("a_turn_sleeps_until_the_first_timer_of_anybody", TURN),
    ("a_notification_ends_the_sleep_of_the_main_loop", TURN),
    ("a_turn_releases_the_bql_while_it_sleeps_and_callbacks_hold_it", TURN),
    ("an_idle_bottom_half_of_the_main_loop_runs_every_ten_milliseconds", TURN),
    ("to_wait_for_an_iothread_outside_the_main_loop_aborts", ENDS),
    ("a_second_main_loop_aborts", ENDS),
    ("a_turn_in_another_thread_aborts", ENDS),
    ("a_turn_without_the_bql_aborts", ENDS),
    ("negative_parameters_are_refused_with_an_error", "QEMU leaves the check to its callers"),
    (
        "a_notification_between_the_last_look_and_the_sleep_is_not_lost",
        "it knows how long the emulation polls after one event",
    ),
    ("an_event_of_a_removed_descriptor_does_not_reach_a_new_one_of_the_same_number", NUMBER),
    ("an_event_of_a_closed_descriptor_does_not_reach_a_new_one_of_the_same_number", NUMBER),
    (
        "an_iothread_is_found_by_its_id_until_it_is_destroyed",
        "QEMU finds the iothreads of `object-add`, which the emulation does not have",
    ),
    ("the_guest_clock_stands_until_the_guest_starts_and_while_it_is_stopped", CLOCK),
    ("timers_of_a_disabled_clock_neither_fire_nor_wake_the_loop", CLOCK),
    ("to_disable_a_clock_waits_for_its_callbacks", CLOCK),
    ("the_thread_of_an_iothread_has_its_name", "QEMU names its threads if it is told to"),
    ("a_second_iothread_of_the_same_id_is_an_error", "QEMU ends the process"),
    ("a_nested_pass_does_not_enter_the_ready_callback_again", "QEMU 7.2 does enter it"),
    (
        "a_handler_without_poll_turns_busy_polling_off",
        "QEMU does so where it watches descriptors with epoll, not with io_uring",
    ),
    (
        "handlers_that_other_threads_register_and_remove_run_only_in_between",
        "with io_uring, QEMU before 10.2 can use a handler that another thread has just removed",
    ),
];

/// A test's name and the reason as a line of a transcript.
pub(crate) fn lines() -> impl Iterator<Item = String> {
    ELSEWHERE.iter().map(|(test, why)| format!("elsewhere {}: {why}", test.replace('_', " ")))
}
