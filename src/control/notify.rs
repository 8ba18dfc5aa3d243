//! Messages to the service manager that started rsp (sd_notify(3)): ready, reloading, stopping, a line of status, and
//! that its workers' loops turn. Without a manager that listens they cost nothing.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::base::counted::counted;
use crate::base::os_error::os_error;

/// Where to send messages.
const SOCKET: &str = "NOTIFY_SOCKET";
/// The longest time between two signs of life, in microseconds, and the process that has to give them.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_OF: &str = "WATCHDOG_PID";

/// A manager that does not read must not hold up the control thread for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The manager of this process, once `start` has looked for one.
static MANAGER: OnceLock<Option<Manager>> = OnceLock::new();

/// Reads from the environment who manages this process. A line for the log if that cannot be used.
pub fn start() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok();
    let (manager, line) = match Manager::from(&variable, process::id()) {
        Ok(manager) => (manager, None),
        Err(error) => (None, Some(format!("cannot notify the service manager: {}", os_error(&error)))),
    };
    // A second start in one process keeps the first.
    let _ = MANAGER.set(manager);
    line
}

/// All workers listen.
pub fn ready(status: &str) {
    tell(|| format!("READY=1\nSTATUS={}", one_line(status)));
}

/// The status of a process that serves.
pub fn serving(workers: usize, generation: u64) -> String {
    format!("{}, config {generation}", counted(workers as u64, "worker"))
}

/// A new config is being loaded; `ready` says when that is over, however it ended.
pub fn reloading() {
    tell(|| format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", monotonic_micros()));
}

/// Stopping, which may take so long.
pub fn stopping(status: &str, most: Duration) {
    let micros = most.as_micros();
    tell(|| format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS={}", one_line(status)));
}

/// What `systemctl status` shows.
pub fn status(status: &str) {
    tell(|| format!("STATUS={}", one_line(status)));
}

/// This process is the service from now on. If it is another one, this one says no more.
pub fn main_pid(pid: u32) {
    if let Some(manager) = manager() {
        manager.left.store(false, Ordering::Release);
        manager.tell(&format!("MAINPID={pid}"));
        manager.left.store(pid != process::id(), Ordering::Release);
    }
}

/// The loops of all workers turn.
pub fn alive() {
    tell(|| "WATCHDOG=1".into());
}

/// The longest time between two calls of `alive`; `None` if nobody waits for them.
pub fn watchdog() -> Option<Duration> {
    manager()?.watchdog
}

/// Prepares the environment of a process that becomes the service (`main_pid`): its number is not known before it
/// starts, so nothing may name this one.
pub fn hand_on(command: &mut Command) {
    command.env_remove(WATCHDOG_OF);
}

fn manager() -> Option<&'static Manager> {
    MANAGER.get()?.as_ref()
}

fn tell(message: impl FnOnce() -> String) {
    if let Some(manager) = manager() {
        manager.tell(&message());
    }
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// Another process is the service.
    left: AtomicBool,
}

impl Manager {
    fn from(variable: &dyn Fn(&str) -> Option<String>, own: u32) -> io::Result<Option<Manager>> {
        let Some(path) = variable(SOCKET).filter(|path| !path.is_empty()) else { return Ok(None) };
        // An abstract name begins with a zero, written as "@" (unix(7)).
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let is_ours = variable(WATCHDOG_OF).is_none_or(|pid| pid == own.to_string());
        let micros = variable(WATCHDOG).and_then(|micros| micros.parse().ok()).filter(|micros| *micros > 0);
        let watchdog = micros.filter(|_| is_ours).map(Duration::from_micros);
        Ok(Some(Manager { socket, address, watchdog, left: AtomicBool::new(false) }))
    }

    fn tell(&self, message: &str) {
        if self.left.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.address) {
            log::debug!("cannot notify the service manager: {}", os_error(&error));
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// The clock that a manager compares with its own; 0, which is early enough, if there is none.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(variables: &[(&str, &str)]) -> Option<Manager> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Manager::from(&variable, 10).unwrap()
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut space = [0; 200];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let size = socket.recv(&mut space).unwrap();
        String::from_utf8_lossy(&space[..size]).into_owned()
    }

    #[test]
    fn messages_reach_a_socket_with_a_path_and_one_with_an_abstract_name() {
        let name = format!("rsp-notify-{}", process::id());
        let path = std::env::temp_dir().join(&name);
        let at_path = UnixDatagram::bind(&path).unwrap();
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(at_path, path.display().to_string()), (at_name, format!("@{name}"))] {
            let manager = manager(&[(SOCKET, &address)]).unwrap();
            manager.tell("READY=1");
            assert_eq!(received(&socket), "READY=1");
            manager.left.store(true, Ordering::Release);
            manager.tell("STATUS=late");
            manager.left.store(false, Ordering::Release);
            manager.tell("STATUS=last");
            assert_eq!(received(&socket), "STATUS=last");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let watched = |more: &[(&'static str, &'static str)]| {
            manager(&[&[(SOCKET, "/run/x")], more].concat()).unwrap().watchdog
        };
        let two_seconds = Some(Duration::from_secs(2));
        assert_eq!(watched(&[]), None);
        assert_eq!(watched(&[(WATCHDOG, "2000000")]), two_seconds);
        assert_eq!(watched(&[(WATCHDOG, "2000000"), (WATCHDOG_OF, "10")]), two_seconds);
        assert_eq!(watched(&[(WATCHDOG, "2000000"), (WATCHDOG_OF, "9")]), None);
        assert_eq!(watched(&[(WATCHDOG, "0")]), None);
        assert!(manager(&[(WATCHDOG, "2000000")]).is_none() && manager(&[(SOCKET, "")]).is_none());
    }

    #[test]
    fn a_manager_that_is_gone_is_no_failure() {
        manager(&[(SOCKET, "/nowhere/at/all")]).unwrap().tell("READY=1");
        assert!(monotonic_micros() > 0 && one_line("a\nREADY=1") == "a READY=1");
    }
}
