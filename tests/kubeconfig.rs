//! `kubeconfig` and `credential` in process: what is written, what is left alone, and what is refused. Real kubectl and a
//! real API server are in `tests/kube/kubectl.rs`, a real gpg-agent and the environment in `tests/kubectl_agent.rs`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ground::{Answered, Ground};
use kluis::model::{Digest, Place, Span};
use kluis::pki::{Facts, PrivateKey, parse_pem};
use kluis::secret::Secret;
use seat::{Seat, codes, refusal, seat};
use serde_json::Value;

const NEW: &str = "cluster new prod --endpoint https://api.example.org:6443 --kubernetes 1.36 \
                   --node cp-1=10.0.0.11:control-plane,etcd --super-admin --yes";

/// alice and bob, the cluster prod, and alice's break-glass certificate, an hour long.
fn desk() -> Ground {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    seat(&ground, "alice").pinned().run(NEW).ends(0);
    ground
}

fn path(ground: &Ground, name: &str) -> PathBuf {
    ground.dir.path().join(name)
}

fn kubeconfig(seat: &Seat<'_>, file: &Path, more: &str) -> Answered {
    seat.run(&format!("kubeconfig -c prod --break-glass --out {} {more}", file.display()))
}

fn yaml(file: &Path) -> Value {
    serde_yaml_ng::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn der(pem: &[u8]) -> Vec<u8> {
    parse_pem(pem, "CERTIFICATE").unwrap()
}

#[test]
fn a_context_is_added_whose_key_stays_sealed() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let file = path(&ground, "config");
    kubeconfig(&alice, &file, "")
        .ends(0)
        .says("Wrote context alice-break-glass@prod")
        .says("current  alice-break-glass@prod");
    let config = yaml(&file);
    assert_eq!(config["current-context"], "alice-break-glass@prod");
    assert_eq!(config["contexts"][0]["context"]["cluster"], "prod");
    assert_eq!(config["contexts"][0]["context"]["user"], "alice-break-glass@prod");
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://api.example.org:6443");
    let authority = STANDARD.decode(config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap());
    assert_eq!(authority.unwrap(), ground.read("clusters/prod/ca/kubernetes.g1.crt").into_bytes());
    let exec = &config["users"][0]["user"]["exec"];
    assert_eq!(exec["apiVersion"], "client.authentication.k8s.io/v1");
    assert_eq!(
        (exec["interactiveMode"].as_str(), exec["provideClusterInfo"].as_bool()),
        (Some("IfAvailable"), Some(false))
    );
    let args: Vec<&str> = exec["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let (repo, key) = (ground.repo().canonicalize().unwrap(), ground.person("alice").key.clone());
    let expected = ["-C", repo.to_str().unwrap(), "credential", "-c", "prod", "--as", "alice", "--identity"];
    assert_eq!(args, [&expected[..], &[key.to_str().unwrap(), "--break-glass"]].concat());
    assert!(Path::new(exec["command"].as_str().unwrap()).is_absolute(), "no kluis on the PATH is this program");
    assert_eq!(config["users"][0]["user"].as_object().unwrap().len(), 1);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    kubeconfig(&alice, &file, "").ends(0).says("as before");
    assert_eq!(fs::read(&file).unwrap(), before);
    // The arguments that it wrote are a command line that answers.
    let words: Vec<&str> =
        args[2..].iter().copied().filter(|arg| *arg != "--identity" && *arg != key.to_str().unwrap()).collect();
    alice.run(&words.join(" ")).ends(0);
}

#[test]
fn what_else_the_file_says_stays_and_who_was_current_is_said() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let file = path(&ground, "config");
    let theirs = "# mine\napiVersion: v1\nkind: Config\npreferences: {}\nclusters:\n- name: minikube\n  cluster: {server: 'https://1.2.3.4', \
                  extensions: [{name: x, extension: {a: 1.5}}]}\nusers:\n- name: minikube\n  user: {token: s3cret, username: 'yes'}\ncontexts:\n\
                  - {name: minikube, context: {cluster: minikube, user: minikube}}\ncurrent-context: minikube\n";
    fs::write(&file, theirs).unwrap();
    let answered = kubeconfig(&alice, &file, "--no-switch").ends(0).says("current  minikube, as before");
    assert!(!answered.out.contains("s3cret") && !answered.err.contains("s3cret"));
    kubeconfig(&alice, &file, "").ends(0).says("current  alice-break-glass@prod, before: minikube");
    let (before, after): (Value, Value) = (serde_yaml_ng::from_str(theirs).unwrap(), yaml(&file));
    for section in ["clusters", "users", "contexts"] {
        assert_eq!(after[section][0], before[section][0]);
        assert_eq!(after[section].as_array().unwrap().len(), 2);
    }
    assert_eq!(after["preferences"], before["preferences"]);
    let report = kubeconfig(&alice, &file, "-o json").ends(0).json();
    assert_eq!(report["data"]["previous_context"], "alice-break-glass@prod");
    assert_eq!((report["data"]["key"].as_str(), report["data"]["authorities"].as_u64()), (Some("exec"), Some(1)));
}

