//! Listening sockets that another process has opened: systemd (sd_listen_fds(3)), or an rsp that this one takes over
//! from. Both become one table: the address of a listener as its config says it, and the sockets that belong to it.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{self, Command};

use socket2::{Domain, Socket, Type};

use crate::config::Address;

/// systemd passes descriptors from here on.
const FIRST: RawFd = 3;
/// What systemd passes, and for whom.
const OF_SYSTEMD: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// What an rsp passes to the one that takes over: a line `DESCRIPTOR ADDRESS` for each socket, and its own process.
const SOCKETS: &str = "RSP_SOCKETS";
const SOCKETS_OF: &str = "RSP_SOCKETS_OF";

/// The sockets that were passed to this process.
#[derive(Default)]
pub struct Inherited {
    sockets: Vec<Passed>,
}

struct Passed {
    address: String,
    socket: OwnedFd,
    used: Cell<bool>,
}

impl Inherited {
    /// Takes what the environment says, and removes it from there as long as no other thread could be reading it.
    pub fn take() -> io::Result<Inherited> {
        let variable = |name: &str| std::env::var(name).ok();
        let passed = passed(&variable, process::id(), std::os::unix::process::parent_id())?;
        forget(&[&OF_SYSTEMD[..], &[SOCKETS, SOCKETS_OF]].concat());
        let adopted = passed.into_iter().map(|(address, fd)| match adopt(fd) {
            Ok(socket) => Ok(Passed { address, socket, used: Cell::new(false) }),
            Err(error) => Err(named(&address, &error)),
        });
        Ok(Inherited { sockets: adopted.collect::<io::Result<_>>()? })
    }

    /// Descriptors of the sockets of the listener with this address. Those of systemd must be there; of any other address
    /// there may be none. `number`: from 1, where several listeners leave the port to the kernel.
    pub fn sockets_of(&self, address: &Address, number: usize) -> io::Result<Vec<Socket>> {
        let own = self.sockets_named(&key(address, number))?;
        match (address, own.is_empty()) {
            (Address::Systemd(name), true) => {
                Err(io::Error::new(io::ErrorKind::NotFound, self.missing(name)))
            }
            _ => Ok(own),
        }
    }

    /// Descriptors of the sockets that were passed under this name.
    pub fn sockets_named(&self, key: &str) -> io::Result<Vec<Socket>> {
        let own: Vec<&Passed> = self.sockets.iter().filter(|passed| passed.address == key).collect();
        let copy = |passed: &Passed| check(Socket::from(passed.socket.try_clone()?));
        let sockets = own.iter().map(|passed| copy(passed)).collect::<io::Result<_>>();
        own.iter().for_each(|passed| passed.used.set(true));
        sockets.map_err(|error| named(key, &error))
    }

    fn missing(&self, name: &str) -> String {
        let names = self.sockets.iter().filter_map(|passed| passed.address.strip_prefix(SYSTEMD));
        let mut names: Vec<&str> = names.collect();
        names.dedup();
        match names.is_empty() {
            true => format!("not started by systemd: no socket named {name} was passed"),
            false => format!("systemd passed no socket named {name}, but: {}", names.join(", ")),
        }
    }

    /// The addresses whose sockets no listener has.
    pub fn unused(&self) -> Vec<&str> {
        let unused = self.sockets.iter().filter(|passed| !passed.used.get());
        let mut addresses: Vec<&str> = unused.map(|passed| passed.address.as_str()).collect();
        addresses.dedup();
        addresses
    }

    /// Descriptors of systemd's sockets that no listener has, for the next process.
    pub fn unused_of_systemd(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let unused =
            self.sockets.iter().filter(|passed| !passed.used.get() && passed.address.starts_with(SYSTEMD));
        unused.map(|passed| Ok((passed.address.clone(), passed.socket.try_clone()?))).collect()
    }

    /// Closes the sockets of addresses: those in use are the listeners', and nobody would accept from the others. Those
    /// of systemd stay for the listeners of a later config; systemd has them open as well.
    pub fn close_addresses(&mut self) {
        self.sockets.retain(|passed| passed.address.starts_with(SYSTEMD));
    }

    #[cfg(test)]
    pub(super) fn add(&mut self, address: &str, socket: impl Into<OwnedFd>) {
        let (address, socket) = (address.to_owned(), socket.into());
        self.sockets.push(Passed { address, socket, used: Cell::new(false) });
    }
}

