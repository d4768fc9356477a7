//! What the tests start from: the directories that `kluis export kubeadm` wrote, one a node, and nothing else.
//! Owns the run of kluis that makes them. Opens no sealed file and knows no key by another way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::process::Run;
use crate::programs;

/// The nodes of every test cluster with the addresses that their certificates hold: one on loopback for the test, and one
/// from the documentation range (RFC 5737), which is never contacted, as the address that the node advertises.
pub const CONTROL_PLANES: [(&str, &str, &str); 3] =
    [("cp-1", "127.0.0.1", "192.0.2.11"), ("cp-2", "127.0.0.2", "192.0.2.12"), ("cp-3", "127.0.0.3", "192.0.2.13")];

/// A cluster made by kluis, and its exports.
pub struct Exports {
    scratch: PathBuf,
    repository: PathBuf,
    cluster: String,
}

impl Exports {
    /// Founds a repository in which `cluster` can be made.
    pub fn found(scratch: &Path, cluster: &str) -> Exports {
        let home = scratch.join(cluster);
        let exports = Exports { repository: home.join("repository"), scratch: home, cluster: cluster.to_owned() };
        fs::create_dir_all(&exports.repository).expect("a writable scratch directory");
        exports.make_identity("alice");
        exports.git(&["init", "--quiet"]);
        exports.git(&["config", "user.name", "alice"]);
        exports.git(&["config", "user.email", "alice@example.org"]);
        exports.kluis(["init", "--as", "alice", "--pgp", "../alice.asc"]);
        exports
    }

    /// Founds a repository and makes a cluster in it whose API servers are reached at `https://127.0.0.1:PORT`.
    pub fn make(scratch: &Path, cluster: &str, port: u16) -> Exports {
        Exports::make_with(scratch, cluster, port, &[])
    }

    /// The same for a cluster of another distribution.
    pub fn make_of(scratch: &Path, cluster: &str, port: u16, distribution: &str) -> Exports {
        Exports::make_with(scratch, cluster, port, &["--distribution", distribution])
    }

    /// The same, with these flags of `cluster new` as well.
    pub fn make_with(scratch: &Path, cluster: &str, port: u16, flags: &[&str]) -> Exports {
        let exports = Exports::found(scratch, cluster);
        let endpoint = format!("https://127.0.0.1:{port}");
        let mut args = vec!["cluster", "new", cluster, "--endpoint", &endpoint, "--kubernetes", "1.36"];
        let control_planes: Vec<String> = CONTROL_PLANES
            .iter()
            .map(|(name, loopback, advertised)| format!("{name}={loopback},{advertised}:control-plane,etcd"))
            .collect();
        for node in &control_planes {
            args.extend(["--node", node]);
        }
        args.extend(["--node", "w-1=127.0.0.1,192.0.2.21:worker", "--super-admin", "--yes"]);
        args.extend(flags);
        exports.kluis(args);
        exports
    }

    /// The node's export, without CA keys.
    pub fn node(&self, node: &str) -> Export {
        self.export(node, node, &[])
    }

    /// The node's export with the keys of the CAs.
    pub fn node_with_ca_keys(&self, node: &str) -> Export {
        self.export(node, &format!("{node}-with-ca-keys"), &["--with-ca-keys"])
    }

    /// The node's export as it is now, in a directory of its own name.
    pub fn node_now(&self, node: &str, directory: &str) -> Export {
        self.export(node, directory, &[])
    }

    fn export(&self, node: &str, directory: &str, more: &[&str]) -> Export {
        self.node_of("kubeadm", node, directory, more)
    }

    /// The node's export in a layout as it is now, in a directory of its own name.
    pub fn node_of(&self, layout: &str, node: &str, directory: &str, more: &[&str]) -> Export {
        let out = self.scratch.join("exports").join(directory);
        if !out.exists() {
            fs::create_dir_all(self.scratch.join("exports")).expect("a writable scratch directory");
            let out_name = out.to_str().expect("scratch paths are ASCII");
            let mut args = vec!["export", layout, "-c", &self.cluster, "--node", node, "--out", out_name];
            args.extend(more);
            self.kluis(args);
        }
        Export(out)
    }

    /// The whole cluster's files in `layout` as they are now, in a directory of its own name.
    pub fn whole(&self, layout: &str, directory: &str) -> Export {
        let out = self.scratch.join("exports").join(directory);
        fs::create_dir_all(self.scratch.join("exports")).expect("a writable scratch directory");
        let out_name = out.to_str().expect("scratch paths are ASCII");
        self.kluis(["export", layout, "-c", &self.cluster, "--out", out_name]);
        Export(out)
    }

