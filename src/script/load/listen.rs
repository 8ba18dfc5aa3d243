//! `rsp.listen "ADDR"`, or `rsp.listen { "ADDR", … }` with options.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mlua::{Function, Value};

use super::address::listener_address;
use super::builder::{Builder, SetOnce};
use super::calls::Call;
use super::error::{PathStep, ReadValue, ValueError, quoted};
use super::schema::table;
use super::schema::{Keys, raw, row};
use super::tls::{self, TlsTable};
use super::values::{backlog, buffer, busy_poll};
use super::values::{function, name, one_of, text, yes_or_no};
use crate::config::{Address, ListenerConfig, SocketOptions, Trusted};

#[derive(Default)]
pub(super) struct ListenTable {
    name: Option<String>,
    tls: Option<TlsTable>,
    redirect: bool,
    sni: Option<Function>,
    proxy_protocol: bool,
    backlog: Option<u32>,
    defer_accept: bool,
    sockets: SocketOptions,
}

pub(super) const KEYS: Keys<ListenTable> = Keys {
    noun: "listener key",
    rows: &[
        row("name", |value, listener| name(value).map(|name| listener.name = Some(name))),
        row("tls", |value, listener| {
            let mut tls = TlsTable::default();
            let expected = "a table such as { cert = \"site.pem\", key = \"site.key\" }";
            tls::KEYS.read(table(value, expected)?, &mut tls).map(|()| listener.tls = Some(tls))
        }),
        row("redirect", |value, listener| {
            one_of(value, &[("https", true)]).map(|yes| listener.redirect = yes)
        }),
        row("sni", |value, listener| {
            function(value, "a function(name) that returns a pool").map(|sni| listener.sni = Some(sni))
        }),
        row("proxy_protocol", |value, listener| yes_or_no(value).map(|is| listener.proxy_protocol = is)),
        row("backlog", |value, listener| backlog(value).map(|most| listener.backlog = most)),
        row("defer_accept", |value, listener| yes_or_no(value).map(|is| listener.defer_accept = is)),
        row("receive_buffer", |value, all| buffer(value).map(|size| all.sockets.receive_buffer = size)),
        row("send_buffer", |value, all| buffer(value).map(|size| all.sockets.send_buffer = size)),
        row("busy_poll", |value, all| busy_poll(value).map(|micros| all.sockets.busy_poll = micros)),
    ],
    items: 1,
};

const EXPECTED: &str =
    "an address such as \"0.0.0.0:80\", \"[::]:80\", \"unix:/run/rsp.sock\" or \"systemd:web\"";

pub(super) fn call(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let mut keys = ListenTable::default();
    let written = match call.argument {
        Value::Table(table) => {
            KEYS.read(table, &mut keys)?;
            text(&raw(table, 1)?, EXPECTED)?
        }
        value => text(value, EXPECTED)?,
    };
    let address = listener_address(&written, &mut builder.source).map_err(|bad| bad.in_config(&written))?;
    if builder.listeners.iter().any(|listener| listener.address == address) && !any_port(&address) {
        return Err(ValueError::new(format!(
            "{written} is listened on twice, expected one rsp.listen for it"
        )));
    }
    check_tcp(&address, &keys)?;
    if keys.proxy_protocol {
        let position = call.position.of_key(&builder.texts, &[PathStep::Key("proxy_protocol".into())]);
        builder.proxied.push(SetOnce { value: address.clone(), position });
    }
    check_alone(&keys)?;
    let plain = ListenerConfig::at(address);
    let sni = keys.sni.map(|function| builder.add_sni(function));
    let name = unused_name(keys.name, written, builder)?;
    let tls = keys.tls.map(|tls| tls.load(&name, &mut builder.source).map_err(|error| error.key("tls")));
    builder.listeners.push(ListenerConfig {
        name,
        tls: tls.transpose()?.map(Arc::new),
        redirect: keys.redirect.then_some(HTTPS),
        sni,
        proxy_protocol: keys.proxy_protocol,
        backlog: keys.backlog.unwrap_or(plain.backlog),
        defer_accept: keys.defer_accept,
        sockets: keys.sockets,
        ..plain
    });
    Ok(Value::Nil)
}

