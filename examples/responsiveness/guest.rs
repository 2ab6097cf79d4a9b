//! The guest's only program: it measures what a guest feels, and tells the host.
//!
//! `main.rs` compiles it with `rustc`, as one static program, and boots a kernel with it as process 1. So it
//! uses the standard library alone. It loads the kernel's modules for virtio, and then, for ever:
//!
//! | thread | what | a line of the report |
//! |---|---|---|
//! | timer | sleeps until the next multiple of the period | `t DUE LATE`: how late it woke |
//! | disk | the same, and then reads a page of the disk past the cache | `d DUE TOOK`: how long after it was due it had it |
//! | work | computes whenever the others do not | `w NOW STEPS`: how far it is |
//! | main | writes the report to a port of virtio-serial, several times a second | `c NOW`, before the others |
//!
//! All times are in nanoseconds of the guest's monotonic clock. A thread that comes late skips what it has
//! missed; the host sees that from the times.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often the guest's timer and disk are asked.
const PERIOD: Duration = Duration::from_millis(10);
/// How often the host is told.
const REPORT: Duration = Duration::from_millis(50);
/// How long to wait for a device.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much is computed between two looks at the clock: well below a millisecond.
const STEPS: u64 = 10_000;

const O_DIRECT: c_int = 0o40_000;
const SYS_FINIT_MODULE: c_long = 313;
const SCHED_IDLE: c_int = 5;

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn sched_setscheduler(process: c_int, policy: c_int, priority: *const c_int) -> c_int;
}

fn main() {
    if std::process::id() != 1 {
        eprintln!("This is the first program of a guest; `examples/responsiveness` boots it.");
        std::process::exit(2);
    }
    let error = measure().expect_err("it measures for ever");
    // The kernel says so on its console, where the host looks for it, and stops.
    panic!("responsiveness: {error}");
}

fn measure() -> io::Result<()> {
    mount_devices()?;
    load_modules()?;
    let disk = open("vda", OpenOptions::new().read(true).custom_flags(O_DIRECT))?;
    let mut host = open("vport", OpenOptions::new().write(true))?;

    let clock = Clock(Instant::now());
    let (lines, report) = channel();
    let timer = lines.clone();
    thread::spawn(move || feel_timer(clock, &timer));
    thread::spawn(move || feel_disk(clock, &disk, &lines));
    thread::spawn(work);
    loop {
        thread::sleep(REPORT);
        host.write_all(collect(clock, &report).as_bytes())?;
    }
}

/// The guest's time since this program began.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> u128 {
        self.0.elapsed().as_nanos()
    }

    /// Sleeps until the next multiple of the period, and returns when that was.
    fn next_period(self) -> u128 {
        let period = PERIOD.as_nanos();
        let due = (self.now() / period + 1) * period;
        let left = due.saturating_sub(self.now());
        thread::sleep(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)));
        due
    }
}

fn feel_timer(clock: Clock, lines: &Sender<String>) {
    loop {
        let due = clock.next_period();
        let late = clock.now() - due;
        lines.send(format!("t {due} {late}")).expect("main listens for ever");
    }
}

/// What is read past the cache goes to an aligned place.
#[repr(align(4096))]
struct Page([u8; 4096]);

fn feel_disk(clock: Clock, disk: &File, lines: &Sender<String>) {
    let mut page = Page([0; 4096]);
    loop {
        let due = clock.next_period();
        disk.read_exact_at(&mut page.0, 0).expect("the disk can be read");
        let took = clock.now() - due;
        lines.send(format!("d {due} {took}")).expect("main listens for ever");
    }
}

static DONE: AtomicU64 = AtomicU64::new(0);

/// Takes what is left of the processor.
fn work() {
    // SAFETY: the priority is an `int`, as the function wants it; 0 stands for this thread.
    unsafe { sched_setscheduler(0, SCHED_IDLE, &raw const NO_PRIORITY) };
    let mut x = 1_u64;
    loop {
        for _ in 0..STEPS {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        std::hint::black_box(x);
        DONE.fetch_add(STEPS, Ordering::Relaxed);
    }
}

static NO_PRIORITY: c_int = 0;

fn collect(clock: Clock, report: &Receiver<String>) -> String {
    let (now, done) = (clock.now(), DONE.load(Ordering::Relaxed));
    let mut text = format!("c {now}\nw {now} {done}\n");
    for line in report.try_iter() {
        writeln!(text, "{line}").expect("a string takes everything");
    }
    text
}

fn mount_devices() -> io::Result<()> {
    fs::create_dir_all("/dev")?;
    let (kind, target): (&CStr, &CStr) = (c"devtmpfs", c"/dev");
    // SAFETY: the strings are C's; this file system takes no data.
    let result =
        unsafe { mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    checked(result.into(), "/dev")
}

/// Loads what is in `/modules`, in the order of the names.
fn load_modules() -> io::Result<()> {
    let entries = fs::read_dir("/modules")?;
    let mut modules = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    modules.sort();
    for path in modules {
        let module = File::open(&path)?;
        // SAFETY: the call takes an fd, a C string and flags.
        let result =
            unsafe { syscall(SYS_FINIT_MODULE, module.as_raw_fd(), c"".as_ptr(), 0 as c_int) };
        checked(result, &path.display().to_string())?;
    }
    Ok(())
}

fn checked(result: c_long, what: &str) -> io::Result<()> {
    let error = io::Error::last_os_error();
    if result == 0 { Ok(()) } else { Err(about(what, &error)) }
}

fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Opens the device whose name begins so, as soon as it is there: drivers look for devices in their own time,
/// and a port has a name some time before it can be opened.
fn open(name: &str, how: &OpenOptions) -> io::Result<File> {
    let started = Instant::now();
    loop {
        let opened = find(name).and_then(|device| how.open(device));
        if opened.is_ok() || started.elapsed() > PATIENCE {
            return opened.map_err(|error| about(name, &error));
        }
        thread::sleep(PERIOD);
    }
}

fn find(name: &str) -> io::Result<PathBuf> {
    let devices = Path::new("/dev");
    for entry in fs::read_dir(devices)? {
        let found = entry?.file_name();
        if found.to_string_lossy().starts_with(name) {
            return Ok(devices.join(found));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
