//! `tls = { … }` of a listener, and the keys of a server with `https://`. Files are read when the config is loaded, so
//! that a bad one fails the load with the line that names it.

use std::sync::Arc;

use mlua::Value;

use super::super::source::Source;
use super::super::tls_store::{ListenerKey, ServerKey, TlsStore};
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, list, row, table};
use super::values::{is_token, one_of, text, whole, yes_or_no};
use crate::config::{Address, CertificateFiles, FileProblem, ListenerTls, SeenFiles, Stamp};
use crate::http::{Name, is_protected};
use crate::tls::{Client, ClientAuth, ClientOptions, MinVersion, Server, ServerOptions, TicketKeys, Verify};

/// `tls` of a listener as it is written.
#[derive(Default)]
pub(super) struct TlsTable {
    pair: PairTable,
    certs: Option<Vec<PairTable>>,
    dir: Option<String>,
    min_version: MinVersion,
    client_ca: Option<String>,
    /// Whether a certificate is required.
    client_auth: Option<bool>,
    tickets: Option<String>,
    watch: bool,
    keylog: bool,
    client_header: Option<String>,
    hsts: Option<u64>,
}

/// The files of one certificate.
#[derive(Default)]
pub(super) struct PairTable {
    cert: Option<String>,
    key: Option<String>,
    ocsp: Option<String>,
}

const PATH: &str = "the path of a file";
const PEM: &str = "the path of a PEM file";

pub(super) const KEYS: Keys<TlsTable> = Keys {
    noun: "tls key",
    rows: &[
        row("cert", |value, tls| text(value, PEM).map(|path| tls.pair.cert = Some(path))),
        row("key", |value, tls| text(value, PEM).map(|path| tls.pair.key = Some(path))),
        row("ocsp", |value, tls| text(value, PATH).map(|path| tls.pair.ocsp = Some(path))),
        row("certs", |value, tls| certs(value).map(|all| tls.certs = Some(all))),
        row("dir", |value, tls| text(value, "the path of a directory").map(|path| tls.dir = Some(path))),
        row("min_version", |value, tls| one_of(value, VERSIONS).map(|least| tls.min_version = least)),
        row("client_ca", |value, tls| text(value, PEM).map(|path| tls.client_ca = Some(path))),
        row("client_auth", |value, tls| one_of(value, AUTH).map(|is| tls.client_auth = Some(is))),
        row("tickets", |value, tls| text(value, PATH).map(|path| tls.tickets = Some(path))),
        row("watch", |value, tls| yes_or_no(value).map(|yes| tls.watch = yes)),
        row("keylog", |value, tls| yes_or_no(value).map(|yes| tls.keylog = yes)),
        row("client_header", |value, tls| header(value).map(|name| tls.client_header = Some(name))),
        row("hsts", |value, tls| {
            whole(value, 0..=i64::from(i32::MAX)).map(|age| tls.hsts = u64::try_from(age).ok())
        }),
    ],
    items: 0,
};

pub(super) const PAIR: Keys<PairTable> = Keys {
    noun: "key of a certificate",
    rows: &[
        row("cert", |value, pair| text(value, PEM).map(|path| pair.cert = Some(path))),
        row("key", |value, pair| text(value, PEM).map(|path| pair.key = Some(path))),
        row("ocsp", |value, pair| text(value, PATH).map(|path| pair.ocsp = Some(path))),
    ],
    items: 0,
};

const VERSIONS: &[(&str, MinVersion)] = &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
const AUTH: &[(&str, bool)] = &[("required", true), ("optional", false)];

fn certs(value: &Value) -> ReadValue<Vec<PairTable>> {
    const EXPECTED: &str = "a list such as { { cert = \"a.pem\", key = \"a.key\" } }";
    let read = |(index, item): (usize, &Value)| {
        let mut pair = PairTable::default();
        let read = table(item, "a table such as { cert = \"a.pem\", key = \"a.key\" }");
        let read = read.and_then(|table| PAIR.read(table, &mut pair));
        read.map(|()| pair).map_err(|error| error.item(index + 1))
    };
    list(value, EXPECTED)?.iter().enumerate().map(read).collect()
}

/// A field that rsp sets must not be one that means something else already.
fn header(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "the name of a header of its own, such as \"X-Client-Subject\"";
    let name = text(value, EXPECTED)?;
    let own = matches!(Name::of(name.as_bytes()), Name::Other);
    let protected = is_protected(name.as_bytes()) && !name.to_ascii_lowercase().starts_with("x-client-");
    match is_token(&name) && own && !protected {
        true => Ok(name),
        false => Err(ValueError::got(value, EXPECTED)),
    }
}

