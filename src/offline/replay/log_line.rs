//! Rows of access logs: nginx's "combined", as all servers write it, and rsp's json.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use super::times;

/// A request as its row tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row<'a> {
    pub method: Cow<'a, [u8]>,
    pub target: Cow<'a, [u8]>,
    /// HTTP/1.0.
    pub is_old: bool,
    /// As written; empty for a client on a unix socket.
    pub client: Cow<'a, [u8]>,
    /// Seconds since 1970.
    pub time: Option<u64>,
    pub referer: Option<Cow<'a, [u8]>>,
    pub user_agent: Option<Cow<'a, [u8]>>,
    /// What only json has.
    pub more: Option<More<'a>>,
}

/// What a row of json tells besides.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct More<'a> {
    pub client_port: u16,
    pub listener: Cow<'a, str>,
    pub is_https: bool,
    pub host: Cow<'a, str>,
    pub tls_version: Option<Cow<'a, str>>,
    pub sni: Option<Cow<'a, str>>,
}

impl Row<'_> {
    /// `None`: it cannot be read, or its request could not.
    pub fn of(line: &[u8]) -> Option<Row<'_>> {
        match line.first()? {
            b'{' => json(line),
            _ => combined(line),
        }
    }

    /// The client's address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        std::str::from_utf8(&self.client).ok()?.parse().ok()
    }
}

/// `ADDRESS - USER [TIME] "METHOD TARGET VERSION" STATUS BYTES "REFERER" "USER AGENT"`; the last two may be missing
/// ("common"), and anything may follow.
fn combined(line: &[u8]) -> Option<Row<'_>> {
    let mut rest = Words(line);
    let client = rest.word()?;
    // The user's name may have blanks.
    let at = memchr::memmem::find(rest.0, b" [")?;
    rest.0 = &rest.0[at + 2..];
    let end = memchr::memchr(b']', rest.0)?;
    let time = times::combined(&rest.0[..end]);
    rest.0 = rest.0[end + 1..].trim_ascii_start();
    let request = rest.quoted()?;
    let mut words = request.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_old = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" | b"HTTP/2.0" | b"HTTP/3.0" => false,
        _ => return None,
    };
    if words.next().is_some() || method.is_empty() || target.is_empty() || client.is_empty() {
        return None;
    }
    let status = rest.word()?;
    if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) {
        return None;
    }
    rest.word()?;
    let said = |text: Option<Vec<u8>>| text.filter(|text| !text.is_empty() && text != b"-");
    Some(Row {
        method: method.to_vec().into(),
        target: target.to_vec().into(),
        is_old,
        client: if client == b"unix:" { b"" } else { client }.into(),
        time,
        referer: said(rest.quoted()).map(Cow::Owned),
        user_agent: said(rest.quoted()).map(Cow::Owned),
        more: None,
    })
}

struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a [u8]> {
        let text = self.0.trim_ascii_start();
        let end = memchr::memchr(b' ', text).unwrap_or(text.len());
        self.0 = &text[end..];
        (end > 0).then(|| &text[..end])
    }

    /// A text in quotes, with `\xHH`, `\"` and `\\` in it.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut rest = self.0.trim_ascii_start().strip_prefix(b"\"")?;
        let mut text = Vec::with_capacity(64);
        loop {
            let at = memchr::memchr2(b'"', b'\\', rest)?;
            text.extend_from_slice(&rest[..at]);
            if rest[at] == b'"' {
                self.0 = &rest[at + 1..];
                return Some(text);
            }
            let escaped = rest.get(at + 1)?;
            rest = &rest[at + 2..];
            match (escaped, rest.get(..2).and_then(byte)) {
                (b'x', Some(byte)) => {
                    text.push(byte);
                    rest = &rest[2..];
                }
                (other, _) => text.push(*other),
            }
        }
    }
}

fn byte(hex: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    Some((digit(hex[0])? * 16 + digit(hex[1])?) as u8)
}

/// Borrowed where nothing in it is escaped. (In an `Option`, serde makes a `Cow` an owned one, whatever is asked for.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    ts: Option<Text<'a>>,
    client_ip: Option<Text<'a>>,
    client_port: Option<u16>,
    listener: Option<Text<'a>>,
    tls_version: Option<Text<'a>>,
    sni: Option<Text<'a>>,
    method: Option<Text<'a>>,
    scheme: Option<Text<'a>>,
    host: Option<Text<'a>>,
    target: Option<Text<'a>>,
    version: Option<Text<'a>>,
    referer: Option<Text<'a>>,
    user_agent: Option<Text<'a>>,
}