#[test]
fn a_dry_run_writes_nothing_and_stdout_gets_a_kubeconfig_of_its_own() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let file = path(&ground, "new/config");
    kubeconfig(&alice, &file, "--dry-run").ends(0).says("Would write context");
    kubeconfig(&alice, &file, "--dry-run --inline").ends(0).says("Would write context");
    assert!(!file.parent().unwrap().exists());
    let answered = alice.run("kubeconfig -c prod --break-glass --out - --context x").ends(0);
    let config: Value = serde_yaml_ng::from_str(&answered.out).unwrap();
    for name in [&config["current-context"], &config["clusters"][0]["name"], &config["users"][0]["name"]] {
        assert_eq!(*name, "x");
    }
    refusal(&alice.run("kubeconfig -c prod --break-glass --out - -o json"), 2, &["leave -o json out"]);
}

#[test]
fn the_key_stands_in_the_file_only_where_that_was_asked_for() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let file = path(&ground, "config");
    kubeconfig(&alice, &file, "").ends(0);
    kubeconfig(&alice, &file, "--inline").ends(0).says("IN THIS FILE, IN THE CLEAR");
    let user = yaml(&file)["users"][0]["user"].clone();
    let data = |field: &str| STANDARD.decode(user[field].as_str().unwrap()).unwrap();
    let facts = Facts::read(&der(&data("client-certificate-data"))).unwrap();
    let key = PrivateKey::from_pem(&Secret::new(data("client-key-data"))).unwrap();
    assert_eq!((facts.spki_id, facts.common_name.as_deref()), (key.spki_id(), Some("alice")));
    assert_eq!(user.as_object().unwrap().len(), 2);
    // Back again: an entry with alice's certificate is known as one of ours.
    kubeconfig(&alice, &file, "").ends(0);
    assert!(!fs::read_to_string(&file).unwrap().contains("client-key-data"));

    let inside = ground.repo().join("config");
    refusal(&kubeconfig(&alice, &inside, "--inline -o json"), 2, &["inside the git repository"]);
    assert!(!inside.exists());
    // A link to a place in a work tree is no way in.
    fs::write(&inside, "").unwrap();
    std::os::unix::fs::symlink(&inside, path(&ground, "link")).unwrap();
    refusal(&kubeconfig(&alice, &path(&ground, "link"), "--inline -o json"), 2, &["inside the git repository"]);
    assert_eq!(fs::read(&inside).unwrap(), b"");
}

