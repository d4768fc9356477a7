//! A repository made without kluis: text templates, stock gpg, openssl and git. What it writes is what
//! docs/FORMAT.md says, so `verify` accepting it is the proof that the page and the program agree; and it is
//! the ground on which attacks are staged.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

mod asks;
mod leaving;
mod story;
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub use {asks::*, leaving::*, story::*};

pub const REPO: &str = "3f6c000000000000000000000000000000000000000000000000000000000001";
pub const PROD: &str = "c7a10000000000000000000000000001";
pub const STAGE: &str = "57a60000000000000000000000000002";
pub const API: &str = "https://api.prod.example.org:6443";

/// Lower-case hex of the SHA-256.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time at which gpg's clock stands still, as its `--faked-system-time` wants it.
pub fn gpg_time(time: &str) -> String {
    time.replace(['-', ':'], "").replace('Z', "!")
}

/// Runs a program that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}; run tests/run once"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Ends the gpg-agent of a scratch directory, and removes it, when this process is gone.
fn sweep_afterwards(dir: &Path) {
    let script = "while kill -0 $1 2>/dev/null; do sleep 1; done; GNUPGHOME=$2/h gpgconf --kill all; rm -rf \"$2\"";
    let pid = std::process::id().to_string();
    let mut watch = Command::new("sh");
    watch.args(["-c", script, "sh", &pid]).arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[expect(clippy::zombie_processes, reason = "it outlives this process, for which it waits")]
    watch.spawn().unwrap();
}

/// A person of the story.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub primary: String,
    pub subkey: String,
    pub key_role: &'static str,
}

/// What `verify` said.
#[derive(Debug)]
pub struct Verdict {
    pub exit: i64,
    pub codes: Vec<String>,
    pub text: String,
}

impl Verdict {
    /// Asserts the exit code, and that one of the findings has this code.
    #[track_caller]
    pub fn is(&self, exit: i64, code: &str) {
        assert!(self.exit == exit && self.codes.iter().any(|c| c == code), "wanted {exit} {code}: {self:?}");
    }

    #[track_caller]
    pub fn is_fine(&self) {
        assert!(matches!(self.exit, 0), "{self:?}");
    }
}

/// The scratch directory: a gpg home, a git repository, keys of CAs.
pub struct Stock {
    pub dir: tempfile::TempDir,
    home: PathBuf,
    pub people: BTreeMap<String, Person>,
    pub pin: Option<String>,
}

/// The valid repository, made once a run; each attack works on a copy.
static VALID: OnceLock<Stock> = OnceLock::new();

impl Stock {
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A copy of the valid repository, with the same people.
    pub fn valid() -> Self {
        let original = VALID.get_or_init(story::write);
        let dir = tempfile::Builder::new().prefix("k").tempdir_in("/tmp").unwrap();
        for part in ["repo", "work"] {
            run(Command::new("cp").arg("-a").arg(original.dir.path().join(part)).arg(dir.path().join(part)));
        }
        Self { dir, home: original.home.clone(), people: original.people.clone(), pin: original.pin.clone() }
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.repo().join(path)
    }

