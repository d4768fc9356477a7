//! Sealed files that no public check can find fault with, or that would hurt whoever opens them (docs/SECURITY.md: T3, T16,
//! T19, T34, T39, T59, T67, T72, T73), staged with stock gpg and openssl.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod stock;

use std::fs;
use std::os::unix::fs::symlink;

use stock::*;

const BOTH: &[&str] = &["alice", "bob"];
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";
const OPEN: &[&str] = &["open", "-c", "prod", "ca.kubernetes", "--yes"];

fn plain(stock: &Stock) -> String {
    stock.plaintext(PROD, "ca.kubernetes", "ca.kubernetes", "prod-ca")
}

/// Puts these bytes in the place of the sealed CA key, with a record of alice's that calls them what they should be.
fn recorded(stock: &mut Stock, bytes: &[u8]) {
    stock.write(CA, bytes);
    let entry = sealed_entry(stock, CA, bytes, ("ca.kubernetes", &stock.spki("prod-ca")), BOTH, 2);
    let head = stock.add_record("alice", &entry);
    stock.pin = Some(stock.pin_here(1, &[head]));
    stock.commit();
}

/// It is refused on opening, and no key comes out.
#[track_caller]
fn refused(stock: &Stock, who: &str, exit: i32, what: &str) {
    let (found, said) = stock.kluis(who, OPEN);
    assert!(found == exit && said.contains(what) && !said.contains("PRIVATE"), "{found} {said}");
}

/// The packets of a message of gpg's.
fn message(stock: &Stock, armored: &[u8]) -> Vec<Vec<u8>> {
    fs::write(stock.work("message"), armored).unwrap();
    packets(&run(stock.gpg().args(["-o", "-", "--dearmor"]).arg(stock.work("message"))).stdout)
}

/// Sealed to alice and mallory; mallory's packet says that it is bob's.
#[test]
fn t34_a_relabelled_recipient_is_seen_by_the_colleague_who_opens_it() {
    let mut stock = Stock::valid();
    let mut parts = message(&stock, &stock.encrypt(&plain(&stock), &["alice", "mallory"], &[]));
    let key_id = |name: &str| {
        let subkey = &stock.person(name).subkey;
        (24..40).step_by(2).map(|at| u8::from_str_radix(&subkey[at..at + 2], 16).unwrap()).collect::<Vec<u8>>()
    };
    let (bob, mallory) = (key_id("bob"), key_id("mallory"));
    let at = parts[1].windows(8).position(|part| part == mallory).unwrap();
    parts[1].splice(at..at + 8, bob);
    recorded(&mut stock, &armor("MESSAGE", &parts.concat()));
    stock.verify().is_fine();
    // What the attacker gets: with the label put right, mallory's key opens it.
    parts[1].splice(at..at + 8, mallory);
    fs::write(stock.work("relabelled"), armor("MESSAGE", &parts.concat())).unwrap();
    let key = format!("{}!", stock.person("mallory").subkey);
    let opened = run(stock.gpg().args(["--try-secret-key", &key, "-d"]).arg(stock.work("relabelled"))).stdout;
    assert!(String::from_utf8(opened).unwrap().contains(&stock.pem_key("prod-ca")));
    // What finds it: bob can't open it; and nobody has confirmed it.
    refused(&stock, "bob", 6, "not really encrypted to key");
    stock.verify_with(&["--strict", "--at", &stock.now("+31 days")]).is(3, "unconfirmed");
}

#[test]
fn t39_a_sealed_key_that_fits_no_certificate_is_used_for_nothing() {
    let mut stock = Stock::valid();
    stock.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out own.key");
    let other = plain(&stock).replace(&stock.pem_key("prod-ca"), &stock.pem_key("own"));
    let bytes = stock.encrypt(&other, BOTH, &[]);
    recorded(&mut stock, &bytes);
    stock.verify().is_fine();
    refused(&stock, "bob", 3, "spki-mismatch");
    // Nor is anything signed with it.
    let head = record_head(&stock, "alice", 1, &[stock.head()], &stock.now("now"));
    stock.record("alice", &(head + &stock.describe_node()));
    stock.commit();
    let before = stock.git("rev-parse HEAD");
    let (exit, said) = stock.kluis("alice", &["cert", "issue", "-c", "prod", "apiserver", "--node", "cp-1"]);
    assert!(exit == 3 && said.contains("spki-mismatch"), "{exit} {said}");
    assert_eq!(stock.git("rev-parse HEAD"), before);
}

#[test]
fn t19_a_sealed_key_that_says_it_is_for_another_place_is_used_for_nothing() {
    for (old, new) in [
        (PROD, STAGE),
        ("name: ca.kubernetes", "name: ca.etcd"),
        ("generation: 1", "generation: 2"),
        ("repo: 3f6c", "repo: 4f6c"),
    ] {
        let mut stock = Stock::valid();
        let bytes = stock.encrypt(&plain(&stock).replace(old, new), BOTH, &[]);
        recorded(&mut stock, &bytes);
        stock.verify().is_fine();
        refused(&stock, "bob", 3, "context-mismatch");
    }
}

/// 200 MB of zeros in a message of some hundred KB, and the right key in one that is compressed.
#[test]
fn t72_what_is_compressed_or_grows_is_not_opened() {
    let mut stock = Stock::valid();
    let bytes = stock.encrypt(&plain(&stock), BOTH, &["--compress-algo", "zlib"]);
    recorded(&mut stock, &bytes);
    stock.verify().is_fine();
    refused(&stock, "bob", 3, "bad-container");
    let mut stock = Stock::valid();
    let bomb = "\0".repeat(64 << 20);
    let bytes = stock.encrypt(&bomb, BOTH, &["--compress-algo", "zlib"]);
    assert!(bytes.len() < 256 << 10, "{}", bytes.len());
    recorded(&mut stock, &bytes);
    stock.verify().is_fine();
    refused(&stock, "bob", 3, "bad-container");
}