impl TlsTable {
    /// Reads the files, unless that was done for another VM. `name`: the listener's.
    pub(super) fn load(self, name: &str, source: &mut Source) -> ReadValue<ListenerTls> {
        let required = self.auth()?;
        let (items, certificates): (Vec<_>, Vec<_>) = self.certificate_files(source)?.into_iter().unzip();
        let path = |path: &Option<String>| path.as_deref().map(|path| source.path(path));
        let key = ListenerKey {
            name: name.to_owned(),
            certificates,
            min_version: self.min_version,
            client_ca: path(&self.client_ca),
            required,
            tickets: path(&self.tickets),
            keylog: self.keylog,
        };
        let (server, seen) = match source.tls.listeners.get(&key) {
            Some(known) => known.clone(),
            None => {
                let made = listener_side(&key, &items, &mut source.tls)?;
                source.tls.listeners.insert(key.clone(), made.clone());
                made
            }
        };
        Ok(ListenerTls {
            server,
            certificates: key.certificates,
            seen,
            watch: self.watch,
            keylog: self.keylog,
            client_header: self.client_header,
            hsts: self.hsts,
        })
    }

    /// Whether client certificates are required; without `client_ca` there are none.
    fn auth(&self) -> ReadValue<bool> {
        let lacks =
            |key: &str, what| Err(ValueError::new(format!("{what}, expected client_ca beside it")).key(key));
        match self {
            TlsTable { client_ca: None, client_auth: Some(_), .. } => {
                lacks("client_auth", "nobody could verify them")
            }
            TlsTable { client_ca: None, client_header: Some(_), .. } => {
                lacks("client_header", "it would have no value")
            }
            _ => Ok(self.client_auth.unwrap_or(true)),
        }
    }

    /// Each with its number in `certs`.
    fn certificate_files(&self, source: &Source) -> ReadValue<Vec<(Option<usize>, CertificateFiles)>> {
        const EXPECTED: &str = "expected one of cert, certs and dir";
        match (&self.pair, &self.certs, &self.dir) {
            (pair, None, None) if pair.cert.is_some() => Ok(vec![(None, pair.files(source)?)]),
            (pair, Some(certs), None) if pair.is_empty() => {
                let numbered = (1..).zip(certs);
                let files = numbered.map(|(item, pair)| {
                    let files = pair.files(source).map_err(|error| error.item(item).key("certs"))?;
                    Ok((Some(item), files))
                });
                let files: Vec<_> = files.collect::<ReadValue<_>>()?;
                match files.is_empty() {
                    false => Ok(files),
                    true => Err(ValueError::new("no certificate, expected at least one").key("certs")),
                }
            }
            (pair, None, Some(dir)) if pair.is_empty() => {
                Ok(vec![(None, CertificateFiles::Dir(source.path(dir)))])
            }
            (pair, None, None) if pair.is_empty() => {
                Err(ValueError::new(format!("no certificate, {EXPECTED}")))
            }
            (_, None, None) => Err(ValueError::new("no cert, expected one beside key and ocsp")),
            (PairTable { cert: None, .. }, Some(_), None) => {
                Err(self.pair.stray("there is certs, expected it beside its cert in there"))
            }
            (PairTable { cert: None, .. }, None, Some(_)) => {
                Err(self.pair.stray("there is dir, whose files are found by their names, expected none"))
            }
            _ => Err(ValueError::new(format!("certificates in two ways, {EXPECTED}"))),
        }
    }
}

impl PairTable {
    fn is_empty(&self) -> bool {
        matches!(self, PairTable { cert: None, key: None, ocsp: None })
    }

    /// A key that is no use without `cert`.
    fn stray(&self, why: &str) -> ValueError {
        let key = if self.key.is_some() { "key" } else { "ocsp" };
        ValueError::new(format!("it belongs to cert, and {why}")).key(key)
    }

    /// Without `key`, the file has both.
    fn files(&self, source: &Source) -> ReadValue<CertificateFiles> {
        let path = |path: &Option<String>| path.as_deref().map(|path| source.path(path));
        let cert =
            path(&self.cert).ok_or_else(|| ValueError::new("no cert, expected the path of a PEM file"))?;
        let key = path(&self.key).unwrap_or_else(|| cert.clone());
        Ok(CertificateFiles::Pair { cert, key, ocsp: path(&self.ocsp) })
    }
}

