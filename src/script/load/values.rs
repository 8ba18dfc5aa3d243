//! Readers of single values: texts, integers, times, networks. Errors state the value and what was expected.

use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use mlua::{Function, Value};

use super::error::{ReadValue, ValueError, quoted};

/// A text for one line: not empty, UTF-8, without control characters.
pub(super) fn text(value: &Value, expected: &str) -> ReadValue<String> {
    let error = || ValueError::got(value, expected);
    let Value::String(text) = value else { return Err(error()) };
    let text = text.to_str().map_err(|_| error())?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(error());
    }
    Ok(text.to_owned())
}

const NAME_MAX: usize = 128;

/// The name of a pool or server: one word, because log lines are split at blanks.
pub(super) fn name(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a name without blanks and quotes, at most 128 bytes";
    let name = text(value, EXPECTED)?;
    match name.len() > NAME_MAX || name.contains(|c: char| c.is_whitespace() || c == '"') {
        true => Err(ValueError::got(value, EXPECTED)),
        false => Ok(name),
    }
}

pub(super) fn function(value: &Value, expected: &str) -> ReadValue<Function> {
    value.as_function().cloned().ok_or_else(|| ValueError::got(value, expected))
}

pub(super) fn whole(value: &Value, range: RangeInclusive<i64>) -> ReadValue<i64> {
    let number = match value {
        Value::Integer(number) => Some(*number),
        // 1e4 is a float in Lua but meant as an integer.
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some(*number as i64),
        _ => None,
    };
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        ValueError::got(value, &format!("a whole number from {} to {}", range.start(), range.end()))
    })
}

/// A share or a factor.
pub(super) fn number(value: &Value, range: RangeInclusive<f64>) -> ReadValue<f64> {
    let number = match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    };
    // NaN is in no range.
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| ValueError::got(value, &format!("a number from {} to {}", range.start(), range.end())))
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

/// A number of bytes: `"16k"`, `"1m"`, `"2g"` (powers of 1024) or bytes.
pub(super) fn size(value: &Value, range: RangeInclusive<u64>, expected: &str) -> ReadValue<u64> {
    let bytes = match value {
        Value::String(text) => bytes(&text.to_string_lossy()),
        _ => whole(value, 0..=i64::MAX).ok().and_then(|bytes| u64::try_from(bytes).ok()),
    };
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| ValueError::got(value, expected))
}

/// "16k" in bytes.
pub(in crate::script) fn bytes(text: &str) -> Option<u64> {
    let factor = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => 1 << 10,
        b'm' => 1 << 20,
        b'g' => 1 << 30,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse::<u64>().ok()?.checked_mul(factor)).flatten()
}

const SHORTEST: f64 = 0.001;
const LONGEST: f64 = 24.0 * 3600.0;

pub(super) fn time(value: &Value) -> ReadValue<Duration> {
    time_within(value, SHORTEST..=LONGEST, "a time from 1ms to 24h")
}

/// A time within another range of seconds, which `expected` names.
pub(super) fn time_within(value: &Value, range: RangeInclusive<f64>, expected: &str) -> ReadValue<Duration> {
    let Some(seconds) = seconds_of(value) else {
        return Err(ValueError::got(
            value,
            "a time such as \"500ms\", \"5s\", \"2m\", \"1h\" or a number of seconds",
        ));
    };
    // NaN is in no range either.
    if !range.contains(&seconds) {
        return Err(ValueError::got(value, expected));
    }
    // Whole microseconds, so that "0.1s" and 0.1 are equal.
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

/// A time in seconds, of any length.
pub(in crate::script) fn seconds_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(seconds) => Some(*seconds as f64),
        Value::Number(seconds) => Some(*seconds),
        Value::String(text) => seconds(&text.to_string_lossy()),
        _ => None,
    }
}

/// "500ms" in seconds.
pub fn seconds(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // f64's own parser accepts signs and exponents too.
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| number.parse::<f64>().ok()).flatten().map(|number| number * factor)
}

/// A socket buffer. Below, no segment fits; above, the kernel's counters overflow.
pub(super) fn buffer(value: &Value) -> ReadValue<Option<u32>> {
    size(value, 4 << 10..=1 << 30, "a size from \"4k\" to \"1g\"").map(|bytes| u32::try_from(bytes).ok())
}

/// Microseconds of SO_BUSY_POLL. Longer polling would keep a thread from all other work.
pub(super) fn busy_poll(value: &Value) -> ReadValue<Option<u32>> {
    whole(value, 1..=10_000).map(|micros| u32::try_from(micros).ok())
}

/// The length of an accept queue. The kernel stores it in 16 or 32 bits, depending on its version.
pub(super) fn backlog(value: &Value) -> ReadValue<Option<u32>> {
    whole(value, 1..=65_535).map(|connections| u32::try_from(connections).ok())
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(value: &Value) -> ReadValue<IpNet> {
    const EXPECTED: &str = "a network such as \"10.0.0.0/8\" or an address";
    let text = text(value, EXPECTED)?;
    let network =
        text.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)));
    network
        .map(|network| canonical(network).trunc())
        .ok_or_else(|| ValueError::new(format!("got {}, expected {EXPECTED}", quoted(&text))))
}

/// A network of IPv4-mapped addresses becomes one of IPv4: addresses are compared in that form.
fn canonical(network: IpNet) -> IpNet {
    let prefix = network.prefix_len().checked_sub(96);
    let four = network.network().to_canonical();
    match prefix.and_then(|prefix| IpNet::new(four, prefix).ok()) {
        Some(network) if four.is_ipv4() => network,
        _ => network,
    }
}

