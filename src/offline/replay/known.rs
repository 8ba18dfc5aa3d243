//! Which fields of a request a row of the log tells. What a script reads beyond them decides about the request in ways
//! that cannot be known.

use super::log_line::Row;

/// What is the same for all requests that come in at the listeners of a config.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// There is one listener for requests.
    pub listener: bool,
    /// None of them, or each, speaks TLS.
    pub scheme: bool,
    /// None of them speaks TLS: `req.tls` is nil.
    pub no_tls: bool,
}

/// Whether the row tells this field. `object` is as scripts write it, `name` the field's.
pub fn is_known(row: &Row<'_>, common: Common, (object, name): (&str, &str)) -> bool {
    match (object, name) {
        ("req.headers", "referer" | "user-agent") => true,
        ("req.headers", "host") => row.more.is_some(),
        ("req.headers" | "req.cookies", _) => false,
        ("req.args", _) => true,
        ("req.tls", "version" | "sni") => row.more.is_some(),
        ("req.tls", _) => false,
        ("req", "host") => row.more.is_some(),
        ("req", "client_port") => row.more.is_some(),
        // Some servers write names.
        ("req" | "conn", "client_ip") => row.client.is_empty() || row.address().is_some(),
        ("req", "scheme") => common.scheme || row.more.is_some(),
        ("req", "tls") => common.no_tls || row.more.is_some(),
        ("req" | "conn", "listener") => common.listener || row.more.is_some(),
        ("req", "id" | "body") => false,
        ("req" | "conn", _) => true,
        _ => true,
    }
}

/// For reports: `req.host`, `req.headers["cookie"]`.
pub fn written((object, name): &(&'static str, String)) -> String {
    match *object {
        _ if name.is_empty() => format!("pairs({object})"),
        "req" | "conn" | "req.tls" => format!("{object}.{name}"),
        object => format!("{object}[\"{}\"]", name.escape_default()),
    }
}