    pub fn work(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).unwrap()
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    pub fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", self.home()).args(["--batch", "--yes", "--quiet", "--trust-model", "always"]);
        gpg
    }

    pub fn openssl(&self, args: &str) -> Output {
        run(Command::new("openssl")
            .args(args.split(' ').map(|a| a.replace('~', " ")))
            .current_dir(self.dir.path().join("work")))
    }

    pub fn person(&self, name: &str) -> &Person {
        &self.people[name]
    }

    /// A gpg home with these people, a git repository, no statement yet.
    pub fn with_people(names: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("k").tempdir_in("/tmp").unwrap();
        let home = dir.path().join("h");
        sweep_afterwards(dir.path());
        let mut stock = Self { dir, home, people: BTreeMap::new(), pin: None };
        for folder in [stock.home().to_owned(), stock.repo(), stock.work("x")] {
            fs::create_dir_all(folder).unwrap();
        }
        run(Command::new("chmod").arg("700").arg(stock.home()));
        run(Command::new("git").args(["init", "-q", "-b", "main"]).arg(stock.repo()));
        for name in names {
            stock.make_person(name);
        }
        stock
    }

    /// A key pair for signing and one for encrypting, without a passphrase.
    pub fn make_person(&mut self, name: &str) {
        self.make_person_at(name, &self.now("now"), "2y");
    }

    /// The same, made at a time; the key for encrypting lives as long as said.
    pub fn make_person_at(&mut self, name: &str, time: &str, life: &str) {
        let id = format!("{name} <{name}@example.org>");
        // gpg lets seconds pass while it makes a key, and adds none to a primary that is younger than its clock.
        let earlier = ["--faked-system-time".to_owned(), gpg_time(&self.now(&format!("{time} 2 minutes ago")))];
        let then = ["--faked-system-time".to_owned(), gpg_time(time)];
        run(self.gpg().args(&earlier).args(["--passphrase", "", "--quick-gen-key", &id, "ed25519", "sign,cert", "2y"]));
        let primary = self.fingerprints(name)[0].clone();
        run(self.gpg().args(&then).args(["--passphrase", "", "--quick-add-key", &primary, "cv25519", "encr", life]));
        let subkey = self.fingerprints(name)[1].clone();
        self.people.insert(name.to_owned(), Person { name: name.to_owned(), primary, subkey, key_role: "root" });
    }

    fn fingerprints(&self, name: &str) -> Vec<String> {
        let list = run(self.gpg().args(["--with-colons", "-k", &format!("={name} <{name}@example.org>")])).stdout;
        let list = String::from_utf8(list).unwrap();
        list.lines().filter(|l| l.starts_with("fpr:")).map(|l| l.split(':').nth(9).unwrap().to_owned()).collect()
    }

    /// The armored certificate.
    pub fn certificate(&self, name: &str) -> Vec<u8> {
        run(self.gpg().args(["--armor", "--export", &self.person(name).primary])).stdout
    }

    /// A detached signature, by stock gpg as docs/FORMAT.md says.
    pub fn sign_with(&self, key: &str, options: &[&str], file: &str, signature: &str) {
        let _ = fs::remove_file(self.path(signature));
        run(self
            .gpg()
            .args(["-u", &format!("{key}!")])
            .args(options)
            .arg("-o")
            .arg(self.path(signature))
            .arg("-b")
            .arg(self.path(file)));
    }

    pub fn sign(&self, name: &str, kind: &str, file: &str, signature: &str) {
        let notation = format!("kind@kluis={kind}");
        let options = ["--digest-algo", "SHA512", "--sig-notation", notation.as_str()];
        self.sign_with(&self.person(name).primary, &options, file, signature);
    }

    pub fn sign_epoch(&self, number: u32, names: &[&str]) {
        for name in names {
            self.sign(
                name,
                "epoch",
                &format!("trust/epoch/{number:04}.toml"),
                &format!("trust/epoch/{number:04}.{name}.sig"),
            );
        }
    }

    /// Writes a record and its signature; returns its hash.
    pub fn record(&self, actor: &str, text: &str) -> String {
        let hash = sha256(text);
        let month = text.lines().find_map(|l| l.strip_prefix("time = ")).unwrap()[..7].to_owned();
        let stem = format!("trust/log/{month}/{}", &hash[..16]);
        self.write(&format!("{stem}.toml"), text);
        self.sign(actor, "record", &format!("{stem}.toml"), &format!("{stem}.{actor}.sig"));
        hash
    }

    /// Encrypts by stock gpg to these encryption subkeys, in this order.
    pub fn encrypt(&self, plain: &str, names: &[&str], options: &[&str]) -> Vec<u8> {
        let file = self.work("plain");
        fs::write(&file, plain).unwrap();
        let mut gpg = self.gpg();
        gpg.args(["--armor", "--compress-algo", "none", "--no-emit-version"]).args(options);
        for name in names {
            gpg.args(["-r", &format!("{}!", self.person(name).subkey)]);
        }
        run(gpg.arg("-o").arg("-").arg("-e").arg(&file)).stdout
    }

    /// A CA: certificate and key under `work`. Returns the certificate in PEM.
    pub fn make_ca(&self, name: &str, cn: &str) -> Vec<u8> {
        self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"));
        let extensions = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
             -addext subjectKeyIdentifier=hash -addext authorityKeyIdentifier=keyid";
        fs::write(self.work("ca.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
        let command = format!(
            "req -x509 -new -config ca.cnf -key {name}.key -subj /CN={cn} -days 3650 {extensions} -out {name}.crt"
        );
        self.openssl(&command.split_whitespace().collect::<Vec<_>>().join(" "));
        fs::read(self.work(&format!("{name}.crt"))).unwrap()
    }

    /// A leaf of `ca`; `subject` as openssl wants it, `extensions` as its file. Returns the certificate in PEM.
    pub fn make_leaf(&self, name: &str, ca: &str, subject: &str, extensions: &str, days: u32) -> Vec<u8> {
        self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"));
        self.openssl(&format!("req -new -config ca.cnf -key {name}.key -subj {subject} -out {name}.csr"));
        fs::write(self.work("leaf.ext"), extensions).unwrap();
        let serial = format!("0x4{}", &sha256(name)[..31]);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -set_serial {serial} -days {days} -extfile leaf.ext -out {name}.crt"
        ));
        fs::read(self.work(&format!("{name}.crt"))).unwrap()
    }

    pub fn der(&self, name: &str) -> Vec<u8> {
        self.openssl(&format!("x509 -in {name}.crt -outform DER")).stdout
    }

    /// The SHA-256 of the public key of a key under `work`.
    pub fn spki(&self, key: &str) -> String {
        sha256(self.openssl(&format!("pkey -in {key}.key -pubout -outform DER")).stdout)
    }

    pub fn pem_key(&self, key: &str) -> String {
        String::from_utf8(self.openssl(&format!("pkcs8 -topk8 -nocrypt -in {key}.key")).stdout).unwrap()
    }

    /// A field of a certificate as an RFC 3339 time.
    pub fn date(&self, name: &str, which: &str) -> String {
        let text =
            String::from_utf8(self.openssl(&format!("x509 -in {name}.crt -noout -{which} -dateopt iso_8601")).stdout)
                .unwrap();
        text.trim().split_once('=').unwrap().1.replace(' ', "T")
    }

    pub fn now(&self, offset: &str) -> String {
        let date = run(Command::new("date").args(["-u", "-d", offset, "+%Y-%m-%dT%H:%M:%SZ"])).stdout;
        String::from_utf8(date).unwrap().trim().to_owned()
    }

    /// The plaintext of a sealed file with one PKCS#8 key.
    pub fn plaintext(&self, cluster: &str, name: &str, key_name: &str, key: &str) -> String {
        format!(
            "kluis-secret: 1\nrepo: {REPO}\ncluster: {cluster}\nname: {name}\ngeneration: 1\n\nkey: {key_name}\nid: {}\n{}",
            self.spki(key),
            self.pem_key(key)
        )
    }

    pub fn commit(&self) {
        run(Command::new("git").current_dir(self.repo()).args(["add", "-A"]));
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"];
        run(Command::new("git").current_dir(self.repo()).args(identity).args(["commit", "-qm", "x", "--allow-empty"]));
    }

    /// Runs the built binary on the repository, with no key, an empty environment and the pin.
    pub fn verify(&self) -> Verdict {
        self.verify_with(&[])
    }

    pub fn verify_with(&self, args: &[&str]) -> Verdict {
        self.verify_at(&self.repo(), args)
    }

    pub fn verify_at(&self, repo: &Path, args: &[&str]) -> Verdict {
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.env_clear().env("HOME", self.work("nobody")).arg("-C").arg(repo).args(["-o", "json", "verify"]);
        if let (Some(pin), false) = (&self.pin, args.contains(&"--pin")) {
            kluis.args(["--pin", pin]);
        }
        let output = kluis.args(args).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {text}"));
        let exit = i64::from(output.status.code().unwrap_or(-1));
        assert_eq!(report["exit"], exit, "{text}");
        let codes = report["findings"].as_array().unwrap().iter();
        let codes = codes.filter(|f| f["level"] != "note").map(|f| f["code"].as_str().unwrap().to_owned()).collect();
        Verdict { exit, codes, text }
    }
}
