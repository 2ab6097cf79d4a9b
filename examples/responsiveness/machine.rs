//! The QEMU with a guest and our plugin in it.
//!
//! Owns the process and a folder for its sockets, the guest's disk and what is said on consoles. Both are gone at the
//! end, however that comes, but for SIGKILL.
//!
//! The disk is a hole in a file, which is read past the host's cache: it takes no space, and reading it takes
//! the same time in every round.
//!
//! Threads: main; one waits for signals.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::about;
use crate::monitor::Monitor;

/// How large the guest's disk is.
pub(crate) const DISK: u64 = 64 << 30;
/// How long to wait for QEMU and its guest to begin, and to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a machine is made of.
pub(crate) struct Parts<'a> {
    pub(crate) qemu: &'a Path,
    pub(crate) plugin: &'a Path,
    pub(crate) image: &'a Path,
    pub(crate) initrd: &'a Path,
}

/// A QEMU, once it was started.
pub(crate) struct Machine {
    folder: PathBuf,
    child: Option<Child>,
}

impl Machine {
    /// Makes a folder.
    pub(crate) fn new() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("responsiveness-{}", std::process::id()));
        fs::create_dir(&folder).map_err(about(&folder))?;
        remains().folder = Some(folder.clone());
        Ok(Self { folder, child: None })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts QEMU, and waits until it listens.
    pub(crate) fn start(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        File::create(self.folder.join("disk"))?.set_len(DISK)?;
        let errors = File::create(self.folder.join("errors"))?;
        let mut command = Command::new(parts.qemu);
        self.hardware(&mut command, parts);
        self.ways_in(&mut command, parts);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        let child = child.map_err(about(parts.qemu))?;
        remains().process = Some(pid(&child));
        self.child = Some(child);
        // The plugin's server is the last to listen.
        self.socket("ours").map(drop)
    }

    fn hardware(&self, command: &mut Command, parts: &Parts<'_>) {
        // Some file systems know no way past the cache.
        let disk = self.folder.join("disk");
        let direct = if can_be_read_directly(&disk) { "on" } else { "off" };
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg"]);
        command.args(["-cpu", "max", "-m", "256", "-object", "iothread,id=io0"]);
        command.arg("-kernel").arg(parts.image).arg("-initrd").arg(parts.initrd);
        command.args(["-append", "console=ttyS0 quiet panic=-1 tsc=reliable"]);
        let disk =
            format!("file={},id=disk0,if=virtio,format=raw,cache.direct={direct}", disk.display());
        command.arg("-drive").arg(disk);
    }

    fn ways_in(&self, command: &mut Command, parts: &Parts<'_>) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        command.arg("-serial").arg(format!("file:{}", file("console")));
        for monitor in ["first", "second"] {
            command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", file(monitor)));
        }
        let report = format!("socket,id=report,path={},server=on,wait=off", file("report"));
        command.args(["-chardev", &report, "-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=report,name=responsiveness"]);
        let plugin = format!("{},naive=on,qmp=unix:{}", parts.plugin.display(), file("ours"));
        command.arg("-plugin").arg(plugin);
    }

    /// A client of `first` or `second`, QEMU's own monitors, or of `ours`, the plugin's server.
    pub(crate) fn monitor(&self, name: &str) -> io::Result<Monitor> {
        Monitor::new(self.socket(name)?)
    }

    /// Connects to a socket of that name, as soon as somebody listens.
    pub(crate) fn socket(&self, name: &str) -> io::Result<UnixStream> {
        let (path, started) = (self.folder.join(name), Instant::now());
        loop {
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(stream),
                Err(error) if started.elapsed() > PATIENCE => return Err(about(&path)(error)),
                Err(_) if self.has_ended() => return Err(io::Error::other("QEMU has ended")),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Adds to an error what QEMU and the guest's kernel have said.
    pub(crate) fn explain(&self, error: &io::Error) -> io::Error {
        let said = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let lines = |text: &str| text.lines().take(20).collect::<Vec<_>>().join("\n");
        let (errors, console) = (lines(&said("errors")), lines(&said("console")));
        io::Error::other(format!("{error}\n{errors}\n{console}").trim_end().to_owned())
    }

    pub(crate) fn has_ended(&self) -> bool {
        let Some(child) = &self.child else { return true };
        // A child that has ended is a zombie until it is waited for.
        let status = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        status.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    }

    /// Has QEMU end by itself.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.monitor("first")?.ask("quit", &serde_json::json!({}))?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let status = child.wait()?;
        remains().process = None;
        let failed = || self.explain(&io::Error::other(format!("QEMU: {status}")));
        if status.success() { Ok(()) } else { Err(failed()) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut remains = remains();
        remains.process = None;
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        remains.remove();
    }
}

fn can_be_read_directly(path: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    let direct = nix::fcntl::OFlag::O_DIRECT.bits();
    File::options().read(true).custom_flags(direct).open(path).is_ok()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().expect("a process id is an int"))
}

/// What is to go at the end.
#[derive(Default)]
struct Remains {
    process: Option<Pid>,
    folder: Option<PathBuf>,
}

impl Remains {
    fn remove(&mut self) {
        if let Some(process) = self.process.take() {
            // It may have had the signal, too. Until it is gone it may make files in the folder.
            let _ = kill(process, Signal::SIGKILL);
            let _ = waitpid(process, None);
        }
        if let Some(folder) = self.folder.take() {
            // What is left over is the system's to clean up.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

static REMAINS: Mutex<Remains> = Mutex::new(Remains { process: None, folder: None });

fn remains() -> MutexGuard<'static, Remains> {
    REMAINS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends QEMU and removes the folder at SIGINT and SIGTERM. Before there are other threads.
pub(crate) fn clean_up_when_interrupted() -> io::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            remains().remove();
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}
