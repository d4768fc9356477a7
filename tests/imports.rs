//! `cluster import`: what was exported comes back the same; what others made comes in or is refused with the reason; and no key
//! that came in lies anywhere in the clear.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ground::Ground;
use kluis::model::Place;
use tools::openssl;

const NODE: &str = "--node cp-1=10.0.0.11:control-plane,etcd";
const SAID: &str = "--kubernetes 1.36 --endpoint https://10.0.0.11:6443";

/// A CA with a key on P-256 in SEC1, as k3s and kubeadm leave it.
fn authority(dir: &Path, stem: &str, subject: &str) {
    let path = dir.join(stem);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    openssl(dir, &format!("ecparam -name prime256v1 -genkey -noout -out {stem}.key"));
    openssl(
        dir,
        &format!(
            "req -x509 -new -key {stem}.key -subj {subject} -days 3650 -out {stem}.crt \
             -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign"
        ),
    );
}

fn kubeadm(dir: &Path) {
    authority(dir, "ca", "/CN=kubernetes");
    authority(dir, "front-proxy-ca", "/CN=front-proxy-ca");
    authority(dir, "etcd/ca", "/CN=etcd-ca");
    openssl(dir, "genrsa -traditional -out sa.key 2048");
    openssl(dir, "rsa -in sa.key -pubout -out sa.pub");
}

/// Openssl dates what it makes by the clock, so the commands run a little after it.
fn ground() -> Ground {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Ground::at(kluis::model::Time::from_unix(i64::try_from(seconds).unwrap() + 60), &["alice"], 1, 1)
}

fn import(ground: &Ground, from: &Path, words: &str) -> ground::Answered {
    ground.run("alice", &format!("cluster import old --from {} {words}", from.display()))
}

/// Certificates and public keys of a cluster, by their places without the name of the cluster.
fn public(ground: &Ground, cluster: &str) -> BTreeMap<String, Vec<u8>> {
    let of = |path: &str| {
        let rest = path.strip_prefix(&format!("clusters/{cluster}/"))?;
        (rest.starts_with("ca/") || rest.starts_with("sa/") || rest.starts_with("certs/node")).then(|| rest.to_owned())
    };
    let tree = ground.tree();
    let bytes = |path: &String| tree.bytes(path).unwrap().to_vec();
    tree.entries.keys().filter_map(|path| Some((of(path)?, bytes(path)))).collect()
}

/// Every file below a folder, git's objects unpacked.
fn files(root: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path, bytes));
        }
    }
}

