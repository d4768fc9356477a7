//! Golden reports: what every command answers, for people and as JSON, on a repository whose time stands still. Hashes, keys
//! and the like differ from run to run and stand as [hash], [key] …; a change of anything else is seen in review.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;

use std::collections::BTreeSet;

use ground::{Answered, Ground};
use kluis::model::Span;

/// Replaces what differs from run to run.
fn steady(ground: &Ground, text: &str) -> String {
    let text = text.replace(ground.dir.path().to_str().unwrap(), "[dir]");
    let is_hex = |c: &char| c.is_ascii_digit() || ('a'..='f').contains(c) || ('A'..='F').contains(c);
    let mut steady = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if is_hex(&c) {
            word.push(c);
            continue;
        }
        let digits = word.chars().any(|c| c.is_ascii_digit()) || word.len() >= 40;
        steady += match word.len() {
            64 | 63 if digits => "[hash]",
            40 if digits => "[key]",
            30..=32 if digits => "[id]",
            16 if digits => "[h16]",
            7..=12 if digits && !word.chars().any(|c| c.is_ascii_uppercase()) => "[number]",
            _ => &word,
        };
        word.clear();
        steady.push(c);
    }
    steady.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn shown(ground: &Ground, answered: &Answered) -> String {
    let err = if answered.err.is_empty() { String::new() } else { format!("------- stderr\n{}", answered.err) };
    steady(ground, &format!("{}{err}[exit {}]\n", answered.out, answered.exit))
}

/// A ground, and the commands whose reports were looked at.
struct Book {
    ground: Ground,
    seen: BTreeSet<String>,
}

impl Book {
    fn new(people: &[&str], trust: u32) -> Self {
        Self { ground: Ground::new(people, trust, 1), seen: BTreeSet::new() }
    }

    /// Runs a command for its effect, after looking at what it would say as JSON and for people.
    fn page(&mut self, name: &str, who: &str, words: &str) {
        let dry = if is_reading(words) { words.to_owned() } else { format!("{words} --dry-run") };
        let json = self.ground.run(who, &format!("{dry} -o json"));
        serde_json::from_str::<serde_json::Value>(&json.out)
            .unwrap_or_else(|error| panic!("{words}: {error}\n{}", json.out));
        insta::assert_snapshot!(format!("{name}-json"), shown(&self.ground, &json));
        let human = self.ground.run(who, words);
        insta::assert_snapshot!(format!("{name}"), shown(&self.ground, &human));
        self.seen.insert(command(words));
    }
}

fn is_reading(words: &str) -> bool {
    let reading = [
        "verify",
        "review",
        "textconv",
        "status",
        "doctor",
        "person list",
        "person show",
        "trust show",
        "trust compare",
        "cluster list",
    ];
    let more = [
        "cluster show",
        "cert list",
        "cert show",
        "cert expiry",
        "request list",
        "request show",
        "export rbac",
        "audit",
        "rotate status",
        "rotate check",
        "exposure",
        "report",
        "lint",
    ];
    reading.iter().chain(&more).any(|command| words.starts_with(command)) || words == "trust pin"
}

/// The command's words, without its arguments.
fn command(words: &str) -> String {
    let all = leaves();
    all.into_iter().find(|leaf| words == leaf || words.starts_with(&format!("{leaf} "))).unwrap()
}

/// Every command of the grammar that has no commands below it.
fn leaves() -> BTreeSet<String> {
    let grammar = kluis::cli::grammar();
    let mut leaves = BTreeSet::new();
    for one in grammar.get_subcommands().filter(|one| one.get_name() != "help") {
        let below: Vec<_> = one.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
        if below.is_empty() {
            leaves.insert(one.get_name().to_owned());
        }
        leaves.extend(below.iter().map(|sub| format!("{} {}", one.get_name(), sub.get_name())));
    }
    leaves
}

const NEW: &str = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 \
                   --node cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd --node w-1=10.0.0.21:worker --super-admin --yes";

