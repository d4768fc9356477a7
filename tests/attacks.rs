//! Attacks on the trust of a repository, each staged with stock gpg, openssl and git, and answered by the
//! built binary with its exit code and finding code. The names are those of docs/SECURITY.md, whose tables say
//! which test stages which attack.

mod stock;

use std::fs;
use std::process::Command;

use stock::*;

const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";
const BOTH: &[&str] = &["alice", "bob"];

#[test]
fn a_repository_made_without_kluis_is_valid() {
    Stock::valid().verify().is_fine();
}

#[test]
fn t1_an_older_tree_is_a_rollback() {
    let mut stock = Stock::valid();
    stock.put_epoch(&stock.second_epoch(), BOTH);
    let pin = stock.pin_here(2, &[stock.head()]);
    assert_eq!(stock.verify_with(&["--pin", &pin]).exit, 0);
    for path in ["trust/epoch/0002.toml", "trust/epoch/0002.alice.sig", "trust/epoch/0002.bob.sig"] {
        stock.remove(path);
    }
    stock.pin = Some(pin);
    stock.verify().is(4, "rollback");
}

#[test]
fn t3_another_epoch_of_the_same_number_is_a_fork() {
    let mut stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    stock.put_epoch(&epoch, BOTH);
    stock.pin = Some(stock.pin_here(2, &[]));
    epoch.break_glass = 1;
    stock.put_epoch(&epoch, BOTH);
    let verdict = stock.verify();
    verdict.is(4, "fork");
    assert!(verdict.text.contains("alice, bob"), "{}", verdict.text);
}

#[test]
fn t4_the_newest_record_can_t_be_dropped_unseen() {
    let stock = Stock::valid();
    let stem = stock.record_of("bob");
    stock.remove(&format!("{stem}.toml"));
    stock.remove(&format!("{stem}.bob.sig"));
    stock.verify().is(4, "head-missing");
}

#[test]
fn t4_a_certificate_whose_record_is_gone_is_unlogged() {
    let stock = Stock::valid();
    let leaf = LEAF.replace("serverAuth", "clientAuth").replace("subjectAltName=DNS:kubernetes,IP:10.96.0.1\n", "");
    stock.write(
        "clusters/prod/certs/node/cp-1/scheduler.crt",
        stock.make_leaf("s", "prod-ca", "/CN=system:kube-scheduler", &leaf, 9),
    );
    stock.verify().is(3, "unlogged-cert");
}

#[test]
fn t5_a_record_from_the_middle_leaves_a_dangling_parent() {
    let stock = Stock::valid();
    let stem = stock.record_of("alice");
    stock.remove(&format!("{stem}.toml"));
    stock.remove(&format!("{stem}.alice.sig"));
    stock.verify().is(3, "dangling-parent");
}

#[test]
fn t6_one_changed_byte_breaks_a_signature() {
    let stock = Stock::valid();
    let path = format!("{}.toml", stock.record_of("bob"));
    stock.write(&path, stock.text(&path).replace("by hand", "by band"));
    stock.verify().is(3, "bad-signature");
    let stock = Stock::valid();
    let epoch = stock.text("trust/epoch/0001.toml").replace("reason = \"test\"", "reason = \"text\"");
    stock.write("trust/epoch/0001.toml", epoch);
    stock.verify_with(&["--pin", &stock.pin_here(1, &[])]).is(3, "bad-signature");
}

#[test]
fn t6_exchanged_signatures_are_bad() {
    let stock = Stock::valid();
    stock.add_record("bob", "");
    let of_bob = stock.records().into_iter().filter(|(_, actor)| actor == "bob");
    let [first, second]: [String; 2] =
        of_bob.map(|(stem, _)| format!("{stem}.bob.sig")).collect::<Vec<_>>().try_into().unwrap();
    let (a, b) = (stock.read(&first), stock.read(&second));
    stock.write(&first, b);
    stock.write(&second, a);
    stock.verify().is(3, "bad-signature");
}

#[test]
fn t7_a_repository_founded_anew_is_not_the_pinned_one() {
    let stock = Stock::valid();
    let epoch = stock.text("trust/epoch/0001.toml").replace("reason = \"test\"", "reason = \"anew\"");
    stock.write("trust/epoch/0001.toml", epoch);
    stock.sign_epoch(1, BOTH);
    for (stem, actor) in stock.records() {
        stock.remove(&format!("{stem}.toml"));
        stock.remove(&format!("{stem}.{actor}.sig"));
    }
    let verdict = stock.verify();
    assert!(verdict.codes.contains(&"genesis-mismatch".to_owned()), "{verdict:?}");
    let mut unpinned = Stock::valid();
    unpinned.pin = None;
    unpinned.verify().is(4, "unpinned");
}

