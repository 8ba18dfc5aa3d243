//! The access log to a syslog daemon: one datagram a line, over the socket of the daemon on this machine or in the form
//! of RFC 5424 over UDP. A daemon that is restarted or was not there yet gets the lines from then on; one that does not
//! read is waited for as long as the log's queue has room for other lines, and then costs lines.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::base::os_error::os_error;
use crate::control::clock::{Stamp, wall_micros};
use crate::control::output::Losses;

/// Facility local0, severity informational, as haproxy's configuration has it: 16 * 8 + 6.
const PRIORITY: &str = "<134>";

/// How long a daemon may take no datagram before lines are given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// A UDP datagram that nobody received is reported with a later one, so that a success says nothing for so long.
const QUIET: Duration = Duration::from_secs(10);

/// The longest line. A longer one is cut, as a datagram cannot be longer than 65,507 bytes, with its header.
const LONGEST: usize = 60_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Daemon {
    Local(PathBuf),
    Udp(SocketAddr),
}

enum Socket {
    Local(UnixDatagram),
    Udp(UdpSocket),
}

pub struct SyslogOutput {
    daemon: Daemon,
    /// `None`: the daemon is not there.
    socket: Option<Socket>,
    header: Header,
    /// One datagram; the allocation is reused.
    datagram: Vec<u8>,
    failed_at: Option<Instant>,
    pub losses: Losses,
}

/// What the kernel says this machine is called.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() { "-".into() } else { name }
}

impl SyslogOutput {
    /// A daemon that is not there yet is no error: it may be started later.
    pub fn open(daemon: Daemon, losses: Losses) -> SyslogOutput {
        let header = Header::of(&daemon);
        let socket = None;
        let mut output =
            SyslogOutput { daemon, socket, header, datagram: Vec::new(), failed_at: None, losses };
        if let Err(error) = output.connect() {
            output.failed(0, &error);
        }
        output
    }

    /// Sends whole lines.
    pub fn write(&mut self, mut text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.header.turn_to(wall_micros());
        while let Some(end) = memchr::memchr(b'\n', text) {
            if let Err(error) = self.send(&text[..end]) {
                let lost = memchr::memchr_iter(b'\n', text).count() as u64;
                return self.failed(lost, &error);
            }
            self.losses.wrote(1);
            text = &text[end + 1..];
        }
        let is_quiet =
            self.failed_at.is_none_or(|at| matches!(self.daemon, Daemon::Local(_)) || at.elapsed() > QUIET);
        if self.losses.is_failing() && is_quiet {
            self.losses.say("the daemon takes lines again, ");
            self.failed_at = None;
        }
    }

