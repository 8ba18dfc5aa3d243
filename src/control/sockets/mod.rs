//! The sockets by which operators see and steer a running rsp: the control socket (`console`) and the admin address
//! (`http`). They are served by the control thread's loop; requests are taken with `next_request` and answered when the
//! process has an answer, which may be later.

pub mod commands;
mod connection;
pub mod console;
pub mod http;

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::time::{Duration, Instant};

use mio::{Registry, Token};

pub use self::connection::Request;
use self::connection::{Connection, Transferred};
use self::console::Answer;
use self::http::HttpAnswer;
use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::base::os_error::os_error;
use crate::config::{Address, Control, ControlLevel, ListenerConfig, Settings};
use crate::control::privileges::find_group;
use crate::control::run_error::RunError;
use crate::net::{self, Inherited, Listener, Stream};

/// Of each socket at most.
pub const CONNECTIONS: usize = 64;
/// After an accept that failed (no descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Control,
    Admin,
}

/// Who asked: the connection's token, which is not used again.
pub type Asker = usize;

pub struct Sockets {
    registry: Registry,
    control: Option<Open>,
    admin: Option<Open>,
    level: ControlLevel,
    connections: HashMap<Asker, (Kind, Connection)>,
    next_token: usize,
    begun: Instant,
}

struct Open {
    kind: Kind,
    address: Address,
    listener: Listener,
    token: usize,
    /// Connections may wait to be accepted.
    ready: bool,
    /// The next try, after one that failed.
    retry_at: Option<Instant>,
    failed: LogLimit,
}

/// The sockets of the next config.
#[derive(Default)]
pub struct NextSockets {
    control: Next,
    admin: Next,
}

#[derive(Default)]
enum Next {
    #[default]
    None,
    Same,
    New(Address, Listener),
}

impl NextSockets {
    /// Binds what the settings have beyond the present ones.
    pub fn prepare(
        present: &Settings,
        wanted: &Settings,
        inherited: &Inherited,
    ) -> Result<NextSockets, RunError> {
        let control = match (&present.control, &wanted.control) {
            (_, None) => Next::None,
            (Some(present), Some(wanted)) if present.path == wanted.path => Next::Same,
            (_, Some(wanted)) => {
                let address = Address::Unix(wanted.path.clone());
                let passed = net::open_named(&control_key(&address), Some(&wanted.path), inherited);
                let bound = passed.and_then(|passed| match passed {
                    Some(listener) => Ok(listener),
                    None => net::bind_private(&wanted.path, wanted.mode),
                });
                let next = Next::new(address, bound)?;
                set_group(wanted).map_err(RunError::Start)?;
                next
            }
        };
        let admin = match (&present.admin, &wanted.admin) {
            (_, None) => Next::None,
            (Some(present), Some(wanted)) if present.address == wanted.address => Next::Same,
            (_, Some(wanted)) => {
                let path =
                    if let Address::Unix(path) = &wanted.address { Some(path.as_path()) } else { None };
                let passed = net::open_named(&admin_key(&wanted.address), path, inherited);
                let bound = passed.and_then(|passed| match passed {
                    Some(listener) => Ok(listener),
                    None => net::bind(&ListenerConfig::at(wanted.address.clone())),
                });
                Next::new(wanted.address.clone(), bound)?
            }
        };
        Ok(NextSockets { control, admin })
    }
}

fn set_group(control: &Control) -> Result<(), String> {
    let Some(group) = &control.group else { return Ok(()) };
    let gid = find_group(group).map_err(|error| format!("control: {error}"))?.as_raw();
    if fs::symlink_metadata(&control.path).is_ok_and(|file| file.gid() == gid) {
        return Ok(());
    }
    lchown(&control.path, None, Some(gid)).map_err(|error| {
        format!(
            "control socket {}: cannot give it to group {group}: {}",
            control.path.display(),
            os_error(&error)
        )
    })
}

/// The names under which the next process gets the sockets.
fn control_key(address: &Address) -> String {
    format!("control {address}")
}

fn admin_key(address: &Address) -> String {
    format!("admin {address}")
}

impl Next {
    fn new(address: Address, bound: io::Result<Listener>) -> Result<Next, RunError> {
        match bound {
            Ok(listener) => Ok(Next::New(address, listener)),
            Err(error) => Err(RunError::Listen(address, error)),
        }
    }
}

impl Sockets {
    pub fn new(registry: Registry) -> Sockets {
        Sockets {
            registry,
            control: None,
            admin: None,
            level: ControlLevel::Observe,
            connections: HashMap::new(),
            next_token: 0,
            begun: Instant::now(),
        }
    }

    /// Takes over the sockets of a config. Connections to earlier ones go on.
    pub fn switch(&mut self, next: NextSockets, settings: &Settings) {
        self.control = self.replaced(Kind::Control, next.control);
        self.admin = self.replaced(Kind::Admin, next.admin);
        if let Some(control) = &settings.control {
            self.level = control.level;
            let mode = fs::Permissions::from_mode(control.mode);
            let is_socket =
                fs::symlink_metadata(&control.path).is_ok_and(|file| file.file_type().is_socket());
            if is_socket && let Err(error) = fs::set_permissions(&control.path, mode) {
                log::warn!(
                    "control socket {}: cannot set its mode: {}",
                    control.path.display(),
                    os_error(&error)
                );
            }
            if let Err(line) = set_group(control) {
                log::warn!("{line}");
            }
        }
    }

    fn replaced(&mut self, kind: Kind, next: Next) -> Option<Open> {
        let present = match kind {
            Kind::Control => self.control.take(),
            Kind::Admin => self.admin.take(),
        };
        match next {
            Next::Same => present,
            Next::None => None,
            Next::New(address, mut listener) => {
                let token = self.token();
                if let Err(error) = listener.watch(&self.registry, token as u64) {
                    log::error!("cannot watch {address}: {}", os_error(&error));
                    return None;
                }
                let failed = LogLimit::default();
                Some(Open { kind, address, listener, token, ready: true, retry_at: None, failed })
            }
        }
    }