fn json(line: &[u8]) -> Option<Row<'_>> {
    // Looked at as a whole, texts need not be looked at one by one.
    let json: Json<'_> = serde_json::from_str(std::str::from_utf8(line).ok()?).ok()?;
    let more = More {
        client_port: json.client_port.unwrap_or_default(),
        listener: text(json.listener).unwrap_or_default(),
        is_https: text(json.scheme).as_deref() == Some("https"),
        host: text(json.host).unwrap_or_default(),
        tls_version: text(json.tls_version),
        sni: text(json.sni),
    };
    Some(Row {
        // A malformed request has neither.
        method: bytes(json.method?),
        target: bytes(json.target?),
        is_old: json.version?.0 == "1.0",
        client: json.client_ip.map(bytes).unwrap_or_default(),
        time: json.ts.and_then(|time| times::iso(time.0.as_bytes())),
        referer: json.referer.map(bytes),
        user_agent: json.user_agent.map(bytes),
        more: Some(more),
    })
}

fn text(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|text| text.0)
}

fn bytes(text: Text<'_>) -> Cow<'_, [u8]> {
    match text.0 {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn rows_of_combined_logs_are_read_whoever_wrote_them() {
        fn row(line: &str) -> Option<Row<'_>> {
            Row::of(line.as_bytes())
        }
        let nginx = row(
            "192.0.2.7 - a b [10/Oct/2025:13:55:36 -0700] \"GET /a?b=\\x22c HTTP/1.1\" 200 512 \"http://r/\" \"U \\\"A\\\"\"",
        );
        let nginx = nginx.unwrap();
        assert_eq!((text(&nginx.method), text(&nginx.target)), ("GET".into(), "/a?b=\"c".into()));
        assert_eq!((text(&nginx.client), nginx.time), ("192.0.2.7".into(), Some(1_760_129_736)));
        assert_eq!(nginx.referer.as_deref(), Some(&b"http://r/"[..]));
        assert_eq!(nginx.user_agent.as_deref(), Some(&b"U \"A\""[..]));
        let common = row("::1 - - [10/Oct/2025:13:55:36 +0000] \"HEAD / HTTP/1.0\" 304 0").unwrap();
        assert!(common.is_old && common.referer.is_none() && common.more.is_none());
        let more = row("::1 - - [x] \"GET / HTTP/1.1\" 200 0 \"-\" \"-\" rt=0.1 \"more\"").unwrap();
        assert_eq!((more.time, more.user_agent), (None, None));
    }

    #[test]
    fn rows_of_json_tell_more() {
        let line = r#"{"ts":"2025-10-10T20:55:36.123456Z","client_ip":"192.0.2.7","client_port":4711,"listener":"https","tls_version":"1.3","sni":"a.example","method":"GET","scheme":"https","host":"A.example","target":"/x","version":"1.1","status":200,"tenant":{"a":[1]},"referer":null,"user_agent":"u\u00ff"}"#;
        let row = Row::of(line.as_bytes()).unwrap();
        let more = row.more.as_ref().unwrap();
        assert!(
            matches!((&row.target, &more.host), (Cow::Borrowed(_), Cow::Borrowed(_))),
            "nothing is copied"
        );
        assert_eq!((more.client_port, more.is_https, &*more.host), (4711, true, "A.example"));
        assert_eq!((row.time, text(&row.target)), (Some(1_760_129_736), "/x".into()));
    }

    #[test]
    fn what_is_no_request_is_not_read() {
        for line in [
            "",
            "hello",
            "192.0.2.7 - - [10/Oct/2025:13:55:36 +0000] \"-\" 408 0 \"-\" \"-\"",
            "192.0.2.7 - - [10/Oct/2025:13:55:36 +0000] \"\\x16\\x03\\x01\" 400 0 \"-\" \"-\"",
            "192.0.2.7 - - [10/Oct/2025:13:55:36 +0000] \"GET / HTTP/1.1\" x 0",
            "192.0.2.7 - - [10/Oct/2025:13:55:36 +0000] \"GET /",
            "{\"method\":\"GET\"}",
            "{\"method\":null,\"target\":\"\\\\x16\",\"version\":null}",
            "{",
        ] {
            assert_eq!(Row::of(line.as_bytes()), None, "{line}");
        }
    }
}
