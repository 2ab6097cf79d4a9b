//! Who may change what is at the path of a UNIX socket: one program at a time.
//!
//! A socket that is bound and does not listen yet looks like one that a crashed program left behind, and between the
//! look at a stale file and its removal somebody may have put a good one there. So whoever makes, replaces or
//! removes a socket's file first locks `PATH.lock`. That file is there only meanwhile; if a program dies with it, the
//! kernel unlocks it, and the next one takes it over.
//!
//! Programs that know nothing of this are not kept away. Never waits: that somebody else has the lock is an answer.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// The right to change what is at a path, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Takes the right to change what is at `path`.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody else has it; otherwise what the system says about `PATH.lock`.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let path = PathBuf::from(name);
        let file = match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(somebody_else()),
            Err((_, error)) => return Err(error.into()),
        };
        // Whoever had it before may have removed it after we opened it.
        if !is_at(&file, &path) {
            return Err(somebody_else());
        }
        Ok(Self { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked, so that nobody relies on it. If it stays, the next one takes it over.
        let _stays = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW.bits();
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
}

fn somebody_else() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another program begins or ceases to listen there")
}

/// Whether a file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(theirs)) => id(ours) == id(theirs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::Lock;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lock-{}-{name}", std::process::id()))
    }

    #[test]
    fn one_has_it_at_a_time_and_nothing_is_left() {
        let path = path("one");
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            let mut taken = 0;
            while taken < 200 {
                let Ok(_lock) = Lock::take(&path) else { continue };
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                taken += 1;
            }
        };

        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));

        assert_eq!(most.into_inner(), 1);
        assert!(!path.with_extension("lock").exists());
    }

    #[test]
    fn what_a_crashed_program_left_is_taken_over_and_a_link_is_not_followed() {
        let path = path("left");
        let left = PathBuf::from(format!("{}.lock", path.display()));
        fs::write(&left, "").expect("the path is free");
        drop(Lock::take(&path).expect("nobody has it"));
        assert!(!left.exists());

        symlink("/dev/null", &left).expect("the path is free");
        let error = Lock::take(&path).expect_err("it is a link");
        assert_ne!(error.kind(), ErrorKind::AddrInUse);
        fs::remove_file(left).expect("it is still there");
    }
}
