//! Giving up what only root may do: once everything is open, and before any other thread runs, the process becomes
//! `user` and `group` for good. The C library would change the user of all threads, but capabilities and no_new_privs
//! belong to a thread.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{fchown, lchown};

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{self, Gid, Group, Uid, User};

use crate::base::os_error::os_error;
use crate::config::{Account, Address, Config, Settings};
use crate::control::run_error::RunError;

/// Ports below this need CAP_NET_BIND_SERVICE.
const FIRST_FREE_PORT: u16 = 1024;

/// Who the process becomes.
#[derive(Debug)]
pub struct Identity {
    /// As the config names it.
    pub user: Account,
    uid: Uid,
    gid: Gid,
    /// For the user's other groups; a user that has only a number has none.
    name: Option<CString>,
    /// The name of the group, or its number.
    pub group: String,
}

/// Looks up `user` and `group`; `None` if the config names no user. The error is a line without position.
pub fn identity(settings: &Settings) -> Result<Option<Identity>, String> {
    let Some(user) = &settings.user else { return Ok(None) };
    let known = find_user(user)?;
    let (uid, name) = match (&known, user) {
        (Some(known), _) => (known.uid, CString::new(known.name.as_bytes()).ok()),
        (None, Account::Number(number)) => (Uid::from_raw(*number), None),
        (None, Account::Name(name)) => return Err(format!("user: there is no user {name}")),
    };
    let gid = match &settings.group {
        Some(group) => find_group(group)?,
        None => known.map(|known| known.gid).ok_or_else(|| {
            format!("user: {user} has no group of its own on this machine, expected group as well")
        })?,
    };
    let group = Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
    Ok(Some(Identity { user: user.clone(), uid, gid, name, group }))
}

fn find_user(user: &Account) -> Result<Option<User>, String> {
    let found = match user {
        Account::Name(name) => User::from_name(name),
        Account::Number(number) => User::from_uid(Uid::from_raw(*number)),
    };
    found.map_err(|error| format!("user: cannot look up {user}: {}", os_error(&error.into())))
}

pub fn find_group(group: &Account) -> Result<Gid, String> {
    let name = match group {
        Account::Number(number) => return Ok(Gid::from_raw(*number)),
        Account::Name(name) => name,
    };
    match Group::from_name(name) {
        Ok(Some(found)) => Ok(found.gid),
        Ok(None) => Err(format!("group: there is no group {name}")),
        Err(error) => Err(format!("group: cannot look up {name}: {}", os_error(&error.into()))),
    }
}

impl Identity {
    /// Whether `assume` changes the user.
    pub fn is_switch(&self) -> bool {
        Uid::effective().is_root() && !self.uid.is_root()
    }

    /// Gives a file that was made as root to the user, as long as this process can.
    pub fn give(&self, file: &File) -> io::Result<()> {
        match self.is_switch() {
            true => fchown(file, Some(self.uid.as_raw()), Some(self.gid.as_raw())),
            false => Ok(()),
        }
    }

    /// Gives the files of the sockets in `config` to the user.
    pub fn own_sockets(&self, config: &Config) -> Result<(), String> {
        let listeners = config.listeners.iter().map(|listener| &listener.address);
        let admin = config.settings.admin.iter().map(|admin| &admin.address);
        let paths = listeners.chain(admin).filter_map(|address| match address {
            Address::Unix(path) => Some((path.as_path(), Some(self.gid.as_raw()))),
            _ => None,
        });
        // The group of the control socket may be another one.
        let control = config.settings.control.iter();
        let control = control
            .map(|control| (control.path.as_path(), control.group.is_none().then_some(self.gid.as_raw())));
        paths.chain(control).try_for_each(|(path, gid)| {
            let given = lchown(path, Some(self.uid.as_raw()), gid);
            given.map_err(|error| {
                format!("cannot give {} to user {}: {}", path.display(), self.user, os_error(&error))
            })
        })
    }

    /// Becomes this user, for good. Of the capabilities only the one for ports below 1024 stays, if `config` has such a
    /// port. Returns a warning if there was nothing to change.
    pub fn assume(&self, config: &Config) -> Result<Option<String>, RunError> {
        if thread_count() > 1 {
            return Err(RunError::Fault("other threads run before the change of user".into()));
        }
        let keep = if has_low_port(config) { vec![Capability::CAP_NET_BIND_SERVICE] } else { Vec::new() };
        let warning = match Uid::effective().is_root() {
            true => self.change(&keep).map(|()| None).map_err(|error| self.failed(&error))?,
            false => Some(self.already()?),
        };
        let kept = keep_only(&keep).map_err(|error| self.failed(&error.to_string()))?;
        let bare = prctl::set_no_new_privs().map_err(|error| self.failed(&os_error(&error.into())));
        bare.map(|()| warning.or(kept))
    }

