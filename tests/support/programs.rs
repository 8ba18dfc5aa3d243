//! The real programs that rsp has to live with: nginx, Varnish and haproxy as servers, and load tools as
//! clients. Each runs in its own directory on its own port and ends with the test.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;
use super::directory::Directory;
use super::proc::send_signal;
use super::wait::{DEADLINE, until, within};

pub use super::origin::free_port;

/// Whether all of these programs are here. In CI a missing one is a failure; elsewhere the test says loudly
/// that it was skipped.
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| find(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let needed = format!("{} (sudo scripts/test programs)", missing.join(", "));
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "needs {needed}");
    skip(&needed)
}

/// Says on stderr that this test is skipped and what it needs; `scripts/test` collects these lines. Returns false.
pub fn skip(needed: &str) -> bool {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: needs {needed}\n", thread.name().unwrap_or("a test"));
    // Not through eprint!, which the test runner captures.
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

/// Where a program is; servers live in /usr/sbin, which is not on everybody's PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]).map(PathBuf::from);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A server program that was started and is killed when dropped.
pub struct Program {
    child: Child,
    pub directory: Directory,
    pub address: String,
}

impl Program {
    /// Starts `program`, whose arguments depend on its directory and port, and waits until it accepts. A port
    /// that somebody else took meanwhile is replaced by another.
    pub fn start(program: &str, arguments: &dyn Fn(&Directory, u16) -> Vec<String>) -> Program {
        let path = find(program).unwrap_or_else(|| panic!("{program} is not installed"));
        for _ in 0..5 {
            let (directory, port) = (Directory::new(), free_port());
            let log = std::fs::File::create(directory.join("program.log")).expect("a log");
            let child = Command::new(&path)
                .args(arguments(&directory, port))
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a descriptor"))
                .stderr(log)
                .spawn()
                .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
            let mut running = Program { child, directory, address: format!("127.0.0.1:{port}") };
            if running.accepts() {
                return running;
            }
            eprintln!("{program} did not come up:\n{}", running.directory.read("program.log"));
        }
        panic!("{program} did not come up in five attempts");
    }

    fn accepts(&mut self) -> bool {
        let mut alive = true;
        // Varnish compiles its configuration first.
        let reached = within(DEADLINE, || {
            alive = self.child.try_wait().is_ok_and(|status| status.is_none());
            !alive || Client::try_connect(&self.address, None).is_ok()
        });
        alive && reached
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Varnish and haproxy have children that only a polite end takes along.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            send_signal(self.child.id(), libc::SIGTERM);
        }
        let start = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if start.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// nginx serving files of its directory and `/small`, counting requests in its access log.
pub struct Nginx {
    pub program: Program,
}

impl Nginx {
    pub fn start() -> Nginx {
        Nginx::start_with("")
    }

    /// `extra` goes into the server block.
    pub fn start_with(extra: &str) -> Nginx {
        let extra = extra.to_string();
        let program = Program::start("nginx", &|directory, port| {
            let config = directory.write("nginx.conf", nginx_config(directory, port, &extra));
            vec!["-p".into(), shown(directory), "-c".into(), config.display().to_string()]
        });
        Nginx { program }
    }

    pub fn address(&self) -> &str {
        &self.program.address
    }

    /// Makes a file available at `/name`.
    pub fn publish(&self, name: &str, content: &[u8]) {
        self.program.directory.write(&format!("files/{name}"), content);
    }

    /// Asserts that so many requests reached nginx, no more. It logs a request after its answer.
    pub fn expect_requests(&self, count: usize) {
        until(&format!("nginx has logged {count} requests"), || self.request_count() >= count);
        assert_eq!(self.request_count(), count);
    }

    /// Requests nginx has logged.
    pub fn request_count(&self) -> usize {
        self.program.directory.read("access.log").lines().count()
    }
}

fn nginx_config(directory: &Directory, port: u16, extra: &str) -> String {
    let dir = shown(directory);
    std::fs::create_dir_all(directory.join("files")).expect("a directory");
    format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
         events {{ worker_connections 4096; }}
         http {{
           access_log {dir}/access.log; client_max_body_size 0; keepalive_requests 1000000;
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
           uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
           server {{
             listen 127.0.0.1:{port} backlog=4096; root {dir}/files;
             location = /small {{ default_type text/plain; return 200 \"hello from nginx\\n\"; }}
             {extra}
           }}
         }}\n"
    )
}

/// Varnish in front of an address, caching as it comes from Debian.
pub struct Varnish {
    pub program: Program,
}

impl Varnish {
    pub fn start(backend: &str) -> Varnish {
        let backend = backend.to_string();
        let program = Program::start("varnishd", &|directory, port| {
            let words = format!(
                "-F -j none -a 127.0.0.1:{port} -b {backend} -n {} -s malloc,32m -p thread_pool_min=20",
                directory.join("varnish").display()
            );
            words.split(' ').map(String::from).collect::<Vec<_>>()
        });
        Varnish { program }
    }

    pub fn address(&self) -> &str {
        &self.program.address
    }

    /// One of varnishstat's counters.
    pub fn counter(&self, name: &str) -> u64 {
        let directory = self.program.directory.join("varnish");
        let output = Command::new(find("varnishstat").expect("varnishstat"))
            .args(["-1", "-f", name, "-n"])
            .arg(directory)
            .output()
            .expect("varnishstat runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no {name}: {text}"))
    }
}

/// haproxy in front of an address.
pub struct Haproxy {
    pub program: Program,
}

impl Haproxy {
    pub fn start(backend: &str) -> Haproxy {
        let backend = backend.to_string();
        let program = Program::start("haproxy", &|directory, port| {
            let config = format!(
                "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                 listen proxy\n  bind 127.0.0.1:{port}\n  http-response set-header X-Through haproxy\n  server one {backend}\n"
            );
            vec!["-db".into(), "-f".into(), directory.write("haproxy.cfg", config).display().to_string()]
        });
        Haproxy { program }
    }

    pub fn address(&self) -> &str {
        &self.program.address
    }
}

fn shown(directory: &Directory) -> String {
    directory.path().display().to_string()
}