/// `items`: the number of each certificate in `certs`.
fn listener_side(
    key: &ListenerKey,
    items: &[Option<usize>],
    store: &mut TlsStore,
) -> ReadValue<(Arc<Server>, SeenFiles)> {
    let seen: Vec<Stamp> = key.certificates.iter().flat_map(CertificateFiles::stamps).collect();
    let mut certificates = Vec::new();
    for (files, item) in key.certificates.iter().zip(items) {
        certificates.extend(store.certificates(files).map_err(|problem| in_file(problem, *item))?);
    }
    let ca = key.client_ca.as_deref().map(|path| store.authorities("client_ca", path)).transpose();
    let ca = ca.map_err(|problem| in_file(problem, None))?;
    let tickets = key.tickets.as_deref().map_or(Ok(TicketKeys::Random), |path| {
        let text = store.read("tickets", path)?;
        TicketKeys::read(&text).map_err(|text| FileProblem::new("tickets", path, &text))
    });
    let options = ServerOptions {
        name: &key.name,
        certificates,
        min_version: key.min_version,
        client_auth: ca.as_ref().map(|ca| ClientAuth { ca, required: key.required }),
        tickets: tickets.map_err(|problem| in_file(problem, None))?,
        keylog: key.keylog,
    };
    let server = Server::new(options).map_err(|problem| ValueError::new(problem.text).key(problem.key))?;
    Ok((Arc::new(server), SeenFiles(seen.into())))
}

fn in_file(problem: FileProblem, item: Option<usize>) -> ValueError {
    let error = ValueError::new(problem.text).key(problem.key);
    match item {
        Some(item) => error.item(item).key("certs"),
        None => error,
    }
}

/// The keys of a server that is spoken to with TLS, as they are written.
#[derive(Default)]
pub(super) struct ServerTlsTable {
    pub sni: Option<String>,
    pub ca: Option<String>,
    pub verify: Option<bool>,
    pub cert: Option<String>,
    pub key: Option<String>,
}

impl ServerTlsTable {
    /// The name of the first key that is set.
    pub(super) fn first_set(&self) -> Option<&'static str> {
        let all = [
            ("sni", self.sni.is_some()),
            ("ca", self.ca.is_some()),
            ("verify", self.verify.is_some()),
            ("cert", self.cert.is_some()),
            ("key", self.key.is_some()),
        ];
        all.into_iter().find(|(_, set)| *set).map(|(name, _)| name)
    }

    /// Reads the files, unless that was done for another server or VM.
    pub(super) fn load(&self, address: &Address, source: &mut Source) -> ReadValue<Arc<Client>> {
        let host = match address {
            Address::Ip(address) => address.ip().to_string(),
            Address::Name { host, .. } => host.trim_end_matches('.').to_owned(),
            Address::Unix(_) | Address::Srv(_) | Address::Systemd(_) => String::new(),
        };
        if self.verify == Some(false) && self.ca.is_some() {
            return Err(ValueError::new("nothing is verified with verify = false, expected no ca").key("ca"));
        }
        let path = |path: &Option<String>| path.as_deref().map(|path| source.path(path));
        // Without `key`, the file has both.
        let identity = match (path(&self.cert), path(&self.key)) {
            (None, Some(_)) => {
                return Err(ValueError::new("a key without a cert, expected cert beside it").key("key"));
            }
            (cert, key) => cert.map(|cert| (cert.clone(), key.unwrap_or(cert))),
        };
        let name = self.sni.clone().unwrap_or(host);
        let key = ServerKey { name, verify: self.verify != Some(false), ca: path(&self.ca), identity };
        if let Some(known) = source.tls.servers.get(&key) {
            return Ok(known.clone());
        }
        let made = Arc::new(server_side(&key, &mut source.tls)?);
        source.tls.servers.insert(key, made.clone());
        Ok(made)
    }
}

fn server_side(key: &ServerKey, store: &mut TlsStore) -> ReadValue<Client> {
    let authorities = match &key.ca {
        _ if !key.verify => None,
        Some(path) => Some(store.authorities("ca", path).map_err(|problem| in_file(problem, None))?),
        None => Some(store.system().map_err(|why| {
            ValueError::new(format!("no authorities to verify it by ({why}), expected ca = \"ca.pem\""))
        })?),
    };
    let identity = key.identity.clone().map(|(cert, key)| {
        let files = CertificateFiles::Pair { cert, key, ocsp: None };
        store.certificates(&files).map_err(|problem| in_file(problem, None))
    });
    let identity = identity.transpose()?;
    let options = ClientOptions {
        name: &key.name,
        verify: authorities.as_ref().map_or(Verify::Nothing, Verify::By),
        identity: identity.as_ref().and_then(|all| all.first()),
    };
    Client::new(&options).map_err(|problem| match problem.key {
        "sni" => ValueError::new(format!("got {}, {}", quoted(&key.name), problem.text)).key("sni"),
        key => ValueError::new(problem.text).key(key),
    })
}