#[test]
fn a_key_that_lies_elsewhere_is_named_if_it_is_the_certificates() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let (file, key) = (path(&ground, "config"), path(&ground, "client.pem"));
    let answered = alice.run("credential -c prod --break-glass").ends(0).json();
    fs::write(&key, answered["status"]["clientKeyData"].as_str().unwrap()).unwrap();
    fs::remove_dir_all(ground.state("alice").join("keys")).unwrap();
    refusal(&kubeconfig(&alice, &file, "-o json"), 3, &["not on this machine"]);
    kubeconfig(&alice, &file, &format!("--client-key {}", key.display())).ends(0);
    assert_eq!(yaml(&file)["users"][0]["user"]["client-key"], key.to_str().unwrap());
    let other = path(&ground, "other.pem");
    fs::write(
        &other,
        PrivateKey::generate(kluis::model::Algorithm::EcdsaP256, &mut kluis::env::Rng::system())
            .to_pkcs8_pem()
            .expose(),
    )
    .unwrap();
    refusal(&kubeconfig(&alice, &file, &format!("--client-key {} -o json", other.display())), 2, &["not that of"]);
    refusal(&kubeconfig(&alice, &file, "--client-key /nonexistent/key -o json"), 2, &["no key at"]);
}

#[test]
fn files_that_are_not_to_be_touched_stay_as_they_are() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let file = path(&ground, "config");
    for (text, exit, says) in [
        ("clusters:\n- name: prod\n  cluster: {server: 'https://other'}\n", 2, "for another server"),
        ("users:\n- name: alice-break-glass@prod\n  user: {token: s3cret}\n", 2, "kluis did not write"),
        ("contexts:\n- name: alice-break-glass@prod\n  context: {cluster: a, user: b}\n", 2, "of another cluster"),
        ("kind: Pod\n", 1, "no kubeconfig"),
        ("a: [s3cret\n", 1, "no YAML"),
        ("a: !!binary s3cret\n", 1, "a tag"),
        ("users: s3cret\n", 1, "no list"),
    ] {
        fs::write(&file, text).unwrap();
        for more in ["", "--dry-run", "--inline"] {
            let answered = kubeconfig(&alice, &file, &format!("{more} -o json"));
            refusal(&answered, exit, &[says]);
            assert!(!answered.out.contains("s3cret") && !answered.err.contains("s3cret"), "{}", answered.out);
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
    fs::write(&file, "clusters:\n- name: prod\n  cluster: {server: 'https://other'}\n").unwrap();
    let report = refusal(&kubeconfig(&alice, &file, "-o json"), 2, &[]);
    assert_eq!(report["data"]["help"], "kluis kubeconfig -c prod --context NAME");
    kubeconfig(&alice, &file, "--context other").ends(0);
    let large = fs::File::create(&file).unwrap();
    large.set_len(9 << 20).unwrap();
    refusal(&kubeconfig(&alice, &file, "-o json"), 1, &["at most"]);
    fs::write(&file, "").unwrap();
    fs::write(path(&ground, "config.lock"), "").unwrap();
    refusal(&kubeconfig(&alice, &file, "-o json"), 1, &["config.lock is there"]);
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn who_has_no_live_certificate_is_told_how_to_get_one() {
    let mut ground = desk();
    let file = path(&ground, "config");
    let bob = seat(&ground, "bob").pinned();
    let report = bob.refused("kubeconfig -c prod", 3, &["no client certificate of bob"]);
    assert_eq!(report["data"]["help"], "kluis request new -c prod");
    let report = bob.refused("kubeconfig -c prod --break-glass --as bob", 3, &["no break-glass certificate of bob"]);
    assert_eq!(report["data"]["help"], "kluis kubeconfig -c prod --break-glass --reason TEXT");
    for words in [
        "kubeconfig -c nowhere",
        "kubeconfig -c prod --as carol",
        "kubeconfig -c prod --break-glass --at 2026-01-01T00:00:00Z",
    ] {
        bob.refused(words, 2, &[]);
    }
    ground.now = ground.now.plus(Span::minutes(50));
    kubeconfig(&seat(&ground, "alice"), &file, "")
        .ends(0)
        .says("ends in 10 minutes: kluis kubeconfig -c prod --break-glass --reason TEXT");
    let before = fs::read(&file).unwrap();
    ground.now = ground.now.plus(Span::minutes(10));
    let answered = kubeconfig(&seat(&ground, "alice"), &file, "");
    answered
        .ends(3)
        .says("ended 2026-11-24T13:00:00Z")
        .says("help: kluis kubeconfig -c prod --break-glass --reason TEXT");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn kubectl_gets_the_certificate_and_its_key() {
    let mut ground = desk();
    ground.now = ground.now.plus(Span::minutes(20));
    assert_eq!(seat(&ground, "alice").run("credential -c prod --break-glass").ends(0).err, "");
    ground.now = ground.now.plus(Span::minutes(30));
    let alice = seat(&ground, "alice");
    let answered = alice.run("credential -c prod --break-glass").ends(0).says("ends in 10 minutes");
    assert!(!answered.err.contains("PRIVATE KEY"));
    let credential = answered.json();
    assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1");
    assert_eq!(credential["kind"], "ExecCredential");
    let status = &credential["status"];
    assert_eq!(status["expirationTimestamp"], "2026-11-24T13:00:00Z");
    let certificate = status["clientCertificateData"].as_str().unwrap();
    assert_eq!(certificate, ground.read("clusters/prod/certs/person/alice/break-glass.crt"));
    let facts = Facts::read(&der(certificate.as_bytes())).unwrap();
    let key =
        PrivateKey::from_pem(&Secret::new(status["clientKeyData"].as_str().unwrap().as_bytes().to_vec())).unwrap();
    assert_eq!(key.spki_id(), facts.spki_id);
    assert_eq!(status.as_object().unwrap().len(), 3);
    // The same for one who is found by their key, and with the pin of a CI job instead of the machine's.
    for words in [
        "--as alice credential -c prod --break-glass",
        "credential --break-glass",
        &format!("--pin {} credential -c prod --break-glass", ground.pin),
    ] {
        assert_eq!(alice.run(words).ends(0).json(), credential, "{words}");
    }
    for words in [
        "credential -c prod --break-glass -o json",
        "credential -c prod --break-glass --dry-run",
        "credential -c nowhere",
        "credential -c prod --at 2026-11-24T12:00:00Z",
    ] {
        alice.refused(words, 2, &[]);
    }
}

#[test]
fn a_certificate_that_is_not_the_persons_own_is_not_handed_out() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.run("bob", "cert issue break-glass -c prod --reason x").ends(0);
    let own = ground.repo().join("clusters/prod/certs/person/alice/break-glass.crt");
    let good = fs::read(&own).unwrap();
    let bobs = fs::read(ground.repo().join("clusters/prod/certs/person/bob/break-glass.crt")).unwrap();
    let foreign = desk();
    let foreign = foreign.read("clusters/prod/certs/person/alice/break-glass.crt").into_bytes();
    let node = fs::read(ground.repo().join("clusters/prod/certs/node/cp-1/admin.crt")).unwrap();
    let refused = |bytes: &[u8], code: &str| {
        fs::write(&own, bytes).unwrap();
        let answered = alice.run("credential -c prod --break-glass --as alice");
        assert!(answered.out.is_empty());
        answered.ends(3).says(code).says("git restore -- clusters/prod/certs/person/alice/break-glass.crt");
    };
    refused(&bobs, "bad-subject");
    refused(&node, "bad-subject");
    refused(&foreign, "unknown-issuer");
    refused(b"nothing", "cert-format");
    refused(&[good.as_slice(), b"\n"].concat(), "cert-format");
    let flipped: Vec<u8> = {
        let mut der = der(&good);
        let last = der.len() - 1;
        der[last] ^= 1;
        kluis::pki::certificate_pem(&der)
    };
    refused(&flipped, "unknown-issuer");
    // Another CA's bytes at the CA's place count for nothing, and nothing is asked of a key.
    fs::write(&own, &good).unwrap();
    let ca = ground.repo().join("clusters/prod/ca/kubernetes.g1.crt");
    let kept = fs::read(&ca).unwrap();
    fs::write(&ca, fs::read(ground.repo().join("clusters/prod/ca/etcd.g1.crt")).unwrap()).unwrap();
    alice.run("credential -c prod --break-glass").ends(3).says("unknown-issuer");
    fs::write(&ca, kept).unwrap();
    alice.run("credential -c prod --break-glass").ends(0);
    // A break-glass certificate where the usual one lies: the key was not made for that.
    fs::write(own.with_file_name("client.crt"), &good).unwrap();
    let answered = alice.run("credential -c prod");
    assert!(answered.out.is_empty());
    answered.ends(3);
    fs::remove_file(own.with_file_name("client.crt")).unwrap();
    std::os::unix::fs::symlink("break-glass.crt", own.with_file_name("client.crt")).unwrap();
    alice.run("credential -c prod").ends(3).says("not-regular");
}

#[test]
fn an_ended_certificate_and_a_key_made_elsewhere_are_said() {
    let mut ground = desk();
    let keys = ground.state("alice").join("keys");
    let aside = path(&ground, "aside");
    fs::rename(&keys, &aside).unwrap();
    let answered = seat(&ground, "alice").run("credential -c prod --break-glass");
    assert!(answered.out.is_empty());
    answered.ends(3).says("the key of the break-glass certificate of alice for cluster prod is not on this machine");
    // Another file under its name is not taken for it.
    fs::create_dir(&keys).unwrap();
    let name = fs::read_dir(&aside).unwrap().next().unwrap().unwrap().file_name();
    fs::copy(ground.repo().join("clusters/prod/sealed/ca.kubernetes.g1.asc"), keys.join(&name)).unwrap();
    let answered = seat(&ground, "alice").run("credential -c prod --break-glass");
    assert!(answered.out.is_empty());
    answered.ends(3);
    fs::copy(aside.join(&name), keys.join(&name)).unwrap();
    seat(&ground, "alice").run("credential -c prod --break-glass").ends(0);
    // Somebody else's secret key opens nothing.
    let bobs = ground.person("bob").key.clone();
    let answered = seat(&ground, "alice").with_keys(&bobs).run("--as alice credential -c prod --break-glass");
    assert!(answered.out.is_empty());
    answered.ends(6);
    ground.now = ground.now.plus(Span::hours(1));
    let answered = seat(&ground, "alice").run("credential -c prod --break-glass");
    assert!(answered.out.is_empty());
    answered
        .ends(3)
        .says("ended 2026-11-24T13:00:00Z")
        .says("help: kluis kubeconfig -c prod --break-glass --reason TEXT");
}

#[test]
fn epochs_that_were_rolled_back_forked_or_never_seen_end_it() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let words = "credential -c prod --break-glass --as alice";
    ground.epoch(&["alice"], |epoch| epoch.reason = "another".to_owned());
    // Not verified on this machine yet: judged here, every time, and no pin is moved.
    let pins = fs::read(ground.state("alice").join("pins.toml")).unwrap();
    alice.run(words).ends(0);
    assert_eq!(fs::read(ground.state("alice").join("pins.toml")).unwrap(), pins);
    alice.run("verify").ends(0);
    assert_ne!(fs::read(ground.state("alice").join("pins.toml")).unwrap(), pins);
    alice.run(words).ends(0);
    let folder = ground.repo().join("trust/epoch");
    let last = || {
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names.iter().rfind(|path| path.extension().unwrap() == "toml").unwrap().clone()
    };
    let refused = |code: &str| {
        let answered = alice.run(words);
        assert!(answered.out.is_empty());
        answered.says(code).exit
    };
    let newest = last();
    let bytes = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    assert_eq!(refused("rollback"), 3, "its signature signs nothing now");
    fs::write(&newest, String::from_utf8(bytes.clone()).unwrap().replace("another", "others")).unwrap();
    assert_eq!(refused("fork"), 3, "and is not signed");
    fs::write(&newest, &bytes).unwrap();
    // Epochs before the pinned one are held by its hash; the first is pinned itself.
    let first = folder.join("0001.toml");
    let genesis = fs::read(&first).unwrap();
    fs::write(&first, "x").unwrap();
    assert_ne!(alice.run(words).exit, 0);
    fs::write(&first, genesis).unwrap();
    alice.run(words).ends(0);
    ground.git("restore --source=HEAD^ --staged --worktree trust/epoch pubkeys");
    assert!(alice.run(words).ends(4).says("rollback").out.is_empty());
    seat(&ground, "bob").run("--as alice credential -c prod --break-glass").ends(4).says("unpinned").says("trust pin");
}

#[test]
fn a_draft_that_lacks_signatures_is_passed_over_and_one_that_has_them_counts() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let alice = seat(&ground, "alice").pinned();
    alice.run(NEW).ends(0);
    let words = "credential -c prod --break-glass --as alice";
    ground.run("alice", "trust set threshold.trust 2").ends(0);
    ground.run("bob", "trust sign --yes").ends(0);
    alice.run("verify").ends(0);
    alice.run("trust set policy.max_client 30d").ends(0);
    alice.run("verify").ends(3);
    alice.run(words).ends(0);
    // One by a stranger, with as many signature files as are needed, is judged and fails.
    let epochs = ground.repo().join("trust/epoch");
    let draft = ground.verified().chain.draft().unwrap().epoch.number;
    let own = epochs.join(format!("{draft:04}.alice.sig"));
    let forged = epochs.join(format!("{draft:04}.bob.sig"));
    fs::copy(&own, &forged).unwrap();
    let answered = alice.run(words);
    assert!(answered.out.is_empty());
    answered.ends(3).says("unlisted-signer");
    fs::remove_file(&forged).unwrap();
    seat(&ground, "bob").pinned().run("trust sign --yes").ends(0);
    alice.run(words).ends(0);
    assert_eq!(codes(&alice.run("verify -o json").json()), [""; 0]);
    alice.run(words).ends(0);
}

