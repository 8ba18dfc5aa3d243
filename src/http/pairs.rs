//! Names and values in fields and targets: cookies (RFC 6265 section 5.4) and the arguments of a query
//! (application/x-www-form-urlencoded).

use super::fields::Fields;
use super::name::Name;

/// Names and values of all `Cookie` fields, undecoded.
pub fn cookies(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = fields.iter().filter(|(tag, ..)| *tag == Name::Cookie);
    lines.flat_map(|(_, _, line)| line.split(|byte| *byte == b';')).filter_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    })
}

/// Removes every cookie of this name, and a `Cookie` field of which nothing is left.
pub fn remove_cookie(fields: &mut Fields, name: &[u8]) {
    let is = |pair: &[u8]| {
        let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        pair[..end].trim_ascii() == name
    };
    let lines: Vec<Vec<u8>> = fields.values(Name::Cookie).map(<[u8]>::to_vec).collect();
    if !lines.iter().any(|line| line.split(|byte| *byte == b';').any(is)) {
        return;
    }
    fields.remove(b"Cookie");
    for line in lines {
        let kept: Vec<&[u8]> =
            line.split(|byte| *byte == b';').filter(|pair| !is(pair)).map(<[u8]>::trim_ascii).collect();
        let kept: Vec<&[u8]> = kept.into_iter().filter(|pair| !pair.is_empty()).collect();
        if !kept.is_empty() {
            fields.append(b"Cookie", &kept.join(&b"; "[..]));
        }
    }
}

/// Gives the cookie this value: the first of its name has it then, others of this name are removed. All cookies become
/// one field.
pub fn set_cookie(fields: &mut Fields, name: &[u8], value: &[u8]) {
    let mut line: Vec<u8> = Vec::new();
    let mut add = |pieces: &[&[u8]]| {
        if !line.is_empty() {
            line.extend_from_slice(b"; ");
        }
        pieces.iter().for_each(|piece| line.extend_from_slice(piece));
    };
    let mut is_set = false;
    let lines = fields.values(Name::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
    for pair in lines.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        let end = memchr::memchr(b'=', pair);
        if end.is_none_or(|end| pair[..end].trim_ascii() != name) {
            add(&[pair]);
        } else if !std::mem::replace(&mut is_set, true) {
            add(&[name, b"=", value]);
        }
    }
    if !is_set {
        add(&[name, b"=", value]);
    }
    fields.set(b"Cookie", &line);
}

/// Names and values of a query, undecoded. A name alone has an empty value.
pub fn arguments(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = memchr::memchr(b'=', pair);
        at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
    })
}

/// The `timeout` of a `Keep-Alive` field in microseconds (RFC 2068 section 19.7.1.1), if there is one.
pub fn keep_alive_timeout(fields: &Fields) -> Option<u64> {
    let words = fields.values(Name::KeepAlive).flat_map(|value| value.split(|byte| *byte == b','));
    words.filter_map(|word| word.trim_ascii().strip_prefix(b"timeout=")).find_map(|digits| {
        let seconds: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (1..=86_400).contains(&seconds).then(|| seconds * 1_000_000)
    })
}

/// Percent-decodes; `+` is a space, a `%` without two hex digits stays.
pub fn percent_decode(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => out.push(byte),
        }
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or_default() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_of_keep_alive_is_found_beside_other_words() {
        let of = |value: &str| {
            let mut fields = Fields::default();
            fields.append(b"Keep-Alive", value.as_bytes());
            keep_alive_timeout(&fields)
        };
        assert_eq!(of("timeout=5, max=100"), Some(5_000_000));
        assert_eq!(of("max=100, timeout=15"), Some(15_000_000));
        for bad in ["", "timeout", "timeout=", "timeout=-1", "timeout=0", "timeout=99999999999999999999"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cookie_is_set_in_its_place_and_all_become_one_field() {
        let set = |lines: &[&str]| {
            let mut fields = Fields::default();
            lines.iter().for_each(|line| fields.append(b"cookie", line.as_bytes()));
            set_cookie(&mut fields, b"a", b"new");
            let left = fields.values(Name::Cookie).map(|line| String::from_utf8_lossy(line).into_owned());
            left.collect::<Vec<_>>()
        };
        assert_eq!(set(&[]), ["a=new"]);
        assert_eq!(set(&["b=1; a = 2;c"]), ["b=1; a=new; c"]);
        assert_eq!(set(&["A=1", ";; a=2; a=3", "b=a=4"]), ["A=1; a=new; b=a=4"]);
    }

    #[test]
    fn a_cookie_is_removed_from_all_fields_and_the_others_stay() {
        let remove = |lines: &[&str]| {
            let mut fields = Fields::default();
            lines.iter().for_each(|line| fields.append(b"Cookie", line.as_bytes()));
            remove_cookie(&mut fields, b"srv");
            let left = fields.values(Name::Cookie).map(|line| String::from_utf8_lossy(line).into_owned());
            left.collect::<Vec<_>>()
        };
        assert_eq!(remove(&["srv=1"]), [""; 0]);
        assert_eq!(remove(&["a=1; srv=2; b=3"]), ["a=1; b=3"]);
        assert_eq!(remove(&["srv=2;a=1", "srv=3", "xsrv=4; SRV=5"]), ["a=1", "xsrv=4; SRV=5"]);
        assert_eq!(remove(&["a=1;  b=srv=2"]), ["a=1;  b=srv=2"], "untouched without the cookie");
    }
}
