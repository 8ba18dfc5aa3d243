//! `res.cookies.x = "v"` or `{ "v", max_age = "1h", path = "/", … }`: a `Set-Cookie` (RFC 6265bis) that browsers accept as
//! it was meant. What they would drop or read otherwise is an error.

use std::time::{Duration, SystemTime};

use super::assign::Assigned;
use super::directory::quoted;
use super::{headers, nearest};
use crate::http::Fields;

const NAME: &[u8] = b"Set-Cookie";

/// Browsers drop a cookie whose name and value are longer together, and ignore longer attributes.
const PAIR_MAX: usize = 4096;
const ATTRIBUTE_MAX: usize = 1024;

const ATTRIBUTES: [&str; 8] =
    ["max_age", "expires", "path", "domain", "same_site", "secure", "http_only", "partitioned"];

const EXPECTED: &str = "expected a string, nil or { \"value\", max_age = …, path = …, same_site = … }";

/// A cookie under construction from the table that a script assigned.
#[derive(Default)]
pub struct SetCookie {
    value: Option<Vec<u8>>,
    /// `; Path=/`, by the position in `ATTRIBUTES`.
    attributes: [Option<Vec<u8>>; ATTRIBUTES.len()],
}

/// A key of that table.
#[derive(Clone, Copy)]
pub enum CookieKey<'a> {
    /// The first value without a key.
    Value,
    Attribute(&'a [u8]),
    Other,
}

impl SetCookie {
    pub fn set(&mut self, key: CookieKey<'_>, value: Assigned<'_>) -> Result<(), String> {
        match key {
            CookieKey::Value => self.set_value(value),
            CookieKey::Attribute(key) => self.set_attribute(key, value),
            CookieKey::Other => Err(EXPECTED.to_string()),
        }
    }

    fn set_value(&mut self, value: Assigned<'_>) -> Result<(), String> {
        let Assigned::Text(text) = value else {
            return Err(format!("got a {} as its value, expected a string", value.kind()));
        };
        let inner = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
        if !inner.iter().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(byte)) {
            return Err(format!(
                "got {}, expected visible ASCII without blanks, quotes, comma, semicolon and backslash (encode others)",
                quoted(text)
            ));
        }
        self.value = Some(text.to_vec());
        Ok(())
    }

    fn set_attribute(&mut self, key: &[u8], value: Assigned<'_>) -> Result<(), String> {
        let Some(at) = ATTRIBUTES.iter().position(|name| name.as_bytes() == key) else {
            let hint = nearest::hint(key, ATTRIBUTES.iter().copied());
            return Err(format!("unknown attribute {}, {hint}", quoted(key)));
        };
        let name = ATTRIBUTES[at];
        let text = match (name, value) {
            ("max_age", value) => format!("; Max-Age={}", seconds(value).ok_or_else(|| wrong(name, value))?),
            ("expires", value) => format!("; Expires={}", date(value).ok_or_else(|| wrong(name, value))?),
            ("path", Assigned::Text(path)) if path.starts_with(b"/") && is_attribute(path) => {
                format!("; Path={}", String::from_utf8_lossy(path))
            }
            ("domain", Assigned::Text(domain)) if is_domain(domain) => {
                format!("; Domain={}", String::from_utf8_lossy(domain))
            }
            ("same_site", Assigned::Text(word)) => {
                format!("; SameSite={}", same_site(word).ok_or_else(|| wrong(name, value))?)
            }
            ("secure" | "http_only" | "partitioned", Assigned::Boolean(false)) => String::new(),
            ("secure", Assigned::Boolean(true)) => "; Secure".to_owned(),
            ("http_only", Assigned::Boolean(true)) => "; HttpOnly".to_owned(),
            ("partitioned", Assigned::Boolean(true)) => "; Partitioned".to_owned(),
            _ => return Err(wrong(name, value)),
        };
        self.attributes[at] = Some(text.into_bytes());
        Ok(())
    }

    fn is(&self, attribute: &str, text: &str) -> bool {
        let at = ATTRIBUTES.iter().position(|name| *name == attribute);
        at.and_then(|at| self.attributes[at].as_deref()) == Some(text.as_bytes())
    }

    fn has(&self, attribute: &str) -> bool {
        let at = ATTRIBUTES.iter().position(|name| *name == attribute);
        at.is_some_and(|at| self.attributes[at].is_some())
    }

    /// What browsers make conditions of.
    fn check(&self, name: &[u8]) -> Result<(), String> {
        let (is_secure, prefix) = (self.is("secure", "; Secure"), name.to_ascii_lowercase());
        if !is_secure && self.is("same_site", "; SameSite=None") {
            return Err("same_site = \"none\" needs secure = true".to_string());
        }
        if !is_secure && self.is("partitioned", "; Partitioned") {
            return Err("partitioned needs secure = true".to_string());
        }
        if !is_secure && (prefix.starts_with(b"__secure-") || prefix.starts_with(b"__host-")) {
            return Err("a name that begins so needs secure = true".to_string());
        }
        match prefix.starts_with(b"__host-") && (!self.is("path", "; Path=/") || self.has("domain")) {
            true => Err("a name that begins so needs path = \"/\" and no domain".to_string()),
            false => Ok(()),
        }
    }

    /// The value of the `Set-Cookie`.
    fn finish(self, name: &[u8]) -> Result<Vec<u8>, String> {
        self.check(name)?;
        let Some(value) = &self.value else {
            return Err("no value, expected it first: { \"value\", … }".to_string());
        };
        if name.len() + value.len() > PAIR_MAX {
            return Err(format!("longer than browsers keep: {PAIR_MAX} bytes of name and value"));
        }
        let attributes = self.attributes.iter().flatten().map(Vec::as_slice);
        Ok([name, b"=", value].into_iter().chain(attributes).flatten().copied().collect())
    }
}