#[test]
fn t8_squashed_shallow_and_packed_clones_stay_valid() {
    let stock = Stock::valid();
    let clone = stock.work("clone");
    run(Command::new("git")
        .args(["clone", "-q", "--depth", "1"])
        .arg(format!("file://{}", stock.repo().display()))
        .arg(&clone));
    assert_eq!(stock.verify_at(&clone, &[]).exit, 0);
    fs::remove_dir_all(clone.join(".git")).unwrap();
    assert_eq!(stock.verify_at(&clone, &[]).exit, 0, "a tarball will do");
}

#[test]
fn t10_another_key_with_the_same_name_is_refused() {
    let stock = Stock::valid();
    let stranger = Stock::with_people(&["alice"]);
    stock.write("pubkeys/alice.asc", stranger.certificate("alice"));
    let verdict = stock.verify();
    verdict.is(3, "cert-hash");
    verdict.is(3, "cert-fingerprint");
}

#[test]
fn t11_an_edited_allowlist_is_a_bad_signature() {
    let stock = Stock::valid();
    let epoch = stock.text("trust/epoch/0001.toml").replacen(
        "issuers = [\n    \"alice\",\n    \"bob\",\n]",
        "issuers = [\n    \"alice\",\n]",
        1,
    );
    stock.write("trust/epoch/0001.toml", epoch);
    stock.verify().is(3, "bad-signature");
}

#[test]
fn t11_an_epoch_with_too_few_or_foreign_signatures_is_a_proposal() {
    let stock = Stock::valid();
    let epoch = stock.second_epoch();
    stock.put_epoch(&epoch, &[]);
    stock.verify().is(3, "threshold");
    stock.put_epoch(&epoch, &["alice"]);
    stock.verify().is(3, "threshold");
    stock.put_epoch(&epoch, &["alice", "mallory"]);
    stock.verify().is(3, "unlisted-signer");
}

#[test]
fn t12_a_grafted_subkey_changes_the_pinned_bytes() {
    let stock = Stock::valid();
    let export = |name: &str| run(stock.gpg().args(["--export", &stock.person(name).primary])).stdout;
    let mut alice = packets(&export("alice"));
    alice.extend(packets(&export("mallory")).split_off(3));
    stock.write("pubkeys/alice.asc", armor("PUBLIC KEY BLOCK", &alice.concat()));
    stock.verify().is(3, "cert-hash");
}

/// Even where the pin is updated by mistake, only a subkey that is bound to alice's primary can be listed.
#[test]
fn t12_a_grafted_subkey_is_not_bound() {
    let stock = Stock::valid();
    let export = |name: &str| run(stock.gpg().args(["--export", &stock.person(name).primary])).stdout;
    let mut alice = packets(&export("alice"));
    alice.extend(packets(&export("mallory")).split_off(3));
    let old = stock.read("pubkeys/alice.asc");
    stock.write(&format!("pubkeys/old/{}.asc", &sha256(&old)[..16]), &old);
    stock.write("pubkeys/alice.asc", armor("PUBLIC KEY BLOCK", &alice.concat()));
    let mut epoch = stock.second_epoch();
    let (_, table) = &mut epoch.persons[0];
    let (own, grafted) = (&stock.person("alice").subkey, &stock.person("mallory").subkey);
    *table = table.replace(&format!("    \"{own}\",\n"), &format!("    \"{own}\",\n    \"{grafted}\",\n"));
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "bad-key");
}

#[test]
fn t13_an_older_copy_of_a_certificate_is_refused() {
    let stock = Stock::valid();
    let mut packets = packets(&run(stock.gpg().args(["--export", &stock.person("alice").primary])).stdout);
    packets.truncate(3);
    stock.write("pubkeys/alice.asc", armor("PUBLIC KEY BLOCK", &packets.concat()));
    stock.verify().is(3, "cert-hash");
}

