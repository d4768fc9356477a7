//! Programs that tests use as anybody would.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use std::path::Path;
use std::process::Command;

/// Runs openssl in `dir` with words split at spaces; it must succeed. Returns its stdout.
#[track_caller]
pub fn openssl(dir: &Path, words: &str) -> Vec<u8> {
    let output = Command::new("openssl").current_dir(dir).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