/// Executes `res.cookies[name] = value`: adds a `Set-Cookie`, in place of those of this name.
pub fn write(name: &[u8], value: Assigned<'_>, fields: &mut Fields) -> Result<(), String> {
    match value {
        Assigned::Nil => {
            remove(name, fields);
            Ok(())
        }
        Assigned::Text(_) => {
            let mut cookie = SetCookie::default();
            cookie.set(CookieKey::Value, value).map_err(|why| at(name, &why))?;
            write_table(name, cookie, fields)
        }
        other => Err(at(name, &format!("got a {}, {EXPECTED}", other.kind()))),
    }
}

/// The same for a table.
pub fn write_table(name: &[u8], cookie: SetCookie, fields: &mut Fields) -> Result<(), String> {
    if !headers::is_name(name) {
        return Err(at(name, "not a name of a cookie (letters, digits and !#$%&'*+-.^_`|~)"));
    }
    let line = cookie.finish(name).map_err(|why| at(name, &why))?;
    if fields.bytes().len() + line.len() > headers::BYTES_MAX || fields.len() >= headers::FIELDS_MAX {
        return Err(at(name, headers::TOO_LARGE));
    }
    remove(name, fields);
    fields.append(NAME, &line);
    Ok(())
}

/// The message for a cookie.
pub fn at(name: &[u8], why: &str) -> String {
    format!("res.cookies[{}]: {why}", quoted(name))
}

fn remove(name: &[u8], fields: &mut Fields) {
    if !cookies(fields).any(|(other, _)| other == name) {
        return;
    }
    let lines: Vec<Vec<u8>> = fields.values_by_name(NAME).map(<[u8]>::to_vec).collect();
    fields.remove(NAME);
    for line in lines.iter().filter(|line| pair(line).is_none_or(|(other, _)| other != name)) {
        fields.append(NAME, line);
    }
}

/// Names and values of all cookies that a response sets.
pub fn cookies(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.values_by_name(NAME).filter_map(pair)
}

fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let pair = line.split(|byte| *byte == b';').next()?;
    let at = memchr::memchr(b'=', pair)?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}

fn wrong(name: &str, value: Assigned<'_>) -> String {
    let expected = match name {
        "max_age" => "whole seconds, or a time such as \"1h\"",
        "expires" => "a time in seconds since 1970, as os.time() gives it",
        "path" => "a path that begins with /",
        "domain" => "the name of a host",
        "same_site" => "\"strict\", \"lax\" or \"none\"",
        _ => "true or false",
    };
    match value {
        Assigned::Text(text) => format!("{name}: got {}, expected {expected}", quoted(text)),
        other => format!("{name}: got a {}, expected {expected}", other.kind()),
    }
}

/// 0 and less: the browser forgets the cookie.
fn seconds(value: Assigned<'_>) -> Option<i64> {
    const MOST: i64 = 400 * 86_400;
    let seconds = match value {
        Assigned::Number(seconds) => seconds,
        Assigned::Text(text) => whole_seconds(std::str::from_utf8(text).ok()?)?,
        _ => return None,
    };
    Some(seconds.clamp(-1, MOST))
}

fn whole_seconds(text: &str) -> Option<i64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

/// Up to the year 9999.
fn date(value: Assigned<'_>) -> Option<String> {
    let seconds = match value {
        Assigned::Number(seconds @ 0..=253_402_300_799) => seconds as u64,
        _ => return None,
    };
    Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn same_site(word: &[u8]) -> Option<&'static str> {
    ["Strict", "Lax", "None"].into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

fn is_attribute(text: &[u8]) -> bool {
    text.len() <= ATTRIBUTE_MAX && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b';')
}

