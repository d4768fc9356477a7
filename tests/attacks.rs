//! Attacks on the trust of a repository, each staged with stock gpg, openssl and git, and answered by the
//! built binary with its exit code and finding code. The names are those of docs/SECURITY.md.

mod stock;

use stock::*;

#[test]
fn a_repository_made_without_kluis_is_valid() {
    Stock::valid().verify().is_fine();
}
