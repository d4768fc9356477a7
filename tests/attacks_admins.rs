//! What one administrator who turned, or whoever has stolen their key, tries with it (docs/SECURITY.md: T28, T29, T36, T38,
//! T40, T42, T60, T83), staged with stock gpg, openssl and git.

mod stock;

use stock::*;

const BOTH: &[&str] = &["alice", "bob"];

/// Adds a person to an epoch, whose certificate lies in the tree.
fn with(stock: &Stock, epoch: &mut EpochText, name: &str, role: &str) {
    stock.write(&format!("pubkeys/{name}.asc"), stock.certificate(name));
    epoch.persons.push(person_table(stock, name, role));
}

#[test]
fn t28_one_key_listed_under_two_names_is_one_person() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    let (_, alice) = person_table(&stock, "alice", "root");
    stock.write("pubkeys/alice2.asc", stock.read("pubkeys/alice.asc"));
    epoch.persons.insert(1, ("alice2".to_owned(), alice.replace("person.alice", "person.alice2")));
    stock.put_epoch(&epoch, BOTH);
    stock.write("trust/epoch/0002.alice2.sig", stock.read("trust/epoch/0002.alice.sig"));
    stock.verify().is(3, "key-reuse");
}

#[test]
fn t29_a_new_person_signs_the_epoch_that_lists_them() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    with(&stock, &mut epoch, "carol", "root");
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "new-admin-must-sign");
    stock.sign_epoch(2, &["carol"]);
    stock.verify().is_fine();
    // What the new epoch asks for counts as well as what the old one asked for.
    epoch.trust = 4;
    stock.put_epoch(&epoch, &["alice", "bob", "carol"]);
    stock.verify().is(3, "threshold-unreachable");
    epoch.trust = 3;
    stock.put_epoch(&epoch, &["alice", "bob", "carol"]);
    stock.verify().is_fine();
    let mut stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    with(&stock, &mut epoch, "carol", "root");
    stock.put_epoch(&epoch, &["alice", "bob", "carol"]);
    stock.pin = Some(stock.pin_here(2, &[stock.head()]));
    (epoch.number, epoch.previous, epoch.trust) = (3, Some(sha256(stock.read("trust/epoch/0002.toml"))), 3);
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "new-threshold");
}

/// Nothing in the repository shows it. What helps to find it: each record names the hash of a certificate that Kubernetes'
/// audit log shows as `X509SHA256=`, and no record names this one's.
#[test]
fn t36_a_certificate_made_with_an_opened_ca_key_is_in_no_record() {
    let stock = Stock::valid();
    let sealed = stock.path("clusters/prod/sealed/ca.kubernetes.g1.asc");
    let opened = run(stock.gpg().arg("-d").arg(sealed)).stdout;
    std::fs::write(stock.work("stolen.key"), opened).unwrap();
    std::fs::copy(stock.work("prod-ca.crt"), stock.work("stolen.crt")).unwrap();
    stock.make_leaf("eve", "stolen", "/O=system:masters/CN=eve", LEAF_OF_PERSON, 3650);
    stock.openssl("verify -CAfile prod-ca.crt eve.crt");
    stock.verify().is_fine();
    let records: String = stock.records().iter().map(|(stem, _)| stock.text(&format!("{stem}.toml"))).collect();
    assert!(records.contains(&sha256(stock.der("cp-1"))) && !records.contains(&sha256(stock.der("eve"))));
}

/// bob may issue in prod under epoch 1 alone; afterwards he dates a record back.
#[test]
fn t38_a_record_dated_back_to_when_it_was_allowed_is_void() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    let issuers = "issuers = [\n    \"alice\",\n    \"bob\",\n]";
    let (_, prod) = &mut epoch.clusters[0];
    *prod = prod.replace(issuers, "issuers = [\n    \"alice\",\n]");
    epoch.break_glass = 1;
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is_fine();
    let path = "clusters/prod/certs/node/cp-9/scheduler.crt";
    let gone = format!("\n[[removed]]\npath = \"{path}\"\n");
    let head = record_head(&stock, "bob", 1, &[stock.head()], &stock.now("-1 minutes"));
    let dated_back = stock.record("bob", &(head + &gone));
    stock.verify().is(3, "unclosed-old-epoch");
    // Building on it, or closing it later, does not launder it.
    let upon = record_head(&stock, "bob", 2, std::slice::from_ref(&dated_back), &stock.now("now"));
    let upon = stock.record("bob", &upon);
    stock.verify().is(3, "unclosed-old-epoch");
    (epoch.number, epoch.previous) = (3, Some(sha256(stock.read("trust/epoch/0002.toml"))));
    epoch.closes = Some((vec![upon], 4));
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "unclosed-old-epoch");
}

