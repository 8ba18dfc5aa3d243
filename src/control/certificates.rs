//! Certificates while rsp runs: those of listeners are read again when their files change (`watch`), and all, also those
//! that rsp shows to servers, are warned about before they end. What is not whole yet (one of two files was written) is
//! tried again each second; the old certificates stay meanwhile.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{CertificateFiles, Config, FileProblem, ListenerConfig, ListenerTls, Stamp};
use crate::tls::{Certificate, Client, Expiry};

/// New files are in use within a second.
const EVERY: Duration = Duration::from_millis(500);
/// How long files may be unusable before that is worth a line.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the dates are looked at.
const DATES: Duration = Duration::from_secs(3600);
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Days before the end at which it is said; 0 once it has ended.
const NOTICES: [u64; 4] = [30, 7, 1, 0];

/// Watches until it is dropped.
pub struct CertificateWatch(Sender<()>);

/// The last notice that was given of each certificate. It outlives reloads, so that each is given once.
pub type Notices = Arc<Mutex<HashMap<Subject, u64>>>;

/// What a notice is about: a certificate, or the OCSP response beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    Certificate([u8; 32]),
    Staple([u8; 32]),
}

impl CertificateWatch {
    /// `None` if the config has no certificates.
    pub fn start(config: &Config, notices: Notices) -> Option<CertificateWatch> {
        let mut watch = Watch::of(config, notices);
        if watch.listeners.is_empty() && watch.clients.is_empty() {
            return None;
        }
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            // The panic hook has said what and where.
            if catch_unwind(AssertUnwindSafe(|| watch.run(&stopped))).is_err() {
                log::error!(
                    "certificates are not watched any more, until the next reload: an internal fault"
                );
            }
        };
        match thread::Builder::new().name("certificates".into()).spawn(run) {
            Ok(_) => Some(CertificateWatch(stop)),
            Err(error) => {
                log::error!("cannot watch certificates: {}", os_error(&error));
                None
            }
        }
    }
}

impl Drop for CertificateWatch {
    fn drop(&mut self) {
        // Fails if the thread has ended already.
        let _ = self.0.send(());
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// The certificates of a config.
struct Watch {
    listeners: Vec<Watched>,
    /// Those that rsp shows to servers, each with who sees it.
    clients: Vec<(String, Arc<Client>)>,
    notices: Notices,
}

impl Watch {
    fn of(config: &Config, notices: Notices) -> Watch {
        let clients = config.pools.iter().flat_map(|pool| {
            let shown = |server: &crate::config::ServerConfig| {
                let client = server.tls.clone().filter(|client| client.expiry().is_some())?;
                Some((format!("pool {}: server {}", pool.name, server.name), client))
            };
            pool.servers.iter().filter_map(shown)
        });
        let listeners = config.listeners.iter().filter_map(Watched::of).collect();
        Watch { listeners, clients: clients.collect(), notices }
    }

    /// Until it is told to stop.
    fn run(&mut self, stopped: &Receiver<()>) {
        let looks = self.listeners.iter().any(|one| one.tls.watch);
        let every = if looks { EVERY } else { DATES };
        self.say_dates(seconds());
        let mut dates = Instant::now();
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            let changed = self.listeners.iter_mut().fold(false, |changed, one| one.look(now) | changed);
            if changed || dates.elapsed() >= DATES {
                dates = Instant::now();
                self.say_dates(seconds());
            }
        }
    }

    /// Says which certificates end soon; each of them once for each notice.
    fn say_dates(&self, now: u64) {
        let of_listeners = self.listeners.iter().flat_map(|one| {
            let whose = format!("listener {}", one.listener);
            one.tls.server.certificates().expiries().into_iter().map(move |expiry| (whose.clone(), expiry))
        });
        let of_clients = self.clients.iter();
        let of_clients = of_clients.filter_map(|(whose, one)| Some((whose.clone(), one.expiry()?.clone())));
        let ends: Vec<End> =
            of_listeners.chain(of_clients).flat_map(|(whose, one)| End::of(&whose, &one)).collect();
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.retain(|known, _| ends.iter().any(|end| end.subject == *known));
        for end in ends {
            let Some(notice) = end.notice(now) else { continue };
            if notices.insert(end.subject, notice) != Some(notice) {
                let level = if notice == 0 { log::Level::Error } else { log::Level::Warn };
                log::log!(level, "{}", end.line(now));
            }
        }
    }
}

/// The end of something.
struct End {
    subject: Subject,
    at: u64,
    /// `WHOSE: WHAT`.
    what: String,
    /// What follows from it.
    then: &'static str,
}

impl End {
    fn of(whose: &str, expiry: &Expiry) -> Vec<End> {
        let Expiry { name, not_after, staple_until, print } = expiry;
        let end = |subject, at, thing, then| End {
            subject,
            at,
            what: format!("{whose}: the {thing} of {name}"),
            then,
        };
        let certificate = end(Subject::Certificate(*print), *not_after, "certificate", "");
        // A response is of use for days only: what counts is that a new one did not come in time.
        let staple = staple_until
            .map(|until| end(Subject::Staple(*print), until, "OCSP response", ", it is not sent any more"));
        [certificate].into_iter().chain(staple).collect()
    }

