//! `x-file-checksum` for clients that may have files of one folder read and no others.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/commands.rs"]
mod session;
#[path = "common/usage.rs"]
mod usage;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use commands::files::Files;
use common::{Client, TestServer};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;
use session::{call, start_with};
use usage::DoneOnDrop;

/// A folder with an allowed folder in it, and a secret beside that; removed at the end.
///
/// ```text
/// secret            never to be read
/// allowed/a         may be read
/// allowed/inner/b   may be read
/// ```
struct Folders(PathBuf);

impl Folders {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("files-{}-{number}", std::process::id()));
        fs::create_dir_all(root.join("allowed/inner")).expect("the path is free");
        for (name, content) in [("secret", "secret"), ("allowed/a", "a"), ("allowed/inner/b", "b")]
        {
            fs::write(root.join(name), content).expect("there is room");
        }
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(name)).expect("the path is free");
    }

    fn serve(&self) -> TestServer {
        start_with(Files::below(&self.path("allowed")).expect("it is there"))
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _stays = fs::remove_dir_all(&self.0);
    }
}

/// How many bytes were hashed, or what the command complained about.
fn checksum(client: &mut Client<UnixStream>, name: &Path) -> Result<String, String> {
    let arguments = json!({"filename": name, "algorithm": "crc32c"});
    let answer = call(client, "x-file-checksum", arguments);
    match answer.reply["error"].is_null() {
        true => Ok(answer.value()["digest"].as_str().expect("it is a text").to_owned()),
        false => Err(answer.error().to_owned()),
    }
}

fn digest(content: &str) -> String {
    format!("{:08x}", crc32c::crc32c(content.as_bytes()))
}

#[test]
fn files_in_the_folder_are_read_by_every_name_that_stays_there() {
    let folders = Folders::new();
    folders.link("allowed/inner/up", "../a");
    folders.link("allowed/to-inner", "inner");
    let server = folders.serve();
    let mut client = server.client();

    for (name, content) in [
        ("a", "a"),
        ("inner/b", "b"),
        ("inner/../a", "a"),
        ("inner/up", "a"),
        ("to-inner/b", "b"),
        ("./inner//b", "b"),
    ] {
        let absolute = folders.path("allowed").join(name);
        assert_eq!(checksum(&mut client, Path::new(name)), Ok(digest(content)), "{name}");
        assert_eq!(checksum(&mut client, &absolute), Ok(digest(content)), "{absolute:?}");
    }
}

#[test]
fn no_name_leads_out_of_the_folder_and_the_answer_tells_nothing_of_what_is_there() {
    let folders = Folders::new();
    folders.link("allowed/relative", "../secret");
    folders.link("allowed/absolute", folders.path("secret"));
    folders.link("allowed/folder", "..");
    folders.link("allowed/missing", "../nothing");
    folders.link("allowed/magic", "/proc/self/cwd/Cargo.toml");
    let server = folders.serve();
    let mut client = server.client();
    let names = [
        PathBuf::from("../secret"),
        PathBuf::from("inner/../../secret"),
        PathBuf::from("relative"),
        PathBuf::from("absolute"),
        PathBuf::from("folder/secret"),
        PathBuf::from("missing"),
        PathBuf::from("magic"),
        PathBuf::from("../nothing"),
        folders.path("secret"),
        folders.path("allowed/../secret"),
        folders.path("allowed-too"),
        PathBuf::from("/etc/passwd"),
    ];
    for name in names {
        let shown = name.display();
        let expected =
            format!("Could not open '{shown}': The file is outside of the allowed folder");
        assert_eq!(checksum(&mut client, &name), Err(expected));
    }
    // What is missing inside is the client's business.
    let missing = "Could not open 'c': No such file or directory";
    assert_eq!(checksum(&mut client, Path::new("c")), Err(missing.into()));
    let folder = "Could not open 'inner': Is a directory";
    assert_eq!(checksum(&mut client, Path::new("inner")), Err(folder.into()));
}

#[test]
fn a_folder_that_takes_turns_with_a_link_never_lets_the_secret_out() {
    let folders = Folders::new();
    // Outside, the same name is the secret.
    fs::write(folders.path("b"), "secret").expect("there is room");
    folders.link("allowed/other", "..");
    let server = folders.serve();
    let mut client = server.client();
    let (inner, other) = (folders.path("allowed/inner"), folders.path("allowed/other"));
    let done = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &inner, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE)
                    .expect("both are there");
            }
        });
        let _done = DoneOnDrop(&done);
        while inside < 200 || refused < 200 {
            match checksum(&mut client, Path::new("inner/b")) {
                Ok(found) => {
                    assert_eq!(found, digest("b"), "the secret is out");
                    inside += 1;
                }
                Err(_) => refused += 1,
            }
        }
    });
}

#[test]
fn the_folder_stays_the_same_when_its_name_is_given_to_another() {
    let folders = Folders::new();
    let server = folders.serve();
    fs::rename(folders.path("allowed"), folders.path("moved")).expect("it is there");
    fs::create_dir(folders.path("allowed")).expect("the path is free");
    fs::write(folders.path("allowed/a"), "another").expect("there is room");

    let mut client = server.client();

    assert_eq!(checksum(&mut client, Path::new("a")), Ok(digest("a")));
    assert_eq!(checksum(&mut client, &folders.path("allowed/a")), Ok(digest("a")));
}

#[test]
fn a_folder_that_is_not_there_or_a_file_is_no_folder() {
    let folders = Folders::new();
    for name in ["nothing", "secret"] {
        assert!(Files::below(&folders.path(name)).is_err(), "{name}");
    }
}