fn revocation(stock: &Stock, name: &str) -> String {
    let key = &stock.person(name).primary;
    format!("\n[[revoke_key]]\nperson = \"{name}\"\nkey = \"{key}\"\nreason = \"stolen\"\n")
}

#[test]
fn t40_whoever_is_suspended_still_counts_for_epochs() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    with(&stock, &mut epoch, "carol", "root");
    stock.put_epoch(&epoch, &["alice", "bob", "carol"]);
    // alice suspends everybody else.
    let mut head = stock.head();
    for name in ["bob", "carol"] {
        let record = record_head(&stock, "alice", 2, &[head], &stock.now("now"));
        head = stock.record("alice", &(record + &revocation(&stock, name)));
    }
    stock.verify().is_fine();
    let void = stock.record("bob", &record_head(&stock, "bob", 2, std::slice::from_ref(&head), &stock.now("now")));
    stock.verify().is(3, "revoked-signer");
    stock.drop_record(&void);
    // bob and carol, the quorum, make an epoch in which alice is no root.
    let mut third = epoch.clone();
    (third.number, third.previous) = (3, Some(sha256(stock.read("trust/epoch/0002.toml"))));
    third.persons[0] = person_table(&stock, "alice", "member");
    third.closes = Some((vec![head.clone()], 4));
    stock.put_epoch(&third, &["bob", "carol"]);
    stock.verify().is_fine();
    // It ends the suspension.
    let record = record_head(&stock, "bob", 3, &[head], &stock.now("now"));
    stock.record("bob", &record);
    stock.verify().is_fine();
}

#[test]
fn t42_a_signature_over_a_key_is_none_over_a_file() {
    let stock = Stock::valid();
    let exported = run(stock.gpg().args(["--export", &stock.person("bob").primary])).stdout;
    let certification = packets(&exported)[2].clone();
    stock.write(&format!("{}.bob.sig", stock.record_of("bob")), certification);
    stock.verify().is(3, "signature-type");
}

#[test]
fn t60_a_stolen_key_has_one_person_s_powers_until_anybody_revokes_it() {
    let stock = Stock::valid();
    // The thief is alice: alone they change no trust.
    let mut epoch = stock.second_epoch();
    epoch.trust = 1;
    stock.put_epoch(&epoch, &["alice"]);
    stock.verify().is(3, "threshold");
    for ending in ["toml", "alice.sig"] {
        stock.remove(&format!("trust/epoch/0002.{ending}"));
    }
    // bob needs nobody else to stop them; what the thief then writes is void, in ignorance, in revenge, and dated back.
    let revoked = stock.add_record("bob", &revocation(&stock, "alice"));
    stock.verify().is_fine();
    for (parent, time, entries) in [
        (stock.head(), "now", String::new()),
        (stock.head(), "-1 minutes", String::new()),
        (revoked, "now", revocation(&stock, "bob")),
    ] {
        let record = record_head(&stock, "alice", 1, &[parent], &stock.now(time));
        let stolen = stock.record("alice", &(record + &entries));
        stock.verify().is(3, "revoked-signer");
        stock.drop_record(&stolen);
        stock.verify().is_fine();
    }
}

#[test]
fn t83_an_epoch_that_closes_without_a_colleague_s_record_erases_nothing_unseen() {
    let mut stock = Stock::valid();
    let before = stock.head();
    let erased = stock.add_record("bob", "\n[[removed]]\npath = \"clusters/prod/certs/node/cp-9/scheduler.crt\"\n");
    stock.verify().is_fine();
    let pin = stock.pin_here(1, std::slice::from_ref(&erased));
    let epoch = without_bob(&stock, "left");
    assert_eq!(epoch.closes, Some((vec![before], 2)), "not {erased}");
    stock.leave(&epoch);
    stock.verify().is(3, "unclosed-old-epoch");
    stock.drop_record(&erased);
    stock.pin = Some(pin);
    stock.verify().is(4, "head-missing");
}

/// Whoever is asked to sign such an epoch is told what it does and does not close.
#[test]
fn t83_t27_who_signs_a_draft_sees_what_it_weakens() {
    let stock = Stock::valid();
    let left_out = stock.add_record("bob", "");
    let mut epoch = stock.second_epoch();
    (epoch.trust, epoch.break_glass) = (1, 1);
    stock.put_epoch(&epoch, &["alice"]);
    stock.commit();
    let (exit, said) = stock.kluis("bob", &["--dry-run", "trust", "sign"]);
    assert_eq!(exit, 0, "{said}");
    for line in ["WEAKER  threshold.trust 2 -> 1", "WEAKER  threshold.break_glass 2 -> 1"] {
        assert!(said.contains(line), "{said}");
    }
    let listed = said.split_once("Records that it does NOT close").unwrap().1;
    assert!(listed.contains(&left_out[..16]), "{said}");
}
