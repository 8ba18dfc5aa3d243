//! Reads the files of ACME challenges for the workers, on a thread of its own: a disk may be slow, and the loops are not
//! to wait for it.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::base::os_error::os_error;
use crate::worker::{ChallengeAsk, Shared};

/// The most that a file may have, in bytes: a token, a dot and the hash of a key are about a hundred.
const MOST: u64 = 1024;
/// Where clients put the file in the root of a web server.
const BELOW_ROOT: &str = ".well-known/acme-challenge";

/// Starts the thread, unless it runs already. It ends with the process.
pub fn serve(shared: &Shared) -> io::Result<()> {
    let Some(asked) = shared.take_challenges() else { return Ok(()) };
    let run = move || {
        let (zero, mut unreadable) = (Instant::now(), LogLimit::default());
        asked.into_iter().for_each(|ask| answer(ask, &mut unreadable, zero));
    };
    thread::Builder::new().name("challenges".into()).spawn(run).map(drop)
}

fn answer(ask: ChallengeAsk, unreadable: &mut LogLimit, zero: Instant) {
    // The panic hook has said what and where; the thread goes on with the next.
    let found = catch_unwind(AssertUnwindSafe(|| find(ask.directory(), ask.token()))).unwrap_or(Ok(None));
    let text = found.unwrap_or_else(|(path, error)| {
        // Anybody may ask for such a file, as often as he likes.
        if let Some(n) = unreadable.count(zero.elapsed().as_micros() as u64) {
            let (path, times) = (path.display(), counted(n, "time"));
            log::error!("acme_challenge_dir: cannot use {path}: {} ({times})", os_error(&error));
        }
        None
    });
    ask.answer(text);
}

/// The file is in the directory itself, or the directory is the root that clients are told of.
fn find(directory: &Path, token: &str) -> Result<Option<Vec<u8>>, (PathBuf, io::Error)> {
    let mut unreadable = None;
    for path in [directory.join(token), directory.join(BELOW_ROOT).join(token)] {
        match read(&path) {
            Ok(text) => return Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unreadable = Some((path, error)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Whatever else has this name must not hold the thread up.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text)?;
    match text.len() as u64 {
        1..=MOST => Ok(text),
        // A file that is being written.
        0 => Err(io::ErrorKind::NotFound.into()),
        _ => Err(io::Error::other(format!("more than {MOST} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_token_is_found_in_the_directory_or_below_its_well_known_folder_and_nothing_else_is_read() {
        let dir = std::env::temp_dir().join(format!("rsp-challenges-{}", std::process::id()));
        let below = dir.join(BELOW_ROOT);
        fs::create_dir_all(&below).unwrap();
        fs::write(dir.join("one"), "one.key").unwrap();
        fs::write(below.join("two"), "two.key").unwrap();
        fs::write(dir.join("long"), vec![b'x'; 1025]).unwrap();
        fs::write(dir.join("empty"), "").unwrap();
        fs::write(dir.join("secret.txt"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.join("secret.txt"), dir.join("link")).unwrap();
        nix::unistd::mkfifo(&dir.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let find = |dir: &Path, token: &str| find(dir, token).ok().flatten();
        let found = |token: &str| find(&dir, token).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(found("one").as_deref(), Some("one.key"));
        assert_eq!(found("two").as_deref(), Some("two.key"));
        for token in ["long", "empty", "link", "pipe", "none", ".well-known"] {
            assert_eq!(found(token), None, "{token}");
        }
        assert_eq!(find(&dir.join("gone"), "one"), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
