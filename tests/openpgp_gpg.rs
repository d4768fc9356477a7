//! Our OpenPGP against stock gpg and a real gpg-agent, in homes of their own: what gpg makes we read, what we
//! make gpg reads, and what gpg would let pass but FORMAT 3 and 9 forbid is refused with its code.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use kluis::model::{Code, Fingerprint, Time};
use kluis::openpgp::{AgentKeys, Certificate, KeyError, Kind, Purpose, SecretKeys, Signature, encrypt, read_envelope};
use kluis::secret::Secret;

/// A GnuPG home with a short path (a socket's path has at most 108 octets), whose agent ends with it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(
            dir.path().join("gpg-agent.conf"),
            "allow-loopback-pinentry\nallow-preset-passphrase\npinentry-program /bin/false\n",
        )
        .unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.path()).args(["--batch", "--yes", "--quiet", "--trust-model", "always"]);
        command.args(["--pinentry-mode", "loopback"]).args(args).stdin(Stdio::null()).env("LC_ALL", "C");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args);
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A key for `name` with a signing primary and one encryption subkey.
    fn person(&self, name: &str, primary: &str, subkey: &str, passphrase: &str) -> Certificate {
        self.gpg(&["--passphrase", passphrase, "--quick-gen-key", name, primary, "sign,cert", "never"]);
        let print = self.fingerprint(name);
        if !subkey.is_empty() {
            self.gpg(&["--passphrase", passphrase, "--quick-add-key", &print, subkey, "encr", "never"]);
        }
        self.certificate(name)
    }

    fn fingerprint(&self, name: &str) -> String {
        let listed = String::from_utf8(self.gpg(&["--with-colons", "--list-keys", name])).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn certificate(&self, name: &str) -> Certificate {
        let cert = Certificate::parse_given(&self.gpg(&["--export", name])).unwrap();
        let stored = cert.to_stored();
        assert_eq!(Certificate::parse_stored(&stored).unwrap().to_stored(), stored);
        cert
    }

    fn agent(&self) -> SecretKeys {
        SecretKeys::Agent(AgentKeys::connect(Some(self.path())).unwrap())
    }

    fn agent_with(&self, passphrase: &str) -> SecretKeys {
        let agent = AgentKeys::connect(Some(self.path())).unwrap();
        SecretKeys::Agent(agent.with_passphrase(Secret::new(passphrase.as_bytes().to_vec())).unwrap())
    }

    /// Makes the agent forget passphrases.
    fn forget(&self) {
        gpgconf(self.path(), &["--reload", "gpg-agent"]);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        gpgconf(self.path(), &["--kill", "all"]);
    }
}

