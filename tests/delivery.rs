//! An export's way to its node: sealed with age to the node's SSH host key, an age recipient or a plugin's, or as one tar.
//! Stock `ssh-keygen`, `age` and `tar` make the keys and unpack.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ground::Ground;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \
    --node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker --yes";

fn ground() -> Ground {
    let ground = Ground::new(&["alice"], 1, 1);
    ground.run("alice", NEW).ends(0);
    ground
}

/// Makes a host key of this type; returns where it is, and its public half as `authorized_keys` has it.
fn host_key(ground: &Ground, kind: &str) -> (PathBuf, String) {
    let path = ground.dir.path().join(format!("ssh_host_{kind}_key"));
    let mut keygen = Command::new(programs::system("ssh-keygen"));
    ran(keygen.args(["-q", "-N", "", "-C", "root@cp-1", "-t", kind, "-f"]).arg(&path));
    (path.clone(), fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned())
}

#[track_caller]
fn ran(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs the program itself, as a person would: plugins of age come from the PATH.
fn kluis(ground: &Ground, words: &[&str]) -> Output {
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.arg("-C").arg(ground.repo()).arg("--identity").arg(&ground.person("alice").key);
    kluis.args(["--pin", &ground.pin]).args(words).env("XDG_STATE_HOME", ground.state("alice"));
    kluis.env("PATH", path_with_plugin()).stdin(Stdio::null()).output().unwrap()
}

fn path_with_plugin() -> std::ffi::OsString {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([own].into_iter().chain(std::env::split_paths(&path))).unwrap()
}

/// Opens a sealed export with stock age and unpacks it.
#[track_caller]
fn unpacked(ground: &Ground, sealed: &[u8], identity: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let (file, dir) = (ground.dir.path().join("sealed.age"), tempfile::tempdir().unwrap());
    fs::write(&file, sealed).unwrap();
    programs::system("age");
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", "age -d -i \"$0\" \"$1\" | tar -xp -C \"$2\""])
        .env("PATH", path_with_plugin());
    ran(shell.arg(identity).arg(&file).arg(dir.path()));
    files(dir.path())
}

/// Every file below `dir`, with its mode.
fn files(dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (mode, fs::read(&path).unwrap()));
        }
    }
    found
}

/// The same export as a folder.
fn folder(ground: &Ground, node: &str) -> BTreeMap<String, (u32, Vec<u8>)> {
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("out");
    ground.run("alice", &format!("export kubeadm -c prod --node {node} --out {}", dir.display())).ends(0);
    let files = files(&dir);
    assert!(files.contains_key("pki/ca.crt") && !files.is_empty());
    files
}

/// Puts the key into cluster.toml, and on record.
fn names_key(ground: &Ground, public: &str) {
    let (kind_and_key, _comment) = public.rsplit_once(' ').unwrap();
    ground.edit("clusters/prod/cluster.toml", |text| {
        text.replacen("name = \"cp-1\"\n", &format!("name = \"cp-1\"\nseal_to = \"{kind_and_key}\"\n"), 1)
    });
    ground.run("alice", "cluster apply -c prod --yes").ends(0);
    assert_eq!(ground.errors(), [""; 0]);
}

#[test]
fn the_nodes_ssh_host_key_opens_it_with_stock_age() {
    let ground = ground();
    let wanted = folder(&ground, "cp-1");
    for kind in ["ed25519", "rsa"] {
        let (private, public) = host_key(&ground, kind);
        let sealed = kluis(&ground, &["export", "kubeadm", "-c", "prod", "--node", "cp-1", "--seal-to", &public]);
        let said = String::from_utf8_lossy(&sealed.stderr).into_owned();
        assert!(sealed.status.success(), "{said}");
        assert!(sealed.stdout.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));
        assert!(unpacked(&ground, &sealed.stdout, &private) == wanted, "{kind}");
        // The fingerprint is the one that people read on the node.
        let listed = ran(Command::new("ssh-keygen").arg("-lf").arg(private.with_extension("pub"))).stdout;
        let print = String::from_utf8(listed).unwrap().split(' ').nth(1).unwrap().to_owned();
        assert!(print.starts_with("SHA256:") && said.contains(&print), "{print}\n{said}");
        assert!(said.contains("nobody vouches for it"), "{said}");
        assert!(said.contains(&format!("age -d -i /etc/ssh/ssh_host_{kind}_key")), "{said}");
    }
}

