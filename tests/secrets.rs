//! Private keys are nowhere but in sealed files and where a person asked for them: after every command its streams, the whole
//! repository with all of git's objects, the state folders and the temporary directory are searched for the bytes of every key.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use kluis::model::Span;
use kluis::openpgp;

/// A scratch directory with two people who have key files, a repository, and a temporary directory of their own.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        for name in ["alice", "bob"] {
            let born = kluis::env::now().minus(Span::hours(1));
            let (certificate, secret) = openpgp::generate(name, born, Some(Span::days(700))).unwrap();
            fs::write(scratch.path(&format!("{name}.key")), secret.expose()).unwrap();
            fs::write(scratch.path(&format!("{name}.asc")), certificate.to_stored()).unwrap();
        }
        for folder in ["repo", "tmp"] {
            fs::create_dir(scratch.path(folder)).unwrap();
        }
        for args in ["init -q -b main", "config user.name a", "config user.email a@example.org"] {
            let mut git = Command::new("git");
            assert!(git.arg("-C").arg(scratch.path("repo")).args(args.split(' ')).status().unwrap().success());
        }
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command as somebody; `~` stands for the scratch directory.
    #[track_caller]
    fn run(&self, who: &str, words: &str, exits: &[i32]) -> Output {
        let words = words.replace('~', self.0.path().to_str().unwrap());
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path("home"));
        kluis.env("TMPDIR", self.path("tmp")).env("XDG_STATE_HOME", self.path("state").join(who));
        kluis.arg("-C").arg(self.path("repo")).arg("--identity").arg(self.path(&format!("{who}.key")));
        let output = kluis.args(words.split(' ')).stdin(Stdio::null()).output().unwrap();
        let code = output.status.code().unwrap();
        assert!(exits.contains(&code), "{words}: {code}\n{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// A key to look for: where it is from, and forms in which it could lie about.
struct Needle {
    name: String,
    forms: Vec<Vec<u8>>,
}

/// The forms of a key in PEM: its base64 lines, the secret numbers in binary (both orders) and in hexadecimal.
fn needle(name: &str, pem: &str) -> Needle {
    let mut forms: Vec<Vec<u8>> = Vec::new();
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    // The first line begins with the algorithm, which is no secret; a public key may share a line's beginning.
    forms.extend(lines.iter().skip(1).filter(|line| line.len() == 64).map(|line| line.as_bytes().to_vec()));
    if pem.contains("PRIVATE KEY") {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-text", "-noout"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = openssl.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), pem.as_bytes()).unwrap();
        let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        for number in numbers(&text) {
            let window = &number[number.len() / 2 - 8..number.len() / 2 + 8];
            forms.push(window.to_vec());
            forms.push(window.iter().rev().copied().collect());
            forms.push(window.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
        }
    } else {
        forms.push(lines[0].as_bytes().to_vec());
        forms.push(base64::engine::general_purpose::STANDARD.decode(lines[0]).unwrap());
    }
    assert!(!forms.is_empty(), "{name}");
    Needle { name: name.to_owned(), forms }
}

/// The secret numbers in what openssl prints of a private key.
fn numbers(text: &str) -> Vec<Vec<u8>> {
    let secret = ["priv:", "privateExponent:", "prime1:", "prime2:", "exponent1:", "exponent2:", "coefficient:"];
    let mut numbers: Vec<Vec<u8>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("    ") {
            if inside {
                let bytes = line.trim().split(':').filter(|byte| !byte.is_empty());
                numbers.last_mut().unwrap().extend(bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
            }
            continue;
        }
        inside = secret.contains(&line.trim());
        if inside {
            numbers.push(Vec::new());
        }
    }
    assert!(!numbers.is_empty() && numbers.iter().all(|number| number.len() > 24), "{}", numbers.len());
    numbers
}

/// Everything that lies below `dir`, as bytes, with a name.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

fn objects(repo: &Path) -> Vec<u8> {
    let mut git = Command::new("git");
    git.arg("-C").arg(repo).args(["cat-file", "--batch-all-objects", "--batch", "--unordered"]);
    git.output().unwrap().stdout
}

/// What is written in base64 in these bytes, as PEM blocks, kubeconfigs and armor have it: lines of one run joined, decoded,
/// and what is in base64 in that as well.
fn decoded(bytes: &[u8], depth: usize) -> Vec<u8> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut found = Vec::new();
    let mut run: Vec<u8> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').chain([b"-".as_slice()]) {
        let value = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        let digits: Vec<u8> = value.iter().copied().take_while(is_digit).collect();
        let is_whole = digits.len() >= 20 && value[digits.len()..].iter().all(|byte| matches!(byte, b'=' | b'\r'));
        if is_whole {
            run.extend(&digits);
        }
        // A line that is no base64, or shorter than a PEM line, ends the run.
        if !is_whole || digits.len() < 64 || value.len() > 76 {
            run.truncate(run.len() / 4 * 4 + [0, 0, 2, 3][run.len() % 4]);
            let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&run);
            run.clear();
            if let Some(bytes) = bytes.ok().filter(|bytes| !bytes.is_empty()) {
                if depth > 0 {
                    found.extend(decoded(&bytes, depth - 1));
                }
                found.extend(bytes);
            }
        }
    }
    found
}

