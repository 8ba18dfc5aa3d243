//! The dashboard in Chromium: what it shows, and what its buttons do to the requests of clients.

use serde_json::Value;

use crate::browser::Browser;
use crate::support::*;

/// rsp with an admin address, over these servers.
fn start(pool: &str, servers: &[(&str, &Origin)], more: &str) -> Rsp {
    let list: Vec<String> =
        servers.iter().map(|(name, origin)| format!("{{ '{}', name = '{name}' }}", origin.address)).collect();
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = '{pool}', servers = {{ {} }} }}
         rsp.settings {{ admin = {{ '127.0.0.1:0', token = 'sécret' }} }} {more}",
        list.join(", ")
    )))
}

fn admin(rsp: &Rsp) -> String {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let line = log.lines().find_map(|line| line.split_once("Admin address: ")).expect("a line");
    line.1.trim().to_owned()
}

fn open(rsp: &Rsp) -> Browser {
    let mut browser = Browser::open(&format!("http://{}/", admin(rsp)));
    browser.until("the servers", "document.querySelectorAll('.servers tbody tr').length > 0");
    browser
}

fn state(rsp: &Rsp) -> Value {
    let mut client = Client::connect(&admin(rsp));
    client.send("GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n");
    serde_json::from_str(&client.response().text()).expect("JSON")
}

/// Ten requests, and who answered.
fn answers(rsp: &Rsp) -> String {
    (0..10).map(|_| get(rsp.address(), "/").text()).collect()
}

const ROW: &str = "document.querySelector('.servers tbody tr')";

