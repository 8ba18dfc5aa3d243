//! What a handler may wait for: a time, the response of a pool (`rsp.fetch`), the addresses of a name, the request's
//! body. Safe code on plain data: the worker does the waiting.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::directory::{Directory, quoted};
use super::headers::{BYTES_MAX, FIELDS_MAX, check_name, check_value};
use super::nearest;
use crate::config::PoolId;
use crate::h1;
use crate::http::{Method, Name};
use crate::store::BasicAuth;

/// A handler waits no longer than this in all, however many times: nobody waits for a request without end.
pub const LONGEST: Duration = Duration::from_secs(60);
/// A shorter one would only make the loop turn.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long `rsp.fetch` waits, unless told otherwise.
const FETCH: Duration = Duration::from_secs(5);
/// The most that a response may have for `rsp.fetch`, unless told otherwise, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// The most that may be allowed, in bytes.
const MOST_BODY: u64 = 64 * 1024 * 1024;
/// The longest path with its query, in bytes.
const PATH_MAX: usize = 16 * 1024;
/// The longest name for `rsp.resolve` (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;

/// The reason beside nil when a wait's time is over.
pub const TIMEOUT: &str = "timeout";

/// What a handler waits for.
#[derive(Debug)]
pub enum Wait {
    Sleep(Duration),
    Fetch(Box<Fetch>),
    Resolve(String),
    /// The request's body, up to so many bytes.
    Body(usize),
    Check(Box<Check>),
}

/// What came of it. An error is the reason that the script gets beside nil.
#[derive(Debug)]
pub enum Waited {
    Slept,
    Fetched(Result<Box<Fetched>, String>),
    Resolved(Result<Vec<String>, String>),
    Body(Result<Vec<u8>, &'static str>),
    /// Whether the password is right; `None`: too many are being checked.
    Checked(Option<bool>),
}

/// A password that is to be checked.
pub struct Check {
    pub users: Arc<BasicAuth>,
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

impl fmt::Debug for Check {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", quoted(&self.user))
    }
}

/// A request to a pool.
#[derive(Debug)]
pub struct Fetch {
    pub pool: PoolId,
    pub method: Method,
    /// Head and body, encoded as HTTP/1.1.
    pub bytes: Vec<u8>,
    /// The `Host` in it is a placeholder for the server's own.
    pub own_host: bool,
    pub timeout: Duration,
    /// The most that the body may have, in bytes.
    pub max_body: usize,
}

/// The response to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    pub status: u16,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// The keys of `rsp.fetch`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchKey {
    Pool,
    Method,
    Path,
    Headers,
    Body,
    Timeout,
    MaxBody,
}

const KEYS: [(&str, FetchKey); 7] = [
    ("pool", FetchKey::Pool),
    ("method", FetchKey::Method),
    ("path", FetchKey::Path),
    ("headers", FetchKey::Headers),
    ("body", FetchKey::Body),
    ("timeout", FetchKey::Timeout),
    ("max_body", FetchKey::MaxBody),
];

impl FetchKey {
    pub fn of(key: &[u8]) -> Result<FetchKey, String> {
        KEYS.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, key)| *key).ok_or_else(|| {
            let hint = nearest::hint(key, KEYS.iter().map(|(name, _)| *name));
            format!("rsp.fetch: unknown key {}, {hint}", quoted(key))
        })
    }
}

/// A time or a size that a script gives.
#[derive(Clone, Copy)]
pub enum Amount<'a> {
    Number(f64),
    Text(&'a [u8]),
    /// Any other value, of this type.
    Other(&'static str),
}

impl Amount<'_> {
    /// In seconds; `what` names it in the message.
    fn time(self, what: &str) -> Result<Duration, String> {
        let seconds = match self {
            Amount::Number(seconds) => Some(seconds),
            Amount::Text(text) => std::str::from_utf8(text).ok().and_then(super::load::seconds),
            Amount::Other(_) => None,
        };
        let expected =
            || format!("{what}: expected a time such as \"500ms\" or \"5s\", or a number of seconds");
        let seconds = seconds.filter(|seconds| *seconds >= 0.0).ok_or_else(expected)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if time <= LONGEST => Ok(time.max(SHORTEST)),
            _ => Err(format!(
                "{what}: longer than {} s, which is the most that a handler waits",
                LONGEST.as_secs()
            )),
        }
    }

    /// In bytes.
    fn size(self, what: &str) -> Result<usize, String> {
        let bytes = match self {
            Amount::Number(bytes) if bytes >= 0.0 && bytes.fract() == 0.0 => Some(bytes as u64),
            Amount::Text(text) => std::str::from_utf8(text).ok().and_then(super::load::bytes),
            _ => None,
        };
        match bytes {
            Some(bytes) if bytes <= MOST_BODY => Ok(bytes as usize),
            _ => Err(format!("{what}: expected a size from 0 to \"64m\", as \"16k\" or a number of bytes")),
        }
    }
}