/// The name under which a listener's sockets are passed.
pub fn key(address: &Address, number: usize) -> String {
    if number == 1 { address.to_string() } else { format!("{address}#{number}") }
}

/// How the config writes an address of systemd.
const SYSTEMD: &str = "systemd:";

/// Lets a command have these sockets, each with the address of its listener; it finds them with `Inherited::take`.
/// They stay open here. `others`: descriptors that it gets besides.
pub fn pass(command: &mut Command, sockets: &[(String, RawFd)], others: &[RawFd]) {
    use std::os::unix::process::CommandExt;
    let lines: Vec<String> = sockets.iter().map(|(address, fd)| format!("{fd} {address}")).collect();
    OF_SYSTEMD.iter().for_each(|name| _ = command.env_remove(name));
    command.env(SOCKETS, lines.join("\n")).env(SOCKETS_OF, process::id().to_string());
    let fds: Vec<RawFd> = sockets.iter().map(|(_, fd)| *fd).chain(others.iter().copied()).collect();
    let keep = move || fds.iter().try_for_each(|fd| close_on_exec(*fd, false));
    // SAFETY: between fork and exec there are only calls of fcntl(2), and nothing is allocated.
    unsafe { command.pre_exec(keep) };
}

/// Addresses and descriptors, if they were passed to this process and not to one that started it.
fn passed(
    variable: &dyn Fn(&str) -> Option<String>,
    own: u32,
    parent: u32,
) -> io::Result<Vec<(String, RawFd)>> {
    let is = |name: &str, process: u32| variable(name).is_some_and(|said| said == process.to_string());
    let unreadable = |name: &str| io::Error::other(format!("{name} in the environment is not understood"));
    if is(SOCKETS_OF, parent) {
        let lines = variable(SOCKETS).unwrap_or_default();
        let pairs = lines.lines().map(|line| {
            let (fd, address) = line.split_once(' ')?;
            Some((address.to_owned(), fd.parse().ok()?))
        });
        return pairs.collect::<Option<_>>().ok_or_else(|| unreadable(SOCKETS));
    }
    if !is("LISTEN_PID", own) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS").and_then(|count| count.parse().ok());
    let count: RawFd = count.filter(|count| *count >= 0).ok_or_else(|| unreadable("LISTEN_FDS"))?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    // As sd_listen_fds_with_names(3) calls a socket without a name.
    let address = |fd| (format!("{SYSTEMD}{}", names.next().unwrap_or("unknown")), fd);
    let end = FIRST.checked_add(count).ok_or_else(|| unreadable("LISTEN_FDS"))?;
    Ok((FIRST..end).map(address).collect())
}

/// Removes variables of the environment; not once there are threads, which may be reading it.
pub fn forget(names: &[&str]) {
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    for name in names.iter().filter(|_| alone) {
        // SAFETY: this is the only thread of the process.
        unsafe { std::env::remove_var(name) };
    }
}

/// Takes a passed descriptor, and keeps it from programs that are started later.
fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    close_on_exec(fd, true)?;
    // SAFETY: the descriptor is open, as the call above found, and was passed to this process for this use; each number
    // is adopted once, since the variables that name it are read once, before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A passed descriptor that is a connected Unix socket.