fn is_domain(text: &[u8]) -> bool {
    let name = text.strip_prefix(b".").unwrap_or(text);
    let is_label = |label: &[u8]| {
        !label.is_empty() && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    name.len() <= 253 && name.split(|byte| *byte == b'.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str], name: &str, value: Assigned<'_>) -> Result<Vec<String>, String> {
        let mut fields = Fields::default();
        lines.iter().for_each(|line| fields.append(b"set-cookie", line.as_bytes()));
        write(name.as_bytes(), value, &mut fields)?;
        Ok(fields.values_by_name(NAME).map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }

    #[test]
    fn a_cookie_is_added_in_place_of_those_of_its_name() {
        let lines = ["a=1; Path=/", "b=2", "a=3; Path=/x"];
        assert_eq!(
            after(&lines, "c", Assigned::Text(b"4")).unwrap(),
            ["a=1; Path=/", "b=2", "a=3; Path=/x", "c=4"]
        );
        assert_eq!(after(&lines, "a", Assigned::Text(b"")).unwrap(), ["b=2", "a="]);
        assert_eq!(after(&lines, "a", Assigned::Nil).unwrap(), ["b=2"]);
        assert_eq!(after(&lines, "none", Assigned::Nil).unwrap(), lines);
    }

    #[test]
    fn names_and_values_that_browsers_would_read_otherwise_are_refused() {
        for value in ["a b", "a;b", "a,b", "a\"b", "a\\b", "a\r\nb", "\u{e4}", "\"a"] {
            let error = after(&[], "x", Assigned::Text(value.as_bytes())).unwrap_err();
            assert!(error.starts_with("res.cookies[\"x\"]: got "), "{error}");
        }
        for name in ["", "a b", "a=b", "a;"] {
            assert!(after(&[], name, Assigned::Text(b"x")).unwrap_err().contains("not a name of a cookie"));
        }
        assert!(after(&[], "x", Assigned::Text(b"\"quoted\"")).is_ok());
        assert!(
            after(&[], "x", Assigned::Number(5)).unwrap_err().contains("got a number, expected a string")
        );
        assert!(
            after(&[], "x", Assigned::Text(&[b'x'; PAIR_MAX])).unwrap_err().contains("longer than browsers")
        );
    }

    fn made(attributes: &[(&str, Assigned<'_>)]) -> Result<String, String> {
        let mut cookie = SetCookie::default();
        cookie.set(CookieKey::Value, Assigned::Text(b"v"))?;
        for (key, value) in attributes {
            cookie.set(CookieKey::Attribute(key.as_bytes()), *value)?;
        }
        cookie.finish(b"__Host-x").map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn attributes_are_written_in_one_order_and_checked() {
        let text = |text: &'static str| Assigned::Text(text.as_bytes());
        let (secure, root) = (("secure", Assigned::Boolean(true)), ("path", text("/")));
        let all = [
            ("partitioned", Assigned::Boolean(true)),
            secure,
            ("same_site", text("none")),
            ("http_only", Assigned::Boolean(true)),
            ("max_age", text("1h")),
            ("expires", Assigned::Number(0)),
            root,
        ];
        assert_eq!(
            made(&all).unwrap(),
            "__Host-x=v; Max-Age=3600; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; SameSite=None; Secure; \
             HttpOnly; Partitioned"
        );
        assert_eq!(
            made(&[secure, root, ("max_age", Assigned::Number(-5))]).unwrap(),
            "__Host-x=v; Max-Age=-1; Path=/; Secure"
        );
        for (attributes, why) in [
            (vec![root], "a name that begins so needs secure = true"),
            (vec![secure], "a name that begins so needs path = \"/\" and no domain"),
            (
                vec![secure, root, ("domain", text("a.b"))],
                "a name that begins so needs path = \"/\" and no domain",
            ),
            (vec![("same_site", text("none"))], "same_site = \"none\" needs secure = true"),
            (vec![("partitioned", Assigned::Boolean(true))], "partitioned needs secure = true"),
            (
                vec![("max_age", text("soon"))],
                "max_age: got \"soon\", expected whole seconds, or a time such as \"1h\"",
            ),
            (
                vec![("max_age", Assigned::Float(0.5))],
                "max_age: got a number, expected whole seconds, or a time such as \"1h\"",
            ),
            (vec![("path", text("a"))], "path: got \"a\", expected a path that begins with /"),
            (vec![("path", text("/;Secure"))], "path: got \"/;Secure\", expected a path that begins with /"),
            (vec![("domain", text("a b"))], "domain: got \"a b\", expected the name of a host"),
            (vec![("secure", text("yes"))], "secure: got \"yes\", expected true or false"),
            (
                vec![("maxage", Assigned::Number(1))],
                "unknown attribute \"maxage\", did you mean \"max_age\"?",
            ),
        ] {
            assert_eq!(made(&attributes).unwrap_err(), why);
        }
        assert!(SetCookie::default().finish(b"x").unwrap_err().starts_with("no value"));
    }
}
