//! Malformed and hostile files, put into a repository that stock tools made: each is refused by the built
//! binary with its code, on every system alike, without a panic.

mod stock;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use stock::*;

const EPOCH: &str = "trust/epoch/0001.toml";
const BOTH: &[&str] = &["alice", "bob"];

#[test]
fn t66_t71_what_is_too_large_is_not_read() {
    let stock = Stock::valid();
    let file = fs::File::create(stock.path("clusters/prod/sealed/etcd.bin")).unwrap();
    file.set_len(2 << 30).unwrap();
    stock.verify().is(3, "limit");
    let stock = Stock::valid();
    let file = fs::OpenOptions::new().write(true).open(stock.path("clusters/prod/sealed/sa.g1.asc")).unwrap();
    file.set_len(257 << 10).unwrap();
    stock.verify().is(3, "limit");
}

#[test]
fn t71_a_certificate_with_very_many_signatures_is_too_large() {
    let stock = Stock::valid();
    let mut packets = packets(&run(stock.gpg().args(["--export", &stock.person("alice").primary])).stdout);
    let signature = packets[2].clone();
    packets.extend(std::iter::repeat_n(signature, 150_000));
    stock.write("pubkeys/alice.asc", armor("PUBLIC KEY BLOCK", &packets.concat()));
    stock.verify().is(3, "limit");
}

#[test]
fn t67_links_are_never_followed() {
    let stock = Stock::valid();
    let path = stock.path("clusters/prod/ca/kubernetes.g1.crt");
    let elsewhere = stock.work("ca.crt");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    stock.verify().is(3, "not-regular");
    let stock = Stock::valid();
    let elsewhere = stock.work("prod");
    fs::rename(stock.path("clusters/prod"), &elsewhere).unwrap();
    symlink(&elsewhere, stock.path("clusters/prod")).unwrap();
    stock.verify().is(3, "not-regular");
    let stock = Stock::valid();
    fs::rename(stock.path("trust"), stock.work("trust")).unwrap();
    symlink(stock.work("trust"), stock.path("trust")).unwrap();
    assert_eq!(stock.verify().exit, 3);
}

#[test]
fn t68_no_name_in_a_statement_leads_out_of_the_tree() {
    for path in [
        "clusters/../../x/cluster.toml",
        "/etc/cluster.toml",
        "clusters/prod\\\\x/cluster.toml",
        "clusters/.git/cluster.toml",
    ] {
        let stock = Stock::valid();
        stock.add_record("alice", &format!("\n[[config]]\npath = \"{path}\"\nsha256 = \"{}\"\n", sha256("x")));
        let verdict = stock.verify();
        assert_eq!(verdict.exit, 3, "{path}");
        assert!(verdict.codes.iter().any(|c| c == "bad-name" || c == "bad-path"), "{path}: {verdict:?}");
    }
}

#[test]
fn t69_names_that_some_file_system_would_change_are_refused_everywhere() {
    for name in ["Prod", "pr\u{3bf}d", "prod.", "con", "aux", "nul.x", "a..b", "-a", "cafe\u{301}"] {
        let stock = Stock::valid();
        stock.write(&format!("clusters/{name}/cluster.toml"), "x");
        stock.verify().is(3, "bad-name");
    }
}

#[test]
fn t70_converted_line_endings_are_found_and_explained() {
    let stock = Stock::valid();
    stock.commit();
    stock.write(".gitattributes", "* text eol=crlf\n");
    stock.commit();
    let clone = stock.work("clone");
    run(Command::new("git").args(["clone", "-q"]).arg(stock.repo()).arg(&clone));
    let verdict = stock.verify_at(&clone, &[]);
    assert_eq!(verdict.exit, 3, "{verdict:?}");
    let stock = Stock::valid();
    let path = "clusters/prod/cluster.toml";
    stock.write(path, stock.text(path).replace('\n', "\r\n"));
    let verdict = stock.verify();
    verdict.is(3, "config-hash");
    assert!(verdict.text.contains("line-endings"), "{}", verdict.text);
}

