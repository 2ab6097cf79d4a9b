//! The guest's file system: our program, the kernel's modules, and a console to complain on.
//!
//! An archive in the format "newc" of `cpio`, which a kernel unpacks into memory when it boots.
//!
//! Threads: main.

use std::fs;
use std::io;
use std::path::Path;

use crate::about;
use crate::kernel::Kernel;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// The major and minor number of `/dev/console`.
const CONSOLE: (u32, u32) = (5, 1);

/// Writes the archive with `program` as the guest's first.
pub(crate) fn write(path: &Path, program: &Path, kernel: &Kernel) -> io::Result<()> {
    let program = fs::read(program).map_err(about(program))?;
    let mut archive = Archive::default();
    archive.add("dev", FOLDER, &[], (0, 0));
    archive.add("dev/console", CHARACTER_DEVICE, &[], CONSOLE);
    archive.add("init", PROGRAM, &program, (0, 0));
    archive.add("modules", FOLDER, &[], (0, 0));
    for (index, module) in kernel.modules.iter().enumerate() {
        archive.add(&format!("modules/{index:02}.ko"), FILE, module, (0, 0));
    }
    archive.add("TRAILER!!!", 0, &[], (0, 0));
    fs::write(path, archive.bytes).map_err(about(path))
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Appends an entry; of a device, with its major and minor number.
    fn add(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let (links, size) = (1, length(content));
        // inode, mode, uid, gid, links, mtime, size, device, rdevice, length of the name with its zero, checksum
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1];
        self.bytes.extend(b"070701");
        for field in fields.into_iter().chain([length(name.as_bytes()) + 1, 0]) {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("the archive is small")
}