/// The wait of `rsp.sleep(time)`.
pub fn sleep(time: Amount<'_>) -> Result<Wait, String> {
    time.time("rsp.sleep").map(Wait::Sleep)
}

/// The wait of `rsp.resolve(name)`.
pub fn resolve(name: &[u8]) -> Result<Wait, String> {
    let fits = (1..=NAME_MAX).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte));
    match std::str::from_utf8(name) {
        Ok(text) if fits => Ok(Wait::Resolve(text.to_owned())),
        _ => Err(format!("rsp.resolve: expected the name of a host, got {}", quoted(name))),
    }
}

/// A request under construction from the table given to `rsp.fetch`.
#[derive(Default)]
pub struct FetchBuilder {
    pool: Option<PoolId>,
    method: Vec<u8>,
    path: Vec<u8>,
    fields: Vec<u8>,
    count: usize,
    has_host: bool,
    body: Option<Vec<u8>>,
    timeout: Option<Duration>,
    max_body: Option<usize>,
}

impl FetchBuilder {
    pub fn set_pool(&mut self, pool: PoolId) {
        self.pool = Some(pool);
    }

    pub fn name_pool(&mut self, name: &[u8], directory: &Directory) -> Result<(), String> {
        let named = directory.pool_named(name).map_err(|wrong| format!("rsp.fetch: pool: {wrong}"))?;
        self.pool = Some(named);
        Ok(())
    }

    pub fn set_text(&mut self, key: FetchKey, text: &[u8]) -> Result<(), String> {
        match key {
            FetchKey::Method => {
                let fits = (1..=32).contains(&text.len()) && text.iter().all(u8::is_ascii_uppercase);
                if !fits || matches!(text, b"CONNECT" | b"TRACE") {
                    let got = quoted(text);
                    return Err(format!(
                        "rsp.fetch: method: got {got}, expected a method such as \"GET\" or \"POST\""
                    ));
                }
                self.method = text.to_vec();
            }
            FetchKey::Path => {
                let fits = text.first() == Some(&b'/') && text.len() <= PATH_MAX;
                if !fits || !text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
                    let got = quoted(text);
                    return Err(format!(
                        "rsp.fetch: path: got {got}, expected one such as \"/auth?user=1\", encoded"
                    ));
                }
                self.path = text.to_vec();
            }
            _ => self.body = Some(text.to_vec()),
        }
        Ok(())
    }

    pub fn set_amount(&mut self, key: FetchKey, amount: Amount<'_>) -> Result<(), String> {
        if let Amount::Other(kind) = amount {
            return Err(format!("rsp.fetch: {}: got a {kind}, expected a string or a number", name_of(key)));
        }
        match key {
            FetchKey::Timeout => self.timeout = Some(amount.time("rsp.fetch: timeout")?),
            _ => self.max_body = Some(amount.size("rsp.fetch: max_body")?),
        }
        Ok(())
    }

    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let at = |wrong: &str| format!("rsp.fetch: headers[{}]: {wrong}", quoted(name));
        check_name(name).map_err(at)?;
        check_value(value).map_err(at)?;
        if Name::of(name) == Name::Host {
            if self.has_host || !h1::is_host(value) {
                return Err(at("expected one host, perhaps with a port"));
            }
            self.has_host = true;
        }
        self.count += 1;
        if self.fields.len() + name.len() + value.len() > BYTES_MAX || self.count > FIELDS_MAX {
            return Err(at("the headers would be larger than 256 KiB or more than 2000"));
        }
        for part in [name, b": ", value, b"\r\n"] {
            self.fields.extend_from_slice(part);
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<Wait, String> {
        let FetchBuilder { pool, method, path, fields, has_host, body, timeout, max_body, .. } =
            std::mem::take(self);
        let Some(pool) = pool else {
            return Err(
                "rsp.fetch: pool is missing, expected rsp.fetch { pool = web, path = \"/auth\" }".into()
            );
        };
        let method = if method.is_empty() { b"GET".to_vec() } else { method };
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        let mut bytes = [&method, &b" "[..], &path, b" HTTP/1.1\r\n"].concat();
        if !has_host {
            bytes.extend_from_slice(b"Host: rsp\r\n");
        }
        bytes.extend_from_slice(&fields);
        let method = Method::of(&method);
        if body.is_some() || !matches!(method, Method::Get | Method::Head | Method::Options | Method::Delete)
        {
            let length = body.as_ref().map_or(0, Vec::len);
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body.unwrap_or_default());
        let (timeout, max_body) = (timeout.unwrap_or(FETCH), max_body.unwrap_or(MAX_BODY));
        Ok(Wait::Fetch(Box::new(Fetch { pool, method, bytes, own_host: !has_host, timeout, max_body })))
    }
}