#[test]
fn t72_t73_t74_what_is_no_plain_container_is_refused() {
    let path = "clusters/prod/sealed/sa.g1.asc";
    let recorded = |bytes: &[u8]| {
        let stock = Stock::valid();
        stock.write(path, bytes);
        let entry = sealed_entry(&stock, path, bytes, ("sa", &stock.spki("prod-sa")), BOTH, 2);
        stock.add_record("alice", &entry);
        stock.verify()
    };
    let stock = Stock::valid();
    let good = stock.read(path);
    let text = String::from_utf8(good.clone()).unwrap();
    assert_eq!(recorded(text.trim_end().as_bytes()).exit, 3);
    recorded(&text.as_bytes()[..text.len() / 2]).is(3, "bad-armor");
    recorded(&[&good[..], b"x\n"].concat()).is(3, "trailing-data");
    recorded(&[&good[..], &good[..]].concat()).is(3, "trailing-data");
    let packets = packets_of(&stock, path);
    let whole = |list: &[Vec<u8>]| armor("MESSAGE", &list.concat());
    let mut twice = packets.clone();
    twice.push(packets.last().unwrap().clone());
    recorded(&whole(&twice)).is(3, "bad-container");
    recorded(&whole(&packets[..2])).is(3, "bad-container");
    recorded(&whole(&packets[2..])).is(3, "bad-container");
    let mut old = packets.clone();
    let last = old.last_mut().unwrap();
    last[0] = 0xc0 | 9; // without integrity protection
    recorded(&whole(&old)).is(3, "bad-container");
    let mut marked = packets.clone();
    marked.insert(0, b"\xca\x03PGP".to_vec());
    recorded(&whole(&marked)).is(3, "bad-container");
}

fn packets_of(stock: &Stock, path: &str) -> Vec<Vec<u8>> {
    let mut gpg = stock.gpg();
    packets(&run(gpg.args(["-o", "-", "--dearmor"]).arg(stock.path(path))).stdout)
}

#[test]
fn t74_a_signature_file_holds_one_signature() {
    let stock = Stock::valid();
    let signature = "trust/epoch/0001.alice.sig";
    let one = stock.read(signature);
    stock.write(signature, [&one[..], &one[..]].concat());
    stock.verify().is(3, "trailing-data");
    let more = armor("SIGNATURE", &one);
    stock.write(signature, &more);
    stock.verify().is_fine();
    stock.write(signature, [&more[..], b"more\n"].concat());
    stock.verify().is(3, "trailing-data");
}

#[test]
fn t75_t76_statements_have_one_way_to_be_written() {
    let good = Stock::valid().text(EPOCH);
    let deep = format!("{}x = {}1{}\n", good, "[".repeat(10_000), "]".repeat(10_000));
    for bad in [
        good.replace("number = 1\n", "number = 1\nnumber = 1\n"),
        good.replace("number = 1\n", "number = 1\nskip = true\n"),
        format!("\u{feff}{good}"),
        good.replace('\n', "\r\n"),
        good.replace("number = 1\n", "number = 1 # one\n"),
        good.replace("number = 1\n", "number = 0x1\n"),
        good.replace("number = 1\n", "number = 99999999999999999999\n"),
        good.replace("Z\nexpires", "+00:00\nexpires"),
        good.replace("reason = \"test\"", "reason = 'test'"),
        good.replace("reason = \"test\"", "\"reason\" = \"test\""),
        good.replace("reason = \"test\"", "reason = \"\\u0074est\""),
        format!("{good}\n"),
        good.trim_end().to_owned(),
        deep,
        "not toml".to_owned(),
        String::new(),
    ] {
        let stock = Stock::valid();
        stock.write(EPOCH, bad);
        stock.sign_epoch(1, BOTH);
        stock.verify_with(&["--pin", &stock.pin_here(1, &[])]).is(3, "not-canonical");
    }
    let stock = Stock::valid();
    stock.write(EPOCH, good.replace("reason = \"test\"", "reason = \"te\\u001bst\""));
    stock.sign_epoch(1, BOTH);
    stock.verify_with(&["--pin", &stock.pin_here(1, &[])]).is(3, "bad-text");
    stock.write(EPOCH, good.replace("kluis/epoch/1", "kluis/epoch/2"));
    stock.sign_epoch(1, BOTH);
    stock.verify_with(&["--pin", &stock.pin_here(1, &[])]).is(3, "newer-format");
}