pub(super) fn yes_or_no(value: &Value) -> ReadValue<bool> {
    value.as_boolean().ok_or_else(|| ValueError::got(value, "true or false"))
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> ReadValue<T> {
    let given = value.as_string().map(|text| text.to_string_lossy());
    let found = words.iter().find(|(word, _)| given.as_deref() == Some(*word));
    let expected = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
    found.map(|(_, meaning)| *meaning).ok_or_else(|| ValueError::got(value, &expected()))
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    /// Runs a reader on values written as Lua.
    fn each<T>(cases: &[&str], read: impl Fn(&Value) -> ReadValue<T>) -> Vec<Result<T, String>> {
        let lua = Lua::new();
        let value = |text: &&str| lua.load(*text).eval::<Value>().unwrap();
        cases.iter().map(|text| read(&value(text)).map_err(|error| error.line("key"))).collect()
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        let read = |value: &Value| size(value, 1..=1 << 40, "a size");
        let good = ["'16k'", "'1m'", "'2G'", "4096", "1e3"];
        assert_eq!(each(&good, read), [16 << 10, 1 << 20, 2 << 30, 4096, 1000].map(Ok));
        for (text, result) in BAD_SIZES.iter().zip(each(&BAD_SIZES, read)) {
            assert!(result.unwrap_err().ends_with(", expected a size"), "{text}");
        }
    }

    const BAD_SIZES: [&str; 10] =
        ["'16'", "'k'", "'1.5m'", "'-1k'", "'1kb'", "0", "-1", "'99999999999g'", "true", "{}"];

    #[test]
    fn times_have_units_or_are_seconds() {
        let good = ["'500ms'", "'5s'", "'2m'", "'1h'", "5", "0.25", "'1.5s'", "'24h'", "0.001"];
        let millis = [500, 5000, 120_000, 3_600_000, 5000, 250, 1500, 86_400_000, 1]
            .map(|ms| Ok(Duration::from_millis(ms)));
        assert_eq!(each(&good, time), millis);
    }

    #[test]
    fn errors_about_times_say_what_a_time_is() {
        let what = "expected a time such as \"500ms\", \"5s\", \"2m\", \"1h\" or a number of seconds";
        let bad = [
            "'5'", "'5x'", "'s'", "'-5s'", "'1e3s'", "'5 s'", "'.s'", "'1.s'", "'1.2.3s'", "''", "true", "{}",
        ];
        for (text, result) in bad.iter().zip(each(&bad, time)) {
            let error = result.unwrap_err();
            assert!(error.starts_with("key: got ") && error.ends_with(what), "{text}: {error}");
        }
        let outside = ["0", "-1", "'0s'", "'25h'", "86401", "1/0", "0/0", "0.0001"];
        for (text, result) in outside.iter().zip(each(&outside, time)) {
            let error = result.unwrap_err();
            assert!(error.ends_with(", expected a time from 1ms to 24h"), "{text}: {error}");
        }
    }

    #[test]
    fn whole_numbers_are_whole_and_in_range() {
        assert_eq!(each(&["1", "10", "5.0", "1e1"], |v| whole(v, 1..=10)), [Ok(1), Ok(10), Ok(5), Ok(10)]);
        for (text, shown) in
            [("0", "0"), ("11", "11"), ("1.5", "1.5"), ("'5'", "\"5\""), ("1/0", "inf"), ("{}", "a table")]
        {
            let error = each(&[text], |v| whole(v, 1..=10)).remove(0).unwrap_err();
            assert_eq!(error, format!("key: got {shown}, expected a whole number from 1 to 10"));
        }
    }

    #[test]
    fn networks_are_cidr_or_one_address_and_lose_their_host_bits() {
        let read = each(
            &[
                "'10.0.0.0/8'",
                "'10.1.2.3/8'",
                "'192.0.2.7'",
                "'::1'",
                "'fd00::/8'",
                "'::ffff:10.1.2.3/104'",
                "'::ffff:192.0.2.7'",
                "'::/0'",
            ],
            network,
        );
        let want = [
            "10.0.0.0/8",
            "10.0.0.0/8",
            "192.0.2.7/32",
            "::1/128",
            "fd00::/8",
            "10.0.0.0/8",
            "192.0.2.7/32",
            "::/0",
        ];
        assert_eq!(read, want.map(|text| Ok(text.parse().unwrap())));
        for result in each(&["'10.0.0.0/33'", "'lan'", "10", "''"], network) {
            let error = result.unwrap_err();
            assert!(error.ends_with("expected a network such as \"10.0.0.0/8\" or an address"), "{error}");
        }
    }

    #[test]
    fn names_are_single_words() {
        assert_eq!(
            each(&["'web-1'", "'[::1]:80'", "'bücher'"], name),
            ["web-1", "[::1]:80", "bücher"].map(|n| Ok(n.to_owned()))
        );
        for result in each(&["''", "'a b'", "'a\"b'", "'a\\nb'", "'\\255'", "5", "('x'):rep(129)"], name) {
            let error = result.unwrap_err();
            assert!(
                error.ends_with("expected a name without blanks and quotes, at most 128 bytes"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unknown_word_is_an_error_with_the_known_ones() {
        let words = [("combined", 1), ("rsp", 2)];
        let read = each(&["'rsp'", "'json'", "1"], |v| one_of(v, &words));
        let error = |got| Err(format!("key: got {got}, expected \"combined\" or \"rsp\""));
        assert_eq!(read, [Ok(2), error("\"json\""), error("1")]);
    }
}
