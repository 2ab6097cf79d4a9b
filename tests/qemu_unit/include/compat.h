/*
 * What QEMU's unit tests need to know of QEMU: the types that they embed, the functions that they call.
 *
 * Own declarations. The emulation defines what is only declared here; threads, locks and events are the
 * system's. Every header that the tests include is this one: see `run`.
 */
#ifndef COMPAT_H
#define COMPAT_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#include <glib.h>

#define CONFIG_LINUX 1
#define CONFIG_POSIX 1
#define CONFIG_COROUTINE_POOL 1
#define IS_ENABLED(option) (option)
#define coroutine_fn
#define no_coroutine_fn
#define coroutine_mixed_fn
#define to_string_(text) #text
#define to_string(text) to_string_(text)

#ifndef container_of
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#endif
#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif

/* Atomics: relaxed loads and stores, sequentially consistent read-modify-writes. */
#define qatomic_read(p)        __atomic_load_n((p), __ATOMIC_RELAXED)
#define qatomic_set(p, v)      __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define qatomic_set_mb(p, v)   ((void)__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define qatomic_xchg(p, v)     __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define qatomic_inc(p)         ((void)__atomic_fetch_add((p), 1, __ATOMIC_SEQ_CST))
#define qatomic_dec(p)         ((void)__atomic_fetch_sub((p), 1, __ATOMIC_SEQ_CST))
#define qatomic_fetch_inc(p)   __atomic_fetch_add((p), 1, __ATOMIC_SEQ_CST)
#define qatomic_fetch_dec(p)   __atomic_fetch_sub((p), 1, __ATOMIC_SEQ_CST)
#define qatomic_or(p, v)       ((void)__atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define qatomic_cmpxchg(p, old, new) ({ \
    __typeof__(*(p)) old_ = (old); \
    __atomic_compare_exchange_n((p), &old_, (new), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    old_; })

/* Errors. */
typedef struct Error Error;
extern Error *error_abort, *error_fatal;

/* Threads and locks. */
typedef struct { pthread_t id; } QemuThread;
typedef struct { pthread_mutex_t mutex; } QemuMutex;
typedef struct { pthread_cond_t cond; } QemuCond;
typedef struct { QemuMutex lock; QemuCond cond; bool set; } QemuEvent;
enum { QEMU_THREAD_JOINABLE, QEMU_THREAD_DETACHED };

static inline void qemu_thread_create(QemuThread *thread, const char *name, void *(*run)(void *), void *arg, int mode)
{
    int error = pthread_create(&thread->id, NULL, run, arg);
    assert(!error && mode == QEMU_THREAD_JOINABLE);
}

static inline void *qemu_thread_join(QemuThread *thread)
{
    void *result;
    int error = pthread_join(thread->id, &result);
    assert(!error);
    return result;
}

static inline void qemu_thread_get_self(QemuThread *thread) { thread->id = pthread_self(); }
static inline bool qemu_thread_is_self(QemuThread *thread) { return pthread_equal(thread->id, pthread_self()); }
static inline void qemu_mutex_init(QemuMutex *m) { pthread_mutex_init(&m->mutex, NULL); }
static inline void qemu_mutex_destroy(QemuMutex *m) { pthread_mutex_destroy(&m->mutex); }
static inline void qemu_mutex_lock(QemuMutex *m) { pthread_mutex_lock(&m->mutex); }
static inline void qemu_mutex_unlock(QemuMutex *m) { pthread_mutex_unlock(&m->mutex); }
static inline void qemu_cond_init(QemuCond *c) { pthread_cond_init(&c->cond, NULL); }
static inline void qemu_cond_destroy(QemuCond *c) { pthread_cond_destroy(&c->cond); }
static inline void qemu_cond_signal(QemuCond *c) { pthread_cond_signal(&c->cond); }
static inline void qemu_cond_wait(QemuCond *c, QemuMutex *m) { pthread_cond_wait(&c->cond, &m->mutex); }

static inline void qemu_event_init(QemuEvent *event, bool set)
{
    qemu_mutex_init(&event->lock);
    qemu_cond_init(&event->cond);
    event->set = set;
}

