//! Numbers and times as people read them, in Docker's words (docker/go-units).

use jiff::Timestamp;

/// A size in decimal units with three digits: `1.99MB`, `512B`, `120kB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    // In thousandths of the unit, rounded to three digits on the way up.
    let mut unit = 0;
    let mut thousandths = u128::from(bytes) * 1000;
    while rounded(thousandths) >= 1_000_000 && unit + 1 < UNITS.len() {
        thousandths /= 1000;
        unit += 1;
    }
    let thousandths = rounded(thousandths);
    let (whole, fraction) = (thousandths / 1000, format!("{:03}", thousandths % 1000));
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{dot}{fraction}{}", UNITS[unit])
}

/// A size in binary units with four digits: `1.223MiB`, `512B`, `15.62GiB`.
pub fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut unit, mut divisor) = (0, 1_u128);
    while u128::from(bytes) >= divisor * 1024 && unit + 1 < UNITS.len() {
        divisor *= 1024;
        unit += 1;
    }
    let size = (u128::from(bytes) * 1000 + divisor / 2) / divisor;
    let step = match size {
        0..10_000 => 1,
        10_000..100_000 => 10,
        100_000..1_000_000 => 100,
        _ => 1000,
    };
    let size = (size + step / 2) / step * step;
    let fraction = format!("{:03}", size % 1000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}{}", size / 1000, UNITS[unit])
}

/// To three significant digits.
fn rounded(thousandths: u128) -> u128 {
    let step = match thousandths {
        0..10_000 => 10,
        10_000..100_000 => 100,
        _ => 1000,
    };
    (thousandths + step / 2) / step * step
}

/// How long ago, roughly: `3 minutes ago`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    format!("{} ago", span(now, then))
}

/// The time between two moments, roughly. A clock that was set back makes no negative times.
pub fn span(now: Timestamp, then: Timestamp) -> String {
    duration(now.duration_since(then).try_into().unwrap_or_default())
}

/// A moment as Go prints it: `2026-01-02 03:04:05 +0000 UTC`.
pub fn moment(when: Timestamp) -> String {
    when.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// A span of time, roughly: `Less than a second`, `About a minute`, `3 weeks`.
pub fn duration(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    let days = hours / 24;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".into(),
        (1, ..) => "1 second".into(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 0..=1) => "About an hour".into(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{days} days"),
        (.., 336..1440) => format!("{} weeks", days / 7),
        (.., 1440..17520) => format!("{} months", days / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes() {
        let check = |bytes, want: &str| assert_eq!(size(bytes), want, "{bytes}");
        check(0, "0B");
        check(512, "512B");
        check(999, "999B");
        check(1000, "1kB");
        check(1990, "1.99kB");
        check(1_994_999, "1.99MB");
        check(1_995_000, "2MB");
        check(12_345, "12.3kB");
        check(99_950, "100kB");
        check(119_600_000, "120MB");
        check(999_499, "999kB");
        check(999_500, "1MB");
        check(u64::MAX, "18.4EB");
    }

    #[test]
    fn binary_sizes() {
        let check = |bytes, want: &str| assert_eq!(binary_size(bytes), want, "{bytes}");
        check(0, "0B");
        check(1023, "1023B");
        check(1024, "1KiB");
        check(1536, "1.5KiB");
        check(64 << 20, "64MiB");
        check((64 << 20) + 1, "64MiB");
        check(1_282_048, "1.223MiB");
        check(16_772_513_792, "15.62GiB");
        check(u64::MAX, "16EiB");
    }

    #[test]
    fn durations() {
        let check = |seconds, want: &str| {
            assert_eq!(duration(Duration::from_secs(seconds)), want, "{seconds}");
        };
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(119, "About a minute");
        check(120, "2 minutes");
        check(3599, "59 minutes");
        check(3600, "About an hour");
        check(5399, "About an hour");
        check(5400, "2 hours");
        check(47 * 3600, "47 hours");
        check(48 * 3600, "2 days");
        check(13 * 86400, "13 days");
        check(14 * 86400, "2 weeks");
        check(59 * 86400, "8 weeks");
        check(60 * 86400, "2 months");
        check(729 * 86400, "24 months");
        check(730 * 86400, "2 years");
    }
}
