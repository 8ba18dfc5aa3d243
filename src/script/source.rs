//! Where a config comes from. Every input is read once and kept: files (the config and the modules it requires, also
//! those that were not found) and what the resolver said of host names. So a worker that runs the same `Source` again
//! runs the same bytes and must arrive at the same `Config`, whatever happened on disk or in DNS since. Of certificates
//! and keys, what was made of them is kept (`tls_store`).

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ffi::monotonic;
use super::tls_store::TlsStore;
use crate::base::os_error::os_error;
use crate::store::{BasicAuth, MapKind, Store, WatchedMap};

/// Stands for every name's address in a config that runs offline (RFC 5737).
const PLACEHOLDER: [u8; 4] = [192, 0, 2, 1];

/// A config and the files it reads, each read once. Plain data that can be sent to another thread.
#[derive(Clone)]
pub struct Source {
    entry: EntryPoint,
    files: BTreeMap<PathBuf, Result<Arc<[u8]>, String>>,
    hosts: BTreeMap<(String, u16), Result<SocketAddr, String>>,
    pub(super) tls: TlsStore,
    /// Without the system's clock, network and chance; what its scripts do is noted.
    pub(super) offline: bool,
    /// What its scripts share; the same for every load of this config in a process.
    store: Arc<Store>,
    maps: Vec<Arc<WatchedMap>>,
    users: Vec<Arc<BasicAuth>>,
}

/// What is run first.
#[derive(Clone, Debug)]
pub(super) enum EntryPoint {
    File(PathBuf),
    /// `--listen` and `--backend` on the command line.
    Arguments {
        listens: Vec<String>,
        backends: Vec<String>,
    },
}

impl Source {
    /// A config file; it is read by `load`.
    pub fn file(path: &Path) -> Source {
        Source::of(EntryPoint::File(path.to_owned()))
    }

    /// A config whose text is in memory; modules beside it are read from disk.
    pub fn in_memory(path: &Path, text: &[u8]) -> Source {
        let mut source = Source::file(path);
        source.files.insert(path.to_owned(), Ok(text.into()));
        source
    }

    /// The embedded default config (`lua/default.lua`) for `--listen ADDR --backend ADDR…`.
    pub fn embedded(listen: &[String], backends: &[String]) -> Source {
        Source::of(EntryPoint::Arguments { listens: listen.to_vec(), backends: backends.to_vec() })
    }

    /// A config for tests and replays: no name is looked up, scripts see the clock of `offline` and the same random
    /// numbers each time, and what they do is noted.
    pub fn offline(path: &Path) -> Source {
        Source { offline: true, ..Source::file(path) }
    }

    /// The same files for scripts that share nothing with those of this one.
    pub fn apart(&self) -> Source {
        Source { store: Arc::default(), ..self.clone() }
    }

    /// The same config, to be read from disk again; `None` for addresses of the command line.
    pub fn again(&self) -> Option<Source> {
        match &self.entry {
            EntryPoint::File(path) => Some(Source { store: self.store.clone(), ..Source::file(path) }),
            EntryPoint::Arguments { .. } => None,
        }
    }

    /// The same without certificates and keys: those would be kept as long as this is.
    pub fn script_only(&self) -> Source {
        Source { tls: TlsStore::default(), ..self.clone() }
    }

    /// The same with a copy of what its scripts share now: a script of it reads that, and spends nothing of it.
    pub fn sharing_a_copy(self) -> Source {
        let copy = Store::default();
        copy.adopt(self.store.hand_over(monotonic()));
        Source { store: Arc::new(copy), ..self }
    }

    /// The Lua texts that were read, with their names in messages.
    pub(super) fn scripts(&self) -> Vec<(String, Arc<[u8]>)> {
        let is_script = |path: &Path| {
            let entry = matches!(&self.entry, EntryPoint::File(entry) if entry == path);
            entry || path.extension().is_some_and(|end| end == "lua")
        };
        let read = self.files.iter().filter(|(path, _)| is_script(path));
        read.filter_map(|(path, text)| Some((path.display().to_string(), text.clone().ok()?))).collect()
    }

