//! The files that certificates come from. They are read when a config is loaded and, with `watch`, when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::os_error::os_error;
use crate::tls::{Certificate, Problem};

/// The files of one or more certificates.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CertificateFiles {
    /// PEM of the chain and of the key, which may be one file, and an OCSP response in DER.
    Pair { cert: PathBuf, key: PathBuf, ocsp: Option<PathBuf> },
    /// Every `NAME.pem` (chain and key), and `NAME.crt` with `NAME.key`, by NAME.
    Dir(PathBuf),
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The key of the config: `cert`, `key`, `ocsp` or `dir`.
    pub key: &'static str,
    /// `PATH: what, expected what`.
    pub text: String,
}

impl FileProblem {
    pub fn new(key: &'static str, path: &Path, text: &str) -> FileProblem {
        FileProblem { key, text: format!("{}: {text}", path.display()) }
    }
}

/// A file's state, which changes when the file does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    path: PathBuf,
    /// Inode, size, and time in nanoseconds; `None` if there is no file.
    state: Option<(u64, u64, i128)>,
}

impl Stamp {
    fn of(path: PathBuf) -> Stamp {
        let state = fs::metadata(&path).ok().map(|data| {
            let time = i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec());
            (data.ino(), data.size(), time)
        });
        Stamp { path, state }
    }
}

/// The files of one certificate.
struct Pair<'a> {
    cert: &'a Path,
    key: &'a Path,
    ocsp: Option<&'a Path>,
}

impl CertificateFiles {
    /// Reads the certificates; at least one. OCSP responses that cannot be used are errors, or go into `dropped`.
    pub fn load(&self, mut dropped: Option<&mut Vec<FileProblem>>) -> Result<Vec<Certificate>, FileProblem> {
        match self {
            CertificateFiles::Pair { cert, key, ocsp } => {
                let pair = Pair { cert, key, ocsp: ocsp.as_deref() };
                match (pair.load(), &mut dropped) {
                    (Err(problem), Some(dropped)) if problem.key == "ocsp" => {
                        dropped.push(problem);
                        Ok(vec![Pair { ocsp: None, ..pair }.load()?])
                    }
                    (loaded, _) => Ok(vec![loaded?]),
                }
            }
            CertificateFiles::Dir(dir) => all_of(dir),
        }
    }

    /// The files to look at for changes. A directory that cannot be listed has none.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            CertificateFiles::Pair { cert, key, ocsp } => {
                let mut all: Vec<PathBuf> = [cert, key].into_iter().chain(ocsp).cloned().collect();
                all.dedup();
                all
            }
            CertificateFiles::Dir(dir) => entries(dir).unwrap_or_default(),
        }
    }

    /// The state of the files. To be taken before they are read: then a change meanwhile is seen the next time.
    pub fn stamps(&self) -> Vec<Stamp> {
        self.paths().into_iter().map(Stamp::of).collect()
    }
}

impl Pair<'_> {
    fn load(&self) -> Result<Certificate, FileProblem> {
        let read = |path: &Path, name| {
            fs::read(path).map_err(|error| FileProblem::new(name, path, &os_error(&error)))
        };
        let (chain, secret) = (read(self.cert, "cert")?, read(self.key, "key")?);
        let ocsp = self.ocsp.map(|path| read(path, "ocsp")).transpose()?;
        let made = Certificate::new(&chain, &secret, ocsp.as_deref());
        let made = made.map_err(|Problem { key: name, text }| {
            let path = match (name, self.ocsp) {
                ("key", _) => self.key,
                ("ocsp", Some(ocsp)) => ocsp,
                _ => self.cert,
            };
            FileProblem::new(name, path, &text)
        })?;
        Ok(made.or_named(self.cert.display()))
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|found| found.to_str()).unwrap_or_default()
}

