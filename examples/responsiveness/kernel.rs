//! A kernel of Debian's for the guest, and the modules that it needs for virtio.
//!
//! Owns a folder into which a kernel package was unpacked. Nothing is installed. Modules name those that they
//! need; one that is nowhere is taken to be a part of the kernel.
//!
//! Threads: main.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::about;
use crate::programs::{output, run};

/// What the guest has devices for.
const DRIVERS: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_console"];

/// A kernel that can be booted.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// Such as `6.1.0-57-cloud-amd64`.
    pub(crate) release: String,
    /// In the order in which they are to be loaded.
    pub(crate) modules: Vec<Vec<u8>>,
}

impl Kernel {
    /// Looks into the folder of an unpacked package.
    pub(crate) fn find(folder: &Path) -> io::Result<Self> {
        let boot = folder.join("boot");
        let mut images = entries(&boot)?;
        images.retain(|path| name(path).starts_with("vmlinuz-"));
        let Some(image) = images.pop() else {
            return Err(io::Error::other(format!("{} has no vmlinuz-…", boot.display())));
        };
        let release = name(&image)["vmlinuz-".len()..].to_owned();
        let mut modules = Modules::default();
        for parent in ["lib/modules", "usr/lib/modules"] {
            modules.look_into(&folder.join(parent).join(&release))?;
        }
        for driver in DRIVERS {
            modules.add(driver)?;
        }
        Ok(Self { image, release, modules: modules.wanted })
    }
}

/// Debian's kernel for virtual machines, at whatever version apt has.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// Downloads the package that [`PACKAGE`] stands for, and unpacks it. Then it becomes `folder`: who is interrupted
/// leaves no half of a kernel there.
pub(crate) fn fetch(folder: &Path) -> io::Result<()> {
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(about(&unfinished))?;
    }
    fs::create_dir_all(&unfinished).map_err(about(&unfinished))?;
    unpack_into(&unfinished)?;
    fs::rename(&unfinished, folder).map_err(about(folder))
}

fn unpack_into(folder: &Path) -> io::Result<()> {
    let depends = output(Command::new("apt-cache").args(["depends", "--important", PACKAGE]))?;
    let mut packages = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let package = packages.next_back().ok_or_else(|| {
        io::Error::other(format!("apt knows no {PACKAGE}; `apt-get update` tells it of packages"))
    })?;
    // Or root's apt complains that its helper may not write here.
    let as_root = ["-q", "-o", "APT::Sandbox::User=root", "download"];
    run(Command::new("apt-get").args(as_root).arg(package).current_dir(folder))?;
    for path in entries(folder)? {
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").args([&path, folder]))?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The modules that there are, and those that are wanted.
#[derive(Default)]
struct Modules {
    found: HashMap<String, PathBuf>,
    wanted: Vec<Vec<u8>>,
}

impl Modules {
    /// Takes note of all modules below a folder, if there is one.
    fn look_into(&mut self, folder: &Path) -> io::Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        for path in entries(folder)? {
            let name = name(&path);
            if path.is_dir() && !path.is_symlink() {
                self.look_into(&path)?;
            } else if let Some((module, "ko" | "ko.xz")) = name.split_once('.') {
                self.found.insert(module.replace('-', "_"), path);
            }
        }
        Ok(())
    }

    /// Adds a module to those that are wanted, after those that it needs.
    fn add(&mut self, module: &str) -> io::Result<()> {
        let Some(path) = self.found.remove(module) else { return Ok(()) };
        let content = read(&path)?;
        for needed in depends(&content) {
            self.add(&needed)?;
        }
        self.wanted.push(content);
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "ko") {
        return fs::read(path).map_err(about(path));
    }
    let unpacked = Command::new("xz").arg("-dc").arg(path).output()?;
    if unpacked.status.success() {
        Ok(unpacked.stdout)
    } else {
        Err(io::Error::other(format!("xz cannot unpack {}", path.display())))
    }
}

/// The names in a module's `depends=a,b`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).map_err(about(folder))?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
