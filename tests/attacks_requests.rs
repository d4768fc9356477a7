//! Attacks by requests and on them, each staged with stock gpg and openssl (docs/SECURITY.md, "Requests"; T17, T37).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod stock;

use std::fs;

use stock::*;

const SUBJECT: &str = "/O=kluis:admins/CN=alice";

#[test]
fn a_request_made_without_kluis_waits_and_is_granted() {
    let stock = Stock::valid();
    let hash = stock.ask(&stock.asked("client"), "alice");
    stock.verify().is_fine();
    stock.add_record("bob", &stock.grant("client", SUBJECT, &hash));
    stock.verify().is_fine();
}

#[test]
fn t17_a_request_replaced_in_place_keeps_no_signature() {
    let stock = Stock::valid();
    let (_, stem) = stock.put_request(&stock.asked("client"));
    stock.sign("alice", "request", &format!("{stem}.toml"), &format!("{stem}.alice.sig"));
    let signature = stock.read(&format!("{stem}.alice.sig"));
    let path = format!("{stem}.toml");
    stock.write(&path, stock.text(&path).replace("30h", "90d"));
    stock.verify().is(3, "record-name");
    // Another one under its own name, with the signature that was made for the first.
    for ending in ["toml", "alice.sig"] {
        stock.remove(&format!("{stem}.{ending}"));
    }
    let (_, stem) = stock.put_request(&stock.asked("other"));
    stock.write(&format!("{stem}.alice.sig"), signature);
    stock.verify().is(3, "bad-signature");
}

#[test]
fn t37_an_issuer_alone_makes_no_system_masters_certificate() {
    let stock = Stock::valid();
    let mut asked = stock.asked("break-glass");
    (asked.profile, asked.groups, asked.reason) = ("break-glass", vec!["system:masters".to_owned()], "night shift");
    let hash = stock.ask(&asked, "alice");
    stock.verify().is_fine();
    let entry = stock.grant("break-glass", "/O=system:masters/CN=alice", &hash);
    let record = |actor: &str, epoch, parents: &[String], entries: &str| {
        let head = record_head(&stock, actor, epoch, parents, &stock.now("now"));
        stock.record(actor, &(head.replace("reason = \"\"", "reason = \"night shift\"") + entries))
    };
    let first = record("alice", 1, &[stock.head()], &entry);
    stock.verify().is(3, "lifetime");
    // Where a day is not too long, it is still one issuer.
    stock.drop_record(&first);
    let epoch = stock.second_epoch().text().replace("max_break_glass = \"8h\"", "max_break_glass = \"30h\"");
    stock.write("trust/epoch/0002.toml", epoch);
    stock.sign_epoch(2, &["alice", "bob"]);
    let alone = record("alice", 2, &[stock.head()], &entry);
    stock.verify().is(3, "break-glass-threshold");
    // Nor do they help themselves, nor does one other, by adopting it: that takes as many as break-glass.
    let adopt = format!("\n[[adopt]]\nrecord = \"{alone}\"\n");
    for adopter in ["alice", "bob"] {
        let adopted = record(adopter, 2, std::slice::from_ref(&alone), &adopt);
        stock.verify().is(3, "break-glass-threshold");
        stock.drop_record(&adopted);
    }
    // An approval that comes afterwards is none.
    record("bob", 2, &[alone], &format!("\n[[approve]]\nrequest = \"{hash}\"\n"));
    stock.verify().is(3, "break-glass-threshold");
}

#[test]
fn t46_a_request_is_used_once_in_all_epochs() {
    let stock = Stock::valid();
    let hash = stock.ask(&stock.asked("client"), "alice");
    let first = stock.add_record("bob", &stock.grant("client", SUBJECT, &hash));
    stock.verify().is_fine();
    let mut epoch = stock.second_epoch();
    epoch.closes = Some((vec![first.clone()], 3));
    stock.put_epoch(&epoch, &["alice", "bob"]);
    stock.verify().is_fine();
    let again = record_head(&stock, "bob", 2, &[first], &stock.now("now")) + &stock.grant("client", SUBJECT, &hash);
    stock.record("bob", &again);
    stock.verify().is(3, "request-used");
}

#[test]
fn t46_a_request_is_not_used_after_its_time() {
    let stock = Stock::valid();
    let mut asked = stock.asked("client");
    asked.expires = stock.now("-1 days");
    let hash = stock.ask(&asked, "alice");
    stock.add_record("bob", &stock.grant("client", SUBJECT, &hash));
    stock.verify().is(3, "request-expired");
}

/// What verify says of a request of alice's that waits, after `edit`, signed by `signer`.
fn waits(edit: impl FnOnce(&Stock, &mut Asked), signer: &str) -> Verdict {
    let stock = Stock::valid();
    let mut asked = stock.asked("client");
    edit(&stock, &mut asked);
    stock.ask(&asked, signer);
    stock.verify()
}

#[test]
fn t47_a_request_for_another_cluster_is_refused() {
    waits(|_, asked| asked.cluster = STAGE.to_owned(), "alice").is(3, "wrong-cluster-id");
}

#[test]
fn t48_nobody_asks_in_the_name_of_another() {
    waits(|_, _| {}, "bob").is(3, "subject-not-signer");
    let stock = Stock::valid();
    let (_, stem) = stock.put_request(&stock.asked("client"));
    stock.sign("bob", "request", &format!("{stem}.toml"), &format!("{stem}.alice.sig"));
    stock.verify().is(3, "unlisted-signer");
    // In the CSR alone.
    waits(|stock, asked| asked.csr = stock.make_csr("client", "/CN=bob", ""), "alice").is(3, "csr-content");
}

