//! `rsp demo`: rsp without a config and without servers. Three small web servers run in this process, rsp balances
//! over them, the terminal says what to try and shows one line a request. It is the README's first command, so it has
//! to explain itself.

mod lines;
mod origin;
mod pages;
mod screen;
mod wire;

use std::io::{self, ErrorKind, IsTerminal};
use std::time::Duration;

use crate::control::run::{Start, run as control};
use crate::control::run_error::RunError;
use crate::script::Source;

use super::run::finish_without_file;
use super::{Exit, complain, say};
use origin::Origin;

const LISTEN: &str = "127.0.0.1:8080";
const NAMES: [&str; 3] = ["apple", "pear", "plum"];
/// A demo ends quickly.
const DRAIN: Duration = Duration::from_secs(2);

pub fn run(listen: Option<&str>) -> Exit {
    let listen = listen.unwrap_or(LISTEN);
    let origins: Vec<Origin> = match NAMES.into_iter().map(Origin::start).collect() {
        Ok(origins) => origins,
        Err(error) => {
            complain(&format!("rsp demo: cannot start the built-in servers: {error}"));
            return Exit::Failed;
        }
    };
    match control(start(listen, &origins)) {
        Err(failure) if taken(&failure) => {
            complain(&format!("{failure}; rsp demo --listen 127.0.0.1:0 takes any free port"));
            Exit::Failed
        }
        result => finish_without_file("rsp demo", result),
    }
}

fn start(listen: &str, origins: &[Origin]) -> Start {
    let backends: Vec<String> = origins.iter().map(|origin| origin.address.to_string()).collect();
    let names = origins.iter().map(|origin| (origin.address.to_string(), origin.name)).collect::<Vec<_>>();
    let colours = colours();
    let shown = names.clone();
    Start {
        // The request lines show the rest.
        level: "error",
        lines: Some(lines::line(names, colours)),
        drain: Some(DRAIN),
        ready: Box::new(move |addresses| {
            say(&screen::first(addresses.first().map_or("", String::as_str), &shown, colours));
        }),
        ..Start::plain(Source::embedded(&[listen.to_string()], &backends))
    }
}

fn taken(failure: &RunError) -> bool {
    matches!(failure, RunError::Listen(_, error) if error.kind() == ErrorKind::AddrInUse)
}

fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}
