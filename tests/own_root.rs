//! The root of this checkout is a repository that kluis made (tests/fixtures/make). That it still verifies shows that
//! what older versions wrote stays valid; nothing here writes to it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A time after the last record, when nothing of it has ended.
const AT: &str = "2026-12-01T00:00:00Z";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pin() -> String {
    std::fs::read_to_string(root().join("tests/fixtures/pin")).unwrap().trim().to_owned()
}

fn key(person: &str) -> PathBuf {
    root().join(format!("tests/fixtures/{person}.DEMO-ONLY.key"))
}

fn kluis(state: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kluis"));
    command.env_clear().env("HOME", state).env("XDG_STATE_HOME", state).stdin(Stdio::null());
    command.arg("-C").arg(root()).args(["--pin", &pin()]).args(args).output().unwrap()
}

#[test]
fn it_verifies_with_every_head_of_its_log() {
    let state = tempfile::tempdir().unwrap();
    let output = kluis(state.path(), &["verify", "--at", AT, "-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
    assert_eq!((&report["data"]["epoch"], &report["data"]["records"]), (&4.into(), &4.into()), "{report:#}");
}

#[test]
fn keyholders_open_its_secrets_and_others_do_not() {
    let state = tempfile::tempdir().unwrap();
    let open = |person: &str, secret: &str| {
        let key = key(person);
        kluis(state.path(), &["--identity", key.to_str().unwrap(), "open", "-c", "demo", secret, "--yes"])
    };
    for person in ["alice", "bob"] {
        for secret in ["ca.kubernetes", "sa", "node.w-2/kubelet-client", "encryption"] {
            let output = open(person, secret);
            assert!(output.status.success(), "{person} {secret}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout.starts_with(b"-----BEGIN "), "{person} {secret}");
        }
    }
    let output = open("carol", "ca.kubernetes");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(6), b"".as_slice()));
}

/// Whoever comes across one of the keys must see at once what it is.
#[test]
fn the_secret_keys_say_in_name_and_text_that_they_are_for_demonstration() {
    let fixtures = std::fs::read_dir(root().join("tests/fixtures")).unwrap();
    let keys: Vec<PathBuf> =
        fixtures.map(|entry| entry.unwrap().path()).filter(|path| holds_secret_key(path)).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for path in keys {
        assert!(path.to_str().unwrap().ends_with(".DEMO-ONLY.key"), "{}", path.display());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("DEMO ONLY"), "{}", path.display());
    }
}

fn holds_secret_key(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.contains("\n-----BEGIN PGP PRIVATE KEY BLOCK-----"))
}
