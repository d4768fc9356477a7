//! Figures against other tools in the same run: CPU seconds of whole processes, children included, median of
//! several rounds. A tool that is not installed is left out and named. `cargo bench` builds and runs it.
//!
//! Wall time is not measured: the machines that this runs on are shared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");
const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc is there");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name in brackets") + 2..].split(' ').collect();
    let ticks: f64 = [13, 14].iter().map(|at| fields[*at].parse::<f64>().expect("a number")).sum();
    ticks / 100.0
}

/// The mean CPU of `rounds` runs of what `prepare` makes.
fn measure(rounds: usize, mut prepare: impl FnMut(usize) -> Command) -> f64 {
    let mut commands: Vec<Command> = (0..rounds).map(&mut prepare).collect();
    let before = children();
    for command in &mut commands {
        let output = command.stdin(Stdio::null()).output().expect("the program runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    (children() - before) / rounds as f64
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn report(work: &str, tool: &str, seconds: f64) {
    println!("{work:<44} {tool:<24} {:>9.4} s CPU", seconds);
}

/// Where the people of a repository keep their pins.
fn state(repo: &Path) -> PathBuf {
    repo.with_extension("state")
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kluis(&self, repo: &Path, person: &str, words: &str) -> Command {
        let mut command = Command::new(KLUIS);
        command.env("XDG_STATE_HOME", state(repo).join(person)).arg("-C").arg(repo);
        command.arg("--identity").arg(self.path(&format!("{person}.key")));
        command.args(words.split_whitespace());
        command
    }

    fn run(&self, repo: &Path, person: &str, words: &str) {
        let output = self.kluis(repo, person, words).stdin(Stdio::null()).output().expect("kluis runs");
        assert!(output.status.success(), "kluis {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A repository of five people with one key each.
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a scratch directory") };
        for person in PEOPLE {
            let born = kluis::env::now().minus(kluis::model::Span::hours(1));
            let (certificate, secret) = kluis::openpgp::generate(person, born, None).expect("a key");
            fs::write(bench.path(&format!("{person}.key")), secret.expose()).expect("a file");
            fs::write(bench.path(&format!("{person}.asc")), certificate.to_stored()).expect("a file");
        }
        let repo = bench.path("repo");
        fs::create_dir(&repo).expect("a folder");
        for words in ["init -q -b main", "config user.name bench", "config user.email bench@example.org"] {
            assert!(Command::new("git").current_dir(&repo).args(words.split(' ')).status().expect("git").success());
        }
        bench.run(&repo, "alice", &format!("init --as alice --pgp {}", bench.path("alice.asc").display()));
        for person in &PEOPLE[1..] {
            let certificate = bench.path(&format!("{person}.asc"));
            bench.run(&repo, "alice", &format!("person add {person} --role member --pgp {}", certificate.display()));
            let line = Command::new(KLUIS)
                .env("XDG_STATE_HOME", state(&repo).join("alice"))
                .arg("-C")
                .arg(&repo)
                .args(["trust", "pin"])
                .output()
                .expect("kluis runs");
            let line = String::from_utf8_lossy(&line.stdout).trim().to_owned();
            bench.run(&repo, person, &format!("trust pin {line}"));
            bench.run(&repo, person, "trust sign --yes");
        }
        bench
    }

    /// Copies of the repository and its people's pins, one a round, so that each founds its cluster anew.
    fn copy(&self, name: &str) -> PathBuf {
        let (repo, copy) = (self.path("repo"), self.path(name));
        for (from, to) in [(&repo, &copy), (&state(&repo), &state(&copy))] {
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp").success());
        }
        copy
    }

    fn found(&self, algorithm: &str, rounds: usize) -> f64 {
        let holders: String = PEOPLE.iter().map(|person| format!(" --keyholder {person}")).collect();
        let words = format!(
            "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 --algorithm {algorithm} \
             --node cp-1=10.0.0.11:control-plane,etcd --issuer alice --yes{holders}"
        );
        measure(rounds, |round| self.kluis(&self.copy(&format!("{algorithm}-{round}")), "alice", &words))
    }
}

/// Three CAs, a service-account key and twelve leaves, bare, by the openssl program.
fn openssl(dir: &Path, key: &str) -> Command {
    let mut script = String::from("set -e\n");
    for ca in ["ca", "etcd", "front"] {
        script += &format!(
            "openssl req -x509 -newkey {key} -nodes -subj /CN={ca} -days 3650 -keyout {ca}.key -out {ca}.crt 2>/dev/null\n"
        );
    }
    script += &format!("openssl req -newkey {key} -nodes -subj /CN=sa -keyout sa.key -out sa.csr 2>/dev/null\n");
    for (index, ca) in
        ["ca", "ca", "ca", "ca", "ca", "ca", "ca", "etcd", "etcd", "etcd", "etcd", "front"].iter().enumerate()
    {
        script += &format!(
            "openssl req -newkey {key} -nodes -subj /CN=l{index} -keyout l{index}.key -out l{index}.csr 2>/dev/null\n"
        );
        script += &format!(
            "openssl x509 -req -in l{index}.csr -CA {ca}.crt -CAkey {ca}.key -days 365 -out l{index}.crt 2>/dev/null\n"
        );
    }
    let mut command = Command::new("sh");
    command.current_dir(dir).args(["-c", &script]);
    command
}

/// The bare certificates by kubeadm, where the tests have built it (tests/run).
fn kubeadm(dir: &Path, algorithm: &str) -> Option<Command> {
    let bin = std::env::var_os("KLUIS_TEST_KUBE_BIN").map(PathBuf::from)?.join("kubeadm");
    let config = dir.join("kubeadm.yaml");
    let text = format!(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint: {{advertiseAddress: 192.0.2.11}}\n\
         nodeRegistration: {{name: cp-1, criSocket: 'unix:///x'}}\n---\napiVersion: kubeadm.k8s.io/v1beta4\n\
         kind: ClusterConfiguration\nkubernetesVersion: v1.36.3\ncertificatesDir: {}\nencryptionAlgorithm: {algorithm}\n",
        dir.join("pki").display()
    );
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(bin);
    command.args(["init", "phase", "certs", "all", "--config"]).arg(config);
    Some(command)
}

fn folder(bench: &Bench, name: &str) -> PathBuf {
    let dir = bench.path(name);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

fn whole_pki(bench: &Bench) {
    for (algorithm, openssl_key, kubeadm_name, rounds) in [
        ("ecdsa-p256", "ec -pkeyopt ec_paramgen_curve:P-256", "ECDSA-P256", 20),
        ("rsa-2048", "rsa:2048", "RSA-2048", 5),
    ] {
        let work = format!("whole PKI, {algorithm}");
        report(&work, "kluis, sealed to five", bench.found(algorithm, rounds));
        if has("openssl") {
            let dir = |round| folder(bench, &format!("openssl-{algorithm}-{round}"));
            report(&work, "openssl, bare", measure(3, |round| openssl(&dir(round), openssl_key)));
        }
        let dir = |round| folder(bench, &format!("kubeadm-{algorithm}-{round}"));
        match kubeadm(&dir(0), kubeadm_name) {
            Some(_) => {
                report(&work, "kubeadm, bare", measure(3, |round| kubeadm(&dir(round), kubeadm_name).expect("built")))
            }
            None => println!("{work:<44} kubeadm is not built: tests/run does, and names it in KLUIS_TEST_KUBE_BIN"),
        }
    }
}

/// `reseal` of many files after a fifth keyholder came, and gpg in a loop.
fn reseal(bench: &Bench) {
    let repo = bench.copy("reseal");
    let nodes = 996; // with three CAs and a service-account key, 1,000 files; the encryption key is one more
    let mut text = String::from(
        "distribution = \"kubeadm\"\nkubernetes = \"1.36\"\nendpoint = \"https://api.example.org:6443\"\n",
    );
    for node in 0..nodes {
        text += &format!(
            "\n[[node]]\nname = \"w-{node}\"\nroles = [\"worker\"]\naddresses = [\"10.1.{}.{}\"]\n",
            node / 250,
            node % 250 + 1
        );
    }
    let config = bench.path("many.toml");
    fs::write(&config, text).expect("a file");
    let holders: String = PEOPLE[..4].iter().map(|person| format!(" --keyholder {person}")).collect();
    let new = format!("cluster new prod --from {} --issuer alice --yes{holders}", config.display());
    bench.run(&repo, "alice", &new);
    bench.run(&repo, "alice", "person update erin --keyholder prod");
    let kluis = measure(1, |_| bench.kluis(&repo, "alice", "reseal"));
    report("re-seal 1,001 files to five", "kluis, recorded", kluis);
    let size = fs::read(repo.join("clusters/prod/sealed/node.w-1.asc")).map_or(0, |bytes| bytes.len());
    println!("{:<44} a sealed file has {size} bytes", "");
    gpg_loop(bench, &repo);
}

/// gpg decrypting and encrypting twenty of the files to five, scaled to 1,000.
fn gpg_loop(bench: &Bench, repo: &Path) {
    if !has("gpg") {
        return println!("gpg is not installed");
    }
    let home = tempfile::Builder::new().prefix("k").tempdir_in("/tmp").expect("a folder");
    let script = "set -e; chmod 700 $GNUPGHOME; for k in $0/*.key $0/*.asc; do gpg -q --batch --import $k; done; \
                  for i in $(seq 1 20); do gpg -q --batch -d $1/clusters/prod/sealed/node.w-$i.asc | \
                  gpg -q --batch --trust-model always -r alice -r bob -r carol -r dave -r erin -e -o /dev/null --yes; done; \
                  gpgconf --kill all";
    let seconds = measure(1, |_| {
        let mut command = Command::new("sh");
        command.env("GNUPGHOME", home.path()).args(["-c", script]).arg(bench.dir.path()).arg(repo);
        command
    });
    report("re-seal 1,001 files to five", "gpg, loop (from 20)", seconds * 1001.0 / 20.0);
}

fn main() {
    let bench = Bench::new();
    report(
        "--version",
        "kluis",
        measure(50, |_| {
            let mut command = Command::new(KLUIS);
            command.arg("--version");
            command
        }),
    );
    whole_pki(&bench);
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    report(
        "verify of the project's own repository",
        "kluis",
        measure(20, |_| {
            let mut command = Command::new(KLUIS);
            command.env("XDG_STATE_HOME", bench.path("nobody")).arg("-C").arg(&own).args([
                "verify",
                "--pin",
                &pin(&own),
            ]);
            command
        }),
    );
    reseal(&bench);
}

/// The pin on the first epoch of a repository.
fn pin(repo: &Path) -> String {
    let bytes = fs::read(repo.join("trust/epoch/0001.toml")).expect("the project's own root is a repository");
    let epoch = kluis::trust::Epoch::parse(&bytes).expect("a valid epoch");
    format!("kluis-pin:{}:1:{}", epoch.repo, kluis::model::Digest::of(&bytes))
}
