//! Several workers: connections are spread over them, and everything else is as with one. Limits apply to the
//! process, signals reach all workers, logs have the lines of all.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::*;

/// A config with this many workers, more settings, and a script that answers `/who` with a different word in each
/// worker.
fn config(workers: usize, origin: &str, settings: &str) -> String {
    format!(
        "{} rsp.settings {{ workers = {workers}, {settings} }}
         local me = tostring({{}})
         rsp.on_request(function(req)
           if req.path == '/who' then return rsp.respond {{ body = me }} end
           while req.path == '/busy' do end
         end)",
        balanced(&[origin])
    )
}

fn start(workers: usize, origin: &Origin, settings: &str) -> Rsp {
    Rsp::start(&config(workers, &origin.address, settings))
}

/// Connected clients, and the number of them on each worker.
fn clients(rsp: &Rsp, count: usize) -> (Vec<Client>, HashMap<String, usize>) {
    let mut counts = HashMap::new();
    let client = |_| {
        let mut client = Client::connect(rsp.address());
        *counts.entry(client.get("/who").text()).or_default() += 1;
        client
    };
    ((0..count).map(client).collect(), counts)
}

/// Waits until a connection is refused at once.
fn until_refused(rsp: &Rsp) {
    until("new connections are refused", || Client::try_connect(rsp.address(), None).is_err());
}

#[test]
fn connections_are_spread_evenly() {
    let origin = Origin::named("ok");
    let rsp = start(4, &origin, "");
    let (_, counts) = clients(&rsp, 400);
    assert_eq!(counts.len(), 4, "{counts:?}");
    // Seven standard deviations around 100: one run in 10^10 is outside by chance.
    assert!(counts.values().all(|count| (40..=160).contains(count)), "{counts:?}");
}

#[test]
fn the_log_has_the_number_of_workers() {
    let origin = Origin::named("ok");
    start(3, &origin, "").wait_for_log("INFO 3 workers of ");
    let cores = std::thread::available_parallelism().expect("a number").get();
    let rsp = Rsp::start(&format!("{} rsp.settings {{ workers = 'auto' }}", balanced(&[&origin.address])));
    rsp.wait_for_log(&format!("INFO {cores} worker"));
    rsp.wait_for_log(&format!(" of {cores} core"));
}

#[test]
fn max_connections_applies_to_all_workers_and_nobody_waits_for_ever() {
    let origin = Origin::named("ok");
    // No timer of the waiting ones wakes a worker, which somebody else has to do.
    let rsp = start(4, &origin, "max_connections = 10, timeouts = { idle = '1h' }");
    let (mut held, _) = clients(&rsp, 10);
    let mut waiting: Vec<Client> = (0..30).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    assert!(waiting[0].stays_open(Duration::from_millis(300)));
    assert!(
        waiting.iter_mut().all(|client| client.stays_open(Duration::from_millis(1))),
        "an eleventh came in"
    );
    // One permit has to serve all thirty, on any worker.
    held.pop();
    for client in &mut waiting {
        assert_eq!(client.response().text(), "ok");
    }
    let told = rsp.log().matches("10 connections (max_connections)").count();
    assert!(told >= 1, "{}", rsp.log());
}

#[test]
fn the_limit_of_one_clients_connections_applies_to_all_workers() {
    let origin = Origin::named("ok");
    let rsp = start(4, &origin, "max_connections_per_client = 3");
    let (mut held, _) = clients(&rsp, 3);
    for _ in 0..20 {
        Client::connect(rsp.address()).expect_end();
    }
    assert_eq!(Client::connect_from("127.0.0.2", rsp.address()).get("/").text(), "ok", "another address");
    assert_eq!(rsp.log().matches("limits for one client").count(), 1, "one line: {}", rsp.log());
    held.pop();
    until("its place is free", || {
        let mut client = Client::connect(rsp.address());
        let _ = client.wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().is_ok()
    });
}

#[test]
fn the_rate_of_one_clients_new_connections_applies_to_all_workers() {
    let origin = Origin::named("ok");
    let rsp = start(4, &origin, "new_connections_per_client = 5");
    let since = Instant::now();
    let served = (0..60).filter(|_| {
        let mut client = Client::connect(rsp.address());
        client.wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() && client.try_response().is_ok()
    });
    let served = served.count() as f64;
    let allowed = 5.0 + 5.0 * since.elapsed().as_secs_f64() + 1.0;
    assert!((5.0..=allowed).contains(&served), "{served} were served, {allowed} allowed");
}

