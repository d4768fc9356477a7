//! Clients that ask API servers at a steady rate while others change what these trust, and what became of each request.
//! Owns the classes: answered, tried again because a process or a leader was away, or refused for a reason of trust.
//!
//! A request goes over openssl: it takes 15 ms, not the tenth of a second of kubectl, and verifies servers by other code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::process::{PATIENCE, Run, wait_until};
use crate::programs;

/// Between two requests of one client.
const PACE: Duration = Duration::from_millis(300);

/// What a client shows, and whom it trusts.
#[derive(Clone)]
pub struct Credentials {
    pub authority: PathBuf,
    /// The path of certificate and key without `.crt` and `.key`.
    pub pair: Option<PathBuf>,
    pub token: Option<String>,
}

impl Credentials {
    /// Those of a kubeconfig, in files that begin with `stem`.
    pub fn of_kubeconfig(kubeconfig: &Path, stem: &Path) -> Credentials {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig can be read");
        let config: Value = serde_yaml_ng::from_str(&text).expect("a kubeconfig is YAML");
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let file = |data: &Value, name: &str| {
            let path = stem.with_extension(name);
            let data = STANDARD.decode(data.as_str().expect("embedded data")).expect("base64");
            std::fs::write(&path, data).expect("a writable scratch directory");
            path
        };
        file(&user["client-certificate-data"], "crt");
        file(&user["client-key-data"], "key");
        let authority = file(&cluster["certificate-authority-data"], "ca");
        Credentials { authority, pair: Some(stem.to_path_buf()), token: None }
    }
}

/// An API server behind the load balancer that each client has.
pub struct Server {
    pub address: &'static str,
    pub port: u16,
    /// Whether the balancer hands it requests: not while it starts.
    pub serving: AtomicBool,
}

/// What one attempt came to.
#[derive(Debug)]
pub enum Attempt {
    Answered(u16, String),
    /// A process was away, or what it needs: why.
    Away(String),
    /// Somebody did not trust somebody: who said what.
    Distrusted(String),
}

/// What to ask for.
#[derive(Clone)]
pub struct Question {
    method: &'static str,
    path: String,
    body: String,
}

impl Question {
    pub fn get(path: &str) -> Question {
        Question { method: "GET", path: path.to_owned(), body: String::new() }
    }

    pub fn post(path: &str, body: &Value) -> Question {
        Question { method: "POST", path: path.to_owned(), body: body.to_string() }
    }
}

/// All clients, the servers that they ask, and the count.
pub struct Load {
    home: PathBuf,
    pub servers: Vec<Server>,
    tally: Mutex<BTreeMap<(String, String), u64>>,
    distrusted: Mutex<Vec<String>>,
    stopped: Mutex<bool>,
    stops: Condvar,
}

/// Ends all clients when it goes, also when a test fails: a scope waits for its threads.
pub struct Stop<'a>(&'a Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        *self.0.stopped.lock().expect("no thread panicked with it") = true;
        self.0.stops.notify_all();
    }
}

impl Load {
    pub fn new(home: &Path, servers: Vec<Server>) -> Load {
        let (tally, distrusted, stopped) = (Mutex::default(), Mutex::default(), Mutex::default());
        Load { home: home.to_path_buf(), servers, tally, distrusted, stopped, stops: Condvar::new() }
    }