#[test]
fn cluster_toml_decides_whose_key_a_node_has() {
    let ground = ground();
    let (private, public) = host_key(&ground, "ed25519");
    let without = ground.run("alice", "export kubeadm -c prod --node cp-1 --seal-to node").ends(2);
    without.says("names no seal_to");
    names_key(&ground, &public);
    let sealed =
        ground.run("alice", "export kubeadm -c prod --node cp-1 --seal-to node").ends(0).says("cluster.toml names");
    assert!(unpacked(&ground, sealed.out.as_bytes(), &private) == folder(&ground, "cp-1"));
    // What a scan of the network answers is held against it: the same key is fine, among comments and other types …
    let scan =
        format!("# cp-1:22 SSH-2.0-OpenSSH\ncp-1 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=\ncp-1 {public}");
    let words = ["export", "kubeadm", "-c", "prod", "--node", "cp-1", "--seal-to", &scan];
    assert!(unpacked(&ground, &kluis(&ground, &words).stdout, &private) == folder(&ground, "cp-1"));
    // … and one of somebody on the way is refused, before anything is opened.
    let other = ground.dir.path().join("other");
    ran(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&other));
    let swapped = fs::read_to_string(other.with_extension("pub")).unwrap();
    for given in [swapped.clone(), format!("{public}\n{swapped}")] {
        let refused = kluis(&ground, &["export", "kubeadm", "-c", "prod", "--node", "cp-1", "--seal-to", &given]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0), "{said}");
        assert!(said.contains("somebody on the way"), "{said}");
    }
}

#[test]
fn age_recipients_and_plugins_open_it_too() {
    let ground = ground();
    let wanted = folder(&ground, "w-1");
    let identity = ground.dir.path().join("identity");
    programs::system("age-keygen");
    ran(Command::new("age-keygen").arg("-o").arg(&identity));
    let recipient = String::from_utf8(ran(Command::new("age-keygen").arg("-y").arg(&identity)).stdout).unwrap();
    let made = ran(Command::new(programs::system("python3")).args(["tests/programs/age-plugin-kluistest", "--make"]));
    let made = String::from_utf8(made.stdout).unwrap();
    let (plugin, plugins_identity) = made.trim().split_once('\n').unwrap();
    let plugins_file = ground.dir.path().join("plugin");
    fs::write(&plugins_file, plugins_identity).unwrap();
    // To both at once: either opens it.
    let words =
        ["export", "kubeadm", "-c", "prod", "--node", "w-1", "--seal-to", recipient.trim(), "--seal-to", plugin];
    let sealed = kluis(&ground, &words);
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    for identity in [&identity, &plugins_file] {
        assert!(unpacked(&ground, &sealed.stdout, identity) == wanted, "{}", identity.display());
    }
    // A plugin that is not installed is said before a key is opened.
    let absent = ground.run("alice", &format!("export kubeadm -c prod --node w-1 --seal-to {plugin}"));
    assert_ne!(absent.exit, 0);
    assert!(absent.err.contains("age-plugin-kluistest"), "{}", absent.err);
}