    fn failed(&self, reason: &str) -> RunError {
        RunError::Start(format!("cannot switch to user {}: {reason}", self.user))
    }

    /// Not started as root: fine only where nothing would change.
    fn already(&self) -> Result<String, RunError> {
        let (uid, gid) = (Uid::effective(), Gid::effective());
        if uid != self.uid {
            return Err(self.failed("not started as root"));
        }
        if gid != self.gid {
            return Err(RunError::Start(format!(
                "cannot switch to group {}: not started as root",
                self.group
            )));
        }
        Ok(format!("user: already started as {}, so there is nothing to switch", self.user))
    }

    fn change(&self, keep: &[Capability]) -> Result<(), String> {
        let system = |result: nix::Result<()>| result.map_err(|error| os_error(&error.into()));
        // Where the capability for it is missing, no_new_privs alone has to do: it makes the bounding set ineffective.
        for capability in caps::all().into_iter().filter(|capability| !keep.contains(capability)) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
        system(prctl::set_keepcaps(!keep.is_empty()))?;
        match &self.name {
            Some(name) => system(unistd::initgroups(name, self.gid))?,
            None => system(unistd::setgroups(&[self.gid]))?,
        }
        system(unistd::setresgid(self.gid, self.gid, self.gid))?;
        system(unistd::setresuid(self.uid, self.uid, self.uid))?;
        system(prctl::set_keepcaps(false))
    }
}

/// Reduces the capabilities of this thread, and of programs that it starts. Returns a warning if one to keep is missing.
fn keep_only(keep: &[Capability]) -> Result<Option<String>, caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = keep.iter().copied().filter(|wanted| permitted.contains(wanted)).collect();
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::set(None, set, &kept)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    kept.iter().try_for_each(|capability| caps::raise(None, CapSet::Ambient, *capability))?;
    let missing = keep.iter().find(|wanted| !kept.contains(wanted));
    Ok(missing.map(|capability| {
        format!("{capability} is not there to be kept: no port below 1024 can be opened later")
    }))
}

fn has_low_port(config: &Config) -> bool {
    let low =
        |address: &Address| address.ip_and_port().is_some_and(|at| (1..FIRST_FREE_PORT).contains(&at.port()));
    let admin = config.settings.admin.iter().map(|admin| &admin.address);
    config.listeners.iter().map(|listener| &listener.address).chain(admin).any(low)
}

/// 1 where it cannot be told.
fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ListenerConfig;

    fn settings(user: Account, group: Option<Account>) -> Settings {
        Settings { user: Some(user), group, ..Settings::default() }
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let name = |name: &str| Account::Name(name.into());
        for user in [name("root"), Account::Number(0)] {
            let found = identity(&settings(user, None)).unwrap().unwrap();
            assert_eq!((found.uid.as_raw(), found.gid.as_raw(), found.group.as_str()), (0, 0, "root"));
            assert_eq!(found.name.as_deref(), Some(c"root"));
        }
        let unnamed = settings(Account::Number(4_000_000_000), Some(name("root")));
        let unnamed = identity(&unnamed).unwrap().unwrap();
        assert_eq!((unnamed.uid.as_raw(), unnamed.name), (4_000_000_000, None));
        assert!(identity(&Settings::default()).unwrap().is_none());
        for (user, group, wrong) in [
            (name("no-such-user"), None, "user: there is no user no-such-user"),
            (name("root"), Some(name("no-such-group")), "group: there is no group no-such-group"),
            (
                Account::Number(4_000_000_000),
                None,
                "user: 4000000000 has no group of its own on this machine, expected group as well",
            ),
        ] {
            assert_eq!(identity(&settings(user, group)).unwrap_err(), wrong);
        }
    }

    #[test]
    fn the_capability_for_low_ports_is_kept_only_for_one() {
        let config = |port: u16| Config {
            listeners: vec![ListenerConfig::at(Address::Ip(([127, 0, 0, 1], port).into()))],
            ..Config::default()
        };
        assert_eq!([80, 1023, 1024, 0].map(|port| has_low_port(&config(port))), [true, true, false, false]);
    }

    #[test]
    fn a_process_with_other_threads_does_not_change_its_user() {
        let other = std::thread::spawn(std::thread::park);
        let root = identity(&settings(Account::Number(0), None)).unwrap().unwrap();
        let config = crate::script::load(&mut crate::script::Source::in_memory(
            Path::new("x.lua"),
            b"rsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }",
        ));
        let refused = root.assume(&config.map_err(|error| error.0).unwrap().0);
        assert!(matches!(refused, Err(RunError::Fault(_))));
        other.thread().unpark();
        other.join().unwrap();
    }
}