    /// Where clients keep their files.
    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn stop(&self) -> Stop<'_> {
        Stop(self)
    }

    /// Waits for a while, or until all clients are to end: then false.
    fn goes_on(&self, pace: Duration) -> bool {
        let stopped = self.stopped.lock().expect("no thread panicked with it");
        let (stopped, _) =
            self.stops.wait_timeout_while(stopped, pace, |stopped| !*stopped).expect("no thread panicked");
        !*stopped
    }

    fn count(&self, who: &str, what: &str) {
        *self.tally.lock().expect("no thread panicked").entry((who.to_owned(), what.to_owned())).or_default() += 1;
    }

    fn fails(&self, what: String) {
        self.distrusted.lock().expect("no thread panicked").push(what);
    }

    /// Fails the test when anybody did not trust anybody so far.
    #[track_caller]
    pub fn nobody_was_distrusted(&self, when: &str) {
        let distrusted = self.distrusted.lock().expect("no thread panicked");
        assert!(
            distrusted.is_empty(),
            "{when}: {} requests failed: {:#?}",
            distrusted.len(),
            &distrusted[..distrusted.len().min(5)]
        );
    }

    /// The count, one line a client.
    pub fn report(&self) -> String {
        let tally = self.tally.lock().expect("no thread panicked");
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        for ((who, what), count) in &*tally {
            lines.entry(who).or_default().push_str(&format!("  {what} {count}"));
        }
        lines.iter().map(|(who, line)| format!("{who:<10}{line}\n")).collect()
    }

    /// How many attempts there were, by whether `what` begins so.
    pub fn total(&self, what: &str) -> u64 {
        let tally = self.tally.lock().expect("no thread panicked");
        tally.iter().filter(|((_, kind), _)| kind.starts_with(what)).map(|(_, count)| count).sum()
    }

    /// One attempt at one server.
    pub fn attempt(&self, server: &Server, credentials: &Credentials, question: &Question) -> Attempt {
        let address = format!("{}:{}", server.address, server.port);
        let token =
            credentials.token.iter().map(|token| format!("Authorization: Bearer {token}\r\n")).collect::<String>();
        let Question { method, path, body } = question;
        let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{token}Accept: application/json\r\n");
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut run = Run::new(&programs::system("timeout"), &self.home)
            .args(["15".into(), programs::system("openssl")])
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", server.address, "-connect", &address])
            .args([Path::new("-CAfile"), &credentials.authority]);
        if let Some(pair) = &credentials.pair {
            run = run.args(["-cert".into(), pair.with_extension("crt"), "-key".into(), pair.with_extension("key")]);
        }
        let ended = run.input(&format!("{head}{length}")).ends();
        classify(&ended.stdout(), &ended.stderr(), ended.output.status.code())
    }

    /// Asks until there is an answer, one server after the other, and counts. `None` where trust was refused, which is
    /// noted, or where nobody answered at all.
    pub fn ask(&self, who: &str, credentials: &Credentials, question: &Question, turn: u64) -> Option<(u16, String)> {
        let deadline = Instant::now() + PATIENCE;
        let mut at = usize::try_from(turn).unwrap_or_default();
        loop {
            let servers: Vec<&Server> = self.servers.iter().filter(|one| one.serving.load(Ordering::SeqCst)).collect();
            at += 1;
            if let Some(server) = servers.get(at % servers.len().max(1)) {
                match self.attempt(server, credentials, question) {
                    Attempt::Answered(status, body) => {
                        self.count(who, "answered");
                        return Some((status, body));
                    }
                    Attempt::Away(why) => self.count(who, &format!("again ({why})")),
                    Attempt::Distrusted(why) => {
                        self.count(who, "DISTRUSTED");
                        self.fails(format!(
                            "{who} at {}: {} {}: {why}",
                            server.address, question.method, question.path
                        ));
                        return None;
                    }
                }
            }
            if Instant::now() > deadline {
                self.fails(format!("{who}: {} {}: no answer from anybody", question.method, question.path));
                return None;
            }
            self.goes_on(Duration::from_millis(100));
        }
    }
}

fn classify(out: &str, said: &str, code: Option<i32>) -> Attempt {
    if let Some(line) = said.lines().find(|line| {
        line.contains("verify error") || line.contains("alert bad cert") || line.contains("alert unknown ca")
    }) {
        return Attempt::Distrusted(line.to_owned());
    }
    let status = out.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    let (Some(status), Some((head, body))) =
        (status.filter(|_| out.starts_with("HTTP/1.")), out.split_once("\r\n\r\n"))
    else {
        let why = match code {
            _ if said.contains("Connection refused") => "refused",
            _ if said.contains("reset by peer") => "reset",
            Some(124) => "no answer in time",
            _ => "cut off",
        };
        return Attempt::Away(why.to_owned());
    };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    match status {
        401 | 403 => Attempt::Distrusted(format!("{status} {body}")),
        429 | 500.. => Attempt::Away(status.to_string()),
        _ if length.is_some_and(|length: usize| body.len() < length) => Attempt::Away("cut off".to_owned()),
        _ => Attempt::Answered(status, body.to_owned()),
    }
}

/// A client's place: whoever moves it to other credentials can wait until it uses them.
pub struct Seat {
    pub name: &'static str,
    credentials: Mutex<Credentials>,
    turns: AtomicU64,
}

impl Seat {
    pub fn new(name: &'static str, credentials: Credentials) -> Seat {
        Seat { name, credentials: Mutex::new(credentials), turns: AtomicU64::new(0) }
    }

    pub fn credentials(&self) -> Credentials {
        self.credentials.lock().expect("no thread panicked").clone()
    }

    /// Changes the credentials of the next request.
    pub fn moves_to(&self, credentials: Credentials) {
        *self.credentials.lock().expect("no thread panicked") = credentials;
    }

    /// Asks at a steady rate until all clients are to end: what `turn` does with the number of the turn.
    pub fn runs(&self, load: &Load, mut turn: impl FnMut(u64)) {
        while load.goes_on(PACE) {
            turn(self.turns.load(Ordering::SeqCst));
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until `count` turns that began after this call are over.
    pub fn has_gone_on(&self, count: u64) {
        let seen = self.turns.load(Ordering::SeqCst);
        wait_until("a client that goes on", || {
            // The turn that is under way does not count.
            let now = self.turns.load(Ordering::SeqCst);
            if now > seen + count { Ok(()) } else { Err(format!("{}: turn {now} after {seen}", self.name)) }
        });
    }
}
