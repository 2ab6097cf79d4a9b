/* The wake-up protocol of aio-sys/src/emulated/doorbell.rs, for SPIN: `.ci/run spin`.
 *
 * Producers publish work and ring for ever; the loop sleeps in aio_poll and in main_loop_wait, in any order, and never
 * reads the eventfd, which is watched edge-triggered. The claim: work that was published is taken some time, however
 * the processes interleave, as long as each that can go on does so. Loom's models beside the code have the memory
 * orderings and a few rings each; this has one order of all steps and rings without end.
 *
 * -DMUTANT=n plants a defect, of which the claim must not hold. A producer that does not write the eventfd because the
 * flag is set already is no such defect: it relies on the one that set it, whose write comes some time.
 */

#ifndef MUTANT
#define MUTANT 0
#endif
#define PRODUCERS 2

/* There is something in the list of bottom halves. */
bool work = false;
bool notified = false;
/* Whether main_loop_wait may sleep, and how many aio_poll may. */
bool main_loop = false;
byte aio_poll = 0;
/* The eventfd was written since the kernel last reported it. */
bool edge = false;

#define may_sleep (main_loop || aio_poll > 0)

inline ring() {
    if
    :: MUTANT == 1 ->
        /* Looks for sleepers before it leaves word. */
        if
        :: may_sleep -> edge = true
        :: else
        fi;
        notified = true
    :: else ->
        notified = true;
        if
        :: may_sleep -> edge = true
        :: else
        fi
    fi
}

active [PRODUCERS] proctype producer() {
    do
    :: work = true;
        ring()
    :: break
    od
}

/* The load before is relaxed: a flag that was set just now may look clear, and stays set then. */
inline accept() {
    if
    :: notified -> notified = false
    :: true
    fi
}

inline sleep() {
    edge -> edge = false
}

inline take_work() {
    accept();
    work = false
}

inline pass_of_aio_poll() {
    if
    :: MUTANT == 2 ->
        /* Looks for a ring before it announces its sleep. */
        if
        :: notified
        :: else -> aio_poll++; sleep(); aio_poll--
        fi
    :: else ->
        aio_poll++;
        if
        :: notified
        :: else -> sleep()
        fi;
        aio_poll--
    fi;
    if
    :: MUTANT == 3 ->
        /* Answers the ring after the work. */
        work = false;
        notified = false
    :: else -> take_work()
    fi
}

inline pass_of_main_loop() {
    if
    :: MUTANT == 4 ->
        /* Works out how long to sleep before it announces that. */
        if
        :: work
        :: else -> main_loop = true; sleep()
        fi
    :: else ->
        main_loop = true;
        if
        :: notified -> notified = false
        :: else
        fi;
        if
        :: work
        :: else -> sleep()
        fi
    fi;
    main_loop = false;
    take_work()
}

active proctype loop() {
    do
    :: work -> take_work() /* A pass that need not sleep. */
    :: true -> pass_of_aio_poll()
    :: true -> pass_of_main_loop()
    od
}

ltl taken { [] (work -> <> !work) }