#[test]
fn its_buttons_move_the_requests_of_clients() {
    if !have(&["chromium"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start("web", &[("app1", &a), ("app2", &b)], "");
    let mut browser = open(&rsp);
    assert_eq!(answers(&rsp).matches('a').count(), 5);
    browser
        .until("the requests", "document.querySelector('#tile-requests').textContent.includes('10 since')");
    browser.click("[aria-label='drain web/app1']");
    browser.until("the question for the token", "document.querySelector('#ask').open");
    browser.write("sécret");
    browser.press("Enter");
    browser.until("the state", &format!("{ROW}.className === 'drain'"));
    browser.until(
        "the pressed button",
        "document.querySelector(\"[aria-label='drain web/app1']\").ariaPressed === 'true'",
    );
    assert_eq!((answers(&rsp), a.request_count()), ("b".repeat(10), 5));
    browser.click("[aria-label='ready web/app1']");
    browser.until("the state", &format!("{ROW}.className === 'up'"));
    assert_eq!(answers(&rsp).matches('a').count(), 5);
    browser.click("[aria-label='Weight of web/app1']");
    browser.value("document.activeElement.select()");
    browser.write("4");
    browser.press("Enter");
    until("the weight", || state(&rsp)["pools"][0]["servers"][0]["weight"] == 4);
    assert_eq!(answers(&rsp).matches('a').count(), 8);
    browser.click("#filter");
    browser.write("app2");
    let rows = "[...document.querySelectorAll('.servers tbody tr')].filter((row) => row.offsetHeight > 0)";
    browser
        .until("the one server", &format!("{rows}.length === 1 && {rows}[0].textContent.includes('app2')"));
    assert_eq!(browser.value("location.search + location.hash"), "");
    assert_eq!(browser.value("sessionStorage.getItem('rsp-token')"), "sécret");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
    rsp.stop();
}

#[test]
fn names_are_text_and_a_wrong_token_changes_nothing() {
    if !have(&["chromium"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let (pool, server) = ("<b>we/b</b>", "<img/src=x/onerror=alert(1)>");
    let rsp = start(pool, &[(server, &a), ("b", &b)], "");
    let mut browser = open(&rsp);
    assert_eq!(browser.value("document.querySelector('.pool h3').textContent"), pool);
    assert_eq!(browser.value("document.querySelector('.servers tbody .text').textContent"), server);
    assert_eq!(browser.value("document.querySelectorAll('img, b').length"), 0);
    let refused = "(() => { try { document.body.innerHTML = '<p>' } catch { return true } })()";
    assert_eq!(browser.value(refused), true, "the policy has text made into markup");
    // What the browser says of that.
    browser.errors.clear();
    browser.click(".servers tbody .segments button:nth-child(2)");
    browser.until("the question for the token", "document.querySelector('#ask').open");
    browser.write("wrong");
    browser.press("Enter");
    browser.until(
        "why not",
        "document.querySelector('.note[role=alert]')?.textContent.includes('token is wrong')",
    );
    assert_eq!(state(&rsp)["pools"][0]["servers"][0]["state"], "up");
    browser.click(".servers tbody .segments button:nth-child(2)");
    browser.until("the question again", "document.querySelector('#ask').open");
    browser.write("sécret");
    browser.press("Enter");
    browser.until("the state", &format!("{ROW}.className === 'drain'"));
    assert_eq!(answers(&rsp), "b".repeat(10));
    let unexpected: Vec<&String> = browser.errors.iter().filter(|error| !error.contains(" 401 ")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    rsp.stop();
}

#[test]
fn it_says_when_rsp_does_not_answer_and_goes_on_once_it_does() {
    if !have(&["chromium"]) {
        return;
    }
    let a = Origin::named("a");
    let rsp = start("web", &[("a", &a)], "");
    let mut browser = open(&rsp);
    let is_told = "!document.querySelector('#unreachable').hidden";
    assert_eq!(browser.value(is_told), false);
    rsp.signal(libc::SIGSTOP);
    browser.until("that there is no answer", is_told);
    assert_eq!(browser.value("document.querySelector('#stage').textContent"), "unreachable");
    rsp.signal(libc::SIGCONT);
    browser.until("that there is one again", "document.querySelector('#stage').textContent === 'serving'");
    assert_eq!(browser.value(is_told), false);
    rsp.stop();
    browser.until("that there is no answer", is_told);
}

#[test]
fn a_page_from_elsewhere_reads_and_changes_nothing_but_may_link_to_it() {
    if !have(&["chromium"]) {
        return;
    }
    let (a, page) = (Origin::named("a"), "<!doctype html><title>Elsewhere</title>");
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", page.len());
    let elsewhere = Origin::answering(format!("{head}{page}"));
    let rsp = start("web", &[("a", &a)], "");
    let mut browser = Browser::open(&format!("http://{}/", elsewhere.address));
    browser.until("itself", "document.title === 'Elsewhere'");
    let admin = admin(&rsp);
    let asks =
        |options: &str| format!("fetch('http://{admin}{options}).then(() => 'answered', () => 'refused')");
    assert_eq!(browser.value(&asks("/api/state'")), "refused");
    assert_eq!(browser.value(&asks("/'")), "refused");
    let with_token =
        "/api/servers/web/a', { method: 'POST', headers: { Authorization: 'Bearer s\\xc3\\xa9cret' },
        body: '{\"state\": \"maint\"}' }";
    assert_eq!(browser.value(&asks(with_token)), "refused");
    let simple = "/api/servers/web/a', { method: 'POST', mode: 'no-cors', body: '{\"state\": \"maint\"}' }";
    browser.value(&asks(simple));
    assert_eq!(state(&rsp)["pools"][0]["servers"][0]["state"], "up");
    browser.value(&format!("void (location.href = 'http://{admin}/')"));
    browser.until("the servers", "document.querySelectorAll('.servers tbody tr').length > 0");
    rsp.stop();
}

/// What has this role in the tree that screen readers read, by name.
fn named(tree: &Value, role: &str) -> Vec<String> {
    let nodes = tree["nodes"].as_array().expect("nodes");
    let of = nodes.iter().filter(|node| node["role"]["value"] == role && node["ignored"] != true);
    of.map(|node| node["name"]["value"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_fits_a_phone_in_the_dark_and_has_names_for_screen_readers() {
    if !have(&["chromium"]) {
        return;
    }
    let (a, long) = (
        Origin::named("a"),
        "node-7f9c6d5b8-x2v4q.eu-central-1.compute.internal.example.com".repeat(2)[..120].to_owned(),
    );
    let rsp = start(&format!("pool-{long}"), &[(&long, &a), ("b", &a)], "");
    rsp.reload_fails(&format!("rsp.{}()", "x".repeat(200)));
    let mut browser = open(&rsp);
    let light = browser.value("getComputedStyle(document.body).backgroundColor");
    for (width, colours) in [(360, "dark"), (800, "light"), (1400, "light")] {
        browser.resize(width, colours);
        let fits = format!("document.documentElement.scrollWidth <= {width} && innerWidth === {width}");
        browser.until("no more than fits", &fits);
        let tree = browser.call("Accessibility.getFullAXTree", serde_json::json!({}));
        let label = format!("drain pool-{long}/{long}");
        assert!(named(&tree, "button").contains(&label) && named(&tree, "spinbutton").len() == 2, "{width}");
        for role in ["button", "spinbutton", "checkbox", "searchbox", "table", "columnheader", "rowheader"] {
            assert!(named(&tree, role).iter().all(|name| !name.is_empty()), "{width}: {role} without a name");
        }
        assert!(named(&tree, "table").contains(&format!("Servers of pool-{long}")), "{width}");
        if colours == "dark" {
            assert_ne!(browser.value("getComputedStyle(document.body).backgroundColor"), light);
        }
    }
    browser.press("Tab");
    let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "what has the focus shows it");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
    rsp.stop();
}