fn gpgconf(home: &Path, args: &[&str]) {
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(home)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Now, as gpg sees it.
fn now() -> Time {
    Time::from_system(std::time::SystemTime::now())
}

fn listed(cert: &Certificate) -> (Fingerprint, Vec<Fingerprint>) {
    let usable = cert.usable(now()).unwrap();
    for key in &usable.sign {
        cert.check_listed(key, Purpose::Sign).unwrap();
    }
    for key in &usable.encrypt {
        cert.check_listed(key, Purpose::Encrypt).unwrap();
    }
    (usable.sign[0].clone(), usable.encrypt)
}

/// Every algorithm that gpg 2.2 makes and kluis takes.
const ALGORITHMS: [(&str, &str, &str); 5] = [
    ("curve", "ed25519", "cv25519"),
    ("modulus", "rsa3072", "rsa3072"),
    ("small", "nistp256", "nistp256"),
    ("middle", "nistp384", "nistp384"),
    ("large", "nistp521", "nistp521"),
];

fn sealed_and_signed(home: &Home, secret: &mut SecretKeys, cert: &Certificate) {
    let (sign, encryption) = listed(cert);
    secret.explain("test what it can do");
    let bytes = secret.sign(b"statement\n", Kind::Record, cert, &sign, now()).unwrap();
    let (file, sig) = (home.file("statement", b"statement\n"), home.file("statement.sig", &bytes));
    home.gpg(&["--verify", &sig, &file]);
    for key in &encryption {
        let sealed = encrypt(&Secret::new(b"secret\n".to_vec()), &[(cert, key)]).unwrap();
        let opened = secret.decrypt(&sealed, &[(cert, key)]).unwrap_or_else(|error| panic!("{cert:?}: {error}"));
        assert_eq!(opened.expose(), b"secret\n");
    }
}

#[test]
fn the_agent_signs_and_opens_with_every_algorithm_and_gpg_agrees() {
    let home = Home::new();
    for (name, primary, subkey) in ALGORITHMS {
        let cert = home.person(name, primary, subkey, "");
        let mut secret = home.agent();
        let (sign, encryption) = listed(&cert);
        assert!(secret.holds(&cert, &sign) && secret.holds(&cert, &encryption[0]), "{name}");
        sealed_and_signed(&home, &mut secret, &cert);
        let sealed = encrypt(&Secret::new(vec![b'k'; 20_000]), &[(&cert, &encryption[0])]).unwrap();
        assert_eq!(home.gpg(&["--decrypt", &home.file("sealed", &sealed)]), [b'k'; 20_000], "{name}");
    }
}

#[test]
fn the_agent_asks_for_the_passphrase_and_says_when_it_is_wrong() {
    let home = Home::new();
    for (name, primary, subkey) in &ALGORITHMS[..2] {
        let cert = home.person(name, primary, subkey, "right one");
        home.forget();
        let (sign, encryption) = listed(&cert);
        let sealed = encrypt(&Secret::new(b"s".to_vec()), &[(&cert, &encryption[0])]).unwrap();
        let candidates = [(&cert, &encryption[0])];
        let mut wrong = home.agent_with("wrong one");
        assert_eq!(wrong.decrypt(&sealed, &candidates).err(), Some(KeyError::BadPassphrase), "{name}");
        assert_eq!(wrong.sign(b"s", Kind::Epoch, &cert, &sign, now()), Err(KeyError::BadPassphrase), "{name}");
        let mut silent = home.agent();
        assert_eq!(silent.decrypt(&sealed, &candidates).err(), Some(KeyError::NoPinentry), "{name}");
        sealed_and_signed(&home, &mut home.agent_with("right one"), &cert);
    }
}

#[test]
fn a_key_that_the_agent_lacks_is_not_held() {
    let (home, other) = (Home::new(), Home::new());
    let cert = other.person("bob", "ed25519", "cv25519", "");
    let (sign, encryption) = listed(&cert);
    let mut secret = home.agent();
    assert!(!secret.holds(&cert, &sign));
    assert_eq!(secret.sign(b"s", Kind::Epoch, &cert, &sign, now()), Err(KeyError::NoKey));
    let sealed = encrypt(&Secret::new(b"s".to_vec()), &[(&cert, &encryption[0])]).unwrap();
    assert_eq!(secret.decrypt(&sealed, &[(&cert, &encryption[0])]).err(), Some(KeyError::NoKey));
}

#[test]
fn an_agent_that_does_not_run_is_started() {
    let home = Home::new();
    let cert = home.person("alice", "ed25519", "cv25519", "");
    gpgconf(home.path(), &["--kill", "gpg-agent"]);
    sealed_and_signed(&home, &mut home.agent(), &cert);
}

#[test]
fn every_encryption_subkey_is_sealed_to() {
    let home = Home::new();
    home.person("alice", "ed25519", "cv25519", "");
    let print = home.fingerprint("alice");
    home.gpg(&["--passphrase", "", "--quick-add-key", &print, "cv25519", "encr", "never"]);
    let cert = home.certificate("alice");
    let (_, encryption) = listed(&cert);
    assert_eq!(encryption.len(), 2);
    let recipients: Vec<_> = encryption.iter().map(|key| (&cert, key)).collect();
    let sealed = encrypt(&Secret::new(b"s".to_vec()), &recipients).unwrap();
    let listed = home.gpg(&["--list-packets", "--list-only", &home.file("sealed", &sealed)]);
    let listed = String::from_utf8(listed).unwrap();
    for key in &encryption {
        assert!(listed.contains(&key.key_id().to_string()), "{listed}");
    }
    sealed_and_signed(&home, &mut home.agent(), &cert);
}

#[test]
fn a_key_file_of_gpg_is_opened_with_its_passphrase() {
    let home = Home::new();
    for (name, passphrase) in [("open", ""), ("locked", "right one")] {
        let cert = home.person(name, "ed25519", "cv25519", passphrase);
        let bytes = || Secret::new(home.gpg(&["--passphrase", passphrase, "--armor", "--export-secret-keys", name]));
        let mut asked = 0;
        let mut answer = |prompt: &str| {
            asked += 1;
            assert!(prompt.contains(cert.fingerprint().as_str()));
            Some(Secret::new(b"right one".to_vec()))
        };
        let mut secret = SecretKeys::file(bytes(), &mut answer).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(asked, usize::from(name == "locked"));
        sealed_and_signed(&home, &mut secret, &cert);
        if name == "locked" {
            let wrong = SecretKeys::file(bytes(), &mut |_| Some(Secret::new(b"wrong".to_vec())));
            assert_eq!(wrong.err(), Some(KeyError::BadPassphrase));
            assert_eq!(SecretKeys::file(bytes(), &mut |_| None).err(), Some(KeyError::Cancelled));
        }
    }
}

#[test]
fn signatures_of_gpg_are_accepted_or_refused_with_their_code() {
    let home = Home::new();
    let alice = home.person("alice", "ed25519", "cv25519", "");
    home.person("bob", "ed25519", "", "");
    let file = home.file("0004.toml", b"statement\n");
    let sig = home.file("0004.sig", b"");
    let notation = "kind@kluis=epoch";
    let sign = |args: &[&str]| {
        home.gpg(&[args, &["-o", &sig, "-b", &file]].concat());
        std::fs::read(&sig).unwrap()
    };
    let good = ["-u", "alice", "--digest-algo", "SHA512", "--sig-notation", notation];
    for args in [&good[..], &[&good[..], &["--armor"]].concat()] {
        let signature = Signature::parse(&sign(args), Kind::Epoch).unwrap();
        assert_eq!(signature.issuer(), &alice.fingerprint());
        signature.verify(b"statement\n", &alice).unwrap();
        assert_eq!(signature.verify(b"other", &alice).unwrap_err().code(), Code::BadSignature);
    }
    for (args, code) in [
        (vec!["-u", "alice", "--digest-algo", "SHA1", "--sig-notation", notation], Code::WeakHash),
        (vec!["-u", "alice", "--digest-algo", "SHA512", "--textmode", "--sig-notation", notation], Code::SignatureType),
        (vec!["-u", "alice", "--digest-algo", "SHA512"], Code::Notation),
        (vec!["-u", "alice", "--digest-algo", "SHA512", "--sig-notation", "kind@kluis=record"], Code::Notation),
        (vec!["-u", "alice", "--digest-algo", "SHA512", "--sig-notation", "!kind@kluis=epoch"], Code::Notation),
        (
            vec!["-u", "alice", "--digest-algo", "SHA512", "--sig-notation", notation, "--sig-notation", "!x@y=z"],
            Code::Notation,
        ),
        (
            vec!["-u", "alice", "--digest-algo", "SHA512", "--sig-notation", notation, "--sig-notation", notation],
            Code::Notation,
        ),
        (vec!["-u", "alice", "-u", "bob", "--digest-algo", "SHA512", "--sig-notation", notation], Code::TrailingData),
        (
            vec!["-u", "alice", "--digest-algo", "SHA512", "--sig-notation", notation, "--default-sig-expire", "5d"],
            Code::SignatureTime,
        ),
    ] {
        let bytes = sign(&args);
        let result = Signature::parse(&bytes, Kind::Epoch).and_then(|one| one.verify(b"statement\n", &alice));
        assert_eq!(result.err().map(|fault| fault.code()), Some(code), "{args:?}");
    }
    let other = sign(&[&good[..], &["--sig-notation", "remark@example.org=hello"]].concat());
    Signature::parse(&other, Kind::Epoch).unwrap().verify(b"statement\n", &alice).unwrap();
    let (binary, armored) = (sign(&good), sign(&[&good[..], &["--armor"]].concat()));
    for (bytes, code) in [
        ([&binary[..], b"\n"].concat(), Code::TrailingData),
        ([&binary[..], &binary[..]].concat(), Code::TrailingData),
        ([&armored[..], b"\n"].concat(), Code::TrailingData),
        ([&armored[..], &armored[..]].concat(), Code::TrailingData),
        ([b"\n", &armored[..]].concat(), Code::BadArmor),
        (String::from_utf8(armored.clone()).unwrap().replace('\n', "\r\n").into_bytes(), Code::BadArmor),
        (Vec::new(), Code::BadArmor),
        (binary[..binary.len() - 1].to_vec(), Code::BadSignature),
    ] {
        assert_eq!(Signature::parse(&bytes, Kind::Epoch).unwrap_err().code(), code);
    }
}

#[test]
fn a_signature_dated_outside_the_life_of_its_key_is_refused() {
    let home = Home::new();
    let time = ["--faked-system-time", "20240101T000000!"];
    home.gpg(&[&time[..], &["--passphrase", "", "--quick-gen-key", "alice", "ed25519", "sign,cert", "30d"]].concat());
    let alice = home.certificate("alice");
    let file = home.file("f", b"statement\n");
    let sig = home.file("f.sig", b"");
    for (day, code) in [
        ("20240115T000000!", None),
        ("20240201T000000!", Some(Code::KeyExpired)),
        ("20231230T000000!", Some(Code::SignatureTime)),
    ] {
        let args = [
            "--faked-system-time",
            day,
            "--ignore-time-conflict",
            "--digest-algo",
            "SHA512",
            "--sig-notation",
            "kind@kluis=epoch",
            "-o",
            &sig,
            "-b",
            &file,
        ];
        if !home.run(&args).status.success() {
            // gpg itself refuses to sign with an expired key; then there is nothing to accept.
            continue;
        }
        let bytes = std::fs::read(&sig).unwrap();
        let result = Signature::parse(&bytes, Kind::Epoch).unwrap().verify(b"statement\n", &alice);
        assert_eq!(result.err().map(|fault| fault.code()), code, "{day}");
    }
    let fault = alice.usable(now()).unwrap_err().to_string();
    assert!(fault.contains("expired on 2024-01-31"), "{fault}");
}

#[test]
fn messages_of_gpg_are_read_or_refused_with_their_code() {
    let home = Home::new();
    let alice = home.person("alice", "ed25519", "cv25519", "");
    home.person("bob", "ed25519", "cv25519", "");
    let (_, keys) = listed(&alice);
    let candidates = [(&alice, &keys[0])];
    let file = home.file("plain", &vec![b'a'; 50_000]);
    let seal = |args: &[&str]| home.gpg(&[&["--armor", "--passphrase", "x", "-o", "-"], args, &[&file]].concat());
    let plain = ["-e", "-r", "alice", "-z", "0"];
    let good = seal(&plain);
    assert_eq!(read_envelope(&good).unwrap().recipients, [keys[0].key_id()]);
    assert_eq!(home.agent().decrypt(&good, &candidates).ok().unwrap().expose(), vec![b'a'; 50_000]);
    for (args, code) in [
        (vec!["-e", "-R", "alice"], Code::HiddenRecipient),
        (vec!["-e", "-r", "bob", "-R", "alice"], Code::HiddenRecipient),
        (vec!["-e", "-r", "alice", "--throw-keyids"], Code::HiddenRecipient),
        (vec!["-c"], Code::SymmetricRecipient),
        (vec!["-c", "-e", "-r", "alice"], Code::SymmetricRecipient),
        (vec!["--store"], Code::BadContainer),
        (vec!["-s", "-u", "alice"], Code::BadContainer),
        (vec!["-e", "-r", "alice", "--rfc2440", "--disable-mdc", "--cipher-algo", "3DES"], Code::BadContainer),
    ] {
        let output = home.run(&[&["--armor", "--passphrase", "x", "-o", "-"], &args[..], &[&file]].concat());
        if args.contains(&"--rfc2440") && read_envelope(&output.stdout).is_ok() {
            continue; // gpg from 2.2.8 on always adds an MDC
        }
        let fault = read_envelope(&output.stdout).unwrap_err();
        assert_eq!(fault.code(), code, "{args:?}: {fault}");
    }
    for (args, what) in [
        (vec!["-e", "-r", "alice", "-z", "6"], "compressed data"),
        (vec!["-e", "-s", "-u", "alice", "-r", "alice", "-z", "0"], "a signed message"),
    ] {
        assert_eq!(home.agent().decrypt(&seal(&args), &candidates).err(), Some(KeyError::Content(what)));
    }
    let zeros = home.file("zeros", &vec![0; 1024 * 1024 + 1]);
    let bomb = home.gpg(&["--armor", "-o", "-", "-e", "-r", "alice", "-z", "9", &zeros]);
    assert!(bomb.len() < 10_000);
    assert_eq!(home.agent().decrypt(&bomb, &candidates).err(), Some(KeyError::Content("compressed data")));
    // The recipient's packet renamed to bob, as an attacker would: the listing shows him, and he learns that it is
    // not for him.
    let bob = home.certificate("bob");
    let (_, bobs) = listed(&bob);
    let mut packets = home.gpg(&["--dearmor", "-o", "-", &home.file("good", &good)]);
    let at = packets.windows(8).position(|eight| eight == keys[0].key_id().0.to_be_bytes()).unwrap();
    packets[at..at + 8].copy_from_slice(&bobs[0].key_id().0.to_be_bytes());
    let renamed = home.gpg(&["--enarmor", "-o", "-", &home.file("renamed", &packets)]);
    let renamed = String::from_utf8(renamed).unwrap().replace("PGP ARMORED FILE", "PGP MESSAGE");
    assert_eq!(read_envelope(renamed.as_bytes()).unwrap().recipients, [bobs[0].key_id()]);
    let fault = home.agent().decrypt(renamed.as_bytes(), &[(&bob, &bobs[0])]).err().unwrap();
    assert!(fault.to_string().contains("is not really encrypted to"), "{fault}");
}

#[test]
fn certificates_that_cannot_be_used_say_why() {
    let home = Home::new();
    let refused = |name: &str, words: &str| {
        let fault = home.certificate(name).usable(now()).unwrap_err().to_string();
        assert!(fault.contains(words), "{fault}");
    };
    home.person("signer", "ed25519", "", "");
    refused("signer", "it has no encryption key");

    let then = ["--faked-system-time", "20240101T000000!", "--passphrase", ""];
    home.gpg(&[&then[..], &["--quick-gen-key", "subkey", "ed25519", "sign,cert", "never"]].concat());
    let print = home.fingerprint("subkey");
    home.gpg(&[&then[..], &["--quick-add-key", &print, "cv25519", "encr", "2024-02-01"]].concat());
    refused("subkey", "its only encryption key");
    refused("subkey", "expired on 2024-02-01");

    home.gpg(&[
        "--passphrase",
        "",
        "--digest-algo",
        "SHA1",
        "--cert-digest-algo",
        "SHA1",
        "--quick-gen-key",
        "old",
        "ed25519",
        "sign,cert",
        "never",
    ]);
    let print = home.fingerprint("old");
    home.gpg(&[
        "--passphrase",
        "",
        "--cert-digest-algo",
        "SHA1",
        "--quick-add-key",
        &print,
        "cv25519",
        "encr",
        "never",
    ]);
    refused("old", "SHA-1");
    let old = home.certificate("old");
    assert_eq!(old.check_listed(&old.fingerprint(), Purpose::Sign).unwrap_err().code(), Code::BadKey);

    home.person("mixed", "ed25519", "", "");
    let print = home.fingerprint("mixed");
    home.gpg(&[
        "--passphrase",
        "",
        "--cert-digest-algo",
        "SHA1",
        "--quick-add-key",
        &print,
        "cv25519",
        "encr",
        "never",
    ]);
    refused("mixed", "is bound by SHA-1 or weaker only");

    home.person("weak", "rsa1024", "rsa1024", "");
    refused("weak", "RSA with 1024 bits");
    let weak = home.certificate("weak");
    assert_eq!(weak.check_listed(&weak.fingerprint(), Purpose::Sign).unwrap_err().code(), Code::WeakKey);

    home.person("gone", "ed25519", "cv25519", "");
    let print = home.fingerprint("gone");
    let revocation = std::fs::read_to_string(home.path().join(format!("openpgp-revocs.d/{print}.rev"))).unwrap();
    let revocation = home.file("gone.rev", revocation.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    home.gpg(&["--import", &revocation]);
    refused("gone", "was revoked on");
    let gone = home.certificate("gone");
    assert_eq!(gone.check_listed(&gone.fingerprint(), Purpose::Sign).unwrap_err().code(), Code::BadKey);
}

#[test]
fn hostile_user_ids_and_third_party_signatures_are_left_out_or_harmless() {
    let home = Home::new();
    home.person("alice", "ed25519", "cv25519", "");
    home.person("bob", "ed25519", "cv25519", "");
    home.gpg(&["--passphrase", "", "-u", "bob", "--quick-sign-key", &home.fingerprint("alice")]);
    let given = home.gpg(&["--export", "alice"]);
    let cert = Certificate::parse_given(&given).unwrap();
    let stored = cert.to_stored();
    let packets = home.gpg(&["--list-packets", &home.file("stored", &stored)]);
    let packets = String::from_utf8(packets).unwrap();
    let bob = home.certificate("bob").fingerprint().key_id().to_string();
    assert!(!packets.contains(&bob), "{packets}");
    assert!(String::from_utf8_lossy(&home.gpg(&["--list-packets", &home.file("given", &given)])).contains(&bob));
    let both = home.gpg(&["--export", "alice", "bob"]);
    assert_eq!(Certificate::parse_given(&both).unwrap_err().code(), Code::TrailingData);
    let secret = home.gpg(&["--passphrase", "", "--export-secret-keys", "alice"]);
    assert_eq!(Certificate::parse_given(&secret).unwrap_err().code(), Code::SecretMaterial);
    assert!(kluis::openpgp::holds_secret_key(&secret));
}
