//! What a test asks, from the tables that it gives: checked as strictly as a config, with the nearest name.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Table, Value};

use super::values::show;
use crate::base::ip_port::IpPort;
use crate::config::ListenerConfig;
use crate::net::TlsInfo;
use crate::offline::{Asking, Headers, Responding};
use crate::script::nearest_hint;

/// Who asks, unless the test says so (RFC 5737).
const CLIENT: IpPort = IpPort { ip: IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)), port: 40000 };
/// What is asked for where the URL is a path.
const HOST: &str = "localhost";

const REQUEST: [&str; 8] = ["method", "url", "headers", "from", "body", "listener", "version", "tls"];
const RESPONSE: [&str; 3] = ["status", "headers", "body"];
const CONNECT: [&str; 3] = ["from", "listener", "sni"];
const TLS: [&str; 6] = ["version", "cipher", "sni", "alpn", "client_subject", "client_verified"];

/// A connection that a test begins.
pub struct Connecting {
    pub from: Option<IpPort>,
    pub listener: usize,
    pub sni: Option<Vec<u8>>,
}

/// Reads the argument of `t:request`: a table, or only the URL.
pub fn request(value: &Value, listeners: &[Arc<ListenerConfig>]) -> Result<Asking, String> {
    let table = match value {
        Value::Table(table) => Some(table),
        Value::String(_) => None,
        other => {
            return Err(format!(
                "t:request: got {}, expected a table: t:request{{ url = \"/\" }}",
                show(other)
            ));
        }
    };
    if let Some(table) = table {
        check_keys(table, &REQUEST, "t:request")?;
    }
    let field = |name: &str| table.map_or(Value::Nil, |table| table.raw_get(name).unwrap_or(Value::Nil));
    let url = match table {
        Some(_) => text(&field("url"), "t:request: url")?.unwrap_or_else(|| b"/".to_vec()),
        None => text(value, "t:request: url")?.unwrap_or_default(),
    };
    let url = Url::of(&url)?;
    let headers = headers_to(&url, &field("headers"))?;
    let listener = match text(&field("listener"), "t:request: listener")? {
        Some(name) => named(&name, listeners)?,
        None => fitting(&url, listeners)?,
    };
    let tls = tls_at(&listeners[listener], &field("tls"), &url)?;
    let mut asking = Asking {
        method: text(&field("method"), "t:request: method")?.unwrap_or_else(|| b"GET".to_vec()),
        target: url.target,
        is_old: version(&field("version"))?,
        fields: Vec::new(),
        is_framed: headers.iter().any(|(name, _)| is_framing(name)),
        body: text(&field("body"), "t:request: body")?.unwrap_or_default(),
        from: address(&field("from"), "t:request: from")?,
        listener,
        tls,
    };
    headers.iter().for_each(|(name, value)| asking.add(name, value));
    Ok(asking)
}

/// The headers of a request, with the URL's `Host`.
fn headers_to(url: &Url, value: &Value) -> Result<Headers, String> {
    let mut headers = headers(value, "t:request: headers")?;
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"Host")) {
        headers.insert(0, (b"Host".to_vec(), url.host.clone()));
    }
    Ok(headers)
}

fn tls_at(listener: &ListenerConfig, value: &Value, url: &Url) -> Result<Option<Rc<TlsInfo>>, String> {
    match (&listener.tls, value) {
        (Some(_), given) => Ok(Some(Rc::new(tls(given, url)?))),
        (None, Value::Nil) => Ok(None),
        (None, _) => Err("t:request: tls: the listener does not speak TLS".to_string()),
    }
}

fn is_framing(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"Transfer-Encoding")
}

