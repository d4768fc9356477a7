//! The page of `report`, as text: its markup is whole, hostile texts are inert, its policy fits, the matrix is right for a
//! repository whose story is known, and it goes nowhere it should not. `page_browser.rs` opens it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod known;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use ground::Ground;
use kluis::cli::Machine;
use kluis::env::Terminal;
use kluis::model::Span;
use serde_json::Value;
use sha2::Digest as _;

/// The page of a ground, however the command ends.
fn page(ground: &Ground, words: &str) -> String {
    ground.run("bob", &format!("report --html - {words}")).out
}

/// A tag, with its attributes as a browser reads them.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

const VOID: [&str; 2] = ["meta", "input"];

/// The tags of a page, in order. Stricter than any browser: every element is closed in its turn, every attribute has a
/// value in quotes, every `&` begins an entity that is written here, and `<`, `>` and quotes are nothing else.
#[track_caller]
fn tags(page: &str) -> Vec<Tag> {
    let mut rest = page.strip_prefix("<!doctype html>").unwrap();
    let (mut open, mut tags) = (Vec::<String>::new(), Vec::new());
    while let Some((text, after)) = rest.split_once('<') {
        check_text(text);
        let (tag, after) = after.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "near {after:.100}");
            continue;
        }
        let (name, mut left) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{tag}");
        let mut attributes = Vec::new();
        while !left.is_empty() {
            let (attribute, value) = left.split_once("=\"").unwrap_or_else(|| panic!("{tag}"));
            let (value, more) = value.split_once('"').unwrap();
            check_text(value);
            attributes.push((attribute.to_owned(), decoded(value)));
            left = more.strip_prefix(' ').unwrap_or(more);
            assert!(left.is_empty() || more.starts_with(' '), "{tag}");
        }
        if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
        // What is in these two is no text.
        if matches!(name, "style" | "script") {
            rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
        }
        tags.push(Tag { name: name.to_owned(), attributes });
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    tags
}

const ENTITIES: [(&str, &str); 5] = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];

#[track_caller]
fn check_text(text: &str) {
    let mut bare = text.to_owned();
    ENTITIES.iter().for_each(|(entity, _)| bare = bare.replace(entity, ""));
    assert!(!bare.contains(['&', '<', '>', '"', '\'']), "{text}");
    assert!(!bare.chars().any(|c| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c)), "{text}");
}

fn decoded(text: &str) -> String {
    ENTITIES.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[test]
fn t78_the_page_is_whole_and_hostile_texts_are_inert_in_it() {
    let ground = known::ground();
    let page = page(&ground, "--since 3");
    let tags = tags(&page);
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!((count("script"), count("style"), count("img"), count("main"), count("h1")), (1, 1, 0, 1, 1));
    // The reason of the request, of the epoch and of what it waives, each once or more, and whole.
    let said = page.matches("&lt;/bdi&gt;&lt;/script&gt;&lt;script&gt;document.title=&#39;owned&#39;").count();
    assert!(said >= 3, "{said}");
    let mut ids = BTreeSet::new();
    for (name, value) in tags.iter().flat_map(|tag| &tag.attributes) {
        assert!(!name.starts_with("on") && !["style", "src", "action"].contains(&name.as_str()), "{name}={value}");
        assert!(name != "href" || value.starts_with('#'), "{value}");
        assert!(name != "id" || ids.insert(value), "{value} twice");
    }
    for (name, value) in tags.iter().flat_map(|tag| &tag.attributes) {
        let refers = ["for", "aria-labelledby"].contains(&name.as_str());
        assert!(!refers || ids.contains(value), "{name}={value} leads nowhere");
        assert!(name != "href" || ids.contains(&value[1..].to_owned()), "{value} leads nowhere");
    }
    let heads = tags.iter().filter(|tag| tag.name == "th");
    assert!(heads.clone().count() > 30);
    assert!(heads.into_iter().all(|tag| tag.attributes.iter().any(|(name, _)| name == "scope")));
}

#[test]
fn the_policy_lets_exactly_this_style_and_script_in() {
    let page = page(&Ground::new(&["alice", "bob"], 1, 1), "");
    let policy = tags(&page).into_iter().find(|tag| tag.attributes.iter().any(|(_, v)| v == "Content-Security-Policy"));
    let policy = policy.unwrap().attributes.iter().find(|(name, _)| name == "content").unwrap().1.clone();
    let hash = |element: &str| {
        let text = page.split_once(&format!("<{element}>")).unwrap().1;
        let text = text.split_once(&format!("</{element}>")).unwrap().0;
        base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text))
    };
    let expected = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash("style"),
        hash("script")
    );
    assert_eq!(policy, expected);
    // Nothing that could be a request came before the policy.
    let names: Vec<String> = tags(&page).into_iter().map(|tag| tag.name).take(5).collect();
    assert_eq!(names, ["html", "head", "meta", "meta", "meta"]);
    for address in ["http:", "https:", "url(", "@import", "//"] {
        let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        assert!(!style.contains(address), "{address}");
    }
}

