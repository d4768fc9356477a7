//! A repository whose log has everything in it, events as an API server writes them, and `kluis audit` on both.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::fmt::Write as _;

use kluis::cli::Machine;
use kluis::env::Terminal;
use kluis::model::{Digest, Place, Profile, Span};
use kluis::trust::record::{Confirm, Deny};
use kluis::trust::{Entry, FormerReason, Thresholds};
use serde_json::{Value, json};

use crate::repository::{Repository, cluster, place};

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
        assert!(self.out.contains(text) || self.err.contains(text), "no {text:?} in\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    pub fn codes(&self) -> Vec<String> {
        let findings = self.json()["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    }
}

/// Runs `kluis audit` on a folder that is in no git repository, with no key.
pub fn audit_in(made: &Repository, dir: &std::path::Path, words: &[&str]) -> Answered {
    for (path, entry) in &made.tree.entries {
        let Entry::File { bytes, .. } = entry else { continue };
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let pin = format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1);
    let mut args: Vec<std::ffi::OsString> = vec!["-C".into(), dir.into(), "--pin".into(), pin.into(), "audit".into()];
    args.extend(words.iter().map(Into::into));
    let machine = Machine { now: made.now(), terminal: Terminal::nobody(), state: Some(dir.join("state")) };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = kluis::cli::run(args, machine, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answered { exit, out: text(out), err: text(err) }
}

pub fn audit(made: &Repository, words: &[&str]) -> Answered {
    audit_in(made, tempfile::tempdir().unwrap().path(), words)
}

/// Joins a log of these lines.
pub fn join(made: &Repository, log: &str, words: &[&str]) -> Answered {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    std::fs::write(&file, log).unwrap();
    let mut all = vec!["--k8s-audit", file.to_str().unwrap()];
    all.extend(words);
    audit_in(made, &dir.path().join("repo"), &all)
}

/// The ids of certificates by what was done with them.
pub struct Ids {
    pub node: String,
    pub erin: String,
    pub glass: String,
    /// In a record that is void.
    pub void: String,
    /// In no record, made with the key of the CA.
    pub stolen: String,
}

pub fn id(sha256: &Digest) -> String {
    format!("X509SHA256={sha256}")
}

pub fn last_issued(made: &Repository, record: &Digest) -> String {
    id(&made.records[record].issued.last().unwrap().sha256)
}

/// A repository whose log has every kind of entry but adopted and void records.
pub fn story() -> (Repository, Ids) {
    let mut made = Repository::demo();
    let first = *made.records.keys().next().unwrap();
    let node = last_issued(&made, &first);
    let (request, key) = made.request("erin", Profile::Client, &["dev"]);
    let hash = made.file_request(&request, "erin");
    let granted = made.grant("alice", &request, hash, &key);
    let (mut request, key) = made.request("alice", Profile::BreakGlass, &["system:masters"]);
    request.reason = "API down, INC-4711".to_owned();
    let hash = made.file_request(&request, "alice");
    made.commit("bob", |record| record.approve.push(hash));
    let glass = made.grant("alice", &request, hash, &key);
    let (request, _) = made.request("erin", Profile::Client, &["ops"]);
    let hash = made.file_request(&request, "erin");
    made.commit("bob", |record| record.deny.push(Deny { request: hash, reason: "not this week".to_owned() }));
    let sealed = "clusters/prod/sealed/ca.kubernetes.g1.asc";
    let sha256 = Digest::of(&made.bytes(sealed));
    let Place::Sealed(_, name) = place(sealed) else { unreachable!("it is a sealed file's") };
    made.commit("bob", |record| record.confirm.push(Confirm { cluster: cluster("prod"), name, sha256 }));
    let erin = last_issued(&made, &granted);
    let glass = last_issued(&made, &glass);
    let stolen = {
        let spki = made.key().spki();
        let at = place("clusters/prod/certs/person/alice/break-glass.crt");
        id(&made.issue(&at, &spki, &["system:masters"], 1, Span::days(300)).0.sha256)
    };
    (made, Ids { node, erin, glass, void: String::new(), stolen })
}

/// The story, and a record of bob's that no epoch closed before he left.
pub fn with_void() -> (Repository, Ids) {
    let (mut made, mut ids) = story();
    let mut epoch = made.draft();
    epoch.threshold = Thresholds { trust: 1, break_glass: 1 };
    let key = made.key().spki();
    let at = place("clusters/prod/certs/person/bob/client.crt");
    let void = {
        let mut record = made.blank("bob");
        record.issued.push(made.issue(&at, &key, &["kluis:admins"], 1, Span::hours(8)).0);
        made.put(record)
    };
    ids.void = last_issued(&made, &void);
    made.leave(&mut epoch, "bob", FormerReason::Left);
    made.publish(epoch, &["alice", "bob"]);
    // Sealed again, so that the leaver is no recipient of anything current.
    let files: Vec<Place> = made.tree.entries.keys().filter_map(|path| Place::parse(path).ok()).collect();
    let mut record = made.blank("alice");
    record.parents.retain(|parent| *parent != void);
    if record.parents.is_empty() {
        record.parents = made.records[&void].parents.clone();
    }
    for place in files {
        let Place::Sealed(_, name) = place else { continue };
        let said = made.records.values().flat_map(|record| &record.sealed).find(|entry| entry.name == name).unwrap();
        let public: Vec<(String, Digest)> = said.public.iter().map(|key| (key.name.clone(), key.id)).collect();
        let public: Vec<(&str, Digest)> = public.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        made.seal_in(&mut record, "prod", name, 2, &public);
    }
    made.put(record);
    (made, ids)
}

pub const NOON: &str = "2026-11-01T12:00:00.123456Z";

/// An event as an API server of 1.36 writes it.
pub fn event(credential: Option<&str>, user: &str, n: u32) -> Value {
    let extra = credential.map(|id| json!({ "authentication.kubernetes.io/credential-id": [id] }));
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
        "auditID": format!("{n:08x}-0000-4000-8000-000000000000"), "stage": "ResponseComplete",
        "requestURI": format!("/api/v1/namespaces/kube-system/secrets/token-{n}?timeout=10s"), "verb": "get",
        "user": { "username": user, "groups": ["system:masters", "system:authenticated"] },
        "sourceIPs": ["192.0.2.1", "10.0.0.9"], "userAgent": "kubectl/v1.36.0",
        "objectRef": { "resource": "secrets", "namespace": "kube-system", "name": format!("token-{n}"), "apiVersion": "v1" },
        "responseStatus": { "metadata": {}, "code": 200 },
        "requestReceivedTimestamp": format!("2026-11-01T12:{:02}:{:02}.{n:06}Z", n / 60 % 60, n % 60),
        "stageTimestamp": NOON,
        "annotations": { "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "" },
    });
    if let Some(extra) = extra {
        event["user"]["extra"] = extra;
    }
    event
}

pub fn lines(events: &[Value]) -> String {
    events.iter().fold(String::new(), |mut log, event| {
        writeln!(log, "{event}").unwrap();
        log
    })
}
