//! A TCP server with a task per client, and the clients that try it.
//!
//! Listens on a port of the loopback interface, and sends back what it gets. Three clients, which are
//! plain threads with blocking sockets, connect at once, send a line each and check what comes back. When the
//! last one has gone, the program ends. Prints, the three in any order:
//!
//! ```text
//! client 2: hello from 2
//! client 1: hello from 1
//! client 3: hello from 3
//! all 3 clients were served by one thread
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::thread;

use executor::net::{TcpListener, TcpStream};
use executor::{MainCx, block_on, run_main};
use futures_util::{AsyncReadExt, AsyncWriteExt};

const CLIENTS: usize = 3;

/// Sends back what comes in, until the client has said everything.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn serve(cx: &MainCx) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0".parse().expect("it is an address"))?;
    let address = listener.get_ref().local_addr()?;
    let clients: Vec<_> =
        (1..=CLIENTS).map(|number| thread::spawn(move || be_client(number, address))).collect();

    let mut tasks = Vec::new();
    for _ in 0..CLIENTS {
        let (stream, _) = listener.accept().await?;
        tasks.push(cx.spawn_future(echo(stream)));
    }
    for task in tasks {
        task.await.expect("an echo does not panic")?;
    }
    for client in clients {
        // The tasks have ended, so the clients have, or are about to.
        client.join().expect("a client does not panic")?;
    }
    println!("all {CLIENTS} clients were served by one thread");
    Ok(())
}

fn be_client(number: usize, server: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(std::net::TcpStream::connect(server)?);
    let sent = format!("hello from {number}\n");
    stream.get_mut().write_all(sent.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    assert_eq!(line, sent, "an echo is what was sent");
    println!("client {number}: {}", line.trim_end());
    Ok(())
}

fn main() -> io::Result<()> {
    run_main(|nc| block_on(nc, serve))
}
