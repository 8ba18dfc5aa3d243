//! A running rsp: started with a config text on a port chosen by the kernel, stopped when dropped.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::client::Client;
use super::directory::Directory;
use super::proc::send_signal;
use super::wait::{DEADLINE, until};

pub struct Rsp {
    child: Child,
    pub directory: Directory,
    stderr: Arc<Mutex<Vec<u8>>>,
    stdout: Arc<Mutex<Vec<u8>>>,
    addresses: Vec<String>,
}

/// `rsp.listen` on any free port, followed by the rest of the config.
pub fn on_any_port(rest: &str) -> String {
    format!("rsp.listen \"127.0.0.1:0\"\n{rest}\n")
}

/// A config with one pool of these servers, whose idle connections outlast a delayed test.
pub fn balanced(servers: &[&str]) -> String {
    let list: Vec<String> = servers.iter().map(|server| format!("{server:?}")).collect();
    on_any_port(&format!("rsp.pool {{ servers = {{ {} }}, timeouts = {{ idle = '1m' }} }}", list.join(", ")))
}

/// The rsp binary under test.
pub fn rsp_command() -> Command {
    Command::new(std::env::var("RSP_TEST_BIN").unwrap_or(env!("CARGO_BIN_EXE_rsp").into()))
}

impl Rsp {
    /// Runs a config with one listener.
    pub fn start(config: &str) -> Rsp {
        Rsp::start_in(Directory::new(), config)
    }

    /// One pool of these servers, round robin, no script.
    pub fn over(servers: &[&str]) -> Rsp {
        Rsp::start(&balanced(servers))
    }

    /// The same in a directory that already contains files for the config.
    pub fn start_in(directory: Directory, config: &str) -> Rsp {
        let path = directory.write("rsp.lua", config);
        let listeners = config.matches("rsp.listen").count().max(1);
        let mut command = rsp_command();
        command.arg(path);
        Rsp::spawn(directory, command, listeners)
    }

    /// Any command line that starts to listen.
    pub fn spawn(directory: Directory, command: Command, listeners: usize) -> Rsp {
        Rsp::spawn_reading(directory, command, listeners, true)
    }

    /// A command line that prints its address on either output, in any wording: `rsp demo`.
    pub fn spawn_somewhere(directory: Directory, command: Command) -> Rsp {
        let mut rsp = Rsp::spawn_reading(directory, command, 0, true);
        until("it says where it listens", || {
            let said = format!("{}{}", rsp.log(), rsp.output());
            rsp.addresses = said.split("http://").skip(1).filter_map(address_at_start).collect();
            !rsp.addresses.is_empty()
        });
        rsp
    }

    /// A command line that starts to listen, or ends.
    pub fn spawn_or_end(directory: Directory, command: Command) -> Result<Rsp, Finished> {
        let mut rsp = Rsp::spawn_reading(directory, command, 0, true);
        until("it listens or has ended", || {
            rsp.addresses = addresses_in(&rsp.log());
            !rsp.addresses.is_empty() || !rsp.is_running()
        });
        if !rsp.addresses.is_empty() {
            return Ok(rsp);
        }
        let code = rsp.wait_for_exit().code();
        Err(Finished { code, stdout: rsp.output(), stderr: rsp.log() })
    }

    /// Runs a config whose stdout is a pipe without a reader.
    pub fn start_without_reader(config: &str) -> Rsp {
        let directory = Directory::new();
        let mut command = rsp_command();
        command.arg(directory.write("rsp.lua", config));
        Rsp::spawn_reading(directory, command, 1, false)
    }

    fn spawn_reading(directory: Directory, mut command: Command, listeners: usize, read: bool) -> Rsp {
        command.current_dir(directory.path()).stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("rsp starts");
        let stderr = read_in_thread(child.stderr.take());
        let stdout = child.stdout.take().filter(|_| read);
        let stdout = stdout.map_or_else(Arc::default, |pipe| read_in_thread(Some(pipe)));
        let mut rsp = Rsp { child, directory, stderr, stdout, addresses: Vec::new() };
        rsp.wait_until_listening(listeners);
        rsp
    }

