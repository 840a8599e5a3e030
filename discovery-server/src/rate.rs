//! Token buckets by source, pure: time is an argument. Not a queue: what is over the rate is refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use crate::limits::Rate;

/// One bucket, in thousandths of a token.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    milli: u64,
    at_ms: u64,
}

/// Buckets of many sources. At most `capacity` are told apart; when all of those are in use, new ones
/// share one bucket, so that a flood of sources costs no memory and starves only other new sources.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: Rate,
    capacity: usize,
    buckets: HashMap<K, Bucket>,
    shared: Bucket,
    swept_ms: u64,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// A limiter whose buckets are all full.
    #[must_use]
    pub fn new(rate: Rate, capacity: usize) -> Self {
        let shared = Bucket {
            milli: u64::from(rate.burst) * 1000,
            at_ms: 0,
        };
        Self {
            rate,
            capacity,
            buckets: HashMap::new(),
            shared,
            swept_ms: 0,
        }
    }

    /// Takes a token of `source`.
    ///
    /// # Errors
    /// The seconds to wait, at least 1, if there is none.
    pub fn take(&mut self, source: K, now_ms: u64) -> Result<(), u64> {
        let rate = self.rate;
        let full = u64::from(rate.burst) * 1000;
        // A full bucket is the same as none. Once a second at most: a sweep costs the whole table.
        if self.buckets.len() >= self.capacity && now_ms >= self.swept_ms + 1000 {
            self.swept_ms = now_ms;
            self.buckets
                .retain(|_, bucket| refilled(*bucket, rate, now_ms) < full);
        }
        let room = self.buckets.len() < self.capacity;
        let bucket = if room || self.buckets.contains_key(&source) {
            self.buckets.entry(source).or_insert(Bucket {
                milli: full,
                at_ms: now_ms,
            })
        } else {
            &mut self.shared
        };
        let milli = refilled(*bucket, rate, now_ms);
        *bucket = Bucket {
            milli: milli.saturating_sub(if milli >= 1000 { 1000 } else { 0 }),
            at_ms: now_ms,
        };
        if milli >= 1000 {
            return Ok(());
        }
        Err((1000 - milli)
            .div_ceil(u64::from(rate.rate.max(1)) * 1000)
            .max(1))
    }
}

fn refilled(bucket: Bucket, rate: Rate, now_ms: u64) -> u64 {
    let gained = now_ms
        .saturating_sub(bucket.at_ms)
        .saturating_mul(u64::from(rate.rate));
    bucket
        .milli
        .saturating_add(gained)
        .min(u64::from(rate.burst) * 1000)
}

/// Who a source address stands for: itself for IPv4, its /64 for IPv6, where one host has them all.
#[must_use]
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { rate: 2, burst: 3 };

    #[test]
    fn burst_then_rate_and_sources_apart() {
        let mut limiter = RateLimiter::new(RATE, 10);
        let takes = |limiter: &mut RateLimiter<u8>, source, now| {
            (0..10)
                .filter(|_| limiter.take(source, now).is_ok())
                .count()
        };
        assert_eq!(takes(&mut limiter, 1, 0), 3);
        assert_eq!(limiter.take(1, 0), Err(1));
        assert_eq!(takes(&mut limiter, 2, 0), 3);
        assert_eq!(takes(&mut limiter, 1, 1000), 2);
        assert_eq!(takes(&mut limiter, 1, 3_600_000), 3);
    }

    #[test]
    fn more_sources_than_capacity_share_one_bucket() {
        let mut limiter = RateLimiter::new(RATE, 2);
        let admitted = (0..100u32)
            .filter(|source| limiter.take(*source, 0).is_ok())
            .count();
        assert_eq!(admitted, 2 + 3);
        assert_eq!(limiter.buckets.len(), 2);
        // Refilled buckets make room.
        assert!(limiter.take(1000, 60_000).is_ok());
        assert!(limiter.buckets.contains_key(&1000));
    }

    #[test]
    fn ipv6_hosts_are_one_source_by_64() {
        let source = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(mut times in proptest::collection::vec(0u64..10_000, 1..200)) {
            times.sort_unstable();
            let mut limiter = RateLimiter::new(RATE, 4);
            let admitted = times.iter().filter(|at| limiter.take(0u8, **at).is_ok()).count() as u64;
            prop_assert!(admitted <= 3 + times[times.len() - 1] * 2 / 1000 + 1);
        }
    }
}
