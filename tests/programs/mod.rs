//! Where the real programs are that tests run beside kluis: Kubernetes, etcd, talosctl, kops, pkilint, and those of the system.
//! Owns the lookup (the variables that `tests/run` sets, then the cache that it fills) and the words that say what to do
//! when one is missing. Never skips: a test whose program is not there fails.

#![allow(dead_code, reason = "each test binary uses the programs that it needs")]

use std::env;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The path of a Kubernetes program: kube-apiserver, kube-controller-manager, kube-scheduler, kubeadm or kubectl.
pub fn kubernetes(program: &str) -> PathBuf {
    let cached = || cache("k8s", &["tests/kube/k8s/go.mod", "tests/kube/k8s/go.sum"]);
    present(directory("KLUIS_TEST_KUBE_BIN", cached).join(program))
}

/// The path of etcd or etcdctl.
pub fn etcd(program: &str) -> PathBuf {
    let cached = || cache("etcd", &["tests/kube/etcd/go.mod", "tests/kube/etcd/go.sum"]);
    present(directory("KLUIS_TEST_ETCD_BIN", cached).join(program))
}

/// The path of talosctl, with the commands that work on files alone (tests/kube/talos/main.go).
pub fn talosctl() -> PathBuf {
    let sources = ["tests/kube/talos/go.mod", "tests/kube/talos/go.sum", "tests/kube/talos/main.go"];
    present(directory("KLUIS_TEST_TALOS_BIN", || cache("talos", &sources)).join("talosctl"))
}

/// The path of kops.
pub fn kops() -> PathBuf {
    let cached = || cache("kops", &["tests/kube/kops/go.mod", "tests/kube/kops/go.sum"]);
    present(directory("KLUIS_TEST_KOPS_BIN", cached).join("kops"))
}

/// The path of pkilint's `lint_pkix_cert`.
pub fn lint_pkix_cert() -> PathBuf {
    let cached = || cache("pkilint", &["tests/programs/pkilint.txt"]).join("bin/lint_pkix_cert");
    present(directory("KLUIS_TEST_PKILINT", cached))
}

/// The path of axe-core's script, which finds what keeps people from using a page.
pub fn axe() -> PathBuf {
    let cached = || cache("axe", &["tests/programs/axe.txt"]).join("axe.min.js");
    present(directory("KLUIS_TEST_AXE", cached))
}

/// The path of a program that the system has: gpg, sq, openssl, git, …
pub fn system(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{program} is not installed: run tests/run once (it installs what the tests need)"))
}

fn directory(variable: &str, cached: impl FnOnce() -> PathBuf) -> PathBuf {
    env::var_os(variable).map_or_else(cached, PathBuf::from)
}

/// The same name as `key` in `tests/run` gives: the first 16 digits of the SHA-256 of what the entry is built from.
fn cache(name: &str, sources: &[&str]) -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut hash = Sha256::new();
    for source in sources {
        hash.update(std::fs::read(checkout.join(source)).expect("a file of this checkout"));
    }
    let key: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let base = env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.expect("HOME or XDG_CACHE_HOME is set").join("kluis-tests").join(format!("{name}-{key}"))
}

fn present(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "{} is not there: run tests/run once (it builds what the tests need)", path.display());
    path
}
