//! Backup and restore with the real binary: of a running server, into a new one.

use std::process::{Command, Output};

use mesh_proto::discovery::Revision;
use tempfile::TempDir;

use crate::client::Node;
use crate::process::{BINARY, Process};

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

#[tokio::test]
async fn a_running_server_is_backed_up_and_a_new_one_made_of_it() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (old, new, file) = (path("old"), path("new"), path("backup"));
    let process = Process::start(old.as_ref());
    let client = process.client().await;
    for number in 0..20 {
        client.register(&Node::new(1, number), 5).await;
    }
    let keys = Node::new(1, 0).keys;
    let (_, head) = client.watch(&keys, None).await.sync().await;
    let taken = {
        let arguments = ["backup", "--data-dir", &old, "--to", &file].map(str::to_owned);
        let taken =
            tokio::task::spawn_blocking(move || run(&arguments.each_ref().map(String::as_str)));
        taken.await.unwrap()
    };
    assert!(taken.status.success(), "{taken:?}");
    // What comes after the backup is lost with the old server.
    client.register(&Node::new(1, 99), 1).await;
    drop(process);
    let restored = run(&["restore", "--data-dir", &new, "--from", &file]);
    assert!(restored.status.success(), "{restored:?}");
    let again = run(&["restore", "--data-dir", &new, "--from", &file]);
    assert_eq!(again.status.code(), Some(1));

    let process = Process::start(new.as_ref());
    let after = process.client().await;
    assert_eq!(after.info.server, client.info.server);
    assert_ne!(after.info.epoch, client.info.epoch);
    // A watcher that knows more than the backup is sent everything, and so misses nothing.
    let from = Revision {
        epoch: head.epoch,
        n: head.n + 1,
    };
    let (seen, _) = after.watch(&keys, Some(from)).await.sync().await;
    assert_eq!(seen.len(), 20);
    after.register(&Node::new(1, 3), 6).await;
}
