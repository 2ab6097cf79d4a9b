//! Commands that make, show and end iothreads: `object-add`, `query-iothreads`, `object-del`.
//!
//! `object-add` is async although nothing in it takes long: it replies when the new thread has run
//! something, without holding up the main loop meanwhile. The other two are `Blocking`.
//!
//! Owns nothing: the registry of iothreads keeps them, until `object-del` or [`end_all`]. A command that works
//! in an iothread has a reference of its own, so the thread of a deleted object ends with its last
//! command, as in QEMU.
//!
//! Threads: the main loop's.

use executor::qmp::{Blocking, Command, Coroutine, Error, Registry};
use executor::{Bql, IoCx, IoThread, MainCx, NoCoroutine};
use serde::{Deserialize, Serialize};

use super::executors::{self, Home};

pub(super) fn register(registry: &mut Registry) {
    registry.command::<ObjectAdd, _>(object_add);
    registry.command::<QueryIothreads, _>(query_iothreads);
    registry.command::<ObjectDel, _>(object_del);
}

struct ObjectAdd;

impl Command for ObjectAdd {
    const NAME: &'static str = "object-add";
    const HELP: &'static str = "make an iothread";
    type Mode = Coroutine;
    type Args = ObjectOptions;
    type Ret = ();
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ObjectOptions {
    /// Only decides what is refused.
    #[serde(rename = "qom-type")]
    _qom_type: ObjectType,
    id: String,
}

/// The objects that there are.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ObjectType {
    Iothread,
}

async fn object_add(cx: &MainCx, options: ObjectOptions) -> Result<(), Error> {
    add(cx, &options.id).await
}

/// Makes an iothread and waits until it runs.
pub(crate) async fn add(cx: &MainCx, id: &str) -> Result<(), Error> {
    if !is_identifier(id) {
        return Err(Error::generic("Parameter 'id' expects an identifier"));
    }
    let thread = cx.bql(|bql| create(bql, id))?;
    executors::add(id, Home::IoThread(thread.io()));
    // The outcome says whether the thread still ran then; both are fine.
    let _running_or_deleted = thread.io().run(async |_: &IoCx| ()).await;
    Ok(())
}

fn create(bql: &Bql, id: &str) -> Result<IoThread, Error> {
    if IoThread::by_id(bql, id).is_some() {
        let why = "attempt to add duplicate property";
        return Err(Error::generic(format!("{why} '{id}' to object (type 'container')")));
    }
    let failed = |error| Error::generic(format!("Could not create iothread '{id}': {error}"));
    IoThread::create(bql, id).map_err(failed)
}

/// Letters, digits, '-', '.' and '_', beginning with a letter (`id_wellformed`).
fn is_identifier(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

struct QueryIothreads;

impl Command for QueryIothreads {
    const NAME: &'static str = "query-iothreads";
    const HELP: &'static str = "show the iothreads";
    type Mode = Blocking;
    type Args = ();
    type Ret = Vec<Info>;
}

/// `IOThreadInfo`. The numbers without a source are those every iothread begins with.
#[derive(Deserialize, Serialize)]
#[serde(rename = "IOThreadInfo", rename_all = "kebab-case")]
struct Info {
    id: String,
    thread_id: i32,
    poll_max_ns: i64,
    poll_grow: i64,
    poll_shrink: i64,
    aio_max_batch: i64,
}

fn query_iothreads(nc: &mut NoCoroutine, (): ()) -> Result<Vec<Info>, Error> {
    let info = |info: executor::IoThreadInfo| Info {
        id: info.id.to_string(),
        thread_id: info.thread_id,
        poll_max_ns: 32_768,
        poll_grow: 0,
        poll_shrink: 0,
        aio_max_batch: 0,
    };
    Ok(IoThread::list(nc).into_iter().map(info).collect())
}

struct ObjectDel;

impl Command for ObjectDel {
    const NAME: &'static str = "object-del";
    const HELP: &'static str = "end an iothread";
    type Mode = Blocking;
    type Args = ObjectDelArgs;
    type Ret = ();
}

#[derive(Deserialize)]
struct ObjectDelArgs {
    id: String,
}

fn object_del(nc: &mut NoCoroutine, args: ObjectDelArgs) -> Result<(), Error> {
    let not_found = || Error::generic(format!("object '{}' not found", args.id));
    if !IoThread::list(nc).iter().any(|info| *info.id == *args.id) {
        return Err(not_found());
    }
    let thread = IoThread::by_id(nc, &args.id).ok_or_else(not_found)?;
    thread.destroy(nc).map_err(|error| Error::generic(error.to_string()))
}

/// Ends all iothreads that `object-add` or [`add`] made, when the program ends.
pub(crate) fn end_all(bql: &Bql) {
    for info in IoThread::list(bql) {
        if let Some(thread) = IoThread::by_id(bql, &info.id) {
            thread.destroy(bql).expect("found a moment ago, and the lock was held since");
        }
    }
}