    fn token(&mut self) -> usize {
        self.next_token += 1;
        self.next_token
    }

    /// Descriptors of the sockets, each with the name under which the next process gets it.
    pub fn handles(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut handles = Vec::new();
        for open in [&self.control, &self.admin].into_iter().flatten() {
            let key = match open.kind {
                Kind::Control => control_key(&open.address),
                Kind::Admin => admin_key(&open.address),
            };
            handles.extend(open.listener.handles()?.into_iter().map(|handle| (key.clone(), handle)));
        }
        Ok(handles)
    }

    /// Accepts no more. Connections that are there go on.
    pub fn close(&mut self) {
        for mut open in [self.control.take(), self.admin.take()].into_iter().flatten() {
            open.listener.unwatch(&self.registry);
        }
    }

    /// The address of `admin`, with the kernel's choice for port 0.
    pub fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(|open| open.listener.address())
    }

    /// A socket is ready.
    pub fn ready(&mut self, token: Token) {
        for open in [&mut self.control, &mut self.admin].into_iter().flatten() {
            if open.token == token.0 {
                open.ready = true;
                return;
            }
        }
        self.transfer(token.0);
    }

    /// Returns whether anything has changed.
    fn transfer(&mut self, asker: Asker) -> bool {
        let Some((_, connection)) = self.connections.get_mut(&asker) else { return false };
        let transferred = connection.transfer();
        if transferred == Transferred::Ended {
            self.connections.remove(&asker);
        }
        transferred != Transferred::Nothing
    }

    /// Accepts connections and returns a request that is to be answered. Call until there is none.
    pub fn next_request(&mut self) -> Option<(Asker, Request)> {
        loop {
            self.accept();
            let level = self.level;
            let asked = self
                .connections
                .iter_mut()
                .find_map(|(asker, (_, connection))| connection.next(level).map(|request| (*asker, request)));
            if asked.is_some() {
                return asked;
            }
            // Some have been answered without asking, which makes room for more: readiness is reported once.
            let askers: Vec<Asker> = self.connections.keys().copied().collect();
            let changed =
                askers.into_iter().map(|asker| self.transfer(asker)).filter(|changed| *changed).count();
            if changed == 0 {
                return None;
            }
        }
    }

    fn accept(&mut self) {
        for kind in [Kind::Control, Kind::Admin] {
            while let Some(stream) = self.accept_one(kind) {
                self.add(kind, stream);
            }
        }
    }

    fn accept_one(&mut self, kind: Kind) -> Option<Stream> {
        let count = self.connections.values().filter(|(of, _)| *of == kind).count();
        let open = match kind {
            Kind::Control => self.control.as_mut()?,
            Kind::Admin => self.admin.as_mut()?,
        };
        debug_assert_eq!(open.kind, kind);
        if open.retry_at.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        open.retry_at = None;
        while open.ready && count < CONNECTIONS {
            match open.listener.accept() {
                Ok(accepted) => return Some(accepted.stream),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => open.ready = false,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        open.retry_at = Some(Instant::now() + ACCEPT_PAUSE);
                        if let Some(times) = open.failed.count(self.begun.elapsed().as_micros() as u64) {
                            let (address, times) = (&open.address, counted(times, "time"));
                            log::error!(
                                "cannot accept connections on {address} ({times}): {}",
                                os_error(&error)
                            );
                        }
                        return None;
                    }
                },
            }
        }
        None
    }

    fn add(&mut self, kind: Kind, mut stream: Stream) {
        let token = self.token();
        if let Err(error) = stream.watch(&self.registry, token) {
            log::error!("cannot watch a connection of the control thread: {}", os_error(&error));
            return;
        }
        let connection = match kind {
            Kind::Control => Connection::console(stream),
            Kind::Admin => Connection::http(stream),
        };
        self.connections.insert(token, (kind, connection));
        self.transfer(token);
    }

    /// Answers a command; its connection may be gone.
    pub fn answer(&mut self, asker: Asker, answer: &Answer) {
        if let Some((_, connection)) = self.connections.get_mut(&asker) {
            connection.answer(answer);
        }
        self.transfer(asker);
    }

    /// Adds to the answer to a command. Returns whether the client has taken all of it; `None`: it is gone.
    pub fn answer_part(&mut self, asker: Asker, text: &str) -> Option<bool> {
        if let Some((_, connection)) = self.connections.get_mut(&asker) {
            connection.answer_part(text);
        }
        self.transfer(asker);
        self.connections.get(&asker).map(|(_, connection)| connection.is_sent())
    }

    /// Answers a request to the admin address.
    pub fn answer_http(&mut self, asker: Asker, answer: &HttpAnswer) {
        if let Some((_, connection)) = self.connections.get_mut(&asker) {
            connection.answer_http(answer);
        }
        self.transfer(asker);
    }

    /// When the next connection has had its time.
    pub fn until(&self) -> Option<Instant> {
        let retries = [&self.control, &self.admin].into_iter().flatten().filter_map(|open| open.retry_at);
        self.connections.values().filter_map(|(_, connection)| connection.deadline()).chain(retries).min()
    }

    /// Closes the connections that have had their time.
    pub fn expire(&mut self, now: Instant) {
        for open in [&mut self.control, &mut self.admin].into_iter().flatten() {
            open.retry_at = open.retry_at.filter(|at| *at > now);
        }
        self.connections
            .retain(|_, (_, connection)| connection.deadline().is_none_or(|deadline| deadline > now));
    }
}
