//! The resolver against name servers of its own that answer as told, and against bytes that nobody should send.

mod hostile;
mod lookups;
mod server;
mod services;
mod watches;

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Answer, Query, ResolverConfig};

/// Long enough for a machine that is busy with other tests: nothing waits for it that is answered.
const PATIENT: Duration = Duration::from_secs(10);
/// For those that never answer.
const SHORT: Duration = Duration::from_millis(150);

/// Files in place of the system's, removed at the end.
struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rsp-resolve-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Scratch { folder }
    }

    fn write(&self, name: &str, text: &str) {
        // Renamed into place, as editors and DHCP clients do.
        let (new, path) = (self.folder.join("new"), self.folder.join(name));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).expect("a file");
    }

    fn config(&self, servers: &[SocketAddr], timeout: Duration) -> ResolverConfig {
        ResolverConfig {
            servers: servers.to_vec(),
            timeout: Some(timeout),
            hosts: self.folder.join("hosts"),
            resolv_conf: self.folder.join("resolv.conf"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A name server that takes questions and never answers.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

fn host(name: &str) -> Query {
    Query::Host { name: name.into(), port: 80 }
}

fn addresses(answer: &Answer) -> Vec<String> {
    answer.servers.iter().map(|server| server.address.to_string()).collect()
}
