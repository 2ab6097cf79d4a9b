//! Writing an async QMP command: from nothing to a tested command in ten minutes.
//!
//! The command is `x-disk-grow`: it makes a disk of the machine larger, which takes a while. Every
//! piece of code on this page is compiled and run with the tests.
//!
//! # 1. Say what the command is
//!
//! A command is a type. It has what the QAPI schema would say: the name, the mode, the arguments and
//! the result.
//!
//! ```
//! use executor::qmp::{Command, Coroutine};
//!
//! #[derive(serde::Deserialize)]
//! struct GrowArgs {
//!     disk: String,
//!     by: u64,
//! }
//!
//! struct DiskGrow;
//!
//! impl Command for DiskGrow {
//!     const NAME: &'static str = "x-disk-grow";
//!     type Mode = Coroutine;
//!     type Args = GrowArgs;
//!     type Ret = u64;
//! }
//! ```
//!
//! Take [`Coroutine`](crate::qmp::Coroutine) unless you know better. [`Blocking`](crate::qmp::Blocking) is
//! for a handler that has to run a nested event loop, because what it calls does;
//! [`Oob`](crate::qmp::Oob) is for one that must work while the main loop hangs.
//!
//! # 2. Write the handler
//!
//! The handler of a `Coroutine` command is an `async fn` of [`&MainCx`](crate::MainCx) and the arguments. The
//! context says where it runs: in a task of the main loop. What the Big QEMU Lock protects opens for a
//! [`&Bql`](crate::Bql), and [`cx.bql`](crate::MainCx::bql) lends one to a plain closure.
//!
//! ```
//! # use executor::{BqlRefCell, MainCx};
//! # use executor::qmp::Error;
//! # struct GrowArgs { disk: String, by: u64 }
//! struct Disk {
//!     name: String,
//!     size: u64,
//! }
//!
//! static DISKS: BqlRefCell<Vec<Disk>> = BqlRefCell::new(Vec::new());
//!
//! async fn disk_grow(cx: &MainCx, args: GrowArgs) -> Result<u64, Error> {
//!     cx.bql(|bql| {
//!         let mut disks = DISKS.borrow_mut(bql);
//!         let disk = disks.iter_mut().find(|disk| disk.name == args.disk);
//!         let disk = disk.ok_or_else(|| Error::generic("There is no such disk"))?;
//!         disk.size += args.by;
//!         Ok(disk.size)
//!     })
//! }
//! ```
//!
//! The guard `disks` cannot leave the closure, and a closure has no `.await`, so nobody can hold a borrow
//! while the lock is released.
//!
//! # 3. Register it, and test it
//!
//! A test needs no socket and no QEMU: with the feature `testing`, the module `executor::testing` has a main loop,
//! clocks that stand still until the test lets them go on, and clients in memory. Call the handler alone, or be a
//! client of the server that has the command.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! # use executor::qmp::{Command, Coroutine, Error};
//! use executor::qmp::Registry;
//! use executor::{testing, MainCx};
//! use serde_json::json;
//! # #[derive(serde::Deserialize)]
//! # struct GrowArgs { disk: String, by: u64 }
//! # struct DiskGrow;
//! # impl Command for DiskGrow {
//! #     const NAME: &'static str = "x-disk-grow";
//! #     type Mode = Coroutine;
//! #     type Args = GrowArgs;
//! #     type Ret = u64;
//! # }
//! # async fn disk_grow(_: &MainCx, args: GrowArgs) -> Result<u64, Error> {
//! #     if args.disk == "vda" { Ok(10 + args.by) } else { Err(Error::generic("There is no such disk")) }
//! # }
//!
//! testing::run(|kit| {
//!     // The handler alone.
//!     let args = GrowArgs { disk: "vda".to_owned(), by: 5 };
//!     let size = kit.block_on(async move |cx: &MainCx| disk_grow(cx, args).await);
//!     assert_eq!(size.unwrap(), 15);
//!
//!     // As a client sees it, with its types.
//!     let mut registry = Registry::new();
//!     registry.command::<DiskGrow, _>(disk_grow);
//!     let mut client = kit.client(registry);
//!     let size = client.call::<DiskGrow>(kit, json!({"disk": "vda", "by": 5}));
//!     assert_eq!(size.unwrap(), 15);
//!
//!     // As text, wrong ones included.
//!     let reply = client.ask(kit, r#"{"execute": "x-disk-grow", "arguments": {"disk": "vdb"}}"#);
//!     assert_eq!(reply["error"]["desc"], "Parameter 'by' is missing");
//! });
//! # }
//! ```
//!
//! When the command waits, `kit.advance(…)` lets the time pass that it waits for, in no time; and `client.disconnect()`
//! is what happens to everybody some day.
//!
//! HMP, or any other blocking code, calls the handler through [`block_on`](crate::block_on), which asks for
//! [`&mut NoCoroutine`](crate::NoCoroutine), the right to run a nested loop. From another handler it is a call with
//! `.await`. There is no third way.
//!
//! # 4. Wait
//!
//! Growing takes time. Wait with `.await`, and the main loop serves everybody else:
//! [`time`](crate::time) for deadlines, [`async_fd`](crate::async_fd) and [`net`](crate::net) for file
//! descriptors, [`blocking`](crate::blocking) for regular files, and for what costs processor time an
//! iothread:
//!
//! ```
//! use executor::{reschedule_to, IoContext, MainCx};
//! use executor::qmp::Error;
//!
//! async fn zeroes(by: usize) -> Vec<u8> {
//!     vec![0; by]
//! }
//!
//! async fn prepare(io: &IoContext, by: usize) -> Result<usize, Error> {
//!     // The future is moved to the iothread, so it is `Send`; this task stays, and is not.
//!     let image = reschedule_to(io, zeroes(by)).await;
//!     let image = image.map_err(|error| Error::generic(error.to_string()))?;
//!     Ok(image.len())
//! }
//! # executor::run_main(|nc| {
//! #     let thread = executor::IoThread::create(nc, "io0").unwrap();
//! #     let io = thread.io();
//! #     let length = executor::block_on(nc, async move |_: &MainCx| prepare(&io, 512).await);
//! #     assert_eq!(length.unwrap(), 512);
//! #     thread.destroy(nc).unwrap();
//! # });
//! ```
//!
//! If the client goes away, the handler's future is dropped at its current `.await`. What has to be undone
//! then belongs in a destructor; values whose destructor needs the lock go in a
//! [`DropOnMain`](crate::DropOnMain).
//!
//! What takes so long that people ask says how far it has come, with a job: see [`Jobs`](crate::qmp::Jobs).
//!
//! # 5. The bug that no type finds
//!
//! *The state may have changed across an `.await`.* The loop ran, other commands ran, the guest ran. This
//! handler looks, waits and writes what it saw, and loses an update:
//!
//! ```
//! # use std::time::Duration;
//! # use executor::{block_on, run_main, BqlCell, MainCx};
//! # use executor::time::sleep;
//! static SIZE: BqlCell<u64> = BqlCell::new(10);
//!
//! /// Writes the new blocks, which takes a while.
//! async fn write_blocks(_by: u64) {
//!     sleep(Duration::from_millis(1)).await;
//! }
//!
//! async fn grow(cx: &MainCx, by: u64) {
//!     let size = cx.bql(|bql| SIZE.get(bql)); // One look …
//!     write_blocks(by).await; // … everything may happen …
//!     cx.bql(|bql| SIZE.set(bql, size + by)); // … another look, at another state.
//! }
//!
//! run_main(|nc| {
//!     let one = nc.spawn(async |cx: &MainCx| grow(cx, 1).await);
//!     let two = nc.spawn(async |cx: &MainCx| grow(cx, 2).await);
//!     block_on(nc, async |_: &MainCx| {
//!         one.await.unwrap();
//!         two.await.unwrap();
//!     });
//!     assert_eq!(SIZE.get(nc), 12, "and not 13");
//! });
//! ```
//!
//! What the types do is to make it visible: two `cx.bql` scopes with an `.await` between are two looks. To
//! review a handler is to ask at each `.await` what the next scope takes for granted. There are two fixes.
//!
//! *Decide in one scope.* Carry nothing over from an earlier look that you do not check again:
//!
//! ```
//! # use executor::{BqlCell, MainCx};
//! # static SIZE: BqlCell<u64> = BqlCell::new(10);
//! # async fn write_blocks(_by: u64) {}
//! async fn grow(cx: &MainCx, by: u64) {
//!     write_blocks(by).await;
//!     cx.bql(|bql| SIZE.set(bql, SIZE.get(bql) + by));
//! }
//! # executor::run_main(|nc| {
//! #     executor::block_on(nc, async |cx: &MainCx| grow(cx, 1).await);
//! #     assert_eq!(SIZE.get(nc), 11);
//! # });
//! ```
//!
//! *Say that you are at it.* If others must stay out for the whole operation, the data says so, and its
//! end, also by cancellation, takes it back:
//!
//! ```
//! # use std::time::Duration;
//! # use executor::qmp::Error;
//! # use executor::time::sleep;
//! # use executor::{block_on, run_main, BqlCell, DropOnMain, MainCx};
//! # static SIZE: BqlCell<u64> = BqlCell::new(10);
//! # async fn write_blocks(_by: u64) { sleep(Duration::from_millis(1)).await; }
//! static BUSY: BqlCell<bool> = BqlCell::new(false);
//!
//! /// Ends the operation when it is dropped.
//! struct Busy<'a>(&'a MainCx);
//!
//! impl<'a> Busy<'a> {
//!     fn begin(cx: &'a MainCx) -> Result<Self, Error> {
//!         if cx.bql(|bql| BUSY.replace(bql, true)) {
//!             return Err(Error::generic("The disk is being grown already"));
//!         }
//!         Ok(Self(cx))
//!     }
//! }
//!
//! impl Drop for Busy<'_> {
//!     fn drop(&mut self) {
//!         self.0.bql(|bql| BUSY.set(bql, false));
//!     }
//! }
//!
//! async fn grow(cx: &MainCx, by: u64) -> Result<u64, Error> {
//!     let _busy = Busy::begin(cx)?;
//!     let size = cx.bql(|bql| SIZE.get(bql)) + by;
//!     write_blocks(by).await;
//!     cx.bql(|bql| SIZE.set(bql, size));
//!     Ok(size)
//! }
//!
//! run_main(|nc| {
//!     let one = nc.spawn(async |cx: &MainCx| grow(cx, 1).await);
//!     let two = nc.spawn(async |cx: &MainCx| grow(cx, 2).await);
//!     block_on(nc, async |_: &MainCx| {
//!         assert_eq!(one.await.unwrap().unwrap(), 11);
//!         assert!(two.await.unwrap().is_err());
//!     });
//!     // A cancelled command ends its operation, too.
//!     let cancelled = nc.spawn(async |cx: &MainCx| grow(cx, 1).await);
//!     block_on(nc, async |_: &MainCx| {
//!         sleep(Duration::from_micros(10)).await;
//!         cancelled.cancel().await;
//!     });
//!     assert!(!BUSY.get(nc));
//! });
//! ```
//!
//! # 6. Call what is not for coroutines
//!
//! A binding of C's `no_coroutine_fn` takes [`&mut NoCoroutine`](crate::NoCoroutine), which a task has not.
//! [`run_in_bh`](crate::MainCx::run_in_bh) calls it in a bottom half, as C's coroutine wrappers do:
//!
//! ```
//! use executor::{JoinError, MainCx, NoCoroutine};
//!
//! /// May run a nested event loop, and says so.
//! fn drain(nc: &mut NoCoroutine) -> u32 {
//!     nc.wait_while(|_bql| false);
//!     1
//! }
//!
//! async fn flush(cx: &MainCx) -> Result<u32, JoinError> {
//!     cx.run_in_bh(|nc| drain(nc)).await
//! }
//! # executor::run_main(|nc| {
//! #     let flushed = executor::block_on(nc, async |cx: &MainCx| flush(cx).await);
//! #     assert_eq!(flushed.unwrap(), 1);
//! # });
//! ```
//!
//! The other way round, a `coroutine_fn` of C's is called in a coroutine that is made for it, and awaited: see
//! `host::coroutine::call`, which there is inside QEMU only. Its binding takes
//! [`&mut InCoroutine`](crate::InCoroutine).
//!
//! # When the compiler refuses
//!
//! | it says | it means |
//! |---|---|
//! | "expected `&mut NoCoroutine`, found `&MainCx`" | that function may run a nested loop: `cx.run_in_bh(\|nc\| …).await` |
//! | "expected `&Bql`, found `&MainCx`" | open a scope: `cx.bql(\|bql\| …)` |
//! | "lifetime may not live long enough", at `cx.bql` | a guard would leave its scope: return a clone, or do the work inside |
//! | "lifetime may not live long enough", at a closure that returns `async move { … }` | write `async \|cx: &MainCx\| { … }`, a named `async fn`, or, before Rust 1.85, [`boxed`](crate::boxed) |
//! | "borrowed data escapes outside of function", at a `spawn` | the new task gets a context of its own: `cx.spawn(async \|cx: &MainCx\| …)` |
//! | "future cannot be sent between threads safely" | it names the variable and the `.await`: end the variable's scope before, or send a function with [`IoContext::run`](crate::IoContext::run) |
//! | "is not a valid handler for the QMP command" | the notes have the three forms; look at argument and result types |
//! | "one type is more general than the other", at `cx.bql` | its closure is a plain one, not `async` |
//! | "implementation of `FnOnce` is not general enough" | a parameter is `&'static MainCx`: leave the lifetime out |
//!
//! # What only run time catches
//!
//! The types end where C begins, and at destructors. These compile, and then:
//!
//! | what | what happens |
//! |---|---|
//! | state that changed across an `.await` | nothing: see above |
//! | blocking in async code: `std::thread::sleep`, `std::sync::mpsc::Receiver::recv`, `std::io` on a pipe, a mutex that is held long, a foreign `block_on` | the main loop stands still. The project's `clippy.toml` has the list |
//! | a borrow that was taken without a witness ([`borrow_ambient`](crate::BqlRefCell::borrow_ambient)) and kept across an `.await` | the task panics, with its name, where it was spawned and who borrowed; clippy's `await_holding_invalid_type` sees the simple cases before |
//! | such a borrow at a nested loop, or at [`unlocked`](crate::NoCoroutine::unlocked) | a panic with the place that borrowed |
//! | a borrow that was leaked (`mem::forget`) | the process ends, with the place: the lock can never be released |
//! | the same cell, from C code that calls back | a panic in the second borrow, with the place of the first |
//! | a destructor that needs the lock, on an iothread | a panic there; wrap the value in [`DropOnMain`](crate::DropOnMain) |
//! | a destructor that starts a nested loop | a panic that names the task |
//! | C code that calls a `no_coroutine_fn` callback inside a poll | a panic in [`NoCoroutine::assume`](crate::NoCoroutine::assume) |
//! | [`Migratable`](crate::Migratable)'s move, polled by another task | a panic that names the other task |
//! | one name for two commands | a panic when the second is registered |
//! | an iothread that takes the lock while the main loop waits for that iothread, with the lock | a deadlock, as in C: await instead |