    /// Once more on a new socket: the daemon may have been restarted.
    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.datagram.clear();
        self.header.put(&mut self.datagram);
        self.datagram.extend_from_slice(&line[..line.len().min(LONGEST)]);
        match self.send_once() {
            // It is there, and does not read.
            Err(error) if is_full(&error) => Err(error),
            Err(_) => {
                self.connect()?;
                self.send_once()
            }
            sent => sent,
        }
    }

    fn send_once(&mut self) -> io::Result<()> {
        loop {
            let sent = match &self.socket {
                Some(Socket::Local(socket)) => socket.send(&self.datagram),
                Some(Socket::Udp(socket)) => socket.send(&self.datagram),
                None => Err(ErrorKind::NotConnected.into()),
            };
            match sent {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                sent => return sent.map(|_| ()),
            }
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        self.socket = None;
        self.socket = Some(match &self.daemon {
            Daemon::Local(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.connect(path)?;
                Socket::Local(socket)
            }
            Daemon::Udp(address) => {
                let any = match address {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.connect(address)?;
                Socket::Udp(socket)
            }
        });
        Ok(())
    }

    fn failed(&mut self, lines: u64, error: &io::Error) {
        self.failed_at = Some(Instant::now());
        self.losses.failed(lines, error);
    }

    pub fn reopen(&mut self) {
        if let Err(error) = self.connect() {
            log::debug!("the syslog daemon is not there: {}", os_error(&error));
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What a daemon expects before each line.
struct Header {
    is_local: bool,
    stamp: Stamp,
    now: u64,
    host: String,
}

impl Header {
    fn of(daemon: &Daemon) -> Header {
        let is_local = matches!(daemon, Daemon::Local(_));
        Header { is_local, stamp: Stamp::default(), now: 0, host: host_name() }
    }

    fn turn_to(&mut self, now: u64) {
        self.now = now;
    }

    /// `<134>Oct 10 13:55:36 rsp[4711]: `, or RFC 5424's
    /// `<134>1 2000-10-10T13:55:36.000123Z host rsp 4711 access - `.
    fn put(&mut self, out: &mut Vec<u8>) {
        use std::io::Write;
        let id = std::process::id();
        // Writing to memory cannot fail.
        let _ = match self.is_local {
            true => write!(out, "{PRIORITY}{} rsp[{id}]: ", self.stamp.syslog(self.now)),
            false => {
                let (micros, host) = (self.now % 1_000_000, &self.host);
                let time = self.stamp.iso(self.now);
                write!(out, "{PRIORITY}1 {time}.{micros:06}Z {host} rsp {id} access - ")
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::config::LogTarget;
    use crate::control::access::Settled;

    fn output(daemon: Daemon) -> (SyslogOutput, Settled) {
        let settled = Settled::default();
        let target = match &daemon {
            Daemon::Local(path) => LogTarget::Syslog(path.clone()),
            Daemon::Udp(address) => LogTarget::SyslogUdp(*address),
        };
        (SyslogOutput::open(daemon, Losses::new(&target, settled.clone())), settled)
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rsp-syslog-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn lines_of(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut lines = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length) = socket.recv(&mut buffer) {
            lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        lines
    }

    #[test]
    fn each_line_is_a_datagram_and_a_daemon_that_is_started_anew_is_found_again() {
        let path = folder("anew").join("log");
        let (mut output, settled) = output(Daemon::Local(path.clone()));
        output.write(b"nobody\nthere\n");
        assert!(output.losses.is_failing());
        let daemon = UnixDatagram::bind(&path).unwrap();
        output.write(b"one\ntwo\n");
        assert!(!output.losses.is_failing());
        let lines = lines_of(&daemon);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with("<134>")
                && lines[0].ends_with(&format!(" rsp[{}]: one", std::process::id()))
        );
        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        output.write(b"three\n");
        assert!(lines_of(&daemon)[0].ends_with(": three"));
        assert_eq!(settled.load(Ordering::Relaxed), 5, "two of them lost");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_daemon_that_does_not_read_costs_lines() {
        let path = folder("deaf").join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let (mut output, settled) = output(Daemon::Local(path.clone()));
        output.write("line\n".repeat(10_000).as_bytes());
        assert!(output.losses.is_failing());
        let taken = settled.load(Ordering::Relaxed);
        assert_eq!(lines_of(&daemon).len() as u64, taken);
        output.write(b"again\n");
        assert_eq!((output.losses.is_failing(), settled.load(Ordering::Relaxed)), (false, 10_001));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn over_udp_lines_have_the_header_of_rfc_5424_and_the_longest_are_cut() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(daemon) = UdpSocket::bind(address) else { continue };
            daemon.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let (mut output, _) = output(Daemon::Udp(daemon.local_addr().unwrap()));
            output.write(format!("a line\n{}\n", "x".repeat(100_000)).as_bytes());
            let mut buffer = vec![0; 1 << 16];
            let length = daemon.recv(&mut buffer).unwrap();
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            let parts: Vec<&str> = text.splitn(8, ' ').collect();
            let [version, time, host, name, id, kind, data, line] = parts[..] else { panic!("{text}") };
            assert_eq!((version, name, kind, data, line), ("<134>1", "rsp", "access", "-", "a line"));
            assert_eq!((id, host), (std::process::id().to_string().as_str(), host_name().as_str()));
            let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            assert_eq!(shape, "9999-99-99T99:99:99.999999Z");
            let length = daemon.recv(&mut buffer).unwrap();
            assert!((LONGEST..65_507).contains(&length), "{length}");
        }
    }
}
