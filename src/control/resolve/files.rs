//! The system's files as they are now: read again when they have changed, since a resolver lives longer than an
//! entry of `/etc/hosts` and a DHCP lease rewrites `resolv.conf`.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::control::resolve::ResolverConfig;
use crate::control::resolve::hosts::Hosts;
use crate::control::resolve::lookup::TOTAL;
use crate::control::resolve::resolv_conf::ResolvConf;

/// The rest of a larger file is not read.
const MAX_FILE: u64 = 4 << 20;

pub struct Files {
    config: ResolverConfig,
    hosts: Cached<Hosts>,
    resolv_conf: Cached<ResolvConf>,
}

impl Files {
    pub fn new(config: ResolverConfig) -> Files {
        Files {
            hosts: Cached::new(config.hosts.clone(), Hosts::parse),
            resolv_conf: Cached::new(config.resolv_conf.clone(), ResolvConf::parse),
            config,
        }
    }

    pub fn hosts(&self) -> Arc<Hosts> {
        self.hosts.current()
    }

    /// The settings of `resolv.conf`, with what the config says in its place.
    pub fn settings(&self) -> ResolvConf {
        let mut settings = (*self.resolv_conf.current()).clone();
        if !self.config.servers.is_empty() {
            settings.servers.clone_from(&self.config.servers);
        }
        settings.timeout = self.config.timeout.unwrap_or(settings.timeout).min(TOTAL);
        settings
    }
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        Version { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() }
    }
}

struct Cached<T> {
    path: PathBuf,
    parse: fn(&str) -> T,
    /// The version is `None` for a file that could not be read, which is as good as empty.
    last: Mutex<Option<(Option<Version>, Arc<T>)>>,
}

impl<T> Cached<T> {
    fn new(path: PathBuf, parse: fn(&str) -> T) -> Cached<T> {
        Cached { path, parse, last: Mutex::new(None) }
    }

    fn current(&self) -> Arc<T> {
        // Only a regular file: reading a pipe would wait.
        let metadata = std::fs::metadata(&self.path).ok().filter(Metadata::is_file);
        let version = metadata.as_ref().map(Version::of);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, parsed)) = &*last
            && *known == version
        {
            return parsed.clone();
        }
        let text = version.map(|_| read(&self.path)).and_then(Result::ok).unwrap_or_default();
        let parsed = Arc::new((self.parse)(&text));
        *last = Some((version, parsed.clone()));
        parsed
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