    /// The notice that is due.
    fn notice(&self, now: u64) -> Option<u64> {
        match self.subject {
            Subject::Certificate(_) => notice(self.at, now),
            Subject::Staple(_) => notice(self.at, now).filter(|notice| *notice == 0),
        }
    }

    fn line(&self, now: u64) -> String {
        let what = &self.what;
        match self.at.checked_sub(now) {
            None => format!("{what} has expired{}", self.then),
            Some(left) if left >= DAY => format!("{what} ends in {}", counted(left / DAY, "day")),
            Some(left) if left >= HOUR => format!("{what} ends in {}", counted(left / HOUR, "hour")),
            Some(_) => format!("{what} ends in less than an hour"),
        }
    }
}

/// The last notice that is due.
fn notice(end: u64, now: u64) -> Option<u64> {
    if end < now {
        return Some(0);
    }
    NOTICES.into_iter().rev().find(|days| *days > 0 && end - now < days * DAY)
}

/// The certificates of one listener.
struct Watched {
    listener: String,
    tls: Arc<ListenerTls>,
    /// The files that were read last.
    seen: Vec<Stamp>,
    /// Since when they cannot be used, and whether that was said.
    unusable: Option<(Instant, bool)>,
}

impl Watched {
    fn of(listener: &ListenerConfig) -> Option<Watched> {
        let tls = listener.tls.clone()?;
        // As they were when the config was loaded: they may have changed since.
        let seen = tls.seen.0.to_vec();
        Some(Watched { listener: listener.name.clone(), tls, seen, unusable: None })
    }

    /// Uses what has changed. Returns whether there are new certificates.
    fn look(&mut self, now: Instant) -> bool {
        if !self.tls.watch {
            return false;
        }
        // Before they are read: a change meanwhile is seen the next time.
        let stamps: Vec<Stamp> = self.tls.certificates.iter().flat_map(CertificateFiles::stamps).collect();
        if stamps == self.seen && self.unusable.is_none() {
            return false;
        }
        self.seen = stamps;
        match load(&self.tls) {
            Ok((all, dropped)) => {
                self.tls.server.certificates().replace(all);
                self.unusable = None;
                self.announce(&dropped);
                true
            }
            Err(problem) => {
                self.note_unusable(&problem, now);
                false
            }
        }
    }

    fn announce(&self, dropped: &[FileProblem]) {
        let names: Vec<String> =
            self.tls.server.certificates().expiries().into_iter().map(|one| one.name).collect();
        log::info!("listener {}: new certificates: {}", self.listener, names.join(", "));
        for FileProblem { key, text } in dropped {
            log::error!("listener {}: no OCSP response is sent: tls.{key}: {text}", self.listener);
        }
    }