/// The port of https, to which requests are redirected unless a listener shows another one.
const HTTPS: u16 = 443;

fn unused_name(given: Option<String>, written: String, builder: &Builder) -> ReadValue<String> {
    let name = given.unwrap_or(written);
    match builder.listeners.iter().find(|other| other.name == name) {
        // Several of any free port are written alike.
        Some(other) if !any_port(&other.address) => {
            let taken = format!("{} is taken, expected a name that no other listener has", quoted(&name));
            Err(ValueError::new(taken).key("name"))
        }
        _ => Ok(name),
    }
}

/// Redirects go to port 443 if that has TLS, else to the first port with TLS that others can reach, else to the first.
pub(super) fn settle_redirects(listeners: &mut [ListenerConfig]) {
    let address = |listener: &ListenerConfig| match listener.address {
        Address::Ip(address) if listener.tls.is_some() && address.port() != 0 => Some(address),
        _ => None,
    };
    let with_tls: Vec<SocketAddr> = listeners.iter().filter_map(address).collect();
    let usual = with_tls.iter().find(|address| address.port() == HTTPS);
    let open = usual.or_else(|| with_tls.iter().find(|address| !address.ip().is_loopback()));
    let Some(to) = open.or(with_tls.first()) else { return };
    listeners.iter_mut().filter_map(|listener| listener.redirect.as_mut()).for_each(|port| *port = to.port());
}

/// Authorities ask on port 80, in plain text.
pub(super) fn settle_challenges(listeners: &mut [ListenerConfig], directory: Option<&Arc<Path>>) {
    let plain = listeners.iter_mut().filter(|listener| listener.tls.is_none() && listener.sni.is_none());
    plain.for_each(|listener| listener.challenges = directory.cloned());
}

/// A listener ends TLS, sends clients to one that does, or passes TLS through.
fn check_alone(keys: &ListenTable) -> ReadValue<()> {
    let wrong = |key: &str, text: &str| Err(ValueError::new(text).key(key));
    match (&keys.tls, keys.redirect, &keys.sni) {
        (Some(_), true, _) => wrong("redirect", "it has tls itself, expected a listener without"),
        (Some(_), _, Some(_)) => {
            wrong("sni", "it has tls, which is not passed through, expected one of both")
        }
        (None, true, Some(_)) => wrong("sni", "it has redirect, which takes requests, expected one of both"),
        _ => Ok(()),
    }
}

/// TCP options would have no effect on a Unix socket.
fn check_tcp(address: &Address, keys: &ListenTable) -> ReadValue<()> {
    let first = keys.defer_accept.then_some("defer_accept").or(keys.sockets.first_set());
    match (address, first) {
        (Address::Unix(_), Some(key)) => {
            Err(ValueError::new("a unix socket has none, expected a TCP address such as \"0.0.0.0:80\"")
                .key(key))
        }
        _ => Ok(()),
    }
}

/// Without trusted peers nobody could use the listener: probably a mistake.
pub(super) fn check_trust(builder: &Builder) -> Result<(), String> {
    let nobody = Trusted::default();
    let trusted = builder.settings.as_ref().map_or(&nobody, |set| &set.value.trusted);
    let shut_out = builder.proxied.iter().find_map(|set| {
        let missing = match set.value {
            Address::Ip(_) if trusted.networks.is_empty() => "trusted = { \"10.0.0.0/8\" }",
            Address::Unix(_) if !trusted.unix => "trusted = { \"unix:\" }",
            Address::Systemd(_) if trusted.networks.is_empty() && !trusted.unix => {
                "trusted = { \"10.0.0.0/8\" }"
            }
            _ => return None,
        };
        Some((&set.position, missing))
    });
    let Some((position, missing)) = shut_out else { return Ok(()) };
    Err(format!(
        "{position}: proxy_protocol: nobody is trusted to send it, expected the addresses of the proxies in front, \
         as in rsp.settings {{ {missing} }}"
    ))
}

fn any_port(address: &Address) -> bool {
    matches!(address, Address::Ip(ip) if ip.port() == 0)
}
