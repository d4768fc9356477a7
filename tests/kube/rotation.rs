//! A whole rotation of every keyset on a real control plane under load, forward and back: nobody is refused for a reason of
//! trust, controllers go on, and at the end the former generation is worth nothing anywhere.
//! Owns the clients and the order of the steps; how nodes are treated is `fleet`'s, how requests are counted `load`'s.

use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::emergency::{EVERYWHERE, Forger, PROBE, authorities, probe, the_configmap_is_made_anew};
use crate::fleet::Fleet;
use crate::load::{Attempt, Credentials, Load, Question, Seat};
use crate::members::shakes_hands;
use crate::process::wait_until;

/// The clients that ask all the time.
pub struct Clients {
    /// Has the kubeconfig of before until they must take another.
    pub person: Seat,
    /// Has each phase's newest kubeconfig.
    pub newest: Seat,
    /// Has what its node has.
    pub kubelet: Seat,
    /// Has a token that is renewed, and trusts what the cluster tells pods to.
    pub pod: Seat,
    /// Writes secrets, and reads all that it wrote.
    pub writer: Seat,
}

#[test]
fn every_keyset_is_rotated_under_load_forward_and_back_and_nobody_is_refused() {
    let (mut fleet, load) = Fleet::start();
    let began = Instant::now();
    let clients = settle(&mut fleet, &load);
    let old = Old::keep(&mut fleet, &load, &clients);
    clients.ask_while(&load, || rotation(&mut fleet, &load, &clients, &old));
    nobody_was_refused(&fleet, &load, began);
}

/// What is true at the end: everybody asked, and was answered.
pub fn nobody_was_refused(fleet: &Fleet, load: &Load, began: Instant) {
    load.nobody_was_distrusted("from beginning to end");
    let (answered, again) = (load.total("answered"), load.total("again"));
    eprintln!("{}{answered} answered, {again} tried again, in {} s", load.report(), began.elapsed().as_secs());
    for who in ["person", "newest", "kubelet", "pod", "writer"] {
        assert!(load.report().contains(who), "{who} asked for nothing");
    }
    let unknown = fleet.unknown_senders(PROBE);
    assert!(unknown.is_empty(), "API servers refused more than what had to be refused: {unknown:#?}");
}

/// What was true of the first generation.
struct Old {
    kubeconfig: Credentials,
    token: String,
    forger: Forger,
}

impl Old {
    fn keep(fleet: &mut Fleet, load: &Load, clients: &Clients) -> Old {
        let kubeconfig = fleet.exports.node("cp-1").file("admin.conf");
        let token = token(load, &clients.newest.credentials(), 0).expect("a token");
        Old { kubeconfig: fleet.credentials(&kubeconfig), token, forger: Forger::with_leaked_keys(fleet) }
    }
}

pub fn settle(fleet: &mut Fleet, load: &Load) -> Clients {
    let admin = fleet.node("cp-1").file("admin.conf");
    let kubelet = fleet.path().join("live/w-1/kubelet.conf");
    let first = fleet.credentials(&admin);
    let kubelet = Seat::new("kubelet", fleet.credentials(&kubelet));
    fleet.kubectl().args(["create", "serviceaccount", "pod", "--namespace=default"]).succeeds();
    let binding = ["create", "clusterrolebinding", "pod", "--clusterrole=view", "--serviceaccount=default:pod"];
    fleet.kubectl().args(binding).succeeds();
    controllers_work(fleet, load, "before");
    let pod = Credentials { pair: None, token: token(load, &first, 0), ..first.clone() };
    Clients {
        person: Seat::new("person", first.clone()),
        newest: Seat::new("newest", first.clone()),
        writer: Seat::new("writer", first),
        pod: Seat::new("pod", pod),
        kubelet,
    }
}

