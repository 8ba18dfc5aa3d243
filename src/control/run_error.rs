//! Why rsp did not start or stopped: one line for the operator with a hint, and an exit code.

use std::fmt;
use std::io::{self, ErrorKind};

use crate::base::os_error::os_error;
use crate::config::Address;
use crate::net;
use crate::script::LoadError;

#[derive(Debug)]
pub enum RunError {
    Config(LoadError),
    Listen(Address, io::Error),
    AccessLog(String, io::Error),
    /// A worker could not start.
    Start(String),
    /// An internal fault: exit code 70.
    Fault(String),
}

impl RunError {
    /// The line without what failed: for a reload, which says that itself.
    pub fn reason(&self) -> String {
        match self {
            RunError::Config(LoadError(line)) | RunError::Start(line) => line.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Config(LoadError(line)) => write!(f, "Error parsing config file: {line}"),
            RunError::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {}{}", os_error(error), hint(address, error))
            }
            RunError::AccessLog(path, error) => {
                write!(f, "cannot open access log {path}: {}{}", os_error(error), log_hint(error))
            }
            RunError::Start(line) => write!(f, "cannot start: {line}"),
            RunError::Fault(line) => write!(f, "internal fault: {line}"),
        }
    }
}

/// The hint if descriptors run out before the first connection.
pub const TOO_FEW_DESCRIPTORS: &str =
    " (the limit of open files is too low for so many workers and listeners: ulimit -Hn shows it)";

/// A hint, if the cause is known.
fn hint(address: &Address, error: &io::Error) -> String {
    if net::is_shortage(error) {
        return TOO_FEW_DESCRIPTORS.into();
    }
    match (address, error.kind()) {
        (Address::Ip(at), ErrorKind::PermissionDenied) if at.port() < 1024 => {
            let rsp = std::env::current_exe().map_or("rsp".into(), |path| path.display().to_string());
            format!(
                " (ports below 1024 need root or CAP_NET_BIND_SERVICE: setcap cap_net_bind_service=+ep {rsp})"
            )
        }
        (Address::Ip(at), ErrorKind::AddrInUse) => {
            format!(" (another program listens there: ss -ltnp 'sport = :{}' shows which)", at.port())
        }
        (Address::Ip(_), ErrorKind::AddrNotAvailable) => {
            " (no interface of this machine has that address: ip address shows them)".into()
        }
        (Address::Unix(_), ErrorKind::AddrInUse) => {
            " (another program listens there: ss -lxp shows which)".into()
        }
        (Address::Unix(_), ErrorKind::AlreadyExists) => {
            " (there is a file of that name that is no socket)".into()
        }
        (Address::Unix(_), ErrorKind::NotFound) => " (the directory does not exist)".into(),
        (Address::Unix(_), ErrorKind::PermissionDenied) => {
            " (this user may not write to the directory)".into()
        }
        _ => String::new(),
    }
}

fn log_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => " (its directory does not exist: make it first)",
        ErrorKind::PermissionDenied => " (this user may not write there)",
        ErrorKind::IsADirectory => " (expected the path of a file)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str, errno: i32) -> String {
        let address = match address.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Ip(address.parse().unwrap()),
        };
        RunError::Listen(address, io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn a_listener_error_is_one_line_with_a_hint() {
        assert_eq!(
            listen("127.0.0.1:8080", libc::EADDRINUSE),
            "cannot listen on 127.0.0.1:8080: Address already in use (another program listens there: \
             ss -ltnp 'sport = :8080' shows which)"
        );
        let denied = listen("0.0.0.0:80", libc::EACCES);
        assert!(denied.starts_with(
            "cannot listen on 0.0.0.0:80: Permission denied (ports below 1024 need root or \
             CAP_NET_BIND_SERVICE: setcap cap_net_bind_service=+ep /"
        ));
        assert!(listen("0.0.0.0:80", libc::EMFILE).contains("Too many open files (the limit of open files"));
        assert_eq!(listen("0.0.0.0:8080", libc::EACCES), "cannot listen on 0.0.0.0:8080: Permission denied");
        assert_eq!(
            listen("unix:/run/no/rsp.sock", libc::ENOENT),
            "cannot listen on unix:/run/no/rsp.sock: No such file or directory (the directory does not exist)"
        );
    }

    #[test]
    fn an_access_log_error_is_one_line_with_a_hint() {
        let failure = RunError::AccessLog("/no/a.log".into(), io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(
            failure.to_string(),
            "cannot open access log /no/a.log: No such file or directory (its directory does not exist: make it first)"
        );
    }

    #[test]
    fn a_config_error_has_the_wording_of_the_original() {
        let failure = RunError::Config(LoadError("cannot open x.lua: No such file or directory".into()));
        assert_eq!(
            failure.to_string(),
            "Error parsing config file: cannot open x.lua: No such file or directory"
        );
    }
}
