//! `cluster import --from -`: what age, gpg and tar hand on through a pipe, run as a person runs it, so that no key touches a disk
//! again; and the shape of k0s, by openssl.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod programs;

use std::fs;
use std::path::Path;
use std::process::Command;

use ground::Ground;

/// CAs as k0s makes them, on RSA: names, usages, and where they lie.
const K0S: &str = r#"
mkdir -p etcd
for pair in ca:kubernetes-ca front-proxy-ca:kubernetes-front-proxy-ca etcd/ca:etcd-ca; do
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ${pair%%:*}.key -out ${pair%%:*}.crt -subj /CN=${pair##*:} -days 3650 \
    -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
done
openssl genrsa -traditional -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout admin.key -subj /O=system:masters/CN=kubernetes-admin -out admin.csr 2>/dev/null
openssl x509 -req -in admin.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 365 -out admin.crt 2>/dev/null
rm admin.csr
"#;

fn bash(dir: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", line]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A repository founded now, as openssl dates what it makes by the clock.
fn ground() -> Ground {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Ground::at(kluis::model::Time::from_unix(i64::try_from(seconds).unwrap() - 60), &["alice"], 1, 1)
}

/// The command line that adopts what comes through the pipe.
fn adopts(ground: &Ground, distribution: &str) -> String {
    format!(
        "XDG_STATE_HOME={} {} -C {} --identity {} --pin {} cluster import old --from - --distribution {distribution} \
         --kubernetes 1.36 --endpoint https://10.0.0.11:6443",
        ground.state("alice").display(),
        env!("CARGO_BIN_EXE_kluis"),
        ground.repo().display(),
        ground.person("alice").key.display(),
        ground.pin
    )
}

#[test]
fn a_folder_of_k0s_comes_through_age_and_tar_and_its_keys_are_the_same() {
    programs::system("age");
    let outside = tempfile::tempdir().unwrap();
    let pki = outside.path().join("pki");
    fs::create_dir(&pki).unwrap();
    bash(&pki, K0S);
    let ground = ground();
    bash(
        outside.path(),
        "age-keygen -o identity 2>/dev/null; tar -C pki -c . | age -r $(age-keygen -y identity) > pki.age",
    );
    let said = bash(outside.path(), &format!("age -d -i identity pki.age | {}", adopts(&ground, "k0s")));
    assert!(said.contains("Adopted cluster old (k0s 1.36"), "{said}");
    // What k0s issues itself, to somebody without a name, stays where it is.
    assert!(said.contains("admin.crt") && !said.contains("BEGIN"), "{said}");
    assert_eq!(ground.errors(), [""; 0]);
    for (secret, file) in
        [("ca.kubernetes", "ca"), ("ca.etcd", "etcd/ca"), ("ca.front-proxy", "front-proxy-ca"), ("sa", "sa")]
    {
        fs::write(
            outside.path().join("opened"),
            ground.run("alice", &format!("open {secret} -c old --yes")).ends(0).out,
        )
        .unwrap();
        let public = |file: &str| bash(outside.path(), &format!("openssl pkey -pubout -in {file}"));
        assert_eq!(public("opened"), public(&format!("pki/{file}.key")), "{secret}");
    }
    // The way back: what k0s wants, with its keys, is what it had.
    let out = outside.path().join("out");
    ground.edit("clusters/old/cluster.toml", |text| {
        format!(
            "{text}\n[[node]]\nname = \"c-1\"\nroles = [\"control-plane\", \"etcd\"]\naddresses = [\"10.0.0.11\"]\n"
        )
    });
    ground.run("alice", "cluster apply -c old --yes").ends(0);
    ground.run("alice", &format!("export k0s -c old --node c-1 --with-ca-keys --out {}", out.display())).ends(0);
    for file in ["ca", "etcd/ca", "front-proxy-ca"] {
        let same = |end: &str| {
            let read = |root: &Path| fs::read_to_string(root.join(format!("{file}.{end}"))).unwrap();
            (read(&pki), read(&out.join("pki")))
        };
        let (had, has) = same("crt");
        assert_eq!(had, has, "{file}");
        let public = |text: String| {
            fs::write(outside.path().join("key"), text).unwrap();
            bash(outside.path(), "openssl pkey -pubout -in key")
        };
        let (had, has) = same("key");
        assert_eq!(public(had), public(has), "{file}");
    }
}

#[test]
fn pem_blocks_come_through_gpg_and_what_is_cut_off_changes_nothing() {
    let outside = tempfile::Builder::new().prefix("kp").tempdir_in("/tmp").unwrap();
    let pki = outside.path().join("pki");
    fs::create_dir(&pki).unwrap();
    bash(&pki, K0S);
    // One text of everything, CRLF and words around the blocks, as somebody keeps it in a password manager.
    bash(
        outside.path(),
        "for file in ca.crt ca.key front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key sa.key; do
        echo \"== $file\"; sed 's/$/\\r/' pki/$file; done > all.txt",
    );
    bash(
        outside.path(),
        "export GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg
        gpg --batch --quiet --passphrase '' --quick-generate-key keeper future-default default never 2>/dev/null
        gpg --batch --quiet --trust-model always -e -r keeper all.txt",
    );
    let ground = ground();
    let before = (ground.tree(), ground.git("rev-parse HEAD"));
    let decrypt = "GNUPGHOME=$PWD/gnupg gpg --batch --quiet -d all.txt.gpg";
    let halves = format!("{decrypt} | head -c 5000 | {} 2>&1 || true", adopts(&ground, "kubeadm"));
    let refused = bash(outside.path(), &format!("set +o pipefail; {halves}"));
    assert!(refused.contains("error: ") && !refused.contains("Adopted"), "{refused}");
    assert!((ground.tree(), ground.git("rev-parse HEAD")) == before, "a refused import changes nothing");
    let said = bash(
        outside.path(),
        &format!("{decrypt} | {}; GNUPGHOME=$PWD/gnupg gpgconf --kill all", adopts(&ground, "kubeadm")),
    );
    assert!(said.contains("Adopted cluster old (kubeadm 1.36"), "{said}");
    assert_eq!(ground.errors(), [""; 0]);
}