#[test]
fn every_command_answers_as_it_did() {
    let mut book = Book::new(&["alice", "bob"], 1);
    book.page("cluster-new", "alice", NEW);
    book.page("verify-valid", "bob", "verify");
    book.page("status", "bob", "status");
    let page = book.ground.dir.path().join("report.html");
    book.page("report", "bob", &format!("report --html {}", page.display()));
    book.page("cluster-list", "bob", "cluster list");
    let exported = book.ground.dir.path().join("exported");
    let export = format!("export kubeadm -c prod --node cp-1 --with-ca-keys --out {}", exported.display());
    book.ground.run("alice", &export).ends(0);
    let import = format!("cluster import copy --distribution kubeadm --kubernetes 1.36 --from {}", exported.display());
    book.page("cluster-import", "alice", &format!("{import} --dry-run"));
    book.page("cluster-show", "bob", "cluster show -c prod");
    book.page("cert-list", "bob", "cert list -c prod");
    book.page("cert-show", "bob", "cert show -c prod cp-1/apiserver");
    book.page("cert-issue", "alice", "cert issue apiserver -c prod --node cp-1");
    book.page("cert-issue-client", "alice", "cert issue client -c prod --lifetime 2h");
    book.page("cert-renew", "alice", "cert renew -c prod --within 400d --node w-1");
    book.page("cert-expiry", "bob", "cert expiry -c prod --within 400d");
    book.page("lint", "bob", "lint -c prod");
    book.page("lint-rule", "bob", "lint --list --rule CA014");
    let config = book.ground.dir.path().join("config");
    book.page("kubeconfig", "alice", &format!("kubeconfig -c prod --break-glass --out {}", config.display()));
    book.page("audit", "bob", "audit");
    book.page("audit-deny-list", "bob", "audit --deny-list");
    let log = book.ground.dir.path().join("audit.log");
    std::fs::write(&log, unrecorded_event()).unwrap();
    book.page("audit-k8s", "bob", &format!("audit --k8s-audit {}", log.display()));
    book.page("person-update", "alice", "person update bob --keyholder prod --issuer prod");
    book.page("verify-attention", "bob", "verify");
    book.page("reseal", "alice", "reseal");
    book.page("person-list", "bob", "person list");
    book.page("person-show", "bob", "person show bob");
    book.page("trust-show", "bob", "trust show");
    let waive =
        "trust waive exposure:carol -c prod --until 2027-05-01T00:00:00Z --reason decommissioned_in_May --dry-run";
    book.page("trust-waive", "alice", waive);
    book.page("trust-set", "alice", "trust set threshold.trust 2");
    book.page("verify-draft", "bob", "verify");
    book.page("status-draft", "bob", "status");
    book.page("trust-sign", "bob", "trust sign --yes");
    book.page("trust-pin", "bob", "trust pin");
    let line = book.ground.pin.clone();
    book.page("trust-compare", "bob", &format!("trust compare {line}"));
    book.ground.edit("clusters/prod/cluster.toml", |text| {
        format!("{text}\n[[node]]\nname = \"w-2\"\nroles = [\"worker\"]\naddresses = [\"10.0.0.22\"]\n")
    });
    book.page("cluster-apply", "alice", "cluster apply -c prod --yes");
    let out = book.ground.dir.path().join("w-2");
    for (name, more) in [("kubeadm-config", "--node cp-1"), ("trust-bundle", "--keyset front-proxy")] {
        let words = format!("export {name} -c prod {more}");
        let printed = book.ground.run("bob", &words).ends(0).out;
        // What is printed is what the report has; the whole of it is looked at in unit tests.
        let json = book.ground.run("bob", &format!("{words} -o json")).ends(0).json();
        assert_eq!(json["data"]["content"], printed);
        let head = printed.lines().filter(|line| !line.starts_with("    ")).map(|line| format!("{line}\n"));
        insta::assert_snapshot!(format!("export-{name}"), head.collect::<String>());
    }
    book.page("export", "alice", &format!("export kubeadm -c prod --node w-2 --out {}", out.display()));
    book.ground.edit("clusters/prod/cluster.toml", |text| format!("{text}# a comment more\n"));
    book.page("verify-invalid", "bob", "verify");
    book.ground.git("restore .");
    book.seen.extend(others());
    assert_eq!(
        leaves().difference(&book.seen).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "no report of these is looked at"
    );
}

/// An event of an API server's audit log, of a certificate that nobody recorded.
fn unrecorded_event() -> String {
    let extra = serde_json::json!({ "authentication.kubernetes.io/credential-id": [format!("X509SHA256={}", "5f".repeat(32))] });
    let event = serde_json::json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "audit-1", "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/secrets/token", "verb": "get",
        "user": { "username": "alice", "groups": ["system:masters", "system:authenticated"], "extra": extra },
        "sourceIPs": ["10.0.0.9"], "objectRef": { "resource": "secrets", "namespace": "default", "name": "token" },
        "responseStatus": { "metadata": {}, "code": 200 },
        "requestReceivedTimestamp": "2026-11-24T11:00:00.000000Z", "stageTimestamp": "2026-11-24T11:00:00.000001Z",
    });
    format!("{event}\nno event\n")
}

