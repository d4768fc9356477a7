//! bob leaves the valid repository, and alice stays alone.

use super::*;

/// Who may do what in an epoch without bob; its certificates and thresholds are alice's alone.
pub fn without_bob(stock: &Stock, reason: &str) -> EpochText {
    let ca = |ca: &str| [(1, sha256(stock.der(ca)))];
    let alone = |name: &str, id, groups: &[(&str, &[&str])], keysets: &[(&str, &[(u32, String)])]| {
        cluster_table(name, id, &["alice"], &["alice"], groups, keysets)
    };
    let mut epoch = stock.second_epoch();
    (epoch.trust, epoch.break_glass) = (1, 1);
    epoch.persons.pop();
    let prod: &[(&str, &[(u32, String)])] =
        &[("kubernetes", &ca("prod-ca")), ("service-account", &[(1, stock.spki("prod-sa"))])];
    epoch.clusters = vec![
        alone("prod", PROD, &[("alice", &["kluis:admins"])], prod),
        alone("stage", STAGE, &[], &[("kubernetes", &ca("stage-ca"))]),
    ];
    let primary = &stock.person("bob").primary;
    epoch.former = format!("\n[[former]]\nperson = \"bob\"\ncert = \"{primary}\"\nepoch = 2\nreason = \"{reason}\"\n");
    epoch
}

/// Every sealed file of the valid repository, sealed again to these people; returns the entries.
pub fn sealed_again(stock: &Stock, names: &[&str], revision: u32) -> String {
    let files = [
        ("prod/sealed/ca.kubernetes.g1", PROD, "ca.kubernetes", "ca.kubernetes", "prod-ca"),
        ("prod/sealed/node.cp-1", PROD, "node.cp-1", "apiserver", "cp-1"),
        ("prod/sealed/sa.g1", PROD, "sa", "sa", "prod-sa"),
        ("stage/sealed/ca.kubernetes.g1", STAGE, "ca.kubernetes", "ca.kubernetes", "stage-ca"),
    ];
    let again = |(path, cluster, name, key_name, key): &(&str, &str, &str, &str, &str)| {
        let plain = stock.plaintext(cluster, name, key_name, key);
        seal(stock, &format!("clusters/{path}.asc"), &plain, (key_name, &stock.spki(key)), names, revision)
    };
    files.iter().map(again).collect()
}

impl Stock {
    /// Writes an epoch without bob, with his certificate kept for old signatures; returns what he is left with.
    pub fn leave(&self, epoch: &EpochText) {
        let bob = self.read("pubkeys/bob.asc");
        self.remove("pubkeys/bob.asc");
        self.write(&format!("pubkeys/old/{}.asc", &sha256(&bob)[..16]), bob);
        self.put_epoch(epoch, &["alice", "bob"]);
    }

    /// The valid repository after bob left and alice sealed everything to herself, committed and pinned.
    pub fn without_bob() -> Self {
        let mut stock = Self::valid();
        stock.leave(&without_bob(&stock, "left"));
        let head = record_head(&stock, "alice", 2, &[stock.head()], &stock.now("now"));
        let head = stock.record("alice", &(head + &sealed_again(&stock, &["alice"], 2)));
        stock.pin = Some(stock.pin_here(2, &[head]));
        stock.commit();
        stock
    }

    /// Takes a record out, with its signature.
    pub fn drop_record(&self, hash: &str) {
        let (stem, actor) = self.records().into_iter().find(|(stem, _)| stem.ends_with(&hash[..16])).unwrap();
        self.remove(&format!("{stem}.toml"));
        self.remove(&format!("{stem}.{actor}.sig"));
    }

    /// What git prints, run in this repository by somebody whom nobody knows.
    #[track_caller]
    pub fn git(&self, args: &str) -> String {
        git_at(&self.repo(), args)
    }
}

/// Runs git in a folder, without anybody's configuration.
#[track_caller]
pub fn git_at(folder: &Path, args: &str) -> String {
    let mut git = Command::new("git");
    git.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git.args(["-c", "user.name=host", "-c", "user.email=host@example.org", "-c", "commit.gpgsign=false"]);
    String::from_utf8(run(git.args(args.split(' '))).stdout).unwrap().trim().to_owned()
}