/// `R`, `K-`, `R+`, nothing: of each person, for each secret that is not a node's and for one node.
fn letters(data: &Value, cluster: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let clusters = data["matrix"]["clusters"].as_array().unwrap();
    let rows = clusters.iter().find(|rows| rows["cluster"] == cluster).unwrap()["secrets"].as_array().unwrap();
    let letter = |cell: &Value| {
        let access = match cell["access"].as_str().unwrap() {
            "reads" => "R",
            "could-read" => "K",
            "waived" => "W",
            "nothing" => "",
            other => panic!("{other}"),
        };
        let change = match cell["change"].as_str() {
            Some("gained") => "+",
            Some("lost") => "-",
            None => "",
            Some(other) => panic!("{other}"),
        };
        format!("{access}{change}")
    };
    let row = |row: &Value| {
        let cells = row["cells"].as_object().unwrap().iter().map(|(person, cell)| (person.clone(), letter(cell)));
        (row["secret"].as_str().unwrap().to_owned(), cells.collect())
    };
    rows.iter().map(row).collect()
}

#[track_caller]
fn expect(ground: &Ground, since: &str, cluster: &str, secrets: usize, cells: &[(&str, &str)]) {
    let data = ground.run("bob", &format!("report -o json {since}")).json()["data"].clone();
    let letters = letters(&data, cluster);
    assert_eq!(letters.len(), secrets, "{:?}", letters.keys());
    let cells: BTreeMap<String, String> = cells.iter().map(|(p, l)| ((*p).to_owned(), (*l).to_owned())).collect();
    for (secret, found) in letters.iter().filter(|(secret, _)| *secret != "ca.etcd.g2") {
        assert_eq!(*found, cells, "{secret} {since}");
    }
}