/// Commands that are looked at in the tests below.
fn others() -> Vec<String> {
    let mut others = ["init", "person add", "adopt", "open", "doctor", "completions", "man", "demo"].to_vec();
    others.push("credential");
    others.extend(["review", "textconv", "exposure", "person remove", "person revoke-key"]);
    others.extend([
        "cluster retire",
        "rotate start",
        "rotate trust",
        "rotate promote",
        "rotate distrust",
        "rotate remove",
    ]);
    others.extend(["rotate settle", "rotate next", "rotate undo", "rotate status", "rotate check", "rotate script"]);
    others.extend(["request new", "request list", "request show", "request approve", "request deny", "trust raise"]);
    others.into_iter().map(str::to_owned).collect()
}

#[test]
fn founding_and_adding_people_answer_as_they_did() {
    let mut book = Book::new(&["alice"], 1);
    let (certificate, _) =
        kluis::openpgp::generate("carol", book.ground.now.minus(Span::hours(1)), Some(Span::days(700))).unwrap();
    let file = book.ground.dir.path().join("carol.asc");
    std::fs::write(&file, certificate.to_stored()).unwrap();
    book.page("person-add", "alice", &format!("person add carol --pgp {} --role recovery", file.display()));
    let ground = &book.ground;
    for folder in ["trust", "pubkeys"] {
        std::fs::remove_dir_all(ground.repo().join(folder)).unwrap();
    }
    ground.git("add -A");
    ground.git("commit -q -m nothing");
    let certificate = ground.dir.path().join("alice.asc");
    std::fs::write(&certificate, ground.person("alice").certificate.to_stored()).unwrap();
    let words = format!("init --as alice --pgp {}", certificate.display());
    insta::assert_snapshot!("init-json", shown(ground, &ground.run("alice", &format!("{words} --dry-run -o json"))));
    insta::assert_snapshot!("init", shown(ground, &ground.run("alice", &words)));
}

#[test]
fn reviewing_and_leaving_answer_as_they_did() {
    let mut book = Book::new(&["alice", "bob"], 1);
    book.ground.run("alice", NEW).ends(0);
    book.ground.run("alice", "person update bob --keyholder prod").ends(0);
    book.ground.run("alice", "reseal").ends(0);
    book.page("review", "bob", "review HEAD^^..HEAD");
    let markdown = book.ground.run("bob", "review HEAD^^..HEAD -o markdown");
    insta::assert_snapshot!("review-markdown", shown(&book.ground, &markdown));
    let secret = book.ground.repo().join("clusters/prod/sealed/sa.g1.asc");
    book.page("textconv", "bob", &format!("textconv {}", secret.display()));
    book.page("confirm", "bob", "doctor --confirm ");
    book.page("exposure-keyholder", "bob", "exposure bob");
    book.page("person-revoke-key", "alice", "person revoke-key bob --reason laptop_stolen --yes");
    book.page("person-remove", "alice", "person remove bob --reason compromised --yes");
    book.page("exposure-leaver", "alice", "exposure bob");
    let markdown = book.ground.run("alice", "exposure bob -o markdown");
    insta::assert_snapshot!("exposure-markdown", shown(&book.ground, &markdown));
    let removed = book.ground.run("bob", "review HEAD");
    insta::assert_snapshot!("review-removal", shown(&book.ground, &removed));
}

