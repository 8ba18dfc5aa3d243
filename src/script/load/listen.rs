//! `rsp.listen "ADDR"`, or `rsp.listen { "ADDR", … }` with options.

use mlua::Value;

use super::address::listener_address;
use super::builder::{Builder, SetOnce};
use super::calls::Call;
use super::error::{PathStep, ReadValue, ValueError};
use super::schema::{Keys, raw, row};
use super::values::{backlog, buffer, busy_poll};
use super::values::{text, yes_or_no};
use crate::config::{Address, ListenerConfig, SocketOptions, Trusted, later};

#[derive(Default)]
pub(super) struct ListenTable {
    proxy_protocol: bool,
    backlog: Option<u32>,
    defer_accept: bool,
    sockets: SocketOptions,
}

pub(super) const KEYS: Keys<ListenTable> = Keys {
    noun: "listener key",
    rows: &[
        row("proxy_protocol", |value, listener| yes_or_no(value).map(|is| listener.proxy_protocol = is)),
        row("backlog", |value, listener| backlog(value).map(|most| listener.backlog = most)),
        row("defer_accept", |value, listener| yes_or_no(value).map(|is| listener.defer_accept = is)),
        row("receive_buffer", |value, all| buffer(value).map(|size| all.sockets.receive_buffer = size)),
        row("send_buffer", |value, all| buffer(value).map(|size| all.sockets.send_buffer = size)),
        row("busy_poll", |value, all| busy_poll(value).map(|micros| all.sockets.busy_poll = micros)),
    ],
    later: later::LISTENER,
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
    let plain = ListenerConfig::at(address);
    builder.listeners.push(ListenerConfig {
        proxy_protocol: keys.proxy_protocol,
        backlog: keys.backlog.unwrap_or(plain.backlog),
        defer_accept: keys.defer_accept,
        sockets: keys.sockets,
        ..plain
    });
    Ok(Value::Nil)
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