#[test]
fn one_tar_has_the_modes_and_belongs_to_root() {
    let ground = ground();
    let first = kluis(&ground, &["export", "kubeadm", "-c", "prod", "--node", "cp-1", "--tar"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let (file, dir) = (ground.dir.path().join("cp-1.tar"), tempfile::tempdir().unwrap());
    fs::write(&file, &first.stdout).unwrap();
    ran(Command::new("tar").arg("-xpf").arg(&file).arg("-C").arg(dir.path()));
    assert!(files(dir.path()) == folder(&ground, "cp-1"));
    let listed = ran(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&file)).stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.lines().all(|line| line.contains(" 0/0 ") && line.starts_with('-')), "{listed}");
    // Every node, each in its folder.
    let all = kluis(&ground, &["export", "kubeadm", "-c", "prod", "--all-nodes", "--tar"]);
    fs::write(&file, &all.stdout).unwrap();
    let listed = String::from_utf8(ran(Command::new("tar").arg("-tf").arg(&file)).stdout).unwrap();
    assert!(listed.contains("cp-1/pki/ca.crt\n") && listed.contains("w-1/pki/ca.crt\n"), "{listed}");
}

#[test]
fn what_can_not_be_sealed_to_is_said_and_nothing_is_printed() {
    let ground = ground();
    for (words, exit, says) in [
        ("--node cp-1 --seal-to ecdsa-sha2-nistp256_AAAA", 2, "ssh-ed25519 and ssh-rsa alone"),
        ("--node cp-1 --seal-to cp-1", 2, "it looks like ssh-ed25519"),
        ("--node cp-1 --seal-to age1damaged", 2, "damaged"),
        ("--node cp-1 --seal-to AGE-SECRET-KEY-1QQQQQQQQ", 2, "that is a private key"),
        ("--node cp-1 --seal-to node\nwho", 2, "it looks like ssh-ed25519"),
        ("--all-nodes --seal-to node", 2, "one node at a time"),
        ("--node cp-1", 2, "--seal-to RECIPIENT"),
        ("--node cp-1 --seal-to node --out /tmp/x", 2, "cannot be used with"),
        ("--node cp-1 --tar --out /tmp/x", 2, "cannot be used with"),
    ] {
        let answered = ground.run("alice", &format!("export kubeadm -c prod {words}")).ends(exit).says(says);
        assert_eq!(answered.out, "", "{words}");
        assert!(!answered.err.contains("QQQQ"), "a key given by mistake is not repeated: {}", answered.err);
    }
    // The private half, for the public one: nothing of it is in what is printed.
    let (private, _) = host_key(&ground, "rsa");
    let key = fs::read_to_string(private).unwrap();
    let refused = kluis(&ground, &["export", "kubeadm", "-c", "prod", "--node", "cp-1", "--seal-to", &key]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("that is a private key"), "{said}");
    assert!(key.lines().all(|line| !said.contains(line)), "{said}");
    let (_, public) = host_key(&ground, "ed25519");
    let planned =
        kluis(&ground, &["export", "kubeadm", "-c", "prod", "--node", "cp-1", "--seal-to", &public, "--dry-run"]);
    let said = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.status.success() && said.starts_with("would open ") && !said.contains("AGE"), "{said}");
    // A record vouches for cluster.toml as a text: what stands in it may still be no key.
    names_key(&ground, "ssh-ed25519 AAAA comment");
    ground.run("alice", "export kubeadm -c prod --node cp-1 --seal-to node").ends(3).says("cluster.toml");
}

#[test]
fn as_json_the_sealed_file_is_a_field() {
    let ground = ground();
    let (private, public) = host_key(&ground, "ed25519");
    names_key(&ground, &public);
    let answered = ground.run("alice", "export kubeadm -c prod --node cp-1 --seal-to node -o json").ends(0);
    let data = &answered.json()["data"];
    assert_eq!(data["dir"], serde_json::Value::Null);
    assert!(data["sealed_to"][0].as_str().unwrap().starts_with("ssh-ed25519 SHA256:"));
    assert!(unpacked(&ground, data["sealed"].as_str().unwrap().as_bytes(), &private) == folder(&ground, "cp-1"));
}
