//! A file whose contents are looked things up in, read again when it changes. Somebody beside the workers calls `look`
//! now and then; a worker only takes what is there, which a new file takes the place of in whole.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::lock;
use super::map::BadLine;

type Read<T> = Box<dyn Fn(&[u8]) -> Result<T, BadLine> + Send + Sync>;

pub struct WatchedFile<T> {
    path: PathBuf,
    read: Read<T>,
    current: Mutex<Arc<T>>,
    seen: Mutex<Seen<T>>,
}

/// What `look` remembers.
struct Seen<T> {
    /// Of the file that was read last, or tried.
    stamp: Option<Stamp>,
    /// Of a file that has changed, until it is the same twice: somebody may still be writing it.
    changed: Option<Stamp>,
    /// What is wrong with it.
    problem: Option<String>,
    /// What was replaced: freed here, once no worker looks something up in it.
    former: Vec<Arc<T>>,
}

/// What changes with a file.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        Stamp {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            changed: (file.mtime(), file.mtime_nsec()),
        }
    }
}

/// The largest file that is read.
const MOST_BYTES: u64 = 512 << 20;

impl<T> WatchedFile<T> {
    /// Reads the file. An error is `FILE:LINE: what is wrong`, or what the system says.
    pub fn open(path: &Path, read: Read<T>) -> Result<WatchedFile<T>, String> {
        let (stamp, contents) = load(path, &read)?;
        Ok(WatchedFile {
            path: path.to_owned(),
            read,
            current: Mutex::new(Arc::new(contents)),
            seen: Mutex::new(Seen { stamp: Some(stamp), changed: None, problem: None, former: Vec::new() }),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is there now.
    pub fn current(&self) -> Arc<T> {
        lock(&self.current).clone()
    }

    /// Reads the file again if it is another one, at once: for a config that is loaded. True if there is something new; an
    /// error also if it was read before and is no good.
    pub fn refresh(&self) -> Result<bool, String> {
        let stamp = stamp(&self.path)?;
        let seen = lock(&self.seen);
        if seen.stamp == Some(stamp) {
            return seen.problem.clone().map_or(Ok(false), Err);
        }
        drop(seen);
        self.replace().map(|()| true)
    }

    /// Reads the file again if it has changed and nobody seems to write it any more. A problem is told once for each
    /// change of the file.
    pub fn look(&self) -> Result<bool, String> {
        let now = stamp(&self.path).ok();
        let mut seen = lock(&self.seen);
        seen.former.retain(|former| Arc::strong_count(former) > 1);
        if now == seen.stamp {
            seen.changed = None;
            return Ok(false);
        }
        if now.is_some() && seen.changed != now {
            seen.changed = now;
            return Ok(false);
        }
        seen.stamp = now;
        drop(seen);
        self.replace().map(|()| true)
    }

    fn replace(&self) -> Result<(), String> {
        let loaded = load(&self.path, &self.read);
        let mut seen = lock(&self.seen);
        seen.problem = loaded.as_ref().err().cloned();
        let (stamp, contents) = loaded?;
        (seen.stamp, seen.changed) = (Some(stamp), None);
        let former = std::mem::replace(&mut *lock(&self.current), Arc::new(contents));
        seen.former.push(former);
        Ok(())
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    fs::metadata(path).map(|file| Stamp::of(&file)).map_err(|error| unreadable(path, &error))
}

fn load<T>(path: &Path, read: &Read<T>) -> Result<(Stamp, T), String> {
    let stamp = stamp(path)?;
    if stamp.bytes > MOST_BYTES {
        return Err(format!("{}: larger than {} MiB", path.display(), MOST_BYTES >> 20));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let contents = read(&bytes).map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))?;
    Ok((stamp, contents))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {}", path.display(), crate::base::os_error::os_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> File {
            let path = std::env::temp_dir().join(format!("rsp-watched-{}-{name}", std::process::id()));
            fs::write(&path, text).unwrap();
            File(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn number(bytes: &[u8]) -> Result<u32, BadLine> {
        std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or((1, "no number".into()))
    }

    #[test]
    fn a_changed_file_is_read_once_it_stays_the_same() {
        let file = File::new("changed", "1");
        let watched = WatchedFile::open(&file.0, Box::new(number)).unwrap();
        assert_eq!((watched.look(), *watched.current()), (Ok(false), 1));
        fs::write(&file.0, "22").unwrap();
        assert_eq!((watched.look(), *watched.current()), (Ok(false), 1), "somebody may still write");
        let former = watched.current();
        assert_eq!((watched.look(), *watched.current(), *former), (Ok(true), 22, 1));
        assert_eq!(lock(&watched.seen).former.len(), 1);
        drop(former);
        assert_eq!((watched.look(), lock(&watched.seen).former.len()), (Ok(false), 0));
        fs::write(&file.0, "333").unwrap();
        assert_eq!((watched.refresh(), *watched.current()), (Ok(true), 333));
        assert_eq!(watched.refresh(), Ok(false));
    }

    #[test]
    fn a_bad_file_keeps_the_old_one_and_is_told_once() {
        let file = File::new("bad", "1");
        let watched = WatchedFile::open(&file.0, Box::new(number)).unwrap();
        fs::write(&file.0, "no number").unwrap();
        assert_eq!(watched.look(), Ok(false));
        let told = watched.look().unwrap_err();
        assert!(told.ends_with("bad:1: no number"), "{told}");
        assert_eq!((watched.look(), *watched.current()), (Ok(false), 1));
        assert!(watched.refresh().is_err(), "a config that is loaded does not begin with it");
        fs::remove_file(&file.0).unwrap();
        let told = watched.look().unwrap_err();
        assert!(told.starts_with("cannot read") && told.ends_with("No such file or directory"), "{told}");
        assert_eq!((watched.look(), *watched.current()), (Ok(false), 1));
        fs::write(&file.0, "4").unwrap();
        assert_eq!((watched.look(), watched.look(), *watched.current()), (Ok(false), Ok(true), 4));
        assert!(WatchedFile::open(&std::env::temp_dir(), Box::new(number)).is_err());
    }
}