    /// Tells whether the script's files are the same as those of another `Source`.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.files.hash(&mut hasher);
        hasher.finish()
    }

    /// As messages name it.
    pub fn name(&self) -> String {
        match &self.entry {
            EntryPoint::File(path) => path.display().to_string(),
            EntryPoint::Arguments { .. } => "the addresses of the command line".to_owned(),
        }
    }

    fn of(entry: EntryPoint) -> Source {
        let (files, hosts, tls) = (BTreeMap::new(), BTreeMap::new(), TlsStore::default());
        let (store, maps, users) = (Arc::default(), Vec::new(), Vec::new());
        Source { entry, files, hosts, tls, store, maps, users, offline: false }
    }

    /// The files and directories of certificates and keys that were read.
    pub fn tls_paths(&self) -> (impl Iterator<Item = &Path>, impl Iterator<Item = &Path>) {
        (self.tls.files(), self.tls.directories())
    }

    /// The files of the script that were read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|(_, read)| read.is_ok()).map(|(path, _)| path.as_path())
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// A file of `rsp.map`, as it is now: a later load of this source finds it here, whatever it says by then.
    pub(super) fn map(&mut self, path: &Path, kind: MapKind) -> Result<Arc<WatchedMap>, String> {
        let known = self.maps.iter().find(|file| file.path() == path && file.kind() == kind);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let file = self.store.map(path, kind)?;
        self.maps.push(file.clone());
        Ok(file)
    }

    /// The same of a file of `rsp.basic_auth`.
    pub(super) fn users(&mut self, path: &Path) -> Result<Arc<BasicAuth>, String> {
        if let Some(known) = self.users.iter().find(|file| file.path() == path) {
            return Ok(known.clone());
        }
        let file = self.store.basic_auth(path)?;
        self.users.push(file.clone());
        Ok(file)
    }

    pub(super) fn entry(&self) -> &EntryPoint {
        &self.entry
    }

    /// The bytes of a file, or the system's error text.
    pub(super) fn read(&mut self, path: &Path) -> Result<Arc<[u8]>, String> {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        let read = std::fs::read(path).map(Arc::from).map_err(|error| os_error(&error));
        self.files.insert(path.to_owned(), read.clone());
        read
    }

    /// A path in a config: a relative one is beside the config file.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        match &self.entry {
            EntryPoint::File(file) => file.parent().unwrap_or(Path::new("")).join(written),
            EntryPoint::Arguments { .. } => PathBuf::from(written),
        }
    }

    /// The address of a host name; IPv4 first, since a server that listens only on IPv4 is more common than one that
    /// listens on both. Blocks on DNS: only the control thread may load a config for the first time.
    pub(super) fn resolve(&mut self, host: &str, port: u16) -> Result<SocketAddr, String> {
        if self.offline {
            return Ok(SocketAddr::new(PLACEHOLDER.into(), port));
        }
        let known = self.hosts.entry((host.to_owned(), port));
        known.or_insert_with(|| look_up(host, port)).clone()
    }

    /// Of a process that has loaded another config before.
    #[cfg(test)]
    pub(super) fn sharing(self, store: Arc<Store>) -> Source {
        Source { store, ..self }
    }

    /// As if the name had been looked up.
    #[cfg(test)]
    pub(super) fn know(&mut self, host: &str, port: u16, found: Result<SocketAddr, String>) {
        self.hosts.insert((host.to_owned(), port), found);
    }
}

/// Without what is in the files, which may be secret.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<&Path> = self.paths().collect();
        f.debug_struct("Source").field("entry", &self.entry).field("files", &files).finish_non_exhaustive()
    }
}

fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|error| lookup_reason(&error))?.collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    Ok(*address.ok_or("it has no address")?)
}

/// Why a name has no address, without the prefix of the system's message.
fn lookup_reason(error: &io::Error) -> String {
    let text = os_error(error);
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_can_be_sent_to_another_thread() {
        fn plain<T: Send + Sync + Clone + 'static>(_: &T) {}
        plain(&Source::file(Path::new("site.lua")));
    }

    #[test]
    fn what_is_in_the_files_is_not_printed() {
        let source = Source::in_memory(Path::new("site.lua"), b"secret");
        let shown = format!("{source:?}");
        assert!(shown.contains("site.lua") && !shown.contains("secret") && !shown.contains("115"), "{shown}");
    }

    #[test]
    fn a_file_is_read_once_and_a_missing_one_stays_missing() {
        let dir = std::env::temp_dir().join(format!("rsp-source-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (there, absent) = (dir.join("there"), dir.join("absent"));
        std::fs::write(&there, "one").unwrap();
        let mut source = Source::file(&there);
        assert_eq!(&*source.read(&there).unwrap(), b"one");
        assert_eq!(source.read(&absent).unwrap_err(), "No such file or directory");
        std::fs::write(&there, "two").unwrap();
        std::fs::write(&absent, "two").unwrap();
        let mut copy = source.clone();
        assert_eq!(&*copy.read(&there).unwrap(), b"one");
        assert_eq!(copy.read(&absent).unwrap_err(), "No such file or directory");
        assert_eq!(source.read(&dir).unwrap_err(), "Is a directory");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn localhost_resolves_to_ipv4_and_a_resolved_name_is_kept() {
        let mut source = Source::file(Path::new("site.lua"));
        let first = source.resolve("localhost", 8080).unwrap();
        assert_eq!(first, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(source.hosts.len(), 1);
        assert_eq!(source.resolve("localhost", 8080), Ok(first));
    }

    #[test]
    fn an_impossible_name_is_refused_by_the_resolver() {
        // A label of more than 63 bytes is refused without asking the network.
        let mut source = Source::file(Path::new("x"));
        let error = source.resolve(&"a".repeat(64), 80).unwrap_err();
        assert!(!error.contains("os error") && !error.contains("failed to lookup"), "{error}");
        assert_eq!(source.resolve(&"a".repeat(64), 80), Err(error), "kept for the next load");
    }
}
