//! `rsp.listen "ADDR"`, or `rsp.listen { "ADDR", … }` for what a listener may be told besides.

use mlua::Value;

use super::address::{Side, resolve};
use super::calls::Call;
use super::draft::Draft;
use super::keys::{Keys, later, raw};
use super::values::text;
use super::wrong::{Read, Wrong};
use crate::config::{Address, Listener};

pub(super) const KEYS: Keys<()> =
    Keys { noun: "listener key", rows: &[later("tls"), later("proxy_protocol")], items: 1 };

const EXPECTED: &str = "an address such as \"0.0.0.0:80\", \"[::]:80\" or \"unix:/run/rsp.sock\"";

pub(super) fn call(call: &Call, draft: &mut Draft) -> Read<Value> {
    let written = match call.argument {
        Value::Table(table) => {
            KEYS.read(table, &mut ())?;
            text(&raw(table, 1)?, EXPECTED)?
        }
        value => text(value, EXPECTED)?,
    };
    let address =
        resolve(&written, Side::Listener, &mut draft.source).map_err(|bad| bad.in_config(&written))?;
    if draft.listeners.iter().any(|listener| listener.address == address) && !any_port(&address) {
        return Err(Wrong::new(format!("{written} is listened on twice, expected one rsp.listen for it")));
    }
    draft.listeners.push(Listener { address });
    Ok(Value::Nil)
}

fn any_port(address: &Address) -> bool {
    matches!(address, Address::Ip(ip) if ip.port() == 0)
}
