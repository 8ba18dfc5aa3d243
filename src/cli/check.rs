//! `rsp check CONFIG.lua`: loads it as a run does, twice as for a worker, and reports errors. Then it warns of what is
//! likely a mistake: by the text of the script, and by what becomes of a few requests. Opens no socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::os_error::os_error;
use crate::config::{Config, Warning};
use crate::control::explain::{Explanation, Question, header, of_loaded};
use crate::control::names::Names;
use crate::control::privileges::identity;
use crate::script::{self, LoadError, Script, Source};

use super::{Exit, complain, say};

/// For all names of servers together.
const PATIENCE: Duration = Duration::from_secs(3);

/// With `strict`, a warning is a failure.
pub fn run(path: &Path, strict: bool) -> Exit {
    let source = &mut Source::file(path);
    let loaded = script::load(source);
    let loaded = loaded.and_then(|(said, script)| script::load_again(source, &said).map(|_| (said, script)));
    let (said, script) = match loaded {
        Ok(loaded) => loaded,
        Err(LoadError(line)) => {
            complain(&line);
            return Exit::Failed;
        }
    };
    let mut warnings: Vec<String> = said.warnings.iter().map(shown).collect();
    warnings.extend(script::lint(source, &said, &script).iter().map(shown));
    // Another machine may run it.
    let of_config = |line: String| format!("{}: warning: {line}", path.display());
    warnings.extend(identity(&said.settings).err().map(of_config));
    warnings.extend(unresolved(&said).into_iter().map(of_config));
    warnings.extend(all_fail(said, script));
    warnings.iter().for_each(|line| complain(line));
    if strict && !warnings.is_empty() {
        return Exit::Failed;
    }
    say(&format!("{}: ok\n", path.display()))
}

fn shown(warning: &Warning) -> String {
    format!("{}: warning: {}", warning.position, warning.text)
}

/// Requests that any site may get.
fn requests() -> Vec<Question> {
    let of = |method: &str, url: &str, headers: &[&str], body: Option<&str>| Question {
        method: method.into(),
        url: url.into(),
        headers: headers.iter().filter_map(|text| header(text)).collect(),
        body: body.map(str::to_owned),
        ..Question::default()
    };
    vec![
        of("GET", "http://www.example.com/", &[], None),
        of("GET", "https://www.example.com/", &["User-Agent: curl/8"], None),
        of("GET", "http://example.com/index.html?a=1", &["Accept: */*", "Cookie: session=1"], None),
        of("POST", "http://api.example.com/api/items", &["Content-Type: application/json"], Some("{}")),
    ]
}

/// A line if the script fails for every request that comes to it.
fn all_fail(said: Config, script: Script) -> Option<String> {
    if !said.on_request {
        return None;
    }
    let mut explainer = of_loaded(Arc::new(said), script);
    let reports: Vec<Explanation> =
        requests().iter().filter_map(|question| explainer.explain(question).ok()).collect();
    let fails = |report: &Explanation| report.failed.is_some() && !report.not_asked;
    let first = reports.first()?.failed.as_deref()?;
    let place = reports.first()?.route.as_deref().unwrap_or_default();
    let what = first.strip_prefix(&format!("{place}: ")).unwrap_or(first);
    let all = reports.iter().all(fails);
    all.then(|| format!("{place}: warning: on_request fails for each of {} requests: {what}", reports.len()))
}

/// Lines about the names of servers that have no address now.
fn unresolved(config: &Config) -> Vec<String> {
    match Names::start(config, None) {
        Ok(None) => Vec::new(),
        Ok(Some(names)) => {
            names.wait(PATIENCE);
            names.unresolved()
        }
        Err(error) => vec![format!("cannot look up names: {}", os_error(&error))],
    }
}