fn name_of(key: FetchKey) -> &'static str {
    KEYS.iter().find(|(_, known)| *known == key).map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(set: impl FnOnce(&mut FetchBuilder)) -> Fetch {
        let mut builder = FetchBuilder::default();
        builder.set_pool(PoolId(3));
        set(&mut builder);
        match builder.finish().unwrap() {
            Wait::Fetch(fetch) => *fetch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_has_the_defaults_of_the_manual() {
        let got = fetch(|_| {});
        assert_eq!(got.bytes, b"GET / HTTP/1.1\r\nHost: rsp\r\n\r\n");
        assert_eq!((got.pool, got.timeout, got.max_body), (PoolId(3), Duration::from_secs(5), 1024 * 1024));
        assert!(got.own_host);
    }

    #[test]
    fn a_body_is_announced_by_its_length_and_an_empty_one_too_where_a_server_expects_it() {
        let put = |body: Option<&[u8]>| {
            let got = fetch(|builder| {
                builder.set_text(FetchKey::Method, b"PUT").unwrap();
                builder.set_text(FetchKey::Path, b"/a?b=1").unwrap();
                builder.add_header(b"host", b"a.example:81").unwrap();
                if let Some(body) = body {
                    builder.set_text(FetchKey::Body, body).unwrap();
                }
            });
            String::from_utf8(got.bytes).unwrap()
        };
        let head = "PUT /a?b=1 HTTP/1.1\r\nhost: a.example:81\r\n";
        assert_eq!(put(None), format!("{head}Content-Length: 0\r\n\r\n"));
        assert_eq!(put(Some(b"x\r\n")), format!("{head}Content-Length: 3\r\n\r\nx\r\n"));
    }

    #[test]
    fn nothing_that_could_end_a_line_or_frame_the_message_gets_into_a_request() {
        let mut builder = FetchBuilder::default();
        for path in ["", "a", "/ ", "/\r\nX: 1", "/a#b", "/\u{e4}", "http://a/"] {
            assert!(builder.set_text(FetchKey::Path, path.as_bytes()).is_err(), "{path}");
        }
        for method in ["", "get", "GET ", "G\n", "TRACE", "CONNECT"] {
            assert!(builder.set_text(FetchKey::Method, method.as_bytes()).is_err(), "{method}");
        }
        for (name, value) in [
            ("Content-Length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("X", "a\r\nb"),
            ("X Y", "1"),
            ("Host", "a b"),
        ] {
            assert!(builder.add_header(name.as_bytes(), value.as_bytes()).is_err(), "{name}: {value}");
        }
        builder.add_header(b"Host", b"a").unwrap();
        assert!(builder.add_header(b"host", b"b").is_err(), "a second host");
    }

    #[test]
    fn times_are_bounded() {
        let time = |amount: Amount<'_>| match sleep(amount) {
            Ok(Wait::Sleep(time)) => Ok(time),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err(why),
        };
        assert_eq!(time(Amount::Text(b"250ms")), Ok(Duration::from_millis(250)));
        assert_eq!(time(Amount::Number(0.0)), Ok(SHORTEST));
        assert_eq!(time(Amount::Number(60.0)), Ok(LONGEST));
        for bad in [Amount::Number(60.1), Amount::Number(-1.0), Amount::Number(f64::NAN), Amount::Text(b"1x")]
        {
            assert!(time(bad).is_err());
        }
        assert!(time(Amount::Number(f64::INFINITY)).is_err());
    }
}
