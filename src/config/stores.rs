//! What a config says of the things that scripts share between workers, and of the files they look things up in.

use std::path::PathBuf;

/// One call of `rsp.shared`, `rsp.rate` and the like.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    Shared(SharedConfig),
    Rate(RateConfig),
    Concurrency(ConcurrencyConfig),
    Split(SplitConfig),
    Map { path: PathBuf, kind: &'static str },
    Users { path: PathBuf },
}

impl Part {
    /// The function that made it, and its name.
    pub fn identity(&self) -> (&'static str, &str) {
        match self {
            Part::Shared(one) => ("shared", &one.name),
            Part::Rate(one) => ("rate", &one.name),
            Part::Concurrency(one) => ("concurrency", &one.name),
            Part::Split(one) => ("split", &one.name),
            Part::Map { path, .. } => ("map", path.to_str().unwrap_or_default()),
            Part::Users { path } => ("basic_auth", path.to_str().unwrap_or_default()),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct SharedConfig {
    pub name: String,
    pub entries: usize,
    /// Bytes, with what each entry costs.
    pub memory: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RateConfig {
    pub name: String,
    /// Nanoseconds between two requests at an even pace.
    pub interval: u64,
    pub burst: u64,
    pub entries: usize,
    pub dry_run: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ConcurrencyConfig {
    pub name: String,
    pub most: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct SplitConfig {
    pub name: String,
    pub weights: Vec<u64>,
    pub by: Option<SplitBy>,
}

/// What requests of one share have in common.
#[derive(Clone, PartialEq, Debug)]
pub enum SplitBy {
    /// A field of `req`: `client_ip`, `host` or `path`.
    Field(&'static str),
    Header(String),
    Cookie(String),
    Query(String),
    Function,
}