static inline void qemu_event_destroy(QemuEvent *event)
{
    qemu_cond_destroy(&event->cond);
    qemu_mutex_destroy(&event->lock);
}

static inline void qemu_event_set(QemuEvent *event)
{
    qemu_mutex_lock(&event->lock);
    event->set = true;
    pthread_cond_broadcast(&event->cond.cond);
    qemu_mutex_unlock(&event->lock);
}

static inline void qemu_event_reset(QemuEvent *event)
{
    qemu_mutex_lock(&event->lock);
    event->set = false;
    qemu_mutex_unlock(&event->lock);
}

static inline void qemu_event_wait(QemuEvent *event)
{
    qemu_mutex_lock(&event->lock);
    while (!event->set) {
        qemu_cond_wait(&event->cond, &event->lock);
    }
    qemu_mutex_unlock(&event->lock);
}

static inline void rcu_register_thread(void) { }
static inline void rcu_unregister_thread(void) { }

static inline void qemu_futex_wait(void *word, unsigned value)
{
    while (syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0) && errno == EINTR) { }
}

static inline void qemu_futex_wake(void *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

static inline void qemu_futex_wake_single(void *word) { qemu_futex_wake(word, 1); }

/* Event notifiers. */
typedef struct EventNotifier { int rfd, wfd; bool initialized; } EventNotifier;
typedef void EventNotifierHandler(EventNotifier *notifier);
int event_notifier_init(EventNotifier *notifier, int active);
void event_notifier_cleanup(EventNotifier *notifier);
int event_notifier_set(EventNotifier *notifier);
int event_notifier_test_and_clear(EventNotifier *notifier);

/* Clocks and timers. */
#define SCALE_MS 1000000
#define SCALE_US 1000
#define SCALE_NS 1
typedef enum {
    QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_HOST, QEMU_CLOCK_VIRTUAL_RT, QEMU_CLOCK_MAX
} QEMUClockType;
typedef void QEMUTimerCB(void *opaque);
typedef struct QEMUTimerList QEMUTimerList;
typedef struct QEMUTimerListGroup { QEMUTimerList *tl[QEMU_CLOCK_MAX]; } QEMUTimerListGroup;
typedef struct QEMUTimer {
    int64_t expire_time;
    QEMUTimerList *timer_list;
    QEMUTimerCB *cb;
    void *opaque;
    struct QEMUTimer *next;
    int attributes, scale;
} QEMUTimer;
int64_t qemu_clock_get_ns(QEMUClockType clock);
void timer_mod(QEMUTimer *timer, int64_t expire_time);
void timer_mod_ns(QEMUTimer *timer, int64_t expire_time);
void timer_del(QEMUTimer *timer);
/* One name up to 10.1, the other from 10.2 on. There is nothing to do. */
static inline void init_clocks(void *notify) { }
static inline void qemu_init_clocks(void *notify) { }

/*
 * Contexts. The field is there for a test that goes on only with a context that watches with poll(2). A context
 * becomes one when it has a source: to ask for the monitor gives it one.
 */
typedef struct FDMonOps FDMonOps;
typedef struct AioContext { const FDMonOps *fdmon_ops; } AioContext;
#define fdmon_poll_ops (*watches_with_poll(td.ctx))

typedef struct QEMUBH QEMUBH;
typedef struct MemReentrancyGuard MemReentrancyGuard;
typedef void QEMUBHFunc(void *opaque);
typedef bool AioPollFn(void *opaque);
AioContext *aio_context_new(Error **errp);
void aio_context_ref(AioContext *ctx);
void aio_context_unref(AioContext *ctx);
void aio_context_set_poll_params(AioContext *ctx, int64_t max_ns, int64_t grow, int64_t shrink, Error **errp);
GSource *aio_get_g_source(AioContext *ctx);
static inline const FDMonOps *watches_with_poll(AioContext *ctx)
{
    g_source_unref(aio_get_g_source(ctx));
    return ctx->fdmon_ops;
}
QEMUBH *aio_bh_new_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque, const char *name, MemReentrancyGuard *guard);
void aio_bh_schedule_oneshot_full(AioContext *ctx, QEMUBHFunc *cb, void *opaque, const char *name);
#define aio_bh_new(ctx, cb, opaque) aio_bh_new_full((ctx), (cb), (opaque), to_string(cb), NULL)
#define aio_bh_schedule_oneshot(ctx, cb, opaque) aio_bh_schedule_oneshot_full((ctx), (cb), (opaque), to_string(cb))
void qemu_bh_schedule(QEMUBH *bh);
void qemu_bh_cancel(QEMUBH *bh);
void qemu_bh_delete(QEMUBH *bh);
void aio_notify(AioContext *ctx);
bool aio_poll(AioContext *ctx, bool blocking);
void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier, EventNotifierHandler *io_read,
                            AioPollFn *io_poll, EventNotifierHandler *io_poll_ready);
