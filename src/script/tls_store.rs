//! What was made of the files of certificates and keys, by where they are and what is wanted of them. Every worker's VM
//! gets the same, without reading or verifying anything again; the keys themselves are not kept.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::os_error::os_error;
use crate::config::{CertificateFiles, FileProblem, SeenFiles};
use crate::tls::{Authorities, Certificate, Client, MinVersion, Server};

#[derive(Clone, Default)]
pub(super) struct TlsStore {
    pub listeners: HashMap<ListenerKey, (Arc<Server>, SeenFiles)>,
    pub servers: HashMap<ServerKey, Arc<Client>>,
    authorities: HashMap<PathBuf, Authorities>,
    /// Those of the system, once a config needs them.
    system: Option<Result<Authorities, String>>,
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

/// All that the TLS side of a listener depends on, but what is in its files.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ListenerKey {
    pub name: String,
    pub certificates: Vec<CertificateFiles>,
    pub min_version: MinVersion,
    pub client_ca: Option<PathBuf>,
    pub required: bool,
    pub tickets: Option<PathBuf>,
    pub keylog: bool,
}

/// The same for a server that is spoken to with TLS.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ServerKey {
    pub name: String,
    pub verify: bool,
    pub ca: Option<PathBuf>,
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsStore {
    pub(super) fn read(&mut self, key: &'static str, path: &Path) -> Result<Vec<u8>, FileProblem> {
        self.files.insert(path.to_owned());
        fs::read(path).map_err(|error| FileProblem::new(key, path, &os_error(&error)))
    }

    pub(super) fn certificates(&mut self, files: &CertificateFiles) -> Result<Vec<Certificate>, FileProblem> {
        if let CertificateFiles::Dir(dir) = files {
            self.directories.insert(dir.clone());
        }
        self.files.extend(files.paths());
        files.load(None)
    }

    /// The authorities of a file.
    pub(super) fn authorities(&mut self, key: &'static str, path: &Path) -> Result<Authorities, FileProblem> {
        if let Some(known) = self.authorities.get(path) {
            return Ok(known.clone());
        }
        let pem = self.read(key, path)?;
        let read = Authorities::new(&pem).map_err(|text| FileProblem::new(key, path, &text))?;
        self.authorities.insert(path.to_owned(), read.clone());
        Ok(read)
    }

    /// The authorities that the system trusts.
    pub(super) fn system(&mut self) -> Result<Authorities, String> {
        self.system.get_or_insert_with(Authorities::of_system).clone()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(PathBuf::as_path)
    }
}