/// A user ID is whatever its owner likes; it is never data, and never printed as it is.
#[test]
fn t75_t78_hostile_user_ids_stay_inert() {
    let stock = Stock::valid();
    let mut stranger = Stock::with_people(&[]);
    let id = "eve\"\nrole = \"root\"\u{1b}[2J\u{202e}";
    run(stranger.gpg().args([
        "--allow-freeform-uid",
        "--passphrase",
        "",
        "--quick-gen-key",
        id,
        "ed25519",
        "default",
        "2y",
    ]));
    stranger.pin = None;
    let certificate = run(stranger.gpg().args(["--armor", "--export"])).stdout;
    stock.write("pubkeys/alice.asc", certificate);
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("HOME", stock.work("nobody")).arg("-C").arg(stock.repo());
    let output = kluis.args(["--pin", stock.pin.as_ref().unwrap(), "verify"]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains("role = \"root\"\n"), "{text}");
}

#[test]
fn t77_epochs_count_without_gaps_and_time_runs_forward() {
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    epoch.number = 4;
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "epoch-number");
    let stock = Stock::valid();
    stock.write("trust/epoch/9000000000000000000.toml", "x");
    assert_eq!(stock.verify().exit, 3);
    let stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    epoch.created = "2090-01-01T00:00:00Z".to_owned();
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "epoch-time");
    let mut epoch = stock.second_epoch();
    epoch.expires = epoch.created.clone();
    stock.put_epoch(&epoch, BOTH);
    stock.verify().is(3, "epoch-time");
}

#[test]
fn t78_a_hostile_path_is_one_escaped_line() {
    let stock = Stock::valid();
    stock.write("clusters/prod/a\nerror[fake]: \u{1b}[31m", "x");
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("HOME", stock.work("nobody")).arg("-C").arg(stock.repo());
    let output = kluis.args(["--pin", stock.pin.as_ref().unwrap(), "verify"]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("error[fake]")), "{text}");
}

/// An issued certificate that openssl reads, and that a strict reader does not.
#[test]
fn t79_loose_der_odd_serials_and_endless_lives_are_refused_though_recorded() {
    let path = "clusters/prod/certs/node/cp-1/apiserver.crt";
    let stock = Stock::valid();
    stock.make_leaf("odd", "prod-ca", "/CN=kube-apiserver", LEAF, 300);
    let der = stock.der("odd");
    // One zero more in the length of the whole.
    let loose = [&[0x30, 0x83, 0][..], &der[2..]].concat();
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(loose);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    stock.write(path, format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")));
    stock.verify().is(3, "cert-format");
    for (serial, recorded, days, code) in [
        ("-5", "05", 300, "cert-format"),
        ("0", "01", 300, "cert-format"),
        ("7", "07", 2_900_000, "lifetime"),
        ("7", "08", 300, "leaf-facts"),
    ] {
        let stock = Stock::valid();
        stock.make_leaf("odd", "prod-ca", "/CN=kube-apiserver", LEAF, 300);
        stock.openssl(&format!(
            "x509 -req -in odd.csr -CA prod-ca.crt -CAkey prod-ca.key -set_serial {serial} -days {days} -extfile leaf.ext -out odd.crt"
        ));
        stock.write(path, fs::read(stock.work("odd.crt")).unwrap());
        let entry = issued(&stock, path, "odd", "prod-ca", "CN=kube-apiserver");
        let (before, after) = entry.split_once("serial = \"").unwrap();
        let (_, after) = after.split_once('"').unwrap();
        let entry = format!("{before}serial = \"{recorded}\"{after}");
        // Its key is in the node's bundle, as it should be.
        let plain = stock.plaintext(PROD, "node.cp-1", "apiserver", "odd");
        let sealed = "clusters/prod/sealed/node.cp-1.asc";
        let bundle = seal(&stock, sealed, &plain, ("apiserver", &stock.spki("odd")), BOTH, 2);
        stock.add_record("alice", &(bundle + &entry));
        let verdict = stock.verify();
        assert_eq!((verdict.exit, &verdict.codes[..]), (3, &[code.to_owned()][..]), "{serial}: {verdict:?}");
    }
}
