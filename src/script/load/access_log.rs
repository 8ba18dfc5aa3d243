//! `access_log` in `rsp.settings`: a target, or a table with one.

use std::net::{IpAddr, SocketAddr};

use mlua::Value;

use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, raw, row};
use super::values::{number, one_of, text};
use crate::config::{AccessLog, LogFormat, LogTarget, Sample};

pub(super) const KEYS: Keys<AccessLogTable> = Keys {
    noun: "access_log key",
    rows: &[
        row("path", |value, log| text(value, PATH).map(|path| log.path = Some(path))),
        row("format", |value, log| one_of(value, FORMATS).map(|format| log.format = Some(format))),
        row("sample", |value, log| number(value, 0.0..=1.0).map(|share| log.sample = Sample::of(share))),
    ],
    items: 1,
};

#[derive(Default)]
pub(super) struct AccessLogTable {
    path: Option<String>,
    format: Option<LogFormat>,
    sample: Sample,
}

const PATH: &str = "a path, \"-\" for stdout or \"syslog:/dev/log\"";
const FORMATS: &[(&str, LogFormat)] = &[
    ("combined", LogFormat::Combined),
    ("rsp", LogFormat::Rsp),
    ("haproxy", LogFormat::Haproxy),
    ("json", LogFormat::Json),
];

/// Where syslog daemons listen.
const SYSLOG_PORT: u16 = 514;

pub(super) fn access_log(value: &Value) -> ReadValue<AccessLog> {
    const EXPECTED: &str =
        "\"-\" for stdout, a path, \"syslog:/dev/log\", or { path, format = \"combined\" }";
    let mut log = AccessLogTable::default();
    match value {
        Value::Table(table) => {
            KEYS.read(table, &mut log)?;
            log.path = path(&raw(table, 1)?, log.path)?;
        }
        other => log.path = Some(text(other, EXPECTED)?),
    }
    let target = target(log.path.unwrap_or_default())?;
    Ok(AccessLog { target, format: log.format.unwrap_or(LogFormat::Combined), sample: log.sample })
}

/// The path is the first value or has a key.
fn path(first: &Value, keyed: Option<String>) -> ReadValue<Option<String>> {
    match (first, keyed) {
        (Value::Nil, Some(path)) => Ok(Some(path)),
        (Value::Nil, None) => Err(ValueError::new(format!("no path, expected {PATH}"))),
        (_, Some(_)) => Err(ValueError::new("two paths, expected one")),
        (first, None) => text(first, PATH).map(Some).map_err(|error| error.item(1)),
    }
}

fn target(path: String) -> ReadValue<LogTarget> {
    let Some(syslog) = path.strip_prefix("syslog:") else {
        return Ok(if path == "-" { LogTarget::Stdout } else { LogTarget::File(path.into()) });
    };
    let target = match syslog.strip_prefix("udp:") {
        Some(address) => udp_address(address).map(LogTarget::SyslogUdp),
        None => syslog.starts_with('/').then(|| LogTarget::Syslog(syslog.into())),
    };
    target.ok_or_else(|| {
        let expected = "\"syslog:/dev/log\" or \"syslog:udp:ADDRESS\" with an address such as 10.0.0.1:514";
        ValueError::new(format!("got {}, expected {expected}", quoted(&path)))
    })
}

/// An IP address, with or without a port: a name would have to be looked up, and the log would wait for that.
fn udp_address(text: &str) -> Option<SocketAddr> {
    let alone = || {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        inner.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, SYSLOG_PORT))
    };
    text.parse().ok().or_else(alone).filter(|address: &SocketAddr| address.port() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_stdout_a_file_or_a_syslog_daemon() {
        let read = |path: &str| target(path.into()).ok();
        let udp = |address: &str| Some(LogTarget::SyslogUdp(address.parse().unwrap()));
        assert_eq!(read("-"), Some(LogTarget::Stdout));
        assert_eq!(read("a.log"), Some(LogTarget::File("a.log".into())));
        assert_eq!(read("syslog:/dev/log"), Some(LogTarget::Syslog("/dev/log".into())));
        assert_eq!(read("syslog:udp:10.0.0.1:5140"), udp("10.0.0.1:5140"));
        assert_eq!(read("syslog:udp:10.0.0.1"), udp("10.0.0.1:514"));
        assert_eq!(read("syslog:udp:[::1]:5140"), udp("[::1]:5140"));
        assert_eq!(read("syslog:udp:[::1]"), udp("[::1]:514"));
        assert_eq!(read("syslog:udp:::1"), udp("[::1]:514"));
        for bad in [
            "syslog:",
            "syslog:dev/log",
            "syslog:udp:",
            "syslog:udp:logs:514",
            "syslog:udp:10.0.0.1:0",
            "syslog:tcp:10.0.0.1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