#[test]
fn who_left_gets_nothing_though_their_certificate_lies_there() {
    let ground = desk();
    ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
    ground.run("alice", "reseal").ends(0);
    ground.run("bob", "cert issue break-glass -c prod --reason x").ends(0);
    let bob = seat(&ground, "bob").pinned();
    bob.run("credential -c prod --break-glass --as bob").ends(0);
    ground.run("alice", "person remove bob --reason left --yes").ends(0);
    let answered = bob.run("credential -c prod --break-glass --as bob");
    assert!(answered.out.is_empty());
    answered.ends(3).says("lists no bob");
}

#[test]
fn the_certificate_is_found_by_its_place_alone() {
    let ground = desk();
    let alice = seat(&ground, "alice");
    let place = Place::parse("clusters/prod/certs/person/alice/break-glass.crt").unwrap();
    // Nothing of the log is read: a repository whose log is broken still lets its people in.
    fs::remove_dir_all(ground.repo().join("trust/log")).unwrap();
    fs::remove_dir_all(ground.repo().join("clusters/prod/sealed")).unwrap();
    let credential = alice.run("credential -c prod --break-glass").ends(0).json();
    let pem = credential["status"]["clientCertificateData"].as_str().unwrap();
    assert_eq!(Digest::of(pem.as_bytes()), Digest::of(ground.read(&place.to_string()).as_bytes()));
    alice.run("kubeconfig -c prod --break-glass --out -").ends(3);
}
