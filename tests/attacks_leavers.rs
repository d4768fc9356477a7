//! People who left, who are absent, or whose keys end: what they, or who has their old clone, can still do (docs/SECURITY.md:
//! T2, T55, T56, T57, T58, T81, T82), staged with stock gpg, openssl and git.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod stock;

use stock::*;

const BOTH: &[&str] = &["alice", "bob"];

#[test]
fn t2_a_frozen_repository_is_noticed_once_its_window_has_passed() {
    let stock = Stock::valid();
    assert_eq!(stock.verify_with(&["--at", &stock.now("+80 days")]).exit, 0, "not before");
    stock.verify_with(&["--at", &stock.now("+91 days")]).is(5, "stale");
    stock.verify_with(&["--strict", "--at", &stock.now("+91 days")]).is(3, "stale");
    stock.verify_with(&["--at", &stock.now("+301 days")]).is(5, "epoch-expired");
    stock.verify_with(&["--strict", "--at", &stock.now("+301 days")]).is(3, "epoch-expired");
}

#[test]
fn t2_nothing_is_issued_in_an_expired_epoch_unless_the_decision_goes_on_record() {
    let mut stock = Stock::valid();
    let head = stock.add_record("alice", &stock.describe_node());
    let mut epoch = stock.second_epoch();
    (epoch.created, epoch.expires) = (stock.now("-20 minutes"), stock.now("-10 minutes"));
    epoch.closes = Some((vec![head.clone()], 3));
    stock.put_epoch(&epoch, BOTH);
    stock.pin = Some(stock.pin_here(2, &[head]));
    stock.commit();
    stock.verify().is(5, "epoch-expired");
    let issue = ["cert", "issue", "-c", "prod", "apiserver", "--node", "cp-1"];
    let (exit, said) = stock.kluis("alice", &issue);
    assert!(exit == 3 && said.contains("epoch-expired") && said.contains("--accept-stale"), "{exit} {said}");
    assert_eq!(stock.git("status --porcelain"), "");
    let (exit, said) = stock.kluis("alice", &[&issue[..], &["--accept-stale"]].concat());
    assert_eq!(exit, 0, "{said}");
    let accepted = stock
        .records()
        .iter()
        .any(|(stem, _)| stock.text(&format!("{stem}.toml")).contains("accepted = [\n    \"epoch-expired\",\n]"));
    assert!(accepted, "{said}");
}

/// On each of two branches, another revision of the same sealed file.
#[test]
fn t55_an_epoch_of_a_leaver_s_own_lacks_signatures_or_is_a_fork() {
    let left = Stock::without_bob();
    let mut stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    epoch.break_glass = 1;
    let old = stock.pin.clone().unwrap();
    stock.pin.clone_from(&left.pin);
    stock.put_epoch(&epoch, &["bob"]);
    stock.verify().is(3, "threshold");
    stock.verify_with(&["--pin", &old]).is(3, "threshold");
    // With somebody else who is willing, whoever saw the other one sees the fork.
    stock.put_epoch(&epoch, BOTH);
    stock.verify_with(&["--pin", &old]).is_fine();
    stock.verify().is(4, "fork");
}

#[test]
fn t58_merging_an_old_branch_brings_neither_a_leaver_nor_what_was_sealed_to_them_back() {
    let stock = Stock::without_bob();
    stock.git("checkout -q HEAD~1 -- pubkeys/bob.asc");
    stock.verify().is(3, "unexpected-path");
    stock.remove("pubkeys/bob.asc");
    stock.git("checkout -q HEAD~1 -- clusters");
    stock.verify().is(3, "superseded");
    stock.git("checkout -q HEAD -- clusters");
    stock.write("trust/epoch/0002.toml", stock.text("trust/epoch/0001.toml"));
    assert_eq!(stock.verify().exit, 3);
    stock.git("checkout -q HEAD -- .");
    stock.verify().is(5, "exposure-open");
}

/// What gpg opens of a file as it was in a commit, with bob's key.
fn opened_by_bob(stock: &Stock, what: &str) -> String {
    let blob = stock.git(&format!("show {what}"));
    std::fs::write(stock.work("old.asc"), blob + "\n").unwrap();
    let key = format!("{}!", stock.person("bob").subkey);
    let mut gpg = stock.gpg();
    String::from_utf8(run(gpg.args(["--try-secret-key", &key, "-d"]).arg(stock.work("old.asc"))).stdout).unwrap()
}

#[test]
fn t56_what_a_leaver_could_open_stays_exposed_until_what_is_inside_is_replaced() {
    let stock = Stock::without_bob();
    let path = "clusters/stage/sealed/ca.kubernetes.g1.asc";
    assert!(opened_by_bob(&stock, &format!("HEAD~1:{path}")).contains(&stock.pem_key("stage-ca")));
    let exposed = |stock: &Stock| stock.verify().text.matches(path).count();
    assert!(exposed(&stock) > 0, "sealing again does not end it");
    // A new generation of the CA, brought into use step by step, and the old one distrusted.
    let ca = stock.make_ca("stage-ca-2", "kubernetes-ca-g2-stage");
    stock.write("clusters/stage/ca/kubernetes.g2.crt", ca);
    let (second, old) = (stock.text("trust/epoch/0002.toml"), sha256(stock.der("stage-ca")));
    let previous = (sha256(stock.read("trust/epoch/0001.toml")), sha256(&second));
    let third = second.replace("number = 2", "number = 3").replace(&previous.0, &previous.1);
    let third = third.replace(&old, &format!("{old}\"\ng2 = \"{}", sha256(stock.der("stage-ca-2"))));
    let third = third.split_once("[closes]").unwrap().0.to_owned();
    let closes = format!("[closes]\nheads = {}\ncount = 3\n", list(&[stock.head()]));
    stock.write("trust/epoch/0003.toml", third + &closes);
    stock.sign_epoch(3, &["alice"]);
    let plain = stock.plaintext(STAGE, "ca.kubernetes", "ca.kubernetes", "stage-ca-2");
    let plain = plain.replace("generation: 1", "generation: 2");
    let key = ("ca.kubernetes", &*stock.spki("stage-ca-2"));
    let mut entries = seal(&stock, "clusters/stage/sealed/ca.kubernetes.g2.asc", &plain, key, &["alice"], 1);
    let mut head = stock.head();
    for steps in [&[(2, "staged")][..], &[(2, "trusted")], &[(1, "retiring"), (2, "issuing")], &[(1, "distrusted")]] {
        assert!(exposed(&stock) > 0, "before {steps:?}");
        entries.extend(steps.iter().map(|(generation, state)| phase("stage", "kubernetes", *generation, state)));
        let record = record_head(&stock, "alice", 3, &[head], &stock.now("now"));
        head = stock.record("alice", &(record + &std::mem::take(&mut entries)));
    }
    let verdict = stock.verify();
    assert_eq!((verdict.exit, exposed(&stock)), (5, 0), "{verdict:?}");
}