#[test]
fn t14_another_ca_certificate_is_refused() {
    let stock = Stock::valid();
    stock.write("clusters/prod/ca/kubernetes.g1.crt", stock.make_ca("evil", "kubernetes-ca-g1-prod"));
    stock.verify().is(3, "ca-hash");
    let stock = Stock::valid();
    stock.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out own.key");
    stock.write("clusters/prod/sa/g1.pub", stock.openssl("pkey -in own.key -pubout").stdout);
    stock.verify().is(3, "ca-hash");
}

#[test]
fn t15_a_ca_appended_to_a_ca_is_refused() {
    let stock = Stock::valid();
    let mut both = stock.read("clusters/prod/ca/kubernetes.g1.crt");
    both.extend(stock.make_ca("evil", "evil"));
    stock.write("clusters/prod/ca/kubernetes.g1.crt", both);
    stock.verify().is(3, "ca-set");
    let stock = Stock::valid();
    stock.write("clusters/prod/ca/kubernetes.g2.crt", stock.make_ca("evil", "evil"));
    stock.verify().is(3, "ca-set");
}

#[test]
fn t16_another_endpoint_is_refused_even_with_an_issuer_s_record() {
    let stock = Stock::valid();
    let path = "clusters/prod/cluster.toml";
    stock.write(path, stock.text(path).replace("api.prod", "api.evil"));
    let verdict = stock.verify();
    verdict.is(3, "config-hash");
    verdict.is(3, "api-mismatch");
    let stock = Stock::valid();
    stock.write(path, stock.text(path).replace("api.prod", "api.evil"));
    stock.add_record("alice", &format!("\n[[config]]\npath = \"{path}\"\nsha256 = \"{}\"\n", sha256(stock.read(path))));
    let verdict = stock.verify();
    verdict.is(3, "api-mismatch");
    assert_eq!(verdict.codes.len(), 1, "{verdict:?}");
}

#[test]
fn t18_a_substituted_ciphertext_is_refused() {
    let stock = Stock::valid();
    stock.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out own.key");
    let plain = stock.plaintext(PROD, "ca.kubernetes", "ca.kubernetes", "own");
    stock.write(CA, stock.encrypt(&plain, BOTH, &[]));
    stock.verify().is(3, "ciphertext-hash");
}

#[test]
fn t19_a_ciphertext_of_another_place_is_refused() {
    let stock = Stock::valid();
    let stage = "clusters/stage/sealed/ca.kubernetes.g1.asc";
    stock.write(stage, stock.read(CA));
    stock.verify().is(3, "ciphertext-hash");
    let stock = Stock::valid();
    let bytes = stock.read(CA);
    stock.write(stage, &bytes);
    stock.add_record("alice", &sealed_entry(&stock, stage, &bytes, ("ca.kubernetes", &stock.spki("prod-ca")), BOTH, 2));
    let verdict = stock.verify();
    assert_eq!(verdict.exit, 3);
    assert!(verdict.codes.iter().any(|code| code == "spki-mismatch" || code == "key-reuse"), "{verdict:?}");
}

#[test]
fn t20_an_old_version_put_back_is_superseded() {
    let stock = Stock::valid();
    let old = stock.read(CA);
    let plain = stock.plaintext(PROD, "ca.kubernetes", "ca.kubernetes", "prod-ca");
    let entry = seal(&stock, CA, &plain, ("ca.kubernetes", &stock.spki("prod-ca")), BOTH, 2);
    stock.add_record("alice", &entry);
    stock.verify().is_fine();
    stock.write(CA, old);
    stock.verify().is(3, "superseded");
}

#[test]
fn t21_a_good_signature_of_a_stranger_is_no_signature() {
    let stock = Stock::valid();
    stock.add_record("mallory", "");
    stock.verify().is(3, "unlisted-signer");
}

#[test]
fn t22_no_file_in_the_tree_weakens_a_check() {
    for path in
        ["trust/kluis.toml", "clusters/prod/.kluis", "trust/policy.toml", "pubkeys/trusted", "clusters/kluis.toml"]
    {
        let stock = Stock::valid();
        stock.write(path, "threshold = 0\nskip = true\n");
        stock.verify().is(3, "unexpected-path");
    }
}

#[test]
fn t24_a_certificate_without_a_record_is_unlogged() {
    let stock = Stock::valid();
    let leaf = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
    let pem = stock.make_leaf("eve", "prod-ca", "/O=system:masters/CN=eve", leaf, 9);
    stock.write("clusters/prod/certs/person/eve/client.crt", pem);
    stock.verify().is(3, "unlogged-cert");
}