    fn note_unusable(&mut self, problem: &FileProblem, now: Instant) {
        let (since, said) = self.unusable.get_or_insert((now, false));
        if !*said && now.duration_since(*since) >= PATIENCE {
            *said = true;
            let FileProblem { key, text } = problem;
            log::error!("listener {}: the old certificates stay: tls.{key}: {text}", self.listener);
        }
    }
}

/// The certificates as they are now, and what is wrong with their OCSP responses, which are not used then: a certificate
/// may be renewed before its response is.
fn load(tls: &ListenerTls) -> Result<(Vec<Certificate>, Vec<FileProblem>), FileProblem> {
    let (mut all, mut dropped) = (Vec::new(), Vec::new());
    for files in &tls.certificates {
        all.extend(files.load(Some(&mut dropped))?);
    }
    Ok((all, dropped))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::script::{Source, load as load_config};
    use crate::tls::tests::{Kind, pem};

    struct Site(PathBuf);

    impl Site {
        fn new(name: &str) -> Site {
            let dir = std::env::temp_dir().join(format!("rsp-certificates-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Site(dir)
        }

        fn write(&self, names: &[&str]) -> (String, String) {
            let (cert, key) = pem(names, Kind::Ecdsa, None);
            fs::write(self.0.join("a.crt"), &cert).unwrap();
            fs::write(self.0.join("a.key"), &key).unwrap();
            (cert, key)
        }

        fn config(&self) -> Config {
            let text = b"rsp.listen { '127.0.0.1:0', name = 'https', tls = { cert = 'a.crt', key = 'a.key', watch = true } }
                rsp.pool { servers = { '127.0.0.1:1' } }";
            let mut source = Source::in_memory(&self.0.join("site.lua"), text);
            load_config(&mut source).map_err(|error| error.0).unwrap().0
        }

        fn watched(&self) -> Watched {
            Watched::of(&self.config().listeners[0]).unwrap()
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(watched: &Watched) -> Vec<String> {
        watched.tls.server.certificates().expiries().into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn new_files_are_used_once_they_fit_and_old_ones_stay_until_then() {
        let site = Site::new("files");
        site.write(&["old.example"]);
        let (mut watched, start) = (site.watched(), Instant::now());
        watched.look(start);
        assert_eq!(names(&watched), ["old.example"]);
        let (_, key) = site.write(&["new.example"]);
        fs::write(site.0.join("a.key"), "half a").unwrap();
        watched.look(start);
        assert_eq!((names(&watched), watched.unusable), (vec!["old.example".into()], Some((start, false))));
        watched.look(start + PATIENCE);
        assert_eq!(watched.unusable, Some((start, true)), "said once");
        fs::write(site.0.join("a.key"), key).unwrap();
        watched.look(start + PATIENCE);
        assert_eq!((names(&watched), watched.unusable), (vec!["new.example".into()], None));
        fs::remove_file(site.0.join("a.crt")).unwrap();
        watched.look(start);
        assert_eq!(names(&watched), ["new.example"]);
    }

    #[test]
    fn files_that_changed_after_they_were_read_are_read_again() {
        let site = Site::new("early");
        site.write(&["old.example"]);
        let config = site.config();
        // Between the load of the config and its use.
        site.write(&["new.example"]);
        let mut watched = Watched::of(&config.listeners[0]).unwrap();
        assert!(watched.look(Instant::now()));
        assert_eq!(names(&watched), ["new.example"]);
        assert!(!watched.look(Instant::now()));
    }

    #[test]
    fn a_notice_is_given_once_over_reloads() {
        let site = Site::new("notices");
        site.write(&["a.example"]);
        let notices = Notices::default();
        let given = |now: u64| {
            Watch::of(&site.config(), notices.clone()).say_dates(now);
            notices.lock().unwrap().values().copied().collect::<Vec<_>>()
        };
        let end =
            site.config().listeners[0].tls.as_ref().unwrap().server.certificates().expiries()[0].not_after;
        assert_eq!(given(end - 31 * DAY), [0; 0]);
        assert_eq!(given(end - 20 * DAY), [30]);
        let before = notices.lock().unwrap().clone();
        given(end - 19 * DAY);
        assert_eq!(*notices.lock().unwrap(), before);
        assert_eq!(given(end - 6 * DAY), [7]);
        site.write(&["b.example"]);
        assert_eq!(given(end - 40 * DAY), [0; 0], "another certificate");
    }

    #[test]
    fn what_rsp_shows_to_servers_is_warned_about_too() {
        let site = Site::new("clients");
        site.write(&["client.example"]);
        let text = b"rsp.listen '127.0.0.1:0' rsp.pool { name = 'web', servers = {
            { 'https://127.0.0.1:1', name = 'a', verify = false, cert = 'a.crt', key = 'a.key' } } }";
        let mut source = Source::in_memory(&site.0.join("site.lua"), text);
        let config = load_config(&mut source).map_err(|error| error.0).unwrap().0;
        let notices = Notices::default();
        let watch = Watch::of(&config, notices.clone());
        let (whose, client) = &watch.clients[0];
        let expiry = client.expiry().unwrap();
        let line = End::of(whose, expiry)[0].line(expiry.not_after - 2 * DAY);
        assert_eq!(line, "pool web: server a: the certificate of client.example ends in 2 days");
        watch.say_dates(expiry.not_after + 1);
        assert_eq!(notices.lock().unwrap().values().copied().collect::<Vec<u64>>(), [0]);
    }

    #[test]
    fn the_end_is_in_days_then_hours() {
        let print = [0; 32];
        let expiry =
            Expiry { name: "a.example".into(), not_after: 100 * DAY, staple_until: Some(9 * DAY), print };
        let ends = End::of("listener https", &expiry);
        let said = |at: usize, now: u64| ends[at].line(now);
        assert_eq!(said(0, 98 * DAY), "listener https: the certificate of a.example ends in 2 days");
        assert_eq!(said(0, 99 * DAY + 1), "listener https: the certificate of a.example ends in 23 hours");
        assert_eq!(
            said(0, 100 * DAY - 60),
            "listener https: the certificate of a.example ends in less than an hour"
        );
        assert_eq!(said(0, 100 * DAY + 1), "listener https: the certificate of a.example has expired");
        let line = "listener https: the OCSP response of a.example has expired, it is not sent any more";
        assert_eq!(said(1, 10 * DAY), line);
    }

    #[test]
    fn an_end_is_said_thirty_seven_and_one_days_before_and_after_it() {
        let now = 1_000 * DAY;
        for (left, wanted) in [
            (31 * DAY, None),
            (30 * DAY, None),
            (30 * DAY - 1, Some(30)),
            (8 * DAY, Some(30)),
            (7 * DAY - 1, Some(7)),
            (DAY - 1, Some(1)),
            (0, Some(1)),
        ] {
            assert_eq!(notice(now + left, now), wanted, "{left}");
        }
        assert_eq!(notice(now - 1, now), Some(0));
    }
}