/// The steps, as an operator takes them.
fn rotation(fleet: &mut Fleet, load: &Load, clients: &Clients, old: &Old) {
    step(fleet, load, clients, &["start"]);
    step(fleet, load, clients, &["trust"]);
    step(fleet, load, clients, &["undo"]);
    step(fleet, load, clients, &["trust"]);
    assert_eq!(authorities(&root_ca(fleet, "default")), 2, "pods are told to trust both");
    // Before any server shows a leaf of the new CA: everybody has a kubeconfig with both. The certificate is the old one.
    let admin = fleet.node("cp-1").file("admin.conf");
    clients.person.moves_to(fleet.credentials(&admin));
    clients.writer.moves_to(fleet.credentials(&admin));
    clients.all_go_on();

    let promote = [
        "promote",
        "--confirm",
        "nodes-have-bundle",
        "--confirm",
        "clients-have-bundle",
        "--confirm",
        "verifiers-have-key",
    ];
    step(fleet, load, clients, &promote);
    let late = load.attempt(&load.servers[0], &old.kubeconfig, &probe());
    assert!(
        matches!(&late, Attempt::Distrusted(why) if why.contains("verify error")),
        "who has the old CA alone: {late:?}"
    );
    step(fleet, load, clients, &["undo"]);
    step(fleet, load, clients, &promote);
    gates_before_distrust(fleet, clients);

    let confirm = ["nodes-have-leaves", "clients-moved", "tokens-renewed", "secrets-rewritten"];
    let distrust: Vec<&str> =
        std::iter::once("distrust").chain(confirm.iter().flat_map(|gate| ["--confirm", *gate])).collect();
    let complaints = fleet.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    fleet.start_scheduler();
    old.forger.is_let_in(fleet, load, &EVERYWHERE);
    let mut cut_off = Vec::new();
    step_and_look(fleet, load, clients, &distrust, |fleet, node, moment| {
        let left: &[&str] = match (node, moment) {
            ("cp-1", "copied") => &["api cp-2", "scheduler", "etcd cp-1", "etcd cp-2", "etcd cp-3"],
            ("cp-1", _) => &["api cp-2", "scheduler", "etcd cp-2", "etcd cp-3"],
            ("cp-2", "copied") => &["scheduler", "etcd cp-2", "etcd cp-3"],
            ("cp-2", _) | ("cp-3", "copied") => &["scheduler", "etcd cp-3"],
            _ => &["scheduler"],
        };
        cut_off.push(format!("{node} {moment}: let in at {}", left.join(", ")));
        old.forger.is_let_in(fleet, load, left);
    });
    eprintln!("who forges with the leaked keys:\n{}", cut_off.join("\n"));
    the_configmap_is_made_anew(fleet, &fleet.node("cp-1").file("admin.conf"));
    old.forger.is_let_in(fleet, load, &[]);
    the_former_generation_is_worth_nothing(fleet, load, old);
    fleet.exports.kluis(["rotate", "remove", "-c", "prod", "--yes"]);
    let phases = fleet.status()["keysets"].clone();
    assert!(phases.as_array().expect("keysets").iter().all(|one| one["phase"] == "steady"), "{phases}");
    fleet.exports.kluis(["verify"]);
}

/// One phase: in the repository, then on every node, then what has to work in it.
pub fn step(fleet: &mut Fleet, load: &Load, clients: &Clients, words: &[&str]) {
    step_and_look(fleet, load, clients, words, |_, _, _| ());
}

/// One phase, and a look at each of its moments.
fn step_and_look(
    fleet: &mut Fleet,
    load: &Load,
    clients: &Clients,
    words: &[&str],
    look: impl FnMut(&Fleet, &str, &str),
) {
    let began = Instant::now();
    fleet.exports.kluis(["rotate"].iter().chain(words).copied().chain(["-c", "prod", "--yes"]));
    fleet.roll(load, &clients.kubelet, look);
    let admin = fleet.node("cp-2").file("admin.conf");
    clients.newest.moves_to(fleet.credentials(&admin));
    fleet.must_be_alive();
    controllers_work(fleet, load, &format!("{}-{}", words[0], began.elapsed().as_millis()));
    clients.all_go_on();
    load.nobody_was_distrusted(words[0]);
    eprintln!("{}: {} s", words[0], began.elapsed().as_secs());
}

