/*
 * QMP commands in async Rust: the way into rust/async-qmp.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SYSTEM_ASYNC_QMP_H
#define SYSTEM_ASYNC_QMP_H

#ifdef CONFIG_HAVE_RUST
/* Once, in the main thread with the BQL, when the main loop and the clocks are there and no monitor is. */
void async_qmp_init(void);
#else
static inline void async_qmp_init(void)
{
}
#endif

#endif
