//! Granting a thousand requests in one batch, beside `openssl ca`, which asks nobody who they are; and when ten thousand
//! certificates end, beside `openssl storeutl`. CPU seconds of whole processes. `cargo bench --bench requests`.
//!
//! Wall time is not measured: the machines that this runs on are shared.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

#[path = "../tests/ground/mod.rs"]
mod ground;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use ground::Ground;
use kluis::env::Rng;
use kluis::model::{Algorithm, ClusterName, Digest, HexId, Place, Profile, Span, Time};
use kluis::openpgp::Kind;
use kluis::pki::{self, PrivateKey};
use kluis::repo::ChangeSet;
use kluis::trust::Request;

const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");
const CLUSTERS: usize = 4;
/// People a cluster: an epoch of at most 256 KiB has no room for a thousand.
const PEOPLE: usize = 250;

/// CPU seconds of all children that this process has waited for.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn measure(command: &mut Command) -> f64 {
    let before = children();
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    children() - before
}

fn report(work: &str, tool: &str, seconds: f64) {
    println!("{work:<44} {tool:<28} {seconds:>8.3} s CPU");
}

/// A repository in which everybody has asked on every cluster; the CSRs in DER.
fn asked() -> (Ground, Vec<Vec<u8>>) {
    let now = Time::from_system(SystemTime::now());
    let names: Vec<String> = (0..PEOPLE).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ground = Ground::at(now.minus(Span::minutes(2)), &names, 1, 1);
    for number in 0..CLUSTERS {
        let words = format!("cluster new c{number} --endpoint https://c{number}.example.org:6443 --kubernetes 1.36");
        ground.run("p0", &format!("{words} --node n=10.0.0.1:control-plane,etcd --yes")).ends(0);
    }
    ground.epoch(&["p0"], |epoch| {
        let people: Vec<_> = epoch.persons.keys().cloned().collect();
        for cluster in epoch.clusters.values_mut() {
            for person in &people {
                cluster.groups.insert(person.clone(), BTreeSet::from(["developers".to_owned()]));
            }
        }
    });
    let verified = ground.verified();
    let epoch = &verified.chain.latest().unwrap().epoch;
    let mut rng = Rng::system();
    let (mut changes, mut csrs) = (ChangeSet::default(), Vec::new());
    for number in 0..CLUSTERS {
        let cluster = ClusterName::parse(&format!("c{number}")).unwrap();
        for one in &ground.people {
            let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut rng);
            let request = Request {
                repo: epoch.repo,
                cluster: epoch.clusters[&cluster].id,
                person: one.name.clone(),
                profile: Profile::Client,
                groups: BTreeSet::from(["developers".to_owned()]),
                lifetime: Span::hours(8),
                created: ground.now,
                expires: ground.now.plus(Span::days(7)),
                nonce: HexId(rng.bytes()),
                reason: String::new(),
                csr: pki::build_csr(&key, one.name.as_str()),
            };
            csrs.push(request.csr.clone());
            let bytes = request.write().into_bytes();
            let h16 = Digest::of(&bytes).h16();
            let signing = &epoch.persons[&one.name].sign[0];
            let signature = one.keys().sign(&bytes, Kind::Request, &one.certificate, signing, ground.now).unwrap();
            let place = Place::RequestSignature(cluster.clone(), h16.clone(), one.name.clone());
            changes.writes.insert(place.to_string(), signature);
            changes.writes.insert(Place::Request(cluster.clone(), h16).to_string(), bytes);
        }
    }
    ground.commit(&changes);
    (ground, csrs)
}