/// Everybody is on the new generation, and all that is encrypted is written again.
fn gates_before_distrust(fleet: &mut Fleet, clients: &Clients) {
    let admin = fleet.node("cp-1").file("admin.conf");
    clients.person.moves_to(fleet.credentials(&admin));
    clients.writer.moves_to(fleet.credentials(&admin));
    clients.all_go_on();
    let before = fleet.stored_under("secrets");
    assert_eq!(before.keys().collect::<Vec<_>>(), ["kluis-g1", "kluis-g2"], "{before:?}");
    fleet.write_all_again("kluis-g2");
}

fn the_former_generation_is_worth_nothing(fleet: &Fleet, load: &Load, old: &Old) {
    let authority = fleet.node("cp-1").pki("ca.crt");
    assert_eq!(authorities(&root_ca(fleet, "default")), 1, "pods are told to trust the new CA alone");
    let certificate = Credentials { authority: authority.clone(), ..old.kubeconfig.clone() };
    let token = Credentials { authority, pair: None, token: Some(old.token.clone()) };
    for server in &load.servers {
        for (what, credentials) in [("certificate", &certificate), ("token", &token)] {
            let answer = load.attempt(server, credentials, &probe());
            assert!(matches!(&answer, Attempt::Distrusted(why) if why.starts_with("401")), "{what}: {answer:?}");
        }
    }
    let (first, now) = (fleet.exports.node("cp-1"), fleet.node("cp-1"));
    for (index, member) in fleet.etcd.members().iter().enumerate() {
        fleet.etcd.as_health_check(index).args(["endpoint", "health"]).succeeds();
        for address in [&member.client, &member.peer] {
            let shakes = |leaf: &Path| shakes_hands(fleet.scratch(), address, &now, Some(leaf));
            for leaf in ["etcd/healthcheck-client", "apiserver-etcd-client", "etcd/peer"] {
                assert!(shakes(&now.pki(leaf)) && !shakes(&first.pki(leaf)), "{leaf} at {address}");
            }
        }
    }
    fleet.etcd.with_certificate(0, &first.pki("apiserver-etcd-client")).args(["get", "/probe"]).refused();
    for kind in ["secrets", "configmaps"] {
        let under = fleet.stored_under(kind);
        assert!(under.keys().eq(["kluis-g2"]), "{kind}: {under:?}");
    }
}

/// What pods of a namespace are told to trust.
fn root_ca(fleet: &Fleet, namespace: &str) -> String {
    let map = fleet.kubectl().args(["get", "configmap", "kube-root-ca.crt", "--namespace", namespace]);
    map.args([r"--output=jsonpath={.data.ca\.crt}"]).ends().stdout()
}

/// In a new namespace a service account comes up, pods are told to trust what the nodes do, and the controller-manager
/// signs a token that both API servers believe.
pub fn controllers_work(fleet: &Fleet, load: &Load, name: &str) {
    fleet.kubectl().args(["create", "namespace", name]).succeeds();
    let wanted = std::fs::read_to_string(fleet.node("cp-1").pki("ca.crt")).expect("an export can be read");
    for namespace in [name, "default"] {
        wait_until("kube-root-ca.crt as the nodes have it", || {
            let told = root_ca(fleet, namespace);
            if told.trim() == wanted.trim() { Ok(()) } else { Err(format!("{namespace}: {told}")) }
        });
    }
    let account = json!({"kubernetes.io/service-account.name": "default"});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "signed", "namespace": name, "annotations": account}
    });
    let namespace = format!("--namespace={name}");
    wait_until("a service account", || {
        let made = fleet.kubectl().args(["create", "--filename=-"]).input(&secret.to_string()).ends();
        if made.output.status.success() { Ok(()) } else { Err(made.to_string()) }
    });
    let token = wait_until("a token", || {
        let read =
            fleet.kubectl().args(["get", "secret", "signed", &namespace, "--output=jsonpath={.data.token}"]).ends();
        if read.stdout().is_empty() { Err(read.to_string()) } else { Ok(read.stdout()) }
    });
    let token = String::from_utf8(STANDARD.decode(token).expect("base64")).expect("a token is text");
    let bearer = Credentials { authority: fleet.node("cp-1").pki("ca.crt"), pair: None, token: Some(token) };
    for server in &load.servers {
        let answer = load.attempt(server, &bearer, &Question::get("/apis"));
        assert!(matches!(answer, Attempt::Answered(200, _)), "{name}: {answer:?}");
    }
}

