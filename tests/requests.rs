//! Requests from asking to the certificate: what is asked, what is issued, who may, and what is refused before any key
//! is touched. That verifying refuses the same is `attacks_requests.rs` and `trust/requests.rs`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;
mod tools;

use ground::{Answered, Ground};
use kluis::env::Terminal;
use kluis::model::{PersonName, Span};
use kluis::pki::Facts;
use seat::*;
use serde_json::Value;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

/// alice and bob issue for prod; erin and dave may ask: erin for developers and viewers, dave for developers.
fn staffed(break_glass: u32) -> Ground {
    let mut ground = Ground::new(&["alice", "bob"], 1, break_glass);
    ground.run("alice", NEW).ends(0);
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    for (name, groups) in
        [("erin", "--group prod=developers --group prod=viewers"), ("dave", "--group prod=developers")]
    {
        let file = newcomer(&mut ground, name);
        ground.run("alice", &format!("person add {name} --pgp {file} {groups}")).ends(0);
        ground.run(name, "trust sign --yes").ends(0);
    }
    ground.run("alice", "reseal").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    ground
}

#[track_caller]
fn asks(ground: &Ground, person: &str, words: &str) -> String {
    let answered = ground.run(person, &format!("request new -c prod {words} -o json")).ends(0);
    data(&answered, "request new")["request"].as_str().unwrap().to_owned()
}

fn refused(ground: &Ground, person: &str, words: &str, exit: u8, says: &str) {
    let before = ground.git("rev-parse HEAD");
    let answered = ground.run(person, words).ends(exit);
    let all = format!("{}{}", answered.out, answered.err);
    assert!(all.contains(says), "no {says:?} in\n{all}");
    assert!(all.contains("help: "), "no help in\n{all}");
    assert_eq!((ground.git("rev-parse HEAD"), ground.git("status --porcelain")), (before, String::new()));
}

fn certificate(ground: &Ground, person: &str, profile: &str) -> Facts {
    let pem = ground.read(&format!("clusters/prod/certs/person/{person}/{profile}.crt"));
    Facts::read(&kluis::pki::parse_pem(pem.as_bytes(), "CERTIFICATE").unwrap()).unwrap()
}

fn state(ground: &Ground, request: &str) -> Value {
    data(&ground.run("alice", &format!("request show {request} -o json")).ends(0), "request show")
}

#[test]
fn who_asks_gets_what_the_epoch_allows_and_no_more() {
    let ground = staffed(1);
    let request = asks(&ground, "erin", "--group developers --lifetime 8h");
    assert_eq!(state(&ground, &request)["state"], "waiting");
    assert_eq!(ground.errors(), [""; 0]);
    let approved = ground.run("alice", &format!("request approve -c prod {} --yes", &request[..8])).ends(0);
    approved
        .says("erin asks for developers on prod for 8h")
        .says("CN=erin,O=developers")
        .says("opened prod/ca.kubernetes.g1");
    let facts = certificate(&ground, "erin", "client");
    assert_eq!(facts.subject, "CN=erin,O=developers");
    assert_eq!(facts.not_after.since(ground.now), 8 * 3600);
    assert!(facts.sans.is_empty() && facts.other_sans.is_empty() && !facts.is_ca);
    assert_eq!(facts.extended_key_usages, ["1.3.6.1.5.5.7.3.2"]);
    let granted = state(&ground, &request);
    assert_eq!((granted["state"].as_str(), granted["by"].as_str()), (Some("granted"), Some("alice")));
    assert_eq!(granted["certificate"], facts.sha256.to_string());
    assert_eq!(ground.errors(), [""; 0]);
    // The key lies in erin's state folder, sealed to erin alone, under the name of its public key.
    let key = ground.state("erin").join(format!("keys/{}.asc", facts.spki_id));
    let sealed = std::fs::read_to_string(key).unwrap();
    assert!(sealed.starts_with("-----BEGIN PGP MESSAGE-----"));
    assert!(!ground.state("alice").join("keys").exists());
    refused(&ground, "alice", &format!("request approve {request} --yes"), 3, "good for one certificate");
    refused(&ground, "bob", &format!("request deny {request} --reason late"), 3, "alice granted");
}

#[test]
fn what_is_shown_before_anybody_is_asked_says_who_what_and_which_policy() {
    let ground = staffed(1);
    let request = asks(&ground, "erin", "--group developers --lifetime 8h --reason debugging_the_shop");
    let before = ground.git("rev-parse HEAD");
    let approve = format!("request approve {request}");
    ground.run_with("alice", &approve, Terminal::scripted(["n"])).ends(130);
    // What the question shows is what a dry run shows.
    let shown = ground.run("alice", &format!("{approve} --dry-run")).ends(0);
    for line in [
        "erin asks for developers on prod for 8h",
        "because  debugging the shop",
        "signed   2026-11-24T12:00:00Z by ",
        "policy   client certificates live at most 90d; erin may have these groups",
        "issues   CN=erin,O=developers until 2026-11-24T20:00:00Z, by kubernetes g1",
    ] {
        assert!(shown.out.contains(line), "no {line:?} in\n{}", shown.out);
    }
    assert_eq!(ground.git("rev-parse HEAD"), before);
    ground.run("alice", &approve).ends(2).says("--yes");
    ground.run_with("alice", &approve, Terminal::scripted(["y"])).ends(0);
}