fn granting() {
    let (ground, csrs) = asked();
    let work = format!("{} requests granted", csrs.len());
    let mut kluis = Command::new(KLUIS);
    kluis.arg("-C").arg(ground.repo()).args(["--pin", &ground.pin]).arg("--identity").arg(&ground.person("p0").key);
    kluis.env("XDG_STATE_HOME", ground.state("p0"));
    let dir = ground.dir.path();
    if let Some(keep) = std::env::var_os("KLUIS_BENCH_KEEP") {
        // To look at it with a profiler.
        kluis.args(["request", "approve", "--all-clusters", "--all", "--yes"]);
        let _ = Command::new("cp").arg("-a").arg(dir).arg(&keep).status();
        return println!("{kluis:?} with {} as {}", Path::new(&keep).display(), dir.display());
    }
    let mut verify = Command::new(KLUIS);
    verify.arg("-C").arg(ground.repo()).args(["--pin", &ground.pin, "verify"]);
    report(&work, "kluis verify, before", measure(&mut verify));
    let ours = measure(kluis.args(["request", "approve", "--all-clusters", "--all", "--yes"]));
    report(&work, "kluis, one record", ours);
    let issued = fs::read_dir(ground.repo().join("clusters/c0/certs/person")).unwrap().count();
    assert_eq!(issued, PEOPLE);
    let theirs = openssl_ca(dir, &csrs);
    report(&work, "openssl ca -batch, no person", theirs);
    println!("{:>44} {:.1} times", "", ours / theirs);
}

/// A CA of openssl's own that signs the same CSRs; nobody is asked who made them.
fn openssl_ca(dir: &Path, csrs: &[Vec<u8>]) -> f64 {
    let ca = dir.join("ca");
    fs::create_dir(&ca).unwrap();
    let openssl = |words: &str| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&ca).args(words.split_whitespace());
        openssl
    };
    measure(&mut openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key"));
    measure(&mut openssl("req -x509 -new -key ca.key -subj /CN=ca -days 30 -out ca.crt"));
    fs::create_dir(ca.join("new")).unwrap();
    fs::write(ca.join("index.txt"), "").unwrap();
    fs::write(
        ca.join("ca.cnf"),
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nnew_certs_dir = new\nrand_serial = yes\ndefault_md = sha256\n\
         default_days = 1\npolicy = p\ncertificate = ca.crt\nprivate_key = ca.key\nunique_subject = no\n\
         [p]\ncommonName = supplied\n",
    )
    .unwrap();
    let mut words = String::from("ca -batch -notext -config ca.cnf -infiles");
    for (number, csr) in csrs.iter().enumerate() {
        let pem = kluis::pki::certificate_pem(csr);
        let pem = String::from_utf8(pem).unwrap().replace("CERTIFICATE", "CERTIFICATE REQUEST");
        fs::write(ca.join(format!("{number}.csr")), pem).unwrap();
        write!(words, " {number}.csr").unwrap();
    }
    measure(&mut openssl(&words))
}

/// When ten thousand certificates end.
fn expiry() {
    const COUNT: usize = 10_000;
    let ground = Ground::new(&["alice"], 1, 1);
    ground
        .run(
            "alice",
            "cluster new prod --endpoint https://p.example.org:6443 --kubernetes 1.36 --yes \
        --node cp-1=10.0.0.1:control-plane,etcd",
        )
        .ends(0);
    let certificate = fs::read(ground.repo().join("clusters/prod/certs/node/cp-1/apiserver.crt")).unwrap();
    for number in 0..COUNT {
        let folder = ground.repo().join(format!("clusters/prod/certs/node/n-{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("kubelet-serving.crt"), &certificate).unwrap();
    }
    let bundle = ground.dir.path().join("all.pem");
    fs::write(&bundle, certificate.repeat(COUNT)).unwrap();
    let work = format!("when {COUNT} certificates end");
    let mut kluis = Command::new(KLUIS);
    let ours = measure(kluis.arg("-C").arg(ground.repo()).args(["cert", "expiry", "--quick", "-o", "json"]));
    report(&work, "kluis, a file each", ours);
    let mut openssl = Command::new("openssl");
    let theirs = measure(openssl.args(["storeutl", "-noout", "-text", "-certs"]).arg(&bundle));
    report(&work, "openssl storeutl, one file", theirs);
    println!("{:>44} {:.2} times", "", ours / theirs);
}

fn main() {
    granting();
    expiry();
}