/// Reads the argument of `t:response`.
pub fn response(table: &Table) -> Result<Responding, String> {
    check_keys(table, &RESPONSE, "t:response")?;
    let status = match table.raw_get("status").unwrap_or(Value::Nil) {
        Value::Nil => 200,
        value => value.as_u32().filter(|status| (100..=999).contains(status)).ok_or_else(|| {
            format!("t:response: status: got {}, expected a number from 100 to 999", show(&value))
        })?,
    };
    Ok(Responding {
        status: status as u16,
        headers: headers(&table.raw_get("headers").unwrap_or(Value::Nil), "t:response: headers")?,
        body: text(&table.raw_get("body").unwrap_or(Value::Nil), "t:response: body")?.unwrap_or_default(),
    })
}

/// Reads the argument of `t:connect`.
pub fn connect(table: &Table, listeners: &[Arc<ListenerConfig>]) -> Result<Connecting, String> {
    check_keys(table, &CONNECT, "t:connect")?;
    let field = |name: &str| table.raw_get(name).unwrap_or(Value::Nil);
    let sni = text(&field("sni"), "t:connect: sni")?.map(|name| name.to_ascii_lowercase());
    let listener = match text(&field("listener"), "t:connect: listener")? {
        Some(name) => named(&name, listeners)?,
        None => listeners.iter().position(|listener| listener.sni.is_some()).unwrap_or(0),
    };
    Ok(Connecting { from: address(&field("from"), "t:connect: from")?, listener, sni })
}

/// An error for keys that are not known.
pub fn check_keys(table: &Table, known: &[&str], what: &str) -> Result<(), String> {
    for (key, _) in table.pairs::<Value, Value>().flatten() {
        let name = key.as_string().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !known.contains(&name.as_str()) {
            let hint = nearest_hint(name.as_bytes(), known.iter().copied());
            return Err(format!("{what}: unknown key {}, {hint}", show(&key)));
        }
    }
    Ok(())
}

/// A string or a number; nil where there is none.
pub fn text(value: &Value, what: &str) -> Result<Option<Vec<u8>>, String> {
    match value {
        Value::Nil => Ok(None),
        Value::String(text) => Ok(Some(text.as_bytes().to_vec())),
        Value::Integer(number) => Ok(Some(number.to_string().into_bytes())),
        other => Err(format!("{what}: got {}, expected a string", show(other))),
    }
}

/// `{ name = "value", other = { "one", "two" } }`, by name.
pub fn headers(value: &Value, what: &str) -> Result<Headers, String> {
    let table = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Table(table) => table,
        other => return Err(format!("{what}: got {}, expected a table", show(other))),
    };
    let mut headers = Vec::new();
    for (name, value) in table.pairs::<Value, Value>().flatten() {
        let Value::String(name) = &name else {
            return Err(format!("{what}: got {} as a name, expected a string", show(&name)));
        };
        let name = name.as_bytes().to_vec();
        let what = format!("{what}[\"{}\"]", name.escape_ascii());
        match &value {
            Value::Table(list) => {
                for item in list.sequence_values::<Value>().flatten() {
                    headers.push((name.clone(), text(&item, &what)?.unwrap_or_default()));
                }
            }
            value => headers.push((name, text(value, &what)?.unwrap_or_default())),
        }
    }
    // Lua has no order of its own.
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(headers)
}

struct Url {
    /// `None`: only a path was given.
    is_tls: Option<bool>,
    host: Vec<u8>,
    target: Vec<u8>,
}

impl Url {
    fn of(url: &[u8]) -> Result<Url, String> {
        for (scheme, is_tls) in [(&b"http://"[..], false), (b"https://", true)] {
            let Some(rest) = url.strip_prefix(scheme) else { continue };
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (host, target) = rest.split_at(end);
            let slash: &[u8] = if target.starts_with(b"/") { b"" } else { b"/" };
            return Ok(Url { is_tls: Some(is_tls), host: host.to_vec(), target: [slash, target].concat() });
        }
        match url {
            [b'/', ..] | b"*" => Ok(Url { is_tls: None, host: HOST.into(), target: url.to_vec() }),
            _ => Err(format!(
                "t:request: url: got \"{}\", expected one as \"http://example.com/a?b=1\", or a path",
                url.escape_ascii()
            )),
        }
    }
}

