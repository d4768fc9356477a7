//! A repository founded by hand, with people whose keys are made on the spot: the ground on which commands run in
//! process, each person with a state folder of their own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use std::path::PathBuf;

use kluis::cli::Machine;
use kluis::env::Terminal;
use kluis::model::{Digest, HexId, PersonName, Place, Span, Time};
use kluis::openpgp::{self, Certificate, Kind, SecretKeys};
use kluis::repo::{ChangeSet, Commit, WorkTree};
use kluis::secret::Secret;
use kluis::trust::{self, Closes, Epoch, Person, Policy, Thresholds, TrustRole, Verified};

pub struct Somebody {
    pub name: PersonName,
    pub certificate: Certificate,
    pub key: PathBuf,
}

pub struct Ground {
    pub dir: tempfile::TempDir,
    pub now: Time,
    pub people: Vec<Somebody>,
    pub pin: String,
}

/// What a command answered.
pub struct Answered {
    pub exit: u8,
    pub out: String,
    pub err: String,
}

impl Answered {
    #[track_caller]
    pub fn ends(self, exit: u8) -> Self {
        assert_eq!(self.exit, exit, "\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert!(all.contains(text), "no {text:?} in\n{all}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Ground {
    /// Founds a repository: `names` are its roots.
    pub fn new(names: &[&str], trust: u32, break_glass: u32) -> Self {
        Self::at(Time::parse("2026-11-24T12:00:00Z").unwrap(), names, trust, break_glass)
    }

    /// Founds a repository at this time.
    pub fn at(now: Time, names: &[&str], trust: u32, break_glass: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("repo")).unwrap();
        let people: Vec<Somebody> = names.iter().map(|name| somebody(&dir, name, now)).collect();
        let mut ground = Self { dir, now, people, pin: String::new() };
        WorkTree::create(&ground.repo(), "test", "test@example.org").unwrap();
        let persons = ground.people.iter().map(|one| (one.name.clone(), one.listed(now))).collect();
        let epoch = Epoch {
            repo: HexId([7; 32]),
            number: 1,
            previous: None,
            created: now,
            expires: now.plus(Span::days(365)),
            reason: "founded".to_owned(),
            threshold: Thresholds { trust, break_glass },
            policy: Policy::default(),
            persons,
            clusters: Default::default(),
            former: Vec::new(),
            waived: Vec::new(),
            closes: None,
        };
        ground.pin = format!("kluis-pin:{}:1:{}", epoch.repo, Digest::of(epoch.write().as_bytes()));
        ground.write_epoch(&epoch, names);
        ground
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub fn person(&self, name: &str) -> &Somebody {
        self.people.iter().find(|one| one.name.as_str() == name).unwrap()
    }

    /// Runs a command line as `person`, with `words` split at spaces and `_` for a space inside a word.
    pub fn run(&self, person: &str, words: &str) -> Answered {
        self.run_with(person, words, Terminal::nobody())
    }

    pub fn run_with(&self, person: &str, words: &str, terminal: Terminal) -> Answered {
        let one = self.person(person);
        let mut args = vec!["-C".into(), self.repo().into_os_string(), "--identity".into(), one.key.clone().into()];
        args.extend(["--pin".into(), self.pin.clone().into()]);
        args.extend(words.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('_', " ").into()));
        let machine = Machine { now: self.now, terminal, state: Some(self.state(person)) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = kluis::cli::run(args, machine, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answered { exit, out: text(out), err: text(err) }
    }

    pub fn state(&self, person: &str) -> PathBuf {
        self.dir.path().join("state").join(person)
    }

    pub fn verified(&self) -> Verified {
        let tree = kluis::repo::read_tree(&self.repo()).unwrap();
        trust::verify(tree, None, self.now, false)
    }

    /// Every file of the managed trees, to see that nothing changed.
    pub fn tree(&self) -> kluis::trust::Tree {
        kluis::repo::read_tree(&self.repo()).unwrap()
    }

    /// The codes of errors, the missing pin left aside.
    pub fn errors(&self) -> Vec<String> {
        let found = self.verified().findings.into_iter();
        let errors = found.filter(|f| f.level == kluis::model::Level::Error && !f.code.is_anchor());
        errors.map(|f| format!("{} {:?} {}", f.code, f.path, f.why)).collect()
    }

    /// Codes of attention.
    pub fn owed(&self) -> Vec<String> {
        let found = self.verified().findings.into_iter();
        found.filter(|f| f.level == kluis::model::Level::Attention).map(|f| f.code.to_string()).collect()
    }

    /// Writes the next epoch, changed by `change`, signed by `signers`.
    pub fn epoch(&self, signers: &[&str], change: impl FnOnce(&mut Epoch)) {
        let verified = self.verified();
        let latest = verified.chain.latest().unwrap();
        let mut epoch = latest.epoch.clone();
        epoch.number += 1;
        epoch.previous = Some(latest.sha256);
        let heads = verified.log.dag.heads();
        let count = u32::try_from(verified.log.dag.reach(heads.iter().copied()).count()).unwrap();
        epoch.closes = Some(Closes { heads: verified.log.heads(), count });
        change(&mut epoch);
        self.write_epoch(&epoch, signers);
    }

    /// Signs the draft of the tree.
    pub fn sign_draft(&self, signer: &str) {
        let verified = self.verified();
        let draft = &verified.chain.draft().unwrap().epoch;
        let mut changes = ChangeSet::default();
        self.sign(&mut changes, draft.number, draft.write().as_bytes(), signer);
        self.commit(&changes);
    }

    fn sign(&self, changes: &mut ChangeSet, number: u32, bytes: &[u8], signer: &str) {
        let one = self.person(signer);
        let key = &one.certificate.usable(self.now).unwrap().sign[0];
        let signature = one.keys().sign(bytes, Kind::Epoch, &one.certificate, key, self.now).unwrap();
        let place = Place::EpochSignature { number, person: one.name.clone(), old: false };
        changes.writes.insert(place.to_string(), signature);
    }

    fn write_epoch(&self, epoch: &Epoch, signers: &[&str]) {
        let mut changes = ChangeSet::default();
        let bytes = epoch.write().into_bytes();
        for name in signers {
            self.sign(&mut changes, epoch.number, &bytes, name);
        }
        for one in self.people.iter().filter(|one| epoch.persons.contains_key(&one.name)) {
            changes.writes.insert(Place::PublicKey(one.name.clone()).to_string(), one.certificate.to_stored());
        }
        changes.writes.insert(Place::Epoch(epoch.number).to_string(), bytes);
        self.commit(&changes);
    }

    pub fn commit(&self, changes: &ChangeSet) {
        let work = WorkTree::open(&self.repo()).unwrap();
        work.apply(changes, &Commit::Message("by hand".to_owned()), self.now).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.repo().join(path)).unwrap()
    }

    /// Edits a file of the work tree by hand.
    pub fn edit(&self, path: &str, change: impl FnOnce(String) -> String) {
        std::fs::write(self.repo().join(path), change(self.read(path))).unwrap();
    }

    pub fn git(&self, words: &str) -> String {
        let mut git = std::process::Command::new("git");
        let output = git.arg("-C").arg(self.repo()).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "git {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn somebody(dir: &tempfile::TempDir, name: &str, now: Time) -> Somebody {
    let (certificate, secret) = openpgp::generate(name, now.minus(Span::hours(1)), Some(Span::days(730))).unwrap();
    let key = dir.path().join(format!("{name}.key"));
    std::fs::write(&key, secret.expose()).unwrap();
    Somebody { name: PersonName::parse(name).unwrap(), certificate, key }
}

impl Somebody {
    pub fn listed(&self, now: Time) -> Person {
        let usable = self.certificate.usable(now).unwrap();
        Person {
            role: TrustRole::Root,
            cert: self.certificate.fingerprint(),
            cert_sha256: Digest::of(&self.certificate.to_stored()),
            sign: usable.sign,
            encrypt: usable.encrypt,
        }
    }

    pub fn keys(&self) -> SecretKeys {
        let bytes = Secret::new(std::fs::read(&self.key).unwrap());
        SecretKeys::file(bytes, &mut |_| None).unwrap()
    }
}
