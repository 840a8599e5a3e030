//! What the engine counts: packets, and drops by reason. Written by the worker, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Running counters of one engine since its start.
        #[derive(Debug, Default)]
        pub struct EngineCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// Moves while the worker does; a sign of life, not a measurement.
            pub(super) beat: AtomicU64,
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct CounterSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl EngineCounters {
            /// Reads all counters. They are read one after the other, not at one instant.
            #[must_use]
            pub fn snapshot(&self) -> CounterSnapshot {
                CounterSnapshot {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }

        impl CounterSnapshot {
            /// Names and values, for exposition.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Datagrams received on the WireGuard port.
    received_datagrams,
    /// Datagrams the kernel took for sending.
    sent_datagrams,
    /// Packets written to the tunnel interface.
    tun_written,
    /// Packets read from the tunnel interface; a large one counts once.
    tun_read,
    /// Messages the kernel refused to cut into datagrams, sent one by one instead.
    segmentation_refused,
    /// SYN segments whose MSS was lowered.
    clamped_segments,
    /// Responses repeated to repeated initiations.
    repeated_responses,
    /// Control packets that found the send buffer of a socket full and were sent later.
    postponed_control,
    /// Cookie replies sent because handshakes came too fast.
    cookies_sent,
    /// Things of the kernel's device that somebody else changed, put right.
    healed,
    /// Netlink messages that made or removed the kernel's WireGuard interface.
    netlink_link,
    /// Netlink messages that set key, port and mark.
    netlink_device,
    /// Netlink messages that changed peers, several in one.
    netlink_peers,
    /// Netlink requests to read the device.
    netlink_read,
    /// Dropped: packet from the TUN that is not IP.
    drop_not_ip,
    /// Dropped: no peer has the destination in its allowed IPs.
    drop_no_route,
    /// Dropped: packet larger than what the path to the peer carries; its sender was told.
    drop_too_big,
    /// Dropped: the peer has no path yet.
    drop_no_path,
    /// Dropped: a command to send to a peer without a session, or to an unknown peer.
    drop_no_session,
    /// Dropped: inner source does not belong to the peer it came from.
    drop_source,
    /// Dropped: inner packet whose length or version is wrong.
    drop_malformed,
    /// Dropped: from or to an address outside the peer's endpoint filter.
    drop_endpoint_filter,
    /// Dropped: initiation of a key that is not a peer.
    drop_unknown_peer,
    /// Dropped: receiver index that belongs to nobody.
    drop_unknown_index,
    /// Dropped: initiation of a source that sent too many while there was load.
    drop_initiation_bound,
    /// Dropped: failed authentication, wrong timestamp, or not expected.
    drop_not_authentic,
    /// Dropped: counter seen before or too old; the second copies of duplicated packets land here.
    drop_replayed,
    /// Dropped: the kernel refused to send.
    drop_send_error,
    /// Dropped: the send buffer of a socket was full.
    drop_send_full,
    /// Dropped by the kernel: the receive buffer of a socket was full, or a UDP checksum was wrong.
    drop_receive_full,
    /// Dropped by the kernel: the queue of the tunnel interface was full.
    drop_tun_queue,
    /// Dropped: the tunnel interface did not take the packet.
    drop_tun_write,
    /// Dropped: foreign datagrams above the rate or size bound.
    drop_datagram_bound,
    /// Events that found the channel full.
    drop_events,
    /// Commands that found the queue full.
    drop_commands,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds several.
pub(super) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}
