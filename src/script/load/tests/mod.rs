//! Whole configs: files in a temporary directory, loaded like `rsp CONFIG.lua`, and the result. These tests use only
//! `load` and `Config` and so do not depend on the VM.

mod configs;
mod messages;
mod misplaced;
mod phases;
mod policies;
mod requires;
mod second_tries;
mod servers;
mod sockets;
mod tls;
mod types;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::source::Source;
use crate::config::Config;

/// A temporary directory of files.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("rsp-load-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let files_of = Files(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&files_of.0).unwrap();
        for (name, text) in files {
            files_of.write(name, text.as_bytes());
        }
        files_of
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.join("site.lua")
    }

    fn source(&self) -> Source {
        Source::file(&self.path())
    }

    /// Loads `site.lua`; the directory is removed from errors.
    fn load(&self) -> Result<Config, String> {
        load(&mut self.source()).map_err(|line| line.replace(&format!("{}/", self.0.display()), ""))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(source: &mut Source) -> Result<Config, String> {
    super::load(source).map(|(config, _)| config).map_err(|error| error.0)
}

/// Loads this text as `site.lua`.
fn load_text(text: &str) -> Result<Config, String> {
    Files::new(&[("site.lua", text)]).load()
}

/// The error line of a config that cannot be loaded.
fn error(text: &str) -> String {
    let line = load_text(text).expect_err(text);
    assert!(!line.contains('\n'), "one line: {line}");
    line
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_the_systems_text() {
    let mut absent = Source::file(Path::new("/nonexistent/site.lua"));
    assert_eq!(
        load(&mut absent).unwrap_err(),
        "cannot open /nonexistent/site.lua: No such file or directory"
    );
    let mut directory = Source::file(Path::new("/"));
    assert_eq!(load(&mut directory).unwrap_err(), "cannot open /: Is a directory");
}
