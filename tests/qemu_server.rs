//! The plugin's own QMP server inside QEMU: what it does that QEMU's monitors do not.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use common::wait_until;
use qemu::{Qemu, error, with_each_qemu};
use serde_json::{Value, json};

#[test]
fn commands_of_one_client_run_at_the_same_time_if_it_asks_for_that() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut client = qemu.ours_with("x-concurrent");
        let mut observer = qemu.ours();
        let forever = json!({ "seconds": 100_000 });
        for id in ["one", "two"] {
            client.send_json(&json!({ "execute": "x-sleep", "arguments": forever, "id": id }));
        }
        wait_until("the commands run", || observer.tasks_of("x-sleep").len() == 2);
        // QEMU's own take turns: the replies keep the order of the requests.
        for id in 0..20 {
            client.send_json(&json!({ "execute": "query-status", "id": id }));
        }
        for id in 0..20 {
            assert_eq!(client.receive()["id"], id);
        }
        for (task, id) in observer.tasks_of("x-sleep").into_iter().zip(["one", "two"]) {
            observer.ok("x-task-cancel", &json!({ "id": task }));
            let mut cancelled = error("The command was cancelled");
            cancelled["id"] = Value::from(id);
            assert_eq!(client.receive(), cancelled);
        }
        observer.ok("quit", &json!({}));
        qemu.expect_success();
    });
}
