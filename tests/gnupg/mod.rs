//! A GnuPG home of its own, with stock gpg and a real agent that ends with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The folder has a short path: that of a socket has at most 108 octets.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(dir.path().join("gpg-agent.conf"), "allow-loopback-pinentry\npinentry-program /bin/false\n")
            .unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.path()).args(["--yes", "--quiet", "--no-tty", "--trust-model", "always"]);
        gpg.args(["--pinentry-mode", "loopback", "--passphrase", ""]).args(args).env("LC_ALL", "C");
        gpg
    }

    /// Runs gpg; `args` may have `--passphrase` again, and the last one is taken.
    #[track_caller]
    pub fn gpg(&self, args: &[&str]) -> Vec<u8> {
        fine(self.command(&["--batch"]).args(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Edits a key with these answers.
    #[track_caller]
    pub fn edit(&self, args: &[&str], answers: &str) {
        let mut gpg = self.command(args);
        gpg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = gpg.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        fine(child.wait_with_output().unwrap());
    }

    /// A key for `name`: a signing primary, and an encryption subkey with these options.
    pub fn person(&self, name: &str, options: &[&str]) {
        self.gpg(&[options, &["--quick-gen-key", name, "ed25519", "sign,cert", "never"]].concat());
        let print = self.listed(name, "fpr", 9)[0].clone();
        self.gpg(&[options, &["--quick-add-key", &print, "cv25519", "encr", "never"]].concat());
    }

    /// A field of all lines of a kind in gpg's listing of `name`.
    pub fn listed(&self, name: &str, kind: &str, field: usize) -> Vec<String> {
        let text = String::from_utf8(self.gpg(&["--with-colons", "--with-keygrip", "-k", name])).unwrap();
        let lines = text.lines().filter(|line| line.split(':').next() == Some(kind));
        lines.map(|line| line.split(':').nth(field).unwrap().to_owned()).collect()
    }

    /// Writes what gpg exports of these names to a file, and returns its path.
    pub fn export(&self, how: &str, names: &[&str]) -> String {
        self.file(&format!("{}{how}", names.join("-and-")), &self.gpg(&[&["--armor", how], names].concat()))
    }

    /// Writes a file, and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        let _ = kill.arg("--homedir").arg(self.path()).args(["--kill", "all"]).status();
    }
}

#[track_caller]
fn fine(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
