//! The main loop below a plain `poll()` loop.
//!
//! The program's own loop waits with `ppoll` for two descriptors: a socket, on which a client (a thread) sends
//! numbers, and that of the `MainLoop`. For each number the program spawns a task, which waits for so many
//! milliseconds, has the number squared on an iothread and answers the client. So the least number comes back first.
//! When the client has hung up, the program ends. Prints, with other numbers of turns:
//!
//! ```text
//! the program heard [90, 50, 10]
//! the client got 100 = 10 * 10
//! the client got 2500 = 50 * 50
//! the client got 8100 = 90 * 90
//! the program slept 8 times
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use executor::time::sleep;
use executor::{IoContext, IoThread, MainCx, MainLoop, reschedule_to};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

const NUMBERS: [u8; 3] = [90, 50, 10];

fn be_client(mut socket: UnixStream) -> io::Result<Vec<u16>> {
    socket.write_all(&NUMBERS)?;
    let mut answers = Vec::new();
    for _ in NUMBERS {
        let mut bytes = [0; 2];
        socket.read_exact(&mut bytes)?;
        let answer = u16::from_ne_bytes(bytes);
        println!("the client got {answer} = {0} * {0}", answer.isqrt());
        answers.push(answer);
    }
    Ok(answers)
}

/// What a task does for a number.
async fn answer(io: &IoContext, number: u8, mut client: &UnixStream) -> io::Result<()> {
    sleep(Duration::from_millis(number.into())).await;
    let square = async move { u16::from(number).pow(2) };
    let square = reschedule_to(io, square).await.expect("squaring does not panic");
    // A few bytes: that does not block.
    client.write_all(&square.to_ne_bytes())
}

/// What the program does about its own socket. Returns whether the client is still there.
fn listen(main: &mut MainLoop, io: &IoContext, socket: &Rc<UnixStream>) -> io::Result<bool> {
    let mut numbers = [0; NUMBERS.len()];
    let count = (&**socket).read(&mut numbers)?;
    if count == 0 {
        return Ok(false);
    }
    println!("the program heard {:?}", &numbers[..count]);
    main.enter(|nc| {
        for number in &numbers[..count] {
            let (io, number, socket) = (io.clone(), *number, Rc::clone(socket));
            let task = async move |_: &MainCx| answer(&io, number, &socket).await;
            nc.spawn(task).detach();
        }
    });
    Ok(true)
}

/// Sleeps until one of the two is readable. Returns which of them is.
fn wait(socket: &UnixStream, main: &MainLoop) -> nix::Result<[bool; 2]> {
    let mut fds = [socket.as_fd(), main.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    // For ever would do as well: the descriptor of the main loop is readable in time.
    ppoll(&mut fds, main.prepare().map(TimeSpec::from_duration), None)?;
    Ok(fds.map(|fd| fd.any() == Some(true)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = UnixStream::pair()?;
    let (client, socket) = (thread::spawn(move || be_client(theirs)), Rc::new(ours));
    let mut main = MainLoop::new()?;
    let io0 = main.enter(|nc| IoThread::create(nc, "io0"))?;
    let (io, mut sleeps, mut connected) = (io0.io(), 0, true);
    while connected {
        let [heard, ready] = wait(&socket, &main)?;
        sleeps += 1;
        if heard {
            connected = listen(&mut main, &io, &socket)?;
        }
        if ready {
            main.dispatch();
        }
    }
    main.enter(|nc| io0.destroy(nc))?;
    assert_eq!(client.join().expect("the client does not panic")?, [100, 2500, 8100]);
    assert!(sleeps < 100, "the program slept {sleeps} times");
    println!("the program slept {sleeps} times");
    Ok(())
}
