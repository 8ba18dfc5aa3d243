//! One of the two configs of a replay.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::known::{Common, is_known, written};
use super::log_line::Row;
use crate::base::ip_port::IpPort;
use crate::net::TlsInfo;
use crate::offline::{Asked, Asking, OfflineSite, Outcome, Waits};
use crate::script::{Source, TaskFunction, Wait, Waited, active_lines, offline};

/// What stands for a `Host` that the log does not tell.
const HOST: &[u8] = b"localhost";

pub struct Side {
    site: OfflineSite,
    source: Source,
    common: Common,
    /// The listener for rows that name none.
    usual: usize,
    asked: Asked,
    asking: Asking,
}

impl Side {
    pub fn load(config: &Path) -> Result<Side, String> {
        let mut source = Source::offline(config);
        let mut site = OfflineSite::load(&mut source).map_err(|error| error.0)?;
        site.tells_headers = false;
        if site.config.on_start {
            // One that fails is no reason not to serve.
            let _ = site.run_task(TaskFunction::OnStart, &mut Lacking(None));
        }
        let takes = |(_, listener): &(usize, &std::sync::Arc<crate::config::ListenerConfig>)| {
            listener.sni.is_none() && listener.redirect.is_none()
        };
        let taking: Vec<_> = site.listeners().iter().enumerate().filter(takes).collect();
        let tls = taking.iter().filter(|(_, listener)| listener.tls.is_some()).count();
        let common = Common {
            listener: taking.len() == 1,
            // Trusted proxies say what they like.
            scheme: (tls == 0 || tls == taking.len()) && site.config.settings.trusted == Default::default(),
            no_tls: tls == 0,
        };
        let usual = taking.first().map_or(0, |(at, _)| *at);
        let (asked, asking) = (Asked::default(), Asking::default());
        Ok(Side { site, source, common, usual, asked, asking })
    }

    /// What becomes of the row's request. An error: what the script read that the row does not tell.
    pub fn ask(&mut self, row: &Row<'_>, number: u64) -> Result<Outcome, String> {
        if let Some(time) = row.time {
            self.site.advance_to(time);
        }
        // Both sides draw the same lots for a row.
        offline::set_seed(number);
        self.site.observed(|observed| observed.forget_reads());
        let told = self.set_asking(row);
        let asking = &self.asking;
        let mut lacking = Lacking(None);
        let outcome = match self.site.connects(asking.from, asking.listener) {
            Ok(true) => self.site.request(asking, &mut self.asked, &mut lacking),
            Ok(false) => Outcome::Closed("on_connect closes the connection"),
            Err(_) => Outcome::Closed("on_connect fails"),
        };
        if let Some(what) = lacking.0 {
            return Err(what.to_owned());
        }
        let common = self.common;
        let unknown = self.site.observed(|observed| {
            let unknown = |read: &&(&'static str, String)| {
                !is_known(row, common, (read.0, &read.1)) || (read.1 == "scheme" && !told)
            };
            observed.reads().find(unknown).map(written)
        });
        unknown.flatten().map_or(Ok(outcome), Err)
    }

    /// Makes the request. Returns whether it comes by the scheme that the row tells.
    fn set_asking(&mut self, row: &Row<'_>) -> bool {
        let (listeners, more) = (self.site.listeners(), row.more.as_ref());
        let named = more.and_then(|more| listeners.iter().position(|l| l.name == more.listener));
        let listener = named.unwrap_or(self.usual);
        let speaks_tls = listeners[listener].tls.is_some();
        let asking = &mut self.asking;
        for (to, from) in [(&mut asking.method, &row.method), (&mut asking.target, &row.target)] {
            to.clear();
            to.extend_from_slice(from);
        }
        asking.fields.clear();
        asking.add(b"Host", more.map_or(HOST, |more| more.host.as_bytes()));
        for (name, value) in [(&b"User-Agent"[..], &row.user_agent), (b"Referer", &row.referer)] {
            if let Some(value) = value {
                asking.add(name, value);
            }
        }
        let port = more.map_or(0, |more| more.client_port);
        (asking.is_old, asking.listener) = (row.is_old, listener);
        asking.from = row.address().map(|ip| IpPort::new(ip, port));
        asking.tls = speaks_tls.then(|| Rc::new(tls(row)));
        more.is_none_or(|more| more.is_https == speaks_tls)
    }

    /// Lines of the script that never ran, by file.
    pub fn unreached(&self) -> BTreeMap<String, Vec<usize>> {
        let ran = self.site.observed(|observed| {
            let owned = |(file, lines): (&str, _)| (file.to_owned(), lines);
            observed.lines().into_iter().map(owned).collect::<BTreeMap<_, _>>()
        });
        let ran = ran.unwrap_or_default();
        let mut unreached = BTreeMap::new();
        for path in self.source.paths() {
            let file = path.display().to_string();
            let active = active_lines(&std::fs::read(path).unwrap_or_default());
            let missed: Vec<usize> = match ran.get(&file) {
                Some(ran) => active.difference(ran).copied().collect(),
                None => active.into_iter().collect(),
            };
            if !missed.is_empty() {
                unreached.insert(file, missed);
            }
        }
        unreached
    }
}

fn tls(row: &Row<'_>) -> TlsInfo {
    let more = row.more.as_ref();
    let version = more.and_then(|more| more.tls_version.as_deref());
    TlsInfo {
        version: if version == Some("1.2") { "1.2" } else { "1.3" },
        sni: more.and_then(|more| more.sni.as_deref()).map(str::to_owned),
        ..TlsInfo::default()
    }
}

/// Whether a request is routed or answered in the same way. Servers that balancing picks do not count.
pub fn is_same(old: &Outcome, new: &Outcome) -> bool {
    match (old, new) {
        (Outcome::Forwarded(old), Outcome::Forwarded(new)) => {
            let server = |to: &crate::offline::Forwarded| to.server.clone().filter(|_| to.bound);
            old.pool == new.pool
                && old.target == new.target
                && old.host == new.host
                && old.error.is_some() == new.error.is_some()
                && server(old) == server(new)
        }
        // Positions in messages about failures may differ.
        (Outcome::Answered(old), Outcome::Answered(new)) => {
            (old.status, &old.headers, &old.body) == (new.status, &new.headers, &new.body)
        }
        (old, new) => old == new,
    }
}

/// A log tells nothing of what handlers wait for.
struct Lacking(Option<&'static str>);

impl Waits for Lacking {
    fn answer(&mut self, wait: &Wait, _: &OfflineSite) -> Waited {
        let lacking = || "not in the log".to_owned();
        let (what, waited) = match wait {
            Wait::Sleep(_) => return Waited::Slept,
            Wait::Fetch(_) => ("rsp.fetch", Waited::Fetched(Err(lacking()))),
            Wait::Resolve(_) => ("rsp.resolve", Waited::Resolved(Err(lacking()))),
            Wait::Body(_) => ("req:body()", Waited::Body(Err("not in the log"))),
            // What it depends on, `Authorization`, is not in the log either.
            Wait::Check(_) => ("auth:check", Waited::Checked(Some(false))),
        };
        self.0.get_or_insert(what);
        waited
    }
}
