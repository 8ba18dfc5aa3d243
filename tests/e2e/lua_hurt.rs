//! Scripts that would hurt: their own calls fail, and everybody else is served as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Asks for each hurtful thing several times, while others ask for something else on their connections.
fn hurt(rsp: &Rsp, status: u16) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let others = [(); 3].map(|()| {
            scope.spawn(|| {
                let (mut client, mut asked) = (Client::connect(rsp.address()), 0);
                while asked == 0 || !over.load(Ordering::Relaxed) {
                    let answer = client.get("/fine");
                    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
                    asked += 1;
                }
            })
        });
        let hurts = scope.spawn(|| ask_for_all(rsp, status)).join();
        over.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(hurts.unwrap(), [""; 0]);
    });
    assert_eq!(get(rsp.address(), "/fine").status(), 200);
    assert!(!rsp.log().contains("it went through"), "{}", rsp.log());
}

/// Returns what was not answered with this status.
fn ask_for_all(rsp: &Rsp, status: u16) -> Vec<String> {
    let (mut client, mut wrong) = (Client::connect(rsp.address()), Vec::new());
    for _ in 0..3 {
        for (index, body) in HURTFUL.iter().enumerate() {
            let answer = client.get(&format!("/{}", index + 1)).status();
            let no_memory = status == 500 && answer == 503;
            if answer != status && !no_memory {
                wrong.push(format!("{body}: {answer}"));
            }
        }
    }
    wrong
}

#[test]
fn a_script_that_hurts_fails_its_request_and_others_are_served() {
    let origin = Origin::answering(OK);
    let rsp = Rsp::start(&hurtful_config(&origin, ""));
    hurt(&rsp, 500);
}

#[test]
fn requests_of_a_script_that_hurts_go_to_the_fallback_pool() {
    let origin = Origin::answering(OK);
    let rsp = Rsp::start(&hurtful_config(&origin, "rsp.settings { fallback = 'pool1' }"));
    hurt(&rsp, 200);
}

#[test]
fn the_time_of_a_call_can_be_set() {
    let origin = Origin::answering(OK);
    let settings =
        "rsp.settings { script = { time = '30ms' } } rsp.on_request(function() while true do end end)";
    let rsp = Rsp::start(&format!("{}{settings}", balanced(&[&origin.address])));
    assert_eq!(get(rsp.address(), "/").status(), 500);
    rsp.wait_for_log("ran longer than 30 ms of CPU time");
}

#[test]
fn a_script_that_has_used_up_its_memory_is_started_afresh() {
    let origin = Origin::answering(OK);
    let rsp = Rsp::start(&format!(
        "{}rsp.settings {{ script = {{ memory = '8m', time = '1s' }} }}\n\
         local kept = {{}}\n\
         rsp.on_request(function(req)\n\
           if req.path == '/leak' then kept[#kept + 1] = req.id .. ('x'):rep(200000) end\n\
         end)",
        balanced(&[&origin.address])
    ));
    let mut client = Client::connect(rsp.address());
    until("the script is out of memory", || client.get("/leak").status() == 503);
    rsp.wait_for_log("not enough memory: a script may use 8 MiB");
    until("it was started afresh", || {
        assert_eq!(client.get("/").status(), 200);
        rsp.log().contains("The script had used up its memory of 8 MiB and was started afresh")
    });
    until("it can take as much as before", || client.get("/leak").status() == 200);
}