    /// The certificate of a CA's generation, as it lies in the repository.
    pub fn authority(&self, keyset: &str, generation: u32) -> String {
        let path = format!("clusters/{}/ca/{keyset}.g{generation}.crt", self.cluster);
        fs::read_to_string(self.repository.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Where the repository is, and all that belongs to its founder: `gnupg`, `state`, `alice.secret.asc`.
    pub fn folder(&self) -> &Path {
        &self.scratch
    }

    /// A run of kluis in the repository, with the founder's pins and without a key.
    pub fn kluis_run(&self) -> Run {
        self.run(Path::new(env!("CARGO_BIN_EXE_kluis"))).env("XDG_STATE_HOME", self.scratch.join("state"))
    }

    /// Runs kluis as the founder, which must succeed; returns what it printed.
    pub fn kluis<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        self.kluis_run().args(["--identity", "../alice.secret.asc"]).args(args).succeeds()
    }

    fn git(&self, args: &[&str]) {
        self.run(&programs::system("git")).args(args).succeeds();
    }

    fn run(&self, program: &Path) -> Run {
        Run::new(program, &self.scratch).current_dir(&self.repository)
    }

    /// An OpenPGP key without a passphrase, made by gpg: `NAME.asc` and `NAME.secret.asc` beside the repository. The
    /// founder's keyring is `gnupg`, everybody else's `gnupg-NAME`.
    pub fn make_identity(&self, name: &str) {
        let keyring = if name == "alice" { "gnupg".to_owned() } else { format!("gnupg-{name}") };
        let keyring = self.scratch.join(keyring);
        let (uid, email) = (format!("{name} <{name}@example.org>"), format!("{name}@example.org"));
        fs::create_dir(&keyring).expect("a writable scratch directory");
        fs::set_permissions(&keyring, fs::Permissions::from_mode(0o700)).expect("a directory of one's own");
        let gpg = |args: &[&str]| {
            let run = self.run(&programs::system("gpg")).env("GNUPGHOME", &keyring);
            run.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]).args(args).succeeds()
        };
        gpg(&["--quick-gen-key", &uid, "future-default", "default", "1y"]);
        let write = |name: &str, text: String| {
            fs::write(self.scratch.join(name), text).expect("a writable scratch directory");
        };
        write(&format!("{name}.asc"), gpg(&["--armor", "--export", &email]));
        write(&format!("{name}.secret.asc"), gpg(&["--armor", "--export-secret-keys", &email]));
        self.run(&programs::system("gpgconf")).env("GNUPGHOME", &keyring).args(["--kill", "gpg-agent"]).succeeds();
    }
}

/// One node's export: what lies under `/etc/kubernetes` on that node.
#[derive(Clone)]
pub struct Export(PathBuf);

impl Export {
    /// A folder that somebody else made.
    pub fn of(folder: PathBuf) -> Export {
        Export(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn pki(&self, name: &str) -> PathBuf {
        self.0.join("pki").join(name)
    }

    /// Every file and directory with its mode and the hash of its content.
    pub fn tree(&self) -> BTreeMap<PathBuf, (u32, String)> {
        let mut tree = BTreeMap::new();
        walk(&self.0, &mut tree);
        tree
    }

    /// A copy, to be changed.
    pub fn copy_to(&self, target: &Path) -> Export {
        let target_name = target.as_os_str();
        Run::new(&programs::system("cp"), target.parent().expect("a path in the scratch directory"))
            .args([std::ffi::OsStr::new("-a"), self.0.as_os_str(), target_name])
            .succeeds();
        Export(target.to_path_buf())
    }
}

fn walk(directory: &Path, tree: &mut BTreeMap<PathBuf, (u32, String)>) {
    for entry in fs::read_dir(directory).expect("an export can be read") {
        let path = entry.expect("an export can be read").path();
        let metadata = fs::symlink_metadata(&path).expect("an export can be read");
        let hash = if metadata.is_file() {
            hex(&Sha256::digest(fs::read(&path).expect("an export can be read")))
        } else {
            "directory".to_owned()
        };
        tree.insert(path.clone(), (metadata.permissions().mode(), hash));
        if metadata.is_dir() {
            walk(&path, tree);
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
