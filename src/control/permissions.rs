//! Whether the user that rsp has become may use the files that it needs again while it runs: logs that are opened anew
//! after a rotation, folders of sockets that are removed, certificates and keys that are renewed, the config of the next
//! reload. What root opened at the start
//! says nothing about that, and the first rotation or reload is too late to learn it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::config::{Address, Config, LogTarget};
use crate::control::privileges::Identity;
use crate::control::run_error::RunError;
use crate::script::Source;

/// A use of a file or folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// Read the file.
    Read(PathBuf),
    /// List the folder.
    List(PathBuf),
    /// Append to the file.
    Append(PathBuf),
    /// Make and remove files in the folder.
    Fill(PathBuf),
}

/// What the config, which was loaded from `source`, needs while rsp runs.
pub fn needs(config: &Config, source: &Source) -> Vec<Need> {
    let (files, folders) = source.tls_paths();
    let mut needs: Vec<Need> = folders.map(|path| Need::List(path.to_owned())).collect();
    needs.extend(files.map(|path| Need::Read(path.to_owned())));
    let challenges = config.listeners.iter().find_map(|listener| listener.challenges.as_ref());
    needs.extend(challenges.map(|folder| Need::List(folder.to_path_buf())));
    if let Some(log) = &config.settings.access_log
        && let LogTarget::File(path) = &log.target
        && is_plain(path)
    {
        needs.extend([Need::Append(path.clone()), Need::Fill(folder_of(path))]);
    }
    let listeners = config.listeners.iter().map(|listener| &listener.address);
    for address in listeners.chain(config.settings.admin.iter().map(|admin| &admin.address)) {
        if let Address::Unix(path) = address {
            needs.push(Need::Fill(folder_of(path)));
        }
    }
    needs.extend(config.settings.control.iter().map(|control| Need::Fill(folder_of(&control.path))));
    needs
}

/// A file that is renamed and made anew; not a pipe or a device.
fn is_plain(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// An error for the first need that this process, which is `identity` now, cannot meet.
pub fn check(needs: &[Need], identity: &Identity) -> Result<(), RunError> {
    match needs.iter().find_map(|need| obstacle(need, identity)) {
        None => Ok(()),
        Some(line) => Err(RunError::Start(line)),
    }
}

/// What is in the way of this need, and the command that removes it.
pub fn obstacle(need: &Need, identity: &Identity) -> Option<String> {
    let (path, flags, verb, mode) = match need {
        Need::Read(path) => (path, AccessFlags::R_OK, "read", "r"),
        Need::List(path) => (path, AccessFlags::R_OK | AccessFlags::X_OK, "list", "rx"),
        Need::Append(path) => (path, AccessFlags::W_OK, "write to", "rw"),
        Need::Fill(path) => (path, AccessFlags::W_OK | AccessFlags::X_OK, "make files in", "rwx"),
    };
    let error = access(path, flags).err()?;
    let (user, group) = (&identity.user, &identity.group);
    let what = format!("user {user} cannot {verb} {}: {}", path.display(), error.desc());
    if error != nix::Error::EACCES {
        return Some(what);
    }
    let (closed, mode) = first_closed(path).map_or((path.as_path(), mode), |folder| (folder, "x"));
    let closed = closed.display();
    Some(format!(
        "{what} (setfacl -m u:{user}:{mode} {closed} allows it, or chgrp {group} {closed} && chmod g+{mode} {closed})"
    ))
}

/// The first folder on the way to a file that does not let this process through.
fn first_closed(path: &Path) -> Option<&Path> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).filter(|f| !f.as_os_str().is_empty()).collect();
    folders.reverse();
    folders.into_iter().find(|folder| access(*folder, AccessFlags::X_OK) == Err(nix::Error::EACCES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Account, Settings};
    use crate::control::privileges::identity;
    use crate::tls::tests::{Kind, pem};

    fn root() -> Identity {
        let settings = Settings { user: Some(Account::Name("root".into())), ..Settings::default() };
        identity(&settings).unwrap().unwrap()
    }

    #[test]
    fn logs_keys_and_the_folders_of_logs_and_sockets_are_needed() {
        let folder = std::env::temp_dir().join(format!("rsp-needs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("access.log");
        fs::write(&log, "").unwrap();
        let text = format!(
            "rsp.listen '127.0.0.1:0' rsp.listen 'unix:/run/app/a.sock' rsp.listen 'systemd:web'
             rsp.pool {{ servers = {{ '127.0.0.1:1' }} }} rsp.settings {{ access_log = '{}' }}",
            log.display()
        );
        let needed = |text: &str| {
            let mut source = Source::in_memory(&folder.join("x.lua"), text.as_bytes());
            let config = crate::script::load(&mut source).map_err(|error| error.0).unwrap().0;
            needs(&config, &source)
        };
        let sockets = Need::Fill("/run/app".into());
        let fill = Need::Fill(folder.clone());
        assert_eq!(needed(&text), [Need::Append(log.clone()), fill, sockets.clone()]);
        assert_eq!(needed(&text.replace(&log.display().to_string(), "/dev/null")), [sockets]);
        let (cert, key) = pem(&["a.example"], Kind::Ecdsa, None);
        fs::create_dir_all(folder.join("all")).unwrap();
        for (file, text) in [("a.crt", cert.clone()), ("a.key", key.clone()), ("all/a.pem", cert + &key)] {
            fs::write(folder.join(file), text).unwrap();
        }
        let keys = "rsp.listen { '127.0.0.1:0', tls = { dir = 'all', client_ca = 'a.crt' } }
            rsp.pool { servers = { { 'https://127.0.0.1:1', ca = 'a.crt', cert = 'a.crt', key = 'a.key' } } }";
        let read = ["a.crt", "a.key", "all/a.pem"].map(|file| Need::Read(folder.join(file)));
        assert_eq!(needed(keys), [&[Need::List(folder.join("all"))][..], &read].concat());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_missing_is_named_with_the_reason() {
        let line = obstacle(&Need::Read("/nowhere/at/all".into()), &root()).unwrap();
        assert!(line.starts_with("user root cannot read /nowhere/at/all: No such file"), "{line}");
        assert_eq!(obstacle(&Need::Fill(folder_of(Path::new("x"))), &root()), None);
        assert!(check(&[Need::Read("/".into())], &root()).is_ok());
    }
}
