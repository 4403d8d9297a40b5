//! Moments as people give them to `--since`, `--until` and filters.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Understands a date, a time, seconds since 1970, or a span before now as in `1h30m`.
///
/// A time without a zone is one of UTC.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(span) = span(text) {
        return now.checked_sub(span).map_err(|_too_far| unknown(text));
    }
    if let Some(moment) = seconds(text) {
        return Ok(moment);
    }
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let civil = text.parse::<DateTime>().ok();
    let moment = civil.and_then(|civil| civil.to_zoned(TimeZone::UTC).ok());
    moment.map(|zoned| zoned.timestamp()).ok_or_else(|| unknown(text))
}

fn unknown(text: &str) -> String {
    format!(
        "`{text}` is no time: try 2026-01-02T15:04:05Z, 2026-01-02, seconds since 1970, or 10m for ten minutes ago"
    )
}

/// Go's durations: `300ms`, `1.5h`, `2h45m`.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanoseconds = 0_u128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return None,
        };
        nanoseconds = nanoseconds.checked_add(scaled(number, unit)?)?;
        rest = next;
    }
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

fn seconds(text: &str) -> Option<Timestamp> {
    let nanoseconds = scaled(text, 1_000_000_000)?;
    Timestamp::from_nanosecond(i128::try_from(nanoseconds).ok()?).ok()
}

/// A number with up to nine digits after its point, times a unit.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    if whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let whole: u128 = format!("0{whole}").parse().ok()?;
    let fraction: u128 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(unit)?.checked_add(fraction * unit / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (text, want) in [
            ("2026-01-02T11:00:00Z", Some("2026-01-02T11:00:00Z")),
            ("2026-01-02T11:00:00.5+01:00", Some("2026-01-02T10:00:00.5Z")),
            ("2026-01-02T11:00:00", Some("2026-01-02T11:00:00Z")),
            ("2026-01-02T11:00", Some("2026-01-02T11:00:00Z")),
            ("2026-01-02", Some("2026-01-02T00:00:00Z")),
            ("0", Some("1970-01-01T00:00:00Z")),
            ("1.5", Some("1970-01-01T00:00:01.5Z")),
            ("10m", Some("2026-01-02T11:50:00Z")),
            ("1h30m", Some("2026-01-02T10:30:00Z")),
            ("1.5h", Some("2026-01-02T10:30:00Z")),
            ("250ms", Some("2026-01-02T11:59:59.75Z")),
            ("", None),
            ("yesterday", None),
            ("10x", None),
            ("m", None),
            ("-5m", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
            ("999999999999h", None),
        ] {
            let want = want.map(|want| want.parse::<Timestamp>().unwrap());
            assert_eq!(parse(text, now).ok(), want, "{text:?}");
        }
    }
}
