//! The host moves to another network: what waited on the old one does not go on waiting.

use super::fake_server::Fault;
use super::*;

/// No test waits for it: what ends a wait here is not a time-out.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_put_that_waits_on_a_dead_way_is_made_anew() {
    let server = FakeServer::start().await;
    let mut client = Client::start_patient(&[&server.url()], vec![keys(1)], FOR_EVER);
    client.connected().await;
    server.set(|state| state.faults.push_back(Fault::Silence));
    client.client.publish(record(9, 1));
    server.fault_taken().await;
    client.client.retry_now();
    assert_eq!(client.published().await, Sequence(1));
}

#[tokio::test]
async fn several_changes_in_a_row_all_open_the_stream_anew() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    server.watch().await;
    for _ in 0..4 {
        client.client.retry_now();
        server.watch().await;
        client.connected().await;
    }
}

#[tokio::test]
async fn a_slow_server_is_given_more_time() {
    let server = FakeServer::start().await;
    server.set(|state| {
        for _ in 0..3 {
            state.faults.push_back(Fault::Silence);
        }
    });
    let first = Duration::from_millis(20);
    let mut client = Client::start_patient(&[&server.url()], vec![keys(1)], first);
    client.client.publish(record(9, 1));
    assert_eq!(client.published().await, Sequence(1));
}