#[test]
fn a_kubeadm_folder_comes_in_and_its_keys_lie_nowhere_in_the_clear() {
    let ground = ground();
    let outside = tempfile::tempdir().unwrap();
    kubeadm(outside.path());
    let before = ground.tree();
    import(&ground, outside.path(), &format!("--distribution kubeadm {SAID} {NODE} --dry-run"))
        .ends(0)
        .says("Would adopt");
    assert!(ground.tree() == before, "a dry run leaves no trace");
    let answered = import(&ground, outside.path(), &format!("--distribution kubeadm {SAID} {NODE} -o json")).ends(0);
    let data = &answered.json()["data"];
    assert_eq!(data["lacking"], serde_json::json!(["encryption"]));
    assert_eq!(data["reason"], "adopted from kubeadm");
    assert_eq!(ground.errors(), [""; 0]);
    let verified = ground.verified();
    let record = &verified.log.records[0].record;
    assert!(record.sealed.len() == 4 && record.sealed.iter().all(|entry| entry.imported));
    for (name, file) in [("ca.kubernetes", "ca.key"), ("ca.etcd", "etcd/ca.key"), ("sa", "sa.key")] {
        let opened = ground.run("alice", &format!("open -c old {name} --yes")).ends(0);
        let sealed = outside.path().join("opened.pem");
        fs::write(&sealed, &opened.out).unwrap();
        openssl(outside.path(), "pkey -in opened.pem -pubout -out one.pub");
        openssl(outside.path(), &format!("pkey -in {file} -pubout -out other.pub"));
        assert_eq!(
            fs::read(outside.path().join("one.pub")).unwrap(),
            fs::read(outside.path().join("other.pub")).unwrap()
        );
    }
    // The bytes of the secret number, in the forms in which they could lie about.
    openssl(outside.path(), "pkcs8 -topk8 -nocrypt -in ca.key -outform DER -out ca.der");
    let der = fs::read(outside.path().join("ca.der")).unwrap();
    let number = &der[36..60];
    let text = fs::read_to_string(outside.path().join("ca.key")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.len() == 64).collect();
    let mut all = Vec::new();
    files(ground.dir.path(), &mut all);
    let objects = ground.git("cat-file --batch-all-objects --batch");
    all.push((PathBuf::from("git objects"), objects.into_bytes()));
    assert!(all.len() > 20);
    for (path, bytes) in all {
        let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(
            !has(number) && !has(b"EC PRIVATE KEY") && !lines.iter().any(|line| has(line.as_bytes())),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_kluis_exported_comes_back_the_same() {
    let ground = Ground::new(&["alice"], 1, 1);
    let made = format!("cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 {NODE} --yes");
    ground.run("alice", &made).ends(0);
    let out = ground.dir.path().join("out");
    let export = format!("export kubeadm -c prod --node cp-1 --with-ca-keys --yes --out {}", out.display());
    ground.run("alice", &export).ends(0);
    let (other, said) = (Ground::new(&["alice"], 1, 1), format!("--kubernetes 1.36 {NODE} --distribution kubeadm"));
    import(&other, &out, &said).ends(0).says("endpoint https://api.prod.example.org:6443");
    assert_eq!(public(&other, "old"), public(&ground, "prod"));
    assert_eq!(other.errors(), [""; 0]);
    for secret in ["ca.kubernetes", "ca.etcd", "sa", "encryption", "node.cp-1/apiserver"] {
        let open =
            |ground: &Ground, cluster| ground.run("alice", &format!("open -c {cluster} {secret} --yes")).ends(0).out;
        let body =
            |text: String| text.lines().filter(|line| !line.contains(": ")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(body(open(&other, "old")), body(open(&ground, "prod")), "{secret}");
    }
    other.run("alice", "cluster apply -c old --yes").ends(0).says("nothing to do");
}

#[test]
fn exports_of_every_distribution_come_back_the_same() {
    for (distribution, words, said) in [
        ("k3s", "export k3s -c prod --node cp-1", ""),
        ("rke2", "export rke2 -c prod --node cp-1", ""),
        ("talos", "export talos -c prod", ""),
        ("kubeadm", "export kops -c prod", ""),
        ("kubeadm", "export capi -c prod", ""),
        ("kubeadm", "export pem -c prod --with-ca-keys", ""),
    ] {
        let ground = Ground::new(&["alice"], 1, 1);
        let about =
            format!("--endpoint https://api.prod.example.org:6443 --kubernetes 1.36 --distribution {distribution}");
        ground.run("alice", &format!("cluster new prod {about} {NODE} --yes")).ends(0);
        let out = ground.dir.path().join("out");
        ground.run("alice", &format!("{words} --out {}", out.display())).ends(0);
        let other = Ground::new(&["alice"], 1, 1);
        import(&other, &out, &format!("{about} {said}")).ends(0);
        assert_eq!(other.errors(), [""; 0], "{words}");
        let authorities = |ground: &Ground, cluster| -> BTreeMap<String, Vec<u8>> {
            public(ground, cluster).into_iter().filter(|(path, _)| !path.starts_with("certs/")).collect()
        };
        assert_eq!(authorities(&other, "old"), authorities(&ground, "prod"), "{words}");
        for secret in ["ca.kubernetes", "ca.front-proxy", "sa"] {
            let open = |ground: &Ground, cluster| {
                ground.run("alice", &format!("open -c {cluster} {secret} --yes")).ends(0).out
            };
            assert_eq!(open(&other, "old"), open(&ground, "prod"), "{words} {secret}");
        }
    }
}

#[test]
fn an_adopted_cluster_is_rotated_away_from_its_keys() {
    let ground = ground();
    let outside = tempfile::tempdir().unwrap();
    kubeadm(outside.path());
    import(&ground, outside.path(), &format!("--distribution kubeadm {SAID} {NODE}")).ends(0);
    ground.run("alice", "cluster apply -c old --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("alice", "lint -c old").says("old");
    ground.run("alice", "rotate start kubernetes -c old --yes").ends(0);
    ground.run("alice", "rotate trust kubernetes -c old --yes").ends(0);
    let bundle = "--confirm nodes-have-bundle --yes";
    let plain = |ground: &Ground| ground.run("alice", "exposure alice").out.matches("in plaintext before").count();
    // Three CAs and the service-account key; generations that were made here were never in plaintext.
    assert_eq!(plain(&ground), 4);
    ground.run("alice", &format!("rotate promote kubernetes -c old {bundle}")).ends(0);
    let leaves = "--confirm nodes-have-leaves --confirm clients-moved --yes";
    ground.run("alice", &format!("rotate distrust kubernetes -c old {leaves}")).ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn k3s_comes_in_with_five_authorities_and_its_token() {
    let ground = ground();
    let outside = tempfile::tempdir().unwrap();
    let tls = outside.path().join("tls");
    fs::create_dir(&tls).unwrap();
    for (stem, name) in [
        ("client-ca", "k3s-client-ca"),
        ("server-ca", "k3s-server-ca"),
        ("request-header-ca", "k3s-request-header-ca"),
        ("etcd/server-ca", "k3s-etcd-server-ca"),
        ("etcd/peer-ca", "k3s-etcd-peer-ca"),
    ] {
        authority(&tls, stem, &format!("/CN={name}@1700000000"));
    }
    openssl(&tls, "genrsa -traditional -out service.key 2048");
    fs::copy(tls.join("service.key"), tls.join("service.current.key")).unwrap();
    fs::copy(tls.join("client-ca.crt"), tls.join("client-ca.nochain.crt")).unwrap();
    fs::write(outside.path().join("token"), format!("K10{}::server:secret-of-servers\n", "ab".repeat(32))).unwrap();
    let answered = import(&ground, &tls, &format!("--distribution k3s {SAID} -o json")).ends(0);
    let keysets = answered.json()["data"]["keysets"].as_array().unwrap().len();
    assert_eq!(keysets, 7, "{}", answered.out);
    assert_eq!(ground.errors(), [""; 0]);
    assert!(ground.tree().entries.contains_key("clusters/old/sealed/tokens.g1.asc"));
    import(&ground, &tls, &format!("--distribution kubeadm {SAID}")).ends(3).says("--distribution k3s");
}

#[test]
fn what_is_half_readable_or_does_not_fit_is_refused_whole() {
    let ground = ground();
    let before = ground.tree();
    let said = format!("--distribution kubeadm {SAID}");
    let refused = |change: &dyn Fn(&Path), why: &str| {
        let outside = tempfile::tempdir().unwrap();
        kubeadm(outside.path());
        change(outside.path());
        import(&ground, outside.path(), &said).ends(3).says(why);
        assert!(ground.tree() == before, "{why}");
    };
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    refused(&|dir| fs::write(dir.join("ca.key"), &text(dir.join("ca.key"))[..90]).unwrap(), "has no end");
    refused(&|dir| drop(fs::copy(dir.join("etcd/ca.key"), dir.join("ca.key"))), "fits none");
    refused(&|dir| drop(openssl(dir, "ec -in ca.key -aes128 -passout pass:x -out ca.key")), "openssl pkey -in ca.key");
    refused(
        &|dir| {
            let both = [text(dir.join("ca.crt")), text(dir.join("etcd/ca.crt"))].concat();
            fs::write(dir.join("ca.crt"), both).unwrap();
        },
        "trusted at the same time",
    );
    refused(
        &|dir| {
            openssl(
                dir,
                "req -new -key ca.key -subj /CN=below -out below.csr -addext basicConstraints=critical,CA:TRUE",
            );
            openssl(dir, "ecparam -name prime256v1 -genkey -noout -out root.key");
            openssl(dir, "req -x509 -new -key root.key -subj /CN=root -days 99 -out root.crt");
            openssl(
                dir,
                "x509 -req -in below.csr -CA root.crt -CAkey root.key -set_serial 7 -days 99 -copy_extensions copy -out ca.crt",
            );
            let both = [text(dir.join("ca.crt")), text(dir.join("root.crt"))].concat();
            fs::write(dir.join("ca.crt"), both).unwrap();
        },
        "the CA CN=below is below the one here",
    );
    refused(
        &|dir| {
            for end in ["crt", "key"] {
                fs::copy(dir.join(format!("ca.{end}")), dir.join(format!("etcd/ca.{end}"))).unwrap();
            }
        },
        "have one key",
    );
    refused(
        &|dir| {
            for name in ["ca.key", "etcd/ca.key", "front-proxy-ca.key", "sa.key"] {
                fs::remove_file(dir.join(name)).unwrap();
            }
        },
        "no private key",
    );
    refused(
        &|dir| {
            fs::rename(dir.join("ca.key"), dir.join("real")).unwrap();
            std::os::unix::fs::symlink("real", dir.join("ca.key")).unwrap();
        },
        "tar -ch",
    );
}

#[test]
fn an_authority_whose_key_is_kept_elsewhere_is_trusted_and_can_be_rotated() {
    let ground = ground();
    let outside = tempfile::tempdir().unwrap();
    kubeadm(outside.path());
    fs::remove_file(outside.path().join("ca.key")).unwrap();
    import(&ground, outside.path(), &format!("--distribution kubeadm {SAID}")).ends(0).says("can't issue from it");
    assert_eq!(ground.errors(), [""; 0]);
    ground.run("alice", "rotate start kubernetes -c old --yes").ends(0);
    let place = Place::parse("clusters/old/ca/kubernetes.g2.crt").unwrap().to_string();
    assert!(ground.tree().entries.contains_key(&place));
}

#[test]
fn half_of_a_cluster_is_never_taken_for_one() {
    let ground = ground();
    let before = ground.tree();
    let outside = tempfile::tempdir().unwrap();
    kubeadm(outside.path());
    let tar = |files: &str| {
        let mut tar = Command::new("tar");
        let words = ["-b1", "-cf", "all.tar"].into_iter().chain(files.split(' '));
        assert!(tar.args(words).current_dir(outside.path()).status().unwrap().success());
        fs::read(outside.path().join("all.tar")).unwrap()
    };
    let whole = tar("ca.crt ca.key etcd/ca.crt etcd/ca.key front-proxy-ca.crt front-proxy-ca.key sa.key");
    // Cut wherever a file ends, it is an archive still, of less.
    let cut = outside.path().join("cut.tar");
    let mut refused = 0;
    for end in (512..whole.len()).step_by(512) {
        fs::write(&cut, &whole[..end]).unwrap();
        let answered = import(&ground, &cut, &format!("--distribution kubeadm {SAID} --dry-run"));
        assert_eq!(answered.exit, 3, "cut at {end}: {}{}", answered.out, answered.err);
        refused += 1;
    }
    assert!(refused > 10);
    fs::write(&cut, &whole).unwrap();
    import(&ground, &cut, &format!("--distribution kubeadm {SAID} --dry-run")).ends(0);
    // The main CA's key without its certificate is no key of service accounts.
    let half = tempfile::tempdir().unwrap();
    fs::create_dir(half.path().join("etcd")).unwrap();
    for file in ["ca.key", "etcd/ca.crt", "etcd/ca.key"] {
        fs::copy(outside.path().join(file), half.path().join(file)).unwrap();
    }
    import(&ground, half.path(), &format!("--distribution kubeadm {SAID}")).ends(3).says("ca.key");
    let text: String = ["ca.key", "etcd/ca.crt", "etcd/ca.key"]
        .map(|file| fs::read_to_string(half.path().join(file)).unwrap())
        .concat();
    fs::write(half.path().join("all.pem"), text).unwrap();
    import(&ground, &half.path().join("all.pem"), &format!("--distribution kubeadm {SAID}")).ends(3).says("fits none");
    // A folder behind a link is not passed over, nor is a device in the place of a key.
    let linked = tempfile::tempdir().unwrap();
    for file in ["ca.crt", "ca.key", "sa.key", "front-proxy-ca.crt", "front-proxy-ca.key"] {
        fs::copy(outside.path().join(file), linked.path().join(file)).unwrap();
    }
    std::os::unix::fs::symlink(outside.path().join("etcd"), linked.path().join("etcd")).unwrap();
    import(&ground, linked.path(), &format!("--distribution kubeadm {SAID}")).ends(3).says("symbolic link");
    // What can't be in a record is said before anything else is done, on a dry run too.
    let words = format!("--distribution kubeadm {SAID} --dry-run --reason a\u{1b}b");
    import(&ground, outside.path(), &words).ends(2).says("--reason");
    assert!(ground.tree() == before);
}