pub fn adopt_stream(fd: RawFd) -> io::Result<UnixStream> {
    let socket = Socket::from(adopt(fd)?);
    match socket.domain()? == Domain::UNIX && !socket.is_listener()? {
        true => Ok(OwnedFd::from(socket).into()),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn close_on_exec(fd: RawFd, yes: bool) -> io::Result<()> {
    let flags = if yes { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: fcntl with F_SETFD takes integers; a bad descriptor is an error.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A socket that connections can be accepted from, without waiting.
fn check(socket: Socket) -> io::Result<Socket> {
    let what = "it is no listening stream socket (in a socket unit: ListenStream=, without Accept=yes)";
    let domains = [Domain::IPV4, Domain::IPV6, Domain::UNIX];
    let fits = socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
        && socket.domain().is_ok_and(|domain| domains.contains(&domain))
        && socket.is_listener().unwrap_or(false);
    if !fits {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn named(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("socket {address} that was passed: {error}"))
}

/// Who of `workers` accepts from which of these sockets, which are on one address: each worker from at least one, and
/// each socket has a worker.
pub(super) fn deal(sockets: usize, workers: usize) -> Vec<Vec<usize>> {
    let mut hands: Vec<Vec<usize>> = vec![Vec::new(); workers];
    for turn in 0..sockets.max(workers) {
        hands[turn % workers].push(turn % sockets);
    }
    hands
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn read(variables: &[(&str, &str)]) -> io::Result<Vec<(String, RawFd)>> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        passed(&variable, 10, 9)
    }

    fn address(name: &str) -> Address {
        Address::Systemd(name.into())
    }

    #[test]
    fn sockets_are_taken_only_by_the_process_they_were_passed_to() {
        assert_eq!(read(&[]).unwrap(), []);
        let web = [("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:tls:web")];
        let with = |more: &[(&'static str, &'static str)]| read(&[&web[..], more].concat()).unwrap();
        assert_eq!(with(&[("LISTEN_PID", "9")]), []);
        let all: Vec<(String, RawFd)> =
            [("systemd:web", 3), ("systemd:tls", 4), ("systemd:web", 5)].map(|(a, fd)| (a.into(), fd)).into();
        assert_eq!(with(&[("LISTEN_PID", "10")]), all);
        assert_eq!(with(&[("RSP_SOCKETS_OF", "9"), ("RSP_SOCKETS", "")]), []);
        let handed = [("RSP_SOCKETS_OF", "9"), ("RSP_SOCKETS", "7 0.0.0.0:80\n8 unix:/run/a b.sock")];
        let sockets: Vec<(String, RawFd)> = vec![("0.0.0.0:80".into(), 7), ("unix:/run/a b.sock".into(), 8)];
        assert_eq!(read(&handed).unwrap(), sockets);
        assert_eq!(read(&[("RSP_SOCKETS_OF", "8"), handed[1]]).unwrap(), []);
    }

    #[test]
    fn sockets_without_names_are_unknown_and_nonsense_is_an_error() {
        let pid = ("LISTEN_PID", "10");
        assert_eq!(read(&[pid, ("LISTEN_FDS", "1")]).unwrap(), [("systemd:unknown".into(), 3)]);
        for bad in [&[pid][..], &[pid, ("LISTEN_FDS", "-1")], &[("RSP_SOCKETS_OF", "9"), (SOCKETS, "x")]] {
            assert!(read(bad).unwrap_err().to_string().contains("is not understood"));
        }
    }

    #[test]
    fn every_socket_of_a_name_is_taken_and_the_rest_is_known() {
        let mut inherited = Inherited::default();
        for name in ["systemd:web", "systemd:web", "systemd:tls"] {
            inherited.add(name, TcpListener::bind("127.0.0.1:0").unwrap());
        }
        assert_eq!(inherited.sockets_of(&address("web"), 1).unwrap().len(), 2);
        assert_eq!(inherited.unused(), ["systemd:tls"]);
        let error = inherited.sockets_of(&address("wbe"), 1).unwrap_err();
        assert_eq!(error.to_string(), "systemd passed no socket named wbe, but: web, tls");
        let plain = Address::Ip("127.0.0.1:80".parse().unwrap());
        assert_eq!(inherited.sockets_of(&plain, 1).unwrap().len(), 0, "it is to be bound");
    }

    #[test]
    fn only_listening_stream_sockets_are_taken() {
        let nobody = Inherited::default().sockets_of(&address("web"), 1).unwrap_err();
        assert_eq!(nobody.to_string(), "not started by systemd: no socket named web was passed");
        let datagrams: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let silent: OwnedFd = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into();
        for socket in [datagrams, silent] {
            let mut inherited = Inherited::default();
            inherited.add("systemd:web", socket);
            let error = inherited.sockets_of(&address("web"), 1).unwrap_err().to_string();
            let start =
                "socket systemd:web that was passed: it is no listening stream socket (in a socket unit";
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn every_worker_has_a_socket_and_every_socket_a_worker() {
        assert_eq!(deal(1, 1), [[0]]);
        assert_eq!(deal(1, 3), [[0], [0], [0]]);
        assert_eq!(deal(2, 1), [[0, 1]]);
        assert_eq!(deal(3, 2), [vec![0, 2], vec![1]]);
        assert_eq!(deal(2, 3), [[0], [1], [0]]);
    }
}
