//! Quantities as people read them: bytes, milliseconds, ages. `-` is "not known".

use crate::clock::parse_rfc3339;

/// What stands for "not known" in every table.
pub(crate) const UNKNOWN: &str = "-";

/// `0 B`, `1023 B`, `1.2 MiB`: powers of 1024, one decimal.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // 1023.95 KiB would be printed as 1024.0 KiB: it is 1.0 MiB.
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `0.42 ms`, `12.3 ms`, `250 ms`.
pub(crate) fn rtt(milliseconds: Option<f64>) -> String {
    match milliseconds {
        Some(ms) if ms.is_finite() && ms < 9.995 => format!("{ms:.2} ms"),
        Some(ms) if ms.is_finite() && ms < 99.95 => format!("{ms:.1} ms"),
        Some(ms) if ms.is_finite() => format!("{ms:.0} ms"),
        _ => UNKNOWN.to_owned(),
    }
}

/// `12s ago`, seen from `now` (seconds since 1970). A time ahead of the clock is `0s ago`.
pub(crate) fn ago(time: Option<&str>, now: i64) -> String {
    match time.and_then(parse_rfc3339) {
        Some(then) => format!(
            "{} ago",
            age(now.saturating_sub(then).max(0).unsigned_abs())
        ),
        None => UNKNOWN.to_owned(),
    }
}

/// `12s`, `4m5s`, `3h12m`, `9d3h`: the two largest units.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_258_291, "1.2 MiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (ms, text) in [
            (Some(0.4217), "0.42 ms"),
            (Some(9.999), "10.0 ms"),
            (Some(99.96), "100 ms"),
            (Some(f64::NAN), "-"),
            (None, "-"),
        ] {
            assert_eq!(rtt(ms), text);
        }
    }

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3_599, "59m59s"),
            (3_600, "1h0m"),
            (86_400, "1d0h"),
            (u64::MAX, "213503982334601d7h"),
        ] {
            assert_eq!(age(seconds), text);
        }
        assert_eq!(ago(Some("1970-01-01T00:01:00Z"), 72), "12s ago");
        assert_eq!(ago(Some("1970-01-01T00:01:00Z"), 30), "0s ago");
        assert_eq!(ago(Some("soon"), 30), "-");
        assert_eq!(ago(None, 30), "-");
    }
}