#[test]
fn t57_a_leaver_s_live_certificate_is_owed_until_it_ends() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    let (_, prod) = &mut epoch.clusters[0];
    let groups = "[cluster.prod.groups]\nalice = [\n    \"kluis:admins\",\n]\n";
    *prod = prod.replace(groups, &format!("{groups}bob = [\n    \"dev\",\n]\n"));
    stock.put_epoch(&epoch, BOTH);
    let mut asked = stock.asked("client");
    (asked.person, asked.groups) = ("bob".to_owned(), vec!["dev".to_owned()]);
    asked.csr = stock.make_csr("client", "/CN=bob", "");
    let hash = stock.ask(&asked, "bob");
    let record = record_head(&stock, "alice", 2, &[stock.head()], &stock.now("now"));
    let head = stock.record("alice", &(record + &stock.grant("client", "/O=dev/CN=bob", &hash)));
    stock.verify().is_fine();
    let mut epoch = without_bob(&stock, "left");
    (epoch.number, epoch.previous) = (3, Some(sha256(stock.read("trust/epoch/0002.toml"))));
    epoch.former = epoch.former.replace("epoch = 2", "epoch = 3");
    epoch.closes = Some((vec![head], 3));
    stock.leave(&epoch);
    stock.verify().is(5, "excess-cert");
    let ended = stock.verify_with(&["--at", &stock.now("+2 days")]);
    assert!(ended.exit == 5 && !ended.codes.contains(&"excess-cert".to_owned()), "{ended:?}");
}

#[test]
fn t81_a_key_is_owed_before_it_ends_and_nothing_is_sealed_to_it_afterwards() {
    let mut stock = Stock::valid();
    stock.verify_with(&["--at", &stock.now("+690 days")]).is(5, "epoch-expired");
    assert!(!stock.verify_with(&["--at", &stock.now("+690 days")]).codes.contains(&"key-expiring".to_owned()));
    stock.verify_with(&["--at", &stock.now("+710 days")]).is(5, "key-expiring");
    // A newcomer whose encryption key has ended.
    stock.make_person_at("dave", &stock.now("-3 days"), "1d");
    stock.write("pubkeys/dave.asc", stock.certificate("dave"));
    let mut epoch = stock.second_epoch();
    epoch.persons.push(person_table(&stock, "dave", "member"));
    let (_, prod) = &mut epoch.clusters[0];
    *prod = prod.replacen("    \"bob\",\n]", "    \"bob\",\n    \"dave\",\n]", 1);
    stock.put_epoch(&epoch, &["alice", "bob", "dave"]);
    stock.pin = Some(stock.pin_here(2, &[stock.head()]));
    stock.commit();
    stock.verify().is(5, "key-expiring");
    let (exit, said) = stock.kluis("alice", &["reseal", "-c", "prod"]);
    assert!(exit == 3 && said.contains("help: kluis person update dave --pgp FILE"), "{exit} {said}");
    assert_eq!(stock.git("status --porcelain"), "");
}

#[test]
fn t82_a_leaked_revocation_certificate_locks_nobody_out() {
    let stock = Stock::valid();
    let bob = &stock.person("bob").primary;
    let leaked = std::fs::read_to_string(stock.home().join(format!("openpgp-revocs.d/{bob}.rev"))).unwrap();
    let home = stock.work("gpg");
    std::fs::create_dir(&home).unwrap();
    run(std::process::Command::new("chmod").arg("700").arg(&home));
    let own = stock.read("pubkeys/bob.asc");
    std::fs::write(stock.work("leaked"), leaked.replace(":-----BEGIN", "-----BEGIN")).unwrap();
    let gpg = |args: &[&str]| run(stock.gpg().args(["--trust-model", "pgp"]).env("GNUPGHOME", &home).args(args)).stdout;
    for file in [stock.path("pubkeys/bob.asc"), stock.work("leaked")] {
        gpg(&["--import", file.to_str().unwrap()]);
    }
    assert!(String::from_utf8(gpg(&["--with-colons", "-k", bob])).unwrap().contains("pub:r:"));
    let revoked = gpg(&["--armor", "--export", bob]);
    stock.write("pubkeys/bob.asc", revoked);
    stock.verify().is(3, "cert-hash");
    // With the pinned bytes, bob still signs.
    stock.write("pubkeys/bob.asc", own);
    stock.add_record("bob", "");
    stock.put_epoch(&stock.second_epoch(), BOTH);
    stock.verify().is_fine();
}