/// Where a needle is found.
fn search(haystack: &[(String, Vec<u8>)], needles: &[Needle]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, bytes) in haystack {
        let bytes = [bytes.as_slice(), &decoded(bytes, 1)].concat();
        for needle in needles {
            let mut forms = needle.forms.iter();
            if forms.any(|form| bytes.windows(form.len()).any(|window| window == form.as_slice())) {
                found.push(format!("{} in {place}", needle.name));
            }
        }
    }
    found
}

const NODES: &str = "--node cp-1=10.0.0.11:control-plane,etcd --node w-1=10.0.0.21:worker";

/// Every command that works, as who, and with which exit codes it may end.
fn commands() -> Vec<(&'static str, String, &'static [i32])> {
    let new = "cluster new";
    let mut all: Vec<(&'static str, String, &'static [i32])> = vec![
        ("alice", "init --as alice --pgp ~/alice.asc".to_owned(), &[0]),
        (
            "alice",
            format!("{new} prod --endpoint https://a.example.org --kubernetes 1.36 --super-admin --yes {NODES}"),
            &[0],
        ),
        (
            "alice",
            format!(
                "{new} old --endpoint https://b.example.org --kubernetes 1.35 --algorithm rsa-2048 --yes --node cp-1=10.0.0.12:control-plane,etcd"
            ),
            &[0],
        ),
        ("alice", "person add bob --pgp ~/bob.asc --role root --keyholder prod --issuer prod".to_owned(), &[0]),
        ("alice", "trust pin".to_owned(), &[0]),
    ];
    for (who, words) in [
        ("bob", "trust sign --yes"),
        ("alice", "reseal"),
        ("alice", "cert issue apiserver -c prod --node cp-1"),
        ("alice", "cert issue -c prod --node w-1"),
        ("alice", "cert issue break-glass -c prod --reason drill"),
        ("alice", "kubeconfig -c prod --break-glass --out ~/home/.kube/config"),
        ("alice", "cluster apply -c prod --yes"),
        ("alice", "trust set policy.max_client 30d"),
        ("bob", "verify"),
        ("bob", "verify -o json --strict"),
        ("bob", "status -o json"),
        ("bob", "doctor"),
        ("alice", "person list"),
        ("alice", "person show bob"),
        ("alice", "person update bob --group prod=developers"),
        ("alice", "trust show -o json"),
        ("alice", "cluster list"),
        ("alice", "cluster show -c prod -o json"),
        ("alice", "cert list -c prod"),
        ("alice", "cert show -c prod --node cp-1"),
        ("alice", "export kubeadm -c prod --node cp-1 --out ~/export/cp-1 --with-ca-keys"),
        ("alice", "export kubeadm -c old --all-nodes --out ~/export/old --with-ca-keys"),
        ("alice", "export pem -c prod --node w-1 --out ~/export/w-1 -o json"),
        ("alice", "export pem -c prod --keyset kubernetes --out ~/export/ca"),
        ("alice", "open -c prod ca.kubernetes"),
        ("alice", "completions bash"),
        ("alice", "man verify"),
        ("alice", "demo ~/demo"),
    ] {
        all.push((who, words.to_owned(), &[0, 1, 2, 3, 4, 5]));
    }
    all
}

