//! The simulation of `scripts/balance`: the product's balancing code under modelled clients and servers, in virtual
//! time. The same seed gives the same figures.
//!
//! ```text
//! balance run SEED SCENARIO…     a line for each figure: SCENARIO, ALGORITHM, FIGURE, VALUE
//! balance picks NUMBER SIZE…     so many picks of each algorithm with so many servers, for callgrind
//! ```

mod figures;
mod keys;
mod moved;
mod origin;
mod pools;
mod scenarios;
mod work;
mod worker;
mod world;

use std::process::ExitCode;

use pools::ALGORITHMS;
use rsp::config::Balance;
use world::World;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run", seed, names @ ..] => seed.parse().ok().and_then(|seed| run(seed, names)),
        ["picks", number, sizes @ ..] => picks(number, sizes),
        _ => None,
    };
    if done.is_none() {
        eprintln!("usage: balance run SEED SCENARIO… | balance picks NUMBER SIZE…");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

fn run(seed: u64, names: &[&str]) -> Option<()> {
    names.iter().try_for_each(|name| run_scenario(seed, name))
}

fn run_scenario(seed: u64, whole: &str) -> Option<()> {
    let (name, number) = match whole.split_once(':') {
        Some((name, number)) => (name, Some(number.parse().ok()?)),
        None => (whole, None),
    };
    for (algorithm, balance) in ALGORITHMS {
        // It looks at all that are full.
        if name == "thousands" && balance == Balance::First {
            continue;
        }
        let figures = match name {
            "remove" => vec![("moved", moved::share(balance, seed))],
            _ => World::new(scenarios::scenario(name, number)?, balance, seed).run().list(),
        };
        for (figure, value) in figures {
            println!("{whole}\t{algorithm}\t{figure}\t{value}");
        }
    }
    Some(())
}

fn picks(number: &str, sizes: &[&str]) -> Option<()> {
    let sizes: Option<Vec<usize>> = sizes.iter().map(|size| size.parse().ok()).collect();
    work::count(&sizes?, number.parse().ok()?);
    Some(())
}
