//! Regular files, read and written at offsets by the blocking pool.
//!
//! Owns a shared file. An operation owns its buffer until it is over, as the thread that works for it
//! may outlive the future: a future that is dropped takes its buffer with it, and no memory that the
//! caller has back is ever written to.
//!
//! Threads: any; needs no executor. Files have no position here, so operations do not depend on
//! each other's order.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;

use super::job::Task;
use super::pool::Pool;
use super::{Blocking, blocking, submit};

/// A file whose operations do not block the caller.
///
/// Clones share the file.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::blocking::File;
///
/// # let path = std::env::temp_dir().join(format!("executor-file-{}", std::process::id()));
/// # let there = path.clone();
/// let executor = LocalExecutor::new()?;
/// executor.run(async move {
///     let file = File::from(std::fs::File::create_new(&path)?);
///     let (buffer, written) = file.write_at(b"0123456789".to_vec(), 0).await;
///     assert_eq!((buffer.len(), written?), (10, 10));
///     file.sync_data().await?;
///     assert_eq!(file.get_ref().metadata()?.len(), 10);
///
///     let file = File::open(path).await?;
///     let (buffer, read) = file.read_at(buffer, 8).await; // The buffer is used again.
///     assert_eq!(buffer[..read?], *b"89", "there are no more");
///     Ok::<_, std::io::Error>(())
/// })?;
/// # std::fs::remove_file(there)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct File {
    inner: Arc<fs::File>,
}

/// A buffer and what has been done with it.
type Transfer = (Vec<u8>, io::Result<usize>);

impl File {
    /// Opens a file for reading.
    ///
    /// For anything else open it with [`std::fs::OpenOptions`] and convert it with
    /// [`From`].
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`], or if there is no thread to do it.
    pub async fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        blocking(|| fs::File::open(path)).await?.map(Self::from)
    }

    /// Fills `buffer` from `offset` and returns it together with the number of bytes read.
    ///
    /// Reads to the end of the buffer (its length, not its capacity); fewer bytes mean the end of
    /// the file. Interruptions and short reads are made up for.
    ///
    /// # Errors
    ///
    /// The second value says what went wrong; the content of the buffer is unspecified then.
    pub async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Transfer {
        let file = Arc::clone(&self.inner);
        match submit(Pool::global(), Read { file, buffer, offset }) {
            Ok(work) => finish(work).await,
            Err((read, error)) => (read.buffer, Err(error)),
        }
    }

    /// Writes all of `buffer` at `offset` and returns it together with the number of bytes written,
    /// which is its length.
    ///
    /// # Errors
    ///
    /// The second value says what went wrong; a part may have been written then.
    pub async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Transfer {
        let file = Arc::clone(&self.inner);
        match submit(Pool::global(), Write { file, buffer, offset }) {
            Ok(work) => finish(work).await,
            Err((write, error)) => (write.buffer, Err(error)),
        }
    }

    /// Waits until what was written is on the disk; see [`std::fs::File::sync_data`].
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::sync_data`], or if there is no thread to do it.
    pub async fn sync_data(&self) -> io::Result<()> {
        let file = Arc::clone(&self.inner);
        blocking(move || file.sync_data()).await?
    }

    /// Returns the file, for operations that do not block.
    #[must_use]
    pub fn get_ref(&self) -> &fs::File {
        &self.inner
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> Self {
        Self { inner: Arc::new(file) }
    }
}

async fn finish(work: Blocking<Transfer>) -> Transfer {
    match work.await {
        Ok(transfer) => transfer,
        Err(error) => resume_unwind(error.try_into_panic().expect("submitted work gets a thread")),
    }
}

struct Read {
    file: Arc<fs::File>,
    buffer: Vec<u8>,
    offset: u64,
}

impl Task for Read {
    type Output = Transfer;

    fn run(mut self) -> Transfer {
        let result =
            fill(&mut self.buffer, self.offset, |part, offset| self.file.read_at(part, offset));
        (self.buffer, result)
    }
}

struct Write {
    file: Arc<fs::File>,
    buffer: Vec<u8>,
    offset: u64,
}

impl Task for Write {
    type Output = Transfer;

    fn run(self) -> Transfer {
        let result = self.file.write_all_at(&self.buffer, self.offset);
        let length = self.buffer.len();
        (self.buffer, result.map(|()| length))
    }
}

/// Calls `read` until `buffer` is full or nothing more comes.
fn fill(
    buffer: &mut [u8],
    offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    let mut position = offset;
    while done < buffer.len() {
        match read(&mut buffer[done..], position) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                position += u64::try_from(count).expect("a length fits 64 bits");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::fill;
    use std::io;

    #[test]
    fn short_and_interrupted_reads_are_made_up_for() {
        let mut steps = vec![Ok(2), Err(io::ErrorKind::Interrupted.into()), Ok(3)].into_iter();
        let mut asked = Vec::new();

        let read = fill(&mut [0; 8], 100, |part, offset| {
            asked.push((part.len(), offset));
            steps.next().unwrap_or(Ok(0))
        });

        assert_eq!(read.unwrap(), 5);
        assert_eq!(asked, [(8, 100), (6, 102), (6, 102), (3, 105)]);
    }

    #[test]
    fn an_error_ends_the_read() {
        let mut steps = vec![Ok(2), Err(io::ErrorKind::Other.into())].into_iter();

        let read = fill(&mut [0; 8], 0, |_, _| steps.next().expect("nothing follows an error"));

        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::Other);
    }
}
