//! A browser without a screen, driven over the DevTools protocol: Chromium's own pipe, a JSON message after the other, each
//! ended by a zero byte. No package drives it, and no port is opened.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Chromium with one tab.
pub struct Browser {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last: u64,
    /// What happened since the last page was opened.
    pub events: Vec<Value>,
    _home: tempfile::TempDir,
}

impl Browser {
    /// Starts it, in a home of its own.
    pub fn start(program: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        // The protocol is spoken on descriptors 3 and 4. Tests run as root in CI, where Chromium has no sandbox.
        let line = "exec \"$0\" --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars \
            --disable-background-networking --disable-component-update --user-data-dir=\"$HOME/data\" \
            --remote-debugging-pipe about:blank 3<&0 4>&1 </dev/null >/dev/null 2>\"$HOME/log\"";
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(line).arg(program).env("HOME", home.path()).env("TZ", "UTC");
        let mut child = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, messages) = channel();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            loop {
                let mut bytes = Vec::new();
                if answers.read_until(0, &mut bytes).unwrap_or(0) == 0 {
                    return;
                }
                bytes.pop();
                if sender.send(serde_json::from_slice(&bytes).unwrap()).is_err() {
                    return;
                }
            }
        });
        let requests = child.stdin.take().unwrap();
        let (session, events) = (String::new(), Vec::new());
        let mut browser = Self { child, requests, messages, session, last: 0, events, _home: home };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method, and waits for its answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let message = self.next(method);
            if message["id"] == json!(self.last) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    #[track_caller]
    fn next(&mut self, waiting: &str) -> Value {
        let message = self.messages.recv_timeout(PATIENCE);
        let message = message.unwrap_or_else(|error| panic!("no answer to {waiting}: {error}"));
        if message["method"].is_string() {
            self.events.push(message.clone());
        }
        message
    }

    /// Opens a file, and waits until it is there whole.
    #[track_caller]
    pub fn open(&mut self, file: &Path) {
        self.events.clear();
        let answer = self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        assert!(answer["errorText"].is_null(), "{answer}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            self.next("Page.loadEventFired");
        }
    }

    /// A window of this size: a phone's, if it is narrow.
    pub fn resize(&mut self, width: u32, height: u32) {
        let is_phone = width < 600;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// `light` or `dark`, on `screen` or in `print`.
    pub fn media(&mut self, scheme: &str, media: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
    }

    /// What an expression is, promises awaited.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression:.200}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Types into what has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key that has a name and no text.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// What was complained about since the page was opened: on the console, by the policy, by a script that failed, or
    /// in a dialog.
    pub fn complaints(&self) -> Vec<&Value> {
        let loud =
            ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"];
        self.events.iter().filter(|event| loud.iter().any(|method| event["method"] == *method)).collect()
    }

    /// The addresses that were asked for since the page was opened.
    pub fn asked_for(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.map(|event| event["params"]["request"]["url"].as_str().unwrap()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