/// The files of certificates and keys in a directory, by NAME.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, FileProblem> {
    let problem = |error: std::io::Error| FileProblem::new("dir", dir, &os_error(&error));
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(problem)? {
        let path = entry.map_err(problem)?.path();
        if matches!(extension(&path), "pem" | "crt" | "key") {
            paths.push(path);
        }
    }
    // Not by the whole path, where `a-b.pem` is before `a.pem`.
    paths.sort_by(|a, b| (a.file_stem(), a).cmp(&(b.file_stem(), b)));
    Ok(paths)
}

fn all_of(dir: &Path) -> Result<Vec<Certificate>, FileProblem> {
    let paths = entries(dir)?;
    let mut all = Vec::new();
    for path in &paths {
        let key = match extension(path) {
            "pem" => path.clone(),
            "crt" if !is_issuer(path, &paths) => path.with_extension("key"),
            _ => continue,
        };
        if !paths.contains(&key) {
            let text = "there is no key beside it, expected NAME.crt and NAME.key, or both in NAME.pem";
            return Err(FileProblem::new("dir", path, text));
        }
        let certificate = Pair { cert: path, key: &key, ocsp: None }.load();
        all.push(certificate.map_err(|problem| FileProblem { key: "dir", ..problem })?);
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(FileProblem::new(
            "dir",
            dir,
            "no certificate in it, expected NAME.pem, or NAME.crt and NAME.key",
        )),
    }
}

/// lego keeps the certificate of the authority as `NAME.issuer.crt` beside `NAME.crt`.
fn is_issuer(path: &Path, all: &[PathBuf]) -> bool {
    let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_suffix(".issuer"));
    name.is_some_and(|name| all.contains(&path.with_file_name(format!("{name}.crt"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::{Kind, pem};

    /// A directory for one test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir =
                std::env::temp_dir().join(format!("rsp-certificate-files-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }

        /// A certificate for NAME.example as `NAME.pem`, or in two files.
        fn add(&self, name: &str, in_two: bool) {
            let (cert, key) = pem(&[&format!("{name}.example")], Kind::Ecdsa, None);
            if in_two {
                self.write(&format!("{name}.crt"), &cert);
                self.write(&format!("{name}.key"), &key);
            } else {
                self.write(&format!("{name}.pem"), &(cert + &key));
            }
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.0.join(file), text).unwrap();
        }

        fn names(&self) -> Result<Vec<String>, String> {
            let loaded = CertificateFiles::Dir(self.0.clone()).load(None);
            let name = |one: &Certificate| one.name().to_owned();
            loaded.map(|all| all.iter().map(name).collect()).map_err(|problem| problem.text)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_is_in_the_order_of_its_names() {
        let dir = Dir::new("order");
        for (name, in_two) in [("b", true), ("a-b", false), ("a", false), ("a.b", true)] {
            dir.add(name, in_two);
        }
        assert_eq!(dir.names().unwrap(), ["a.example", "a-b.example", "a.b.example", "b.example"]);
    }

    #[test]
    fn the_directory_of_lego_is_taken_as_it_is() {
        let dir = Dir::new("lego");
        dir.add("site", true);
        dir.write("site.issuer.crt", &pem(&["issuer.example"], Kind::Ecdsa, None).0);
        dir.write("site.json", "{}");
        assert_eq!(dir.names().unwrap(), ["site.example"]);
        // Without the certificate that it would belong to, it is one like any other.
        dir.write("other.issuer.crt", &pem(&["issuer.example"], Kind::Ecdsa, None).0);
        let wanted = "other.issuer.crt: there is no key beside it, expected NAME.crt and NAME.key, or both in NAME.pem";
        assert_eq!(dir.names().unwrap_err(), format!("{}/{wanted}", dir.0.display()));
    }

    #[test]
    fn only_files_of_certificates_are_watched() {
        let dir = Dir::new("watched");
        dir.add("site", true);
        let files = CertificateFiles::Dir(dir.0.clone());
        let before = files.stamps();
        dir.write("site.json", "{}");
        dir.write(".site.crt.swp", "");
        assert_eq!(files.stamps(), before);
        dir.add("other", false);
        assert_ne!(files.stamps(), before);
    }
}
