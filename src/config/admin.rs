//! The sockets by which operators see and steer a running rsp.

use std::path::PathBuf;

use super::{Account, Address};

/// `admin`: HTTP, for probes of health, monitoring and the dashboard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    pub address: Address,
    /// Who sends it may change the state of servers; nobody may without one.
    pub token: Option<String>,
    /// Names under which it is asked for, besides its address and those of this machine.
    pub hosts: Vec<String>,
}

/// `control`: a unix socket with haproxy's runtime commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    pub path: PathBuf,
    /// Permissions of the socket's file.
    pub mode: u32,
    /// The file's group, by name or number.
    pub group: Option<Account>,
    pub level: ControlLevel,
}

/// What the commands of the control socket may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ControlLevel {
    /// Look only.
    Observe,
    Admin,
}

impl Control {
    /// Only the user that rsp runs as.
    pub const MODE: u32 = 0o600;

    pub fn at(path: PathBuf) -> Control {
        Control { path, mode: Control::MODE, group: None, level: ControlLevel::Admin }
    }
}
