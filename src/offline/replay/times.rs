//! The times of access logs, in seconds since 1970.

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// `10/Oct/2025:13:55:36 -0700`
pub fn combined(text: &[u8]) -> Option<u64> {
    let month = MONTHS.iter().position(|month| text.get(3..6) == Some(month))? as i64 + 1;
    let day = days(number(text.get(7..11)?)?, month, number(text.get(..2)?)?);
    let seconds = day * 86_400 + of_day(text.get(12..20)?)?;
    let zone = text.get(21..26)?;
    let east = (number(&zone[1..3])? * 60 + number(&zone[3..5])?) * 60;
    u64::try_from(if zone[0] == b'-' { seconds + east } else { seconds - east }).ok()
}

/// `2025-10-10T20:55:36.123456Z`
pub fn iso(text: &[u8]) -> Option<u64> {
    let day = days(number(text.get(..4)?)?, number(text.get(5..7)?)?, number(text.get(8..10)?)?);
    u64::try_from(day * 86_400 + of_day(text.get(11..19)?)?).ok()
}

/// `13:55:36`
fn of_day(text: &[u8]) -> Option<i64> {
    Some((number(&text[..2])? * 60 + number(&text[3..5])?) * 60 + number(&text[6..8])?)
}

fn number(text: &[u8]) -> Option<i64> {
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970_whatever_their_zone() {
        assert_eq!(combined(b"01/Jan/1970:00:00:00 +0000"), Some(0));
        assert_eq!(combined(b"29/Feb/2024:12:00:01 +0130"), Some(1_709_202_601));
        assert_eq!(iso(b"2024-02-29T10:30:01Z"), Some(1_709_202_601));
        assert_eq!(iso(b"2000-03-01T00:00:00.5Z"), Some(951_868_800));
        for odd in [&b""[..], b"x", b"01/Foo/1970:00:00:00 +0000", b"01/Jan/1970:0a:00:00 +0000"] {
            assert_eq!((combined(odd), iso(odd)), (None, None));
        }
    }
}