#[test]
fn asking_and_granting_answer_as_they_did() {
    let mut book = Book { ground: Ground::new(&["alice", "bob", "erin"], 1, 2), seen: BTreeSet::new() };
    book.ground.run("alice", &NEW.replace("--super-admin ", "")).ends(0);
    book.ground.run("alice", "person update bob --issuer prod --keyholder prod").ends(0);
    book.ground.run("alice", "person update erin --group prod=developers").ends(0);
    book.ground.run("alice", "reseal").ends(0);
    let hash = |book: &Book| {
        let list = book.ground.run("bob", "request list -o json").json();
        let all = list["data"]["requests"].as_array().unwrap().clone();
        all.last().unwrap()["request"].as_str().unwrap()[..16].to_owned()
    };
    book.page("request-new", "erin", "request new -c prod --lifetime 8h");
    book.page("request-list", "bob", "request list -c prod");
    let first = hash(&book);
    book.page("request-approve", "bob", &format!("request approve {first} --yes"));
    book.page("request-show", "erin", &format!("request show {first}"));
    book.ground.now = book.ground.now.plus(Span::hours(1));
    book.page("request-break-glass", "erin", "request new -c prod --break-glass --reason API_down,_INC-4711");
    let loud = hash(&book);
    book.page("request-approve-one-of-two", "bob", &format!("request approve {loud} --yes"));
    book.page("request-list-loud", "erin", "request list");
    book.page("request-approve-both", "alice", &format!("request approve {loud} --yes"));
    book.page("status-break-glass", "erin", "status");
    // Requests of one second stand in the order of their hashes.
    book.ground.now = book.ground.now.plus(Span::minutes(1));
    book.page("request-new-again", "erin", "request new -c prod");
    let denied = hash(&book);
    book.page("request-deny", "alice", &format!("request deny {denied} --reason not_today"));
    book.page("request-list-all", "erin", "request list --all");
    book.page("trust-raise", "alice", "trust raise developers -c prod");
    let rbac = book.ground.run("bob", "export rbac -c prod --role developers=shop/edit");
    insta::assert_snapshot!("export-rbac", shown(&book.ground, &rbac));
    let json = book.ground.run("bob", "export rbac -c prod -o json");
    insta::assert_snapshot!("export-rbac-json", shown(&book.ground, &json));
}

#[test]
fn rotating_answers_as_it_did() {
    let mut book = Book::new(&["alice", "bob"], 1);
    book.ground.run("alice", &NEW.replace("--super-admin ", "")).ends(0);
    book.page("rotate-start", "alice", "rotate start -c prod --yes");
    book.page("rotate-status-staged", "bob", "rotate status");
    let node = book.ground.dir.path().join("w-1");
    book.ground.run("alice", &format!("export kubeadm -c prod --node w-1 --out {}", node.display())).ends(0);
    book.page("rotate-check", "bob", &format!("rotate check -c prod --node w-1 --files {}", node.display()));
    book.page("rotate-trust", "alice", "rotate trust -c prod --yes");
    book.page("rotate-check-differs", "bob", &format!("rotate check -c prod --node w-1 --files {}", node.display()));
    book.page("rotate-status-trusted", "bob", "rotate status");
    let script = book.ground.run("bob", "rotate script -c prod --node w-1").ends(0);
    let (front, _) = script.out.split_once("# The commands to adapt").unwrap();
    insta::assert_snapshot!("rotate-script", steady(&book.ground, front));
    book.page("rotate-next-refused", "alice", "rotate next -c prod --yes");
    let next = "rotate next -c prod --confirm nodes-have-bundle --confirm clients-have-bundle --confirm verifiers-have-key --yes";
    book.page("rotate-next", "alice", next);
    book.page("rotate-status-promoted", "bob", "rotate status");
    book.page("rotate-undo", "alice", "rotate undo etcd -c prod --yes");
    book.page("rotate-promote", "alice", "rotate promote etcd -c prod --yes");
    let distrust = "rotate distrust -c prod --confirm nodes-have-leaves --confirm secrets-rewritten --yes";
    book.page("rotate-distrust", "alice", distrust);
    book.page("rotate-status-distrusted", "bob", "rotate status");
    book.page("rotate-remove", "alice", "rotate remove -c prod --yes");
    book.page("rotate-start-standby", "alice", "rotate start etcd -c prod --standby --yes");
    book.page("rotate-trust-standby", "alice", "rotate trust -c prod --yes");
    book.page("rotate-status-standby", "bob", "rotate status");
    book.page("rotate-status-standby-fleet", "bob", "rotate status --all-clusters");
    book.page("rotate-start-emergency", "alice", "rotate start kubernetes -c prod --emergency --yes");
    book.page("rotate-status-emergency", "bob", "rotate status --emergency");
    book.page("rotate-trust-asks", "alice", "rotate trust -c prod --emergency");
    book.page("cluster-retire-asks", "alice", "cluster retire prod");
    book.page("cluster-retire", "alice", "cluster retire prod --yes");
}