#[test]
fn t25_a_key_that_no_epoch_pins_is_unexpected() {
    let stock = Stock::valid();
    stock.write("pubkeys/mallory.asc", stock.certificate("mallory"));
    stock.verify().is(3, "unexpected-path");
}

#[test]
fn t26_a_secret_key_in_the_tree_is_found() {
    let stock = Stock::valid();
    let secret = run(stock.gpg().args(["--armor", "--export-secret-keys", &stock.person("alice").primary])).stdout;
    stock.write("pubkeys/alice.asc", secret);
    stock.verify().is(3, "secret-material");
    let stock = Stock::valid();
    stock.write("clusters/prod/ca/kubernetes.g1.crt", stock.pem_key("prod-ca"));
    stock.verify().is(3, "secret-material");
}

#[test]
fn t27_one_root_can_t_lower_a_threshold_or_drop_another() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    epoch.trust = 1;
    stock.put_epoch(&epoch, &["alice"]);
    stock.verify().is(3, "threshold");
}

#[test]
fn t28_a_person_counts_once() {
    let stock = Stock::valid();
    stock.put_epoch(&stock.second_epoch(), &["alice"]);
    stock.write("trust/epoch/0002.bob.sig", stock.read("trust/epoch/0002.alice.sig"));
    stock.verify().is(3, "unlisted-signer");
    let stock = Stock::valid();
    stock.put_epoch(&stock.second_epoch(), &["alice"]);
    stock.write("trust/epoch/0002.alice+old.sig", stock.read("trust/epoch/0002.alice.sig"));
    stock.verify().is(3, "threshold");
}

/// Whether `recipients` may be recorded and packed for the sealed CA key, by alice.
fn sealed_to(packed: &[&str], recorded: &[&str], options: &[&str]) -> Verdict {
    let stock = Stock::valid();
    let plain = stock.plaintext(PROD, "ca.kubernetes", "ca.kubernetes", "prod-ca");
    let bytes = stock.encrypt(&plain, packed, options);
    stock.write(CA, &bytes);
    let entry = sealed_entry(&stock, CA, &bytes, ("ca.kubernetes", &stock.spki("prod-ca")), recorded, 2);
    stock.add_record("alice", &entry);
    stock.verify()
}

#[test]
fn t30_a_recorded_recipient_who_is_no_keyholder_is_refused() {
    sealed_to(&["alice", "bob", "mallory"], &["alice", "bob", "mallory"], &[]).is(3, "recipient-not-allowed");
}

#[test]
fn t31_a_recipient_beyond_the_record_is_refused() {
    sealed_to(&["alice", "bob", "mallory"], BOTH, &[]).is(3, "recipient-set");
}

#[test]
fn t32_a_hidden_recipient_is_refused() {
    let stock = Stock::valid();
    let hidden = format!("{}!", stock.person("mallory").subkey);
    sealed_to(BOTH, BOTH, &["-R", &hidden]).is(3, "hidden-recipient");
    sealed_to(BOTH, BOTH, &["--throw-keyids"]).is(3, "hidden-recipient");
}

#[test]
fn t33_a_passphrase_recipient_is_refused() {
    let options = ["--symmetric", "--pinentry-mode", "loopback", "--passphrase", "x"];
    sealed_to(BOTH, BOTH, &options).is(3, "symmetric-recipient");
}

#[test]
fn t35_a_dropped_recipient_is_seen() {
    sealed_to(&["alice"], BOTH, &[]).is(3, "recipient-set");
    sealed_to(&["alice"], &["alice"], &[]).is(5, "missing-recipient");
}

/// A heartbeat of bob signed with these options of gpg.
fn signed_with(options: &[&str]) -> Verdict {
    let stock = Stock::valid();
    let stem = stock.record_of("bob");
    stock.sign_with(&stock.person("bob").primary, options, &format!("{stem}.toml"), &format!("{stem}.bob.sig"));
    stock.verify()
}

#[test]
fn t41_weak_hashes_are_refused() {
    let record = "kind@kluis=record";
    signed_with(&["--digest-algo", "SHA512", "--sig-notation", record]).is_fine();
    for weak in ["SHA1", "RIPEMD160", "MD5"] {
        let options = ["--allow-weak-digest-algos", "--digest-algo", weak, "--sig-notation", record];
        signed_with(&options).is(3, "weak-hash");
    }
}

