//! A service manager as systemd is one to a service: a socket for its messages, and listening sockets that it passes.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::directory::Directory;
use super::programs::find;
use super::rsp::rsp_command;
use super::wait::until;

/// systemd passes descriptors from here on.
const FIRST: RawFd = 3;

pub struct Manager {
    socket: UnixDatagram,
    /// `NOTIFY_SOCKET`.
    pub address: String,
    received: RefCell<Vec<String>>,
}

impl Manager {
    /// Listens on a path in this directory.
    pub fn at_path(directory: &Directory) -> Manager {
        let path = directory.join("notify");
        Manager::of(UnixDatagram::bind(&path).expect("a socket"), path.display().to_string())
    }

    /// Listens on an abstract name.
    pub fn at_name() -> Manager {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rsp-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        Manager::of(UnixDatagram::bind_addr(&address).expect("a socket"), format!("@{name}"))
    }

    fn of(socket: UnixDatagram, address: String) -> Manager {
        socket.set_nonblocking(true).expect("a mode");
        Manager { socket, address, received: RefCell::default() }
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<String> {
        let mut space = [0; 4096];
        while let Ok(size) = self.socket.recv(&mut space) {
            let message = String::from_utf8_lossy(&space[..size]).into_owned();
            self.received.borrow_mut().push(message);
        }
        self.received.borrow().clone()
    }

    /// How many messages so far are this one.
    pub fn count(&self, message: &str) -> usize {
        self.messages().iter().filter(|received| *received == message).count()
    }

    pub fn wait_for(&self, start: &str) {
        until(&format!("the manager was told {start:?}"), || {
            self.messages().iter().any(|message| message.starts_with(start))
        });
    }

    /// rsp with this manager.
    pub fn command(&self) -> Command {
        let mut command = rsp_command();
        command.env("NOTIFY_SOCKET", &self.address);
        command
    }
}

/// rsp with these sockets, under these names; the variables name its own process, as systemd's do.
pub fn with_sockets(sockets: Vec<(&str, OwnedFd)>, arguments: &[&str]) -> Command {
    let mut command = Command::new(find("sh").expect("a shell"));
    command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\""]);
    command.arg(rsp_command().get_program()).args(arguments);
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let sockets: Vec<OwnedFd> = sockets.into_iter().map(|(_, socket)| away(&socket)).collect();
    let pass = move || {
        for (socket, target) in sockets.iter().zip(FIRST..) {
            // SAFETY: dup2 takes two integers; both numbers are this process's own, between fork and exec.
            if unsafe { libc::dup2(socket.as_raw_fd(), target) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec there are only system calls, and nothing is allocated.
    unsafe { command.pre_exec(pass) };
    command
}

/// The same socket under a number that no target has.
fn away(socket: &OwnedFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: fcntl takes integers, and the descriptor that it makes belongs to nobody else.
    unsafe {
        let copy = libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST + 100);
        assert!(copy > 0, "no descriptor");
        OwnedFd::from_raw_fd(copy)
    }
}
