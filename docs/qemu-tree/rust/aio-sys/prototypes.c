/*
 * What aio-sys declares of QEMU, in C: a function that takes something else, or a struct that looks otherwise, does not
 * compile here. A linker would not notice.
 *
 * Nothing of this is called. In the order of src/host.rs, src/host/linked.rs, src/host/block.rs, src/host/monitor.rs,
 * src/host/system.rs and src/types.rs; a line there needs one here.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/aio-wait.h"
#include "block/block.h"
#include "chardev/char.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/qapi-events-job.h"
#include "qapi/qmp-registry.h"
#include "qemu/config-file.h"
#include "qemu/coroutine.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/notify.h"
#include "qemu/option.h"
#include "qemu/timer.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qom/object.h"
#include "system/block-backend.h"
#include "system/cpu-timers.h"
#include "system/iothread.h"
#include "system/runstate.h"
#include "system/runstate-action.h"
#include "system/system.h"

/* Declaring them again is what this file is for. */
#pragma GCC diagnostic ignored "-Wredundant-decls"

/* src/host.rs */
AioContext *aio_context_new(Error **);
void aio_context_ref(AioContext *);
void aio_context_unref(AioContext *);
QEMUBH *aio_bh_new_full(AioContext *, void (*)(void *), void *, const char *, MemReentrancyGuard *);
void aio_bh_schedule_oneshot_full(AioContext *, void (*)(void *), void *, const char *);
void aio_notify(AioContext *);
void aio_bh_call(QEMUBH *);
void qemu_bh_schedule(QEMUBH *);
void qemu_bh_schedule_idle(QEMUBH *);
void qemu_bh_cancel(QEMUBH *);
void qemu_bh_delete(QEMUBH *);
bool aio_poll(AioContext *, bool);
AioContext *qemu_get_current_aio_context(void);
void qemu_set_current_aio_context(AioContext *);
int qemu_init_main_loop(Error **);
void main_loop_wait(int);
AioContext *qemu_get_aio_context(void);
AioContext *iohandler_get_aio_context(void);
void qemu_notify_event(void);
void qemu_set_fd_handler(int, void (*)(void *), void (*)(void *), void *);
bool qemu_in_main_thread(void);
QEMUBH *qemu_bh_new_full(void (*)(void *), void *, const char *, MemReentrancyGuard *);
bool qemu_in_iothread(void);
void aio_wait_kick(void);
void aio_wait_bh_oneshot(AioContext *, void (*)(void *), void *);
extern AioWait global_aio_wait;
int event_notifier_init(EventNotifier *, int);
void event_notifier_cleanup(EventNotifier *);
int event_notifier_get_fd(const EventNotifier *);
int event_notifier_set(EventNotifier *);
int event_notifier_test_and_clear(EventNotifier *);
extern QEMUTimerListGroup main_loop_tlg;
int64_t qemu_clock_get_ns(QEMUClockType);
void qemu_clock_enable(QEMUClockType, bool);
void timer_init_full(QEMUTimer *, QEMUTimerListGroup *, QEMUClockType, int, int, void (*)(void *), void *);
void timer_deinit(QEMUTimer *);
void timer_del(QEMUTimer *);
void timer_mod_ns(QEMUTimer *, int64_t);
void timer_mod_anticipate_ns(QEMUTimer *, int64_t);
bool timer_pending(const QEMUTimer *);
uint64_t timer_expire_time_ns(const QEMUTimer *);
void cpu_enable_ticks(void);
void cpu_disable_ticks(void);
IOThread *iothread_create(const char *, Error **);
IOThread *iothread_by_id(const char *);
char *iothread_get_id(IOThread *);
void iothread_stop(IOThread *);
void iothread_destroy(IOThread *);
#undef object_ref
#undef object_unref
Object *object_ref(void *);
void object_unref(void *);
const char *error_get_pretty(const Error *);
void error_free(Error *);

/* src/host/linked.rs */
void bql_lock_impl(const char *, int);
void bql_unlock(void);
bool bql_locked(void);
void bql_block_unlock(bool);
void aio_set_fd_handler(AioContext *, int, void (*)(void *), void (*)(void *), bool (*)(void *), void (*)(void *),
                        void *);
void aio_set_event_notifier(AioContext *, EventNotifier *, void (*)(EventNotifier *), bool (*)(void *),
                            void (*)(EventNotifier *));
void aio_context_set_poll_params(AioContext *, int64_t, int64_t, int64_t, Error **);
AioContext *iothread_get_aio_context(IOThread *);
int monitor_init_opts(QemuOpts *, Error **);
void qapi_event_send_job_status_change(const char *, JobStatus);
VersionInfo *qmp_query_version(Error **);
void qapi_free_VersionInfo(VersionInfo *);

/* src/host/block.rs */
BlockDriverState *bdrv_lookup_bs(const char *, const char *, Error **);
AioContext *bdrv_get_aio_context(BlockDriverState *);
BlockBackend *blk_new_with_bs(BlockDriverState *, uint64_t, uint64_t, Error **);
void blk_unref(BlockBackend *);
void blk_set_allow_aio_context_change(BlockBackend *, bool);
void blk_set_disable_request_queuing(BlockBackend *, bool);
void blk_set_dev_ops(BlockBackend *, const BlockDevOps *, void *);
void blk_drain(BlockBackend *);
void bdrv_drain_all_begin(void);
void bdrv_drain_all_end(void);
void blk_inc_in_flight(BlockBackend *);
void blk_dec_in_flight(BlockBackend *);
AioContext *blk_get_aio_context(BlockBackend *);
int64_t blk_getlength(BlockBackend *);
BlockAIOCB *blk_aio_preadv(BlockBackend *, int64_t, QEMUIOVector *, BdrvRequestFlags, void (*)(void *, int), void *);
void qemu_iovec_init_external(QEMUIOVector *, struct iovec *, int);

