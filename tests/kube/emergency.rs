//! Leaked CA keys on a real control plane: where whoever forges with them is let in, and which step ends that.
//! Owns the forger, and the order of the steps in an emergency (docs/ROTATION.md).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fleet::Fleet;
use crate::load::{Attempt, Credentials, Load, Question, Seat};
use crate::members::shakes_hands;
use crate::process::{Run, wait_until};
use crate::programs;
use crate::rotation::token;

/// In the URL of each request that has to be refused, so that audit logs tell them from others.
pub const PROBE: &str = "probe=refused";

/// Where clients with certificates are let in.
const TOKENS: [&str; 2] = ["token cp-1", "token cp-2"];
pub const EVERYWHERE: [&str; 7] = ["api cp-1", "api cp-2", "kcm", "scheduler", "etcd cp-1", "etcd cp-2", "etcd cp-3"];

#[test]
fn in_an_emergency_one_round_cuts_a_forger_off_with_its_first_file() {
    let (mut fleet, load) = Fleet::start();
    let (forger, kubelet) = before(&mut fleet, &load);
    for step in ["start", "trust", "promote", "distrust"] {
        fleet.exports.kluis(["rotate", step, "-c", "prod", "--emergency", "--yes"]);
    }
    let order = cut_off(&mut fleet, &load, &forger, &kubelet);
    assert_eq!(order, ["api", "etcd", "token", "scheduler"]);
}

#[test]
fn with_a_generation_for_an_emergency_two_commands_and_one_round_are_enough() {
    let (mut fleet, load) = Fleet::start();
    let (forger, kubelet) = before(&mut fleet, &load);
    let keysets = ["kubernetes", "etcd", "front-proxy", "service-account"];
    let standby = ["rotate", "start", "-c", "prod", "--standby", "--yes"].into_iter().chain(keysets);
    fleet.exports.kluis(standby);
    fleet.exports.kluis(["rotate", "trust", "-c", "prod", "--yes"]);
    fleet.roll(&load, &kubelet, |_, _, _| ());
    let known = ["rotate", "promote", "-c", "prod", "--emergency", "--confirm", "nodes-have-bundle", "--yes"];
    fleet.exports.kluis(known);
    fleet.exports.kluis(["rotate", "distrust", "-c", "prod", "--emergency", "--yes"]);
    let order = cut_off(&mut fleet, &load, &forger, &kubelet);
    assert_eq!(order, ["api", "scheduler", "etcd", "token"]);
}

/// A forger who is let in everywhere, with a token too, and the kubelet of the worker.
fn before(fleet: &mut Fleet, load: &Load) -> (Forger, Seat) {
    fleet.start_scheduler();
    let admin = fleet.node("cp-1").file("admin.conf");
    fleet.kubectl().args(["create", "serviceaccount", "pod", "--namespace=default"]).succeeds();
    let mut forger = Forger::with_leaked_keys(fleet);
    forger.token = Some(token(load, &fleet.credentials(&admin), 0).expect("a token"));
    forger.is_let_in(fleet, load, &[&EVERYWHERE[..], &TOKENS].concat());
    let kubeconfig = fleet.exports.node("w-1").file("kubelet.conf");
    (forger, Seat::new("kubelet", fleet.credentials(&kubeconfig)))
}

/// Follows the plan; what it ends, in order, each time seen. At the end all is well, and the encryption key is as it was.
fn cut_off(fleet: &mut Fleet, load: &Load, forger: &Forger, kubelet: &Seat) -> Vec<&'static str> {
    let mut left: Vec<&str> = [&EVERYWHERE[..], &TOKENS].concat();
    let mut order = Vec::new();
    fleet.follow_the_emergency(load, kubelet, |fleet, ends| {
        for (says, what, places) in [
            ("API servers and controller-managers", "api", &EVERYWHERE[..3]),
            ("schedulers", "scheduler", &EVERYWHERE[3..4]),
            ("certificates at etcd", "etcd", &EVERYWHERE[4..]),
            ("tokens", "token", &TOKENS[..]),
        ] {
            if ends.contains(says) {
                left.retain(|place| !places.contains(place));
                order.push(what);
            }
        }
        forger.is_let_in(fleet, load, &left);
    });
    assert_eq!(left, [""; 0]);
    fleet.kubectl().args(["get", "secrets", "--all-namespaces"]).succeeds();
    fleet.must_be_alive();
    fleet.exports.kluis(["rotate", "remove", "-c", "prod", "--yes"]);
    fleet.exports.kluis(["verify"]);
    order
}

