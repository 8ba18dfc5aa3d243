//! Handing the service to a new binary (USR2) without a refused connection. The new process gets the listening sockets
//! and what the old one knows, loads its config and starts its workers; then it takes over, and the old one drains. If
//! it ends or is not ready in time, the old one goes on as if nothing had been.
//!
//! ```text
//! old   start ────────────── state ────────────── take over ─► drain, end
//!         │ sockets, channel   ▲ │                  ▲    │
//! new     └─► load, open ──────┘ └─► workers start ─┘    └─► the service
//! ```

mod handover;
mod predecessor;

use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

pub use handover::Handover;
pub use predecessor::Predecessor;

use crate::base::os_error::os_error;
use crate::control::notify;
use crate::net;

/// How long the new process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to read a message.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take to end once it has closed its channel.
const END_WITHIN: Duration = Duration::from_millis(500);
/// The channel's descriptor, in the environment of the new process.
const CHANNEL: &str = "RSP_UPGRADE";

/// The lines of the channel.
const ASK_STATE: &str = "state\n";
const READY: &str = "ready";
const TAKE_OVER: &str = "take over\n";

/// The running binary and its directory, as they were when it was started: later its file may be another one.
static PROGRAM: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();

/// Remembers where the program is. Call before anything changes.
pub fn remember_program() {
    let program = || {
        let (running, directory) = (env::current_exe().ok()?, env::current_dir().ok()?);
        // As it was called: a link may lead to another version by then.
        let called = called(&directory).filter(|path| path.canonicalize().is_ok_and(|path| path == running));
        Some((called.unwrap_or(running), directory))
    };
    // A second start in one process keeps the first.
    let _ = PROGRAM.set(program());
}

/// The path by which the program was called.
fn called(directory: &Path) -> Option<PathBuf> {
    let name = PathBuf::from(env::args_os().next()?);
    if name.components().count() > 1 {
        return Some(directory.join(name));
    }
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|path| directory.join(path).join(&name)).find(|path| path.is_file())
}

/// A new process that is not ready yet.
pub struct Upgrade {
    child: Child,
    channel: UnixStream,
    /// What has arrived of a line.
    input: String,
    until: Instant,
}

/// What the new process wants.
#[derive(PartialEq, Eq, Debug)]
pub enum Wanted {
    Nothing,
    State,
    /// It is ready to be the service. With the names of sockets that none of its listeners has.
    TakeOver(Vec<String>),
    /// It will not be; why.
    Failed(String),
}

impl Upgrade {
    /// Starts the new binary with these sockets, each with the address of its listener.
    pub fn start(sockets: &[(String, RawFd)], registry: &Registry, token: Token) -> io::Result<Upgrade> {
        let unknown = || io::Error::other("it is not known where the program is");
        let (program, directory) = PROGRAM.get().cloned().flatten().ok_or_else(unknown)?;
        let arguments: Vec<OsString> = env::args_os().skip(1).collect();
        let (own, others) = std::os::unix::net::UnixStream::pair()?;
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(directory).env(CHANNEL, others.as_raw_fd().to_string());
        notify::hand_on(&mut command);
        net::pass(&mut command, sockets, &[others.as_raw_fd()]);
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {}", program.display(), os_error(&error)))
        })?;
        own.set_nonblocking(true)?;
        let mut channel = UnixStream::from_std(own);
        registry.register(&mut channel, token, Interest::READABLE)?;
        Ok(Upgrade { child, channel, input: String::new(), until: Instant::now() + READY_WITHIN })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// When it has had its time.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Reads what the new process wants. Call until it wants nothing.
    pub fn wanted(&mut self) -> Wanted {
        let mut piece = [0; 256];
        loop {
            if let Some(end) = self.input.find('\n') {
                let line: String = self.input.drain(..=end).collect();
                let mut words = line.trim_end().split('\t');
                return match words.next() {
                    _ if line == ASK_STATE => Wanted::State,
                    Some(READY) => Wanted::TakeOver(words.map(str::to_owned).collect()),
                    _ => Wanted::Failed(format!("it says {:?}, which is not understood", line.trim_end())),
                };
            }
            match self.channel.read(&mut piece) {
                Ok(0) => return Wanted::Failed(self.end()),
                Ok(count) => self.input.push_str(&String::from_utf8_lossy(&piece[..count])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wanted::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Wanted::Failed(self.end()),
            }
        }
    }

    /// How it has ended. The channel closes before the process ends, which may have to say why.
    fn end(&mut self) -> String {
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(END_WITHIN / 50);
        }
        self.kill()
    }

    fn kill(&mut self) -> String {
        // Fails if it has ended.
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) if status.code().is_some() => format!("it ended ({status}); its own lines say why"),
            Ok(_) => "it ended before it was ready; its own lines say why".into(),
            Err(error) => format!("it ended ({error})"),
        }
    }

    /// Tells the new process what this one knows. A failure shows when the channel is read.
    pub fn send_state(&mut self, handover: &Handover) {
        let _ = self.send(&format!("{}\n", handover.to_line()));
    }

    /// Lets the new process be the service.
    pub fn hand_over(&mut self) -> io::Result<()> {
        self.send(TAKE_OVER)
    }

    /// The state of many servers is more than the channel holds; the new process does nothing but read it.
    fn send(&mut self, text: &str) -> io::Result<()> {
        let (channel, until) = (SockRef::from(&self.channel), Instant::now() + SEND_WITHIN);
        channel.set_nonblocking(false)?;
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let time = until.saturating_duration_since(Instant::now());
            channel.set_write_timeout(Some(time.max(Duration::from_millis(1))))?;
            match channel.send(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= until && !left.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        channel.set_nonblocking(true)
    }

    /// Ends it.
    pub fn give_up(mut self) {
        self.kill();
    }
}