/* Inline in QEMU, on a field of the context. */
void aio_timer_init(AioContext *ctx, QEMUTimer *timer, QEMUClockType clock, int scale, QEMUTimerCB *cb, void *opaque);
AioContext *qemu_get_aio_context(void);
AioContext *qemu_get_current_aio_context(void);
void qemu_set_current_aio_context(AioContext *ctx);
int qemu_init_main_loop(Error **errp);

/* Coroutines. The size is for a test that writes over one that has ended. */
typedef struct Coroutine { _Alignas(64) unsigned char bytes[128]; } Coroutine;
typedef void CoroutineEntry(void *opaque);
Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque);
void qemu_coroutine_enter(Coroutine *co);
bool qemu_coroutine_entered(Coroutine *co);
Coroutine *qemu_coroutine_self(void);
void qemu_coroutine_yield(void);
bool qemu_in_coroutine(void);
void aio_co_schedule(AioContext *ctx, Coroutine *co);
void aio_co_enter(AioContext *ctx, Coroutine *co);
void aio_co_wake(Coroutine *co);
typedef struct CoMutex { uintptr_t words[6]; } CoMutex;
void qemu_co_mutex_init(CoMutex *mutex);
void qemu_co_mutex_lock(CoMutex *mutex);
void qemu_co_mutex_unlock(CoMutex *mutex);
typedef struct CoRwlock { uintptr_t words[9]; } CoRwlock;
void qemu_co_rwlock_init(CoRwlock *lock);
void qemu_co_rwlock_rdlock(CoRwlock *lock);
void qemu_co_rwlock_wrlock(CoRwlock *lock);
void qemu_co_rwlock_upgrade(CoRwlock *lock);
void qemu_co_rwlock_downgrade(CoRwlock *lock);
void qemu_co_rwlock_unlock(CoRwlock *lock);

/* Any lock. */
typedef void LockFunction(void *lock);
typedef struct QemuLockable { void *object; LockFunction *lock, *unlock; } QemuLockable;
#define LOCK_FUNCTION(x, operation) (LockFunction *)_Generic((x), \
    CoMutex *: qemu_co_mutex_##operation, QemuMutex *: qemu_mutex_##operation)
#define QEMU_MAKE_LOCKABLE(x) \
    ((x) ? &(QemuLockable){ (x), LOCK_FUNCTION(x, lock), LOCK_FUNCTION(x, unlock) } : (QemuLockable *)NULL)
static inline void qemu_lockable_lock(QemuLockable *l) { l->lock(l->object); }
static inline void qemu_lockable_unlock(QemuLockable *l) { l->unlock(l->object); }

/* The thread pool. */
typedef struct BlockAIOCB BlockAIOCB;
typedef void BlockCompletionFunc(void *opaque, int ret);
typedef int ThreadPoolFunc(void *opaque);
BlockAIOCB *thread_pool_submit_aio(ThreadPoolFunc *func, void *arg, BlockCompletionFunc *cb, void *opaque);
int thread_pool_submit_co(ThreadPoolFunc *func, void *arg);
void bdrv_aio_cancel(BlockAIOCB *acb);
void bdrv_aio_cancel_async(BlockAIOCB *acb);

#endif