#[test]
fn an_address_in_use_is_noticed() {
    let origin = Origin::named("ok");
    let rsp = start(2, &origin, "");
    for workers in [1, 2] {
        let directory = Directory::new();
        let text = config(workers, &origin.address, "").replace("127.0.0.1:0", rsp.address());
        directory.write("second.lua", text);
        let second = run(directory.path(), &["second.lua"]);
        assert_eq!(second.code, Some(1), "{}", second.said());
        assert!(second.stderr.contains("Address already in use"), "{}", second.said());
    }
    assert_eq!(get(rsp.address(), "/").text(), "ok");
}

#[test]
fn a_stop_drains_every_worker() {
    const SIZE: u64 = 3_000_000;
    let origin = bodies(Uploads::default());
    let mut rsp = start(4, &origin, "");
    let mut downloads: Vec<Client> =
        (0..24).map(|_| Client::connect_with_small_buffer(rsp.address())).collect();
    for client in &mut downloads {
        client.ask(&format!("/length/{SIZE}/3"));
        assert_eq!(client.head().status(), 200);
    }
    rsp.signal(libc::SIGTERM);
    until_refused(&rsp);
    assert!(rsp.is_running());
    for client in &mut downloads {
        let mut body = Vec::new();
        client
            .wire
            .body(Framing::Exact(SIZE), &mut |bytes| body.extend_from_slice(bytes))
            .expect("all of it");
        assert_eq!(hash_of(&body), content_hash(3, SIZE));
        client.expect_end();
    }
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert_eq!(rsp.log().matches("Stopped").count(), 1, "{}", rsp.log());
}

#[test]
fn a_second_stop_ends_every_worker_at_once() {
    let origin = bodies(Uploads::default());
    let mut rsp = start(4, &origin, "");
    let mut downloads: Vec<Client> =
        (0..24).map(|_| Client::connect_with_small_buffer(rsp.address())).collect();
    for client in &mut downloads {
        client.ask("/length/50000000/3").head();
    }
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping: ");
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(rsp.log().contains("24 stopped"), "the ends in all workers, added up: {}", rsp.log());
}

#[test]
fn connections_that_wait_to_be_accepted_are_served_before_it_ends() {
    let origin = Origin::named("ok");
    let mut rsp = start(4, &origin, "");
    // Enough for each worker to be busy when the signal arrives.
    rsp.stop_with_full_accept_queue(128);
}

#[test]
fn the_access_log_has_every_request_of_every_worker_once() {
    const CLIENTS: usize = 24;
    const REQUESTS: usize = 100;
    let origin = Origin::named("ok");
    let mut rsp = start(4, &origin, "access_log = { path = 'access.log', format = 'rsp' }");
    let address = rsp.address().to_owned();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let address = &address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                (0..REQUESTS).for_each(|n| _ = client.get(&format!("/{number}/{n}")));
            });
        }
    });
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    let log = rsp.directory.read("access.log");
    let mut paths: Vec<&str> = log.lines().map(|line| line.split('"').nth(1).expect("a request")).collect();
    assert!(log.lines().all(|line| line.starts_with("time=") && line.ends_with("end=complete")));
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((log.lines().count(), paths.len()), (CLIENTS * REQUESTS, CLIENTS * REQUESTS));
}

#[test]
fn the_ends_of_all_workers_are_summed() {
    let origin = Origin::named("ok");
    let mut rsp = start(4, &origin, "");
    for _ in 0..40 {
        assert_eq!(Client::connect(rsp.address()).send("nonsense\r\n\r\n").response().status(), 400);
    }
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert!(rsp.log().contains(" 40 client-bad-request\n"), "{}", rsp.log());
}

#[test]
fn a_server_that_refuses_connections_is_ejected_once() {
    let (origin, dead) = (Origin::named("ok"), RefusingAddress::new());
    let config = format!("{} rsp.settings {{ workers = 4 }}", balanced(&[&dead.address, &origin.address]));
    let rsp = Rsp::start(&config);
    for _ in 0..60 {
        assert_eq!(get(rsp.address(), "/").text(), "ok");
    }
    assert_eq!(
        rsp.log().matches("is ejected for 1s: 3 failures in a row, the last one: Connection refused").count(),
        1,
        "{}",
        rsp.log()
    );
}

#[test]
fn a_balance_function_sees_the_requests_of_all_workers() {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/slow" {
                gate.wait();
            }
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let text = format!(
        "local me, seen = tostring({{}}), 0
         local web = rsp.pool {{ servers = {{ {:?} }},
           balance = function(req, servers) seen = servers[1].in_flight return servers[1] end }}
         rsp.on_request(function(req)
           if req.path == '/seen' then return rsp.respond {{ body = me .. '=' .. seen }} end
         end)
         rsp.settings {{ workers = 4 }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&text));
    let mut slow = Client::connect(rsp.address());
    slow.ask("/slow");
    until("it waits for its answer", || origin.requests().len() == 1);
    let mut workers = std::collections::HashSet::new();
    until("each of the workers has seen that request", || {
        let mut client = Client::connect(rsp.address());
        client.get("/");
        let seen = client.get("/seen").text();
        workers.extend(seen.strip_suffix("=1").map(str::to_owned));
        workers.len() == 4
    });
    opens.open();
    assert_eq!(slow.response().text(), "ok");
}