impl Clients {
    /// Does `work` while all of them ask.
    pub fn ask_while(&self, load: &Load, work: impl FnOnce()) {
        std::thread::scope(|scope| {
            let _stop = load.stop();
            for seat in [&self.person, &self.newest, &self.kubelet] {
                scope.spawn(|| asks(load, seat));
            }
            scope.spawn(|| pod(load, self));
            scope.spawn(|| writer(load, &self.writer));
            self.all_go_on();
            work();
        });
    }

    /// Waits until everybody has asked with what they have now; the pod, until its token is another.
    pub fn all_go_on(&self) {
        for seat in [&self.person, &self.newest, &self.kubelet, &self.writer] {
            seat.has_gone_on(1);
        }
        self.pod.has_gone_on(RENEWAL);
    }
}

/// Lists what its credentials may list.
fn asks(load: &Load, seat: &Seat) {
    seat.runs(load, |turn| {
        let question = Question::get("/api/v1/services?limit=5");
        expect(load.ask(seat.name, &seat.credentials(), &question, turn), &[200]);
    });
}

/// The pod's token is another after so many turns.
const RENEWAL: u64 = 5;

/// A token of the pod's service account, for the shortest time that there is.
pub fn token(load: &Load, by: &Credentials, turn: u64) -> Option<String> {
    let spec =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let question = Question::post("/api/v1/namespaces/default/serviceaccounts/pod/token", &spec);
    let answer = expect(load.ask("kubelet for the pod", by, &question, turn), &[201])?;
    answer["status"]["token"].as_str().map(str::to_owned)
}

/// Reads with its token; token and trust are renewed from time to time, as a kubelet does with a projected volume.
fn pod(load: &Load, clients: &Clients) {
    let seat = &clients.pod;
    seat.runs(load, |turn| {
        let question = Question::get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt");
        let Some(map) = expect(load.ask("pod", &seat.credentials(), &question, turn), &[200]) else { return };
        if turn % RENEWAL == 0 {
            let authority: PathBuf = load.home().join(format!("pod-{turn}.ca"));
            let told = map["data"]["ca.crt"].as_str().expect("a bundle");
            std::fs::write(&authority, told).expect("a writable scratch directory");
            let token = token(load, &clients.newest.credentials(), turn);
            seat.moves_to(Credentials { authority, pair: None, token });
        }
    });
}

/// Writes a secret a turn and reads one of those that it wrote before.
fn writer(load: &Load, seat: &Seat) {
    seat.runs(load, |turn| {
        let word = |of: u64| STANDARD.encode(format!("word {of}"));
        let metadata = json!({"name": format!("word-{turn}"), "namespace": "default"});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"word": word(turn)}});
        let write = Question::post("/api/v1/namespaces/default/secrets", &secret);
        // What was tried again may have been there already.
        expect(load.ask("writer", &seat.credentials(), &write, turn), &[201, 409]);
        let former = (turn * 7) % (turn + 1);
        let read = Question::get(&format!("/api/v1/namespaces/default/secrets/word-{former}"));
        if let Some(secret) = expect(load.ask("writer", &seat.credentials(), &read, turn), &[200]) {
            assert_eq!(secret["data"]["word"], word(former), "of {former} in turn {turn}");
        }
    });
}

/// The answer's object, which must have one of these codes.
fn expect(answer: Option<(u16, String)>, codes: &[u16]) -> Option<Value> {
    let (code, body) = answer?;
    assert!(codes.contains(&code), "{code} instead of {codes:?}: {body}");
    Some(serde_json::from_str(&body).expect("an object"))
}
