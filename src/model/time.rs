//! Points in time and lengths of time, to the second, in UTC, as the files write them (FORMAT 2).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::macros::format_description;

/// A point in time from 1970 to 9999, in whole seconds. Text form: `2026-11-20T18:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// 9999-12-31T23:59:59Z, the last second that four-digit years can name.
const LAST: i64 = 253_402_300_799;

impl Time {
    /// The time `seconds` after 1970-01-01T00:00:00Z, clamped to the years 1970 to 9999.
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(0, LAST))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// Parses exactly the form `2026-11-20T18:00:00Z`; `None` for anything else, leap seconds included.
    pub fn parse(text: &str) -> Option<Self> {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        if text.len() != 20 {
            return None;
        }
        let parsed = time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc().unix_timestamp();
        let parsed = (0..=LAST).contains(&parsed).then_some(Self(parsed))?;
        (parsed.to_string() == text).then_some(parsed)
    }

    /// Parses a time as other programs write it (RFC 3339), to the second below, clamped to the years 1970 to 9999.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        Some(Self::from_unix(parsed.unix_timestamp()))
    }

    /// This time and `span` more, at most the end of the year 9999.
    pub fn plus(self, span: Span) -> Self {
        Self::from_unix(self.0.saturating_add(span.seconds()))
    }

    /// This time less `span`, at least 1970.
    pub fn minus(self, span: Span) -> Self {
        Self::from_unix(self.0.saturating_sub(span.seconds()))
    }

    /// Whole seconds from `earlier` to this; negative if `earlier` is later.
    pub fn since(self, earlier: Time) -> i64 {
        self.0 - earlier.0
    }

    /// `2026-11`: the folder of the log.
    pub fn month(self) -> String {
        self.to_string()[..7].to_owned()
    }

    /// The calendar form that X.509 builders take.
    pub fn calendar(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).expect("years 1970 to 9999 are in range")
    }

    /// The form of the standard library.
    pub fn system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.unsigned_abs())
    }

    /// From the form of the standard library, in whole seconds, clamped to the years 1970 to 9999.
    pub fn from_system(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        Self::from_unix(i64::try_from(seconds).unwrap_or(LAST))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.calendar();
        let (date, clock) = (t.date(), t.time());
        f.pad(&format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second()
        ))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "a time looks like 2026-11-20T18:00:00Z".to_owned())
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A length of time as people write it: one number (at least 1, no leading zero) and one of `d`, `h`, `m`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    count: u32,
    unit: u8,
}

impl Span {
    /// A number of minutes, at least 1.
    pub const fn minutes(count: u32) -> Self {
        Self { count, unit: b'm' }
    }

    /// A number of hours, at least 1.
    pub const fn hours(count: u32) -> Self {
        Self { count, unit: b'h' }
    }

    /// A number of days of 24 hours, at least 1.
    pub const fn days(count: u32) -> Self {
        Self { count, unit: b'd' }
    }

    /// Parses `90d`, `8h`, `15m`; `None` for anything else, a number over 2³²−1 included.
    pub fn parse(text: &str) -> Option<Self> {
        let (&unit, digits) = text.as_bytes().split_last()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let plain = !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
        (plain && matches!(unit, b'd' | b'h' | b'm')).then_some(())?;
        Some(Self { count: digits.parse().ok()?, unit })
    }

    /// The shorter of two.
    pub fn shorter(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    /// The length in seconds.
    pub fn seconds(self) -> i64 {
        let unit = match self.unit {
            b'd' => 86_400,
            b'h' => 3_600,
            _ => 60,
        };
        i64::from(self.count) * unit
    }
}

impl PartialOrd for Span {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.seconds().cmp(&other.seconds()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.count, char::from(self.unit)))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "a duration is a number and one of d, h, m: 90d, 8h, 15m".to_owned())
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form() {
        let time = Time::parse("2026-11-20T18:00:00Z").unwrap();
        assert_eq!(time.unix(), 1_795_197_600);
        assert_eq!(time.month(), "2026-11");
        for text in [
            "2026-11-20T18:00:00",
            "2026-11-20 18:00:00Z",
            "2026-11-20t18:00:00z",
            "2026-02-30T00:00:00Z",
            "2026-11-20T18:00:60Z",
            "1969-12-31T23:59:59Z",
            "2026-11-20T18:00:00+00:00",
            "+026-11-20T18:00:00Z",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_of_others_are_taken_to_the_second() {
        let time = Time::parse("2026-11-20T18:00:00Z");
        for text in ["2026-11-20T18:00:00.999999Z", "2026-11-20T19:00:00+01:00", "2026-11-20T18:00:00Z"] {
            assert_eq!(Time::from_rfc3339(text), time, "{text}");
        }
        for text in ["", "null", "2026-11-20", "2026-11-20T18:00:00"] {
            assert_eq!(Time::from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn spans_have_one_number_and_one_unit() {
        assert_eq!(Span::parse("90d").unwrap().seconds(), 90 * 86_400);
        assert_eq!(Span::parse("4294967295m").unwrap().to_string(), "4294967295m");
        for text in ["", "d", "0d", "01h", "8", "8s", "8hm", "-8h", "4294967296m", "٣d"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