#[test]
fn t42_text_and_clear_signatures_are_refused() {
    signed_with(&["--textmode", "--digest-algo", "SHA512", "--sig-notation", "kind@kluis=record"])
        .is(3, "signature-type");
    let stock = Stock::valid();
    let stem = stock.record_of("bob");
    let mut gpg = stock.gpg();
    gpg.args(["-u", &stock.person("bob").primary, "--clearsign", "-o", "-"]).arg(stock.path(&format!("{stem}.toml")));
    stock.write(&format!("{stem}.bob.sig"), run(&mut gpg).stdout);
    assert_eq!(stock.verify().exit, 3);
}

#[test]
fn t43_a_signature_says_what_kind_of_statement_it_signs() {
    signed_with(&["--digest-algo", "SHA512"]).is(3, "notation");
    signed_with(&["--digest-algo", "SHA512", "--sig-notation", "kind@kluis=epoch"]).is(3, "notation");
    let twice =
        ["--digest-algo", "SHA512", "--sig-notation", "kind@kluis=record", "--sig-notation", "kind@kluis=epoch"];
    signed_with(&twice).is(3, "notation");
    signed_with(&["--digest-algo", "SHA512", "--sig-notation", "!kind@kluis=record", "--sig-notation", "!x@y=z"])
        .is(3, "notation");
}

#[test]
fn t44_a_genuine_record_of_another_repository_is_refused() {
    let stock = Stock::valid();
    let other = REPO.replace("3f6c", "4f6c");
    let hash = sha256(stock.read("trust/epoch/0001.toml"));
    stock.record("alice", &record_head_of(&other, &hash, "alice", 1, &[stock.head()], &stock.now("now")));
    stock.verify().is(3, "wrong-repo");
}

#[test]
fn t54_a_leaver_s_record_of_an_old_epoch_is_void() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    epoch.trust = 1;
    epoch.persons.pop();
    let solo = |name: &str, id, keysets: &[(&str, &[(u32, String)])]| {
        cluster_table(
            name,
            id,
            &["alice"],
            &["alice"],
            if name == "prod" { &[("alice", &["kluis:admins"])] } else { &[] },
            keysets,
        )
    };
    let ca = |ca: &str| [(1, sha256(stock.der(ca)))];
    epoch.clusters = vec![
        solo("prod", PROD, &[("kubernetes", &ca("prod-ca")), ("service-account", &[(1, stock.spki("prod-sa"))])]),
        solo("stage", STAGE, &[("kubernetes", &ca("stage-ca"))]),
    ];
    epoch.former = format!(
        "\n[[former]]\nperson = \"bob\"\ncert = \"{}\"\nepoch = 2\nreason = \"left\"\n",
        stock.person("bob").primary
    );
    let bob = stock.read("pubkeys/bob.asc");
    stock.remove("pubkeys/bob.asc");
    stock.write(&format!("pubkeys/old/{}.asc", &sha256(&bob)[..16]), bob);
    stock.put_epoch(&epoch, BOTH);
    let verdict = stock.verify();
    verdict.is(5, "exposure-open");
    verdict.is(5, "extra-recipient");
    stock.add_record("bob", "");
    stock.verify().is(3, "unclosed-old-epoch");
}

#[test]
fn t58_an_old_branch_can_t_bring_a_leaver_back() {
    let stock = Stock::valid();
    let old = [stock.text("trust/epoch/0001.toml"), stock.text("pubkeys/bob.asc")];
    let mut epoch = stock.second_epoch();
    epoch.break_glass = 1;
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is_fine();
    stock.write("trust/epoch/0002.toml", old[0].replace("number = 1", "number = 2"));
    assert_eq!(stock.verify().exit, 3);
}

#[test]
fn t79_a_certificate_file_is_one_strict_pem_block() {
    let path = "clusters/prod/certs/node/cp-1/apiserver.crt";
    let pem = Stock::valid().text(path);
    for bad in [
        format!("{pem}{pem}"),
        format!("x\n{pem}"),
        pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        pem.replace('\n', "\r\n"),
        pem.replacen("\n", "\n\n", 1),
        pem.trim_end().to_owned(),
        String::new(),
    ] {
        let stock = Stock::valid();
        stock.write(path, bad);
        stock.verify().is(3, "cert-format");
    }
}
