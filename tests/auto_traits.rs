//! Which threads may have which public type: one line per type, checked by the compiler.
//!
//! A line that stops holding is a change of the contract: of the users' code that compiles, or of what the
//! core may assume.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::rc::Rc;

use executor::async_fd::{AsyncFd, Ready, RegisterError};
use executor::blocking::{Blocking, BlockingError, File};
use executor::bql::BorrowError;
use executor::clock::Clock;
use executor::net::{
    EventFd, PipeReader, PipeWriter, TcpListener, TcpStream, UnixListener, UnixStream,
};
use executor::time::{Elapsed, Interval, Sleep};
use executor::{
    Bql, BqlCell, BqlRef, BqlRefCell, BqlRefMut, Budget, Context, InCoroutine, IoContext, IoCx,
    IoThread, IoThreadInfo, JoinError, JoinHandle, LocalExecutor, LocalSpawner, MainCx, MainHandle,
    MainLoop, NoCoroutine, OobContext, Probe, Remote, RemoteSpawner, Stats, TaskInfo, TaskLabel,
    TaskPanic,
};

/// `holds!(Type: Trait)` and `holds!(Type: !Trait)`, decided when this file is compiled.
///
/// The inherent constant is found first, if its bound holds; else the one of the trait.
macro_rules! holds {
    ($type:ty: !$name:ident) => {
        assert!(!answer!($type: $name), concat!(stringify!($type), " must not be ", stringify!($name)));
    };
    ($type:ty: $name:ident) => {
        assert!(answer!($type: $name), concat!(stringify!($type), " must be ", stringify!($name)));
    };
}

macro_rules! answer {
    ($type:ty: $name:ident) => {{
        #[allow(dead_code, reason = "unused where the bound holds")]
        trait Otherwise {
            const HOLDS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Ask<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "unused where the bound does not hold")]
        impl<T: ?Sized + $name> Ask<T> {
            const HOLDS: bool = true;
        }
        <Ask<$type>>::HOLDS
    }};
}

macro_rules! table {
    ($($type:ty: $send:tt $sync:tt $unpin:tt;)*) => {
        const {
            $(
                one!($send, $type, Send);
                one!($sync, $type, Sync);
                one!($unpin, $type, Unpin);
            )*
        }
    };
}

macro_rules! one {
    (yes, $type:ty, $name:ident) => {
        holds!($type: $name);
    };
    (no, $type:ty, $name:ident) => {
        holds!($type: !$name);
    };
}

/// `Send` and not `Sync`.
type SendOnly = Cell<u32>;
/// Neither.
type Local = Rc<u32>;

#[test]
#[rustfmt::skip]
fn every_public_type_has_the_auto_traits_that_its_place_allows() {
    table! {
        // type                             Send Sync Unpin

        // Capabilities stay with the code that they were lent to.
        Bql:                                no  no  yes;
        NoCoroutine:                        no  no  yes;
        MainCx:                             no  no  yes;
        IoCx:                               no  no  yes;
        OobContext:                         no  no  yes;
        InCoroutine:                        no  no  yes;
        &'static Bql:                       no  no  yes;
        &'static mut NoCoroutine:           no  no  yes;
        &'static MainCx:                    no  no  yes;

        // What lives on the home thread.
        LocalExecutor:                      no  no  yes;
        MainLoop:                           no  no  yes;
        LocalSpawner:                       no  no  yes;
        JoinHandle<u32>:                    no  no  yes;
        JoinHandle<Local>:                  no  no  yes;
        JoinHandle<PhantomPinned>:          no  no  yes;

        // The ways from thread to thread.
        RemoteSpawner:                      yes yes yes;
        IoContext:                          yes yes yes;
        IoThread:                           yes yes yes;
        MainHandle:                         yes yes yes;
        Context:                            yes yes yes;
        Probe:                              yes yes yes;
        Remote<u32>:                        yes yes yes;
        Remote<SendOnly>:                   yes yes yes;
        Remote<Local>:                      no  no  yes;
        Remote<PhantomPinned>:              yes yes yes;

        // Data.
        JoinError:                          yes yes yes;
        TaskPanic<'static>:                 no  no  yes;
        TaskLabel:                          yes yes yes;
        TaskInfo:                           yes yes yes;
        IoThreadInfo:                       yes yes yes;
        Stats:                              yes yes yes;
        Budget:                             yes yes yes;
        Clock:                              yes yes yes;

        // Time: made anywhere, dropped anywhere.
        Sleep:                              yes yes yes;
        Interval:                           yes yes yes;
        Elapsed:                            yes yes yes;

        // Fds.
        AsyncFd<std::fs::File>:             yes yes yes;
        AsyncFd<Rc<std::fs::File>>:         no  no  yes;
        Ready:                              yes yes yes;
        RegisterError<std::fs::File>:       yes yes yes;
        TcpListener:                        yes yes yes;
        TcpStream:                          yes yes yes;
        UnixListener:                       yes yes yes;
        UnixStream:                         yes yes yes;
        PipeReader:                         yes yes yes;
        PipeWriter:                         yes yes yes;
        EventFd:                            yes yes yes;
        File:                               yes yes yes;
        Blocking<u32>:                      yes yes yes;
        BlockingError:                      yes yes yes;
    }
}

#[test]
#[rustfmt::skip]
fn cells_under_the_lock_are_shared_and_their_borrows_stay() {
    table! {
        // Cells under the lock: shared by threads that take turns, so the contents must be `Send`.
        BqlCell<u32>:                       yes yes yes;
        BqlCell<SendOnly>:                  yes yes yes;
        BqlCell<Local>:                     no  no  yes;
        BqlRefCell<u32>:                    yes yes yes;
        BqlRefCell<SendOnly>:               yes yes yes;
        BqlRefCell<Local>:                  no  no  yes;
        BqlRef<'static, u32>:               no  no  yes;
        BqlRefMut<'static, u32>:            no  no  yes;
        BorrowError:                        yes yes yes;
    }
}

/// What a task keeps across an await may stay on its thread, but what goes to another must not.
#[test]
fn the_futures_of_the_library_can_be_sent_where_their_contents_can() {
    fn is_send<T: Send>(_: &T) {}
    async fn kept(remote: Remote<u32>, main: MainHandle) {
        let _result = remote.await;
        let _called = main.call(|_nc| 7).await;
        executor::time::sleep(std::time::Duration::ZERO).await;
    }
    is_send(&kept);
    let check = |remote, main| is_send(&kept(remote, main));
    let _checked_by_the_compiler: fn(Remote<u32>, MainHandle) = check;
}