#[test]
fn nobody_asks_for_what_is_not_theirs() {
    let ground = staffed(1);
    refused(&ground, "erin", "request new -c prod --group kluis:admins", 3, "may not have the group kluis:admins");
    refused(&ground, "erin", "request new -c prod --group system:masters", 3, "Kubernetes' own");
    refused(&ground, "erin", "request new -c prod --group system:nodes", 3, "Kubernetes' own");
    refused(&ground, "erin", "request new -c prod", 2, "developers, viewers");
    refused(&ground, "erin", "request new -c prod --group developers --lifetime 91d", 3, "at most 90d");
    refused(&ground, "erin", "request new -c prod --break-glass --reason x --lifetime 9h", 3, "at most 8h");
    refused(&ground, "erin", "request new -c prod --break-glass", 2, "--reason");
    // Who has one group need not name it.
    let request = asks(&ground, "dave", "");
    assert_eq!(state(&ground, &request)["groups"], serde_json::json!(["developers"]));
    assert_eq!(state(&ground, &request)["lifetime"], "12h");
    // Who has none asks for nothing, in whoever's name.
    ground.run("alice", "person update dave --no-group prod=developers").ends(0);
    refused(&ground, "dave", "request new -c prod", 3, "no groups on prod");
    refused(&ground, "dave", "--as erin request new -c prod --group developers", 6, "no signing key");
}

#[test]
fn only_issuers_who_can_open_the_authority_grant() {
    let ground = staffed(1);
    let request = asks(&ground, "erin", "--group developers");
    refused(&ground, "dave", &format!("request approve {request} --yes"), 3, "dave is no issuer");
    refused(&ground, "erin", &format!("request approve {request} --yes"), 3, "erin is no issuer");
    ground.run("alice", "person update dave --issuer prod").ends(0);
    refused(&ground, "dave", &format!("request approve {request} --yes"), 3, "dave is no keyholder");
    ground.run("alice", &format!("request approve {request} --lifetime 1h --yes")).ends(0).says("1h instead of 12h");
    assert_eq!(certificate(&ground, "erin", "client").not_after.since(ground.now), 3600);
}

#[test]
fn a_batch_is_one_record_and_opens_each_authority_once() {
    let ground = staffed(1);
    let old = asks(&ground, "erin", "--group viewers");
    let erin = asks(&ground, "erin", "--group developers");
    let dave = asks(&ground, "dave", "");
    let loud = asks(&ground, "dave", "--break-glass --reason API_down");
    let records = ground.verified().log.records.len();
    let answered = ground.run("bob", "request approve -c prod --all --yes -o json").ends(0);
    let report = data(&answered, "request approve");
    assert_eq!(ground.verified().log.records.len(), records + 1);
    assert_eq!(report["opened"], serde_json::json!(["prod/ca.kubernetes.g1"]));
    let hashes = |list: &str| -> Vec<String> {
        report[list].as_array().unwrap().iter().map(|one| one["request"].as_str().unwrap().to_owned()).collect()
    };
    let (mut approved, mut left) = (hashes("approved"), hashes("left"));
    approved.sort();
    left.sort();
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    // Of two of one person the newer one is granted, and system:masters never in a batch.
    let (newer, older) = if state(&ground, &erin)["state"] == "granted" { (erin, old) } else { (old, erin) };
    assert_eq!(approved, sorted(vec![newer, dave]));
    assert_eq!(left, sorted(vec![older, loud]));
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("bob", "request approve -c prod --all --yes").ends(0).says("left");
}