/// The CAs that API servers publish for others: never fewer by themselves, so that somebody has to delete the ConfigMap.
pub fn the_configmap_is_made_anew(fleet: &Fleet, kubeconfig: &Path) {
    let name = ["extension-apiserver-authentication", "--namespace=kube-system"];
    let published = || {
        let map = fleet.kubectl_with(kubeconfig).args(["get", "configmap", "--output=json"]).args(name).ends();
        let map: Value = serde_json::from_str(&map.stdout()).map_err(|_| map.to_string())?;
        let count = |key: &str| authorities(map["data"][key].as_str().unwrap_or_default());
        Ok::<_, String>((count("client-ca-file"), count("requestheader-client-ca-file")))
    };
    assert_eq!(published(), Ok((2, 2)), "it only grows");
    fleet.kubectl_with(kubeconfig).args(["delete", "configmap"]).args(name).succeeds();
    wait_until("the ConfigMap with the new CA alone", || match published() {
        Ok((1, 1)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Whoever has the CAs' keys and made certificates of their own: a member of system:masters, and a client of etcd.
pub struct Forger {
    masters: PathBuf,
    etcd: PathBuf,
    /// One that the leaked key signed: what they forge looks no other.
    token: Option<String>,
    /// What API servers present is no matter to a forger.
    believes: PathBuf,
}

impl Forger {
    pub fn with_leaked_keys(fleet: &Fleet) -> Forger {
        Forger {
            token: None,
            believes: fleet.path().join("believes.crt"),
            masters: forged(fleet, "ca.kubernetes", "ca.crt", "/O=system:masters/CN=nobody"),
            etcd: forged(fleet, "ca.etcd", "etcd/ca.crt", "/CN=nobody"),
        }
    }

    /// Whatever a node's API server may show: of the first generation, or of the CA that the node has.
    fn believing(&self, fleet: &Fleet, name: &str) -> PathBuf {
        let read = |path: PathBuf| std::fs::read(path).expect("a node's files can be read");
        let both = [read(fleet.exports.node(name).pki("ca.crt")), read(fleet.node(name).pki("ca.crt"))].concat();
        std::fs::write(&self.believes, both).expect("a writable scratch directory");
        self.believes.clone()
    }

    /// Waits until the forger is let in at exactly these places.
    pub fn is_let_in(&self, fleet: &Fleet, load: &Load, places: &[&str]) {
        let places = BTreeSet::from_iter(places.iter().map(|place| (*place).to_owned()));
        wait_until("a forger at fewer places", || {
            let now = self.places(fleet, load);
            if now == places { Ok(()) } else { Err(format!("let in at {now:?}, not at {places:?}")) }
        });
    }

    fn places(&self, fleet: &Fleet, load: &Load) -> BTreeSet<String> {
        let mut places = BTreeSet::new();
        let masters = |authority: PathBuf| Credentials { authority, pair: Some(self.masters.clone()), token: None };
        for (name, server) in ["cp-1", "cp-2"].iter().zip(&load.servers) {
            let certificate = masters(self.believing(fleet, name));
            let with_token =
                |token: &String| Credentials { pair: None, token: Some(token.clone()), ..certificate.clone() };
            let token = self.token.as_ref().map(|token| ("token", with_token(token)));
            for (what, credentials) in [("api", certificate.clone())].into_iter().chain(token) {
                match load.attempt(server, &credentials, &probe()) {
                    Attempt::Answered(200, _) => places.insert(format!("{what} {name}")),
                    Attempt::Distrusted(why) if why.starts_with("401") => false,
                    Attempt::Away(why) => places.insert(format!("{name} is away: {why}")),
                    other => panic!("{name}: {other:?}"),
                };
            }
        }
        for (name, server, authority) in fleet.components() {
            match load.attempt(&server, &masters(authority), &Question::get("/metrics")) {
                Attempt::Answered(200, _) => {
                    places.insert(name.replace("kube-controller-manager", "kcm").replace("kube-", ""));
                }
                Attempt::Distrusted(why) if why.starts_with("40") => {}
                // It ends when API servers refuse it for ten seconds, and lets nobody in then.
                Attempt::Away(_) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        for (index, member) in fleet.etcd.members().iter().enumerate() {
            if shakes_hands(fleet.scratch(), &member.client, &member.export, Some(&self.etcd)) {
                places.insert(format!("etcd cp-{}", index + 1));
            }
        }
        places
    }
}

/// A certificate that nobody recorded, of a CA whose key was opened: the path of it without `.crt`.
fn forged(fleet: &Fleet, authority: &str, certificate: &str, subject: &str) -> PathBuf {
    let stem = fleet.path().join(format!("forged-{}", authority.replace('.', "-")));
    let file = |extension: &str| stem.with_extension(extension);
    let (key, leaked, extensions) = (file("key"), file("leaked"), file("ext"));
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("a writable scratch directory");
    write(&leaked, &fleet.exports.kluis(["open", "-c", "prod", authority, "--yes"]));
    write(&extensions, "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n");
    let openssl = |words: &str| Run::new(&programs::system("openssl"), fleet.path()).args(words.split(' '));
    let request = openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj")
        .args([std::ffi::OsStr::new(subject), "-keyout".as_ref(), key.as_os_str()])
        .succeeds();
    let signed = openssl("x509 -req -set_serial 4711 -days 1 -CA")
        .args([fleet.node("cp-1").pki(certificate), "-CAkey".into(), leaked, "-extfile".into(), extensions])
        .input(&request)
        .succeeds();
    write(&file("crt"), &signed);
    stem
}

pub fn probe() -> Question {
    Question::get(&format!("/apis?{PROBE}"))
}

/// How many certificates a PEM text has.
pub fn authorities(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}