#[test]
fn workers_share_one_unix_socket() {
    let origin = Origin::named("ok");
    let directory = Directory::new();
    let address = format!("unix:{}", directory.join("front.sock").display());
    let text = config(3, &origin.address, "").replace("127.0.0.1:0", &address);
    let rsp = Rsp::start_in(directory, &text);
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(&address)).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/"));
    for client in &mut clients {
        assert_eq!(client.response().text(), "ok");
    }
    let file = rsp.directory.join("front.sock");
    assert!(file.exists());
    rsp.signal(libc::SIGTERM);
    until_refused(&rsp);
    until("the socket's file is gone", || !file.exists());
}

#[test]
fn a_config_that_differs_between_workers_is_an_error() {
    let origin = Origin::named("ok");
    let directory = Directory::new();
    let differs = "max_body = 1 + math.floor(os.clock() * 1e6)";
    let path = directory.join("front.sock");
    let address = format!("unix:{}", path.display());
    let text = config(4, &origin.address, differs).replace("127.0.0.1:0", &address);
    directory.write("site.lua", text);
    for arguments in [&["site.lua"][..], &["check", "site.lua"]] {
        let ended = run(directory.path(), arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        assert!(
            ended.stderr.contains("does not say the same when it is run a second time"),
            "{}",
            ended.said()
        );
        let says_so = ended.stderr.contains("Error parsing config file: ");
        assert_eq!(says_so, arguments.len() == 1, "{}", ended.said());
    }
    assert!(!path.exists(), "a socket is left behind");
}

#[test]
fn a_stop_does_not_wait_for_workers_that_still_load() {
    let origin = Origin::named("ok");
    let directory = Directory::new();
    let path = directory.join("front.sock");
    let address = format!("unix:{}", path.display());
    // Fast for the first worker that runs it, and slow for all later ones.
    let slow = "local first = os.clock() < 0.5 repeat until os.clock() > (first and 0.5 or 1000)";
    let text = config(4, &origin.address, "access_log = '-'").replace("127.0.0.1:0", &address);
    directory.write("site.lua", format!("{slow}\n{text}"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rsp"));
    command.arg("site.lua").current_dir(directory.path()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("rsp starts");
    until("it listens", || path.exists());
    send_signal(child.id(), libc::SIGTERM);
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.contains("Stopped before all workers were ready"), "{said}");
    assert!(!path.exists(), "a socket is left behind");
}

#[test]
fn idle_connections_of_one_worker_are_closed_when_another_lacks_descriptors() {
    let opens = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let open = opens.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            until("all have asked", || open.load(Ordering::SeqCst));
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = start(2, &origin, "");
    let mut of_worker: HashMap<String, Vec<Client>> = HashMap::new();
    for _ in 0..160 {
        let mut client = Client::connect(rsp.address());
        let worker = client.get("/who").text();
        of_worker.entry(worker).or_default().push(client);
    }
    let mut of_worker = of_worker.into_values();
    // All at once, so that each has its own connection to the server.
    let ask = |clients: &mut [Client]| {
        opens.store(false, Ordering::SeqCst);
        let before = origin.requests().len();
        clients.iter_mut().for_each(|client| _ = client.ask("/"));
        until("the server has all requests", || origin.requests().len() == before + clients.len());
        opens.store(true, Ordering::SeqCst);
        for client in clients {
            assert_eq!(client.response().text(), "ok");
        }
    };
    let (mut one, mut other) = (of_worker.next().expect("a worker"), of_worker.next().expect("another"));
    ask(&mut one[..40]);
    leave_descriptors(rsp.pid(), 0);
    // More than the reserve.
    ask(&mut other[..40]);
}

#[test]
fn without_descriptors_all_workers_pause_and_resume() {
    let origin = Origin::named("ok");
    let rsp = start(3, &origin, "");
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    leave_descriptors(rsp.pid(), 3);
    let mut many: Vec<Client> = (0..24).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut many {
        client.ask("/");
    }
    rsp.wait_for_log("cannot accept connections");
    let before = cpu_time(rsp.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(rsp.pid()) - before;
    assert!(used < Duration::from_millis(200), "{used:?} of CPU time in a second of waiting");
    assert_eq!(rsp.log().matches("cannot accept connections").count(), 1, "one line: {}", rsp.log());
    limit_descriptors(rsp.pid(), 4096);
    for client in &mut many {
        assert_eq!(client.response().text(), "ok");
    }
}