    fn wait_until_listening(&mut self, listeners: usize) {
        let start = Instant::now();
        while self.addresses.len() < listeners {
            self.addresses = addresses_in(&self.log());
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "rsp ended ({ended:?}) instead of listening; it said:\n{}", self.log());
            assert!(start.elapsed() < DEADLINE, "rsp never listened; it said:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The address of the first listener, in the form a client connects to.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything on stderr so far.
    pub fn log(&self) -> String {
        text_of(&self.stderr)
    }

    /// Everything on stdout so far.
    pub fn output(&self) -> String {
        text_of(&self.stdout)
    }

    pub fn wait_for_log(&self, words: &str) {
        until(&format!("the log says {words:?}"), || self.log().contains(words));
    }

    /// Asserts that a repeated event is logged at once, and then at most every ten seconds.
    pub fn expect_limited_log(&self, words: &str, since: Instant) {
        self.wait_for_log(words);
        let told = self.log().matches(words).count() as u64;
        assert!(told <= 1 + since.elapsed().as_secs() / 10, "{told} lines:\n{}", self.log());
    }

    pub fn wait_for_output(&self, words: &str) {
        until(&format!("stdout says {words:?}"), || self.output().contains(words));
    }

    /// Writes another config and has it loaded. Returns once all workers use it.
    pub fn reload(&self, config: &str) {
        let before = self.reloads();
        self.directory.write("rsp.lua", config);
        self.signal(libc::SIGHUP);
        until("the config is in use", || self.reloads() > before);
    }

    fn reloads(&self) -> usize {
        self.log().matches("INFO Reloaded: config ").count()
    }

    /// Writes another config, has it loaded and returns why that failed.
    pub fn reload_fails(&self, config: &str) -> String {
        const SAYS: &str = " stays in use: ";
        let before = self.log().matches(SAYS).count();
        self.directory.write("rsp.lua", config);
        self.signal(libc::SIGHUP);
        let mut why = String::new();
        until("the reload has failed", || {
            let log = self.log();
            let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
            why = whole.split(SAYS).nth(before + 1).unwrap_or_default().to_owned();
            !why.is_empty()
        });
        why.lines().next().unwrap_or_default().to_owned()
    }

    /// The directory of the config.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn signal(&self, signal: i32) {
        send_signal(self.pid(), signal);
    }

    /// Stops rsp while its accept queue holds clients that expect "ok". `busy` clients before them request `/busy`,
    /// which exceeds the script's budget, so that rsp sees the signal with the others still in the queue.
    pub fn stop_with_full_accept_queue(&mut self, busy: usize) {
        let asking = |path: &str, count: usize| -> Vec<Client> {
            let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(self.address())).collect();
            clients.iter_mut().for_each(|client| _ = client.ask(path));
            clients
        };
        self.signal(libc::SIGSTOP);
        let _busy = asking("/busy", busy);
        let mut clients = asking("/", 200);
        self.signal(libc::SIGTERM);
        self.signal(libc::SIGCONT);
        for client in &mut clients {
            let answer = client.response();
            assert_eq!((answer.text().as_str(), answer.head.says("connection", "close")), ("ok", true));
            client.expect_end();
        }
        assert_eq!(self.wait_for_exit().code(), Some(0));
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        until("rsp ended", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        // Threads read its outputs to the end of the pipes, which ended with it.
        until("its outputs were read", || is_read(&self.stderr) && is_read(&self.stdout));
        status.expect("a status")
    }

    /// Waits for its end alone: another process may have its outputs.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut status = None;
        until("rsp ended", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("a status").code()
    }

    /// SIGTERM, and the clean exit that has to follow.
    pub fn stop(mut self) {
        self.signal(libc::SIGTERM);
        let status = self.wait_for_exit();
        assert_eq!(status.code(), Some(0), "SIGTERM did not end it cleanly");
    }
}

impl Drop for Rsp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what rsp said on stderr\n{}", self.log());
        }
    }
}

/// Reads a pipe in a thread.
fn read_in_thread(pipe: Option<impl Read + Send + 'static>) -> Arc<Mutex<Vec<u8>>> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (shared, mut pipe) = (bytes.clone(), pipe.expect("a pipe"));
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(size) = pipe.read(&mut piece) {
            if size == 0 {
                return;
            }
            shared.lock().expect("no panic").extend_from_slice(&piece[..size]);
        }
    });
    bytes
}

/// Whether that thread has finished.
fn is_read(bytes: &Arc<Mutex<Vec<u8>>>) -> bool {
    Arc::strong_count(bytes) == 1
}

fn text_of(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().expect("no panic")).into_owned()
}

/// The addresses of `Listening on ADDR` lines (and the classic `Listening on port N.`), whole lines only.
fn addresses_in(log: &str) -> Vec<String> {
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    let said = whole.lines().filter_map(|line| line.split_once("Listening on ")).map(|(_, rest)| rest.trim());
    said.map(|rest| match rest.strip_prefix("port ") {
        Some(port) => format!("127.0.0.1:{}", port.trim_end_matches('.')),
        None => rest.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:"),
    })
    .collect()
}

/// `127.0.0.1:8080/ …` → `127.0.0.1:8080`, once the number is complete.
fn address_at_start(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')?;
    text[..end].parse::<std::net::SocketAddr>().ok().map(|address| address.to_string())
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Both outputs.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs rsp with these arguments in a directory and waits for its end.
pub fn run(directory: &Path, arguments: &[&str]) -> Finished {
    let mut command = rsp_command();
    command.args(arguments).current_dir(directory);
    run_with_input(command, b"")
}

/// Runs any command to its end, or kills it at the deadline and fails.
pub fn run_with_input(mut command: Command, input: &[u8]) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let stdout = read_in_thread(child.stdout.take());
    let stderr = read_in_thread(child.stderr.take());
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        if start.elapsed() > DEADLINE * 6 {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} did not end; it said:\n{}{}", text_of(&stdout), text_of(&stderr));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    // Threads read the pipes to their end, which came with the child's.
    until("the output was read", || is_read(&stdout) && is_read(&stderr));
    Finished { code, stdout: text_of(&stdout), stderr: text_of(&stderr) }
}