/* src/host/monitor.rs */
extern QmpCommandList qmp_commands;
void qmp_register_command(QmpCommandList *, const char *, void (*)(QDict *, QObject **, Error **), QmpCommandOptions,
                          uint64_t);
const QmpCommand *qmp_find_command(const QmpCommandList *, const char *);
QDict *qmp_dispatch(const QmpCommandList *, QObject *, bool, Monitor *);
void qmp_for_each_command(const QmpCommandList *, void (*)(const QmpCommand *, void *), void *);
const char *qmp_command_name(const QmpCommand *);
bool qmp_command_is_enabled(const QmpCommand *);
void qdict_unref(QDict *);
GString *qobject_to_json(const QObject *);
QObject *qobject_from_json(const char *, Error **);
void error_set_internal(Error **, const char *, int, const char *, ErrorClass, const char *, ...);
void error_propagate(Error **, Error *);
QEMU_BUILD_BUG_ON(QCO_ALLOW_OOB != 1 << 1 || QCO_COROUTINE != 1 << 3);
QEMU_BUILD_BUG_ON(sizeof(QmpCommandOptions) != sizeof(unsigned));
QEMU_BUILD_BUG_ON(ERROR_CLASS_GENERIC_ERROR != 0 || ERROR_CLASS_COMMAND_NOT_FOUND != 1 || ERROR_CLASS_KVM_MISSING_CAP != 4);
QEMU_BUILD_BUG_ON(offsetof(QDict, base) != 0);

/* src/host/system.rs */
bool qemu_in_coroutine(void);
Coroutine *qemu_coroutine_self(void);
Coroutine *qemu_coroutine_create(void (*)(void *), void *);
void qemu_coroutine_enter(Coroutine *);
void qemu_coroutine_yield(void);
AioContext *qemu_coroutine_get_aio_context(Coroutine *);
void aio_co_schedule(AioContext *, Coroutine *);
void aio_co_reschedule_self(AioContext *);
void qemu_co_sleep_ns_wakeable(QemuCoSleep *, QEMUClockType, int64_t);
void qemu_register_shutdown_notifier(Notifier *);
extern ShutdownAction shutdown_action;
QemuOptsList *qemu_find_opts(const char *);
QemuOpts *qemu_opts_parse(QemuOptsList *, const char *, bool, Error **);
Chardev *qemu_chr_new_from_opts(QemuOpts *, GMainContext *, Error **);
bool runstate_is_running(void);
VMChangeStateEntry *qemu_add_vm_change_state_handler(void (*)(void *, bool, RunState), void *);
void qemu_del_vm_change_state_handler(VMChangeStateEntry *);
bool timerlist_run_timers(QEMUTimerList *);
QEMU_BUILD_BUG_ON(SHUTDOWN_ACTION_PAUSE != 1);
QEMU_BUILD_BUG_ON(offsetof(QemuCoSleep, to_wake) != 0 || sizeof(QemuCoSleep) != 8);
QEMU_BUILD_BUG_ON(offsetof(Notifier, notify) != 0 || sizeof(Notifier) != 24);
QEMU_BUILD_BUG_ON(offsetof(VersionInfo, qemu) != 0 || offsetof(VersionTriple, micro) != 16);

/* The structs that are embedded by value. */
QEMU_BUILD_BUG_ON(sizeof(AioWait) != sizeof(unsigned));
QEMU_BUILD_BUG_ON(offsetof(BlockDevOps, drained_begin) != 24 || offsetof(BlockDevOps, drained_end) != 32);
QEMU_BUILD_BUG_ON(sizeof(BlockDevOps) > 64);
QEMU_BUILD_BUG_ON(offsetof(QEMUIOVector, nalloc) != 16 || offsetof(QEMUIOVector, size) != 32);
QEMU_BUILD_BUG_ON(sizeof(QEMUIOVector) != 40);
QEMU_BUILD_BUG_ON(offsetof(EventNotifier, rfd) != 0 || offsetof(EventNotifier, wfd) != 4);
QEMU_BUILD_BUG_ON(sizeof(EventNotifier) != 12);
QEMU_BUILD_BUG_ON(offsetof(QEMUTimer, timer_list) != 8 || offsetof(QEMUTimer, cb) != 16);
QEMU_BUILD_BUG_ON(offsetof(QEMUTimer, opaque) != 24 || offsetof(QEMUTimer, next) != 32);
QEMU_BUILD_BUG_ON(offsetof(QEMUTimer, attributes) != 40 || sizeof(QEMUTimer) != 48);
QEMU_BUILD_BUG_ON(sizeof(QEMUTimerListGroup) != 32);
QEMU_BUILD_BUG_ON(QEMU_CLOCK_REALTIME != 0 || QEMU_CLOCK_VIRTUAL != 1 || QEMU_CLOCK_HOST != 2);
QEMU_BUILD_BUG_ON(QEMU_CLOCK_VIRTUAL_RT != 3 || QEMU_CLOCK_MAX != 4);
QEMU_BUILD_BUG_ON(BLK_PERM_CONSISTENT_READ != 1 || BLK_PERM_ALL != 15);
