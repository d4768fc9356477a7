//! Programs under test: runs one to its end, or in the background under a guard.
//! Owns that nothing outlives its test, that logs survive a failure, and that waiting has a deadline and no fixed sleep.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::programs;

/// How long a program may take to do what a test waits for; generous, as two tests share two cores with a cold start.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A scratch directory outside the checkout (kluis refuses to export into a work tree); stays when the test fails.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::Builder::new().prefix("kluis-kube-").tempdir().expect("a scratch directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of the test's own and returns its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("a writable scratch directory");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("logs and files of the failed test are kept in {}", self.path().display());
        }
    }
}

/// One run of a program, described before it starts. It sees no environment but PATH and a HOME of its own.
pub struct Run {
    command: Command,
    name: String,
    input: Option<String>,
}

impl Run {
    pub fn new(program: &Path, home: &Path) -> Run {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").expect("PATH is set");
        command.env_clear().env("PATH", path).env("HOME", home).stdin(Stdio::null());
        let name = program.file_name().expect("a program has a name").to_string_lossy().into_owned();
        Run { command, name, input: None }
    }

    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Run {
        self.command.args(args);
        self
    }

    /// Appends `--name=value` with a path or a number as the value.
    pub fn flag(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Run {
        let mut flag = std::ffi::OsString::from(format!("--{name}="));
        flag.push(value);
        self.command.arg(flag);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, directory: &Path) -> Run {
        self.command.current_dir(directory);
        self
    }

    pub fn input(mut self, text: &str) -> Run {
        self.input = Some(text.to_owned());
        self
    }

    /// Runs to the end and returns the exit code's success, stdout and stderr.
    pub fn ends(mut self) -> Ended {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let described = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        if let Some(input) = self.input {
            let mut stdin = child.stdin.take().expect("stdin is piped");
            // A program that refuses early closes its stdin; what it then says is what the test reads.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().expect("a child can be waited for");
        Ended { described, output }
    }

    /// Runs to the end, which must be exit 0; returns stdout.
    pub fn succeeds(self) -> String {
        let ended = self.ends();
        assert!(ended.output.status.success(), "{ended}");
        ended.stdout()
    }

    /// Runs to the end, which must not be exit 0; returns stderr.
    pub fn refused(self) -> String {
        let ended = self.ends();
        assert!(!ended.output.status.success(), "this should have been refused: {ended}");
        ended.stderr()
    }

    /// Starts in the background; stdout and stderr go to `LOGS/NAME.log`.
    pub fn starts(self, name: &str, logs: &Path) -> Running {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).expect("a writable scratch directory");
        // The kernel ends the program with the thread that began it, so that not even a killed test run leaves one behind.
        let mut command = Command::new(programs::system("setpriv"));
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().envs(self.command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stderr(file.try_clone().expect("a file can be shared")).stdout(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Running { name: name.to_owned(), child, log }
    }
}

/// What a program said that ran to its end.
pub struct Ended {
    described: String,
    pub output: Output,
}

impl Ended {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}\n{}\n{}{}", self.described, self.output.status, self.stdout(), self.stderr())
    }
}

/// A program in the background; ends with this value.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Fails the test when the program ended by itself.
    pub fn must_be_alive(&mut self) {
        let status = self.child.try_wait().expect("a child can be asked");
        assert!(status.is_none(), "{} ended by itself ({status:?}):\n{}", self.name, self.log_end());
    }

    /// Asks the program to end, as a service manager does, and ends it when it takes long: an API server waits up to a
    /// minute for those who watch.
    pub fn stop(&mut self) {
        // One that has ended by itself is what is wanted as well.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut left = || self.child.try_wait().expect("a child can be asked").is_none();
        wait_until("the end of a program", || {
            if left() && Instant::now() < deadline { Err(String::new()) } else { Ok(()) }
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<String> = log.lines().map(|line| line.chars().take(240).collect()).collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- last lines of {}:\n{}", self.name, self.log_end());
        }
    }
}

/// Asks again until the answer is `Ok`; fails the test with the last refusal when the deadline is over.
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(refusal) if Instant::now() > deadline => panic!("waited in vain: {what}: {refusal}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A TCP port that is free on every address of the loopback network that the tests use. It lies below the range from which
/// the kernel serves outgoing connections (32768 and up), so none of these takes it before the server does; and no two tests
/// of this run are given the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 20_000;
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + (start + step) % 20_000).expect("below 30000");
        let free = |address: &str| TcpListener::bind((address, port)).is_ok();
        if ["127.0.0.1", "127.0.0.2", "127.0.0.3"].into_iter().all(free) {
            return port;
        }
    }
}
