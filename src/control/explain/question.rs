//! The request that is asked about, as the command line gives it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::ip_port::IpPort;

/// A request that nobody sends.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    pub method: String,
    /// `http://host/path`, `https://host/path`, or a path alone.
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// The client's address; 127.0.0.1 where none is given.
    pub from: Option<String>,
    pub body: Option<String>,
    /// `rsp.fetch` and `rsp.resolve` really ask.
    pub fetch: bool,
}

/// A question that can be asked.
pub(super) struct Asked {
    pub client: IpPort,
    pub is_https: bool,
    /// Of the URL, if it names one.
    pub port: Option<u16>,
    pub host: String,
    /// What the client sends.
    pub bytes: Vec<u8>,
}

const FROM: &str = "127.0.0.1";

impl Question {
    /// An error is for the one who asks.
    pub(super) fn asked(&self) -> Result<Asked, String> {
        let (is_https, authority, target) = split(&self.url)?;
        let port = port_of(authority);
        let from = self.from.as_deref().unwrap_or(FROM);
        let client = client(from).ok_or_else(|| {
            format!("--from {from}: expected an address, as 192.0.2.7 or [2001:db8::1]:5000")
        })?;
        let mut bytes = format!("{} {target} HTTP/1.1\r\n", self.method).into_bytes();
        let has = |name: &str| self.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
        if !authority.is_empty() && !has("host") {
            line(&mut bytes, "Host", authority);
        }
        for (name, value) in &self.headers {
            line(&mut bytes, name, value);
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() && !has("content-length") && !has("transfer-encoding") {
            line(&mut bytes, "Content-Length", &body.len().to_string());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.as_bytes());
        let host = authority.strip_suffix(&format!(":{}", port.unwrap_or(0))).unwrap_or(authority);
        Ok(Asked { client, is_https, port, host: host.to_owned(), bytes })
    }
}

/// The header of `-H 'NAME: VALUE'`.
pub fn header(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

fn line(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}

/// Whether it is https, the authority, and the target.
fn split(url: &str) -> Result<(bool, &str, &str), String> {
    let expected = || format!("{url}: expected a URL as http://example.com/path, or a path");
    let (is_https, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        _ if url.starts_with('/') || url == "*" => return Ok((false, "localhost", url)),
        _ => return Err(expected()),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    match target {
        _ if authority.is_empty() => Err(expected()),
        "" => Ok((is_https, authority, "/")),
        target if target.starts_with('?') => Err(format!("{url}: expected a path before the query")),
        target => Ok((is_https, authority, target)),
    }
}

fn port_of(authority: &str) -> Option<u16> {
    let (host, port) = authority.rsplit_once(':')?;
    let whole = !host.contains(':') || host.ends_with(']');
    port.parse().ok().filter(|_| whole)
}

fn client(text: &str) -> Option<IpPort> {
    let bare = text.parse::<IpAddr>().map(|ip| IpPort::new(ip, 50_000));
    bare.ok().or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Result<Asked, String> {
        Question { method: "GET".into(), url: url.into(), ..Question::default() }.asked()
    }

    #[test]
    fn a_url_becomes_what_a_client_sends() {
        for (url, https, port, host, head) in [
            ("http://a.example", false, None, "a.example", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            ("HTTPS://a:8443/b?c#d", true, Some(8443), "a", "GET /b?c HTTP/1.1\r\nHost: a:8443\r\n\r\n"),
            ("http://[::1]/x", false, None, "[::1]", "GET /x HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
            ("/x", false, None, "localhost", "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ] {
            let Asked { is_https, port: found, host: named, bytes, .. } = asked(url).unwrap();
            assert_eq!((is_https, found, named.as_str()), (https, port, host), "{url}");
            assert_eq!(String::from_utf8(bytes).unwrap(), head);
        }
        for bad in ["", "a.example", "ftp://a/", "http://", "http:///x", "http://a?b"] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_is_announced_and_headers_are_sent_as_given() {
        let question = Question {
            method: "POST".into(),
            url: "http://a/".into(),
            headers: vec![header("host: b").unwrap(), header("X:1").unwrap()],
            from: Some("2001:db8::1".into()),
            body: Some("abc".into()),
            fetch: false,
        };
        let Asked { bytes, client, .. } = question.asked().unwrap();
        let sent = "POST / HTTP/1.1\r\nhost: b\r\nX: 1\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(String::from_utf8(bytes).unwrap(), sent);
        assert_eq!(client.ip.to_string(), "2001:db8::1");
        assert!(Question { from: Some("here".into()), ..question }.asked().is_err());
    }
}