#[test]
fn no_private_key_is_anywhere_after_any_command() {
    let scratch = Scratch::new();
    let mut streams: Vec<(String, Vec<u8>)> = Vec::new();
    let mut fine = 0;
    for (who, words, exits) in commands() {
        if words == "trust sign --yes" {
            let line = scratch.run("alice", "trust pin", &[0]).stdout;
            scratch.run("bob", &format!("trust pin {}", String::from_utf8(line).unwrap().trim()), &[0]);
        }
        let output = scratch.run(who, &words, exits);
        fine += usize::from(matches!(output.status.code(), Some(0 | 5)));
        streams.push((format!("stdout of {words}"), output.stdout));
        streams.push((format!("stderr of {words}"), output.stderr));
    }
    assert!(fine >= 28, "{fine}: {:#?}", streams.iter().map(|(name, _)| name).collect::<Vec<_>>());

    // Every key, by the one way out that a person asks for.
    let mut needles = Vec::new();
    for cluster in ["prod", "old"] {
        let mut secrets = vec!["ca.kubernetes", "ca.etcd", "ca.front-proxy", "sa", "encryption", "node.cp-1"];
        secrets.extend((cluster == "prod").then_some("node.w-1"));
        for secret in secrets {
            let pem = scratch.run("alice", &format!("open -c {cluster} {secret} --yes"), &[0]).stdout;
            let pem = String::from_utf8(pem).unwrap();
            for (number, one) in pem.split_inclusive("-----END ").collect::<Vec<_>>().windows(2).enumerate() {
                let begin = one[0].find("-----BEGIN ").unwrap();
                let end = one[1].split_inclusive('\n').next().unwrap();
                needles.push(needle(&format!("{cluster}/{secret} {number}"), &format!("{}{end}", &one[0][begin..])));
            }
        }
    }
    let own = scratch.run("alice", "credential -c prod --break-glass", &[0]).stdout;
    let own: serde_json::Value = serde_json::from_slice(&own).unwrap();
    needles.push(needle("alice's own key", own["status"]["clientKeyData"].as_str().unwrap()));
    scratch.run("alice", "kubeconfig -c prod --break-glass --inline --out ~/export/kubeconfig", &[0]);
    assert!(needles.len() >= 36, "{}", needles.len());

    let mut haystack = streams;
    for folder in ["repo", "state", "tmp", "home"] {
        files(&scratch.path(folder), &mut haystack);
    }
    haystack.push(("git's objects".to_owned(), objects(&scratch.path("repo"))));
    assert!(haystack.len() > 150, "{}", haystack.len());
    assert_eq!(search(&haystack, &needles), [""; 0]);

    // The search is not blind: it finds what was exported on request, and what is planted.
    let mut exported = Vec::new();
    files(&scratch.path("export"), &mut exported);
    let found = search(&exported, &needles);
    assert!(found.len() >= needles.len(), "every key is in what was asked for: {found:?}");
    for (path, _) in &exported {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert!(
            mode == 0o600 || search(&[(path.clone(), fs::read(path).unwrap())], &needles).is_empty(),
            "{path} {mode:o}"
        );
    }
}

/// Nobody but root looks into the process, and it leaves no core.
#[test]
fn the_process_forbids_itself_cores_and_tracing() {
    let scratch = Scratch::new();
    let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("HOME", scratch.path("home")).env("XDG_STATE_HOME", scratch.path("state"));
    // It waits for a certificate that does not come.
    kluis.arg("-C").arg(scratch.path("repo")).args(["init", "--as", "alice", "--pgp", "-"]);
    let mut child = kluis.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let folder = PathBuf::from(format!("/proc/{}", child.id()));
    // Of a process that can't be dumped everything in /proc belongs to root, and the limit of cores is nought.
    let limit = || fs::read_to_string(folder.join("limits")).unwrap_or_default();
    let core = |text: &str| {
        text.lines().any(|l| l.starts_with("Max core file size") && l.split_whitespace().nth(4) == Some("0"))
    };
    let begun = std::time::Instant::now();
    while !core(&limit()) && begun.elapsed().as_secs() < 20 {
        std::thread::yield_now();
    }
    assert!(core(&limit()), "{}", limit());
    child.kill().unwrap();
    child.wait().unwrap();
}