#[test]
fn the_matrix_is_right_for_a_known_repository() {
    let mut ground = known::ground();
    let prod = [("alice", "R"), ("bob", "R"), ("carol", "K")];
    let changed = |change: [&'static str; 3]| [("alice", change[0]), ("bob", change[1]), ("carol", change[2])];
    // What epoch 8 closed is how things are; 6 closed everything of prod but the new etcd CA; 5 closed carol's time.
    expect(&ground, "", "prod", 9, &prod);
    expect(&ground, "--since 8", "prod", 9, &prod);
    expect(&ground, "--since 6", "prod", 9, &prod);
    expect(&ground, "--since 5", "prod", 9, &changed(["R", "R", "K-"]));
    expect(&ground, "--since 4", "prod", 9, &prod);
    expect(&ground, "--since 3", "prod", 9, &changed(["R", "R+", "K"]));
    expect(&ground, "--since 1", "prod", 9, &changed(["R+", "R+", "K"]));
    expect(&ground, "--since 5", "lab", 8, &[("alice", "R+")]);
    expect(&ground, "", "lab", 8, &[("alice", "R")]);
    let data = ground.run("bob", "report -o json --since 5").json()["data"].clone();
    // Made after carol was let go: never hers.
    let new = &letters(&data, "prod")["ca.etcd.g2"];
    assert_eq!(*new, BTreeMap::from([("alice".to_owned(), "R+".to_owned()), ("bob".to_owned(), "R+".to_owned())]));
    let people = data["matrix"]["people"].as_array().unwrap();
    let names: Vec<&str> = people.iter().map(|one| one["person"].as_str().unwrap()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    // What the quorum lives with is said to be that.
    ground.epoch(&["alice"], |epoch| {
        epoch.waived.retain(|waived| waived.what != "exposure:erin");
        epoch.waived.push(kluis::trust::Waived {
            cluster: kluis::model::ClusterName::parse("prod").unwrap(),
            what: "exposure:carol".to_owned(),
            until: epoch.created.plus(Span::days(90)),
            reason: "rotated in March".to_owned(),
        });
    });
    expect(&ground, "", "prod", 9, &changed(["R", "R", "W"]));
    ground.now = ground.now.plus(Span::days(120));
    expect(&ground, "", "prod", 9, &prod);
}

#[test]
fn the_page_has_the_data_and_the_same_twice() {
    let ground = known::ground();
    let file = ground.dir.path().join("report.html");
    let written = ground.run("bob", &format!("report --html {} --since 3", file.display())).ends(5);
    assert!(written.out.starts_with(&format!("wrote {}\n", file.display())), "{}", written.out);
    let first = std::fs::read_to_string(&file).unwrap();
    assert_eq!(first, page(&ground, "--since 3"), "stdout and file");
    ground.run("bob", &format!("report --html {} --since 3", file.display())).ends(5);
    assert_eq!(first, std::fs::read_to_string(&file).unwrap());
    let both = ground.run("bob", &format!("report --html {} --since 3 -o json", file.display())).ends(5).json();
    let mut data = both["data"].clone();
    assert_eq!(data["file"], file.display().to_string());
    data["file"] = Value::Null;
    let alone = ground.run("bob", "report -o json --since 3").ends(5).json();
    assert_eq!(data, alone["data"]);
    assert_eq!((&alone["kluis"], &alone["command"], &alone["exit"]), (&"report/1".into(), &"report".into(), &5.into()));
    // Everything that the data has is on the page.
    let shown = decoded(&first);
    let texts = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    let mut expected = texts(&data["certificates"], "sha256");
    assert_eq!(expected.len(), 33);
    expected.extend(texts(&data["certificates"], "serial"));
    expected.extend(texts(&data["epochs"], "sha256"));
    expected.extend(texts(&data["epochs"], "reason"));
    expected.extend(texts(&data["break_glass"], "reason"));
    expected.extend(texts(&alone["findings"], "code"));
    expected.push(data["pin"].as_str().unwrap().to_owned());
    expected.push(data["status"]["repo"].as_str().unwrap().to_owned());
    for text in expected {
        assert!(shown.contains(&text), "{text}");
    }
    let deeds: Vec<&str> =
        data["break_glass"].as_array().unwrap().iter().map(|e| e["deed"].as_str().unwrap()).collect();
    assert_eq!(deeds, ["issued", "approved"]);
    assert_eq!(data["break_glass"][0]["approved_by"], serde_json::json!(["alice", "bob"]));
    assert_eq!(data["rotations"][0]["cluster"], "prod");
    let signed: Vec<usize> =
        data["epochs"].as_array().unwrap().iter().map(|e| e["signed"].as_array().unwrap().len()).collect();
    assert_eq!((signed.len(), signed[0]), (8, 3));
    // One cluster alone.
    let lab = ground.run("bob", "report -o json -c lab").json();
    assert_eq!(lab["data"]["matrix"]["clusters"].as_array().unwrap().len(), 1);
    assert_eq!(
        (lab["data"]["break_glass"].as_array().unwrap().len(), &lab["data"]["rotations"]),
        (0, &serde_json::json!([]))
    );
}

#[test]
fn time_and_scale_are_what_the_timeline_says() {
    let ground = known::ground();
    let data = ground.run("bob", "report -o json").json()["data"].clone();
    let prod = &data["timeline"]["clusters"].as_array().unwrap()[1];
    let etcd: Vec<(&str, &str)> = prod["bars"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|bar| bar["name"].as_str().unwrap().starts_with("etcd"))
        .map(|bar| (bar["name"].as_str().unwrap(), bar["stretches"][0]["state"].as_str().unwrap()))
        .collect();
    assert_eq!(etcd, [("etcd g1", "issuing"), ("etcd g2", "staged")]);
    let ends: Vec<(&str, u64)> = prod["marks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mark| (mark["kind"].as_str().unwrap(), mark["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(ends, [("certificate", 16)]);
    let epochs = data["timeline"]["trust"]["bars"].as_array().unwrap();
    assert_eq!(epochs.len(), 8);
    assert_eq!(epochs[0]["stretches"][0]["to"], epochs[1]["stretches"][0]["from"]);
}

#[test]
fn nothing_that_kluis_or_git_keep_is_written_over() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let before = (ground.tree(), ground.git("rev-parse HEAD"), ground.git("status --porcelain"));
    let repo = ground.repo().display().to_string();
    let link = ground.dir.path().join("link");
    std::os::unix::fs::symlink(ground.repo().join("trust"), &link).unwrap();
    for path in [
        format!("{repo}/trust/epoch/0001.toml"),
        format!("{repo}/trust/report.html"),
        format!("{repo}/clusters"),
        format!("{repo}/Clusters"),
        format!("{repo}/pubkeys/alice.asc"),
        format!("{repo}/.git/config"),
        format!("{repo}/.git/hooks/post-checkout"),
        format!("{}/epoch/0001.toml", link.display()),
        format!("{repo}/../repo/trust/../trust/x.html"),
    ] {
        ground.run("bob", &format!("report --html {path}")).ends(2).says("name another place");
    }
    ground.run("bob", &format!("report --html {repo}/nowhere/x.html")).ends(2);
    ground.run("bob", &format!("report --html {repo}/..")).ends(2);
    ground.run("bob", "report").ends(2).says("--html FILE");
    ground.run("bob", "report -o json --since 2").ends(2).says("the last one is 1");
    ground.run("bob", "report -o json --since 0").ends(2);
    ground.run("bob", "report -o json -c nowhere").ends(2);
    ground.run("bob", "report --html - -o json").ends(2);
    ground.run("bob", &format!("report --html {repo}/x.html --dry-run")).ends(0).says("would write");
    assert!(before == (ground.tree(), ground.git("rev-parse HEAD"), ground.git("status --porcelain")));
    // A link is neither followed nor replaced: it may be a device's name.
    let (target, link) = (ground.repo().join("trust/epoch/0001.toml"), ground.dir.path().join("page.html"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    ground.run("bob", &format!("report --html {}", link.display())).ends(2).says("no regular file");
    assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    assert!(before.0 == ground.tree());
}

#[test]
fn what_is_wrong_stands_at_the_top_and_decides_the_exit_code() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    // A draft: how things are without it.
    ground.run("alice", "trust set threshold.trust 2").ends(0);
    let draft = ground.run("bob", "report --html -").ends(0).out;
    assert!(draft.contains("is a draft that waits for a signature of bob"), "{draft}");
    assert!(draft.contains(">draft</span>") && !draft.contains("Nobody can say"));
    // No pin.
    let machine =
        Machine { now: ground.now, terminal: Terminal::nobody(), state: Some(ground.dir.path().join("nobody")) };
    let args = ["-C", ground.repo().to_str().unwrap(), "report", "--html", "-"].map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(kluis::cli::run(args, machine, &mut out, &mut err), 4);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("<strong>NOT KNOWN TO BE THE RIGHT REPOSITORY</strong>") && text.contains("unpinned"));
    // A path that is hostile itself.
    std::fs::create_dir_all(ground.repo().join("clusters")).unwrap();
    std::fs::write(ground.repo().join("clusters/<img src=x onerror=alert(1)>&\u{202e}"), "").unwrap();
    let invalid = ground.run("bob", "report --html -").ends(3).out;
    tags(&invalid);
    assert!(invalid.contains("<strong>INVALID</strong>") && invalid.contains("clusters/&lt;img src=x onerror"));
    assert!(!invalid.contains("<img") && invalid.contains("\\u{202e}"));
    // Epochs at fault: nobody can say which records count, and the page says that.
    ground.edit("trust/epoch/0001.toml", |text| text.replace("founded", "fOunded"));
    let broken = ground.run("bob", "report --html -").ends(3).out;
    tags(&broken);
    assert!(broken.contains("<strong>INVALID</strong>") && broken.matches("Nobody can say").count() >= 4, "{broken}");
}

#[test]
fn an_unpacked_archive_will_do() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    let archive = ground.dir.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    for tree in ["trust", "pubkeys"] {
        let copied = std::process::Command::new("cp").arg("-r").arg(ground.repo().join(tree)).arg(&archive).status();
        assert!(copied.unwrap().success());
    }
    let file = ground.dir.path().join("page.html");
    ground.run("bob", &format!("-C {} report --html {}", archive.display(), file.display())).ends(0);
    tags(&std::fs::read_to_string(&file).unwrap());
    ground.run("bob", &format!("-C {a} report --html {a}/pubkeys/x.html", a = archive.display())).ends(2);
}

/// Of a fleet everything is folded, and the page has a row a cluster that says who can read how much.
#[test]
fn a_fleet_is_folded() {
    let ground = Ground::new(&["alice", "bob"], 1, 1);
    for name in ["a", "b", "c", "d"] {
        let endpoint = format!("https://{name}.example.org:6443");
        let words =
            format!("cluster new {name} --endpoint {endpoint} --kubernetes 1.36 --node n=10.0.0.1:control-plane,etcd");
        ground.run("alice", &format!("{words} --yes")).ends(0);
    }
    let page = page(&ground, "");
    let tags = tags(&page);
    let open = |tag: &&Tag| tag.name == "details" && tag.attributes.iter().any(|(name, _)| name == "open");
    assert_eq!(tags.iter().filter(open).count(), 0);
    assert!(page.contains("How much each can read") && page.contains("6 of 6 can be read"));
}