#[test]
fn a_denied_request_is_refused_for_good() {
    let ground = staffed(1);
    let request = asks(&ground, "erin", "--group developers");
    refused(&ground, "dave", &format!("request deny {request} --reason no"), 3, "no issuer");
    ground.run("bob", &format!("request deny {request} --reason wrong_ticket")).ends(0);
    let denied = state(&ground, &request);
    assert_eq!((denied["state"].as_str(), denied["by"].as_str()), (Some("denied"), Some("bob")));
    refused(&ground, "alice", &format!("request approve {request} --yes"), 3, "bob denied");
    // Whoever asked may take it back.
    let own = asks(&ground, "erin", "--group developers");
    ground.run("erin", &format!("request deny {own} --reason mistake")).ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("alice", "request list -c prod").ends(0).says("no requests");
    assert_eq!(
        data(&ground.run("alice", "request list --all -o json"), "request list")["requests"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn an_expired_and_a_dead_request_are_not_granted() {
    let mut ground = staffed(1);
    let request = asks(&ground, "erin", "--group developers --wait 1d");
    let dead = asks(&ground, "dave", "");
    ground.now = ground.now.plus(Span::days(2));
    assert_eq!(state(&ground, &request)["state"], "expired");
    refused(&ground, "alice", &format!("request approve {request} --yes"), 3, "expired 2026-11-25T12:00:00Z");
    ground.run("alice", "person update dave --no-group prod=developers --group prod=viewers").ends(0);
    assert_eq!(state(&ground, &dead)["state"], "dead");
    assert!(ground.owed().contains(&"request-dead".to_owned()));
    refused(&ground, "alice", &format!("request approve {dead} --yes"), 3, "group-not-allowed");
    ground.run("alice", "verify").says(&format!("help: kluis request deny {} --reason TEXT", &dead[..16]));
    ground.run("alice", &format!("request deny {dead} --reason moved")).ends(0);
    assert!(!ground.owed().contains(&"request-dead".to_owned()));
}

#[test]
fn a_request_that_meets_a_revocation_in_a_merge_can_be_taken_away() {
    let ground = staffed(1);
    // dave joined by the latest epoch: under no other was his request ever good.
    ground.git("checkout -q -b daves");
    let request = asks(&ground, "dave", "");
    ground.git("checkout -q -");
    ground.run("alice", "person revoke-key dave --reason stolen --yes").ends(0);
    ground.git("-c user.name=t -c user.email=t@example.org merge -q --no-edit daves");
    let files = format!("clusters/prod/requests/{}.", &request[..16]);
    ground.run("alice", "verify").ends(3).says("key-revoked").says(&format!("help: git rm '{files}*'"));
    ground.git(&format!("rm -q {files}*"));
    ground.git("-c user.name=t -c user.email=t@example.org commit -q -m gone");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_csr_made_elsewhere_is_taken_if_it_says_the_name_alone() {
    let ground = staffed(1);
    let dir = ground.dir.path();
    let openssl = |words: &str| tools::openssl(dir, words);
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out token.key");
    openssl("req -new -key token.key -subj /CN=erin -out token.csr");
    let csr = dir.join("token.csr");
    let request = asks(&ground, "erin", &format!("--group developers --csr {}", csr.display()));
    ground.run("alice", &format!("request approve {request} --yes")).ends(0);
    let spki = openssl("pkey -in token.key -pubout -outform DER");
    assert_eq!(certificate(&ground, "erin", "client").spki, spki);
    assert!(!ground.state("erin").join("keys").exists());
    let words = format!("request new -c prod --group developers --csr {}", csr.display());
    refused(&ground, "erin", &words, 3, "used for a request");
    let refuses = |subject: &str, options: &str, says: &str| {
        openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.key");
        openssl(&format!("req -new -key other.key -subj {subject} {options} -out token.csr"));
        refused(&ground, "erin", &words, 3, says);
    };
    refuses("/CN=alice", "", "has to be CN=erin alone");
    refuses("/O=system:masters/CN=erin", "", "has to be CN=erin alone");
    refuses("/CN=erin", "-addext subjectAltName=DNS:kubernetes", "none would be granted");
    refuses("/CN=erin", "-addext basicConstraints=critical,CA:TRUE", "none would be granted");
    openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
    openssl("req -new -key weak.key -subj /CN=erin -out token.csr");
    refused(&ground, "erin", &words, 3, "less than 2048");
    // One bit of the proof of possession.
    openssl("req -new -key other.key -subj /CN=erin -outform DER -out token.csr");
    let mut der = std::fs::read(&csr).unwrap();
    *der.last_mut().unwrap() ^= 1;
    std::fs::write(&csr, der).unwrap();
    refused(&ground, "erin", &words, 3, "signature");
    std::fs::write(&csr, "nothing").unwrap();
    refused(&ground, "erin", &words, 3, "CERTIFICATE REQUEST");
    std::fs::remove_file(&csr).unwrap();
    refused(&ground, "erin", &words, 2, "is not there");
}

#[test]
fn a_copy_of_a_request_in_the_folder_of_another_cluster_is_refused() {
    let ground = staffed(1);
    let dev = NEW.replace("new prod", "new dev").replace("api.prod", "api.dev");
    ground.run("alice", &dev).ends(0);
    let pending = asks(&ground, "erin", "--group developers");
    let granted = asks(&ground, "dave", "");
    ground.run("alice", &format!("request approve {granted} --yes")).ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    let copy = |request: &str, ending: &str| {
        let name = format!("requests/{}.{ending}", &request[..16]);
        std::fs::create_dir_all(ground.repo().join("clusters/dev/requests")).unwrap();
        let to = ground.repo().join("clusters/dev").join(&name);
        std::fs::copy(ground.repo().join("clusters/prod").join(&name), to).unwrap();
    };
    for (request, person) in [(&pending, "erin"), (&granted, "dave")] {
        copy(request, "toml");
        let errors = ground.errors();
        assert!(errors.len() == 1 && errors[0].starts_with("unsigned Some(\"clusters/dev/requests/"), "{errors:?}");
        copy(request, &format!("{person}.sig"));
        let errors = ground.errors();
        assert!(errors.len() == 1 && errors[0].starts_with("wrong-cluster-id"), "{errors:?}");
        assert!(errors[0].contains("clusters/dev/requests/"), "{errors:?}");
        std::fs::remove_dir_all(ground.repo().join("clusters/dev/requests")).unwrap();
    }
}

// --- break-glass ----------------------------------------------------------------------------------------------------

#[test]
fn t37_the_approval_that_reaches_the_threshold_issues_and_nothing_exists_before() {
    let ground = staffed(2);
    refused(&ground, "alice", "cert issue break-glass -c prod --reason API_down", 3, "takes 2 issuers");
    let request = asks(&ground, "dave", "--break-glass --reason API_down,_INC-4711");
    let first = ground.run("bob", &format!("request approve {request} --yes")).ends(0);
    first.says("BREAK-GLASS").says("1 of 2 issuers").says("because  API down, INC-4711");
    assert!(!ground.repo().join("clusters/prod/certs/person/dave").exists());
    assert_eq!(state(&ground, &request)["approved_by"], serde_json::json!(["bob"]));
    ground.run("bob", &format!("request approve {request} --yes")).ends(0).says("you approved it already");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("issued");
    let facts = certificate(&ground, "dave", "break-glass");
    assert_eq!(facts.subject, "CN=dave,O=system:masters");
    assert_eq!(facts.not_after.since(ground.now), 3600);
    assert_eq!(ground.errors(), [""; 0]);
    let status = ground.run("erin", "status");
    status.says("BREAK-GLASS  dave is system:masters on prod until");
}

#[test]
fn approvals_on_two_branches_reach_the_threshold_together() {
    let ground = staffed(2);
    let request = asks(&ground, "dave", "--break-glass --reason API_down");
    ground.git("checkout -q -b bobs");
    ground.run("bob", &format!("request approve {request} --yes")).ends(0);
    ground.git("checkout -q -");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("1 of 2");
    ground.git("-c user.name=t -c user.email=t@example.org merge -q --no-edit bobs");
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("bob", &format!("request approve {request} --yes")).ends(0).says("issued");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn what_two_branches_granted_is_taken_away_and_who_asked_is_told_what_next() {
    let ground = staffed(2);
    let request = asks(&ground, "dave", "--break-glass --reason API_down");
    ground.run("bob", &format!("request approve {request} --yes")).ends(0);
    ground.run("alice", "person update erin --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.git("checkout -q -b alices");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("issued");
    ground.git("checkout -q -");
    ground.run("erin", &format!("request approve {request} --yes")).ends(0).says("issued");
    ground.git("-c user.name=t -c user.email=t@example.org merge -q --no-edit -X ours alices");
    refused(&ground, "dave", "kubeconfig -c prod --break-glass", 3, "kluis reseal --choose -c prod");
    let chosen = ground.run("alice", "reseal --choose -c prod").ends(0);
    chosen.says("Taken away").says("dave asks again: kluis request new -c prod --break-glass --reason TEXT");
    ground.run("alice", "status").says("BREAK-GLASS  dave is system:masters on prod until");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn an_issuer_without_the_authoritys_key_approves_and_a_keyholder_issues() {
    let ground = staffed(2);
    ground.run("alice", "person update erin --issuer prod").ends(0);
    let request = asks(&ground, "dave", "--break-glass --reason API_down");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("1 of 2");
    ground.run("erin", &format!("request approve {request} --yes")).ends(0).says("nothing is issued yet");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("issued");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn an_issuers_own_request_counts_them_and_one_alone_is_loud() {
    let ground = staffed(2);
    let request = asks(&ground, "bob", "--break-glass --reason API_down");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("issued");
    let solo = staffed(1);
    let request = asks(&solo, "dave", "--break-glass --reason API_down");
    solo.run("alice", &format!("request approve {request} --yes"))
        .ends(0)
        .says("one issuer is enough here (threshold.break_glass is 1)");
    assert_eq!((ground.errors(), solo.errors()), (vec![], vec![]));
}

// --- certificates of issuers and nodes --------------------------------------------------------------------------------

#[test]
fn an_issuer_issues_their_own_certificate_and_nobody_elses() {
    let ground = staffed(1);
    ground.run("alice", "cert issue client -c prod --lifetime 2h").ends(0).says("certs/person/alice/client.crt");
    let facts = certificate(&ground, "alice", "client");
    assert_eq!(facts.subject, "CN=alice,O=kluis:admins");
    assert_eq!(facts.not_after.since(ground.now), 7200);
    assert!(ground.state("alice").join(format!("keys/{}.asc", facts.spki_id)).is_file());
    refused(&ground, "alice", "cert issue client -c prod --group developers", 3, "may not have the group");
    refused(&ground, "erin", "cert issue client -c prod --group developers", 3, "help: kluis request new -c prod");
    let urgent = "cert issue break-glass -c prod --reason API_down";
    refused(&ground, "erin", urgent, 3, "help: kluis kubeconfig -c prod --break-glass");
    refused(&ground, "alice", "cert issue client -c prod --node w-1", 2, "a person's");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_nodes_key_can_stay_on_the_node() {
    let ground = staffed(1);
    let dir = ground.dir.path();
    let openssl = |words: &str| tools::openssl(dir, words);
    let csr = dir.join("w-1.csr");
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out w-1.key");
    openssl(
        "req -new -key w-1.key -subj /O=system:nodes/CN=system:node:w-1 -addext basicConstraints=CA:TRUE -out w-1.csr",
    );
    let issue = format!("cert issue kubelet-client -c prod --node w-1 --csr {}", csr.display());
    ground.run("alice", &issue).ends(0).says("asks for extensions");
    assert_eq!(ground.errors(), [""; 0]);
    let path = "clusters/prod/certs/node/w-1/kubelet-client.crt";
    let facts = Facts::read(&kluis::pki::parse_pem(ground.read(path).as_bytes(), "CERTIFICATE").unwrap()).unwrap();
    assert_eq!(facts.spki, openssl("pkey -in w-1.key -pubout -outform DER"));
    assert_eq!((facts.subject.as_str(), facts.is_ca), ("CN=system:node:w-1,O=system:nodes", false));
    let opened = ground.run("alice", "open -c prod node.w-1 --yes").ends(0);
    assert_eq!(opened.out.matches("BEGIN PRIVATE KEY").count(), 1, "the other key alone is sealed");
    // The second one empties the bundle, which goes.
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out w-1s.key");
    openssl("req -new -key w-1s.key -subj /O=system:nodes/CN=system:node:w-1 -out w-1.csr");
    ground.run("alice", &issue.replace("kubelet-client", "kubelet-serving")).ends(0);
    assert!(!ground.repo().join("clusters/prod/sealed/node.w-1.asc").exists());
    assert_eq!(ground.errors(), [""; 0]);
    let out = dir.join("w-1");
    ground
        .run("alice", &format!("export kubeadm -c prod --node w-1 --out {}", out.display()))
        .ends(0)
        .says("opened: nothing");
    assert!(out.join("kubelet/kubelet.crt").is_file() && !out.join("kubelet/kubelet.key").exists());
    assert!(std::fs::read_to_string(out.join("kubelet.conf")).unwrap().contains("client-key: /var/lib/kubelet"));
    ground.run("bob", &format!("rotate check -c prod --node w-1 --files {}", out.display())).ends(0);
    // Nothing is out of line, and another address certifies the same key again.
    ground.run("alice", "cluster apply -c prod --yes").ends(0).says("nothing to do");
    ground.edit("clusters/prod/cluster.toml", |text| text.replace("\"10.0.0.21\"", "\"10.0.0.21\", \"10.0.0.99\""));
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    let path = "clusters/prod/certs/node/w-1/kubelet-serving.crt";
    let facts = Facts::read(&kluis::pki::parse_pem(ground.read(path).as_bytes(), "CERTIFICATE").unwrap()).unwrap();
    assert_eq!(facts.spki, openssl("pkey -in w-1s.key -pubout -outform DER"));
    assert!(facts.sans.iter().any(|san| san.to_string() == "10.0.0.99"));
    assert_eq!(ground.errors(), [""; 0]);
    for (csr, says) in [
        ("/O=system:nodes/CN=system:node:w-2", "CN=system:node:w-1"),
        ("/CN=system:node:w-1/CN=alice", "CN=system:node:w-1"),
    ] {
        openssl(&format!("req -new -key w-1.key -subj {csr} -out w-1.csr"));
        refused(&ground, "alice", &issue, 3, says);
    }
    refused(
        &ground,
        "alice",
        &issue.replace("kubelet-client", "apiserver").replace("w-1 ", "cp-1 "),
        2,
        "kubelet-client and",
    );
}

#[test]
fn nothing_is_issued_anew_where_every_key_stays_on_the_node() {
    let ground = staffed(1);
    let dir = ground.dir.path();
    for profile in ["kubelet-client", "kubelet-serving"] {
        tools::openssl(dir, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out w-1.key");
        tools::openssl(dir, "req -new -key w-1.key -subj /O=system:nodes/CN=system:node:w-1 -out w-1.csr");
        let csr = dir.join("w-1.csr");
        ground.run("alice", &format!("cert issue {profile} -c prod --node w-1 --csr {}", csr.display())).ends(0);
    }
    refused(&ground, "alice", "cert issue -c prod --node w-1", 2, "stay on it");
    ground.run("alice", "cert issue kubelet-serving -c prod --node w-1").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_colleagues_expired_key_keeps_no_issuer_from_their_own_certificate() {
    let mut ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    // Two years old all but a month, which is when it ends.
    let now = ground.now;
    ground.now = now.minus(Span::days(700));
    let file = newcomer(&mut ground, "carol");
    ground.now = now;
    ground.run("alice", &format!("person add carol --pgp {file} --keyholder prod")).ends(0);
    ground.run("carol", "trust sign --yes").ends(0);
    ground.now = now.plus(Span::days(60));
    refused(&ground, "alice", "cert issue apiserver -c prod --node cp-1", 3, "nothing is sealed to it");
    ground.run("alice", "cert issue break-glass -c prod --reason API_down").ends(0).says("BREAK-GLASS");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_cluster_that_is_not_there_has_no_certificates_to_look_at() {
    let ground = staffed(1);
    refused(&ground, "bob", "cert expiry -c porod", 2, "no cluster porod");
    refused(&ground, "bob", "cert expiry --quick -c porod", 2, "no cluster porod");
}

#[test]
fn figures_for_prometheus_are_one_file_and_of_a_valid_tree_alone() {
    let ground = staffed(1);
    let file = ground.dir.path().join("kluis.prom");
    let words = format!("cert expiry --prometheus {}", file.display());
    let listed = data(&ground.run("bob", &format!("{words} -o json")).ends(0), "cert expiry");
    let text = std::fs::read_to_string(&file).unwrap();
    let samples: Vec<&str> = text.lines().filter(|line| line.contains("_not_after_timestamp_seconds{")).collect();
    let certificates = listed["certificates"].as_array().unwrap();
    assert_eq!(samples.len(), certificates.len());
    for (sample, certificate) in samples.iter().zip(certificates) {
        let end = kluis::model::Time::parse(certificate["not_after"].as_str().unwrap()).unwrap();
        assert_eq!(sample.rsplit(' ').next(), Some(end.unix().to_string().as_str()), "{sample}");
        assert!(sample.contains("{cluster=\"prod\",kind="), "{sample}");
    }
    let ends = |line: &str| text.lines().any(|known| known == line);
    assert!(
        ends("kluis_verified 1") && ends(&format!("kluis_written_timestamp_seconds {}", ground.now.unix())),
        "{text}"
    );
    assert!(text.contains("\nkluis_epoch_expires_timestamp_seconds "), "{text}");
    assert!(text.ends_with('\n') && ground.run("bob", "cert expiry --prometheus -").ends(0).out == text);
    // With --quick nothing was verified, and that is said.
    let quick = ground.run("bob", "cert expiry --quick --prometheus -").ends(0).out;
    assert!(quick.contains("\nkluis_verified 0\n") && !quick.contains("epoch"), "{quick}");
    // Never among what people signed; and no figures of a tree that is not valid, so that their age tells.
    let inside = ground.repo().join("clusters/prod/kluis.prom");
    refused(&ground, "bob", &format!("cert expiry --prometheus {}", inside.display()), 2, "among the files");
    // Nor is anything but a file replaced by one: /dev/null would be gone for every program of the machine.
    let link = ground.dir.path().join("link");
    std::os::unix::fs::symlink("/proc/self/fd/1", &link).unwrap();
    refused(&ground, "bob", &format!("cert expiry --prometheus {}", link.display()), 2, "no regular file");
    refused(&ground, "bob", &format!("report --html {}", link.display()), 2, "no regular file");
    assert!(link.symlink_metadata().unwrap().file_type().is_symlink());
    ground.edit("clusters/prod/cluster.toml", |text| format!("{text}# edited\n"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ground.run("bob", &words).exit, 3);
    assert!(!file.exists());
}

#[test]
fn what_ends_soon_is_renewed_and_the_rest_stays() {
    let mut ground = staffed(1);
    let apiserver = "clusters/prod/certs/node/cp-1/apiserver.crt";
    ground.run("alice", "cert renew -c prod").ends(0).says("nothing ends so soon");
    ground.now = ground.now.plus(Span::days(300));
    ground.run("alice", "cert issue apiserver -c prod --node cp-1 --accept-stale").ends(0);
    let kept = ground.read(apiserver);
    ground.now = ground.now.plus(Span::days(50));
    let expiry = data(&ground.run("bob", "cert expiry -c prod --within 30d -o json").ends(0), "cert expiry");
    let quick = data(&ground.run("bob", "cert expiry --quick -c prod --within 30d -o json").ends(0), "cert expiry");
    assert_eq!((&expiry["certificates"], &expiry["soon"]), (&quick["certificates"], &quick["soon"]));
    assert_eq!((expiry["verified"].as_bool(), quick["verified"].as_bool()), (Some(true), Some(false)));
    let renewed = ground.run("alice", "cert renew -c prod -o json").ends(0);
    let renewed = data(&renewed, "cert renew");
    assert_eq!(renewed["certificates"].as_array().unwrap().len(), expiry["certificates"].as_array().unwrap().len());
    assert_eq!(renewed["kept"], 1);
    assert_eq!(ground.read(apiserver), kept);
    assert_eq!(ground.errors(), [""; 0]);
    refused(&ground, "alice", "cert renew -c prod --node w-9", 2, "no node w-9");
}

// --- generations of groups --------------------------------------------------------------------------------------------

fn bound(ground: &Ground, words: &str) -> String {
    let Answered { out, .. } = ground.run("bob", &format!("export rbac -c prod {words}")).ends(0);
    out
}

#[test]
fn raising_a_group_moves_everybody_to_the_next_generation() {
    let ground = staffed(1);
    let before = asks(&ground, "erin", "--group developers");
    ground.run("alice", &format!("request approve {before} --yes")).ends(0);
    let manifest = bound(&ground, "--role developers=edit");
    assert!(manifest.contains("  name: edit") && manifest.contains("name: developers\n"), "{manifest}");
    let raised = ground.run("alice", "trust raise developers -c prod").ends(0);
    raised.says("erin of prod until").says("kluis export rbac -c prod").says("with every --role");
    let manifest = bound(&ground, "--role developers=edit");
    assert!(manifest.contains("name: developers:g2\n") && !manifest.contains("name: developers\n"), "{manifest}");
    assert!(ground.owed().contains(&"excess-cert".to_owned()));
    // Who asks for the group gets its newest generation, and so does who joins it.
    let again = asks(&ground, "erin", "--group developers");
    assert_eq!(state(&ground, &again)["groups"], serde_json::json!(["developers:g2"]));
    let latest = || ground.verified().chain.latest().unwrap().epoch.clone();
    let name = |name| PersonName::parse(name).unwrap();
    let prod = kluis::model::ClusterName::parse("prod").unwrap();
    assert!(latest().clusters[&prod].groups[&name("dave")].contains("developers:g2"));
    ground.run("alice", "person update bob --group prod=developers").ends(0);
    assert!(latest().clusters[&prod].groups[&name("bob")].contains("developers:g2"));
    ground.run("alice", "person update dave --no-group prod=developers").ends(0);
    assert!(!latest().clusters[&prod].groups.contains_key(&name("dave")));
    refused(&ground, "alice", "trust raise nobodies -c prod", 2, "nobody may ask");
    refused(&ground, "alice", "export rbac -c prod --role nobodies=edit", 2, "nobody may ask");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_generation_that_was_left_behind_never_comes_back() {
    let ground = staffed(1);
    ground.run("alice", "trust raise developers -c prod").ends(0);
    for person in ["erin", "dave"] {
        ground.run("alice", &format!("person update {person} --no-group prod=developers")).ends(0);
    }
    // Nobody has the group now. Who joins it next must not bring back what its first generation could do.
    ground.run("alice", "person update bob --group prod=developers").ends(0);
    let groups = |person: &str| {
        let latest = ground.verified().chain.latest().unwrap().epoch.clone();
        let prod = kluis::model::ClusterName::parse("prod").unwrap();
        latest.clusters[&prod].groups[&PersonName::parse(person).unwrap()].clone()
    };
    assert!(groups("bob").contains("developers:g2") && !groups("bob").contains("developers"), "{:?}", groups("bob"));
    // Whoever names the first by hand, in an epoch of their own, is moved past all that ever were.
    ground.epoch(&["alice"], |epoch| {
        let prod = kluis::model::ClusterName::parse("prod").unwrap();
        let bound = &mut epoch.clusters.get_mut(&prod).unwrap().groups;
        bound.insert(PersonName::parse("bob").unwrap(), ["developers".to_owned()].into());
    });
    ground.run("alice", "trust raise developers -c prod").ends(0);
    assert!(groups("bob").contains("developers:g3"), "{:?}", groups("bob"));
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn a_group_is_bound_to_one_role_in_one_place() {
    let ground = staffed(1);
    refused(&ground, "bob", "export rbac -c prod --role developers=view --role developers=edit", 2, "two roles");
    refused(&ground, "bob", "export rbac -c prod --role developers=a/view --role developers=a/edit", 2, "two roles");
    bound(&ground, "--role developers=view --role developers=a/edit --role developers=b/edit --role viewers=view");
}

#[test]
fn an_approval_below_the_threshold_has_no_lifetime() {
    let ground = staffed(2);
    let request = asks(&ground, "dave", "--break-glass --reason API_down");
    let approve = format!("request approve {request} --lifetime 30m --yes");
    refused(&ground, "bob", &approve, 2, "whoever issues");
    ground.run("bob", &approve.replace("--lifetime 30m", "")).ends(0);
    ground.run("alice", &approve).ends(0).says("30m instead of 1h");
    assert_eq!(certificate(&ground, "dave", "break-glass").not_after.since(ground.now), 1800);
}

#[test]
fn break_glass_near_its_end_is_asked_for_anew() {
    let mut ground = staffed(1);
    let config = ground.dir.path().join("config");
    let words = format!("kubeconfig -c prod --break-glass --reason API_down --out {}", config.display());
    let issued = |ground: &Ground| certificate(ground, "alice", "break-glass").sha256;
    let fresh = ground.run("alice", &words).ends(0);
    assert!(!fresh.err.contains("ends in"), "it has just begun:\n{}", fresh.err);
    let first = issued(&ground);
    ground.now = ground.now.plus(Span::minutes(5));
    let again = ground.run("alice", &words).ends(0);
    assert!(!again.err.contains("ends in"), "{}", again.err);
    assert_eq!(issued(&ground), first, "nothing is issued twice");
    ground.now = ground.now.plus(Span::minutes(45));
    let late = ground.run("alice", &format!("kubeconfig -c prod --break-glass --out {}", config.display())).ends(0);
    late.says("ends in 10 minutes").says("kluis kubeconfig -c prod --break-glass --reason");
    ground.run("alice", &words).ends(0);
    assert_ne!(issued(&ground), first, "what the note says helps");
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn break_glass_in_one_step_asks_waits_and_then_gives_kubectl_a_context() {
    let ground = staffed(2);
    let config = ground.dir.path().join("config");
    let words = format!("kubeconfig -c prod --break-glass --reason API_down --out {}", config.display());
    ground.run("dave", &words).ends(0).says("BREAK-GLASS  dave asks for system:masters on prod for 1h");
    let pending = || ground.verified().requests.all().count();
    ground.run("dave", &words).ends(0).says("it takes 2 issuers, approved by nobody");
    assert_eq!((pending(), config.exists()), (1, false), "nothing is asked twice");
    let list = data(&ground.run("bob", "request list -o json").ends(0), "request list");
    let request = list["requests"][0]["request"].as_str().unwrap().to_owned();
    ground.run("bob", &format!("request approve {request} --yes")).ends(0);
    ground.run("erin", "status").says("dave asks for it on prod: 1 of 2 issuers approve");
    ground.run("alice", &format!("request approve {request} --yes")).ends(0).says("dave runs kluis kubeconfig");
    ground.run("dave", &words).ends(0).says("Wrote context dave-break-glass@prod");
    assert!(std::fs::read_to_string(&config).unwrap().contains("--break-glass"));
    // Where one issuer is enough, and is who asks, it is issued at once, and says so.
    let solo = staffed(1);
    let words = words.replace(&config.display().to_string(), &solo.dir.path().join("config").display().to_string());
    solo.run("alice", &format!("{words} --dry-run")).ends(0).says("Would issue");
    solo.run("alice", &words).ends(0).says("issued by you alone (threshold.break_glass is 1)");
    assert_eq!((ground.errors(), solo.errors()), (vec![], vec![]));
}

#[test]
fn a_group_that_nobody_may_ask_for_any_more_is_bound_to_nobody() {
    let ground = staffed(1);
    ground.run("alice", "person update erin --no-group prod=viewers").ends(0);
    let manifest = bound(&ground, "--role viewers=view --role developers=edit");
    let at = manifest.split("---").find(|part| part.contains("name: kluis:viewers")).unwrap().to_owned();
    assert!(at.contains("subjects: []") && at.contains("name: view"), "{manifest}");
    ground.run("alice", "person update erin --group prod=kubeadm:cluster-admins").ends(2).says("kubeadm's own");
}

#[test]
fn a_request_that_waits_does_not_keep_its_key_from_being_revoked() {
    let mut ground = staffed(1);
    // Somebody whom the latest epoch alone lists: no earlier one could ever have granted what they ask for.
    let file = newcomer(&mut ground, "frank");
    ground.run("alice", &format!("person add frank --pgp {file} --group prod=developers")).ends(0);
    ground.run("frank", "trust sign --yes").ends(0);
    asks(&ground, "frank", "");
    ground.run("alice", "person revoke-key frank --reason laptop_stolen --yes").ends(0).says("go along");
    assert_eq!(ground.errors(), [""; 0]);
    assert_eq!(ground.verified().requests.all().count(), 0);
    ground.run("bob", "verify --base HEAD~1").says("valid");
}