#[test]
fn t49_a_csr_smuggles_nothing() {
    for (subject, options) in [
        ("/O=system:masters/CN=alice", ""),
        ("/CN=alice/O=system:masters", ""),
        ("/CN=alice/CN=root", ""),
        ("/kubernetesUid=0/CN=alice", ""),
        ("/CN=alice", "-addext subjectAltName=DNS:kubernetes"),
        ("/CN=alice", "-addext basicConstraints=critical,CA:TRUE"),
        ("/CN=alice", "-addext extendedKeyUsage=serverAuth"),
    ] {
        let verdict = waits(|stock, asked| asked.csr = stock.make_csr("client", subject, options), "alice");
        assert!(verdict.exit == 3 && verdict.codes == ["csr-content"], "{subject} {options}: {verdict:?}");
    }
    let stock = Stock::valid();
    let mut asked = stock.asked("client");
    asked.groups = vec!["system:masters".to_owned()];
    stock.ask(&asked, "alice");
    stock.verify().is(3, "group-not-allowed");
}

/// A request of alice's, signed with her key by a gpg that believes another time, and her key to live longer.
fn signed_at(offset: &str) -> Verdict {
    let stock = Stock::valid();
    let time = gpg_time(&stock.now(offset));
    let (_, stem) = stock.put_request(&stock.asked("client"));
    let home = stock.work("gpg");
    run(std::process::Command::new("cp").arg("-a").arg(stock.home()).arg(&home));
    for entry in fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("S.") {
            fs::remove_file(entry).unwrap();
        }
    }
    let alice = &stock.person("alice").primary;
    let gpg = |args: &[&str]| {
        let mut gpg = stock.gpg();
        run(gpg.env("GNUPGHOME", &home).args(["--ignore-time-conflict", "--ignore-valid-from"]).args(args));
    };
    gpg(&["--quick-set-expire", alice, "9y"]);
    let (file, signature) = (stock.path(&format!("{stem}.toml")), stock.path(&format!("{stem}.alice.sig")));
    let notation = ["--digest-algo", "SHA512", "--sig-notation", "kind@kluis=request", "--faked-system-time", &time];
    let what = ["-u", &format!("{alice}!"), "-o", signature.to_str().unwrap(), "-b", file.to_str().unwrap()];
    gpg(&[&notation[..], &what].concat());
    run(std::process::Command::new("gpgconf").env("GNUPGHOME", &home).args(["--kill", "all"]));
    stock.verify()
}

#[test]
fn t50_a_signature_from_outside_the_life_of_its_key_is_refused() {
    signed_at("+3 years").is(3, "key-expired");
    signed_at("-1 years").is(3, "signature-time");
}

fn revoke_alice(stock: &Stock) -> String {
    let key = &stock.person("alice").primary;
    format!("\n[[revoke_key]]\nperson = \"alice\"\nkey = \"{key}\"\nreason = \"laptop stolen\"\n")
}

#[test]
fn t51_a_revoked_key_asks_for_nothing_whatever_date_it_claims() {
    let stock = Stock::valid();
    stock.add_record("bob", &revoke_alice(&stock));
    stock.verify().is_fine();
    let (_, stem) = stock.put_request(&stock.asked("client"));
    let options = ["--digest-algo", "SHA512", "--sig-notation", "kind@kluis=request"];
    stock.sign_with(&stock.person("alice").primary, &options, &format!("{stem}.toml"), &format!("{stem}.alice.sig"));
    stock.verify().is(3, "key-revoked");
}

#[test]
fn t52_who_is_not_listed_in_the_cluster_asks_for_nothing() {
    let edit = |stock: &Stock, asked: &mut Asked| {
        asked.person = "bob".to_owned();
        asked.csr = stock.make_csr("client", "/CN=bob", "");
    };
    waits(edit, "bob").is(3, "not-a-requester");
    let edit = |stock: &Stock, asked: &mut Asked| {
        asked.person = "mallory".to_owned();
        asked.csr = stock.make_csr("client", "/CN=mallory", "");
    };
    waits(edit, "mallory").is(3, "unlisted-signer");
}

#[test]
fn t53_a_request_proves_that_it_has_its_key() {
    let broken = |_: &Stock, asked: &mut Asked| *asked.csr.last_mut().unwrap() ^= 1;
    waits(broken, "alice").is(3, "csr-pop");
    // The key of somebody else: their CSR, in which only the public key is changed.
    let stolen = |stock: &Stock, asked: &mut Asked| {
        let point =
            |name: &str| stock.openssl(&format!("pkey -in {name}.key -pubout -outform DER")).stdout[26..].to_vec();
        let (own, other) = (point("client"), point("prod-sa"));
        let at = asked.csr.windows(own.len()).position(|part| part == own).unwrap();
        asked.csr.splice(at..at + own.len(), other);
    };
    waits(stolen, "alice").is(3, "csr-pop");
}

#[test]
fn t53_weak_and_used_keys_are_refused() {
    let weak = |stock: &Stock, asked: &mut Asked| {
        stock.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
        asked.csr = stock.make_csr("weak", "/CN=alice", "");
    };
    waits(weak, "alice").is(3, "weak-key");
    // The key of a node's certificate.
    waits(|stock, asked| asked.csr = stock.make_csr("cp-1", "/CN=alice", ""), "alice").is(3, "spki-reuse");
    let stock = Stock::valid();
    for expires in ["+7 days", "+8 days"] {
        let mut asked = stock.asked("client");
        asked.expires = stock.now(expires);
        stock.ask(&asked, "alice");
    }
    stock.verify().is(3, "spki-reuse");
}