fn named(name: &[u8], listeners: &[Arc<ListenerConfig>]) -> Result<usize, String> {
    let found = listeners.iter().position(|listener| listener.name.as_bytes() == name);
    found.ok_or_else(|| {
        let hint = nearest_hint(name, listeners.iter().map(|listener| listener.name.as_str()));
        format!("no listener is named \"{}\", {hint}", name.escape_ascii())
    })
}

/// The first listener that such a URL comes in at.
fn fitting(url: &Url, listeners: &[Arc<ListenerConfig>]) -> Result<usize, String> {
    let fits = |tls: bool| listeners.iter().position(|l| l.sni.is_none() && l.tls.is_some() == tls);
    match url.is_tls {
        Some(true) => fits(true).ok_or_else(|| {
            "t:request: url: no listener speaks TLS (behind a trusted proxy, \"X-Forwarded-Proto\" says https)".into()
        }),
        Some(false) => fits(false).ok_or_else(|| "t:request: url: every listener speaks TLS".into()),
        None => {
            let any = fits(false).or(fits(true));
            any.ok_or_else(|| "t:request: no listener takes requests: t:connect{ sni = … } asks for a name".into())
        }
    }
}

fn version(value: &Value) -> Result<bool, String> {
    match text(value, "t:request: version")?.as_deref() {
        None | Some(b"1.1") => Ok(false),
        Some(b"1.0") => Ok(true),
        Some(_) => Err(format!("t:request: version: got {}, expected \"1.1\" or \"1.0\"", show(value))),
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80` or `unix:`.
fn address(value: &Value, what: &str) -> Result<Option<IpPort>, String> {
    let Some(written) = text(value, what)? else { return Ok(Some(CLIENT)) };
    let written = String::from_utf8_lossy(&written);
    if written == "unix:" {
        return Ok(None);
    }
    let with_port = written.parse::<IpPort>().ok();
    let found = with_port.or_else(|| written.parse().ok().map(|ip| IpPort::new(ip, CLIENT.port)));
    found.map(Some).ok_or_else(|| format!("{what}: got {}, expected an IP address or \"unix:\"", show(value)))
}

fn tls(value: &Value, url: &Url) -> Result<TlsInfo, String> {
    let name = without_port(&url.host);
    let mut tls = TlsInfo {
        version: "1.3",
        cipher: "TLS13_AES_128_GCM_SHA256".into(),
        sni: Some(String::from_utf8_lossy(name).to_lowercase()),
        ..TlsInfo::default()
    };
    let table = match value {
        Value::Nil => return Ok(tls),
        Value::Table(table) => table,
        other => return Err(format!("t:request: tls: got {}, expected a table", show(other))),
    };
    check_keys(table, &TLS, "t:request: tls")?;
    let field = |name: &str| -> Result<Option<String>, String> {
        let value = table.raw_get(name).unwrap_or(Value::Nil);
        Ok(text(&value, "t:request: tls")?.map(|text| String::from_utf8_lossy(&text).into_owned()))
    };
    tls.version = match field("version")?.as_deref() {
        None | Some("1.3") => "1.3",
        Some("1.2") => "1.2",
        Some(_) => return Err("t:request: tls: version: expected \"1.3\" or \"1.2\"".into()),
    };
    tls.cipher = field("cipher")?.unwrap_or(tls.cipher);
    tls.sni = field("sni")?.or(tls.sni);
    tls.alpn = field("alpn")?;
    tls.client_subject = field("client_subject")?;
    let verified = table.raw_get::<Value>("client_verified").unwrap_or(Value::Nil).as_boolean();
    tls.client_verified = verified.unwrap_or(tls.client_subject.is_some());
    Ok(tls)
}

/// The host of `HOST:PORT`.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host.ends_with(b"]") => &host[..at],
        _ => host,
    }
}
