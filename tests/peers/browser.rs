//! Debian's Chromium without a window, driven over the DevTools protocol: what somebody at the dashboard sees and presses.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Error, Message as Frame, WebSocket, client};

use crate::support::*;

pub struct Browser {
    child: Child,
    _profile: Directory,
    socket: WebSocket<TcpStream>,
    /// Of the page.
    session: Option<String>,
    last_id: u64,
    /// Errors that the page or the browser told.
    pub errors: Vec<String>,
}

impl Browser {
    /// Shows this page.
    pub fn open(url: &str) -> Browser {
        let profile = Directory::new();
        let data = format!("--user-data-dir={}", profile.path().display());
        let mut command = Command::new(find("chromium").expect("chromium"));
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-breakpad",
            "--no-first-run",
        ]);
        command.args([data.as_str(), "--remote-debugging-port=0", "about:blank"]);
        // In a group of its own, so that its helpers end with it.
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = quiet.spawn().expect("chromium starts");
        let mut told = String::new();
        until("chromium says where it listens", || {
            assert!(child.try_wait().expect("a child").is_none(), "chromium has ended");
            told = profile.read("DevToolsActivePort");
            told.lines().count() == 2
        });
        let (port, path) = told.split_once('\n').expect("a port and a path");
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        let socket = blocking_client(&format!("ws://127.0.0.1:{port}{}", path.trim()), stream);
        let mut browser =
            Browser { child, _profile: profile, socket, session: None, last_id: 0, errors: Vec::new() };
        browser.show(url);
        browser
    }

    fn show(&mut self, url: &str) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].take();
        let attached = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        self.session = attached["sessionId"].as_str().map(String::from);
        for domain in ["Log.enable", "Runtime.enable", "Page.enable"] {
            self.call(domain, json!({}));
        }
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer.get("errorText").is_none(), "{answer}");
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.socket.send(Frame::text(message.to_string())).expect("chromium listens");
        let start = Instant::now();
        loop {
            let mut answer = self.next(start);
            if answer["id"] == self.last_id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    fn next(&mut self, start: Instant) -> Value {
        loop {
            assert!(start.elapsed() < DEADLINE, "chromium does not answer");
            match self.socket.read() {
                Ok(Frame::Text(text)) => return serde_json::from_str(&text).expect("JSON"),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("chromium: {error}"),
            }
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        let is_error = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => parameters["type"] == "error",
            Some("Log.entryAdded") => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if is_error {
            self.errors.push(parameters.to_string());
        }
    }

    /// What an expression comes to in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    pub fn until(&mut self, what: &str, expression: &str) {
        if !within(DEADLINE, || self.value(expression) == true) {
            let text = self.value("document.body.innerText");
            panic!("the page never shows {what}: {text}\n{:?}", self.errors);
        }
    }

    /// Presses what this selector finds, with the mouse.
    pub fn click(&mut self, selector: &str) {
        let quoted = json!(selector);
        let place = format!(
            "(() => {{ const node = document.querySelector({quoted}); node.scrollIntoView({{ block: 'center' }});
              const at = node.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; }})()"
        );
        let at = self.value(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key: `Enter`, `Tab`, `Escape`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            _ => (27, ""),
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        for kind in [down, "keyUp"] {
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// A screen of this width.
    pub fn resize(&mut self, width: u32, colours: &str) {
        let screen = json!({ "width": width, "height": 740, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", screen);
        let features = json!([{ "name": "prefers-color-scheme", "value": colours }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }
}

fn blocking_client(url: &str, stream: TcpStream) -> WebSocket<TcpStream> {
    let mut made = client(url, stream);
    loop {
        match made {
            Ok((socket, _)) => return socket,
            Err(tungstenite::HandshakeError::Interrupted(handshake)) => made = handshake.handshake(),
            Err(error) => panic!("chromium refuses: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill(2) takes two integers and touches no memory; the group was made for this child, which was not
        // waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let _ = self.child.wait();
    }
}