#[test]
fn t72_nothing_compressed_is_read_in_keys_and_signatures() {
    let stock = Stock::valid();
    let squeezed = |path: &str, label: &str| {
        let bytes = stock.read(path);
        let binary = if bytes.starts_with(b"-----") { message(&stock, &bytes).concat() } else { bytes };
        // An uncompressed block of the "compressed data" packet.
        let body = [&[0u8][..], &binary].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        stock.write(path, armor(label, &[&[0xc8, 0xff][..], &length, &body].concat()));
        stock.verify()
    };
    assert_eq!(squeezed("pubkeys/alice.asc", "PUBLIC KEY BLOCK").exit, 3);
    let stock = Stock::valid();
    let path = format!("{}.bob.sig", stock.record_of("bob"));
    let body = [&[0u8][..], &stock.read(&path)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    stock.write(&path, [&[0xc8, 0xff][..], &length, &body].concat());
    assert_eq!(stock.verify().exit, 3);
}

#[test]
fn t73_a_damaged_ciphertext_with_a_matching_record_gives_nothing_away() {
    let good = Stock::valid();
    let parts = message(&good, &good.encrypt(&plain(&good), BOTH, &[]));
    let last = parts.len() - 1;
    for (part, from_end) in [(0, 3), (1, 3), (last, 1), (last, 40), (last, 200)] {
        let mut stock = Stock::valid();
        let mut damaged = parts.clone();
        let at = damaged[part].len() - from_end;
        damaged[part][at] ^= 1;
        recorded(&mut stock, &armor("MESSAGE", &damaged.concat()));
        stock.verify().is_fine();
        let who = if part == 1 { "bob" } else { "alice" };
        refused(&stock, who, 6, if part == last { "damaged" } else { "not really encrypted to key" });
    }
}

#[test]
fn t67_kluis_writes_through_no_link() {
    for place in ["trust/epoch", CA, "trust"] {
        let stock = Stock::valid();
        let elsewhere = stock.work("elsewhere");
        fs::rename(stock.path(place), &elsewhere).unwrap();
        symlink(&elsewhere, stock.path(place)).unwrap();
        stock.commit();
        let listing = || run(std::process::Command::new("ls").arg("-lR").arg(&elsewhere)).stdout;
        let before = listing();
        let (exit, said) = stock.kluis("alice", &["trust", "set", "policy.max_quiet", "80d"]);
        assert!(exit == 3 && said.contains("not-regular"), "{place}: {exit} {said}");
        assert_eq!(listing(), before);
    }
}

#[test]
fn t16_nothing_is_injected_into_a_kubeconfig_by_an_endpoint() {
    let line = "api = \"https://api.prod.example.org:6443\"";
    for evil in ["https://api.evil:6443\\\"\\nusers: []", "https://x\\nserver: https://evil"] {
        let stock = Stock::valid();
        let epoch = stock.second_epoch().text().replace(line, &format!("api = \"{evil}\""));
        stock.write("trust/epoch/0002.toml", epoch);
        stock.sign_epoch(2, BOTH);
        stock.verify().is(3, "bad-text");
    }
}

#[test]
fn t3_kluis_signs_no_second_epoch_of_a_number_that_it_saw_valid() {
    let mut stock = Stock::valid();
    let mut epoch = stock.second_epoch();
    stock.put_epoch(&epoch, BOTH);
    stock.commit();
    let line = stock.pin.take().unwrap();
    let (exit, said) = stock.kluis("bob", &["trust", "pin", &line]);
    assert_eq!(exit, 0, "{said}");
    epoch.break_glass = 1;
    stock.remove("trust/epoch/0002.bob.sig");
    stock.put_epoch(&epoch, &["alice"]);
    stock.commit();
    let (exit, said) = stock.kluis("bob", &["trust", "sign", "--yes"]);
    assert!(exit == 4 && said.contains("error[fork]"), "{exit} {said}");
    assert!(!stock.path("trust/epoch/0002.bob.sig").exists());
}

#[test]
fn t59_no_command_leaves_a_private_key_on_the_disk() {
    let mut stock = Stock::valid();
    let head = stock.add_record("alice", &stock.describe_node());
    stock.pin = Some(stock.pin_here(1, &[head]));
    stock.commit();
    for words in [OPEN, &["cert", "issue", "-c", "prod", "apiserver", "--node", "cp-1"], &["doctor"], &["status"]] {
        let (exit, said) = stock.kluis("alice", words);
        assert!(exit == 0 || exit == 5, "{words:?}: {exit} {said}");
    }
    let secret = stock.pem_key("prod-ca").lines().nth(1).unwrap().to_owned();
    let mut searched = run(std::process::Command::new("git").current_dir(stock.repo()).args([
        "cat-file",
        "--batch",
        "--batch-all-objects",
        "--unordered",
    ]))
    .stdout;
    let mut folders: Vec<_> = [stock.repo(), stock.work("state"), stock.work("nobody")].into();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                searched.extend(fs::read(path).unwrap());
            }
        }
    }
    let searched = String::from_utf8_lossy(&searched);
    assert!(searched.contains("-----BEGIN PGP MESSAGE-----"));
    assert!(!searched.contains("PRIVATE KEY") && !searched.contains(&secret));
}
