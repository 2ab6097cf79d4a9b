//! The QMP server: real sockets, real threads, a main loop of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use executor::qmp::{Address, Registry, Server, SessionOptions, Version, VersionNumber};
use executor::{MainCx, block_on, run_main};

#[test]
fn a_client_negotiates_and_is_answered() {
    let path = std::env::temp_dir().join(format!("qmp-server-{}", std::process::id()));
    run_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let mut registry = Registry::new();
            registry.add_query_commands();
            let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
            let options = SessionOptions::new(Version { qemu, package: String::new() });
            let server = Server::start(cx, registry, options).unwrap();
            server.listen(&Address::Unix(path.clone())).unwrap();
            let p2 = path.clone();
            let text = executor::blocking::blocking(move || {
                let mut stream = UnixStream::connect(p2).unwrap();
                stream
                    .write_all(b"{'execute':'qmp_capabilities'}{'execute':'query-commands'}")
                    .unwrap();
                let mut text = String::new();
                let mut lines = BufReader::new(stream);
                for _ in 0..3 {
                    lines.read_line(&mut text).unwrap();
                }
                text
            })
            .await
            .unwrap();
            println!("{text}");
            server.shutdown().await;
        });
    });
    assert!(!path.exists());
}
