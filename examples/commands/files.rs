//! Which files commands may open for clients: all, or those below a folder.
//!
//! Below a folder means what the kernel finds on its way there (`openat2` with `RESOLVE_BENEATH`): no `..`, no link
//! and no other thread that renames things meanwhile gets a name out of it. Links that stay inside are followed. An
//! old kernel without that call (before 5.6) refuses everything, rather than guess.
//!
//! Threads: any; opening blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Non-blocking, or a FIFO would keep a thread of the pool until somebody writes to it.
const FLAGS: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_CLOEXEC);
/// How often to try again when something was renamed under the kernel's hands.
const TRIES: usize = 16;

/// The files that commands may open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Everything, unless there is one.
    folder: Option<Arc<Folder>>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Not its name decides, which may be given to another folder.
    file: File,
}

impl Files {
    /// The files below a folder, which is the one that has the name now.
    ///
    /// # Errors
    ///
    /// If there is no such folder.
    pub(crate) fn below(path: &Path) -> io::Result<Self> {
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Self { folder: Some(Arc::new(Folder { path: path::absolute(path)?, file })) })
    }

    /// Opens a file for reading. With a folder, a relative name is one in it.
    ///
    /// # Errors
    ///
    /// What the system says; that the file is outside, without a word about what is there.
    pub(crate) fn open(&self, name: &Path) -> io::Result<File> {
        match &self.folder {
            None => OpenOptions::new().read(true).custom_flags(FLAGS.bits()).open(name),
            Some(folder) => folder.open(name),
        }
    }
}

impl Folder {
    fn open(&self, name: &Path) -> io::Result<File> {
        let inside = match name.is_absolute() {
            true => name.strip_prefix(&self.path).map_err(|_| outside())?,
            false => name,
        };
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | FLAGS)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..TRIES {
            match openat2(&self.file, inside, how) {
                Ok(fd) => return Ok(File::from(fd)),
                Err(Errno::EAGAIN) => {}
                Err(Errno::EXDEV) => return Err(outside()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EAGAIN.into())
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "The file is outside of the allowed folder")
}