#[test]
fn settling_answers_as_it_did() {
    let mut book = Book::new(&["alice", "bob"], 1);
    book.ground.run("alice", &NEW.replace("--super-admin ", "")).ends(0);
    book.ground.run("alice", "person update bob --issuer prod --keyholder prod").ends(0);
    book.ground.run("alice", "reseal").ends(0);
    for line in ["rotate start kubernetes encryption", "rotate trust"] {
        book.ground.run("alice", &format!("{line} -c prod --yes")).ends(0);
    }
    book.ground.git("branch other");
    book.ground.run("alice", "rotate promote -c prod --yes").ends(0);
    book.ground.git("checkout -q other");
    book.ground.run("bob", "rotate undo -c prod --yes").ends(0);
    book.ground.git("-c user.name=t -c user.email=t@t merge -q @{-1}");
    book.page("verify-apart", "bob", "verify");
    book.page("rotate-status-apart", "bob", "rotate status");
    book.page("rotate-settle-asks", "bob", "rotate settle -c prod");
    book.page("rotate-settle", "bob", "rotate settle -c prod --to trusted --yes");
}

#[test]
fn opening_and_adopting_answer_as_they_did() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    let opened = ground.run("alice", "open -c prod ca.kubernetes --yes").ends(0);
    assert!(
        opened.out.starts_with("-----BEGIN PRIVATE KEY-----\n") && opened.out.ends_with("-----END PRIVATE KEY-----\n")
    );
    insta::assert_snapshot!("open-refused", shown(&ground, &ground.run("bob", "open -c prod ca.kubernetes --yes")));
    insta::assert_snapshot!("open-asks", shown(&ground, &ground.run("alice", "open -c prod ca.kubernetes")));
    insta::assert_snapshot!(
        "open-json",
        shown(&ground, &ground.run("alice", "open -c prod ca.kubernetes --yes -o json"))
    );
    insta::assert_snapshot!(
        "adopt-refused",
        shown(&ground, &ground.run("alice", "adopt 0123456789abcdef --reason because"))
    );
    let json = ground.run("alice", "adopt 0123456789abcdef --reason because -o json");
    insta::assert_snapshot!("adopt-refused-json", shown(&ground, &json));
}

/// The answer is for kubectl alone; `tests/kubeconfig.rs` reads it.
#[test]
fn credential_answers_as_it_did() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    ground.run("alice", NEW).ends(0);
    let answered = ground.run("alice", "credential -c prod --break-glass").ends(0);
    assert!(answered.out.starts_with(r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential""#));
    for (name, words) in [
        ("credential-missing", "credential -c prod"),
        ("credential-json", "credential -c prod -o json"),
        ("kubeconfig-missing", "kubeconfig -c prod --out -"),
    ] {
        insta::assert_snapshot!(name, shown(&ground, &ground.run("alice", words)));
    }
}

#[test]
fn usage_errors_answer_as_they_did() {
    let ground = Ground::new(&["alice"], 1, 1);
    for (name, words) in [
        ("usage-unknown", "verfy"),
        ("usage-missing", "cluster new prod"),
        ("usage-name", "person show Alice"),
        ("usage-at", "reseal --at 2027-01-01T00:00:00Z"),
        ("usage-cluster", "cert list -c nowhere"),
    ] {
        insta::assert_snapshot!(name, shown(&ground, &ground.run("alice", words)));
        let json = ground.run("alice", &format!("{words} -o json"));
        insta::assert_snapshot!(format!("{name}-json"), shown(&ground, &json));
    }
}

/// What depends on the machine is looked at for its shape alone.
#[test]
fn doctor_completions_man_and_demo_answer() {
    let ground = Ground::new(&["alice"], 1, 1);
    let doctor = ground.run("alice", "doctor");
    for line in ["git ", "pin ", "repository ", "clock ", "keys ", "hardening "] {
        assert!(doctor.out.contains(line), "{line}: {}", doctor.out);
    }
    assert!(ground.run("alice", "doctor -o json").json()["data"]["checks"].as_array().unwrap().len() >= 7);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(ground.run("alice", &format!("completions {shell}")).ends(0).out.len() > 2000, "{shell}");
    }
    assert!(ground.run("alice", "man").ends(0).out.contains(".TH kluis"));
    let demo = ground.run("alice", &format!("demo {}", ground.dir.path().join("demo").display())).ends(0);
    let titles: String =
        demo.out.lines().filter(|line| line.starts_with("# ")).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!("demo-titles", titles);
}
