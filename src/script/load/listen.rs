//! `rsp.listen "ADDR"`, or `rsp.listen { "ADDR", … }` for what a listener may be told besides.

use mlua::Value;

use super::address::{Side, resolve};
use super::builder::{Draft, Set};
use super::calls::Call;
use super::error::{Read, Step, Wrong};
use super::schema::{Keys, raw, row};
use super::sockets::{backlog, buffer, busy_poll};
use super::values::{text, yes_or_no};
use crate::config::{Address, ListenerConfig, SocketOptions, Trusted, later};

#[derive(Default)]
pub(super) struct Written {
    proxy_protocol: bool,
    backlog: Option<u32>,
    defer_accept: bool,
    sockets: SocketOptions,
}

pub(super) const KEYS: Keys<Written> = Keys {
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

const EXPECTED: &str = "an address such as \"0.0.0.0:80\", \"[::]:80\" or \"unix:/run/rsp.sock\"";

pub(super) fn call(call: &Call, draft: &mut Draft) -> Read<Value> {
    let mut keys = Written::default();
    let written = match call.argument {
        Value::Table(table) => {
            KEYS.read(table, &mut keys)?;
            text(&raw(table, 1)?, EXPECTED)?
        }
        value => text(value, EXPECTED)?,
    };
    let address =
        resolve(&written, Side::Listener, &mut draft.source).map_err(|bad| bad.in_config(&written))?;
    if draft.listeners.iter().any(|listener| listener.address == address) && !any_port(&address) {
        return Err(Wrong::new(format!("{written} is listened on twice, expected one rsp.listen for it")));
    }
    check_tcp(&address, &keys)?;
    if keys.proxy_protocol {
        let place = call.place.of_key(&draft.texts, &[Step::Key("proxy_protocol".into())]);
        draft.proxied.push(Set { value: address.clone(), place });
    }
    let plain = ListenerConfig::at(address);
    draft.listeners.push(ListenerConfig {
        proxy_protocol: keys.proxy_protocol,
        backlog: keys.backlog.unwrap_or(plain.backlog),
        defer_accept: keys.defer_accept,
        sockets: keys.sockets,
        ..plain
    });
    Ok(Value::Nil)
}

/// What a Unix socket does not have would be set and never be heard of.
fn check_tcp(address: &Address, keys: &Written) -> Read<()> {
    let first = keys.defer_accept.then_some("defer_accept").or(keys.sockets.first_set());
    match (address, first) {
        (Address::Unix(_), Some(key)) => {
            Err(Wrong::new("a unix socket has none, expected a TCP address such as \"0.0.0.0:80\"").key(key))
        }
        _ => Ok(()),
    }
}

/// With nobody trusted, nobody could use the listener: whoever wrote that meant something else.
pub(super) fn check_trust(draft: &Draft) -> Result<(), String> {
    let nobody = Trusted::default();
    let trusted = draft.settings.as_ref().map_or(&nobody, |set| &set.value.trusted);
    let shut_out = draft.proxied.iter().find_map(|set| {
        let missing = match set.value {
            Address::Ip(_) if trusted.networks.is_empty() => "trusted = { \"10.0.0.0/8\" }",
            Address::Unix(_) if !trusted.unix => "trusted = { \"unix:\" }",
            _ => return None,
        };
        Some((&set.place, missing))
    });
    let Some((place, missing)) = shut_out else { return Ok(()) };
    Err(format!(
        "{place}: proxy_protocol: nobody is trusted to send it, expected the addresses of the proxies in front, \
         as in rsp.settings {{ {missing} }}"
    ))
}

fn any_port(address: &Address) -> bool {
    matches!(address, Address::Ip(ip) if ip.port() == 0)
}
